/* jsapi/stream.h -- inside: a stream as jsapi knows it
 *
 * storage/ keeps the records; struct js_stream adds what JetStream says about them: the
 * configuration, the subjects it listens to, its consumers, and the requests that wait for one
 * another.
 *
 *     CREATING ──► LIVE ──► DELETING ──► (freed)
 *         └───────────────────┘
 *
 *   CREATING  the store was asked; nobody is captured yet, requests for this name wait in `queue`
 *   LIVE      subjects are captured, consumers live
 *   DELETING  the store was told; nothing is captured; requests for this name wait and are looked
 *             up anew afterwards
 *
 * What always holds: a stream is in its account's table from CREATING to the end of DELETING;
 * `store` is NULL once store_stream_delete() was called; at most one exclusive change, or any
 * number of shared ones, is under way. A js_stream is counted: done functions of the store that got
 * it as their argument hold it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_STREAM_H
#define JSAPI_STREAM_H

#include "base/list.h"
#include "base/subject.h"
#include "jsapi/account.h"
#include "jsapi/stream_config.h"

struct consumers;  /* consumers.h */
struct replicator; /* replicate.h */
struct request;    /* api.h */

enum js_stream_state { STREAM_CREATING, STREAM_LIVE, STREAM_DELETING };

struct js_stream {
    struct jsapi_account *acc;
    struct stream *store;     /* the store's handle */
    struct stream_config cfg; /* as checked; replaced whole at an update */
    /* an update's, borrowed while it is on its way to the disk */
    const struct stream_config *coming;
    struct slice name;          /* owned, the same through all updates */
    int64_t created;            /* ns, never changes */
    char identity[9];           /* short hash of `created`: Nats-Stream-Identity */
    enum js_stream_state state; /* only stream_enter() writes it */
    size_t holds;               /* see above */
    bool revived; /* its deletion failed and it was read back; js_stream_reopened() finds it so */

    /* capture.c */
    struct jsapi_sub **subs; /* one per subject of cfg.subjects, same order */
    size_t n_subs;
    struct slice ack_head;       /* owned: {"stream":"S","domain":"D","seq": */
    struct transform *transform; /* subject_transform, NULL: none */
    struct transform *republish; /* NULL: none */

    /* direct.c */
    struct jsapi_sub *direct[2];        /* $JS.API.DIRECT.GET.S and ….S.>, while allow_direct */
    struct jsapi_sub *origin_direct[2]; /* the same of its origin, while mirror_direct */
    bool caught_up;                     /* a mirror that has nearly all of its origin */

    /* requests that change this stream, in order (api.c) */
    struct list queue; /* struct request, waiting */
    uint32_t shared;   /* shared changes under way */
    bool exclusive;    /* an exclusive one is under way */
    struct turn_post run_queue;

    struct consumers
        *consumers; /* consumers.h; NULL only while CREATING and after DELETING began */
    struct stream_watch
        watch; /* stream.c forwards it to consumers_stored() and friends; the consumer half
                  changes want_stored and want_removed_subjects as it likes */

    struct replicator *rep; /* of a mirror or a stream with sources; NULL: none (replicate.c) */
};

/* NULL when there is none; states are the caller's business. */
struct js_stream *js_stream_find(struct jsapi_account *a, struct slice name);
void js_stream_hold(struct js_stream *s);
void js_stream_drop(struct js_stream *s);

/* What of a stream's description is wanted. */
enum {
    INFO_LIVE = 1, /* metadata with _nats.ver and _nats.level */
    INFO_DOMAIN = 2,
    INFO_CLUSTER = 4, /* {"leader": our name} */
};
/* Writes the members of stream info (config … ts) into the open object. subjects and deleted are
 * JSON texts for the state, empty: without. */
void js_stream_write_info(struct js_stream *s, struct json_out *j, unsigned what,
                          struct slice subjects, struct slice deleted);
/* Writes "cluster":{"name":…,"leader":…}. */
void js_write_cluster(const struct jsapi_host *h, struct json_out *j);
/* Writes "state":{…}, as of the last commit. */
void js_stream_write_state(struct js_stream *s, struct json_out *j, struct slice subjects,
                           struct slice deleted);

/* Asks that the store takes a message as if it had been published (replicate.c; REC_EXACT or
 * REC_SOURCED in flags): subject transform and republish apply as the reference does for sourced
 * messages. done as store_append()'s. E_DENIED: the stream is sealed; E_LIMIT: the account has no
 * room. */
int js_stream_store(struct js_stream *s, const struct record_in *rec, store_append_fn *done,
                    void *arg) MUST_CHECK;

#endif
