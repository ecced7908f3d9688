/* roll-ups: what they take is gone when they are answered, also after a kill, and nothing else is;
 * however much that is and however far it lies apart
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "storage/store.h"
#include "storage/stream.h"

enum { APART = 10000, MANY = 30000 };

static struct stream *six_messages(struct place *p)
{
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 6; i++)
        put_text(p, s, i % 2 ? "a" : "b", "p");
    return s;
}

static void a_rollup_leaves_only_itself(void **state)
{
    struct place *p = *state;
    struct stream *s = six_messages(p);
    struct record_in rec = rec_of("a", "sum");
    rec.flags = REC_ROLLUP_SUBJECT;
    assert_int_equal(put(p, s, &rec).seq, 7);
    assert_int_equal(state_of(s).msgs, 4);
    rec.flags = REC_ROLLUP_ALL;
    assert_int_equal(put(p, s, &rec).seq, 8);
    struct stream_state st = state_of(s);
    assert_int_equal(st.msgs, 1);
    assert_int_equal(st.num_subjects, 1);
    assert_int_equal(st.first_seq, 8);
}

static void a_rollup_that_nobody_keeps_leaves_nothing_and_at_once(void **state)
{
    struct place *p = *state;
    struct stream *s = six_messages(p);
    struct record_in rec = rec_of("a", "sum");
    struct answer a = {0};
    rec.flags = REC_ROLLUP_ALL | REC_SKIP;
    assert_int_equal(store_append(s, &rec, on_append, &a), 0);
    assert_int_equal(s->now.msgs, 0); /* not only when a job has come to it: the receipt says it */
    assert_int_equal(s->now.first_seq, 8);
    wait_answer(p, &a);
    assert_int_equal(a.r.seq, 7);
    place_kill(p);
    s = find_stream(p, "S");
    assert_int_equal(state_of(s).msgs, 0);
    assert_int_equal(state_of(s).num_subjects, 0);
    assert_int_equal(state_of(s).first_seq, 8);
    put_text(p, s, "a", "8");
    assert_int_equal(state_of(s).last_seq, 8);
}

/* --- what takes more than one turn ------------------------------------------------------------ */

static void fill(struct stream *s, const char *subject, unsigned n)
{
    struct record_in rec = rec_of(subject, "x");
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
}

/* 1, 10001 and 20001 are of "a": farther apart than is searched for at once. */
static struct stream *far_apart(struct place *p)
{
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 3; i++) {
        fill(s, "a", 1);
        fill(s, "b", APART - 1);
    }
    put_text(p, s, "c", "the last one");
    return s;
}

static bool is_there(struct stream *s, uint64_t seq)
{
    struct seen x = {0};
    return store_get(s, seq, on_seen, &x) == 0;
}

static struct record_in sum_of(const char *subject)
{
    struct record_in rec = rec_of(subject, "sum");
    rec.flags = REC_ROLLUP_SUBJECT;
    return rec;
}

static void what_comes_behind_a_rollup_stays(void **state)
{
    struct place *p = *state;
    struct stream *s = far_apart(p);
    struct record_in sum = sum_of("a");
    struct answer a = {0};
    assert_int_equal(store_append(s, &sum, on_append, &a), 0);
    fill(s, "a", 3);
    wait_answer(p, &a);
    fake_turn_run(&p->ft);
    put_text(p, s, "c", "all is settled");
    assert_int_equal(a.r.seq, 3 * APART + 2);
    for (uint64_t seq = a.r.seq; seq <= a.r.seq + 3; seq++)
        assert_true(is_there(s, seq));
    assert_int_equal(state_of(s).msgs, 3 * (APART - 1) + 1 + 4 + 1);
}

static void an_answered_rollup_outlives_a_kill(void **state)
{
    struct place *p = *state;
    struct stream *s = far_apart(p);
    struct record_in sum = sum_of("a");
    struct store_receipt r = put(p, s, &sum);
    assert_int_equal(r.err, 0);
    place_kill(p);
    s = find_stream(p, "S");
    for (uint64_t seq = 1; seq < 3 * APART; seq += APART)
        assert_false(is_there(s, seq));
    assert_true(is_there(s, r.seq));
    assert_int_equal(state_of(s).msgs, 3 * (APART - 1) + 1 + 1);
}

static void an_answered_rollup_of_a_skipped_message_outlives_a_kill(void **state)
{
    struct place *p = *state;
    struct stream *s = far_apart(p);
    struct record_in sum = sum_of("a");
    sum.flags |= REC_SKIP;
    assert_int_equal(put(p, s, &sum).seq, 3 * APART + 2);
    place_kill(p);
    s = find_stream(p, "S");
    assert_int_equal(state_of(s).msgs, 3 * (APART - 1) + 1);
}

static void a_rollup_of_very_many_is_no_work_for_one_turn(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct record_in sum = sum_of("a");
    struct answer a = {0};
    fill(s, "a", MANY);
    put_text(p, s, "b", "x");
    assert_int_equal(store_append(s, &sum, on_append, &a), 0);
    assert_true(s->now.msgs > MANY / 2);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
    assert_int_equal(a.r.seq, MANY + 2);
    assert_int_equal(state_of(s).msgs, 2);
    place_kill(p);
    assert_int_equal(state_of(find_stream(p, "S")).msgs, 2);
}

/* A memory stream keeps no entry of a subject without messages. */
static void a_rollup_may_leave_nothing_of_a_subject_in_memory(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.memory = true;
    struct stream *s = make(p, &spec);
    struct record_in sum = sum_of("a");
    sum.flags |= REC_SKIP;
    put_text(p, s, "b", "x");
    put_text(p, s, "a", "x");
    assert_int_equal(put(p, s, &sum).seq, 3);
    assert_int_equal(state_of(s).msgs, 1);
    assert_int_equal(state_of(s).num_subjects, 1);
    fill(s, "a", 2);
    assert_int_equal(put(p, s, &sum).seq, 6);
    assert_int_equal(state_of(s).msgs, 1);
    assert_int_equal(state_of(s).num_subjects, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
        T(a_rollup_leaves_only_itself),
        T(a_rollup_that_nobody_keeps_leaves_nothing_and_at_once),
        T(what_comes_behind_a_rollup_stays),
        T(an_answered_rollup_outlives_a_kill),
        T(an_answered_rollup_of_a_skipped_message_outlives_a_kill),
        T(a_rollup_of_very_many_is_no_work_for_one_turn),
        T(a_rollup_may_leave_nothing_of_a_subject_in_memory),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
