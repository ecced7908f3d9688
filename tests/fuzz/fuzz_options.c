/* fuzz_options.c -- any text as the server's configuration, through the tables of options
 *
 * What is refused says why. What is accepted is accepted a second time, and the two are the same: a
 * reload without a change changes nothing. Texts that name other files are left to fuzz_conf.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct options_flags *flags;
static char path[40];
static int fd = -1;

static void on_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

/* The file has a name, as any other: the kernel's name for a file in memory. */
static void begin(void)
{
    static struct options_start st;
    static char *argv[] = {"frond", "-c", path, NULL};
    log_capture(on_log, NULL);
    fd = memfd_create("site.conf", MFD_CLOEXEC);
    ASSERT(fd >= 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    options_start(3, argv, &st); /* for the flags: they are kept for reloads */
    ASSERT(st.exit_code < 0);
    flags = st.flags;
    options_free(st.options);
    free(st.out);
    free(st.err);
}

static struct options *load(bool check)
{
    struct options *o = NULL;
    char *say = NULL;
    int err = options_load(path, flags, check, &o, &say);
    ASSERT((err == 0) == (o != NULL));
    ASSERT(err == 0 || (say && *say));
    free(say);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const elsewhere[] = {"nclude", "NCLUDE", "/dev",     "/proc",       "/sys",
                                            "_file",  "certs",  "resolver", "certificates"};
    struct slice text = slice_of(data, size);
    if (fd < 0)
        begin();
    if (size > 8192)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
        if (slice_search(text, slice_cstr(elsewhere[i])) < text.n)
            return 0;
    ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    struct options *o = load(false), *checked = load(true);
    ASSERT(o || !checked);
    if (checked) {
        struct options *again = load(true);
        unsigned changes = 0;
        char *say = NULL;
        ASSERT(again && options_compare(checked, again, &changes, &say) == 0);
        ASSERT(changes == 0);
        free(say);
        options_free(again);
    }
    options_free(o);
    options_free(checked);
    return 0;
}
