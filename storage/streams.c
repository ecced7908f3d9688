/* storage/streams.c -- the door's streams: create, update, delete, find, remove, purge, watch
 *
 * Each change of a specification is one row in the gathering batch and one waiter. A deleted stream
 * loses its row and gets a marker in the same commit, so it is invisible at once; what it leaves
 * behind is reclaimed in the background, after a crash from the marker on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/streams.h"

#include "base/clock.h"
#include "base/mem.h"
#include "storage/append.h"
#include "storage/chores.h"
#include "storage/compact.h"
#include "storage/cursor.h"
#include "storage/limits.h"
#include "storage/looks.h"
#include "storage/reader.h"
#include "storage/store.h"

enum { SPEC_DISCARD_NEW = 1, SPEC_NEW_PER_SUBJECT = 2 };

/* --- rows ------------------------------------------------------------------------------------ */

static void spec_add(struct buf *out, uint32_t sid, const struct stream_spec *p)
{
    size_t at = row_begin(out);
    add_str(out, p->account);
    add_str(out, p->name);
    add_str(out, p->config);
    add_u64(out, (uint64_t)p->created);
    add_u32(out, (p->discard_new ? SPEC_DISCARD_NEW : 0) |
                     (p->discard_new_per_subject ? SPEC_NEW_PER_SUBJECT : 0));
    add_u64(out, (uint64_t)p->max_msgs);
    add_u64(out, (uint64_t)p->max_bytes);
    add_u64(out, (uint64_t)p->max_msgs_per_subject);
    add_u64(out, (uint64_t)p->max_age_ns);
    add_u64(out, (uint64_t)p->duplicate_window_ns);
    add_u64(out, p->first_seq);
    row_end(out, at, sid);
}

int stream_spec_read(struct slice v, uint32_t sid, struct stream_spec *p)
{
    struct take t;
    int err = row_open(v, sid, &t);
    if (err)
        return err;
    *p =
        (struct stream_spec){.account = take_str(&t), .name = take_str(&t), .config = take_str(&t)};
    p->created = (int64_t)take_u64(&t);
    uint32_t flags = take_u32(&t);
    p->discard_new = flags & SPEC_DISCARD_NEW;
    p->discard_new_per_subject = flags & SPEC_NEW_PER_SUBJECT;
    p->max_msgs = (int64_t)take_u64(&t);
    p->max_bytes = (int64_t)take_u64(&t);
    p->max_msgs_per_subject = (int64_t)take_u64(&t);
    p->max_age_ns = (int64_t)take_u64(&t);
    p->duplicate_window_ns = (int64_t)take_u64(&t);
    p->first_seq = take_u64(&t);
    return t.ok ? 0 : E_CORRUPT;
}

void store_write_format(struct store *st, struct buf *out)
{
    size_t at = row_begin(out);
    add_u32(out, STORE_FORMAT);
    add_str(out, slice_cstr(st->uuid));
    add_u32(out, st->next_sid);
    row_end(out, at, 0);
}

int store_read_format(struct store *st, struct slice v)
{
    struct take t;
    int err = row_open(v, 0, &t);
    if (err)
        return err;
    if (take_u32(&t) != STORE_FORMAT)
        return E_VERSION;
    struct slice uuid = take_str(&t);
    st->next_sid = take_u32(&t);
    if (!t.ok || uuid.n != sizeof st->uuid - 1)
        return E_CORRUPT;
    memcpy(st->uuid, uuid.p, uuid.n);
    return 0;
}

static void write_spec(struct stream *s)
{
    struct batch *b = s->st->gather;
    struct key k;
    size_t at;
    key_meta(&k, s->sid);
    spec_add(change_put_begin(b, DB_META, &k, &at), s->sid, &s->spec);
    change_put_end(b, at);
}

static void write_next_sid(struct store *st)
{
    struct key k;
    size_t at;
    key_meta(&k, 0);
    store_write_format(st, change_put_begin(st->gather, DB_META, &k, &at));
    change_put_end(st->gather, at);
}

/* --- names ----------------------------------------------------------------------------------- */

struct name_key {
    struct slice account, name;
};

static uint64_t name_hash(struct slice account, struct slice name)
{
    return hash_slice(account) * 31 + hash_slice(name);
}

