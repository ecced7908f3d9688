/* server/leaf_perms.h -- what may cross a link, and which interest may be told
 *
 * Two lists of patterns each way. From the leaf's point of view: `out` is what leaves us (the hub's
 * "export", our deny_exports, JetStream's denies), `in` is what we take in (the hub's "import", our
 * deny_imports, the denies). reference/leafnode-protocol.md, section 5.
 *
 * Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEAF_PERMS_H
#define SERVER_LEAF_PERMS_H

#include "base/slice.h"

struct leaf_list {
    struct slice *allow; /* owned; none: everything is allowed */
    size_t nallow;
    struct slice *deny;
    size_t ndeny;
};

void leaf_list_release(struct leaf_list *l);
void leaf_list_allow(struct leaf_list *l, struct slice pattern);
void leaf_list_deny(struct leaf_list *l, struct slice pattern); /* once, also when told twice */
/* May this literal subject pass? */
bool leaf_list_passes(const struct leaf_list *l, struct slice subject);
/* May interest in this subject (wildcards or not) be told? A wildcard passes when it overlaps
 * something allowed and is not wholly denied; what is denied in it is dropped message by message.
 */
bool leaf_list_tells(const struct leaf_list *l, struct slice subject);

#endif
