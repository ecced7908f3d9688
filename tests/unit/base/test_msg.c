/* Counted messages and header blocks, whole and broken.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/msg.h"

#define BLOCK "NATS/1.0\r\nA: 1\r\nNats-Msg-Id:\t x y \r\nA: 2\r\nEmpty:\r\nnats-msg-id: z\r\n\r\n"

static void a_message_is_shared_once_and_counted(void **state)
{
    (void)state;
    struct msg_view v = {
        .subject = SLICE("s"), .reply = SLICE("r"), .hdr = SLICE("h"), .payload = SLICE("pp")};
    struct msg *m = msg_share(&v);
    assert_ptr_equal(m, msg_share(&v));
    assert_int_equal(m->refs, 1);
    msg_ref(m);
    msg_view_done(&v);
    assert_null(v.shared);
    struct msg_view w = msg_view_of(m);
    assert_true(slice_is(w.subject, "s") && slice_is(w.reply, "r") && slice_is(w.hdr, "h") &&
                slice_is(w.payload, "pp"));
    msg_unref(m);
    m = msg_new(&(struct msg_view){.subject = SLICE("s")});
    assert_int_equal(msg_view_of(m).payload.n, 0);
    msg_unref(m);
}

static void headers_are_found_by_exact_name(void **state)
{
    (void)state;
    struct slice v = {0};
    assert_true(hdr_get(SLICE(BLOCK), SLICE("Nats-Msg-Id"), &v) && slice_is(v, "\t x y "));
    assert_true(hdr_get(SLICE(BLOCK), SLICE("A"), &v) && slice_is(v, "1"));
    assert_true(hdr_get(SLICE(BLOCK), SLICE("Empty"), &v) && v.n == 0);
    assert_false(hdr_get(SLICE(BLOCK), SLICE("Nats-Msg"), &v));
    assert_false(hdr_get(SLICE(BLOCK), SLICE("NATS/1.0"), &v));
    assert_false(hdr_get((struct slice){NULL, 0}, SLICE("A"), &v));
    assert_true(hdr_get(SLICE("NATS/1.0\r\nA: cut"), SLICE("A"), &v) && slice_is(v, "cut"));
}

static void headers_are_walked_in_order(void **state)
{
    (void)state;
    static const char *const names[] = {"A", "Nats-Msg-Id", "A", "Empty", "nats-msg-id"};
    struct slice name, value;
    size_t pos = 0, n = 0;
    while (hdr_next(SLICE(BLOCK), &pos, &name, &value))
        assert_true(slice_is(name, names[n++]));
    assert_int_equal(n, 5);
    pos = 0;
    assert_true(hdr_next(SLICE("NATS/1.0\r\nno colon\r\nB: 1\r\n\r\n"), &pos, &name, &value));
    assert_true(slice_is(name, "B"));
    pos = 0;
    assert_false(hdr_next((struct slice){NULL, 0}, &pos, &name, &value));
}

static void the_status_stands_in_the_first_line(void **state)
{
    (void)state;
    assert_true(slice_is(hdr_status(SLICE("NATS/1.0 503\r\n\r\n")), "503"));
    assert_true(slice_is(hdr_status(SLICE("NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n")), "100"));
    assert_int_equal(hdr_status(SLICE(BLOCK)).n, 0);
    assert_int_equal(hdr_status(SLICE("NATS/1.0503\r\n\r\n")).n, 0);
    assert_int_equal(hdr_status(SLICE("HTTP/1.1 200\r\n\r\n")).n, 0);
    assert_true(hdr_valid(SLICE(BLOCK)));
    assert_true(hdr_valid(SLICE("NATS/1.0\r\n\r\n")));
    assert_false(hdr_valid(SLICE("NATS/1.0\r\n")));
    assert_false(hdr_valid(SLICE("NATS/1.05\r\n\r\n")));
    assert_false(hdr_valid(SLICE("")));
}

static bool is_a(struct slice name, void *arg)
{
    (void)arg;
    return slice_is(name, "A");
}

static void assert_rewrite(struct slice hdr, bool drop, const char *extra, const char *expect)
{
    struct buf out = BUF_INIT;
    buf_add_str(&out, "|");
    hdr_rewrite(&out, hdr, drop ? is_a : NULL, NULL, slice_cstr(extra));
    buf_consume(&out, 1);
    assert_string_equal(buf_cstr(&out), expect);
    buf_release(&out);
}

static void a_block_is_rewritten(void **state)
{
    (void)state;
    assert_rewrite(SLICE(BLOCK), true, "",
                   "NATS/1.0\r\nNats-Msg-Id:\t x y \r\nEmpty:\r\nnats-msg-id: z\r\n\r\n");
    assert_rewrite(SLICE(BLOCK), false, "", BLOCK);
    assert_rewrite(SLICE("NATS/1.0\r\nA: 1\r\n\r\n"), true, "", "");
    assert_rewrite(SLICE("NATS/1.0\r\nA: 1\r\n\r\n"), true, "B: 2\r\n", "NATS/1.0\r\nB: 2\r\n\r\n");
    assert_rewrite((struct slice){NULL, 0}, true, "B: 2\r\n", "NATS/1.0\r\nB: 2\r\n\r\n");
    assert_rewrite((struct slice){NULL, 0}, true, "", "");
    assert_rewrite(SLICE("NATS/1.0 503 No\r\nA: 1\r\n\r\n"), true, "", "NATS/1.0 503 No\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_shared_once_and_counted),
        cmocka_unit_test(headers_are_found_by_exact_name),
        cmocka_unit_test(headers_are_walked_in_order),
        cmocka_unit_test(the_status_stands_in_the_first_line),
        cmocka_unit_test(a_block_is_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
