/* jsapi/capture.h -- message → append → PubAck
 *
 * A live stream listens to its subjects. What arrives is checked against its headers' wishes,
 * handed to the store, and answered when the store says that it is on disk (or why it is not). This
 * is the hot path of JetStream: no printf and no malloc for a stored message; the reply subject
 * waits in a ticket from a pool.
 *
 * Loop thread only. Refusals found inside the hear function are posted, acks leave from the store's
 * done function.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_CAPTURE_H
#define JSAPI_CAPTURE_H

#include "jsapi/stream.h"

/* Subscribes to s->cfg.subjects and makes its transforms. */
void capture_start(struct js_stream *s);
/* s->cfg is new: subscriptions that stay are kept. */
void capture_update(struct js_stream *s, const struct stream_config *old);
/* Nothing is captured any more; tickets that wait are still answered. */
void capture_stop(struct js_stream *s);
/* The last hold is gone. */
void capture_release(struct js_stream *s);
void capture_pool_release(struct jsapi *js);

/* Writes hdr (may be empty) and the lines ("Name: value\r\n…") as one header block. */
void js_hdr_join(struct buf *out, struct slice hdr, struct slice lines);

#endif
