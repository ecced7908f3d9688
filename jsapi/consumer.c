/* jsapi/consumer.c -- the life of a consumer: made, brought back, changed, restarted, ended
 *
 * Its progress is written by the store when it suits (cursor_source below); its config when it
 * changes. What is stored:
 *
 *     u8 version | u64 latest_up_to | u32 crc32c of these nine bytes | the pending set (pending.h)
 *
 * A consumer that feeds somebody's copy comes back AWAITING (push.c says why). One timer looks
 * after all its deadlines; it is set to the earliest one known and finds out when it fires what
 * is due, so that nothing is re-armed per message.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/consumer.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/sm.h"
#include "base/subject.h"
#include "base/uid.h"
#include "jsapi/ack.h"
#include "jsapi/api.h"
#include "jsapi/pull.h"
#include "jsapi/push.h"
#include "jsapi/retention.h"

#define INACTIVE_JITTER (250 * NS_PER_MS) /* a pull consumer lives a little longer than it must */
#define STATE_VERSION   1
#define STATE_HEAD      13
#define EXPIRE_AT_ONCE  1000
#define LOOK_BACK       8192 /* records looked at for the last message, before that becomes a job */

static const struct sm_rule rules[] = {
    [CONSUMER_MAKING] = {"MAKING",
                         SM_TO(CONSUMER_LIVE) | SM_TO(CONSUMER_AWAITING) | SM_TO(CONSUMER_GONE)},
    [CONSUMER_LIVE] = {"LIVE", SM_TO(CONSUMER_GONE)},
    [CONSUMER_AWAITING] = {"AWAITING", SM_TO(CONSUMER_LIVE) | SM_TO(CONSUMER_GONE)},
    [CONSUMER_GONE] = {"GONE", 0},
};

static void on_tick(void *arg);

static void consumer_enter(struct js_consumer *c, enum consumer_state to, const char *why)
{
    ASSERT(rules[c->state].to & SM_TO(to));
    log_debug("Consumer '%.*s > %.*s': %s -> %s: %s", SLICE_FMT(c->stream->name),
              SLICE_FMT(c->name), rules[c->state].name, rules[to].name, why);
    c->state = to;
}

/* --- what is stored --------------------------------------------------------------------------- */

static int64_t wall_minus_mono(void)
{
    return clock_wall() - clock_mono();
}

static void write_head(const struct js_consumer *c, struct buf *out)
{
    char head[STATE_HEAD];
    head[0] = STATE_VERSION;
    for (int i = 0; i < 8; i++)
        head[1 + i] = (char)(c->latest_up_to >> (8 * i));
    uint32_t crc = crc32c(0, head, 9);
    for (int i = 0; i < 4; i++)
        head[9 + i] = (char)(crc >> (8 * i));
    buf_add(out, head, sizeof head);
}

static void write_delta(void *arg, struct buf *out)
{
    struct js_consumer *c = arg;
    write_head(c, out);
    pending_delta(&c->pend, wall_minus_mono(), out);
}

static void write_snapshot(void *arg, struct buf *out)
{
    struct js_consumer *c = arg;
    write_head(c, out);
    pending_snapshot(&c->pend, wall_minus_mono(), out);
}

/* The wall clock may have been put back while we were away; a delivery of years to come would be
 * repeated in years. The newest message tells a time that was. */
static int64_t known_wall_minus_mono(const struct js_consumer *c)
{
    struct stream_state st;
    store_state(c->stream->store, &st);
    int64_t now = clock_wall();
    return (st.last_ts > now ? st.last_ts : now) - clock_mono();
}

