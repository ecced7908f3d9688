/* jsapi/api.c -- see api.h
 *
 * The life of a request:
 *
 *     api_hear()  copied ──► inbox ──► check() ──► dispatch() ──► handler ──► api_send()/api_fail()
 *                                        │            │
 *                                        │            └─► a stream's queue, until it is its turn
 *                                        └─► refused: level, body
 *
 * The sink is a handful of subscriptions that cover $JS.API except CONSUMER.MSG.NEXT and
 * DIRECT.GET. A subject that no verb matches is dropped in silence, as nats-server does.
 *
 * What always holds: a request is in exactly one list; a handler runs at most once for it; lock is
 * 0 unless the stream's `exclusive` or `shared` counts it. At API_INFLIGHT_MAX, as in the
 * reference, or beyond API_INFLIGHT_MOST bytes, what has not begun is thrown away with one
 * advisory. Requests run in the turn they came in, half a millisecond of them; the rest of a flood
 * is a job that takes its turn among the others.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"

#include <ctype.h>

#include "base/clock.h"
#include "base/subject.h"

#define API_PREFIX    "$JS.API."
#define TYPE_PREFIX   "io.nats.jetstream.api.v1."
#define REQUEST_MAX   ((size_t)16 << 20) /* memory of one request */
#define INBOX_TURN    (NS_PER_MS / 2)    /* what requests may take of the turn they came in */
#define AUDIT_SUBJECT SLICE("$JS.EVENT.ADVISORY.API")
#define HDR_LEVEL     SLICE("Nats-Required-Api-Level")

static const struct api_verb verbs[] = {
#define V(pattern, type, fn, flags, in_error) {pattern, type, fn, flags, in_error},
#include "jsapi/verbs.def"
#undef V
};

/* Disjoint, so that nothing is heard twice; CONSUMER.MSG.NEXT.S.C and DIRECT.GET.> stay free. */
static const char *const sinks[] = {
    API_PREFIX "*",
    API_PREFIX "STREAM.>",
    API_PREFIX "CONSUMER.*",
    API_PREFIX "CONSUMER.*.*",
    API_PREFIX "CONSUMER.*.*.*",
    API_PREFIX "CONSUMER.CREATE.*.*.>",
    API_PREFIX "CONSUMER.DURABLE.*.*.>",
    API_PREFIX "CONSUMER.LEADER.*.*.>",
    API_PREFIX "CONSUMER.PEER.*.*.>",
    API_PREFIX "META.>",
    API_PREFIX "SERVER.>",
    API_PREFIX "ACCOUNT.>",
};

static void dispatch(struct request *r);

/* --- finding the verb ------------------------------------------------------------------------- */

/* Matches s against the pattern and notes what stood at the wildcards. */
static bool match(struct slice s, struct slice pattern, struct request *r)
{
    r->n_tok = 0;
    for (;;) {
        size_t pn = slice_find(pattern, '.'), sn = slice_find(s, '.');
        struct slice p = slice_head(pattern, pn), t = slice_head(s, sn);
        if (slice_is(p, ">")) {
            r->tok[r->n_tok++] = s;
            return s.n > 0;
        }
        if (!t.n)
            return false;
        if (slice_is(p, "*"))
            r->tok[r->n_tok++] = t;
        else if (!slice_eq(p, t))
            return false;
        if (pn == pattern.n || sn == s.n)
            return pn == pattern.n && sn == s.n;
        pattern = slice_skip(pattern, pn + 1);
        s = slice_skip(s, sn + 1);
    }
}

static const struct api_verb *find_verb(struct slice subject, struct request *r)
{
    struct slice s = slice_skip(subject, sizeof API_PREFIX - 1);

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (match(s, slice_cstr(verbs[i].pattern), r))
            return &verbs[i];
    return NULL;
}

/* --- the end of a request --------------------------------------------------------------------- */

static void unlock(struct request *r)
{
    struct js_stream *s = r->stream;

    if (!r->lock)
        return;
    if (r->lock == API_CHANGES)
        s->exclusive = false;
    else
        s->shared--;
    r->lock = 0;
    api_stream_ready(s);
}

static void finish(struct request *r)
{
    struct jsapi_account *a = r->acc;

    unlock(r);
    if (r->stream)
        js_stream_drop(r->stream);
    list_unlink(&r->link);
    a->n_requests--;
    a->request_bytes -= r->kept;
    json_free(r->json);
    buf_release(&r->out);
    struct arena mem = r->mem; /* r lives in it */
    arena_release(&mem);
    jsapi_drop(a);
}

