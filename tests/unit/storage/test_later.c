/* work that is done later, against a stream that has changed meanwhile: rows of holes, a subject's
 * lower limit, a purge that keeps some, appends that wait for a start to be over
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "storage/holes.h"
#include "storage/store.h"
#include "storage/stream.h"
#include "storage/writer.h"

static void fill(struct stream *s, const char *subject, unsigned n)
{
    struct record_in rec = rec_of(subject, "x");
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
}

static bool is_there(struct stream *s, uint64_t seq)
{
    struct seen x = {0};
    return store_get(s, seq, on_seen, &x) == 0;
}

/* --- rows of holes --------------------------------------------------------------------------- */

static void remove_range(struct place *p, struct stream *s, uint64_t first, uint64_t last)
{
    struct answer a = {0};
    for (uint64_t seq = first; seq < last; seq++)
        assert_int_equal(store_remove(s, &seq, 1, false, NULL, NULL), 0);
    assert_int_equal(store_remove(s, &last, 1, false, on_done, &a), 0);
    wait_answer(p, &a);
}

/* Two pages a commit. When the first two were written they fill up and become one. */
static void pages_of_holes_that_join_lead_to_no_page_unwritten(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    uint64_t page = HOLE_PAGE;
    fill(s, "a", 8 * HOLE_PAGE);
    remove_range(p, s, page, 2 * page - 2);
    remove_range(p, s, 2 * page, 3 * page - 2);
    for (uint64_t i = 3; i < 7; i++)
        remove_range(p, s, i * page + 7, i * page + 7);
    p->st->lazy_at.journal_max = 1;
    p->st->lazy_at.rows_bytes = 1300;
    for (int i = 0; i < 100 && s->holes.at[1].dirty; i++)
        put_text(p, s, "a", "x");
    assert_true(s->holes_flush != 0 && !s->holes.at[1].dirty && s->holes.at[2].dirty);
    remove_range(p, s, 2 * page - 1, 2 * page - 1);
    remove_range(p, s, 3 * page - 1, 3 * page - 1);
    for (int i = 0; i < 100 && s->holes_flush; i++)
        put_text(p, s, "a", "x");
    assert_true(s->holes_flush == 0);
    p->st->lazy_at.journal_max = 1 << 30;
    for (int i = 0; i < 3; i++) {
        p->st->trim = true; /* what nobody needs leaves the journal */
        put_text(p, s, "a", "x");
    }
    uint64_t msgs = state_of(s).msgs;
    place_kill(p);
    s = find_stream(p, "S");
    for (uint64_t i = 3; i < 7; i++)
        assert_false(is_there(s, i * page + 7));
    assert_int_equal(p->failed, 0);
    assert_int_equal(state_of(s).msgs, msgs);
}

/* --- a subject's limit ------------------------------------------------------------------------ */

enum { APART = 10000 };

static void update(struct stream *s, const struct stream_spec *spec, struct answer *a)
{
    *a = (struct answer){0};
    assert_int_equal(store_stream_update(s, spec, on_done, a), 0);
}

/* The limit was 1 when a chore was started for it, and is none when the chore has its turn. */
static void a_limit_that_was_lifted_takes_nothing(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer lower, lift;
    for (int i = 0; i < 3; i++) {
        fill(s, "a", 1);
        fill(s, "b", APART - 1);
    }
    put_text(p, s, "c", "x");
    spec.max_msgs_per_subject = 1;
    update(s, &spec, &lower);
    fill(s, "a", 1);
    spec.max_msgs_per_subject = -1;
    update(s, &spec, &lift);
    fill(s, "a", 1);
    uint64_t first = put_text(p, s, "a", "x");
    put_text(p, s, "a", "x");
    fake_turn_run(&p->ft);
    assert_true(lower.calls && lift.calls);
    put_text(p, s, "c", "all is settled");
    assert_true(is_there(s, first - 2));
    assert_true(is_there(s, first - 1));
    assert_true(is_there(s, first));
    assert_true(is_there(s, first + 1));
}

/* --- a purge that keeps some ----------------------------------------------------------------- */

