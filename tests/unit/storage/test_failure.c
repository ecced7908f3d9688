/* commits that fail: everybody hears it, in order, and the store goes on with what the file says
 *
 * Needs the fault points (cmake -DFAULTS=ON); without them the tests skip themselves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "storage/lmdb.h"
#include "storage/writer.h"

#ifdef FROND_FAULTS

enum { MESSAGES = 400 };

struct publisher {
    uint64_t asked, answered, acked, refused;
    uint64_t order;          /* the next answer must be this one's */
    bool late;               /* one answer came out of order */
    bool seen[MESSAGES * 3]; /* the payload number was acknowledged */
};

struct question {
    struct publisher *pub;
    uint64_t number;
};

static void on_answer(void *arg, const struct store_receipt *r)
{
    struct question *q = arg;
    struct publisher *p = q->pub;
    p->late |= q->number != p->order;
    p->order = q->number + 1;
    p->answered++;
    if (r->err)
        p->refused++;
    else {
        p->acked++;
        p->seen[q->number] = true;
    }
    free(q);
}

static void ask(struct publisher *p, struct stream *s)
{
    char text[32];
    struct question *q = xmalloc(sizeof *q);
    *q = (struct question){p, p->asked++};
    snprintf(text, sizeof text, "%llu", (unsigned long long)q->number);
    struct record_in rec = rec_of("x", text);
    assert_int_equal(store_append(s, &rec, on_answer, q), 0);
}

static bool all_answered(void *arg)
{
    struct publisher *p = arg;
    return p->answered == p->asked;
}

static int tick_off(void *arg, const struct record_out *r)
{
    struct publisher *p = arg;
    char text[32];
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(r->payload));
    uint64_t n = strtoull(text, NULL, 10);
    assert_true(p->seen[n]); /* nothing is stored that was not acknowledged */
    p->seen[n] = false;
    return READ_ON;
}

static void stored_is_acknowledged(struct publisher *p, struct stream *s)
{
    uint64_t from = 0;
    struct read_budget all = {UINT32_MAX, UINT32_MAX, UINT64_MAX};
    assert_int_equal(store_read(s, &from, NULL, &all, tick_off, p), READ_END);
    for (uint64_t i = 0; i < p->asked; i++)
        assert_false(p->seen[i]); /* nothing acknowledged is missing */
}

static void one_round(unsigned n)
{
    struct place p;
    struct publisher pub = {0};
    char spec_text[32];
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(&p, &spec);
    snprintf(spec_text, sizeof spec_text, "commit:%u", n);
    fault_set(spec_text);
    for (int i = 0; i < MESSAGES; i++) {
        ask(&pub, s);
        if (i % 7 == 0)
            fake_turn_once(&p.ft);
        if (i % 29 == 0)
            assert_true(fake_turn_wait(&p.ft, all_answered, &pub));
    }
    assert_true(fake_turn_wait(&p.ft, all_answered, &pub));
    fault_set(NULL);
    for (int i = 0; i < 10; i++)
        ask(&pub, s);
    assert_true(fake_turn_wait(&p.ft, all_answered, &pub));
    assert_false(pub.late);
    assert_int_equal(p.reopened, pub.refused > 0);
    assert_int_equal(pub.acked + pub.refused, pub.asked);
    assert_true(find_stream(&p, "S") == s);
    stored_is_acknowledged(&pub, s);
    place_remove(&p);
}

static void every_commit_may_fail_once(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 50; n++)
        one_round(n);
}

static void a_stream_whose_creation_failed_is_gone(void **state)
{
    (void)state;
    struct place p;
    struct stream *s;
    struct answer a = {0}, b = {0};
    place_init(&p);
    place_open(&p);
    fake_turn_run(&p.ft);
    fault_set("commit:1");
    struct stream_spec spec = spec_of("S");
    assert_int_equal(store_stream_create(p.st, &spec, on_done, &a, &s), 0);
    struct record_in rec = rec_of("x", "1");
    assert_int_equal(store_append(s, &rec, on_append, &b), 0);
    wait_answer(&p, &b);
    wait_answer(&p, &a);
    fault_set(NULL);
    assert_int_not_equal(a.err, 0);
    assert_int_not_equal(b.err, 0);
    assert_null(find_stream(&p, "S"));
    s = make(&p, &spec);
    assert_int_equal(put_text(&p, s, "x", "2"), 1);
    place_remove(&p);
}

static void a_stream_whose_deletion_failed_is_still_there(void **state)
{
    (void)state;
    struct place p;
    struct answer a = {0};
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(&p, &spec);
    put_text(&p, s, "x", "1");
    fault_set("commit:1");
    assert_int_equal(store_stream_delete(s, on_done, &a), 0);
    wait_answer(&p, &a);
    fault_set(NULL);
    assert_int_not_equal(a.err, 0);
    assert_true(find_stream(&p, "S") == s);
    assert_int_equal(state_of(s).msgs, 1);
    assert_int_equal(put_text(&p, s, "x", "2"), 2);
    place_remove(&p);
}

