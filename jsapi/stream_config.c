/* jsapi/stream_config.c -- see stream_config.h
 *
 * The tables come first, in the order nats-server prints the members. The rules stand in
 * stream_check.c; here is what a config is: read, written, compared, copied.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/stream_config.h"

#include "base/mem.h"

#define CONFIG_BYTES_MAX ((size_t)4 << 20) /* what one config may take in memory */

static const char *const retention_names[] = {"limits", "interest", "workqueue", NULL};
static const char *const discard_names[] = {"old", "new", NULL};
static const char *const storage_names[] = {"file", "memory", NULL};
static const char *const compression_names[] = {"none", "s2", NULL};
static const char *const persist_names[] = {"", "default", "async", NULL};

#define AT(field) offsetof(struct subject_pair, field)
static const struct cfg_row transform_rows[] = {
    {"src", CFG_STR, AT(src), CFG_ALWAYS, NULL, NULL},
    {"dest", CFG_STR, AT(dest), CFG_ALWAYS, NULL, NULL},
    CFG_END,
};
static const struct cfg_row republish_rows[] = {
    {"src", CFG_STR, AT(src), 0, NULL, NULL},
    {"dest", CFG_STR, AT(dest), CFG_ALWAYS, NULL, NULL},
    {"headers_only", CFG_BOOL, AT(headers_only), 0, NULL, NULL},
    CFG_END,
};
#undef AT
const struct cfg_table subject_transform_table = {"SubjectTransformConfig", transform_rows,
                                                  sizeof(struct subject_pair)};
static const struct cfg_table republish_table = {"RePublish", republish_rows,
                                                 sizeof(struct subject_pair)};

#define AT(field) offsetof(struct source_external, field)
static const struct cfg_row external_rows[] = {
    {"api", CFG_STR, AT(api), CFG_ALWAYS, NULL, NULL},
    {"deliver", CFG_STR, AT(deliver), CFG_ALWAYS, NULL, NULL},
    CFG_END,
};
#undef AT
const struct cfg_table source_external_table = {"ExternalStream", external_rows,
                                                sizeof(struct source_external)};

