/* base/job.c -- work in portions: is this portion over? see job.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/job.h"

#include "base/clock.h"

bool job_over(const struct job_budget *b)
{
    return clock_mono_exact() >= b->until;
}
