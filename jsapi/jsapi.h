/* jsapi/jsapi.h -- the door: JetStream spoken over any subject space
 *
 * The server owns connections, accounts and subjects; jsapi owns streams, consumers and the API. It
 * hears through functions it registers (host->subscribe) and speaks through host->publish; it keeps
 * its facts in storage/storage.h. It has never heard of a socket or of a link.
 *
 *     jsapi_open()
 *     jsapi_account_open()   for each account with JetStream; its streams and consumers come back
 *     …                      requests on $JS.API.>, publishes on stream subjects, acks on $JS.ACK.>
 *     jsapi_close()
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_JSAPI_H
#define JSAPI_JSAPI_H

#include "base/err.h"
#include "base/json.h"
#include "base/msg.h"
#include "base/turn.h"
#include "storage/storage.h"

struct jsapi;
struct jsapi_account;
struct jsapi_sub;   /* the host's handle of a registration */
struct jsapi_watch; /* the host's handle of a subject watch */

enum jsapi_published {
    PUBLISHED,      /* at least one took it */
    PUBLISHED_REST, /* taken, but the receiver has enough waiting: rest until jsapi_drained() */
    PUBLISHED_NOBODY
};

/* A message for one of our registrations. from: who said it (NULL: the server itself), opaque, good
 * during the call. Returns false when the publisher had better rest (the store is under pressure).
 * No publish from inside: post what you have to say. */
typedef bool jsapi_hear_fn(void *arg, struct msg_view *m, void *from);
typedef void jsapi_interest_fn(void *arg, bool has);

struct jsapi_host {
    void *arg;
    const struct turn *turn;
    struct store *store;
    struct slice domain; /* empty: none */
    struct slice server_name, server_id;
    struct slice cluster; /* shown beside the leader; empty: none */
    struct slice version; /* the compatible one, "2.15.2" */
    int64_t max_payload;
    bool strict; /* unknown members of requests are errors */
    int64_t max_ack_pending, max_request_batch,
        default_max_consumers;       /* server limits; <= 0: none */
    int64_t duplicate_window_max_ns; /* 0: none */
    int64_t max_memory, max_storage; /* bytes all streams may reserve; <= 0: none */
    /* account is what jsapi_account_open() was given. */
    enum jsapi_published (*publish)(void *arg, void *account, struct msg_view *m);
    /* queue: one of the group hears each message; empty: all do. */
    struct jsapi_sub *(*subscribe)(void *arg, void *account, struct slice pattern,
                                   struct slice queue, jsapi_hear_fn *fn, void *fn_arg);
    void (*unsubscribe)(void *arg, struct jsapi_sub *sub);
    bool (*interest)(void *arg, void *account, struct slice subject, struct slice queue);
    /* fn hears when interest in a literal subject (of a queue group, if not empty) comes and goes;
     * *has: now. */
    struct jsapi_watch *(*watch)(void *arg, void *account, struct slice subject, struct slice queue,
                                 jsapi_interest_fn *fn, void *fn_arg, bool *has);
    void (*unwatch)(void *arg, struct jsapi_watch *w);
    /* Does this reach an endpoint over a link (then heads of messages are worth batching)? May be
     * NULL. */
    /* Writes the members of "client" for advisories and the audit (acc, svc, host, id, name, user,
     * …). */
    void (*describe)(void *arg, void *from, struct json_out *out);
    /* Publishing clients should pause (on) or may go on. */
    void (*pressure)(void *arg, bool on);
};

/* Copies host (slices stay borrowed for the life of the jsapi). */
int jsapi_open(const struct jsapi_host *host, struct jsapi **out) MUST_CHECK;
/* Consumers' waiting requests get 409 Server Shutdown; nothing is heard any more. The store is
 * closed by its owner after. */
void jsapi_close(struct jsapi *js);

struct jsapi_limits { /* of an account; < 0: none */
    int64_t max_memory, max_storage, max_streams, max_consumers, max_ack_pending;
    int64_t memory_max_stream_bytes, storage_max_stream_bytes; /* of one stream; <= 0: none */
    bool max_bytes_required;                                   /* streams must name max_bytes */
};
/* Brings the account's streams and consumers to life and registers the API. */
int jsapi_account_open(struct jsapi *js, void *account, struct slice name,
                       const struct jsapi_limits *limits, struct jsapi_account **out) MUST_CHECK;
void jsapi_account_close(struct jsapi_account *a);

/* Sockets have room again: consumers that rest go on. */
void jsapi_drained(struct jsapi *js);
/* A link of this account came up: pullers that wait for their back-off ask now; consumers of the
 * other side that need a nudge get it. domain: the peer's, may be empty. */
void jsapi_link_up(struct jsapi_account *a, struct slice domain);
void jsapi_link_down(struct jsapi_account *a, struct slice domain);
/* From store_host: a batch is closed in a moment; a failed commit was taken back; pressure of the
 * store; a damaged record; the wall clock was set. */
void jsapi_closing(struct jsapi *js);
void jsapi_reopened(struct jsapi *js);
void jsapi_pressure(struct jsapi *js, bool on);
void jsapi_damaged(struct jsapi *js, struct stream *s, uint64_t seq);
void jsapi_clock_moved(struct jsapi *js);

/* --- looking, for /jsz /varz /healthz ------------------------------------------------------- */
struct jsapi_totals {
    uint64_t streams, consumers, messages, bytes, api_total, api_errors, api_inflight;
    int64_t memory, storage;
};
void jsapi_totals(struct jsapi *js, struct jsapi_totals *out);
/* Writes "account_details"-style objects as /jsz wants them. streams, consumers, config: how deep.
 * account empty: all. */
void jsapi_describe(struct jsapi *js, struct json_out *out, struct slice account, bool streams,
                    bool consumers, bool config);
/* NULL when all is well, else a sentence (borrowed until the next call). */
const char *jsapi_health(struct jsapi *js);

#endif
