/* jsapi/capture.c -- see capture.h
 *
 *     capture_hear()   transform, publish_check(), interest, account limits
 *                      ──► store_append(…, on_receipt, ticket)
 *     on_receipt()     republish, then the ack or the error; the ticket goes back to the pool
 *
 * A ticket holds its stream, so a receipt finds it even after the stream was deleted or jsapi was
 * closed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/capture.h"

#include "base/clock.h"
#include "jsapi/consumers.h"
#include "jsapi/publish.h"

#define REPLY_INLINE 88   /* an inbox fits */
#define POOL_MAX     4096 /* spare tickets kept */

struct ticket {
    struct ticket *next;      /* in the pool */
    struct js_stream *s;      /* held */
    char *far;                /* a reply subject longer than REPLY_INLINE, owned; else NULL */
    uint32_t reply_n;         /* 0: no answer wanted */
    struct repeat *repeat;    /* owned: what the stream republishes; else NULL */
    bool rolled;              /* others went: consumers move up as after a purge, */
    char *rolled_up;          /* of this subject (owned); NULL: of all; */
    bool stays;               /* it is itself the first one left */
    struct js_error *refused; /* owned: what E_DENIED means; else NULL */
    store_append_fn *done;    /* js_stream_store(): the replicator's */
    void *arg;
    char reply[REPLY_INLINE];
};

struct capture_pool {
    struct ticket *free;
    size_t n;
};

static struct ticket *ticket_new(struct js_stream *s, struct slice reply)
{
    struct capture_pool *p = s->acc->js->pool;
    struct ticket *t = p ? p->free : NULL;

    if (t) {
        p->free = t->next;
        p->n--;
    } else {
        t = xmalloc(sizeof *t);
    }
    t->s = s;
    t->far = NULL;
    t->reply_n = (uint32_t)reply.n;
    t->repeat = NULL;
    t->rolled = t->stays = false;
    t->rolled_up = NULL;
    t->refused = NULL;
    t->done = NULL;
    if (reply.n > REPLY_INLINE)
        t->far = slice_dup(reply);
    else if (reply.n)
        memcpy(t->reply, reply.p, reply.n);
    js_stream_hold(s);
    return t;
}

static void ticket_free(struct ticket *t)
{
    struct js_stream *s = t->s;
    struct jsapi *js = s->acc->js;

    free(t->far);
    free(t->repeat);
    free(t->rolled_up);
    free(t->refused);
    if (!js->pool)
        js->pool = xcalloc(1, sizeof *js->pool);
    if (js->pool->n < POOL_MAX && !js->closed) {
        t->next = js->pool->free;
        js->pool->free = t;
        js->pool->n++;
    } else {
        free(t);
    }
    js_stream_drop(s);
}

