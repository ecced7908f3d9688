/* storage/mishap.c -- see mishap.h
 *
 * The handler may run anywhere, so it uses nothing but system calls and numbers found out before:
 * where the file is mapped and where LMDB's code lies. A fault elsewhere is our own bug and none of
 * this file's business: the handler that was there before gets it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/mishap.h"

#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/slice.h"

enum { PAGE = 4096, LINE = 512 };

struct range {
    uintptr_t from, to;
};

static struct {
    const char *data_path, *mark_path; /* borrowed */
    struct range map, code;
    struct sigaction old_bus, old_segv;
    atomic_bool on, opened, ending;
} watch;

static bool inside(const struct range *r, uintptr_t at)
{
    return at >= r->from && at < r->to;
}

/* --- words without the C library's help ------------------------------------------------------- */

struct words {
    char text[LINE];
    size_t n;
};

static void add(struct words *w, const char *s)
{
    while (*s && w->n < LINE)
        w->text[w->n++] = *s++;
}

static void add_number(struct words *w, uint64_t v)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    add(w, digits + at);
}

/* To the log, which is not to be locked here. */
static void say(int fd, const struct words *w)
{
    for (size_t done = 0; done < w->n;) {
        ssize_t n = write(fd, w->text + done, w->n - done);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

int mishap_note(const char *mark_path)
{
    struct words w = {.n = 0};
    struct timespec now;
    int fd = open(mark_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return E_SYS;
    clock_gettime(CLOCK_REALTIME, &now);
    add_number(&w, (uint64_t)now.tv_sec);
    add(&w, "\n");
    bool ok = write(fd, w.text, w.n) == (ssize_t)w.n;
    close(fd);
    return ok ? 0 : E_SYS;
}

/* --- the end ---------------------------------------------------------------------------------- */

static _Noreturn void end(const struct words *line)
{
    if (!atomic_exchange(&watch.ending, true)) { /* two threads may fall together */
        say(log_fd(), line);
        if (watch.mark_path)
            (void)!mishap_note(watch.mark_path);
        if (watch.mark_path && !atomic_load(&watch.opened)) /* the next one would fall as well */
            (void)!mishap_note(watch.mark_path);
    }
    _exit(EXIT_STORE);
}

static void begin(struct words *w)
{
    add(w, "[");
    add_number(w, (uint64_t)getpid());
    add(w, "] [FTL] ");
    add(w, watch.data_path ? watch.data_path : "the store");
}

_Noreturn void mishap_end(const char *what)
{
    struct words w = {.n = 0};
    begin(&w);
    add(&w, " is damaged (");
    add(&w, what);
    add(&w, "): nothing more is read or written; exit 74\n");
    end(&w);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
    uintptr_t address = (uintptr_t)info->si_addr, code = 0;
#if defined(__x86_64__)
    code = (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    code = (uintptr_t)at->uc_mcontext.pc;
#else
    (void)at;
#endif
    bool in_file = inside(&watch.map, address) || (number == SIGBUS && !watch.map.to);
    if (!atomic_load(&watch.on) || (!in_file && !inside(&watch.code, code))) {
        sigaction(number, number == SIGBUS ? &watch.old_bus : &watch.old_segv, NULL);
        return; /* the instruction faults again */
    }
    struct words w = {.n = 0};
    begin(&w);
    add(&w, number == SIGBUS ? " can't be read (bus error" : " is damaged (segmentation fault");
    if (in_file && watch.map.to) {
        add(&w, " at page ");
        add_number(&w, (address - watch.map.from) / PAGE);
    }
    add(&w, "): nothing more is read or written; exit 74\n");
    end(&w);
}

/* --- where things lie ------------------------------------------------------------------------- */

/* The mapping of that file, by the list the kernel keeps. */
static struct range find_map(const char *path)
{
    struct range r = {0, 0};
    struct stat sb;
    char line[4400];
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps || stat(path, &sb) != 0)
        sb.st_ino = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        uintptr_t from, to;
        unsigned long inode;
        if (sscanf(line, "%zx-%zx %*s %*s %*s %lu", &from, &to, &inode) != 3 || !inode ||
            inode != sb.st_ino)
            continue;
        r.from = r.from ? r.from : from;
        r.to = to;
    }
    if (maps)
        (void)fclose(maps);
    return r;
}

struct wanted {
    uintptr_t code;
    struct range found;
};

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct wanted *w = arg;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        struct range r = {from, from + info->dlpi_phdr[i].p_memsz};
        if (info->dlpi_phdr[i].p_type == PT_LOAD && inside(&r, w->code))
            w->found = r;
    }
    return w->found.to != 0;
}

void mishap_watch(const char *data_path, const char *mark_path, const void *code)
{
    struct wanted w = {.code = (uintptr_t)code};
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    watch.data_path = data_path;
    watch.mark_path = mark_path;
    watch.map = (struct range){0, 0};
    atomic_store(&watch.opened, false);
    (void)dl_iterate_phdr(look_at_object, &w);
    watch.code = w.found;
    sigemptyset(&act.sa_mask);
    sigaction(SIGBUS, &act, &watch.old_bus);
    sigaction(SIGSEGV, &act, &watch.old_segv);
    atomic_store(&watch.on, true);
}

void mishap_locate(void)
{
    watch.map = find_map(watch.data_path);
}

void *mishap_located(size_t *n)
{
    *n = watch.map.to - watch.map.from;
    return *n ? (void *)watch.map.from : NULL;
}

void mishap_opened(void)
{
    atomic_store(&watch.opened, true);
}

void mishap_forget(void)
{
    if (!atomic_exchange(&watch.on, false))
        return;
    sigaction(SIGBUS, &watch.old_bus, NULL);
    sigaction(SIGSEGV, &watch.old_segv, NULL);
    watch.data_path = watch.mark_path = NULL;
}

unsigned mishap_recent(const char *mark_path)
{
    unsigned n = 0;
    char line[64];
    FILE *f = fopen(mark_path, "re");
    struct timespec now; /* as mishap_note() reads it: time() may lag behind */
    clock_gettime(CLOCK_REALTIME, &now);
    while (f && fgets(line, sizeof line, f)) {
        long long then = strtoll(line, NULL, 10);
        n += then <= now.tv_sec && now.tv_sec - then < MISHAP_PERIOD_S;
    }
    if (f)
        (void)fclose(f);
    if (f && !n)
        (void)unlink(mark_path); /* old ones are no news */
    return n;
}
