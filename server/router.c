/* server/router.c -- publish: rename, match, choose queue members, deliver
 *
 *     subject ──rename──► match ─┬─ plain, local ──► each sink
 *                                ├─ queue groups ──► one local member; else a link, by weight
 *                                └─ links ─────────► each link once: plain or not, and the groups
 *                                                    it was chosen for
 *
 * What always holds
 *   (1) nothing goes back where it came from: not to a publisher without echo, not into the same
 *       link, not into another link of the same cluster;
 *   (2) the match is held while sinks are called: they may come and go meanwhile;
 *   (3) no memory is taken per message, unless links or groups are very many.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/router.h"

#include "base/mem.h"

#define SHARE_FROM 16384u /* bytes of header block + payload */
#define FEW        16

static uint64_t throw_dice(struct account *a, uint64_t sides)
{
    unsigned coarse = sides > UINT32_MAX ? 16 : 0;
    uint64_t x = a->dice;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    a->dice = x;
    return ((x >> 32) * (sides >> coarse)) >> 32 << coarse;
}

static inline bool is_echo(const struct route_in *in, const struct sink *s)
{
    return in->from && in->from == s->owner && in->from->no_echo;
}

/* May what came from `from` go into this link? */
static bool link_may(const struct route_in *in, const struct endpoint *link)
{
    const struct endpoint *from = in->from;

    if (from == link || link->away)
        return false;
    return !(from && from->link && from->cluster.n && slice_eq(from->cluster, link->cluster));
}

static inline void count(enum sink_result r, struct route_out *out)
{
    if (r == SINK_REFUSED)
        return;
    out->taken++;
    if (r == SINK_TAKEN_REST)
        out->rest = true;
}

/* --- queue groups --------------------------------------------------------------------------------
 */

struct pick { /* this link was chosen for this group */
    struct endpoint *link;
    struct slice group;
};

static bool pick_local(struct account *a, const struct route_in *in, const struct queue_match *q,
                       struct msg_view *m, struct route_out *out)
{
    uint32_t at;

    if (q->local == 0)
        return false;
    at = q->local > 1 ? (uint32_t)throw_dice(a, q->local) : 0;
    for (uint32_t i = 0; i < q->local; i++) {
        struct sink *s = q->members[at];
        enum sink_result r = is_echo(in, s) ? SINK_REFUSED : s->deliver(s, m);
        if (r != SINK_REFUSED) {
            count(r, out);
            return true;
        }
        at = at + 1 == q->local ? 0 : at + 1;
    }
    return false;
}

static struct endpoint *pick_link(struct account *a, const struct route_in *in,
                                  const struct queue_match *q)
{
    uint64_t total = 0, at; /* a weight has nine digits: a few make more than 32 bits */

    for (uint32_t i = q->local; i < q->n; i++)
        if (link_may(in, q->members[i]->owner))
            total += q->members[i]->weight;
    if (total == 0)
        return NULL;
    at = throw_dice(a, total);
    for (uint32_t i = q->local; i < q->n; i++) {
        const struct sink *s = q->members[i];
        if (!link_may(in, s->owner))
            continue;
        if (at < s->weight)
            return s->owner;
        at -= s->weight;
    }
    return NULL;
}

static bool group_listed(const struct route_in *in, struct slice name)
{
    for (size_t i = 0; i < in->ngroups; i++)
        if (slice_eq(in->groups[i], name))
            return true;
    return false;
}

static size_t serve_groups(struct account *a, const struct route_in *in, struct match *mt, bool all,
                           struct msg_view *m, struct route_out *out, struct pick *picks)
{
    size_t n = 0;

    for (uint32_t i = 0; i < mt->nqueues; i++) {
        const struct queue_match *q = &mt->queues[i];
        struct endpoint *link;
        if (!all && !group_listed(in, q->name))
            continue;
        if (pick_local(a, in, q, m, out))
            continue;
        link = pick_link(a, in, q);
        if (link)
            picks[n++] = (struct pick){link, q->name};
    }
    return n;
}

/* --- links ---------------------------------------------------------------------------------- */

/* One message into one link. Its picks are taken out of the list (link = NULL), so it gets them
 * once. */
static void into_link(struct endpoint *link, bool plain, struct pick *picks, size_t npicks,
                      struct slice *names, struct msg_view *m, struct route_out *out)
{
    size_t n = 0;

    for (size_t i = 0; i < npicks; i++) {
        if (picks[i].link != link)
            continue;
        names[n++] = picks[i].group;
        picks[i].link = NULL;
    }
    count(link->deliver_link(link, m, names, n, plain), out);
}

