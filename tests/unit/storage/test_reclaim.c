/* what a purge, a deletion or a limit leaves in the file goes by itself, to the last: also when a
 * kill, a stop or a failed commit comes between, and without anybody's traffic
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "base/fault.h"
#include "storage/store.h"
#include "storage/stream.h"

enum { LARGE = 20000, A_BLOCK = 3, MANY = A_BLOCK * BLOCKS_A_COMMIT * 3, SUBJECTS = 5000 };

/* Nothing is on its way to the disk. */
static bool quiet(void *arg)
{
    struct store *st = ((struct place *)arg)->st;
    return !st->flying && list_empty(&st->ready) && !st->gather->writes;
}

static void let_pass(struct place *p, unsigned seconds)
{
    while (seconds--) {
        fake_turn_advance(&p->ft, NS_PER_S);
        assert_true(fake_turn_wait(&p->ft, quiet, p));
    }
}

static unsigned rows_of(struct place *p, enum db_table table, uint32_t sid)
{
    struct walk w;
    struct key k;
    unsigned n = 0;
    struct txn *view = view_open(p->st->db);
    key_stream(&k, sid);
    bool on = walk_seek(&w, view, table, key_slice(&k));
    for (; on && key_of_stream(w.key, sid); on = walk_next(&w))
        n++;
    walk_end(&w);
    view_close(p->st->db);
    return n;
}

static unsigned blocks_of(struct place *p, uint32_t sid)
{
    return rows_of(p, DB_BLOCKS, sid);
}

/* A third of a block each. */
static void fill_blocks(struct place *p, struct stream *s, unsigned n)
{
    char *text = xcalloc(1, LARGE + 1);
    memset(text, 'x', LARGE);
    for (unsigned i = 0; i < n; i++) {
        struct record_in rec = rec_of("a", text);
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
        if (i % 100 == 0)
            put_text(p, s, "a", "x");
    }
    free(text);
    put_text(p, s, "a", "x");
}

static void fill_subjects(struct place *p, struct stream *s, unsigned first, unsigned n)
{
    char name[32];
    for (unsigned i = first; i < first + n; i++) {
        snprintf(name, sizeof name, "a.%05u", i);
        struct record_in rec = rec_of(name, "x");
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    }
    put_text(p, s, "z", "x");
}

static void purge(struct place *p, struct stream *s)
{
    struct purge_spec all = {0};
    struct answer a = {0};
    assert_int_equal(store_purge(s, &all, on_purged, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
}

static struct stream *reopened(struct place *p)
{
    place_close(p);
    place_open(p);
    return find_stream(p, "S");
}

static struct stream *make_s(struct place *p, int64_t max_msgs)
{
    struct stream_spec spec = spec_of("S");
    spec.max_msgs = max_msgs;
    return make(p, &spec);
}

/* --- blocks ---------------------------------------------------------------------------------- */

static void a_purge_goes_on_after_a_kill(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    fill_blocks(p, s, MANY);
    purge(p, s);
    place_kill_now(p);
    s = find_stream(p, "S");
    assert_true(blocks_of(p, s->sid) > 100);
    let_pass(p, 2);
    assert_int_equal(blocks_of(p, s->sid), 0);
    assert_true(list_empty(&p->st->reclaims));
    uint64_t last = state_of(s).last_seq;
    assert_int_equal(put_text(p, s, "a", "x"), last + 1);
}

static void a_deletion_goes_on_after_a_kill(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    struct answer a = {0};
    fill_blocks(p, s, MANY);
    uint32_t sid = s->sid;
    assert_int_equal(store_stream_delete(s, on_done, &a), 0);
    wait_answer(p, &a);
    place_kill_now(p);
    assert_true(blocks_of(p, sid) > BLOCKS_A_COMMIT);
    let_pass(p, 2);
    assert_int_equal(blocks_of(p, sid), 0);
    assert_int_equal(rows_of(p, DB_META, sid), 0);
    assert_true(list_empty(&p->st->reclaims));
}

/* The index's rows tell how far they may go, and are written when nobody says anything any more. */
static void blocks_that_were_pushed_out_go_without_traffic(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, 10);
    fill_blocks(p, s, MANY);
    assert_true(blocks_of(p, s->sid) > BLOCKS_A_COMMIT);
    let_pass(p, 5);
    assert_true(blocks_of(p, s->sid) < 10);
}

static void blocks_that_were_pushed_out_go_after_a_kill(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, 10);
    fill_blocks(p, s, MANY);
    place_kill_now(p);
    s = find_stream(p, "S");
    assert_true(blocks_of(p, s->sid) > BLOCKS_A_COMMIT);
    let_pass(p, 6);
    assert_true(blocks_of(p, s->sid) < 10);
}

