/* fake/jshost.c -- see jshost.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "fake/jshost.h"

#include "base/subject.h"

struct jsapi_sub {
    struct list link;
    void *account;
    struct slice pattern, queue; /* owned */
    jsapi_hear_fn *fn;
    void *arg;
};
struct jsapi_watch {
    struct list link;
    void *account;
    struct slice subject, queue; /* owned */
    jsapi_interest_fn *fn;
    void *arg;
    bool has;
};
struct want {
    struct list link;
    struct slice pattern, queue; /* owned */
};

static struct slice own(struct slice s)
{
    return slice_of(slice_dup(s), s.n);
}

static void disown(struct slice s)
{
    free((char *)s.p);
}

/* --- what the room says ----------------------------------------------------------------------- */

static void record(struct jshost *h, void *account, const struct msg_view *m)
{
    struct jshost_msg *r = xcalloc(1, sizeof *r);

    r->account = account;
    r->subject = own(m->subject);
    r->route = own(msg_route(m));
    r->reply = own(m->reply);
    r->hdr = own(m->hdr);
    r->text = slice_dup(m->payload);
    r->payload = slice_of(r->text, m->payload.n);
    list_push_back(&h->said, &r->link);
}

void jshost_msg_free(struct jshost_msg *m)
{
    if (!m)
        return;
    list_unlink(&m->link);
    disown(m->subject);
    disown(m->route);
    disown(m->reply);
    disown(m->hdr);
    free(m->text);
    free(m);
}

/* Is one of this queue group among them? */
static bool served(struct jsapi_sub *const *all, size_t n, struct slice queue)
{
    for (size_t i = 0; queue.n && i < n; i++)
        if (slice_eq(all[i]->queue, queue))
            return true;
    return false;
}

/* Subscriptions may come and go while we deliver: each is looked up anew, oldest first. */
static size_t deliver(struct jshost *h, void *account, struct msg_view *m)
{
    struct jsapi_sub *all[512];
    size_t n = 0, heard = 0;

    LIST_EACH(it, &h->subs)
    {
        struct jsapi_sub *s = LIST_ENTRY(it, struct jsapi_sub, link);
        if (s->account == account && n < ARRAY_LEN(all) &&
            subject_match(msg_route(m), s->pattern) && !served(all, n, s->queue))
            all[n++] = s;
    }
    for (size_t i = 0; i < n; i++) {
        LIST_EACH(it, &h->subs)
        if (it == &all[i]->link) {
            (void)all[i]->fn(all[i]->arg, m, h);
            heard++;
            break;
        }
    }
    return heard;
}

static bool wanted(const struct jshost *h, struct slice subject, struct slice queue)
{
    LIST_EACH(it, &h->wants)
    {
        const struct want *w = LIST_ENTRY(it, struct want, link);
        if ((!queue.n || slice_eq(queue, w->queue)) && subject_overlap(subject, w->pattern))
            return true;
    }
    return false;
}

static enum jsapi_published publish(void *arg, void *account, struct msg_view *m)
{
    struct jshost *h = arg;
    bool outside = wanted(h, msg_route(m), (struct slice){0});

    record(h, account, m);
    size_t heard = deliver(h, account, m);
    if (!heard && !outside)
        return PUBLISHED_NOBODY;
    return h->rest ? PUBLISHED_REST : PUBLISHED;
}

static struct jsapi_sub *subscribe(void *arg, void *account, struct slice pattern,
                                   struct slice queue, jsapi_hear_fn *fn, void *fn_arg)
{
    struct jshost *h = arg;
    struct jsapi_sub *s = xcalloc(1, sizeof *s);

    ASSERT(subject_valid(pattern));
    s->account = account;
    s->pattern = own(pattern);
    s->queue = own(queue);
    s->fn = fn;
    s->arg = fn_arg;
    list_push_back(&h->subs, &s->link);
    h->n_subs++;
    return s;
}

static void unsubscribe(void *arg, struct jsapi_sub *s)
{
    struct jshost *h = arg;

    list_unlink(&s->link);
    disown(s->pattern);
    disown(s->queue);
    free(s);
    h->n_subs--;
}

static bool interest(void *arg, void *account, struct slice subject, struct slice queue)
{
    struct jshost *h = arg;

    LIST_EACH(it, &h->subs)
    {
        const struct jsapi_sub *s = LIST_ENTRY(it, struct jsapi_sub, link);
        if (!queue.n && s->account == account && subject_overlap(subject, s->pattern))
            return true;
    }
    return wanted(h, subject, queue);
}

static struct jsapi_watch *watch(void *arg, void *account, struct slice subject, struct slice queue,
                                 jsapi_interest_fn *fn, void *fn_arg, bool *has)
{
    struct jshost *h = arg;
    struct jsapi_watch *w = xcalloc(1, sizeof *w);

    w->account = account;
    w->subject = own(subject);
    w->queue = own(queue);
    w->fn = fn;
    w->arg = fn_arg;
    w->has = *has = interest(h, account, subject, queue);
    list_push_back(&h->watches, &w->link);
    return w;
}

static void unwatch(void *arg, struct jsapi_watch *w)
{
    (void)arg;
    list_unlink(&w->link);
    disown(w->subject);
    disown(w->queue);
    free(w);
}

