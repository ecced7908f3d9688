/* jsapi/account.h -- inside: the whole of jsapi, and its half of an account
 *
 * struct jsapi is the room; struct jsapi_account holds the account's streams, sorted by name, and
 * the requests that are under way. Lives are counted, because the store calls done functions until
 * it is closed, which is after jsapi_close(): whoever waits for a done function holds the account
 * (jsapi_hold, jsapi_drop); a closed one says nothing any more and is freed when the last wait is
 * over.
 *
 * Nobody publishes from inside a jsapi_hear_fn: js_post() copies what is to be said and says it
 * later in this turn. From posted work, timers, jobs and done functions js_say() speaks at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_ACCOUNT_H
#define JSAPI_ACCOUNT_H

#include "base/list.h"
#include "base/msg.h"
#include "jsapi/jsapi.h"

struct js_stream;

struct jsapi {
    struct jsapi_host host; /* copied */
    struct list accounts;   /* struct jsapi_account */
    uint64_t api_total, api_errors;
    struct list readers;               /* struct reader of direct.c: long answers under way */
    struct list searches;              /* struct search of query.c: looks far, as a job */
    struct list buried;                /* struct consumers: settled messages wait to be removed */
    struct capture_pool *pool;         /* spare tickets of capture.c */
    size_t holds;                      /* accounts not freed yet, and one until jsapi_close() */
    void (*release)(struct jsapi *js); /* frees it, with the last hold */
    bool closed;                       /* jsapi_close() was called: silence */
    bool pressure;                     /* the store has too much waiting */
    bool reopened;                     /* a look at everything is under way after a failed commit */
    char health[256];                  /* jsapi_health()'s sentence */
};

struct jsapi_account {
    struct list link; /* js->accounts */
    struct jsapi *js;
    void *account;     /* the host's */
    struct slice name; /* owned */
    struct jsapi_limits limits;
    struct js_stream **streams; /* sorted by name; also those being created or deleted */
    size_t n_streams, streams_cap;
    struct jsapi_sub **api_subs;
    size_t n_api_subs;
    uint64_t api_total, api_errors;
    struct list inbox;    /* struct request: arrived, not begun */
    struct list requests; /* struct request: begun, not answered */
    size_t n_requests;    /* both lists */
    size_t request_bytes; /* their headers and bodies */
    struct turn_post run_inbox;
    struct job rest;    /* what is left of a flood of requests */
    struct list outbox; /* struct js_parcel: js_post()ed */
    struct turn_post run_outbox;
    size_t holds; /* done functions that will still be called, streams not freed, itself */
    bool closed;  /* says nothing any more */
};

/* One more or one fewer wait; the last drop of a closed account frees it. */
void jsapi_hold(struct jsapi_account *a);
void jsapi_drop(struct jsapi_account *a);
void jsapi_unref(struct jsapi *js);

/* An account can speak from js_voice_init() on; js_voice_end() says what is still posted, and then
 * never anything again. */
void js_voice_init(struct jsapi_account *a);
void js_voice_end(struct jsapi_account *a);

/* Publishes in the account's subject space. Not from inside a hear function. Silence (NOBODY) once
 * closed. */
enum jsapi_published js_say(struct jsapi_account *a, struct slice subject, struct slice reply,
                            struct slice hdr, struct slice payload);
/* The same for what a consumer says (messages, heartbeats, flow control, statuses alike): on a link
 * it waits behind live traffic, in order. */
enum jsapi_published js_say_backlog(struct jsapi_account *a, struct slice subject,
                                    struct slice reply, struct slice hdr, struct slice payload);
/* Both later in this turn; everything is copied. */
void js_post_backlog(struct jsapi_account *a, struct slice subject, struct slice reply,
                     struct slice hdr, struct slice payload);
void js_post(struct jsapi_account *a, struct slice subject, struct slice reply, struct slice hdr,
             struct slice payload);

/* --- advisories (reference part 2, section 4) ------------------------------------------------- */

/* Begins an advisory if anybody listens on subject: then true, with "type", "id" and "timestamp"
 * written; the caller adds members and calls js_advise_end(), which adds the domain and posts it.
 */
struct js_advisory {
    struct jsapi_account *acc;
    struct buf body;
    struct json_out j;
    char subject[512];
    size_t subject_n;
};
bool js_advise(struct js_advisory *ad, struct jsapi_account *a, const char *type,
               const char *subject_fmt, ...) __attribute__((format(printf, 4, 5)));
void js_advise_end(struct js_advisory *ad);

#endif
