/* tests/unit/jsapi/test_positions.c -- where a consumer starts, how much is left, what a copy
 * elsewhere and a restart do to it
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "consumer_site.h"
#include "storage/cursor.h"
#include "storage/store.h"
#include "storage/stream.h"

/* --- where to start, how much is left --------------------------------------------------------- */

static uint64_t first_of(struct site *s, const char *members)
{
    struct got g;
    make_consumer(s, "C", members);
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"expires\":1000000000}");
    bool any = take(s, "_INBOX.p", &g);
    ask_ok(s, "$JS.API.CONSUMER.DELETE.S.C", "");
    jshost_forget(&s->h);
    return any ? g.sseq : 0;
}

static void each_policy_starts_where_it_says(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 2);
    publish_n(s, "o.b", 1);
    fake_turn_advance(&s->ft, 10 * NS_PER_S);
    publish_n(s, "o.a", 1);
    assert_int_equal(first_of(s, ""), 1);
    assert_int_equal(first_of(s, ",\"deliver_policy\":\"last\""), 4);
    assert_int_equal(first_of(s, ",\"deliver_policy\":\"last\",\"filter_subject\":\"o.b\""), 3);
    assert_int_equal(first_of(s, ",\"deliver_policy\":\"new\""), 0);
    assert_int_equal(first_of(s, ",\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":2"),
                     2);
    assert_int_equal(first_of(s, ",\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":9"),
                     0);
    assert_int_equal(
        first_of(
            s, ",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"2026-11-21T12:11:36Z\""),
        4);
    assert_int_equal(first_of(s, ",\"filter_subject\":\"o.b\""), 3);
    assert_int_equal(first_of(s, ",\"filter_subjects\":[\"o.b\",\"o.c\"]"), 3);
}

static void last_per_subject_has_a_list(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 2); /* 1 2 */
    publish_n(s, "o.b", 2); /* 3 4 */
    publish_n(s, "o.a", 1); /* 5 */
    publish_n(s, "o.c", 1); /* 6 */
    make_consumer(s, "C",
                  ",\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"o.>\"" EXPLICIT);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
    publish_n(s, "o.a", 1); /* 7 */
    assert_int_equal(info(s, "C", NULL, "num_pending"), 4);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 4, 1, 1, &g);
    assert_int_equal(g.pending, 3);
    expect_msg(s, "_INBOX.p", 5, 2, 1, &g);
    expect_msg(s, "_INBOX.p", 6, 3, 1, &g);
    expect_msg(s, "_INBOX.p", 7, 4, 1, &g);
    assert_int_equal(g.pending, 0);
    expect_nothing(s, "_INBOX.p");
}

static uint32_t rng_state;
static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 8) % n;
}

/* Random publishes, pulls, deletes and purges: num_pending is what a naive count says, after every
 * step. */
