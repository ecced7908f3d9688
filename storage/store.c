/* storage/store.c -- see store.h
 *
 * Closing a batch ("prepare") is where lazy things ride along: limits of the streams it touched,
 * deltas of cursors, a slice of subject rows and hole pages, whatever pins too old a piece of the
 * journal. Then each touched stream's state is noted, in the journal and in a mark; the mark is
 * what readers see once the batch is on disk.
 *
 * A failed commit is taken back by the road of start-up: everything decided since is answered with
 * the error, in order, all file streams forget what they had in memory and are read from the file
 * again, in place.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <malloc.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/append.h"
#include "storage/chores.h"
#include "storage/compact.h"
#include "storage/cursor.h"
#include "storage/limits.h"
#include "storage/looks.h"
#include "storage/mishap.h"
#include "storage/space.h"

enum { SMALL_COMMIT = 16 * 1024, CURSOR_LAG_MS = 50, COOL_AFTER_S = 2 };

/* --- accounts -------------------------------------------------------------------------------- */

struct usage *store_usage(struct store *st, struct slice account)
{
    for (size_t i = 0; i < st->nusages; i++)
        if (slice_eq(st->usages[i].account, account))
            return &st->usages[i];
    st->usages = xrealloc(st->usages, (st->nusages + 1) * sizeof *st->usages);
    struct usage *u = &st->usages[st->nusages++];
    *u = (struct usage){.account = slice_of(slice_dup(account), account.n)};
    return u;
}

void store_account(struct stream *s, int64_t by)
{
    struct store *st = s->st;
    struct usage *u = store_usage(st, s->spec.account);
    *(s->memory ? &u->mem : &u->file) += by;
    *(s->memory ? &st->stats.mem_bytes : &st->stats.file_bytes) += by;
}

/* --- gathering ------------------------------------------------------------------------------- */

void store_wake(struct store *st)
{
    st->turn->at_end(st->turn->loop, &st->hand_over);
    if (st->mem->nwaiters || st->mem->nmarks)
        turn_post_now(st->turn, &st->mem_back);
}

static void press(struct store *st)
{
    bool on = st->pressed ? st->waiting > PRESSURE_OFF : st->waiting > PRESSURE_ON;
    if (on == st->pressed)
        return;
    st->pressed = on;
    if (st->host.pressure)
        st->host.pressure(st->host.arg, on);
}

void store_lazy_by(struct store *st, int64_t due)
{
    if (!turn_timer_is_set(&st->lazy) || st->lazy.due > due)
        turn_set(st->turn, &st->lazy, due);
}

void store_write_state(struct stream *s)
{
    (void)stream_batch(s);
    s->write_state = true;
}

/* --- preparing a batch ----------------------------------------------------------------------- */

static void flush_holes(struct stream *s, size_t *room)
{
    struct batch *b = stream_batch(s);
    struct holes *h = &s->holes;
    stream_load_holes(s); /* a row is written whole */
    if (!s->holes_flush) {
        s->holes_flush = b->n;
        s->holes_pos = 0;
    }
    size_t i = holes_from(h, s->holes_pos);
    for (; i < h->n; i++) {
        if (*room <= 600)
            return;
        struct hole_page *p = &h->at[i];
        s->holes_pos = p->page + p->pages;
        if (!p->dirty)
            continue;
        struct key k;
        size_t at;
        key_hole(&k, s->sid, p->page);
        holes_row_add(change_put_begin(b, DB_HOLES, &k, &at), s->sid, p);
        change_put_end(b, at);
        p->dirty = false;
        h->ndirty--;
        *room -= 600;
    }
    pin_clear(&s->holes_pin);
    if (h->ndirty) /* pages that changed behind us */
        pin_set(&s->st->pins, &s->holes_pin, s->holes_flush, s->st->journal_at);
    s->holes_flush = 0;
}

