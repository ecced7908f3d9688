/* tests/unit/jsapi/test_clock.c -- consumers under a clock that is set, forwards and backwards
 * SPDX-License-Identifier: Apache-2.0 */
#include "consumer_site.h"

#define YEAR (365 * 24 * 3600 * NS_PER_S)

/* Somebody sets the clock; the store looks once a second. */
static void set_clock(struct site *s, int64_t by)
{
    s->ft.wall += by;
    clock_fake(s->ft.mono, s->ft.wall);
    fake_turn_advance(&s->ft, 2 * NS_PER_S);
}

static void a_pause_ends_when_the_clock_says_so(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, "");
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 1);
    free(ask(s, "$JS.API.CONSUMER.PAUSE.S.C", "{\"pause_until\":\"2030-01-01T00:00:00Z\"}"));
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"expires\":60000000000}");
    expect_nothing(s, "_INBOX.p");
    set_clock(s, 10 * YEAR);
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    set_clock(s, -10 * YEAR); /* 2026 again, so it is paused again */
    publish_n(s, "o.a", 1);
    pull(s, "C", "_INBOX.q", "{\"batch\":1,\"expires\":60000000000}");
    expect_nothing(s, "_INBOX.q");
}

/* Whoever sets the clock: thirty seconds are thirty seconds. */
static void an_ack_wait_is_as_long_as_it_says(void **state)
{
    static const int64_t jumps[] = {10 * YEAR, -10 * YEAR};
    struct site *s = *state;
    struct got g;
    make_stream(s, "");
    make_consumer(s, "C", ",\"ack_wait\":30000000000" EXPLICIT);
    publish_n(s, "o.a", 1);
    pull(s, "C", "_INBOX.p", "{\"batch\":1}");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    for (uint64_t i = 0; i < 2; i++) {
        set_clock(s, jumps[i]);
        pull(s, "C", "_INBOX.p", "{\"batch\":1,\"expires\":60000000000}");
        expect_nothing(s, "_INBOX.p");
        fake_turn_advance(&s->ft, 30 * NS_PER_S);
        expect_msg(s, "_INBOX.p", 1, 2 + i, 2 + i, &g);
    }
}

/* Delivered in 2036, restarted in 2026: it does not take ten years until it comes again. */
static void a_restart_in_the_past_repeats_what_was_not_acked(void **state)
{
    struct site *s = *state;
    struct got g;
    for (uint64_t with_later_message = 0; with_later_message < 2; with_later_message++) {
        make_stream(s, "");
        make_consumer(s, "C", ",\"ack_wait\":30000000000" EXPLICIT);
        publish_n(s, "o.a", 1);
        set_clock(s, 10 * YEAR);
        publish_n(s, "o.b", (int)with_later_message);
        pull(s, "C", "_INBOX.p", "{\"batch\":1}");
        expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
        site_down(s);
        site_up(s); /* the clock of the fake turn begins anew */
        fake_turn_advance(&s->ft, 31 * NS_PER_S);
        pull(s, "C", "_INBOX.p", "{\"batch\":1}");
        expect_msg(s, "_INBOX.p", 1, 2, 2, &g);
        free(ask(s, "$JS.API.STREAM.DELETE.S", ""));
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_pause_ends_when_the_clock_says_so),
        T(an_ack_wait_is_as_long_as_it_says),
        T(a_restart_in_the_past_repeats_what_was_not_acked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
