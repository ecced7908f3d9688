/* server/helper.h -- a thread for calls that block and have no other form: crypt_r, getaddrinfo
 *
 * Inside the loop. The thread is started by the first errand; while it works on one, others wait.
 *
 *     helper_give ──► waiting ──► work(arg), on the thread ──► a mail to the loop ──► done(arg)
 *
 * helper_end() waits for the errand under way; then done() is called for everything that was taken,
 * also where work() never ran, so that nobody's arg is lost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_HELPER_H
#define SERVER_HELPER_H

#include <pthread.h>

#include "base/err.h"
#include "base/list.h"
#include "base/turn.h"

#define HELPER_MAX 64 /* errands that wait */

struct helper {
    const struct turn *turn; /* whose mail it writes */
    pthread_t thread;
    bool running;         /* the thread exists */
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t cond;
    bool stop;
    struct list waiting;
    unsigned nwaiting;
    struct list returned; /* worked on, done() not yet called */
};

void helper_init(struct helper *h, const struct turn *turn);
/* work(arg) on the thread, then done(arg) on the loop. E_FULL when HELPER_MAX wait,
 * E_CLOSED from inside helper_end(). */
int helper_give(struct helper *h, turn_fn *work, turn_fn *done, void *arg) MUST_CHECK;
void helper_end(struct helper *h);

#endif
