/* server/helper.c -- see helper.h
 *
 * The mailbox is rung only when `returned` was empty: one mail for many results. It is rung under
 * the lock: a thread that is not `working` never touches the loop.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/helper.h"

#include <pthread.h>
#include <signal.h>

#include "base/list.h"
#include "base/mem.h"

struct helper {
    const struct turn *turn;
    pthread_t thread;
    bool running;         /* the thread exists */
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t cond;
    bool stop;
    bool working; /* an errand is under way */
    bool left;    /* the thread is alone: this memory is its own */
    struct list waiting;
    unsigned nwaiting;
    struct list returned; /* worked on, done() not yet called */
};

struct errand {
    struct list link;
    turn_fn *work, *done;
    void *arg;
};

struct helper *helper_new(const struct turn *turn)
{
    struct helper *h = xcalloc(1, sizeof *h);
    h->turn = turn;
    list_init(&h->waiting);
    list_init(&h->returned);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->cond, NULL);
    return h;
}

static void helper_free(struct helper *h)
{
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->cond);
    free(h);
}

static void finish(struct errand *er)
{
    er->done(er->arg);
    free(er);
}

static void finish_all(struct list *back)
{
    struct list *e;
    while ((e = list_pop(back)) != NULL)
        finish(LIST_ENTRY(e, struct errand, link));
}

/* On the loop: a mail. */
static void errands_back(void *arg)
{
    struct helper *h = arg;
    struct list back;
    list_init(&back);
    pthread_mutex_lock(&h->lock);
    list_splice(&back, &h->returned);
    pthread_mutex_unlock(&h->lock);
    finish_all(&back);
}

static void *help(void *arg)
{
    struct helper *h = arg;
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        struct list *e = list_pop(&h->waiting);
        if (!e) {
            pthread_cond_wait(&h->cond, &h->lock);
            continue;
        }
        h->nwaiting--;
        h->working = true;
        pthread_mutex_unlock(&h->lock);
        struct errand *er = LIST_ENTRY(e, struct errand, link);
        er->work(er->arg);
        pthread_mutex_lock(&h->lock);
        h->working = false;
        if (h->left) {
            pthread_mutex_unlock(&h->lock);
            finish(er);
            helper_free(h);
            return NULL;
        }
        bool ring = list_empty(&h->returned);
        list_push_back(&h->returned, &er->link);
        if (ring)
            h->turn->mail(h->turn->loop, errands_back, h);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* The thread takes no signals: they are the loop's. */
static int start(struct helper *h)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&h->thread, NULL, help, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    h->running = r == 0;
    return r == 0 ? 0 : E_SYS;
}

int helper_give(struct helper *h, turn_fn *work, turn_fn *done, void *arg)
{
    if (h->stop)
        return E_CLOSED;
    if (!h->running && start(h) != 0)
        return E_SYS;
    struct errand *er = xmalloc(sizeof *er);
    *er = (struct errand){.work = work, .done = done, .arg = arg};
    list_init(&er->link);
    pthread_mutex_lock(&h->lock);
    bool full = h->nwaiting >= HELPER_MAX;
    if (!full) {
        h->nwaiting++;
        list_push_back(&h->waiting, &er->link);
        pthread_cond_signal(&h->cond);
    }
    pthread_mutex_unlock(&h->lock);
    if (full)
        free(er);
    return full ? E_FULL : 0;
}

void helper_end(struct helper *h)
{
    if (h->running) {
        pthread_mutex_lock(&h->lock);
        h->stop = true;
        pthread_cond_signal(&h->cond);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->thread, NULL);
        h->running = false;
        list_splice(&h->returned, &h->waiting);
        errands_back(h);
    }
    helper_free(h);
}

void helper_leave(struct helper *h)
{
    struct list back;
    pthread_t thread = h->thread;
    list_init(&back);
    pthread_mutex_lock(&h->lock);
    h->stop = true; /* the errand under way is the last one */
    list_splice(&back, &h->returned);
    list_splice(&back, &h->waiting);
    pthread_mutex_unlock(&h->lock);
    finish_all(&back);
    pthread_mutex_lock(&h->lock);
    bool left = h->left = h->working;
    pthread_mutex_unlock(&h->lock);
    if (left)
        pthread_detach(thread);
    else
        helper_end(h);
}
