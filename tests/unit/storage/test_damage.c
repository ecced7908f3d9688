/* files that are not what they should be, and what is built anew after a kill
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "storage/store.h"
#include "storage/stream.h"

static char *path_of(struct place *p, const char *name)
{
    return xasprintf("%s/jetstream/%s", p->dir, name);
}

static void begin(struct place *p)
{
    place_init(p);
    place_open(p);
}

static void fill(struct place *p, unsigned n)
{
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (unsigned i = 0; i < n; i++) {
        struct record_in rec = rec_of("x", "some payload that is easy to find");
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    }
    put_text(p, s, "x", "the last one");
}

/* A SIGKILL: the file as it is while nothing is under way. */
static void kill_store(struct place *p)
{
    while (p->st->flying)
        fake_turn_once(&p->ft);
    char *data = path_of(p, "frond/data.mdb"), *copy = path_of(p, "copy");
    char *cmd = xasprintf("cp %s %s", data, copy);
    assert_int_equal(system(cmd), 0); /* NOLINT(cert-env33-c): a test */
    place_close(p);
    assert_int_equal(rename(copy, data), 0);
    free(cmd);
    free(data);
    free(copy);
}

static void a_file_that_was_cut_off_is_refused(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    fill(&p, 3000);
    place_close(&p);
    char *data = path_of(&p, "frond/data.mdb");
    struct stat sb;
    assert_int_equal(stat(data, &sb), 0);
    assert_int_equal(truncate(data, sb.st_size / 2), 0);
    assert_int_equal(place_try_open(&p), E_CORRUPT);
    assert_int_equal(truncate(data, 100), 0);
    assert_int_equal(place_try_open(&p), E_CORRUPT);
    free(data);
    p.st = NULL;
    place_remove(&p);
}

static void a_file_that_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    place_close(&p);
    char *data = path_of(&p, "frond/data.mdb");
    int fd = open(data, O_WRONLY);
    assert_int_equal(pwrite(fd, "nonsense", 8, 16), 8);
    close(fd);
    assert_int_equal(place_try_open(&p), E_CORRUPT);
    free(data);
    p.st = NULL;
    place_remove(&p);
}

static void a_half_made_store_is_made_anew(void **state)
{
    (void)state;
    struct place p;
    place_init(&p);
    char *dirs = path_of(&p, "frond.tmp"), *cmd = xasprintf("mkdir -p %s", dirs);
    assert_int_equal(system(cmd), 0); /* NOLINT(cert-env33-c): a test */
    free(cmd);
    char *rest = path_of(&p, "frond.tmp/data.mdb");
    int fd = open(rest, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "torn", 4), 4);
    close(fd);
    place_open(&p);
    assert_int_not_equal(access(dirs, F_OK), 0);
    fill(&p, 1);
    free(dirs);
    free(rest);
    place_remove(&p);
}

/* Flips a bit of each copy of the text in the file. */
static unsigned scratch(struct place *p, const char *text, unsigned most)
{
    char *data = path_of(p, "frond/data.mdb");
    int fd = open(data, O_RDWR);
    struct stat sb;
    assert_int_equal(fstat(fd, &sb), 0);
    char *all = xmalloc((size_t)sb.st_size);
    assert_int_equal(read(fd, all, (size_t)sb.st_size), sb.st_size);
    unsigned n = 0;
    for (char *at = all; n < most; n++) {
        at = memmem(at, (size_t)(all + sb.st_size - at), text, strlen(text));
        if (!at)
            break;
        at[1] ^= 4;
        assert_int_equal(pwrite(fd, at, 4, at - all), 4);
    }
    close(fd);
    free(all);
    free(data);
    return n;
}

static void a_damaged_record_is_skipped_and_told_once(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    fill(&p, 3000);
    place_close(&p);
    assert_int_equal(scratch(&p, "easy to find", 1), 1);
    place_open(&p);
    struct stream *s = find_stream(&p, "S");
    for (int i = 0; i < 2; i++) {
        struct seen x = {0};
        uint64_t from = 0;
        struct read_budget all = {UINT32_MAX, UINT32_MAX, UINT64_MAX};
        assert_int_equal(store_read(s, &from, NULL, &all, on_seen, &x), READ_END);
        assert_int_equal(x.n, 3000);
        assert_int_equal(p.damaged, 1);
    }
    struct store_stats st;
    store_stats(p.st, &st);
    assert_int_equal(st.damaged, 1);
    assert_int_equal(state_of(s).msgs, 3001);
    place_remove(&p);
}

