/* server/monitor.h -- /varz, /connz and their family: looks, never touches
 *
 * The figures of the whole server as JSON, with the names and the order of nats-server's: over HTTP
 * when an http_port is configured, and as functions for whoever else has to tell them ($SYS
 * services).
 *
 * Our own figures stand under the key "frond" of /varz: turns of the loop, commits, links.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_MONITOR_H
#define SERVER_MONITOR_H

#include "base/err.h"
#include "base/json.h"

struct client;
struct monitor;
struct server;

/* Listens where the options say (http_host, http_port, http_base_path) and logs it; opens nothing
 * but a memory of closed connections when no port is configured. Sets srv->monitor_port. Logs what
 * goes wrong. */
int monitor_open(struct server *srv, struct monitor **out) MUST_CHECK;
void monitor_close(struct monitor *m); /* NULL is fine; before loop_free() */
/* A client is about to go: /connz?state=closed remembers it. reason as in the log. m may be NULL.
 */
void monitor_note_closed(struct monitor *m, const struct client *cl, const char *reason);

/* The bodies; each writes one object. */
void monitor_varz(struct server *srv, struct json_out *j);
void monitor_load(const struct server *srv, struct json_out *j); /* "mem", "cores", "cpu" alone */
void monitor_statistics(struct server *srv,
                        struct json_out *j); /* the value of "jetstream".stats, members only */

#endif
