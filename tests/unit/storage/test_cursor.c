/* a consumer's progress: snapshot and deltas, over kills, restarts and a journal that forgets
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include <sys/stat.h>

#include "storage/codec.h"
#include "storage/store.h"

/* Counts; a delta says by how much. */
struct progress {
    uint64_t now, told; /* told: what the store has heard of */
    unsigned snapshots, deltas;
};

static void on_delta(void *arg, struct buf *out)
{
    struct progress *p = arg;
    if (p->now != p->told)
        add_u64(out, p->now - p->told);
    p->told = p->now;
    p->deltas++;
}

static void on_snapshot(void *arg, struct buf *out)
{
    struct progress *p = arg;
    add_u64(out, p->now);
    p->told = p->now;
    p->snapshots++;
}

enum { LONG = 20000 };

static void on_long_snapshot(void *arg, struct buf *out)
{
    static const char zero[LONG];
    on_snapshot(arg, out);
    buf_add(out, zero, sizeof zero);
}

static int on_load(void *arg, bool is_snapshot, struct slice bytes)
{
    struct progress *p = arg;
    struct take t = take_of(bytes);
    uint64_t v = bytes.n ? take_u64(&t) : 0;
    p->now = is_snapshot ? v : p->now + v;
    p->told = p->now;
    return 0;
}

static struct cursor_source source_of(struct progress *p)
{
    return (struct cursor_source){p, on_delta, on_snapshot};
}

static struct cursor *only_cursor(struct place *p)
{
    size_t pos = 0;
    struct cursor *c = store_cursor_next(find_stream(p, "S"), &pos);
    assert_non_null(c);
    assert_null(store_cursor_next(find_stream(p, "S"), &pos));
    return c;
}

static struct cursor *attach(struct place *p, struct progress *x)
{
    struct cursor_source src = source_of(x);
    struct cursor *c = only_cursor(p);
    *x = (struct progress){0};
    assert_int_equal(store_cursor_attach(c, &src, on_load, x), 0);
    return c;
}