static void num_pending_agrees_with_a_naive_count(void **state)
{
    struct site *s = *state;
    static char subject_of[2000];
    uint64_t last = 0, next = 1;
    rng_state = 3;
    make_stream(s, MEMORY ",\"allow_rollup_hdrs\":true");
    make_consumer(s, "F", ",\"filter_subject\":\"o.b\"");
    make_consumer(s, "U", "");
    uint64_t next_u = 1;
    for (int step = 0; step < 400; step++) {
        char text[96];
        struct got g;
        switch (rnd(6)) {
        case 0:
        case 1:
        case 2:
            subject_of[++last] = (char)('a' + rnd(3));
            snprintf(text, sizeof text, "o.%c", subject_of[last]);
            publish(s, text, "x");
            break;
        case 3:
            snprintf(text, sizeof text, "{\"batch\":%u,\"no_wait\":true}", 1 + rnd(4));
            pull(s, "F", "_INBOX.f", text);
            while (take(s, "_INBOX.f", &g))
                if (g.sseq) {
                    assert_int_equal(subject_of[g.sseq], 'b');
                    next = g.sseq + 1;
                }
            break;
        case 4:
            pull(s, "U", "_INBOX.u", "{\"batch\":2,\"no_wait\":true}");
            while (take(s, "_INBOX.u", &g))
                if (g.sseq)
                    next_u = g.sseq + 1;
            break;
        case 5:
            if (!last)
                break;
            if (rnd(10) == 0) {
                uint64_t below = 1 + rnd((uint32_t)last + 1);
                snprintf(text, sizeof text, "{\"filter\":\"o.%c\",\"seq\":%lu}", 'a' + (char)rnd(3),
                         (unsigned long)below);
                for (uint64_t q = 1; q < below; q++)
                    if (subject_of[q] == text[strlen("{\"filter\":\"o.")])
                        subject_of[q] = 0;
                ask_ok(s, "$JS.API.STREAM.PURGE.S", text);
                break;
            }
            uint64_t seq = 1 + rnd((uint32_t)last);
            if (subject_of[seq]) {
                snprintf(text, sizeof text, "{\"seq\":%lu}", (unsigned long)seq);
                ask_ok(s, "$JS.API.STREAM.MSG.DELETE.S", text);
                subject_of[seq] = 0;
            }
            break;
        }
        uint64_t want_f = 0, want_u = 0;
        for (uint64_t q = 1; q <= last; q++) {
            want_f += q >= next && subject_of[q] == 'b';
            want_u += q >= next_u && subject_of[q];
        }
        assert_int_equal(info(s, "F", NULL, "num_pending"), want_f);
        assert_int_equal(info(s, "U", NULL, "num_pending"), want_u);
        jshost_forget(&s->h);
    }
    memset(subject_of, 0, sizeof subject_of);
}

/* However far behind the others it stands: nobody walks over them to find it. */
static void a_roll_up_says_where_its_consumers_stand(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY ",\"allow_rollup_hdrs\":true");
    make_consumer(s, "C", ",\"filter_subject\":\"o.key\"" EXPLICIT);
    publish_n(s, "o.key", 1);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    publish_n(s, "o.other", 20100);
    assert_int_equal(
        jshost_send(&s->h, ACC, "o.key", NULL, "NATS/1.0\r\nNats-Rollup: sub\r\n\r\n", ""), 1);
    fake_turn_run(&s->ft);
    assert_int_equal(info(s, "C", "delivered", "stream_seq"), 20101);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 0);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 1);
}

/* --- somebody copies from us ------------------------------------------------------------------ */

#define SOURCE                                                                                     \
    "{\"stream_name\":\"S\",\"config\":{\"name\":\"JS_SRC_x\",\"deliver_policy\":\"all\",\"ack_"   \
    "policy\":\"none\","                                                                           \
    "\"ack_wait\":79200000000000,\"max_deliver\":1,\"replay_policy\":\"instant\",\"flow_"          \
    "control\":true,"                                                                              \
    "\"deliver_subject\":\"%s\",\"idle_heartbeat\":1000000000,\"inactive_threshold\":10000000000," \
    "\"num_replicas\":0,"                                                                          \
    "\"direct\":true,\"sourcing\":true},\"action\":\"\"}"