/* cursor_load_fn. Damage costs what came after it: messages come again, none is lost. */
static int read_state(void *arg, bool is_snapshot, struct slice bytes)
{
    struct js_consumer *c = arg;
    const unsigned char *b = (const unsigned char *)bytes.p;
    (void)is_snapshot;
    if (!bytes.n)
        return 0;
    if (bytes.n < STATE_HEAD + 2 || b[0] != STATE_VERSION) {
        c->bad_delta = true;
        return 0;
    }
    uint32_t crc =
        (uint32_t)b[9] | (uint32_t)b[10] << 8 | (uint32_t)b[11] << 16 | (uint32_t)b[12] << 24;
    bool whole = b[STATE_HEAD + 1] == 1;
    if (c->bad_delta && !whole)
        return 0;
    if (crc32c(0, b, 9) != crc ||
        pending_decode(&c->pend, known_wall_minus_mono(c), slice_skip(bytes, STATE_HEAD)) < 0) {
        c->bad_delta = true;
        return 0;
    }
    c->bad_delta = false;
    c->latest_up_to = 0;
    for (int i = 0; i < 8; i++)
        c->latest_up_to |= (uint64_t)b[1 + i] << (8 * i);
    return 0;
}

static struct cursor_source source_of(struct js_consumer *c)
{
    return (struct cursor_source){c, write_delta, write_snapshot};
}

/* --- made and freed --------------------------------------------------------------------------- */

static struct pending_rules rules_of(const struct consumer_config *cfg)
{
    return (struct pending_rules){
        .tracks = cfg->ack_policy != ACK_NONE,
        .all = cfg->ack_policy == ACK_ALL || cfg->ack_policy == ACK_FLOW_CONTROL,
        .ack_wait = cfg->ack_policy == ACK_FLOW_CONTROL ? 0 : cfg->ack_wait,
        .backoff = cfg->backoff.at,
        .backoff_n = (uint32_t)cfg->backoff.n,
        .max_deliver = cfg->max_deliver};
}

static void make_prefixes(struct js_consumer *c)
{
    struct slice domain = consumer_host(c)->domain;
    char hash[9];
    short_hash(c->acc->name, 8, hash);
    if (!domain.n)
        domain = SLICE("_");
    c->prefix = xasprintf("$JS.ACK.%.*s.%.*s.", SLICE_FMT(c->stream->name), SLICE_FMT(c->name));
    c->prefix_n = strlen(c->prefix);
    c->prefix_v2 = xasprintf("$JS.ACK.%.*s.%s.%.*s.%.*s.", SLICE_FMT(domain), hash,
                             SLICE_FMT(c->stream->name), SLICE_FMT(c->name));
    c->prefix_v2_n = strlen(c->prefix_v2);
}

/* Takes cfg over; in the set and in the filter index. */
static struct js_consumer *consumer_new(struct consumers *cs, struct consumer_config *cfg,
                                        struct slice name, int64_t created)
{
    struct js_consumer *c = xcalloc(1, sizeof *c);
    struct pending_rules pr = rules_of(cfg);
    c->set = cs;
    c->stream = cs->stream;
    c->acc = cs->stream->acc;
    jsapi_hold(c->acc);
    c->name = slice_of(slice_dup(name), name.n);
    c->cfg = cfg;
    c->created = created;
    c->holds = 1;
    c->active_at = clock_mono();
    list_init(&c->link);
    list_init(&c->holder);
    list_init(&c->waiting);
    pending_init(&c->pend, &pr);
    turn_timer_init(&c->timer, on_tick, c);
    make_prefixes(c);
    consumers_insert(cs, c);
    return c;
}

void consumer_hold(struct js_consumer *c)
{
    c->holds++;
}

void consumer_drop(struct js_consumer *c)
{
    if (--c->holds)
        return;
    ASSERT(c->state == CONSUMER_GONE && list_empty(&c->waiting) && !c->n_waiters);
    pending_release(&c->pend);
    consumer_config_release(c->cfg);
    free(c->cfg);
    free(c->latest);
    free(c->missed);
    free(c->prefix);
    free(c->prefix_v2);
    free((char *)c->name.p);
    jsapi_drop(c->acc);
#ifndef __clang_analyzer__ /* it does not count holds and sees a free at every drop */
    free(c);
#endif
}

/* --- where it starts -------------------------------------------------------------------------- */

