/* tests/fault/powercut_tape.c -- every change of a store's files, in order, with its bytes
 *
 * A library for LD_PRELOAD, of the kind of recorder.c, which keeps times; this one keeps what a
 * disk would hold. It stands between a program and the system calls that change files below one
 * directory, and between the program and its sockets:
 *
 *     POWERCUT_TAPE=FILE   where the events go
 *     POWERCUT_ROOT=DIR    files below it count, as far as the program opens or makes them
 *
 * An event is a struct event and n bytes. Its number is its place on the tape. Files are called by
 * their inode. tests/fault/powercut/tape.py reads the tape.
 *
 *     MADE path            open(O_CREAT) has made a file, mkdir a directory (flag DIRECTORY)
 *     MOVED old NUL new    rename           GONE path    unlink, rmdir
 *     WRITE                bytes for file a at offset b are about to be written; len of them, n
 *                          are here: 0 when all are NUL. Flag DSYNC: through such a descriptor
 *     WRITTEN              the write that is event a has returned
 *     SIZE                 file a is about to get size b
 *     SYNCED               file or directory a was flushed by a call that began before event b
 *     HEARD, SAID          a mark, "@@" and eight digits, was read from a socket, or is about to be
 *                          given to one
 *
 * What always holds
 *   (1) What may reach the disk is on the tape before the call that does it, what a program may
 *       rely on (WRITTEN, SYNCED) after it has returned; SAID before the call. So what stands above
 *       a SAID was over before the answer could leave.
 *   (2) One lock orders the events; it is not held during the calls themselves.
 *   (3) A call that fails, or writes less than it was asked to, ends the process: such a tape would
 *       prove nothing. So does a call that can't be recorded.
 *
 * The tape is written with plain write(2): a SIGKILL loses none of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "behind.h"
#include "marks.h"

enum { MADE = 1, MOVED, GONE, WRITE, WRITTEN, SIZE, SYNCED, HEARD, SAID };
enum { DIRECTORY = 1, DSYNC = 2 };
enum {
    SOCKETS = 4096, /* descriptors whose tails are remembered */
    INODES = 256    /* files and directories that count */
};

struct event {
    uint32_t kind, flags;
    uint64_t a, b, len;
    uint64_t n; /* bytes that follow */
};

enum what { OTHER, OURS, SOCKET };
enum way { IN, OUT };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int tape = -1; /* the rest is guarded by lock */
static char root[4096];
static size_t root_n;
static uint64_t events;
static ino_t inodes[INODES];
static size_t ninodes;
static struct tail {
    char bytes[TAIL];
    uint8_t n;
} tails[2][SOCKETS];

static void die(const char *why)
{
    (void)fprintf(stderr, "powercut: %s: %s\n", why, strerror(errno));
    _exit(97);
}

typedef int open_fn(const char *, int, ...);
typedef int openat_fn(int, const char *, int, ...);
typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t writev_fn(int, const struct iovec *, int);
typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef ssize_t read_fn(int, void *, size_t);
typedef ssize_t recv_fn(int, void *, size_t, int);
typedef ssize_t send_fn(int, const void *, size_t, int);
typedef ssize_t sendmsg_fn(int, const struct msghdr *, int);
typedef int fd_fn(int);
typedef int path_fn(const char *);

static ssize_t tape_write(const struct iovec *iov, int n)
{
    REAL("writev", writev_fn);
    return real(tape, iov, n);
}

/* Lock held. The event's number. */
static uint64_t put(const struct event *e, const void *bytes)
{
    const char *p = bytes;
    size_t head = sizeof *e, done = 0, total = head + e->n;
    while (done < total) {
        struct iovec iov[2] = {{(char *)(uintptr_t)e + done, done < head ? head - done : 0},
                               {(char *)(uintptr_t)p + (done > head ? done - head : 0),
                                total - (done > head ? done : head)}};
        bool front = done < head;
        ssize_t n = tape_write(front ? iov : iov + 1, front ? 2 : 1);
        if (n <= 0)
            die("the tape can't be written");
        done += (size_t)n;
    }
    return events++;
}

