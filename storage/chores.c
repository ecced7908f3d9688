/* storage/chores.c -- see chores.h
 *
 * A chore is a struct with a job in it and a place where it goes on. Its walk over the stream is
 * bounded by `upto`, the newest number when it began: what comes later is not its business.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/chores.h"

#include "base/mem.h"
#include "base/subject.h"
#include "storage/blocks.h"
#include "storage/limits.h"
#include "storage/reader.h"
#include "storage/store.h"

enum { PORTION = 512, ROWS_A_COMMIT = 1024, RECLAIMS_A_COMMIT = 16 };

enum chore_kind { CHORE_PURGE, CHORE_SUBJECT, CHORE_EXPIRE, CHORE_TRIM, CHORE_LIMITS };

struct chore {
    struct list link; /* in s->chores; the first one runs */
    struct job job;
    struct stream *s;
    enum chore_kind kind;
    bool begun;
    uint64_t upto;     /* where it ends */
    uint64_t pos;      /* where it goes on */
    uint64_t below;    /* CHORE_PURGE; CHORE_SUBJECT: a roll-up's number, else 0 */
    uint64_t keep;     /* CHORE_PURGE: so many stay; */
    bool keeping;      /* it looks for them first, from upto on backwards, */
    uint64_t kept;     /* and has found so many */
    uint64_t matching; /* no more than these are of the filter; */
    uint64_t purged;   /* so many are gone */
    store_purge_fn *done;
    void *arg;
    bool owes;             /* CHORE_SUBJECT: a roll-up, to be answered with */
    struct waiter receipt; /* this */
    size_t text_n;         /* filter or subject */
    char text[];
};

static struct slice text_of(const struct chore *c)
{
    return slice_of(c->text, c->text_n);
}

static bool gathered_enough(const struct store *st)
{
    return st->gather->nops >= BATCH_OPS || st->gather->bytes >= BATCH_BYTES ||
           st->gather->nremoved >= BATCH_REMOVED; /* off the head: no ops, but somebody is told */
}

/* --- purge ----------------------------------------------------------------------------------- */

/* The next number that may have to go. Without a filter it goes whatever is left of its record. */
static uint64_t purge_next(const struct chore *c, struct reader *r)
{
    return c->text_n ? reader_next(r, c->pos) : holes_next_live(&c->s->holes, c->pos);
}

static bool purge_matches(const struct chore *c, struct reader *r, uint64_t seq, uint32_t *looks)
{
    struct record rec = {.len = 0};
    bool goes =
        stream_live_now(c->s, seq) &&
        (!c->text_n || (reader_know(r, seq, &rec) == 0 && subject_match(rec.subject, text_of(c))));
    reader_spend(looks, &rec);
    return goes;
}

static uint64_t purge_prev(const struct chore *c, struct reader *r)
{
    return c->text_n ? reader_prev(r, c->pos) : holes_prev_live(&c->s->holes, c->pos);
}

/* True when it is known what stays. Counting once and taking the rest would not do: others remove
 * messages while the purge is under way, and it would take those that should stay instead. */
static bool keep_portion(struct chore *c, uint32_t most)
{
    struct stream *s = c->s;
    struct reader r;
    reader_init(&r, s);
    stream_load_holes(s);
    uint64_t seq = purge_prev(c, &r);
    while (c->kept < c->keep && seq >= s->now.first_seq && seq && most) {
        c->kept += purge_matches(c, &r, seq, &most);
        c->pos = seq - 1;
        seq = purge_prev(c, &r);
    }
    reader_end(&r);
    if (c->kept < c->keep && seq >= s->now.first_seq && seq)
        return false;
    c->upto = c->kept < c->keep ? 0 : c->pos;
    return true;
}

/* True when this portion came to the end of the walk. */
static bool purge_portion(struct chore *c, uint32_t most)
{
    struct stream *s = c->s;
    struct reader r;
    reader_init(&r, s);
    stream_load_holes(s);
    if (c->pos < s->now.first_seq)
        c->pos = s->now.first_seq;
    uint64_t seq = purge_next(c, &r);
    while (seq && seq <= c->upto && most) {
        c->pos = seq + 1;
        if (purge_matches(c, &r, seq, &most)) {
            s->purging = c->done != NULL;
            stream_drop_any(s, &r, seq, &most);
            s->purging = false;
            if (++c->purged == c->matching) {
                seq = 0;
                break;
            }
        }
        seq = purge_next(c, &r);
    }
    reader_end(&r);
    return !seq || seq > c->upto;
}

