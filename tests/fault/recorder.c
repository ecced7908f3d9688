/* tests/fault/recorder.c -- watches from outside when a server writes, flushes and answers
 *
 * A library for LD_PRELOAD. It stands between a program and the system calls that put bytes on a
 * disk or a wire, writes down what passes, in the order it happens, and can make the disk slow:
 *
 *     RECORDER_LOG=FILE       where to write it down
 *     RECORDER_DELAY_MS=500   every flush and every O_DSYNC write takes so much longer
 *
 * A test marks each message: "@@" and eight digits, in the payload and in the reply subject. Four
 * kinds of lines, each with the time in ns (CLOCK_MONOTONIC) at which the call began and ended:
 *
 *     D began ended FD MARK...   written to a store's data.mdb; these marks were in it
 *     F began ended FD           fdatasync or fsync of it has returned
 *     M began ended FD           a write to it through an O_DSYNC descriptor (LMDB's meta page)
 *                                has returned
 *     S began began FD MARK...   about to be given to a socket
 *
 * What always holds
 *   (1) D, F and M are written down after the call has returned, and only if it succeeded; S before
 * the call. So whatever stands above an S line in the log was over before the answer could leave.
 *   (2) One lock orders the lines; it is not held during the calls themselves.
 *   (3) A mark may be cut in two by two writes to a socket: the last bytes accepted of each socket
 * are remembered and looked at together with the next ones.
 *
 * The log is a shared mapping of a large sparse file, so that a SIGKILL loses none of it; it ends
 * at the first NUL. When it is full, the process ends: half a record proves nothing.
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
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "behind.h"
#include "marks.h"

enum {
    SOCKETS = 4096, /* descriptors whose tails we remember */
    ROOM = 64,      /* what one put() may add */
    LOG_BYTES = 1 << 30
};

enum kind { OTHER, DATA, META, SOCKET };

static struct {
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*writev)(int, const struct iovec *, int);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    ssize_t (*sendmsg)(int, const struct msghdr *, int);
    int (*fdatasync)(int);
    int (*fsync)(int);
} real;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *log_at, *log_end; /* guarded by lock; NULL: not recording */
static int64_t delay_ns;
static struct {
    char bytes[TAIL];
    uint8_t n;
} tails[SOCKETS]; /* guarded by lock */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *why)
{
    (void)fprintf(stderr, "recorder: %s\n", why);
    _exit(97);
}

__attribute__((constructor)) static void recorder_open(void)
{
    *(void **)&real.write = behind("write");
    *(void **)&real.writev = behind("writev");
    *(void **)&real.pwrite = behind("pwrite");
    *(void **)&real.pwritev = behind("pwritev");
    *(void **)&real.send = behind("send");
    *(void **)&real.sendto = behind("sendto");
    *(void **)&real.sendmsg = behind("sendmsg");
    *(void **)&real.fdatasync = behind("fdatasync");
    *(void **)&real.fsync = behind("fsync");
    const char *delay = getenv("RECORDER_DELAY_MS"), *path = getenv("RECORDER_LOG");
    if (delay)
        delay_ns = strtol(delay, NULL, 10) * 1000000;
    if (!path)
        return;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, LOG_BYTES))
        die("cannot make the log");
    char *map = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        die("cannot map the log");
    log_at = map;
    log_end = map + LOG_BYTES - ROOM - 1;
}

/* What is behind fd? Asked each time: descriptors are closed and given again. */
static enum kind kind_of(int fd)
{
    int error = errno;
    enum kind kind = OTHER;
    struct stat st = {0};
    char link[64], path[4096];
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) {
        kind = SOCKET;
    } else if (S_ISREG(st.st_mode)) {
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path);
        if (n >= 9 && memcmp(path + n - 9, "/data.mdb", 9) == 0)
            kind = (fcntl(fd, F_GETFL) & O_DSYNC) ? META : DATA;
    }
    errno = error;
    return kind;
}

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_at += vsnprintf(log_at, ROOM, format, args);
    va_end(args);
    if (log_at > log_end)
        die("the log is full");
}

static void put_line(char what, int64_t began, int64_t ended, int fd)
{
    put("%c %lld %lld %d", what, (long long)began, (long long)ended, fd);
}

/* Puts all marks of these bytes, and ends the line; lock held. */
static void put_marks(const char *p, size_t n)
{
    const char *end = p + n;
    while (p + MARK <= end && (p = memchr(p, '@', (size_t)(end - p))) && p + MARK <= end) {
        if (is_mark(p)) {
            put(" %.8s", p + 2);
            p += MARK;
        } else {
            p++;
        }
    }
    put("\n");
}

