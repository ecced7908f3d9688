/* test_parser.c -- operations, limits, and input cut at every byte
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"

static const struct parse_limits client = {PARSE_CLIENT, 4096, 1024};
static const struct parse_limits link = {PARSE_LEAF, 65536, 1024};

static enum parsed once(const struct parse_limits *l, const char *text, struct op *op)
{
    return parse(l, slice_cstr(text), op);
}

static void same(struct slice s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.n ? s.p : "", text, s.n);
}

static void publishes_have_subject_reply_and_payload(void **state)
{
    struct op op;

    (void)state;
    assert_int_equal(once(&client, "PUB foo 5\r\nhello\r\nPING", &op), PARSED);
    assert_int_equal(op.verb, VERB_PUB);
    assert_int_equal(op.len, 18);
    same(op.subject, "foo");
    same(op.reply, "");
    same(op.payload, "hello");
    assert_int_equal(once(&client, "pUb\t foo  bar\t002 \r\nhi\r\n", &op), PARSED);
    same(op.reply, "bar");
    same(op.payload, "hi");
    assert_int_equal(once(&client, "HPUB a r 12 14\nNATS/1.0\r\n\r\nhi\r\n", &op), PARSED);
    same(op.hdr, "NATS/1.0\r\n\r\n");
    same(op.payload, "hi");
    same(op.reply, "r");
}

static void subscriptions_have_their_three_words(void **state)
{
    struct op op;

    (void)state;
    assert_int_equal(once(&client, "SUB foo.* 7\r\n", &op), PARSED);
    same(op.subject, "foo.*");
    same(op.sid, "7");
    assert_int_equal(once(&client, "sub foo q 7\n", &op), PARSED);
    same(op.queue, "q");
    assert_int_equal(once(&client, "UNSUB 7 12\r\n", &op), PARSED);
    assert_int_equal(op.max, 12);
    assert_int_equal(once(&client, "UNSUB 7 x\r\n", &op), PARSED);
    assert_int_equal(op.max, 0);
}

static void words_without_arguments_ignore_the_rest_of_the_line(void **state)
{
    struct op op;

    (void)state;
    assert_int_equal(once(&client, "PINGxyz\r\n", &op), PARSED);
    assert_int_equal(op.verb, VERB_PING);
    assert_int_equal(once(&client, "CONNECT{\"a\":1}\r\n", &op), PARSED);
    same(op.args, "{\"a\":1}");
    assert_int_equal(once(&client, "+OK\r\n", &op), PARSED);
    assert_int_equal(once(&client, "-ERR 'x'\r\n", &op), PARSED);
    same(op.args, "'x'");
}

static void links_have_three_forms_of_a_message(void **state)
{
    struct op op;
    struct slice g[2];

    (void)state;
    assert_int_equal(once(&link, "LMSG a.b 2\r\nhi\r\n", &op), PARSED);
    same(op.subject, "a.b");
    assert_int_equal(once(&link, "LMSG a r 2\r\nhi\r\n", &op), PARSED);
    same(op.reply, "r");
    assert_false(op.indicator);
    assert_int_equal(once(&link, "LMSG a + r Q Z 2\r\nhi\r\n", &op), PARSED);
    same(op.reply, "r");
    assert_int_equal(op.ngroups, 2);
    parse_groups(&op, g);
    same(g[0], "Q");
    same(g[1], "Z");
    assert_int_equal(once(&link, "HMSG a | Q 12 13\r\nNATS/1.0\r\n\r\nx\r\n", &op), PARSED);
    assert_int_equal(op.ngroups, 1);
    same(op.reply, "");
    same(op.payload, "x");
    assert_int_equal(once(&link, "LMSG a | 2\r\nhi\r\n", &op), PARSED); /* the trap: a reply */
    same(op.reply, "|");
    assert_int_equal(once(&link, "LMSG a x r Q 2\r\nhi\r\n", &op), PARSE_BAD_ARGS);
    assert_int_equal(once(&link, "LS+ foo\r\n", &op), PARSED);
    assert_int_equal(once(&link, "LS+ foo q 4\r\n", &op), PARSED);
    assert_int_equal(op.weight, 4);
    assert_int_equal(once(&link, "LS+ foo q\r\n", &op), PARSE_BAD_ARGS);
    assert_int_equal(once(&link, "LS- foo q\r\n", &op), PARSED);
    same(op.queue, "q");
    assert_int_equal(once(&link, "PUB foo 0\r\n\r\n", &op), PARSE_UNKNOWN);
    assert_int_equal(once(&client, "LS+ foo\r\n", &op), PARSE_UNKNOWN);
}

