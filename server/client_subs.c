/* server/client_subs.c -- what a client hears: its subscriptions, and MSG written into its output
 *
 * A subscription is a sink of the account and an entry in the client's table by sid. The hot path
 * is take(): one look at the state, one reservation in the output, four copies, one commit.
 *
 * What always holds
 *   (1) a subscription in the table is in the account's list, and the other way round, but for a
 *       closed client's that leave in portions (farewell.h);
 *   (2) a removed one is `dead`, refuses, and stays in memory until the end of the turn;
 *   (3) UNSUB with a maximum counts from the creation; message number max is delivered, then
 *       the subscription goes;
 *   (4) who leaves in portions does not count in the account's limit; all together they are at
 *       most LEAVING_MOST and as many as were alive at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/client_state.h"

#include "base/mem.h"
#include "base/subject.h"
#include "server/spell.h"

/* Payloads from here on are referenced when a shared copy exists. Smaller ones are copied: at 1 KiB
 * a reference (two allocations, two pieces of the vector) costs 0.15 us more than the copy. */
#define BY_REFERENCE 16384u
#define STALL_AT     (4u << 20) /* bytes waiting for a receiver: its publishers rest */
/* the same for what the server itself says: consumers rest */
#define STALL_DELIVERY_AT (1u << 20)
#define LEAVING_MOST      65536 /* 20 MB */

static bool sid_eq(const void *item, const void *key)
{
    const struct client_sub *sub = item;
    const struct slice *sid = key;

    return sub->sid_n == sid->n && memcmp(sub->sid, sid->p, sid->n) == 0;
}

static void sub_free(void *arg)
{
    free(arg);
}

/* Out of the account; it is in no table any more. */
static void sub_end(void *client, void *item)
{
    struct client *cl = client;
    struct client_sub *sub = item;

    sub->dead = true;
    account_remove_sink(cl->ep.account, &sub->sink);
    if (cl->leaving)
        cl->srv->leaving_subs--;
    else
        cl->ep.account->client_subs--;
    loop_defer(cl->srv->loop, sub_free, sub);
}

static void sub_drop(struct client_sub *sub)
{
    struct client *cl = sub->client;
    struct slice sid = {sub->sid, sub->sid_n};

    if (sub->dead)
        return;
    htab_del(&cl->subs, hash_slice(sid), sid_eq, &sid);
    sub_end(cl, sub);
}

/* --- MSG and HMSG -------------------------------------------------------------------------------
 */

/* "MSG subject sid [reply] size\r\n" or "HMSG … hdr total\r\n" */
static char *put_head(char *p, struct slice sid, const struct msg_view *m, size_t hdr_n)
{
    if (hdr_n)
        *p++ = 'H';
    p = put(p, "MSG ", 4);
    p = put(p, m->subject.p, m->subject.n);
    *p++ = ' ';
    p = put(p, sid.p, sid.n);
    *p++ = ' ';
    if (m->reply.n) {
        p = put(p, m->reply.p, m->reply.n);
        *p++ = ' ';
    }
    if (hdr_n) {
        p = put_size(p, hdr_n);
        *p++ = ' ';
    }
    p = put_size(p, hdr_n + m->payload.n);
    return put(p, "\r\n", 2);
}

static void trace_out(const struct client *cl, struct slice sid, const struct msg_view *m,
                      size_t hdr_n)
{
    char reply[2] = {m->reply.n ? ' ' : 0, 0};

    if (hdr_n)
        client_log(cl, LOG_TRACE, "->> [HMSG %.*s %.*s%s%.*s %zu %zu]", SLICE_FMT(m->subject),
                   SLICE_FMT(sid), reply, SLICE_FMT(m->reply), hdr_n, hdr_n + m->payload.n);
    else
        client_log(cl, LOG_TRACE, "->> [MSG %.*s %.*s%s%.*s %zu]", SLICE_FMT(m->subject),
                   SLICE_FMT(sid), reply, SLICE_FMT(m->reply), m->payload.n);
}

static void write_msg(struct client *cl, struct slice sid, const struct msg_view *m)
{
    size_t hdr_n = cl->headers ? m->hdr.n : 0; /* others get the payload alone */
    size_t body = hdr_n + m->payload.n;
    size_t most = 5 + m->subject.n + 1 + sid.n + 1 + m->reply.n + 1 + 20 + 1 + 20 + 2;
    bool by_ref = m->shared && body >= BY_REFERENCE;
    char *start = conn_reserve(cl->conn, by_ref ? most : most + body + 2),
         *p = put_head(start, sid, m, hdr_n);

    if (!by_ref) {
        if (hdr_n)
            p = put(p, m->hdr.p, hdr_n);
        if (m->payload.n)
            p = put(p, m->payload.p, m->payload.n);
        p = put(p, "\r\n", 2);
    }
    conn_commit(cl->conn, (size_t)(p - start));
    if (by_ref) {
        conn_write_msg(cl->conn, m->shared, m->shared->hdr_n - hdr_n, body);
        conn_write(cl->conn, "\r\n", 2);
    }
    cl->out_msgs++;
    cl->out_bytes += body;
    cl->srv->out_msgs++;
    cl->srv->out_bytes += body;
    cl->ep.account->out_msgs++;
    cl->ep.account->out_bytes += body;
    if (log_trace_on)
        trace_out(cl, sid, m, hdr_n);
}

