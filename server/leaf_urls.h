/* server/leaf_urls.h -- where the hub may be found
 *
 * The configured URLs of a remote, shuffled once, and those the hub tells of (gossip). The next
 * address to try is the head; one that was just used goes to the tail first. After gossip the list
 * is: gossiped ones that are not configured, then the configured ones
 * (reference/leafnode-protocol.md 2.14). Gossiped URLs borrow the credentials of the first
 * configured URL that has some.
 *
 * Pure: no DNS, no socket.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEAF_URLS_H
#define SERVER_LEAF_URLS_H

#include "base/err.h"
#include "base/slice.h"

struct leaf_url {
    char *host; /* without brackets; owned */
    uint16_t port;
    char *user;     /* NULL: none; percent-decoded */
    char *password; /* NULL: none (a user without one is a token) */
    bool tls;       /* the scheme is tls:// */
    bool gossiped;
};

struct leaf_urls {
    struct leaf_url *at; /* in the order they are tried */
    size_t n;
    size_t configured; /* how many of them came from the configuration */
    bool used;         /* at[0] was handed out */
};

#define LEAF_PORT 7422

/* "nats-leaf://user:pass@host:port", "tls://…", or "host:port" (as gossip has it). E_SYNTAX. */
int leaf_url_parse(struct slice text, struct leaf_url *out) MUST_CHECK;
void leaf_url_release(struct leaf_url *u);

/* shuffle: no_randomize is off. */
int leaf_urls_init(struct leaf_urls *us, const struct slice *configured, size_t n,
                   bool shuffle) MUST_CHECK;
void leaf_urls_release(struct leaf_urls *us);
/* The next to dial; borrowed until the list changes. */
const struct leaf_url *leaf_urls_pick(struct leaf_urls *us);
/* What an INFO's leafnode_urls said ("host:port" each); bad entries are passed over. */
void leaf_urls_gossip(struct leaf_urls *us, const struct slice *urls, size_t n);
/* Credentials for u: its own, or the first configured ones. NULL: none anywhere. */
const struct leaf_url *leaf_urls_credentials(const struct leaf_urls *us, const struct leaf_url *u);
/* The host is an address, not a name. */
bool leaf_url_is_ip(const struct leaf_url *u);
/* The first host in the list that is a name; borrowed, NULL: none. */
const char *leaf_urls_name(const struct leaf_urls *us);

#endif
