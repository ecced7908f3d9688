/* jsapi/jsapi.c -- see jsapi.h: the room opens, accounts come to life, and everything is closed
 * again
 *
 * Opening an account is recovery: the store's streams of that account are read back (their
 * configuration is the JSON that stream_create.c once stored), their consumers are brought to life
 * by the consumer half, their subjects captured, and last the API is registered, so that nobody
 * asks about what is not there yet.
 *
 * Closing says nothing any more: subscriptions go first, then waiting pulls get their 409, and what
 * still waits for the store is freed when the store calls back (account.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/jsapi.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/uid.h"
#include "jsapi/account.h"
#include "jsapi/api.h"
#include "jsapi/capture.h"
#include "jsapi/consumers.h"
#include "jsapi/direct.h"
#include "jsapi/life.h"
#include "jsapi/query.h"
#include "jsapi/replicate.h"

#define ADVISORY_TYPE "io.nats.jetstream.advisory.v1."

/* --- lives ------------------------------------------------------------------------------------ */

static void js_unref(struct jsapi *js)
{
    if (--js->holds > 0)
        return;
    capture_pool_release(js);
    free(js);
}

void jsapi_hold(struct jsapi_account *a)
{
    a->holds++;
}

void jsapi_drop(struct jsapi_account *a)
{
    struct jsapi *js = a->js;

    if (--a->holds > 0)
        return;
    ASSERT(a->closed);
    free(a->streams);
    free((char *)a->name.p);
    free(a);
    js_unref(js);
}

/* --- speaking --------------------------------------------------------------------------------- */

struct js_parcel { /* what js_post() will say */
    struct list link;
    struct msg *msg;
    bool backlog;
};

static enum jsapi_published say(struct jsapi_account *a, struct msg_view *v)
{
    if (a->closed)
        return PUBLISHED_NOBODY;
    enum jsapi_published r = a->js->host.publish(a->js->host.arg, a->account, v);
    msg_view_done(v);
    return r;
}

enum jsapi_published js_say(struct jsapi_account *a, struct slice subject, struct slice reply,
                            struct slice hdr, struct slice payload)
{
    struct msg_view v = {.subject = subject, .reply = reply, .hdr = hdr, .payload = payload};
    return say(a, &v);
}

enum jsapi_published js_say_backlog(struct jsapi_account *a, struct slice subject,
                                    struct slice reply, struct slice hdr, struct slice payload)
{
    struct msg_view v = {
        .subject = subject, .reply = reply, .hdr = hdr, .payload = payload, .backlog = true};
    return say(a, &v);
}

static void post(struct jsapi_account *a, const struct msg_view *v)
{
    if (a->closed)
        return;
    struct js_parcel *p = xmalloc(sizeof *p);
    p->backlog = v->backlog;
    p->msg = msg_new(v);
    if (!p->msg) {
        free(p);
        return;
    }
    list_push_back(&a->outbox, &p->link);
    turn_post_now(a->js->host.turn, &a->run_outbox);
}

void js_post(struct jsapi_account *a, struct slice subject, struct slice reply, struct slice hdr,
             struct slice payload)
{
    post(a, &(struct msg_view){.subject = subject, .reply = reply, .hdr = hdr, .payload = payload});
}

void js_post_backlog(struct jsapi_account *a, struct slice subject, struct slice reply,
                     struct slice hdr, struct slice payload)
{
    post(a,
         &(struct msg_view){
             .subject = subject, .reply = reply, .hdr = hdr, .payload = payload, .backlog = true});
}

/* What is said may make more to be said. */
static void say_all(struct jsapi_account *a)
{
    while (!list_empty(&a->outbox)) {
        struct list now;
        list_init(&now);
        list_splice(&now, &a->outbox);
        LIST_EACH_SAFE(e, &now)
        {
            struct js_parcel *p = LIST_ENTRY(e, struct js_parcel, link);
            struct msg_view v = msg_view_of(p->msg);
            v.backlog = p->backlog;
            v.shared = NULL; /* the reference is the parcel's */
            (void)say(a, &v);
            msg_unref(p->msg);
            free(p);
        }
    }
}

static void run_outbox(void *arg)
{
    struct jsapi_account *a = arg;

    jsapi_hold(a);
    say_all(a);
    jsapi_drop(a);
}

bool js_advise(struct js_advisory *ad, struct jsapi_account *a, const char *type,
               const char *subject_fmt, ...)
{
    struct jsapi_host *h = &a->js->host;
    char id[UID_LEN + 1], full[96];
    va_list ap;
    int n;

    if (a->closed)
        return false;
    va_start(ap, subject_fmt);
    n = vsnprintf(ad->subject, sizeof ad->subject, subject_fmt, ap);
    va_end(ap);
    ad->subject_n = n > 0 && (size_t)n < sizeof ad->subject ? (size_t)n : 0;
    if (!ad->subject_n ||
        !h->interest(h->arg, a->account, slice_of(ad->subject, ad->subject_n), (struct slice){0}))
        return false;
    ad->acc = a;
    buf_init(&ad->body);
    json_begin(&ad->j, &ad->body);
    (void)snprintf(full, sizeof full, ADVISORY_TYPE "%s", type);
    uid_make(id);
    json_obj(&ad->j, NULL);
    json_cstr(&ad->j, "type", full);
    json_cstr(&ad->j, "id", id);
    json_time(&ad->j, "timestamp", clock_wall());
    return true;
}

