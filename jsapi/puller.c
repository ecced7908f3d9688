/* jsapi/puller.c -- a source's life: asking, receiving, resuming; see puller.h for the states
 *
 * How it can fail, and what happens then:
 *
 *     the origin refuses    its error shows in stream info; asked again after a back-off, 2 s
 *                           doubling to 60 s
 *     nobody answers        asked again after ANSWER_WAIT, at once when a link of the account comes
 *                           up
 *     a message is missing  (consumer number, or a heartbeat's) asked again from the last stored
 *                           one
 *     silence               no heartbeat for SILENCE_MAX, after a link came back for LINK_GRACE:
 *                           asked again
 *     the store refuses     the position goes back to the last stored one; asked again after a rest
 *     the store fails       the same, by way of replicator_reopened()
 *     the store lets wait   asked again when it takes messages at once: what waits there has no
 *                           number yet, and its position must not be on disk before it
 *
 * Two requests of one puller are at least SPACING apart: no storms.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/puller.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/domain.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/uid.h"
#include "jsapi/direct.h"
#include "jsapi/replicate.h"

#define ANSWER_WAIT (5 * NS_PER_S)
#define SILENCE_MAX (10 * NS_PER_S)    /* heartbeats come every second */
#define LINK_GRACE  (2500 * NS_PER_MS) /* a consumer that survived a cut is heard within this */
#define SPACING     (2 * NS_PER_S)
#define BACKOFF_MAX (60 * NS_PER_S)
#define NEAR        10 /* messages missing; the reference's number for mirrors that answer direct gets */

static const struct sm_rule rules[] = {
    [PULLER_RESTING] = {"RESTING", SM_TO(PULLER_ASKING) | SM_TO(PULLER_RESTING)},
    [PULLER_ASKING] = {"ASKING", SM_TO(PULLER_PULLING) | SM_TO(PULLER_RESTING)},
    [PULLER_PULLING] = {"PULLING", SM_TO(PULLER_RESTING)},
};

static bool hear_answer(void *arg, struct msg_view *m, void *from);
static bool hear_delivery(void *arg, struct msg_view *m, void *from);

static const struct jsapi_host *host(const struct puller *p)
{
    return &p->stream->acc->js->host;
}

static void unsubscribe(struct puller *p, struct jsapi_sub **sub)
{
    if (*sub)
        host(p)->unsubscribe(host(p)->arg, *sub);
    *sub = NULL;
}

static struct jsapi_sub *subscribe(struct puller *p, const char *subject, jsapi_hear_fn *fn)
{
    return host(p)->subscribe(host(p)->arg, p->stream->acc->account, slice_cstr(subject),
                              (struct slice){0}, fn, p);
}

static void set_timer(struct puller *p, int64_t in_ns)
{
    turn_set(host(p)->turn, &p->timer, clock_mono() + in_ns);
}

static void puller_enter(struct puller *p, enum puller_state to, const char *why)
{
    char who[300];
    (void)snprintf(who, sizeof who, "%s %.*s > %.*s", p->mirror ? "mirror" : "source",
                   SLICE_FMT(p->stream->name), SLICE_FMT(p->cfg.name));
    sm_move(rules, &p->state, to, who, why);
    switch (to) {
    case PULLER_RESTING:
        unsubscribe(p, &p->inbox_sub);
        unsubscribe(p, &p->deliver_sub);
        p->fc[0] = '\0';
        break;
    case PULLER_ASKING:
        set_timer(p, ANSWER_WAIT);
        break;
    case PULLER_PULLING:
        p->failures = 0;
        p->error.code = JS_NO_ERROR;
        p->heard_at = clock_mono();
        set_timer(p, SILENCE_MAX);
        break;
    }
}

/* --- asking ---------------------------------------------------------------------------------- */

void puller_ask_in(struct puller *p, int64_t ns)
{
    int64_t soonest = p->asked_at ? p->asked_at + SPACING : 0, at = clock_mono() + ns;
    if (p->state != PULLER_RESTING)
        puller_enter(p, PULLER_RESTING, "anew");
    turn_set(host(p)->turn, &p->timer, at > soonest ? at : soonest);
}