static void describe(void *arg, void *from, struct json_out *out)
{
    (void)arg;
    (void)from;
    json_cstr(out, "acc", "$G");
    json_u64(out, "id", 7);
}

static void pressure(void *arg, bool on)
{
    struct jshost *h = arg;
    h->pressed = on;
}

void jshost_init(struct jshost *h, struct fake_turn *ft, struct store *store)
{
    memset(h, 0, sizeof *h);
    h->ft = ft;
    list_init(&h->subs);
    list_init(&h->watches);
    list_init(&h->wants);
    list_init(&h->said);
    h->host = (struct jsapi_host){
        .arg = h,
        .turn = &ft->turn,
        .store = store,
        .server_name = SLICE("fake"),
        .server_id = SLICE("NFAKE"),
        .version = SLICE("2.15.2"),
        .max_payload = 1 << 20,
        .strict = true,
        .default_max_consumers = 1000,
        .publish = publish,
        .subscribe = subscribe,
        .unsubscribe = unsubscribe,
        .interest = interest,
        .watch = watch,
        .unwatch = unwatch,
        .describe = describe,
        .pressure = pressure,
    };
}

void jshost_forget(struct jshost *h)
{
    while (!list_empty(&h->said))
        jshost_msg_free(LIST_ENTRY(h->said.next, struct jshost_msg, link));
}

void jshost_release(struct jshost *h)
{
    jshost_forget(h);
    while (!list_empty(&h->subs))
        unsubscribe(h, LIST_ENTRY(h->subs.next, struct jsapi_sub, link));
    while (!list_empty(&h->watches))
        unwatch(h, LIST_ENTRY(h->watches.next, struct jsapi_watch, link));
    for (struct list *e; (e = list_pop(&h->wants)) != NULL;) {
        struct want *w = LIST_ENTRY(e, struct want, link);
        disown(w->pattern);
        disown(w->queue);
        free(w);
    }
}

/* --- the world outside ------------------------------------------------------------------------ */

static void tell_watches(struct jshost *h)
{
    LIST_EACH_SAFE(it, &h->watches)
    {
        struct jsapi_watch *w = LIST_ENTRY(it, struct jsapi_watch, link);
        bool now = interest(h, w->account, w->subject, w->queue);
        if (now == w->has)
            continue;
        w->has = now;
        w->fn(w->arg, now);
    }
}

void jshost_want_queue(struct jshost *h, const char *pattern, const char *queue)
{
    struct want *w = xcalloc(1, sizeof *w);

    w->pattern = own(slice_cstr(pattern));
    w->queue = own(slice_cstr(queue));
    list_push_back(&h->wants, &w->link);
    tell_watches(h);
}

void jshost_want(struct jshost *h, const char *pattern)
{
    jshost_want_queue(h, pattern, NULL);
}

void jshost_unwant(struct jshost *h, const char *pattern)
{
    LIST_EACH_SAFE(it, &h->wants)
    {
        struct want *w = LIST_ENTRY(it, struct want, link);
        if (!slice_is(w->pattern, pattern))
            continue;
        list_unlink(&w->link);
        disown(w->pattern);
        disown(w->queue);
        free(w);
    }
    tell_watches(h);
}

size_t jshost_send(struct jshost *h, void *account, const char *subject, const char *reply,
                   const char *hdr, const char *payload)
{
    struct msg_view m = {.subject = slice_cstr(subject),
                         .reply = slice_cstr(reply),
                         .hdr = slice_cstr(hdr),
                         .payload = slice_cstr(payload)};
    return jshost_hear(h, account, &m);
}

size_t jshost_hear(struct jshost *h, void *account, struct msg_view *m)
{
    size_t heard = deliver(h, account, m);
    msg_view_done(m);
    return heard;
}

struct jshost_msg *jshost_take(struct jshost *h, const char *pattern)
{
    LIST_EACH(it, &h->said)
    {
        struct jshost_msg *m = LIST_ENTRY(it, struct jshost_msg, link);
        if (subject_match(m->route, slice_cstr(pattern))) {
            list_unlink(&m->link);
            return m;
        }
    }
    return NULL;
}

struct waiting {
    struct jshost *h;
    const char *pattern;
    struct jshost_msg *got;
};

static bool came(void *arg)
{
    struct waiting *w = arg;

    if (!w->got)
        w->got = jshost_take(w->h, w->pattern);
    return w->got != NULL;
}

struct jshost_msg *jshost_wait(struct jshost *h, const char *pattern)
{
    struct waiting w = {h, pattern, NULL};

    (void)fake_turn_wait(h->ft, came, &w);
    return w.got;
}

struct jshost_msg *jshost_request_hdr(struct jshost *h, void *account, const char *subject,
                                      const char *hdr, const char *payload)
{
    char inbox[48];

    snprintf(inbox, sizeof inbox, "_INBOX.fake.%llu", (unsigned long long)h->inbox++);
    if (!jshost_send(h, account, subject, inbox, hdr, payload))
        return NULL;
    return jshost_wait(h, inbox);
}

struct jshost_msg *jshost_request(struct jshost *h, void *account, const char *subject,
                                  const char *payload)
{
    return jshost_request_hdr(h, account, subject, NULL, payload);
}