void js_advise_end(struct js_advisory *ad)
{
    if (ad->acc->js->host.domain.n)
        json_str(&ad->j, "domain", ad->acc->js->host.domain);
    json_end(&ad->j);
    js_post(ad->acc, slice_of(ad->subject, ad->subject_n), (struct slice){0}, (struct slice){0},
            buf_slice(&ad->body));
    buf_release(&ad->body);
}

/* --- open and close --------------------------------------------------------------------------- */

int jsapi_open(const struct jsapi_host *host, struct jsapi **out)
{
    struct jsapi *js = xcalloc(1, sizeof *js);

    js->host = *host;
    js->holds = 1;
    list_init(&js->accounts);
    list_init(&js->readers);
    list_init(&js->searches);
    *out = js;
    return 0;
}

void jsapi_close(struct jsapi *js)
{
    js->closed = true;
    while (!list_empty(&js->accounts))
        jsapi_account_close(LIST_ENTRY(js->accounts.next, struct jsapi_account, link));
    js_unref(js);
}

static void recover(struct jsapi_account *a)
{
    struct store *st = a->js->host.store;
    size_t pos = 0, n = 0;

    for (struct stream *s; (s = store_stream_next(st, &pos)) != NULL;) {
        const struct stream_spec *spec = store_stream_spec(s);
        if (!slice_eq(spec->account, a->name))
            continue;
        struct js_stream *js = js_stream_recover(a, s);
        if (js)
            n++;
        else
            log_error("Stream '%.*s > %.*s' has a configuration that can not be read; it stays on "
                      "disk, unused",
                      SLICE_FMT(spec->account), SLICE_FMT(spec->name));
    }
    for (size_t i = 0; i < a->n_streams; i++)
        js_stream_start(a->streams[i], true);
    if (n)
        log_info("  Restored %zu stream%s for account '%.*s'", n, n == 1 ? "" : "s",
                 SLICE_FMT(a->name));
}

int jsapi_account_open(struct jsapi *js, void *account, struct slice name,
                       const struct jsapi_limits *limits, struct jsapi_account **out)
{
    struct jsapi_account *a = xcalloc(1, sizeof *a);

    a->js = js;
    a->account = account;
    a->name = slice_of(slice_dup(name), name.n);
    a->limits = *limits;
    a->holds = 1;
    js->holds++;
    list_init(&a->inbox);
    list_init(&a->requests);
    list_init(&a->outbox);
    turn_post_init(&a->run_outbox, run_outbox, a);
    list_push_back(&js->accounts, &a->link);
    recover(a);
    int err = api_open(a);
    if (err) {
        jsapi_account_close(a);
        return err;
    }
    *out = a;
    return 0;
}

void jsapi_account_close(struct jsapi_account *a)
{
    const struct turn *t = a->js->host.turn;

    api_close(a);
    direct_close(a);
    for (size_t i = a->n_streams; i-- > 0;)
        js_stream_close(a->streams[i]);
    /* The 409s of waiting pulls are in the outbox: say them before falling silent. */
    t->unpost(t->loop, &a->run_outbox);
    say_all(a);
    a->closed = true;
    query_close(a);
    while (a->n_streams)
        js_stream_forget(a->streams[a->n_streams - 1]);
    list_unlink(&a->link);
    jsapi_drop(a);
}

/* --- news from outside ------------------------------------------------------------------------ */

#define EACH_STREAM(js, a, i)                                                                      \
    LIST_EACH(it_, &(js)->accounts)                                                                \
    for (struct jsapi_account *a = LIST_ENTRY(it_, struct jsapi_account, link), *once_ = a; once_; \
         once_ = NULL)                                                                             \
        for (size_t i = 0; i < a->n_streams; i++)

void jsapi_drained(struct jsapi *js)
{
    direct_drained(js);
    EACH_STREAM(js, a, i)
    if (a->streams[i]->consumers)
        consumers_drained(a->streams[i]->consumers);
}

void jsapi_link_up(struct jsapi_account *a, struct slice domain)
{
    for (size_t i = 0; i < a->n_streams; i++) {
        if (a->streams[i]->consumers)
            consumers_link_up(a->streams[i]->consumers);
        replicator_link(a->streams[i]->rep, domain, true);
    }
}

void jsapi_link_down(struct jsapi_account *a, struct slice domain)
{
    for (size_t i = 0; i < a->n_streams; i++)
        replicator_link(a->streams[i]->rep, domain, false);
}

void jsapi_pressure(struct jsapi *js, bool on)
{
    js->pressure = on;
    if (js->host.pressure)
        js->host.pressure(js->host.arg, on);
}

void jsapi_damaged(struct jsapi *js, struct stream *s, uint64_t seq)
{
    struct js_stream *stream = store_stream_owner(s);

    (void)js;
    if (stream && stream->consumers)
        consumers_damaged(stream->consumers, seq);
}

/* The store took its picture back. Streams keep their handles; what was created in the failed
 * commit is gone (its done function said so); consumers start again from what is stored. */
void jsapi_reopened(struct jsapi *js)
{
    EACH_STREAM(js, a, i)
    if (a->streams[i]->state == STREAM_LIVE && a->streams[i]->cfg.storage == STORE_FILE)
        js_stream_reopened(a->streams[i]);
}
