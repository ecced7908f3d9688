/* tests/fault/allocfail.c -- refuses the n-th allocation of a program
 *
 * A library for LD_PRELOAD. It stands between a program, with all its libraries, and the four
 * things that hand out memory: malloc and its kin, mmap, and pthread_create (a thread wants a
 * stack). What is refused is said through a small file that both sides map, so the n-th allocation
 * of one request can be meant as well as the n-th of a start:
 *
 *     ALLOCFAIL=FILE    struct allocfail_page, 4096 bytes, made by whoever runs the program
 *
 *     counted         allocations so far, of all threads
 *     from, to        those numbers are refused (from <= number < to); 0, 0: none
 *     refused         how many were
 *     blocks          how many blocks of malloc's are held now
 *     depth, stack    who asked for the first one refused: return addresses, innermost first
 *     base            where the program was loaded: stack - base is what addr2line wants
 *
 * What always holds
 *   (1) Without the variable, and until the page is mapped, nothing is counted or refused.
 *   (2) free() is never refused, realloc() to zero bytes is a free().
 *   (3) A refusal leaves what malloc would leave: NULL and ENOMEM (EAGAIN from pthread_create).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STACK = 32 };

/* What tests/fault/allocfaults reads and writes: eight bytes each. */
struct allocfail_page {
    _Atomic uint64_t counted, from, to, refused, blocks, depth, base;
    uint64_t stack[STACK];
};

/* The C library's own, by the names it exports for this purpose. */
extern void *__libc_malloc(size_t);           // NOLINT
extern void *__libc_calloc(size_t, size_t);   // NOLINT
extern void *__libc_realloc(void *, size_t);  // NOLINT
extern void *__libc_memalign(size_t, size_t); // NOLINT
extern void __libc_free(void *);              // NOLINT

static struct allocfail_page *page; /* NULL: not looking */
static __thread bool inside;        /* our own work allocates, too */

static void note_who(void)
{
    void *at[STACK + 2];
    inside = true;
    int n = backtrace(at, STACK + 2);
    for (int i = 2; i < n; i++)
        page->stack[i - 2] = (uint64_t)(uintptr_t)at[i];
    page->depth = n > 2 ? (uint64_t)(n - 2) : 0;
    inside = false;
}

static bool refuse(void)
{
    if (!page || inside)
        return false;
    uint64_t n = atomic_fetch_add(&page->counted, 1) + 1;
    if (n < page->from || n >= page->to)
        return false;
    if (atomic_fetch_add(&page->refused, 1) == 0)
        note_who();
    errno = ENOMEM;
    return true;
}

static void *given(void *p)
{
    if (p && page)
        atomic_fetch_add(&page->blocks, 1);
    return p;
}

void *malloc(size_t n)
{
    return refuse() ? NULL : given(__libc_malloc(n));
}

void *calloc(size_t count, size_t size)
{
    return refuse() ? NULL : given(__libc_calloc(count, size));
}

void free(void *p)
{
    if (p && page)
        atomic_fetch_sub(&page->blocks, 1);
    __libc_free(p);
}

void *realloc(void *p, size_t n)
{
    if (p && !n) {
        free(p);
        return NULL;
    }
    if (refuse())
        return NULL;
    return p ? __libc_realloc(p, n) : given(__libc_realloc(p, n));
}

void *memalign(size_t align, size_t n)
{
    return refuse() ? NULL : given(__libc_memalign(align, n));
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = memalign(align, n);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t from)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (refuse())
        return MAP_FAILED;
    if (!real)
        real = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
    return real(at, n, prot, flags, fd, from);
}

int pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (refuse())
        return EAGAIN;
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
            RTLD_NEXT, "pthread_create");
    return real(out, attr, fn, arg);
}

static int find_base(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    *(uint64_t *)arg = info->dlpi_addr; /* the first one is the program */
    return 1;
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("ALLOCFAIL");
    void *warm[4];
    uint64_t base = 0;
    if (!path)
        return;
    (void)backtrace(warm, 4); /* loads what it needs now, not at the first refusal */
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        abort();
    close(fd);
    (void)dl_iterate_phdr(find_base, &base);
    ((struct allocfail_page *)at)->base = base;
    page = at;
}