static void sync_it(struct place *p, struct cursor *c)
{
    struct answer a = {0};
    assert_int_equal(store_cursor_sync(c, on_done, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
}

static struct cursor *begin(struct place *p, struct progress *x)
{
    struct stream_spec spec = spec_of("S");
    struct cursor_spec cs = {.name = SLICE("C"), .config = SLICE("{1}"), .created = 77};
    struct cursor_source src = source_of(x);
    struct cursor *c;
    struct answer a = {0};
    place_init(p);
    place_open(p);
    struct stream *s = make(p, &spec);
    assert_int_equal(store_cursor_create(s, &cs, &src, on_done, &a, &c), 0);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
    assert_int_equal(store_cursor_create(s, &cs, &src, on_done, &a, &c), E_EXISTS);
    return c;
}

static void what_was_synced_is_there(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    for (uint64_t i = 1; i <= 40; i++) {
        x.now += i;
        sync_it(&p, c);
        uint64_t synced = x.now;
        if (i % 3 == 0) {
            place_kill(&p);
            c = attach(&p, &x);
            assert_int_equal(x.now, synced);
        } else if (i % 7 == 0) {
            place_close(&p);
            place_open(&p);
            c = attach(&p, &x);
            assert_int_equal(x.now, synced);
        }
    }
    assert_int_equal(store_cursor_spec(c)->created, 77);
    assert_true(slice_is(store_cursor_spec(c)->config, "{1}"));
    place_remove(&p);
}

/* The row is written when cursors have waited for a slow commit; what comes until the next one goes
 * into the same batch. */
static void what_was_synced_behind_a_row_in_the_same_batch_is_there(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct answer a = {0}, updated = {0};
    struct record_in rec = rec_of("x", "1");
    struct cursor *c = begin(&p, &x);
    assert_int_equal(store_append(find_stream(&p, "S"), &rec, NULL, NULL), 0);
    while (!p.st->flying)
        fake_turn_once(&p.ft);
    assert_int_equal(store_cursor_update(c, SLICE("{2}"), on_done, &updated), 0);
    store_on_lazy(p.st);
    x.now += 5;
    assert_int_equal(store_cursor_sync(c, on_done, &a), 0);
    wait_answer(&p, &a);
    assert_int_equal(a.err, 0);
    place_kill(&p);
    c = attach(&p, &x);
    assert_int_equal(x.now, 5);
    assert_true(slice_is(store_cursor_spec(c)->config, "{2}"));
    place_remove(&p);
}

/* Nothing else goes with the commits that bring the rows: no journal tells of them. */
static void what_is_synced_after_a_restart_is_no_part_of_an_older_row(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    for (int i = 0; i < 5; i++) {
        struct answer a = {0};
        assert_int_equal(store_cursor_update(c, SLICE("{2}"), on_done, &a), 0);
        wait_answer(&p, &a);
    }
    for (uint64_t life = 1; life <= 4; life++) {
        place_kill(&p);
        c = attach(&p, &x);
        assert_int_equal(x.now, life - 1);
        x.now = life;
        sync_it(&p, c);
    }
    place_remove(&p);
}

static void lazy_progress_is_at_most_fifty_milliseconds_behind(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    unsigned before = x.deltas;
    x.now = 5;
    store_cursor_dirty(c);
    x.now = 6;
    store_cursor_dirty(c);
    fake_turn_advance(&p.ft, 40 * NS_PER_MS);
    assert_int_equal(x.deltas, before);
    fake_turn_advance(&p.ft, 11 * NS_PER_MS);
    assert_int_equal(x.deltas, before + 1);
    struct store_stats st;
    do {
        fake_turn_once(&p.ft);
        store_stats(p.st, &st);
    } while (p.st->flying);
    place_kill(&p);
    (void)attach(&p, &x);
    assert_int_equal(x.now, 6);
    place_remove(&p);
}

static void progress_without_hurry_waits_longer_until_somebody_has_one(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    unsigned before = x.deltas;
    x.now = 5;
    store_cursor_dirty_within(c, NS_PER_S);
    fake_turn_advance(&p.ft, 900 * NS_PER_MS);
    assert_int_equal(x.deltas, before);
    fake_turn_advance(&p.ft, 101 * NS_PER_MS);
    assert_int_equal(x.deltas, before + 1);
    while (p.st->flying)
        fake_turn_once(&p.ft);
    store_cursor_dirty_within(c, NS_PER_S);
    store_cursor_dirty(c); /* the shorter time counts */
    store_cursor_dirty_within(c, NS_PER_S);
    fake_turn_advance(&p.ft, 51 * NS_PER_MS);
    assert_int_equal(x.deltas, before + 2);
    while (p.st->flying)
        fake_turn_once(&p.ft);
    place_remove(&p);
}

static void a_full_journal_asks_for_a_snapshot(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    struct stream *s = find_stream(&p, "S");
    p.st->lazy_at.journal_max = 20000;
    unsigned before = x.snapshots;
    for (int i = 0; i < 300; i++) {
        x.now++;
        store_cursor_dirty(c);
        put_text(&p, s, "x",
                 "something that makes the journal longer and longer, commit by commit");
    }
    assert_true(x.snapshots > before);
    sync_it(&p, c);
    place_kill(&p);
    (void)attach(&p, &x);
    assert_int_equal(x.now, 300);
    place_remove(&p);
}

static void nobody_attached_loses_nothing(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    x.now = 9;
    sync_it(&p, c);
    for (int i = 0; i < 3; i++) { /* the journal forgets the delta while nobody looks */
        place_kill(&p);
        p.st->lazy_at.journal_max = 2000;
        for (int k = 0; k < 60; k++)
            put_text(&p, find_stream(&p, "S"), "x", "something that makes the journal longer");
    }
    (void)attach(&p, &x);
    assert_int_equal(x.now, 9);
    place_remove(&p);
}

static void update_and_delete(void **state)
{
    (void)state;
    struct place p;
    struct progress x = {0};
    struct cursor *c = begin(&p, &x);
    struct answer a = {0}, b = {0};
    x.now = 3;
    assert_int_equal(store_cursor_update(c, SLICE("{2}"), on_done, &a), 0);
    wait_answer(&p, &a);
    place_kill(&p);
    c = attach(&p, &x);
    assert_int_equal(x.now, 3);
    assert_true(slice_is(store_cursor_spec(c)->config, "{2}"));
    assert_int_equal(store_cursor_delete(c, on_done, &b), 0);
    wait_answer(&p, &b);
    place_kill(&p);
    size_t pos = 0;
    assert_null(store_cursor_next(find_stream(&p, "S"), &pos));
    place_remove(&p);
}

/* Many whose progress is long, while the journal is to forget what all of them said: a few rows go
 * with each commit. */
static void long_rows_go_with_one_commit_after_the_other(void **state)
{
    enum { CURSORS = 200 };
    (void)state;
    struct place p;
    struct progress x[CURSORS + 1] = {{0}};
    (void)begin(&p, &x[CURSORS]);
    struct stream *s = find_stream(&p, "S");
    struct cursor *c[CURSORS];
    for (unsigned i = 0; i < CURSORS; i++) {
        char name[16];
        struct cursor_source src = {&x[i], on_delta, on_long_snapshot};
        snprintf(name, sizeof name, "C%u", i);
        struct cursor_spec cs = {.name = slice_cstr(name), .config = SLICE("{}")};
        assert_int_equal(store_cursor_create(s, &cs, &src, NULL, NULL, &c[i]), 0);
    }
    sync_it(&p, c[0]);
    for (unsigned i = 0; i < CURSORS; i++) {
        x[i].now++;
        store_cursor_dirty(c[i]);
    }
    sync_it(&p, c[0]);
    p.st->lazy_at.journal_max = 1000;
    size_t most = 0, all = 0;
    for (unsigned n = 0; n < CURSORS && all < (size_t)CURSORS * LONG; n++) {
        struct answer a = {0};
        struct record_in rec = rec_of("a", "x");
        assert_int_equal(store_append(s, &rec, on_append, &a), 0);
        while (!p.st->flying)
            fake_turn_once(&p.ft);
        size_t bytes = p.st->flying->changes.len;
        most = bytes > most ? bytes : most;
        all += bytes;
        wait_answer(&p, &a);
    }
    assert_true(all >= (size_t)CURSORS * LONG);
    assert_true(most < 2ul * LAZY_BYTES);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_is_there),
        cmocka_unit_test(what_was_synced_behind_a_row_in_the_same_batch_is_there),
        cmocka_unit_test(what_is_synced_after_a_restart_is_no_part_of_an_older_row),
        cmocka_unit_test(lazy_progress_is_at_most_fifty_milliseconds_behind),
        cmocka_unit_test(progress_without_hurry_waits_longer_until_somebody_has_one),
        cmocka_unit_test(a_full_journal_asks_for_a_snapshot),
        cmocka_unit_test(long_rows_go_with_one_commit_after_the_other),
        cmocka_unit_test(nobody_attached_loses_nothing),
        cmocka_unit_test(update_and_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