static void back_off(struct puller *p)
{
    int64_t wait = SPACING << (p->failures < 5 ? p->failures : 5);
    unsigned char jitter;
    random_bytes(&jitter, 1);
    p->failures++;
    puller_ask_in(p, (wait < BACKOFF_MAX ? wait : BACKOFF_MAX) + jitter * NS_PER_MS);
}

static void new_names(struct puller *p)
{
    char uid[9];
    uid_short(uid, 8);
    (void)snprintf(p->inbox, sizeof p->inbox, "$JSC.R.%s", uid);
    uid_short(uid, 8);
    if (p->cfg.consumer)
        (void)snprintf(p->deliver_subject, sizeof p->deliver_subject, "%.*s",
                       SLICE_FMT(p->cfg.consumer->deliver_subject));
    else if (p->deliver.n)
        (void)snprintf(p->deliver_subject, sizeof p->deliver_subject, "%.*s.%c.%s",
                       SLICE_FMT(p->deliver), p->mirror ? 'M' : 'S', uid);
    else
        (void)snprintf(p->deliver_subject, sizeof p->deliver_subject, "$JS.%c.%s",
                       p->mirror ? 'M' : 'S', uid);
}

/* A mirror's position is its own last number. */
static bool takes_at_once(const struct puller *p)
{
    return p->mirror || store_takes_at_once(p->stream->store);
}

static void ask(struct puller *p)
{
    struct buf subject = BUF_INIT, hdr = BUF_INIT, body = BUF_INIT;
    new_names(p);
    p->asked_at = clock_mono();
    p->refused = false;
    p->fc[0] = '\0';
    if (p->mirror) /* a purge may have moved its numbers on, too */
        p->seq = store_last_assigned(p->stream->store);
    puller_enter(p, PULLER_ASKING, "request");
    p->inbox_sub = subscribe(p, p->inbox, hear_answer);
    puller_write_request(p, &subject, &hdr, &body);
    enum jsapi_published got = js_say(p->stream->acc, buf_slice(&subject), slice_cstr(p->inbox),
                                      buf_slice(&hdr), buf_slice(&body));
    if (got == PUBLISHED_NOBODY) /* no link, or no such domain: link_up wakes us */
        back_off(p);
    buf_release(&subject);
    buf_release(&hdr);
    buf_release(&body);
}

static void on_timer(void *arg)
{
    struct puller *p = arg;
    switch ((enum puller_state)p->state) {
    case PULLER_RESTING:
        /* What was handed to the store must be answered first: it decides where to go on. */
        if (p->waiting || !takes_at_once(p))
            set_timer(p, 20 * NS_PER_MS);
        else
            ask(p);
        break;
    case PULLER_ASKING:
        log_debug("JetStream %s of '%.*s' got no answer from '%.*s'",
                  p->mirror ? "mirror" : "source", SLICE_FMT(p->stream->name),
                  SLICE_FMT(p->cfg.name));
        back_off(p);
        break;
    case PULLER_PULLING: {
        int64_t silent = clock_mono() - p->heard_at;
        if (silent >= SILENCE_MAX)
            puller_ask_in(p, 0);
        else
            set_timer(p, SILENCE_MAX - silent);
        break;
    }
    }
}

/* Later in this turn, outside of the hear function that found a reason. */
static void ask_after(struct puller *p, int64_t in_ns)
{
    p->ask_again = true;
    p->ask_in = in_ns;
    turn_post_now(host(p)->turn, &p->after);
}

/* --- the answer ------------------------------------------------------------------------------ */

