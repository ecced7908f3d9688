/* base/sm.h -- a state machine is a table
 *
 *     static const struct sm_rule leaf_rules[] = {
 *         [LEAF_DOWN]    = {"DOWN", SM_TO(LEAF_DIALING)},
 *         [LEAF_DIALING] = {"DIALING", SM_TO(LEAF_GREETING) | SM_TO(LEAF_DOWN)},
 *     };
 *
 * sm_move() checks the move against the table (a move that is not in it is our bug: ASSERT), writes
 * the state and logs "who: GREETING -> JOINING: why" at debug level. It runs no code of the states:
 * the owner's one mover calls it and then does the work of the state entered.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SM_H
#define BASE_SM_H

#include <stdint.h>

struct sm_rule {
    const char *name; /* for the log */
    uint32_t to;      /* bits of the states one may go to */
};

#define SM_TO(state) (1u << (state))

/* rules has at least max(*state, to) + 1 rows. */
void sm_move(const struct sm_rule *rules, int *state, int to, const char *who, const char *why);

#endif
