/* conf/conf.h -- the door: configuration text -> a tree
 *
 * Reads the language of nats-server.conf (a relaxed JSON with comments, sizes, dates, block
 * strings, $VARIABLES and include) into a tree of nodes that remember where they were written. What
 * the keys mean is not known here: this room has never heard of NATS.
 *
 *     struct conf_error err;
 *     struct conf_doc *doc;
 *     if (conf_parse_file("site.conf", NULL, &doc, &err) < 0)
 *         complain(err.text);
 *     CONF_EACH (n, conf_root(doc))
 *         if (conf_key_is(n, "port")) …
 *     conf_free(doc);
 *
 * Ownership: everything hangs on the document and dies with it; nodes and their texts are borrowed.
 * A map or array that is used through a $VARIABLE is shared, not copied: two nodes, one list of
 * children. Threads: a document belongs to whoever parsed it; no globals. Errors: 0 or E_SYNTAX
 * (the text is wrong), E_IO (a file can't be read), E_TOOBIG (a limit), with the words nats-server
 * uses in struct conf_error.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/err.h"
#include "base/slice.h"

enum conf_type {
    CONF_MAP,
    CONF_ARRAY,
    CONF_STRING,
    CONF_INT,
    CONF_FLOAT,
    CONF_BOOL,
    CONF_TIME,
};

struct conf_node {
    const char *key;     /* as written, ends in NUL; NULL in an array and at the root */
    enum conf_type type; /* which member of the union counts */
    bool used;           /* some $VARIABLE referred to it: not an unknown field then */
    union {
        struct slice str; /* CONF_STRING; a NUL follows the last byte */
        int64_t i;        /* CONF_INT; size suffixes are multiplied out */
        double f;         /* CONF_FLOAT */
        bool b;           /* CONF_BOOL */
        int64_t time_ns;  /* CONF_TIME: wall clock since 1970 */
        struct {
            struct conf_node *first, *last;
            size_t count;
        } kids; /* CONF_MAP, CONF_ARRAY: in the order of the text */
    } u;
    struct conf_node *next; /* the next in the same map or array */
    uint64_t weight;        /* nodes below, counted as often as they are referred to */
    const char *file;       /* as given; of an included file the joined path */
    int line, col; /* of the key; of the value inside an array. From 1; col as nats-server counts */
};

struct conf_error {
    char text[512]; /* one line as nats-server words it, cut when longer */
    int line, col;  /* 0: no particular place */
};

/* Limits and the world; zero and NULL mean the defaults. */
struct conf_env {
    const char *(*lookup)(void *arg, const char *name); /* default: getenv() */
    int (*load)(void *arg, const char *path, char **text,
                size_t *n); /* default: the file system; malloc'ed text */
    void *arg;
    size_t size_max;      /* bytes of one file; default 16 MiB */
    size_t total_max;     /* bytes the whole tree may take; default 256 MiB */
    unsigned depth_max;   /* maps and arrays inside each other; default 200 */
    unsigned include_max; /* files inside each other; default 16 */
    uint64_t weight_max; /* nodes of the tree with every reference written out; default 4 million */
};

struct conf_doc;

/* On failure *doc is NULL and err is filled in. env may be NULL. */
int conf_parse_file(const char *path, const struct conf_env *env, struct conf_doc **doc,
                    struct conf_error *err) MUST_CHECK;
/* name is what positions and messages call the text; includes are looked up beside it. */
int conf_parse_text(struct slice text, const char *name, const struct conf_env *env,
                    struct conf_doc **doc, struct conf_error *err) MUST_CHECK;
void conf_free(struct conf_doc *doc);

/* The map of everything; never NULL. */
const struct conf_node *conf_root(const struct conf_doc *doc);
/* Children in order; the body may look, not change. Works on any node: scalars have none. */
#define CONF_EACH(it, of) for (const struct conf_node *it = conf_first(of); it; it = it->next)
const struct conf_node *conf_first(const struct conf_node *n);
/* Keys are matched without regard to ASCII case. The last one wins when spellings differ only in
 * case. */
bool conf_key_is(const struct conf_node *n, const char *key);
const struct conf_node *conf_get(const struct conf_node *map, const char *key);
/* The name nats-server gives the type in messages: "string", "int64", "map[string]interface {}", …
 */
const char *conf_type_name(enum conf_type type);
/* Appends the node as canonical JSON: no blanks, keys sorted. */
struct buf;
void conf_json(const struct conf_node *n, struct buf *out);
/* "sha256:" and 64 digits over the tree as canonical JSON, as nats-server counts it: out has room
 * for 72. */
void conf_digest(const struct conf_doc *doc, char out[72]);

#endif
