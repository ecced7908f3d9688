/* jsapi/delivery.c -- the pump: cursor → messages, push and pull
 *
 * A stream's ready consumers stand in a ring; each visit delivers a slice, at most 256 KiB or
 * 1,000 messages, and the view of the store is open only inside it. What is served, in order:
 *
 *     1. messages to be delivered again
 *     2. the list of a last_per_subject consumer
 *     3. new ones
 *
 * and a visit ends in one of these places:
 *
 *     READY    more can go out at once: back to the tail of the ring
 *     HUNGRY   caught up: the next stored message that it wants makes it ready
 *     IDLE     something else comes first: a request, interest, an ack, room on the socket, a time
 *
 * A message that nobody took was not delivered: nothing is counted before the publish succeeded.
 * No printf, no malloc per message.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/delivery.h"

#include "base/clock.h"
#include "base/digits.h"
#include "base/log.h"
#include "jsapi/ack.h"
#include "jsapi/pull.h"
#include "jsapi/push.h"
#include "jsapi/retention.h"

#define SLICE_BYTES (256u << 10)
#define SLICE_MSGS  1000u
#define SLICE_SCAN  5000u
#define RETRY_AFTER (250 * NS_PER_MS) /* interest says yes, publish says nobody */

enum stop { STOP_NOT, STOP_NO_TAKER, STOP_RESTS, STOP_PACE };

struct run { /* one slice */
    struct js_consumer *c;
    int64_t now;
    uint64_t left; /* num_pending as of now */
    uint32_t n;    /* delivered in this slice */
    uint64_t bytes;
    bool again; /* the record at hand was delivered before */
    enum stop stop;
    struct buf *head; /* headers_only: the rewritten block */
};

/* --- pace ------------------------------------------------------------------------------------- */

/* May a message of this size and time go out now? Sets not_before when it may not. */
static bool pace(struct run *r, const struct record_out *m, size_t size)
{
    struct js_consumer *c = r->c;
    if (c->cfg->replay_policy == REPLAY_ORIGINAL && m->seq <= c->replay_up_to && !r->again) {
        int64_t gap = c->replay_ts ? m->ts - c->replay_ts : 0;
        c->replay_ts = m->ts;
        if (gap > NS_PER_MS) {
            c->not_before = r->now + gap;
            return false;
        }
    }
    if (!c->cfg->rate_limit)
        return true;
    int64_t max_size = c->stream->cfg.max_msg_size;
    double burst = (double)(max_size > 0 ? max_size : consumer_host(c)->max_payload);
    double rate = (double)c->cfg->rate_limit / 8 / (double)NS_PER_S; /* bytes a ns */
    double level = (double)c->rate_level + (double)(r->now - c->rate_at) * rate;
    double need = (double)size < burst ? (double)size : burst;
    if (!c->rate_at || level > burst)
        level = burst;
    c->rate_at = r->now;
    c->rate_level = (int64_t)level;
    if (level < need) {
        c->not_before = r->now + (int64_t)((need - level) / rate) + 1;
        return false;
    }
    c->rate_level -= (int64_t)need;
    return true;
}

/* --- one message ------------------------------------------------------------------------------ */

static void head_only(struct run *r, const struct record_out *m, struct msg_view *v)
{
    char line[64] = "Nats-Msg-Size: ";
    size_t n = 15 + digits_put(line + 15, m->payload.n);
    memcpy(line + n, "\r\n", 2);
    buf_clear(r->head);
    if (m->hdr.n) {
        buf_add(r->head, m->hdr.p, m->hdr.n - 2);
        buf_add(r->head, line, n + 2);
        buf_add(r->head, "\r\n", 2);
    } else {
        buf_add(r->head, "NATS/1.0\r\n", 10);
        buf_add(r->head, line, n + 2);
        buf_add(r->head, "\r\n", 2);
    }
    v->hdr = buf_slice(r->head);
    v->payload = (struct slice){0};
}

/* Says it to whose turn it is; *to: the request that got it. False: nobody took it. */
static bool send(struct run *r, struct msg_view *v, size_t size, struct pull_request **to)
{
    struct js_consumer *c = r->c;
    const struct jsapi_host *h = consumer_host(c);
    bool push = consumer_is_push(c->cfg);
    for (;;) {
        struct pull_request *p = NULL;
        if (push) {
            v->via = c->cfg->deliver_subject;
        } else {
            p = pull_next(c);
            if (!p) {
                r->stop = STOP_NO_TAKER;
                return false;
            }
            if (!pull_fits(c, p, size))
                continue;
            v->via = pull_reply(p);
        }
        enum jsapi_published said = h->publish(h->arg, c->acc->account, v);
        if (said == PUBLISHED_NOBODY) {
            if (p) {
                pull_end(c, p, NULL, false);
                continue;
            }
            r->stop = STOP_PACE;
            c->not_before = r->now + RETRY_AFTER;
            return false;
        }
        if (said == PUBLISHED_REST) {
            c->set->resting = true;
            if (push)
                c->rests = true;
            else
                p->rests = true;
        }
        *to = p;
        return true;
    }
}

