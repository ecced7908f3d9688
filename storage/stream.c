/* storage/stream.c -- see stream.h
 *
 * The bookkeeping of one stream: which chunks it has, which numbers are holes, where it begins. Who
 * decides what is stored is append.c; what goes and when, limits.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/stream.h"

#include "base/log.h"
#include "base/mem.h"
#include "storage/append.h"
#include "storage/chores.h"
#include "storage/cursor.h"
#include "storage/reader.h"
#include "storage/salvage.h"
#include "storage/store.h"

static char *keep(char *at, struct slice *s)
{
    if (s->n)
        memcpy(at, s->p, s->n);
    s->p = at;
    return at + s->n;
}

void stream_set_spec(struct stream *s, const struct stream_spec *spec)
{
    char *mem = xmalloc(spec->account.n + spec->name.n + spec->config.n + 1);
    struct stream_spec mine = *spec;
    char *at = keep(mem, &mine.account);
    at = keep(at, &mine.name);
    (void)keep(at, &mine.config);
    char *old = s->spec_mem;
    s->spec = mine;
    s->spec_mem = mem;
    free(old);
}

static void begin_empty(struct stream *s)
{
    uint64_t first = s->spec.first_seq > 1 ? s->spec.first_seq : 1;
    s->now = (struct state){.first_seq = first, .last_seq = first - 1};
    s->shown = s->now;
    s->index.w_first = first;
    s->index.w_last = first - 1;
}

struct stream *stream_new(struct store *st, uint32_t sid, const struct stream_spec *spec)
{
    struct stream *s = xcalloc(1, sizeof *s);
    s->st = st;
    s->sid = sid;
    s->memory = spec->memory;
    s->next_cid = 1;
    stream_set_spec(s, spec);
    list_init(&s->link);
    list_init(&s->cursors);
    list_init(&s->parked);
    list_init(&s->jobs);
    list_init(&s->chores);
    job_init(&s->catch_up, "catching up", NULL); /* recovery gives it its step */
    append_init(s);
    holes_init(&s->holes);
    holes_init(&s->undone);
    holes_init(&s->damaged);
    holes_init(&s->rescued);
    holes_init(&s->hopeless);
    index_init(&s->index);
    dedupe_init(&s->dedupe);
    pin_init(&s->holes_pin, PIN_HOLES, s);
    pin_init(&s->state_pin, PIN_STATE, s);
    pin_init(&s->index.pin, PIN_INDEX, s);
    begin_empty(s);
    return s;
}

static void drop_chunk(struct stream *s, struct chunk *c)
{
    pin_clear(&c->pin);
    if (c->borrowed)
        c->orphan = true; /* its last batch frees it */
    else
        chunk_free(s->st->pool, c);
}

static void drop_chunks(struct stream *s)
{
    for (size_t i = s->chunk_head; i < s->chunk_end; i++)
        drop_chunk(s, s->chunks[i]);
    s->chunk_head = s->chunk_end = s->dead_chunks = 0;
}

void stream_forget(struct stream *s)
{
    drop_chunks(s);
    holes_release(&s->holes);
    holes_release(&s->undone);
    holes_release(&s->damaged);
    holes_release(&s->rescued);
    holes_release(&s->hopeless);
    s->holes_loaded = false;
    s->holes_pos = 0;
    s->holes_flush = 0;
    index_release(s);
    index_init(&s->index);
    pin_init(&s->index.pin, PIN_INDEX, s);
    dedupe_release(&s->dedupe);
    buf_release(&s->last_id);
    buf_release(&s->search.pattern);
    s->search = (struct last_search){0};
    s->last_id_known = s->write_state = false;
    s->stored_last = 0;
    s->window_pos = 0;
    s->window_from = 0;
    pin_clear(&s->holes_pin);
    pin_clear(&s->state_pin);
    s->touched = 0;
    s->first_ts_stale = false;
    s->freed = s->holed = s->asked_below = s->asked_batch = 0;
    begin_empty(s);
}

void stream_unpin(struct stream *s)
{
    for (size_t i = s->chunk_head; i < s->chunk_end; i++)
        pin_clear(&s->chunks[i]->pin);
    pin_clear(&s->holes_pin);
    pin_clear(&s->state_pin);
    pin_clear(&s->index.pin);
}