static void purge_begin(struct chore *c)
{
    struct stream *s = c->s;
    c->upto = c->below && c->below <= s->now.last_seq ? c->below - 1 : s->now.last_seq;
    c->keeping = c->keep > 0;
    c->pos = c->keeping ? c->upto : s->now.first_seq;
    c->matching = UINT64_MAX;
    if (!c->text_n) {
        c->matching = s->now.msgs;
    } else if (!subject_has_wildcard(text_of(c))) {
        struct subject *e = index_get(s, text_of(c), false);
        c->matching = e ? e->count : 0;
    }
}

static bool purge_step(struct chore *c)
{
    struct stream *s = c->s;
    if (c->below == 1 || (c->below && !s->now.last_seq)) /* nothing lies there */
        return true;
    if (!c->text_n && !c->keep && (!c->below || c->below > s->now.last_seq)) {
        c->purged = s->now.msgs;
        s->purging = c->done != NULL;
        stream_clear(s, s->now.last_seq + 1);
        s->purging = false;
        reclaim_below(s);
        return true;
    }
    if (c->matching <= c->keep)
        return true;
    if (c->keeping) {
        c->keeping = !keep_portion(c, PORTION);
        c->pos = c->keeping ? c->pos : s->now.first_seq;
        return false;
    }
    if (!purge_portion(c, PORTION))
        return false;
    if (!s->memory)
        reclaim_blocks(s); /* subjects' rows went one by one */
    return true;
}

/* --- the others ------------------------------------------------------------------------------ */

/* The limit may be another one by now. */
static bool subject_step(struct chore *c)
{
    int64_t limit = c->s->spec.max_msgs_per_subject;
    uint64_t most = c->below ? 0 : (uint64_t)limit, below = c->below ? c->below : UINT64_MAX;
    if (!c->below && limit <= 0)
        return true;
    struct subject *e = index_get(c->s, text_of(c), false);
    return !e || limits_subject(c->s, e, most, below, PORTION);
}

/* Every message is asked whether its subject has too many. */
static bool limits_step(struct chore *c)
{
    struct stream *s = c->s;
    uint64_t most = s->spec.max_msgs_per_subject > 0 ? (uint64_t)s->spec.max_msgs_per_subject : 0;
    if (limits_expire(s, PORTION))
        return false; /* more are due */
    if (!most)
        return true;
    struct reader r;
    reader_init(&r, s);
    uint64_t seq = 0;
    struct record rec;
    for (uint32_t n = PORTION; n; reader_spend(&n, &rec)) {
        seq = reader_next(&r, c->pos);
        if (!seq || seq > c->upto)
            break;
        c->pos = seq + 1;
        rec.len = 0;
        if (!stream_live_now(s, seq) || reader_get(&r, seq, true, &rec))
            continue;
        struct subject *e = index_get(s, rec.subject, false);
        if (e)
            limits_subject_at(s, e, most, seq);
    }
    reader_end(&r);
    return !seq || seq > c->upto;
}

/* --- running --------------------------------------------------------------------------------- */

static void chore_begin(struct chore *c)
{
    c->begun = true;
    c->upto = c->s->now.last_seq;
    c->pos = c->s->now.first_seq;
    if (c->kind == CHORE_PURGE)
        purge_begin(c);
}

static bool chore_step(struct chore *c)
{
    if (!c->begun)
        chore_begin(c);
    switch (c->kind) {
    case CHORE_PURGE:
        return purge_step(c);
    case CHORE_SUBJECT:
        return subject_step(c);
    case CHORE_EXPIRE:
        return !limits_expire(c->s, PORTION);
    case CHORE_TRIM:
        return true;
    case CHORE_LIMITS:
        return limits_step(c);
    }
    return true;
}

static void run_first(struct stream *s)
{
    if (!list_empty(&s->chores)) {
        struct chore *c = LIST_ENTRY(s->chores.next, struct chore, link);
        s->st->turn->job_start(s->st->turn->loop, &c->job);
    }
}

static void chore_done(struct chore *c, int err)
{
    struct stream *s = c->s;
    if (c->kind == CHORE_PURGE) {
        struct batch *b = stream_batch(s);
        struct waiter *w = batch_wait(b, WAIT_PURGE, c->arg);
        w->fn.purge = c->done;
        w->seq = c->purged;
        w->err = err;
        b->nops++;
    } else if (c->owes) {
        struct batch *b = stream_batch(s);
        struct waiter *w = batch_wait(b, WAIT_APPEND, NULL);
        *w = c->receipt;
        w->err = err;
        b->nops++;
    }
    list_unlink(&c->link);
    s->st->nchores--;
    free(c);
}