static void count_it(struct run *r, const struct record_out *m)
{
    struct js_consumer *c = r->c;
    uint32_t deliveries;
    if (r->again) {
        pending_redeliver(&c->pend, m->seq, r->now, &deliveries);
        return;
    }
    pending_deliver(&c->pend, m->seq, r->now);
    if (r->left)
        r->left--;
    if (m->seq <= c->latest_up_to)
        c->latest_left -= c->latest_left > 0;
    else if (c->filtered && c->num_pending)
        c->num_pending--;
    if (c->cfg->ack_policy == ACK_NONE && c->stream->cfg.retention != RETAIN_LIMITS)
        retention_settled(c->set, c, m->seq);
}

/* store_each_fn: one record to whoever is next. */
static int deliver(void *arg, const struct record_out *m)
{
    struct run *r = arg;
    struct js_consumer *c = r->c;
    char reply[700];
    struct ack_ref ref = {.deliveries = 1, .sseq = m->seq, .ts = m->ts};
    struct msg_view v = {
        .subject = m->subject, .hdr = m->hdr, .payload = m->payload, .backlog = true};
    if (r->again)
        ref.deliveries = pending_find(&c->pend, m->seq)->deliveries + 1u;
    ref.cseq = c->pend.delivered.consumer + 1;
    ref.pending = r->again || !r->left ? r->left : r->left - 1;
    memcpy(reply, c->prefix, c->prefix_n);
    v.reply = slice_of(reply, c->prefix_n + ack_write(reply + c->prefix_n, &ref));
    if (c->cfg->headers_only)
        head_only(r, m, &v);
    size_t size = v.subject.n + v.reply.n + v.hdr.n + v.payload.n;
    if ((c->cfg->rate_limit || c->replay_up_to) && !pace(r, m, size)) {
        r->stop = STOP_PACE;
        return READ_RETRY;
    }
    struct pull_request *to = NULL;
    bool taken = send(r, &v, size, &to);
    msg_view_done(&v);
    if (!taken)
        return READ_RETRY;
    count_it(r, m);
    if (to)
        pull_took(c, to, size, r->now);
    else
        push_sent(c, size, r->now); /* may ask for an answer, and looks at what is pending */
    r->n++;
    r->bytes += size;
    if (c->rests)
        r->stop = STOP_RESTS;
    else if (consumer_is_push(c->cfg) && !push_open_for(c))
        r->stop = STOP_NO_TAKER;
    return r->stop != STOP_NOT || r->bytes >= SLICE_BYTES ? READ_STOP : READ_ON;
}

/* --- three sources ---------------------------------------------------------------------------- */

static bool slice_full(const struct run *r)
{
    return r->n >= SLICE_MSGS || r->bytes >= SLICE_BYTES;
}

/* An ack of all may have settled what comes behind its first delivery: then the news of its end
 * changes nothing, and it has to be taken off all the same. */
static void gone_for_good(struct js_consumer *c, uint64_t seq)
{
    ack_gone(c, seq, "Unacknowledged message was deleted");
    if (pending_gone(&c->pend, seq))
        consumer_dirty(c);
}

/* True: go on with what comes after. */
static bool redeliver(struct run *r)
{
    struct js_consumer *c = r->c;
    uint64_t seq;
    r->again = true;
    while (r->stop == STOP_NOT && !slice_full(r) && pending_front(&c->pend, &seq)) {
        const struct pending_entry *e = pending_find(&c->pend, seq);
        if (c->cfg->max_deliver > 0 && e->deliveries >= c->cfg->max_deliver) {
            uint32_t deliveries = e->deliveries;
            pending_give(&c->pend, seq);
            consumer_dirty(c);
            ack_gave_up(c, seq, deliveries);
            continue;
        }
        int err = store_get(c->stream->store, seq, deliver, r);
        if (err == E_CLOSED) {
            r->stop = STOP_NO_TAKER;
            return false;
        }
        if (err)
            gone_for_good(c, seq);
    }
    r->again = false;
    return r->stop == STOP_NOT && !slice_full(r);
}

static bool deliver_latest(struct run *r)
{
    struct js_consumer *c = r->c;
    uint64_t seq;
    while (r->stop == STOP_NOT && !slice_full(r) && consumer_window_open(c) &&
           (seq = consumer_latest_next(c))) {
        int err = store_get(c->stream->store, seq, deliver, r);
        if (err == E_CLOSED) {
            r->stop = STOP_NO_TAKER;
            return false;
        }
        if (err || c->pend.delivered.stream >= seq)
            c->latest_at++;
    }
    return r->stop == STOP_NOT && !slice_full(r) && consumer_window_open(c);
}

