/* storage/blocks.c -- see blocks.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/blocks.h"

bool block_is_large(const struct block *b)
{
    return (b->flags & BLOCK_PARTS) && !(b->flags & BLOCK_SPARSE) && b->n == 1 &&
           b->last_seq == b->first_seq;
}

uint64_t block_after(struct txn *t, uint32_t sid, uint64_t first_seq)
{
    struct walk w;
    struct key k;
    uint64_t next = 0;
    unsigned part = 1;
    key_block(&k, sid, first_seq + 1);
    bool on = walk_seek(&w, t, DB_BLOCKS, key_slice(&k));
    while (on && key_is_block(w.key, sid, &next, &part) && part)
        on = walk_next(&w);
    bool found = on && key_is_block(w.key, sid, &next, &part) && !part;
    walk_end(&w);
    return found ? next : 0;
}

uint64_t block_end(struct txn *t, uint32_t sid, uint64_t first_seq, struct slice value)
{
    struct block b;
    if (block_peek(value, first_seq, &b) == 0 &&
        (block_is_large(&b) || block_read(value, sid, first_seq, &b) == 0))
        return b.last_seq;
    uint64_t next = block_after(t, sid, first_seq);
    return next > first_seq ? next - 1 : UINT64_MAX;
}
