/* server/monitor_inside.h -- what the files of monitoring share; nobody else includes it
 *
 *     monitor.c           life, the table of paths, arguments, /healthz and the page at /
 *     monitor_varz.c      /varz
 *     monitor_connz.c     /connz, closed connections
 *     monitor_accounts.c  /leafz /subsz /accountz /accstatz /routez /gatewayz
 *     monitor_js.c        /jsz
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_MONITOR_INSIDE_H
#define SERVER_MONITOR_INSIDE_H

#include "base/list.h"
#include "server/leaf.h"
#include "server/monitor.h"
#include "server/server.h"
#include "server/sublist.h"

struct http_request;

/* One look. An endpoint reads its arguments first, then writes one object; a complaint is the whole
 * answer. */
struct ask {
    struct server *srv;
    struct monitor *m;
    struct http_request *r;
    struct json_out j;
    int status;
    bool compact;    /* no indentation */
    char *complaint; /* owned: status 400, plain text */
};

/* Arguments as Go's strconv reads them. Absent: *out stays. False: the complaint is written. */
bool ask_bool(struct ask *a, const char *name, bool *out);
bool ask_int(struct ask *a, const char *name, int64_t *out);
bool ask_u64(struct ask *a, const char *name, uint64_t *out);
const char *ask_text(const struct ask *a, const char *name); /* NULL: absent or empty */
/* "subs": a boolean or "detail". */
bool ask_subs(struct ask *a, bool *subs, bool *detail);
/* offset and limit: what is negative or 0 becomes 0 and 1024. */
bool ask_page(struct ask *a, int64_t *offset, int64_t *limit);
void ask_complain(struct ask *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* server_id, now. */
void ask_head(struct ask *a);

typedef void ask_fn(struct ask *a);
ask_fn ask_varz, ask_connz, ask_leafz, ask_subsz, ask_accountz, ask_accstatz, ask_jsz, ask_routez,
    ask_gatewayz;

/* Go's duration; "7s", "3m0s", "2h0m5s", "1d0h0m9s" of whole seconds. */
void json_duration(struct json_out *j, const char *key, int64_t ns);
void json_age(struct json_out *j, const char *key, int64_t ns);
/* An element of a subscriptions list in detail; account NULL: not told. max 0: none. */
void json_subscription(struct json_out *j, const char *account, const struct sink *s,
                       struct slice sid, uint64_t msgs, uint64_t max, uint64_t cid);
/* max_memory … of "config" and "limits" */
void json_js_config(struct json_out *j, const struct server *srv, const struct monitor *m);

#define PATHS_MAX 16
struct monitor {
    struct server *srv;
    struct http *http;
    const char *base;          /* http_base_path without a slash at its end */
    uint64_t asked[PATHS_MAX]; /* requests per row of the table of paths */
    struct list closed;        /* struct closed, oldest first */
    size_t nclosed;
    int64_t cpu_ns, cpu_at; /* the last sample: CPU used, mono */
    double cpu_percent;
    int64_t js_max_memory, js_max_storage; /* as at start */
};
void monitor_requests(const struct monitor *m, struct json_out *j); /* http_req_stats */
void monitor_forget_closed(struct monitor *m);

#endif
