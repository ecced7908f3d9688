/* jsapi/consumer_delete.c -- CONSUMER.DELETE: gone at once, answered when the disk knows
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumer_change.h"

static void deleted(void *arg, int err)
{
    struct request *r = arg;
    if (err) {
        api_fail(r, JSConsumerStoreFailedErrF, "%s", err_text(err));
        return;
    }
    json_bool(api_ok(r), "success", true);
    api_send(r);
}

void consumer_delete(struct request *r)
{
    struct js_consumer *c = consumer_asked(r);
    int got = c ? consumer_delete_now(c, deleted, r) : 1;
    if (got <= 0)
        deleted(r, got);
}
