/* jsapi/pull.h -- pull requests: read, wait, end
 *
 * A request waits in its consumer's queue until its batch is delivered, its bytes or its time are
 * used up, or nobody listens to its reply any more. Requests are served in turn: one that wants
 * more goes to the tail after each message.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_PULL_H
#define JSAPI_PULL_H

#include "jsapi/consumer.h"

struct pull_request {
    struct list link;  /* c->waiting */
    int64_t batch;     /* messages still wanted */
    int64_t bytes;     /* of the budget left; 0: no budget */
    int64_t expires;   /* monotonic; 0: never */
    int64_t heartbeat; /* ns; 0: none */
    int64_t beat_at;   /* the next one */
    bool no_wait;
    bool rests; /* its connection has enough waiting */
    uint64_t delivered;
    uint32_t reply_n;
    char reply[];
};

static inline struct slice pull_reply(const struct pull_request *p)
{
    return slice_of(p->reply, p->reply_n);
}

/* The hear function of $JS.API.CONSUMER.MSG.NEXT.S.C (arg: the consumer). */
bool pull_heard(void *arg, struct msg_view *m, void *from);
/* A request as a body, replies to `reply`; errors are posted. Not from outside a hear function's
 * context: posts only. */
void pull_ask(struct js_consumer *c, struct slice body, struct slice reply);

/* The one whose turn it is, NULL when none can take a message now. */
struct pull_request *pull_next(struct js_consumer *c);
/* Would a message of this size fit? When not, the request ends with 409 and false is returned: ask
 * pull_next() again. */
bool pull_fits(struct js_consumer *c, struct pull_request *p, size_t size);
/* It got one; p may be freed. */
void pull_took(struct js_consumer *c, struct pull_request *p, size_t size, int64_t now);
/* Ends it with a status line ("404 No Messages"); pair: with Nats-Pending-Messages and -Bytes.
 * status NULL: silently. */
void pull_end(struct js_consumer *c, struct pull_request *p, const char *status, bool pair);
/* The end of the stream is reached: one-shot requests end. */
void pull_end_of_stream(struct js_consumer *c);
/* Expired ones end, heartbeats go out. Returns the next deadline (INT64_MAX: none). */
int64_t pull_tick(struct js_consumer *c, int64_t now);
void pull_end_all(struct js_consumer *c, const char *status, bool pair);
/* Drops those nobody listens for; returns how many are left. */
uint32_t pull_count(struct js_consumer *c);
/* Sockets drained. */
void pull_wake(struct js_consumer *c);

#endif