void stream_free(struct stream *s)
{
    cursors_free(s);
    stream_forget(s);
    free(s->chunks);
    list_unlink(&s->link);
    free(s->spec_mem);
    free(s);
}

struct batch *stream_batch(struct stream *s)
{
    struct batch *b = s->memory ? s->st->mem : s->st->gather;
    if (s->touched != b->n) {
        s->touched = b->n;
        batch_mark(b, s, &s->now); /* brought up to date when the batch is closed */
        b->writes = true;
        store_wake(s->st);
    }
    return b;
}

/* --- chunks ---------------------------------------------------------------------------------- */

void stream_push_chunk(struct stream *s, struct chunk *c)
{
    if (s->chunk_end == s->chunk_cap) {
        size_t n = stream_chunks(s);
        if (s->chunk_head >= n + 4) {
            memmove(s->chunks, s->chunks + s->chunk_head, n * sizeof(struct chunk *));
        } else {
            s->chunk_cap = s->chunk_cap ? s->chunk_cap * 2 : 4;
            struct chunk **at = xmalloc(s->chunk_cap * sizeof(struct chunk *));
            if (n)
                memcpy(at, s->chunks + s->chunk_head, n * sizeof(struct chunk *));
            free(s->chunks);
            s->chunks = at;
        }
        s->chunk_head = 0;
        s->chunk_end = n;
    }
    s->chunks[s->chunk_end++] = c;
    pin_init(&c->pin, PIN_CHUNK, s);
}

struct chunk *stream_room(struct stream *s, uint64_t seq, size_t record)
{
    struct chunk *c = stream_chunks(s) ? s->chunks[s->chunk_end - 1] : NULL;
    bool large = record > RECORD_LARGE;
    if (c && !large && chunk_fits(c, seq, record))
        return c;
    struct chunk *fresh = chunk_new(s->st->pool, seq, record);
    if (!fresh)
        return NULL;
    if (c && !c->sealed)
        stream_seal(s, c);
    stream_push_chunk(s, fresh);
    return fresh;
}

/* The part of the gathering batch that stands for this chunk. */
static struct part *part_of(struct stream *s, struct chunk *c)
{
    struct batch *b = stream_batch(s);
    if (c->batch == b->n)
        return &b->parts[c->part];
    c->batch = b->n;
    c->part = (uint32_t)b->nparts;
    c->borrowed++;
    struct part *p = batch_part(b);
    *p = (struct part){.stream = s, .chunk = c, .sid = s->sid, .from = c->used, .to = c->used};
    return p;
}

static void store_chunk(struct stream *s, struct chunk *c)
{
    struct part *p = part_of(s, c);
    p->store = true;
    p->block = chunk_block(c);
    if (c->last_seq < s->now.purge_floor)
        p->block.n = 0; /* all of it was purged: nobody will read it again */
    pin_clear(&c->pin);
    s->st->trim = true;
}

void stream_seal(struct stream *s, struct chunk *c)
{
    c->sealed = true;
    if (!s->memory)
        store_chunk(s, c);
    else if (!c->live)
        s->dead_chunks++;
}

void stream_store_partly(struct stream *s, struct chunk *c)
{
    store_chunk(s, c);
}

/* Only the gathering batch borrows it, and nothing new of it will be told. */
static bool ours_alone(const struct stream *s, const struct chunk *c)
{
    const struct batch *b = s->st->gather;
    return s->memory ||
           (c->borrowed == 1 && c->batch == b->n && b->parts[c->part].from == b->parts[c->part].to);
}

/* The writer may be reading the chunk: then a copy takes its place, without the record, and is
 * stored. */
void stream_erase_in_chunk(struct stream *s, size_t i, uint64_t seq)
{
    struct chunk *old = stream_chunk(s, i), *c = old;
    size_t room;
    if (!ours_alone(s, old)) {
        bool large = (old->flags & BLOCK_PARTS) != 0;
        c = chunk_new(s->st->pool, old->first_seq, large ? old->size - BLOCK_HEAD - 4u : 0);
        if (!c)
            return; /* the block in the file is overwritten later, by CHANGE_ERASE */
        size_t dir = 4 * (size_t)old->n;
        memcpy(c->mem + BLOCK_HEAD, old->mem + BLOCK_HEAD, old->used - BLOCK_HEAD);
        memcpy(c->mem + c->size - dir, old->mem + old->size - dir, dir);
        c->used = old->used;
        c->n = old->n;
        c->flags = old->flags;
        c->last_seq = old->last_seq;
        c->min_ts = old->min_ts;
        c->max_ts = old->max_ts;
        c->live = old->live;
        s->chunks[s->chunk_head + i] = c;
        pin_init(&c->pin, PIN_CHUNK, s);
        drop_chunk(s, old);
    }
    struct block b = chunk_block(c);
    const char *p = block_record(&b, seq, &room);
    if (p)
        record_blank(c->mem + (p - c->mem), s->sid, seq);
    if (!s->memory)
        stream_seal(s, c);
}

