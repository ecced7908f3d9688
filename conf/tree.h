/* conf/tree.h -- how a document is held; for the files of this room
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_TREE_H
#define CONF_TREE_H

#include "base/arena.h"
#include "base/hash.h"
#include "conf/conf.h"

struct conf_doc {
    struct arena arena;    /* every node and text */
    struct conf_node root; /* CONF_MAP */
};

/* Where a key of a map is found while the text is read: (map, key) -> node. */
struct tree_index {
    struct htab table; /* struct tree_slot, in the arena */
};

void tree_index_init(struct tree_index *ix);
void tree_index_release(struct tree_index *ix);
struct conf_node *tree_find(const struct tree_index *ix, const struct conf_node *map,
                            struct slice key);

/* Puts node at the end of parent; in a map it takes the place of an older node with the same key.
 * E_TOOBIG when the arena is at its limit. */
int tree_add(struct conf_doc *doc, struct tree_index *ix, struct conf_node *parent,
             struct conf_node *node) MUST_CHECK;

#endif
