/* jsapi/consumer_config.h -- what a consumer is asked to be
 *
 * struct consumer_config is the "config" of CONSUMER.CREATE (reference, part 2, 1.1); all it
 * points to lives in its own arena. The road of a new one:
 *
 *     consumer_request_read()       JSON → struct consumer_request (config, stream name, action)
 *     consumer_config_check()       defaults, then every rule about this one config and its stream
 *     consumer_config_may_update()  the rules between the old one and the new one
 *     consumer_config_write()       struct → JSON, for replies and for the store
 *
 * Pure but for the arenas.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_CONSUMER_CONFIG_H
#define JSAPI_CONSUMER_CONFIG_H

#include "base/arena.h"
#include "jsapi/config_json.h"
#include "jsapi/errors.h"
#include "jsapi/stream_config.h"
#include "storage/storage.h"

enum {
    DELIVER_ALL,
    DELIVER_LAST,
    DELIVER_NEW,
    DELIVER_BY_SEQ,
    DELIVER_BY_TIME,
    DELIVER_LAST_PER_SUBJECT,
    DELIVER_UNDEFINED
};
enum { ACK_NONE, ACK_ALL, ACK_EXPLICIT, ACK_FLOW_CONTROL };
enum { REPLAY_INSTANT, REPLAY_ORIGINAL };
enum { PRIORITY_ABSENT, PRIORITY_NONE, PRIORITY_OVERFLOW, PRIORITY_PINNED, PRIORITY_PRIORITIZED };
enum { ACTION_EITHER, ACTION_CREATE, ACTION_UPDATE };

struct consumer_config {
    struct arena mem; /* all slices and lists below */
    struct slice durable, name, description;
    int deliver_policy; /* DELIVER_… */
    uint64_t opt_start_seq;
    struct cfg_time opt_start_time;
    int ack_policy; /* ACK_… */
    int64_t ack_wait, max_deliver;
    struct cfg_ints backoff;
    struct slice filter_subject;
    struct cfg_strs filter_subjects;
    int replay_policy;   /* REPLAY_… */
    uint64_t rate_limit; /* bits/s */
    struct slice sample_freq;
    int64_t max_waiting, max_ack_pending;
    bool unnamed; /* the name is ours and not shown; nothing remembers that after a restart */
    bool flow_control, headers_only;
    int64_t max_batch, max_expires, max_bytes; /* of a pull request; 0: none */
    struct slice deliver_subject, deliver_group;
    int64_t idle_heartbeat, inactive_threshold, num_replicas;
    bool mem_storage, direct, sourcing;
    struct cfg_map metadata;
    struct cfg_time pause_until;
    struct cfg_strs priority_groups;
    int priority_policy; /* PRIORITY_… */
    int64_t priority_timeout;
};

struct consumer_request {
    struct slice stream_name;
    struct consumer_config config;
    struct slice action_text;
    int action; /* ACTION_… */
    bool pedantic;
};

extern const struct cfg_table consumer_config_table;

void consumer_config_init(struct consumer_config *c);
void consumer_config_release(struct consumer_config *c);
/* The whole body of a create request; strings live in the config's arena (which the call
 * initialises). obj NULL: an empty one. */
bool consumer_request_read(struct consumer_request *r, json_t *obj, bool strict,
                           struct js_error *e);
/* A stored config back into a struct. E_SYNTAX. */
int consumer_config_load(struct consumer_config *c, struct slice json) MUST_CHECK;

struct consumer_bounds {
    const struct stream_config *stream;
    int64_t max_ack_pending, max_request_batch; /* of the server; <= 0: none */
    int64_t account_max_ack_pending;            /* <= 0: none */
};
/* Defaults (1.1), then validation (1.4 no. 2 to 17). c is changed in place. */
bool consumer_config_check(struct consumer_config *c, const struct consumer_bounds *b,
                           bool pedantic, struct js_error *e);
/* An ephemeral lives five seconds without anybody unless it says otherwise. */
void consumer_config_lifetime(struct consumer_config *c);
/* May a consumer that is `old` become `now`? deliver_bound: somebody listens on the old deliver
 * subject. */
bool consumer_config_may_update(const struct consumer_config *old,
                                const struct consumer_config *now, bool deliver_bound,
                                struct js_error *e);
bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b);
/* A deep copy; to is initialised by the call. */
void consumer_config_copy(const struct consumer_config *from, struct consumer_config *to);
/* live: with _nats.ver and _nats.level. */
void consumer_config_write(const struct consumer_config *c, struct json_out *out, const char *key,
                           bool live, struct slice version);
/* The filters as one list, borrowed from c; none: n == 0. */
struct store_filter consumer_filters(const struct consumer_config *c);
static inline bool consumer_is_push(const struct consumer_config *c)
{
    return c->deliver_subject.n > 0;
}
/* A priority group's name. */
bool consumer_group_valid(struct slice s);
/* Percent of acks to be measured; 0: none. */
unsigned consumer_sampling(const struct consumer_config *c);

#endif
