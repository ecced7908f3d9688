/* tests/unit/jsapi/test_sources.c -- sources between two places, one case at a time
 *
 * What the histories of test_copies.c came upon, and what they can't see.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/life.h"
#include "two_places.h"

static int begin(void **state)
{
    (void)state;
    world_begins();
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_ends();
    return 0;
}

/* The disk keeps up with the clock. */
static void pass(int seconds)
{
    for (int i = 0; i < 10 * seconds; i++) {
        fake_turn_advance(&world->ft, NS_PER_S / 10);
        settle();
    }
}

static void told(const char *subject, const char *body)
{
    struct jshost_msg *m = jshost_request(&world->at[SITE].h, ACC, subject, body);
    assert_non_null(m);
    if (strstr(m->text, "_response\",\"error\"")) /* not a source's */
        fail_msg("%s: %s", subject, m->text);
    jshost_msg_free(m);
    settle();
}

static struct stream *store_of(const char *name)
{
    return js_stream_find(world->at[SITE].acc, slice_cstr(name))->store;
}

static void begin_anew(void)
{
    settle();
    place_down(&world->at[SITE]);
    place_up(&world->at[SITE]);
}

/* The consumer at a work queue has the same name in each life. */
static void a_source_goes_with_its_consumer_though_it_was_not_answered_yet(void **state)
{
    (void)state;
    told("$JS.API.STREAM.CREATE.O1",
         "{\"name\":\"O1\",\"subjects\":[\"o1.>\"],\"retention\":\"workqueue\"}");
    told("$JS.API.STREAM.CREATE.K1", "{\"name\":\"K1\",\"sources\":[{\"name\":\"O1\"}]}");
    pass(3);
    begin_anew();
    told("$JS.API.STREAM.UPDATE.K1",
         "{\"name\":\"K1\",\"sources\":[{\"name\":\"O1\",\"filter_subject\":\"o1.a\"}]}");
    pass(3);
    begin_anew();
    jshost_send(&world->at[SITE].h, ACC, "o1.a", NULL, NULL, "it");
    pass(5);
    assert_true(store_has(store_of("K1"), 1));
}

/* As with nats-server: the next request says it. */
static void a_start_that_is_changed_before_anything_came_counts(void **state)
{
    (void)state;
    told("$JS.API.STREAM.CREATE.K1",
         "{\"name\":\"K1\",\"sources\":[{\"name\":\"O1\",\"opt_start_seq\":9}]}");
    pass(3);
    told("$JS.API.STREAM.UPDATE.K1", "{\"name\":\"K1\",\"sources\":[{\"name\":\"O1\"}]}");
    told("$JS.API.STREAM.CREATE.O1", "{\"name\":\"O1\",\"subjects\":[\"o1.>\"]}");
    jshost_send(&world->at[SITE].h, ACC, "o1.a", NULL, NULL, "it");
    pass(70);
    assert_true(store_has(store_of("K1"), 1));
}

static void told_slowly(const char *subject, const char *body)
{
    jshost_send(&world->at[SITE].h, ACC, subject, NULL, NULL, body);
}

static void the_room_closes_on_requests_that_wait(void **state)
{
    const char *make = "{\"stream_name\":\"O1\",\"config\":{\"durable_name\":\"C\"}}";
    (void)state;
    told("$JS.API.STREAM.CREATE.O1", "{\"name\":\"O1\",\"subjects\":[\"o1.>\"]}");
    hold_mail(true, true);
    told_slowly("$JS.API.CONSUMER.DURABLE.CREATE.O1.C", make);
    told_slowly("$JS.API.CONSUMER.DURABLE.CREATE.O1.C", make); /* waits for the first */
    told_slowly("$JS.API.STREAM.UPDATE.O1", "{\"name\":\"O1\",\"subjects\":[\"o1.b\"]}");
    fake_turn_run(&world->ft);
    place_down(&world->at[SITE]); /* and ends the first two: it would be the update's turn */
    place_up(&world->at[SITE]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_source_goes_with_its_consumer_though_it_was_not_answered_yet, begin, end),
        cmocka_unit_test_setup_teardown(a_start_that_is_changed_before_anything_came_counts, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_room_closes_on_requests_that_wait, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
