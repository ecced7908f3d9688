/* jsapi/ack.c -- what clients say about what they got
 *
 * Acks arrive in a hear function: they change the pending set at once and say nothing themselves;
 * advisories and plain replies are posted. A reply to an ack or term (a "double ack") is owed the
 * truth: it leaves when the progress, and the removal of the message where the stream's retention
 * asks for it, is on disk.
 *
 *     heard → ack_read → verb → pending_* → retention_settled
 *                                               └──► reply wanted? flush removals, sync, say
 *
 * Nothing of the subject is trusted beyond its numbers: a sequence that was not delivered yet is
 * ignored. One that is settled already is answered and changes nothing here; where retention is not
 * by limits it is asked once more whether the message may leave.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/ack.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/digits.h"
#include "jsapi/pull.h"
#include "jsapi/retention.h"

/* --- subjects --------------------------------------------------------------------------------- */

size_t ack_write(char *to, const struct ack_ref *ref)
{
    size_t n = digits_put(to, ref->deliveries);
    to[n++] = '.';
    n += digits_put(to + n, ref->sseq);
    to[n++] = '.';
    n += digits_put(to + n, ref->cseq);
    to[n++] = '.';
    n += digits_put(to + n, ref->ts > 0 ? (uint64_t)ref->ts : 0);
    to[n++] = '.';
    n += digits_put(to + n, ref->pending);
    return n;
}

/* The token at the front of rest, taken off. More than 19 digits are no number of ours. */
static uint64_t number_of(struct slice *rest)
{
    uint64_t v = 0;
    size_t i = 0;
    unsigned bad = 0;
    for (; i < rest->n && rest->p[i] != '.'; i++) {
        unsigned d = (unsigned)(unsigned char)rest->p[i] - '0';
        bad |= d > 9;
        v = v * 10 + d;
    }
    *rest = slice_skip(*rest, i + 1);
    return bad || !i || i > 19 ? UINT64_MAX : v;
}

void ack_read(struct slice rest, struct ack_ref *ref)
{
    *ref = (struct ack_ref){.deliveries = number_of(&rest)};
    ref->sseq = number_of(&rest);
    ref->cseq = number_of(&rest);
}

/* --- replies ---------------------------------------------------------------------------------- */

struct owed {                   /* a reply that waits for the disk */
    struct retention_wait wait; /* and before that, for what the ack means to the stream */
    struct js_consumer *c;      /* held during that wait */
    struct jsapi_account *acc;  /* held */
    struct slice reply;         /* owned */
};

static void forgive(struct owed *o)
{
    jsapi_drop(o->acc);
    free((char *)o->reply.p);
    free(o);
}

static void pay(void *arg, int err)
{
    struct owed *o = arg;
    if (!err)
        js_say(o->acc, o->reply, (struct slice){0}, (struct slice){0}, (struct slice){0});
    forgive(o);
}

static void post_empty(struct js_consumer *c, struct slice reply)
{
    js_post(c->acc, reply, (struct slice){0}, (struct slice){0}, (struct slice){0});
}

/* flying: some of what it removed went to the disk before. */
static void pay_when_durable(struct js_consumer *c, struct owed *o, bool flying)
{
    if (c->cursor) {
        retention_flush(c->set, NULL, NULL);
        int err = store_cursor_sync(c->cursor, pay, o);
        if (err)
            pay(o, err);
    } else if (!retention_flush(c->set, pay, o) &&
               !(flying && store_remove(c->stream->store, NULL, 0, false, pay, o) == 0)) {
        post_empty(c, o->reply);
        forgive(o);
    }
}

static void on_asked(struct retention_wait *w, bool gone)
{
    struct owed *o = CONTAINER_OF(w, struct owed, wait);
    struct js_consumer *c = o->c;
    if (gone || c->state == CONSUMER_GONE)
        forgive(o);
    else
        pay_when_durable(c, o, true);
    consumer_drop(c);
}

/* The client hears when what it acked can't come back. */
static void reply_when_durable(struct js_consumer *c, struct slice reply)
{
    struct owed *o = xmalloc(sizeof *o);
    *o = (struct owed){{.fn = on_asked}, c, c->acc, slice_of(slice_dup(reply), reply.n)};
    jsapi_hold(c->acc);
    if (retention_wait(c->set, &o->wait))
        consumer_hold(c);
    else
        pay_when_durable(c, o, false);
}

/* --- advisories ------------------------------------------------------------------------------- */

static bool advise(struct js_advisory *ad, struct js_consumer *c, const char *type,
                   const char *subject)
{
    if (!js_advise(ad, c->acc, type, "%s.%.*s.%.*s", subject, SLICE_FMT(c->stream->name),
                   SLICE_FMT(c->name)))
        return false;
    json_str(&ad->j, "stream", c->stream->name);
    json_str(&ad->j, "consumer", c->name);
    return true;
}

