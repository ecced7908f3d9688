/* the door, one promise at a time, with the real writer and a real file
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

#include "storage/reader.h"
#include "storage/store.h"
#include "storage/stream.h"
#include "storage/writer.h"

static void reopen(struct place *p)
{
    place_close(p);
    place_open(p);
}

static void what_was_acked_is_there_after_a_restart(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    assert_int_equal(put_text(p, s, "a.b", "one"), 1);
    assert_int_equal(put_text(p, s, "a.c", "two"), 2);
    for (int i = 0; i < 2; i++) {
        s = find_stream(p, "S");
        assert_non_null(s);
        struct seen x = {0};
        assert_int_equal(store_get(s, 1, on_seen, &x), 0);
        assert_string_equal(x.text, "one");
        const struct slice patterns[] = {SLICE("a.c"), SLICE("*.c"), SLICE("a.d"), SLICE("*.d")};
        for (int k = 0; k < 4; k++) {
            const struct store_filter f = {&patterns[k], 1};
            assert_int_equal(last_of(s, &f, 0), k < 2 ? 2 : 0);
            assert_int_equal(last_of(s, &f, 1), 0);
        }
        assert_int_equal(store_get(s, 2, on_seen, &x), 0);
        assert_string_equal(x.text, "two");
        assert_int_equal(store_get(s, 3, on_seen, &x), E_NOTFOUND);
        struct stream_state st = state_of(s);
        assert_int_equal(st.msgs, 2);
        assert_int_equal(st.num_subjects, 2);
        assert_int_equal(store_stream_spec(s)->created, spec.created);
        reopen(p);
    }
}

static void an_ack_waits_for_the_commit(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    struct record_in rec = rec_of("x", "1");
    assert_int_equal(store_append(s, &rec, on_append, &a), 0);
    assert_int_equal(a.calls, 0);
    assert_int_equal(state_of(s).msgs, 0);
    assert_int_equal(store_last_assigned(s), 1);
    wait_answer(p, &a);
    assert_int_equal(state_of(s).msgs, 1);
}

static void a_repeated_id_is_answered_with_the_first_number(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.duplicate_window_ns = 120 * NS_PER_S;
    struct stream *s = make(p, &spec);
    struct record_in rec = rec_of("x", "1");
    rec.msg_id = SLICE("id-1");
    assert_int_equal(put(p, s, &rec).seq, 1);
    struct store_receipt r = put(p, s, &rec);
    assert_true(r.duplicate);
    assert_int_equal(r.seq, 1);
    reopen(p);
    s = find_stream(p, "S");
    r = put(p, s, &rec);
    assert_true(r.duplicate);
    assert_int_equal(r.seq, 1);
    fake_turn_advance(&p->ft, 121 * NS_PER_S);
    assert_false(put(p, s, &rec).duplicate);
}

static void expectations_compare_with_the_newest(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    put_text(p, s, "x", "1");
    put_text(p, s, "y", "2");
    struct record_in rec = rec_of("x", "3");
    rec.flags = REC_EXPECT_LAST_SEQ;
    rec.expect_last_seq = 1;
    struct store_receipt r = put(p, s, &rec);
    assert_int_equal(r.err, E_LAST_SEQ);
    assert_int_equal(r.last, 2);
    rec.flags = REC_EXPECT_SUBJECT_SEQ;
    rec.expect_subject_seq = 2;
    r = put(p, s, &rec);
    assert_int_equal(r.err, E_LAST_SUBJECT_SEQ);
    assert_int_equal(r.last, 1);
    rec.expect_subject = SLICE("*");
    assert_int_equal(put(p, s, &rec).seq, 3);
}

static void limits_drop_the_oldest(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.max_msgs = 3;
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 10; i++)
        put_text(p, s, "x", "payload");
    struct stream_state st = state_of(s);
    assert_int_equal(st.msgs, 3);
    assert_int_equal(st.first_seq, 8);
    struct seen x = {0};
    assert_int_equal(store_get(s, 7, on_seen, &x), E_DELETED);
}

static void discard_new_refuses(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.max_msgs = 1;
    spec.discard_new = true;
    struct stream *s = make(p, &spec);
    put_text(p, s, "x", "1");
    struct record_in rec = rec_of("x", "2");
    assert_int_equal(put(p, s, &rec).err, E_MAX_MSGS);
}

static void a_subject_keeps_its_newest(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("KV");
    spec.max_msgs_per_subject = 1;
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 5; i++) {
        put_text(p, s, "k.1", "a");
        put_text(p, s, "k.2", "b");
    }
    struct stream_state st = state_of(s);
    assert_int_equal(st.msgs, 2);
    assert_int_equal(st.num_subjects, 2);
    assert_int_equal(st.first_seq, 9);
    reopen(p);
    assert_int_equal(state_of(find_stream(p, "KV")).msgs, 2);
}

static void removed_numbers_stay_removed(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 10; i++)
        put_text(p, s, "x", "p");
    uint64_t seqs[] = {3, 5, 1, 99};
    struct answer a = {0};
    assert_int_equal(store_remove(s, seqs, 4, false, on_done, &a), 0);
    wait_answer(p, &a);
    for (int i = 0; i < 2; i++) {
        s = find_stream(p, "S");
        struct stream_state st = state_of(s);
        assert_int_equal(st.msgs, 7);
        assert_int_equal(st.first_seq, 2);
        assert_int_equal(st.num_deleted, 2);
        assert_int_equal(store_count_from(s, 4), 6);
        struct seen x = {0};
        uint64_t from = 0;
        struct read_budget all = {100, 100, 1 << 20};
        assert_int_equal(store_read(s, &from, NULL, &all, on_seen, &x), READ_END);
        assert_int_equal(x.n, 7);
        assert_int_equal(from, 11);
        reopen(p);
    }
}

static void a_purge_with_filter_leaves_the_others(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 10; i++)
        put_text(p, s, i % 2 ? "odd" : "even", "p");
    struct purge_spec purge = {.filter = SLICE("odd"), .keep = 1};
    struct answer a = {0};
    assert_int_equal(store_purge(s, &purge, on_purged, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(a.n, 4);
    assert_int_equal(state_of(s).msgs, 6);
    struct answer b = {0};
    struct slice odd = SLICE("odd");
    struct store_filter f = {&odd, 1};
    assert_int_equal(store_count(s, &f, 0, false, on_count, &b, NULL), 0);
    wait_answer(p, &b);
    assert_int_equal(b.n, 1);
}

static void a_purge_of_everything_keeps_the_number(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 10; i++)
        put_text(p, s, "x", "p");
    struct purge_spec purge = {0};
    struct answer a = {0};
    assert_int_equal(store_purge(s, &purge, on_purged, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(a.n, 10);
    reopen(p);
    s = find_stream(p, "S");
    struct stream_state st = state_of(s);
    assert_int_equal(st.msgs, 0);
    assert_int_equal(st.num_subjects, 0);
    assert_int_equal(st.first_seq, 11);
    assert_int_equal(st.last_seq, 10);
    assert_int_equal(put_text(p, s, "x", "p"), 11);
    assert_int_equal(state_of(s).num_subjects, 1);
}

static void a_large_record_comes_back_whole(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    size_t n = 1 << 20;
    char *big = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)('a' + (i * 7 + i / 251) % 26);
    struct record_in rec = {.subject = SLICE("big"), .payload = slice_of(big, n)};
    put_text(p, s, "a", "before");
    assert_int_equal(put(p, s, &rec).seq, 2);
    put_text(p, s, "a", "after");
    reopen(p);
    s = find_stream(p, "S");
    struct seen x = {0};
    assert_int_equal(store_get(s, 1, on_seen, &x), 0);
    assert_string_equal(x.text, "before");
    assert_int_equal(store_get(s, 3, on_seen, &x), 0);
    assert_string_equal(x.text, "after");
    assert_int_equal(store_get(s, 2, on_seen, &x), 0);
    assert_int_equal(p->damaged, 0);
    assert_int_equal(memcmp(x.text, big, 20), 0);
    free(big);
}

/* Looking for the duplicate window, recovery comes by it before anybody has read the holes. */
static void an_erased_large_record_is_not_damage_after_a_restart(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.duplicate_window_ns = 120 * NS_PER_S;
    struct stream *s = make(p, &spec);
    spec = spec_of("T");
    (void)make(p, &spec);
    char *big = xcalloc(1, 50000);
    struct record_in rec = {.subject = SLICE("big"), .payload = slice_of(big, 50000)};
    for (int i = 0; i < 7; i++)
        assert_int_equal(put(p, s, &rec).seq, i + 1);
    free(big);
    reopen(p);
    uint64_t seq = 4;
    struct answer a = {0};
    assert_int_equal(store_remove(find_stream(p, "S"), &seq, 1, true, on_done, &a), 0);
    wait_answer(p, &a);
    char *text = xcalloc(1, 16001);
    memset(text, 'x', 16000);
    for (int i = 0; i < 600; i++) /* the hole moves from the journal into its row */
        put_text(p, find_stream(p, "T"), "a", text);
    free(text);
    reopen(p);
    assert_int_equal(p->damaged, 0);
    assert_int_equal(state_of(find_stream(p, "S")).msgs, 6);
}

