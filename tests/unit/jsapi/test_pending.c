/* tests/unit/jsapi/test_pending.c -- the pending set against a naive model
 *
 * The model is an array with one slot per stream sequence and no cleverness. Random operations go
 * to both; after each step counts, floors, deadlines and the redelivery queue must agree, and at
 * random points the set is written (snapshot or delta) and read into a second set, which must then
 * agree as well.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "jsapi/pending.h"

#include "base/clock.h"
#include "base/mem.h"

#define SEQS 4000
#define WALL (1795264397LL * NS_PER_S)

struct naive {
    struct {
        bool pending, given, queued;
        uint64_t cseq;
        int64_t at;
        uint32_t deliveries;
    } m[SEQS];
    struct pending_pair delivered, floor, base;
    uint64_t told;
    struct pending_rules rules;
};

static uint64_t rng_state;
static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % n;
}

static int64_t n_wait(const struct naive *n, uint32_t deliveries)
{
    if (!n->rules.backoff_n)
        return n->rules.ack_wait;
    uint32_t k = deliveries - 1;
    return n->rules.backoff[k < n->rules.backoff_n ? k : n->rules.backoff_n - 1];
}

static uint32_t n_count(const struct naive *n, uint64_t *front)
{
    uint32_t c = 0;
    *front = 0;
    for (uint64_t s = 0; s < SEQS; s++)
        if (n->m[s].pending) {
            if (!c)
                *front = s;
            c++;
        }
    return c;
}

/* What is given up does not lift the floor, but the base. */
static void n_settle(struct naive *n, uint64_t s)
{
    uint64_t front;
    n->m[s].pending = n->m[s].queued = false;
    bool lift = !n->m[s].given;
    if (!n_count(n, &front)) {
        n->base = n->delivered;
        if (lift)
            n->floor = (struct pending_pair){n->delivered.consumer, n->told};
    } else {
        struct pending_pair up_to = {n->m[s].cseq, s};
        for (front = s + 1; front < SEQS && !n->m[front].pending; front++)
            ;
        if (front < SEQS)
            up_to = (struct pending_pair){n->m[front].cseq - 1, front - 1};
        if (n->m[s].cseq == n->base.consumer + 1)
            n->base = up_to;
        if (lift && n->m[s].cseq == n->floor.consumer + 1)
            n->floor = up_to;
    }
}

struct world {
    struct pending p;
    struct naive n;
    int64_t now;
};

static void same(struct pending *p, const struct naive *n, bool exact_time, bool same_queue)
{
    uint64_t front;
    uint32_t queued = 0, again = 0;
    int64_t due = INT64_MAX;
    assert_int_equal(pending_count(p), n_count(n, &front));
    assert_int_equal(p->delivered.consumer, n->delivered.consumer);
    assert_int_equal(p->delivered.stream, n->delivered.stream);
    assert_int_equal(p->floor.consumer, n->floor.consumer);
    assert_int_equal(p->floor.stream, n->floor.stream);
    assert_int_equal(p->told, n->told);
    if (exact_time) { /* what is read back begins at the floor */
        assert_int_equal(p->base.consumer, n->base.consumer);
        assert_int_equal(p->base.stream, n->base.stream);
    }
    for (uint64_t s = 0; s < SEQS; s++) {
        const struct pending_entry *e = pending_find(p, s);
        assert_int_equal(e != NULL, n->m[s].pending);
        assert_int_equal(pending_is_given(p, s), n->m[s].given);
        again += n->m[s].given;
        if (!e)
            continue;
        assert_int_equal(e->cseq, n->m[s].cseq);
        assert_int_equal(e->deliveries, n->m[s].deliveries);
        if (exact_time)
            assert_int_equal(e->at, n->m[s].at);
        else
            assert_true(llabs(e->at - n->m[s].at) <= NS_PER_MS);
        if (same_queue)
            assert_int_equal(e->place == PENDING_QUEUED, n->m[s].queued);
        queued += n->m[s].queued;
        again += n->m[s].deliveries > 1;
        int64_t d = n->m[s].at + n_wait(n, n->m[s].deliveries);
        if (!n->m[s].queued && d < due)
            due = d;
    }
    if (same_queue) {
        assert_int_equal(pending_queued(p), queued);
        int64_t have = pending_due(p);
        if (exact_time)
            assert_int_equal(have, due);
        else
            assert_true(have == due || llabs(have - due) <= NS_PER_MS);
    }
    assert_int_equal(pending_redelivered(p), n->rules.max_deliver == 1 ? 0 : again);
}