void api_drop(struct request *r)
{
    finish(r);
}

static void audit(struct request *r)
{
    struct js_advisory ad;

    if (!r->client.n || !js_advise(&ad, r->acc, "api_audit", "$JS.EVENT.ADVISORY.API"))
        return;
    json_str(&ad.j, "server", r->acc->js->host.server_name);
    json_raw(&ad.j, "client", r->client);
    json_str(&ad.j, "subject", r->subject);
    if (r->body.n)
        json_str(&ad.j, "request", r->body);
    json_str(&ad.j, "response", buf_slice(&r->out));
    js_advise_end(&ad);
}

static void answer(struct request *r)
{
    r->acc->js->api_total++;
    r->acc->api_total++;
    if (r->reply.n)
        (void)js_say(r->acc, r->reply, (struct slice){0}, r->out_hdr, buf_slice(&r->out));
    audit(r);
    finish(r);
}

struct json_out *api_ok_as(struct request *r, const char *type)
{
    char full[128];

    (void)snprintf(full, sizeof full, TYPE_PREFIX "%s", type);
    buf_clear(&r->out);
    json_begin(&r->j, &r->out);
    json_obj(&r->j, NULL);
    json_cstr(&r->j, "type", full);
    return &r->j;
}

struct json_out *api_ok(struct request *r)
{
    return api_ok_as(r, r->verb->type);
}

void api_send(struct request *r)
{
    json_end(&r->j);
    answer(r);
}

void api_fail_with(struct request *r, const struct js_error *e)
{
    struct json_out *j = api_ok(r);

    js_error_write(e, j);
    json_end(j);
    if (r->verb->in_error) {
        r->out.len--; /* open the object again */
        buf_add_char(&r->out, ',');
        buf_add_str(&r->out, r->verb->in_error);
        buf_add_char(&r->out, '}');
    }
    r->out_hdr = (struct slice){0};
    r->acc->js->api_errors++;
    r->acc->api_errors++;
    answer(r);
}

void api_fail(struct request *r, enum js_code code, const char *fmt, ...)
{
    struct js_error e;
    char text[sizeof e.text];
    va_list ap;

    text[0] = 0;
    if (fmt) {
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        js_fail(&e, code, "%s", text);
    } else {
        js_fail(&e, code, NULL);
    }
    api_fail_with(r, &e);
}

struct js_stream *api_need_stream(struct request *r)
{
    struct js_stream *s = r->stream;

    if (!s)
        api_fail(r, JSStreamNotFoundErr, NULL);
    return s;
}

bool api_gone(struct request *r)
{
    if (!r->acc->closed && (!r->stream || r->stream->state == STREAM_LIVE))
        return false;
    if (r->acc->closed)
        api_drop(r);
    else
        api_fail(r, JSStreamNotFoundErr, NULL);
    return true;
}

void api_page(struct json_out *j, uint64_t total, uint64_t offset, uint64_t limit)
{
    json_u64(j, "total", total);
    json_u64(j, "offset", offset);
    json_u64(j, "limit", limit);
}

/* --- checks that need no stream --------------------------------------------------------------- */

bool api_level_ok(struct slice hdr)
{
    struct slice v;
    uint64_t level;

    if (!hdr.n || !hdr_get(hdr, HDR_LEVEL, &v))
        return true;
    return slice_u64(v, &level) == 0 && level <= API_LEVEL;
}

bool api_read(struct request *r, const struct cfg_table *t, void *to)
{
    struct buf why = BUF_INIT;
    int err = r->json ? cfg_read(t, r->json, to, &r->mem, r->acc->js->host.strict, &why) : 0;

    if (err)
        api_fail(r, JSInvalidJSONErr, "%s", why.len ? buf_cstr(&why) : err_text(err));
    buf_release(&why);
    return err == 0;
}

/* Parses the body. False: the request was ended. */
static bool parse(struct request *r)
{
    char *why = NULL;
    int err = json_read(r->body, &r->json, &why);

    if (err) {
        r->json = NULL;
        api_fail(r, JSInvalidJSONErr, "%s", why ? why : err_text(err));
    }
    free(why);
    return err == 0;
}

