/* jsapi/pending_code.c -- the pending set as bytes, and back
 *
 *     u8 version | u8 kind | zigzag(offset ms) | body | u32 crc32c of all before, little endian
 *
 *     snapshot  varint delivered.consumer, delivered.stream, floor.consumer, floor.stream,
 *                      told (not in version 1: as delivered.stream), live, given
 *               live  x { varint sseq - before, zigzag(cseq - before), zigzag(at ms - before),
 *                         varint deliveries << 2 | place }; before the first stands 0 (before
 *                         version 3: the floor)
 *               given x { varint sseq - before }
 *     delta     operations as pending_log.h draws them, to the end
 *
 * Times are milliseconds of the writer's monotonic clock; `offset` is what turns them into wall
 * time, so a reader in another life of the process finds its own. Reading trusts nothing: lengths
 * are bounded by the bytes there are, sequences must ascend and none lie above delivered, and a
 * delta is replayed through the same functions that wrote it, each of which is asked only for what
 * its state allows.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"
#include "base/clock.h"
#include "jsapi/pending_log.h"
#include "storage/storage.h"

enum { CODE_VERSION = 3, KIND_DELTA = 0, KIND_SNAPSHOT = 1 };

/* --- numbers ---------------------------------------------------------------------------------- */

static inline size_t put_varint(char *to, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (char)(v | 0x80);
    to[n++] = (char)v;
    return n;
}

static inline uint64_t zig(uint64_t to, uint64_t from)
{
    uint64_t d = to - from;
    return (d << 1) ^ (0 - (d >> 63));
}

static inline uint64_t unzig(uint64_t z, uint64_t from)
{
    return from + ((z >> 1) ^ (0 - (z & 1)));
}

static void add_varint(struct buf *b, uint64_t v)
{
    buf_commit(b, put_varint(buf_reserve(b, 10), v));
}

struct reader { /* sticky: bad stays bad, and reads give 0 */
    const unsigned char *p, *end;
    bool bad;
};

static uint64_t take_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        unsigned char c = *r->p++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return v;
    }
    r->bad = true;
    return 0;
}

/* Floor division, so that equal times stay equal and order stays order. */
static int64_t to_ms(int64_t ns)
{
    return ns / NS_PER_MS - (ns % NS_PER_MS < 0);
}

/* --- writing ---------------------------------------------------------------------------------- */

void pending_log_whole(struct pending *p)
{
    if (p->replaying)
        return;
    p->whole = true;
    buf_clear(&p->log);
}

static bool logs(const struct pending *p)
{
    return !p->whole && !p->replaying;
}

static void log_bound(struct pending *p)
{
    size_t max = (size_t)p->live * 4;
    max = max < 1024 ? 1024 : max > 1u << 20 ? 1u << 20 : max;
    if (p->log.len > max)
        pending_log_whole(p);
}

void pending_log(struct pending *p, enum pending_op op, uint64_t sseq)
{
    if (!logs(p))
        return;
    char *to = buf_reserve(&p->log, 11);
    to[0] = (char)op;
    buf_commit(&p->log, 1 + put_varint(to + 1, zig(sseq, p->log_sseq)));
    p->log_sseq = sseq;
    log_bound(p);
}

void pending_log_at(struct pending *p, enum pending_op op, uint64_t sseq, int64_t at)
{
    if (!logs(p))
        return;
    int64_t ms = to_ms(at);
    char *to = buf_reserve(&p->log, 21);
    to[0] = (char)op;
    size_t n = 1 + put_varint(to + 1, zig(sseq, p->log_sseq));
    n += put_varint(to + n, zig((uint64_t)ms, (uint64_t)p->log_ms));
    buf_commit(&p->log, n);
    p->log_sseq = sseq;
    p->log_ms = ms;
    log_bound(p);
}

void pending_log_number(struct pending *p, uint64_t number)
{
    if (logs(p))
        add_varint(&p->log, number);
}

static size_t code_head(struct buf *out, int kind, int64_t wall_minus_mono)
{
    size_t start = out->len;
    buf_add_char(out, CODE_VERSION);
    buf_add_char(out, (char)kind);
    add_varint(out, zig((uint64_t)to_ms(wall_minus_mono), 0));
    return start;
}