static bool answer_error(struct puller *p, json_t *error)
{
    int64_t code = json_get_int(error, "err_code", 0);
    struct slice text = json_get_str(error, "description");
    if ((code == JSRequiredApiLevelErr || code == JSInvalidJSONErr) && p->level > 0) {
        p->level = p->level > 4 && !p->mirror ? 4 : 0;
        p->asked_at = 0; /* the fallback is immediate */
        ask_after(p, 0);
        return false;
    }
    if (code == JSConsumerStreamIdentityMismatchF) {
        log_warn("JetStream source stream \"%.*s\" for stream '%.*s > %.*s' was recreated, "
                 "resetting source state",
                 SLICE_FMT(p->cfg.name), SLICE_FMT(p->stream->acc->name),
                 SLICE_FMT(p->stream->name));
        p->identity[0] = '\0';
        p->seq = p->durable_seq = 0;
        p->dirty = true;
        ask_after(p, 0);
        return false;
    }
    p->error.code = (enum js_code)code;
    p->error.status = (int)json_get_int(error, "code", 500);
    (void)snprintf(p->error.text, sizeof p->error.text, "%.*s", SLICE_FMT(text));
    log_debug("JetStream source '%.*s' refused: %s", SLICE_FMT(p->cfg.name), p->error.text);
    ask_after(p, -1);
    return false;
}

static void moved_to(struct puller *p, uint64_t seq)
{
    p->seq = seq;
    p->dirty = true;
    if (p->positions)
        store_cursor_dirty(p->positions);
}

static void take_identity(struct puller *p, struct slice hdr)
{
    struct slice id;
    if (p->mirror || !hdr_get(hdr, SLICE("Nats-Stream-Identity"), &id) ||
        id.n >= sizeof p->identity || slice_find(id, ' ') < id.n)
        return;
    if (p->identity[0] && !slice_is(id, p->identity)) {
        p->seq = p->durable_seq = 0; /* another stream of the same name: everything anew */
        ask_after(p, 0);
    }
    (void)snprintf(p->identity, sizeof p->identity, "%.*s", SLICE_FMT(id));
    moved_to(p, p->seq);
}

/* A mirror goes on where its origin does: it never gets the numbers before that. What it has it
 * keeps, though the origin may not have it any more. */
static void skip_to_start(struct puller *p, json_t *doc)
{
    struct stream *s = p->stream->store;
    struct stream_state st;
    int64_t start = json_get_int(json_key(doc, "delivered"), "stream_seq", 0);
    if (!p->mirror || start <= 0 || (uint64_t)start <= store_last_assigned(s))
        return;
    struct record_in none = {.flags = REC_EXACT | REC_SKIP | REC_NO_DEDUP, .seq = (uint64_t)start};
    store_state(s, &st);
    int err = st.msgs ? store_append(s, &none, NULL, NULL)
                      : store_skip_to(s, (uint64_t)start + 1, NULL, NULL);
    if (err == E_OK)
        p->seq = p->durable_seq = (uint64_t)start;
}

static bool answer_good(struct puller *p, json_t *doc, struct slice hdr)
{
    json_t *config = json_key(doc, "config");
    struct slice name = json_get_str(doc, "name"),
                 subject = json_get_str(config, "deliver_subject");
    if (!json_is_object(config) || name.n == 0 || subject.n == 0 ||
        subject.n >= sizeof p->deliver_subject) {
        js_fail(&p->error, JSSourceConsumerSetupFailedErrF, "%s",
                "invalid consumer create response");
        ask_after(p, -1);
        return false;
    }
    free((void *)(uintptr_t)p->consumer.p);
    p->consumer = slice_of(slice_dup(name), name.n);
    (void)snprintf(p->deliver_subject, sizeof p->deliver_subject, "%.*s", SLICE_FMT(subject));
    p->cseq = p->cseq_seq = 0;
    p->near = json_get_int(doc, "num_pending", NEAR) < NEAR;
    take_identity(p, hdr);
    skip_to_start(p, doc);
    return true;
}

