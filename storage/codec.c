/* storage/codec.c -- see codec.h for the drawings
 *
 * Pure functions. Everything that comes from the disk is looked at as if a stranger had written it:
 * lengths first, checksum second, content third.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/codec.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "storage/storage.h"

enum { ROW_VERSION = 1 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are written as they lie in memory");

/* --- records --------------------------------------------------------------------------------- */

static bool inside(struct slice a, struct slice outer)
{
    return outer.n && a.p >= outer.p && a.p + a.n <= outer.p + outer.n;
}

size_t record_size(struct record *r)
{
    size_t n = RECORD_HEAD + r->subject.n + r->hdr.n + r->payload.n;
    r->flags &= ~(unsigned)(RECF_ID | RECF_ID_TAIL);
    if (r->msg_id.n) {
        r->flags |= RECF_ID;
        n += RECORD_ID_HEAD;
        if (!inside(r->msg_id, r->hdr)) {
            r->flags |= RECF_ID_TAIL;
            n += r->msg_id.n;
        }
    }
    return n;
}

uint32_t record_checksum(const char *p, uint32_t sid, uint64_t seq)
{
    char place[16];
    uint32_t len = rd32(p);
    le32(place, sid);
    le64(place + 4, seq);
    le32(place + 12, len);
    return crc32c(crc32c(0, place, sizeof place), p + 8, len - 8);
}