static void blocks_that_were_pushed_out_go_after_a_stop(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, 10);
    fill_blocks(p, s, MANY);
    s = reopened(p);
    assert_true(blocks_of(p, s->sid) > BLOCKS_A_COMMIT);
    let_pass(p, 2);
    assert_true(blocks_of(p, s->sid) < 10);
}

/* A bucket whose keys are written anew all the time, on a machine that is switched off each night:
 * what a day leaves in the middle is less than what lives. */
static void a_bucket_s_file_does_not_grow_with_each_stop(void **state)
{
    enum { KEYS = 1000, A_DAY = 600, DAYS = 30 };
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    uint64_t extent = 0;
    unsigned n = 0;
    char key[16], text[1001] = {0};
    memset(text, 'x', 1000);
    spec.max_msgs_per_subject = 1;
    struct stream *s = make(p, &spec);
    put_text(p, s, "k.first", "is written once");
    for (unsigned day = 0; day < DAYS; day++) {
        p->st->lazy_at.compact_bytes = 10000;
        for (unsigned i = 0; i < A_DAY; i++, n++) {
            snprintf(key, sizeof key, "k.%u", n * 7 % KEYS);
            struct record_in rec = rec_of(key, text);
            assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
        }
        put_text(p, s, "k.last", "x");
        let_pass(p, 3);
        if (day == 10)
            extent = db_extent(p->st->db);
        if (day % 2)
            s = reopened(p);
        else
            place_kill_now(p), s = find_stream(p, "S");
    }
    assert_int_equal(state_of(s).msgs, KEYS + 2);
    assert_true(db_extent(p->st->db) < extent + extent / 2);
}

/* --- subjects -------------------------------------------------------------------------------- */

static void rows_of_purged_subjects_go_after_a_kill(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    fill_subjects(p, s, 0, SUBJECTS);
    s = reopened(p); /* all rows are written */
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), SUBJECTS + 1);
    purge(p, s);
    place_kill_now(p);
    s = find_stream(p, "S");
    assert_true(rows_of(p, DB_SUBJECTS, s->sid) > 1000);
    let_pass(p, 2);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 0);
    assert_int_equal(rows_of(p, DB_META, s->sid), 2);
}

/* The second purge comes while the rows that the first one left are being removed, and has some of
 * its own among those that were passed already. */
static void a_purge_during_a_sweep_is_swept_too(void **state)
{
    enum { AGAIN = 500 };
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    fill_subjects(p, s, 0, SUBJECTS);
    s = reopened(p);
    p->st->lazy_at.flush_dirty = 1;
    p->st->lazy_at.rows_bytes = 1 << 20;
    purge(p, s);
    fill_subjects(p, s, 0, AGAIN);
    put_text(p, s, "z", "x");
    unsigned rows = rows_of(p, DB_SUBJECTS, s->sid);
    assert_true(rows > AGAIN + 1); /* it is under way */
    assert_false(list_empty(&p->st->reclaims));
    purge(p, s);
    let_pass(p, 2);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 0);
    assert_true(list_empty(&p->st->reclaims));
    assert_int_equal(rows_of(p, DB_META, s->sid), 2);
}

static void a_roll_up_of_all_leaves_no_rows(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    fill_subjects(p, s, 0, SUBJECTS);
    s = reopened(p);
    struct record_in rec = rec_of("a.00007", "x");
    rec.flags = REC_ROLLUP_ALL;
    assert_int_equal(put(p, s, &rec).err, 0);
    let_pass(p, 5);
    assert_int_equal(state_of(s).num_subjects, 1);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 1);
    s = reopened(p);
    assert_int_equal(state_of(s).num_subjects, 1);
}

