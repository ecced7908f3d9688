/* jsapi/jsapi.c -- see jsapi.h: the room opens, accounts come to life, all is closed again
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

#include "base/log.h"
#include "jsapi/account.h"
#include "jsapi/api.h"
#include "jsapi/capture.h"
#include "jsapi/consumers.h"
#include "jsapi/direct.h"
#include "jsapi/life.h"
#include "jsapi/query.h"
#include "jsapi/replicate.h"
#include "jsapi/retention.h"

/* --- open and close --------------------------------------------------------------------------- */

/* The last account is gone, which may be after jsapi_close(). */
static void release(struct jsapi *js)
{
    capture_pool_release(js);
    free(js);
}

int jsapi_open(const struct jsapi_host *host, struct jsapi **out)
{
    struct jsapi *js = xcalloc(1, sizeof *js);

    js->host = *host;
    js->holds = 1;
    js->release = release;
    list_init(&js->accounts);
    list_init(&js->readers);
    list_init(&js->searches);
    list_init(&js->buried);
    *out = js;
    return 0;
}

void jsapi_close(struct jsapi *js)
{
    js->closed = true;
    while (!list_empty(&js->accounts))
        jsapi_account_close(LIST_ENTRY(js->accounts.next, struct jsapi_account, link));
    jsapi_unref(js);
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
    js_voice_init(a);
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
    api_close(a);
    direct_close(a);
    for (size_t i = a->n_streams; i-- > 0;)
        js_stream_close(a->streams[i]);
    /* The 409s of waiting pulls are in the outbox: say them before falling silent. */
    js_voice_end(a);
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

void jsapi_closing(struct jsapi *js)
{
    for (struct list *e; (e = list_pop(&js->buried));)
        retention_flush(LIST_ENTRY(e, struct consumers, buried), NULL, NULL);
}

void jsapi_pressure(struct jsapi *js, bool on)
{
    js->pressure = on;
    if (js->host.pressure)
        js->host.pressure(js->host.arg, on);
    if (!on) /* what is delivered into another stream rested for its sake */
        jsapi_drained(js);
}

void jsapi_damaged(struct jsapi *js, struct stream *s, uint64_t seq)
{
    const struct js_stream *stream = store_stream_owner(s);
    struct js_advisory ad;

    (void)js;
    if (!stream || !js_advise(&ad, stream->acc, "stream_damaged",
                              "$JS.EVENT.ADVISORY.STREAM.DAMAGED.%.*s", SLICE_FMT(stream->name)))
        return;
    json_str(&ad.j, "stream", stream->name);
    json_u64(&ad.j, "seq", seq);
    js_advise_end(&ad);
}

/* Pauses end at a time of day. */
void jsapi_clock_moved(struct jsapi *js)
{
    EACH_STREAM(js, a, i)
    if (a->streams[i]->consumers)
        consumers_clock_moved(a->streams[i]->consumers);
}

/* The store took its picture back. Streams keep their handles; what was created in the failed
 * commit is gone (its done function said so); consumers start again from what is stored. */
void jsapi_reopened(struct jsapi *js)
{
    EACH_STREAM(js, a, i)
    if (a->streams[i]->state == STREAM_LIVE && a->streams[i]->cfg.storage == STORE_FILE)
        js_stream_reopened(a->streams[i]);
}
