/* jsapi/replicate.c -- the pullers of one stream, and where each of them stands; see replicate.h
 *
 * Positions as stored (snapshot and delta alike, a delta holds only what changed), again and again:
 *
 *     u16 n | index name, n bytes | u64 seq | u8 m | identity, m bytes            little-endian
 *
 * A later row of the same name replaces an earlier one. Rows of sources that were taken out stay,
 * so that one that is put back resumes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/replicate.h"

#include <endian.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "jsapi/puller.h"

struct position { /* of a source that is not configured (any more) */
    struct list link;
    struct slice name;         /* owned */
    uint64_t seq, durable_seq; /* the puller's (puller.h) */
    bool dirty;                /* a message of it is in the batch that gathers */
    char identity[64];
};

struct replicator {
    struct js_stream *stream;
    struct list pullers;   /* struct puller, in the order of the config */
    struct list parked;    /* struct position */
    struct cursor *cursor; /* NULL for a mirror: its own last number is its position */
};

/* --- positions ------------------------------------------------------------------------------- */

static void write_row(struct buf *out, struct slice name, uint64_t seq, const char *identity)
{
    uint16_t n = htole16((uint16_t)name.n);
    uint64_t s = htole64(seq);
    buf_add(out, &n, sizeof n);
    buf_add_slice(out, name);
    buf_add(out, &s, sizeof s);
    buf_add_char(out, (char)strlen(identity));
    buf_add_str(out, identity);
}

static void write_positions(struct replicator *r, struct buf *out, bool all)
{
    LIST_EACH(e, &r->pullers)
    {
        struct puller *p = LIST_ENTRY(e, struct puller, link);
        if (all || p->dirty)
            write_row(out, p->index_name, p->seq, p->identity);
        p->dirty = false;
    }
    LIST_EACH(e, &r->parked)
    {
        struct position *k = LIST_ENTRY(e, struct position, link);
        if (all || k->dirty)
            write_row(out, k->name, k->seq, k->identity);
        k->dirty = false;
    }
}

static void write_delta(void *arg, struct buf *out)
{
    write_positions(arg, out, false);
}

static void write_snapshot(void *arg, struct buf *out)
{
    write_positions(arg, out, true);
}

static struct position *park(struct replicator *r, struct slice name)
{
    LIST_EACH(e, &r->parked)
    {
        struct position *k = LIST_ENTRY(e, struct position, link);
        if (slice_eq(k->name, name))
            return k;
    }
    struct position *k = xcalloc(1, sizeof *k);
    k->name = slice_of(slice_dup(name), name.n);
    list_push_back(&r->parked, &k->link);
    return k;
}

static void unpark(struct position *k)
{
    list_unlink(&k->link);
    free((void *)(uintptr_t)k->name.p);
    free(k);
}

static int load_rows(void *arg, bool is_snapshot, struct slice bytes)
{
    struct replicator *r = arg;
    (void)is_snapshot;
    while (bytes.n) {
        uint16_t n;
        uint64_t seq;
        if (bytes.n < sizeof n)
            return E_CORRUPT;
        memcpy(&n, bytes.p, sizeof n);
        n = le16toh(n);
        bytes = slice_skip(bytes, sizeof n);
        if (bytes.n < (size_t)n + sizeof seq + 1)
            return E_CORRUPT;
        struct position *k = park(r, slice_head(bytes, n));
        memcpy(&seq, bytes.p + n, sizeof seq);
        k->seq = k->durable_seq = le64toh(seq);
        size_t m = (unsigned char)bytes.p[n + sizeof seq];
        bytes = slice_skip(bytes, n + sizeof seq + 1);
        if (bytes.n < m || m >= sizeof k->identity)
            return E_CORRUPT;
        memcpy(k->identity, bytes.p, m);
        k->identity[m] = '\0';
        bytes = slice_skip(bytes, m);
    }
    return E_OK;
}

static const struct cursor_source *source_of(struct replicator *r, struct cursor_source *out)
{
    *out = (struct cursor_source){.arg = r, .delta = write_delta, .snapshot = write_snapshot};
    return out;
}

/* Finds the stored positions, or makes a place for them. */
static void open_positions(struct replicator *r)
{
    struct cursor_source src;
    struct cursor *c;
    size_t pos = 0;
    int err;
    r->cursor = NULL;
    while ((c = store_cursor_next(r->stream->store, &pos)) != NULL) {
        if (!slice_is(store_cursor_spec(c)->name, REPLICATOR_CURSOR))
            continue;
        r->cursor = c;
        err = store_cursor_attach(c, source_of(r, &src), load_rows, r);
        if (err)
            log_error("JetStream stream '%.*s': positions of its sources can't be read: %s",
                      SLICE_FMT(r->stream->name), err_text(err));
        return;
    }
    struct cursor_spec spec = {.name = slice_cstr(REPLICATOR_CURSOR),
                               .created = clock_wall(),
                               .memory = r->stream->cfg.storage == STORE_MEMORY};
    err = store_cursor_create(r->stream->store, &spec, source_of(r, &src), NULL, NULL, &r->cursor);
    if (err)
        log_error("JetStream stream '%.*s': no place for the positions of its sources: %s",
                  SLICE_FMT(r->stream->name), err_text(err));
}

/* --- pullers --------------------------------------------------------------------------------- */