static void gave_up(void *arg, uint64_t sseq, uint32_t deliveries)
{
    struct naive *n = arg;
    assert_true(n->m[sseq].pending);
    assert_int_equal(n->m[sseq].deliveries, deliveries);
    assert_true(deliveries >= n->rules.max_deliver);
    n->m[sseq].given = true;
    n_settle(n, sseq);
}

static uint64_t some_pending(const struct naive *n)
{
    uint64_t front;
    uint32_t c = n_count(n, &front), k;
    if (!c || rnd(10) == 0)
        return 1 + rnd(SEQS - 1);
    k = rnd(3) ? rnd(c < 4 ? c : 4) : rnd(c);
    for (uint64_t s = front;; s++)
        if (n->m[s].pending && k-- == 0)
            return s;
}

static void do_nak(struct world *w)
{
    uint64_t s = some_pending(&w->n);
    int64_t delay = rnd(2) ? -1 : (int64_t)rnd(5000) * NS_PER_MS;
    enum pending_result r = pending_nak(&w->p, s, delay, w->now), want = PENDING_NOTHING;
    if (w->n.m[s].pending) {
        want = PENDING_LATER;
        if (delay >= 0) {
            w->n.m[s].at = w->now + delay - n_wait(&w->n, w->n.m[s].deliveries);
            w->n.m[s].queued = false;
        } else {
            w->n.m[s].queued = true;
        }
    }
    assert_int_equal(r, want);
}

static void do_ack_all(struct world *w)
{
    uint64_t s = some_pending(&w->n);
    if (!w->n.m[s].pending)
        return;
    uint64_t cseq = rnd(2) ? w->n.m[s].cseq : w->n.delivered.consumer;
    if (cseq <= w->n.base.consumer || s <= w->n.base.stream) {
        assert_int_equal(pending_ack_all(&w->p, s, cseq), PENDING_NOTHING);
        return;
    }
    assert_int_equal(pending_ack_all(&w->p, s, cseq), PENDING_SETTLED);
    for (uint64_t i = 0; i <= s; i++)
        w->n.m[i].pending = w->n.m[i].given = w->n.m[i].queued = false;
    w->n.base = (struct pending_pair){cseq, s};
    if (cseq > w->n.floor.consumer)
        w->n.floor = w->n.base;
}

/* Which messages are not there any more, as a consumer of more than was purged is told. */
static bool every_third(void *arg, uint64_t s)
{
    (void)arg;
    return s % 3 == 0;
}

static void do_purge(struct world *w)
{
    struct naive *n = &w->n;
    uint64_t start = n->base.stream - n->base.stream / 2 + rnd(30), front;
    bool wider = rnd(2);
    if (start >= SEQS)
        return;
    pending_purge(&w->p, start, wider ? every_third : NULL, NULL);
    if (start && start - 1 > n->delivered.stream)
        n->delivered.stream = start - 1;
    if (n->base.stream < start) {
        n->base.stream = start - 1;
        for (uint64_t s = 0; s < SEQS; s++) {
            if (!n->m[s].pending || (s >= start && !(wider && s % 3 == 0)))
                continue;
            uint64_t c = n->m[s].cseq;
            if (c > n->base.consumer)
                n->base.consumer = c;
            n->m[s].pending = n->m[s].queued = false;
            if (!n_count(n, &front)) {
                n->floor = (struct pending_pair){n->delivered.consumer, n->told};
            } else if (c == n->floor.consumer + 1) {
                n->floor = (struct pending_pair){c, s};
                for (uint64_t k = s + 1; k < SEQS; k++)
                    if (n->m[k].pending) {
                        n->floor = (struct pending_pair){n->m[k].cseq - 1, k - 1};
                        break;
                    }
            }
        }
    }
    if (!n_count(n, &front)) {
        n->base = n->delivered;
        for (uint64_t s = 0; s < SEQS; s++)
            n->m[s].given = false;
    }
    for (uint64_t s = 0; s < SEQS; s++)
        n->m[s].queued = false;
    if (n->base.stream < n->floor.stream)
        return;
    n->floor = n->base;
    n->told = n->delivered.stream;
}