static enum job_result on_step(struct job *j, const struct job_budget *budget)
{
    struct chore *c = CONTAINER_OF(j, struct chore, job);
    struct stream *s = c->s;
    if (!index_catch_up(s, PORTION))
        return JOB_MORE;
    do {
        if (gathered_enough(s->st) || s->st->failed) {
            store_wake(s->st);
            return JOB_WAIT;
        }
        bool over = limits_trim(s, PORTION) && chore_step(c);
        stream_give_blocks_back(s);
        store_weigh(s->st);
        if (over) {
            chore_done(c, 0);
            run_first(s);
            return JOB_DONE;
        }
    } while (!job_over(budget));
    return JOB_MORE;
}

static struct chore *chore_new(struct stream *s, enum chore_kind kind, struct slice text)
{
    static const char *const names[] = {"purge", "subject limit", "expiry", "trimming", "limits"};
    struct chore *c = xcalloc(1, sizeof *c + text.n);
    c->s = s;
    c->kind = kind;
    c->text_n = text.n;
    if (text.n)
        memcpy(c->text, text.p, text.n);
    job_init(&c->job, names[kind], on_step);
    list_push_back(&s->chores, &c->link);
    s->st->nchores++;
    if (s->chores.next == &c->link)
        run_first(s);
    return c;
}

static struct chore *find_chore(struct stream *s, enum chore_kind kind, struct slice text)
{
    LIST_EACH(e, &s->chores)
    {
        struct chore *c = LIST_ENTRY(e, struct chore, link);
        if (c->kind == kind && !c->owes && slice_eq(text_of(c), text))
            return c;
    }
    return NULL;
}

void chore_purge(struct stream *s, const struct purge_spec *p, store_purge_fn *done, void *arg)
{
    struct slice filter = slice_is(p->filter, ">") ? (struct slice){0} : p->filter;
    struct chore *c = chore_new(s, CHORE_PURGE, filter);
    c->below = p->below;
    c->keep = p->keep;
    c->done = done;
    c->arg = arg;
}

void chore_subject(struct stream *s, struct slice subject)
{
    if (!find_chore(s, CHORE_SUBJECT, subject))
        (void)chore_new(s, CHORE_SUBJECT, subject);
}

struct chore *chore_roll_up(struct stream *s, struct slice subject, uint64_t seq)
{
    struct chore *c = chore_new(s, CHORE_SUBJECT, subject);
    c->below = seq;
    return c;
}

void chore_answers(struct chore *c, struct waiter *w)
{
    c->owes = true;
    c->receipt = *w;
    w->fn.append = NULL;
}

void chore_expire(struct stream *s)
{
    if (!find_chore(s, CHORE_EXPIRE, (struct slice){0}))
        (void)chore_new(s, CHORE_EXPIRE, (struct slice){0});
}

void chore_trim(struct stream *s)
{
    (void)chore_new(s, CHORE_TRIM, (struct slice){0});
}

void chore_limits(struct stream *s)
{
    (void)chore_new(s, CHORE_LIMITS, (struct slice){0});
}

void chores_end(struct stream *s, int err)
{
    const struct turn *t = s->st->turn;
    LIST_EACH_SAFE(e, &s->chores)
    {
        struct chore *c = LIST_ENTRY(e, struct chore, link);
        t->job_stop(t->loop, &c->job);
        chore_done(c, err);
    }
    s->trimming = false;
}

/* --- reclaiming ------------------------------------------------------------------------------ */

struct reclaim {
    struct list link; /* in st->reclaims */
    struct job job;
    struct store *st;
    struct stream *s; /* NULL: the stream is gone, all of its rows are to go */
    uint32_t sid;
    uint64_t after;   /* rests until this batch is durable */
    bool blocks;      /* blocks below the head may be left, */
    bool sweep;       /* and subject rows of before a purge: the file has a mark that says so */
    struct buf block; /* asked to go last */
    struct buf row;   /* the sweep goes on from here */
};

static bool any_row(struct store *st, enum db_table table, uint32_t sid)
{
    struct key k;
    struct walk w;
    struct txn *view = view_open(st->db);
    if (!view)
        return true; /* nobody can say */
    key_stream(&k, sid);
    bool any = walk_seek(&w, view, table, key_slice(&k)) && key_of_stream(w.key, sid);
    walk_end(&w);
    view_close(st->db);
    return any;
}

