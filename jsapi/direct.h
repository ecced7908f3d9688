/* jsapi/direct.h -- direct get: messages themselves as the answer (reference/jetstream-api.md 7)
 *
 * A stream with allow_direct listens on $JS.API.DIRECT.GET.S and ….S.>; nobody there is "no
 * responders". The request is copied and begun later in the turn; a long answer is a job that rests
 * while the asker has enough waiting.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_DIRECT_H
#define JSAPI_DIRECT_H

#include "jsapi/stream.h"

void direct_start(struct js_stream *s);
/* s->cfg is new. */
void direct_update(struct js_stream *s);
void direct_stop(struct js_stream *s);
/* Sockets have room again. */
void direct_drained(struct jsapi *js);
/* Ends the account's answers. */
void direct_close(struct jsapi_account *a);

#endif
