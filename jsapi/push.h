/* jsapi/push.h -- push consumers: interest, heartbeats, flow control, and the nudge after a restart
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_PUSH_H
#define JSAPI_PUSH_H

#include "jsapi/consumer.h"

/* Starts and ends the watch over the deliver subject. */
void push_open(struct js_consumer *c);
void push_close(struct js_consumer *c);
/* May it take a message now? */
bool push_open_for(const struct js_consumer *c);
/* size bytes went out: asks for a flow control answer when it is time. */
void push_sent(struct js_consumer *c, size_t size, int64_t now);
/* Heartbeat if it is time. Returns the next deadline (INT64_MAX: none). */
int64_t push_tick(struct js_consumer *c, int64_t now);
/* The hear function of $JS.FC.S.C.* (arg: the consumer). */
bool push_fc_heard(void *arg, struct msg_view *m, void *from);
/* AWAITING: provoke the other side now. */
void push_nudge(struct js_consumer *c, int64_t now);
/* An idle heartbeat to `to`. Like everything that speaks here: not from inside a hear function. */
void push_heartbeat(struct js_consumer *c, struct slice to, uint64_t last_consumer);

#endif