static char *ask_source(struct site *s, const char *deliver, const char *hdr, bool identity)
{
    char body[768];
    snprintf(body, sizeof body, SOURCE, deliver);
    struct jshost_msg *m = jshost_request_hdr(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S", hdr, body);
    assert_non_null(m);
    assert_int_equal(slice_search(m->hdr, SLICE("Nats-Stream-Identity: ")) < m->hdr.n, identity);
    char *text = xstrdup(m->text);
    jshost_msg_free(m);
    return text;
}

#define LEVEL5 "NATS/1.0\r\nNats-Required-Api-Level: 5\r\nNats-Stream-Identity: \r\n\r\n"

static void a_source_on_a_limits_stream_gets_its_own_name(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 1);
    char *text = ask_source(s, "$JS.S.one", LEVEL5, true);
    assert_non_null(strstr(text, "\"name\":\"JS_SRC_x-"));
    assert_non_null(strstr(text, "\"direct\":true,\"sourcing\":true"));
    free(text);
    jshost_want(&s->h, "$JS.S.one");
    fake_turn_run(&s->ft);
    expect_msg(s, "$JS.S.one", 1, 1, 1, &g);
    text = ask(s, "$JS.API.CONSUMER.NAMES.S", "");
    assert_non_null(strstr(text, "\"consumers\":[]"));
    free(text);
    text = ask_source(
        s, "$JS.S.two",
        "NATS/1.0\r\nNats-Required-Api-Level: 5\r\nNats-Stream-Identity: AAAAAAAA\r\n\r\n", false);
    assert_non_null(strstr(text, "\"err_code\":10225"));
    free(text);
    text = ask_source(s, "$JS.S.two", "NATS/1.0\r\nNats-Required-Api-Level: 6\r\n\r\n", false);
    assert_non_null(strstr(text, "\"err_code\":10185"));
    free(text);
}

static void fc_answer(struct site *s, const char *reply, const char *sseq)
{
    char hdr[128];
    snprintf(hdr, sizeof hdr, "NATS/1.0\r\nNats-Last-Consumer: %s\r\nNats-Last-Stream: %s\r\n\r\n",
             sseq, sseq);
    assert_int_equal(jshost_send(&s->h, ACC, reply, NULL, hdr, ""), 1);
    fake_turn_run(&s->ft);
}

static void a_source_on_a_work_queue_acks_by_flow_control(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY ",\"retention\":\"workqueue\"");
    publish_n(s, "o.a", 2);
    char *text = ask_source(s, "$JS.S.one", LEVEL5, true);
    assert_non_null(strstr(
        text, "\"durable_name\":\"JS_SRC_x\",\"name\":\"JS_SRC_x\",\"deliver_policy\":\"all\","
              "\"ack_policy\":\"flow_control\",\"max_deliver\":-1,\"replay_policy\":\"instant\","
              "\"max_ack_pending\":1000,\"flow_control\":true,\"deliver_subject\":\"$JS.S.one\","
              "\"idle_heartbeat\":1000000000,\"num_replicas\":0,\"sourcing\":true"));
    free(text);
    jshost_want(&s->h, "$JS.S.one");
    fake_turn_run(&s->ft);
    expect_msg(s, "$JS.S.one", 1, 1, 1, &g);
    expect_msg(s, "$JS.S.one", 2, 2, 1, &g);
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_status(
        s, "$JS.S.one",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n");
    assert_true(take(s, "$JS.S.one", &g));
    assert_string_equal(g.hdr, "NATS/1.0 100 FlowControl Request\r\n\r\n");
    fc_answer(s, g.reply, "1");
    assert_int_equal(stream_msgs(s), 1);
    /* A new create of the same name: everything unacknowledged again, counted from 1, to the new
     * subject. */
    text = ask_source(s, "$JS.S.two", LEVEL5, true);
    assert_int_equal(number_in(text, "\"num_pending\":"), 1);
    free(text);
    jshost_want(&s->h, "$JS.S.two");
    fake_turn_run(&s->ft);
    expect_msg(s, "$JS.S.two", 2, 1, 1, &g);
}

/* Its window is full of what the copy has already, and the copy is further than that. */
static void a_copy_that_is_ahead_does_not_block_its_source(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY ",\"retention\":\"interest\"");
    free(ask_source(s, "$JS.S.one", LEVEL5, true));
    publish_n(s, "o.a", 1200); /* max_ack_pending is 1000 */
    jshost_want(&s->h, "$JS.S.one");
    fake_turn_run(&s->ft);
    for (uint64_t seq = 1; seq <= 1000; seq++)
        expect_msg(s, "$JS.S.one", seq, seq, 1, &g);
    assert_true(take(s, "$JS.S.one", &g));
    assert_string_equal(g.hdr, "NATS/1.0 100 FlowControl Request\r\n\r\n");
    expect_nothing(s, "$JS.S.one");
    fc_answer(s, g.reply, "1100");
    expect_msg(s, "$JS.S.one", 1001, 1001, 1, &g);
    assert_int_equal(stream_msgs(s), 200);
}