static void a_deleted_stream_is_gone_and_its_name_free(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 1000; i++)
        put_text(p, s, "x", "payload");
    struct answer a = {0};
    assert_int_equal(store_stream_delete(s, on_done, &a), 0);
    assert_null(find_stream(p, "S"));
    struct stream *again = make(p, &spec);
    assert_int_equal(a.calls, 1);
    assert_int_equal(state_of(again).msgs, 0);
    reopen(p);
    assert_non_null(find_stream(p, "S"));
    assert_int_equal(state_of(find_stream(p, "S")).last_seq, 0);
}

static void a_memory_stream_is_gone_after_a_restart(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("M");
    spec.memory = true;
    struct stream *s = make(p, &spec);
    for (int i = 0; i < 2000; i++)
        put_text(p, s, "x", "payload");
    assert_int_equal(state_of(s).msgs, 2000);
    struct seen x = {0};
    assert_int_equal(store_get(s, 1500, on_seen, &x), 0);
    struct purge_spec purge = {.below = 1001};
    struct answer a = {0};
    assert_int_equal(store_purge(s, &purge, on_purged, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(a.n, 1000);
    reopen(p);
    assert_null(find_stream(p, "M"));
}

static void old_messages_expire(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    spec.max_age_ns = 10 * NS_PER_S;
    struct stream *s = make(p, &spec);
    put_text(p, s, "x", "1");
    fake_turn_advance(&p->ft, 6 * NS_PER_S);
    put_text(p, s, "x", "2");
    fake_turn_advance(&p->ft, 5 * NS_PER_S);
    put_text(p, s, "x", "3");
    assert_int_equal(state_of(s).first_seq, 2);
    fake_turn_advance(&p->ft, 20 * NS_PER_S);
    struct answer a = {0};
    uint64_t none = 99;
    assert_int_equal(store_remove(s, &none, 1, false, on_done, &a), 0);
    wait_answer(p, &a);
    assert_int_equal(state_of(s).msgs, 0);
}

static void a_second_server_is_refused(void **state)
{
    struct place *p = *state;
    struct store *other;
    char *why = NULL;
    assert_int_equal(store_open(&p->cfg, &p->host, &other, &why), E_BUSY);
    assert_non_null(why);
    free(why);
}

/* On two subjects in turn. */
/* As many at once as no single portion takes. */
static void fill_quickly(struct place *p, struct stream *s, const char *subject, unsigned n)
{
    struct record_in rec = rec_of(subject, "x");
    struct answer last = {0};
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(store_append(s, &rec, i + 1 < n ? NULL : on_append, &last), 0);
    wait_answer(p, &last);
}

/* Everything decided so far is on disk. */
static void settle(struct place *p, struct stream *s)
{
    struct answer a = {0};
    uint64_t none = 1u << 30;
    fake_turn_run(&p->ft);
    assert_int_equal(store_remove(s, &none, 1, false, on_done, &a), 0);
    wait_answer(p, &a);
}

static void a_shorter_age_takes_all_that_is_older(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    fill_quickly(p, s, "a", 3000);
    fake_turn_advance(&p->ft, 5 * NS_PER_S);
    (void)put_text(p, s, "a", "young");
    spec.max_age_ns = 2 * NS_PER_S;
    assert_int_equal(store_stream_update(s, &spec, on_done, &a), 0);
    wait_answer(p, &a);
    settle(p, s);
    assert_int_equal(state_of(s).msgs, 1);
    fake_turn_advance(&p->ft, 3 * NS_PER_S);
    settle(p, s);
    assert_int_equal(state_of(s).msgs, 0);
}

struct shrinking {
    struct stream *s;
    uint64_t before, most, end;
};

static bool has_shrunk(void *arg)
{
    struct shrinking *x = arg;
    uint64_t now = x->s->now.msgs; /* as decided: how long a commit takes is not asked */
    x->most = x->before - now > x->most ? x->before - now : x->most;
    x->before = now;
    return now <= x->end;
}

/* Turn by turn until `end` messages are left: the most that went in one of them. */
static uint64_t most_at_once(struct place *p, struct stream *s, uint64_t end)
{
    struct shrinking x = {.s = s, .before = s->now.msgs, .end = end};
    p->ft.job_budget_ns = 0; /* a job comes back after each portion */
    while (!has_shrunk(&x))
        if (!fake_turn_once(&p->ft))
            sched_yield(); /* the writer is at work */
    p->ft.job_budget_ns = 1;
    settle(p, s);
    return x.most;
}

static void lower_limits_take_a_large_stream_in_portions(void **state)
{
    struct place *p = *state;
    const uint64_t n = 6 * BATCH_REMOVED;
    for (int i = 0; i < 3; i++) {
        struct stream_spec spec = spec_of(i == 0 ? "A" : i == 1 ? "B" : "C");
        spec.memory = i == 2;
        struct stream *s = make(p, &spec);
        struct answer a = {0};
        fill_quickly(p, s, "a", (unsigned)n);
        if (i)
            spec.max_msgs_per_subject = 2;
        else
            spec.max_msgs = 2;
        assert_int_equal(store_stream_update(s, &spec, on_done, &a), 0);
        assert_in_range(most_at_once(p, s, 2), 1, 3 * BATCH_REMOVED);
        struct stream_state st = state_of(s);
        assert_int_equal(st.msgs, 2);
        assert_int_equal(st.first_seq, n - 1);
        assert_int_equal(st.num_subjects, 1);
    }
}

/* One message pushes out more than a turn's worth; what comes meanwhile doesn't wait. */
static void one_large_message_takes_many_small_ones_in_portions(void **state)
{
    struct place *p = *state;
    const unsigned n = 6 * BATCH_REMOVED;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    fill_quickly(p, s, "a", n);
    uint64_t bytes = state_of(s).bytes;
    struct answer a = {0};
    spec.max_bytes = (int64_t)bytes;
    assert_int_equal(store_stream_update(s, &spec, on_done, &a), 0);
    wait_answer(p, &a);
    settle(p, s);
    assert_int_equal(state_of(s).msgs, n);
    size_t size = (size_t)(bytes - bytes / 16);
    struct record_in big = {.subject = SLICE("b"), .payload = slice_of(xcalloc(1, size), size)};
    a = (struct answer){0};
    assert_int_equal(store_append(s, &big, on_append, &a), 0);
    assert_true(s->now.msgs > n / 2);
    struct record_in other = rec_of("a", "x");
    struct answer meanwhile = {0};
    assert_int_equal(store_append(s, &other, on_append, &meanwhile), 0);
    assert_true(s->now.msgs > n / 2);
    assert_true(most_at_once(p, s, n / 8) <= 3 * BATCH_REMOVED);
    assert_int_equal(a.calls + meanwhile.calls, 2);
    struct stream_state st = state_of(s);
    assert_true(st.bytes <= bytes && st.bytes > size);
    assert_int_equal(st.msgs, st.last_seq - st.first_seq + 1);
    free((void *)(uintptr_t)big.payload.p);
}

static uint64_t told; /* the newest that count_removed() heard of */

static void count_removed(void *arg, uint64_t seq, struct slice subject)
{
    (void)arg;
    assert_int_equal(seq, told + 1); /* the oldest first, none left out */
    assert_true(slice_is(subject, "a"));
    told = seq;
}

static struct stream_watch counts_removed = {.removed = count_removed,
                                             .want_removed_subjects = true};

/* Chores get nothing done meanwhile, and somebody counts by subject what goes. */
static void what_a_batch_pushes_out_leaves_with_it(void **state)
{
    struct place *p = *state;
    const unsigned n = 60000, most = 1000;
    p->ft.job_budget_ns = 0;
    for (int i = 0; i < 8; i++) {
        struct stream_spec spec = spec_of("S");
        told = 0;
        spec.memory = i & 1;
        if (i & 2)
            spec.max_bytes = (int64_t)(most * record_account(1, 0, 1, spec.memory));
        else
            spec.max_msgs = most;
        struct stream *s = make(p, &spec);
        if (i & 4)
            store_watch(s, &counts_removed);
        for (unsigned batch = 1; batch <= 4; batch++) {
            fill_quickly(p, s, "a", n); /* waits for the commit, and no longer */
            struct stream_state st = state_of(s);
            assert_int_equal(st.msgs, most);
            assert_int_equal(st.first_seq, batch * n - most + 1);
            assert_int_equal(st.last_seq, batch * n);
            assert_int_equal(told, i & 4 ? st.first_seq - 1 : 0);
        }
        store_watch(s, NULL);
        struct answer a = {0};
        assert_int_equal(store_stream_delete(s, on_done, &a), 0);
        wait_answer(p, &a);
    }
    p->ft.job_budget_ns = 1;
}

/* What a chore has to take does not become more while publishers leave it no time, and goes soon;
 * but no append takes much of it. */
static void lower_limits_are_reached_while_others_publish(void **state)
{
    struct place *p = *state;
    const unsigned n = 6 * BATCH_REMOVED;
    struct record_in rec = rec_of("a", "x");
    for (int i = 0; i < 4; i++) {
        struct stream_spec spec = spec_of(i == 0 ? "A" : i == 1 ? "B" : i == 2 ? "C" : "D");
        told = 0;
        spec.memory = i & 1;
        struct stream *s = make(p, &spec);
        if (i & 2)
            store_watch(s, &counts_removed);
        fill_quickly(p, s, "a", n);
        struct answer a = {0};
        spec.max_msgs = 1000;
        assert_int_equal(store_stream_update(s, &spec, NULL, NULL), 0);
        uint64_t before = s->now.msgs;
        for (unsigned k = 0; k < n / 2; k++) {
            assert_int_equal(store_append(s, &rec, k + 1 < n / 2 ? NULL : on_append, &a), 0);
            uint64_t now = s->now.msgs;
            assert_true(now <= before + 1 && before + 1 - now <= 2 * BATCH_REMOVED);
            before = now;
        }
        assert_true(before < (i & 2 ? n / 2 : 1000 + 2000)); /* and no turn has gone by */
        wait_answer(p, &a);
        assert_true(most_at_once(p, s, 1000) <= 2 * BATCH_REMOVED);
        assert_int_equal(state_of(s).msgs, 1000);
        assert_int_equal(state_of(s).first_seq, n + n / 2 - 1000 + 1);
        assert_int_equal(told, i & 2 ? n + n / 2 - 1000 : 0);
        store_watch(s, NULL);
    }
}

static void a_stop_meets_lower_limits(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    fill_quickly(p, s, "a", 6 * BATCH_REMOVED);
    spec.max_msgs = 2;
    assert_int_equal(store_stream_update(s, &spec, on_done, &a), 0);
    reopen(p);
    s = find_stream(p, "S");
    assert_true(s->now.msgs > 2);
    (void)put_text(p, s, "a", "x");
    (void)most_at_once(p, s, 2);
    assert_int_equal(state_of(s).msgs, 2);
    assert_int_equal(state_of(s).first_seq, 6 * BATCH_REMOVED);
}

static void lower_limits_leave_the_newest_of_each_subject(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    uint64_t gone[] = {3, 4, 2987, 3000};
    for (int i = 1; i <= 3000; i++) {
        char subject[8];
        snprintf(subject, sizeof subject, "k.%d", i % 7);
        struct record_in rec = rec_of(subject, "x");
        assert_int_equal(store_append(s, &rec, i < 3000 ? NULL : on_append, &a), 0);
    }
    wait_answer(p, &a);
    a = (struct answer){0};
    assert_int_equal(store_remove(s, gone, 4, false, on_done, &a), 0);
    wait_answer(p, &a);
    for (unsigned most = 3; most; most--) {
        a = (struct answer){0};
        spec.max_msgs_per_subject = most;
        assert_int_equal(store_stream_update(s, &spec, on_done, &a), 0);
        wait_answer(p, &a);
        settle(p, s);
        assert_int_equal(state_of(s).msgs, 7 * most);
        unsigned left[7] = {0};
        for (uint64_t seq = 3000; seq; seq--)
            if (seq != 2987 && seq != 3000)
                assert_int_equal(store_has(s, seq), seq > 4 && left[seq % 7]++ < most);
    }
}

static int count_it(void *arg, const struct record_out *r)
{
    (void)r;
    ++*(unsigned *)arg;
    return READ_ON;
}

static void a_long_record_counts_for_several_looks(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    const struct slice nobody = SLICE("nobody.*");
    const struct store_filter none = {&nobody, 1};
    size_t n = 60000;
    struct record_in rec = {.subject = SLICE("a"), .payload = slice_of(xcalloc(1, n), n)};
    for (int i = 0; i < 50; i++)
        (void)put(p, s, &rec);
    reopen(p);
    s = find_stream(p, "S");
    struct read_budget budget = {100, 1000, UINT64_MAX};
    uint64_t from = 1, up_to = 0, found;
    unsigned seen = 0, looks = 1;
    while (store_read(s, &from, &none, &budget, count_it, &seen) == READ_BUDGET)
        looks++;
    assert_in_range(looks, 5, 10);
    for (looks = 1; store_look_back(s, &none, &up_to, 1000, &found) == READ_BUDGET;)
        looks++;
    assert_in_range(looks, 5, 10);
    assert_int_equal(found + seen, 0);
    from = 1; /* what is handed out is bounded in bytes, not in looks */
    assert_int_equal(store_read(s, &from, NULL, &budget, count_it, &seen), READ_END);
    assert_int_equal(seen, 50);
    free((void *)(uintptr_t)rec.payload.p);
}

static void many_patterns_cost_more_than_a_look(void **state)
{
    enum { PATTERNS = 640, RECORDS = 50 };
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct slice *nobody = xcalloc(PATTERNS, sizeof *nobody);
    const struct store_filter none = {nobody, PATTERNS};
    for (size_t i = 0; i < PATTERNS; i++)
        nobody[i] = SLICE("nobody.*");
    for (int i = 0; i < RECORDS; i++)
        (void)put(p, s, &(struct record_in){.subject = SLICE("a")});
    struct read_budget budget = {100, 210, UINT64_MAX}; /* of 21 looks each */
    uint64_t from = 1, up_to = 0, found;
    unsigned seen = 0, looks = 1;
    while (store_read(s, &from, &none, &budget, count_it, &seen) == READ_BUDGET)
        looks++;
    assert_in_range(looks, 5, 6);
    for (looks = 1; store_look_back(s, &none, &up_to, 210, &found) == READ_BUDGET;)
        looks++;
    assert_in_range(looks, 5, 6);
    assert_int_equal(found + seen, 0);
    free(nobody);
}

/* The expected message lies behind more records than are looked at in one go. */
static void an_append_waits_for_the_search_of_what_it_expects(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    const char *const asked[] = {"k.*", "k.1"};
    (void)put_text(p, s, "k.1", "old");
    fill_quickly(p, s, "a", 20000);
    uint64_t newest = put_text(p, s, "k.1", "new");
    struct answer gone = {0};
    assert_int_equal(store_remove(s, &newest, 1, false, on_done, &gone), 0);
    wait_answer(p, &gone);
    for (int i = 0; i < 4; i++) {
        struct record_in rec = rec_of("b", "x"), behind = rec_of("b", "y");
        struct answer first = {0}, second = {0};
        rec.flags = REC_EXPECT_SUBJECT_SEQ;
        rec.expect_subject = slice_cstr(asked[i % 2]);
        rec.expect_subject_seq = i < 2 ? 1 : 7;
        assert_int_equal(store_append(s, &rec, on_append, &first), 0);
        assert_int_equal(store_append(s, &behind, on_append, &second), 0);
        wait_answer(p, &first);
        wait_answer(p, &second);
        assert_int_equal(first.err, i < 2 ? 0 : E_LAST_SUBJECT_SEQ);
        assert_int_equal(i < 2 ? first.r.seq + 1 : first.r.last, i < 2 ? second.r.seq : 1);
    }
}

static int look_at(struct stream *s, uint64_t seq)
{
    struct reader r;
    struct record rec;
    reader_init(&r, s);
    int err = reader_get(&r, seq, true, &rec);
    bool same = s->recent_view == view_number(s->st->db) && s->recent.p == r.cur.p;
    assert_true(r.mapped && same);
    reader_end(&r);
    return err;
}

/* A put keeps the view, and looks of that turn take the block of the last one; after a receipt it
 * is another block. */
static void a_block_is_remembered_until_the_receipt(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    struct answer a = {0};
    uint64_t gone = 6;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 150; i++) /* more than a block */
        put_text(p, s, "a", text);
    assert_int_equal(view_number(p->st->db), 0);
    struct record_in rec = rec_of("a", "y");
    assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    assert_int_equal(look_at(s, 5), 0);
    uint64_t view = view_number(p->st->db);
    assert_int_equal(look_at(s, gone), 0);
    assert_int_equal(view_number(p->st->db), view);
    assert_int_equal(store_remove(s, &gone, 1, true, on_done, &a), 0);
    store_hand_over(p->st);
    writer_wait(p->st->writer);
    store_on_back(p->st);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, 0);
    assert_int_equal(view_number(p->st->db), 0);
    assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    assert_int_equal(look_at(s, gone), E_NOTFOUND);
    assert_int_equal(look_at(s, gone - 1), 0);
    assert_true(view_number(p->st->db) > view);
    fake_turn_run(&p->ft);
    assert_int_equal(view_number(p->st->db), 0); /* not longer than the turn */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)
        T(a_shorter_age_takes_all_that_is_older),
        T(an_append_waits_for_the_search_of_what_it_expects),
        T(a_block_is_remembered_until_the_receipt),
        T(lower_limits_take_a_large_stream_in_portions),
        T(one_large_message_takes_many_small_ones_in_portions),
        T(what_a_batch_pushes_out_leaves_with_it),
        T(lower_limits_are_reached_while_others_publish),
        T(a_stop_meets_lower_limits),
        T(lower_limits_leave_the_newest_of_each_subject),
        T(a_long_record_counts_for_several_looks),
        T(many_patterns_cost_more_than_a_look),
        T(what_was_acked_is_there_after_a_restart),
        T(an_ack_waits_for_the_commit),
        T(a_repeated_id_is_answered_with_the_first_number),
        T(expectations_compare_with_the_newest),
        T(limits_drop_the_oldest),
        T(discard_new_refuses),
        T(a_subject_keeps_its_newest),
        T(removed_numbers_stay_removed),
        T(a_purge_with_filter_leaves_the_others),
        T(a_purge_of_everything_keeps_the_number),
        T(a_large_record_comes_back_whole),
        T(an_erased_large_record_is_not_damage_after_a_restart),
        T(a_deleted_stream_is_gone_and_its_name_free),
        T(a_memory_stream_is_gone_after_a_restart),
        T(old_messages_expire),
        T(a_second_server_is_refused),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
