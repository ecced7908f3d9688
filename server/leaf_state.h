/* server/leaf_state.h -- one link from the inside: shared by leaf.c (its life), leaf_greet.c (how
 * it begins), leaf_words.c (what is said on it) and leaf_orphans.c (what the last one lost)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEAF_STATE_H
#define SERVER_LEAF_STATE_H

#include "base/hash.h"
#include "base/turn.h"
#include "server/farewell.h"
#include "server/lanes.h"
#include "server/leaf.h"
#include "server/leaf_interest.h"
#include "server/leaf_perms.h"
#include "server/leaf_urls.h"
#include "server/parser.h"

enum leaf_state {
    LEAF_DOWN,
    LEAF_RESOLVING,
    LEAF_DIALING,
    LEAF_GREETING,
    LEAF_SECURING,
    LEAF_JOINING,
    LEAF_UP
};

#define LEAF_HUBS_MET 8 /* hub processes remembered: more than a cluster that one site dials has */

struct leaf_moved {
    int64_t read;   /* conn_last_read() */
    uint64_t acked; /* of conn_in_flight() */
};

struct leaf {
    const struct leaf_host *host;
    const struct leaf_config *cfg;
    int state; /* enum leaf_state; only leaf_enter() writes it */
    struct leaf_urls urls;
    struct turn_timer retry;   /* armed in DOWN, and only there */
    int64_t delay_ns;          /* extra wait before the next dial (a loop, a clash of names) */
    char *tls_name;            /* checked against where an address is a bare IP; NULL: none known */
    struct resolve *resolving; /* with loop_ask()'s thread; NULL: none */
    bool closing;              /* leaf_close() was called */
    bool secure;               /* TLS was asked for once: never plain any more */

    struct conn *conn; /* NULL in DOWN and RESOLVING */
    struct parse_limits limits;
    struct leaf_url at; /* where conn leads to; owned strings */
    uint64_t attempts, connects;
    int64_t start; /* wall */
    char ip[46];

    /* the peer, from its INFO; owned, empty while not known */
    char *peer_name, *peer_cluster, *peer_domain, *remote_account, *nonce;
    bool peer_headers, peer_known_compression, info_on_connect;
    int64_t peer_max_payload; /* 0: not told */
    struct leaf_list out, in; /* what may leave, what may come in */
    struct leaf_list said;    /* `in` without JetStream's denies: what a spoke of ours may say */

    struct endpoint ep; /* what the router sees while UP */
    struct interest_watch watch;
    struct leaf_interest told; /* our interest as told to the peer */
    struct turn_post flush;    /* tells what changed at the end of the turn */
    struct htab heard;         /* struct leaf_sink: the peer's interest, by "subject queue" */
    struct farewell leaving;   /* what the peer wanted before the link was lost */
    struct lanes lanes;
    struct buf scratch;        /* one protocol head at a time */
    bool rested;               /* a JetStream consumer was told to rest */
    struct turn_post overfull; /* the live lane is: ends the link when no delivery is under way */

    int pings_out;             /* unanswered */
    int64_t ping_sent, rtt_ns; /* mono; the last measured */
    struct leaf_moved ping_seen,
        stuck_seen;          /* at the last look for PINGs, for the write deadline */
    struct turn_timer stuck; /* set while something waits in a lane */
    int64_t stuck_since;     /* mono: bytes moved last */
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes, dropped_too_big;

    struct turn_timer orphans;        /* set while we may have to tell of lost requests */
    int64_t up_since;                 /* mono */
    int nudges;                       /* INFO lines still to send */
    int64_t orphans_rest;             /* mono: no lost request is told of before */
    uint64_t hubs_met[LEAF_HUBS_MET]; /* hashes of server ids; 0: none yet */
    size_t hubs_next;                 /* counts on; modulo the size: where the next one goes */
};

/* leaf.c */
/* The one mover: writes the state, then does its work. */
void leaf_enter(struct leaf *l, enum leaf_state to, const char *why);
/* The link is over: logs why, goes DOWN, dials again after the reconnect time plus delay. */
void leaf_fail(struct leaf *l, const char *why, int64_t delay_ns);
/* The same after telling the peer "-ERR 'text'". */
void leaf_refuse(struct leaf *l, const char *text, int64_t delay_ns);
/* Something waits in a lane: from now on the write deadline counts. */
void leaf_watch_progress(struct leaf *l);
/* The link can't keep up: says so, counts it, fails. */
void leaf_slow(struct leaf *l, const char *which);
/* after a loop, the same cluster name, a permission violation of a hub that dials */
#define LEAF_LONG_DELAY (30 * NS_PER_S)

/* leaf_greet.c */
/* An INFO, in any state. False: the link is over. */
bool leaf_hear_info(struct leaf *l, struct slice text);
void leaf_say_connect(struct leaf *l);
void leaf_start_tls(struct leaf *l);
/* An address that is a bare IP is checked against the first host name we were ever told of. */
void leaf_remember_tls_name(struct leaf *l);
void leaf_forget_permissions(struct leaf *l);

/* leaf_words.c */
void leaf_words_init(struct leaf *l);
/* Announces our interest, joins the account; on entry of UP. */
void leaf_words_start(struct leaf *l);
/* Withdraws what the peer wanted, forgets what we told; on leaving UP. */
void leaf_words_stop(struct leaf *l);
/* LS+ LS- LMSG HMSG. Returns false when the link is over. */
bool leaf_words_hear(struct leaf *l, const struct op *op);
/* The inboxes of the hub's requests that were there when the link came up, and whose requests have
 * not come over it. */
void leaf_words_each_orphan(struct leaf *l, void (*fn)(struct leaf *l, struct slice inbox));
bool leaf_words_nothing_waits(const struct leaf *l);
/* The connection has room: sends what waits. */
void leaf_words_feed(struct leaf *l);

/* leaf_orphans.c */
void leaf_orphans_init(struct leaf *l);
/* Which process greets us. */
void leaf_orphans_hub(struct leaf *l, struct slice server_id);
/* On entry of UP, on leaving it. */
void leaf_orphans_start(struct leaf *l);
void leaf_orphans_stop(struct leaf *l);
/* Where the hub waits for the answer to a request of its copies. */
bool leaf_orphans_is_inbox(struct slice subject);
/* The link is so young that what the hub tells may be older than it. */
bool leaf_orphans_greeting(const struct leaf *l);

#endif
