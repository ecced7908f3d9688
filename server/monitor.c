/* server/monitor.c -- who asks, what for, with which arguments
 *
 * A table maps paths to functions. Each function is one look at the present state, written into one
 * buffer and sent; nothing is kept between two requests but counters and closed connections.
 * Answers are indented by two blanks, errors are plain text, as nats-server gives them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/monitor.h"

#include <stdarg.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "jsapi/jsapi.h"
#include "server/http.h"
#include "server/indent.h"
#include "server/jshost.h"
#include "server/monitor_inside.h"
#include "server/options.h"

static ask_fn ask_healthz;

/* Sorted, as http_req_stats lists them. */
static const struct {
    const char *path;
    ask_fn *fn;
    const char *title; /* on the page; NULL: a second name */
} paths[] = {
    {"/accountz", ask_accountz, "Accounts"},
    {"/accstatz", ask_accstatz, "Account Stats"},
    {"/connz", ask_connz, "Connections"},
    {"/gatewayz", ask_gatewayz, "Gateways"},
    {"/healthz", ask_healthz, "Health Probe"},
    {"/jsz", ask_jsz, "JetStream"},
    {"/leafz", ask_leafz, "LeafNodes"},
    {"/routez", ask_routez, "Routes"},
    {"/subscriptionsz", ask_subsz, NULL},
    {"/subsz", ask_subsz, "Subscriptions"},
    {"/varz", ask_varz, "General"},
};
#define PLAIN "text/plain; charset=utf-8"
#define HTML  "text/html; charset=utf-8"

/* --- arguments -------------------------------------------------------------------------------- */

void ask_complain(struct ask *a, const char *fmt, ...)
{
    va_list ap;
    struct buf text = BUF_INIT;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    free(a->complaint);
    a->complaint = buf_steal(&text);
}

const char *ask_text(const struct ask *a, const char *name)
{
    const char *v = a->r ? http_arg(a->r, name) : NULL;
    return v && *v ? v : NULL;
}

bool ask_bool(struct ask *a, const char *name, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    const char *v = ask_text(a, name);
    if (!v)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(v, yes[i]) == 0 || strcmp(v, no[i]) == 0) {
            *out = strcmp(v, yes[i]) == 0;
            return true;
        }
    }
    ask_complain(
        a, "Error decoding boolean for '%s': strconv.ParseBool: parsing \"%s\": invalid syntax",
        name, v);
    return false;
}

static const char *number_trouble(int err)
{
    return err == E_RANGE ? "value out of range" : "invalid syntax";
}

bool ask_int(struct ask *a, const char *name, int64_t *out)
{
    const char *v = ask_text(a, name);
    int err = v ? slice_i64(slice_cstr(v), out) : 0;
    if (err)
        ask_complain(a, "Error decoding int for '%s': strconv.Atoi: parsing \"%s\": %s", name, v,
                     number_trouble(err));
    return err == 0;
}

bool ask_u64(struct ask *a, const char *name, uint64_t *out)
{
    const char *v = ask_text(a, name);
    int err = v ? slice_u64(slice_cstr(v), out) : 0;
    if (err)
        ask_complain(a, "Error decoding uint64 for '%s': strconv.ParseUint: parsing \"%s\": %s",
                     name, v, number_trouble(err));
    return err == 0;
}

bool ask_subs(struct ask *a, bool *subs, bool *detail)
{
    const char *v = ask_text(a, "subs");
    *detail = v && (strcmp(v, "detail") == 0 || strcmp(v, "DETAIL") == 0);
    return *detail || ask_bool(a, "subs", subs);
}

bool ask_page(struct ask *a, int64_t *offset, int64_t *limit)
{
    if (!ask_int(a, "offset", offset) || !ask_int(a, "limit", limit))
        return false;
    if (*offset < 0)
        *offset = 0;
    if (*limit <= 0)
        *limit = 1024;
    return true;
}

