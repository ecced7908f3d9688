/* what a clock that is set does to a store: ages, ids, time stamps
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "base/clock.h"
#include "storage/stream.h"

#define HOUR (3600 * NS_PER_S)
#define YEAR (365 * 24 * HOUR)

/* Somebody sets the clock; the store looks once a second. */
static void set_clock(struct place *p, int64_t by)
{
    p->ft.wall += by;
    clock_fake(p->ft.mono, p->ft.wall);
    fake_turn_advance(&p->ft, 2 * NS_PER_S);
}

static struct stream *hourly(struct place *p)
{
    struct stream_spec spec = spec_of("S");
    spec.max_age_ns = HOUR;
    spec.duplicate_window_ns = 120 * NS_PER_S;
    place_init(p);
    place_open(p);
    return make(p, &spec);
}

/* A message of ten years from now; then the clock is right again. */
static void put_from_the_future(struct place *p, struct stream *s)
{
    set_clock(p, 10 * YEAR);
    put_text(p, s, "a", "1");
    set_clock(p, -10 * YEAR);
}

static void settle(struct place *p, struct stream *s, uint64_t msgs)
{
    fake_turn_run(&p->ft);
    for (int i = 0; i < 2000 && state_of(s).msgs != msgs; i++) {
        usleep(1000); /* the writer works in real time */
        fake_turn_run(&p->ft);
    }
    assert_int_equal(state_of(s).msgs, msgs);
}

static bool put_id(struct place *p, struct stream *s, const char *id)
{
    struct record_in rec = rec_of("a", "x");
    rec.msg_id = slice_cstr(id);
    struct store_receipt r = put(p, s, &rec);
    assert_int_equal(r.err, 0);
    return !r.duplicate;
}

static void forward_by_years_ages_at_once(void **state)
{
    (void)state;
    struct place p;
    struct stream *s = hourly(&p);
    put_text(&p, s, "a", "1");
    set_clock(&p, 10 * YEAR); /* nothing else happens: the timer was set for an hour later */
    settle(&p, s, 0);
    put_text(&p, s, "a", "2");
    settle(&p, s, 1);
    place_remove(&p);
}

static void a_clock_that_starts_in_1970_ages_nothing(void **state)
{
    (void)state;
    struct place p;
    struct stream *s = hourly(&p);
    put_text(&p, s, "a", "1");
    int64_t was = p.ft.wall;
    place_close(&p);
    set_clock(&p, -was + NS_PER_S); /* no battery */
    place_open(&p);
    s = find_stream(&p, "S");
    put_text(&p, s, "a", "2");
    fake_turn_advance(&p.ft, 2 * HOUR); /* nobody knows how old they are */
    settle(&p, s, 2);
    set_clock(&p, was - p.ft.wall + 60 * NS_PER_S); /* somebody tells the time */
    settle(&p, s, 2);
    fake_turn_advance(&p.ft, HOUR);
    settle(&p, s, 0);
    place_remove(&p);
}

static void years_to_come_do_not_stop_the_ageing(void **state)
{
    (void)state;
    struct place p;
    struct stream *s = hourly(&p);
    put_from_the_future(&p, s);
    int64_t now = p.ft.wall;
    put_text(&p, s, "a", "2");
    assert_true(state_of(s).last_ts < now + HOUR); /* the right time again */
    fake_turn_advance(&p.ft, HOUR / 2);
    put_text(&p, s, "a", "3");
    settle(&p, s, 3);
    fake_turn_advance(&p.ft, HOUR / 2 + NS_PER_S);
    settle(&p, s, 1); /* the wrong one goes with the one behind it */
    place_remove(&p);
}

static void alone_with_a_time_to_come_it_waits(void **state)
{
    (void)state;
    struct place p;
    struct stream *s = hourly(&p);
    put_from_the_future(&p, s);
    fake_turn_advance(&p.ft, 5 * HOUR);
    settle(&p, s, 1);
    place_remove(&p);
}

static void the_window_of_ids_is_as_long_as_it_says(void **state)
{
    (void)state;
    static const int64_t jumps[] = {10 * YEAR, -20 * YEAR, HOUR, -HOUR};
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        struct place p;
        struct stream_spec spec = spec_of("S");
        spec.duplicate_window_ns = 120 * NS_PER_S;
        place_init(&p);
        place_open(&p);
        struct stream *s = make(&p, &spec);
        assert_true(put_id(&p, s, "one"));
        set_clock(&p, jumps[i]);
        assert_false(put_id(&p, s, "one"));
        assert_true(put_id(&p, s, "two"));
        fake_turn_advance(&p.ft, 100 * NS_PER_S);
        assert_false(put_id(&p, s, "two"));
        fake_turn_advance(&p.ft, 30 * NS_PER_S);
        assert_true(put_id(&p, s, "one"));
        assert_true(put_id(&p, s, "two"));
        assert_int_equal(s->dedupe.count, 2); /* and nothing is remembered for years */
        place_remove(&p);
    }
}