void client_too_slow(struct client *cl)
{
    if (cl->connected) {
        cl->srv->slow_consumers++;
        cl->ep.account->slow_consumers++;
        client_log(cl, LOG_INFO, "Slow Consumer Detected: MaxPending of %lld Exceeded",
                   (long long)cl->srv->rules.max_pending);
    }
    client_close(cl, CLIENT_SLOW_PENDING, NULL);
}

/* Above three quarters of max_pending. */
static bool full_soon(const struct client *cl)
{
    return conn_pending(cl->conn) > (size_t)cl->srv->rules.max_pending / 4 * 3;
}

static enum sink_result take(struct sink *s, struct msg_view *m)
{
    struct client_sub *sub = CONTAINER_OF(s, struct client_sub, sink);
    struct client *cl = sub->client;
    size_t pending, most = (size_t)cl->srv->rules.max_pending;

    if (sub->dead || cl->state != CLIENT_OPEN)
        return SINK_REFUSED;
    if (sub->filter && !perms_may_receive(cl->perms, m->subject, s->queue))
        return SINK_REFUSED;
    if (cl->srv->rules.no_stall && full_soon(cl))
        return SINK_REFUSED; /* the publisher is not held, so this one goes without */
    sub->delivered++;
    write_msg(cl, (struct slice){sub->sid, sub->sid_n}, m);
    if (cl->perms && m->reply.n)
        perms_note_reply(cl->perms, m->reply);
    if (sub->max && sub->delivered >= sub->max)
        sub_drop(sub);
    pending = conn_pending(cl->conn);
    if (__builtin_expect(pending <= STALL_DELIVERY_AT && pending <= most, 1))
        return SINK_TAKEN;
    if (pending > most) {
        client_too_slow(cl);
        return SINK_TAKEN;
    }
    if (!cl->ep.account->speaker)
        return SINK_TAKEN_REST;
    return pending > STALL_AT && !cl->srv->rules.no_stall ? SINK_TAKEN_REST : SINK_TAKEN;
}

/* --- SUB and UNSUB ------------------------------------------------------------------------------
 */

static struct client_sub *sub_new(struct client *cl, const struct op *op)
{
    struct client_sub *sub = xcalloc(1, sizeof *sub + op->sid.n + op->subject.n + op->queue.n);
    char *text = sub->sid;

    memcpy(text, op->sid.p, op->sid.n);
    sub->sid_n = (uint32_t)op->sid.n;
    text += op->sid.n;
    memcpy(text, op->subject.p, op->subject.n);
    sub->sink.subject = slice_of(text, op->subject.n);
    text += op->subject.n;
    if (op->queue.n) {
        memcpy(text, op->queue.p, op->queue.n);
        sub->sink.queue = slice_of(text, op->queue.n);
    }
    sub->sink.owner = &cl->ep;
    sub->sink.weight = 1;
    sub->sink.deliver = take;
    sub->client = cl;
    sub->filter = cl->perms && perms_filters(cl->perms, op->subject);
    return sub;
}

/* Clients that come and go may subscribe faster than the job takes out: then each new subscription
 * pays for two that leave. */
static void make_room(struct server *srv)
{
    if (srv->leaving_subs > LEAVING_MOST)
        farewell_some(LIST_ENTRY(srv->leaving.next, struct client, link)->leaving, 2);
}

void client_subscribe(struct client *cl, const struct op *op)
{
    const struct client_rules *rules = &cl->srv->rules;
    struct account *a = cl->ep.account;
    struct client_sub *sub;

    if (slice_is(op->queue, "_sys_") ||
        (cl->perms && !perms_may_subscribe(cl->perms, op->subject, op->queue))) {
        client_deny(cl, DENIED_SUBSCRIBE, op->subject, op->queue, op->sid);
        return;
    }
    if (rules->max_sub_tokens && subject_tokens(op->subject) > rules->max_sub_tokens) {
        client_err(cl, "Permissions Violation for Subscription to \"%.*s\", too many tokens",
                   SLICE_FMT(op->subject));
        return;
    }
    if ((rules->max_subs && cl->subs.count >= rules->max_subs) ||
        (a->max_subs && a->client_subs >= a->max_subs)) {
        client_err(cl, "maximum subscriptions exceeded");
        client_log(cl, LOG_ERROR, "maximum subscriptions exceeded");
        return;
    }
    if (htab_get(&cl->subs, hash_slice(op->sid), sid_eq, &op->sid)) {
        client_ok(cl);
        return;
    }
    make_room(cl->srv);
    sub = sub_new(cl, op);
    if (account_add_sink(a, &sub->sink) < 0) {
        free(sub);
        client_err(cl, "Invalid Subject");
        return;
    }
    htab_put(&cl->subs, hash_slice(op->sid), sub);
    a->client_subs++;
    client_ok(cl);
}

