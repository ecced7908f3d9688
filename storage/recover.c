/* storage/recover.c -- the picture of all file streams, from the file
 *
 * Used at start-up and after a failed commit; streams and cursors that have handles keep them. What
 * is read: the specifications and states ("m"), the cursors ("c"), and the journal. Records already
 * in a block are passed over by number, the others go back into chunks. Nothing else is read here:
 * holes, subjects and duplicate windows come with the first need or as jobs, so the time depends on
 * the journal and not on what is stored.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/append.h"
#include "storage/blocks.h"
#include "storage/chores.h"
#include "storage/cursor.h"
#include "storage/journal.h"
#include "storage/limits.h"
#include "storage/reader.h"
#include "storage/salvage.h"
#include "storage/store.h"
#include "storage/streams.h"

enum { CATCH_UP_STEPS = 1000 };

struct recovery {
    struct store *st;
    struct txn *view;
    uint64_t next; /* the number of the next batch */
    char **why;
};

static int complain(struct recovery *r, int err, const char *what, uint32_t sid)
{
    if (r->why)
        *r->why = xasprintf("%s/data.mdb: %s of stream number %u: %s", r->st->dir, what, sid,
                            err_text(err));
    else
        log_error("%s/data.mdb: %s of stream number %u: %s", r->st->dir, what, sid, err_text(err));
    return err;
}