static void ids_are_known_after_a_restart_in_the_past(void **state)
{
    (void)state;
    struct place p;
    struct stream *s = hourly(&p);
    for (int i = 0; i < 50; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "old-%d", i);
        assert_true(put_id(&p, s, id));
    }
    fake_turn_advance(&p.ft, 300 * NS_PER_S);
    assert_true(put_id(&p, s, "one"));
    place_close(&p);
    set_clock(&p, -20 * YEAR);
    place_open(&p);
    s = find_stream(&p, "S");
    assert_false(put_id(&p, s, "one"));
    assert_int_equal(s->dedupe.count, 1); /* not those of all the years to come */
    fake_turn_advance(&p.ft, 130 * NS_PER_S);
    assert_true(put_id(&p, s, "one"));
    place_remove(&p);
}

/* Two keys are put again in one commit, each under a question that looks at the limits. */
static void put_twice_again(struct place *p, struct stream *s)
{
    struct answer a[2] = {0};
    for (uint64_t i = 0; i < 2; i++) {
        struct record_in rec = rec_of(i ? "b" : "a", "2");
        rec.flags = REC_EXPECT_SUBJECT_SEQ;
        rec.expect_subject_seq = i + 1;
        assert_int_equal(store_append(s, &rec, on_append, &a[i]), 0);
    }
    wait_answer(p, &a[0]);
    wait_answer(p, &a[1]);
    assert_int_equal(a[0].err, 0);
    assert_int_equal(a[1].err, 0);
}

static void the_first_time_is_that_of_the_first_message(void **state)
{
    (void)state;
    static const char *const key[] = {"a", "b", "c", "d"};
    for (int memory = 0; memory <= 1; memory++) {
        struct place p;
        struct stream_spec spec = spec_of("S");
        int64_t ts[4];
        spec.max_msgs_per_subject = 1;
        spec.memory = memory;
        place_init(&p);
        place_open(&p);
        struct stream *s = make(&p, &spec);
        for (int i = 0; i < 4; i++) {
            fake_turn_advance(&p.ft, HOUR);
            put_text(&p, s, key[i], "1");
            ts[i] = state_of(s).last_ts;
        }
        put_twice_again(&p, s);
        assert_int_equal(state_of(s).first_seq, 3);
        assert_int_equal(state_of(s).first_ts, ts[2]);
        place_close(&p);
        if (!memory) {
            place_open(&p);
            assert_int_equal(state_of(find_stream(&p, "S")).first_ts, ts[2]);
        }
        place_remove(&p);
    }
}

/* A mirror's first message is as old as its origin says. */
static void the_first_of_a_mirror_ages_from_its_own_time(void **state)
{
    (void)state;
    struct place p;
    struct stream *s = hourly(&p);
    struct record_in rec = rec_of("a", "x");
    rec.flags = REC_EXACT;
    rec.seq = 7;
    rec.ts = p.ft.wall - HOUR + 60 * NS_PER_S;
    assert_int_equal(put(&p, s, &rec).err, 0);
    rec.seq = 8;
    rec.ts = p.ft.wall;
    assert_int_equal(put(&p, s, &rec).err, 0);
    fake_turn_advance(&p.ft, 50 * NS_PER_S);
    settle(&p, s, 2);
    fake_turn_advance(&p.ft, 20 * NS_PER_S);
    settle(&p, s, 1);
    fake_turn_advance(&p.ft, HOUR - 80 * NS_PER_S);
    settle(&p, s, 1);
    fake_turn_advance(&p.ft, 20 * NS_PER_S);
    settle(&p, s, 0);
    rec.seq = 9; /* over before it came; of a time before 1970; and one still to come */
    assert_int_equal(put(&p, s, &rec).err, 0);
    fake_turn_advance(&p.ft, NS_PER_S);
    settle(&p, s, 0);
    rec.seq = 10;
    rec.ts = INT64_MIN;
    assert_int_equal(put(&p, s, &rec).err, 0);
    fake_turn_advance(&p.ft, NS_PER_S);
    settle(&p, s, 0);
    rec.seq = 11;
    rec.ts = INT64_MAX;
    assert_int_equal(put(&p, s, &rec).err, 0);
    fake_turn_advance(&p.ft, HOUR / 2);
    settle(&p, s, 1);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_by_years_ages_at_once),
        cmocka_unit_test(a_clock_that_starts_in_1970_ages_nothing),
        cmocka_unit_test(years_to_come_do_not_stop_the_ageing),
        cmocka_unit_test(alone_with_a_time_to_come_it_waits),
        cmocka_unit_test(the_window_of_ids_is_as_long_as_it_says),
        cmocka_unit_test(ids_are_known_after_a_restart_in_the_past),
        cmocka_unit_test(the_first_time_is_that_of_the_first_message),
        cmocka_unit_test(the_first_of_a_mirror_ages_from_its_own_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
