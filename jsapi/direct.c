/* jsapi/direct.c -- see direct.h
 *
 * One struct reader per request:
 *
 *     BEGIN ──► ONE        one message: query_one() answers
 *        ├────► COUNTING ──► BATCH    how many there are, message by message, then 204 EOB
 *        └────► LISTING ───► MULTI    the newest of each subject, message by message, then 204 EOB
 *
 * What always holds: a reader is in js->readers from BEGIN to its end and holds its stream;
 * `waiting` is the store's job while COUNTING or LISTING; only reader_end() frees it, and never
 * while its own job step runs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/direct.h"

#include "base/clock.h"
#include "jsapi/api.h"
#include "jsapi/capture.h"
#include "jsapi/query.h"

#define PREFIX        "$JS.API.DIRECT.GET."
#define GROUP         SLICE("_sys_")
#define READER_MAX    ((size_t)2 << 20) /* memory of one request */
#define NOT_FOUND     "404 Message Not Found"
#define MULTI_MAX     1024 /* subjects of one multi_last answer */
#define BYTES_DEFAULT ((int64_t)64 << 20)
#define PORTION_MSGS  256
#define PORTION_SCAN  1000
#define PORTION_BYTES ((uint64_t)256 << 10)

struct reader {
    struct list link; /* js->readers */
    struct job job;   /* BATCH, MULTI */
    bool running;     /* the job is started */
    struct turn_post begin;
    struct js_stream *s;                /* held */
    struct arena mem;                   /* the request's bytes; r itself */
    struct slice reply, hdr, body, key; /* key: what follows the stream's name in the subject */
    json_t *json;
    struct msg_query q;
    struct store_job *waiting;
    bool in_query;  /* query_one() will call back */
    uint64_t *seqs; /* MULTI: what is to be sent */
    size_t n_seqs, at_seq;
    uint64_t from; /* BATCH: the next number to look at */
    uint64_t pending, last, up_to;
    int64_t sent, bytes;
    bool rest, nobody, full; /* of the last publish: rest, give up; the byte limit is reached */
};

static const struct turn *turn_of(const struct reader *r)
{
    return r->s->acc->js->host.turn;
}

static void reader_free(struct reader *r)
{
    struct js_stream *s = r->s;
    struct arena mem = r->mem;

    list_unlink(&r->link);
    json_free(r->json);
    free(r->seqs);
    arena_release(&mem);
    js_stream_drop(s);
}

/* Not from inside the reader's own job step. */
static void reader_end(struct reader *r)
{
    if (r->waiting)
        store_job_cancel(r->waiting);
    if (r->running)
        turn_of(r)->job_stop(turn_of(r)->loop, &r->job);
    turn_of(r)->unpost(turn_of(r)->loop, &r->begin);
    reader_free(r);
}

/* One answer is live traffic; a batch is a backlog, and rests where that is asked for. */
static void say(struct reader *r, struct slice hdr, struct slice payload)
{
    bool several = r->q.batch > 0 || r->q.multi_last.n > 0;
    switch (
        (several ? js_say_backlog : js_say)(r->s->acc, r->reply, (struct slice){0}, hdr, payload)) {
    case PUBLISHED:
        return;
    case PUBLISHED_REST:
        r->rest = true;
        return;
    case PUBLISHED_NOBODY:
        r->nobody = true;
        return;
    }
}

static void say_status(struct reader *r, const char *status)
{
    char hdr[96];
    int n = snprintf(hdr, sizeof hdr, "NATS/1.0 %s\r\n\r\n", status);
    say(r, slice_of(hdr, (size_t)n), (struct slice){0});
}

static void refuse(struct reader *r, const char *status)
{
    say_status(r, status);
    reader_end(r);
}

/* The stored message with its place in the headers; counted: as one of several. */
static void say_message(struct reader *r, const struct record_out *m, bool counted)
{
    struct buf lines = BUF_INIT, hdr = BUF_INIT;
    char when[40];

    if (!r->q.no_hdr || r->q.multi_last.n) {
        size_t n = time_print(m->ts, when);
        buf_printf(&lines,
                   "Nats-Stream: %.*s\r\nNats-Subject: %.*s\r\nNats-Sequence: "
                   "%llu\r\nNats-Time-Stamp: %.*s\r\n",
                   SLICE_FMT(r->s->name), SLICE_FMT(m->subject), (unsigned long long)m->seq, (int)n,
                   when);
        if (counted)
            buf_printf(&lines, "Nats-Num-Pending: %llu\r\nNats-Last-Sequence: %llu\r\n",
                       (unsigned long long)r->pending, (unsigned long long)r->last);
        js_hdr_join(&hdr, m->hdr, buf_slice(&lines));
    }
    say(r, buf_slice(&hdr), m->payload);
    r->last = m->seq;
    r->sent++;
    r->bytes += (int64_t)(m->subject.n + m->hdr.n + m->payload.n);
    r->full = r->bytes >= (r->q.max_bytes ? r->q.max_bytes : BYTES_DEFAULT);
    buf_release(&lines);
    buf_release(&hdr);
}

