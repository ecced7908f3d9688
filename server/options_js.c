/* server/options_js.c -- the jetstream block and its limits
 *
 * "jetstream: true", "jetstream: enabled" and the block all say the same; the block enables unless
 * it says otherwise. Encryption at rest is refused rather than ignored: nobody should find plain
 * data behind a configured key.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_read.h"

#include "base/clock.h"
#include "base/mem.h"

#define AT(field) offsetof(struct jetstream_options, field)

static opt_read_fn read_strict, read_sync, read_memory, read_file, read_limits, read_store,
    read_window;

/* clang-format off */
static const struct opt_row limit_rows[] = {
    {"max_ack_pending", OPT_INT, AT(max_ack_pending), .help = "most a consumer may ask for"},
    {"max_request_batch", OPT_INT, AT(max_request_batch), .help = "most a pull request may ask for"},
    {"default_max_consumers", OPT_INT, AT(default_max_consumers), .dflt = 1000, .help = "consumers of a stream that names no limit; -1: any number"},
    {"duplicate_window", OPT_CALL, AT(duplicate_window_ns), .read = read_window, .help = "longest duplicate window"},
    {"max_ha_assets", OPT_QUIET, .help = "for clusters"},
    {"batch", OPT_LATER, .help = "atomic batches"},
};
const struct opt_table opt_js_limits = {.title = "jetstream.limits", .rows = limit_rows, .n = ARRAY_LEN(limit_rows)};

static const struct opt_row rows[] = {
    {"enabled enable", OPT_BOOL, AT(enabled), .dflt = 1, .help = "a block is on unless it says no"},
    {"store_dir store storedir", OPT_CALL, AT(store_dir), .read = read_store, .text = "the system's temporary directory", .help = "where streams are kept, in its directory \"jetstream\""},
    {"domain", OPT_STRING, AT(domain), .help = "name of this JetStream for other sides of a link"},
    {"max_memory_store max_mem_store max_mem", OPT_CALL, AT(max_memory), .read = read_memory, .text = "75 % of the memory", .help = "bytes of all memory streams"},
    {"max_file_store max_file", OPT_CALL, AT(max_file), .read = read_file, .text = "75 % of the free space", .help = "bytes of all file streams"},
    {"sync_interval sync", OPT_CALL, AT(sync_interval_ns), .read = read_sync, .text = "2m", .help = "accepted; every acknowledged message is on disk before its acknowledgement"},
    {"strict", OPT_CALL, AT(strict), .read = read_strict, .text = "true", .help = "unknown fields in requests are errors"},
    {"limits", OPT_CALL, .read = read_limits, .help = "what streams and consumers may ask for"},
    {"max_buffered_size", OPT_QUIET, .help = "this server's windows are fixed"},
    {"max_buffered_msgs", OPT_QUIET, .help = "this server's windows are fixed"},
    {"request_queue_limit", OPT_QUIET, .help = "requests are answered in turn"},
    {"info_queue_limit", OPT_QUIET, .help = "requests are answered in turn"},
    {"max_concurrent_io", OPT_QUIET, .help = "one thread writes"},
    {"extension_hint", OPT_QUIET, .help = "for managed services"},
    {"unique_tag", OPT_QUIET, .help = "for clusters"},
    {"max_outstanding_catchup", OPT_QUIET, .help = "for clusters"},
    {"meta_compact", OPT_QUIET, .help = "for clusters"},
    {"meta_compact_size", OPT_QUIET, .help = "for clusters"},
    {"meta_compact_sync", OPT_QUIET, .help = "for clusters"},
    {"key ek encryption_key", OPT_REFUSED, .help = "encryption at rest"},
    {"prev_key prev_ek prev_encryption_key", OPT_REFUSED, .help = "encryption at rest"},
    {"cipher", OPT_REFUSED, .help = "encryption at rest"},
    {"tpm", OPT_REFUSED, .help = "encryption at rest"},
};
/* clang-format on */
const struct opt_table opt_js = {.title = "jetstream", .rows = rows, .n = ARRAY_LEN(rows)};

static void set_store_dir(struct opt_reader *r, const struct conf_node *n)
{
    if (!opt_is(r, n, CONF_STRING))
        return;
    if (r->o->js.store_dir)
        opt_error(r, n, "Duplicate 'store_dir' configuration");
    else if (n->u.str.n)
        r->o->js.store_dir = opt_text(r, n->u.str);
}

void opt_read_store_dir(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    (void)row;
    (void)to;
    set_store_dir(r, n);
}

static void read_store(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                       void *to)
{
    (void)row;
    (void)to;
    set_store_dir(r, n);
}

static void read_strict(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    struct jetstream_options *js = to;
    (void)row;
    if (n->type == CONF_BOOL)
        js->strict = n->u.b;
    else
        opt_error(r, n, "Expected 'true' or 'false' for bool value, got '%s'", opt_show(r, n));
}

static void read_sync(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                      void *to)
{
    struct jetstream_options *js = to;
    (void)row;
    if (n->type == CONF_STRING && slice_ieq(n->u.str, SLICE("always")))
        js->sync_always = true;
    else
        js->sync_interval_ns = opt_duration(r, n, n->key);
}

static void read_memory(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    struct jetstream_options *js = to;
    (void)row;
    opt_size(r, n, "max_mem_store", &js->max_memory);
}

static void read_file(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                      void *to)
{
    struct jetstream_options *js = to;
    (void)row;
    opt_size(r, n, "max_file_store", &js->max_file);
}

static void read_window(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    struct jetstream_options *js = to;
    (void)row;
    if (opt_is(r, n, CONF_STRING) &&
        duration_parse(n->u.str.p, n->u.str.n, &js->duplicate_window_ns) < 0)
        opt_error(r, NULL, "time: invalid duration %s", opt_quote(r, n->u.str));
}

static void read_limits(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    (void)row;
    if (n->type == CONF_MAP)
        opt_read(r, n, &opt_js_limits, to);
    else
        opt_error(r, n, "Expected a map to define JetStreamLimits, got %s",
                  conf_type_name(n->type));
}

void opt_read_jetstream(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    struct options *o = to;
    (void)row;
    if (n->type == CONF_BOOL || n->type == CONF_STRING) {
        opt_enabled(r, n, &o->js.enabled);
    } else if (n->type == CONF_MAP) {
        o->js.enabled = true;
        opt_read(r, n, &opt_js, &o->js);
    } else {
        opt_error(r, n, "Expected map, bool or string to define JetStream, got %s",
                  conf_type_name(n->type));
    }
}
