/* storage/keys.c -- see keys.h for the drawing
 *
 * Pure: bytes in, bytes out. A subject of any length finds a key: short ones as they are, so that a
 * walk over the table is a walk in byte order of subjects; long ones keep their first 464 bytes
 * (the order among neighbours) and end in 16 bytes of digest, which makes them unique for all
 * purposes. The whole long subject stands at the head of the row's value.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/keys.h"

#include "base/digest.h"
#include "base/mem.h"

static void put32(struct key *k, uint32_t v)
{
    for (int i = 3; i >= 0; i--)
        k->b[k->n++] = (unsigned char)(v >> (8 * i));
}

static void put64(struct key *k, uint64_t v)
{
    put32(k, (uint32_t)(v >> 32));
    put32(k, (uint32_t)v);
}

static void put16(struct key *k, unsigned v)
{
    k->b[k->n++] = (unsigned char)(v >> 8);
    k->b[k->n++] = (unsigned char)v;
}

static uint32_t get32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static uint64_t get64(const char *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static unsigned get16(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (unsigned)u[0] << 8 | u[1];
}

void key_journal(struct key *k, uint64_t batch, unsigned part)
{
    k->n = 0;
    put64(k, UINT64_MAX);
    put64(k, batch << 16 | (part & 0xffff));
}

void key_block(struct key *k, uint32_t sid, uint64_t first_seq)
{
    k->n = 0;
    put32(k, sid);
    put64(k, first_seq);
}

void key_block_part(struct key *k, uint32_t sid, uint64_t first_seq, unsigned part)
{
    key_block(k, sid, first_seq);
    if (part)
        put16(k, part);
}

void key_hole(struct key *k, uint32_t sid, uint64_t page)
{
    key_block(k, sid, page);
}

void key_subject(struct key *k, uint32_t sid, struct slice subject)
{
    k->n = 0;
    put32(k, sid);
    size_t n = subject.n <= SUBJECT_INLINE_MAX ? subject.n : SUBJECT_HEAD;
    if (n)
        memcpy(k->b + k->n, subject.p, n);
    k->n += n;
    if (subject.n > SUBJECT_INLINE_MAX) {
        unsigned char digest[32];
        sha256(subject.p, subject.n, digest);
        memcpy(k->b + k->n, digest, 16);
        k->n += 16;
        put16(k, 0); /* longer than any inline key: the kinds can't be mistaken */
    }
    ASSERT(k->n <= KEY_MAX);
}

void key_cursor(struct key *k, uint32_t sid, uint32_t cid)
{
    k->n = 0;
    put32(k, sid);
    put32(k, cid);
}

void key_meta(struct key *k, uint32_t sid)
{
    k->n = 0;
    put32(k, sid);
}

void key_state(struct key *k, uint32_t sid)
{
    key_meta(k, sid);
    k->b[k->n++] = 'S';
}

void key_reclaim(struct key *k, uint32_t sid)
{
    key_meta(k, sid);
    k->b[k->n++] = 'X';
}

void key_sweep(struct key *k, uint32_t sid)
{
    key_meta(k, sid);
    k->b[k->n++] = 'P';
}

void key_stream(struct key *k, uint32_t sid)
{
    key_meta(k, sid);
}

bool key_is_journal(struct slice k, uint64_t *batch, unsigned *part)
{
    if (k.n != 16 || get64(k.p) != UINT64_MAX)
        return false;
    uint64_t n = get64(k.p + 8);
    *batch = n >> 16;
    *part = (unsigned)(n & 0xffff);
    return true;
}

bool key_of_stream(struct slice k, uint32_t sid)
{
    return k.n >= 4 && get32(k.p) == sid;
}

bool key_may_be_block(struct slice k)
{
    return k.n == 12 || k.n == 14;
}

bool key_is_block(struct slice k, uint32_t sid, uint64_t *first_seq, unsigned *part)
{
    if (!key_of_stream(k, sid) || !key_may_be_block(k))
        return false;
    *first_seq = get64(k.p + 4);
    *part = k.n == 14 ? get16(k.p + 12) : 0;
    return true;
}

bool key_is_hole(struct slice k, uint32_t sid, uint64_t *page)
{
    unsigned part;
    return k.n == 12 && key_is_block(k, sid, page, &part);
}

bool key_is_cursor(struct slice k, uint32_t sid, uint32_t *cid)
{
    if (k.n != 8 || !key_of_stream(k, sid))
        return false;
    *cid = get32(k.p + 4);
    return true;
}

bool key_is_meta(struct slice k, uint32_t *sid, char *kind)
{
    if (k.n != 4 && k.n != 5)
        return false;
    *sid = get32(k.p);
    *kind = k.n == 5 ? k.p[4] : '\0';
    return k.n == 4 || *kind == 'S' || *kind == 'X' || *kind == 'P';
}

struct slice key_subject_part(struct slice k)
{
    return slice_skip(k, 4);
}

bool key_subject_is_long(struct slice k)
{
    return k.n > 4 + SUBJECT_INLINE_MAX;
}
