/* many subjects: rows dealt into ranges, found again after a kill
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "storage/store.h"
#include "storage/stream.h"
#include "storage/writer.h"

enum { SUBJECTS = 20000 };

static struct slice name_of(unsigned i, char *room, size_t n)
{
    /* not in the order of their numbers */
    return slice_of(room, (size_t)snprintf(room, n, "s.%u.%u", i * 7919u % 1000, i));
}

static unsigned times(unsigned i)
{
    return 1 + i % 3;
}

struct tally {
    unsigned calls;  /* pages that are complete */
    unsigned pieces; /* they came in */
    uint64_t total;
    size_t n;
};

static void on_page(void *arg, int err, const struct subject_count *x, size_t n, uint64_t total,
                    bool more)
{
    struct tally *t = arg;
    assert_int_equal(err, 0);
    t->calls += !more;
    t->pieces++;
    t->total = total;
    t->n += n;
    for (size_t i = 0; i < n; i++) {
        struct slice s = x[i].subject;
        size_t dot = s.n;
        uint64_t number = 0;
        while (s.p[dot - 1] != '.')
            dot--;
        assert_int_equal(slice_u64(slice_skip(s, dot), &number), 0);
        assert_int_equal(x[i].msgs, times((unsigned)number));
        if (i)
            assert_true(slice_cmp(x[i - 1].subject, s) < 0);
    }
}

static bool paged(void *arg)
{
    return ((struct tally *)arg)->calls > 0;
}

static void compare(struct place *p, struct stream *s)
{
    struct tally t = {0};
    char room[64];
    assert_int_equal(state_of(s).num_subjects, SUBJECTS);
    for (size_t offset = 0; offset < SUBJECTS; offset += 7000) {
        t.calls = 0;
        assert_int_equal(store_subjects(s, SLICE("s.>"), offset, 7000, on_page, &t, NULL), 0);
        assert_true(fake_turn_wait(&p->ft, paged, &t));
        assert_int_equal(t.total, SUBJECTS);
    }
    assert_int_equal(t.n, SUBJECTS);
    assert_true(t.pieces > SUBJECTS / 1000); /* no turn tells a thousand at once */
    for (unsigned i = 0; i < SUBJECTS; i += 97) {
        struct slice name = name_of(i, room, sizeof room);
        struct store_filter f = {&name, 1};
        assert_int_equal(last_of(s, &f, 0), (uint64_t)(times(i) - 1) * SUBJECTS + i + 1);
    }
}

static void twenty_thousand_subjects_survive(void **state)
{
    (void)state;
    struct place p;
    char room[64];
    place_init(&p);
    place_open(&p);
    p.st->lazy_at.flush_dirty = 6000;
    p.st->lazy_at.clean_max = 1000;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(&p, &spec);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SUBJECTS; i++) {
            /* those whose time is over write to a subject that is purged later */
            struct record_in rec = {.subject = round < times(i) ? name_of(i, room, sizeof room)
                                                                : SLICE("junk"),
                                    .payload = SLICE("p")};
            struct answer a = {0};
            bool wait = i % 500 == 499;
            assert_int_equal(store_append(s, &rec, wait ? on_append : NULL, &a), 0);
            if (wait)
                wait_answer(&p, &a);
        }
        if (round == 1)
            place_kill(&p);
        s = find_stream(&p, "S");
        p.st->lazy_at.flush_dirty = 6000;
    }
    struct purge_spec purge = {.filter = SLICE("junk")};
    struct answer a = {0};
    assert_int_equal(store_purge(s, &purge, on_purged, &a), 0);
    wait_answer(&p, &a);
    compare(&p, s);
    place_kill(&p);
    compare(&p, find_stream(&p, "S"));
    place_close(&p);
    place_open(&p);
    assert_false(find_stream(&p, "S")->index.behind);
    compare(&p, find_stream(&p, "S"));
    place_remove(&p);
}

/* --- a bucket -------------------------------------------------------------------------------- */

enum { KEYS = 40, HISTORY = 3, PUTS = 8700, FROM = 8100, EVERY = 60 };

