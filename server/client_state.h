/* server/client_state.h -- what the files of the client share; nobody else includes it
 *
 *     client.c        greets, pings, rests, closes: the life
 *     client_hello.c  CONNECT: what it wants, who it is
 *     client_words.c  PUB SUB UNSUB PING …: what it says
 *     client_subs.c   its subscriptions and what is delivered to it: what it hears
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CLIENT_STATE_H
#define SERVER_CLIENT_STATE_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/turn.h"
#include "server/auth.h"
#include "server/client.h"
#include "server/farewell.h"
#include "server/parser.h"
#include "server/router.h"
#include "server/server.h"

enum client_state {
    CLIENT_NEW,
    CLIENT_TLS,
    CLIENT_GREETED,
    CLIENT_CHECKING,
    CLIENT_OPEN,
    CLIENT_GONE
};

struct client {
    struct endpoint ep;
    struct server *srv;
    struct conn *conn;        /* NULL: it has said its last word, only `leaving` keeps us */
    struct farewell *leaving; /* owned; NULL: none */
    struct list link;         /* in srv->clients; in srv->leaving while `leaving` is under way */
    struct list in_account;   /* in ep.account->endpoints while OPEN */
    struct list resting;      /* in srv->resting while it rests */
    struct turn_timer rest_over;
    int state; /* enum client_state, moved by client_enter() only */
    enum client_reason reason;

    /* what CONNECT said */
    bool connected;         /* there was one */
    bool verbose, pedantic; /* ep.no_echo is "echo": false */
    bool headers, no_responders;
    bool names_account; /* "account" or "new_account": not for clients any more */
    int protocol;
    char *name, *lang, *version; /* owned, may be NULL */
    struct auth_user *user;      /* a reference; NULL: no user (open server, token) */
    struct perms *perms;         /* owned; NULL: may do everything */
    struct auth_try *check;      /* while CHECKING */
    char nonce[16];              /* empty: none was given */

    struct parse_limits limits;
    size_t need; /* bytes the unfinished operation needs in all; 0: unknown */
    struct route_cache last;
    struct htab subs; /* sid -> struct client_sub */

    /* liveness */
    bool ponged;   /* the first PING was answered */
    bool was_full; /* closed with more waiting than its low-water mark */
    int pings_out;
    int64_t ping_sent, rtt_ns; /* mono; 0: not known */
    int64_t rtt_guess_ns;      /* from our INFO to its CONNECT; 0: not known */
    int64_t last_word;         /* mono: when it last said something */
    bool told;                 /* INFO was sent before or in the TLS state */
    bool shaking;              /* a TLS handshake was begun */
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes;
};

struct client_sub {
    struct sink sink;
    struct client *client;
    uint64_t delivered, max; /* max 0: for ever */
    bool dead;               /* removed; in memory until the end of the turn */
    bool filter;             /* messages have to be checked against the deny list */
    uint32_t sid_n;
    char sid[]; /* then subject, then queue */
};

/* client.c */
void client_err(struct client *cl, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As Go's %q writes it; what is above ASCII stays as it is. Nothing a peer says reaches the log
 * otherwise. */
void client_quote(struct buf *out, struct slice s);
/* What is not permitted: -ERR and a line in the log, subjects quoted as Go quotes. */
enum client_denied { DENIED_PUBLISH, DENIED_REPLY, DENIED_SUBSCRIBE, DENIED_AFTER_RELOAD };
void client_deny(struct client *cl, enum client_denied what, struct slice subject,
                 struct slice queue, struct slice sid);
void client_ok(struct client *cl); /* "+OK" when verbose */
void client_log(const struct client *cl, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void client_rest(struct client *cl);
void client_enter(struct client *cl, enum client_state to, const char *why);
/* Into the account and OPEN. False when the account is full; the client is closed then. */
bool client_join(struct client *cl, struct account *a, const char *why);
void client_leave(struct client *cl); /* out of it, if it is in */
void client_free(struct client *cl);
void client_set_limits(struct client *cl);
/* Takes the reference; permissions with it. */
void client_set_user(struct client *cl, struct auth_user *user);
struct account *client_account(const struct client *cl); /* where its user belongs */

/* client_hello.c */
void client_connect_word(struct client *cl, struct slice json);

/* client_words.c */
void client_words(struct client *cl); /* takes what is in the input, up to a turn's share */

/* client_subs.c */
void client_subscribe(struct client *cl, const struct op *op);
void client_unsubscribe(struct client *cl, const struct op *op);
void client_drop_subs(struct client *cl);
/* The same for a client that is closed; many go in portions, and the client's memory after them. */
void client_withdraw_subs(struct client *cl);
/* After a reload: those that are not allowed any more go, with an -ERR each. */
void client_review_subs(struct client *cl);
/* A plain subscription of this client that would hear the subject; NULL: none. */
struct client_sub *client_sub_for(struct client *cl, struct slice subject);
void client_no_responders(struct client *cl, struct slice reply, struct slice subject);
/* More waits for it than max_pending: closed. */
void client_too_slow(struct client *cl);

#endif
