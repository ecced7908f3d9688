// room: jsapi
/* tests/fuzz/fuzz_pending.c -- a consumer's stored progress: any bytes, and any bytes with a
 * checksum that is right
 *
 * The input is a row of records, each a length byte and so many bytes of body; a record becomes a
 * snapshot or a delta. Whatever was taken over must hold what a pending set holds, and say the same
 * again when it is written and read back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/pending.h"

#include "base/crc32c.h"
#include "base/mem.h"

static const struct pending_rules rules = {
    .tracks = true, .ack_wait = 1000000000, .max_deliver = 3};

static void check(struct pending *p)
{
    uint32_t pos = 0, n = 0;
    uint64_t last = 0, seq;
    for (const struct pending_entry *e; (e = pending_next(p, &pos)); n++) {
        ASSERT(e->sseq > last && e->sseq <= p->delivered.stream && e->deliveries);
        ASSERT(pending_find(p, e->sseq) == e);
        last = e->sseq;
    }
    ASSERT(n == pending_count(p));
    ASSERT(!pending_front(p, &seq) || pending_find(p, seq));
    (void)pending_due(p);
}

/* Written and read back it is the same. */
static void again(struct pending *p)
{
    struct pending q;
    struct buf b = BUF_INIT;
    uint32_t i = 0, k = 0;
    pending_init(&q, &rules);
    pending_snapshot(p, 0, &b);
    ASSERT(pending_decode(&q, 0, buf_slice(&b)) == 0);
    ASSERT(q.delivered.stream == p->delivered.stream && q.floor.stream == p->floor.stream);
    for (const struct pending_entry *e; (e = pending_next(p, &i));) {
        const struct pending_entry *f = pending_next(&q, &k);
        ASSERT(f && f->sseq == e->sseq && f->cseq == e->cseq && f->deliveries == e->deliveries);
    }
    pending_release(&q);
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pending p;
    pending_init(&p, &rules);
    (void)!pending_decode(&p, 0, slice_of(data, size));
    for (size_t at = 0; at < size;) {
        size_t n = data[at++];
        n = n < size - at ? n : size - at;
        struct buf b = BUF_INIT;
        buf_add(&b, data + at, n);
        at += n;
        uint32_t crc = crc32c(0, buf_slice(&b).p, b.len);
        for (int i = 0; i < 4; i++)
            buf_add_char(&b, (char)(crc >> (8 * i)));
        bool sane = pending_decode(&p, 0, buf_slice(&b)) == 0;
        buf_release(&b);
        if (!sane)
            break;
        check(&p);
        again(&p);
    }
    pending_release(&p);
    return 0;
}
