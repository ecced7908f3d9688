/* base/log.c -- one line per thing worth telling; see log.h
 *
 *     [2118] 2026/11/21 12:11:31.947255 [INF] Server is ready
 *
 * A line is formatted on the stack (a long one in memory, cut when there is none) and leaves with
 * one write(2) under a lock, so lines of two threads never mix. With a size limit the line that
 * passes it is the last of its file: the file is renamed to NAME.YYYY.MM.DD.HH.MM.SS.nnnnnnnnn, a
 * new one begins with "Rotated log, …", and the oldest backups beyond the wanted number go.
 * A write that fails has nobody to tell: the line is lost, the server lives on.
 *
 * What always holds
 *   (1) out.fd is open: 2, or the file named out.file.
 *   (2) everything in `out` and the capture is touched under the lock only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#define LINE_ROOM 2048
#define PERMS     0640

bool log_debug_on, log_trace_on;

static const struct {
    const char *label, *colour;
} levels[] = {
    [LOG_FATAL] = {"FTL", "31"}, [LOG_ERROR] = {"ERR", "31"}, [LOG_WARN] = {"WRN", "0;93"},
    [LOG_INFO] = {"INF", "32"},  [LOG_DEBUG] = {"DBG", "36"}, [LOG_TRACE] = {"TRC", "33"},
};

/* Recursive: running out of memory while rotating still gets its line out. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct {
    int fd;             /* where lines go */
    char *file;         /* owned; NULL: stderr */
    int64_t size;       /* of the file, as far as we wrote or found it */
    int64_t limit;      /* rotate when size passes it; 0: never */
    int64_t next_limit; /* limit, or twice as much after a rotation that failed */
    int max_files;      /* log files in all, the current one included; 0: any number */
    bool time, utc, colour;
} out = {.fd = STDERR_FILENO, .time = true};
static void (*capture_fn)(void *arg, enum log_level level, const char *line);
static void *capture_arg;

/* --- lines ----------------------------------------------------------------------------------- */

static struct tm split_time(int64_t wall_ns, bool utc)
{
    time_t seconds = wall_ns / NS_PER_S;
    struct tm tm;
    if (utc)
        gmtime_r(&seconds, &tm);
    else
        localtime_r(&seconds, &tm);
    return tm;
}

/* "[pid] time [INF] ", at most 80 bytes; returns the length. */
static size_t put_prefix(char *to, size_t room, enum log_level level)
{
    int n = snprintf(to, room, "[%d] ", (int)getpid());
    if (out.time) {
        int64_t now = clock_wall_exact();
        struct tm tm = split_time(now, out.utc);
        n += snprintf(to + n, room - (size_t)n, "%04d/%02d/%02d %02d:%02d:%02d.%06d ",
                      tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                      tm.tm_sec, (int)(now % NS_PER_S / NS_PER_US));
    }
    if (out.colour)
        n += snprintf(to + n, room - (size_t)n, "[\x1b[%sm%s\x1b[0m] ", levels[level].colour,
                      levels[level].label);
    else
        n += snprintf(to + n, room - (size_t)n, "[%s] ", levels[level].label);
    return (size_t)n;
}

static void put_out(const char *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = write(out.fd, p + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        done += (size_t)got;
        out.size += got;
    }
}

