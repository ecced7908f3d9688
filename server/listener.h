/* server/listener.h -- accept, count, hand over
 *
 *     listener_open(loop, "0.0.0.0", 4222, on_client, server, &l, &why);
 *     → on_client(server, l, fd) for each who knocks
 *
 * The descriptor handed over is non-blocking and close-on-exec, and the receiver's to close
 * (conn_accept() takes it). When the process is out of descriptors it says so once and rests for a
 * second.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include "base/err.h"
#include "base/slice.h"

struct loop;
struct listener;
typedef void listener_fn(void *arg, struct listener *l, int fd);

/* host: a name or an address; empty or "0.0.0.0": every address, IPv6 included, as Go does. port 0
 * or -1: any free one. E_SYS with an owned text in *why ("listen tcp 0.0.0.0:4222: bind: address
 * already in use"). Names are looked up with a blocking call: at start only. */
int listener_open(struct loop *loop, const char *host, int port, listener_fn *fn, void *arg,
                  struct listener **out, char **why) MUST_CHECK;
/* Only the socket, bound and listening, and its real port; E_SYS as above. For http. */
int listener_bind(const char *host, int port, uint16_t *real, char **why) MUST_CHECK;
void listener_close(struct listener *l);              /* NULL is fine; also from inside fn */
const char *listener_host(const struct listener *l);  /* as given */
uint16_t listener_port(const struct listener *l);     /* the real one */
uint64_t listener_accepted(const struct listener *l); /* since start */
/* While paused the kernel queues who knocks. */
void listener_pause(struct listener *l, bool on);

#endif
