/* conf/tree.c -- the tree: adding, looking up, digest
 *
 * Children hang on their map or array as a list in the order of the text. While the text is read a
 * hash table over (map, key) finds older values for variables and duplicates; afterwards lookups
 * walk the list, which for maps of a configuration is as fast as it needs to be.
 *
 * What always holds: a key occurs once in a map (the last value wins, at the place of the first);
 * lists of children never form a cycle, because a $VARIABLE can only refer to what is complete.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "conf/tree.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"

struct tree_slot {
    const struct conf_node *map;
    struct conf_node *node;
};

struct tree_key {
    const struct conf_node *map;
    struct slice key;
};

static uint64_t key_hash(const struct conf_node *map, struct slice key)
{
    return hash_slice(key) ^ hash64(&map, sizeof map);
}

static bool key_eq(const void *item, const void *wanted)
{
    const struct tree_slot *slot = item;
    const struct tree_key *k = wanted;
    return slot->map == k->map && slice_is(k->key, slot->node->key);
}

void tree_index_init(struct tree_index *ix)
{
    htab_init(&ix->table);
}

void tree_index_release(struct tree_index *ix)
{
    htab_release(&ix->table);
}

static struct tree_slot *find_slot(const struct tree_index *ix, const struct conf_node *map,
                                   struct slice key)
{
    struct tree_key k = {map, key};
    return htab_get(&ix->table, key_hash(map, key), key_eq, &k);
}

struct conf_node *tree_find(const struct tree_index *ix, const struct conf_node *map,
                            struct slice key)
{
    struct tree_slot *slot = find_slot(ix, map, key);
    return slot ? slot->node : NULL;
}

int tree_add(struct conf_doc *doc, struct tree_index *ix, struct conf_node *parent,
             struct conf_node *node)
{
    if (parent->type == CONF_MAP) {
        struct slice key = slice_cstr(node->key);
        struct tree_slot *slot = find_slot(ix, parent, key);
        if (slot) { /* overwritten where it stands, so that lists that hold it stay whole */
            struct conf_node *old = slot->node;
            struct conf_node *next = old->next;
            *old = *node;
            old->next = next;
            return 0;
        }
        slot = arena_alloc(&doc->arena, sizeof *slot);
        if (!slot)
            return E_TOOBIG;
        *slot = (struct tree_slot){parent, node};
        htab_put(&ix->table, key_hash(parent, key), slot);
    }
    node->next = NULL;
    if (parent->u.kids.last)
        parent->u.kids.last->next = node;
    else
        parent->u.kids.first = node;
    parent->u.kids.last = node;
    parent->u.kids.count++;
    return 0;
}

/* --- the door ------------------------------------------------------------------------ */

void conf_free(struct conf_doc *doc)
{
    if (!doc)
        return;
    arena_release(&doc->arena);
    free(doc);
}

const struct conf_node *conf_root(const struct conf_doc *doc)
{
    return &doc->root;
}

const struct conf_node *conf_first(const struct conf_node *n)
{
    return n && (n->type == CONF_MAP || n->type == CONF_ARRAY) ? n->u.kids.first : NULL;
}

bool conf_key_is(const struct conf_node *n, const char *key)
{
    return n->key && slice_ieq(slice_cstr(n->key), slice_cstr(key));
}

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
    const struct conf_node *found = NULL;
    CONF_EACH(n, map)
    if (conf_key_is(n, key))
        found = n;
    return found;
}

const char *conf_type_name(enum conf_type type)
{
    switch (type) {
    case CONF_MAP:
        return "map[string]interface {}";
    case CONF_ARRAY:
        return "[]interface {}";
    case CONF_STRING:
        return "string";
    case CONF_INT:
        return "int64";
    case CONF_FLOAT:
        return "float64";
    case CONF_BOOL:
        return "bool";
    case CONF_TIME:
        return "time.Time";
    }
    return "unknown";
}

/* --- digest: canonical JSON ---------------------------------------------------------- */

/* One sequence of valid UTF-8 at s, its length; 0 when there is none. */
static size_t utf8_len(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (n > 1 && (p[0] < 0xc2 || p[0] > 0xf4 || s.n < n))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static void put_string(struct buf *out, struct slice s)
{
    buf_add_char(out, '"');
    while (s.n) {
        size_t n = utf8_len(s);
        unsigned char c = (unsigned char)s.p[0];
        const char *shorts = "\"\"\\\\\bb\ff\nn\rr\tt", *at = NULL;
        for (const char *p = shorts; *p && !at; p += 2)
            if ((unsigned char)*p == c)
                at = p;
        if (n == 0) {
            buf_add_str(out, "\\ufffd");
        } else if (at) {
            buf_add_char(out, '\\');
            buf_add_char(out, at[1]);
        } else if (c < 0x20 || c == '<' || c == '>' || c == '&') {
            buf_printf(out, "\\u%04x", c);
        } else if (n == 3 &&
                   (memcmp(s.p, "\xe2\x80\xa8", 3) == 0 || memcmp(s.p, "\xe2\x80\xa9", 3) == 0)) {
            buf_printf(out, "\\u%04x", (unsigned char)s.p[2] == 0xa8 ? 0x2028 : 0x2029);
        } else {
            buf_add(out, s.p, n);
        }
        s = slice_skip(s, n ? n : 1);
    }
    buf_add_char(out, '"');
}

static int by_key(const void *a, const void *b)
{
    const struct conf_node *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static void put_map(struct buf *out, const struct conf_node *map)
{
    size_t count = map->u.kids.count, i = 0;
    const struct conf_node **sorted = xcalloc(count ? count : 1, sizeof *sorted);
    CONF_EACH(n, map)
    sorted[i++] = n;
    qsort(sorted, count, sizeof *sorted, by_key);
    buf_add_char(out, '{');
    for (i = 0; i < count; i++) {
        if (i)
            buf_add_char(out, ',');
        put_string(out, slice_cstr(sorted[i]->key));
        buf_add_char(out, ':');
        conf_json(sorted[i], out);
    }
    buf_add_char(out, '}');
    free(sorted);
}

void conf_json(const struct conf_node *n, struct buf *out)
{
    char text[40];
    switch (n->type) {
    case CONF_MAP:
        put_map(out, n);
        break;
    case CONF_ARRAY:
        buf_add_char(out, '[');
        CONF_EACH(kid, n)
        {
            if (kid != n->u.kids.first)
                buf_add_char(out, ',');
            conf_json(kid, out);
        }
        buf_add_char(out, ']');
        break;
    case CONF_STRING:
        put_string(out, n->u.str);
        break;
    case CONF_INT:
        buf_printf(out, "%lld", (long long)n->u.i);
        break;
    case CONF_FLOAT:
        json_put_f64(out, n->u.f);
        break;
    case CONF_BOOL:
        buf_add_str(out, n->u.b ? "true" : "false");
        break;
    case CONF_TIME:
        time_print(n->u.time_ns, text);
        put_string(out, slice_cstr(text));
        break;
    }
}

void conf_digest(const struct conf_doc *doc, char out[72])
{
    struct buf json = BUF_INIT;
    unsigned char sum[32];
    conf_json(&doc->root, &json);
    buf_add_char(&json, '\n');
    sha256(json.data + json.start, json.len, sum);
    buf_release(&json);
    int at = snprintf(out, 72, "sha256:");
    for (size_t i = 0; i < sizeof sum; i++)
        at += snprintf(out + at, 72 - (size_t)at, "%02x", sum[i]);
}
