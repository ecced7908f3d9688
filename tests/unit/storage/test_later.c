/* work that is done later, against a stream that has changed meanwhile: rows of holes, a subject's
 * lower limit, a purge that keeps some
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "storage/holes.h"
#include "storage/store.h"
#include "storage/stream.h"

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    place_init(p);
    place_open(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    place_remove(*state);
    free(*state);
    return 0;
}

static void fill(struct stream *s, const char *subject, unsigned n)
{
    struct record_in rec = rec_of(subject, "x");
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
}

static bool is_there(struct stream *s, uint64_t seq)
{
    struct seen x = {0};
    return store_get(s, seq, on_seen, &x) == 0;
}

/* --- rows of holes --------------------------------------------------------------------------- */

static void remove_range(struct place *p, struct stream *s, uint64_t first, uint64_t last)
{
    struct answer a = {0};
    for (uint64_t seq = first; seq < last; seq++)
        assert_int_equal(store_remove(s, &seq, 1, false, NULL, NULL), 0);
    assert_int_equal(store_remove(s, &last, 1, false, on_done, &a), 0);
    wait_answer(p, &a);
}

/* Two pages a commit. When the first two were written they fill up and become one. */
static void pages_of_holes_that_join_lead_to_no_page_unwritten(void **state)
{
    struct place *p = *state;
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    uint64_t page = HOLE_PAGE;
    fill(s, "a", 8 * HOLE_PAGE);
    remove_range(p, s, page, 2 * page - 2);
    remove_range(p, s, 2 * page, 3 * page - 2);
    for (uint64_t i = 3; i < 7; i++)
        remove_range(p, s, i * page + 7, i * page + 7);
    p->st->lazy_at.journal_max = 1;
    p->st->lazy_at.rows_bytes = 1300;
    for (int i = 0; i < 100 && s->holes.at[1].dirty; i++)
        put_text(p, s, "a", "x");
    assert_true(s->holes_flush != 0 && !s->holes.at[1].dirty && s->holes.at[2].dirty);
    remove_range(p, s, 2 * page - 1, 2 * page - 1);
    remove_range(p, s, 3 * page - 1, 3 * page - 1);
    for (int i = 0; i < 100 && s->holes_flush; i++)
        put_text(p, s, "a", "x");
    assert_true(s->holes_flush == 0);
    p->st->lazy_at.journal_max = 1 << 30;
    for (int i = 0; i < 3; i++) {
        p->st->trim = true; /* what nobody needs leaves the journal */
        put_text(p, s, "a", "x");
    }
    uint64_t msgs = state_of(s).msgs;
    place_kill(p);
    s = find_stream(p, "S");
    for (uint64_t i = 3; i < 7; i++)
        assert_false(is_there(s, i * page + 7));
    assert_int_equal(p->failed, 0);
    assert_int_equal(state_of(s).msgs, msgs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(pages_of_holes_that_join_lead_to_no_page_unwritten),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
