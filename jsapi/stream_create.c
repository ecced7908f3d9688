/* jsapi/stream_create.c -- STREAM.CREATE and STREAM.UPDATE: a config becomes a stream
 *
 * The order of the checks is the reference's (jetstream-api.md 2.4 and 2.5), because it decides
 * which error a client sees. The answer leaves when the store has the definition on disk.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "jsapi/api.h"
#include "jsapi/consumers.h"
#include "jsapi/life.h"

/* --- limits of the account -------------------------------------------------------------------- */

/* What a stream reserves, also where an update that says so is on its way to the disk. */
static int64_t reserved_by(const struct js_stream *s)
{
    int64_t now = s->cfg.max_bytes, soon = s->coming ? s->coming->max_bytes : 0;
    int64_t most = now > soon ? now : soon;
    return most > 0 ? most : 0;
}

/* What the account's streams of this storage reserved, without `except`. */
static int64_t reserved(const struct jsapi_account *a, bool memory, const struct js_stream *except)
{
    int64_t sum = 0;

    for (size_t i = 0; i < a->n_streams; i++) {
        const struct js_stream *s = a->streams[i];
        if (s != except && (s->cfg.storage == STORE_MEMORY) == memory &&
            __builtin_add_overflow(sum, reserved_by(s), &sum))
            return INT64_MAX;
    }
    return sum;
}

static int64_t reserved_by_all(const struct jsapi *js, bool memory, const struct js_stream *except)
{
    int64_t sum = 0;

    LIST_EACH(it, &js->accounts)
    if (__builtin_add_overflow(
            sum, reserved(LIST_ENTRY(it, struct jsapi_account, link), memory, except), &sum))
        return INT64_MAX;
    return sum;
}

/* Is there room for what c reserves? A new stream without max_bytes wants at least one byte. */
static bool bytes_fit(const struct jsapi_account *a, const struct stream_config *c,
                      const struct js_stream *except, struct js_error *e)
{
    bool memory = c->storage == STORE_MEMORY;
    int64_t mine = memory ? a->limits.max_memory : a->limits.max_storage;
    int64_t all = memory ? a->js->host.max_memory : a->js->host.max_storage;
    int64_t want = c->max_bytes > 0 ? c->max_bytes : except ? 0 : 1;

    if ((mine < 0 || (want <= mine && reserved(a, memory, except) <= mine - want)) &&
        (all <= 0 || (want <= all && reserved_by_all(a->js, memory, except) <= all - want)))
        return true;
    return js_fail(e, memory ? JSMemoryResourcesExceededErr : JSStorageResourcesExceededErr, NULL);
}

/* What the account asks of the max_bytes of every stream. */
static bool bytes_named(const struct jsapi_account *a, const struct stream_config *c,
                        struct js_error *e)
{
    int64_t most = c->storage == STORE_MEMORY ? a->limits.memory_max_stream_bytes
                                              : a->limits.storage_max_stream_bytes;
    if (a->limits.max_bytes_required && c->max_bytes <= 0)
        return js_fail(e, JSStreamMaxBytesRequired, NULL);
    if (most > 0 && c->max_bytes > most)
        return js_fail(e, JSStreamMaxStreamBytesExceeded, NULL);
    return true;
}

