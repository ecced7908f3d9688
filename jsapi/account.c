/* jsapi/account.c -- see account.h: how long an account lives, and how it speaks
 *
 * Everything jsapi says leaves through say(). What is posted waits in the outbox, copied, for
 * posted work of the same turn; a parcel's message is counted, so that many receivers share it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/account.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/uid.h"

#define EVENT_TYPE    "io.nats.jetstream."
#define ADVISORY_TYPE EVENT_TYPE "advisory.v1."

/* --- lives ------------------------------------------------------------------------------------ */

void jsapi_unref(struct jsapi *js)
{
    if (--js->holds == 0)
        js->release(js);
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
    jsapi_unref(js);
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
    if (!p->msg) /* an answer that is due can't be left out in silence */
        mem_refused(v->hdr.n + v->payload.n);
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

void js_voice_init(struct jsapi_account *a)
{
    list_init(&a->outbox);
    turn_post_init(&a->run_outbox, run_outbox, a);
}

void js_voice_end(struct jsapi_account *a)
{
    const struct turn *t = a->js->host.turn;

    t->unpost(t->loop, &a->run_outbox);
    say_all(a);
    a->closed = true;
}

/* --- advisories ------------------------------------------------------------------------------- */

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
    (void)snprintf(full, sizeof full, "%s%s", strchr(type, '.') ? EVENT_TYPE : ADVISORY_TYPE, type);
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
