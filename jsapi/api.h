/* jsapi/api.h -- inside: request → verb → answer
 *
 * A request arrives at the sink in a hear function; it is copied whole and begun later in the same
 * turn. verbs.def names its handler. The handler looks at what api.c already parsed, asks the
 * store, and answers exactly once, then or later:
 *
 *     void stream_delete(struct request *r)
 *     {
 *         … if (!s) return api_fail(r, JSStreamNotFoundErr, NULL);
 *         r->arg = s;  err = store_stream_delete(s->store, on_deleted, r);  …
 *     }
 *     static void on_deleted(void *arg, int err)
 *     {
 *         struct json_out *j = api_ok(r);
 *         json_bool(j, "success", true);
 *         api_send(r);
 *     }
 *
 * api_send() and api_fail() end the request: r is gone afterwards. A request holds its account, so
 * a done function may always use it; after jsapi_close() the answer goes nowhere.
 *
 * Order. Verbs marked CHANGES run one at a time per stream, in order of arrival; those marked
 * SHARES may run together with other SHARES of the stream, but not with a CHANGES. A request for a
 * stream that is being created or deleted waits for the end of that, whatever its verb. While a
 * request is under way r->stream (found by tok[0]) stays valid.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_API_H
#define JSAPI_API_H

#include "base/arena.h"
#include "jsapi/errors.h"
#include "jsapi/stream.h"

struct js_consumer;
struct request;
typedef void api_verb_fn(struct request *r);

enum {                   /* flags of verbs.def */
       API_CHANGES = 1,  /* exclusive on the stream tok[0] */
       API_SHARES = 2,   /* changes something of the stream, but not the stream itself */
       API_EMPTY = 4,    /* the body must be empty: 10038 */
       API_OPT_BODY = 8, /* the body is parsed only when it starts with { or [ */
       API_JSON = 16,    /* the body is parsed; an empty one is an empty object */
       API_BODY = 32,    /* the body is parsed; an empty one, or {}, is 10003 */
       API_STREAM = 64,  /* the stream must exist: 10059; r->stream is set */
       API_QUIET = 128,  /* no audit advisory */
       API_PAGED = 256,  /* total, offset, limit and the list also in errors */
       API_LEVEL_LATE =
           512, /* the handler itself calls api_level_ok() (consumer create: after decoding) */
};

struct api_verb {
    const char *pattern; /* below "$JS.API.", '*' and '>' */
    const char *type;    /* of the reply, without io.nats.jetstream.api.v1. */
    api_verb_fn *fn;
    unsigned flags;       /* API_… */
    const char *in_error; /* members that errors carry too, as JSON text; NULL: none */
};

struct request {
    struct list link; /* inbox, requests, or a stream's queue */
    struct jsapi_account *acc;
    const struct api_verb *verb;
    struct slice subject; /* as served, "$JS.API.STREAM.INFO.ORDERS" */
    struct slice tok[3];  /* what stood at the wildcards; '>' keeps its dots */
    size_t n_tok;
    struct slice reply; /* empty: execute, answer nobody */
    struct slice hdr, body;
    json_t *json; /* the body when the verb wants it parsed and it is there; an object or array */
    struct slice client;      /* JSON of who asked, when the audit listens; else empty */
    struct js_stream *stream; /* tok[0], held; NULL when there is none (never with API_STREAM) */
    unsigned lock;            /* API_CHANGES or API_SHARES while it holds the stream's turn */
    bool checked;             /* level and body rules are done */
    bool unread;              /* no room for its body or its headers */
    size_t kept;              /* bytes of both, counted in the account */
    struct arena mem;         /* dropped with the request */
    struct buf out;           /* the answer */
    struct json_out j;
    struct slice out_hdr; /* headers of the answer ("NATS/1.0\r\n…"), lives in mem; usually empty */
    struct js_consumer *held; /* by the handler while it waits: who drops the request lets go */
    void *arg;                /* the handler's own, between call and done function */
    void *arg2;
};

/* Begins the good answer: {"type":"…", left open for members. */
struct json_out *api_ok(struct request *r);
/* The same with another type than the verb's. */
struct json_out *api_ok_as(struct request *r, const char *type);
/* Closes the object, sends it, ends the request. */
void api_send(struct request *r);
/* Answers with an error and ends the request. fmt as in js_fail(). */
void api_fail(struct request *r, enum js_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void api_fail_with(struct request *r, const struct js_error *e);
/* r->stream, or answers 10059 and returns NULL: for handlers that look at their body first. */
struct js_stream *api_need_stream(struct request *r);
/* After a wait: is the account closed or the stream on its way out? Then the request was ended. */
bool api_gone(struct request *r);
/* Ends it without an answer. */
void api_drop(struct request *r);
/* Fills a struct from r->json (nothing when it is NULL). On a misfit answers 10025 and returns
 * false. */
bool api_read(struct request *r, const struct cfg_table *t, void *to);
/* Nats-Required-Api-Level: false when the header asks for more than API_LEVEL or is no number. */
bool api_level_ok(struct slice hdr);
/* Writes total, offset, limit. */
void api_page(struct json_out *j, uint64_t total, uint64_t offset, uint64_t limit);

#define API_NAMES_PAGE    1024
#define API_LIST_PAGE     256
#define API_SUBJECTS_PAGE 100000
#define API_DELETED_MOST  1000000 /* numbers told: a gap in a mirror may have 2^40 */
#define API_INFLIGHT_MAX  10000
#define API_INFLIGHT_MOST ((size_t)64 << 20) /* bytes of headers and bodies */

/* api.c, for jsapi.c */
int api_open(struct jsapi_account *a) MUST_CHECK;
void api_close(struct jsapi_account *a);
/* A stream's turn is free, or its state changed: the requests in its queue go on later in this
 * turn. */
void api_stream_ready(struct js_stream *s);
/* The stream is out of the table: those in its queue are looked up anew. */
void api_stream_gone(struct js_stream *s);

#define V(pattern, type, fn, flags, in_error) api_verb_fn fn;
#include "jsapi/verbs.def"
#undef V

#endif
