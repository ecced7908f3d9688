/* storage/salvage.c -- see salvage.h
 *
 * Where a record is expected there are three cases: it is there; the one after it begins where its
 * length says, give or take a bit, so only it is damaged; or its length is damaged beyond that, and
 * the next place where a checksum agrees is looked for, of a later number: a payload may hold what
 * looks like the record it is in. A checksum of 32 bits that agrees by chance needs a plausible
 * frame as well.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/salvage.h"

enum { AHEAD = 4096 };          /* how many numbers may be missing between two records */
#define CRC32C_POLY 0x82F63B78u /* reflected */

/* Is there a sound record of that number? */
static bool is_here(const struct salvage *x, size_t at, uint64_t seq, struct record *rec)
{
    return at < x->n && seq < x->limit && record_read(x->p + at, x->n - at, rec) == 0 &&
           record_sound(x->p + at, x->sid, seq);
}

/* The number of the sound record there, when some are missing before it; else 0. */
static uint64_t after_gap(const struct salvage *x, struct record *rec)
{
    const char *p = x->p + x->at;
    if (record_read(p, x->n - x->at, rec))
        return 0;
    uint64_t end = x->limit - x->seq > AHEAD ? x->seq + AHEAD : x->limit;
    for (uint64_t seq = x->seq; seq < end; seq++)
        if (record_sound(p, x->sid, seq))
            return seq;
    return 0;
}

/* Does a record of that length end where the next one begins? */
static bool leads_on(const struct salvage *x, uint64_t len)
{
    struct record after;
    if (len < RECORD_HEAD || len > x->n - x->at)
        return false;
    return x->at + len == x->n || is_here(x, x->at + (size_t)len, x->seq + 1, &after);
}

/* The length of a record that is damaged while the one after it is not: as it says, or with one
 * wrong bit in what it says; else 0. */
static size_t only_this(const struct salvage *x)
{
    if (x->n - x->at < RECORD_HEAD)
        return 0;
    uint32_t len = rd32(x->p + x->at);
    if (leads_on(x, len))
        return len;
    for (unsigned bit = 0; bit < 32; bit++)
        if (leads_on(x, len ^ 1u << bit))
            return len ^ 1u << bit;
    return 0;
}

/* Goes on behind a record that is given up. */
static void pass_over(struct salvage *x, size_t n, bool *lost)
{
    x->at += n ? n : 1;
    if (n || !*lost)
        x->seq++;
    *lost = !n;
}

uint64_t salvage_next(struct salvage *x, const char **p, struct record *rec)
{
    bool lost = false; /* bytes of the record before x->seq are being passed, one by one */
    while (x->at < x->n && x->seq < x->limit) {
        size_t damaged = 0;
        uint64_t seq = is_here(x, x->at, x->seq, rec) ? x->seq : 0;
        if (!seq && !lost)
            damaged = only_this(x);
        if (!seq && !damaged)
            seq = after_gap(x, rec);
        if (seq) {
            *p = x->p + x->at;
            x->at += rec->len;
            x->seq = seq + 1;
            return seq;
        }
        pass_over(x, damaged, &lost);
    }
    return 0;
}

static void note(struct block *b, const struct record *rec, uint64_t seq)
{
    if (!b->n++) {
        b->min_ts = rec->ts;
        b->max_ts = rec->ts;
    }
    b->min_ts = rec->ts < b->min_ts ? rec->ts : b->min_ts;
    b->max_ts = rec->ts > b->max_ts ? rec->ts : b->max_ts;
    b->last_seq = seq;
    b->flags |= rec->msg_id.n ? BLOCK_HAS_MSGID : 0;
}

int salvage_block(struct slice value, uint32_t sid, uint64_t first_seq, uint64_t limit,
                  struct buf *out, struct block *b)
{
    struct salvage x = {
        .p = value.p, .n = value.n, .at = BLOCK_HEAD, .sid = sid, .seq = first_seq, .limit = limit};
    struct buf dir = BUF_INIT; /* ascending; the file's grows down */
    struct record rec;
    const char *p;
    uint64_t seq;
    *b = (struct block){.first_seq = first_seq, .flags = BLOCK_SPARSE, .used = (uint32_t)value.n};
    while ((seq = salvage_next(&x, &p, &rec))) {
        if (seq - first_seq > UINT32_MAX)
            break;
        note(b, &rec, seq);
        add_u32(&dir, (uint32_t)(seq - first_seq));
        add_u32(&dir, (uint32_t)(p - value.p));
    }
    buf_clear(out);
    buf_add_slice(out, value);
    for (size_t i = b->n; i-- > 0;)
        buf_add(out, buf_slice(&dir).p + 8 * i, 8);
    buf_release(&dir);
    b->p = buf_slice(out).p;
    b->size = out->len;
    return b->n ? 0 : E_CORRUPT;
}

/* What a wrong bit does to a checksum depends only on how many bits follow it: one step of the
 * register each. */
bool salvage_bit(char *p, size_t n, uint32_t syndrome)
{
    uint32_t effect = CRC32C_POLY; /* of the last bit */
    for (size_t bit = n * 8; bit-- > 0;) {
        if (effect == syndrome) {
            p[bit / 8] = (char)(p[bit / 8] ^ (1 << bit % 8));
            return true;
        }
        effect = effect >> 1 ^ (effect & 1 ? CRC32C_POLY : 0);
    }
    return false;
}

/* One wrong bit, of the checksum or of the n bytes it is for. */
static bool mend(char *checksum, char *p, size_t n, uint32_t right)
{
    uint32_t syndrome = rd32(checksum) ^ right;
    if (!syndrome || (syndrome & (syndrome - 1)))
        return syndrome && salvage_bit(p, n, syndrome);
    le32(checksum, right);
    return true;
}

/* The copy is sound when its record is as long as it says and the checksum agrees. */
static bool proved(const struct buf *copy, uint32_t sid, uint64_t seq, struct record *rec)
{
    struct slice p = buf_slice(copy);
    return record_read(p.p, p.n, rec) == 0 && record_sound(p.p, sid, seq);
}

bool salvage_record(struct slice p, uint32_t sid, uint64_t seq, struct buf *out, struct record *rec)
{
    if (p.n < RECORD_HEAD)
        return false;
    buf_clear(out);
    buf_add_slice(out, slice_head(p, BLOCK_SIZE));
    char *copy = out->data + out->start;
    uint32_t len = rd32(copy);
    for (unsigned bit = 0; bit < 32; bit++) { /* of the length */
        le32(copy, len ^ 1u << bit);
        if (proved(out, sid, seq, rec))
            return true;
    }
    le32(copy, len);
    if (len < RECORD_HEAD || len > out->len)
        return false;
    return mend(copy + 4, copy + 8, len - 8, record_checksum(copy, sid, seq)) &&
           proved(out, sid, seq, rec);
}

bool salvage_row(struct slice v, uint32_t sid, struct buf *out)
{
    if (v.n < 5)
        return false;
    buf_clear(out);
    buf_add_slice(out, v);
    char *copy = out->data + out->start;
    return mend(copy, copy + 4, v.n - 4, row_checksum(v, sid));
}
