/* jsapi/life.h -- inside: how a js_stream is made, started, changed and ended
 *
 *     js_stream_new()  ──►  js_stream_start()  ──►  js_stream_stop()  ──►  js_stream_forget()
 *       in the table,         captures, direct        nothing is heard       out of the table;
 *       CREATING              gets, consumers         any more, DELETING     freed at the last drop
 *
 * js_stream_recover() is new for one that is on disk. js_stream_apply() gives a live stream another
 * config. At shutdown js_stream_close() stops without DELETING anything.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_LIFE_H
#define JSAPI_LIFE_H

#include "jsapi/stream.h"

/* Takes cfg over (the caller's is empty afterwards). The name must be free. */
struct js_stream *js_stream_new(struct jsapi_account *a, struct stream_config *cfg,
                                int64_t created);
/* NULL when the stored config can't be read. */
struct js_stream *js_stream_recover(struct jsapi_account *a, struct stream *store);
/* → LIVE. */
void js_stream_start(struct js_stream *s, bool recovered);
/* → DELETING: consumers hear that the stream is deleted. */
void js_stream_stop(struct js_stream *s);
/* At shutdown: consumers hear that the server goes; nothing is captured any more. */
void js_stream_close(struct js_stream *s);
/* Out of the table; requests that waited for it are looked up anew. */
void js_stream_forget(struct js_stream *s);
/* s has this config from now on; taken over. Subscriptions change by difference. */
void js_stream_apply(struct js_stream *s, struct stream_config *cfg);
/* After a failed commit: consumers are read anew. */
void js_stream_reopened(struct js_stream *s);
/* What the store is told about a stream; config must outlive the spec. */
void js_stream_spec(const struct jsapi_account *a, const struct stream_config *cfg, int64_t created,
                    struct slice config, struct stream_spec *out);
/* Does another stream of the account (not `except`) listen to a subject that meets one of these?
 * Also said where so many wildcards begin alike that it takes too long to say (overlap.h). */
bool js_stream_overlaps(const struct jsapi_account *a, const struct stream_config *cfg,
                        const struct js_stream *except);
/* For stream_bounds.other; arg is the account. While it is being updated: what it will be. */
const struct stream_config *js_stream_config_of(void *arg, struct slice name);

#endif