static bool may_go(const struct stream *s, const struct chunk *c)
{
    return c->sealed && !c->borrowed && (s->memory ? !c->live : c->stored);
}

/* All that are dead, behind others that live. */
static void release_between(struct stream *s)
{
    size_t to = s->chunk_head;
    for (size_t i = s->chunk_head; i < s->chunk_end; i++) {
        if (may_go(s, s->chunks[i]))
            chunk_free(s->st->pool, s->chunks[i]);
        else
            s->chunks[to++] = s->chunks[i];
    }
    s->chunk_end = to;
    s->dead_chunks = 0;
}

/* In a memory stream an old message may live for ever; those behind it need not wait for it. */
void stream_release_chunks(struct stream *s)
{
    while (s->chunk_head < s->chunk_end && may_go(s, s->chunks[s->chunk_head])) {
        chunk_free(s->st->pool, s->chunks[s->chunk_head++]);
        s->dead_chunks -= s->dead_chunks > 0;
    }
    if (s->memory && s->dead_chunks > stream_chunks(s) / 2)
        release_between(s);
}

size_t stream_find_chunk(const struct stream *s, uint64_t seq)
{
    size_t lo = s->chunk_head, hi = s->chunk_end;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->chunks[mid]->last_seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - s->chunk_head;
}

/* --- holes ----------------------------------------------------------------------------------- */

/* Every number lives or is a hole; else a row is missing, and the dead would walk. */
static bool holes_add_up(struct stream *s)
{
    uint64_t end = s->now.last_seq + 1;
    uint64_t dead =
        holes_count_from(&s->holes, s->now.first_seq) - holes_count_from(&s->holes, end);
    return s->now.msgs == end - s->now.first_seq - dead;
}

void stream_load_holes(struct stream *s)
{
    if (s->holes_loaded || s->memory)
        return;
    s->holes_loaded = true;
    struct txn *view = view_open(s->st->db);
    if (!view)
        return;
    struct key from;
    struct walk w;
    /* The index, catching up, asks which of the trimmed ones were holes before. */
    key_hole(&from, s->sid, stream_blocks_floor(s) / HOLE_PAGE);
    uint64_t page;
    bool on = walk_seek_back(&w, view, DB_HOLES, key_slice(&from)); /* a run may begin before */
    if (!on || !key_is_hole(w.key, s->sid, &page)) {
        walk_end(&w);
        on = walk_seek(&w, view, DB_HOLES, key_slice(&from));
    }
    bool sound = true;
    struct buf copy = BUF_INIT;
    for (; on && key_is_hole(w.key, s->sid, &page); on = walk_next(&w))
        sound &= holes_row_load(&s->holes, s->sid, page, w.value) == 0 ||
                 (salvage_row(w.value, holes_row_place(s->sid, page), &copy) &&
                  holes_row_load(&s->holes, s->sid, page, buf_slice(&copy)) == 0);
    walk_end(&w);
    if (copy.len && sound)
        log_warn("Stream '%.*s': the list of deleted messages has a wrong bit: put right",
                 SLICE_FMT(s->spec.name));
    buf_release(&copy);
    view_close(s->st->db);
    if (!sound || !holes_add_up(s))
        store_trouble(s->st, E_CORRUPT, "which messages were deleted");
}

bool stream_live_now(struct stream *s, uint64_t seq)
{
    if (seq < s->now.first_seq || seq > s->now.last_seq)
        return false;
    if (!s->holes_loaded)
        stream_load_holes(s);
    return !s->holes.n || !holes_test(&s->holes, seq);
}

bool stream_live_shown(struct stream *s, uint64_t seq)
{
    if (seq < s->shown.first_seq || seq > s->shown.last_seq)
        return false;
    if (!s->holes_loaded)
        stream_load_holes(s);
    return !s->holes.n || !holes_test(&s->holes, seq) ||
           (s->undone.n && holes_test(&s->undone, seq));
}

