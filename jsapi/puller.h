/* jsapi/puller.h -- inside: one source of one stream, asked for and received
 *
 * The puller creates a consumer on the origin through its API (over a link or in this server: it
 * can't tell), listens on a deliver subject and hands each message to the store.
 * reference/leafnode-protocol.md 7, delta-2.15.md 2.
 *
 *     RESTING --> ASKING --> PULLING
 *        ^           |           |
 *        +-----------+-----------+     refused, no answer, a gap, silence, a link that went
 *
 *   RESTING   the timer says when to ask again; link_up asks at once
 *   ASKING    the request is out, its answer is awaited (ANSWER_WAIT)
 *   PULLING   subscribed; a message or heartbeat at least every SILENCE_MAX
 *
 * What always holds
 *   (1) Only puller_enter() writes the state.
 *   (2) `seq` is the origin's number of the last message the store has taken. It moves before the
 *       message is handed over, for the store may close a batch with it and ask for the positions
 *       then; and it moves back at once when the store refuses.
 *   (3) An answer to flow control speaks only of messages that are durable here: it may delete them
 *       there. And only of those this consumer has sent: nats-server takes an answer that is ahead
 *       of it at its word, and passes over the next answers until they are further than that.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_PULLER_H
#define JSAPI_PULLER_H

#include "base/list.h"
#include "base/subject.h"
#include "base/turn.h"
#include "jsapi/errors.h"
#include "jsapi/stream.h"

enum puller_state { PULLER_RESTING, PULLER_ASKING, PULLER_PULLING };

struct puller {
    struct list link; /* in the replicator */
    struct js_stream
        *stream; /* where it stores; NULL once freed while done functions are still to come */
    struct cursor *positions; /* to be marked dirty; NULL for a mirror */
    struct source_config cfg; /* its slices live in `mem` */
    struct arena mem;
    bool mirror;
    struct slice index_name;   /* of head and tail: who this is among the sources */
    struct slice header_head;  /* "name[:hash][:C=hash]" */
    struct slice header_tail;  /* " filter dest" */
    struct slice api, deliver; /* external prefixes, may be empty */
    struct slice domain;       /* of api "$JS.<d>.API"; empty: unknown or local */
    struct transform **transforms;
    size_t n_transforms;

    int state;               /* enum puller_state */
    struct turn_timer timer; /* RESTING: ask; ASKING: no answer; PULLING: silence */
    struct jsapi_sub *inbox_sub, *deliver_sub;
    char inbox[24], deliver_subject[300];
    struct slice consumer;      /* as the origin named it; owned */
    int level;                  /* what we ask for: 5, 4, 0 (no header, no `sourcing`) */
    uint32_t failures;          /* in a row */
    int64_t asked_at, heard_at; /* mono; 0: never */
    struct js_error error;      /* of the last failed set-up, for info */

    uint64_t seq;         /* origin's number, see (2) */
    uint64_t durable_seq; /* the same, on disk here */
    char identity[64];    /* of the origin's stream, "" unknown */
    uint64_t cseq;        /* the consumer's number of the last message received, */
    uint64_t cseq_seq; /* the origin's of the last one taken: below seq where it repeats; 0: none */
    uint64_t lag;      /* as the origin said with the last message */
    bool near;         /* less than NEAR were missing then: it serves direct gets */
    uint32_t waiting;  /* handed to the store, not answered yet */
    bool refused;      /* the store refused one: take nothing more of this consumer */
    char fc[640];      /* flow control or stall subject (two names of 255 bytes and more) to answer
                          when fc_seq is durable here; "" none */
    uint64_t fc_seq, fc_cseq;
    struct turn_post after; /* what must not happen inside a hear function */
    bool ask_again;         /* for `after` */
    int64_t ask_in;
    bool dirty; /* position changed since the last delta */
};

/* transforms and names are made from cfg, which is copied. */
struct puller *puller_new(struct js_stream *s, const struct source_config *cfg, bool mirror);
/* Stops; frees when the last message is answered by the store. tell: delete the consumer on the
 * origin. */
void puller_free(struct puller *p, bool tell);
/* Begins, or begins anew at p->seq, in `ns`. */
void puller_ask_in(struct puller *p, int64_t ns);
/* The same place and filters: may this puller serve that config? */
bool puller_serves(const struct puller *p, const struct source_config *cfg, bool mirror);
void puller_link(struct puller *p, struct slice domain, bool up);
void puller_write_info(const struct puller *p, struct json_out *out, const char *key);

/* puller_words.c: pure pieces of the dialogue */
/* The name we ask for: the same after a restart, so that a durable of a work queue is found again;
 * another one each time at level 0. */
void puller_write_consumer_name(const struct puller *p, struct buf *out);
/* Subject and body of the CONSUMER.CREATE or RESET; hdr gets the level header or stays empty. */
void puller_write_request(const struct puller *p, struct buf *subject, struct buf *hdr,
                          struct buf *body);
struct ack_reply {
    struct slice consumer;
    uint64_t delivered, sseq, cseq, pending;
    int64_t ts;
};
/* "$JS.ACK.…" of 9 or at least 11 tokens. */
bool ack_reply_parse(struct slice reply, struct ack_reply *out);
/* Appends the header block to store: the message's own without Nats-Expected-…, Nats-Batch-… and
 * (source) the inherited Nats-Stream-Source, with ours. */
void puller_write_header(const struct puller *p, struct slice hdr, uint64_t seq,
                         struct slice subject, struct buf *out);
/* "S[:<hash of the api>][:C=<hash of the consumer's name>]", and " filter dest". */
void puller_write_names(const struct source_config *cfg, struct buf *head, struct buf *tail);

#endif
