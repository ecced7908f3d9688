/* server/perms.c -- what a user may publish, subscribe to and receive
 *
 * The rules are lists of patterns, compiled once per user. A connection asks through its own struct
 * perms, which remembers the latest answers for published subjects and the replies it may answer
 * to.
 *
 *   publish    an allow entry matches (or there is no allow list), and no deny entry does; or the
 *              subject is a reply that was delivered: so often, for so long
 *   subscribe  the same with the subject taken as text: "foo.*" admits "foo.>" too, as in the
 *              reference; an entry with a queue counts for queue subscriptions only, and decides
 *              where plain ones match as well
 *   receive    a wildcard subscription may overlap what is denied: its messages are looked at one
 *              by one
 *
 * A subject with an empty token matches nothing, neither allowed nor denied.
 *
 * What always holds: replies are kept in order of their arrival and are at most REPLIES_MAX; the
 * oldest goes first. The memory of answers compares a keyed 64-bit hash and the length, so a peer
 * can't make two subjects meet.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/subject.h"
#include "server/auth_inside.h"

#define ANSWERS      128 /* remembered answers, a power of two */
#define ANSWERS_FROM 3   /* fewer patterns than this are quicker asked again */
#define REPLIES_MAX  65536

struct answer {
    uint64_t hash;
    uint32_t n;
    bool known, yes;
};

/* A reply subject that may be published to. */
struct reply {
    struct list link; /* oldest first */
    int64_t since;    /* mono, of the latest delivery */
    int used;         /* how often */
    uint32_t n;
    char subject[];
};

struct perms {
    struct auth_user *user; /* a reference */
    const struct perm_rules *rules;
    struct answer *answers; /* ANSWERS of them, made at the first publish; NULL before */
    struct htab replies;    /* struct reply by subject */
    struct list reply_order;
};

/* --- compiling ----------------------------------------------------------------------- */

static struct perm_list compile(struct arena *mem, struct text_list texts)
{
    struct perm_list list = {.n = texts.n, .given = texts.n > 0};
    struct perm_entry *at = arena_alloc(mem, (texts.n + 1) * sizeof *at);
    ASSERT(at);
    for (size_t i = 0; i < texts.n; i++) {
        struct slice rest = arena_dup(mem, texts.at[i]);
        slice_token(&rest, &at[i].subject);
        slice_token(&rest, &at[i].queue);
    }
    list.at = at;
    return list;
}

const struct perm_rules *perm_rules_new(struct arena *mem, const struct perm_options *o)
{
    struct perm_rules *r = arena_alloc(mem, sizeof *r);
    ASSERT(r);
    r->pub_allow = compile(mem, o->pub_allow);
    r->pub_deny = compile(mem, o->pub_deny);
    r->sub_allow = compile(mem, o->sub_allow);
    r->sub_deny = compile(mem, o->sub_deny);
    r->pub_allow.given = r->pub_allow.given || o->pub_only_listed;
    r->responses = o->responses;
    r->response_max = o->response_max;
    r->response_ttl_ns = o->response_ttl_ns;
    return r;
}

/* --- asking the lists ---------------------------------------------------------------- */

static bool has_empty_token(struct slice s)
{
    char before = '.';
    for (size_t i = 0; i < s.n; before = s.p[i++])
        if (s.p[i] == '.' && before == '.')
            return true;
    return before == '.';
}

static bool any_plain(const struct perm_list *l, struct slice subject)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->at[i].queue.n && subject_match(subject, l->at[i].subject))
            return true;
    return false;
}

/* How entries with a queue that match the subject see this queue. */
enum queue_says { NOT_ASKED, QUEUE_MATCHES, QUEUE_DIFFERS };

static enum queue_says ask_queues(const struct perm_list *l, struct slice subject,
                                  struct slice queue)
{
    enum queue_says says = NOT_ASKED;
    for (size_t i = 0; i < l->n; i++) {
        const struct perm_entry *e = &l->at[i];
        if (!e->queue.n || !subject_match(subject, e->subject))
            continue;
        if (slice_eq(queue, e->queue) ||
            (subject_has_wildcard(e->queue) && subject_subset(queue, e->queue)))
            return QUEUE_MATCHES;
        says = QUEUE_DIFFERS;
    }
    return says;
}

static bool denied(const struct perm_list *l, struct slice subject, struct slice queue)
{
    return any_plain(l, subject) || (queue.n && ask_queues(l, subject, queue) == QUEUE_MATCHES);
}

static bool rules_publish(const struct perm_rules *r, struct slice subject)
{
    if (has_empty_token(subject))
        return !r->pub_allow.given;
    return (!r->pub_allow.given || any_plain(&r->pub_allow, subject)) &&
           !any_plain(&r->pub_deny, subject);
}

bool perms_may_subscribe(const struct perms *p, struct slice subject, struct slice queue)
{
    const struct perm_rules *r = p->rules;
    if (has_empty_token(subject))
        return !r->sub_allow.given;
    if (r->sub_allow.given) {
        enum queue_says says = queue.n ? ask_queues(&r->sub_allow, subject, queue) : NOT_ASKED;
        if (says == QUEUE_DIFFERS || (says == NOT_ASKED && !any_plain(&r->sub_allow, subject)))
            return false;
    }
    return !denied(&r->sub_deny, subject, queue);
}