static void do_gone(struct world *w)
{
    if (rnd(4)) {
        uint64_t s = some_pending(&w->n);
        assert_int_equal(pending_gone(&w->p, s), w->n.m[s].pending);
        if (w->n.m[s].pending)
            n_settle(&w->n, s);
        w->n.m[s].given = false;
        return;
    }
    uint64_t first = some_pending(&w->n), last = first + rnd(30), c = 0;
    for (uint64_t s = first; s <= last && s < SEQS; s++) {
        c += w->n.m[s].pending;
        if (w->n.m[s].pending)
            n_settle(&w->n, s);
        w->n.m[s].given = false;
    }
    assert_int_equal(pending_gone_range(&w->p, first, last), c);
}

static void do_expire(struct world *w)
{
    w->now += (int64_t)rnd(2000) * NS_PER_MS;
    while (pending_expire(&w->p, w->now, 1 + rnd(20), gave_up, &w->n)) {
    }
    for (uint64_t s = 0; s < SEQS; s++)
        if (w->n.m[s].pending && w->n.m[s].at + n_wait(&w->n, w->n.m[s].deliveries) <= w->now)
            w->n.m[s].queued = true;
}

static void do_redeliver(struct world *w)
{
    uint64_t s;
    for (uint32_t i = rnd(5); i-- && pending_front(&w->p, &s);) {
        uint32_t deliveries;
        assert_true(w->n.m[s].pending && w->n.m[s].queued);
        if (w->n.rules.max_deliver > 0 && w->n.m[s].deliveries >= w->n.rules.max_deliver) {
            pending_give(&w->p, s);
            w->n.m[s].given = true;
            n_settle(&w->n, s);
            continue;
        }
        uint64_t c = pending_redeliver(&w->p, s, w->now, &deliveries);
        assert_int_equal(c, ++w->n.delivered.consumer);
        assert_int_equal(deliveries, ++w->n.m[s].deliveries);
        w->n.m[s].at = w->now;
        w->n.m[s].queued = false;
    }
}

static void do_deliver(struct world *w)
{
    for (uint32_t i = 1 + rnd(6); i--;) {
        uint64_t s = w->n.delivered.stream + 1 + (rnd(4) == 0 ? rnd(3) : 0);
        if (s >= SEQS)
            return;
        uint64_t c = pending_deliver(&w->p, s, w->now);
        w->n.delivered.stream = w->n.told = s;
        assert_int_equal(c, ++w->n.delivered.consumer);
        w->n.m[s].pending = true;
        w->n.m[s].queued = false;
        w->n.m[s].cseq = c;
        w->n.m[s].at = w->now;
        w->n.m[s].deliveries = 1;
    }
}

static void step(struct world *w)
{
    uint64_t s;
    switch (rnd(12)) {
    case 0:
    case 1:
    case 2:
        do_deliver(w);
        break;
    case 3:
    case 4:
    case 5:
        s = some_pending(&w->n);
        assert_int_equal(pending_ack(&w->p, s),
                         w->n.m[s].pending || w->n.m[s].given ? PENDING_SETTLED : PENDING_NOTHING);
        if (w->n.m[s].pending)
            n_settle(&w->n, s);
        w->n.m[s].given = false;
        break;
    case 6:
        do_nak(w);
        break;
    case 7:
        s = some_pending(&w->n);
        pending_touch(&w->p, s, w->now);
        if (w->n.m[s].pending && !w->n.m[s].queued)
            w->n.m[s].at = w->now;
        break;
    case 8:
        do_expire(w);
        break;
    case 9:
        do_redeliver(w);
        break;
    case 10:
        if (rnd(6) == 0)
            do_ack_all(w);
        else if (rnd(3) == 0)
            do_gone(w);
        else if (rnd(6) == 0)
            do_purge(w);
        break;
    case 11:
        if (rnd(4) == 0 && w->n.delivered.stream + 1 < SEQS) {
            w->n.delivered.stream++;
            pending_skip(&w->p, w->n.delivered.stream);
        }
        break;
    }
}