static void say_end(struct reader *r)
{
    char status[160];
    int n = snprintf(status, sizeof status,
                     "NATS/1.0 204 EOB\r\nNats-Num-Pending: %llu\r\nNats-Last-Sequence: %llu\r\n",
                     (unsigned long long)r->pending, (unsigned long long)r->last);
    if (r->q.multi_last.n)
        n += snprintf(status + n, sizeof status - (size_t)n, "Nats-UpTo-Sequence: %llu\r\n",
                      (unsigned long long)r->up_to);
    n += snprintf(status + n, sizeof status - (size_t)n, "\r\n");
    say(r, slice_of(status, (size_t)n), (struct slice){0});
}

static void start_job(struct reader *r, const char *name, job_step_fn *step)
{
    job_init(&r->job, name, step);
    r->running = true;
    turn_of(r)->job_start(turn_of(r)->loop, &r->job);
}

static enum job_result finished(struct reader *r)
{
    reader_free(r);
    return JOB_DONE;
}

/* --- one -------------------------------------------------------------------------------------- */

static void on_one(void *arg, const struct record_out *m, int err)
{
    struct reader *r = arg;

    r->in_query = false;
    if (m)
        say_message(r, m, false);
    else
        say_status(r, err ? "500 Message Can't Be Read" : NOT_FOUND);
    reader_free(r);
}

/* --- batch ------------------------------------------------------------------------------------ */

static int on_batch_message(void *arg, const struct record_out *m)
{
    struct reader *r = arg;

    if (r->pending)
        r->pending--;
    say_message(r, m, true);
    return r->rest || r->nobody || r->full || r->sent >= r->q.batch ? READ_STOP : READ_ON;
}

static enum job_result batch_step(struct job *j, const struct job_budget *b)
{
    struct reader *r = LIST_ENTRY(j, struct reader, job);
    struct store_filter filter = {&r->q.next_by_subj, r->q.next_by_subj.n ? 1 : 0};

    for (;;) {
        if (r->s->state != STREAM_LIVE || !r->s->store || r->nobody)
            return finished(r);
        if (r->q.batch < 0) {
            say_end(r);
            return finished(r);
        }
        struct read_budget budget = {PORTION_MSGS, PORTION_SCAN, PORTION_BYTES};
        r->rest = false;
        int end = store_read(r->s->store, &r->from, &filter, &budget, on_batch_message, r);
        if (r->nobody)
            return finished(r);
        if (r->full || r->sent >= r->q.batch || (end != READ_BUDGET && end != READ_STOPPED)) {
            if (r->sent)
                say_end(r);
            else
                say_status(r, NOT_FOUND);
            return finished(r);
        }
        if (r->rest)
            return JOB_WAIT;
        if (job_over(b))
            return JOB_MORE;
    }
}

static void on_count(void *arg, int err, uint64_t count, uint64_t as_of)
{
    struct reader *r = arg;

    (void)as_of;
    r->waiting = NULL;
    r->pending = err ? 0 : count;
    start_job(r, "direct get batch", batch_step);
}

static void begin_batch(struct reader *r)
{
    struct store_filter filter = {&r->q.next_by_subj, 1};

    r->from = r->q.start_time.set ? store_seq_at_time(r->s->store, r->q.start_time.ns) : r->q.seq;
    if (!r->from)
        r->from = 1;
    if (!r->q.next_by_subj.n)
        on_count(r, 0, store_count_from(r->s->store, r->from), 0);
    else if (store_count(r->s->store, &filter, r->from, false, on_count, r, &r->waiting) < 0)
        refuse(r, NOT_FOUND);
}

/* --- the newest of several subjects ----------------------------------------------------------- */

static int on_multi_message(void *arg, const struct record_out *m)
{
    struct reader *r = arg;

    say_message(r, m, true);
    return READ_STOP;
}

