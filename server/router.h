/* server/router.h -- publish: rename, match, choose queue members, deliver
 *
 * The one entry point for everything that is said in an account: by clients, links, JetStream
 * deliveries and answers of the API. It knows sinks and endpoints, no kinds.
 *
 *   - every plain sink gets the message, but not the publisher's own when it wants no echo
 *   - of each queue group one member: a local one if any takes it, else one behind a link
 *   - a link gets it once, with the names of the queue groups it was chosen for
 *   - what came over a link goes to the groups it lists, and to no others
 *
 * A publish made during a delivery is posted by whoever makes it, never nested (sinks of the API
 * copy and post). A payload of 16 KiB or more with several receivers is copied once (m->shared is
 * set while the sinks are called).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_ROUTER_H
#define SERVER_ROUTER_H

#include "server/account.h"

struct route_in {
    struct endpoint *from; /* NULL: the server itself */
    bool from_link;        /* came over a link: groups apply */
    bool renamed; /* the subject is the new name already: clients ask for permission with it */
    const struct slice *groups; /* the queue groups it was chosen for */
    size_t ngroups;
};

struct route_out {
    uint32_t taken; /* sinks and links that took it; 0: nobody is there */
    bool rest;      /* someone asked for a rest */
};

/* m is borrowed; m->via empty routes by the subject. The domain rename is applied for messages of
 * clients and links (from != NULL). */
void router_publish(struct account *a, const struct route_in *in, struct msg_view *m,
                    struct route_out *out);

/* --- who says the same thing again and again ------------------------------------------------ */

/* The match of the last subject a publisher used, good for all subjects that it fits (acks to one
 * consumer, the keys of a bucket, answers to one inbox); one per connection. Zero it to begin. */
struct route_cache {
    struct account *account;
    struct match *match; /* a reference */
    char *subject;       /* the one it was made for; owned */
    size_t n, cap;
};
void route_cache_release(struct route_cache *rc);
/* router_publish() through a cache. */
void router_publish_cached(struct route_cache *rc, struct account *a, const struct route_in *in,
                           struct msg_view *m, struct route_out *out);

#endif
