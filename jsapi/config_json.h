/* jsapi/config_json.h -- a config is a struct and a table; JSON goes both ways through the table
 *
 * One row per member, in the order nats-server prints them: name, kind, place in the struct, flags.
 * cfg_read() fills the struct from a parsed object, cfg_write() prints it, cfg_equal() compares
 * two. Stream configs, consumer configs and the bodies of requests all use it; what a table cannot
 * say (defaults, rules between members) is its owner's code.
 *
 *     static const struct cfg_row rows[] = {
 *         {"name", CFG_STR, offsetof(struct thing, name), CFG_ALWAYS},
 *         {"max_age", CFG_NS, offsetof(struct thing, max_age), CFG_ALWAYS},
 *         {"discard", CFG_ENUM, offsetof(struct thing, discard), CFG_ALWAYS, .names = words},
 *         CFG_END};
 *     static const struct cfg_table thing_table = {"Thing", rows, sizeof(struct thing)};
 *
 * Memory: every string, list and sub-object that cfg_read() makes lives in the arena it is given; a
 * struct whose arena is dropped is gone as a whole. Loop thread only, no other state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_CONFIG_JSON_H
#define JSAPI_CONFIG_JSON_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

enum cfg_kind {             /* the member's type in C */
                CFG_STR,    /* struct slice */
                CFG_BOOL,   /* bool */
                CFG_INT,    /* int64_t, printed and read as a plain number */
                CFG_I32,    /* int64_t whose value must fit 32 bits */
                CFG_U64,    /* uint64_t */
                CFG_NS,     /* int64_t, a duration */
                CFG_TIME,   /* struct cfg_time */
                CFG_ENUM,   /* int, place of the text in .names */
                CFG_STRS,   /* struct cfg_strs */
                CFG_INTS,   /* struct cfg_ints */
                CFG_MAP,    /* struct cfg_map, printed sorted by key */
                CFG_OBJ,    /* pointer to a struct of .sub, NULL when absent */
                CFG_OBJ_IN, /* a struct of .sub inside this one */
                CFG_OBJS,   /* struct cfg_objs of .sub */
};
enum {
    CFG_ALWAYS = 1, /* printed also when zero, false, empty */
    CFG_NEVER = 2,  /* read, never printed: belongs to the request */
    CFG_SPARSE = 4, /* CFG_OBJS: an empty but present list is printed as [] */
};

struct cfg_time {
    bool set;
    int64_t ns;     /* wall clock; INT64_MIN: Go's zero time */
    int64_t offset; /* from UTC, in seconds, as it was said: it is shown so */
};
struct cfg_strs {
    struct slice *at;
    size_t n;
};
struct cfg_ints {
    int64_t *at;
    size_t n;
};
struct cfg_pair {
    struct slice key, value;
};
struct cfg_map {
    struct cfg_pair *at; /* sorted by key */
    size_t n;
};
struct cfg_objs {
    void *at; /* n structs of sub->size, one after the other */
    size_t n;
};

struct cfg_table;
struct cfg_row {
    const char *name;
    enum cfg_kind kind;
    size_t at;                /* offsetof in the struct */
    unsigned flags;           /* CFG_… */
    const char *const *names; /* CFG_ENUM: texts, NULL at the end; an empty text is not printed and
                                 reads as itself */
    const struct cfg_table *sub; /* CFG_OBJ, CFG_OBJ_IN, CFG_OBJS */
};
#define CFG_END                                                                                    \
    {                                                                                              \
        .name = NULL                                                                               \
    }
struct cfg_table {
    const char *go_name; /* as nats-server's decoder names it in complaints */
    const struct cfg_row *rows;
    size_t size; /* of the struct */
};

/* Fills `to` (zeroed by the caller, or with defaults) from obj: members that are absent or null are
 * left alone; a null in a list or a map is an empty one. strict: members without a row are errors.
 * E_SYNTAX: *why (appended to, may be NULL) says what is wrong, in the words of nats-server's
 * decoder ("json: unknown field \"x\""); E_TOOBIG: the arena is full. */
int cfg_read(const struct cfg_table *t, json_t *obj, void *to, struct arena *mem, bool strict,
             struct buf *why) MUST_CHECK;

/* Writes the members into the object that is open in out. */
void cfg_write(const struct cfg_table *t, const void *from, struct json_out *out);
/* The same as one object of its own. */
void cfg_write_obj(const struct cfg_table *t, const void *from, struct json_out *out,
                   const char *key);
/* A time as a member; one that is not set as Go's zero time. */
void cfg_write_time(const struct cfg_time *t, struct json_out *out, const char *key);
/* Do both print alike, metadata keys that start with "_nats." left aside? */
bool cfg_equal(const struct cfg_table *t, const void *a, const void *b);

/* --- metadata, the same for streams and consumers (reference/jetstream-api.md 4.6) ------------ */

/* Drops _nats.ver and _nats.level and sets _nats.req.level to level. */
void cfg_meta_static(struct cfg_map *m, unsigned level, struct arena *mem);
/* The map with _nats.ver and _nats.level added, for a reply; at is the caller's room for m->n + 2
 * pairs. */
struct cfg_map cfg_meta_dynamic(const struct cfg_map *m, struct slice version, struct cfg_pair *at);
struct slice cfg_map_get(const struct cfg_map *m, struct slice key); /* empty when absent */
size_t cfg_map_bytes(const struct cfg_map *m);                       /* keys and values together */

#define API_LEVEL 5

#endif