static char *copy(char *to, struct slice s)
{
    if (s.n)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

void record_write(char *to, uint32_t sid, uint64_t seq, const struct record *r)
{
    char *at = to + RECORD_HEAD;
    le32(to + 8, (uint32_t)r->hdr.n);
    le64(to + 12, (uint64_t)r->ts);
    le16(to + 20, (unsigned)r->subject.n);
    le16(to + 22, r->flags);
    char *ext = at;
    if (r->flags & RECF_ID)
        at += RECORD_ID_HEAD;
    at = copy(at, r->subject);
    char *hdr = at;
    at = copy(at, r->hdr);
    at = copy(at, r->payload);
    if (r->flags & RECF_ID) {
        const char *id = at;
        if (r->flags & RECF_ID_TAIL)
            at = copy(at, r->msg_id);
        else
            id = hdr + (r->msg_id.p - r->hdr.p);
        le32(ext, (uint32_t)(id - to));
        le16(ext + 4, (unsigned)r->msg_id.n);
        le16(ext + 6, 0);
    }
    uint32_t len = (uint32_t)(at - to);
    le32(to, len);
    le32(to + 4, record_checksum(to, sid, seq));
}

int record_read(const char *p, size_t room, struct record *r)
{
    if (room < RECORD_HEAD)
        return E_CORRUPT;
    uint64_t len = rd32(p), hdr = rd32(p + 8);
    unsigned subj = rd16(p + 20), flags = rd16(p + 22);
    uint64_t fixed = RECORD_HEAD + subj + hdr;
    uint64_t id_at = 0, id_n = 0;
    if (len > room)
        return E_CORRUPT;
    if (flags & RECF_ID) {
        fixed += RECORD_ID_HEAD;
        if (len < RECORD_HEAD + RECORD_ID_HEAD)
            return E_CORRUPT;
        id_at = rd32(p + RECORD_HEAD);
        id_n = rd16(p + RECORD_HEAD + 4);
        if (id_at + id_n > len)
            return E_CORRUPT;
        if (flags & RECF_ID_TAIL)
            fixed += id_n;
    }
    if (fixed > len)
        return E_CORRUPT;
    const char *at = p + RECORD_HEAD + ((flags & RECF_ID) ? RECORD_ID_HEAD : 0);
    r->subject = slice_of(at, subj);
    r->hdr = slice_of(at + subj, hdr);
    r->payload = slice_of(at + subj + hdr, (size_t)(len - fixed));
    r->msg_id = slice_of(p + id_at, (size_t)id_n);
    r->ts = (int64_t)rd64(p + 12);
    r->flags = flags;
    r->len = (uint32_t)len;
    return 0;
}

bool record_sound(const char *p, uint32_t sid, uint64_t seq)
{
    return rd32(p + 4) == record_checksum(p, sid, seq);
}

void record_blank(char *p, uint32_t sid, uint64_t seq)
{
    uint32_t len = rd32(p);
    memset(p + RECORD_HEAD, 0, len - RECORD_HEAD);
    le32(p + 8, 0);
    le16(p + 20, 0);
    le16(p + 22, RECF_SKIP);
    le32(p + 4, record_checksum(p, sid, seq));
}

uint64_t record_account(size_t subject, size_t hdr, size_t payload, bool memory)
{
    if (memory)
        return subject + hdr + payload + 16;
    return 30 + subject + payload + (hdr ? 4 + hdr : 0);
}

/* --- blocks ---------------------------------------------------------------------------------- */

static size_t dir_size(uint32_t n, unsigned flags)
{
    return (size_t)n * ((flags & BLOCK_SPARSE) ? 8 : 4);
}

static uint32_t block_crc(const char *head, uint32_t sid, uint64_t first_seq, struct slice dir)
{
    char place[12];
    le32(place, sid);
    le64(place + 4, first_seq);
    uint32_t c = crc32c(0, place, sizeof place);
    c = crc32c(c, head, 12);
    c = crc32c(c, head + 16, BLOCK_HEAD - 16);
    return dir.n ? crc32c(c, dir.p, dir.n) : c;
}

void block_head_write(char *head, const struct block *b, uint32_t sid, const char *dir_end)
{
    size_t dir = dir_size(b->n, b->flags);
    head[0] = BLOCK_VERSION;
    head[1] = (char)b->flags;
    le16(head + 2, 0);
    le32(head + 4, b->n);
    le32(head + 8, b->used);
    le64(head + 16, b->last_seq);
    le64(head + 24, (uint64_t)b->min_ts);
    le64(head + 32, (uint64_t)b->max_ts);
    le32(head + 12, block_crc(head, sid, b->first_seq, slice_of(dir_end - dir, dir)));
}

int block_peek(struct slice value, uint64_t first_seq, struct block *b)
{
    if (value.n < BLOCK_HEAD)
        return E_CORRUPT;
    if (value.p[0] != BLOCK_VERSION)
        return E_VERSION;
    b->p = value.p;
    b->size = value.n;
    b->first_seq = first_seq;
    b->flags = (unsigned char)value.p[1];
    b->n = rd32(value.p + 4);
    b->used = rd32(value.p + 8);
    b->last_seq = rd64(value.p + 16);
    b->min_ts = (int64_t)rd64(value.p + 24);
    b->max_ts = (int64_t)rd64(value.p + 32);
    return b->last_seq >= first_seq && b->last_seq <= SEQ_MAX && b->used >= BLOCK_HEAD ? 0
                                                                                       : E_CORRUPT;
}

int block_read(struct slice value, uint32_t sid, uint64_t first_seq, struct block *b)
{
    int err = block_peek(value, first_seq, b);
    if (err)
        return err;
    size_t dir = dir_size(b->n, b->flags);
    if (b->used > value.n || dir > value.n - b->used)
        return E_CORRUPT;
    if (!(b->flags & BLOCK_SPARSE) && b->last_seq - first_seq + 1 != b->n)
        return E_CORRUPT;
    if (rd32(value.p + 12) !=
        block_crc(value.p, sid, first_seq, slice_of(value.p + value.n - dir, dir)))
        return E_CORRUPT;
    return 0;
}

/* The first directory entry whose number is >= delta. */
static uint32_t sparse_find(const struct block *b, uint64_t delta)
{
    uint32_t lo = 0, hi = b->n;
    const char *end = b->p + b->size;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (rd32(end - 8 * ((size_t)mid + 1)) < delta)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const char *block_record(const struct block *b, uint64_t seq, size_t *room)
{
    if (seq < b->first_seq || seq > b->last_seq)
        return NULL;
    const char *end = b->p + b->size;
    uint32_t off = 0;
    if (b->flags & BLOCK_SPARSE) {
        uint32_t i = sparse_find(b, seq - b->first_seq);
        const char *e = end - 8 * ((size_t)i + 1);
        if (i < b->n && rd32(e) == seq - b->first_seq)
            off = rd32(e + 4);
    } else {
        off = rd32(end - 4 * (size_t)(seq - b->first_seq + 1));
    }
    if (off < BLOCK_HEAD || off >= b->used)
        return NULL;
    *room = b->used - off;
    return b->p + off;
}

uint64_t block_next(const struct block *b, uint64_t seq)
{
    const char *end = b->p + b->size;
    if (seq < b->first_seq)
        seq = b->first_seq;
    if (b->flags & BLOCK_SPARSE) {
        uint32_t i = sparse_find(b, seq - b->first_seq);
        uint64_t at = i < b->n ? b->first_seq + rd32(end - 8 * ((size_t)i + 1)) : 0;
        return at >= seq ? at : 0; /* a directory out of order must not lead back */
    }
    for (; seq <= b->last_seq; seq++)
        if (rd32(end - 4 * (size_t)(seq - b->first_seq + 1)))
            return seq;
    return 0;
}

uint64_t block_prev(const struct block *b, uint64_t seq)
{
    const char *end = b->p + b->size;
    if (seq > b->last_seq)
        seq = b->last_seq;
    if (seq < b->first_seq)
        return 0;
    if (b->flags & BLOCK_SPARSE) {
        uint32_t i = sparse_find(b, seq - b->first_seq + 1);
        uint64_t at = i ? b->first_seq + rd32(end - 8 * (size_t)i) : 0;
        return at <= seq ? at : 0;
    }
    for (; seq >= b->first_seq && seq; seq--)
        if (rd32(end - 4 * (size_t)(seq - b->first_seq + 1)))
            return seq;
    return 0;
}

/* --- states and rows ------------------------------------------------------------------------- */

void state_write(char *to, const struct state *st)
{
    le64(to, st->msgs);
    le64(to + 8, st->bytes);
    le64(to + 16, st->first_seq);
    le64(to + 24, st->last_seq);
    le64(to + 32, (uint64_t)st->first_ts);
    le64(to + 40, (uint64_t)st->last_ts);
    le64(to + 48, st->num_subjects);
    le64(to + 56, st->purge_floor);
}

void state_read(const char *from, struct state *st)
{
    st->msgs = rd64(from);
    st->bytes = rd64(from + 8);
    st->first_seq = rd64(from + 16);
    st->last_seq = rd64(from + 24);
    st->first_ts = (int64_t)rd64(from + 32);
    st->last_ts = (int64_t)rd64(from + 40);
    st->num_subjects = rd64(from + 48);
    st->purge_floor = rd64(from + 56);
}

bool state_plausible(const struct state *st)
{
    return st->last_seq <= SEQ_MAX && st->first_seq <= st->last_seq + 1 &&
           st->purge_floor <= st->last_seq + 1 && st->msgs <= st->last_seq + 1 - st->first_seq;
}

void state_row_add(struct buf *out, uint32_t sid, const struct state_row *r)
{
    size_t at = row_begin(out);
    state_write(buf_reserve(out, STATE_SIZE), &r->st);
    buf_commit(out, STATE_SIZE);
    add_u64(out, r->batch);
    add_u64(out, r->w_batch);
    add_u64(out, r->w_first);
    add_u64(out, r->w_last);
    if (r->holed)
        add_u64(out, r->holed);
    row_end(out, at, sid);
}

int state_row_read(struct slice v, uint32_t sid, struct state_row *r)
{
    struct take t;
    int err = row_open(v, sid, &t);
    if (err)
        return err;
    struct slice st = take_bytes(&t, STATE_SIZE);
    if (!t.ok)
        return E_CORRUPT;
    state_read(st.p, &r->st);
    r->batch = take_u64(&t);
    r->w_batch = take_u64(&t);
    r->w_first = take_u64(&t);
    r->w_last = take_u64(&t);
    r->holed = t.rest.n ? take_u64(&t) : 0; /* most rows end before it */
    return t.ok && state_plausible(&r->st) ? 0 : E_CORRUPT;
}

/* A subject's row is mostly small differences. They wrap, so any value can be written. Rows of the
 * first version of Frond lack the flag and have their fields in full. */
enum { ROW_PACKED = 0x80, VAR_MOST = 10, PACKED_FIELDS = 6 };

/* Seven bits a byte, the lowest first; the last byte has no high bit. */
static char *put_var(char *to, uint64_t v)
{
    for (; v > 127; v >>= 7)
        *to++ = (char)(v | 128);
    *to++ = (char)v;
    return to;
}

static uint64_t take_var(struct take *t)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = take_u8(t);
        v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128))
            return v;
    }
    t->ok = false;
    return 0;
}