static bool check_body(struct request *r)
{
    unsigned f = r->verb->flags;
    struct slice trimmed = slice_trim(r->body);
    bool object = trimmed.n && (trimmed.p[0] == '{' || trimmed.p[0] == '[');

    if (f & API_EMPTY) {
        json_t *j = NULL;
        bool fine = !trimmed.n || (json_read(trimmed, &j, NULL) == 0 && json_is_object(j) &&
                                   !json_object_size(j));
        json_free(j);
        if (!fine)
            api_fail(r, JSNotEmptyRequestErr, NULL);
        return fine;
    }
    if ((f & API_BODY) && !r->body.n) {
        api_fail(r, JSBadRequestErr, NULL);
        return false;
    }
    if ((f & API_OPT_BODY) && !object)
        return true;
    if ((f & (API_BODY | API_JSON | API_OPT_BODY)) && r->body.n && !parse(r))
        return false;
    if ((f & API_BODY) && json_is_object(r->json) && !json_object_size(r->json)) {
        api_fail(r, JSBadRequestErr, NULL);
        return false;
    }
    return true;
}

/* False: the request was ended. */
static bool check(struct request *r)
{
    r->checked = true;
    if (r->verb->fn == needs_cluster)
        return true; /* 10010 comes before everything else */
    if (!(r->verb->flags & API_LEVEL_LATE) && !api_level_ok(r->hdr)) {
        api_fail(r, JSRequiredApiLevelErr, NULL);
        return false;
    }
    if (r->unread) {
        api_fail(r, JSInsufficientResourcesErr, NULL);
        return false;
    }
    return check_body(r);
}

/* --- the turn of a request -------------------------------------------------------------------- */

static bool its_turn(const struct js_stream *s, unsigned lock)
{
    if (s->state != STREAM_LIVE)
        return false;
    if (lock == API_CHANGES)
        return !s->exclusive && s->shared == 0;
    return lock == 0 || !s->exclusive;
}

static void run(struct request *r, struct js_stream *s)
{
    unsigned lock = r->verb->flags & (API_CHANGES | API_SHARES);

    list_push_back(&r->acc->requests, &r->link);
    if (s) {
        js_stream_hold(s);
        r->stream = s;
        r->lock = lock;
        if (lock == API_CHANGES)
            s->exclusive = true;
        else if (lock == API_SHARES)
            s->shared++;
    }
    if (!s && (r->verb->flags & API_STREAM))
        api_fail(r, JSStreamNotFoundErr, NULL);
    else
        r->verb->fn(r);
}

/* r is in no list. */
static void dispatch(struct request *r)
{
    struct js_stream *s = r->n_tok ? js_stream_find(r->acc, r->tok[0]) : NULL;
    unsigned lock = r->verb->flags & (API_CHANGES | API_SHARES);

    if (s && (!its_turn(s, lock) || (lock && !list_empty(&s->queue))))
        list_push_back(&s->queue, &r->link);
    else
        run(r, s);
}

static void run_queue(void *arg)
{
    struct js_stream *s = arg;

    js_stream_hold(s);
    while (!s->acc->closed && !list_empty(&s->queue)) {
        struct request *r = LIST_ENTRY(s->queue.next, struct request, link);
        if (!its_turn(s, r->verb->flags & (API_CHANGES | API_SHARES)))
            break;
        list_unlink(&r->link);
        run(r, s);
    }
    js_stream_drop(s);
}

void api_stream_ready(struct js_stream *s)
{
    if (list_empty(&s->queue) || s->acc->closed)
        return;
    s->run_queue.fn = run_queue;
    s->run_queue.arg = s;
    turn_post_now(s->acc->js->host.turn, &s->run_queue);
}

void api_stream_gone(struct js_stream *s)
{
    if (s->acc->closed)
        return;
    s->acc->js->host.turn->unpost(s->acc->js->host.turn->loop, &s->run_queue);
    list_splice(&s->acc->inbox, &s->queue);
    if (!list_empty(&s->acc->inbox))
        turn_post_now(s->acc->js->host.turn, &s->acc->run_inbox);
}

/* True: some are left. Else the account may be gone. */
static bool run_some(struct jsapi_account *a, const struct job_budget *b)
{
    jsapi_hold(a);
    while (!list_empty(&a->inbox)) {
        struct request *r = LIST_ENTRY(list_pop(&a->inbox), struct request, link);
        if (r->checked || check(r))
            dispatch(r);
        if (job_over(b))
            break;
    }
    bool left = !list_empty(&a->inbox); /* never after api_close() */
    jsapi_drop(a);
    return left;
}

static void run_inbox(void *arg)
{
    struct jsapi_account *a = arg;
    struct job_budget b = {.until = clock_mono_exact() + INBOX_TURN};
    const struct turn *t = a->js->host.turn;

    if (run_some(a, &b))
        t->job_start(t->loop, &a->rest);
}

static enum job_result run_rest(struct job *j, const struct job_budget *b)
{
    return run_some(CONTAINER_OF(j, struct jsapi_account, rest), b) ? JOB_MORE : JOB_DONE;
}

