/* server/helper.h -- a thread for calls that block and have no other form: crypt_r, getaddrinfo
 *
 * Inside the loop, which has two: one for what computes, one for what waits for somebody else on
 * the network and may do so for half a minute. A thread is started by its first errand; while it
 * works on one, others wait.
 *
 *     helper_give ──► waiting ──► work(arg), on the thread ──► a mail to the loop ──► done(arg)
 *
 * helper_end() waits for the errand under way, helper_leave() does not; then done() is called for
 * everything that was taken, also where work() never ran, so that nobody's arg is lost. What was
 * left under way hears done() on the thread, whenever that is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_HELPER_H
#define SERVER_HELPER_H

#include "base/err.h"
#include "base/turn.h"

#define HELPER_MAX 64 /* errands that wait */

struct helper;

struct helper *helper_new(const struct turn *turn); /* whose mail it writes */
/* work(arg) on the thread, then done(arg) on the loop. E_FULL when HELPER_MAX wait,
 * E_CLOSED from inside helper_end() and helper_leave(). */
int helper_give(struct helper *h, turn_fn *work, turn_fn *done, void *arg) MUST_CHECK;
/* Both free it. */
void helper_end(struct helper *h);
void helper_leave(struct helper *h);

#endif