/* A line of the log about itself; nats-server ends these with CR LF. */
static void put_own(enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void put_own(enum log_level level, const char *fmt, ...)
{
    char line[LINE_ROOM];
    size_t n = put_prefix(line, sizeof line, level), room = sizeof line - n - 2;
    va_list ap;
    va_start(ap, fmt);
    int text = vsnprintf(line + n, room, fmt, ap);
    va_end(ap);
    if (text > 0)
        n += (size_t)text < room ? (size_t)text : room - 1;
    line[n++] = '\r';
    line[n++] = '\n';
    put_out(line, n);
}

/* --- rotation -------------------------------------------------------------------------------- */

/* "2026.11.21.12.11.31.947255804": six numbers and the fraction. */
static bool is_stamp(const char *s)
{
    static const char shape[] = "0000.00.00.00.00.00.";
    size_t i = 0;
    for (; shape[i]; i++)
        if (shape[i] == '.' ? s[i] != '.' : s[i] < '0' || s[i] > '9')
            return false;
    size_t digits = strspn(s + i, "0123456789");
    return digits > 0 && s[i + digits] == '\0';
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All backups of the file `base` in dir, as owned names, oldest first. */
static char **list_backups(DIR *dir, const char *base, size_t *n)
{
    char **names = NULL;
    size_t cap = 0, base_n = strlen(base);
    struct dirent *e;
    *n = 0;
    while ((e = readdir(dir)) != NULL) {
        if (strncmp(e->d_name, base, base_n) != 0 || e->d_name[base_n] != '.' ||
            !is_stamp(e->d_name + base_n + 1))
            continue;
        if (*n == cap) {
            cap = cap ? cap * 2 : 16;
            names = xrealloc(names, cap * sizeof *names);
        }
        names[(*n)++] = xstrdup(e->d_name);
    }
    if (*n)
        qsort(names, *n, sizeof *names, compare_names);
    return names;
}

static void purge_backups(void)
{
    const char *slash = strrchr(out.file, '/');
    const char *base = slash ? slash + 1 : out.file;
    char *path = slash ? xasprintf("%.*s", (int)(slash - out.file + 1), out.file) : xstrdup(".");
    DIR *dir = opendir(path);
    if (!dir) {
        put_own(LOG_ERROR,
                "Unable to read directory \"%s\" for log purge (%s), will attempt next rotation",
                path, strerror(errno));
        free(path);
        return;
    }
    size_t n, keep = (size_t)out.max_files - 1;
    char **names = list_backups(dir, base, &n);
    bool going_on = true;
    for (size_t i = 0; i < n; i++) {
        if (going_on && n - i > keep) {
            going_on = unlinkat(dirfd(dir), names[i], 0) == 0;
            if (going_on)
                put_own(LOG_INFO, "Purged log file \"%s\"", names[i]);
            else
                put_own(LOG_ERROR,
                        "Unable to remove backup log file \"%s\" (%s), will attempt next rotation",
                        names[i], strerror(errno));
        }
        free(names[i]);
    }
    free(names);
    closedir(dir);
    free(path);
}

static int open_file(const char *file, int64_t *size)
{
    struct stat st;
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, PERMS);
    if (fd >= 0)
        *size = fstat(fd, &st) == 0 ? (int64_t)st.st_size : 0;
    return fd;
}

static void rotate(void)
{
    int64_t now = clock_wall_exact(), size;
    struct tm tm = split_time(now, false);
    char *backup = xasprintf("%s.%04d.%02d.%02d.%02d.%02d.%02d.%09d", out.file, tm.tm_year + 1900,
                             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                             (int)(now % NS_PER_S));
    int fd = rename(out.file, backup) == 0 ? open_file(out.file, &size) : -1;
    if (fd < 0) {
        out.next_limit *= 2;
        put_own(LOG_ERROR, "Unable to rotate the logfile \"%s\" (%s), will try again later",
                out.file, strerror(errno));
        free(backup);
        return;
    }
    close(out.fd);
    out.fd = fd;
    out.size = size;
    out.next_limit = out.limit;
    put_own(LOG_INFO, "Rotated log, backup saved as \"%s\"", backup);
    free(backup);
    if (out.max_files > 0)
        purge_backups();
}

/* --- the door -------------------------------------------------------------------------------- */

static void emit(enum log_level level, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void emit(enum log_level level, const char *fmt, va_list ap)
{
    char stack[LINE_ROOM], *line = stack;
    size_t n = put_prefix(stack, sizeof stack, level), room = sizeof stack - n - 1;
    va_list again;
    va_copy(again, ap);
    int text = vsnprintf(stack + n, room, fmt, ap);
    if (text >= (int)room && (line = malloc(n + (size_t)text + 2)) != NULL) {
        memcpy(line, stack, n);
        text = vsnprintf(line + n, (size_t)text + 1, fmt, again);
    } else if (text >= (int)room) {
        line = stack;
        text = (int)room - 1;
    }
    va_end(again);
    if (text < 0)
        text = 0;
    if (capture_fn) {
        line[n + (size_t)text] = '\0';
        capture_fn(capture_arg, level, line + n);
    } else {
        line[n + (size_t)text] = '\n';
        put_out(line, n + (size_t)text + 1);
        if (out.file && out.limit && out.size > out.next_limit)
            rotate();
    }
    if (line != stack)
        free(line);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if ((level == LOG_DEBUG && !log_debug_on) || (level == LOG_TRACE && !log_trace_on))
        return;
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&lock);
    emit(level, fmt, ap);
    pthread_mutex_unlock(&lock);
    va_end(ap);
    errno = saved;
}

static void drop_file(void)
{
    if (out.file)
        close(out.fd);
    free(out.file);
    out.file = NULL;
    out.fd = STDERR_FILENO;
    out.size = 0;
}

int log_open(const struct log_config *cfg)
{
    int64_t size = 0;
    int fd = cfg->file ? open_file(cfg->file, &size) : STDERR_FILENO;
    if (fd < 0)
        return E_SYS;
    struct stat st;
    bool terminal = !cfg->file && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode);
    char *file = cfg->file ? xstrdup(cfg->file) : NULL;
    pthread_mutex_lock(&lock);
    drop_file();
    out.fd = fd;
    out.file = file;
    out.size = size;
    out.limit = out.next_limit = cfg->size_limit;
    out.max_files = cfg->max_files;
    out.time = !cfg->no_time;
    out.utc = cfg->utc;
    out.colour = cfg->colour && terminal;
    log_debug_on = cfg->debug;
    log_trace_on = cfg->trace;
    bool over = file && cfg->size_limit > 0 && size > cfg->size_limit;
    pthread_mutex_unlock(&lock);
    if (over)
        log_info("Rotating logfile...");
    return 0;
}

int log_reopen(void)
{
    int err = 0;
    pthread_mutex_lock(&lock);
    if (out.file) {
        int64_t size;
        int fd = open_file(out.file, &size);
        if (fd >= 0) {
            close(out.fd);
            out.fd = fd;
            out.size = size;
        } else {
            err = E_SYS;
        }
    }
    pthread_mutex_unlock(&lock);
    return err;
}

void log_close(void)
{
    pthread_mutex_lock(&lock);
    drop_file();
    out.limit = 0;
    out.time = true;
    out.utc = out.colour = false;
    pthread_mutex_unlock(&lock);
}

int log_fd(void)
{
    return out.fd;
}

void log_capture(void (*fn)(void *arg, enum log_level level, const char *line), void *arg)
{
    pthread_mutex_lock(&lock);
    capture_fn = fn;
    capture_arg = arg;
    pthread_mutex_unlock(&lock);
}
