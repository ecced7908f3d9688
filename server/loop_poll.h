/* server/loop_poll.h -- how long the loop looks for events before it sleeps
 *
 * A thread that sleeps in the kernel needs 5 to 60 us to be awake again: the more, the deeper its
 * processor slept. A lone request pays that twice. So when events come close upon each other the
 * loop looks again and again for a moment, and only then sleeps.
 *
 *     waited ≤ 100 us, and small work before it ──► look 20 us, next time 40, 80, 100
 *     waited longer ──► 0
 *     another thread ran where we looked ──► 0, for 1 ms
 *
 * What it may cost
 *   (1) A wait that lasts longer than 100 us turns looking off, and only a wait shorter than that
 *       turns it on again. A server whose events are further apart than 100 us (idle, one message
 *       a second, five thousand evenly spaced) never looks.
 *   (2) In vain it looks for at most 100 us, and that after four short waits in a row; for 20 us
 *       after one.
 *   (3) After a turn of 30 us and more it sleeps at once: there a wake-up is a small part of the
 *       work, and throughput costs what it cost.
 *   (4) So more than a few percent of a core goes only while events come less than 100 us apart,
 *       each with little to do: at most that core, as long as this lasts.
 *   (5) Where a mail is expected (the receipt of a small commit), it looks from 60 us before its
 *       time until 40 us after it, under the conditions of (3): in vain at most 100 us a commit.
 *
 * Pure: the loop tells it the times. docs/decisions/0006-look-before-you-sleep.md has figures.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LOOP_POLL_H
#define SERVER_LOOP_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define LOOP_POLL_FIRST   (20 * NS_PER_US)
#define LOOP_POLL_MOST    (100 * NS_PER_US)
#define LOOP_POLL_WORK    (30 * NS_PER_US) /* a turn that took longer is no small one */
#define LOOP_POLL_CROWDED (1 * NS_PER_MS)
#define LOOP_POLL_EARLY   (60 * NS_PER_US) /* a wake-up, before an expected mail */
#define LOOP_POLL_LATE    (40 * NS_PER_US)
#define LOOP_POLL_FAR     (2 * NS_PER_MS) /* then a wake-up is nothing */

struct loop_poll { /* zero it to begin */
    int64_t ns;    /* how long to look; 0: not at all */
    int64_t alone; /* mono: before this, somebody else wants the core */
};

/* How long to look before sleeping, ns; `worked`: how long the turn took that ends now. */
int64_t loop_poll_for(const struct loop_poll *p, int64_t now, int64_t worked);
/* A mail is expected at `due` (0: none is): is it worth being awake for? Then look from *from to
 * *until. */
bool loop_poll_expected(const struct loop_poll *p, int64_t now, int64_t worked, int64_t due,
                        int64_t *from, int64_t *until);
/* The next event came after `waited` ns, looked for or slept for. */
void loop_poll_note(struct loop_poll *p, int64_t waited);
/* A look took so long that another thread must have run in between. */
void loop_poll_crowded(struct loop_poll *p, int64_t now);

#endif