static void choose_start(struct js_consumer *c)
{
    struct store_filter f = consumer_filters(c->cfg);
    struct stream *s = c->stream->store;
    struct stream_state st;
    uint64_t start = 0, up_to = 0;
    store_state(s, &st);
    switch (c->cfg->deliver_policy) {
    case DELIVER_LAST:
        start = f.n ? 0 : st.last_seq;
        if (f.n && store_look_back(s, &f, &up_to, LOOK_BACK, &start) == READ_BUDGET) {
            c->latest_up_to = st.last_seq; /* far away: a list of one, found by a job */
            start = st.first_seq;
        }
        break;
    case DELIVER_NEW:
        start = st.last_seq + 1;
        break;
    case DELIVER_BY_SEQ:
        start = c->cfg->opt_start_seq;
        break;
    case DELIVER_BY_TIME:
        start = store_seq_at_time(s, c->cfg->opt_start_time.ns);
        break;
    case DELIVER_LAST_PER_SUBJECT:
        start = st.first_seq;
        if (c->stream->cfg.max_msgs_per_subject != 1 && st.msgs)
            c->latest_up_to = st.last_seq;
        break;
    default:
        start = st.first_seq;
    }
    if (c->cfg->deliver_policy != DELIVER_BY_SEQ && start > st.last_seq)
        start = st.last_seq + 1;
    if (start < st.first_seq)
        start = st.first_seq;
    pending_start_at(&c->pend, start ? start : 1);
    if (c->cfg->replay_policy == REPLAY_ORIGINAL)
        c->replay_up_to = st.last_seq;
}

/* --- subscriptions ---------------------------------------------------------------------------- */

/* Frees pattern. */
static void listen(struct js_consumer *c, char *pattern, jsapi_hear_fn *fn)
{
    const struct jsapi_host *h = consumer_host(c);
    struct jsapi_sub *sub =
        h->subscribe(h->arg, c->acc->account, slice_cstr(pattern), (struct slice){0}, fn, c);
    if (sub)
        c->subs[c->n_subs++] = sub;
    free(pattern);
}

static void open_subs(struct js_consumer *c)
{
    const char *tail = c->prefix + sizeof "$JS.ACK." - 1,
               *tail_v2 = c->prefix_v2 + sizeof "$JS.ACK." - 1;
    ASSERT(c->n_subs == 0);
    listen(c,
           xasprintf("$JS.API.CONSUMER.MSG.NEXT.%.*s.%.*s", SLICE_FMT(c->stream->name),
                     SLICE_FMT(c->name)),
           pull_heard);
    if (c->cfg->ack_policy == ACK_ALL || c->cfg->ack_policy == ACK_EXPLICIT) {
        listen(c, xasprintf("%s*.*.*.*.*", c->prefix), ack_heard);
        listen(c, xasprintf("%s*.*.*.*.>", c->prefix_v2), ack_heard);
    }
    if (c->cfg->flow_control) {
        listen(c, xasprintf("$JS.FC.%s*", tail), push_fc_heard);
        listen(c, xasprintf("$JS.FC.%s*", tail_v2), push_fc_heard);
    }
    push_open(c);
}

static void close_subs(struct js_consumer *c)
{
    const struct jsapi_host *h = consumer_host(c);
    while (c->n_subs)
        h->unsubscribe(h->arg, c->subs[--c->n_subs]);
    push_close(c);
}

/* --- advisories ------------------------------------------------------------------------------- */

static void advise_action(struct js_consumer *c, const char *subject, const char *action)
{
    struct js_advisory ad;
    if (c->cfg->direct ||
        !js_advise(&ad, c->acc, "consumer_action", "$JS.EVENT.ADVISORY.CONSUMER.%s.%.*s.%.*s",
                   subject, SLICE_FMT(c->stream->name), SLICE_FMT(c->name)))
        return;
    json_str(&ad.j, "stream", c->stream->name);
    json_str(&ad.j, "consumer", c->name);
    json_cstr(&ad.j, "action", action);
    js_advise_end(&ad);
}