static void force(const struct store *st, struct pin *p, size_t *room)
{
    switch (p->kind) {
    case PIN_CHUNK: {
        struct chunk *c = CONTAINER_OF(p, struct chunk, pin);
        stream_store_partly(p->owner, c);
        *room -= *room < c->used ? *room : c->used;
        return;
    }
    case PIN_HOLES:
        flush_holes(p->owner, room);
        return;
    case PIN_STATE:
        store_write_state(p->owner);
        pin_clear(p); /* set again if this batch changes it */
        return;
    case PIN_INDEX: {
        struct stream *s = p->owner;
        if (!s->index.behind) /* else its catching up is under way */
            (void)index_flush(s, *room);
        *room = 0;
        return;
    }
    case PIN_CURSOR: {
        size_t before = st->gather->changes.len;
        cursor_write(p->owner);
        size_t row = st->gather->changes.len - before;
        *room -= *room < row ? *room : row;
        return;
    }
    }
}

/* Whoever pins the older half of a journal that has grown too long writes himself down. */
static void force_pins(struct store *st)
{
    struct pin *p = pins_first(&st->pins);
    if (!p || st->journal_at - p->at < st->lazy_at.journal_max)
        return;
    size_t room = st->lazy_at.rows_bytes;
    uint64_t half = st->journal_at - st->lazy_at.journal_max / 2;
    st->trim = true;
    while (p && p->at < half && room) {
        uint64_t was = p->batch;
        force(st, p, &room);
        struct pin *next = pins_first(&st->pins);
        if (next == p && p->batch == was)
            break; /* it needs more commits */
        p = next;
    }
}

static void flush_rows(struct store *st, struct stream *s, int64_t now, size_t *room)
{
    if (!s->memory && s->life == STREAM_LIVE && *room && index_wants_flush(s, now, false)) {
        if (!index_flush(s, *room))
            *room = 0;
        st->flush_more |= s->index.flushing;
    }
}

static void lazy_rows(struct store *st, struct batch *b)
{
    size_t room = st->lazy_at.rows_bytes;
    int64_t now = clock_mono();
    bool all = st->flush_more;
    st->flush_more = false;
    for (size_t i = 0; i < b->nmarks; i++)
        flush_rows(st, b->marks[i].stream, now, &room);
    for (struct list *e = st->streams.next; all && e != &st->streams; e = e->next) {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->index.flushing)
            flush_rows(st, s, now, &room);
    }
}

static void write_state_row(struct stream *s, struct batch *b)
{
    struct key k;
    size_t at;
    struct state_row row = {.st = s->now,
                            .batch = b->n,
                            .w_batch = s->index.w_batch,
                            .w_first = s->index.w_first,
                            .w_last = s->index.w_last,
                            .holed = s->holed};
    key_state(&k, s->sid);
    state_row_add(change_put_begin(b, DB_META, &k, &at), s->sid, &row);
    change_put_end(b, at);
    pin_clear(&s->state_pin);
    s->write_state = false;
}

static void note_state(struct stream *s, struct batch *b, struct mark *m)
{
    m->st = s->now;
    if (s->memory || s->life != STREAM_LIVE)
        return;
    if (s->write_state) {
        write_state_row(s, b);
        return;
    }
    op_state(b, s->sid, &s->now);
    pin_set(&s->st->pins, &s->state_pin, b->n, s->st->journal_at);
}

static void trim_touched(struct batch *b)
{
    for (size_t i = 0; i < b->nmarks; i++) { /* may touch more streams? no: only its own */
        struct stream *s = b->marks[i].stream;
        if (s->life == STREAM_LIVE) {
            stream_trim(s);
            stream_settle_first_ts(s);
            stream_give_blocks_back(s);
            compact_when_due(s);
        }
    }
}

static uint64_t journal_weight(const struct batch *b)
{
    uint64_t sum = b->ops.len + 64;
    for (size_t i = 0; i < b->nparts; i++)
        if (!b->parts[i].store)
            sum += b->parts[i].to - b->parts[i].from;
    return sum;
}

