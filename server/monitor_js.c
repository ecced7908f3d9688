/* server/monitor_js.c -- /jsz
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "jsapi/jsapi.h"
#include "server/monitor_inside.h"
#include "server/options.h"

struct jsz {
    bool accounts, streams, consumers, direct_consumers, config, leader_only, raft,
        stream_leader_only;
    int64_t offset, limit;
    const char *acc;
};

static bool read_args(struct ask *a, struct jsz *z)
{
    *z = (struct jsz){.acc = ask_text(a, "acc")};
    return ask_bool(a, "accounts", &z->accounts) && ask_bool(a, "streams", &z->streams) &&
           ask_bool(a, "consumers", &z->consumers) &&
           ask_bool(a, "direct-consumers", &z->direct_consumers) &&
           ask_bool(a, "config", &z->config) && ask_page(a, &z->offset, &z->limit) &&
           ask_bool(a, "leader-only", &z->leader_only) && ask_bool(a, "raft", &z->raft) &&
           ask_bool(a, "stream-leader-only", &z->stream_leader_only);
}

/* A page of the accounts with JetStream, or the one asked for. */
static void write_accounts(struct ask *a, const struct jsz *z)
{
    int64_t at = 0;
    bool begun = false;
    for (struct account *acc = NULL; (acc = accounts_next(a->srv->accounts, acc));) {
        if (!acc->js || (z->acc && strcmp(z->acc, acc->name) != 0))
            continue;
        if (!z->acc && (at < z->offset || at - z->offset >= z->limit)) {
            at++;
            continue;
        }
        at++;
        if (!begun)
            json_arr(&a->j, "account_details");
        begun = true;
        jsapi_describe(a->srv->js, &a->j, slice_cstr(acc->name), z->streams || z->consumers,
                       z->consumers, z->config);
    }
    if (begun)
        json_end(&a->j);
}

static uint64_t count_accounts(const struct server *srv)
{
    uint64_t n = 0;
    for (struct account *acc = NULL; (acc = accounts_next(srv->accounts, acc));)
        n += acc->js != NULL;
    return n;
}

static void write_limits(struct json_out *j, const struct jetstream_options *o)
{
    const struct {
        const char *key;
        int64_t value;
    } limits[] = {{"max_ack_pending", o->max_ack_pending},
                  {"max_request_batch", o->max_request_batch},
                  {"duplicate_window", o->duplicate_window_ns},
                  {"default_max_consumers", o->default_max_consumers}};
    bool begun = false;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (limits[i].value <= 0)
            continue;
        if (!begun)
            json_obj(j, "limits");
        begun = true;
        json_i64(j, limits[i].key, limits[i].value);
    }
    if (begun)
        json_end(j);
}

void ask_jsz(struct ask *a)
{
    struct server *srv = a->srv;
    struct jsapi_totals t = {0};
    struct jsz z;

    if (!read_args(a, &z))
        return;
    if (srv->js)
        jsapi_totals(srv->js, &t);
    json_obj(&a->j, NULL);
    monitor_statistics(srv, &a->j);
    ask_head(a);
    if (!srv->js)
        json_bool(&a->j, "disabled", true);
    json_js_config(&a->j, srv, a->m);
    if (srv->js)
        write_limits(&a->j, &srv->opt->js);
    json_u64(&a->j, "streams", t.streams);
    json_u64(&a->j, "consumers", t.consumers);
    json_u64(&a->j, "messages", t.messages);
    json_u64(&a->j, "bytes", t.bytes);
    if (srv->js && (z.accounts || z.streams || z.consumers || z.config || z.acc))
        write_accounts(a, &z);
    json_u64(&a->j, "total", count_accounts(srv));
    json_end(&a->j);
}