/* Who asks for a subject that was purged has its row in memory, but nobody writes that anew. */
static void a_row_that_somebody_asked_for_is_swept_too(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    fill_subjects(p, s, 0, SUBJECTS);
    s = reopened(p);
    purge(p, s);
    assert_null(index_get(s, SLICE("a.04000"), false));
    assert_true(rows_of(p, DB_SUBJECTS, s->sid) > 1000);
    let_pass(p, 2);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 0);
    put_text(p, s, "a.04000", "x");
    s = reopened(p);
    assert_int_equal(state_of(s).num_subjects, 1);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 1);
}

/* Its only message went, and its row would have gone soon; the roll-up is of the one that stays. */
static void a_roll_up_leaves_no_row_of_a_subject_that_had_just_emptied(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    uint64_t seq = put_text(p, s, "a", "x");
    put_text(p, s, "b", "x");
    s = reopened(p);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 2);
    struct answer a = {0};
    assert_int_equal(store_remove(s, &seq, 1, false, on_done, &a), 0);
    wait_answer(p, &a);
    struct record_in rec = rec_of("b", "x");
    rec.flags = REC_ROLLUP_ALL;
    assert_int_equal(put(p, s, &rec).err, 0);
    let_pass(p, 5);
    assert_int_equal(rows_of(p, DB_SUBJECTS, s->sid), 1);
    assert_int_equal(rows_of(p, DB_META, s->sid), 2);
}

/* --- very many ------------------------------------------------------------------------------- */

static void very_many_streams_leave_a_few_with_each_commit(void **state)
{
    enum { STREAMS = 100 };
    struct place *p = *state;
    struct stream *s[STREAMS];
    struct answer a[STREAMS] = {0};
    unsigned left = 0, most = 0;
    for (unsigned i = 0; i < STREAMS; i++) {
        char name[8];
        snprintf(name, sizeof name, "T%u", i);
        struct stream_spec spec = spec_of(name);
        s[i] = make(p, &spec);
        fill_blocks(p, s[i], 2 * A_BLOCK);
    }
    for (unsigned i = 0; i < STREAMS; i++)
        assert_int_equal(store_stream_delete(s[i], on_done, &a[i]), 0);
    wait_answer(p, &a[0]);
    for (bool on = true; on;) {
        unsigned was = left;
        on = fake_turn_once(&p->ft) || !quiet(p);
        left = 0;
        for (uint32_t sid = 1; sid <= STREAMS; sid++)
            left += blocks_of(p, sid) > 0;
        most = was > left && was - left > most ? was - left : most;
    }
    assert_int_equal(left, 0);
    assert_true(most > 0 && most <= 2 * 16);
}

/* --- a failed commit ------------------------------------------------------------------------- */

#ifdef FROND_FAULTS
static void a_purge_goes_on_after_a_failed_commit(void **state)
{
    struct place *p = *state;
    struct stream *s = make_s(p, -1);
    struct answer a = {0};
    fill_blocks(p, s, MANY);
    purge(p, s);
    fault_set("commit:1");
    struct record_in rec = rec_of("a", "x");
    assert_int_equal(store_append(s, &rec, on_append, &a), 0);
    wait_answer(p, &a);
    fault_set(NULL);
    assert_int_not_equal(a.err, 0);
    assert_true(blocks_of(p, s->sid) > 0); /* a commit of it may have been under way, and good */
    let_pass(p, 2);
    assert_int_equal(blocks_of(p, s->sid), 0);
    assert_int_equal(p->failed, 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
        T(a_purge_goes_on_after_a_kill),
        T(a_deletion_goes_on_after_a_kill),
        T(blocks_that_were_pushed_out_go_without_traffic),
        T(blocks_that_were_pushed_out_go_after_a_kill),
        T(blocks_that_were_pushed_out_go_after_a_stop),
        T(a_bucket_s_file_does_not_grow_with_each_stop),
        T(rows_of_purged_subjects_go_after_a_kill),
        T(a_purge_during_a_sweep_is_swept_too),
        T(a_roll_up_of_all_leaves_no_rows),
        T(a_row_that_somebody_asked_for_is_swept_too),
        T(a_roll_up_leaves_no_row_of_a_subject_that_had_just_emptied),
        T(very_many_streams_leave_a_few_with_each_commit),
#ifdef FROND_FAULTS
        T(a_purge_goes_on_after_a_failed_commit),
#endif
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
