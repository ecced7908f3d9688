/* damage in LMDB's own pages: noticed before anybody is told that something isn't there, and never
 * found where there is none
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include <sys/wait.h>

#include "storage/mishap.h"
#include "storage/pages.h"
#include "storage/stream.h"

enum { SUBJECTS = 260, HEAD = 16, LEAF = 2, BRANCH = 1 };

static const char *name_of(unsigned i, char room[32])
{
    snprintf(room, 32, "b.key.%u", i * 7919 % 10007);
    return room;
}

static void begin(struct place *p, const struct stream_spec *spec)
{
    place_init(p);
    place_open(p);
    (void)make(p, spec);
}

static void finish(struct place *p)
{
    place_remove(p);
}

/* The newest on a subject; 0: none, UINT64_MAX: it can't tell. */
static uint64_t last_on(struct stream *s, const char *subject)
{
    struct slice pattern = slice_cstr(subject);
    struct store_filter f = {&pattern, 1};
    uint64_t seq = 0, up_to = 0;
    return store_look_back(s, &f, &up_to, UINT32_MAX, &seq) < 0 ? UINT64_MAX : seq;
}

static bool all_sound(struct place *p)
{
    struct txn *view = view_open(p->st->db);
    bool sound = true;
    for (int table = 0; table < DB_TABLES; table++)
        sound &= view_table_sound(view, (enum db_table)table);
    view_close(p->st->db);
    return sound;
}

/* Trees of several levels that grow, shrink, split and merge. */
static void what_lmdb_writes_is_sound(void **state)
{
    (void)state;
    struct place p;
    struct stream_spec spec = spec_of("S");
    char text[512];
    unsigned dice = 1;
    spec.max_msgs_per_subject = 1;
    begin(&p, &spec);
    for (unsigned round = 0; round < 6; round++) {
        struct stream *s = find_stream(&p, "S");
        for (unsigned i = 0; i < 500; i++) {
            dice = dice * 1103515245 + 12345;
            unsigned n = 8 + dice / 65536 % (round % 2 ? 40 : 460), which = dice / 256 % 700;
            memset(text, 'a' + (int)(which % 26), sizeof text);
            text[n] = '\0';
            text[snprintf(text, sizeof text, "b%u", which)] = 'x';
            put_text(&p, s, text, "value");
            uint64_t seq = state_of(s).first_seq + which;
            struct answer a = {0};
            if (i % 3 && store_has(s, seq) &&
                store_remove(s, &seq, 1, i % 2 == 0, on_done, &a) == 0)
                wait_answer(&p, &a);
        }
        assert_true(all_sound(&p));
        place_close(&p);
        place_open(&p);
        assert_true(all_sound(&p));
        fake_turn_run(&p.ft);
        char missing[32];
        for (unsigned i = 0; i < 300; i++) {
            snprintf(missing, sizeof missing, "%c.%u", 'a' + (char)(i % 26), i);
            assert_int_equal(last_on(find_stream(&p, "S"), missing), 0);
        }
        assert_int_equal(p.failed, 0);
    }
    finish(&p);
}

/* --- one wrong bit --------------------------------------------------------------------------- */

/* Is it a page of the subjects' tree, or was it one? */
static bool has_subjects(const char *page, unsigned kind)
{
    return rd16(page + 10) == kind && memmem(page + HEAD, PAGES_SIZE - HEAD, "b.key.", 6);
}

enum said { ALL_RIGHT, CANT_TELL, WRONG };

/* What it says of all subjects: the truth, or that it can't tell. */
static enum said ask_all(struct place *p)
{
    char name[32];
    if (place_try_open(p) != 0)
        return CANT_TELL;
    fake_turn_run(&p->ft);
    for (unsigned i = 0; i < SUBJECTS; i++) {
        struct stream *s = find_stream(p, "S");
        uint64_t seq = s ? last_on(s, name_of(i, name)) : 0;
        if (seq != i + 1)
            return seq == UINT64_MAX && p->failed ? CANT_TELL : WRONG;
    }
    return ALL_RIGHT;
}

/* In a process of its own, which LMDB or a signal may end. */
static enum said ask_aside(struct place *p)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(ask_all(p));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == EXIT_STORE ? CANT_TELL : (enum said)WEXITSTATUS(status);
}

/* Heads of pages, and the places of their nodes; keys and children of branches: a search that ends
 * elsewhere, a subject that isn't in its page any more. */
static void a_subject_is_never_said_to_be_none(void **state)
{
    (void)state;
    struct place p;
    struct stream_spec spec = spec_of("S");
    unsigned tried[WRONG + 1] = {0}, step = 0;
    char name[32];
    begin(&p, &spec);
    for (unsigned i = 0; i < SUBJECTS; i++)
        put_text(&p, find_stream(&p, "S"), name_of(i, name), "value");
    place_close(&p);
    struct image x = image_take(&p);
    for (size_t at = 0; at < x.n; at += PAGES_SIZE) {
        bool branch = has_subjects(x.bytes + at, BRANCH);
        if (!branch && !has_subjects(x.bytes + at, LEAF))
            continue;
        size_t lower = rd16(x.bytes + at + 12), upper = rd16(x.bytes + at + 14);
        for (size_t byte = 8; byte < PAGES_SIZE; byte++) {
            if ((byte >= lower && byte < upper) || (byte >= upper && !branch))
                continue;
            for (unsigned bit = 0; bit < 8; bit++) {
                if (++step % 53)
                    continue;
                x.bytes[at + byte] = (char)(x.bytes[at + byte] ^ 1 << bit);
                image_put(&x);
                x.bytes[at + byte] = (char)(x.bytes[at + byte] ^ 1 << bit);
                enum said said = ask_aside(&p);
                tried[said]++;
                if (said == WRONG)
                    print_message("page %zu, byte %zu, bit %u\n", at / PAGES_SIZE, byte, bit);
            }
        }
    }
    print_message("%u right, %u can't tell\n", tried[ALL_RIGHT], tried[CANT_TELL]);
    assert_int_equal(tried[WRONG], 0);
    assert_true(tried[ALL_RIGHT] > 10 && tried[CANT_TELL] > 50);
    image_free(&x);
    finish(&p);
}

/* ThreadSanitizer waits a second at the end of each process, and we have hundreds. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "atexit_sleep_ms=0";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lmdb_writes_is_sound),
        cmocka_unit_test(a_subject_is_never_said_to_be_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