void capture_pool_release(struct jsapi *js)
{
    if (!js->pool)
        return;
    for (struct ticket *t = js->pool->free, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    free(js->pool);
    js->pool = NULL;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Decimal digits of v, at the end of room[20]. */
static struct slice digits(uint64_t v, char room[20])
{
    size_t at = 20;

    do
        room[--at] = (char)('0' + v % 10);
    while (v /= 10);
    return slice_of(room + at, 20 - at);
}

static char *put(char *to, struct slice s)
{
    memcpy(to, s.p, s.n);
    return to + s.n;
}

static void say_ack(struct js_stream *s, struct slice reply, const struct store_receipt *r)
{
    char body[1024],
        num[20]; /* a name has at most 255 bytes, a domain comes from the configuration */
    char *end = body;

    ASSERT(s->ack_head.n + 64 < sizeof body);
    end = put(end, s->ack_head);
    end = put(end, digits(r->seq, num));
    end = r->duplicate ? put(end, SLICE(",\"duplicate\": true}")) : put(end, SLICE("}"));
    (void)js_say(s->acc, reply, (struct slice){0}, (struct slice){0},
                 slice_of(body, (size_t)(end - body)));
}

/* now: false inside a hear function. */
static void say_error(struct js_stream *s, struct slice reply, const struct js_error *e, bool now)
{
    struct slice hdr = {0};
    struct buf body = BUF_INIT;
    struct json_out j;

    if (!reply.n || s->cfg.no_ack)
        return;
    json_begin(&j, &body);
    json_obj(&j, NULL);
    js_error_write(e, &j);
    json_str(&j, "stream", s->name);
    json_u64(&j, "seq", 0);
    json_end(&j);
    if (e->code == JSStreamTooManyRequests)
        hdr = SLICE("NATS/1.0 429 Too Many Requests\r\n\r\n");
    if (now)
        (void)js_say(s->acc, reply, (struct slice){0}, hdr, buf_slice(&body));
    else
        js_post(s->acc, reply, (struct slice){0}, hdr, buf_slice(&body));
    buf_release(&body);
}

/* --- republish -------------------------------------------------------------------------------- */

void js_hdr_join(struct buf *out, struct slice hdr, struct slice lines)
{
    if (hdr.n >= 2)
        buf_add(out, hdr.p, hdr.n - 2); /* without the empty line */
    else
        buf_add_str(out, "NATS/1.0\r\n");
    buf_add_slice(out, lines);
    buf_add_str(out, "\r\n");
}

/* What will be repeated when it is on disk. The store may not have it then: a limit or a roll-up
 * may take a message in the commit that brings it. */
struct repeat {
    struct slice to, subject, hdr, payload; /* point into bytes */
    size_t size;                            /* of the payload, also where that is left out */
    bool headers_only;
    char bytes[];
};

static size_t keep(char *at, struct slice s, struct slice *kept)
{
    if (s.n)
        memcpy(at, s.p, s.n);
    *kept = slice_of(at, s.n);
    return s.n;
}

static struct repeat *repeat_new(const struct js_stream *s, const struct record_in *rec)
{
    struct buf to = BUF_INIT;
    struct repeat *r = NULL;

    if (transform_apply(s->republish, rec->subject, &to) && subject_valid_literal(buf_slice(&to))) {
        bool headers_only = s->cfg.republish->headers_only;
        struct slice payload = headers_only ? (struct slice){0} : rec->payload;
        r = xmalloc(sizeof *r + to.len + rec->subject.n + rec->hdr.n + payload.n);
        r->size = rec->payload.n;
        r->headers_only = headers_only;
        char *at = r->bytes;
        at += keep(at, buf_slice(&to), &r->to);
        at += keep(at, rec->subject, &r->subject);
        at += keep(at, rec->hdr, &r->hdr);
        (void)keep(at, payload, &r->payload);
    }
    buf_release(&to);
    return r;
}

static void republish(struct js_stream *s, const struct repeat *m, const struct store_receipt *r)
{
    struct buf lines = BUF_INIT, hdr = BUF_INIT;
    char when[40];
    size_t n = time_print(r->ts, when);

    buf_printf(&lines,
               "Nats-Stream: %.*s\r\nNats-Subject: %.*s\r\nNats-Sequence: "
               "%llu\r\nNats-Time-Stamp: %.*s\r\n"
               "Nats-Last-Sequence: %llu\r\n",
               SLICE_FMT(s->name), SLICE_FMT(m->subject), (unsigned long long)r->seq, (int)n, when,
               (unsigned long long)r->last);
    if (m->headers_only)
        buf_printf(&lines, "Nats-Msg-Size: %zu\r\n", m->size);
    js_hdr_join(&hdr, m->hdr, buf_slice(&lines));
    js_post(s->acc, m->to, (struct slice){0}, buf_slice(&hdr), m->payload);
    buf_release(&lines);
    buf_release(&hdr);
}

/* --- the store's answer ----------------------------------------------------------------------- */

static void on_receipt(void *arg, const struct store_receipt *r)
{
    struct ticket *t = arg;
    struct js_stream *s = t->s;
    struct slice reply = slice_of(t->far ? t->far : t->reply, t->reply_n);

    if (t->done)
        t->done(t->arg, r);
    if (!s->acc->closed) {
        if (r->err == 0) {
            if (t->rolled && !r->duplicate && s->consumers)
                consumers_purged(s->consumers, slice_cstr(t->rolled_up ? t->rolled_up : ""),
                                 t->stays ? r->seq : r->seq + 1, consumers_taken(s->consumers));
            if (t->repeat && !r->duplicate && s->state == STREAM_LIVE)
                republish(s, t->repeat, r);
            if (reply.n)
                say_ack(s, reply, r);
        } else if (reply.n) {
            struct js_error e;
            if (r->err == E_DENIED && t->refused)
                e = *t->refused;
            else
                publish_store_error(r, &e);
            say_error(s, reply, &e, true);
        }
    }
    ticket_free(t);
}

/* --- arrival ---------------------------------------------------------------------------------- */

static bool over_account(const struct js_stream *s)
{
    const struct jsapi_limits *l = &s->acc->limits;
    bool memory = s->cfg.storage == STORE_MEMORY;
    int64_t limit = memory ? l->max_memory : l->max_storage, file, mem;

    if (limit < 0)
        return false;
    store_account_usage(s->acc->js->host.store, s->acc->name, &file, &mem);
    return (memory ? mem : file) >= limit;
}

/* "NATS/1.0 503 text" becomes "NATS/1.0"; headers of the server's own are taken out. */
static bool server_header(struct slice name, void *arg)
{
    (void)arg;
    return slice_is(name, "Nats-Request-Info");
}

static struct slice clean_headers(struct slice hdr, struct buf *room)
{
    struct slice v;

    if (slice_starts(hdr, SLICE("NATS/1.0\r\n")) && !hdr_get(hdr, SLICE("Nats-Request-Info"), &v))
        return hdr;
    size_t line = slice_search(hdr, SLICE("\r\n"));
    if (line == hdr.n)
        return hdr;
    struct buf plain = BUF_INIT;
    buf_add_str(&plain, "NATS/1.0");
    buf_add_slice(&plain, slice_skip(hdr, line));
    hdr_rewrite(room, buf_slice(&plain), server_header, NULL, (struct slice){0});
    buf_release(&plain);
    return buf_slice(room);
}

static bool rolls_up(const struct record_in *rec)
{
    return rec->flags & (REC_ROLLUP_ALL | REC_ROLLUP_SUBJECT);
}

static void note_rollup(struct ticket *t, const struct record_in *rec)
{
    t->rolled = rolls_up(rec);
    t->stays = !(rec->flags & REC_SKIP);
    if (rec->flags & REC_ROLLUP_SUBJECT)
        t->rolled_up = slice_dup(rec->subject);
}

/* After all checks: interest, account, store. refused: with REC_REFUSED, why. */
static void append(struct js_stream *s, struct record_in *rec, struct slice reply,
                   const struct js_error *refused)
{
    struct js_error e;
    struct ticket *t = NULL;

    if (s->cfg.retention == RETAIN_INTEREST && !js_stream_has_interest(s, rec->subject))
        rec->flags |= REC_SKIP;
    else if (over_account(s)) {
        js_fail(&e, JSAccountResourcesExceededErr, NULL);
        say_error(s, reply, &e, false);
        return;
    }
    if (s->cfg.no_ack)
        reply.n = 0;
    if (reply.n || s->republish || rolls_up(rec)) {
        t = ticket_new(s, reply);
        note_rollup(t, rec);
        if (rec->flags & REC_REFUSED) {
            t->refused = xmalloc(sizeof *t->refused);
            *t->refused = *refused;
        }
        if (s->republish && !(rec->flags & REC_SKIP))
            t->repeat = repeat_new(s, rec);
    }
    int err = store_append(s->store, rec, t ? on_receipt : NULL, t);
    if (err == 0)
        return;
    if (t)
        ticket_free(t);
    publish_store_error(&(struct store_receipt){.err = err}, &e);
    say_error(s, reply, &e, false);
}

static bool capture_hear(void *arg, struct msg_view *m, void *from)
{
    struct js_stream *s = arg;
    struct buf subject = BUF_INIT, hdr = BUF_INIT;
    struct record_in rec = {
        .subject = m->subject, .hdr = m->hdr, .payload = m->payload, .origin = from};
    struct js_error e;

    if (s->transform && transform_apply(s->transform, m->subject, &subject))
        rec.subject = buf_slice(&subject);
    if (m->hdr.n)
        rec.hdr = clean_headers(m->hdr, &hdr);
    if (publish_check(&s->cfg, rec.hdr, m->reply, &rec, &e))
        append(s, &rec, m->reply, &e);
    else
        say_error(s, m->reply, &e, false);
    buf_release(&subject);
    buf_release(&hdr);
    return !s->acc->js->pressure;
}

int js_stream_store(struct js_stream *s, const struct record_in *rec, store_append_fn *done,
                    void *arg)
{
    struct record_in r = *rec;
    struct buf subject = BUF_INIT;

    if (s->cfg.sealed)
        return E_DENIED;
    struct ticket *t = ticket_new(s, (struct slice){0});
    t->done = done;
    t->arg = arg;
    if (!(r.flags & REC_EXACT)) {
        if (s->transform && transform_apply(s->transform, r.subject, &subject))
            r.subject = buf_slice(&subject);
        if (s->cfg.retention == RETAIN_INTEREST && !js_stream_has_interest(s, r.subject))
            r.flags |= REC_SKIP;
    }
    if (!(r.flags & REC_SKIP) && over_account(s)) {
        buf_release(&subject);
        ticket_free(t);
        return E_LIMIT;
    }
    r.flags |= publish_copied_rollup(&s->cfg, r.hdr);
    note_rollup(t, &r);
    if (s->republish && !(r.flags & REC_SKIP))
        t->repeat = repeat_new(s, &r);
    int err = store_append(s->store, &r, on_receipt, t);
    if (err)
        ticket_free(t);
    buf_release(&subject);
    return err;
}

/* --- subscriptions ---------------------------------------------------------------------------- */

static struct jsapi_sub *listen(struct js_stream *s, struct slice subject)
{
    struct jsapi_host *h = &s->acc->js->host;
    return h->subscribe(h->arg, s->acc->account, subject, (struct slice){0}, capture_hear, s);
}

static void unlisten(struct js_stream *s, struct jsapi_sub *sub)
{
    struct jsapi_host *h = &s->acc->js->host;
    if (sub)
        h->unsubscribe(h->arg, sub);
}

static void make_transforms(struct js_stream *s)
{
    const struct stream_config *c = &s->cfg;
    const char *why;

    transform_free(s->transform);
    transform_free(s->republish);
    s->transform = s->republish = NULL;
    if (c->transform &&
        transform_new(c->transform->src, c->transform->dest, &s->transform, &why) < 0)
        s->transform =
            NULL; /* was checked at create; a newer rule may refuse an old config: as it is then */
    if (c->republish &&
        transform_new(c->republish->src, c->republish->dest, &s->republish, &why) < 0)
        s->republish = NULL;
}

static void make_ack_head(struct js_stream *s)
{
    struct buf b = BUF_INIT;
    struct json_out j;

    if (s->ack_head.p)
        return; /* it lives again: a delete that failed */
    json_begin(&j, &b);
    json_obj(&j, NULL);
    json_str(&j, "stream", s->name);
    if (s->acc->js->host.domain.n)
        json_str(&j, "domain", s->acc->js->host.domain);
    buf_add_str(&b, ",\"seq\":");
    s->ack_head.n = b.len;
    s->ack_head.p = buf_steal(&b);
}

void capture_start(struct js_stream *s)
{
    make_ack_head(s);
    make_transforms(s);
    s->subs = xcalloc(s->cfg.subjects.n + 1, sizeof *s->subs);
    for (s->n_subs = 0; s->n_subs < s->cfg.subjects.n; s->n_subs++)
        s->subs[s->n_subs] = listen(s, s->cfg.subjects.at[s->n_subs]);
}

struct heard { /* a subject of the old config */
    struct slice subject;
    struct jsapi_sub **sub; /* of s->subs */
};

static int by_subject(const void *a, const void *b)
{
    const struct heard *x = a, *y = b;
    return slice_cmp(x->subject, y->subject);
}

/* What is heard in order of subjects: there may be tens of thousands. The caller's to free. */
static struct heard *what_is_heard(const struct js_stream *s, const struct stream_config *old)
{
    struct heard *was = xmalloc((s->n_subs + 1) * sizeof *was);

    for (size_t i = 0; i < s->n_subs; i++)
        was[i] = (struct heard){old->subjects.at[i], &s->subs[i]};
    qsort(was, s->n_subs, sizeof *was, by_subject);
    return was;
}

void capture_update(struct js_stream *s, const struct stream_config *old)
{
    struct jsapi_sub **subs = xcalloc(s->cfg.subjects.n + 1, sizeof *subs);
    struct heard *was = what_is_heard(s, old);

    make_transforms(s);
    for (size_t i = 0; i < s->cfg.subjects.n; i++) {
        struct heard wanted = {.subject = s->cfg.subjects.at[i]};
        struct heard *same = bsearch(&wanted, was, s->n_subs, sizeof *was, by_subject);
        if (same) {
            subs[i] = *same->sub;
            *same->sub = NULL;
        }
        if (!subs[i])
            subs[i] = listen(s, wanted.subject);
    }
    free(was);
    capture_stop(s);
    s->subs = subs;
    s->n_subs = s->cfg.subjects.n;
}

void capture_stop(struct js_stream *s)
{
    for (size_t i = 0; i < s->n_subs; i++)
        unlisten(s, s->subs[i]);
    free(s->subs);
    s->subs = NULL;
    s->n_subs = 0;
}

void capture_release(struct js_stream *s)
{
    transform_free(s->transform);
    transform_free(s->republish);
    free((char *)s->ack_head.p);
}