enum { MANY = 100000, KEEP = 1000 };

/* While it is under way others remove what it would have taken. */
static void purge_while_others_remove(struct place *p, const char *filter)
{
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct purge_spec purge = {.filter = slice_cstr(filter), .keep = KEEP};
    struct answer a = {0};
    fill(s, "a.b", MANY - 1);
    put_text(p, s, "a.b", "x");
    assert_int_equal(store_purge(s, &purge, on_purged, &a), 0);
    p->ft.job_budget_ns = 0;
    while (s->now.msgs == MANY)
        fake_turn_once(&p->ft);
    assert_int_equal(a.calls, 0);
    assert_true(s->now.msgs > MANY - 20000);
    remove_range(p, s, MANY - 20000, MANY - 15000);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
    assert_int_equal(state_of(s).msgs, KEEP);
    assert_true(is_there(s, MANY - KEEP + 1));
    assert_int_equal(a.n, MANY - KEEP - 5001);
}

static void a_purge_keeps_as_many_as_it_says(void **state)
{
    purge_while_others_remove(*state, "");
}

static void a_purge_of_a_subject_keeps_as_many_as_it_says(void **state)
{
    purge_while_others_remove(*state, "a.b");
}

static void a_purge_of_a_pattern_keeps_as_many_as_it_says(void **state)
{
    purge_while_others_remove(*state, "a.*");
}

/* --- appends that wait ----------------------------------------------------------------------- */

static struct stream_spec with_window(void)
{
    struct stream_spec spec = spec_of("S");
    spec.duplicate_window_ns = 120 * NS_PER_S;
    return spec;
}

static void append_two(struct place *p, struct stream *s, struct answer a[2])
{
    struct record_in rec = rec_of("a", "x");
    rec.msg_id = SLICE("new");
    assert_int_equal(store_append(s, &rec, on_append, &a[0]), 0);
    rec.msg_id = (struct slice){0};
    p->ft.job_budget_ns = 0;
    for (int i = 0; i < 2; i++)
        fake_turn_once(&p->ft);
    assert_int_equal(store_append(s, &rec, on_append, &a[1]), 0);
    wait_answer(p, &a[0]);
    wait_answer(p, &a[1]);
    assert_int_equal(a[0].r.seq + 1, a[1].r.seq);
}

/* The window of ids is read again; the second one has no id. */
static void nobody_overtakes_who_waits_for_the_window(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = with_window();
    struct stream *s = make(p, &spec);
    struct answer a[2] = {0};
    struct record_in rec = rec_of("a", "x");
    for (int i = 0; i < 5000; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        rec.msg_id = slice_cstr(id);
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    }
    put_text(p, s, "a", "x");
    place_close(p);
    place_open(p);
    append_two(p, find_stream(p, "S"), a);
}

/* A chore does the last portion of what the index has to catch up with. */
static void nobody_overtakes_who_waits_for_the_index(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a[2] = {0};
    struct answer purged = {0};
    struct purge_spec purge = {.filter = SLICE("none")};
    fill(s, "a", 2699);
    put_text(p, s, "a", "x");
    place_kill(p);
    s = find_stream(p, "S");
    assert_int_equal(store_purge(s, &purge, on_purged, &purged), 0);
    append_two(p, s, a);
}

/* --- the newest of a pattern ----------------------------------------------------------------- */

static void expect_last(struct stream *s, const char *pattern, uint64_t last, struct answer *a)
{
    struct record_in rec = rec_of("b", "x");
    rec.flags = REC_EXPECT_SUBJECT_SEQ;
    rec.expect_subject = slice_cstr(pattern);
    rec.expect_subject_seq = last;
    *a = (struct answer){0};
    assert_int_equal(store_append(s, &rec, on_append, a), 0);
}