__attribute__((constructor)) static void tape_open(void)
{
    const char *path = getenv("POWERCUT_TAPE"), *dir = getenv("POWERCUT_ROOT");
    struct stat sb;
    if (!path || !dir)
        return;
    REAL("open", open_fn);
    if (!realpath(dir, root) || stat(root, &sb))
        die(dir);
    root_n = strlen(root);
    int fd = real(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    tape = fd;
    inodes[ninodes++] = sb.st_ino;
    put(&(struct event){.kind = MADE, .flags = DIRECTORY, .a = sb.st_ino}, "");
}

/* --- files ----------------------------------------------------------------------------------- */

static bool known(ino_t ino)
{
    for (size_t i = 0; i < ninodes; i++)
        if (inodes[i] == ino)
            return true;
    return false;
}

static void learn(ino_t ino)
{
    if (known(ino))
        return;
    if (ninodes == INODES)
        die("too many files");
    inodes[ninodes++] = ino;
}

/* What is behind fd? Asked each time: descriptors are closed and given again. */
static enum what look(int fd, struct stat *sb)
{
    int error = errno;
    enum what what = OTHER;
    if (tape >= 0 && fd != tape && fstat(fd, sb) == 0) {
        if (S_ISSOCK(sb->st_mode)) {
            what = SOCKET;
        } else if (S_ISREG(sb->st_mode) || S_ISDIR(sb->st_mode)) {
            pthread_mutex_lock(&lock);
            what = known(sb->st_ino) ? OURS : OTHER;
            pthread_mutex_unlock(&lock);
        }
    }
    errno = error;
    return what;
}

/* The part of path below root, or NULL. The directory it is in must exist. */
static const char *below(const char *path, char full[4096])
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    if (tape < 0 || strlen(path) >= sizeof dir)
        return NULL;
    (void)snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (!realpath(dir[0] ? dir : "/", full))
        return NULL;
    size_t n = strlen(full);
    if (strncmp(full, root, root_n) != 0 || (full[root_n] != '/' && full[root_n] != '\0'))
        return NULL;
    (void)snprintf(full + n, 4096 - n, "/%s", slash ? slash + 1 : path);
    return full + root_n + 1;
}

static void tell_path(uint32_t kind, uint32_t flags, ino_t ino, const char *path, size_t n)
{
    pthread_mutex_lock(&lock);
    if (kind == MADE)
        learn(ino);
    put(&(struct event){.kind = kind, .flags = flags, .a = ino, .n = n}, path);
    pthread_mutex_unlock(&lock);
}

/* An opened file: was it made by that? */
static int opened(int fd, const char *path, int flags, bool was_there)
{
    int error = errno;
    struct stat sb;
    char full[4096];
    const char *at;
    if (fd >= 0 && (flags & O_CREAT) && (at = below(path, full))) {
        if (fstat(fd, &sb))
            die(path);
        if (was_there && (flags & O_TRUNC))
            die("O_TRUNC of a file that is there");
        if (!was_there)
            tell_path(MADE, 0, sb.st_ino, at, strlen(at));
    }
    errno = error;
    return fd;
}

static bool is_there(const char *path)
{
    int error = errno;
    struct stat sb;
    bool there = stat(path, &sb) == 0;
    errno = error;
    return there;
}

#define MODE(last)                                                                                 \
    va_list args_;                                                                                 \
    va_start(args_, last);                                                                         \
    bool needs_ = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;                           \
    mode_t mode = needs_ ? va_arg(args_, mode_t) : 0;                                              \
    va_end(args_)