static void prepare(struct store *st)
{
    struct batch *b = st->gather;
    trim_touched(b);
    if (b->writes)
        cursors_gather(st);
    if (b->writes) {
        lazy_rows(st, b);
        force_pins(st);
    }
    for (size_t i = 0; i < b->nmarks; i++)
        note_state(b->marks[i].stream, b, &b->marks[i]);
    struct pin *oldest = pins_first(&st->pins);
    if (st->trim && b->writes)
        b->trim_below = oldest ? oldest->batch : b->n;
    st->trim = false;
    st->journal_at += journal_weight(b);
}

/* The gathering batch is closed and a new one begins. */
static void close_gather(struct store *st)
{
    if (st->host.closing) {
        st->closing_batch = true;
        st->host.closing(st->host.arg);
        st->closing_batch = false;
    }
    prepare(st);
    struct batch *b = st->gather, *next = st->spare;
    st->spare = NULL;
    if (next)
        batch_reset(next, b->n + 1);
    else
        next = batch_new(b->n + 1);
    st->gather = next;
    list_push_back(&st->ready, &b->link);
}

void store_weigh(struct store *st)
{
    if (st->gather->bytes >= BATCH_BYTES && !st->closing_batch) {
        close_gather(st);
        store_wake(st);
    }
    press(st);
}

static void retire(struct store *st, struct batch *b)
{
    if (st->spare)
        batch_free(b);
    else {
        batch_reset(b, 0);
        st->spare = b;
    }
}

static bool has_something(const struct batch *b)
{
    return b->writes || b->nwaiters || b->nmarks;
}

static void fly(struct store *st, struct batch *b)
{
    st->flying = b;
    writer_give(st->writer, b);
    if (b->nwaiters && b->bytes < SMALL_COMMIT && st->small_commit_ns)
        st->turn->expect(st->turn->loop, clock_mono_exact() + st->small_commit_ns);
}

/* What waits for the disk next, before the answers of the last batch are given: the disk need not
 * wait for them. A batch of refusals keeps its place behind those answers. */
static void fly_early(struct store *st)
{
    if (list_empty(&st->ready) && st->gather->writes)
        close_gather(st);
    if (list_empty(&st->ready) || st->failed)
        return;
    struct batch *b = LIST_ENTRY(st->ready.next, struct batch, link);
    if (!b->writes)
        return;
    list_unlink(&b->link);
    fly(st, b);
}

void store_hand_over(struct store *st)
{
    while (!st->flying && !st->failed) {
        if (list_empty(&st->ready)) {
            if (!has_something(st->gather))
                return;
            close_gather(st);
        }
        struct batch *b = LIST_ENTRY(list_pop(&st->ready), struct batch, link);
        if (b->writes) {
            fly(st, b);
        } else { /* refusals only: nothing to wait for */
            store_receipt(st, b);
            retire(st, b);
        }
    }
}

/* --- receipts -------------------------------------------------------------------------------- */

static void tell_stored(const struct part *p)
{
    struct stream *s = p->stream;
    uint32_t at = p->from;
    for (uint64_t seq = p->first_seq; at < p->to; seq++) {
        struct record r;
        if (!s->watch || !s->watch->want_stored || !s->watch->stored ||
            record_read(p->chunk->mem + at, p->to - at, &r))
            return;
        if (!(r.flags & RECF_SKIP))
            s->watch->stored(s->watch->arg, seq, r.subject);
        at += r.len;
    }
}

static void tell_removed(const struct batch *b, const struct removed *r)
{
    struct stream *s = r->stream;
    struct slice subject = slice_head(slice_skip(buf_slice(&b->text), r->text), r->text_n);
    if (!list_empty(&s->jobs))
        looks_removed(s, r->seq, r->last, subject);
    if (s->watch && r->purged && s->watch->purged)
        s->watch->purged(s->watch->arg, r->seq, r->last ? r->last : r->seq, subject);
    else if (s->watch && r->last && s->watch->removed_range)
        s->watch->removed_range(s->watch->arg, r->seq, r->last);
    else if (s->watch && !r->last && s->watch->removed)
        s->watch->removed(s->watch->arg, r->seq, subject);
}

