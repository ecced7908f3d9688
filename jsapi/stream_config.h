/* jsapi/stream_config.h -- what a stream is asked to be
 *
 * struct stream_config is the configuration object of STREAM.CREATE and UPDATE
 * (reference/jetstream-api.md, section 4); everything it points to lives in its own arena. The road
 * of a new one:
 *
 *     stream_config_read()         JSON → struct
 *     stream_config_check()        defaults, then every rule that looks at this one config (and at
 *                                  the account's limits)
 *     stream_config_may_update()   the rules between the old one and the new one
 *     stream_config_write()        struct → JSON, for replies and for the store
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_STREAM_CONFIG_H
#define JSAPI_STREAM_CONFIG_H

#include "base/arena.h"
#include "jsapi/config_json.h"
#include "jsapi/errors.h"

enum { RETAIN_LIMITS, RETAIN_INTEREST, RETAIN_WORKQUEUE };
enum { DISCARD_OLD, DISCARD_NEW };
enum { STORE_FILE, STORE_MEMORY };
enum { COMPRESS_NONE, COMPRESS_S2 };
enum { PERSIST_ABSENT, PERSIST_DEFAULT, PERSIST_ASYNC };

struct subject_pair { /* of a transform or of republish */
    struct slice src, dest;
    bool headers_only; /* republish only */
};

struct source_external {
    struct slice api, deliver; /* prefixes */
};
struct source_consumer {
    struct slice name, deliver_subject; /* a durable of the origin to use */
};
struct source_config { /* mirror, and each of sources */
    struct slice name;
    uint64_t opt_start_seq;
    struct cfg_time opt_start_time;
    struct slice filter_subject;
    struct cfg_objs transforms;       /* struct subject_pair */
    struct source_external *external; /* NULL: this server */
    struct source_consumer *consumer; /* NULL: one of the puller's making */
};

struct stream_limits { /* consumer_limits: defaults and bounds of this stream's consumers */
    int64_t inactive_threshold; /* ns, 0: none */
    int64_t max_ack_pending;    /* 0: none */
};

struct stream_placement {
    struct slice cluster, preferred;
    struct cfg_strs tags;
};

struct stream_config {
    struct arena mem; /* all slices and lists below */
    struct slice name, description;
    struct cfg_strs subjects;
    int retention;                              /* RETAIN_… */
    int64_t max_consumers, max_msgs, max_bytes; /* -1: none */
    int64_t max_age;                            /* ns, 0: none */
    int64_t max_msgs_per_subject, max_msg_size; /* -1: none */
    int discard;                                /* DISCARD_… */
    int storage;                                /* STORE_… */
    int64_t num_replicas;                       /* 1 */
    bool no_ack;                                /* never answer a publisher */
    int64_t duplicate_window;                   /* ns */
    struct stream_placement *placement;
    struct source_config *mirror;
    struct cfg_objs sources; /* struct source_config */
    int compression;         /* COMPRESS_…: echoed only */
    uint64_t first_seq;
    struct subject_pair *transform; /* subject_transform */
    struct subject_pair *republish;
    bool allow_direct, mirror_direct, discard_new_per_subject;
    bool sealed, deny_delete, deny_purge, allow_rollup_hdrs;
    struct stream_limits consumer_limits;
    bool allow_msg_ttl;
    int64_t subject_delete_marker_ttl;
    bool allow_msg_counter, allow_atomic, allow_msg_schedules, allow_batched;
    int persist_mode; /* PERSIST_… */
    struct cfg_map metadata;
    bool pedantic; /* of the request, never kept */
};

extern const struct cfg_table stream_config_table;
extern const struct cfg_table subject_transform_table; /* of struct subject_pair */
extern const struct cfg_table source_external_table;   /* of struct source_external */

/* What a config is measured against besides itself. */
struct stream_bounds {
    int64_t duplicate_window_max; /* ns, 0: none */
    /* Another stream of the account by name, NULL when there is none: origins, cycles. May be NULL.
     */
    const struct stream_config *(*other)(void *arg, struct slice name);
    void *arg;
};

void stream_config_init(struct stream_config *c);
void stream_config_release(struct stream_config *c);
/* Members from obj; c was initialised. JSInvalidJSONErr. */
bool stream_config_read(struct stream_config *c, json_t *obj, bool strict, struct js_error *e);
/* Defaults and validation, in the reference's order. c is changed in place. */
bool stream_config_check(struct stream_config *c, const struct stream_bounds *b,
                         struct js_error *e);
/* May a stream that is `old` become `now` (both checked)? now may be changed (sealing forces
 * members). */
bool stream_config_may_update(const struct stream_config *old, struct stream_config *now,
                              struct js_error *e);
/* What the store keeps, and what replies show; live: with _nats.ver and _nats.level. */
void stream_config_write(const struct stream_config *c, struct json_out *out, const char *key,
                         bool live, struct slice version);
/* The same configuration (metadata of the server's own left aside)? */
bool stream_config_equal(const struct stream_config *a, const struct stream_config *b);
/* A deep copy; to is initialised by the call. */
void stream_config_copy(const struct stream_config *from, struct stream_config *to);

static inline struct source_config *stream_source(const struct stream_config *c, size_t i)
{
    return (struct source_config *)c->sources.at + i;
}
/* Reads a source's 'struct subject_pair' list. */
static inline struct subject_pair *source_transform(const struct source_config *s, size_t i)
{
    return (struct subject_pair *)s->transforms.at + i;
}

/* A name of a stream or consumer: 1 to 255 bytes, none of blank, tab, CR, LF, FF, '.', '*', '>',
 * '/', '\'. */
bool js_name_valid(struct slice name);

#endif