/* --- arrival ---------------------------------------------------------------------------------- */

static void overflow(struct jsapi_account *a)
{
    struct js_advisory ad;
    uint64_t dropped = 0;

    for (struct list *e; (e = list_pop(&a->inbox)) != NULL; dropped++)
        api_drop(LIST_ENTRY(e, struct request, link));
    if (!js_advise(&ad, a, "api_limit_reached", "$JS.EVENT.ADVISORY.API.LIMIT_REACHED"))
        return;
    json_str(&ad.j, "server", a->js->host.server_name);
    json_u64(&ad.j, "dropped", dropped + 1);
    js_advise_end(&ad);
}

static void describe(struct request *r, void *from)
{
    struct buf text = BUF_INIT;
    struct json_out j;

    if ((r->verb->flags & API_QUIET) || !r->acc->js->host.describe ||
        !r->acc->js->host.interest(r->acc->js->host.arg, r->acc->account, AUDIT_SUBJECT,
                                   (struct slice){0}))
        return;
    json_begin(&j, &text);
    json_obj(&j, NULL);
    if (from) {
        r->acc->js->host.describe(r->acc->js->host.arg, from, &j);
    } else { /* our own sources and mirrors ask */
        json_str(&j, "acc", r->acc->name);
        json_str(&j, "server", r->acc->js->host.server_name);
        json_cstr(&j, "kind", "JetStream");
    }
    json_end(&j);
    r->client = arena_dup(&r->mem, buf_slice(&text));
    buf_release(&text);
}

static bool api_hear(void *arg, struct msg_view *m, void *from)
{
    struct jsapi_account *a = arg;
    struct request probe;
    const struct api_verb *verb = find_verb(m->subject, &probe);
    struct arena mem;

    if (!verb)
        return true;
    if (a->n_requests >= API_INFLIGHT_MAX || a->request_bytes > API_INFLIGHT_MOST) {
        overflow(a);
        return true;
    }
    arena_init(&mem, REQUEST_MAX);
    struct request *r = arena_alloc(&mem, sizeof *r); /* the first few bytes: never NULL */
    list_init(&r->link);
    r->acc = a;
    r->verb = verb;
    r->subject = arena_dup(&mem, m->subject);
    r->reply = arena_dup(&mem, m->reply);
    if (m->hdr.n + m->payload.n <= REQUEST_MAX / 2) { /* the rest is for what becomes of it */
        r->hdr = arena_dup(&mem, m->hdr);
        r->body = arena_dup(&mem, m->payload);
        r->kept = r->hdr.n + r->body.n;
    }
    r->unread = r->hdr.n + r->body.n < m->hdr.n + m->payload.n;
    r->mem = mem;
    buf_init(&r->out);
    find_verb(r->subject, r); /* once more, for tokens that live as long as r */
    describe(r, from);
    jsapi_hold(a);
    a->n_requests++;
    a->request_bytes += r->kept;
    list_push_back(&a->inbox, &r->link);
    turn_post_now(a->js->host.turn, &a->run_inbox);
    return true;
}

int api_open(struct jsapi_account *a)
{
    struct jsapi_host *h = &a->js->host;

    turn_post_init(&a->run_inbox, run_inbox, a);
    job_init(&a->rest, "requests", run_rest);
    a->api_subs = xcalloc(ARRAY_LEN(sinks), sizeof *a->api_subs);
    for (size_t i = 0; i < ARRAY_LEN(sinks); i++) {
        a->api_subs[i] =
            h->subscribe(h->arg, a->account, slice_cstr(sinks[i]), (struct slice){0}, api_hear, a);
        if (!a->api_subs[i])
            return E_NOMEM; /* api_close() takes the others off */
        a->n_api_subs++;
    }
    return 0;
}

void api_close(struct jsapi_account *a)
{
    struct jsapi_host *h = &a->js->host;

    for (size_t i = 0; i < a->n_api_subs; i++)
        h->unsubscribe(h->arg, a->api_subs[i]);
    free(a->api_subs);
    a->api_subs = NULL;
    a->n_api_subs = 0;
    h->turn->unpost(h->turn->loop, &a->run_inbox);
    h->turn->job_stop(h->turn->loop, &a->rest);
    for (struct list *e; (e = list_pop(&a->inbox)) != NULL;)
        api_drop(LIST_ENTRY(e, struct request, link));
}

/* --- endpoints that a single server has only to refuse ---------------------------------------- */

void needs_cluster(struct request *r)
{
    api_fail(r, JSClusterRequiredErr, NULL);
}
