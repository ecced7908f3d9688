/* base/domain.h -- the one place that spells $JS.<domain>
 *
 * A pure function: given our JetStream domain, the peer's domain, the direction and a subject, what
 * becomes of the subject? leaf.c asks it for every message and interest on a link, jsapi/api.c for
 * every request, and nobody else spells these prefixes (reference/leafnode-protocol.md, section 6).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DOMAIN_H
#define BASE_DOMAIN_H

#include "base/buf.h"
#include "base/slice.h"

/* What both ends of a link have to do with JetStream. */
struct domain_pair {
    struct slice ours;     /* our domain, may be empty */
    bool jetstream;        /* JetStream runs here */
    struct slice theirs;   /* the peer's domain, may be empty */
    bool system;           /* the link is bound to the system account */
    bool default_is_empty; /* default_js_domain maps this account to ""; on the system account: any
                              account */
};

/* The subjects to deny on a link, both directions and outgoing only. Fills at most DOMAIN_DENY_MAX
 * slices that are static or borrow from *own, which is cleared first and lives as long as the
 * caller keeps it. Returns how many. */
#define DOMAIN_DENY_MAX 8
enum domain_dir { DOMAIN_IN, DOMAIN_OUT };
size_t domain_denies(const struct domain_pair *pair, enum domain_dir dir, struct buf *own,
                     struct slice out[DOMAIN_DENY_MAX]);

/* The mappings a server with this domain announces and applies at ingress (from a client or a
 * link):
 * "$JS.<d>.API.STREAM.>" -> "$JS.API.STREAM.>" and so on. Appends the i-th source pattern to out,
 * false past the end (at once when `ours` is empty). Like all below it writes behind what out holds
 * already. */
bool domain_mapping(struct slice ours, bool system, size_t i, struct buf *out);
/* If the subject falls under one of them, appends the subject it is served as to out and returns
 * true. */
bool domain_to_local(struct slice ours, bool system, struct slice subject, struct buf *out);

/* default_js_domain {ACC: "hub"}: the inverse, for accounts without JetStream of their own. False:
 * not JetStream's. */
bool domain_to_remote(struct slice hub_domain, struct slice subject, struct buf *out);

/* "$JS.API" -> external api prefix ("$JS.hub.API"): the subject a puller asks on. ".." collapses.
 */
void domain_external(struct slice api_prefix, struct slice subject, struct buf *out);
/* The API prefix of a domain, "$JS.<d>.API", or "$JS.API" for the empty one. */
void domain_api_prefix(struct slice domain, struct buf *out);

#endif