static bool hear_answer(void *arg, struct msg_view *m, void *from)
{
    struct puller *p = arg;
    json_t *doc;
    (void)from;
    if (p->state != PULLER_ASKING)
        return true;
    if (slice_is(hdr_status(m->hdr), "503")) {
        ask_after(p, -1);
        return true;
    }
    if (json_read(m->payload, &doc, NULL)) {
        ask_after(p, -1);
        return true;
    }
    json_t *error = json_key(doc, "error");
    bool good = json_is_object(error) ? answer_error(p, error) : answer_good(p, doc, m->hdr);
    json_free(doc);
    if (good && !p->ask_again)
        turn_post_now(host(p)->turn, &p->after); /* subscribes and goes on in after() */
    return true;
}

/* --- receiving ------------------------------------------------------------------------------- */

/* What was handed to the store and is not awaited any more was stored, or p is refused. */
static bool is_durable(const struct puller *p, uint64_t seq)
{
    return p->durable_seq >= seq || (!p->waiting && !p->refused);
}

static void answer_flow_control(struct puller *p)
{
    char hdr[128];
    if (!p->fc[0] || !is_durable(p, p->fc_seq))
        return;
    int n = snprintf(hdr, sizeof hdr,
                     "NATS/1.0\r\nNats-Last-Consumer: %llu\r\nNats-Last-Stream: %llu\r\n\r\n",
                     (unsigned long long)p->fc_cseq, (unsigned long long)p->fc_seq);
    js_post(p->stream->acc, slice_cstr(p->fc), (struct slice){0}, slice_of(hdr, (size_t)n),
            (struct slice){0});
    p->fc[0] = '\0';
}

/* Flow control, or a stalled consumer: answered when all that came before is durable. */
static void owe_answer(struct puller *p, struct slice subject)
{
    if (subject.n == 0 || subject.n >= sizeof p->fc)
        return;
    (void)snprintf(p->fc, sizeof p->fc, "%.*s", SLICE_FMT(subject));
    p->fc_seq = p->cseq_seq;
    p->fc_cseq = p->cseq;
    answer_flow_control(p);
}

/* Not of a consumer whose last message was not taken: what comes behind that means nothing. */
static void hear_status(struct puller *p, struct msg_view *m)
{
    struct slice value;
    uint64_t number;
    if (p->ask_again || p->refused)
        return;
    if (m->reply.n) {
        owe_answer(p, m->reply);
        return;
    }
    if (hdr_get(m->hdr, SLICE("Nats-Consumer-Stalled"), &value))
        owe_answer(p, value);
    if (hdr_get(m->hdr, SLICE("Nats-Last-Consumer"), &value) && slice_u64(value, &number) == E_OK &&
        number && number != p->cseq)
        ask_after(p, 0);
}

/* In flight to the store. */
struct handed {
    struct puller *p;
    uint64_t seq;
};

static void maybe_free(struct puller *p);

static void refuse(struct puller *p, uint64_t seq, int err)
{
    p->refused = true;
    moved_to(p, seq - 1);
    js_fail(&p->error, JSSourceConsumerSetupFailedErrF, "%s", err_text(err));
    log_warn("JetStream %s '%.*s > %.*s' can't store message %llu of '%.*s': %s",
             p->mirror ? "mirror" : "source", SLICE_FMT(p->stream->acc->name),
             SLICE_FMT(p->stream->name), (unsigned long long)seq, SLICE_FMT(p->cfg.name),
             err_text(err));
    ask_after(p, -1);
}

static void on_stored(void *arg, const struct store_receipt *r)
{
    struct handed *h = arg;
    struct puller *p = h->p;
    uint64_t seq = h->seq;
    free(h);
    p->waiting--;
    if (!p->stream) {
        maybe_free(p);
        return;
    }
    if (r->err == E_OK) {
        p->durable_seq = seq > p->durable_seq ? seq : p->durable_seq;
        answer_flow_control(p);
        if (p->mirror && p->near)
            direct_caught_up(p->stream);
    } else if (!p->refused) {
        refuse(p, seq, r->err); /* a commit that failed */
    }
}

static bool transform_subject(const struct puller *p, struct slice subject, struct buf *out)
{
    for (size_t i = 0; i < p->n_transforms; i++) {
        if (p->transforms[i] && transform_apply(p->transforms[i], subject, out))
            return true;
    }
    return false;
}

