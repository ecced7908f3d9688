/* jsapi/stream_snapshot.c -- STREAM.SNAPSHOT and STREAM.RESTORE: refused by name until they are
 * here
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"

void stream_snapshot(struct request *r)
{
    api_fail(r, JSStreamSnapshotErrF, "snapshots are not supported by this server");
}

void stream_restore(struct request *r)
{
    api_fail(r, JSStreamRestoreErrF, "restoring is not supported by this server");
}
