/* tests/unit/server/test_perms.c -- permissions by example, and publish answers against a naive
 * model
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/subject.h"
#include "server/auth.h"
#include "server/options.h"

/* The permissions of user u, from the text of its block. */
static struct perms *perms_of(const char *text)
{
    char path[] = "/tmp/frond-perms-XXXXXX";
    struct options *o;
    struct auth *a;
    struct auth_user *u;
    struct auth_try *later;
    char *say = NULL,
         *conf = xasprintf("authorization { users: [{user: u, permissions: %s}] }", text);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, conf, strlen(conf)), strlen(conf));
    close(fd);
    int rc = options_load(path, NULL, true, &o, &say);
    if (say)
        print_error("%s: %s", conf, say);
    assert_int_equal(rc, 0);
    unlink(path);
    assert_int_equal(auth_new(o, NULL, &a, &say), 0);
    struct auth_hello h = {.user = SLICE("u")};
    assert_int_equal(auth_check(a, &h, NULL, NULL, &u, &later), AUTH_YES);
    struct perms *p = perms_new(u);
    auth_user_unref(u);
    auth_free(a);
    options_free(o);
    free(conf);
    return p;
}

static void publish_is_allow_and_not_deny(void **state)
{
    static const struct {
        const char *perms, *subject;
        bool may;
    } rows[] = {
        {"{publish: \"a.>\"}", "a.b", true},
        {"{publish: \"a.>\"}", "a", false},
        {"{publish: \"a.>\"}", "b", false},
        {"{publish: {deny: \"a.*\"}}", "a.b", false},
        {"{publish: {deny: \"a.*\"}}", "a.b.c", true},
        {"{publish: {allow: [\"a.>\", \"b\"], deny: [\"a.x\", \"a.y\"]}}", "a.x", false},
        {"{publish: {allow: [\"a.>\", \"b\"], deny: [\"a.x\", \"a.y\"]}}", "a.z", true},
        {"{publish: {allow: []}}", "a", true},
        {"{publish: \">\"}", "a..b", false},
        {"{publish: {deny: \">\"}}", "a..b", true},
        {"{subscribe: \"x\"}", "anything", true},
        {"{allow_responses: true}", "a", false},
        {"{publish: b, allow_responses: true}", "b", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct perms *p = perms_of(rows[i].perms);
        for (int again = 0; again < 2; again++) /* the second answer may be a remembered one */
            if (perms_may_publish(p, slice_cstr(rows[i].subject)) != rows[i].may)
                fail_msg("%s %s", rows[i].perms, rows[i].subject);
        perms_free(p);
    }
}

static void subscribe_takes_the_subject_as_text_and_knows_queues(void **state)
{
    static const struct {
        const char *perms, *subject, *queue;
        bool may;
    } rows[] = {
        {"{sub: \"foo.*\"}", "foo.x", "", true},
        {"{sub: \"foo.*\"}", "foo.*", "", true},
        {"{sub: \"foo.*\"}", "foo.>", "", true},
        {"{sub: \"foo.*\"}", ">", "", false},
        {"{sub: \"foo.*\"}", "*.x", "", false},
        {"{sub: \"foo.*\"}", "foo.x", "q", true},
        {"{sub: \">\"}", "a..b", "", false},
        {"{sub: {deny: \"b.>\"}}", "b.c", "", false},
        {"{sub: {deny: \"b.>\"}}", "b.*", "", false},
        {"{sub: {deny: \"b.c\"}}", "b.*", "", true},
        {"{sub: \"foo q1\"}", "foo", "", false},
        {"{sub: \"foo q1\"}", "foo", "q1", true},
        {"{sub: \"foo q1\"}", "foo", "q2", false},
        {"{sub: \"foo v1.*\"}", "foo", "v1.x", true},
        {"{sub: \"foo v1.*\"}", "foo", "v2.x", false},
        {"{sub: [foo, \"foo q1\"]}", "foo", "", true},
        {"{sub: [foo, \"foo q1\"]}", "foo", "q2", false},
        {"{sub: {deny: \"foo q1\"}}", "foo", "q1", false},
        {"{sub: {deny: \"foo q1\"}}", "foo", "q2", true},
        {"{sub: {deny: \"foo q1\"}}", "foo", "", true},
        {"{sub: {deny: \"foo *\"}}", "foo", "q2", false},
        {"{pub: x}", "foo", "", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct perms *p = perms_of(rows[i].perms);
        if (perms_may_subscribe(p, slice_cstr(rows[i].subject), slice_cstr(rows[i].queue)) !=
            rows[i].may)
            fail_msg("%s %s %s", rows[i].perms, rows[i].subject, rows[i].queue);
        perms_free(p);
    }
}

static void what_is_denied_inside_a_wildcard_is_filtered(void **state)
{
    struct perms *p = perms_of("{sub: {deny: [\"a.secret\", \"b.x q1\"]}}");
    (void)state;
    assert_true(perms_filters(p, SLICE("a.*")));
    assert_true(perms_filters(p, SLICE(">")));
    assert_false(perms_filters(p, SLICE("a.open")));
    assert_false(perms_filters(p, SLICE("c.*")));
    assert_false(perms_may_receive(p, SLICE("a.secret"), SLICE("")));
    assert_true(perms_may_receive(p, SLICE("a.open"), SLICE("")));
    assert_true(perms_may_receive(p, SLICE("b.x"), SLICE("")));
    assert_true(perms_may_receive(p, SLICE("b.x"), SLICE("q2")));
    assert_false(perms_may_receive(p, SLICE("b.x"), SLICE("q1")));
    perms_free(p);
}

static void replies_are_lent_for_a_while_and_counted(void **state)
{
    (void)state;
    clock_fake(NS_PER_S, NS_PER_S);
    struct perms *p =
        perms_of("{publish: {allow: a, deny: \"in.>\"}, allow_responses: {max: 2, ttl: \"1m\"}}");
    assert_false(perms_may_publish(p, SLICE("in.1")));
    perms_note_reply(p, SLICE("in.1"));
    assert_true(perms_may_publish(p, SLICE("in.1")));
    assert_true(perms_may_publish(p, SLICE("in.1")));
    assert_false(perms_may_publish(p, SLICE("in.1")));
    perms_note_reply(p, SLICE("in.2"));
    assert_false(perms_may_publish(p, SLICE("in.3")));
    clock_fake(62 * NS_PER_S, NS_PER_S);
    assert_false(perms_may_publish(p, SLICE("in.2")));
    for (int i = 0; i < 70000; i++) { /* bounded: the oldest go */
        char text[32];
        snprintf(text, sizeof text, "in.many.%d", i);
        perms_note_reply(p, slice_cstr(text));
    }
    assert_false(perms_may_publish(p, SLICE("in.many.0")));
    assert_true(perms_may_publish(p, SLICE("in.many.69999")));
    perms_free(p);
    p = perms_of("{allow_responses: {max: -1, ttl: \"-1s\"}}");
    perms_note_reply(p, SLICE("r"));
    clock_fake(1000000 * NS_PER_S, NS_PER_S);
    for (int i = 0; i < 100; i++)
        assert_true(perms_may_publish(p, SLICE("r")));
    perms_free(p);
    clock_unfake();
}

static void remembered_answers_agree_with_the_lists(void **state)
{
    static const char *const tokens[] = {"a", "b", "c", "dd", "*"};
    static const char perms[] =
        "{publish: {allow: [\"a.>\", \"b.*\", \"c.a.b\", \"*.dd\"], deny: [\"a.b.>\", \"*.c\"]}}";
    static const char *const allow[] = {"a.>", "b.*", "c.a.b", "*.dd"}, *const no[] = {"a.b.>",
                                                                                       "*.c"};
    struct perms *p = perms_of(perms);
    (void)state;
    srandom(4711);
    for (int i = 0; i < 20000; i++) {
        char subject[64] = "";
        size_t n = 0;
        for (long k = random() % 4; k >= 0; k--)
            n += (size_t)snprintf(subject + n, sizeof subject - n, "%s%s", n ? "." : "",
                                  tokens[random() % 5]);
        bool want = false;
        for (size_t k = 0; k < ARRAY_LEN(allow); k++)
            want = want || subject_match(slice_cstr(subject), slice_cstr(allow[k]));
        for (size_t k = 0; k < ARRAY_LEN(no); k++)
            want = want && !subject_match(slice_cstr(subject), slice_cstr(no[k]));
        assert_int_equal(perms_may_publish(p, slice_cstr(subject)), want);
    }
    perms_free(p);
}

static void no_permissions_is_no_struct_and_the_rest_is_told(void **state)
{
    struct buf b = BUF_INIT;
    struct json_out out;
    struct perms *p = perms_of("{publish: a, sub: {deny: \"b q\"}, allow_responses: true}");
    (void)state;
    assert_null(perms_new(NULL));
    perms_free(NULL);
    json_begin(&out, &b);
    json_obj(&out, NULL);
    perms_describe(p, &out, "permissions");
    json_end(&out);
    assert_string_equal(
        buf_cstr(&b),
        "{\"permissions\":{\"publish\":{\"allow\":[\"a\"]},\"subscribe\":{\"deny\":[\"b q\"]},"
        "\"responses\":{\"max\":1,\"ttl\":120000000000}}}");
    buf_release(&b);
    perms_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_is_allow_and_not_deny),
        cmocka_unit_test(subscribe_takes_the_subject_as_text_and_knows_queues),
        cmocka_unit_test(what_is_denied_inside_a_wildcard_is_filtered),
        cmocka_unit_test(replies_are_lent_for_a_while_and_counted),
        cmocka_unit_test(remembered_answers_agree_with_the_lists),
        cmocka_unit_test(no_permissions_is_no_struct_and_the_rest_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
