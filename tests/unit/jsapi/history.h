/* tests/unit/jsapi/history.h -- a site that remembers what it was told, and can be looked at
 *
 * For test_restarts.c: the dice of each step, what was published, acknowledged and answered so far,
 * the whole state as text, and what must hold of it at any time. The receipts of commits can be
 * held, as on a slow disk.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_H
#define TEST_HISTORY_H

#include "consumer_site.h"
#include "dice.h"
#include "jsapi/consumer.h"
#include "storage/store.h"

enum { STREAMS = 3, CONSUMERS = 4, SEQS = 4096, POOL = 48, IDS = 12, INBOXES = 512 };

/* --- what we know ---------------------------------------------------------------------------- */

struct known_consumer {
    uint64_t shape;   /* the dice of what can't be updated */
    bool plain;       /* all messages of its filter are for it, from the first on */
    bool acked[SEQS]; /* somebody said so */
    bool sure[SEQS];  /* and was answered */
};
struct known_id {
    uint64_t seq;
    int64_t at;
};
struct known_stream {
    uint64_t shape;
    struct known_consumer c[CONSUMERS];
    struct known_id id[IDS];
};
struct unacked {
    unsigned s, c;
    uint64_t sseq;
    char reply[160];
};
struct asked { /* an ack that waits for its answer */
    bool on;
    unsigned s, c;
    uint64_t sseq;
};
struct history {
    struct site site;
    unsigned inbox;
    bool holds; /* the receipts of commits are held */
    struct known_stream s[STREAMS];
    struct unacked pool[POOL];
    unsigned n_pool;
    struct asked asked[INBOXES];
    bool listens[STREAMS][CONSUMERS]; /* to the deliver subject */
    pthread_mutex_t lock;             /* of the held letters */
    struct letter {
        turn_fn *fn;
        void *arg;
    } letters[8];
    unsigned n_letters;
};
static struct history *now; /* the one that is played */
static void (*deliver_mail)(void *loop, turn_fn *fn, void *arg);

/* --- the site -------------------------------------------------------------------------------- */

static void hold_mail(void *loop, turn_fn *fn, void *arg)
{
    bool held;
    pthread_mutex_lock(&now->lock);
    held = now->holds;
    if (held) {
        assert_true(now->n_letters < ARRAY_LEN(now->letters));
        now->letters[now->n_letters++] = (struct letter){fn, arg};
    }
    pthread_mutex_unlock(&now->lock);
    if (!held)
        deliver_mail(loop, fn, arg);
}

static void let_mail_go(void)
{
    pthread_mutex_lock(&now->lock);
    now->holds = false;
    for (unsigned i = 0; i < now->n_letters; i++)
        deliver_mail(&now->site.ft, now->letters[i].fn, now->letters[i].arg);
    now->n_letters = 0;
    pthread_mutex_unlock(&now->lock);
}

/* The clocks go on where they stood; the monotonic one may begin anew, as after a reboot. */
static void up(int64_t mono, int64_t wall)
{
    struct site *s = &now->site;
    char *why = NULL;
    struct store_config cfg = {
        .dir = s->dir, .max_file_bytes = 64 << 20, .max_mem_bytes = 64 << 20};
    struct jsapi_limits limits = {-1, -1, -1, -1, -1, -1, -1, false};
    fake_turn_init(&s->ft);
    s->ft.mono = mono;
    s->ft.wall = wall;
    clock_fake(mono, wall);
    deliver_mail = s->ft.turn.mail;
    s->ft.turn.mail = hold_mail;
    struct store_host host = site_host(s);
    if (store_open(&cfg, &host, &s->store, &why))
        WRONG("the store does not open: %s", why ? why : "?");
    jshost_init(&s->h, &s->ft, s->store);
    s->h.host.domain = SLICE("leaf");
    assert_int_equal(jsapi_open(&s->h.host, &s->js), 0);
    assert_int_equal(jsapi_account_open(s->js, ACC, SLICE("$G"), &limits, &s->acc), 0);
    jshost_want(&s->h, "_INBOX.>");
    fake_turn_run(&s->ft);
}

static bool is_quiet(void *arg)
{
    const struct store *st = ((struct site *)arg)->store;
    return !st->flying && list_empty(&st->ready);
}

static bool ours(const char *text, const char *head, unsigned *s, unsigned *c)
{
    const char *at = strstr(text, head);
    return at && sscanf(at + strlen(head), "S%u.C%u", s, c) == 2 && *s < STREAMS && *c < CONSUMERS;
}

static void into_pool(const struct jshost_msg *m)
{
    struct unacked u = {0};
    char reply[160];
    uint64_t cseq;
    snprintf(reply, sizeof reply, "%.*s", SLICE_FMT(m->reply));
    if (!ours(reply, "$JS.ACK.", &u.s, &u.c) ||
        sscanf(reply, "$JS.ACK.%*[^.].%*[^.].%*u.%lu.%lu", &u.sseq, &cseq) != 2)
        return;
    memcpy(u.reply, reply, sizeof reply);
    TELL("    came: S%u C%u %lu (%lu)", u.s, u.c, (unsigned long)u.sseq, (unsigned long)cseq);
    if (now->s[u.s].c[u.c].sure[u.sseq % SEQS])
        WRONG("S%u C%u: %lu comes again, and its ack was answered", u.s, u.c,
              (unsigned long)u.sseq);
    now->pool[now->n_pool < POOL ? now->n_pool++ : roll(POOL)] = u;
}

