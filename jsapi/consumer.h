/* jsapi/consumer.h -- inside: one consumer, and the set of a stream's consumers
 *
 *     MAKING ───► LIVE ───────► GONE
 *        │         ▲  │          ▲
 *        │         │  └──────────┤
 *        └───► AWAITING ─────────┘
 *
 *   MAKING    the store was asked; what it will deliver is being counted
 *   LIVE      subscriptions stand, messages flow
 *   AWAITING  restarted while somebody copies from it: silent but for heartbeats that provoke a
 *             CREATE or RESET (push.c)
 *   GONE      deleted or closed; freed when nobody holds it any more
 *
 * Files: consumer.c life and timer; consumer_count.c num_pending; consumers.c the set and the
 * stream's news; delivery.c the pump; pull.c waiting requests; push.c heartbeats and flow
 * control; ack.c acknowledgements; retention.c what acks do to the stream; purged.c what a purge
 * does to positions; consumer_*.c the verbs.
 *
 * What always holds
 *   (1) only consumer_enter() writes the state.
 *   (2) pend.delivered.stream + 1 is the next stream sequence to look at.
 *   (3) a consumer is in set->ready (the pump will visit it), HUNGRY (it waits for a new
 *       message), or IDLE (it waits for room, a request, interest, an ack, a time).
 *   (4) store callbacks that carry a consumer hold it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_CONSUMER_H
#define JSAPI_CONSUMER_H

#include "base/clock.h"
#include "base/list.h"
#include "jsapi/consumer_config.h"
#include "jsapi/consumers.h"
#include "jsapi/filter_index.h"
#include "jsapi/pending.h"
#include "jsapi/stream.h"

struct request;
struct pull_request;

enum consumer_state { CONSUMER_MAKING, CONSUMER_LIVE, CONSUMER_AWAITING, CONSUMER_GONE };
enum consumer_place { PLACE_IDLE, PLACE_READY, PLACE_HUNGRY };
#define CONSUMER_SUBS_MAX 5

struct js_consumer {
    struct consumers *set;       /* NULL once GONE */
    struct js_stream *stream;    /* good while set is */
    struct jsapi_account *acc;   /* held */
    struct slice name;           /* owned */
    struct consumer_config *cfg; /* owned; replaced whole at an update */
    int64_t created;
    enum consumer_state state;
    size_t holds;
    struct cursor *cursor;                /* the store's; NULL: nothing on disk */
    struct pending pend;                  /* the progress */
    bool recovered;                       /* it was there before this process */
    bool stored;                          /* MAKING: the store has it */
    const struct consumer_config *coming; /* an update on its way to the disk; NULL: none */

    struct list link;   /* set->ready or set->hungry (the latter only when unfiltered) */
    struct list holder; /* set->holders while something is pending or given up; leaves lazily */
    uint64_t seen, gone_seen;  /* the newest stored, the latest removed message it was told of */
    enum consumer_place place; /* which of them */
    bool rests;                /* its receiver has enough: until consumers_drained() */
    unsigned resetting;        /* resets that are not answered yet: nothing is delivered before */

    struct jsapi_sub *subs[CONSUMER_SUBS_MAX];
    size_t n_subs;
    struct jsapi_watch *watch; /* push: of the deliver subject */
    bool bound;                /* push: somebody listens there */
    char *prefix, *prefix_v2;  /* owned: "$JS.ACK.S.C." and "$JS.ACK.<domain>.<hash>.S.C." */
    size_t prefix_n, prefix_v2_n;

    /* how many are left to deliver; unfiltered ones ask the store by position */
    enum { INDEXED_NOT, INDEXED_ALL, INDEXED_FILTERS } indexed; /* how the set knows it */
    bool filtered;                                              /* counts for itself */
    bool counted;                                               /* num_pending is right */
    bool count_spoiled; /* a message it may have counted went away meanwhile */
    unsigned count_tries;
    uint64_t num_pending;
    uint64_t count_as_of; /* durable number when the count began: newer ones count as they come */
    uint64_t count_since; /* these */
    struct store_job *counting;
    struct request **waiters; /* owned; those that need the count, or the end of MAKING */
    size_t n_waiters, waiters_cap;

    /* last per subject: the newest of each subject at creation, delivered first */
    uint64_t *latest; /* owned; the top bit marks those that left the stream */
    size_t latest_n, latest_at;
    uint64_t latest_up_to; /* 0: no list (any more) */
    uint64_t latest_left;  /* of the list, those still to be delivered */
    bool latest_known;
    uint64_t *missed; /* owned; those of it that left while it was made */
    size_t missed_n, missed_cap;
    struct store_job *listing;

    struct list waiting; /* pull: struct pull_request, served in turn */
    uint32_t n_waiting;
    int64_t fc_window, fc_bytes, fc_asked; /* push: flow control in bytes */
    char fc_reply[6];                      /* the outstanding id behind fc_prefix; "" none */
    int64_t sent_at;                       /* push: newest thing said on the deliver subject */
    uint64_t nudges;                       /* AWAITING: heartbeats sent */

    int64_t not_before;    /* rate limit, replay: no delivery before (monotonic) */
    int64_t replay_ts;     /* timestamp of the newest replayed message; 0: none yet */
    uint64_t replay_up_to; /* replay as recorded up to this number */
    int64_t rate_level;    /* token bucket: bytes it may send at once */
    int64_t rate_at;       /* when rate_level was right */
    unsigned sampled;      /* percent carried over, ack sampling */

    bool bad_delta;                     /* reading back: what was stored is damaged from here on */
    int64_t active_at;                  /* inactivity counts from here */
    int64_t delivered_wall, acked_wall; /* last_active of info; 0: never */
    struct turn_timer timer;            /* the earliest of all deadlines */
};