static void advise_pause(struct js_consumer *c)
{
    struct js_advisory ad;
    bool paused = consumer_paused(c);
    if (!js_advise(&ad, c->acc, "consumer_pause", "$JS.EVENT.ADVISORY.CONSUMER.PAUSE.%.*s.%.*s",
                   SLICE_FMT(c->stream->name), SLICE_FMT(c->name)))
        return;
    json_str(&ad.j, "stream", c->stream->name);
    json_str(&ad.j, "consumer", c->name);
    json_bool(&ad.j, "paused", paused);
    cfg_write_time(&c->cfg->pause_until, &ad.j, "pause_until");
    js_advise_end(&ad);
}

/* --- making ----------------------------------------------------------------------------------- */

static bool feeds_a_copy(const struct consumer_config *cfg)
{
    return cfg->direct || cfg->sourcing || cfg->ack_policy == ACK_FLOW_CONTROL;
}

void consumer_made(struct js_consumer *c)
{
    if (c->state != CONSUMER_MAKING || !c->stored || !consumer_counted(c, NULL))
        return;
    consumer_enter(c, CONSUMER_LIVE, "made");
    advise_action(c, "CREATED", "create");
    if (consumer_paused(c))
        advise_pause(c);
    open_subs(c);
    consumer_wake_waiters(c);
    if (c->state != CONSUMER_LIVE)
        return;
    consumer_rearm(c);
    consumer_ready(c);
}

static void on_stored(void *arg, int err)
{
    struct js_consumer *c = arg;
    if (c->state == CONSUMER_MAKING) {
        if (err) {
            c->cursor = NULL;
            consumer_wake_later(c);
            consumer_close(c, CLOSE_DELETED);
        } else {
            c->stored = true;
            consumer_made(c);
        }
    }
    consumer_drop(c);
}

static bool is_stored(const struct js_consumer *c)
{
    return c->stream->cfg.storage == STORE_FILE && !c->cfg->mem_storage;
}

static int store_it(struct js_consumer *c)
{
    struct buf config = BUF_INIT;
    struct json_out j;
    struct cursor_source src = source_of(c);
    json_begin(&j, &config);
    consumer_config_write(c->cfg, &j, NULL, false, (struct slice){0});
    struct cursor_spec spec = {
        .name = c->name, .config = buf_slice(&config), .created = c->created};
    consumer_hold(c);
    int err = store_cursor_create(c->stream->store, &spec, &src, on_stored, c, &c->cursor);
    if (err) {
        consumer_drop(c);
    } else {
        store_cursor_set_owner(c->cursor, c);
        store_cursor_dirty(c->cursor); /* where it starts must be known after a restart */
    }
    buf_release(&config);
    return err;
}

struct js_consumer *consumer_make(struct consumers *cs, struct consumer_config *cfg,
                                  struct js_error *e)
{
    struct slice name = cfg->durable.n ? cfg->durable : cfg->name;
    struct js_consumer *c = consumer_new(cs, cfg, name, clock_wall_exact());
    choose_start(c);
    consumer_recount(c);
    consumers_index(cs, c);
    int err = is_stored(c) ? store_it(c) : 0;
    if (err) {
        js_fail(e, JSConsumerStoreFailedErrF, "%s", err_text(err));
        c->cursor = NULL;
        consumer_close(c, CLOSE_DELETED);
        return NULL;
    }
    c->stored = !c->cursor;
    consumer_made(c);
    consumer_counted(c, NULL);
    return c;
}

/* A position the stream does not have any more (data lost with the machine): goes on from the end.
 */
static void reconcile(struct js_consumer *c)
{
    struct stream_state st;
    store_state(c->stream->store, &st);
    if (!c->pend.delivered.consumer || c->pend.delivered.stream <= st.last_seq)
        return;
    log_warn("Consumer '%.*s > %.*s' delivered sequence %llu past last stream sequence of %llu",
             SLICE_FMT(c->stream->name), SLICE_FMT(c->name),
             (unsigned long long)c->pend.delivered.stream, (unsigned long long)st.last_seq);
    pending_gone_range(&c->pend, st.last_seq + 1, UINT64_MAX);
    c->pend.delivered.stream = c->pend.told = st.last_seq;
    if (c->pend.floor.stream > st.last_seq)
        c->pend.floor.stream = st.last_seq;
    c->pend.base = c->pend.floor;
}