static void take_packed(struct take *t, struct subject_row *r)
{
    r->first = take_var(t);
    r->last = r->first + take_var(t);
    r->count = take_var(t);
    r->upto = r->last + take_var(t);
    r->floor = r->upto - take_var(t);
    r->batch = take_var(t);
}

static void take_full(struct take *t, struct subject_row *r)
{
    r->first = take_u64(t);
    r->last = take_u64(t);
    r->count = take_u64(t);
    r->upto = take_u64(t);
    r->floor = take_u64(t);
    r->batch = take_u64(t);
}

void subject_row_add(struct buf *out, struct slice key, const struct subject_row *r)
{
    size_t at = row_begin(out);
    char *begin = buf_reserve(out, 1 + PACKED_FIELDS * VAR_MOST), *p = begin;
    *p++ = (char)(r->flags | ROW_PACKED);
    p = put_var(p, r->first);
    p = put_var(p, r->last - r->first);
    p = put_var(p, r->count);
    p = put_var(p, r->upto - r->last);
    p = put_var(p, r->upto - r->floor);
    p = put_var(p, r->batch);
    buf_commit(out, (size_t)(p - begin));
    buf_add_slice(out, r->subject);
    row_end(out, at, crc32c(0, key.p, key.n));
}

int subject_row_read(struct slice v, struct slice key, struct subject_row *r)
{
    struct take t;
    int err = row_open(v, crc32c(0, key.p, key.n), &t);
    if (err)
        return err;
    unsigned flags = take_u8(&t);
    r->flags = flags & ~(unsigned)ROW_PACKED;
    if (flags & ROW_PACKED)
        take_packed(&t, r);
    else
        take_full(&t, r);
    r->subject = t.rest;
    return t.ok ? 0 : E_CORRUPT;
}