static uint64_t read_all(struct place *p, struct seen *x)
{
    uint64_t from = 0;
    struct read_budget all = {UINT32_MAX, UINT32_MAX, UINT64_MAX};
    *x = (struct seen){0};
    assert_int_equal(store_read(find_stream(p, "S"), &from, NULL, &all, on_seen, x), READ_END);
    return x->n;
}

static void one_wrong_bit_of_the_journal_is_put_right(void **state)
{
    (void)state;
    struct place p;
    struct seen x;
    begin(&p);
    fill(&p, 10); /* nothing is in a block yet */
    kill_store(&p);
    assert_true(scratch(&p, "the last one", 100) > 0);
    place_open(&p);
    assert_int_equal(read_all(&p, &x), 11);
    assert_int_equal(p.damaged, 0);
    place_remove(&p);
}

static void a_damaged_record_of_the_journal_is_told_and_the_others_live(void **state)
{
    (void)state;
    struct place p;
    struct seen x;
    begin(&p);
    fill(&p, 10);
    put_text(&p, find_stream(&p, "S"), "x", "and one more");
    kill_store(&p);
    assert_true(scratch(&p, "the last one", 100) > 0);
    assert_true(scratch(&p, "last one", 100) > 0);
    for (int i = 0; i < 2; i++) { /* it stays known when the journal has gone */
        p.damaged = 0;
        place_open(&p);
        assert_int_equal(read_all(&p, &x), 11);
        assert_int_equal(state_of(find_stream(&p, "S")).last_seq, 12);
        assert_int_equal(store_get(find_stream(&p, "S"), 11, on_seen, &x), E_CORRUPT);
        assert_int_equal(p.damaged, 1);
        place_close(&p);
    }
    p.st = NULL;
    place_remove(&p);
}

static void a_damaged_op_of_the_journal_is_not_passed_over(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    fill(&p, 10);
    struct stream *s = find_stream(&p, "S");
    uint64_t seq = put_text(&p, s, "subject.of.it", "gone soon");
    struct answer a = {0};
    assert_int_equal(store_remove(s, &seq, 1, false, on_done, &a), 0);
    wait_answer(&p, &a);
    kill_store(&p);
    assert_true(scratch(&p, "subject.of.it", 100) > 0);
    assert_true(scratch(&p, "of.it", 100) > 0);
    assert_int_equal(place_try_open(&p), E_CORRUPT);
    p.st = NULL;
    place_remove(&p);
}

static void ids_are_known_again_after_a_kill(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    struct stream_spec spec = spec_of("S");
    spec.duplicate_window_ns = 120 * NS_PER_S;
    struct stream *s = make(&p, &spec);
    char id[32];
    struct record_in rec = rec_of("x", "payload");
    for (int i = 0; i < 2000; i++) {
        rec.msg_id = slice_of(id, (size_t)snprintf(id, sizeof id, "id-%d", i));
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    }
    rec.msg_id = SLICE("the last");
    assert_int_equal(put(&p, s, &rec).seq, 2001);
    kill_store(&p);
    p.ft.job_budget_ns = 0; /* the window comes back in small portions */
    place_open(&p);
    s = find_stream(&p, "S");
    assert_true(s->dedupe.building);
    struct answer early = {0}, other = {0};
    rec.msg_id = SLICE("id-77");
    assert_int_equal(store_append(s, &rec, on_append, &early), 0);
    rec.msg_id = (struct slice){0};
    assert_int_equal(store_append(s, &rec, on_append, &other), 0);
    wait_answer(&p, &early);
    wait_answer(&p, &other);
    assert_true(early.r.duplicate);
    assert_int_equal(early.r.seq, 78);
    assert_int_equal(other.r.seq, 2002);
    rec.msg_id = SLICE("the last");
    rec.flags = REC_EXPECT_MSG_ID;
    rec.expect_msg_id = SLICE("nobody");
    struct store_receipt r = put(&p, s, &rec);
    assert_true(r.duplicate);
    assert_int_equal(r.seq, 2001);
    place_remove(&p);
}