void client_unsubscribe(struct client *cl, const struct op *op)
{
    struct client_sub *sub = htab_get(&cl->subs, hash_slice(op->sid), sid_eq, &op->sid);

    if (sub && op->max > 0 && (uint64_t)op->max > sub->delivered) {
        sub->max = (uint64_t)op->max;
    } else if (sub) {
        if (log_trace_on)
            client_log(cl, LOG_TRACE, "<-> [DELSUB %.*s]", SLICE_FMT(op->sid));
        sub_drop(sub);
    }
    client_ok(cl);
}

void client_drop_subs(struct client *cl)
{
    struct client_sub *sub;

    for (size_t pos = 0; (sub = htab_next(&cl->subs, &pos));)
        sub_drop(sub);
}

static void withdrawn(void *client)
{
    struct client *cl = client;

    list_unlink(&cl->link);
    free(cl->leaving);
    cl->leaving = NULL;
    if (!cl->conn)
        client_free(cl);
}

/* take() refuses from the moment the state is GONE. */
void client_withdraw_subs(struct client *cl)
{
    if (cl->subs.count <= FAREWELL_AT_ONCE) {
        client_drop_subs(cl);
        return;
    }
    cl->ep.account->client_subs -= (uint32_t)cl->subs.count;
    cl->srv->leaving_subs += cl->subs.count;
    cl->leaving = xcalloc(1, sizeof *cl->leaving);
    (void)farewell_begin(cl->leaving, cl->srv->loop, &cl->subs, sub_end, withdrawn, cl);
}

void client_review_subs(struct client *cl)
{
    struct client_sub *sub;

    for (size_t pos = 0; (sub = htab_next(&cl->subs, &pos));) {
        struct slice subject = sub->sink.subject, queue = sub->sink.queue;
        sub->filter = cl->perms && perms_filters(cl->perms, subject);
        if (!cl->perms || perms_may_subscribe(cl->perms, subject, queue))
            continue;
        client_deny(cl, DENIED_AFTER_RELOAD, subject, queue, (struct slice){sub->sid, sub->sid_n});
        sub_drop(sub);
    }
}

/* --- nobody is there -----------------------------------------------------------------------------
 */

/* By way of the account's list: a client may have a million subscriptions, and ask a million times
 * where nobody answers. */
struct client_sub *client_sub_for(struct client *cl, struct slice subject)
{
    struct match *mt = sublist_match(cl->ep.account->subs, subject, false);
    struct client_sub *sub = NULL;

    for (uint32_t i = 0; !sub && i < mt->local; i++)
        if (mt->plain[i]->owner == &cl->ep)
            sub = CONTAINER_OF(mt->plain[i], struct client_sub, sink);
    match_unref(mt);
    return sub;
}

/* Not counted as a delivered message: UNSUB's maximum does not see it. */
void client_no_responders(struct client *cl, struct slice reply, struct slice subject)
{
    static const char head[] = "NATS/1.0 503\r\nNats-Subject: ";
    struct client_sub *sub = client_sub_for(cl, reply);
    size_t hdr_n = sizeof head - 1 + subject.n + 4;
    struct msg_view m = {.subject = reply, .hdr = {head, hdr_n}};
    char *start, *p;

    if (!sub)
        return;
    start = conn_reserve(cl->conn, 5 + reply.n + 1 + sub->sid_n + 1 + 20 + 1 + 20 + 2 + hdr_n + 2);
    p = put_head(start, (struct slice){sub->sid, sub->sid_n}, &m, hdr_n);
    p = put(p, head, sizeof head - 1);
    p = put(p, subject.p, subject.n);
    p = put(p, "\r\n\r\n\r\n", 6);
    conn_commit(cl->conn, (size_t)(p - start));
}

/* --- looking -------------------------------------------------------------------------------- */

void client_each_sub(const struct client *cl,
                     void (*fn)(void *arg, const struct sink *s, struct slice sid, uint64_t msgs,
                                uint64_t max),
                     void *arg)
{
    struct client_sub *sub;

    for (size_t pos = 0; (sub = htab_next(&cl->subs, &pos));)
        fn(arg, &sub->sink, (struct slice){sub->sid, sub->sid_n}, sub->delivered, sub->max);
}