static void holes_changed(struct stream *s)
{
    if (!s->memory)
        pin_hold(&s->st->pins, &s->holes_pin, s->st->gather->n, s->st->journal_at);
}

void stream_skip_numbers(struct stream *s, uint64_t first, uint64_t last)
{
    if (first > last)
        return;
    holes_set_range(&s->holes, first, last);
    if (!s->memory)
        op_hole(stream_batch(s), s->sid, first, last);
    holes_changed(s);
}

void stream_know_last_id(struct stream *s)
{
    struct reader r;
    struct record rec;
    if (s->last_id_known)
        return;
    s->last_id_known = true;
    reader_init(&r, s);
    if (s->now.last_seq && reader_get(&r, s->now.last_seq, true, &rec) == 0)
        buf_add_slice(&s->last_id, rec.msg_id);
    reader_end(&r);
}

/* --- removal --------------------------------------------------------------------------------- */

uint64_t stream_account(const struct stream *s, const struct record *r)
{
    return record_account(r->subject.n, r->hdr.n, r->payload.n, s->memory);
}

static void note_live(struct stream *s, uint64_t seq)
{
    size_t i = s->memory ? stream_find_chunk(s, seq) : stream_chunks(s);
    if (i < stream_chunks(s) && stream_chunk(s, i)->first_seq <= seq)
        s->dead_chunks += --stream_chunk(s, i)->live == 0;
}

static void counted_out(struct stream *s, uint64_t bytes)
{
    s->now.msgs -= s->now.msgs > 0;
    s->now.bytes -= bytes < s->now.bytes ? bytes : s->now.bytes;
    s->freed += bytes;
    store_account(s, -(int64_t)bytes);
}

static struct removed *note_removed(struct stream *s, uint64_t seq, struct slice subject)
{
    struct removed *r = batch_removed(stream_batch(s), s, seq, subject);
    r->purged = s->purging;
    return r;
}

/* The number leaves: by moving the head, or as a hole. */
static void number_out(struct stream *s, uint64_t seq, struct slice subject, bool head)
{
    struct batch *b = stream_batch(s);
    bool looked = !list_empty(&s->jobs);
    bool told = looked || s->watch;
    bool news = looked || (s->watch && s->watch->want_removed_subjects);
    struct removed *r = NULL;
    note_live(s, seq);
    if (head) {
        s->now.first_seq = seq + 1;
        s->first_ts_stale = true;
        struct removed *last = b->nremoved ? &b->removed[b->nremoved - 1] : NULL;
        if (told && !news && last && last->stream == s && last->last + 1 == seq &&
            last->purged == s->purging)
            last->last = seq;
        else if (told)
            r = note_removed(s, seq, news ? subject : (struct slice){0});
        if (r && !news)
            r->last = seq;
        return;
    }
    holes_set(&s->holes, seq);
    holes_set(&s->undone, seq);
    holes_changed(s);
    r = note_removed(s, seq, news ? subject : (struct slice){0});
    r->hole = true;
}

static void drop_of_size(struct stream *s, uint64_t seq, const struct record *r, uint64_t bytes,
                         bool head)
{
    counted_out(s, bytes);
    s->holed += head ? 0 : bytes;
    struct slice subject = r ? r->subject : (struct slice){0};
    if (!s->memory && !head)
        op_delete(stream_batch(s), s->sid, seq, subject);
    if (r)
        index_remove(s, subject, seq);
    number_out(s, seq, subject, head);
    if (seq <= s->now.first_seq)
        stream_settle_first(s);
}

static void drop(struct stream *s, uint64_t seq, const struct record *r, bool head)
{
    drop_of_size(s, seq, r, stream_account(s, r), head);
}

void stream_drop(struct stream *s, uint64_t seq, const struct record *r)
{
    drop(s, seq, r, seq == s->now.first_seq);
}

void stream_drop_marked(struct stream *s, uint64_t seq, const struct record *r)
{
    drop(s, seq, r, false);
    s->first_ts_stale = true;
}

