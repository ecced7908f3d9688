/* tests/fault/diskfault.c -- a disk that fails when it is told to
 *
 * A library for LD_PRELOAD, of the kind of recorder.c. It stands between a program and the system
 * calls that change files below one directory, counts them, and lets the n-th one fail:
 *
 *     DISKFAULT_ROOT=DIR   files below it count
 *     DISKFAULT_ORDERS=FILE  struct orders, mapped; whoever wrote it may change it at any time
 *
 * The orders say which kinds of calls are counted, which of them fail (from the first to the last
 * number), and how: with an error, or, for writes, short: half of the bytes are written, the rest
 * is not, and the call says so. While an order of ENOSPC is in force statvfs() says that nothing is
 * free, and with EROFS that the file system is read-only.
 *
 * A failed read of a mapped page is SIGBUS. To have one, `hole` names a page of data.mdb: when the
 * file is mapped, that page of the mapping is replaced by one behind the end of an empty file.
 *
 * What always holds
 *   (1) A call that is to fail does not reach the file; a short one reaches it with half its bytes.
 *   (2) Calls on other files, sockets and pipes pass untouched and uncounted.
 *   (3) The count is right whatever threads call: it is one atomic number.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE = 1, SYNC = 2, SIZE = 4, NAME = 8, OPEN = 16, READ = 32 };

/* tests/fault/diskfaults/calls.py writes the same. */
struct orders {
    _Atomic uint32_t kinds;    /* bits of enum kind */
    _Atomic uint32_t error;    /* an errno, 0: none */
    _Atomic uint64_t from, to; /* the calls that fail, counted from 1 */
    _Atomic uint64_t seen;     /* calls of these kinds so far */
    _Atomic uint64_t failed;   /* of them so many failed */
    _Atomic uint32_t half;     /* writes: short instead of not at all */
    _Atomic uint32_t full;     /* statvfs() lies while calls fail */
    _Atomic uint64_t hole;     /* 1 + the page of data.mdb that can't be read; 0: none */
};

enum { PAGE = 4096 };

static struct orders *orders; /* NULL: everything passes */
static char root[4096];
static size_t root_n;

static void die(const char *why)
{
    (void)fprintf(stderr, "diskfault: %s: %s\n", why, strerror(errno));
    _exit(97);
}

static void *find(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        die(name);
    return f;
}

/* The system's own function behind the one we stand in for. */
#define REAL(name, type)                                                                           \
    static type *real;                                                                             \
    if (!real)                                                                                     \
    *(void **)&real = find(name)

typedef int open_fn(const char *, int, ...);
typedef int openat_fn(int, const char *, int, ...);
typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t writev_fn(int, const struct iovec *, int);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);
typedef ssize_t pread_fn(int, void *, size_t, off_t);
typedef int fd_fn(int);
typedef int size_fn(int, off_t);
typedef int path_fn(const char *);
typedef int paths_fn(const char *, const char *);
typedef int mkdir_fn(const char *, mode_t);
typedef int statvfs_fn(const char *, struct statvfs *);
typedef void *mmap_fn(void *, size_t, int, int, int, off_t);

