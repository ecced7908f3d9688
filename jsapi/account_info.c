/* jsapi/account_info.c -- $JS.API.INFO, and the figures that monitoring shows
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "jsapi/api.h"
#include "jsapi/consumers.h"
#include "jsapi/replicate.h"

struct figures { /* of one account */
    int64_t memory, storage, reserved_memory, reserved_storage;
    uint64_t streams, consumers, all_consumers, messages, bytes;
};

static void gather(const struct jsapi_account *a, struct figures *f)
{
    struct stream_state st;

    *f = (struct figures){0};
    store_account_usage(a->js->host.store, a->name, &f->storage, &f->memory);
    for (size_t i = 0; i < a->n_streams; i++) {
        struct js_stream *s = a->streams[i];
        if (s->state != STREAM_LIVE)
            continue;
        store_state(s->store, &st);
        f->streams++;
        f->consumers += consumers_count(s->consumers);
        f->all_consumers += consumers_all(s->consumers);
        f->messages += st.msgs;
        f->bytes += st.bytes;
        if (s->cfg.max_bytes > 0 && s->cfg.storage == STORE_MEMORY)
            f->reserved_memory += s->cfg.max_bytes;
        else if (s->cfg.max_bytes > 0)
            f->reserved_storage += s->cfg.max_bytes;
    }
}

static int64_t limit(int64_t v)
{
    return v < 0 ? -1 : v;
}

/* Without "inflight": that is told of the server as a whole only (jsapi_totals). */
static void write_api(struct json_out *j, uint64_t total, uint64_t errors)
{
    json_obj(j, "api");
    json_i64(j, "level", API_LEVEL);
    json_u64(j, "total", total);
    json_u64(j, "errors", errors);
    json_end(j);
}

static void write_limits(struct json_out *j, const struct jsapi_limits *l)
{
    json_obj(j, "limits");
    json_i64(j, "max_memory", limit(l->max_memory));
    json_i64(j, "max_storage", limit(l->max_storage));
    json_i64(j, "max_streams", limit(l->max_streams));
    json_i64(j, "max_consumers", limit(l->max_consumers));
    json_i64(j, "max_ack_pending", limit(l->max_ack_pending));
    json_i64(j, "memory_max_stream_bytes", limit(l->memory_max_stream_bytes));
    json_i64(j, "storage_max_stream_bytes", limit(l->storage_max_stream_bytes));
    json_bool(j, "max_bytes_required", l->max_bytes_required);
    json_end(j);
}

static void write_usage(struct json_out *j, const struct figures *f)
{
    json_i64(j, "memory", f->memory);
    json_i64(j, "storage", f->storage);
    json_i64(j, "reserved_memory", f->reserved_memory);
    json_i64(j, "reserved_storage", f->reserved_storage);
}

void account_info(struct request *r)
{
    struct jsapi_account *a = r->acc;
    struct figures f;

    gather(a, &f);
    struct json_out *j = api_ok(r);
    write_usage(j, &f);
    json_u64(j, "streams", f.streams);
    json_u64(j, "consumers", f.all_consumers);
    write_limits(j, &a->limits);
    if (a->js->host.domain.n)
        json_str(j, "domain", a->js->host.domain);
    write_api(j, a->api_total, a->api_errors);
    api_send(r);
}

/* --- monitoring ------------------------------------------------------------------------------- */

void jsapi_totals(struct jsapi *js, struct jsapi_totals *out)
{
    *out = (struct jsapi_totals){.api_total = js->api_total, .api_errors = js->api_errors};
    LIST_EACH(it, &js->accounts)
    {
        struct jsapi_account *a = LIST_ENTRY(it, struct jsapi_account, link);
        struct figures f;
        gather(a, &f);
        out->streams += f.streams;
        out->consumers += f.consumers;
        out->messages += f.messages;
        out->bytes += f.bytes;
        out->memory += f.memory;
        out->storage += f.storage;
        out->api_inflight += a->n_requests;
    }
}

static void describe_stream(struct js_stream *s, struct json_out *j, bool consumers, bool config)
{
    const struct jsapi_host *h = &s->acc->js->host;

    json_obj(j, NULL);
    json_str(j, "name", s->name);
    json_time(j, "created", s->created);
    js_write_cluster(h, j);
    if (config)
        stream_config_write(&s->cfg, j, "config", false, h->version);
    js_stream_write_state(s, j, (struct slice){0}, (struct slice){0});
    if (consumers && s->consumers && !consumers_none(s->consumers)) {
        json_arr(j, "consumer_detail");
        consumers_describe(s->consumers, j, config);
        json_end(j);
    }
    replicator_write_info(s->rep, j);
    json_end(j);
}

static void describe_account(struct jsapi_account *a, struct json_out *j, bool streams,
                             bool consumers, bool config)
{
    struct figures f;

    gather(a, &f);
    json_obj(j, NULL);
    json_str(j, "name", a->name);
    json_str(j, "id", a->name);
    write_usage(j, &f);
    json_u64(j, "accounts", 0);
    json_u64(j, "ha_assets", 0);
    write_api(j, a->api_total, a->api_errors);
    if (streams && f.streams) {
        json_arr(j, "stream_detail");
        for (size_t i = 0; i < a->n_streams; i++)
            if (a->streams[i]->state == STREAM_LIVE)
                describe_stream(a->streams[i], j, consumers, config);
        json_end(j);
    }
    json_end(j);
}

void jsapi_describe(struct jsapi *js, struct json_out *out, struct slice account, bool streams,
                    bool consumers, bool config)
{
    LIST_EACH(it, &js->accounts)
    {
        struct jsapi_account *a = LIST_ENTRY(it, struct jsapi_account, link);
        if (!account.n || slice_eq(account, a->name))
            describe_account(a, out, streams, consumers, config);
    }
}

const char *jsapi_health(struct jsapi *js)
{
    struct store_stats st;

    store_stats(js->host.store, &st);
    if (st.read_only)
        return "JetStream store is read-only";
    if (st.full)
        return "JetStream store is full: publishes are refused";
    LIST_EACH(it, &js->accounts)
    {
        const struct jsapi_account *a = LIST_ENTRY(it, struct jsapi_account, link);
        for (size_t i = 0; i < a->n_streams; i++) {
            const struct js_stream *s = a->streams[i];
            if (s->state == STREAM_CREATING && !s->store) {
                (void)snprintf(js->health, sizeof js->health,
                               "JetStream stream '%.*s > %.*s' is not available",
                               SLICE_FMT(a->name), SLICE_FMT(s->name));
                return js->health;
            }
        }
    }
    return NULL;
}