static bool seen_before(const struct match *mt, uint32_t i)
{
    for (uint32_t k = mt->local; k < i; k++)
        if (mt->plain[k]->owner == mt->plain[i]->owner)
            return true;
    return false;
}

static void serve_links(const struct route_in *in, struct match *mt, struct pick *picks,
                        size_t npicks, struct slice *names, struct msg_view *m,
                        struct route_out *out)
{
    for (uint32_t i = mt->local; i < mt->n; i++) {
        struct endpoint *link = mt->plain[i]->owner;
        if (link_may(in, link) && !seen_before(mt, i))
            into_link(link, true, picks, npicks, names, m, out);
    }
    for (size_t i = 0; i < npicks; i++)
        if (picks[i].link)
            into_link(picks[i].link, false, picks, npicks, names, m, out);
}

/* --- the whole ------------------------------------------------------------------------------ */

static void groups_and_links(struct account *a, const struct route_in *in, struct match *mt,
                             bool all, struct msg_view *m, struct route_out *out)
{
    struct pick few[FEW], *picks = few;
    struct slice few_names[FEW], *names = few_names;
    size_t n;

    if (mt->nqueues > FEW) {
        picks = xmalloc(mt->nqueues * sizeof *picks);
        names = xmalloc(mt->nqueues * sizeof *names);
    }
    n = serve_groups(a, in, mt, all, m, out, picks);
    serve_links(in, mt, picks, n, names, m, out);
    if (picks != few) {
        free(picks);
        free(names);
    }
}

static void deliver(struct account *a, const struct route_in *in, struct match *mt, bool renamed,
                    struct msg_view *m, struct route_out *out)
{
    bool share = !m->shared && mt->n + mt->nqueues > 1 && m->hdr.n + m->payload.n >= SHARE_FROM &&
                 msg_share(m);

    a->speaker = in->from;
    if (in->from) {
        a->in_msgs++;
        a->in_bytes += m->hdr.n + m->payload.n;
    }
    for (uint32_t i = 0; i < mt->local; i++) {
        struct sink *s = mt->plain[i];
        if (!is_echo(in, s))
            count(s->deliver(s, m), out);
    }
    if (mt->nqueues || mt->local < mt->n)
        groups_and_links(a, in, mt, !in->from_link || renamed, m, out);
    a->speaker = NULL;
    if (share)
        msg_view_done(m);
}

/* Subjects that don't come again would only push others out of the cache. */
static bool comes_again(struct slice subject)
{
    return !slice_starts(subject, SLICE("$JS.ACK.")) && !slice_starts(subject, SLICE("_INBOX."));
}

/* The rename, written into the view; true when there was one. Never twice: the new name, which
 * stands where the next one would be written, may have another. */
static bool rename_view(struct account *a, const struct route_in *in, struct msg_view *m)
{
    struct slice was = msg_route(m), is;

    if (!in->from || in->renamed)
        return false;
    is = account_rename(a, was);
    if (is.p == was.p)
        return false;
    if (m->via.n)
        m->via = is;
    else
        m->subject = is;
    return true;
}

void router_publish(struct account *a, const struct route_in *in, struct msg_view *m,
                    struct route_out *out)
{
    bool renamed = rename_view(a, in, m);
    struct slice subject = msg_route(m);
    struct match *mt = sublist_match(a->subs, subject, comes_again(subject));

    *out = (struct route_out){0};
    deliver(a, in, mt, renamed, m, out);
    match_unref(mt);
}

void route_cache_release(struct route_cache *rc)
{
    match_unref(rc->match);
    free(rc->subject);
    *rc = (struct route_cache){0};
}

static void remember(struct route_cache *rc, struct account *a, struct slice subject,
                     struct match *mt)
{
    if (subject.n > rc->cap) {
        rc->cap = (subject.n + 31) & ~(size_t)31;
        rc->subject = xrealloc(rc->subject, rc->cap);
    }
    memcpy(rc->subject, subject.p, subject.n);
    rc->n = subject.n;
    rc->account = a;
    match_unref(rc->match);
    rc->match = mt;
}

void router_publish_cached(struct route_cache *rc, struct account *a, const struct route_in *in,
                           struct msg_view *m, struct route_out *out)
{
    bool renamed = rename_view(a, in, m);
    struct slice subject = msg_route(m);
    struct match *mt = rc->match;

    *out = (struct route_out){0};
    if (!mt || mt->generation != sublist_generation(a->subs) || rc->account != a ||
        !match_fits(mt, slice_of(rc->subject, rc->n), subject)) {
        mt = sublist_match(a->subs, subject, comes_again(subject));
        remember(rc, a, subject, mt);
    }
    mt->refs++;
    deliver(a, in, mt, renamed, m, out);
    match_unref(mt);
}