__attribute__((constructor)) static void diskfault_open(void)
{
    const char *path = getenv("DISKFAULT_ORDERS"), *dir = getenv("DISKFAULT_ROOT");
    if (!path || !dir)
        return;
    REAL("open", open_fn);
    if (!realpath(dir, root))
        die(dir);
    root_n = strlen(root);
    int fd = real(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        die(path);
    void *map = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        die(path);
    orders = map;
}

/* --- what is counted -------------------------------------------------------------------------- */

static bool below(const char *path)
{
    return strncmp(path, root, root_n) == 0 && (path[root_n] == '/' || !path[root_n]);
}

/* Asked each time: descriptors are closed and given again. */
static bool fd_path(int fd, char *path, size_t room)
{
    char link[64];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, room - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    return path[0] == '/';
}

static bool ours(int fd)
{
    char path[4200];
    int error = errno;
    bool yes = orders && fd_path(fd, path, sizeof path) && below(path);
    errno = error;
    return yes;
}

static bool in_force(void)
{
    uint64_t next = atomic_load(&orders->seen) + 1;
    return atomic_load(&orders->error) && next >= atomic_load(&orders->from) &&
           next <= atomic_load(&orders->to);
}

/* Counts the call; true: it fails, with errno set. */
static bool fails(enum kind kind)
{
    if (!(atomic_load(&orders->kinds) & kind))
        return false;
    uint64_t n = atomic_fetch_add(&orders->seen, 1) + 1;
    uint32_t error = atomic_load(&orders->error);
    if (!error || n < atomic_load(&orders->from) || n > atomic_load(&orders->to))
        return false;
    atomic_fetch_add(&orders->failed, 1);
    errno = (int)error;
    return true;
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* The vector for the first half of the bytes; owned. */
static struct iovec *half_of(const struct iovec *iov, int count, int *n)
{
    size_t total = 0;
    struct iovec *out = calloc((size_t)count + 1, sizeof *out);
    if (!out)
        die("out of memory");
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    total /= 2;
    for (*n = 0; *n < count && total; ++*n) {
        out[*n] = iov[*n];
        if (out[*n].iov_len > total)
            out[*n].iov_len = total;
        total -= out[*n].iov_len;
    }
    return out;
}

/* The one way of every write: at < 0 where the descriptor stands. */
static ssize_t put(int fd, const struct iovec *iov, int count, off_t at)
{
    REAL("pwritev", pwritev_fn);
    static writev_fn *plain;
    if (!plain)
        *(void **)&plain = find("writev");
    if (!ours(fd) || !fails(WRITE))
        return at < 0 ? plain(fd, iov, count) : real(fd, iov, count, at);
    if (!atomic_load(&orders->half))
        return -1;
    int n;
    struct iovec *half = half_of(iov, count, &n);
    ssize_t wrote = at < 0 ? plain(fd, half, n) : real(fd, half, n, at);
    free(half);
    return wrote;
}

ssize_t write(int fd, const void *p, size_t n)
{
    struct iovec one = {(void *)(uintptr_t)p, n};
    return put(fd, &one, 1, -1);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    return put(fd, iov, count, -1);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    struct iovec one = {(void *)(uintptr_t)p, n};
    return put(fd, &one, 1, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return pwrite(fd, p, n, at);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    return put(fd, iov, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
    return put(fd, iov, count, at);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    REAL("pread", pread_fn);
    return ours(fd) && fails(READ) ? -1 : real(fd, p, n, at);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
    return pread(fd, p, n, at);
}

int fdatasync(int fd)
{
    REAL("fdatasync", fd_fn);
    return ours(fd) && fails(SYNC) ? -1 : real(fd);
}

int fsync(int fd)
{
    REAL("fsync", fd_fn);
    return ours(fd) && fails(SYNC) ? -1 : real(fd);
}

int ftruncate(int fd, off_t size)
{
    REAL("ftruncate", size_fn);
    return ours(fd) && fails(SIZE) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    static int (*real)(int, off_t, off_t);
    if (!real)
        *(void **)&real = find("posix_fallocate");
    return ours(fd) && fails(SIZE) ? errno : real(fd, at, n);
}

int posix_fallocate64(int fd, off64_t at, off64_t n)
{
    return posix_fallocate(fd, at, n);
}

/* --- names ------------------------------------------------------------------------------------ */

int rename(const char *from, const char *to)
{
    REAL("rename", paths_fn);
    return orders && below(from) && fails(NAME) ? -1 : real(from, to);
}

int unlink(const char *path)
{
    REAL("unlink", path_fn);
    return orders && below(path) && fails(NAME) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode)
{
    REAL("mkdir", mkdir_fn);
    return orders && below(path) && fails(NAME) ? -1 : real(path, mode);
}

/* What would make a file; a file system that is read-only refuses all that may write. */
static bool open_fails(const char *path, int flags)
{
    if (!orders || !below(path) || !(flags & (O_CREAT | O_WRONLY | O_RDWR)))
        return false;
    if (atomic_load(&orders->error) != EROFS && access(path, F_OK) == 0)
        return false;
    return fails(OPEN);
}

#define MODE_OF(flags, mode)                                                                       \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode = va_arg(args, mode_t);                                                               \
        va_end(args);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    REAL("open", open_fn);
    MODE_OF(flags, mode)
    return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    REAL("open64", open_fn);
    MODE_OF(flags, mode)
    return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

/* --- looks ------------------------------------------------------------------------------------ */

static void lie(struct statvfs *out)
{
    if (!orders || !atomic_load(&orders->full) || !in_force())
        return;
    if (atomic_load(&orders->error) == EROFS)
        out->f_flag |= ST_RDONLY;
    else
        out->f_bavail = out->f_bfree = 0;
}

int statvfs(const char *restrict path, struct statvfs *restrict out)
{
    REAL("statvfs", statvfs_fn);
    int rc = real(path, out);
    if (rc == 0)
        lie(out);
    return rc;
}

int statvfs64(const char *restrict path, struct statvfs64 *restrict out)
{
    return statvfs(path, (struct statvfs *)out);
}

/* --- pages that can't be read ----------------------------------------------------------------- */

static void punch(char *map, size_t n, int fd)
{
    REAL("mmap", mmap_fn);
    char path[4200];
    uint64_t hole = atomic_load(&orders->hole);
    if (!hole || hole * PAGE > n || !fd_path(fd, path, sizeof path) || !strstr(path, "/data.mdb"))
        return;
    int empty = memfd_create("diskfault", MFD_CLOEXEC);
    if (empty < 0 || real(map + (hole - 1) * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, empty,
                          0) == MAP_FAILED)
        die("the hole");
    close(empty);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    REAL("mmap", mmap_fn);
    void *map = real(at, n, prot, flags, fd, offset);
    if (map != MAP_FAILED && fd >= 0 && offset == 0 && ours(fd))
        punch(map, n, fd);
    return map;
}

void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t offset)
{
    return mmap(at, n, prot, flags, fd, offset);
}
