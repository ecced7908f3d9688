/* jsapi/consumer_create.c -- CONSUMER.CREATE in all its forms, and DURABLE.CREATE
 *
 * One road for all: what the subject says about names and filter is compared with the body, the
 * config gets its defaults and is checked, and then the name decides: new ones are made, existing
 * ones are updated. The answer is the info as it is before the first message goes out, and leaves
 * when the disk knows the consumer.
 *
 * A create from a mirror or source elsewhere (direct and sourcing) is special: on a limits stream
 * each gets a name of its own; on a work queue or interest stream it becomes a durable that
 * acknowledges by flow control, and every further create of the same name resets it to its ack
 * floor (reference/delta-2.15.md 2.4).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumer_change.h"
#include "jsapi/overlap.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/uid.h"

#define NAME_MAX_BYTES 255

enum form { FORM_PLAIN, FORM_NAMED, FORM_DURABLE };

struct creation {          /* a request on its way; lives in the request's arena */
    struct js_consumer *c; /* held; being made or changed */
    bool identity;         /* the answer carries Nats-Stream-Identity */
};

/* --- changes of an existing one --------------------------------------------------------------- */

struct change {
    struct js_consumer *c; /* held */
    struct consumer_config *cfg;
    struct request *r;
    consumer_answer_fn *answer;
};

static void on_changed(void *arg, int err)
{
    struct change *x = arg;
    struct js_consumer *c = x->c;
    c->coming = NULL;
    if (err || c->state == CONSUMER_GONE) {
        struct js_consumer *held = x->r->held;
        consumer_config_release(x->cfg);
        free(x->cfg);
        api_fail(x->r, JSConsumerCreateErrF, "%s", err ? err_text(err) : "consumer closed");
        if (held)
            consumer_drop(held);
    } else {
        consumer_apply(c, x->cfg);
        x->answer(c, x->r);
    }
    if (err && c->set)
        consumer_wake_later(c);
    consumer_wake_waiters(c);
    consumer_drop(c);
    free(x);
}

void consumer_change(struct js_consumer *c, struct consumer_config *cfg, struct request *r,
                     consumer_answer_fn *answer)
{
    struct change *x = xmalloc(sizeof *x);
    struct buf config = BUF_INIT;
    struct json_out j;
    int err = 0;
    *x = (struct change){c, cfg, r, answer};
    consumer_hold(c);
    c->coming = cfg;
    json_begin(&j, &config);
    consumer_config_write(cfg, &j, NULL, false, (struct slice){0});
    if (c->cursor)
        err = store_cursor_update(c->cursor, buf_slice(&config), on_changed, x);
    buf_release(&config);
    if (err || !c->cursor)
        on_changed(x, err);
}

/* --- the answer ------------------------------------------------------------------------------- */

static void finish(struct request *r)
{
    struct creation *x = r->arg;
    struct js_consumer *c = x->c;
    if (c->state == CONSUMER_GONE) {
        api_fail(r, JSConsumerStoreFailedErrF, "%s", "the store refused");
    } else if (c->state == CONSUMER_MAKING) {
        consumer_wait(c, r);
        return;
    } else {
        if (!consumer_counted(c, r))
            return;
        if (x->identity)
            r->out_hdr = consumer_identity_header(r, c->stream);
        consumer_write(c, api_ok(r), SHOW_LIVE);
        api_send(r);
    }
    consumer_drop(c);
}

static void updated(struct js_consumer *c, struct request *r)
{
    if (c->cfg->sourcing || c->state == CONSUMER_AWAITING)
        consumer_restart(c, c->pend.floor.stream);
    finish(r);
}

/* --- names and filter: subject against body --------------------------------------------------- */

static bool has_separator(struct slice name)
{
    return slice_find(name, '/') < name.n || slice_find(name, '\\') < name.n;
}