static void code_tail(struct buf *out, size_t start)
{
    uint32_t crc = crc32c(0, buf_slice(out).p + start, out->len - start);
    for (int i = 0; i < 4; i++)
        buf_add_char(out, (char)(crc >> (8 * i)));
}

/* What was just written is where the next log starts from. */
static void log_restart(struct pending *p)
{
    p->whole = false;
    p->log_sseq = p->delivered.stream;
    p->log_ms = 0;
    if (p->log.cap > 4096)
        buf_release(&p->log);
    else
        buf_clear(&p->log);
}

void pending_snapshot(struct pending *p, int64_t wall_minus_mono, struct buf *out)
{
    size_t start = code_head(out, KIND_SNAPSHOT, wall_minus_mono);
    const uint64_t head[] = {p->delivered.consumer,
                             p->delivered.stream,
                             p->floor.consumer,
                             p->floor.stream,
                             p->told,
                             p->live,
                             p->given_n};
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        add_varint(out, head[i]);
    struct pending_entry last = {.sseq = 0, .cseq = p->floor.consumer};
    const struct pending_entry *e;
    for (uint32_t pos = 0; (e = pending_next(p, &pos));) {
        char *to = buf_reserve(out, 40);
        int64_t ms = to_ms(e->at);
        size_t n = put_varint(to, e->sseq - last.sseq);
        n += put_varint(to + n, zig(e->cseq, last.cseq));
        n += put_varint(to + n, zig((uint64_t)ms, (uint64_t)last.at));
        n += put_varint(to + n, (uint64_t)e->deliveries << 2 | e->place);
        buf_commit(out, n);
        last = *e;
        last.at = ms;
    }
    uint64_t before = 0;
    for (uint32_t i = 0; i < p->given_n; i++) {
        add_varint(out, p->given[i] - before);
        before = p->given[i];
    }
    code_tail(out, start);
    log_restart(p);
}

void pending_delta(struct pending *p, int64_t wall_minus_mono, struct buf *out)
{
    if (p->whole) {
        pending_snapshot(p, wall_minus_mono, out);
        return;
    }
    size_t start = code_head(out, KIND_DELTA, wall_minus_mono);
    buf_add_slice(out, buf_slice(&p->log));
    code_tail(out, start);
    log_restart(p);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int64_t from_ms(uint64_t ms, int64_t shift)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)ms, NS_PER_MS, &ns) ||
        __builtin_add_overflow(ns, shift, &ns))
        return 0;
    return ns;
}

static bool read_entries(struct pending *p, struct reader *r, uint64_t before, uint64_t live,
                         int64_t shift)
{
    struct pending_entry e = {.sseq = before, .cseq = p->floor.consumer};
    uint64_t ms = 0;
    for (uint64_t i = 0; i < live && !r->bad; i++) {
        uint64_t gap = take_varint(r);
        uint64_t sseq = e.sseq + gap;
        if (!gap || sseq < e.sseq || sseq > p->delivered.stream)
            return false;
        e.sseq = sseq;
        e.cseq = unzig(take_varint(r), e.cseq);
        ms = unzig(take_varint(r), ms);
        e.at = from_ms(ms, shift);
        uint64_t tail = take_varint(r);
        e.deliveries = (uint32_t)(tail >> 2);
        e.place = tail & 3;
        if (r->bad || !e.cseq || e.cseq > p->delivered.consumer || !e.deliveries ||
            tail >> 2 > UINT32_MAX || e.place > PENDING_QUEUED)
            return false;
        pending_restore(p, &e);
    }
    return !r->bad;
}