struct consumers {
    struct js_stream *stream;
    struct js_consumer **at; /* sorted by name */
    size_t n, cap;
    struct filter_index index; /* the filters of the filtered */
    size_t n_unfiltered;
    struct list ready, hungry;
    struct job pump;
    struct list holders; /* consumers with something pending */
    bool resting;        /* some consumer or request waits for its socket to drain */
    bool forgotten;      /* between consumers_forget() and consumers_recover() */
    uint64_t left;       /* taken by a purge since consumers_taken() was last called: none, one, */
    uint64_t left_seq;   /* this one, or several */

    struct request **later; /* owned: they waited for what a failed commit took back */
    size_t later_n;
    struct turn_post wake_later;

    /* retention.c */
    uint64_t *dead; /* owned: leave the stream at the end of this turn */
    size_t dead_n, dead_cap;
    struct list buried; /* in js->buried while there is something in dead */
    struct turn_post flush;
    struct list leaving;     /* and these with a commit that is under way: struct leave */
    struct turn_timer again; /* that commit failed, and who settled them is in memory only */
    struct list asked;       /* struct asked: settled by acks of many, to be looked at by */
    struct job asking;       /* this job */
    struct job sweep;
    bool sweeping;
    bool sweep_all; /* what nobody wants leaves, too */
    uint64_t sweep_at, sweep_to;
};

/* --- shorthands ------------------------------------------------------------------------------- */
static inline const struct jsapi_host *consumer_host(const struct js_consumer *c)
{
    return &c->acc->js->host;
}
static inline const struct turn *consumer_turn(const struct js_consumer *c)
{
    return c->acc->js->host.turn;
}
static inline bool consumer_is_live(const struct js_consumer *c)
{
    return c->state == CONSUMER_LIVE;
}
/* Fewer messages wait for their ack than may. */
static inline bool consumer_window_open(const struct js_consumer *c)
{
    return c->cfg->max_ack_pending <= 0 || pending_count(&c->pend) < c->cfg->max_ack_pending;
}

/* --- life (consumer.c) ------------------------------------------------------------------------ */
/* Takes cfg over (checked, named). The consumer is in the set, MAKING; the requests that wait are
 * run again when it is LIVE or could not be made. NULL with e filled when the store refuses at
 * once. */
struct js_consumer *consumer_make(struct consumers *cs, struct consumer_config *cfg,
                                  struct js_error *e);