/* --- we copy from somebody -------------------------------------------------------------------- */

#define COPY                                                                                       \
    "{\"name\":\"COPY\",\"sources\":[{\"name\":\"AFAR\",\"external\":{\"api\":\"$JS.hub.API\"}}]}"
#define ASKED "$JS.hub.API.CONSUMER.CREATE.AFAR"

/* The hub answers the question; where it shall deliver. */
static char *hub_answers_at(struct site *s, unsigned given_up)
{
    char text[256], *deliver = xcalloc(1, 64);
    fake_turn_advance(&s->ft, 3 * NS_PER_S);
    struct jshost_msg *m = jshost_take(&s->h, ASKED);
    assert_non_null(m);
    assert_int_equal(sscanf(strstr(m->text, "\"deliver_subject\":\"") + 19, "%63[^\"]", deliver),
                     1);
    char *reply = xasprintf("%.*s", SLICE_FMT(m->reply));
    snprintf(text, sizeof text,
             "{\"name\":\"JS_SRC\",\"config\":{\"deliver_subject\":\"%s\"},"
             "\"delivered\":{\"stream_seq\":%u}}",
             deliver, given_up);
    assert_int_equal(jshost_send(&s->h, ACC, reply, NULL, NULL, text), 1);
    fake_turn_run(&s->ft);
    jshost_msg_free(m);
    free(reply);
    return deliver;
}

static char *hub_answers(struct site *s)
{
    return hub_answers_at(s, 0);
}

static char *begin_copying(struct site *s)
{
    jshost_want(&s->h, ASKED);
    jshost_want(&s->h, "$JS.FC.>");
    ask_ok(s, "$JS.API.STREAM.CREATE.COPY", COPY);
    return hub_answers(s);
}

static void hub_sends(struct site *s, const char *deliver, unsigned seq, unsigned cseq)
{
    char reply[96];
    snprintf(reply, sizeof reply, "$JS.ACK.AFAR.JS_SRC.1.%u.%u.1795263091000000000.0", seq, cseq);
    assert_int_equal(jshost_send(&s->h, ACC, deliver, reply, NULL, "x"), 1);
}

static size_t fc_request(struct site *s, const char *deliver)
{
    return jshost_send(&s->h, ACC, deliver, "$JS.FC.AFAR.JS_SRC.1",
                       "NATS/1.0 100 FlowControl Request\r\n\r\n", "");
}

static void expect_fc_answer(struct site *s, const char *deliver, unsigned cseq, unsigned seq)
{
    char want[128];
    assert_int_equal(fc_request(s, deliver), 1);
    struct jshost_msg *m = jshost_wait(&s->h, "$JS.FC.>");
    assert_non_null(m);
    snprintf(want, sizeof want,
             "NATS/1.0\r\nNats-Last-Consumer: %u\r\nNats-Last-Stream: %u\r\n\r\n", cseq, seq);
    assert_true(slice_is(m->hdr, want));
    jshost_msg_free(m);
}

static struct stream *the_copy(struct site *s)
{
    return store_stream_find(s->store, SLICE("$G"), SLICE("COPY"));
}

struct awaited {
    struct site *s;
    uint64_t n;
};

static bool has_come(void *arg)
{
    const struct awaited *a = arg;
    struct stream_state st;
    store_state(the_copy(a->s), &st);
    return st.msgs == a->n;
}

static void expect_copied(struct site *s, uint64_t n)
{
    struct awaited a = {s, n};
    assert_true(fake_turn_wait(&s->ft, has_come, &a));
}

/* A hub that was killed begins anew. Told of more than it has sent again, it would take the rest
 * for acknowledged and wait for ever. */
