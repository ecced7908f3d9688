/* server/http.h -- a small HTTP server for those who look (evhttp), no more than monitoring needs
 *
 *     http_open(loop, "0.0.0.0", 8222, on_request, monitor, &h, &why);
 *     on_request(monitor, r):  http_path(r) is "/varz", http_arg(r, "subs") is "1" or NULL;
 *                              http_answer(r, 200, "application/json", body) exactly once,
 *                              before it returns
 *
 * Heads of up to 8 KiB, bodies of up to 64 KiB (ignored), 60 s of silence. Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "base/err.h"
#include "base/slice.h"

struct loop;
struct http;
struct http_request;
typedef void http_fn(void *arg, struct http_request *r);

/* As listener_open(): host empty or "0.0.0.0" is every address, port 0 or -1 any free one; *why is
 * owned. */
int http_open(struct loop *loop, const char *host, int port, http_fn *fn, void *arg,
              struct http **out, char **why) MUST_CHECK;
void http_close(struct http *h); /* NULL is fine; not from inside fn */
uint16_t http_port(const struct http *h);

/* Borrowed until fn returns. */
const char *http_path(const struct http_request *r);
/* The first value of that name in the query, decoded; NULL when absent. */
const char *http_arg(const struct http_request *r, const char *name);
void http_header(struct http_request *r, const char *name, const char *value);
void http_answer(struct http_request *r, int status, const char *type, struct slice body);

#endif