/* The name in the subject always wins. */
static bool match_subject(struct request *r, enum form form, struct consumer_request *q,
                          struct js_error *e)
{
    struct consumer_config *c = &q->config;
    struct slice name = form == FORM_PLAIN ? c->name : r->tok[1];
    struct slice filter = form == FORM_NAMED && r->n_tok > 2 ? r->tok[2] : (struct slice){0};
    if (!slice_eq(r->tok[0], q->stream_name))
        return js_fail(e, JSStreamMismatchErr, NULL);
    if (has_separator(name))
        return js_fail(e, JSConsumerNameContainsPathSeparatorsErr, NULL);
    if (form == FORM_DURABLE && !c->durable.n)
        return js_fail(e, JSConsumerDurableNameNotSetErr, NULL);
    if (form != FORM_PLAIN && c->durable.n && !slice_eq(name, c->durable))
        return js_fail(e, JSConsumerDurableNameNotMatchSubjectErr, NULL);
    if (form == FORM_PLAIN && c->durable.n)
        return js_fail(e, JSConsumerEphemeralWithDurableNameErr, NULL);
    c->name = arena_dup(&c->mem, name);
    if (filter.n && c->filter_subjects.n)
        return js_fail(e, JSConsumerMultipleFiltersNotAllowed, NULL);
    if (filter.n && !slice_eq(c->filter_subject, filter))
        return js_fail(e, JSConsumerCreateFilterSubjectMismatchErr, NULL);
    if (c->num_replicas > 1)
        return js_fail(e, JSStreamReplicasNotSupportedErr, NULL);
    return true;
}

/* --- what a puller elsewhere asks for --------------------------------------------------------- */

static void adopt_sourcing(struct js_stream *s, struct consumer_config *c)
{
    if (!c->direct || !c->sourcing || !c->name.n)
        return;
    if (s->cfg.retention != RETAIN_LIMITS) {
        c->direct = false;
        c->durable = c->name;
        c->ack_policy = ACK_FLOW_CONTROL;
        c->ack_wait = c->max_deliver = c->inactive_threshold = 0;
        return;
    }
    char tail[9];
    uid_short(tail, 8);
    c->name = slice_cstr(arena_printf(&c->mem, "%.*s-%s", SLICE_FMT(c->name), tail));
}

static bool identity_fits(struct request *r, struct js_stream *s, struct js_error *e)
{
    struct slice asked;
    if (!hdr_get(r->hdr, SLICE("Nats-Stream-Identity"), &asked) || !asked.n ||
        slice_is(asked, s->identity))
        return true;
    return js_fail(e, JSConsumerStreamIdentityMismatchF, "%s", s->identity);
}

/* --- limits and neighbours -------------------------------------------------------------------- */

static size_t limitable(const struct consumers *cs)
{
    size_t n = 0;
    for (size_t i = 0; i < cs->n; i++)
        n += !cs->at[i]->cfg->direct && !cs->at[i]->cfg->sourcing;
    return n;
}

static bool within_limit(struct js_stream *s, struct js_error *e)
{
    int64_t max = s->cfg.max_consumers, account = s->acc->limits.max_consumers;
    int64_t server = s->acc->js->host.default_max_consumers;
    if (max <= 0 || (account > 0 && account < max))
        max = account;
    if (max <= 0)
        max = server;
    if (max > 0 && limitable(s->consumers) >= (uint64_t)max)
        return js_fail(e, JSMaximumConsumersLimitErr, NULL);
    return true;
}

static bool apart_from(struct overlap *mine, const struct consumer_config *c)
{
    struct store_filter its = consumer_filters(c);
    return its.n && overlap_apart(mine, its.patterns, its.n);
}

/* Whoever copies the stream takes no part in it: it may have what another one has, and be asked
 * for anew beside it. */
static bool copies(const struct consumer_config *c)
{
    return c->direct || c->sourcing;
}