static void a_source_is_told_only_of_what_it_has_sent(void **state)
{
    struct site *s = *state;
    char *deliver = begin_copying(s);
    for (unsigned i = 1; i <= 5; i++)
        hub_sends(s, deliver, i, i);
    expect_fc_answer(s, deliver, 5, 5);
    hub_sends(s, deliver, 9, 9); /* a gap: it is asked anew */
    free(deliver);
    deliver = hub_answers(s);
    hub_sends(s, deliver, 1, 1);
    hub_sends(s, deliver, 2, 2);
    expect_fc_answer(s, deliver, 2, 2);
    for (unsigned i = 3; i <= 7; i++)
        hub_sends(s, deliver, i, i);
    expect_fc_answer(s, deliver, 7, 7);
    expect_copied(s, 7);
    free(deliver);
}

/* Else a kill in this moment would leave a position that is ahead of the messages. */
static void a_source_brings_nothing_that_would_have_to_wait(void **state)
{
    struct site *s = *state;
    char *deliver = begin_copying(s);
    struct stream *st = the_copy(s);
    hub_sends(s, deliver, 1, 1);
    expect_copied(s, 1);
    st->held = true; /* somebody's expectation is searched for */
    hub_sends(s, deliver, 2, 2);
    assert_int_equal(fc_request(s, deliver), 1);
    fake_turn_run(&s->ft);
    assert_null(jshost_take(&s->h, "$JS.FC.>")); /* it would be deleted there */
    assert_true(list_empty(&st->parked));
    free(deliver);
    jshost_forget(&s->h);
    fake_turn_advance(&s->ft, 10 * NS_PER_S);
    assert_null(jshost_take(&s->h, ASKED)); /* not asked for before it can be stored */
    st->held = false;
    deliver = hub_answers(s);
    hub_sends(s, deliver, 2, 1);
    expect_copied(s, 2);
    free(deliver);
}

/* --- restarts --------------------------------------------------------------------------------- */

static void restart(struct site *s)
{
    site_down(s);
    site_up(s);
}

/* Else it would go on behind what it has not got, after a stop as after a kill. */
static void what_the_store_refuses_is_asked_for_again(void **state)
{
    struct site *s = *state;
    jshost_want(&s->h, ASKED);
    ask_ok(s, "$JS.API.STREAM.CREATE.COPY",
           "{\"name\":\"COPY\",\"max_msgs\":2,\"discard\":\"new\","
           "\"sources\":[{\"name\":\"AFAR\",\"external\":{\"api\":\"$JS.hub.API\"}}]}");
    char *deliver = hub_answers(s);
    for (unsigned i = 1; i <= 4; i++)
        hub_sends(s, deliver, i, i);
    expect_copied(s, 2);
    free(deliver);
    restart(s);
    jshost_want(&s->h, ASKED);
    fake_turn_advance(&s->ft, 3 * NS_PER_S);
    struct jshost_msg *m = jshost_take(&s->h, ASKED);
    assert_non_null(m);
    assert_int_equal(number_in(m->text, "\"opt_start_seq\":"), 3);
    jshost_msg_free(m);
}

/* The disk as it is now, without what a stop writes. */
static void kill_and_start(struct site *s)
{
    char cmd[256];
    snprintf(cmd, sizeof cmd, "cp -r %s %s.now", s->dir, s->dir);
    assert_int_equal(system(cmd), 0);
    site_down(s);
    snprintf(cmd, sizeof cmd, "rm -rf %s && mv %s.now %s", s->dir, s->dir, s->dir);
    assert_int_equal(system(cmd), 0);
    site_up(s);
}

#define NO_SOURCES "{\"name\":\"COPY\"}"
#define ELSEWHERE                                                                                  \
    "{\"name\":\"COPY\",\"sources\":[{\"name\":\"AFAR\",\"external\":{\"api\":\"$JS.hub.API\","    \
    "\"deliver\":\"else\"}}]}"
#define UPDATE "$JS.API.STREAM.UPDATE.COPY"

static void expect_asked_from(struct site *s, int64_t seq)
{
    fake_turn_advance(&s->ft, 3 * NS_PER_S);
    struct jshost_msg *m = jshost_take(&s->h, ASKED);
    assert_non_null(m);
    assert_int_equal(number_in(m->text, "\"opt_start_seq\":"), seq);
    jshost_msg_free(m);
}