/* Delivered on a clock that was years ahead? Then all of them come again now, rather than then. */
static void mend_times(struct js_consumer *c)
{
    static const int64_t year =
        INT64_C(365) * 24 * 3600 * NS_PER_S; /* longer than anybody defers */
    uint32_t pos = 0;
    for (const struct pending_entry *e; (e = pending_next(&c->pend, &pos));)
        if (e->at > clock_mono() + year) {
            pending_requeue_all(&c->pend);
            return;
        }
}

int consumer_load(struct consumers *cs, struct cursor *cursor)
{
    const struct cursor_spec *spec = store_cursor_spec(cursor);
    struct consumer_config *cfg = xmalloc(sizeof *cfg);
    int err = consumer_config_load(cfg, spec->config);
    if (err) {
        consumer_config_release(cfg);
        free(cfg);
        return err;
    }
    struct js_consumer *c = consumer_new(cs, cfg, spec->name, spec->created);
    struct cursor_source src = source_of(c);
    c->cursor = cursor;
    c->recovered = c->stored = true;
    store_cursor_set_owner(cursor, c);
    choose_start(c); /* in case nothing was ever written */
    err = store_cursor_attach(cursor, &src, read_state, c);
    if (err || c->bad_delta)
        log_warn("Consumer '%.*s > %.*s': stored progress is damaged; what is left of it is used",
                 SLICE_FMT(c->stream->name), SLICE_FMT(c->name));
    mend_times(c);
    reconcile(c);
    consumer_recount(c);
    consumers_index(cs, c);
    if (pending_count(&c->pend) || c->pend.given_n)
        list_push_back(&cs->holders, &c->holder);
    consumer_enter(c, feeds_a_copy(cfg) ? CONSUMER_AWAITING : CONSUMER_LIVE, "back");
    open_subs(c);
    consumer_rearm(c);
    consumer_ready(c);
    return 0;
}

/* --- ending ----------------------------------------------------------------------------------- */

void consumer_close(struct js_consumer *c, enum consumer_close_why why)
{
    static const char *const status[] = {"409 Consumer Deleted", "409 Server Shutdown",
                                         "408 Request Timeout"};
    const struct turn *t = consumer_turn(c);
    if (c->state == CONSUMER_GONE)
        return;
    pull_end_all(c, status[why], why != CLOSE_DELETED);
    close_subs(c);
    turn_unset(t, &c->timer);
    consumer_count_cancel(c);
    consumer_place(c, PLACE_IDLE);
    list_unlink(&c->holder);
    consumers_unindex(c->set, c);
    consumers_remove(c->set, c);
    consumer_enter(c, CONSUMER_GONE, status[why]);
    c->set = NULL;
    if (c->cursor)
        store_cursor_set_owner(c->cursor, NULL);
    if (c->cursor && why == CLOSE_SHUTDOWN)
        store_cursor_detach(c->cursor);
    if (why == CLOSE_SHUTDOWN)
        consumer_drop_waiters(c);
    else
        consumer_wake_waiters(c);
    consumer_drop(c);
}

int consumer_delete_now(struct js_consumer *c, store_done_fn *done, void *arg)
{
    struct consumers *cs = c->set;
    bool stored = c->cursor != NULL;
    uint64_t from = c->pend.floor.stream;
    bool was_interest = c->stream->cfg.retention == RETAIN_INTEREST;
    bool all = cs->n == 1 ||
               (c->stream->store && from > store_last_assigned(c->stream->store)); /* a reset */
    int err = stored ? store_cursor_delete(c->cursor, done, arg) : 0;
    if (err)
        return err;
    c->cursor = NULL;
    advise_action(c, "DELETED", "delete");
    consumer_close(c, CLOSE_DELETED);
    if (was_interest)
        retention_sweep(cs, all ? 1 : from, true);
    if (was_interest && all)
        retention_empty(cs);
    return stored;
}