static uint32_t wanted_now(const struct js_consumer *c)
{
    uint64_t n = SLICE_MSGS;
    if (c->cfg->max_ack_pending > 0) {
        uint64_t room = (uint64_t)c->cfg->max_ack_pending - pending_count(&c->pend);
        n = room < n ? room : n;
    }
    if (c->n_waiting && c->n_waiting <= 8) {
        uint64_t sum = 0;
        LIST_EACH(it, &c->waiting)
        {
            int64_t batch = LIST_ENTRY(it, struct pull_request, link)->batch;
            sum += batch > 0 ? (uint64_t)batch : 1;
        }
        n = sum < n ? sum : n;
    }
    return (uint32_t)n;
}

static void caught_up(struct js_consumer *c)
{
    if (c->filtered)
        c->num_pending = 0;
    c->replay_up_to = 0;
    /* with its window shut it is held back, not at the end */
    if (!consumer_is_push(c->cfg) && consumer_window_open(c))
        pull_end_of_stream(c);
    consumer_place(c, PLACE_HUNGRY);
}

static void deliver_new(struct run *r)
{
    struct js_consumer *c = r->c;
    struct store_filter f = consumer_filters(c->cfg);
    struct read_budget budget = {wanted_now(c), SLICE_SCAN, SLICE_BYTES - r->bytes};
    uint64_t from = c->pend.delivered.stream + 1;
    if (budget.max_msgs > SLICE_MSGS - r->n)
        budget.max_msgs = SLICE_MSGS - r->n;
    int got = store_read(c->stream->store, &from, c->filtered ? &f : NULL, &budget, deliver, r);
    if (got < 0) {
        log_warn("Consumer '%.*s > %.*s': reading failed: %s", SLICE_FMT(c->stream->name),
                 SLICE_FMT(c->name), err_text(got));
        consumer_due(c, r->now + NS_PER_S);
        return;
    }
    pending_skip(&c->pend, from - 1);
    if (got == READ_END && r->stop == STOP_NOT)
        caught_up(c);
    else if (r->stop == STOP_NOT)
        consumer_ready(c);
}

/* --- visits ----------------------------------------------------------------------------------- */

static bool has_taker(const struct js_consumer *c)
{
    return consumer_is_push(c->cfg) ? push_open_for(c) && !c->rests : c->n_waiting > 0;
}

static void after_slice(struct run *r)
{
    struct js_consumer *c = r->c;
    if (r->stop == STOP_PACE)
        consumer_due(c, c->not_before);
    if (!r->n)
        return;
    c->delivered_wall = clock_wall();
    consumer_active(c, r->now);
    consumer_dirty(c);
    if (pending_count(&c->pend) && list_empty(&c->holder))
        list_push_back(&c->set->holders, &c->holder);
    if (c->pend.rules.tracks)
        consumer_due(c, pending_due(&c->pend));
}

static void visit(struct js_consumer *c, struct buf *head)
{
    struct run r = {.c = c, .now = clock_mono(), .head = head};
    if (!consumer_is_live(c) || c->resetting || !has_taker(c))
        return;
    if (consumer_paused(c)) {
        if (!consumer_is_push(c->cfg))
            pull_end_of_stream(c);
        return;
    }
    if (r.now < c->not_before) {
        consumer_due(c, c->not_before);
        return;
    }
    if (!consumer_counted(c, NULL))
        return;
    r.left = consumer_num_pending(c);
    uint32_t given = c->pend.given_n;
    bool more = pending_expire(&c->pend, r.now, SLICE_MSGS, ack_gave_up, c);
    if (c->pend.given_n != given)
        consumer_dirty(c);
    bool on = redeliver(&r);
    if (on && consumer_window_open(c) && has_taker(c)) { /* else an ack or a pull makes it ready */
        if (deliver_latest(&r))
            deliver_new(&r);
        else if (r.stop == STOP_NOT)
            consumer_ready(c);
    } else if (!on && r.stop == STOP_NOT) {
        consumer_ready(c);
    }
    if (more)
        consumer_ready(c);
    after_slice(&r);
}

enum job_result delivery_pump(struct job *j, const struct job_budget *b)
{
    struct consumers *cs = CONTAINER_OF(j, struct consumers, pump);
    struct buf head = BUF_INIT;
    while (!list_empty(&cs->ready)) {
        struct js_consumer *c = LIST_ENTRY(cs->ready.next, struct js_consumer, link);
        consumer_place(c, PLACE_IDLE);
        visit(c, &head);
        if (job_over(b))
            break;
    }
    buf_release(&head);
    return list_empty(&cs->ready) ? JOB_DONE : JOB_MORE;
}