/* All that was said is in: deliveries into the pool, answered acks are sure. */
static void gather(void)
{
    struct jshost_msg *m;
    while ((m = jshost_take(&now->site.h, "_INBOX.p")) || (m = jshost_take(&now->site.h, "d.>"))) {
        into_pool(m);
        jshost_msg_free(m);
    }
    while ((m = jshost_take(&now->site.h, "_INBOX.ack.*"))) {
        unsigned n = 0;
        char route[64];
        snprintf(route, sizeof route, "%.*s", SLICE_FMT(m->route));
        sscanf(route, "_INBOX.ack.%u", &n);
        struct asked *a = &now->asked[n % INBOXES];
        if (a->on)
            now->s[a->s].c[a->c].sure[a->sseq % SEQS] = true;
        a->on = false;
        jshost_msg_free(m);
    }
    jshost_forget(&now->site.h);
}

static void settle(void)
{
    if (now->holds) {
        fake_turn_run(&now->site.ft);
        return;
    }
    assert_true(fake_turn_wait(&now->site.ft, is_quiet, &now->site));
    gather();
}

/* --- asking ---------------------------------------------------------------------------------- */

/* The answer, or NULL: none, or it can't come yet. */
static char *answer_to(const char *subject, const char *hdr, const char *body)
{
    char inbox[48], *text = NULL;
    struct jshost *h = &now->site.h;
    snprintf(inbox, sizeof inbox, "_INBOX.q.%u", now->inbox++);
    size_t heard = jshost_send(h, ACC, subject, inbox, hdr, body);
    if (now->holds) {
        settle();
        return NULL;
    }
    struct jshost_msg *m = heard ? jshost_wait(h, inbox) : NULL;
    if (m)
        text = xstrdup(m->text);
    jshost_msg_free(m);
    settle();
    return text;
}

static bool ask_for(const char *subject, const char *body)
{
    char *text = answer_to(subject, NULL, body);
    bool good = text && !strstr(text, "\"error\"");
    TELL("%s %s\n    %.180s", subject, body, text ? text : "(no answer)");
    free(text);
    return good;
}

static struct js_consumer *live_consumer(unsigned s, unsigned c)
{
    char sn[8], cn[8];
    snprintf(sn, sizeof sn, "S%u", s);
    snprintf(cn, sizeof cn, "C%u", c);
    struct js_stream *stream = js_stream_find(now->site.acc, slice_cstr(sn));
    return stream && stream->consumers ? consumers_find(stream->consumers, slice_cstr(cn)) : NULL;
}

static struct js_stream *live_stream(unsigned s)
{
    char sn[8];
    snprintf(sn, sizeof sn, "S%u", s);
    struct js_stream *stream = js_stream_find(now->site.acc, slice_cstr(sn));
    return stream && stream->store ? stream : NULL;
}

/* --- what it looks like ---------------------------------------------------------------------- */

/* Without the member, which begins with head and ends before end. */
static void without(char *text, const char *head, const char *end)
{
    for (char *at; (at = strstr(text, head));) {
        char *to = at + strlen(head) + strcspn(at + strlen(head), end);
        memmove(at, to, strlen(to) + 1);
    }
}

static int show_message(void *arg, const struct record_out *r)
{
    buf_printf(arg, "  %lu %.*s at %ld %.*s|%.*s\n", (unsigned long)r->seq, SLICE_FMT(r->subject),
               (long)r->ts, SLICE_FMT(r->hdr), SLICE_FMT(r->payload));
    return READ_ON;
}

static void show_stream(unsigned n, struct buf *out)
{
    char subject[64];
    struct stream_state st;
    struct js_stream *s = live_stream(n);
    snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.S%u", n);
    char *text = answer_to(subject, NULL, "{\"deleted_details\":true,\"subjects_filter\":\">\"}");
    if (!text)
        WRONG("no info of S%u", n);
    char *cut = strstr(text, ",\"domain\":");
    if (cut)
        *cut = 0;
    without(text, "\"consumer_count\":", "}");
    without(text, "\"ts\":", "}");
    buf_printf(out, "%s\n", text);
    free(text);
    if (!s)
        return;
    store_state(s->store, &st);
    for (uint64_t q = st.first_seq; q && q <= st.last_seq; q++) {
        int err = store_get(s->store, q, show_message, out);
        if (err && err != E_DELETED && err != E_NOTFOUND)
            WRONG("S%u, %lu: %s", n, (unsigned long)q, err_text(err));
    }
}