static bool same_name(const void *item, const void *key)
{
    const struct stream *s = item;
    const struct name_key *k = key;
    return slice_eq(s->spec.account, k->account) && slice_eq(s->spec.name, k->name);
}

static bool same_stream(const void *item, const void *key)
{
    return item == key;
}

void store_publish_name(struct stream *s)
{
    uint64_t h = name_hash(s->spec.account, s->spec.name);
    if (!htab_get(&s->st->names, h, same_stream, s)) {
        htab_put(&s->st->names, h, s);
        s->st->stats.streams++;
    }
}

void store_unpublish_name(struct stream *s)
{
    if (htab_del(&s->st->names, name_hash(s->spec.account, s->spec.name), same_stream, s))
        s->st->stats.streams--;
}

struct stream *store_stream_find(struct store *st, struct slice account, struct slice name)
{
    struct name_key k = {account, name};
    return htab_get(&st->names, name_hash(account, name), same_name, &k);
}

struct stream *store_by_sid(struct store *st, uint32_t sid)
{
    for (struct list *e = st->streams.prev; e != &st->streams; e = e->prev) {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->sid == sid)
            return s;
        if (s->sid < sid)
            return NULL;
    }
    return NULL;
}

void streams_insert(struct store *st, struct stream *s)
{
    struct list *e = st->streams.prev;
    while (e != &st->streams && LIST_ENTRY(e, struct stream, link)->sid > s->sid)
        e = e->prev;
    list_push_front(e, &s->link);
}

/* --- coming and going ------------------------------------------------------------------------ */

static int may_change(const struct store *st, bool memory)
{
    if (st->closing)
        return E_CLOSED;
    return !memory && (st->failed || st->stats.read_only) ? E_READONLY : 0;
}

/* The same for a stream that is there, and not about to go. */
static int stream_may_change(const struct stream *s)
{
    int err = may_change(s->st, s->memory);
    return err ? err : s->life != STREAM_LIVE ? E_CLOSED : 0;
}

static struct waiter *wait_for(struct stream *s, enum waiter_kind kind, store_done_fn *done,
                               void *arg)
{
    struct batch *b = stream_batch(s);
    struct waiter *w = batch_wait(b, kind, arg);
    w->fn.done = done;
    w->x.stream = s;
    b->nops++;
    return w;
}

int store_stream_create(struct store *st, const struct stream_spec *spec, store_done_fn *done,
                        void *arg, struct stream **out)
{
    int err = may_change(st, spec->memory);
    if (err)
        return err;
    if (store_stream_find(st, spec->account, spec->name))
        return E_EXISTS;
    if (!spec->memory && st->stats.full)
        return E_SPACE;
    struct stream *s = stream_new(st, st->next_sid++, spec);
    if (!s->memory)
        seen_begin(&s->index.seen); /* its number is new: nothing in the file is under it */
    s->holes_loaded = s->last_id_known = true;
    streams_insert(st, s);
    store_publish_name(s);
    stream_ready(s);
    (void)wait_for(s, WAIT_CREATE, done, arg);
    if (!s->memory) {
        write_spec(s);
        write_next_sid(st);
        store_write_state(s);
    }
    *out = s;
    return 0;
}

int store_stream_update(struct stream *s, const struct stream_spec *spec, store_done_fn *done,
                        void *arg)
{
    int err = stream_may_change(s);
    if (err)
        return err;
    struct stream_spec next = *spec;
    next.account = s->spec.account;
    next.name = s->spec.name;
    next.created = s->spec.created;
    next.memory = s->spec.memory;
    next.first_seq = s->spec.first_seq;
    stream_set_spec(s, &next);
    (void)wait_for(s, WAIT_DONE, done, arg);
    if (!s->memory)
        write_spec(s);
    chore_limits(s);
    return 0;
}

int store_stream_delete(struct stream *s, store_done_fn *done, void *arg)
{
    struct store *st = s->st;
    int err = stream_may_change(s);
    if (err)
        return err;
    s->life = STREAM_ENDING;
    s->watch = NULL;
    store_unpublish_name(s);
    chores_end(s, E_CLOSED);
    compact_end(s);
    reclaim_end(st, s);
    append_refuse_parked(s, E_CLOSED);
    looks_end(s, E_CLOSED);
    cursors_detach(s);
    stream_unpin(s);
    st->turn->job_stop(st->turn->loop, &s->catch_up);
    turn_unset(st->turn, &s->expiry);
    store_account(s, -(int64_t)s->now.bytes);
    s->now.bytes = 0;
    (void)wait_for(s, WAIT_DELETE, done, arg);
    if (!s->memory) {
        struct key k;
        key_meta(&k, s->sid);
        change_del(st->gather, DB_META, &k);
        key_sweep(&k, s->sid);
        change_del(st->gather, DB_META, &k);
        key_reclaim(&k, s->sid);
        change_put(st->gather, DB_META, &k, SLICE("x"));
        reclaim_stream(st, s->sid);
    }
    return 0;
}