#define AT(field) offsetof(struct source_consumer, field)
static const struct cfg_row source_consumer_rows[] = {
    {"name", CFG_STR, AT(name), 0, NULL, NULL},
    {"deliver_subject", CFG_STR, AT(deliver_subject), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table source_consumer_table = {"StreamConsumerSource", source_consumer_rows,
                                                       sizeof(struct source_consumer)};

#define AT(field) offsetof(struct source_config, field)
static const struct cfg_row source_rows[] = {
    {"name", CFG_STR, AT(name), CFG_ALWAYS, NULL, NULL},
    {"opt_start_seq", CFG_U64, AT(opt_start_seq), 0, NULL, NULL},
    {"opt_start_time", CFG_TIME, AT(opt_start_time), 0, NULL, NULL},
    {"filter_subject", CFG_STR, AT(filter_subject), 0, NULL, NULL},
    {"subject_transforms", CFG_OBJS, AT(transforms), 0, NULL, &subject_transform_table},
    {"external", CFG_OBJ, AT(external), 0, NULL, &source_external_table},
    {"consumer", CFG_OBJ, AT(consumer), 0, NULL, &source_consumer_table},
    CFG_END,
};
#undef AT
static const struct cfg_table source_table = {"StreamSource", source_rows,
                                              sizeof(struct source_config)};

#define AT(field) offsetof(struct stream_placement, field)
static const struct cfg_row placement_rows[] = {
    {"cluster", CFG_STR, AT(cluster), 0, NULL, NULL},
    {"tags", CFG_STRS, AT(tags), 0, NULL, NULL},
    {"preferred", CFG_STR, AT(preferred), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table placement_table = {"Placement", placement_rows,
                                                 sizeof(struct stream_placement)};

#define AT(field) offsetof(struct stream_limits, field)
static const struct cfg_row limits_rows[] = {
    {"inactive_threshold", CFG_NS, AT(inactive_threshold), 0, NULL, NULL},
    {"max_ack_pending", CFG_INT, AT(max_ack_pending), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table limits_table = {"StreamConsumerLimits", limits_rows,
                                              sizeof(struct stream_limits)};

#define AT(field) offsetof(struct stream_config, field)
static const struct cfg_row config_rows[] = {
    {"name", CFG_STR, AT(name), CFG_ALWAYS, NULL, NULL},
    {"description", CFG_STR, AT(description), 0, NULL, NULL},
    {"subjects", CFG_STRS, AT(subjects), 0, NULL, NULL},
    {"retention", CFG_ENUM, AT(retention), CFG_ALWAYS, retention_names, NULL},
    {"max_consumers", CFG_INT, AT(max_consumers), CFG_ALWAYS, NULL, NULL},
    {"max_msgs", CFG_INT, AT(max_msgs), CFG_ALWAYS, NULL, NULL},
    {"max_bytes", CFG_INT, AT(max_bytes), CFG_ALWAYS, NULL, NULL},
    {"max_age", CFG_NS, AT(max_age), CFG_ALWAYS, NULL, NULL},
    {"max_msgs_per_subject", CFG_INT, AT(max_msgs_per_subject), CFG_ALWAYS, NULL, NULL},
    {"max_msg_size", CFG_I32, AT(max_msg_size), 0, NULL, NULL},
    {"discard", CFG_ENUM, AT(discard), CFG_ALWAYS, discard_names, NULL},
    {"storage", CFG_ENUM, AT(storage), CFG_ALWAYS, storage_names, NULL},
    {"num_replicas", CFG_INT, AT(num_replicas), CFG_ALWAYS, NULL, NULL},
    {"no_ack", CFG_BOOL, AT(no_ack), 0, NULL, NULL},
    {"duplicate_window", CFG_NS, AT(duplicate_window), 0, NULL, NULL},
    {"placement", CFG_OBJ, AT(placement), 0, NULL, &placement_table},
    {"mirror", CFG_OBJ, AT(mirror), 0, NULL, &source_table},
    {"sources", CFG_OBJS, AT(sources), 0, NULL, &source_table},
    {"compression", CFG_ENUM, AT(compression), CFG_ALWAYS, compression_names, NULL},
    {"first_seq", CFG_U64, AT(first_seq), 0, NULL, NULL},
    {"subject_transform", CFG_OBJ, AT(transform), 0, NULL, &subject_transform_table},
    {"republish", CFG_OBJ, AT(republish), 0, NULL, &republish_table},
    {"allow_direct", CFG_BOOL, AT(allow_direct), CFG_ALWAYS, NULL, NULL},
    {"mirror_direct", CFG_BOOL, AT(mirror_direct), CFG_ALWAYS, NULL, NULL},
    {"discard_new_per_subject", CFG_BOOL, AT(discard_new_per_subject), 0, NULL, NULL},
    {"sealed", CFG_BOOL, AT(sealed), CFG_ALWAYS, NULL, NULL},
    {"deny_delete", CFG_BOOL, AT(deny_delete), CFG_ALWAYS, NULL, NULL},
    {"deny_purge", CFG_BOOL, AT(deny_purge), CFG_ALWAYS, NULL, NULL},
    {"allow_rollup_hdrs", CFG_BOOL, AT(allow_rollup_hdrs), CFG_ALWAYS, NULL, NULL},
    {"consumer_limits", CFG_OBJ_IN, AT(consumer_limits), CFG_ALWAYS, NULL, &limits_table},
    {"allow_msg_ttl", CFG_BOOL, AT(allow_msg_ttl), CFG_ALWAYS, NULL, NULL},
    {"subject_delete_marker_ttl", CFG_NS, AT(subject_delete_marker_ttl), 0, NULL, NULL},
    {"allow_msg_counter", CFG_BOOL, AT(allow_msg_counter), 0, NULL, NULL},
    {"allow_atomic", CFG_BOOL, AT(allow_atomic), 0, NULL, NULL},
    {"allow_msg_schedules", CFG_BOOL, AT(allow_msg_schedules), 0, NULL, NULL},
    {"persist_mode", CFG_ENUM, AT(persist_mode), 0, persist_names, NULL},
    {"allow_batched", CFG_BOOL, AT(allow_batched), 0, NULL, NULL},
    {"metadata", CFG_MAP, AT(metadata), 0, NULL, NULL},
    {"pedantic", CFG_BOOL, AT(pedantic), CFG_NEVER, NULL, NULL},
    CFG_END,
};
#undef AT
const struct cfg_table stream_config_table = {"StreamConfigRequest.StreamConfig", config_rows,
                                              sizeof(struct stream_config)};

/* --- life ------------------------------------------------------------------------------------- */

void stream_config_init(struct stream_config *c)
{
    memset(c, 0, sizeof *c);
    arena_init(&c->mem, CONFIG_BYTES_MAX);
}

void stream_config_release(struct stream_config *c)
{
    arena_release(&c->mem);
    memset(c, 0, sizeof *c);
}

bool stream_config_read(struct stream_config *c, json_t *obj, bool strict, struct js_error *e)
{
    struct buf why = BUF_INIT;
    int err = cfg_read(&stream_config_table, obj, c, &c->mem, strict, &why);
    bool ok =
        err == 0 || js_fail(e, JSInvalidJSONErr, "%s", why.len ? buf_cstr(&why) : err_text(err));

    buf_release(&why);
    return ok;
}

void stream_config_write(const struct stream_config *c, struct json_out *out, const char *key,
                         bool live, struct slice version)
{
    struct stream_config shown = *c;
    struct cfg_pair *pairs = NULL;

    if (live) {
        pairs = xmalloc((c->metadata.n + 2) * sizeof *pairs);
        shown.metadata = cfg_meta_dynamic(&c->metadata, version, pairs);
    }
    cfg_write_obj(&stream_config_table, &shown, out, key);
    free(pairs);
}

bool stream_config_equal(const struct stream_config *a, const struct stream_config *b)
{
    return cfg_equal(&stream_config_table, a, b);
}

/* Through JSON: rare, and one road less to keep in step with the table. */
void stream_config_copy(const struct stream_config *from, struct stream_config *to)
{
    struct buf text = BUF_INIT;
    struct json_out out;
    struct js_error e;
    json_t *obj = NULL;

    stream_config_init(to);
    json_begin(&out, &text);
    cfg_write_obj(&stream_config_table, from, &out, NULL);
    ASSERT(json_read_kept(buf_slice(&text), &obj) == 0);
    ASSERT(stream_config_read(to, obj, true, &e));
    json_free(obj);
    buf_release(&text);
}

bool js_name_valid(struct slice name)
{
    if (name.n == 0 || name.n > 255)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == 0 || strchr(" \t\r\n\f.*>\\/", name.p[i]))
            return false;
    return true;
}
