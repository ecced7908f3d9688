/* tests/fault/clock.c -- a wall clock that a test sets while a server runs
 *
 * A library for LD_PRELOAD. CLOCK_FILE=FILE names eight bytes, seconds by which the wall clock is
 * wrong; the file is mapped, so a test writes there and the next look at the clock sees it. The
 * monotonic clock stays as it is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#include "behind.h"

static int64_t wrong_by(void)
{
    static const volatile int64_t *seconds;
    if (!seconds) {
        const char *path = getenv("CLOCK_FILE");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            _exit(97);
        (void)close(fd);
        seconds = map;
    }
    return *seconds;
}

typedef int clock_gettime_fn(clockid_t, struct timespec *);

int clock_gettime(clockid_t id, struct timespec *ts)
{
    REAL("clock_gettime", clock_gettime_fn);
    int rc = real(id, ts);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ts->tv_sec += wrong_by();
    return rc;
}

time_t time(time_t *out)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    *tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
    return 0;
}