static int hand_to_store(struct puller *p, struct msg_view *m, const struct ack_reply *a)
{
    struct buf hdr = BUF_INIT, subject = BUF_INIT;
    struct handed *h = xmalloc(sizeof *h);
    int decided = E_OK;
    *h = (struct handed){p, a->sseq};
    puller_write_header(p, m->hdr, a->sseq, m->subject, &hdr);
    struct record_in rec = {
        .subject = transform_subject(p, m->subject, &subject) ? buf_slice(&subject) : m->subject,
        .hdr = buf_slice(&hdr),
        .payload = m->payload,
        .flags = p->mirror ? REC_EXACT | REC_NO_DEDUP : REC_SOURCED,
        .seq = a->sseq,
        .ts = p->mirror ? a->ts : 0,
        .decided = &decided,
    };
    struct slice id;
    if (!p->mirror && hdr_get(m->hdr, SLICE("Nats-Msg-Id"), &id))
        rec.msg_id = id;
    int err = js_stream_store(p->stream, &rec, on_stored, h);
    if (err)
        free(h);
    else
        p->waiting++;
    if (err == E_DENIED || err == E_LIMIT)
        decided = err;
    if (decided)
        refuse(p, a->sseq, decided);
    buf_release(&hdr);
    buf_release(&subject);
    return err;
}

static bool hear_delivery(void *arg, struct msg_view *m, void *from)
{
    struct puller *p = arg;
    struct ack_reply a;
    (void)from;
    if (p->state != PULLER_PULLING)
        return true;
    p->heard_at = clock_mono();
    if (hdr_status(m->hdr).n && m->payload.n == 0 && !slice_starts(m->reply, SLICE("$JS.ACK."))) {
        hear_status(p, m);
        return true;
    }
    if (p->refused || p->ask_again || !ack_reply_parse(m->reply, &a) ||
        !slice_eq(a.consumer, p->consumer) || a.delivered > 1)
        return true;
    if (a.cseq != p->cseq + 1) {
        ask_after(p, 0);
        return true;
    }
    p->cseq = a.cseq;
    p->lag = a.pending ? a.pending - 1 : 0; /* the reference's way to count */
    p->near = a.pending < NEAR;
    if (a.sseq <= p->seq) {
        p->cseq_seq = a.sseq;
        return true; /* stored before; a consumer that began anew repeats */
    }
    if (!takes_at_once(p)) {
        ask_after(p, 0);
        return true;
    }
    uint64_t before = p->seq;
    moved_to(p, a.sseq);
    if (hand_to_store(p, m, &a)) {
        moved_to(p, before);
        ask_after(p, -1); /* too much waits for the disk: come back from here */
    } else if (!p->refused) {
        p->cseq_seq = a.sseq;
    }
    return true;
}

/* --- posted ---------------------------------------------------------------------------------- */

static void after(void *arg)
{
    struct puller *p = arg;
    if (p->ask_again) {
        p->ask_again = false;
        if (p->ask_in < 0)
            back_off(p);
        else
            puller_ask_in(p, p->ask_in);
        return;
    }
    if (p->state == PULLER_ASKING) {
        unsubscribe(p, &p->inbox_sub);
        p->deliver_sub = subscribe(p, p->deliver_subject, hear_delivery);
        puller_enter(p, PULLER_PULLING, "answered");
        if (p->mirror && p->near)
            direct_caught_up(p->stream);
    }
}

/* --- life ------------------------------------------------------------------------------------ */