static void the_only_source_is_taken_out_and_put_back(void **state)
{
    struct site *s = *state;
    char *deliver = begin_copying(s);
    for (unsigned i = 1; i <= 3; i++)
        hub_sends(s, deliver, i, i);
    expect_copied(s, 3);
    free(deliver);
    ask_ok(s, UPDATE, NO_SOURCES);
    ask_ok(s, UPDATE, COPY);
    expect_asked_from(s, 4);
    ask_ok(s, UPDATE, NO_SOURCES);
    restart(s);
    jshost_want(&s->h, ASKED);
    ask_ok(s, UPDATE, COPY);
    expect_asked_from(s, 4);
}

/* The messages are in the batch behind that of the update: what the store has taken is not asked
 * for again, and a kill finds them with their position. */
static void update_with_messages_under_way(struct site *s, const char *config)
{
    char *deliver = begin_copying(s);
    uint64_t batch = s->store->gather->n;
    assert_int_equal(jshost_send(&s->h, ACC, UPDATE, "_INBOX.u", NULL, config), 1);
    while (s->store->gather->n == batch)
        fake_turn_once(&s->ft);
    for (unsigned i = 1; i <= 3; i++)
        hub_sends(s, deliver, i, i);
    free(deliver);
    jshost_msg_free(jshost_wait(&s->h, "_INBOX.u"));
    expect_copied(s, 3);
}

static void a_source_that_goes_leaves_its_place_behind(void **state)
{
    struct site *s = *state;
    update_with_messages_under_way(s, NO_SOURCES);
    kill_and_start(s);
    jshost_want(&s->h, ASKED);
    ask_ok(s, UPDATE, COPY);
    expect_asked_from(s, 4);
}

static void a_source_that_delivers_elsewhere_goes_on(void **state)
{
    struct site *s = *state;
    update_with_messages_under_way(s, ELSEWHERE);
    expect_asked_from(s, 4);
    kill_and_start(s);
    jshost_want(&s->h, ASKED);
    expect_asked_from(s, 4);
}

/* As at the origin, if roll-ups are permitted here, too. */
static void a_copied_roll_up_rolls_up(void **state)
{
    struct site *s = *state;
    jshost_want(&s->h, ASKED);
    for (int allowed = 0; allowed < 2; allowed++) {
        ask_ok(s, "$JS.API.STREAM.CREATE.COPY",
               allowed
                   ? "{\"name\":\"COPY\",\"allow_rollup_hdrs\":true,\"mirror\":{\"name\":\"AFAR\","
                     "\"external\":{\"api\":\"$JS.hub.API\"}}}"
                   : "{\"name\":\"COPY\",\"mirror\":{\"name\":\"AFAR\","
                     "\"external\":{\"api\":\"$JS.hub.API\"}}}");
        char *deliver = hub_answers(s);
        for (unsigned i = 1; i <= 3; i++)
            hub_sends(s, deliver, i, i);
        expect_copied(s, 3);
        assert_int_equal(jshost_send(&s->h, ACC, deliver,
                                     "$JS.ACK.AFAR.JS_SRC.1.4.4.1795263091000000000.0",
                                     "NATS/1.0\r\nNats-Rollup: all\r\n\r\n", "x"),
                         1);
        expect_copied(s, allowed ? 1 : 4);
        free(deliver);
        ask_ok(s, "$JS.API.STREAM.DELETE.COPY", "");
        jshost_forget(&s->h);
        jshost_want(&s->h, ASKED);
    }
}

/* The origin gave up what comes next; what the mirror has it keeps, and what comes then has its
 * number. */