static bool limits_allow(const struct jsapi_account *a, const struct stream_config *c,
                         const struct js_stream *except, struct js_error *e)
{
    if (a->limits.max_consumers > 0 && c->max_consumers > a->limits.max_consumers)
        return js_fail(e, JSMaximumConsumersLimitErr, NULL);
    return bytes_fit(a, c, except, e);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Decodes and validates; false: the request was answered. */
static bool read_config(struct request *r, struct stream_config *c)
{
    struct js_error e = {0};

    stream_config_init(c);
    if (r->json && !stream_config_read(c, r->json, r->acc->js->host.strict, &e)) {
        stream_config_release(c);
        api_fail_with(r, &e);
        return false;
    }
    return true;
}

static bool check_config(struct request *r, struct stream_config *c, struct js_error *e)
{
    struct stream_bounds b = {.duplicate_window_max = r->acc->js->host.duplicate_window_max_ns,
                              .other = js_stream_config_of,
                              .arg = r->acc};
    return stream_config_check(c, &b, e);
}

static void refuse(struct request *r, struct stream_config *c, const struct js_error *e)
{
    stream_config_release(c);
    api_fail_with(r, e);
}

/* What the store keeps. */
static struct slice config_text(struct request *r, const struct stream_config *c)
{
    struct buf text = BUF_INIT;
    struct json_out j;

    json_begin(&j, &text);
    stream_config_write(c, &j, NULL, false, (struct slice){0});
    struct slice kept = arena_dup(&r->mem, buf_slice(&text));
    buf_release(&text);
    return kept;
}

static void advise(struct js_stream *s, const char *event, const char *action)
{
    struct js_advisory ad;

    if (!js_advise(&ad, s->acc, "stream_action", "$JS.EVENT.ADVISORY.STREAM.%s.%.*s", event,
                   SLICE_FMT(s->name)))
        return;
    json_str(&ad.j, "stream", s->name);
    json_cstr(&ad.j, "action", action);
    js_advise_end(&ad);
}

/* --- create ----------------------------------------------------------------------------------- */

static void answer_created(struct request *r, struct js_stream *s)
{
    struct json_out *j = api_ok(r);

    js_stream_write_info(s, j, INFO_LIVE, (struct slice){0}, (struct slice){0});
    json_bool(j, "did_create", true);
    api_send(r);
}

static void fail_store(struct request *r, int err, enum js_code code)
{
    if (err == E_SPACE)
        api_fail(r, JSInsufficientResourcesErr, NULL);
    else
        api_fail(r, code, "error creating store for stream: %s", err_text(err));
}

static void on_created(void *arg, int err)
{
    struct request *r = arg;
    struct js_stream *s = r->arg;

    if (err) {
        s->store = NULL;
        if (!r->acc->closed)
            js_stream_forget(s);
        js_stream_drop(s);
        fail_store(r, err, JSStreamCreateErrF);
        return;
    }
    if (r->acc->closed) {
        js_stream_drop(s);
        api_drop(r);
        return;
    }
    js_stream_start(s, false);
    advise(s, "CREATED", "create");
    answer_created(r, s);
    js_stream_drop(s);
}

static void create(struct request *r, struct stream_config *c)
{
    struct stream_spec spec;
    int64_t created = clock_wall_exact();
    struct slice text = config_text(r, c);

    if (!text.p) {
        stream_config_release(c);
        api_fail(r, JSStreamCreateErrF, "%s", err_text(E_TOOBIG));
        return;
    }
    struct js_stream *s = js_stream_new(r->acc, c, created);
    js_stream_hold(s);
    r->arg = s;
    js_stream_spec(r->acc, &s->cfg, created, text, &spec);
    int err = store_stream_create(r->acc->js->host.store, &spec, on_created, r, &s->store);
    if (err == 0)
        return;
    s->store = NULL;
    js_stream_forget(s);
    js_stream_drop(s);
    fail_store(r, err, JSStreamCreateErrF);
}

static size_t live_streams(const struct jsapi_account *a, const struct js_stream *except)
{
    return a->n_streams - (except ? 1 : 0);
}

static bool has_separator(struct slice name)
{
    return slice_find(name, '/') < name.n || slice_find(name, '\\') < name.n;
}

/* Everything up to "does it exist?". */
static bool may_create(struct request *r, struct stream_config *c, struct js_error *e)
{
    const struct jsapi_account *a = r->acc;

    if (!slice_eq(c->name, r->tok[0]))
        return js_fail(e, JSStreamMismatchErr, NULL);
    if (has_separator(c->name))
        return js_fail(e, JSStreamNameContainsPathSeparatorsErr, NULL);
    if (c->sealed)
        return js_fail(e, JSStreamInvalidConfigF,
                       "stream configuration for create can not be sealed");
    if (c->mirror_direct && !c->mirror)
        return js_fail(e, JSStreamInvalidConfigF,
                       "stream has no mirror but does have mirror direct");
    if (!check_config(r, c, e) || !bytes_named(a, c, e))
        return false;
    if (c->num_replicas > 1)
        return js_fail(e, JSStreamReplicasNotSupportedErr, NULL);
    if (r->stream)
        return true;
    if (a->limits.max_streams > 0 && live_streams(a, NULL) >= (size_t)a->limits.max_streams)
        return js_fail(e, JSMaximumStreamsLimitErr, NULL);
    return limits_allow(a, c, NULL, e);
}

void stream_create(struct request *r)
{
    struct stream_config c;
    struct js_error e = {0};

    if (!read_config(r, &c))
        return;
    if (!may_create(r, &c, &e)) {
        refuse(r, &c, &e);
    } else if (r->stream) {
        bool same = stream_config_equal(&c, &r->stream->cfg);
        stream_config_release(&c);
        if (same)
            answer_created(r, r->stream);
        else
            api_fail(r, JSStreamNameExistErr, NULL);
    } else if (js_stream_overlaps(r->acc, &c, NULL)) {
        js_fail(&e, JSStreamSubjectOverlapErr, NULL);
        refuse(r, &c, &e);
    } else {
        create(r, &c);
    }
}

/* --- update ----------------------------------------------------------------------------------- */

/* The new limits are enforced: what is asked from now on sees them. */
static void on_settled(void *arg, int err, uint64_t purged)
{
    struct request *r = arg;

    (void)purged;
    if (api_gone(r))
        return;
    if (err) {
        api_fail(r, JSStreamUpdateErrF, "%s", err_text(err));
        return;
    }
    advise(r->stream, "UPDATED", "modify");
    struct json_out *j = api_ok(r);
    js_stream_write_info(r->stream, j, INFO_LIVE | INFO_DOMAIN, (struct slice){0},
                         (struct slice){0});
    api_send(r);
}

/* Chores of a stream take turns: a purge of nothing is done when the lower limits are enforced. A
 * stream that keeps only what somebody wants, and nobody is there, keeps nothing. */
static void settle(struct request *r, bool becomes_interest)
{
    struct js_stream *s = r->stream;
    bool all = becomes_interest && consumers_none(s->consumers);
    struct purge_spec p = {.below = all ? store_last_assigned(s->store) + 1 : 1};
    int err = store_purge(s->store, &p, on_settled, r);

    if (err)
        on_settled(r, err, 0);
}

static void on_updated(void *arg, int err)
{
    struct request *r = arg;
    struct stream_config *c = r->arg;
    struct js_stream *s = r->stream;

    s->coming = NULL;
    if (err || r->acc->closed || s->state != STREAM_LIVE) {
        stream_config_release(c);
        if (!err)
            (void)api_gone(r);
        else if (err == E_SPACE)
            api_fail(r, JSInsufficientResourcesErr, NULL);
        else
            api_fail(r, JSStreamUpdateErrF, "%s", err_text(err));
        return;
    }
    bool becomes_interest = s->cfg.retention != RETAIN_INTEREST && c->retention == RETAIN_INTEREST;
    js_stream_apply(s, c);
    settle(r, becomes_interest);
}

static bool may_update(struct request *r, struct stream_config *c, struct js_error *e)
{
    struct js_stream *s = r->stream;

    if (!check_config(r, c, e) || !bytes_named(r->acc, c, e))
        return false;
    if (!slice_eq(c->name, r->tok[0]))
        return js_fail(e, JSStreamMismatchErr, NULL);
    if (!s)
        return js_fail(e, JSStreamNotFoundErr, NULL);
    if (!stream_config_may_update(&s->cfg, c, e) || !limits_allow(r->acc, c, s, e))
        return false;
    struct buf names = BUF_INIT;
    bool broken = consumers_violate(s->consumers, &c->consumer_limits, &names);
    if (broken)
        js_fail(e, JSStreamUpdateErrF, "change to limits violates consumers: %.*s",
                SLICE_FMT(buf_slice(&names)));
    buf_release(&names);
    if (broken)
        return false;
    if (js_stream_overlaps(r->acc, c, s))
        return js_fail(e, JSStreamSubjectOverlapErr, NULL);
    return true;
}

void stream_update(struct request *r)
{
    struct stream_config c, *kept;
    struct stream_spec spec;
    struct js_error e = {0};

    if (!read_config(r, &c))
        return;
    if (!may_update(r, &c, &e)) {
        refuse(r, &c, &e);
        return;
    }
    struct slice text = config_text(r, &c);
    r->arg = kept = arena_alloc(&r->mem, sizeof *kept);
    if (!text.p || !kept) {
        stream_config_release(&c);
        api_fail(r, JSStreamUpdateErrF, "%s", err_text(E_TOOBIG));
        return;
    }
    *kept = c;
    js_stream_spec(r->acc, kept, r->stream->created, text, &spec);
    r->stream->coming = kept;
    int err = store_stream_update(r->stream->store, &spec, on_updated, r);
    if (err)
        on_updated(r, err);
}