/* --- small steps ----------------------------------------------------------------------------- */

struct slice take_bytes(struct take *t, size_t n)
{
    if (!t->ok || n > t->rest.n) {
        t->ok = false;
        return (struct slice){0};
    }
    struct slice s = {t->rest.p, n};
    t->rest = slice_skip(t->rest, n);
    return s;
}

uint8_t take_u8(struct take *t)
{
    struct slice s = take_bytes(t, 1);
    return t->ok ? (uint8_t)s.p[0] : 0;
}

unsigned take_u16(struct take *t)
{
    struct slice s = take_bytes(t, 2);
    return t->ok ? rd16(s.p) : 0;
}

uint32_t take_u32(struct take *t)
{
    struct slice s = take_bytes(t, 4);
    return t->ok ? rd32(s.p) : 0;
}

uint64_t take_u64(struct take *t)
{
    struct slice s = take_bytes(t, 8);
    return t->ok ? rd64(s.p) : 0;
}

struct slice take_str(struct take *t)
{
    return take_bytes(t, take_u32(t));
}

void add_u8(struct buf *b, unsigned v)
{
    buf_add_char(b, (char)v);
}

void add_u16(struct buf *b, unsigned v)
{
    le16(buf_reserve(b, 2), v);
    buf_commit(b, 2);
}

void add_u32(struct buf *b, uint32_t v)
{
    le32(buf_reserve(b, 4), v);
    buf_commit(b, 4);
}

void add_u64(struct buf *b, uint64_t v)
{
    le64(buf_reserve(b, 8), v);
    buf_commit(b, 8);
}

void add_str(struct buf *b, struct slice s)
{
    add_u32(b, (uint32_t)s.n);
    buf_add_slice(b, s);
}

size_t row_begin(struct buf *out)
{
    size_t at = out->len;
    add_u32(out, 0);
    add_u8(out, ROW_VERSION);
    return at;
}

uint32_t row_checksum(struct slice v, uint32_t sid)
{
    char place[4];
    le32(place, sid);
    return crc32c(crc32c(0, place, sizeof place), v.p + 4, v.n - 4);
}

void row_end(struct buf *out, size_t at, uint32_t sid)
{
    char *p = out->data + out->start + at;
    le32(p, row_checksum(slice_of(p, out->len - at), sid));
}

int row_open(struct slice v, uint32_t sid, struct take *t)
{
    if (v.n < 5 || rd32(v.p) != row_checksum(v, sid))
        return E_CORRUPT;
    if (v.p[4] != ROW_VERSION)
        return E_VERSION;
    *t = take_of(slice_skip(v, 5));
    return 0;
}