/* Back from the disk. E_CORRUPT, E_SYNTAX. */
int consumer_load(struct consumers *cs, struct cursor *cursor) MUST_CHECK;
void consumer_hold(struct js_consumer *c);
void consumer_drop(struct js_consumer *c);
enum consumer_close_why { CLOSE_DELETED, CLOSE_SHUTDOWN, CLOSE_REOPENED };
/* MAKING ends when the store has it and it is counted: looks whether that is so. */
void consumer_made(struct js_consumer *c);
/* GONE: out of the set, silent. The cursor is the caller's business. */
void consumer_close(struct js_consumer *c, enum consumer_close_why why);
/* Deletes it, also on disk, with an advisory. 1: done (may be NULL) will be called; 0: it was not
 * on disk; < 0: the store refused and nothing changed. */
int consumer_delete_now(struct js_consumer *c, store_done_fn *done, void *arg);
/* Takes cfg over and applies what differs from the old one; not yet on disk. */
void consumer_apply(struct js_consumer *c, struct consumer_config *cfg);
/* Starts anew behind `stream` with consumer sequence 1; AWAITING ends. */
void consumer_restart(struct js_consumer *c, uint64_t stream);
/* Progress changed: to disk when convenient. One that feeds a copy (direct) has no hurry: after a
 * restart the copy is made to ask anew, from where it is itself (push.c). */
static inline void consumer_dirty(struct js_consumer *c)
{
    if (c->cursor && c->cfg->direct)
        store_cursor_dirty_within(c->cursor, NS_PER_S);
    else if (c->cursor)
        store_cursor_dirty(c->cursor);
}
/* Something must happen at due. */
void consumer_due(struct js_consumer *c, int64_t due);
/* Looks at all deadlines and sets the timer to the earliest. */
void consumer_rearm(struct js_consumer *c);
/* Somebody pulled, acked, listened. */
static inline void consumer_active(struct js_consumer *c, int64_t now)
{
    c->active_at = now;
}
/* The pump should visit it. */
void consumer_ready(struct js_consumer *c);
void consumer_place(struct js_consumer *c, enum consumer_place place);
bool consumer_paused(const struct js_consumer *c);
/* Does it want this subject? */
bool consumer_wants(const struct js_consumer *c, struct slice subject);

/* --- counting (consumer_count.c) -------------------------------------------------------------- */
/* True when num_pending (and the list of last_per_subject) is known; else it is being counted, and
 * r, if not NULL, runs again when it is. */
bool consumer_counted(struct js_consumer *c, struct request *r);
uint64_t consumer_num_pending(const struct js_consumer *c);
/* The position moved or the filters changed: what is known of the count is worth nothing. */
void consumer_recount(struct js_consumer *c);
void consumer_count_cancel(struct js_consumer *c);
/* r runs again when the consumer is made and counted, or gone. */
void consumer_wait(struct js_consumer *c, struct request *r);
void consumer_wake_waiters(struct js_consumer *c);
void consumer_drop_waiters(struct js_consumer *c); /* at shutdown: nobody is left to answer */
/* A commit failed, or consumers are read back after it: what c's waiters would find now is half of
 * a picture, so they run again as posted work, when the store and the set are whole. */
void consumer_wake_later(struct js_consumer *c);
void consumers_wake_init(struct consumers *cs);
/* The set goes: those who still wait run now, or are dropped. */
void consumers_wake_end(struct consumers *cs, bool drop);
/* News: a message it wants was stored, or one of the stream went away. */
void consumer_saw_stored(struct js_consumer *c, uint64_t seq);
void consumer_saw_removed(struct js_consumer *c, uint64_t seq);
uint64_t consumer_latest_next(struct js_consumer *c); /* 0: the list is done */

/* --- the set (consumers.c) -------------------------------------------------------------------- */
struct js_consumer *consumers_find(const struct consumers *cs, struct slice name);
void consumers_insert(struct consumers *cs, struct js_consumer *c);
void consumers_remove(struct consumers *cs, struct js_consumer *c);
/* In and out of the filter index, as c->cfg says. */
void consumers_index(struct consumers *cs, struct js_consumer *c);
void consumers_unindex(struct consumers *cs, struct js_consumer *c);

/* --- showing (consumer_info.c) ---------------------------------------------------------------- */
/* The members of a consumer info into the open object; LIVE: the config with the server's version
 * and level. */
enum consumer_show { SHOW_NO_CONFIG, SHOW_STORED, SHOW_LIVE };
void consumer_write(struct js_consumer *c, struct json_out *j, enum consumer_show show);

#endif
