/* server/sublist.h -- who wants this subject?
 *
 * A trie over tokens with a small cache of match results in front. To the router every subscriber
 * is a sink: a function with its argument. Clients, links, streams, the API and consumers' ack
 * subjects are all sinks, and nobody asks for a kind.
 *
 * Loop thread only. A sink's strings are the sink owner's and stay while it is in the list.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SUBLIST_H
#define SERVER_SUBLIST_H

#include "base/err.h"
#include "base/msg.h"
#include "base/slice.h"

struct account;
struct sink;

enum sink_result {
    SINK_TAKEN,
    SINK_TAKEN_REST, /* taken, but more waits there than is good: the publisher had better rest */
    SINK_REFUSED /* not taken: closed, denied, its own echo. A queue group tries the next member */
};
typedef enum sink_result sink_fn(struct sink *s, struct msg_view *m);

/* Who publishes or listens; embedded in clients, links and internal users. */
struct endpoint {
    uint64_t id;             /* connection id, unique in the process */
    struct account *account; /* exactly one */
    bool no_echo;            /* its own messages don't come back to it */
    bool link;  /* gets each message once, with the names of the queue groups it was chosen for;
                   never  what came from itself or from its own cluster */
    bool spoke; /* of a link: we are the spoke, the peer is our hub */
    bool away;  /* of a link: it is down, what is left of its sinks is on the way out */
    struct slice cluster; /* of a link: the peer's cluster name, may be empty; owned by the
                             endpoint's owner */
    /* Of a link: the message, and for which queue groups (none: plain interest only). */
    enum sink_result (*deliver_link)(struct endpoint *ep, struct msg_view *m,
                                     const struct slice *queues, size_t n, bool plain);
};

struct sink {
    struct endpoint *owner;
    struct slice subject; /* pattern */
    struct slice queue;   /* empty: plain */
    uint32_t weight;      /* of a link's queue interest: members behind it; else 1 */
    bool internal;        /* streams, the API, imports: shown in no listing */
    sink_fn *deliver;     /* unused for sinks of links */
    void *arg;
    void *node; /* the sublist's own */
    size_t at;  /* the sublist's own: place in the node's array */
};

struct sublist;
struct sublist *sublist_new(void);
void sublist_free(struct sublist *sl); /* must be empty of sinks */

/* E_SYNTAX for an invalid subject. */
int sublist_insert(struct sublist *sl, struct sink *s) MUST_CHECK;
void sublist_remove(struct sublist *sl, struct sink *s);

struct queue_match {
    struct slice name;
    struct sink **members;
    uint32_t n;
    uint32_t local; /* the first `local` members are not links */
};
struct match {
    uint32_t refs;
    uint32_t n;
    uint32_t local; /* the first `local` of plain are not links */
    uint32_t nqueues;
    struct sink **plain;
    struct queue_match *queues;
    uint64_t generation; /* of the sublist when it was made; another one now: stale */
    uint32_t reads;      /* how many bytes of the subject had a say, see match_fits() */
    uint32_t tokens;     /* how many tokens have to follow them; 0: any number, at least one */
};
/* Who matches the literal subject: a reference of the caller's, given back with match_unref(). A
 * stale match may still be walked in the turn that made it stale (a sink that was removed stays in
 * memory, and refuses, until the end of the turn: its owner's duty) and not any more afterwards.
 * cache: false for subjects that don't come again ($JS.ACK…). */
struct match *sublist_match(struct sublist *sl, struct slice subject, bool cache);
void match_unref(struct match *m);
/* Is the match that was made for the literal subject `made_for` the match of this one, too? Where
 * only '*' and '>' listen behind "$JS.ACK.S.C.", it is for every subject that begins so. Whether
 * it is stale is another question. */
bool match_fits(const struct match *m, struct slice made_for, struct slice subject);
/* Stamped anew at every insert and remove; what was matched under an older one is stale. */
uint64_t sublist_generation(const struct sublist *sl);
/* Is anyone there at all? Cheaper than a match; a queue name restricts it to that group (empty:
 * any). */
bool sublist_has_interest(struct sublist *sl, struct slice subject, struct slice queue);
/* Does anybody listen to exactly this subject, wildcards not counted: in this queue group, or, when
 * queue is empty, in none? */
bool sublist_has_listener(struct sublist *sl, struct slice subject, struct slice queue);
size_t sublist_count(const struct sublist *sl);
/* Walks all sinks; nothing may be inserted or removed meanwhile. */
void sublist_each(struct sublist *sl, void (*fn)(void *arg, struct sink *s), void *arg);

struct sublist_stats {
    uint64_t count, inserts, removes, matches, cache_hits, cache_size;
    uint64_t fanout_max, fanout_sum; /* sinks of the results in the cache */
};
void sublist_stats(const struct sublist *sl, struct sublist_stats *out);

#endif
