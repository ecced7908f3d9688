/* storage/cursor.c -- see cursor.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/cursor.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/store.h"

static const int64_t LAG = 50 * NS_PER_MS;

static void set_spec(struct cursor *c, const struct cursor_spec *spec)
{
    char *mem = xmalloc(spec->name.n + spec->config.n + 1);
    struct cursor_spec mine = *spec;
    if (spec->name.n)
        memcpy(mem, spec->name.p, spec->name.n);
    if (spec->config.n)
        memcpy(mem + spec->name.n, spec->config.p, spec->config.n);
    mine.name.p = mem;
    mine.config.p = mem + spec->name.n;
    free(c->spec_mem);
    c->spec = mine;
    c->spec_mem = mem;
}

static struct cursor *cursor_new(struct stream *s, uint32_t cid, const struct cursor_spec *spec)
{
    struct cursor *c = xcalloc(1, sizeof *c);
    c->s = s;
    c->cid = cid;
    if (cid >= s->next_cid)
        s->next_cid = cid + 1;
    set_spec(c, spec);
    c->spec.memory |= s->memory;
    list_init(&c->dirty);
    pin_init(&c->pin, PIN_CURSOR, c);
    list_push_back(&s->cursors, &c->link);
    return c;
}

static void cursor_free(struct cursor *c)
{
    list_unlink(&c->link);
    list_unlink(&c->dirty);
    pin_clear(&c->pin);
    buf_release(&c->snapshot);
    buf_release(&c->deltas);
    free(c->spec_mem);
    free(c);
}

static struct batch *batch_of(const struct cursor *c)
{
    struct store *st = c->s->st;
    return c->spec.memory ? st->mem : st->gather;
}

static void soil(struct cursor *c)
{
    if (c->spec.memory || !list_empty(&c->dirty))
        return;
    list_push_back(&c->s->st->dirty_cursors, &c->dirty);
    c->lag = 0;
}

static void answer_with_batch(struct cursor *c, store_done_fn *done, void *arg)
{
    struct batch *b = batch_of(c);
    struct waiter *w = batch_wait(b, WAIT_DONE, arg);
    w->fn.done = done;
    b->nops++;
    b->writes = true;
    store_wake(c->s->st);
}

/* --- writing --------------------------------------------------------------------------------- */

static bool attached(const struct cursor *c)
{
    return c->src.snapshot != NULL;
}

void cursor_write(struct cursor *c)
{
    struct batch *b = c->s->st->gather;
    struct buf snapshot = BUF_INIT;
    struct key k;
    size_t at, row;
    if (attached(c))
        c->src.snapshot(c->src.arg, &snapshot);
    key_cursor(&k, c->s->sid, c->cid);
    struct buf *out = change_put_begin(b, DB_CURSORS, &k, &at);
    row = row_begin(out);
    add_str(out, c->spec.name);
    add_str(out, c->spec.config);
    add_u64(out, (uint64_t)c->spec.created);
    add_u64(out, b->n);
    add_str(out, attached(c) ? buf_slice(&snapshot) : buf_slice(&c->snapshot));
    add_str(out, buf_slice(&c->deltas));
    row_end(out, row, c->s->sid);
    change_put_end(b, at);
    b->bytes += snapshot.len;
    buf_release(&snapshot);
    c->write = false;
    c->written = b->n;
    pin_clear(&c->pin);
}

static void gather_one(struct cursor *c)
{
    struct store *st = c->s->st;
    list_unlink(&c->dirty);
    if (c->write || c->written == st->gather->n) {
        cursor_write(c);
        return;
    }
    struct buf delta = BUF_INIT;
    if (c->src.delta)
        c->src.delta(c->src.arg, &delta);
    if (delta.len) {
        op_cursor(st->gather, c->s->sid, c->cid, buf_slice(&delta));
        pin_hold(&st->pins, &c->pin, st->gather->n, st->journal_at);
    }
    buf_release(&delta);
}

void cursors_gather(struct store *st)
{
    struct list *e;
    struct list now;
    list_init(&now);
    list_splice(&now, &st->dirty_cursors);
    while ((e = list_pop(&now)))
        gather_one(LIST_ENTRY(e, struct cursor, dirty));
}

/* --- the door -------------------------------------------------------------------------------- */

static struct cursor *find(struct stream *s, struct slice name)
{
    LIST_EACH(e, &s->cursors)
    {
        struct cursor *c = LIST_ENTRY(e, struct cursor, link);
        if (slice_eq(c->spec.name, name))
            return c;
    }
    return NULL;
}

static int may_change(const struct stream *s)
{
    if (s->life != STREAM_LIVE || s->st->closing)
        return E_CLOSED;
    return !s->memory && (s->st->stats.read_only || s->st->failed) ? E_READONLY : 0;
}

int store_cursor_create(struct stream *s, const struct cursor_spec *spec,
                        const struct cursor_source *src, store_done_fn *done, void *arg,
                        struct cursor **out)
{
    int err = may_change(s);
    if (err)
        return err;
    if (find(s, spec->name))
        return E_EXISTS;
    struct cursor *c = cursor_new(s, s->next_cid, spec);
    if (src)
        c->src = *src;
    c->write = true;
    soil(c);
    answer_with_batch(c, done, arg);
    *out = c;
    return 0;
}

int store_cursor_update(struct cursor *c, struct slice config, store_done_fn *done, void *arg)
{
    int err = may_change(c->s);
    if (err)
        return err;
    struct cursor_spec spec = c->spec;
    spec.config = config;
    set_spec(c, &spec);
    c->write = true;
    soil(c);
    answer_with_batch(c, done, arg);
    return 0;
}