static void a_mirror_outlives_its_origins_messages(void **state)
{
    struct site *s = *state;
    jshost_want(&s->h, ASKED);
    ask_ok(s, "$JS.API.STREAM.CREATE.COPY",
           "{\"name\":\"COPY\",\"mirror\":{\"name\":\"AFAR\",\"external\":{\"api\":\"$JS.hub.API\"}"
           "}}");
    char *deliver = hub_answers(s);
    for (unsigned i = 1; i <= 3; i++)
        hub_sends(s, deliver, i, i);
    expect_copied(s, 3);
    free(deliver);
    restart(s);
    jshost_want(&s->h, ASKED);
    deliver = hub_answers_at(s, 7);
    hub_sends(s, deliver, 8, 1);
    expect_copied(s, 4);
    free(deliver);
    kill_and_start(s);
    char *got = ask(s, "$JS.API.STREAM.INFO.COPY", "{\"deleted_details\":true}");
    assert_non_null(strstr(got, "\"deleted\":[4,5,6,7]"));
    assert_int_equal(number_in(got, "\"first_seq\":"), 1);
    assert_int_equal(number_in(got, "\"last_seq\":"), 8);
    free(got);
}

/* A large one closes the batch it is put into: a kill after that batch must find both there. */
static void a_message_and_its_position_are_in_one_batch(void **state)
{
    struct site *s = *state;
    char *deliver = begin_copying(s), *large = xmalloc(BATCH_BYTES + 1);
    memset(large, 'x', BATCH_BYTES);
    large[BATCH_BYTES] = '\0';
    uint64_t batch = s->store->gather->n;
    assert_int_equal(jshost_send(&s->h, ACC, deliver,
                                 "$JS.ACK.AFAR.JS_SRC.1.1.1.1795263091000000000.0", NULL, large),
                     1);
    assert_true(s->store->gather->n > batch);
    assert_true(list_empty(&s->store->dirty_cursors));
    expect_copied(s, 1);
    free(large);
    free(deliver);
}

static void progress_survives_a_restart(void **state)
{
    struct site *s = *state;
    struct got g[4];
    make_stream(s, "");
    make_consumer(s, "C", ",\"ack_wait\":60000000000" EXPLICIT);
    publish_n(s, "o.a", 4);
    pull(s, "C", "_INBOX.p", "3");
    for (uint64_t i = 0; i < 3; i++)
        expect_msg(s, "_INBOX.p", i + 1, i + 1, 1, &g[i]);
    ack(s, &g[0], "");
    assert_int_equal(jshost_send(&s->h, ACC, g[1].reply, "_INBOX.a", NULL, "+ACK"), 1);
    jshost_msg_free(jshost_wait(&s->h, "_INBOX.a"));
    restart(s);
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 2);
    assert_int_equal(info(s, "C", "delivered", "consumer_seq"), 3);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 1);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 1);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 4, 4, 1, &g[3]);
    ack(s, &g[2], "");
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 3);
}

static void memory_consumers_are_gone_after_a_restart(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    make_consumer(s, "C", ",\"mem_storage\":true" EXPLICIT);
    make_consumer(s, "D", ",\"deliver_policy\":\"new\"" EXPLICIT);
    restart(s);
    ask_error(s, "$JS.API.CONSUMER.INFO.S.C", "", 10014);
    publish_n(s, "o.a", 1);
    assert_int_equal(info(s, "D", NULL, "num_pending"), 1);
}

/* The trap: after a restart a consumer that feeds a copy says nothing but heartbeats that can't be
 * right, until it is asked anew. */
