/* server/client.h -- the words of a local client: the door
 *
 * One connection that speaks the client protocol: greeted with INFO, perhaps over TLS, checked at
 * CONNECT, bound to one account, then PUB, SUB and their family until it goes.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H

#include "base/buf.h"
#include "base/list.h"
#include "server/conn.h"
#include "server/sublist.h"

struct auth;
struct client;
struct server;

/* What every client has to keep to; the server fills it from its options, at start and at reload.
 */
struct client_rules {
    size_t max_control_line;
    int64_t max_payload;
    int64_t max_pending;
    uint32_t max_subs;       /* 0: no limit */
    uint32_t max_sub_tokens; /* 0: no limit */
    int64_t ping_interval_ns;
    int ping_max;
    int64_t auth_timeout_ns;
    int64_t tls_timeout_ns;
    int64_t write_deadline_ns;
    bool no_stall;             /* no_fast_producer_stall */
    bool no_headers;           /* no_header_support */
    size_t traced_max;         /* bytes of a payload in the trace; 0: all */
    bool tls, tls_verify;      /* TLS is asked for */
    bool tls_optional;         /* allow_non_tls */
    bool tls_first;            /* handshake_first */
    int64_t tls_first_wait_ns; /* so long, then INFO after all; 0: for ever */
};

/* Takes the descriptor of a new connection. */
void client_open(struct server *srv, int fd);
/* Why the connection ends: the text in logs and monitoring. */
enum client_reason {
    CLIENT_GOES_ON,
    CLIENT_CLOSED_BY_PEER,
    CLIENT_AUTH_TIMEOUT,
    CLIENT_AUTH_VIOLATION,
    CLIENT_TLS_ERROR,
    CLIENT_SLOW_PENDING,
    CLIENT_SLOW_DEADLINE,
    CLIENT_WRITE_ERROR,
    CLIENT_READ_ERROR,
    CLIENT_PARSE_ERROR,
    CLIENT_STALE,
    CLIENT_PROTOCOL,
    CLIENT_BAD_VERSION,
    CLIENT_TOO_MANY,
    CLIENT_ACCOUNT_TOO_MANY,
    CLIENT_MAX_PAYLOAD,
    CLIENT_MAX_LINE,
    CLIENT_NEEDS_HEADERS,
    CLIENT_SHUTDOWN,
    CLIENT_KICKED,
    CLIENT_REASONS_
};
/* err: the text of an -ERR line to send first, or NULL. */
void client_close(struct client *cl, enum client_reason why, const char *err);

/* The new rules count from now on: checks the user anew, its subscriptions, max_payload (async
 * INFO). */
void client_reload(struct client *cl, const struct auth *old);
/* Sends INFO again (lame duck, new limits) if the client understands that. */
void client_send_info(struct client *cl);
/* Those who rest read on: somebody has room again. */
void client_wake_all(struct server *srv);
/* At the server's end: subscriptions that leave in portions are taken out now. */
void client_finish_leaving(struct server *srv);

/* --- looking, for /connz --------------------------------------------------------------------- */
struct client_view {
    uint64_t id;
    struct conn_info net;
    struct slice account, user, name, lang, version; /* borrowed */
    const char *state;
    int64_t last_activity; /* wall */
    int64_t rtt_ns;        /* 0: not known */
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes;
    uint32_t subs;
    size_t pending;
};
/* NULL: the first. */
struct client *client_next(struct server *srv, struct client *after);
void client_look(const struct client *cl, struct client_view *out);
void client_each_sub(const struct client *cl,
                     void (*fn)(void *arg, const struct sink *s, struct slice sid, uint64_t msgs,
                                uint64_t max),
                     void *arg);
/* The client behind an endpoint; NULL when it is not one. */
struct client *client_of(struct endpoint *ep);
/* JSON members of the "client" object of advisories and of USER.INFO's data. */
struct json_out;
void client_describe(const struct client *cl, struct json_out *out);
void client_user_info(const struct client *cl, struct json_out *out);

#endif