static enum job_result multi_step(struct job *j, const struct job_budget *b)
{
    struct reader *r = LIST_ENTRY(j, struct reader, job);

    for (;;) {
        if (r->s->state != STREAM_LIVE || !r->s->store || r->nobody)
            return finished(r);
        if (r->at_seq == r->n_seqs || r->full || (r->q.batch > 0 && r->sent >= r->q.batch)) {
            say_end(r);
            return finished(r);
        }
        r->rest = false;
        r->pending = r->n_seqs - r->at_seq - 1;
        (void)!store_get(r->s->store, r->seqs[r->at_seq++], on_multi_message,
                         r); /* gone meanwhile: passed over */
        if (r->rest)
            return JOB_WAIT;
        if (job_over(b))
            return JOB_MORE;
    }
}

static void on_list(void *arg, int err, const uint64_t *seqs, size_t n, uint64_t as_of)
{
    struct reader *r = arg;
    size_t skip = 0;

    r->waiting = NULL;
    if (err == E_TOOBIG) {
        refuse(r, "413 Too Many Results");
        return;
    }
    if (err) {
        refuse(r, "500 Messages Can't Be Listed");
        return;
    }
    while (skip < n && seqs[skip] < r->q.seq)
        skip++;
    if (!n) {
        refuse(r, "404 No Results");
        return;
    }
    if (!r->up_to)
        r->up_to = as_of;
    r->n_seqs = n - skip; /* none: all come before the start, and its end is told */
    r->seqs = xmalloc(r->n_seqs * sizeof *seqs);
    memcpy(r->seqs, seqs + skip, r->n_seqs * sizeof *seqs);
    start_job(r, "direct get of many subjects", multi_step);
}

static void begin_multi(struct reader *r)
{
    struct store_filter filter = {r->q.multi_last.at, r->q.multi_last.n};
    struct stream_state state;

    store_state(r->s->store, &state);
    r->up_to = r->q.up_to_seq;
    if (r->q.up_to_time.set) {
        r->up_to = store_seq_at_time(r->s->store, r->q.up_to_time.ns);
        if (r->up_to <= state.first_seq) {
            refuse(r, "404 No Results");
            return;
        }
        r->up_to--;
    }
    if (!r->up_to)
        r->up_to = state.last_seq;
    if (store_last_seqs(r->s->store, &filter, r->up_to, MULTI_MAX, on_list, r, &r->waiting) < 0)
        refuse(r, "404 No Results");
}

/* --- the request ------------------------------------------------------------------------------ */

static bool contradicts(const struct msg_query *q)
{
    bool last = q->last_by_subj.n, next = q->next_by_subj.n, multi = q->multi_last.n;

    return (q->seq && last) || (q->seq && q->start_time.set) || (q->start_time.set && last) ||
           (last && next) || (last && q->batch > 0) || (last && multi) || (next && multi) ||
           (q->up_to_seq && q->up_to_time.set);
}

/* NULL, or the status that refuses the request. */
static const char *understand(struct reader *r)
{
    struct msg_query *q = &r->q;

    if (!api_level_ok(r->hdr))
        return "412 Required Api Level";
    if (!r->key.n && !r->body.n)
        return "408 Empty Request";
    if (r->body.n && (json_read(r->body, &r->json, NULL) < 0 ||
                      cfg_read(&msg_query_table, r->json, q, &r->mem, false, NULL) < 0))
        return "408 Malformed Request";
    if (r->key.n) {
        if (q->last_by_subj.n || q->next_by_subj.n || q->multi_last.n || q->seq || q->batch ||
            q->start_time.set || q->up_to_seq || q->up_to_time.set)
            return "408 Bad Request";
        q->last_by_subj = r->key;
        return NULL;
    }
    if (!q->seq && !q->last_by_subj.n && !q->next_by_subj.n && !q->multi_last.n &&
        !q->start_time.set)
        return "408 Empty Request";
    return contradicts(q) ? "408 Bad Request" : NULL;
}

static void begin(void *arg)
{
    struct reader *r = arg;
    const char *no;

    if (r->s->acc->closed) {
        reader_end(r);
        return;
    }
    if (r->s->state != STREAM_LIVE) {
        refuse(r, NOT_FOUND);
        return;
    }
    no = understand(r);
    if (no) {
        refuse(r, no);
    } else if (r->q.multi_last.n) {
        begin_multi(r);
    } else if (r->q.batch) { /* a negative one is a batch of nothing */
        begin_batch(r);
    } else {
        r->in_query = true;
        query_one(r->s, &r->q, on_one, r);
    }
}