static void a_deleted_stream_is_reclaimed_after_a_kill(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    fill(&p, 30000);
    struct answer a = {0};
    assert_int_equal(store_stream_delete(find_stream(&p, "S"), on_done, &a), 0);
    wait_answer(&p, &a);
    kill_store(&p);
    place_open(&p);
    assert_null(find_stream(&p, "S"));
    struct stream_spec spec = spec_of("T");
    struct stream *t = make(&p, &spec);
    for (int i = 0; i < 200 && !list_empty(&p.st->reclaims); i++)
        put_text(&p, t, "x", "1");
    assert_true(list_empty(&p.st->reclaims));
    struct key k;
    struct walk w;
    key_stream(&k, 1);
    struct txn *view = view_open(p.st->db);
    assert_false(walk_seek(&w, view, DB_BLOCKS, key_slice(&k)) && key_of_stream(w.key, 1));
    walk_end(&w);
    view_close(p.st->db);
    place_remove(&p);
}

static void erased_bytes_are_not_in_the_stream_s_blocks(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    fill(&p, 600);
    struct stream *s = find_stream(&p, "S");
    uint64_t seq = put_text(&p, s, "x", "a secret"), big;
    for (int i = 0; i < 600; i++)
        put_text(&p, s, "x", "more of it, so that the secret's block is full and stored");
    char *large = xmalloc(100001);
    memset(large, 's', 100000);
    large[100000] = '\0';
    big = put_text(&p, s, "x", large);
    struct answer a = {0};
    uint64_t both[] = {seq, big};
    assert_int_equal(store_remove(s, both, 2, true, on_done, &a), 0);
    wait_answer(&p, &a);
    place_close(&p);
    place_open(&p);
    s = find_stream(&p, "S");
    struct key k;
    struct walk w;
    key_stream(&k, s->sid);
    struct txn *view = view_open(p.st->db);
    for (bool on = walk_seek(&w, view, DB_BLOCKS, key_slice(&k)); on; on = walk_next(&w)) {
        assert_null(memmem(w.value.p, w.value.n, "a secret", 8));
        assert_null(memmem(w.value.p, w.value.n, "ssssssssssssssss", 16));
    }
    walk_end(&w);
    view_close(p.st->db);
    struct seen x = {0};
    assert_int_equal(store_get(s, seq, on_seen, &x), E_DELETED);
    assert_int_equal(store_get(s, big, on_seen, &x), E_DELETED);
    assert_int_equal(p.damaged, 0);
    free(large);
    place_remove(&p);
}

static void a_queue_s_file_does_not_grow_without_end(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    struct stream_spec spec = spec_of("W");
    struct stream *s = make(&p, &spec);
    p.st->lazy_at.compact_bytes = 100000;
    p.st->lazy_at.journal_max = 100000;
    put_text(&p, s, "x", "the one that is never acknowledged");
    uint64_t extent = 0;
    for (int round = 0; round < 60; round++) {
        uint64_t seqs[400];
        for (int i = 0; i < 400; i++) {
            struct record_in rec = rec_of("x", "a payload of some length, acknowledged at random");
            assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
            seqs[i] = store_last_assigned(s);
        }
        struct answer a = {0};
        assert_int_equal(store_remove(s, seqs, 400, false, on_done, &a), 0);
        wait_answer(&p, &a);
        fake_turn_advance(&p.ft, 3 * NS_PER_S);
        if (round == 20)
            extent = db_extent(p.st->db);
    }
    assert_int_equal(state_of(s).msgs, 1);
    assert_int_equal(state_of(s).first_seq, 1);
    assert_true(db_extent(p.st->db) < extent + extent / 2);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_was_cut_off_is_refused),
        cmocka_unit_test(a_file_that_is_not_ours_is_refused),
        cmocka_unit_test(a_half_made_store_is_made_anew),
        cmocka_unit_test(a_damaged_record_is_skipped_and_told_once),
        cmocka_unit_test(one_wrong_bit_of_the_journal_is_put_right),
        cmocka_unit_test(a_damaged_record_of_the_journal_is_told_and_the_others_live),
        cmocka_unit_test(a_damaged_op_of_the_journal_is_not_passed_over),
        cmocka_unit_test(ids_are_known_again_after_a_kill),
        cmocka_unit_test(a_deleted_stream_is_reclaimed_after_a_kill),
        cmocka_unit_test(erased_bytes_are_not_in_the_stream_s_blocks),
        cmocka_unit_test(a_queue_s_file_does_not_grow_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