static void copy_config(struct puller *p, const struct source_config *cfg)
{
    arena_init(&p->mem, 0);
    p->cfg = *cfg;
    p->cfg.name = arena_dup(&p->mem, cfg->name);
    p->cfg.filter_subject = arena_dup(&p->mem, cfg->filter_subject);
    if (cfg->external) {
        p->api = arena_dup(&p->mem, cfg->external->api);
        p->deliver = arena_dup(&p->mem, cfg->external->deliver);
        p->cfg.external = arena_alloc(&p->mem, sizeof *p->cfg.external);
        *p->cfg.external = (struct source_external){p->api, p->deliver};
        if (subject_tokens(p->api) == 3 && slice_is(subject_token(p->api, 2), "API"))
            p->domain = subject_token(p->api, 1);
    }
    if (cfg->consumer) {
        p->cfg.consumer = arena_alloc(&p->mem, sizeof *p->cfg.consumer);
        p->cfg.consumer->name = arena_dup(&p->mem, cfg->consumer->name);
        p->cfg.consumer->deliver_subject = arena_dup(&p->mem, cfg->consumer->deliver_subject);
    }
    p->cfg.transforms.at =
        arena_alloc(&p->mem, (cfg->transforms.n + 1) * sizeof(struct subject_pair));
    for (size_t i = 0; i < cfg->transforms.n; i++) {
        struct subject_pair *to = source_transform(&p->cfg, i);
        to->src = arena_dup(&p->mem, source_transform(cfg, i)->src);
        to->dest = arena_dup(&p->mem, source_transform(cfg, i)->dest);
    }
}

static void make_transforms(struct puller *p)
{
    p->n_transforms = p->cfg.transforms.n;
    p->transforms = xcalloc(p->n_transforms + 1, sizeof(struct transform *));
    for (size_t i = 0; i < p->n_transforms; i++) {
        const struct subject_pair *t = source_transform(&p->cfg, i);
        const char *why;
        if (t->dest.n && transform_new(t->src, t->dest, &p->transforms[i], &why))
            p->transforms[i] = NULL; /* checked when the stream was made: can't be */
    }
}

/* Of very many transforms a hash stands for them: replicate.c writes the length in 16 bits. */
static void name_index(struct puller *p)
{
    struct buf name = BUF_INIT;
    buf_add_slice(&name, p->header_head);
    buf_add_slice(&name, p->header_tail);
    if (name.len > UINT16_MAX) {
        char hash[33];
        short_hash(buf_slice(&name), 32, hash);
        buf_clear(&name);
        buf_printf(&name, "%.*s %s", SLICE_FMT(p->header_head), hash);
    }
    p->index_name = arena_dup(&p->mem, buf_slice(&name));
    buf_release(&name);
}

struct puller *puller_new(struct js_stream *s, const struct source_config *cfg, bool mirror)
{
    struct puller *p = xcalloc(1, sizeof *p);
    struct buf head = BUF_INIT, tail = BUF_INIT;
    list_init(&p->link);
    p->stream = s;
    p->mirror = mirror;
    p->level = mirror ? 4 : 5;
    copy_config(p, cfg);
    make_transforms(p);
    puller_write_names(&p->cfg, &head, &tail);
    p->header_head = arena_dup(&p->mem, buf_slice(&head));
    p->header_tail = arena_dup(&p->mem, buf_slice(&tail));
    name_index(p);
    buf_release(&head);
    buf_release(&tail);
    turn_timer_init(&p->timer, on_timer, p);
    turn_post_init(&p->after, after, p);
    return p;
}

/* Seen at once: of thousands of sources each is compared with each, too many to write the names. */
static bool surely_others(const struct source_config *a, const struct source_config *b)
{
    return !slice_eq(a->name, b->name) || !slice_eq(a->filter_subject, b->filter_subject) ||
           a->transforms.n != b->transforms.n ||
           (a->transforms.n && !slice_eq(source_transform(a, 0)->src, source_transform(b, 0)->src));
}

bool puller_serves(const struct puller *p, const struct source_config *cfg, bool mirror)
{
    if (surely_others(&p->cfg, cfg))
        return false;
    struct buf head = BUF_INIT, tail = BUF_INIT;
    puller_write_names(cfg, &head, &tail);
    bool same = mirror == p->mirror && slice_eq(buf_slice(&head), p->header_head) &&
                slice_eq(buf_slice(&tail), p->header_tail) &&
                slice_eq(cfg->filter_subject, p->cfg.filter_subject);
    struct slice deliver = cfg->external ? cfg->external->deliver : (struct slice){0};
    same = same && slice_eq(deliver, p->deliver);
    buf_release(&head);
    buf_release(&tail);
    return same;
}