/* What is stored follows along; reading it gives the same picture (up to a millisecond, and up to
 * what would expire at once anyway). */
static void store_and_compare(struct world *w, struct pending *copy)
{
    struct buf b = BUF_INIT;
    if (rnd(4) == 0)
        pending_snapshot(&w->p, WALL, &b);
    else
        pending_delta(&w->p, WALL, &b);
    assert_int_equal(pending_decode(copy, WALL + 7 * NS_PER_S, buf_slice(&b)), 0);
    /* The reader lives 7 s earlier on its own monotonic clock. */
    for (uint32_t i = 0; i < copy->len; i++)
        copy->ring[(copy->head + i) & (copy->cap - 1)].at += 7 * NS_PER_S;
    pending_set_rules(copy, &w->n.rules);
    same(copy, &w->n, false, false);
    for (uint32_t i = 0; i < copy->len; i++)
        copy->ring[(copy->head + i) & (copy->cap - 1)].at -= 7 * NS_PER_S;
    pending_set_rules(copy, &w->n.rules);
    buf_release(&b);
}

static void run_model(uint64_t seed, const struct pending_rules *rules)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct pending copy;
    rng_state = seed;
    w->n.rules = *rules;
    w->now = 100 * NS_PER_S;
    pending_init(&w->p, rules);
    pending_init(&copy, rules);
    for (int i = 0; i < 2500; i++) {
        step(w);
        same(&w->p, &w->n, true, true);
        if (rnd(20) == 0)
            store_and_compare(w, &copy);
    }
    pending_release(&w->p);
    pending_release(&copy);
    free(w);
}