static int read_snapshot(struct pending *p, struct reader *r, int version, int64_t shift)
{
    struct pending to = {.rules = p->rules, .replaying = true};
    to.delivered.consumer = take_varint(r);
    to.delivered.stream = take_varint(r);
    to.floor.consumer = take_varint(r);
    to.floor.stream = take_varint(r);
    to.base = to.floor;
    to.told = version > 1 ? take_varint(r) : to.delivered.stream;
    uint64_t live = take_varint(r), given = take_varint(r), seq = 0;
    bool ok = !r->bad && to.delivered.stream <= SEQ_MAX && to.told <= to.delivered.stream &&
              to.floor.consumer <= to.delivered.consumer &&
              to.floor.stream <= to.delivered.stream && (!live || p->rules.tracks) &&
              read_entries(&to, r, version > 2 ? 0 : to.floor.stream, live, shift);
    for (uint64_t i = 0; ok && i < given; i++) {
        uint64_t gap = take_varint(r);
        ok = !r->bad && gap && gap <= SEQ_MAX - seq;
        seq += gap;
        ok = ok && seq <= to.delivered.stream;
        if (ok)
            pending_give(&to, seq);
    }
    uint32_t pos = 0;
    const struct pending_entry *front = pending_next(&to, &pos);
    if (ok && front && front->sseq <= to.base.stream) /* it must be possible to ack it */
        to.base = (struct pending_pair){front->cseq - 1, front->sseq - 1};
    if (!ok || r->p != r->end) {
        pending_release(&to);
        return E_CORRUPT;
    }
    pending_release(p);
    *p = to;
    return 0;
}

/* One operation on a state that may not be the one it was written for: what does not fit is damage.
 */
static bool replay(struct pending *p, enum pending_op op, uint64_t sseq, int64_t at,
                   uint64_t number)
{
    uint32_t deliveries;
    if (!sseq || sseq > SEQ_MAX)
        return false;
    if (op != PLOG_DELIVER && op != PLOG_SKIP && sseq > p->delivered.stream)
        return false;
    switch (op) {
    case PLOG_DELIVER:
        if (sseq <= p->delivered.stream)
            return false;
        pending_deliver(p, sseq, at);
        return true;
    case PLOG_SKIP:
        pending_skip(p, sseq);
        return true;
    case PLOG_REDELIVER:
        if (!pending_find(p, sseq))
            return false;
        pending_redeliver(p, sseq, at, &deliveries);
        return true;
    case PLOG_ACK:
        pending_ack(p, sseq);
        return true;
    case PLOG_ACK_ALL:
        pending_ack_all(p, sseq, number);
        return true;
    case PLOG_DEFER:
        pending_defer(p, sseq, at);
        return true;
    case PLOG_QUEUE:
        pending_nak(p, sseq, -1, 0);
        return true;
    case PLOG_GIVE:
        pending_give(p, sseq);
        return true;
    }
    return false;
}

static int read_delta(struct pending *p, struct reader *r, int64_t shift)
{
    uint64_t sseq = p->delivered.stream, ms = 0;
    while (r->p < r->end && !r->bad) {
        enum pending_op op = (enum pending_op) * r->p++;
        uint64_t number = 0;
        sseq = unzig(take_varint(r), sseq);
        if (op == PLOG_DELIVER || op == PLOG_REDELIVER || op == PLOG_DEFER)
            ms = unzig(take_varint(r), ms);
        if (op == PLOG_ACK_ALL)
            number = take_varint(r);
        if (r->bad || !replay(p, op, sseq, from_ms(ms, shift), number))
            return E_CORRUPT;
    }
    return r->bad ? E_CORRUPT : 0;
}

int pending_decode(struct pending *p, int64_t wall_minus_mono, struct slice bytes)
{
    const unsigned char *b = (const unsigned char *)bytes.p;
    if (bytes.n < 7)
        return E_CORRUPT;
    size_t n = bytes.n - 4;
    uint32_t crc = (uint32_t)b[n] | (uint32_t)b[n + 1] << 8 | (uint32_t)b[n + 2] << 16 |
                   (uint32_t)b[n + 3] << 24;
    if (crc32c(0, b, n) != crc)
        return E_CORRUPT;
    if (!b[0] || b[0] > CODE_VERSION)
        return E_VERSION;
    struct reader r = {b + 2, b + n, false};
    uint64_t offset = unzig(take_varint(&r), 0);
    int64_t shift = from_ms(offset, -to_ms(wall_minus_mono) * NS_PER_MS);
    int err = E_CORRUPT;
    if (!r.bad) {
        p->replaying = true;
        err = b[1] == KIND_SNAPSHOT ? read_snapshot(p, &r, b[0], shift)
              : b[1] == KIND_DELTA  ? read_delta(p, &r, shift)
                                    : E_VERSION;
        p->replaying = false;
    }
    log_restart(p);
    p->whole = true; /* what comes next is written by another life */
    return err;
}
