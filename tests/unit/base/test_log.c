/* Lines as nats-server prints them, in a file that is rotated and purged.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static char dir[] = "/tmp/frond-log-XXXXXX";
static char *file;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    file = xasprintf("%s/a.log", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(file);
    return rmdir(dir);
}

static void slurp(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char part[512];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(out, part, n);
    fclose(f);
}

/* Files in dir; removes them when told so. */
static size_t count_files(bool remove_them)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        n++;
        if (remove_them)
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    }
    closedir(d);
    return n;
}

static void assert_file(const char *format)
{
    struct buf got = BUF_INIT, want = BUF_INIT;
    slurp(file, &got);
    for (const char *p = format; *p; p++)
        if (*p == '#')
            buf_printf(&want, "[%d]", (int)getpid());
        else
            buf_add_char(&want, *p);
    assert_string_equal(buf_cstr(&got), buf_cstr(&want));
    buf_release(&got);
    buf_release(&want);
}

static void lines_look_like_the_reference(void **state)
{
    (void)state;
    struct stat st;
    clock_fake(0, 1795263091947255804);
    assert_int_equal(log_open(&(struct log_config){.file = file, .utc = true, .colour = true}), 0);
    log_info("Server is ready");
    log_debug("not shown");
    log_warn("%s", "w");
    assert_int_equal(log_open(&(struct log_config){.file = file, .no_time = true, .debug = true}),
                     0);
    log_debug("d");
    log_trace("not shown");
    log_error("e");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777 & ~0640, 0);
    log_close();
    clock_unfake();
    log_debug_on = false;
    assert_file("# 2026/11/21 12:11:31.947255 [INF] Server is ready\n"
                "# 2026/11/21 12:11:31.947255 [WRN] w\n"
                "# [DBG] d\n# [ERR] e\n");
    assert_int_equal(count_files(true), 1);
}

static void long_lines_are_whole(void **state)
{
    (void)state;
    assert_int_equal(log_open(&(struct log_config){.file = file, .no_time = true}), 0);
    size_t expect = 0;
    for (int n = 1990; n < 2070; n++) {
        log_info("%0*d", n, 7);
        expect += (size_t)n + 1 + (size_t)snprintf(NULL, 0, "[%d] [INF] ", (int)getpid());
    }
    log_close();
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_size, expect);
    assert_int_equal(count_files(true), 1);
}

static void a_reopened_log_follows_its_name(void **state)
{
    (void)state;
    char *aside = xasprintf("%s/aside", dir);
    assert_int_equal(log_open(&(struct log_config){.file = file, .no_time = true}), 0);
    log_info("one");
    assert_int_equal(rename(file, aside), 0);
    assert_int_equal(log_reopen(), 0);
    log_info("two");
    log_close();
    assert_file("# [INF] two\n");
    assert_int_equal(count_files(true), 2);
    free(aside);
}

static void a_full_file_is_renamed_and_the_oldest_go(void **state)
{
    (void)state;
    struct buf got = BUF_INIT, want = BUF_INIT;
    assert_int_equal(log_open(&(struct log_config){
                         .file = file, .no_time = true, .size_limit = 1000, .max_files = 3}),
                     0);
    clock_fake(0, 1795263091947255804);
    for (int i = 0; i < 5; i++) {
        clock_fake(0, 1795263091947255804 + i * NS_PER_S);
        log_info("%01000d", i);
    }
    clock_unfake();
    log_close();
    assert_int_equal(count_files(false), 3);
    slurp(file, &got);
    buf_printf(&want, "[%d] [INF] Rotated log, backup saved as \"%s.", (int)getpid(), file);
    assert_true(slice_starts(buf_slice(&got), buf_slice(&want)));
    buf_clear(&want);
    buf_printf(&want, ".947255804\"\r\n[%d] [INF] Purged log file \"a.log.", (int)getpid());
    assert_true(slice_search(buf_slice(&got), buf_slice(&want)) < got.len);
    buf_release(&got);
    buf_release(&want);
    count_files(true);
}

static void a_log_that_cannot_be_opened_changes_nothing(void **state)
{
    (void)state;
    char *nowhere = xasprintf("%s/no/where", dir);
    assert_int_equal(log_open(&(struct log_config){.file = file, .no_time = true}), 0);
    assert_int_not_equal(log_open(&(struct log_config){.file = nowhere}), 0);
    log_info("still here");
    log_close();
    assert_file("# [INF] still here\n");
    assert_int_equal(count_files(true), 1);
    free(nowhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_look_like_the_reference),
        cmocka_unit_test(long_lines_are_whole),
        cmocka_unit_test(a_reopened_log_follows_its_name),
        cmocka_unit_test(a_full_file_is_renamed_and_the_oldest_go),
        cmocka_unit_test(a_log_that_cannot_be_opened_changes_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