static void advise_ref(struct js_consumer *c, const char *type, const char *subject,
                       const struct ack_ref *ref, struct slice reason)
{
    struct js_advisory ad;
    if (!advise(&ad, c, type, subject))
        return;
    json_u64(&ad.j, "consumer_seq", ref->cseq);
    json_u64(&ad.j, "stream_seq", ref->sseq);
    json_u64(&ad.j, "deliveries", ref->deliveries);
    if (reason.n)
        json_str(&ad.j, "reason", reason);
    js_advise_end(&ad);
}

void ack_gave_up(void *consumer, uint64_t sseq, uint32_t deliveries)
{
    struct js_consumer *c = consumer;
    struct js_advisory ad;
    if (!advise(&ad, c, "max_deliver", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"))
        return;
    json_u64(&ad.j, "stream_seq", sseq);
    json_u64(&ad.j, "deliveries", deliveries);
    js_advise_end(&ad);
}

static void sample(struct js_consumer *c, const struct ack_ref *ref, const struct pending_entry *e)
{
    struct js_advisory ad;
    c->sampled += consumer_sampling(c->cfg);
    if (c->sampled < 100)
        return;
    c->sampled -= 100;
    if (!js_advise(&ad, c->acc, "metric.v1.consumer_ack", "$JS.EVENT.METRIC.CONSUMER.ACK.%.*s.%.*s",
                   SLICE_FMT(c->stream->name), SLICE_FMT(c->name)))
        return;
    json_str(&ad.j, "stream", c->stream->name);
    json_str(&ad.j, "consumer", c->name);
    json_u64(&ad.j, "consumer_seq", ref->cseq);
    json_u64(&ad.j, "stream_seq", ref->sseq);
    json_i64(&ad.j, "ack_time", clock_mono() - e->at);
    json_u64(&ad.j, "deliveries", ref->deliveries);
    js_advise_end(&ad);
}

/* --- settling --------------------------------------------------------------------------------- */

static bool window_full(const struct js_consumer *c)
{
    return c->cfg->max_ack_pending > 0 && pending_count(&c->pend) >= c->cfg->max_ack_pending;
}

/* After something was settled: the stream may drop it, the cursor wants to be written, the window
 * has room. */
static void after_settled(struct js_consumer *c, bool was_full)
{
    int64_t now = clock_mono();
    c->acked_wall = clock_wall();
    consumer_active(c, now);
    consumer_dirty(c);
    if (was_full && !window_full(c))
        consumer_ready(c);
}

static void settle_all(struct js_consumer *c, uint64_t sseq, uint64_t cseq)
{
    bool was_full = window_full(c);
    uint64_t *settled = NULL;
    size_t n = 0;
    uint32_t held = pending_count(&c->pend) + c->pend.given_n;
    if (c->stream->cfg.retention != RETAIN_LIMITS && held) {
        uint32_t pos = 0;
        settled = xmalloc(held * sizeof *settled);
        for (const struct pending_entry *e; (e = pending_next(&c->pend, &pos)) && e->sseq <= sseq;)
            settled[n++] = e->sseq;
        for (uint32_t i = 0; i < c->pend.given_n && c->pend.given[i] <= sseq; i++)
            settled[n++] = c->pend.given[i];
    }
    if (pending_ack_all(&c->pend, sseq, cseq) != PENDING_NOTHING) {
        retention_settled_many(c->set, c, settled, n);
        after_settled(c, was_full);
    } else {
        free(settled);
    }
}

static void settle_one(struct js_consumer *c, uint64_t sseq)
{
    bool was_full = window_full(c);
    if (pending_ack(&c->pend, sseq) == PENDING_NOTHING) {
        c->acked_wall = clock_wall(); /* a sign of life, at least */
        if (c->stream->cfg.retention != RETAIN_LIMITS)
            retention_asked(c->set, sseq);
        return;
    }
    if (c->stream->cfg.retention != RETAIN_LIMITS)
        retention_settled(c->set, c, sseq);
    after_settled(c, was_full);
}

static void settle(struct js_consumer *c, const struct ack_ref *ref)
{
    if (c->cfg->sample_freq.n) {
        const struct pending_entry *e = pending_find(&c->pend, ref->sseq);
        if (e)
            sample(c, ref, e);
    }
    if (c->cfg->ack_policy == ACK_ALL)
        settle_all(c, ref->sseq, ref->cseq);
    else
        settle_one(c, ref->sseq);
}

/* Asked anew it gets again what it has already, and tells how far it is: that may be further than
 * this life has delivered. */
void ack_flow_control(struct js_consumer *c, uint64_t sseq, uint64_t cseq)
{
    uint64_t given = c->pend.delivered.stream;
    if (sseq)
        settle_all(c, sseq < given ? sseq : given, cseq);
}

void ack_gone(struct js_consumer *c, uint64_t sseq, const char *reason)
{
    const struct pending_entry *e = pending_find(&c->pend, sseq);
    bool was_full = window_full(c);
    if (e) {
        struct ack_ref ref = {.deliveries = e->deliveries, .sseq = sseq, .cseq = e->cseq};
        advise_ref(c, "terminated", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED", &ref,
                   slice_cstr(reason));
    }
    if (e && c->cfg->ack_policy == ACK_ALL) {
        settle_all(c, sseq, e->cseq); /* and all before it, as with nats-server */
    } else if (pending_gone(&c->pend, sseq)) {
        c->acked_wall = clock_wall();
        consumer_dirty(c);
        if (was_full)
            consumer_ready(c);
    }
}

void ack_gone_range(struct js_consumer *c, uint64_t first, uint64_t last, const char *reason)
{
    const struct pending_entry *e;
    while ((e = pending_from(&c->pend, first)) && e->sseq <= last) {
        first = e->sseq + 1;
        ack_gone(c, e->sseq, reason);
    }
    uint32_t given = c->pend.given_n;
    pending_gone_range(&c->pend, first, last); /* those given up */
    if (c->pend.given_n != given)
        consumer_dirty(c);
}

/* --- verbs ------------------------------------------------------------------------------------ */

/* The delay behind "-NAK", < 0 when there is none that can be read. */
static int64_t nak_delay(struct slice arg)
{
    int64_t ns = -1;
    arg = slice_trim(arg);
    if (!arg.n)
        return -1;
    if (arg.p[0] == '{') {
        json_t *obj;
        if (json_read(arg, &obj, NULL) == 0) {
            ns = json_get_int(obj, "delay", 0);
            json_free(obj);
        }
    } else if (duration_parse(arg.p, arg.n, &ns) < 0) {
        ns = -1;
    }
    return ns;
}

static void nak(struct js_consumer *c, const struct ack_ref *ref, struct slice arg)
{
    int64_t now = clock_mono(), delay = nak_delay(arg);
    const struct pending_entry *e = pending_find(&c->pend, ref->sseq);
    if (!e || ref->cseq <= c->pend.base.consumer || ref->cseq > c->pend.delivered.consumer)
        return;
    advise_ref(c, "nak", "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED", ref, (struct slice){0});
    pending_nak(&c->pend, ref->sseq, delay, now);
    if (delay < 0) {
        consumer_ready(c);
    } else {
        c->delivered_wall = clock_wall(); /* so does nats-server: a delivery that is put off */
        consumer_due(c, clock_after(now, delay));
    }
    consumer_active(c, now);
    consumer_dirty(c);
}

static void term(struct js_consumer *c, const struct ack_ref *ref, struct slice reason)
{
    if (c->cfg->ack_policy == ACK_ALL)
        settle_all(c, ref->sseq, ref->cseq);
    else
        settle_one(c, ref->sseq);
    advise_ref(c, "terminated", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED", ref,
               slice_trim(reason));
}

static void progress(struct js_consumer *c, uint64_t sseq)
{
    int64_t now = clock_mono();
    if (pending_touch(&c->pend, sseq, now) == PENDING_LATER) {
        c->delivered_wall = clock_wall();
        consumer_dirty(c);
    }
    consumer_active(c, now);
}

#define V_NAK  SLICE("-NAK")
#define V_NEXT SLICE("+NXT")
#define V_TERM SLICE("+TERM")

static void apply(struct js_consumer *c, const struct ack_ref *ref, struct slice what,
                  struct slice reply)
{
    bool delivered = ref->sseq <= c->pend.delivered.stream;
    if (!what.n || slice_is(what, "+ACK") || slice_is(what, "+OK")) {
        if (!delivered)
            return;
        settle(c, ref);
        if (reply.n)
            reply_when_durable(c, reply);
        return;
    }
    if (slice_starts(what, V_NEXT)) {
        if (delivered)
            settle(c, ref);
        if (reply.n)
            pull_ask(c, slice_skip(what, V_NEXT.n), reply);
        return;
    }
    if (slice_starts(what, V_TERM)) {
        if (!delivered)
            return;
        term(c, ref, slice_skip(what, V_TERM.n));
        if (reply.n)
            reply_when_durable(c, reply);
        return;
    }
    if (slice_starts(what, V_NAK))
        nak(c, ref, slice_skip(what, V_NAK.n));
    else if (slice_is(what, "+WPI"))
        progress(c, ref->sseq);
    if (reply.n && ref->sseq)
        post_empty(c, reply);
}

bool ack_heard(void *arg, struct msg_view *m, void *from)
{
    struct js_consumer *c = arg;
    struct slice subject = msg_route(m);
    struct ack_ref ref;
    (void)from;
    if (c->state != CONSUMER_LIVE)
        return true;
    if (slice_starts(subject, slice_of(c->prefix, c->prefix_n)))
        ack_read(slice_skip(subject, c->prefix_n), &ref);
    else if (slice_starts(subject, slice_of(c->prefix_v2, c->prefix_v2_n)))
        ack_read(slice_skip(subject, c->prefix_v2_n), &ref);
    else
        return true;
    apply(c, &ref, m->payload, m->reply);
    return true;
}
