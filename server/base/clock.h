/* base/clock.h -- two clocks, and a way to set them in tests
 *
 * Monotonic for intervals and timers, wall for message timestamps, expiry and JWTs. Nanoseconds in
 * int64_t. The loop reads both once a turn (clock_tick) and everybody uses the cached values, so a
 * time stamp costs no system call. Loop thread only, except clock_mono_exact()/clock_wall_exact().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL

/* 2020-01-01: a wall clock before that was never set. */
#define CLOCK_NEVER_SET (1577836800 * NS_PER_S)

int64_t clock_mono(void); /* as of the last tick */
int64_t clock_wall(void); /* as of the last tick, since 1970 UTC */
void clock_tick(
    void); /* reads both clocks; the loop calls it at the start of a turn and after long pieces */

int64_t clock_mono_exact(void); /* any thread */
int64_t clock_wall_exact(void); /* any thread */

/* at + ns, ns >= 0: a wait that a peer has chosen may reach beyond the end of time, INT64_MAX. */
static inline int64_t clock_after(int64_t at, int64_t ns)
{
    return at > INT64_MAX - ns ? INT64_MAX : at + ns;
}

/* Tests: from now on the clocks stand still at these values until the next call; clock_unfake()
 * ends it. */
void clock_fake(int64_t mono_ns, int64_t wall_ns);
void clock_unfake(void);

/* Go's duration text: "1h30m", "1.5s", "100ms", "2us"; a sign is allowed. E_SYNTAX, E_RANGE. */
int duration_parse(const char *p, size_t n, int64_t *ns) __attribute__((warn_unused_result));
/* Go's way to print one ("2m0s", "504µs", "0s"); out must have room for 40 bytes. Returns its
 * length. */
size_t duration_print(int64_t ns, char *out);
/* RFC 3339 UTC with nanoseconds, trailing zeros trimmed, as Go prints:
 * "2026-11-21T12:11:31.947255804Z". out: 40 bytes. Returns the length. */
size_t time_print(int64_t wall_ns, char *out);
/* The same at an offset from UTC in seconds, whole minutes and less than a day ("…14:11:31+02:00");
 * as UTC where that would be no time. */
size_t time_print_at(int64_t wall_ns, int64_t offset_s, char *out);
/* RFC 3339 with any offset. The zero time of Go ("0001-01-01T00:00:00Z") gives INT64_MIN. */
int time_parse(const char *p, size_t n, int64_t *wall_ns) __attribute__((warn_unused_result));
/* The same; the offset it was said with, in seconds. */
int time_parse_at(const char *p, size_t n, int64_t *wall_ns, int64_t *offset_s)
    __attribute__((warn_unused_result));

#endif
