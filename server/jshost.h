/* server/jshost.h -- JetStream's host: accounts and router, as jsapi wants to see them
 *
 * Opens the store and jsapi when JetStream is configured, and answers jsapi's calls: publish,
 * subscribe, watch, describe, pressure. The only place where server and jsapi meet, besides the
 * link's news.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_JSHOST_H
#define SERVER_JSHOST_H

#include <stddef.h>

#include "base/err.h"

struct jshost;
struct server;

/* Fills srv->store, srv->js, srv->domain and the accounts' JetStream halves. Logs what goes wrong.
 */
int jshost_open(struct server *srv, struct jshost **out) MUST_CHECK;
void jshost_close(struct jshost *h);
/* Why there is no JetStream although it is configured, and what to do about it; h may be NULL. out
 * has room for n bytes. */
void jshost_refusal(const struct jshost *h, char *out, size_t n);
/* Some socket has room again. h may be NULL. */
void jshost_drained(struct jshost *h);

#endif