int store_cursor_delete(struct cursor *c, store_done_fn *done, void *arg)
{
    int err = may_change(c->s);
    if (err)
        return err;
    if (!c->spec.memory) {
        struct key k;
        key_cursor(&k, c->s->sid, c->cid);
        change_del(c->s->st->gather, DB_CURSORS, &k);
    }
    answer_with_batch(c, done, arg);
    cursor_free(c);
    return 0;
}

void store_cursor_dirty_within(struct cursor *c, int64_t ns)
{
    if (c->spec.memory || (!list_empty(&c->dirty) && c->lag <= ns))
        return;
    soil(c);
    c->lag = ns;
    store_lazy_by(c->s->st, clock_mono() + ns);
}

void store_cursor_dirty(struct cursor *c)
{
    store_cursor_dirty_within(c, LAG);
}

int store_cursor_sync(struct cursor *c, store_done_fn *done, void *arg)
{
    int err = may_change(c->s);
    if (err)
        return err;
    soil(c);
    answer_with_batch(c, done, arg);
    return 0;
}

struct cursor *store_cursor_next(struct stream *s, size_t *pos)
{
    size_t i = 0;
    LIST_EACH(e, &s->cursors)
    {
        if (i++ == *pos) {
            ++*pos;
            return LIST_ENTRY(e, struct cursor, link);
        }
    }
    return NULL;
}

const struct cursor_spec *store_cursor_spec(const struct cursor *c)
{
    return &c->spec;
}

void store_cursor_set_owner(struct cursor *c, void *owner)
{
    c->owner = owner;
}

void *store_cursor_owner(const struct cursor *c)
{
    return c->owner;
}

int store_cursor_attach(struct cursor *c, const struct cursor_source *src, cursor_load_fn *load,
                        void *arg)
{
    int err = load(arg, true, buf_slice(&c->snapshot));
    struct take t = take_of(buf_slice(&c->deltas));
    while (!err && t.rest.n) {
        struct slice delta = take_str(&t);
        err = t.ok ? load(arg, false, delta) : E_CORRUPT;
    }
    if (err)
        return err;
    c->src = *src;
    buf_release(&c->snapshot);
    buf_release(&c->deltas);
    return 0;
}

void store_cursor_detach(struct cursor *c)
{
    if (!attached(c))
        return;
    buf_clear(&c->snapshot);
    buf_clear(&c->deltas);
    c->src.snapshot(c->src.arg, &c->snapshot);
    c->src = (struct cursor_source){0};
    if (!list_empty(&c->dirty))
        c->write = true; /* whole: there is nobody left to ask for the difference */
}

/* --- recovery -------------------------------------------------------------------------------- */

static struct cursor *by_cid(struct stream *s, uint32_t cid)
{
    LIST_EACH(e, &s->cursors)
    {
        struct cursor *c = LIST_ENTRY(e, struct cursor, link);
        if (c->cid == cid && (!c->spec.memory || s->memory))
            return c;
    }
    return NULL;
}

int cursor_load_row(struct stream *s, uint32_t cid, struct slice row, uint64_t *next)
{
    struct take t;
    int err = row_open(row, s->sid, &t);
    if (err)
        return err;
    struct cursor_spec spec = {.name = take_str(&t), .config = take_str(&t)};
    spec.created = (int64_t)take_u64(&t);
    uint64_t batch = take_u64(&t);
    struct slice snapshot = take_str(&t), deltas = take_str(&t);
    if (!t.ok)
        return E_CORRUPT;
    if (batch >= *next)
        *next = batch + 1;
    struct cursor *c = by_cid(s, cid);
    if (c)
        set_spec(c, &spec);
    else
        c = cursor_new(s, cid, &spec);
    c->lost = false;
    c->pin.batch = batch; /* what the row has; the journal's later deltas come next */
    buf_clear(&c->snapshot);
    buf_add_slice(&c->snapshot, snapshot);
    buf_clear(&c->deltas);
    buf_add_slice(&c->deltas, deltas);
    return 0;
}

void cursor_load_delta(struct stream *s, uint32_t cid, uint64_t batch, struct slice delta)
{
    struct cursor *c = by_cid(s, cid);
    if (!c || c->lost || (!pin_is_set(&c->pin) && batch <= c->pin.batch))
        return;
    add_str(&c->deltas, delta);
    pin_hold(&s->st->pins, &c->pin, batch, s->st->journal_at);
}

void cursors_forget(struct stream *s)
{
    LIST_EACH(e, &s->cursors)
    {
        struct cursor *c = LIST_ENTRY(e, struct cursor, link);
        if (c->spec.memory)
            continue;
        c->lost = true;
        c->write = false;
        c->src = (struct cursor_source){0};
        list_unlink(&c->dirty);
        pin_clear(&c->pin);
        buf_release(&c->snapshot);
        buf_release(&c->deltas);
    }
}

void cursors_detach(struct stream *s)
{
    LIST_EACH(e, &s->cursors)
    {
        struct cursor *c = LIST_ENTRY(e, struct cursor, link);
        c->src = (struct cursor_source){0};
        c->write = false;
        list_unlink(&c->dirty);
        pin_clear(&c->pin);
    }
}

void cursors_free_lost(struct stream *s)
{
    LIST_EACH_SAFE(e, &s->cursors)
    {
        struct cursor *c = LIST_ENTRY(e, struct cursor, link);
        if (c->lost)
            cursor_free(c);
    }
}

void cursors_free(struct stream *s)
{
    LIST_EACH_SAFE(e, &s->cursors)
    cursor_free(LIST_ENTRY(e, struct cursor, link));
}
