/* server/leaf.h -- the link to a hub: the door
 *
 * A leaf dials, greets, joins, carries interest and messages both ways, loses the hub and dials
 * again, for ever. To the router it is an endpoint like any other. Local traffic never waits for
 * it: what can't leave is counted and bounded (lanes.h), and nobody's reads are paused for a link.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEAF_H
#define SERVER_LEAF_H

#include "base/slice.h"
#include "server/account.h"
#include "server/conn.h"

struct leaf;
struct loop;
struct tls_context;

/* What all links of this server share; borrowed for their life. */
struct leaf_host {
    struct loop *loop;
    void *arg;
    struct slice version; /* the compatible one: "2.15.2" */
    struct slice server_id, server_name;
    struct slice cluster; /* what we announce: the server name of a server that only has remotes;
                             may be empty */
    struct slice domain;  /* JetStream's, may be empty */
    bool jetstream;       /* JetStream runs here */
    int64_t max_payload;  /* bytes; when it changes, leaf_reload() */
    int64_t max_pending;  /* bytes of live traffic that may wait for one link */
    /* The server's counters: links add to them. */
    uint64_t *in_msgs, *in_bytes, *out_msgs, *out_bytes, *slow_consumers, *stale_connections;
    uint64_t (*next_id)(void *arg);
    /* TLS with the system's roots, for a hub that asks for it while the remote has no tls block.
     * NULL: not to be had. */
    struct tls_context *(*default_tls)(void *arg);
    void (*up)(void *arg, struct leaf *l);
    void (*down)(void *arg, struct leaf *l);
    void (*drained)(void *arg); /* a backlog lane has room again */
};

/* One remote; borrowed for the life of the leaf. Zero times mean the default. */
struct leaf_config {
    struct account *account; /* the local one */
    const struct slice *urls;
    size_t nurls;
    bool no_randomize, ignore_discovered, hub;
    bool isolate;            /* interest of other links is not told on this one */
    bool isolate_request;    /* … and the hub is asked to do the same */
    const char *credentials; /* file, NULL: none */
    const char *nkey;        /* seed, NULL: none */
    const struct slice *deny_imports, *deny_exports;
    size_t ndeny_imports, ndeny_exports;
    struct tls_context *tls;       /* of the remote's tls block; NULL: none */
    int64_t tls_timeout_ns;        /* 2 s */
    bool tls_first;                /* the handshake comes before the hub's INFO */
    int64_t reconnect_ns;          /* 1 s */
    int64_t dial_timeout_ns;       /* 1 s */
    int64_t first_info_timeout_ns; /* 1 s */
    int64_t ping_interval_ns;      /* 2 min */
    int64_t connect_error_reports, reconnect_error_reports; /* every so many failed dials */
    int ping_max;                                           /* 2 */
    int64_t write_deadline_ns;                              /* 10 s */
    bool default_domain_is_empty; /* default_js_domain maps the account to "" */
};

/* Starts dialling at the next turn. E_SYNTAX: a URL is wrong. */
int leaf_open(const struct leaf_host *host, const struct leaf_config *cfg,
              struct leaf **out) MUST_CHECK;
/* The host's max_payload is another one: it counts from now on. */
void leaf_reload(struct leaf *l);
/* Says nothing, closes, frees at the end of the turn. down() is called if it was up. */
void leaf_close(struct leaf *l);

/* --- looking --------------------------------------------------------------------------------- */
struct leaf_view {
    uint64_t id; /* of the present connection; 0: not up */
    bool up, spoke, isolated;
    const char *state; /* "UP", "DIALING", … */
    struct slice account, remote_account, remote_name, remote_domain, compression;
    char ip[46];
    uint16_t port;
    int64_t rtt_ns;
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes; /* of the present or last connection */
    uint32_t subscriptions;                          /* learned from the peer */
    size_t live_bytes, backlog_bytes;                /* waiting in the lanes */
    uint64_t dropped_too_big; /* messages above the hub's max_payload, not sent */
    uint64_t attempts;        /* dials since the last time it was up */
    uint64_t connects;        /* times it came up */
    int64_t start;            /* wall, of the present connection */
};
void leaf_look(const struct leaf *l, struct leaf_view *out);
/* The sinks learned from the peer. */
void leaf_each_interest(const struct leaf *l, void (*fn)(void *arg, const struct sink *s),
                        void *arg);

#endif
