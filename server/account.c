/* server/account.c -- one subject space
 *
 * A thin owner: the sublist does the matching, this file tells those who watch.
 *
 * What always holds
 *   (1) an interest watcher hears of every sink exactly once when it comes and once when it goes;
 *       of a weight that changes as "gone with the old, come with the new";
 *   (2) a subject watcher hears only changes of its own yes or no. It may be called in the middle
 *       of a SUB: it posts what it wants to do.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/account.h"

#include "base/digest.h"
#include "base/domain.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/subject.h"

struct accounts {
    struct list all;
};

struct accounts *accounts_new(void)
{
    struct accounts *as = xcalloc(1, sizeof *as);

    list_init(&as->all);
    return as;
}

static void account_free(struct account *a)
{
    sublist_free(a->subs);
    buf_release(&a->renamed);
    free(a->subject_watchers);
    free((char *)a->domain.p);
    free((char *)a->hub_domain.p);
    free(a->name);
    free(a);
}

void accounts_free(struct accounts *as)
{
    struct list *e;

    if (!as)
        return;
    while ((e = list_pop(&as->all)))
        account_free(LIST_ENTRY(e, struct account, link));
    free(as);
}

struct account *account_find(struct accounts *as, struct slice name)
{
    LIST_EACH(it, &as->all)
    {
        struct account *a = LIST_ENTRY(it, struct account, link);
        if (slice_is(name, a->name))
            return a;
    }
    return NULL;
}

struct account *account_get(struct accounts *as, struct slice name)
{
    struct account *a = account_find(as, name);

    if (a)
        return a;
    a = xcalloc(1, sizeof *a);
    a->name = slice_dup(name);
    a->subs = sublist_new();
    list_init(&a->interest_watchers);
    list_init(&a->endpoints);
    a->inside.account = a;
    random_bytes(&a->dice, sizeof a->dice);
    a->dice |= 1;
    list_push_back(&as->all, &a->link);
    return a;
}

struct account *accounts_next(struct accounts *as, struct account *after)
{
    struct list *next = after ? after->link.next : as->all.next;

    return next == &as->all ? NULL : LIST_ENTRY(next, struct account, link);
}

void account_set_domain(struct account *a, struct slice domain)
{
    free((char *)a->domain.p);
    a->domain = domain.n ? (struct slice){slice_dup(domain), domain.n} : (struct slice){0};
    a->generation++;
}

void account_set_hub_domain(struct account *a, struct slice domain)
{
    free((char *)a->hub_domain.p);
    a->hub_domain = domain.n ? (struct slice){slice_dup(domain), domain.n} : (struct slice){0};
    a->generation++;
}

struct slice account_rename(struct account *a, struct slice subject)
{
    if ((a->domain.n == 0 && a->hub_domain.n == 0) || subject.n == 0 || subject.p[0] != '$')
        return subject;
    buf_clear(&a->renamed);
    if (a->domain.n && domain_to_local(a->domain, a->system, subject, &a->renamed))
        return buf_slice(&a->renamed);
    if (a->hub_domain.n && domain_to_remote(a->hub_domain, subject, &a->renamed))
        return buf_slice(&a->renamed);
    return subject;
}

/* --- sinks and watchers --------------------------------------------------------------------------
 */

static void tell_interest(struct account *a, struct sink *s, bool added)
{
    LIST_EACH_SAFE(it, &a->interest_watchers)
    {
        struct interest_watch *w = LIST_ENTRY(it, struct interest_watch, link);
        w->changed(w->arg, s, added);
    }
}

static struct list *bucket(struct account *a, struct slice subject)
{
    return &a->subject_watchers[hash_slice(subject) % WATCH_BUCKETS];
}

/* Only a first one that comes and a last one that goes can change an answer. */
static void tell_subject(struct account *a, const struct sink *s, bool added)
{
    if (!a->subject_watchers || subject_has_wildcard(s->subject))
        return;
    LIST_EACH_SAFE(it, bucket(a, s->subject))
    {
        struct subject_watch *w = LIST_ENTRY(it, struct subject_watch, link);
        if (w->has == added || !slice_eq(w->subject, s->subject))
            continue;
        if (sublist_has_listener(a->subs, w->subject, w->queue) == added) {
            w->has = added;
            w->changed(w->arg, added);
        }
    }
}

int account_add_sink(struct account *a, struct sink *s)
{
    int err = sublist_insert(a->subs, s);

    if (err)
        return err;
    tell_interest(a, s, true);
    tell_subject(a, s, true);
    return 0;
}

void account_remove_sink(struct account *a, struct sink *s)
{
    sublist_remove(a->subs, s);
    tell_interest(a, s, false);
    tell_subject(a, s, false);
}

void account_sink_weight(struct account *a, struct sink *s, uint32_t weight)
{
    if (s->weight == weight)
        return;
    tell_interest(a, s, false);
    s->weight = weight;
    tell_interest(a, s, true);
}

bool account_has_interest(struct account *a, struct slice subject, struct slice queue)
{
    return sublist_has_interest(a->subs, subject, queue);
}

void account_watch_interest(struct account *a, struct interest_watch *w)
{
    list_push_back(&a->interest_watchers, &w->link);
}

void account_unwatch_interest(struct interest_watch *w)
{
    list_unlink(&w->link);
}

void account_watch_subject(struct account *a, struct subject_watch *w)
{
    if (!a->subject_watchers) {
        a->subject_watchers = xmalloc(WATCH_BUCKETS * sizeof *a->subject_watchers);
        for (size_t i = 0; i < WATCH_BUCKETS; i++)
            list_init(&a->subject_watchers[i]);
    }
    w->has = sublist_has_listener(a->subs, w->subject, w->queue);
    list_push_back(bucket(a, w->subject), &w->link);
}

void account_unwatch_subject(struct subject_watch *w)
{
    list_unlink(&w->link);
}
