/* server/monitor_varz.c -- /varz: the server as a whole
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "jsapi/jsapi.h"
#include "server/auth.h"
#include "server/monitor_inside.h"
#include "server/options.h"
#include "server/tls.h"
#include "storage/storage.h"

/* Resident bytes of the process. */
static int64_t resident(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%*d %lld", &pages) != 1)
            pages = 0;
        (void)fclose(f);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

/* CPU since the last look that is at least a second old, in percent of one core. */
static double cpu_percent(struct monitor *m, const struct server *srv)
{
    struct rusage ru;
    int64_t now = clock_mono();
    getrusage(RUSAGE_SELF, &ru);
    int64_t used = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NS_PER_S +
                   (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * NS_PER_US;
    int64_t since = m && m->cpu_at ? m->cpu_at : srv->start_mono;
    int64_t before = m ? m->cpu_ns : 0;
    double percent = m ? m->cpu_percent : 0;
    if (now - since >= NS_PER_S) {
        percent = (double)(used - before) / (double)(now - since) * 100;
        if (m) {
            m->cpu_ns = used;
            m->cpu_at = now;
            m->cpu_percent = percent;
        }
    }
    return percent;
}

static void write_deny(struct json_out *j, const struct remote_options *ro)
{
    if (!ro->deny_imports.n && !ro->deny_exports.n)
        return;
    const struct {
        const char *key;
        const struct text_list *list;
    } lists[] = {{"exports", &ro->deny_exports}, {"imports", &ro->deny_imports}};
    json_obj(j, "deny");
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        if (!lists[k].list->n)
            continue;
        json_arr(j, lists[k].key);
        for (size_t i = 0; i < lists[k].list->n; i++)
            json_str(j, NULL, lists[k].list->at[i]);
        json_end(j);
    }
    json_end(j);
}

/* "nats-leaf://user:pass@host:port" without what is secret: "host:port". */
static struct slice host_of_url(struct slice url)
{
    size_t at = slice_search(url, SLICE("://"));
    struct slice rest = at < url.n ? slice_skip(url, at + 3) : url;
    rest = slice_head(rest, slice_find(rest, '/'));
    for (size_t i; (i = slice_find(rest, '@')) < rest.n;)
        rest = slice_skip(rest, i + 1);
    return rest;
}

static void write_leaf(struct json_out *j, const struct options *o)
{
    json_obj(j, "leaf");
    if (o->leaf.nremotes) {
        json_arr(j, "remotes");
        for (size_t i = 0; i < o->leaf.nremotes; i++) {
            const struct remote_options *ro = &o->leaf.remotes[i];
            json_obj(j, NULL);
            json_cstr(j, "local_account", ro->account);
            if (ro->tls)
                json_f64(j, "tls_timeout", (double)ro->tls->timeout_ns / 1e9);
            json_arr(j, "urls");
            for (size_t k = 0; k < ro->urls.n; k++)
                json_str(j, NULL, host_of_url(ro->urls.at[k]));
            json_end(j);
            write_deny(j, ro);
            json_end(j);
        }
        json_end(j);
    }
    json_end(j);
}

void json_js_config(struct json_out *j, const struct server *srv, const struct monitor *m)
{
    const struct jetstream_options *o = &srv->opt->js;
    json_obj(j, "config");
    json_i64(j, "max_memory", o->enabled ? (m ? m->js_max_memory : o->max_memory) : 0);
    json_i64(j, "max_storage", o->enabled ? (m ? m->js_max_storage : o->max_file) : 0);
    if (o->enabled) {
        char *dir = xasprintf("%s/jetstream", o->store_dir);
        json_cstr(j, "store_dir", dir);
        free(dir);
        json_i64(j, "sync_interval", o->sync_interval_ns);
        if (srv->domain.n)
            json_str(j, "domain", srv->domain);
        if (o->strict)
            json_bool(j, "strict", true);
    }
    json_end(j);
}

void monitor_statistics(struct server *srv, struct json_out *j)
{
    struct jsapi_totals t = {0};
    uint64_t accounts = 0;
    if (srv->js)
        jsapi_totals(srv->js, &t);
    for (struct account *a = NULL; (a = accounts_next(srv->accounts, a));)
        accounts += a->js != NULL;
    json_i64(j, "memory", t.memory);
    json_i64(j, "storage", t.storage);
    json_u64(j, "reserved_memory", 0);
    json_u64(j, "reserved_storage", 0);
    json_u64(j, "accounts", accounts);
    json_u64(j, "ha_assets", 0);
    json_obj(j, "api");
    json_i64(j, "level", srv->js ? SERVER_API_LEVEL : 0);
    json_u64(j, "total", t.api_total);
    json_u64(j, "errors", t.api_errors);
    if (t.api_inflight)
        json_u64(j, "inflight", t.api_inflight);
    json_end(j);
}

static void write_jetstream(struct json_out *j, struct server *srv, const struct monitor *m)
{
    const struct jetstream_options *o = &srv->opt->js;
    json_obj(j, "jetstream");
    if (srv->js) {
        json_js_config(j, srv, m);
        json_obj(j, "stats");
        monitor_statistics(srv, j);
        json_end(j);
        json_obj(j, "limits");
        if (o->max_ack_pending > 0)
            json_i64(j, "max_ack_pending", o->max_ack_pending);
        if (o->max_request_batch > 0)
            json_i64(j, "max_request_batch", o->max_request_batch);
        if (o->duplicate_window_ns > 0)
            json_i64(j, "duplicate_window", o->duplicate_window_ns);
        if (o->default_max_consumers > 0)
            json_i64(j, "default_max_consumers", o->default_max_consumers);
        json_end(j);
    }
    json_end(j);
}

static void write_identity(struct json_out *j, const struct server *srv)
{
    const struct options *o = srv->opt;
    json_cstr(j, "server_id", srv->id);
    json_cstr(j, "server_name", srv->name);
    json_cstr(j, "version", SERVER_COMPAT);
    json_i64(j, "proto", 1);
    json_cstr(j, "go", "none: frond " FROND_VERSION ", C");
    json_cstr(j, "host", o->host);
    json_u64(j, "port", srv->port);
    if (auth_required(srv->auth))
        json_bool(j, "auth_required", true);
    if (srv->rules.tls)
        json_bool(j, "tls_required", true);
    if (srv->rules.tls_verify)
        json_bool(j, "tls_verify", true);
    json_i64(j, "max_connections", o->max_connections);
    if (o->max_subscriptions)
        json_i64(j, "max_subscriptions", o->max_subscriptions);
    json_i64(j, "ping_interval", o->ping_interval_ns);
    json_i64(j, "ping_max", o->ping_max);
    json_cstr(j, "http_host", o->http_host ? o->http_host : o->host);
    json_u64(j, "http_port", srv->monitor_port);
    json_cstr(j, "http_base_path", strcmp(o->http_base_path, "/") == 0 ? "" : o->http_base_path);
    json_i64(j, "https_port", 0);
    json_f64(j, "auth_timeout", (double)o->auth_timeout_ns / 1e9);
    json_i64(j, "max_control_line", o->max_control_line);
    json_i64(j, "max_payload", o->max_payload);
    json_i64(j, "max_pending", o->max_pending);
}

static void write_process(struct json_out *j, struct server *srv, struct monitor *m)
{
    const struct options *o = srv->opt;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    json_f64(j, "tls_timeout", o->tls ? (double)o->tls->timeout_ns / 1e9 : 2);
    json_i64(j, "write_deadline", o->write_deadline_ns);
    json_time(j, "start", srv->start);
    json_time(j, "now", clock_wall());
    json_age(j, "uptime", clock_mono() - srv->start_mono);
    json_i64(j, "mem", resident());
    json_i64(j, "cores", cores);
    json_i64(j, "gomaxprocs", cores);
    json_f64(j, "cpu", cpu_percent(m, srv));
}

void monitor_load(const struct server *srv, struct json_out *j)
{
    json_i64(j, "mem", resident());
    json_i64(j, "cores", sysconf(_SC_NPROCESSORS_ONLN));
    json_f64(j, "cpu", cpu_percent(srv->monitor, srv));
}

static void four(struct json_out *j, const char *key, uint64_t clients, uint64_t leafs)
{
    json_obj(j, key);
    json_u64(j, "clients", clients);
    json_u64(j, "routes", 0);
    json_u64(j, "gateways", 0);
    json_u64(j, "leafs", leafs);
    json_end(j);
}

static void write_counters(struct json_out *j, struct server *srv)
{
    uint64_t leafs = 0, subs = 0, in_msgs = 0, in_bytes = 0, out_msgs = 0, out_bytes = 0;
    for (size_t i = 0; i < srv->nleafs; i++) {
        struct leaf_view v;
        leaf_look(srv->leafs[i], &v);
        leafs += v.up;
    }
    for (struct account *a = NULL; (a = accounts_next(srv->accounts, a));) {
        subs += sublist_count(a->subs);
        in_msgs += a->by_links.in_msgs;
        in_bytes += a->by_links.in_bytes;
        out_msgs += a->by_links.out_msgs;
        out_bytes += a->by_links.out_bytes;
    }
    json_u64(j, "connections", srv->nclients);
    json_u64(j, "total_connections", srv->total_connections);
    json_u64(j, "routes", 0);
    json_u64(j, "remotes", 0);
    json_u64(j, "leafnodes", leafs);
    json_u64(j, "in_msgs", srv->in_msgs);
    json_u64(j, "in_bytes", srv->in_bytes);
    json_u64(j, "in_client_msgs", srv->in_msgs - in_msgs);
    json_u64(j, "in_client_bytes", srv->in_bytes - in_bytes);
    json_u64(j, "out_msgs", srv->out_msgs);
    json_u64(j, "out_bytes", srv->out_bytes);
    json_u64(j, "out_client_msgs", srv->out_msgs - out_msgs);
    json_u64(j, "out_client_bytes", srv->out_bytes - out_bytes);
    json_u64(j, "slow_consumers", srv->slow_consumers);
    json_u64(j, "stale_connections", srv->stale_connections);
    json_u64(j, "stalled_clients", srv->stalled_clients);
    json_u64(j, "subscriptions", subs);
}

static void write_configured(struct json_out *j, const struct server *srv)
{
    const struct options *o = srv->opt;
    json_time(j, "config_load_time", srv->config_loaded);
    json_cstr(j, "config_digest", o->config_digest);
    if (o->tags.n) {
        json_arr(j, "tags");
        for (size_t i = 0; i < o->tags.n; i++)
            json_str(j, NULL, o->tags.at[i]);
        json_end(j);
    }
    if (o->nmetadata) {
        json_obj(j, "metadata");
        for (size_t i = 0; i < o->nmetadata; i++) {
            json_key_slice(j, slice_cstr(o->metadata[i].key));
            json_cstr(j, NULL, o->metadata[i].value);
        }
        json_end(j);
    }
    if (srv->system)
        json_cstr(j, "system_account", srv->system->name);
    four(j, "slow_consumer_stats", srv->slow_consumers, 0);
    four(j, "stale_connection_stats", srv->stale_connections, 0);
    json_obj(j, "disk_io_wait_stats");
    json_u64(j, "waiters", 0);
    json_u64(j, "waits", 0);
    json_u64(j, "wait_time", 0);
    json_u64(j, "max_wait_time", 0);
    json_end(j);
    if (srv->tls && tls_context_not_after(srv->tls))
        json_time(j, "tls_cert_not_after", tls_context_not_after(srv->tls));
}

/* --- our own key ------------------------------------------------------------------------------ */

/* Bucket i counts turns of 2^i us and more. */
static void write_histogram(struct json_out *j, const char *key, const uint64_t hist[32])
{
    int n = 32;
    while (n > 0 && hist[n - 1] == 0)
        n--;
    json_arr(j, key);
    for (int i = 0; i < n; i++)
        json_u64(j, NULL, hist[i]);
    json_end(j);
}

static void write_loop(struct json_out *j, const struct server *srv)
{
    struct loop_stats s;
    loop_stats(srv->loop, &s);
    json_obj(j, "loop");
    json_u64(j, "turns", s.turns);
    json_i64(j, "turn_max_ns", s.wall_max_ns);
    json_i64(j, "turn_cpu_max_ns", s.cpu_max_ns);
    json_cstr(j, "longest_piece", s.longest);
    json_cstr(j, "cpu_longest_piece", s.cpu_longest);
    write_histogram(j, "turn_us_log2", s.wall_hist);
    write_histogram(j, "turn_cpu_us_log2", s.cpu_hist);
    json_end(j);
}

static void write_store(struct json_out *j, const struct server *srv)
{
    struct store_stats s;
    if (!srv->store)
        return;
    store_stats(srv->store, &s);
    json_obj(j, "store");
    json_str(j, "uuid", store_uuid(srv->store));
    json_u64(j, "commits", s.commits);
    json_u64(j, "ops", s.ops);
    json_i64(j, "waiting_bytes", s.waiting_bytes);
    json_i64(j, "last_commit_ns", s.last_commit_ns);
    json_i64(j, "commit_max_ns", s.commit_max_ns);
    json_bool(j, "full", s.full);
    json_bool(j, "read_only", s.read_only);
    json_bool(j, "pressure", srv->pressure);
    json_u64(j, "damaged", s.damaged);
    json_end(j);
}

static void write_links(struct json_out *j, const struct server *srv)
{
    json_arr(j, "links");
    for (size_t i = 0; i < srv->nleafs; i++) {
        struct leaf_view v;
        leaf_look(srv->leafs[i], &v);
        json_obj(j, NULL);
        json_str(j, "account", v.account);
        json_cstr(j, "state", v.state);
        json_u64(j, "connects", v.connects);
        json_u64(j, "attempts", v.attempts);
        json_u64(j, "live_bytes", v.live_bytes);
        json_u64(j, "backlog_bytes", v.backlog_bytes);
        json_u64(j, "dropped_too_big", v.dropped_too_big);
        json_end(j);
    }
    json_end(j);
}

/* All of it. m may be NULL: no listener, nobody counts requests. */
static void write_varz(struct server *srv, struct monitor *m, struct json_out *j)
{
    static const char *const empty[] = {"cluster", "gateway"}, *const later[] = {"mqtt",
                                                                                 "websocket"};
    json_obj(j, NULL);
    write_identity(j, srv);
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        json_obj(j, empty[i]);
        json_end(j);
    }
    write_leaf(j, srv->opt);
    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        json_obj(j, later[i]);
        json_end(j);
    }
    write_jetstream(j, srv, m);
    write_process(j, srv, m);
    write_counters(j, srv);
    monitor_requests(m, j);
    write_configured(j, srv);
    json_obj(j, "frond");
    json_cstr(j, "version", FROND_VERSION);
    write_loop(j, srv);
    write_store(j, srv);
    write_links(j, srv);
    json_end(j);
    json_end(j);
}

void monitor_varz(struct server *srv, struct json_out *j)
{
    write_varz(srv, srv->monitor, j);
}

/* The one argument is ours: ?turns=reset begins the histograms of turns anew after this answer. */
void ask_varz(struct ask *a)
{
    const char *turns = ask_text(a, "turns");
    write_varz(a->srv, a->m, &a->j);
    if (turns && strcmp(turns, "reset") == 0)
        loop_stats_reset(a->srv->loop);
}