static void no_space_refuses_publishes_and_lets_go_later(void **state)
{
    (void)state;
    struct place p;
    struct store_stats stats;
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(&p, &spec);
    put_text(&p, s, "x", "1");
    fault_set("commit-space:1,space:1-3");
    struct record_in rec = rec_of("x", "2");
    assert_int_equal(put(&p, s, &rec).err, E_SPACE);
    store_stats(p.st, &stats);
    assert_true(stats.full);
    struct answer a = {0};
    assert_int_equal(store_append(s, &rec, on_append, &a), E_SPACE);
    uint64_t one = 1;
    assert_int_equal(store_remove(s, &one, 1, false, on_done, &a), 0);
    wait_answer(&p, &a);
    assert_int_equal(a.err, 0);
    fake_turn_advance(&p.ft, 2 * NS_PER_S);
    store_stats(p.st, &stats);
    assert_true(stats.full);
    fake_turn_advance(&p.ft, 3 * NS_PER_S);
    store_stats(p.st, &stats);
    assert_false(stats.full);
    fault_set(NULL);
    assert_int_equal(put_text(&p, s, "x", "3"), 2);
    place_remove(&p);
}

static void a_broken_device_ends_the_acks(void **state)
{
    (void)state;
    struct place p;
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(&p, &spec);
    put_text(&p, s, "x", "1");
    fault_set("commit-io:1");
    struct record_in rec = rec_of("x", "2");
    assert_int_equal(put(&p, s, &rec).err, E_IO);
    fault_set(NULL);
    assert_int_equal(p.failed, 1);
    struct answer a = {0};
    assert_int_equal(store_append(s, &rec, on_append, &a), E_READONLY);
    struct seen x = {0};
    assert_int_equal(store_get(s, 1, on_seen, &x), 0);
    struct stream_spec other = spec_of("T");
    assert_int_equal(store_stream_create(p.st, &other, on_done, &a, &s), E_READONLY);
    other.memory = true; /* what needs no disk goes on */
    s = make(&p, &other);
    assert_int_equal(put_text(&p, s, "x", "1"), 1);
    place_remove(&p);
}

enum { FIRST_PAGES = 2 * 4096 };

static atomic_bool no_room; /* for LMDB's first pages */

/* LMDB calls this one. */
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (no_room && at < FIRST_PAGES && n < FIRST_PAGES) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, p, n, at);
}

/* LMDB calls its environment dead then. */
static void who_reads_before_the_receipt_of_a_full_disk_finds_what_there_was(void **state)
{
    (void)state;
    struct place p;
    struct answer a = {0};
    struct seen x = {0};
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("S");
    put_text(&p, make(&p, &spec), "x", "1");
    place_close(&p);
    place_open(&p);
    struct stream *s = find_stream(&p, "S");
    struct record_in rec = rec_of("x", "2");
    no_room = true;
    assert_int_equal(store_append(s, &rec, on_append, &a), 0);
    store_hand_over(p.st);
    assert_non_null(p.st->flying);
    writer_wait(p.st->writer);
    no_room = false;
    assert_non_null(view_open(p.st->db));
    view_close(p.st->db);
    assert_int_equal(store_get(s, 1, on_seen, &x), 0);
    assert_string_equal(x.text, "1");
    assert_int_equal(a.calls, 0);
    wait_answer(&p, &a);
    assert_int_equal(a.err, E_SPACE);
    assert_int_equal(p.failed, 0);
    fake_turn_advance(&p.ft, 5 * NS_PER_S);
    assert_int_equal(put_text(&p, s, "x", "3"), 2);
    place_remove(&p);
}

static void cursors_go_back_too(void **state)
{
    (void)state;
    struct place p;
    struct cursor *c;
    struct answer a = {0};
    place_init(&p);
    place_open(&p);
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(&p, &spec);
    fault_set("commit:1");
    struct cursor_spec cs = {.name = SLICE("C"), .config = SLICE("{}")};
    assert_int_equal(store_cursor_create(s, &cs, NULL, on_done, &a, &c), 0);
    wait_answer(&p, &a);
    fault_set(NULL);
    assert_int_not_equal(a.err, 0);
    size_t pos = 0;
    assert_null(store_cursor_next(s, &pos));
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_commit_may_fail_once),
        cmocka_unit_test(a_stream_whose_creation_failed_is_gone),
        cmocka_unit_test(a_stream_whose_deletion_failed_is_still_there),
        cmocka_unit_test(no_space_refuses_publishes_and_lets_go_later),
        cmocka_unit_test(a_broken_device_ends_the_acks),
        cmocka_unit_test(who_reads_before_the_receipt_of_a_full_disk_finds_what_there_was),
        cmocka_unit_test(cursors_go_back_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void without_fault_points_nothing_fails(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_fault_points_nothing_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