/* LMDB's own: some may be missing. */
static int pages_damaged(struct recovery *r, const char *whose)
{
    if (r->why)
        *r->why = xasprintf("%s/data.mdb: LMDB's pages with the %s are damaged", r->st->dir, whose);
    return E_CORRUPT;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* A row as it was written: one wrong bit is put right in `copy`. What can't be is for its reader to
 * refuse. */
static struct slice sound_row(struct slice v, uint32_t sid, const char *what, struct buf *copy)
{
    if (v.n < 5 || rd32(v.p) == row_checksum(v, sid) || !salvage_row(v, sid, copy))
        return v;
    log_warn("%s of stream number %u has a wrong bit: put right", what, sid);
    return buf_slice(copy);
}

static int load_spec(struct recovery *r, uint32_t sid, struct slice v)
{
    struct store *st = r->st;
    struct stream_spec spec;
    int err = stream_spec_read(v, sid, &spec);
    if (err)
        return complain(r, err, "the specification", sid);
    struct stream *s = store_by_sid(st, sid);
    if (s) {
        stream_set_spec(s, &spec);
    } else {
        s = stream_new(st, sid, &spec);
        streams_insert(st, s);
    }
    s->life = STREAM_LIVE;
    store_publish_name(s);
    return 0;
}

static int load_state(struct recovery *r, uint32_t sid, struct slice v)
{
    struct state_row row;
    struct stream *s = store_by_sid(r->st, sid);
    int err = state_row_read(v, sid, &row);
    if (err)
        return complain(r, err, "the state", sid);
    if (row.batch >= r->next)
        r->next = row.batch + 1;
    if (!s || s->life != STREAM_LIVE)
        return 0;
    s->now = row.st;
    s->index.w_batch = row.w_batch;
    s->index.w_first = row.w_first;
    s->index.w_last = row.w_last;
    s->holed = row.holed;
    s->state_pin.batch = row.batch; /* what the row has; the journal's later states come next */
    return 0;
}

static void load_purged(struct recovery *r, uint32_t sid)
{
    struct stream *s = store_by_sid(r->st, sid);
    if (s && s->life == STREAM_LIVE)
        reclaim_found(s);
}

static int load_meta(struct recovery *r)
{
    struct walk w;
    struct key k;
    struct buf copy = BUF_INIT;
    int err = 0;
    if (!view_table_sound(r->view, DB_META))
        return pages_damaged(r, "streams");
    key_meta(&k, 1);
    for (bool on = walk_seek(&w, r->view, DB_META, key_slice(&k)); on && !err; on = walk_next(&w)) {
        uint32_t sid;
        char kind;
        if (!key_is_meta(w.key, &sid, &kind))
            continue;
        if (kind == 0)
            err = load_spec(r, sid, sound_row(w.value, sid, "the specification", &copy));
        else if (kind == 'S')
            err = load_state(r, sid, sound_row(w.value, sid, "the state", &copy));
        else if (kind == 'X')
            reclaim_stream(r->st, sid);
        else if (kind == 'P')
            load_purged(r, sid);
    }
    walk_end(&w);
    buf_release(&copy);
    return err;
}

static int load_cursors(struct recovery *r)
{
    if (!view_table_sound(r->view, DB_CURSORS))
        return pages_damaged(r, "consumers");
    LIST_EACH(e, &r->st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        struct walk w;
        struct key k;
        struct buf copy = BUF_INIT;
        uint32_t cid;
        int err = 0;
        if (s->memory || s->life != STREAM_LIVE)
            continue;
        key_stream(&k, s->sid);
        bool on = walk_seek(&w, r->view, DB_CURSORS, key_slice(&k));
        for (; on && key_is_cursor(w.key, s->sid, &cid) && !err; on = walk_next(&w))
            err = cursor_load_row(s, cid, sound_row(w.value, s->sid, "a cursor", &copy), &r->next);
        walk_end(&w);
        buf_release(&copy);
        if (err)
            return complain(r, err, "a cursor", s->sid);
    }
    return 0;
}

/* --- the journal ----------------------------------------------------------------------------- */

/* The last number of a block, of what is sound of it. */
static uint64_t last_of_block(struct stream *s, uint64_t first, struct slice value)
{
    struct block b;
    struct buf whole = BUF_INIT;
    if (block_peek(value, first, &b) == 0 &&
        (block_is_large(&b) || block_read(value, s->sid, first, &b) == 0))
        return b.last_seq;
    uint64_t last = first - 1;
    if (salvage_block(value, s->sid, first, first + BLOCK_SIZE, &whole, &b) == 0)
        last = b.last_seq;
    buf_release(&whole);
    return last;
}

static uint64_t newest_in_blocks(struct recovery *r, struct stream *s)
{
    if (s->stored_last)
        return s->stored_last;
    struct key k;
    struct walk w;
    uint64_t first;
    unsigned part = 1;
    s->stored_last = s->spec.first_seq > 1 ? s->spec.first_seq - 1 : 0;
    key_block(&k, s->sid, UINT64_MAX);
    bool on = walk_seek_back(&w, r->view, DB_BLOCKS, key_slice(&k));
    while (on && key_is_block(w.key, s->sid, &first, &part) && part)
        on = walk_prev(&w);
    if (on && key_is_block(w.key, s->sid, &first, &part))
        s->stored_last = last_of_block(s, first, w.value);
    walk_end(&w);
    (void)view_path_sound(r->view, DB_BLOCKS, key_slice(&k)); /* else the opening fails */
    return s->stored_last;
}

static int put_record(struct stream *s, uint64_t batch, uint64_t seq, const char *p,
                      const struct record *rec)
{
    struct chunk *c = stream_room(s, seq, rec->len);
    if (!c)
        return E_NOMEM;
    memcpy(chunk_place(c), p, rec->len);
    chunk_added(c, seq, rec->len, rec->ts, rec->msg_id.n > 0);
    pin_hold(&s->st->pins, &c->pin, batch, s->st->journal_at);
    return 0;
}

static bool known(struct recovery *r, struct stream *s, uint64_t seq)
{
    size_t n = stream_chunks(s);
    return seq <= newest_in_blocks(r, s) || (n && stream_chunk(s, n - 1)->last_seq >= seq);
}

/* The records of a damaged value: the sound ones count, the others are missing from here on. */
static int salvage_append(struct recovery *r, struct stream *s, uint64_t batch, struct take *body)
{
    uint64_t seq = take_u64(body), found;
    uint32_t count = take_u32(body);
    struct record rec;
    const char *p;
    if (!body->ok || count > BLOCK_SIZE / RECORD_HEAD || seq > SEQ_MAX)
        return E_CORRUPT; /* more than one value has room for */
    struct salvage x = {
        .p = body->rest.p, .n = body->rest.n, .sid = s->sid, .seq = seq, .limit = seq + count};
    while ((found = salvage_next(&x, &p, &rec))) {
        for (; seq < found; seq++)
            if (!known(r, s, seq))
                stream_report_damage(s, seq);
        seq++;
        int err = known(r, s, found) ? 0 : put_record(s, batch, found, p, &rec);
        if (err)
            return err;
    }
    for (; seq < x.limit; seq++)
        if (!known(r, s, seq))
            stream_report_damage(s, seq);
    return 0;
}

static int op_append(struct recovery *r, struct stream *s, uint64_t batch, struct take *body)
{
    uint64_t seq = take_u64(body);
    uint32_t count = take_u32(body);
    uint64_t stored = newest_in_blocks(r, s);
    for (; body->ok && count--; seq++) {
        struct record rec;
        int err = record_read(body->rest.p, body->rest.n, &rec);
        if (err)
            return err;
        const char *p = take_bytes(body, rec.len).p;
        size_t n = stream_chunks(s);
        bool known = seq <= stored || (n && stream_chunk(s, n - 1)->last_seq >= seq);
        if (!known)
            err = put_record(s, batch, seq, p, &rec);
        if (err)
            return err;
    }
    return body->ok ? 0 : E_CORRUPT;
}

static int op_deletes(struct stream *s, uint64_t batch, struct take *body)
{
    while (body->ok && body->rest.n) {
        uint64_t seq = take_u64(body);
        struct slice subject = take_bytes(body, take_u16(body));
        if (!body->ok || seq > SEQ_MAX)
            return E_CORRUPT;
        holes_set(&s->holes, seq);
        pin_hold(&s->st->pins, &s->holes_pin, batch, s->st->journal_at);
        if (batch > s->index.w_batch) {
            add_u64(&s->index.deletes, batch);
            add_u64(&s->index.deletes, seq);
            add_str(&s->index.deletes, subject);
        }
    }
    return body->ok ? 0 : E_CORRUPT;
}

static int op_range(struct stream *s, uint64_t batch, struct take *body)
{
    uint64_t first = take_u64(body), last = take_u64(body);
    if (!body->ok || first > last || last > SEQ_MAX)
        return E_CORRUPT;
    holes_set_range(&s->holes, first, last);
    pin_hold(&s->st->pins, &s->holes_pin, batch, s->st->journal_at);
    return 0;
}

static int op_new_state(struct stream *s, uint64_t batch, struct take *body)
{
    struct slice st = take_bytes(body, STATE_SIZE);
    if (!body->ok)
        return E_CORRUPT;
    if (batch > s->state_pin.batch) {
        state_read(st.p, &s->now);
        if (!state_plausible(&s->now))
            return E_CORRUPT;
        pin_set(&s->st->pins, &s->state_pin, batch, s->st->journal_at);
    }
    return 0;
}

/* Batches go on behind the newest one in the journal, or in a row: a batch that brought nothing but
 * the row of a cursor is in no journal. */
static void number_batches(struct recovery *r)
{
    struct key k;
    struct walk w;
    uint64_t batch;
    unsigned part;
    key_journal(&k, UINT64_MAX, UINT16_MAX);
    if (walk_seek_back(&w, r->view, DB_MAIN, key_slice(&k)) &&
        key_is_journal(w.key, &batch, &part) && batch >= r->next)
        r->next = batch + 1;
    walk_end(&w);
    if (r->st->gather->n < r->next)
        r->st->gather->n = r->next;
}

static int on_op(void *arg, uint64_t batch, char type, uint32_t sid, struct take *body,
                 bool damaged)
{
    struct recovery *r = arg;
    struct stream *s = store_by_sid(r->st, sid);
    r->st->journal_at += body->rest.n + 12;
    if (!s || s->life != STREAM_LIVE)
        return 0; /* deleted since */
    switch (type) {
    case 'A':
        return damaged ? salvage_append(r, s, batch, body) : op_append(r, s, batch, body);
    case 'D':
        return op_deletes(s, batch, body);
    case 'H':
        return op_range(s, batch, body);
    case 'S':
        return op_new_state(s, batch, body);
    case 'C': {
        uint32_t cid = take_u32(body);
        if (body->ok)
            cursor_load_delta(s, cid, batch, body->rest);
        return body->ok ? 0 : E_CORRUPT;
    }
    default:
        return E_VERSION;
    }
}

/* --- afterwards ------------------------------------------------------------------------------ */

static const int64_t AHEAD = 60 * NS_PER_S;

/* When it was stored, on the clock that nobody sets; a time to come is now, one before 1970 is
 * nonsense, and old. */
static int64_t mono_of(int64_t ts)
{
    int64_t age = clock_wall() - (ts > 0 ? ts : 0);
    return clock_mono() - (age > 0 ? age : 0);
}

static void window_begin(struct stream *s)
{
    int64_t now = clock_wall();
    if (s->now.last_ts > now + AHEAD) { /* the clock was put back: count from the last message */
        char text[40];
        (void)duration_print(s->now.last_ts - now, text);
        log_warn("Stream '%.*s > %.*s': its newest message is from %s ahead of the clock",
                 SLICE_FMT(s->spec.account), SLICE_FMT(s->spec.name), text);
        now = s->now.last_ts;
    }
    int64_t window = s->spec.duplicate_window_ns;
    int64_t oldest = window > 0 ? now - window : now;
    s->dedupe.building = window > 0 && s->now.last_seq && s->now.last_ts >= oldest;
    s->window_from = oldest;
}

/* Where the window begins is looked for by the job as well: a dozen blocks from all over the file;
 * nobody should wait for them on a cold disk before the server is ready. */
static void window_find(struct stream *s)
{
    if (s->window_from)
        s->window_pos = stream_seq_at(s, s->window_from);
    s->window_from = 0;
}

/* Reads ids from blocks that have any; dead messages count as well: they were acknowledged. */
static bool window_portion(struct stream *s, uint32_t steps)
{
    struct reader r;
    window_find(s);
    reader_init(&r, s);
    r.give_back = true;
    struct record rec;
    for (; steps && reader_seek(&r, s->window_pos); reader_spend(&steps, &rec)) {
        rec.len = 0;
        if (!(r.cur.flags & BLOCK_HAS_MSGID)) {
            s->window_pos = r.cur.last_seq + 1;
            continue;
        }
        uint64_t seq = block_next(&r.cur, s->window_pos);
        if (!seq) {
            s->window_pos = r.cur.last_seq + 1;
            continue;
        }
        int err = reader_get(&r, seq, true, &rec);
        if ((err == 0 || (err == E_NOTFOUND && rec.flags & RECF_SKIP)) && rec.msg_id.n)
            dedupe_add(&s->dedupe, rec.msg_id, seq, mono_of(rec.ts));
        s->window_pos = seq + 1;
    }
    bool over = !reader_seek(&r, s->window_pos);
    reader_end(&r);
    return over;
}

static enum job_result on_catch_up(struct job *j, const struct job_budget *budget)
{
    struct stream *s = CONTAINER_OF(j, struct stream, catch_up);
    do {
        if (!index_catch_up(s, CATCH_UP_STEPS))
            continue;
        if (!s->dedupe.building || window_portion(s, CATCH_UP_STEPS)) {
            s->dedupe.building = false;
            append_unpark(s);
            return JOB_DONE;
        }
        append_unpark(s);
    } while (!job_over(budget));
    return JOB_MORE;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void finish(struct recovery *r, struct stream *s)
{
    struct store *st = r->st;
    struct index *x = &s->index;
    s->shown = s->now;
    store_account(s, (int64_t)s->now.bytes);
    uint64_t floor = s->now.purge_floor;
    x->behind = later(x->w_last + 1, floor) <= s->now.last_seq ||
                later(x->w_first, floor) < s->now.first_seq || x->deletes.len > 0;
    if (x->behind)
        pin_set(&st->pins, &x->pin, x->w_batch + 1, 0);
    job_init(&s->catch_up, "catching up", on_catch_up);
    window_begin(s);
    if (x->behind || s->dedupe.building)
        st->turn->job_start(st->turn->loop, &s->catch_up);
    turn_timer_init(&s->expiry, limits_on_expiry, s);
    if (s->spec.max_age_ns > 0 && s->now.msgs)
        turn_set(st->turn, &s->expiry, clock_mono());
}

/* After the replay no block may hold a number that the state has never given. */
static int check_last(struct recovery *r, struct stream *s)
{
    return newest_in_blocks(r, s) > s->now.last_seq
               ? complain(r, E_CORRUPT, "the last number", s->sid)
               : 0;
}

int store_recover(struct store *st, char **why)
{
    struct recovery r = {.st = st, .view = view_open(st->db), .next = 1, .why = why};
    if (!r.view)
        return E_SYS;
    uint64_t bytes;
    st->journal_at = 0;
    int err = load_meta(&r);
    if (!err)
        err = load_cursors(&r);
    if (!err) {
        number_batches(&r);
        err = journal_replay(r.view, on_op, &r, &r.next, &bytes);
        if (err && why)
            *why = xasprintf("%s/data.mdb: the journal: %s", st->dir, err_text(err));
    }
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->memory || s->life != STREAM_LIVE || err)
            continue;
        err = check_last(&r, s);
        if (!err)
            finish(&r, s);
    }
    if (!err)
        err = r.view->err; /* a walk that met damage ended early */
    view_close(st->db);
    st->trim = st->left = true;
    return err;
}