/* --- changing --------------------------------------------------------------------------------- */

static bool same_filters(const struct consumer_config *a, const struct consumer_config *b)
{
    struct store_filter x = consumer_filters(a), y = consumer_filters(b);
    bool same = x.n == y.n;
    for (size_t i = 0; same && i < x.n; i++)
        same = slice_eq(x.patterns[i], y.patterns[i]);
    return same;
}

void consumer_apply(struct js_consumer *c, struct consumer_config *cfg)
{
    struct consumer_config *old = c->cfg;
    bool filters = !same_filters(old, cfg);
    bool target = !slice_eq(old->deliver_subject, cfg->deliver_subject) ||
                  !slice_eq(old->deliver_group, cfg->deliver_group);
    bool pause =
        old->pause_until.set != cfg->pause_until.set || old->pause_until.ns != cfg->pause_until.ns;
    struct pending_rules pr = rules_of(cfg);
    consumer_place(c, PLACE_IDLE);
    if (filters)
        consumers_unindex(c->set, c);
    if (target)
        push_close(c);
    c->cfg = cfg;
    pending_set_rules(&c->pend, &pr);
    if (target) {
        push_open(c);
        if (!cfg->sourcing)
            pending_requeue_all(&c->pend);
    }
    if (filters) {
        if (cfg->deliver_policy != DELIVER_LAST_PER_SUBJECT)
            c->latest_up_to = 0; /* else what is left of the list, as the new filters want it */
        consumer_recount(c);
        consumers_index(c->set, c);
        if (c->stream->cfg.retention == RETAIN_INTEREST)
            retention_sweep(c->set, c->pend.floor.stream + 1, true);
    }
    if (old->inactive_threshold != cfg->inactive_threshold)
        consumer_active(c, clock_mono());
    if (pause)
        advise_pause(c);
    c->rate_at = c->rate_level = 0;
    consumer_config_release(old);
    free(old);
    consumer_dirty(c);
    consumer_rearm(c);
    consumer_ready(c);
}

void consumer_restart(struct js_consumer *c, uint64_t stream)
{
    pending_reset(&c->pend, stream);
    c->delivered_wall = c->acked_wall = 0;
    push_close(c);
    push_open(c);
    c->nudges = 0;
    c->not_before = 0;
    if (c->latest_up_to <= stream)
        c->latest_up_to = 0;
    consumer_recount(c);
    if (c->state == CONSUMER_AWAITING)
        consumer_enter(c, CONSUMER_LIVE, "asked anew");
    struct stream_state st;
    store_state(c->stream->store, &st);
    if (c->stream->cfg.retention == RETAIN_INTEREST && stream <= st.last_seq)
        retention_sweep(c->set, 1, false);
    consumer_dirty(c);
    consumer_rearm(c);
    consumer_ready(c);
}

/* --- time ------------------------------------------------------------------------------------- */

bool consumer_paused(const struct js_consumer *c)
{
    return c->cfg->pause_until.set && c->cfg->pause_until.ns > clock_wall();
}

/* When a pending message could still be acked: not deleted before. */
static int64_t latest_ack(const struct js_consumer *c)
{
    const struct pending_rules *pr = &c->pend.rules;
    int64_t latest = 0, wait = pr->ack_wait;
    uint32_t pos = 0;
    for (uint32_t i = 0; i < pr->backoff_n; i++)
        wait = pr->backoff[i] > wait ? pr->backoff[i] : wait;
    for (const struct pending_entry *e; (e = pending_next(&c->pend, &pos));)
        latest = e->at > latest ? e->at : latest;
    return pending_count(&c->pend) ? clock_after(latest, wait) : 0;
}