static void place(struct replicator *r, struct puller *p)
{
    p->positions = r->cursor;
    if (p->mirror) {
        p->seq = p->durable_seq = store_last_assigned(r->stream->store);
        return;
    }
    LIST_EACH_SAFE(e, &r->parked)
    {
        struct position *k = LIST_ENTRY(e, struct position, link);
        if (!slice_eq(k->name, p->index_name))
            continue;
        p->seq = k->seq;
        p->durable_seq = k->durable_seq;
        p->dirty = k->dirty;
        memcpy(p->identity, k->identity, sizeof p->identity);
        unpark(k);
    }
}

static void add_puller(struct replicator *r, const struct source_config *cfg, bool mirror)
{
    struct puller *p = puller_new(r->stream, cfg, mirror);
    list_push_back(&r->pullers, &p->link);
    place(r, p);
    puller_ask_in(p, 100 * NS_PER_MS); /* the origin may be being created right now */
}

static void remove_puller(struct replicator *r, struct puller *p, bool tell)
{
    if (!p->mirror) {
        struct position *k = park(r, p->index_name);
        k->seq = p->seq;
        k->durable_seq = p->durable_seq;
        k->dirty = p->dirty;
        memcpy(k->identity, p->identity, sizeof k->identity);
    }
    puller_free(p, tell);
}

/* Is there a puller of cfg? With keep, it moves there, and from where it would start is the new
 * config's word: that counts while nothing came. */
static bool has_puller(struct replicator *r, const struct source_config *cfg, bool mirror,
                       struct list *keep)
{
    LIST_EACH(e, &r->pullers)
    {
        struct puller *p = LIST_ENTRY(e, struct puller, link);
        if (!puller_serves(p, cfg, mirror))
            continue;
        if (keep) {
            p->cfg.opt_start_seq = cfg->opt_start_seq;
            p->cfg.opt_start_time = cfg->opt_start_time;
            list_unlink(e);
            list_push_back(keep, e);
        }
        return true;
    }
    return false;
}

/* Makes the pullers those of the config; returns whether there are any. */
static bool match_config(struct replicator *r)
{
    const struct stream_config *cfg = &r->stream->cfg;
    struct list keep = LIST_INIT(keep), fresh = LIST_INIT(fresh);
    size_t n = cfg->mirror ? 1 : cfg->sources.n;
    for (size_t i = 0; i < n; i++)
        (void)has_puller(r, cfg->mirror ? cfg->mirror : stream_source(cfg, i), cfg->mirror != NULL,
                         &keep);
    LIST_EACH_SAFE(e, &r->pullers)
    remove_puller(r, LIST_ENTRY(e, struct puller, link), true);
    list_splice(&r->pullers, &keep);
    for (size_t i = 0; i < n; i++) {
        const struct source_config *source = cfg->mirror ? cfg->mirror : stream_source(cfg, i);
        if (!has_puller(r, source, cfg->mirror != NULL, NULL))
            add_puller(r, source, cfg->mirror != NULL);
    }
    return n > 0;
}

/* --- the door -------------------------------------------------------------------------------- */

struct replicator *replicator_new(struct js_stream *s)
{
    if (!s->cfg.mirror && s->cfg.sources.n == 0)
        return NULL;
    struct replicator *r = xcalloc(1, sizeof *r);
    r->stream = s;
    list_init(&r->pullers);
    list_init(&r->parked);
    if (!s->cfg.mirror)
        open_positions(r);
    match_config(r);
    return r;
}

struct replicator *replicator_update(struct js_stream *s, struct replicator *r)
{
    if (!r)
        return replicator_new(s);
    if (s->cfg.sources.n && !r->cursor)
        open_positions(r);
    if (match_config(r) || r->cursor)
        return r; /* the positions stay: a source that is put back resumes */
    replicator_free(r, false);
    return NULL;
}

void replicator_free(struct replicator *r, bool deleted)
{
    if (!r)
        return;
    if (r->cursor)
        store_cursor_detach(r->cursor); /* the store may still ask it for the positions */
    LIST_EACH_SAFE(e, &r->pullers)
    puller_free(LIST_ENTRY(e, struct puller, link), deleted);
    LIST_EACH_SAFE(e, &r->parked)
    unpark(LIST_ENTRY(e, struct position, link));
    free(r);
}

void replicator_reopened(struct replicator *r)
{
    LIST_EACH_SAFE(e, &r->parked)
    unpark(LIST_ENTRY(e, struct position, link));
    if (!r->stream->cfg.mirror)
        open_positions(r);
    LIST_EACH(e, &r->pullers)
    {
        struct puller *p = LIST_ENTRY(e, struct puller, link);
        p->seq = p->durable_seq = 0;
        place(r, p);
        puller_ask_in(p, 0);
    }
}

void replicator_link(struct replicator *r, struct slice domain, bool up)
{
    if (!r)
        return;
    LIST_EACH(e, &r->pullers)
    puller_link(LIST_ENTRY(e, struct puller, link), domain, up);
}

void replicator_write_info(const struct replicator *r, struct json_out *out)
{
    if (!r || list_empty(&r->pullers))
        return;
    struct puller *first = LIST_ENTRY(r->pullers.next, struct puller, link);
    if (first->mirror) {
        puller_write_info(first, out, "mirror");
        return;
    }
    json_arr(out, "sources");
    LIST_EACH(e, &r->pullers)
    puller_write_info(LIST_ENTRY(e, struct puller, link), out, NULL);
    json_end(out);
}
