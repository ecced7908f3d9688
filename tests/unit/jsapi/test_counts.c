/* tests/unit/jsapi/test_counts.c -- num_pending of a consumer that is counted while a commit flies
 *
 * The receipts of commits are held, as on a slow disk: what the commit removes is decided, but
 * everybody is still shown it. What is counted then must be right when the receipt comes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "consumer_site.h"

#include "jsapi/consumer.h"
#include "storage/store.h"
#include "storage/writer.h"

static struct held {
    pthread_mutex_t lock;
    bool on;
    void (*mail)(void *loop, turn_fn *fn, void *arg);
    struct {
        turn_fn *fn;
        void *arg;
    } letters[8];
    size_t n;
} held = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hold_mail(void *loop, turn_fn *fn, void *arg)
{
    pthread_mutex_lock(&held.lock);
    bool on = held.on;
    if (on) {
        assert_true(held.n < ARRAY_LEN(held.letters));
        held.letters[held.n].fn = fn;
        held.letters[held.n++].arg = arg;
    }
    pthread_mutex_unlock(&held.lock);
    if (!on)
        held.mail(loop, fn, arg);
}

static void hold(struct site *s)
{
    pthread_mutex_lock(&held.lock);
    if (s->ft.turn.mail != hold_mail) {
        held.mail = s->ft.turn.mail;
        s->ft.turn.mail = hold_mail;
    }
    held.on = true;
    pthread_mutex_unlock(&held.lock);
}

static bool is_quiet(void *arg)
{
    const struct store *st = ((struct site *)arg)->store;
    return !st->flying && list_empty(&st->ready);
}

static void go_on(struct site *s)
{
    pthread_mutex_lock(&held.lock);
    held.on = false;
    for (size_t i = 0; i < held.n; i++)
        held.mail(&s->ft, held.letters[i].fn, held.letters[i].arg);
    held.n = 0;
    pthread_mutex_unlock(&held.lock);
    assert_true(fake_turn_wait(&s->ft, is_quiet, s));
}

static void begin(struct site *s, const char *subject, const char *reply, const char *body)
{
    jshost_send(&s->h, ACC, subject, reply, NULL, body);
    fake_turn_run(&s->ft);
}

#define NEW_ONE                                                                                    \
    "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"mem_storage\":true,"              \
    "\"filter_subject\":\"o.*\",\"ack_policy\":\"explicit\"}}"

/* Message 2 of three is on its way out, and then somebody asks how many there are. */
static void one_of_three_leaves(struct site *s, const char *how)
{
    publish_n(s, "o.a", 3);
    hold(s);
    begin(s, "$JS.API.STREAM.MSG.DELETE.S", "_INBOX.gone", how);
    assert_non_null(s->store->flying);
    begin(s, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.made", NEW_ONE);
    struct jshost_msg *m = jshost_take(&s->h, "_INBOX.made");
    assert_non_null(m);
    jshost_msg_free(m);
    go_on(s);
    assert_int_equal(stream_msgs(s), 2);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 2);
    publish(s, "o.b", "another");
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
}

static void nobody_wanted_the_subject_when_it_was_decided(void **state)
{
    make_stream(*state, "");
    one_of_three_leaves(*state, "{\"seq\":2,\"no_erase\":true}");
}

static void erased_and_nobody_wanted_the_subject(void **state)
{
    make_stream(*state, "");
    one_of_three_leaves(*state, "{\"seq\":2}");
}

static void somebody_wanted_it(void **state)
{
    make_stream(*state, "");
    make_consumer(*state, "O", ",\"filter_subject\":\"o.*\"");
    one_of_three_leaves(*state, "{\"seq\":2,\"no_erase\":true}");
}

static void erased_and_somebody_wanted_it(void **state)
{
    make_stream(*state, "");
    make_consumer(*state, "O", ",\"filter_subject\":\"o.*\"");
    one_of_three_leaves(*state, "{\"seq\":2}");
}