struct key_facts {
    uint64_t seqs[HISTORY]; /* the oldest first */
    size_t n;
};

static struct slice key_name(size_t key, char *room, size_t n)
{
    return slice_of(room, (size_t)snprintf(room, n, "kv.%zu", key));
}

static void note_put(struct key_facts *k, uint64_t seq)
{
    if (k->n == HISTORY) {
        memmove(k->seqs, k->seqs + 1, (HISTORY - 1) * sizeof *k->seqs);
        k->n--;
    }
    k->seqs[k->n++] = seq;
}

static void compare_keys(struct stream *s, const struct key_facts *keys)
{
    char room[64];
    uint64_t all = 0;
    if (s->index.behind)
        index_ready(s);
    for (size_t i = 0; i < KEYS; i++) {
        struct slice name = key_name(i, room, sizeof room);
        struct store_filter f = {&name, 1};
        struct subject *e = index_get(s, name, false);
        all += keys[i].n;
        assert_int_equal(e ? e->count : 0, keys[i].n);
        assert_int_equal(last_of(s, &f, 0), keys[i].n ? keys[i].seqs[keys[i].n - 1] : 0);
    }
    assert_int_equal(state_of(s).msgs, all);
}

/* Holes, then the head moves over them, beyond the first number of a page of holes. What was a hole
 * before is no second time removed. */
static void a_bucket_counts_right_wherever_it_was_killed(void **state)
{
    (void)state;
    struct place p;
    char room[64];
    struct key_facts keys[KEYS] = {0};
    uint32_t dice = 1;
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("KV");
    spec.max_msgs_per_subject = HISTORY;
    struct stream *s = make(&p, &spec);
    for (uint64_t seq = 1; seq <= PUTS; seq++) {
        p.st->lazy_at.journal_max = 20000; /* old holes are in rows, not in the journal */
        dice = dice * 1664525 + 1013904223;
        size_t key = (dice >> 16) % 97 % KEYS; /* some more often than others */
        bool kills = seq > FROM && seq % EVERY == 0;
        struct record_in rec = {.subject = key_name(key, room, sizeof room), .payload = SLICE("p")};
        struct answer a = {0};
        bool wait = kills || seq % 100 == 0;
        assert_int_equal(store_append(s, &rec, wait ? on_append : NULL, &a), 0);
        note_put(&keys[key], seq);
        if (wait)
            wait_answer(&p, &a);
        if (kills) {
            place_kill(&p);
            s = find_stream(&p, "KV");
            compare_keys(s, keys);
        }
    }
    place_remove(&p);
}

static int put_expecting(struct stream *s, uint64_t last, struct answer *a)
{
    struct record_in rec = rec_of("a", "p");
    rec.flags = REC_EXPECT_SUBJECT_SEQ;
    rec.expect_subject_seq = last;
    *a = (struct answer){0};
    return store_append(s, &rec, on_append, a);
}

/* The view that a put keeps open is older than the receipt of its own commit, after which the
 * subject's entry goes and only the file knows about it. */
static void a_row_is_found_after_its_receipt_in_one_turn(void **state)
{
    (void)state;
    struct place p;
    struct stream_spec spec = spec_of("KV");
    struct answer a;
    place_init(&p);
    place_open(&p);
    spec.max_msgs_per_subject = 1;
    struct stream *s = make(&p, &spec);
    p.st->lazy_at.flush_dirty = 1;
    p.st->lazy_at.clean_max = 0;
    assert_int_equal(put_expecting(s, 0, &a), 0);
    wait_answer(&p, &a);
    for (uint64_t last = 1; last < 20; last++) {
        assert_false(index_in_memory(s, SLICE("a")));
        assert_int_equal(put_expecting(s, last, &a), 0); /* looks, and keeps the view */
        store_hand_over(p.st);
        writer_wait(p.st->writer);
        store_on_back(p.st);
        assert_int_equal(a.calls, 1);
        assert_int_equal(a.err, 0);
    }
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_thousand_subjects_survive),
        cmocka_unit_test(a_bucket_counts_right_wherever_it_was_killed),
        cmocka_unit_test(a_row_is_found_after_its_receipt_in_one_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