/* An update that is on its way to the disk counts as well. */
static bool partition_unique(const struct consumers *cs, const struct consumer_config *c,
                             const struct js_consumer *self)
{
    struct store_filter mine = consumer_filters(c); /* none: all subjects */
    struct overlap o;
    bool unique = true;
    if (copies(c))
        return true;
    overlap_init(&o, mine.patterns, mine.n, subject_overlap);
    for (size_t i = 0; i < cs->n && unique; i++) {
        const struct js_consumer *other = cs->at[i];
        if (other != self && !copies(other->cfg))
            unique = mine.n && apart_from(&o, other->cfg) &&
                     (!other->coming || apart_from(&o, other->coming));
    }
    overlap_release(&o);
    return unique;
}

static bool work_queue_takes(struct js_stream *s, const struct consumer_config *c,
                             struct js_error *e)
{
    if (s->cfg.retention != RETAIN_WORKQUEUE || c->direct || c->sourcing)
        return true;
    if (c->ack_policy != ACK_EXPLICIT && c->ack_policy != ACK_FLOW_CONTROL)
        return js_fail(e, JSConsumerWQRequiresExplicitAckErr, NULL);
    if (c->deliver_policy != DELIVER_ALL)
        return js_fail(e, JSConsumerWQConsumerNotDeliverAllErr, NULL);
    if (!limitable(s->consumers))
        return true;
    if (!consumer_filters(c).n)
        return js_fail(e, JSConsumerWQMultipleUnfilteredErr, NULL);
    if (!partition_unique(s->consumers, c, NULL))
        return js_fail(e, JSConsumerWQConsumerNotUniqueErr, NULL);
    return true;
}

/* --- new, or an update ------------------------------------------------------------------------ */

static struct consumer_config *kept(struct consumer_config *c)
{
    struct consumer_config *own = xmalloc(sizeof *own);
    *own = *c;
    *c = (struct consumer_config){0};
    return own;
}

static void begin(struct request *r, struct js_consumer *c, bool identity)
{
    struct creation *x = arena_alloc(&r->mem, sizeof *x);
    *x = (struct creation){c, identity};
    r->arg = x;
    r->held = c;
    consumer_hold(c);
}

static void choose_name(const struct consumers *cs, struct consumer_config *c)
{
    char name[9];
    if (c->durable.n)
        c->name = c->durable;
    c->unnamed = !c->name.n;
    while (!c->name.n) {
        uid_short(name, 8);
        if (!consumers_find(cs, slice_cstr(name)))
            c->name = arena_dup(&c->mem, slice_cstr(name));
    }
}

static void make(struct request *r, struct js_stream *s, struct consumer_request *q, bool identity)
{
    struct js_error e;
    if (q->action == ACTION_UPDATE) {
        api_fail(r, JSConsumerDoesNotExist, NULL);
        return;
    }
    if ((!q->config.direct && !q->config.sourcing && !within_limit(s, &e)) ||
        !work_queue_takes(s, &q->config, &e)) {
        api_fail_with(r, &e);
        return;
    }
    if (q->config.durable.n > NAME_MAX_BYTES) {
        api_fail(r, JSConsumerNameTooLongErrF, "%d", NAME_MAX_BYTES);
        return;
    }
    choose_name(s->consumers, &q->config);
    consumer_config_lifetime(&q->config);
    struct js_consumer *c = consumer_make(s->consumers, kept(&q->config), &e);
    if (!c) {
        api_fail_with(r, &e);
        return;
    }
    begin(r, c, identity);
    finish(r);
}

static bool deliver_bound(const struct js_consumer *c)
{
    const struct jsapi_host *h = consumer_host(c);
    return consumer_is_push(c->cfg) &&
           h->interest(h->arg, c->acc->account, c->cfg->deliver_subject, (struct slice){0});
}

/* One that was made durable stays so, though an update leaves its durable_name out. */
static bool has_lifetime(const struct consumer_config *old)
{
    return !old->durable.n && old->inactive_threshold > 0;
}