/* What follows the stream's name, ours or our origin's: names have no dots. */
static struct slice key_of(struct slice subject)
{
    struct slice rest = slice_skip(subject, sizeof PREFIX - 1);
    const char *dot = rest.n ? memchr(rest.p, '.', rest.n) : NULL;
    return dot ? slice_skip(rest, (size_t)(dot - rest.p) + 1) : (struct slice){0};
}

static bool direct_hear(void *arg, struct msg_view *m, void *from)
{
    struct js_stream *s = arg;
    struct arena mem;

    (void)from;
    if (!m->reply.n)
        return true;
    arena_init(&mem, READER_MAX);
    struct reader *r = arena_alloc(&mem, sizeof *r);
    if (!r)
        return true;
    r->s = s;
    r->reply = arena_dup(&mem, m->reply);
    r->hdr = arena_dup(&mem, m->hdr);
    r->body = arena_dup(&mem, m->payload);
    r->key = arena_dup(&mem, key_of(m->subject));
    if ((m->hdr.n && !r->hdr.p) || (m->payload.n && !r->body.p)) {
        arena_release(&mem);
        return true;
    }
    r->mem = mem;
    js_stream_hold(s);
    list_push_back(&s->acc->js->readers, &r->link);
    turn_post_init(&r->begin, begin, r);
    turn_post_now(turn_of(r), &r->begin);
    return true;
}

/* --- subscriptions ---------------------------------------------------------------------------- */

static void listen(struct js_stream *s, struct slice name, struct jsapi_sub **subs)
{
    const struct jsapi_host *h = &s->acc->js->host;
    struct buf subject = BUF_INIT;

    if (subs[0])
        return;
    buf_printf(&subject, PREFIX "%.*s", SLICE_FMT(name));
    subs[0] = h->subscribe(h->arg, s->acc->account, buf_slice(&subject), GROUP, direct_hear, s);
    buf_add_str(&subject, ".>");
    subs[1] = h->subscribe(h->arg, s->acc->account, buf_slice(&subject), GROUP, direct_hear, s);
    buf_release(&subject);
}

static void unlisten(struct js_stream *s, struct jsapi_sub **subs)
{
    const struct jsapi_host *h = &s->acc->js->host;

    for (size_t i = 0; i < 2; i++) {
        if (subs[i])
            h->unsubscribe(h->arg, subs[i]);
        subs[i] = NULL;
    }
}

void direct_update(struct js_stream *s)
{
    if (s->cfg.allow_direct)
        listen(s, s->name, s->direct);
    else
        unlisten(s, s->direct);
    if (s->cfg.mirror_direct && s->cfg.mirror && s->caught_up)
        listen(s, s->cfg.mirror->name, s->origin_direct);
    else
        unlisten(s, s->origin_direct);
}

void direct_caught_up(struct js_stream *s)
{
    if (s->caught_up)
        return;
    s->caught_up = true;
    direct_update(s);
}

/* The stream goes under a request: it has no messages any more, and a batch has come to its end. */
static void say_gone(struct reader *r)
{
    if (r->sent && !r->q.multi_last.n)
        say_end(r);
    else
        say_status(r, NOT_FOUND);
    reader_end(r);
}

/* Readers that wait for the store would never hear of it again; those in query_one() are told by
 * it. */
void direct_stop(struct js_stream *s)
{
    unlisten(s, s->direct);
    unlisten(s, s->origin_direct);
    LIST_EACH_SAFE(it, &s->acc->js->readers)
    {
        struct reader *r = LIST_ENTRY(it, struct reader, link);
        if (!r->in_query && r->s == s)
            say_gone(r);
    }
}

void direct_close(struct jsapi_account *a)
{
    LIST_EACH_SAFE(it, &a->js->readers)
    {
        struct reader *r = LIST_ENTRY(it, struct reader, link);
        if (!r->in_query && r->s->acc == a)
            reader_end(r);
    }
}

void direct_drained(struct jsapi *js)
{
    LIST_EACH(it, &js->readers)
    {
        struct reader *r = LIST_ENTRY(it, struct reader, link);
        if (r->running && r->rest)
            turn_of(r)->job_start(turn_of(r)->loop, &r->job);
    }
}