/* When it would be deleted for want of anybody; INT64_MAX: never. */
static int64_t inactive_due(struct js_consumer *c, int64_t now)
{
    int64_t wait = c->cfg->inactive_threshold;
    if (wait <= 0 || (consumer_is_push(c->cfg) && c->bound))
        return INT64_MAX;
    int64_t due = clock_after(c->active_at, wait);
    if (consumer_is_push(c->cfg))
        return due;
    due = clock_after(due, INACTIVE_JITTER);
    if (due > now)
        return due;
    if (pull_count(c)) {
        consumer_active(c, now);
        return clock_after(now + INACTIVE_JITTER, wait);
    }
    int64_t ack = latest_ack(c), then = clock_after(ack, wait);
    return ack && then > due ? then : due;
}

void consumer_due(struct js_consumer *c, int64_t due)
{
    if (due == INT64_MAX || c->state == CONSUMER_GONE)
        return;
    if (!turn_timer_is_set(&c->timer) || due < c->timer.due)
        turn_set(consumer_turn(c), &c->timer, due);
}

/* The earliest of all deadlines; what is due already is said or done. */
static int64_t look_around(struct js_consumer *c, int64_t now)
{
    int64_t next = inactive_due(c, now);
    if (next <= now)
        return next;
    int64_t due = consumer_is_push(c->cfg) ? push_tick(c, now) : pull_tick(c, now);
    next = due < next ? due : next;
    due = c->state == CONSUMER_LIVE ? pending_due(&c->pend) : INT64_MAX;
    next = due < next ? due : next;
    if (c->not_before > now && c->not_before < next)
        next = c->not_before;
    if (consumer_paused(c)) {
        due = now + (c->cfg->pause_until.ns - clock_wall()) + 1;
        next = due < next ? due : next;
    }
    return next;
}

void consumer_rearm(struct js_consumer *c)
{
    if (c->state != CONSUMER_LIVE && c->state != CONSUMER_AWAITING)
        return;
    turn_unset(consumer_turn(c), &c->timer);
    int64_t now = clock_mono(), due = look_around(c, now);
    consumer_due(c, due <= now ? now + 1 : due);
}

static void on_tick(void *arg)
{
    struct js_consumer *c = arg;
    int64_t now = clock_mono();
    bool more = false;
    if (c->state != CONSUMER_LIVE && c->state != CONSUMER_AWAITING)
        return;
    if (inactive_due(c, now) <= now) {
        if (consumer_delete_now(c, NULL, NULL) < 0)
            consumer_due(c, now + NS_PER_S); /* the store can't now */
        return;
    }
    if (c->state == CONSUMER_LIVE) {
        uint32_t given = c->pend.given_n;
        more = pending_expire(&c->pend, now, EXPIRE_AT_ONCE, ack_gave_up, c);
        if (c->pend.given_n != given)
            consumer_dirty(c);
    }
    int64_t due = look_around(c, now);
    consumer_due(c, more || due <= now ? now + NS_PER_MS : due);
    consumer_ready(c);
}

/* --- places ----------------------------------------------------------------------------------- */

void consumer_place(struct js_consumer *c, enum consumer_place place)
{
    list_unlink(&c->link);
    c->place = place;
    if (place == PLACE_READY)
        list_push_back(&c->set->ready, &c->link);
    else if (place == PLACE_HUNGRY && !c->filtered)
        list_push_back(&c->set->hungry, &c->link);
}

void consumer_ready(struct js_consumer *c)
{
    if (c->state != CONSUMER_LIVE || c->place == PLACE_READY || c->set->forgotten)
        return;
    if (consumer_is_push(c->cfg) ? !c->bound : !c->n_waiting)
        return;
    consumer_place(c, PLACE_READY);
    consumer_turn(c)->job_start(consumer_turn(c)->loop, &c->set->pump);
}

bool consumer_wants(const struct js_consumer *c, struct slice subject)
{
    struct store_filter f = consumer_filters(c->cfg);
    for (size_t i = 0; i < f.n; i++)
        if (subject_match(subject, f.patterns[i]))
            return true;
    return !f.n;
}