static void show(struct batch *b)
{
    for (size_t i = 0; i < b->nmarks; i++)
        b->marks[i].stream->shown = b->marks[i].st;
    for (size_t i = 0; i < b->nremoved; i++)
        if (b->removed[i].hole)
            holes_clear(&b->removed[i].stream->undone, b->removed[i].seq);
}

static void tell(struct batch *b)
{
    for (size_t i = 0; i < b->nparts; i++)
        tell_stored(&b->parts[i]);
    for (size_t i = 0; i < b->nremoved; i++)
        tell_removed(b, &b->removed[i]);
    for (size_t i = 0; i < b->nmarks; i++) {
        struct stream *s = b->marks[i].stream;
        if (s->watch && s->watch->durable)
            s->watch->durable(s->watch->arg, s->shown.last_seq);
    }
}

static void return_chunks(struct store *st, struct batch *b, bool stored)
{
    for (size_t i = 0; i < b->nparts; i++) {
        struct chunk *c = b->parts[i].chunk;
        c->borrowed--;
        if (b->parts[i].store && stored)
            c->stored = true;
        if (c->orphan && !c->borrowed)
            chunk_free(st->pool, c);
    }
    for (size_t i = 0; stored && i < b->nmarks; i++)
        stream_release_chunks(b->marks[i].stream);
    b->nparts = 0;
}

static void answer_append(const struct waiter *w, int err)
{
    struct store_receipt r = {
        .err = err, .duplicate = w->duplicate && !err, .seq = w->seq, .last = w->last, .ts = w->ts};
    if (w->x.last_id)
        r.last_msg_id = slice_cstr(w->x.last_id);
    if (w->fn.append)
        w->fn.append(w->arg, &r);
    free(w->x.last_id);
}

static void answer(struct waiter *w, int err)
{
    err = err ? err : w->err;
    switch (w->kind) {
    case WAIT_APPEND:
        answer_append(w, err);
        return;
    case WAIT_PURGE:
        if (w->fn.purge)
            w->fn.purge(w->arg, err, w->seq);
        return;
    case WAIT_DONE:
    case WAIT_CREATE:
        if (w->fn.done)
            w->fn.done(w->arg, err);
        return;
    case WAIT_DELETE:
        if (w->fn.done)
            w->fn.done(w->arg, err);
        if (!err)
            stream_free(w->x.stream);
        return;
    }
}

static void receipt_shown(struct store *st, struct batch *b)
{
    show(b);
    tell(b);
    return_chunks(st, b, true);
}

static void receipt_answers(struct batch *b)
{
    for (size_t i = 0; i < b->nwaiters; i++)
        answer(&b->waiters[i], 0);
    b->nwaiters = 0;
}

void store_receipt(struct store *st, struct batch *b)
{
    receipt_shown(st, b);
    receipt_answers(b);
}

static void note_commit(struct store *st, const struct batch *b)
{
    struct store_stats *x = &st->stats;
    int64_t *small = &st->small_commit_ns;
    if (b->bytes < SMALL_COMMIT) /* follows the median */
        *small += *small ? (b->took_ns > *small ? *small : -*small) / 32 : b->took_ns;
    x->commits++;
    x->ops += b->appended + b->nops;
    x->last_commit_ns = b->took_ns;
    if (b->took_ns > x->commit_max_ns)
        x->commit_max_ns = b->took_ns;
    st->durable_batch = b->n;
    st->waiting -= (int64_t)b->queued;
    st->idle_seconds = 0;
}

/* --- a failed commit ------------------------------------------------------------------------- */

static void end_work(struct store *st, int err)
{
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->memory)
            continue;
        chores_end(s, err);
        compact_end(s);
        append_refuse_parked(s, err);
        looks_end(s, err);
        st->turn->job_stop(st->turn->loop, &s->catch_up);
        turn_unset(st->turn, &s->expiry);
    }
    reclaim_end(st, NULL);
}