/* With a subject the journal has to tell it, for after a crash nobody can ask the record. */
void stream_drop_lost(struct stream *s, uint64_t seq, struct slice subject)
{
    struct buf copy = BUF_INIT; /* the subject may be the index entry's own text, which goes */
    struct record rec = {0};
    buf_add_slice(&copy, subject);
    rec.subject = buf_slice(&copy);
    if (subject.n)
        drop_of_size(s, seq, &rec, 0, s->memory && seq == s->now.first_seq);
    else
        drop_of_size(s, seq, NULL, 0, seq == s->now.first_seq);
    s->first_ts_stale |= seq <= s->now.first_seq;
    buf_release(&copy);
}

void stream_drop_any(struct stream *s, struct reader *r, uint64_t seq, uint32_t *looks)
{
    struct record rec = {.len = 0};
    if (reader_know(r, seq, &rec) == 0)
        stream_drop(s, seq, &rec);
    else
        stream_drop_lost(s, seq, (struct slice){0});
    reader_spend(looks, &rec);
}

void stream_settle_first(struct stream *s)
{
    stream_load_holes(s);
    if (!s->now.msgs) {
        s->now.first_seq = s->now.last_seq + 1;
        s->now.first_ts = 0;
        s->first_ts_stale = false;
        return;
    }
    if (s->holes.n)
        s->now.first_seq = holes_next_live(&s->holes, s->now.first_seq);
}

void stream_clear(struct stream *s, uint64_t next)
{
    (void)stream_batch(s);
    if ((s->watch || !list_empty(&s->jobs)) && s->now.msgs)
        note_removed(s, s->now.first_seq, (struct slice){0})->last = s->now.last_seq;
    s->freed += s->now.bytes;
    store_account(s, -(int64_t)s->now.bytes);
    index_clear(s);
    s->now.msgs = s->now.bytes = 0;
    s->now.last_seq = next - 1;
    s->now.first_seq = next;
    s->now.first_ts = 0;
    s->now.purge_floor = next;
    s->first_ts_stale = false;
    s->holed = 0;
    if (s->memory)
        drop_chunks(s);
}

void stream_clear_below(struct stream *s, uint64_t seq, struct slice subject)
{
    struct state was = s->now;
    struct reader r;
    struct record rec;
    uint64_t bytes = 0;
    reader_init(&r, s);
    if (reader_get(&r, seq, true, &rec) == 0)
        bytes = stream_account(s, &rec);
    reader_end(&r);
    if (was.msgs <= 1)
        return;
    (void)stream_batch(s);
    if (s->watch || !list_empty(&s->jobs))
        note_removed(s, was.first_seq, (struct slice){0})->last = seq - 1;
    s->freed += was.bytes - bytes;
    store_account(s, (int64_t)bytes - (int64_t)was.bytes);
    /* A row is left by every other subject, also by one that had just emptied and has not told the
     * file. */
    bool rows = was.num_subjects > 1 || s->index.ndirty > 1;
    index_clear(s);
    s->now.msgs = 1;
    s->now.bytes = bytes;
    s->now.first_seq = seq;
    s->now.first_ts = was.last_ts;
    s->now.purge_floor = seq;
    s->first_ts_stale = false;
    s->holed = 0;
    if (rows)
        reclaim_below(s);
    (void)index_add(s, subject, seq);
    if (s->memory)
        for (size_t i = 0; i + 1 < stream_chunks(s); i++)
            stream_chunk(s, i)->live = 0;
}

uint64_t stream_blocks_floor(const struct stream *s)
{
    const struct index *x = &s->index;
    uint64_t rows = x->w_first > s->now.purge_floor ? x->w_first : s->now.purge_floor;
    return rows < s->now.first_seq ? rows : s->now.first_seq;
}

void stream_give_blocks_back(struct stream *s)
{
    if (s->memory) {
        stream_release_chunks(s);
        holes_drop_below(&s->holes, s->shown.first_seq);
        return;
    }
    uint64_t below = stream_blocks_floor(s);
    bool news = s->freed >= BLOCK_SIZE && below > s->asked_below;
    bool rest = s->reclaiming && s->asked_batch != s->st->gather->n;
    if (!news && !rest)
        return;
    s->freed = 0;
    s->asked_below = below;
    s->asked_batch = s->st->gather->n;
    change_trim(stream_batch(s), s->sid, below, BLOCKS_A_COMMIT);
    reclaim_blocks(s); /* until none is left */
    if (s->shown.first_seq >= below)
        holes_drop_below(&s->holes, below);
}