static void after_a_restart_a_source_waits_to_be_asked(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, ",\"retention\":\"workqueue\"");
    char *text = ask_source(s, "$JS.S.one", LEVEL5, true);
    free(text);
    jshost_want(&s->h, "$JS.S.one");
    publish_n(s, "o.a", 2);
    expect_msg(s, "$JS.S.one", 1, 1, 1, &g);
    expect_msg(s, "$JS.S.one", 2, 2, 1, &g);
    restart(s);
    publish_n(s, "o.a", 1);
    expect_nothing(s, "$JS.S.one");
    jshost_want(&s->h, "$JS.S.one");
    jsapi_link_up(s->acc, SLICE("hub"));
    fake_turn_run(&s->ft);
    expect_status(
        s, "$JS.S.one",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\nNats-Last-Stream: 2\r\n\r\n");
    expect_status(
        s, "$JS.S.one",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 4\r\nNats-Last-Stream: 2\r\n\r\n");
    expect_nothing(s, "$JS.S.one");
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_status(
        s, "$JS.S.one",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 5\r\nNats-Last-Stream: 2\r\n\r\n");
    jshost_forget(&s->h);
    text = ask_source(s, "$JS.S.two", LEVEL5, true);
    assert_int_equal(number_in(text, "\"num_pending\":"), 3);
    free(text);
    jshost_want(&s->h, "$JS.S.two");
    fake_turn_run(&s->ft);
    for (uint64_t i = 1; i <= 3; i++)
        expect_msg(s, "$JS.S.two", i, i, 1, &g);
    expect_nothing(s, "$JS.S.one");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The store asks cursors for their news until it is closed; nobody may be asked who is gone. */
static void nobody_is_left_behind_at_the_cursors(void **state)
{
    struct site *s = *state;
    size_t streams = 0, cursors = 0;
    make_stream(s, "");
    ask_ok(s, "$JS.API.STREAM.CREATE.COPY", "{\"name\":\"COPY\",\"sources\":[{\"name\":\"S\"}]}");
    make_consumer(s, "C", "");
    jsapi_close(s->js);
    s->js = NULL;
    for (struct stream *st; (st = store_stream_next(s->store, &streams));) {
        size_t at = 0;
        for (struct cursor *c; (c = store_cursor_next(st, &at)); cursors++)
            assert_null(c->src.delta);
    }
    assert_true(cursors >= 2); /* the consumer's, and the positions of the source */
    site_closed(s);
    site_up(s);
}

/* A '<' is kept as six characters: what was read once is read again, however long it has become. */
static void a_config_that_grew_is_read_again(void **state)
{
    enum { LONG = 200000 };
    struct site *s = *state;
    char *subject = xmalloc(LONG + 1);
    memset(subject, '<', LONG);
    subject[LONG] = '\0';
    char *body = xasprintf("{\"name\":\"S\",\"subjects\":[\"%s\"]}", subject);
    ask_ok(s, "$JS.API.STREAM.CREATE.S", body);
    free(body);
    body = xasprintf("{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\","
                     "\"filter_subject\":\"%s\"}}",
                     subject);
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.C", body);
    free(body);
    ask_ok(s, "$JS.API.CONSUMER.PAUSE.S.C", "{\"pause_until\":\"2030-01-01T00:00:00Z\"}");
    restart(s);
    ask_ok(s, "$JS.API.STREAM.INFO.S", "");
    ask_ok(s, "$JS.API.CONSUMER.INFO.S.C", "");
    free(subject);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_policy_starts_where_it_says),
        T(last_per_subject_has_a_list),
        T(num_pending_agrees_with_a_naive_count),
        T(a_roll_up_says_where_its_consumers_stand),
        T(a_source_on_a_limits_stream_gets_its_own_name),
        T(a_source_on_a_work_queue_acks_by_flow_control),
        T(a_copy_that_is_ahead_does_not_block_its_source),
        T(a_source_is_told_only_of_what_it_has_sent),
        T(a_source_brings_nothing_that_would_have_to_wait),
        T(what_the_store_refuses_is_asked_for_again),
        T(the_only_source_is_taken_out_and_put_back),
        T(a_source_that_goes_leaves_its_place_behind),
        T(a_source_that_delivers_elsewhere_goes_on),
        T(a_copied_roll_up_rolls_up),
        T(a_mirror_outlives_its_origins_messages),
        T(a_message_and_its_position_are_in_one_batch),
        T(a_config_that_grew_is_read_again),
        T(progress_survives_a_restart),
        T(memory_consumers_are_gone_after_a_restart),
        T(after_a_restart_a_source_waits_to_be_asked),
        T(nobody_is_left_behind_at_the_cursors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
