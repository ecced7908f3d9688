/* jsapi/publish.h -- what the headers of a publish ask for (reference/jetstream-api.md 5.2 and 5.3)
 *
 * Pure: header block in, wishes of a store record out, or the error that refuses the message.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_PUBLISH_H
#define JSAPI_PUBLISH_H

#include "jsapi/errors.h"
#include "jsapi/stream_config.h"
#include "storage/storage.h"

/* Checks the headers of a message for this stream and fills the flags and expectations of rec.
 * reply is looked at for fast batches only. False: e says why it is refused. What is
 * refused only when all that is expected is right: true, REC_REFUSED in the flags, and e says what
 * E_DENIED will mean. */
bool publish_check(const struct stream_config *cfg, struct slice hdr, struct slice reply,
                   struct record_in *rec, struct js_error *e);
/* REC_ROLLUP_… of a message that a mirror or source brings: where roll-ups are not permitted, or
 * its wish can't be read, it is stored and takes nothing with it. */
unsigned publish_copied_rollup(const struct stream_config *cfg, struct slice hdr);
/* What an error of store_append() or of its receipt means to the publisher. */
void publish_store_error(const struct store_receipt *r, struct js_error *e);

#endif