bool perms_filters(const struct perms *p, struct slice subject)
{
    if (!subject_has_wildcard(subject))
        return false;
    for (size_t i = 0; i < p->rules->sub_deny.n; i++)
        if (subject_overlap(p->rules->sub_deny.at[i].subject, subject))
            return true;
    return false;
}

bool perms_may_receive(const struct perms *p, struct slice subject, struct slice queue)
{
    return !denied(&p->rules->sub_deny, subject, queue);
}

/* --- publishing: answers remembered -------------------------------------------------- */

static bool listed_publish(struct perms *p, struct slice subject)
{
    const struct perm_rules *r = p->rules;
    if (r->pub_allow.n + r->pub_deny.n < ANSWERS_FROM)
        return rules_publish(r, subject);
    if (!p->answers)
        p->answers = xcalloc(ANSWERS, sizeof *p->answers);
    uint64_t hash = hash_slice(subject);
    struct answer *a = &p->answers[hash & (ANSWERS - 1)];
    if (!a->known || a->hash != hash || a->n != (uint32_t)subject.n)
        *a = (struct answer){hash, (uint32_t)subject.n, true, rules_publish(r, subject)};
    return a->yes;
}

/* --- publishing: replies lent -------------------------------------------------------- */

static bool reply_eq(const void *item, const void *key)
{
    const struct reply *r = item;
    return slice_eq(slice_of(r->subject, r->n), *(const struct slice *)key);
}

static void forget(struct perms *p, struct reply *r)
{
    struct slice subject = slice_of(r->subject, r->n);
    htab_del(&p->replies, hash_slice(subject), reply_eq, &subject);
    list_unlink(&r->link);
    free(r);
}

static bool is_over(const struct perms *p, const struct reply *r)
{
    const struct perm_rules *rules = p->rules;
    return rules->response_ttl_ns > 0 && clock_mono() - r->since > rules->response_ttl_ns;
}

static bool lent(struct perms *p, struct slice subject)
{
    struct reply *r = htab_get(&p->replies, hash_slice(subject), reply_eq, &subject);
    if (!r)
        return false;
    bool ok = !is_over(p, r);
    if (ok)
        r->used++;
    if (!ok || (p->rules->response_max > 0 && r->used >= p->rules->response_max))
        forget(p, r);
    return ok;
}

void perms_note_reply(struct perms *p, struct slice reply)
{
    if (!p->rules->responses || !reply.n || listed_publish(p, reply))
        return;
    struct reply *r = htab_get(&p->replies, hash_slice(reply), reply_eq, &reply);
    if (r) {
        r->used = 0;
        list_unlink(&r->link);
    } else {
        while (!list_empty(&p->reply_order)) { /* old ones go as new ones come */
            struct reply *oldest = LIST_ENTRY(p->reply_order.next, struct reply, link);
            if (!is_over(p, oldest) && p->replies.count < REPLIES_MAX)
                break;
            forget(p, oldest);
        }
        r = xmalloc(sizeof *r + reply.n);
        r->used = 0;
        r->n = (uint32_t)reply.n;
        memcpy(r->subject, reply.p, reply.n);
        htab_put(&p->replies, hash_slice(reply), r);
    }
    r->since = clock_mono();
    list_push_back(&p->reply_order, &r->link);
}

bool perms_may_publish(struct perms *p, struct slice subject)
{
    return listed_publish(p, subject) || (p->rules->responses && lent(p, subject));
}

/* --- life ---------------------------------------------------------------------------- */

struct perms *perms_new(struct auth_user *u)
{
    if (!u || !u->rules)
        return NULL;
    struct perms *p = xcalloc(1, sizeof *p);
    p->user = auth_user_ref(u);
    p->rules = u->rules;
    htab_init(&p->replies);
    list_init(&p->reply_order);
    return p;
}

void perms_free(struct perms *p)
{
    if (!p)
        return;
    while (!list_empty(&p->reply_order))
        forget(p, LIST_ENTRY(p->reply_order.next, struct reply, link));
    htab_release(&p->replies);
    free(p->answers);
    auth_user_unref(p->user);
    free(p);
}

static void describe_list(struct json_out *out, const char *key, const struct perm_list *l)
{
    if (!l->n)
        return;
    json_arr(out, key);
    for (size_t i = 0; i < l->n; i++) {
        const struct perm_entry *e = &l->at[i];
        char *both =
            e->queue.n ? xasprintf("%.*s %.*s", SLICE_FMT(e->subject), SLICE_FMT(e->queue)) : NULL;
        json_str(out, NULL, both ? slice_cstr(both) : e->subject);
        free(both);
    }
    json_end(out);
}

void perms_describe(const struct perms *p, struct json_out *out, const char *key)
{
    const struct perm_rules *r = p->rules;
    json_obj(out, key);
    if (r->pub_allow.given || r->pub_deny.n) {
        json_obj(out, "publish");
        describe_list(out, "allow", &r->pub_allow);
        describe_list(out, "deny", &r->pub_deny);
        json_end(out);
    }
    if (r->sub_allow.n || r->sub_deny.n) {
        json_obj(out, "subscribe");
        describe_list(out, "allow", &r->sub_allow);
        describe_list(out, "deny", &r->sub_deny);
        json_end(out);
    }
    if (r->responses) {
        json_obj(out, "responses");
        json_i64(out, "max", r->response_max);
        json_i64(out, "ttl", r->response_ttl_ns);
        json_end(out);
    }
    json_end(out);
}