/* One commit's worth of a deleted stream; true when nothing is left. */
static bool wipe_portion(struct reclaim *r)
{
    static const enum db_table tables[] = {DB_BLOCKS, DB_HOLES, DB_SUBJECTS, DB_CURSORS};
    struct batch *b = r->st->gather;
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        if (any_row(r->st, tables[i], r->sid)) {
            change_wipe(b, tables[i], r->sid,
                        tables[i] == DB_BLOCKS ? BLOCKS_A_COMMIT : ROWS_A_COMMIT);
            any = true;
        }
    }
    if (!any) {
        struct key k;
        key_reclaim(&k, r->sid);
        change_del(b, DB_META, &k);
        key_state(&k, r->sid);
        change_del(b, DB_META, &k);
        b->writes = true;
    }
    store_wake(r->st);
    return !any;
}

/* The key of the stream's first block, when that lies below the head. */
static bool dead_block(struct txn *view, const struct stream *s, struct buf *found)
{
    struct key k;
    struct walk w;
    uint64_t first, floor = stream_blocks_floor(s);
    unsigned part;
    key_block(&k, s->sid, 0);
    bool any = walk_seek(&w, view, DB_BLOCKS, key_slice(&k)) &&
               key_is_block(w.key, s->sid, &first, &part) && first < floor &&
               (part || block_end(view, s->sid, first, w.value) < floor);
    if (any)
        buf_add_slice(found, w.key);
    walk_end(&w);
    return any;
}

/* Asks for one commit's worth of blocks below the head; true when none is left. */
static bool blocks_portion(struct reclaim *r)
{
    struct stream *s = r->s;
    struct buf found = BUF_INIT;
    struct txn *view = view_open(r->st->db);
    s->reclaiming = false;
    if (!view)
        return true;
    bool any = dead_block(view, s, &found);
    view_close(r->st->db);
    if (any && !slice_eq(buf_slice(&found), buf_slice(&r->block))) { /* else it did not go: no */
        s->reclaiming = true;                                        /* commit after the other */
        s->asked_batch = 0;
        stream_give_blocks_back(s);
    }
    buf_release(&r->block);
    r->block = found;
    return !s->reclaiming;
}

/* Deletes subject rows that a purge left behind, unless they are being written anew. */
static bool sweep_portion(struct reclaim *r)
{
    struct stream *s = r->s;
    struct walk w;
    struct key k;
    unsigned looks = ROWS_A_COMMIT;
    struct txn *view = view_open(r->st->db);
    if (!view)
        return true;
    key_stream(&k, s->sid);
    bool on = walk_seek(&w, view, DB_SUBJECTS, r->row.len ? buf_slice(&r->row) : key_slice(&k));
    for (; on && key_of_stream(w.key, s->sid) && looks; on = walk_next(&w)) {
        struct subject_row row;
        if (slice_cmp(w.key, buf_slice(&r->row)) < 0)
            continue; /* a damaged key led back: these had their look */
        looks--;
        if (subject_row_read(w.value, w.key, &row) || row.upto >= s->now.purge_floor)
            continue;
        struct slice subject = row.subject.n ? row.subject : key_subject_part(w.key);
        if (index_writes(s, subject))
            continue;
        key_subject(&k, s->sid, subject);
        change_del(stream_batch(s), DB_SUBJECTS, &k);
    }
    bool over = !on || !key_of_stream(w.key, s->sid);
    buf_clear(&r->row);
    if (!over)
        buf_add_slice(&r->row, w.key);
    walk_end(&w);
    view_close(r->st->db);
    return over;
}

/* The mark goes with the last of them. */
static void sweep_end(struct reclaim *r)
{
    struct key k;
    r->sweep = false;
    key_sweep(&k, r->sid);
    change_del(r->st->gather, DB_META, &k);
    r->st->gather->writes = true;
    store_wake(r->st);
}

static bool below_portion(struct reclaim *r)
{
    if (r->blocks)
        r->blocks = !blocks_portion(r);
    if (r->sweep && sweep_portion(r))
        sweep_end(r);
    return !r->blocks && !r->sweep;
}

static void reclaim_free(struct reclaim *r)
{
    if (r->s) {
        r->s->reclaiming = false;
        r->s->reclaim = NULL;
    }
    list_unlink(&r->link);
    buf_release(&r->block);
    buf_release(&r->row);
    free(r);
}