/* What /jsz says of C. */
static uint64_t shown(struct site *s)
{
    struct buf out = BUF_INIT;
    struct json_out j;
    json_begin(&j, &out);
    json_arr(&j, NULL);
    jsapi_describe(s->js, &j, (struct slice){0}, true, true, false);
    json_end(&j);
    uint64_t n = number_in(strstr(buf_cstr(&out), "\"consumer_detail\""), "\"num_pending\":");
    buf_release(&out);
    return n;
}

static void a_look_after_a_restart_has_it_counted(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    publish_n(s, "o.a", 3);
    make_consumer(s, "C", ",\"filter_subject\":\"o.*\"" EXPLICIT);
    site_down(s);
    site_up(s);
    shown(s);
    fake_turn_run(&s->ft);
    assert_int_equal(shown(s), 3);
}

/* One that is counted for the list keeps it waiting; then the stream goes. */
static void a_list_hears_that_its_stream_went(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    publish_n(s, "o.a", 3);
    make_consumer(s, "A", ",\"filter_subject\":\"o.*\"" EXPLICIT);
    make_consumer(s, "B", ",\"filter_subject\":\"o.a\"" EXPLICIT);
    site_down(s);
    site_up(s);
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.LIST.S", "_INBOX.list", NULL, "");
    jshost_send(&s->h, ACC, "$JS.API.STREAM.DELETE.S", "_INBOX.gone", NULL, "");
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.list");
    assert_non_null(m);
    if (!strstr(m->text, "\"err_code\":10059"))
        fail_msg("%s", m->text);
    jshost_msg_free(m);
}

/* Its job is a portion a turn; a message that it has found leaves before it has found all, mostly
 * the first one of the list. The others are delivered. */
static void what_leaves_while_the_list_is_made_is_not_awaited(void **state)
{
    enum { SUBJECTS = 600 };
    static const char body[] =
        "{\"stream_name\":\"S\",\"config\":{\"name\":\"C\",\"mem_storage\":true,\"ack_policy\":"
        "\"none\","
        "\"filter_subject\":\"o.*\",\"deliver_policy\":\"last_per_subject\"}}";
    struct site *s = *state;
    char subject[32];
    make_stream(s, "");
    for (int i = 0; i < SUBJECTS; i++) {
        snprintf(subject, sizeof subject, "o.%03d", i);
        jshost_send(&s->h, ACC, subject, NULL, NULL, "x");
    }
    fake_turn_run(&s->ft);
    bool making = true;
    for (uint64_t turns = 1; making; turns++) { /* until it is made before */
        assert_true(fake_turn_wait(&s->ft, is_quiet, s));
        struct js_stream *stream = js_stream_find(s->acc, SLICE("S"));
        s->ft.job_budget_ns = -1;
        jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.made", NULL, body);
        for (uint64_t i = 0; i < turns; i++)
            fake_turn_once(&s->ft);
        assert_int_equal(store_remove(stream->store, &turns, 1, false, NULL, NULL), 0);
        while (!s->store->flying)
            fake_turn_once(&s->ft);
        writer_wait(s->store->writer);
        const struct js_consumer *c = consumers_find(stream->consumers, SLICE("C"));
        making = !c || c->state == CONSUMER_MAKING;
        store_on_back(s->store);
        s->ft.job_budget_ns = 1;
        struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.made");
        assert_non_null(m);
        if (making)
            assert_int_equal(number_in(m->text, "\"num_pending\":"), SUBJECTS - turns);
        jshost_msg_free(m);
        char *first = ask(s, "$JS.API.CONSUMER.MSG.NEXT.S.C", "{\"batch\":1,\"no_wait\":true}");
        if (strcmp(first, "x") != 0)
            fail_msg("turn %llu: %s", (unsigned long long)turns, first);
        free(first);
        ask_ok(s, "$JS.API.CONSUMER.DELETE.S.C", "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_wanted_the_subject_when_it_was_decided, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(erased_and_nobody_wanted_the_subject, setup, teardown),
        cmocka_unit_test_setup_teardown(somebody_wanted_it, setup, teardown),
        cmocka_unit_test_setup_teardown(erased_and_somebody_wanted_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_look_after_a_restart_has_it_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_hears_that_its_stream_went, setup, teardown),
        cmocka_unit_test_setup_teardown(what_leaves_while_the_list_is_made_is_not_awaited, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
