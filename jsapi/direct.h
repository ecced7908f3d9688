/* jsapi/direct.h -- direct get: messages themselves as the answer (reference/jetstream-api.md 7)
 *
 * A stream with allow_direct listens on $JS.API.DIRECT.GET.S and ….S.>; nobody there is "no
 * responders". A mirror with mirror_direct listens on its origin's two subjects besides, once it
 * has caught up since the server started; all of them are one queue group, so one answers. At a
 * site this serves reads of a hub's bucket under the hub's name, whatever the link does from then
 * on. The request is copied and begun later in the turn; a long answer is a job that rests while
 * the asker has enough waiting.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_DIRECT_H
#define JSAPI_DIRECT_H

#include "jsapi/stream.h"

/* The stream begins, or s->cfg is new: listens where that says so. */
void direct_update(struct js_stream *s);
/* The stream is being deleted: whoever waits for an answer hears that there is nothing. */
void direct_stop(struct js_stream *s);
/* The mirror's puller says: little is missing. Not inside a hear function. */
void direct_caught_up(struct js_stream *s);
/* Sockets have room again. */
void direct_drained(struct jsapi *js);
/* The server goes: ends the account's answers without a word. Before direct_stop(). */
void direct_close(struct jsapi_account *a);

#endif