/* iov as one piece behind the n bytes of head; owned. */
static char *flat(const char *head, size_t n, const struct iovec *iov, size_t count, size_t *total)
{
    *total = n;
    for (size_t i = 0; i < count; i++)
        *total += iov[i].iov_len;
    char *all = malloc(*total ? *total : 1);
    if (!all)
        die("out of memory");
    memcpy(all, head, n);
    for (size_t i = 0; i < count; i++) {
        memcpy(all + n, iov[i].iov_base, iov[i].iov_len);
        n += iov[i].iov_len;
    }
    return all;
}

static void slow_disk(void)
{
    struct timespec t = {delay_ns / 1000000000, delay_ns % 1000000000};
    if (delay_ns)
        nanosleep(&t, NULL);
}

/* Before bytes go to a socket. */
static void sending(int fd, const struct iovec *iov, size_t count)
{
    size_t total;
    pthread_mutex_lock(&lock);
    bool known = fd < SOCKETS;
    char *all = flat(known ? tails[fd].bytes : "", known ? tails[fd].n : 0, iov, count, &total);
    int64_t t = now();
    if (log_at && memmem(all, total, "@@", 2)) {
        put_line('S', t, t, fd);
        put_marks(all, total);
    }
    pthread_mutex_unlock(&lock);
    free(all);
}

/* n bytes of them were accepted: what may be half a mark at their end is remembered. */
static void sent(int fd, const struct iovec *iov, size_t count, ssize_t n)
{
    if (n <= 0 || fd >= SOCKETS)
        return;
    size_t total;
    pthread_mutex_lock(&lock);
    char *all = flat(tails[fd].bytes, tails[fd].n, iov, count, &total);
    size_t accepted = tails[fd].n + (size_t)n;
    size_t keep = accepted < TAIL ? accepted : TAIL;
    memcpy(tails[fd].bytes, all + accepted - keep, keep);
    tails[fd].n = (uint8_t)keep;
    pthread_mutex_unlock(&lock);
    free(all);
}

/* After a write to a file has returned. */
static void written(enum kind kind, int fd, const struct iovec *iov, size_t count, int64_t began)
{
    size_t total;
    pthread_mutex_lock(&lock);
    if (log_at) {
        put_line(kind == META ? 'M' : 'D', began, now(), fd);
        char *all = flat("", 0, iov, count, &total);
        put_marks(all, kind == META ? 0 : total);
        free(all);
    }
    pthread_mutex_unlock(&lock);
}

/* The one way of every call that moves bytes: look, call, look. */
#define PASS(fd, iov, count, call)                                                                 \
    do {                                                                                           \
        enum kind kind_ = kind_of(fd);                                                             \
        int64_t began_ = now();                                                                    \
        if (kind_ == SOCKET)                                                                       \
            sending(fd, iov, count);                                                               \
        if (kind_ == META)                                                                         \
            slow_disk();                                                                           \
        ssize_t n_ = (call);                                                                       \
        int error_ = errno;                                                                        \
        if (kind_ == SOCKET)                                                                       \
            sent(fd, iov, count, n_);                                                              \
        else if (kind_ != OTHER && n_ > 0)                                                         \
            written(kind_, fd, iov, count, began_);                                                \
        errno = error_;                                                                            \
        return n_;                                                                                 \
    } while (0)

ssize_t write(int fd, const void *p, size_t n)
{
    struct iovec one = {(void *)p, n};
    PASS(fd, &one, 1, real.write(fd, p, n));
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    PASS(fd, iov, (size_t)count, real.writev(fd, iov, count));
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    struct iovec one = {(void *)p, n};
    PASS(fd, &one, 1, real.pwrite(fd, p, n, at));
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return pwrite(fd, p, n, at);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    PASS(fd, iov, (size_t)count, real.pwritev(fd, iov, count, at));
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
    return pwritev(fd, iov, count, at);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    struct iovec one = {(void *)p, n};
    PASS(fd, &one, 1, real.send(fd, p, n, flags));
}

ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
               socklen_t to_len)
{
    struct iovec one = {(void *)p, n};
    PASS(fd, &one, 1, real.sendto(fd, p, n, flags, to, to_len));
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    PASS(fd, m->msg_iov, m->msg_iovlen, real.sendmsg(fd, m, flags));
}

static int flush(int fd, int (*call)(int))
{
    enum kind kind = kind_of(fd);
    int64_t began = now();
    if (kind == DATA || kind == META)
        slow_disk();
    int out = call(fd), error = errno;
    if (out == 0 && (kind == DATA || kind == META)) {
        pthread_mutex_lock(&lock);
        if (log_at) {
            put_line('F', began, now(), fd);
            put("\n");
        }
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return out;
}

int fdatasync(int fd)
{
    return flush(fd, real.fdatasync);
}

int fsync(int fd)
{
    return flush(fd, real.fsync);
}
