/* server/links.h -- the remotes of the configuration become links
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LINKS_H
#define SERVER_LINKS_H

#include "base/err.h"
#include "base/slice.h"

struct server;
struct tls_context;
struct tls_options;

/* Starts dialling every remote that is not disabled. Logs what goes wrong. */
int links_open(struct server *srv) MUST_CHECK;
/* After a reload: max_payload counts on links, too, and the files of their tls blocks are read
 * again; only the next handshake sees them. */
void links_reload(struct server *srv);
void links_close(struct server *srv); /* says good-bye; links_free() at the very end */
void links_free(struct server *srv);
/* A TLS context as a tls block asks for. NULL options, dialling side: the system's roots. *why:
 * owned text. */
int links_tls(const struct tls_options *o, bool accepts, struct tls_context **out,
              char **why) MUST_CHECK;

#endif
