/* fake/jshost.h -- a struct jsapi_host for unit tests: a subject space in a list
 *
 *     struct jshost h;
 *     jshost_init(&h, &ft, store);             give &h.host to jsapi_open()
 *     jshost_want(&h, "_INBOX.>");             somebody outside listens there
 *     struct jshost_msg *m = jshost_request(&h, acc, "$JS.API.INFO", "");
 *     … jshost_str(m) … jshost_msg_free(m);
 *     jshost_release(&h);
 *
 * What the room publishes is delivered to its own subscriptions, as the router would, and recorded
 * in order; jshost_take() hands it out. One account is as good as another: an account is any
 * pointer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_JSHOST_H
#define FAKE_JSHOST_H

#include "fake/turn.h"
#include "jsapi/jsapi.h"

struct jshost_msg { /* something that was published */
    struct list link;
    void *account;
    struct slice subject, route, reply, hdr, payload; /* owned by the message */
    char *text;                                       /* payload as a C string */
};

struct jshost {
    struct jsapi_host host;
    struct fake_turn *ft;
    struct list subs;    /* struct jsapi_sub */
    struct list watches; /* struct jsapi_watch */
    struct list wants;   /* interest from outside */
    struct list said;    /* struct jshost_msg, oldest first */
    bool rest;           /* publish() answers PUBLISHED_REST */
    bool pressed;        /* as told by pressure() */
    uint64_t inbox;      /* the next request's reply subject */
    size_t n_subs;
};

void jshost_init(struct jshost *h, struct fake_turn *ft, struct store *store);
void jshost_release(struct jshost *h);

/* Interest from outside comes and goes; watches are told. queue may be NULL. */
void jshost_want(struct jshost *h, const char *pattern);
void jshost_want_queue(struct jshost *h, const char *pattern, const char *queue);
void jshost_unwant(struct jshost *h, const char *pattern);

/* A client publishes. Returns how many subscriptions of the room heard it (0: no responders). NULL
 * is empty. */
size_t jshost_send(struct jshost *h, void *account, const char *subject, const char *reply,
                   const char *hdr, const char *payload);
/* The same with a view. */
size_t jshost_hear(struct jshost *h, void *account, struct msg_view *m);
/* Publishes with a fresh inbox and waits for one answer (at most ten seconds, without sleeping when
 * nothing is awaited from other threads); NULL when there is none. */
struct jshost_msg *jshost_request(struct jshost *h, void *account, const char *subject,
                                  const char *payload);
struct jshost_msg *jshost_request_hdr(struct jshost *h, void *account, const char *subject,
                                      const char *hdr, const char *payload);
/* The oldest recorded message whose route matches the pattern, taken out; NULL when there is none.
 */
struct jshost_msg *jshost_take(struct jshost *h, const char *pattern);
/* Runs turns until there is one; NULL after ten seconds. */
struct jshost_msg *jshost_wait(struct jshost *h, const char *pattern);
/* Forgets what was recorded so far. */
void jshost_forget(struct jshost *h);
void jshost_msg_free(struct jshost_msg *m);

#endif