static void rules_that_are_broken(void **state)
{
    static const struct {
        const char *text;
        enum parsed r;
    } rows[] = {
        {"X", PARSE_UNKNOWN},
        {"\r\n", PARSE_UNKNOWN},
        {"PUBx a 1\r\n", PARSE_UNKNOWN},
        {"MSG a 1 1\r\n", PARSE_UNKNOWN},
        {"PUB a\r\n", PARSE_BAD_ARGS},
        {"PUB a b c 1\r\n", PARSE_BAD_ARGS},
        {"PUB a -1\r\n", PARSE_BAD_ARGS},
        {"PUB a 1x\r\n", PARSE_BAD_ARGS},
        {"PUB a 1234567890\r\n", PARSE_BAD_ARGS},
        {"HPUB a 13 12\r\n", PARSE_BAD_ARGS},
        {"SUB a\r\n", PARSE_BAD_ARGS},
        {"SUB a b c d\r\n", PARSE_BAD_ARGS},
        {"UNSUB\t\r\n", PARSE_BAD_ARGS},
        {"PUB a 1025\r\n", PARSE_PAYLOAD},
        {"PUB a 2\r\nhiX\r\n", PARSE_UNKNOWN},
        {"PUB a 2\r\nhi\n\n", PARSE_UNKNOWN},
        {"PUB a 2\r\nhi\rX", PARSE_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct op op;
        enum parsed r = once(&client, rows[i].text, &op);
        if (r != rows[i].r)
            fail_msg("%s: %d, not %d", rows[i].text, r, rows[i].r);
    }
}

static void the_control_line_has_a_limit_to_the_byte(void **state)
{
    char text[5200];
    struct op op;
    size_t n;

    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text, "SUB ", 4);
    n = 4 + 4096;
    memcpy(text + n - 2, " 1\r\n", 4);
    assert_int_equal(parse(&client, slice_of(text, n + 2), &op), PARSED);
    text[n - 2] = 'a';
    memcpy(text + n - 1, " 1\r\n", 4);
    assert_int_equal(parse(&client, slice_of(text, n + 3), &op), PARSE_LINE);
    assert_int_equal(parse(&client, slice_of(text, n - 1), &op), PARSE_MORE);
    assert_int_equal(parse(&client, slice_of(text, n + 1), &op), PARSE_LINE);
    memset(text, ' ', sizeof text);
    memcpy(text, "PING", 4);
    assert_int_equal(parse(&client, slice_of(text, 5200), &op), PARSE_LINE);
}

/* Whatever the cut, the operations are the same, and a payload under way says what it needs. */
static void cuts_at_every_byte_change_nothing(void **state)
{
    static const char stream[] = "CONNECT {}\r\nPING\r\nSUB a.> q 1\r\nPUB a.b r 5\r\nhello\r\n"
                                 "HPUB x 12 13\r\nNATS/1.0\r\n\r\n!\r\nUNSUB 1 2\r\nPONG\r\n";
    static const enum verb verbs[] = {VERB_CONNECT, VERB_PING,  VERB_SUB, VERB_PUB,
                                      VERB_HPUB,    VERB_UNSUB, VERB_PONG};
    size_t all = sizeof stream - 1;

    (void)state;
    for (size_t step = 1; step <= all; step++) {
        size_t have = 0, at = 0, seen = 0;
        while (at < all) {
            struct op op;
            enum parsed r = parse(&client, slice_of(stream + at, have - at), &op);
            if (r == PARSED) {
                assert_int_equal(op.verb, verbs[seen++]);
                at += op.len;
                continue;
            }
            assert_int_equal(r, PARSE_MORE);
            assert_true(have < all);
            if (op.len)
                assert_true(op.len > have - at);
            have = have + step < all ? have + step : all;
        }
        assert_int_equal(seen, ARRAY_LEN(verbs));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_have_subject_reply_and_payload),
        cmocka_unit_test(subscriptions_have_their_three_words),
        cmocka_unit_test(words_without_arguments_ignore_the_rest_of_the_line),
        cmocka_unit_test(links_have_three_forms_of_a_message),
        cmocka_unit_test(rules_that_are_broken),
        cmocka_unit_test(the_control_line_has_a_limit_to_the_byte),
        cmocka_unit_test(cuts_at_every_byte_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