static void agrees_with_a_naive_model(void **state)
{
    static const int64_t backoff[] = {NS_PER_S, 3 * NS_PER_S, 2 * NS_PER_S};
    const struct pending_rules rules[] = {
        {.tracks = true, .ack_wait = 2 * NS_PER_S},
        {.tracks = true, .ack_wait = NS_PER_S, .max_deliver = 2},
        {.tracks = true, .ack_wait = NS_PER_S, .max_deliver = 1},
        {.tracks = true,
         .ack_wait = NS_PER_S,
         .backoff = backoff,
         .backoff_n = 3,
         .max_deliver = 5},
    };
    (void)state;
    for (size_t r = 0; r < 4; r++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            run_model(seed * 1000 + r, &rules[r]);
}

static void a_million_entries_cost_32_bytes_each(void **state)
{
    (void)state;
    struct pending p;
    pending_init(&p, &(struct pending_rules){.tracks = true, .ack_wait = NS_PER_S});
    for (uint64_t s = 1; s <= 1u << 20; s++)
        pending_deliver(&p, s, (int64_t)s);
    assert_true((size_t)p.cap * sizeof *p.ring <= (size_t)32 << 20);
    assert_null(p.heap);
    for (uint64_t s = 1; s <= 1u << 20; s++)
        assert_int_equal(pending_ack(&p, s), PENDING_SETTLED);
    assert_true(p.cap <= 256);
    assert_int_equal(p.floor.stream, 1u << 20);
    pending_release(&p);
}

/* One message that nobody acks must not make the ring grow for ever. */
static void holes_are_swept(void **state)
{
    (void)state;
    struct pending p;
    pending_init(&p, &(struct pending_rules){.tracks = true, .ack_wait = NS_PER_S});
    for (uint64_t s = 1; s <= 200000; s++) {
        pending_deliver(&p, s, 0);
        if (s > 10)
            pending_ack(&p, s - 5);
    }
    assert_int_equal(pending_count(&p), 10);
    assert_true(p.cap <= 64);
    pending_release(&p);
}

/* A purge makes what is queued wait anew. While nobody asks for it the queue must not keep its
 * number for each time. */
static void purges_do_not_lengthen_the_queue(void **state)
{
    (void)state;
    struct pending p;
    uint64_t front;
    pending_init(&p, &(struct pending_rules){.tracks = true, .ack_wait = NS_PER_S});
    for (uint64_t s = 1; s <= 100; s++)
        pending_deliver(&p, s, 0);
    for (int i = 0; i < 1000; i++) {
        assert_false(pending_expire(&p, 2 * NS_PER_S, UINT32_MAX, NULL, NULL));
        assert_int_equal(pending_queued(&p), 100);
        pending_purge(&p, 1, NULL, NULL);
        assert_int_equal(pending_queued(&p), 0);
    }
    assert_true(p.queue_cap <= 128);
    assert_false(pending_front(&p, &front));
    pending_release(&p);
}

/* A stream may begin at any number its store takes. */
static void large_numbers_are_read_back(void **state)
{
    (void)state;
    const struct pending_rules rules = {.tracks = true, .ack_wait = NS_PER_S, .max_deliver = 1};
    const uint64_t start = UINT64_MAX / 2 - 10;
    struct pending p, copy;
    struct buf b = BUF_INIT;
    pending_init(&p, &rules);
    pending_init(&copy, &rules);
    pending_start_at(&p, start);
    for (int round = 0; round < 2; round++) { /* a snapshot, then what comes behind it */
        for (uint64_t s = start + 5 * round; s < start + 5 * round + 5; s++)
            pending_deliver(&p, s, 0);
        pending_give(&p, start + 5 * round + 1);
        buf_clear(&b);
        if (round == 0)
            pending_snapshot(&p, WALL, &b);
        else
            pending_delta(&p, WALL, &b);
        assert_int_equal(pending_decode(&copy, WALL, buf_slice(&b)), 0);
        assert_int_equal(copy.delivered.stream, p.delivered.stream);
        assert_int_equal(pending_count(&copy), pending_count(&p));
        assert_true(pending_is_given(&copy, start + 5 * round + 1));
    }
    buf_release(&b);
    pending_release(&p);
    pending_release(&copy);
}

static void without_acks_nothing_is_pending(void **state)
{
    (void)state;
    struct pending p, q;
    struct buf b = BUF_INIT;
    const struct pending_rules none = {.tracks = false};
    pending_init(&p, &none);
    pending_init(&q, &none);
    pending_start_at(&p, 5);
    assert_int_equal(pending_deliver(&p, 5, 0), 1);
    assert_int_equal(pending_deliver(&p, 9, 0), 2);
    assert_int_equal(pending_count(&p), 0);
    assert_int_equal(p.floor.stream, 9);
    pending_delta(&p, WALL, &b);
    assert_true(b.len < 24);
    assert_int_equal(pending_decode(&q, WALL, buf_slice(&b)), 0);
    assert_int_equal(q.delivered.stream, 9);
    assert_int_equal(q.delivered.consumer, 2);
    buf_release(&b);
    pending_release(&p);
    pending_release(&q);
}

/* Every truncation and every flipped byte is noticed; nothing crashes. */
static void damage_is_noticed(void **state)
{
    (void)state;
    struct pending p, q;
    const struct pending_rules rules = {.tracks = true, .ack_wait = NS_PER_S, .max_deliver = 2};
    struct buf b = BUF_INIT;
    uint32_t deliveries;
    pending_init(&p, &rules);
    for (uint64_t s = 1; s <= 40; s++)
        pending_deliver(&p, s * 3, (int64_t)s * NS_PER_MS);
    pending_nak(&p, 9, -1, 0);
    pending_redeliver(&p, 9, 0, &deliveries);
    pending_nak(&p, 9, -1, 0);
    pending_ack(&p, 12);
    pending_snapshot(&p, WALL, &b);
    for (size_t cut = 0; cut < b.len; cut++) {
        pending_init(&q, &rules);
        assert_int_not_equal(pending_decode(&q, WALL, slice_head(buf_slice(&b), cut)), 0);
        pending_release(&q);
    }
    for (size_t i = 0; i < b.len; i++) {
        pending_init(&q, &rules);
        b.data[b.start + i] ^= 0x55;
        assert_int_not_equal(pending_decode(&q, WALL, buf_slice(&b)), 0);
        b.data[b.start + i] ^= 0x55;
        pending_release(&q);
    }
    buf_release(&b);
    pending_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_naive_model),
        cmocka_unit_test(a_million_entries_cost_32_bytes_each),
        cmocka_unit_test(holes_are_swept),
        cmocka_unit_test(purges_do_not_lengthen_the_queue),
        cmocka_unit_test(large_numbers_are_read_back),
        cmocka_unit_test(without_acks_nothing_is_pending),
        cmocka_unit_test(damage_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
