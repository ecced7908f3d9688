/* The plain words: errors, memory, slices, buffers, arenas, lists, uids, jobs, states.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/job.h"
#include "base/list.h"
#include "base/log.h"
#include "base/sm.h"
#include "base/uid.h"

static void every_error_has_a_name_and_a_text(void **state)
{
    (void)state;
    assert_string_equal(err_name(E_FULL), "E_FULL");
    assert_string_equal(err_text(E_FULL), "too much is waiting");
    assert_string_equal(err_name(E_MAX_MSG_SIZE), "E_MAX_MSG_SIZE");
    assert_string_equal(err_text(0), "no error");
    assert_string_equal(err_text(1), "unknown error");
    assert_string_equal(err_text(E_BASE_), "unknown error");
    assert_true(E_NOMEM < 0 && E_MAX_MSG_SIZE < 0);
}

static void numbers_are_read_strictly(void **state)
{
    (void)state;
    uint64_t u;
    int64_t i;
    assert_int_equal(slice_u64(SLICE("18446744073709551615"), &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(slice_u64(SLICE("18446744073709551616"), &u), E_RANGE);
    assert_int_equal(slice_u64(SLICE("99999999999999999999999x"), &u), E_SYNTAX);
    assert_int_equal(slice_u64(SLICE(""), &u), E_SYNTAX);
    assert_int_equal(slice_u64(SLICE("+1"), &u), E_SYNTAX);
    assert_int_equal(slice_i64(SLICE("-9223372036854775808"), &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(slice_i64(SLICE("9223372036854775808"), &i), E_RANGE);
    assert_int_equal(slice_i64(SLICE("-"), &i), E_SYNTAX);
    assert_int_equal(slice_i64(SLICE("+7"), &i), 0);
    assert_int_equal(i, 7);
}

static void slices_are_cut_and_compared(void **state)
{
    (void)state;
    struct slice rest = SLICE("  PUB\ta  b "), t;
    assert_true(slice_token(&rest, &t) && slice_is(t, "PUB"));
    assert_true(slice_token(&rest, &t) && slice_is(t, "a"));
    assert_true(slice_token(&rest, &t) && slice_is(t, "b"));
    assert_false(slice_token(&rest, &t));
    assert_true(slice_is(slice_trim(SLICE(" \r\n x y\t ")), "x y"));
    assert_int_equal(slice_trim(SLICE("  ")).n, 0);
    assert_true(slice_ieq(SLICE("SuB"), SLICE("sUb")));
    assert_false(slice_ieq(SLICE("@"), SLICE("`")));
    assert_true(slice_cmp(SLICE("a"), SLICE("ab")) < 0);
    assert_true(slice_cmp(SLICE("b"), SLICE("ab")) > 0);
    assert_int_equal(slice_cmp(SLICE("ab"), SLICE("ab")), 0);
    assert_int_equal(slice_find(SLICE("a.b"), '.'), 1);
    assert_int_equal(slice_find(SLICE("ab"), '.'), 2);
    assert_int_equal(slice_search(SLICE("abcabd"), SLICE("abd")), 3);
    assert_int_equal(slice_search(SLICE("abc"), SLICE("x")), 3);
    assert_int_equal(slice_skip(SLICE("abc"), 9).n, 0);
    assert_true(slice_starts(SLICE("abc"), SLICE("ab")) && slice_ends(SLICE("abc"), SLICE("bc")));
    char *dup = slice_dup(SLICE("abc"));
    assert_string_equal(dup, "abc");
    free(dup);
}

static void a_buffer_grows_and_is_eaten_from_the_front(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    unsigned next = 0, last = 0;
    for (int round = 0; round < 3000; round++) {
        for (int i = 0; i < 7; i++)
            buf_printf(&b, "%06u", next++);
        for (int i = 0; i < 6 + (round > 1500); i++) {
            uint64_t v;
            assert_int_equal(slice_u64(slice_head(buf_slice(&b), 6), &v), 0);
            assert_int_equal(v, last++);
            buf_consume(&b, 6);
        }
    }
    assert_true(b.cap <= 64 * 1024);
    buf_consume(&b, b.len);
    assert_int_equal(b.start, 0);
    buf_add_u64(&b, UINT64_MAX);
    buf_add_char(&b, ' ');
    buf_add_str(&b, "x");
    buf_consume(&b, 1);
    assert_string_equal(buf_cstr(&b), "8446744073709551615 x");
    char *s = buf_steal(&b);
    assert_string_equal(s, "8446744073709551615 x");
    free(s);
    assert_null(b.data);
    buf_printf(&b, "%0500d|%s", 1, "end");
    assert_int_equal(b.len, 504);
    assert_true(slice_ends(buf_slice(&b), SLICE("1|end")));
    buf_release(&b);
    s = buf_steal(&b);
    assert_string_equal(s, "");
    free(s);
}

static void an_arena_is_zeroed_aligned_and_limited(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100000);
    size_t given = 0;
    for (size_t i = 0;; i++) {
        size_t n = i * 37 % 3000;
        unsigned char *p = arena_alloc(&a, n);
        if (!p)
            break;
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(p[k], 0);
        memset(p, 0xff, n);
        given += n;
    }
    assert_int_equal(a.used, given);
    assert_true(given > 97000 && given <= 100000);
    assert_null(arena_alloc(&a, 100001 - given));
    a.limit = 0;
    assert_non_null(arena_alloc(&a, 1000000));
    arena_release(&a);
    arena_init(&a, 0);
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    struct slice s = arena_dup(&a, SLICE("abc"));
    assert_string_equal(s.p, "abc");
    assert_int_equal(s.n, 3);
    arena_release(&a);
}

struct element {
    int v;
    struct list link;
};

static void lists_link_splice_and_pop(void **state)
{
    (void)state;
    struct list head, other;
    struct element e[6];
    list_init(&head);
    list_init(&other);
    for (int i = 0; i < 6; i++) {
        e[i].v = i;
        list_push_back(i < 3 ? &head : &other, &e[i].link);
    }
    list_splice(&head, &other);
    assert_true(list_empty(&other));
    int expect = 0;
    LIST_EACH(it, &head)
    assert_int_equal(LIST_ENTRY(it, struct element, link)->v, expect++);
    LIST_EACH_SAFE(it, &head)
    {
        if (LIST_ENTRY(it, struct element, link)->v % 2)
            list_unlink(it);
    }
    list_push_front(&head, &e[1].link);
    assert_ptr_equal(list_pop(&head), &e[1].link);
    assert_ptr_equal(list_pop(&head), &e[0].link);
    assert_ptr_equal(list_pop(&head), &e[2].link);
    assert_ptr_equal(list_pop(&head), &e[4].link);
    assert_null(list_pop(&head));
    list_unlink(&e[4].link);
}

static void uids_are_long_clean_and_different(void **state)
{
    (void)state;
    char a[UID_LEN + 1], b[UID_LEN + 1], s[9];
    uid_make(a);
    for (int i = 0; i < 1000; i++) {
        uid_make(b);
        assert_int_equal(strlen(b), UID_LEN);
        assert_int_equal(
            strspn(b, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"), UID_LEN);
        assert_string_not_equal(a, b);
        assert_memory_equal(a, b, 12);
        memcpy(a, b, sizeof a);
    }
    uid_short(s, 8);
    assert_int_equal(strlen(s), 8);
}

static void a_job_is_over_when_its_time_is(void **state)
{
    (void)state;
    clock_fake(100, 0);
    assert_false(job_over(&(struct job_budget){101}));
    assert_true(job_over(&(struct job_budget){100}));
    clock_unfake();
}

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)level;
    snprintf(arg, 100, "%s", line);
}

static void a_state_machine_moves_and_says_so(void **state)
{
    (void)state;
    static const struct sm_rule rules[] = {{"DOWN", SM_TO(1)}, {"UP", SM_TO(0)}};
    char line[100] = "";
    int now = 0;
    log_debug_on = true;
    log_capture(keep_line, line);
    sm_move(rules, &now, 1, "leaf", "tls ok");
    log_capture(NULL, NULL);
    log_debug_on = false;
    assert_int_equal(now, 1);
    assert_string_equal(line, "leaf: DOWN -> UP: tls ok");
}

static void crc32c_has_its_check_value_and_chains(void **state)
{
    (void)state;
    assert_true(crc32c(0, "123456789", 9) == 0xE3069283);
    assert_true(crc32c(crc32c(0, "1234", 4), "56789", 5) == 0xE3069283);
    assert_true(crc32c(0, NULL, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_name_and_a_text),
        cmocka_unit_test(numbers_are_read_strictly),
        cmocka_unit_test(slices_are_cut_and_compared),
        cmocka_unit_test(a_buffer_grows_and_is_eaten_from_the_front),
        cmocka_unit_test(an_arena_is_zeroed_aligned_and_limited),
        cmocka_unit_test(lists_link_splice_and_pop),
        cmocka_unit_test(uids_are_long_clean_and_different),
        cmocka_unit_test(a_job_is_over_when_its_time_is),
        cmocka_unit_test(a_state_machine_moves_and_says_so),
        cmocka_unit_test(crc32c_has_its_check_value_and_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