void stream_ready(struct stream *s)
{
    turn_timer_init(&s->expiry, limits_on_expiry, s);
}

/* --- looking --------------------------------------------------------------------------------- */

struct stream *store_stream_next(struct store *st, size_t *pos)
{
    size_t i = 0;
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->life == STREAM_LIVE && i++ == *pos) {
            ++*pos;
            return s;
        }
    }
    return NULL;
}

const struct stream_spec *store_stream_spec(const struct stream *s)
{
    return &s->spec;
}

void store_stream_set_owner(struct stream *s, void *owner)
{
    s->owner = owner;
}

void *store_stream_owner(const struct stream *s)
{
    return s->owner;
}

void store_state(struct stream *s, struct stream_state *out)
{
    const struct state *st = &s->shown;
    *out = (struct stream_state){.msgs = st->msgs,
                                 .bytes = st->bytes,
                                 .first_seq = st->first_seq,
                                 .last_seq = st->last_seq,
                                 .first_ts = st->msgs ? st->first_ts : 0,
                                 .last_ts = st->last_ts,
                                 .num_subjects = st->num_subjects};
    if (!st->last_seq && !st->purge_floor) /* a new one */
        out->first_seq = 0;
    if (st->msgs)
        out->num_deleted = st->last_seq - st->first_seq + 1 - st->msgs;
}

uint64_t store_last_assigned(const struct stream *s)
{
    return s->now.last_seq;
}

void store_watch(struct stream *s, struct stream_watch *w)
{
    s->watch = w;
}

/* --- removing -------------------------------------------------------------------------------- */

/* The bytes themselves go: from a chunk by storing it without them, from a block by rewriting it.
 */
static void erase(struct stream *s, uint64_t seq)
{
    size_t i = stream_find_chunk(s, seq);
    if (i < stream_chunks(s) && stream_chunk(s, i)->first_seq <= seq)
        stream_erase_in_chunk(s, i, seq);
    if (!s->memory)
        change_erase(s->st->gather, s->sid, seq);
}

static void remove_one(struct stream *s, struct reader *r, uint64_t seq, bool secure)
{
    struct record rec;
    if (!stream_live_now(s, seq))
        return;
    if (reader_know(r, seq, &rec))
        stream_drop_lost(s, seq, (struct slice){0});
    else if (secure)
        stream_drop_marked(s, seq, &rec);
    else
        stream_drop(s, seq, &rec);
    if (secure)
        erase(s, seq);
}

int store_remove(struct stream *s, const uint64_t *seqs, size_t n, bool secure, store_done_fn *done,
                 void *arg)
{
    int err = stream_may_change(s);
    if (err)
        return err;
    if (s->index.behind)
        index_ready(s);
    stream_trim(s); /* what a limit has claimed already is not for others to make room for */
    struct reader r;
    reader_init(&r, s);
    for (size_t i = 0; i < n; i++)
        remove_one(s, &r, seqs[i], secure);
    reader_end(&r);
    if (done)
        (void)wait_for(s, WAIT_DONE, done, arg);
    store_weigh(s->st);
    return 0;
}

int store_purge(struct stream *s, const struct purge_spec *p, store_purge_fn *done, void *arg)
{
    int err = stream_may_change(s);
    if (err)
        return err;
    chore_purge(s, p, done, arg);
    return 0;
}

int store_skip_to(struct stream *s, uint64_t next, store_done_fn *done, void *arg)
{
    int err = stream_may_change(s);
    if (err)
        return err;
    if (next <= s->now.last_seq)
        return E_INVAL;
    if (s->index.behind)
        index_ready(s);
    stream_clear(s, next);
    reclaim_below(s);
    (void)wait_for(s, WAIT_DONE, done, arg);
    return 0;
}