/* Very much came since the same was asked for last: that is no work for one turn. */
static void what_came_since_the_last_question_is_looked_at_in_portions(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a;
    put_text(p, s, "a.1", "x");
    expect_last(s, "a.*", 1, &a);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
    for (int round = 0; round < 2; round++) {
        fill(s, "c", MANY);
        expect_last(s, "a.*", 1, &a);
        assert_true(s->held);
        wait_answer(p, &a);
        assert_int_equal(a.err, 0);
        expect_last(s, "a.*", 1, &a); /* known by now */
        assert_false(s->held);
        wait_answer(p, &a);
        assert_int_equal(a.err, 0);
    }
    fill(s, "c", MANY);
    uint64_t last = put_text(p, s, "a.2", "x");
    fill(s, "c", MANY);
    expect_last(s, "a.*", 1, &a);
    assert_true(s->held);
    wait_answer(p, &a);
    assert_int_equal(a.err, E_LAST_SUBJECT_SEQ);
    assert_int_equal(a.r.last, last);
    remove_range(p, s, last, last);
    expect_last(s, "a.*", 1, &a);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
}

/* --- by time --------------------------------------------------------------------------------- */

/* A mirror of a bucket: its numbers may lie any distance apart. */
static void a_time_between_two_far_numbers_is_found_at_once(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct record_in rec = rec_of("a", "x");
    rec.flags = REC_EXACT;
    for (uint64_t i = 1; i <= 3; i++) {
        rec.seq = i << 40;
        rec.ts = (int64_t)i * NS_PER_S;
        assert_int_equal(put(p, s, &rec).err, 0);
    }
    assert_int_equal(store_seq_at_time(s, NS_PER_S + 1), 2ull << 40);
    assert_int_equal(store_seq_at_time(s, 3 * NS_PER_S), 3ull << 40);
    assert_int_equal(store_seq_at_time(s, 3 * NS_PER_S + 1), (3ull << 40) + 1);
    uint64_t gone = 2ull << 40;
    struct answer a = {0};
    assert_int_equal(store_remove(s, &gone, 1, false, on_done, &a), 0);
    assert_int_equal(store_seq_at_time(s, NS_PER_S + 1), 2ull << 40); /* until that is on disk */
    wait_answer(p, &a);
    assert_int_equal(store_seq_at_time(s, NS_PER_S + 1), 3ull << 40);
}

/* --- memory ---------------------------------------------------------------------------------- */