static enum job_result on_reclaim(struct job *j, const struct job_budget *budget)
{
    struct reclaim *r = CONTAINER_OF(j, struct reclaim, job);
    struct store *st = r->st;
    (void)budget;
    /* Of very many streams a few have their turn with each commit: it shall not be a long one. */
    if (st->durable_batch < r->after || st->failed || st->gather->reclaims >= RECLAIMS_A_COMMIT)
        return JOB_WAIT;
    if (r->s ? below_portion(r) : wipe_portion(r)) {
        reclaim_free(r);
        return JOB_DONE;
    }
    r->after = st->gather->n;
    st->gather->reclaims++;
    st->gather->writes = true;
    store_wake(st);
    return JOB_WAIT;
}

static struct reclaim *reclaim_start(struct store *st, struct stream *s, uint32_t sid)
{
    struct reclaim *r = xcalloc(1, sizeof *r);
    r->st = st;
    r->s = s;
    r->sid = sid;
    r->after = st->gather->n;
    job_init(&r->job, "reclaiming", on_reclaim);
    if (s)
        s->reclaim = r;
    list_push_back(&st->reclaims, &r->link);
    st->turn->job_start(st->turn->loop, &r->job);
    return r;
}

void reclaim_blocks(struct stream *s)
{
    struct reclaim *r = s->reclaim ? s->reclaim : reclaim_start(s->st, s, s->sid);
    r->blocks = s->reclaiming = true;
}

/* From the first row on, also where a sweep is under way: the rows that it passed lived then. And
 * not before those are in the file that are on their way to it. */
static struct reclaim *sweep_start(struct stream *s)
{
    reclaim_blocks(s);
    struct reclaim *r = s->reclaim;
    r->after = s->st->gather->n;
    buf_clear(&r->row);
    return r;
}

void reclaim_below(struct stream *s)
{
    struct key k;
    if (s->memory)
        return;
    struct reclaim *r = sweep_start(s);
    key_sweep(&k, s->sid);
    if (!r->sweep)
        change_put(stream_batch(s), DB_META, &k, SLICE("x"));
    r->sweep = true;
}

void reclaim_found(struct stream *s)
{
    sweep_start(s)->sweep = true;
}

void reclaim_stream(struct store *st, uint32_t sid)
{
    (void)reclaim_start(st, NULL, sid);
}

void reclaim_end(struct store *st, struct stream *s)
{
    LIST_EACH_SAFE(e, &st->reclaims)
    {
        struct reclaim *r = LIST_ENTRY(e, struct reclaim, link);
        if (s && r != s->reclaim)
            continue;
        st->turn->job_stop(st->turn->loop, &r->job);
        reclaim_free(r);
    }
}

/* --- what was left --------------------------------------------------------------------------- */

/* Those that were found rest for a commit that nobody else may ask for. */
static enum job_result looked(struct store *st)
{
    if (!list_empty(&st->reclaims)) {
        st->gather->writes = true;
        store_wake(st);
    }
    return JOB_DONE;
}

static enum job_result on_leftovers(struct job *j, const struct job_budget *budget)
{
    struct store *st = CONTAINER_OF(j, struct store, leftovers);
    struct buf found = BUF_INIT;
    struct txn *view = view_open(st->db);
    bool over = false;
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (!view || over)
            break;
        if (s->sid <= st->left_at || s->memory || s->life != STREAM_LIVE)
            continue;
        if (dead_block(view, s, &found))
            reclaim_blocks(s);
        st->left_at = s->sid;
        over = job_over(budget);
    }
    buf_release(&found);
    if (view)
        view_close(st->db);
    return over ? JOB_MORE : looked(st);
}

/* A full disk would take none of it: until then each try is a failed commit, and the next one
 * again. */
void reclaim_leftovers(struct store *st)
{
    if (!st->left || st->stats.full || st->failed)
        return;
    st->left = false;
    st->left_at = 0;
    st->turn->job_start(st->turn->loop, &st->leftovers);
}

void reclaim_init(struct store *st)
{
    list_init(&st->reclaims);
    job_init(&st->leftovers, "looking for what was left", on_leftovers);
}

void chores_wake(struct store *st)
{
    for (struct list *e = st->streams.next; st->nchores && e != &st->streams; e = e->next) {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (!list_empty(&s->chores))
            run_first(s);
    }
    LIST_EACH(e, &st->reclaims)
    st->turn->job_start(st->turn->loop, &LIST_ENTRY(e, struct reclaim, link)->job);
}
