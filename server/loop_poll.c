/* server/loop_poll.c -- see loop_poll.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/loop_poll.h"

int64_t loop_poll_for(const struct loop_poll *p, int64_t now, int64_t worked)
{
    return worked <= LOOP_POLL_WORK && now >= p->alone ? p->ns : 0;
}

bool loop_poll_expected(const struct loop_poll *p, int64_t now, int64_t worked, int64_t due,
                        int64_t *from, int64_t *until)
{
    *from = due - LOOP_POLL_EARLY;
    *until = due + LOOP_POLL_LATE;
    return due && now < *until && *from - now < LOOP_POLL_FAR && worked <= LOOP_POLL_WORK &&
           now >= p->alone;
}

void loop_poll_note(struct loop_poll *p, int64_t waited)
{
    if (waited > LOOP_POLL_MOST)
        p->ns = 0;
    else if (p->ns == 0)
        p->ns = LOOP_POLL_FIRST;
    else
        p->ns = p->ns < LOOP_POLL_MOST / 2 ? p->ns * 2 : LOOP_POLL_MOST;
}

void loop_poll_crowded(struct loop_poll *p, int64_t now)
{
    p->ns = 0;
    p->alone = now + LOOP_POLL_CROWDED;
}
