/* server/account.h -- one subject space
 *
 * Every connection, subscription, stream and API request belongs to exactly one account: "$G" by
 * default, "$SYS" for the system, others from the configuration. An account owns its sublist, the
 * table of renames in front of it (JetStream domain, mappings), its limits and counters, and tells
 * those who watch when interest comes and goes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_ACCOUNT_H
#define SERVER_ACCOUNT_H

#include "base/buf.h"
#include "base/list.h"
#include "server/sublist.h"

struct jsapi_account; /* jsapi's half of an account */

/* Told of every sink that is added or removed (weights of link interest included). For leaf links.
 */
struct interest_watch {
    struct list link;
    void (*changed)(void *arg, struct sink *s, bool added);
    void *arg;
};
/* Told when the first who listens to exactly this subject appears and when the last goes; who
 * listens to a wildcard above it does not count. For push consumers. */
struct subject_watch {
    struct list link;
    struct slice subject; /* owner's */
    struct slice queue;   /* only this group counts; empty: only who is in none */
    bool has;             /* as last told */
    void (*changed)(void *arg, bool has);
    void *arg;
};

#define WATCH_BUCKETS 64

struct account {
    struct list link; /* in the table of accounts */
    char *name;
    struct sublist *subs;
    struct list interest_watchers; /* struct interest_watch */
    struct list *subject_watchers; /* struct subject_watch, in WATCH_BUCKETS lists by their subject;
                                      NULL until the first */
    struct list endpoints;    /* who is connected; members are clients' and links' own list nodes */
    struct slice domain;      /* JetStream domain that is mapped in this account; empty: none */
    struct slice hub_domain;  /* the domain that plain $JS.API stands for here; empty: ours */
    bool system;              /* this is $SYS (or the configured system_account) */
    bool jetstream;           /* JetStream is enabled for it */
    struct jsapi_account *js; /* NULL without JetStream */
    uint32_t clients, leafs;  /* connected now */
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes, slow_consumers; /* since start */
    struct {
        uint64_t in_msgs, in_bytes, out_msgs, out_bytes;
    } by_links;                          /* of these, over all links that were and are */
    uint32_t client_subs, max_subs;      /* subscriptions of clients now; 0: no limit */
    uint32_t max_connections, max_leafs; /* 0: no limit */
    uint64_t max_payload;                /* 0: the server's */
    uint64_t generation;                 /* of the renames */
    char lds[32]; /* "$LDS.<22>": made on first use by a link, stable for the process life */
    struct endpoint inside;   /* owner of the server's own sinks; its id is 0 */
    struct endpoint *speaker; /* during a delivery: who said it, NULL: the server itself */
    struct buf renamed;       /* where account_rename() writes */
    uint64_t dice;            /* chooses queue members */
};

struct accounts; /* the table */
struct accounts *accounts_new(void);
void accounts_free(struct accounts *as);
/* Makes it when it is not there. */
struct account *account_get(struct accounts *as, struct slice name);
struct account *account_find(struct accounts *as, struct slice name);
struct account *accounts_next(struct accounts *as, struct account *after); /* NULL: the first */
/* Copies; empty: none. */
void account_set_domain(struct account *a, struct slice domain);
/* default_js_domain: plain $JS.API here means the API of this domain. Copies; empty: none. */
void account_set_hub_domain(struct account *a, struct slice domain);

/* The rename in front of everything that clients and links say in this account (JetStream domain):
 * the subject it is served as, borrowed until the next call, or the subject itself. */
struct slice account_rename(struct account *a, struct slice subject);

/* E_SYNTAX: not a subject. A sink that is removed during a delivery stays in memory, and refuses,
 * until the end of the turn. */
int account_add_sink(struct account *a, struct sink *s) MUST_CHECK;
void account_remove_sink(struct account *a, struct sink *s);
/* A link's queue interest changed its weight. */
void account_sink_weight(struct account *a, struct sink *s, uint32_t weight);
bool account_has_interest(struct account *a, struct slice subject, struct slice queue);

void account_watch_interest(struct account *a, struct interest_watch *w);
void account_unwatch_interest(struct interest_watch *w);
/* w->has is set to the present answer by this call. */
void account_watch_subject(struct account *a, struct subject_watch *w);
void account_unwatch_subject(struct subject_watch *w);

#endif