int open(const char *path, int flags, ...)
{
    MODE(flags);
    REAL("open", open_fn);
    bool there = !(flags & O_CREAT) || is_there(path);
    return opened(real(path, flags, mode), path, flags, there);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags);
    return open(path, flags | O_LARGEFILE, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    MODE(flags);
    REAL("openat", openat_fn);
    if (dir == AT_FDCWD || path[0] == '/')
        return open(path, flags, mode);
    struct stat sb;
    if ((flags & O_CREAT) && look(dir, &sb) == OURS)
        die("openat in a directory of ours");
    return real(dir, path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
    typedef int mkdir_fn(const char *, mode_t);
    REAL("mkdir", mkdir_fn);
    int rc = real(path, mode);
    struct stat sb;
    char full[4096];
    const char *at;
    if (rc == 0 && (at = below(path, full))) {
        if (stat(path, &sb))
            die(path);
        tell_path(MADE, DIRECTORY, sb.st_ino, at, strlen(at));
    }
    return rc;
}

int rename(const char *from, const char *to)
{
    typedef int rename_fn(const char *, const char *);
    REAL("rename", rename_fn);
    char one[4096], two[4096];
    const char *a = below(from, one), *b = below(to, two);
    if (a && b) {
        char both[8200];
        int n = snprintf(both, sizeof both, "%s%c%s", a, 0, b);
        tell_path(MOVED, 0, 0, both, (size_t)n);
    }
    int rc = real(from, to);
    if (rc && a && b)
        die("rename");
    return rc;
}

static int removed(int rc, const char *path)
{
    int error = errno;
    char full[4096];
    const char *at;
    if (rc == 0 && (at = below(path, full)))
        tell_path(GONE, 0, 0, at, strlen(at));
    errno = error;
    return rc;
}

int unlink(const char *path)
{
    REAL("unlink", path_fn);
    return removed(real(path), path);
}

int rmdir(const char *path)
{
    REAL("rmdir", path_fn);
    return removed(real(path), path);
}

int unlinkat(int dir, const char *path, int flags)
{
    typedef int unlinkat_fn(int, const char *, int);
    REAL("unlinkat", unlinkat_fn);
    char link[64], full[8192];
    ssize_t n = 0;
    if (dir != AT_FDCWD && path[0] != '/') {
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        n = readlink(link, full, 4095);
    }
    int rc = real(dir, path, flags);
    if (n > 0)
        (void)snprintf(full + n, sizeof full - (size_t)n, "/%s", path);
    return removed(rc, n > 0 ? full : path);
}

/* --- sizes ----------------------------------------------------------------------------------- */

static void tell_size(int fd, int64_t size)
{
    struct stat sb;
    if (look(fd, &sb) != OURS)
        return;
    pthread_mutex_lock(&lock);
    put(&(struct event){.kind = SIZE, .a = sb.st_ino, .b = (uint64_t)size}, "");
    pthread_mutex_unlock(&lock);
}

int ftruncate(int fd, off_t size)
{
    typedef int ftruncate_fn(int, off_t);
    REAL("ftruncate", ftruncate_fn);
    tell_size(fd, size);
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    typedef int fallocate_fn(int, off_t, off_t);
    REAL("posix_fallocate", fallocate_fn);
    struct stat sb;
    if (look(fd, &sb) == OURS && sb.st_size < at + n)
        tell_size(fd, at + n);
    return real(fd, at, n);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    typedef int fallocate_fn(int, int, off_t, off_t);
    REAL("fallocate", fallocate_fn);
    struct stat sb;
    if (look(fd, &sb) == OURS) {
        if (mode)
            die("fallocate with a mode");
        if (sb.st_size < at + n)
            tell_size(fd, at + n);
    }
    return real(fd, mode, at, n);
}

static int flush(int fd, fd_fn *call)
{
    struct stat sb;
    bool ours = look(fd, &sb) == OURS;
    pthread_mutex_lock(&lock);
    uint64_t began = events;
    pthread_mutex_unlock(&lock);
    int rc = call(fd), error = errno;
    if (ours && rc)
        die("a flush failed");
    if (ours) {
        pthread_mutex_lock(&lock);
        put(&(struct event){.kind = SYNCED, .a = sb.st_ino, .b = began}, "");
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return rc;
}

int fsync(int fd)
{
    REAL("fsync", fd_fn);
    return flush(fd, real);
}

int fdatasync(int fd)
{
    REAL("fdatasync", fd_fn);
    return flush(fd, real);
}

/* --- bytes ----------------------------------------------------------------------------------- */

static size_t length(const struct iovec *iov, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

/* At most `most` bytes of iov as one piece behind the tail; owned. */
static char *flat(const struct tail *t, const struct iovec *iov, size_t count, size_t most)
{
    char *all = malloc(TAIL + most + 1);
    if (!all)
        die("out of memory");
    size_t at = t ? t->n : 0;
    if (at)
        memcpy(all, t->bytes, at);
    for (size_t i = 0; i < count && most; i++) {
        size_t n = iov[i].iov_len < most ? iov[i].iov_len : most;
        memcpy(all + at, iov[i].iov_base, n);
        at += n;
        most -= n;
    }
    return all;
}

/* The number of the event, to be given to written(). */
static uint64_t writing(int fd, const struct stat *sb, const struct iovec *iov, size_t count,
                        int64_t at)
{
    size_t n = length(iov, count);
    int flags = fcntl(fd, F_GETFL);
    if (at < 0 && (flags & O_APPEND))
        at = sb->st_size;
    else if (at < 0)
        at = lseek(fd, 0, SEEK_CUR);
    char *all = flat(NULL, iov, count, n);
    bool zero = n && !all[0] && memcmp(all, all + 1, n - 1) == 0;
    struct event e = {.kind = WRITE,
                      .flags = flags & O_DSYNC ? DSYNC : 0,
                      .a = sb->st_ino,
                      .b = (uint64_t)at,
                      .len = n,
                      .n = zero ? 0 : n};
    pthread_mutex_lock(&lock);
    uint64_t number = put(&e, all);
    pthread_mutex_unlock(&lock);
    free(all);
    return number;
}

static void written(uint64_t number, ssize_t n, size_t asked)
{
    if (n < 0 || (size_t)n != asked)
        die("a write was short");
    pthread_mutex_lock(&lock);
    put(&(struct event){.kind = WRITTEN, .a = number}, "");
    pthread_mutex_unlock(&lock);
}

static void put_marks(uint32_t kind, const char *p, const char *end)
{
    while (end - p >= MARK && (p = memchr(p, '@', (size_t)(end - p))) && end - p >= MARK) {
        if (is_mark(p)) {
            put(&(struct event){.kind = kind, .a = mark_number(p)}, "");
            p += MARK;
        } else {
            p++;
        }
    }
}

/* Marks in n bytes of iov; with `keep` their end is remembered, for it may be half a mark. */
static void marks(enum way way, int fd, const struct iovec *iov, size_t count, size_t n, bool tell,
                  bool keep)
{
    int error = errno;
    if (fd >= SOCKETS)
        die("too many sockets");
    pthread_mutex_lock(&lock);
    struct tail *t = &tails[way][fd];
    char *all = flat(t, iov, count, n);
    size_t total = t->n + n;
    if (tell)
        put_marks(way == IN ? HEARD : SAID, all, all + total);
    if (keep) {
        t->n = (uint8_t)(total < TAIL ? total : TAIL);
        memcpy(t->bytes, all + total - t->n, t->n);
    }
    pthread_mutex_unlock(&lock);
    free(all);
    errno = error;
}

/* The one way of every call that takes bytes from the program. */
#define GIVE(fd, iov, count, at, call)                                                             \
    do {                                                                                           \
        struct stat sb_;                                                                           \
        enum what what_ = look(fd, &sb_);                                                          \
        uint64_t number_ = 0;                                                                      \
        if (what_ == OURS)                                                                         \
            number_ = writing(fd, &sb_, iov, count, at);                                           \
        else if (what_ == SOCKET)                                                                  \
            marks(OUT, fd, iov, count, length(iov, count), true, false);                           \
        ssize_t n_ = (call);                                                                       \
        if (what_ == OURS)                                                                         \
            written(number_, n_, length(iov, count));                                              \
        else if (what_ == SOCKET && n_ > 0)                                                        \
            marks(OUT, fd, iov, count, (size_t)n_, false, true);                                   \
        return n_;                                                                                 \
    } while (0)

/* And of those that bring some. */
#define TAKE(fd, iov, count, call)                                                                 \
    do {                                                                                           \
        struct stat sb_;                                                                           \
        ssize_t n_ = (call);                                                                       \
        if (n_ > 0 && look(fd, &sb_) == SOCKET)                                                    \
            marks(IN, fd, iov, count, (size_t)n_, true, true);                                     \
        return n_;                                                                                 \
    } while (0)

ssize_t write(int fd, const void *p, size_t n)
{
    REAL("write", write_fn);
    struct iovec one = {(void *)(uintptr_t)p, n};
    GIVE(fd, &one, 1, -1, real(fd, p, n));
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    REAL("writev", writev_fn);
    GIVE(fd, iov, (size_t)count, -1, real(fd, iov, count));
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL("pwrite", pwrite_fn);
    struct iovec one = {(void *)(uintptr_t)p, n};
    GIVE(fd, &one, 1, at, real(fd, p, n, at));
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return pwrite(fd, p, n, at);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    REAL("pwritev", pwritev_fn);
    GIVE(fd, iov, (size_t)count, at, real(fd, iov, count, at));
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
    return pwritev(fd, iov, count, at);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    REAL("send", send_fn);
    struct iovec one = {(void *)(uintptr_t)p, n};
    GIVE(fd, &one, 1, -1, real(fd, p, n, flags));
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    REAL("sendmsg", sendmsg_fn);
    GIVE(fd, m->msg_iov, m->msg_iovlen, -1, real(fd, m, flags));
}

ssize_t read(int fd, void *p, size_t n)
{
    REAL("read", read_fn);
    struct iovec one = {p, n};
    TAKE(fd, &one, 1, real(fd, p, n));
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    REAL("recv", recv_fn);
    struct iovec one = {p, n};
    TAKE(fd, &one, 1, real(fd, p, n, flags));
}

ssize_t readv(int fd, const struct iovec *iov, int count)
{
    REAL("readv", writev_fn);
    TAKE(fd, iov, (size_t)count, real(fd, iov, count));
}
