/* base/sm.c -- a state machine is a table; see sm.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/sm.h"

#include <stdbool.h>

#include "base/log.h"
#include "base/mem.h"

void sm_move(const struct sm_rule *rules, int *state, int to, const char *who, const char *why)
{
    ASSERT(to >= 0 && to < 32);
    bool is_move = rules[*state].to & SM_TO(to);
    if (!is_move)
        log_fatal("%s: %s -> %s is no move of the table (%s)", who, rules[*state].name,
                  rules[to].name, why);
    ASSERT(is_move);
    log_debug("%s: %s -> %s: %s", who, rules[*state].name, rules[to].name, why);
    *state = to;
}
