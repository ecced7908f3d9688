/* server/server.h -- the whole server: opens rooms bottom-up, closes them top-down
 *
 * The struct is open to its neighbours in this room (client, jshost, monitor, sys): they look, and
 * each part is changed by its owner only.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/list.h"
#include "server/account.h"
#include "server/client.h"
#include "server/loop.h"

#define SERVER_COMPAT    "2.15.2" /* the nats-server whose behaviour we have */
#define SERVER_API_LEVEL 5        /* of JetStream */

struct auth;
struct jsapi;
struct jshost;
struct leaf;
struct links;
struct listener;
struct monitor;
struct options;
struct options_flags;
struct store;
struct sys;
struct tls_context;

struct server {
    struct loop *loop;
    const struct turn *turn;
    struct options *opt;  /* as of the last successful (re)load */
    struct options *boot; /* as of the start: rooms that a reload doesn't touch borrow from it */
    const struct options_flags *flags; /* of the command line: applied again at a reload */
    struct auth *auth;
    struct client_rules rules;
    char id[57];           /* "N…", new each start */
    char *name;            /* configured, or the id */
    const char *argv0;     /* base name: "frond" or "nats-server" */
    int64_t start;         /* wall */
    int64_t start_mono;    /* the same moment on the clock that nobody sets */
    int64_t config_loaded; /* wall, of the last success */

    struct accounts *accounts;
    struct account *global; /* $G */
    struct account *system; /* $SYS, or the configured one */

    struct listener *listener; /* of clients */
    struct tls_context *tls;   /* NULL: no TLS for clients */
    char *host;                /* as configured, for INFO and the log */
    uint16_t port;             /* the real one */
    struct list clients;       /* struct client */
    struct list leaving;       /* closed clients with subscriptions still in their account, */
    uint64_t leaving_subs;     /* so many in all */
    struct list resting;       /* clients whose reads wait for someone else's room */
    uint32_t nclients;
    uint32_t nclosing; /* closed clients whose connection has not said its last word */
    uint64_t total_connections, last_id;
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes;
    uint64_t slow_consumers, stale_connections, stalled_clients;

    struct store *store; /* NULL: no JetStream */
    struct jsapi *js;
    struct jshost *jshost;
    struct slice domain; /* JetStream's, empty: none */
    bool pressure;       /* the store asks publishers to rest */

    struct links *links; /* what the remotes share */
    struct leaf **leafs; /* one per remote */
    size_t nleafs;
    struct sys *sys; /* $SYS services */
    struct monitor *monitor;
    uint16_t monitor_port; /* the real one, 0: none */

    struct turn_timer duck; /* lame duck: the grace, then one client after the other */
    int64_t duck_step_ns;
    struct turn_post
        stop; /* the good-bye, posted: whoever asks for it may be inside a room that closes */
    bool lame_duck, stopping;
    bool good_bye; /* was said: the loop ends when nclosing is 0 */
    int exit_code;
};

/* Takes the options, borrows the flags. Logs what goes wrong; server_close() is due either way. */
int server_open(struct server *srv, struct options *opt, const struct options_flags *flags,
                const char *argv0) MUST_CHECK;
/* Until a signal or server_stop(). */
void server_run(struct server *srv);
void server_stop(struct server *srv, int exit_code);
void server_close(struct server *srv);
/* The last closed client's connection is gone. */
void server_all_gone(struct server *srv);
/* SIGHUP. Errors are logged and leave everything as it was. */
int server_reload(struct server *srv);
uint64_t server_next_id(struct server *srv);
/* From the options, at start and at reload. */
void server_set_accounts(struct server *srv);
void server_set_rules(struct server *srv);
/* More connections than max_connections allows. */
bool server_is_overfull(const struct server *srv);

#endif