void ask_head(struct ask *a)
{
    json_cstr(&a->j, "server_id", a->srv->id);
    json_time(&a->j, "now", clock_wall());
}

/* --- small words ------------------------------------------------------------------------------ */

void json_duration(struct json_out *j, const char *key, int64_t ns)
{
    char text[40];
    json_str(j, key, slice_of(text, duration_print(ns, text)));
}

void json_age(struct json_out *j, const char *key, int64_t ns)
{
    long long s = ns > 0 ? ns / NS_PER_S : 0, m = s / 60, h = m / 60, d = h / 24, y = d / 365;
    char text[64];
    if (y)
        (void)snprintf(text, sizeof text, "%lldy%lldd%lldh%lldm%llds", y, d % 365, h % 24, m % 60,
                       s % 60);
    else if (d)
        (void)snprintf(text, sizeof text, "%lldd%lldh%lldm%llds", d, h % 24, m % 60, s % 60);
    else if (h)
        (void)snprintf(text, sizeof text, "%lldh%lldm%llds", h, m % 60, s % 60);
    else if (m)
        (void)snprintf(text, sizeof text, "%lldm%llds", m, s % 60);
    else
        (void)snprintf(text, sizeof text, "%llds", s);
    json_cstr(j, key, text);
}

void json_subscription(struct json_out *j, const char *account, const struct sink *s,
                       struct slice sid, uint64_t msgs, uint64_t max, uint64_t cid)
{
    json_obj(j, NULL);
    if (account) {
        json_cstr(j, "account", account);
        json_cstr(j, "account_tag", account);
    }
    json_str(j, "subject", s->subject);
    if (s->queue.n)
        json_str(j, "qgroup", s->queue);
    json_str(j, "sid", sid);
    json_u64(j, "msgs", msgs);
    if (max)
        json_u64(j, "max", max);
    json_u64(j, "cid", cid);
    json_end(j);
}

void monitor_requests(const struct monitor *m, struct json_out *j)
{
    json_obj(j, "http_req_stats");
    for (size_t i = 0; m && i < ARRAY_LEN(paths); i++)
        if (m->asked[i])
            json_u64(j, paths[i].path, m->asked[i]);
    json_end(j);
}

/* --- /healthz --------------------------------------------------------------------------------- */

struct illness {
    int status;
    const char *type, *account, *stream, *consumer;
    const char *text;
};

static void tell_illness(struct ask *a, const struct illness *ill, bool details)
{
    struct json_out *j = &a->j;
    a->status = ill->status;
    json_obj(j, NULL);
    json_cstr(j, "status",
              ill->status == 400 || ill->status == 500 || details ? "error" : "unavailable");
    if (!details) {
        json_cstr(j, "error", ill->text);
    } else {
        json_arr(j, "errors");
        json_obj(j, NULL);
        json_cstr(j, "type", ill->type);
        if (ill->account)
            json_cstr(j, "account", ill->account);
        if (ill->stream)
            json_cstr(j, "stream", ill->stream);
        if (ill->consumer)
            json_cstr(j, "consumer", ill->consumer);
        json_cstr(j, "error", ill->text);
        json_end(j);
        json_end(j);
    }
    json_end(j);
}

struct health_args {
    bool js_server_only, js_enabled_only, details;
    const char *account, *stream, *consumer;
};

/* What jsapi says about one stream or consumer: is it listed? */
static bool is_listed(struct server *srv, const struct health_args *h, bool *stream)
{
    struct buf text = BUF_INIT;
    struct json_out j;
    json_t *all = NULL;
    bool found = false;
    json_begin(&j, &text);
    json_arr(&j, NULL);
    jsapi_describe(srv->js, &j, slice_cstr(h->account), true, h->consumer != NULL, false);
    json_end(&j);
    if (json_read(buf_slice(&text), &all, NULL) == 0) {
        json_t *streams = json_key(json_array_get(all, 0), "stream_detail"), *s, *c;
        size_t i, k;
        json_array_foreach(streams, i, s)
        {
            if (!slice_is(json_get_str(s, "name"), h->stream))
                continue;
            *stream = true;
            found = h->consumer == NULL;
            json_array_foreach(json_key(s, "consumer_detail"), k, c) found |=
                h->consumer && slice_is(json_get_str(c, "name"), h->consumer);
        }
        json_free(all);
    }
    buf_release(&text);
    return found;
}

