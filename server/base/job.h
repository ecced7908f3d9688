/* base/job.h -- work whose size is what is stored, done in portions
 *
 * No event handler does work proportional to what is stored; such work is a job. The loop runs the
 * jobs in a ring, each for about 100 microseconds: step() looks at job_over(budget) every so often
 * (at least every ~1,000 records) and returns JOB_MORE when it is true. Jobs are embedded in
 * their owner and keep their state there; no thread, no stack. Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JOB_H
#define BASE_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum job_result {
    JOB_MORE, /* call me again, next time round */
    JOB_WAIT, /* rest until job_start() wakes it (a receipt, a drained socket) */
    JOB_DONE  /* finished or failed; the loop has forgotten the job before step() returns to it */
};

struct job_budget {
    int64_t until; /* monotonic, ns */
};
bool job_over(const struct job_budget *b); /* reads the clock */

struct job;
typedef enum job_result job_step_fn(struct job *j, const struct job_budget *b);

struct job {
    struct list link; /* in the loop's ring while it runs */
    job_step_fn *step;
    const char *name; /* static; named in the warning when a turn took long */
    bool running, waiting;
};

static inline void job_init(struct job *j, const char *name, job_step_fn *step)
{
    list_init(&j->link);
    j->step = step;
    j->name = name;
    j->running = j->waiting = false;
}

#endif