static void update(struct request *r, struct js_consumer *c, struct consumer_request *q,
                   bool identity)
{
    struct js_error e = {.code = JS_NO_ERROR};
    struct consumers *cs = c->set;
    bool same = consumer_config_equal(c->cfg, &q->config);
    if (q->action == ACTION_CREATE && !same)
        js_fail(&e, JSConsumerAlreadyExists, NULL);
    else if (c->stream->cfg.retention == RETAIN_WORKQUEUE && !partition_unique(cs, &q->config, c))
        js_fail(&e, JSConsumerWQConsumerNotUniqueErr, NULL);
    else if (!same)
        consumer_config_may_update(c->cfg, &q->config, !q->config.sourcing && deliver_bound(c), &e);
    if (e.code) {
        api_fail_with(r, &e);
        return;
    }
    if (has_lifetime(c->cfg))
        consumer_config_lifetime(&q->config);
    same = consumer_config_equal(c->cfg, &q->config);
    begin(r, c, identity);
    if (same)
        updated(c, r);
    else
        consumer_change(c, kept(&q->config), r, updated);
}

unsigned consumer_level(const struct consumer_config *c)
{
    if (c->ack_policy == ACK_FLOW_CONTROL)
        return 4;
    return (c->pause_until.set && c->pause_until.ns != INT64_MIN) || c->priority_groups.n ||
           c->priority_policy || c->priority_timeout;
}

/* With a stream and a body that fit together. */
static void create_on(struct request *r, struct js_stream *s, struct consumer_request *q)
{
    struct consumer_config *cfg = &q->config;
    struct js_error e;
    adopt_sourcing(s, cfg);
    bool identity = cfg->direct || cfg->sourcing;
    if (identity && !identity_fits(r, s, &e)) {
        api_fail_with(r, &e);
        return;
    }
    struct slice name = cfg->durable.n ? cfg->durable : cfg->name;
    struct js_consumer *c = name.n ? consumers_find(s->consumers, name) : NULL;
    if (c && (c->state == CONSUMER_MAKING || c->coming)) {
        consumer_wait(c, r);
        return;
    }
    if (c) {
        cfg->pause_until = c->cfg->pause_until;
        if (cfg->sourcing && cfg->durable.n) {
            cfg->deliver_policy = c->cfg->deliver_policy;
            cfg->opt_start_seq = c->cfg->opt_start_seq;
            cfg->opt_start_time = c->cfg->opt_start_time;
        }
    }
    cfg_meta_static(&cfg->metadata, consumer_level(cfg), &cfg->mem);
    const struct jsapi_host *h = &s->acc->js->host;
    struct consumer_bounds b = {&s->cfg, h->max_ack_pending, h->max_request_batch,
                                s->acc->limits.max_ack_pending};
    if (!consumer_config_check(cfg, &b, q->pedantic, &e))
        api_fail_with(r, &e);
    else if (c)
        update(r, c, q, identity);
    else
        make(r, s, q, identity);
}

static void create(struct request *r, enum form form)
{
    struct consumer_request q;
    struct js_error e;
    if (r->arg) {
        finish(r);
        return;
    }
    if (!consumer_request_read(&q, r->json, r->acc->js->host.strict, &e)) {
        api_fail_with(r, &e);
    } else if (!api_level_ok(r->hdr)) {
        api_fail(r, JSRequiredApiLevelErr, NULL);
    } else if (!match_subject(r, form, &q, &e)) {
        api_fail_with(r, &e);
    } else {
        struct js_stream *s = js_stream_find(r->acc, r->tok[0]);
        if (!s || s->state != STREAM_LIVE || !s->consumers)
            api_fail(r, JSStreamNotFoundErr, NULL);
        else
            create_on(r, s, &q);
    }
    consumer_config_release(&q.config);
}

void consumer_create(struct request *r)
{
    create(r, FORM_PLAIN);
}

void consumer_create_named(struct request *r)
{
    create(r, FORM_NAMED);
}

void consumer_create_filtered(struct request *r)
{
    create(r, FORM_NAMED);
}

void consumer_create_durable(struct request *r)
{
    create(r, FORM_DURABLE);
}