/* One asset was asked for. True: it is there, or nobody asked; else *ill says what is wrong. */
static bool asset_is_well(struct ask *a, const struct health_args *h, struct illness *ill,
                          char *text, size_t cap)
{
    struct account *acc =
        h->account ? account_find(a->srv->accounts, slice_cstr(h->account)) : NULL;
    *ill = (struct illness){404, "ACCOUNT", h->account, NULL, NULL, text};
    if (!h->account)
        return true;
    if (!acc || !acc->js) {
        (void)snprintf(text, cap, "JetStream not enabled for account \"%s\"", h->account);
        if (!acc)
            (void)snprintf(text, cap, "JetStream account \"%s\" not found", h->account);
        return false;
    }
    bool stream = false;
    if (!h->stream || is_listed(a->srv, h, &stream))
        return true;
    ill->stream = h->stream;
    ill->consumer = stream ? h->consumer : NULL;
    ill->type = stream ? "CONSUMER" : "STREAM";
    if (stream)
        (void)snprintf(text, cap,
                       "JetStream consumer \"%s\" not found for stream \"%s\" on account \"%s\"",
                       h->consumer, h->stream, h->account);
    else
        (void)snprintf(text, cap, "JetStream stream \"%s\" not found on account \"%s\"", h->stream,
                       h->account);
    return false;
}

static void ask_healthz(struct ask *a)
{
    struct health_args h = {.account = ask_text(a, "account"),
                            .stream = ask_text(a, "stream"),
                            .consumer = ask_text(a, "consumer")};
    struct server *srv = a->srv;
    struct illness ill = {.status = 400, .type = "BAD_REQUEST"};
    bool meta_only = false, js_enabled = false;
    char text[512];
    const char *sick;

    a->compact = true;
    if (!ask_bool(a, "js-enabled", &js_enabled) ||
        !ask_bool(a, "js-enabled-only", &h.js_enabled_only) ||
        !ask_bool(a, "js-server-only", &h.js_server_only) ||
        !ask_bool(a, "js-meta-only", &meta_only) || !ask_bool(a, "details", &h.details))
        return;
    if (h.stream && !h.account)
        ill.text = "\"account\" must not be empty when checking stream health";
    else if (h.consumer && !h.stream)
        ill.text = "\"stream\" must not be empty when checking consumer health";
    else if (!srv->listener || srv->stopping)
        ill = (struct illness){500, "CONNECTION", .text = "not ready for connections"};
    else if (h.js_server_only || !srv->opt->js.enabled)
        goto well;
    else if (!srv->js) {
        jshost_refusal(srv->jshost, text, sizeof text);
        ill = (struct illness){503, "JETSTREAM", .text = text};
    } else if (h.js_enabled_only || js_enabled)
        goto well;
    else if (!asset_is_well(a, &h, &ill, text, sizeof text))
        ;
    else if ((sick = jsapi_health(srv->js)) != NULL)
        ill = (struct illness){503, "JETSTREAM", .text = sick};
    else
        goto well;
    tell_illness(a, &ill, h.details);
    return;
well:
    json_obj(&a->j, NULL);
    json_cstr(&a->j, "status", "ok");
    json_end(&a->j);
}

/* --- requests --------------------------------------------------------------------------------- */

