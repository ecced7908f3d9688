/* base/msg.h -- a message in passing, and a message that is kept
 *
 * struct msg_view is how a message travels through functions: everything in it is borrowed until
 * the call returns. Most messages never become anything else: read buffer -> view -> one copy into
 * each receiver's output.
 *
 * struct msg is a counted, immutable copy. It is made on demand (msg_share) when several receivers
 * want the same large payload or when a message must outlive the call, and is counted on the loop
 * thread only.
 *
 *     msg.data:  | header block | payload | subject | reply |
 *                0              hdr_n     +payload_n ...
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MSG_H
#define BASE_MSG_H

#include "base/slice.h"

struct msg;

struct msg_view {
    struct slice subject; /* what a subscriber sees */
    struct slice via; /* the subject it is routed by; empty: the subject itself. JetStream delivers
                         a message "orders.new" via an inbox; a leaf link spells both (LMSG via
                         reply@subject) */
    struct slice reply; /* empty: none */
    struct slice hdr;   /* the whole header block, "NATS/1.0…\r\n\r\n" included; empty: none */
    struct slice payload;
    bool backlog; /* said by a JetStream consumer (its messages, heartbeats and flow control alike):
                     on a link it waits behind live traffic */
    struct msg
        *shared; /* a counted copy of hdr+payload if somebody made one, owned by the view's maker */
};

/* What the router matches. */
static inline struct slice msg_route(const struct msg_view *v)
{
    return v->via.n ? v->via : v->subject;
}

struct msg {
    uint32_t refs;
    uint32_t hdr_n, payload_n, subject_n, reply_n;
    char data[]; /* as drawn above */
};

/* A counted copy with one reference; NULL on lack of memory. */
struct msg *msg_new(const struct msg_view *v);
/* The view's counted copy, made at the first call and remembered in v->shared; the reference stays
 * the view's (msg_view_done() drops it): take your own with msg_ref(). NULL on lack of memory. */
struct msg *msg_share(struct msg_view *v);
/* Whoever filled a view that may have been shared calls this at the end. */
void msg_view_done(struct msg_view *v);
static inline struct msg *msg_ref(struct msg *m)
{
    m->refs++;
    return m;
}
void msg_unref(struct msg *m);
/* Everything of m as a view; borrowed as long as you hold a reference. */
struct msg_view msg_view_of(struct msg *m);

/* --- header blocks: "NATS/1.0[ status[ text]]\r\nName: value\r\n…\r\n\r\n" ----------------------
 */

/* The value of the first header of that name (case-sensitive, as JetStream compares), blanks around
 * it trimmed. False when it is not there. */
bool hdr_get(struct slice hdr, struct slice name, struct slice *value);
/* Walks all headers: *pos starts at 0; false at the end. */
bool hdr_next(struct slice hdr, size_t *pos, struct slice *name, struct slice *value);
/* The inline status ("503") of the first line; empty when there is none. */
struct slice hdr_status(struct slice hdr);
/* True when it starts with NATS/1.0 and ends with an empty line. */
bool hdr_valid(struct slice hdr);

struct buf;
/* Writes hdr to out without the headers for which drop() says true, plus the lines in `extra`
 * ("Name: value\r\n", may be empty). A block that would carry neither a header nor a status is left
 * out (nothing is written). hdr may be empty, drop may be NULL. */
void hdr_rewrite(struct buf *out, struct slice hdr, bool (*drop)(struct slice name, void *arg),
                 void *arg, struct slice extra);

#endif