static void show_config(struct js_consumer *c, struct buf *out)
{
    struct json_out j;
    struct buf b = BUF_INIT;
    json_begin(&j, &b);
    consumer_config_write(c->cfg, &j, NULL, false, (struct slice){0});
    buf_printf(out, "%.*s > %.*s created %ld %s\n", SLICE_FMT(c->stream->name), SLICE_FMT(c->name),
               (long)c->created, buf_cstr(&b));
    buf_release(&b);
}

/* Looked at by a timer, now or soon. */
static bool overdue(const struct js_consumer *c, const struct pending_entry *e)
{
    const struct pending_rules *r = &c->pend.rules;
    uint32_t n = e->deliveries < r->backoff_n ? e->deliveries : r->backoff_n;
    return e->at + (n ? r->backoff[n - 1] : r->ack_wait) <= now->site.ft.mono;
}

static void show_consumer(unsigned s, unsigned n, struct buf *out)
{
    char subject[64];
    const struct js_consumer *c = live_consumer(s, n);
    if (!c)
        return;
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.S%u.C%u", s, n);
    char *text = answer_to(subject, NULL, "");
    if (!text)
        WRONG("no info of S%u C%u", s, n);
    without(text, ",\"last_active\":", "}");
    without(text, ",\"ts\":", "}");
    without(text, ",\"num_waiting\":", ",");
    without(text, ",\"pause_remaining\":", ",}");
    without(text, ",\"push_bound\":", ",}");
    buf_printf(out, "%s\n", text);
    free(text);
    uint32_t pos = 0;
    for (const struct pending_entry *e; (e = pending_next(&c->pend, &pos));) {
        int64_t stood = now->site.ft.wall - now->site.ft.mono;
        buf_printf(out, "  pending %lu (%lu) x%u at %ld%s\n", (unsigned long)e->sseq,
                   (unsigned long)e->cseq, e->deliveries, (long)((e->at + stood) / NS_PER_MS),
                   e->place == PENDING_QUEUED || overdue(c, e) ? ", again" : "");
    }
    for (uint32_t i = 0; i < c->pend.given_n; i++)
        buf_printf(out, "  given up %lu\n", (unsigned long)c->pend.given[i]);
}

enum { SHOW_STREAMS = 1, SHOW_CONFIGS = 2, SHOW_CONSUMERS = 4 };

static char *show(unsigned what)
{
    struct buf out = BUF_INIT;
    for (unsigned s = 0; s < STREAMS; s++) {
        if (what & SHOW_STREAMS)
            show_stream(s, &out);
        for (unsigned c = 0; c < CONSUMERS; c++) {
            struct js_consumer *x = live_consumer(s, c);
            if (x && x->cfg->mem_storage)
                continue;
            if ((what & SHOW_CONFIGS) && x)
                show_config(x, &out);
            if (what & SHOW_CONSUMERS)
                show_consumer(s, c, &out);
        }
    }
    char *text = xstrdup(buf_cstr(&out));
    buf_release(&out);
    return text;
}

static void compare(const char *before, const char *after, const char *how)
{
    if (strcmp(before, after) == 0)
        return;
    const char *a = before, *b = after;
    for (;;) {
        size_t an = strcspn(a, "\n"), bn = strcspn(b, "\n"), same = 0;
        if (an != bn || memcmp(a, b, an) != 0) {
            while (same < an && a[same] == b[same])
                same++;
            size_t from = same > 60 ? same - 60 : 0;
            WRONG("after %s\n%.60s...\n%.200s\nis\n%.200s", how, a, a + from, b + from);
        }
        a += an + 1;
        b += bn + 1;
    }
}

/* --- what must hold at any time -------------------------------------------------------------- */

static int note_subject(void *arg, const struct record_out *r)
{
    snprintf(arg, 64, "%.*s", SLICE_FMT(r->subject));
    return READ_ON;
}

/* A message for a consumer is pending, given up, still to come, or somebody acknowledged it. */
static void nothing_is_lost(const char *how)
{
    for (unsigned s = 0; s < STREAMS; s++)
        for (unsigned n = 0; n < CONSUMERS; n++) {
            struct js_consumer *c = live_consumer(s, n);
            const struct known_consumer *k = &now->s[s].c[n];
            struct stream_state st;
            if (!c || c->state == CONSUMER_GONE || c->cfg->ack_policy == ACK_NONE)
                continue;
            store_state(c->stream->store, &st);
            for (uint64_t q = st.first_seq; q && q <= st.last_seq && q <= c->pend.delivered.stream;
                 q++) {
                char subject[64];
                bool pends = pending_find(&c->pend, q) != NULL;
                if (pends && k->sure[q % SEQS])
                    WRONG("after %s S%u C%u: %lu is pending, and its ack was answered", how, s, n,
                          (unsigned long)q);
                if (!k->plain || pends || pending_is_given(&c->pend, q) || k->acked[q % SEQS] ||
                    store_get(c->stream->store, q, note_subject, subject) ||
                    !consumer_wants(c, slice_cstr(subject)))
                    continue;
                WRONG("after %s S%u C%u: %lu will never come, and nobody acknowledged it", how, s,
                      n, (unsigned long)q);
            }
        }
}

#endif