/* All that was decided and is not on disk, oldest first. */
static void collect(struct store *st, struct batch *failed, struct list *all)
{
    list_init(all);
    list_push_back(all, &failed->link);
    list_splice(all, &st->ready);
    list_push_back(all, &st->gather->link);
    uint64_t next = st->gather->n + 1;
    LIST_EACH(e, all)
    {
        struct batch *b = LIST_ENTRY(e, struct batch, link);
        return_chunks(st, b, false);
        st->waiting -= (int64_t)b->queued;
    }
    st->gather = batch_new(next);
}

static void forget_all(struct store *st)
{
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->memory)
            continue;
        store_account(s, -(int64_t)s->now.bytes);
        store_unpublish_name(s);
        cursors_forget(s);
        stream_forget(s);
        s->life = STREAM_LOST; /* until recovery finds it */
    }
}

static void free_lost(struct store *st)
{
    LIST_EACH_SAFE(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->life == STREAM_LOST)
            stream_free(s);
        else
            cursors_free_lost(s);
    }
}

static void answer_all(struct list *all, int err)
{
    LIST_EACH_SAFE(e, all)
    {
        struct batch *b = LIST_ENTRY(e, struct batch, link);
        for (size_t i = 0; i < b->nwaiters; i++)
            answer(&b->waiters[i], err);
        b->nwaiters = 0;
        list_unlink(&b->link);
        batch_free(b);
    }
}

void store_refuse_rest(struct store *st)
{
    struct list all;
    uint64_t next = st->gather->n + 1;
    list_init(&all);
    list_splice(&all, &st->ready);
    list_push_back(&all, &st->gather->link);
    LIST_EACH(e, &all)
    return_chunks(st, LIST_ENTRY(e, struct batch, link), false);
    st->gather = batch_new(next);
    answer_all(&all, st->failed);
}

static void give_up(struct store *st, int err)
{
    if (st->failed)
        return;
    st->failed = err;
    st->stats.read_only = true;
    log_error("the store takes nothing more: %s", err_text(err));
}

static void tell_failure(struct store *st)
{
    if (!st->failed || st->told)
        return;
    st->told = true;
    if (st->host.failed)
        st->host.failed(st->host.arg, st->failed);
}

void store_trouble(struct store *st, int err, const char *what)
{
    if (st->unreadable)
        return;
    st->unreadable = true;
    log_error("%s/data.mdb can't be read (%s): %s", st->dir, what, err_text(err));
    give_up(st, err);
    if (!st->taking_back)
        tell_failure(st);
}

static void take_back(struct store *st, struct batch *failed, int err)
{
    struct list all;
    if (failed->nwaiters || !st->stats.full || err != E_SPACE) /* else known: rows have to wait */
        log_error("a commit failed (%s): %zu wait for it; the store goes back to what the file "
                  "says",
                  err_text(err), failed->nwaiters);
    st->taking_back = true;
    end_work(st, err);
    collect(st, failed, &all);
    forget_all(st);
    int bad = err == E_SPACE ? db_mend(st->db, st->dir) : 0;
    mishap_locate();
    if (!bad)
        bad = store_recover(st, NULL);
    if (bad)
        give_up(st, bad);
    answer_all(&all, err);
    free_lost(st);
    press(st);
    if (st->host.reopened)
        st->host.reopened(st->host.arg);
    st->taking_back = false;
    tell_failure(st);
}

static bool wants_space(struct store *st, int err)
{
    return err == E_SPACE || (err == E_IO && space_is_out(st));
}

bool store_mend(struct store *st)
{
    if (!st->flying || st->failed)
        return false;
    writer_wait(st->writer); /* it is failing: that is a moment */
    bool mended = wants_space(st, st->flying->err) && db_mend(st->db, st->dir) == 0;
    mishap_locate();
    return mended;
}

static void on_failure(struct store *st, struct batch *b)
{
    int err = b->err;
    if (wants_space(st, err)) {
        err = E_SPACE;
        space_out(st);
    } else if (err == E_IO || err == E_CORRUPT || err == E_READONLY) {
        give_up(st, err);
    }
    take_back(st, b, err);
}

