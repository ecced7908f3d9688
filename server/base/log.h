/* base/log.h -- one line per thing worth telling
 *
 * Lines look as nats-server's do: "[pid] 2026/11/21 12:11:31.947255 [INF] text". log_open() decides
 * where to: stderr or a file (reopened on SIGUSR1). A line is one write(2). Any thread.
 * The level is one of four; debug and trace are off unless asked for, and their arguments are not
 * evaluated then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_FATAL, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

struct log_config {
    const char *file; /* NULL: stderr */
    bool debug, trace;
    bool no_time;       /* logtime: false */
    bool utc;           /* logtime_utc */
    bool colour;        /* level in colour, when stderr is a terminal */
    int64_t size_limit; /* bytes after which the file is renamed aside; 0: never */
    int max_files;      /* how many old ones to keep; 0: all */
};

/* Copies cfg. On failure the old destination stays. */
int log_open(const struct log_config *cfg) __attribute__((warn_unused_result));
int log_reopen(void) __attribute__((warn_unused_result));
void log_close(void);
/* Where lines go, for a signal handler. */
int log_fd(void);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Tests and the CLI's -t look at lines instead of printing them; NULL puts it back. */
void log_capture(void (*fn)(void *arg, enum log_level level, const char *line), void *arg);

extern bool log_debug_on, log_trace_on;

#define log_fatal(...) log_line(LOG_FATAL, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_debug_on)                                                                          \
            log_line(LOG_DEBUG, __VA_ARGS__);                                                      \
    } while (0)
#define log_trace(...)                                                                             \
    do {                                                                                           \
        if (log_trace_on)                                                                          \
            log_line(LOG_TRACE, __VA_ARGS__);                                                      \
    } while (0)

#endif