static void maybe_free(struct puller *p)
{
    if (p->waiting || p->stream)
        return;
    for (size_t i = 0; i < p->n_transforms; i++)
        transform_free(p->transforms[i]);
    free(p->transforms);
    free((void *)(uintptr_t)p->consumer.p);
    arena_release(&p->mem);
    free(p);
}

/* A durable on a work queue lives until it is told to go, and refuses all that would take its
 * messages; on others this answers "not found", which is fine. One that was asked for before a
 * restart has a name we did not hear in this life. */
static void forget_consumer(struct puller *p)
{
    struct buf plain = BUF_INIT, subject = BUF_INIT, name = BUF_INIT;
    if (p->consumer.n)
        buf_add_slice(&name, p->consumer);
    else
        puller_write_consumer_name(p, &name);
    if (!p->cfg.consumer) {
        buf_printf(&plain, "$JS.API.CONSUMER.DELETE.%.*s.%s", SLICE_FMT(p->cfg.name),
                   buf_cstr(&name));
        if (p->api.n)
            domain_external(p->api, buf_slice(&plain), &subject);
        else
            buf_add_slice(&subject, buf_slice(&plain));
        js_post(p->stream->acc, buf_slice(&subject), (struct slice){0}, (struct slice){0},
                (struct slice){0});
    }
    buf_release(&plain);
    buf_release(&subject);
    buf_release(&name);
}

void puller_free(struct puller *p, bool tell)
{
    const struct turn *t = host(p)->turn;
    if (tell)
        forget_consumer(p);
    unsubscribe(p, &p->inbox_sub);
    unsubscribe(p, &p->deliver_sub);
    turn_unset(t, &p->timer);
    t->unpost(t->loop, &p->after);
    list_unlink(&p->link);
    p->stream = NULL;
    maybe_free(p);
}

void puller_link(struct puller *p, struct slice domain, bool up)
{
    bool mine = p->api.n && (p->domain.n == 0 || domain.n == 0 || slice_eq(p->domain, domain));
    if (!mine || !up)
        return;
    p->failures = 0;
    if (p->state == PULLER_PULLING) {
        int64_t silent = clock_mono() - p->heard_at;
        set_timer(p, LINK_GRACE);
        if (silent < SILENCE_MAX - LINK_GRACE)
            p->heard_at = clock_mono() - (SILENCE_MAX - LINK_GRACE);
    } else {
        puller_ask_in(p, 100 * NS_PER_MS); /* let the interest of both sides cross first */
    }
}

void puller_write_info(const struct puller *p, struct json_out *out, const char *key)
{
    json_obj(out, key);
    json_str(out, "name", p->cfg.name);
    if (p->cfg.external) {
        json_obj(out, "external");
        json_str(out, "api", p->api);
        json_str(out, "deliver", p->deliver);
        json_end(out);
    }
    json_u64(out, "lag", p->lag);
    if (!p->mirror && p->durable_seq)
        json_u64(out, "seq", p->durable_seq);
    json_i64(out, "active", p->heard_at ? clock_mono() - p->heard_at : -1);
    if (p->error.code != JS_NO_ERROR)
        js_error_write(&p->error, out);
    if (p->cfg.filter_subject.n)
        json_str(out, "filter_subject", p->cfg.filter_subject);
    if (p->cfg.transforms.n) {
        json_arr(out, "subject_transforms");
        for (size_t i = 0; i < p->cfg.transforms.n; i++) {
            json_obj(out, NULL);
            json_str(out, "src", source_transform(&p->cfg, i)->src);
            json_str(out, "dest", source_transform(&p->cfg, i)->dest);
            json_end(out);
        }
        json_end(out);
    }
    json_end(out);
}