void store_on_back(void *store)
{
    struct store *st = store;
    struct batch *b = writer_take(st->writer);
    if (!b)
        return;
    st->flying = NULL;
    view_let_go(st->db); /* what counts as durable from here on is in the next view */
    if (b->err) {
        on_failure(st, b);
    } else {
        note_commit(st, b);
        receipt_shown(st, b);
        fly_early(st);
        receipt_answers(b);
        retire(st, b);
        index_evict(st);
        press(st);
    }
    chores_wake(st);
    compact_wake(st);
    store_hand_over(st);
}

/* --- memory streams -------------------------------------------------------------------------- */

static void on_mem_back(void *store)
{
    struct store *st = store;
    struct batch *b = st->mem;
    trim_touched(b);
    for (size_t i = 0; i < b->nmarks; i++)
        b->marks[i].st = b->marks[i].stream->now;
    struct batch *next = st->mem_spare;
    st->mem_spare = NULL;
    if (next)
        batch_reset(next, b->n + 1);
    else
        next = batch_new(b->n + 1);
    st->mem = next;
    store_receipt(st, b);
    if (st->mem_spare)
        batch_free(b);
    else
        st->mem_spare = b;
}

/* --- timers ---------------------------------------------------------------------------------- */

static void on_hand_over(void *store)
{
    struct store *st = store;
    view_let_go(st->db);
    store_hand_over(st);
}

void store_posts_init(struct store *st)
{
    turn_post_init(&st->hand_over, on_hand_over, st);
    turn_post_init(&st->mem_back, on_mem_back, st);
    turn_timer_init(&st->lazy, store_on_lazy, st);
    turn_timer_init(&st->second, store_on_second, st);
}

/* Cursors have waited for 50 ms, and no commit came along. */
void store_on_lazy(void *store)
{
    struct store *st = store;
    if (!list_empty(&st->dirty_cursors)) {
        cursors_gather(st);
        store_wake(st);
    }
}

static void old_rows(struct store *st, struct stream *s)
{
    if (!s->memory && s->life == STREAM_LIVE && !s->index.flushing &&
        index_wants_flush(s, clock_mono(), false)) {
        (void)stream_batch(s); /* prepare() does the rest */
        store_wake(st);
    }
}

/* Timers run on the monotonic clock, ages on the other one. */
static void look_at_clock(struct store *st)
{
    int64_t offset = clock_wall() - clock_mono(), by = offset - st->wall_offset;
    st->wall_offset = offset;
    if (by < NS_PER_S && by > -NS_PER_S)
        return;
    char text[40];
    int64_t seconds = ((by < 0 ? -by : by) + NS_PER_S / 2) / NS_PER_S;
    (void)duration_print(seconds * NS_PER_S, text);
    log_warn("The clock moved %s by %s: it was set, or the machine slept",
             by < 0 ? "back" : "forward", text);
    LIST_EACH(e, &st->streams)
    limits_clock_moved(LIST_ENTRY(e, struct stream, link), by);
    if (st->host.clock_moved)
        st->host.clock_moved(st->host.arg, by);
}

void store_on_second(void *store)
{
    struct store *st = store;
    look_at_clock(st);
    space_check(st);
    reclaim_leftovers(st);
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        (void)dedupe_expire(&s->dedupe, clock_mono() - s->spec.duplicate_window_ns, 10000);
        old_rows(st, s);
    }
    index_evict(st);
    if (++st->idle_seconds == COOL_AFTER_S) {
        pool_cool(st->pool);
        slabs_cool(&st->entries);
        malloc_trim(0);
    }
    turn_set(st->turn, &st->second, clock_mono() + NS_PER_S);
}

void store_drain(struct store *st)
{
    for (;;) {
        if (st->mem->nwaiters || st->mem->nmarks)
            on_mem_back(st);
        store_hand_over(st);
        if (!st->flying)
            return;
        writer_wait(st->writer);
        store_on_back(st);
    }
}