/* What is dead behind an old message that lives is given back, and nothing else. */
static void an_old_message_holds_no_memory_of_the_dead(void **state)
{
    static char text[1001];
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct store_filter all = {0};
    spec.memory = true;
    spec.max_msgs_per_subject = 1;
    struct stream *s = make(p, &spec);
    memset(text, 'x', sizeof text - 1);
    for (uint64_t i = 1; i <= 20000; i++) {
        bool stays = i == 1 || i == 9000;
        assert_int_equal(put_text(p, s, stays ? i == 1 ? "old" : "middle" : "hot", text), i);
    }
    assert_true(stream_chunks(s) < 20);
    assert_int_equal(state_of(s).msgs, 3);
    assert_true(is_there(s, 1) && is_there(s, 9000) && is_there(s, 20000));
    assert_int_equal(last_of(s, &all, 19999), 9000);
    struct seen seen = {0};
    struct read_budget budget = {.max_msgs = 9, .max_scan = 9999, .max_bytes = 1 << 20};
    uint64_t from = 1;
    assert_int_equal(store_read(s, &from, NULL, &budget, on_seen, &seen), READ_END);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.seqs[1], 9000);
    uint64_t gone[] = {1, 9000, 20000};
    struct answer a = {0};
    assert_int_equal(store_remove(s, gone, 3, false, on_done, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(state_of(s).msgs, 0);
    assert_int_equal(put_text(p, s, "hot", text), 20001);
    assert_true(stream_chunks(s) <= 2);
}

/* --- a gap ----------------------------------------------------------------------------------- */

static void put_exact(struct place *p, struct stream *s, const char *subject, uint64_t seq)
{
    struct record_in rec = rec_of(subject, "x");
    rec.flags = REC_EXACT;
    rec.seq = seq;
    assert_int_equal(put(p, s, &rec).err, 0);
}

/* What is gone is read when the newest one before it is looked for, in the middle of the append. */
static void a_gap_in_a_mirror_is_no_damage_after_a_restart(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    uint64_t newest = 5;
    put_exact(p, s, "a", 1);
    put_exact(p, s, "b", 3);
    put_exact(p, s, "a", newest);
    put_exact(p, s, "b", 7);
    assert_int_equal(store_remove(s, &newest, 1, false, on_done, &a), 0);
    wait_answer(p, &a);
    place_close(p);
    place_open(p);
    fake_turn_run(&p->ft);
    s = find_stream(p, "S");
    put_exact(p, s, "a", 12);
    assert_int_equal(p->failed, 0);
    assert_int_equal(state_of(s).msgs, 4);
    assert_int_equal(state_of(s).num_deleted, 8);
}

/* --- what a commit took, before its receipt --------------------------------------------------- */

/* The file is ahead of what is shown: that a message is not in it any more is no damage. */
static void what_a_commit_took_is_no_damage_before_its_receipt(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    struct seen x = {0};
    char *large = xmalloc(100001);
    memset(large, 's', 100000);
    large[100000] = '\0';
    put_text(p, s, "a", "the first one");
    uint64_t big = put_text(p, s, "a", large);
    put_text(p, s, "a", "the last one");
    assert_int_equal(store_remove(s, &big, 1, true, on_done, &a), 0);
    store_hand_over(p->st);
    assert_non_null(p->st->flying);
    writer_wait(p->st->writer);
    assert_int_equal(store_get(s, big, on_seen, &x), E_DELETED);
    assert_int_equal(p->damaged, 0);
    wait_answer(p, &a);
    free(large);
}

/* Two blocks whose numbers are further apart than an entry of a directory can tell. */
static void blocks_far_apart_are_not_made_one(void **state)
{
    enum { EACH = 3000 };
    static const uint64_t from[] = {1, 5000000000};
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct record_in rec = rec_of("a", "a payload of some length, of which few are left");
    rec.flags = REC_EXACT;
    for (size_t i = 0; i < 2; i++)
        for (rec.seq = from[i]; rec.seq < from[i] + EACH; rec.seq++)
            assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    put_exact(p, s, "a", from[1] + EACH);
    p->st->lazy_at.compact_bytes = 1000;
    p->st->lazy_at.journal_max = 1;
    for (size_t i = 0; i < 2; i++)
        for (uint64_t seq = from[i] + 1; seq < from[i] + EACH; seq++)
            if (seq % 100)
                assert_int_equal(store_remove(s, &seq, 1, false, NULL, NULL), 0);
    for (uint64_t i = 1; i <= 20; i++) {
        put_exact(p, s, "b", from[1] + EACH + i);
        fake_turn_advance(&p->ft, 3 * NS_PER_S);
    }
    uint64_t msgs = state_of(s).msgs;
    place_close(p);
    place_open(p);
    fake_turn_run(&p->ft);
    s = find_stream(p, "S");
    assert_int_equal(state_of(s).msgs, msgs);
    for (size_t i = 0; i < 2; i++)
        for (uint64_t seq = from[i] + 100 - from[i] % 100; seq < from[i] + EACH; seq += 100)
            assert_true(is_there(s, seq));
    assert_int_equal(p->damaged, 0);
}

/* --- erased ----------------------------------------------------------------------------------- */

/* Each block is written once without them, not once for each of them. */
static void many_are_erased_from_a_block_at_once(void **state)
{
    enum { N = 300, KEPT = 7 };
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    uint64_t seqs[N];
    size_t n = 0;
    for (uint64_t i = 1; i <= N; i++) {
        (void)put_text(p, s, "a", "erase me");
        if (i % KEPT)
            seqs[n++] = i;
    }
    struct answer a = {0};
    struct record_in rec = rec_of("a", "erase me, too");
    assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    seqs[n++] = N + 1;
    assert_int_equal(store_remove(s, seqs, n, true, on_done, &a), 0);
    assert_true(p->st->gather->nparts < 5);
    assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    wait_answer(p, &a);
    for (int round = 0; round < 2; round++) {
        struct seen x = {0};
        s = find_stream(p, "S");
        assert_int_equal(state_of(s).msgs, N / KEPT + 1);
        for (uint64_t i = 1; i <= N + 2; i++)
            assert_int_equal(store_get(s, i, on_seen, &x),
                             (i <= N && i % KEPT == 0) || i == N + 2 ? 0 : E_DELETED);
        place_kill(p);
    }
    assert_int_equal(p->damaged, 0);
}

/* --- counts ----------------------------------------------------------------------------------- */

struct tally {
    struct stream *s;
    unsigned calls;
    uint64_t n, shown;
};

static void on_tally(void *arg, int err, uint64_t n, uint64_t as_of)
{
    struct tally *t = arg;
    (void)as_of;
    assert_int_equal(err, 0);
    t->calls++;
    t->n = n;
    t->shown = state_of(t->s).msgs;
}

static bool tallied(void *arg)
{
    return ((struct tally *)arg)->calls > 0;
}

/* It was decided when nobody counted, so nobody will be told its subject: it counts no more. */
static void what_was_leaving_before_the_count_is_not_counted(void **state)
{
    enum { N = 3000 };
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct slice pattern = SLICE("a.*");
    struct store_filter filters[] = {{&pattern, 1}, {NULL, 0}};
    fill(s, "a.1", N - 1);
    put_text(p, s, "a.1", "x");
    p->ft.job_budget_ns = 0;
    for (uint64_t i = 0, seq = 5; i < 4; i++, seq += 5) {
        struct answer gone = {0};
        struct tally t = {.s = s};
        assert_int_equal(store_remove(s, &seq, 1, i >= 2, on_done, &gone), 0);
        assert_int_equal(store_count(s, &filters[i % 2], 1, false, on_tally, &t, NULL), 0);
        assert_true(fake_turn_wait(&p->ft, tallied, &t));
        assert_int_equal(t.n, N - i - 1);
        wait_answer(p, &gone);
    }
}

/* The purge and the count have their turns side by side: it is right at every moment. */
static void a_count_in_memory_is_right_beside_a_purge(void **state)
{
    enum { N = 6000 };
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.memory = true;
    struct stream *s = make(p, &spec);
    struct slice pattern = SLICE("a.*");
    struct store_filter f = {&pattern, 1};
    struct purge_spec purge = {.filter = SLICE("a.1")};
    struct answer purged = {0};
    struct tally t = {.s = s};
    for (unsigned i = 0; i < N; i++)
        fill(s, i % 2 ? "a.1" : "a.2", 1);
    put_text(p, s, "a.2", "x");
    p->ft.job_budget_ns = 0;
    assert_int_equal(store_purge(s, &purge, on_purged, &purged), 0);
    assert_int_equal(store_count(s, &f, 1, false, on_tally, &t, NULL), 0);
    assert_true(fake_turn_wait(&p->ft, tallied, &t));
    assert_int_equal(t.n, t.shown);
    wait_answer(p, &purged);
    assert_int_equal(state_of(s).msgs, N / 2 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
        T(pages_of_holes_that_join_lead_to_no_page_unwritten),
        T(a_limit_that_was_lifted_takes_nothing),
        T(a_purge_keeps_as_many_as_it_says),
        T(a_purge_of_a_subject_keeps_as_many_as_it_says),
        T(a_purge_of_a_pattern_keeps_as_many_as_it_says),
        T(nobody_overtakes_who_waits_for_the_window),
        T(nobody_overtakes_who_waits_for_the_index),
        T(what_came_since_the_last_question_is_looked_at_in_portions),
        T(a_time_between_two_far_numbers_is_found_at_once),
        T(an_old_message_holds_no_memory_of_the_dead),
        T(a_gap_in_a_mirror_is_no_damage_after_a_restart),
        T(what_a_commit_took_is_no_damage_before_its_receipt),
        T(blocks_far_apart_are_not_made_one),
        T(many_are_erased_from_a_block_at_once),
        T(what_was_leaving_before_the_count_is_not_counted),
        T(a_count_in_memory_is_right_beside_a_purge),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