static void answer_page(struct http_request *r)
{
    struct buf b = BUF_INIT;
    buf_printf(&b,
               "<!doctype html>\n<html lang=\"en\">\n<head><title>Frond %s</title></head>\n<body>\n"
               "<h1>Frond %s</h1>\n<p>compatible with nats-server v%s</p>\n<ul>\n",
               FROND_VERSION, FROND_VERSION, SERVER_COMPAT);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (paths[i].title)
            buf_printf(&b, "<li><a href=\".%s\">%s</a></li>\n", paths[i].path, paths[i].title);
    buf_add_str(&b, "</ul>\n</body>\n</html>\n");
    http_answer(r, 200, HTML, buf_slice(&b));
    buf_release(&b);
}

static void answer_json(struct ask *a, struct slice json)
{
    struct buf pretty = BUF_INIT;
    http_header(a->r, "Access-Control-Allow-Origin", "*");
    if (!a->compact)
        json_indent(json, &pretty);
    http_answer(a->r, a->status, "application/json", a->compact ? json : buf_slice(&pretty));
    buf_release(&pretty);
}

static void run_ask(struct monitor *m, size_t row, struct http_request *r)
{
    struct buf body = BUF_INIT;
    struct ask a = {.srv = m->srv, .m = m, .r = r, .status = 200};
    m->asked[row]++;
    json_begin(&a.j, &body);
    paths[row].fn(&a);
    if (a.complaint)
        http_answer(r, 400, PLAIN, slice_cstr(a.complaint));
    else
        answer_json(&a, buf_slice(&body));
    free(a.complaint);
    buf_release(&body);
}

static void on_request(void *arg, struct http_request *r)
{
    struct monitor *m = arg;
    const char *path = http_path(r);
    size_t base = strlen(m->base);

    loop_piece(m->srv->loop, "monitoring");
    if (strncmp(path, m->base, base) == 0 && (path[base] == '/' || path[base] == '\0')) {
        path += base;
        if (*path == '\0' || strcmp(path, "/") == 0) {
            answer_page(r);
            return;
        }
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
            if (strcmp(path, paths[i].path) == 0) {
                run_ask(m, i, r);
                return;
            }
        }
    }
    http_header(r, "X-Content-Type-Options", "nosniff");
    http_answer(r, 404, PLAIN, SLICE("404 page not found\n"));
}

/* --- life ------------------------------------------------------------------------------------- */

/* What "75 % of what there is" means, as at start. */
static void note_limits(struct monitor *m)
{
    const struct jetstream_options *o = &m->srv->opt->js;
    struct statvfs fs;
    m->js_max_memory = o->max_memory;
    m->js_max_storage = o->max_file;
    if (m->js_max_memory < 0)
        m->js_max_memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 4 * 3;
    if (m->js_max_storage < 0)
        m->js_max_storage = o->store_dir && statvfs(o->store_dir, &fs) == 0
                                ? (int64_t)(fs.f_bavail * fs.f_frsize / 4 * 3)
                                : 0;
}

int monitor_open(struct server *srv, struct monitor **out)
{
    const struct options *o = srv->opt;
    const char *host = o->http_host ? o->http_host : o->host;
    struct http *http;
    struct monitor *m;
    char *why = NULL;

    *out = NULL;
    if (o->http_port == 0)
        return 0;
    m = xcalloc(1, sizeof *m);
    m->srv = srv;
    m->base = o->http_base_path && strcmp(o->http_base_path, "/") != 0 ? o->http_base_path : "";
    list_init(&m->closed);
    note_limits(m);
    int err = http_open(srv->loop, host, o->http_port, on_request, m, &http, &why);
    if (err) {
        log_fatal("Can't start monitoring: %s", why);
        free(why);
        free(m);
        return err;
    }
    m->http = http;
    srv->monitor_port = http_port(http);
    log_info(strchr(host, ':') ? "Starting http monitor on [%s]:%u"
                               : "Starting http monitor on %s:%u",
             host, srv->monitor_port);
    *out = m;
    return 0;
}

void monitor_close(struct monitor *m)
{
    if (!m)
        return;
    http_close(m->http);
    monitor_forget_closed(m);
    free(m);
}
