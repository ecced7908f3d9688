/* server/options_table.c -- the table of top-level options
 *
 * One line per option: key and aliases, type, field, default, range, what a reload may do, the name
 * nats-server gives the field, what it is for. Blocks have tables of the same kind in
 * options_{auth,tls,leaf,js}.c. The documentation prints itself from all of them.
 *
 * "Later" rows are known to nats-server and not to us yet: they are ignored and named in one
 * warning. "Refused" rows are those whose silence would open a door (operator mode, auth callout)
 * or leave data bare (encryption).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_read.h"

#include <inttypes.h>
#include <limits.h>

#include "base/clock.h"
#include "base/mem.h"

#define AT(field) offsetof(struct options, field)
#define MIB       (1024 * 1024LL)

/* clang-format off */
static const struct opt_row rows[] = {
    /* where to listen, who we are */
    {"listen", OPT_CALL, .read = opt_read_listen, .name = "Host", .reload = RELOAD_SAME,
     .help = "client port, or host:port"},
    {"port", OPT_PORT, AT(port), .dflt = OPTIONS_PORT, .name = "Port", .help = "client port; -1 picks a free one"},
    {"host net", OPT_STRING, AT(host), .text = "0.0.0.0", .name = "Host", .help = "address to bind"},
    {"server_name", OPT_CALL, AT(server_name), .text = "the server id", .read = opt_read_server_name, .reload = RELOAD_SAME,
     .name = "ServerName", .help = "name, without spaces; sites of one hub need different ones"},
    {"client_advertise", OPT_STRING, AT(client_advertise), .name = "ClientAdvertise",
     .help = "host[:port] told to clients instead of the bind address"},
    {"server_tags", OPT_CALL, AT(tags), .read = opt_read_tags, .name = "Tags", .reload = RELOAD_READ,
     .help = "labels shown in monitoring, lower-cased"},
    {"server_metadata", OPT_PAIRS, AT(metadata), .name = "Metadata", .reload = RELOAD_READ, .help = "name: value, shown in monitoring"},
    {"pid_file pidfile", OPT_STRING, AT(pid_file), .name = "PidFile", .help = "file that gets the process id"},
    {"ports_file_dir", OPT_STRING, AT(ports_file_dir), .name = "PortsFileDir", .help = "directory for the file that lists the ports in use"},
    /* log */
    {"debug", OPT_BOOL, AT(debug), .name = "Debug", .reload = RELOAD_LOG, .help = "debug lines in the log"},
    {"trace", OPT_BOOL, AT(trace), .name = "Trace", .reload = RELOAD_LOG, .help = "protocol lines in the log"},
    {"trace_verbose", OPT_BOOL, AT(trace_verbose), .name = "TraceVerbose", .reload = RELOAD_LOG, .help = "trace, the system account's connections too"},
    {"trace_headers", OPT_BOOL, AT(trace_headers), .name = "TraceHeaders", .reload = RELOAD_LOG, .help = "trace, of messages only the headers"},
    {"logtime", OPT_BOOL, AT(logtime), .dflt = 1, .name = "Logtime", .reload = RELOAD_LOG, .help = "date and time in log lines"},
    {"logtime_utc", OPT_BOOL, AT(logtime_utc), .name = "LogtimeUTC", .reload = RELOAD_LOG, .help = "in UTC instead of local time"},
    {"log_file logfile", OPT_STRING, AT(log_file), .name = "LogFile", .reload = RELOAD_LOG, .help = "log to this file instead of stderr"},
    {"log_size_limit logfile_size_limit", OPT_INT, AT(log_size_limit), .name = "LogSizeLimit", .help = "bytes after which the log file is set aside"},
    {"log_max_num logfile_max_num", OPT_INT, AT(log_max_files), .name = "LogMaxFiles", .help = "how many log files to keep; 0: all"},
    {"max_traced_msg_len", OPT_INT, AT(max_traced_msg_len), .reload = RELOAD_READ, .name = "MaxTracedMsgLen", .help = "cut traced payloads; 0: whole"},
    {"connect_error_reports", OPT_INT, AT(connect_error_reports), .dflt = 3600, .name = "ConnectErrorReports",
     .help = "log every n-th failed first attempt to reach a remote"},
    {"reconnect_error_reports", OPT_INT, AT(reconnect_error_reports), .dflt = 1, .name = "ReconnectErrorReports",
     .help = "the same for later attempts"},
    /* monitoring */
    {"http", OPT_CALL, .read = opt_read_http, .name = "HTTPPort", .reload = RELOAD_SAME, .help = "monitoring port, or host:port"},
    {"http_port monitor_port", OPT_PORT, AT(http_port), .name = "HTTPPort", .help = "monitoring port; -1 picks a free one"},
    {"http_base_path", OPT_STRING, AT(http_base_path), .text = "/", .name = "HTTPBasePath", .help = "prefix of all monitoring paths"},
    {"https", OPT_LATER, .reload = RELOAD_SAME, .help = "monitoring over TLS"},
    {"https_port", OPT_LATER, .reload = RELOAD_SAME, .help = "monitoring over TLS"},
    /* limits and times of connections */
    {"max_control_line", OPT_INT, AT(max_control_line), .dflt = 4096, .min = INT64_MIN, .max = INT32_MAX, .reload = RELOAD_READ, .name = "MaxControlLine",
     .help = "bytes of the arguments of a protocol line"},
    {"max_payload", OPT_INT, AT(max_payload), .dflt = MIB, .min = INT64_MIN, .max = INT32_MAX, .reload = RELOAD_READ, .name = "MaxPayload",
     .help = "bytes of a message, header included"},
    {"max_pending", OPT_INT, AT(max_pending), .dflt = 64 * MIB, .name = "MaxPending", .help = "bytes that may wait for one client, and live ones for one link"},
    {"max_connections max_conn", OPT_CALL, AT(max_connections), .text = "65536", .read = opt_read_max_connections, .name = "MaxConn", .reload = RELOAD_SAME,
     .help = "clients at a time; 0 lets nobody in; a reload may change it"},
    {"max_subscriptions max_subs", OPT_INT, AT(max_subscriptions), .name = "MaxSubs", .help = "per connection; 0: no limit"},
    {"max_sub_tokens max_subscription_tokens", OPT_INT, AT(max_sub_tokens), .min = 1, .max = 255, .name = "MaxSubTokens",
     .help = "tokens of a subscription's subject"},
    {"max_closed_clients", OPT_INT, AT(max_closed_clients), .dflt = 10000, .name = "MaxClosedClients", .help = "closed connections monitoring remembers"},
    {"ping_interval", OPT_DURATION, AT(ping_interval_ns), .dflt = 120 * NS_PER_S, .reload = RELOAD_READ, .name = "PingInterval", .help = "silence after which a peer is asked"},
    {"ping_max", OPT_INT, AT(ping_max), .dflt = 2, .reload = RELOAD_READ, .name = "MaxPingsOut", .help = "unanswered pings after which a connection is stale"},
    {"write_deadline", OPT_DURATION, AT(write_deadline_ns), .dflt = 10 * NS_PER_S, .reload = RELOAD_READ, .name = "WriteDeadline",
     .help = "a client that takes nothing for so long is closed"},
    {"write_timeout", OPT_CALL, .text = "default", .read = opt_read_write_timeout, .name = "WriteTimeout", .reload = RELOAD_SAME,
     .help = "what a missed write deadline does: default and close"},
    {"lame_duck_duration", OPT_CALL, AT(lame_duck_ns), .text = "2m", .read = opt_read_lame_duck, .name = "LameDuckDuration", .reload = RELOAD_SAME,
     .help = "how long a soft shutdown may take, at least 30s"},
    {"lame_duck_grace_period", OPT_CALL, AT(lame_duck_grace_ns), .text = "10s", .read = opt_read_grace, .name = "LameDuckGracePeriod", .reload = RELOAD_SAME,
     .help = "before the first client is closed"},
    {"no_fast_producer_stall", OPT_BOOL, AT(no_fast_producer_stall), .reload = RELOAD_READ, .name = "NoFastProducerStall",
     .help = "skip a slow receiver instead of holding the publisher"},
    {"no_header_support", OPT_BOOL, AT(no_header_support), .name = "NoHeaderSupport", .help = "refuse messages with headers"},
    {"disable_sublist_cache no_sublist_cache", OPT_BOOL, AT(no_sublist_cache), .name = "NoSublistCache", .help = "match every subject anew"},
    /* who may come in */
    {"authorization", OPT_CALL, .read = opt_read_authorization, .name = "authorization users", .reload = RELOAD_AUTH, .help = "user, token or users with permissions"},
    {"accounts", OPT_CALL, .read = opt_read_accounts, .name = "accounts", .reload = RELOAD_SAME, .help = "subject spaces of their own, with their users"},
    {"no_auth_user", OPT_STRING, AT(no_auth_user), .name = "NoAuthUser", .help = "who a client without credentials is"},
    {"system_account system", OPT_STRING, AT(system_account), .text = "$SYS", .name = "SystemAccount", .help = "account of the server's own subjects"},
    {"no_system_account no_system no_sys_acc", OPT_BOOL, AT(no_system_account), .name = "NoSystemAccount", .help = "do without it"},
    {"tls", OPT_CALL, AT(tls), .read = opt_read_tls, .name = "TLS", .help = "encrypt client connections"},
    {"allow_non_tls", OPT_BOOL, AT(allow_non_tls), .name = "AllowNonTLS", .help = "plain and encrypted clients on one port"},
    /* rooms of their own */
    {"leafnodes leaf", OPT_CALL, AT(leaf), .read = opt_read_leafnodes, .name = "LeafNode", .help = "links to hubs"},
    {"jetstream", OPT_CALL, AT(js), .read = opt_read_jetstream, .name = "JetStream", .help = "streams: true, or a block"},
    {"store_dir storedir", OPT_CALL, .read = opt_read_store_dir, .name = "StoreDir", .reload = RELOAD_SAME, .help = "where streams are kept, in its directory \"jetstream\""},
    {"default_js_domain", OPT_PAIRS, AT(js_domains), .name = "JsAccDefaultDomain", .help = "account: domain"},
    {"feature_flags", OPT_QUIET, .reload = RELOAD_SAME, .help = "switches of nats-server's own transition steps"},
    /* known, and not here yet */
    {"syslog", OPT_LATER, .reload = RELOAD_SAME, .help = "log to syslog"},
    {"remote_syslog", OPT_LATER, .reload = RELOAD_SAME, .help = "log to a remote syslog"},
    {"prof_port", OPT_LATER, .reload = RELOAD_SAME, .help = "profiling"},
    {"prof_block_rate", OPT_LATER, .reload = RELOAD_SAME, .help = "profiling"},
    {"mappings maps", OPT_LATER, .reload = RELOAD_SAME, .help = "subject mappings of the global account"},
    {"websocket ws", OPT_LATER, .reload = RELOAD_SAME, .help = "clients over WebSocket"},
    {"mqtt", OPT_LATER, .reload = RELOAD_SAME, .help = "MQTT clients"},
    {"cluster", OPT_LATER, .reload = RELOAD_SAME, .help = "routes between servers"},
    {"gateway", OPT_LATER, .reload = RELOAD_SAME, .help = "links between clusters"},
    {"ocsp", OPT_LATER, .reload = RELOAD_SAME, .help = "certificate status"},
    {"ocsp_cache", OPT_LATER, .reload = RELOAD_SAME, .help = "certificate status"},
    {"proxy_protocol", OPT_LATER, .reload = RELOAD_SAME, .help = "PROXY headers on the client port"},
    /* known, not here yet, and not to be passed over */
    {"operator operators root roots root_operator root_operators", OPT_REFUSED, .reload = RELOAD_SAME, .help = "operator mode (JWT accounts)"},
    {"trusted trusted_keys", OPT_REFUSED, .reload = RELOAD_SAME, .help = "operator keys"},
    {"resolver account_resolver accounts_resolver", OPT_REFUSED, .reload = RELOAD_SAME, .help = "where account JWTs come from"},
    {"resolver_tls", OPT_REFUSED, .reload = RELOAD_SAME, .help = "TLS of the resolver"},
    {"resolver_preload", OPT_REFUSED, .reload = RELOAD_SAME, .help = "account JWTs"},
    {"resolver_pinned_accounts", OPT_REFUSED, .reload = RELOAD_SAME, .help = "only these accounts"},
    {"default_sentinel", OPT_REFUSED, .reload = RELOAD_SAME, .help = "JWT of clients without one"},
    {"proxies", OPT_REFUSED, .reload = RELOAD_SAME, .help = "trusted connection proxies"},
};
/* clang-format on */

const struct opt_table opt_top = {.title = "top level", .rows = rows, .n = ARRAY_LEN(rows)};

/* --- values with a form of their own ------------------------------------------------- */

/* "host:port", "[::1]:port", ":port" or a number. */
static bool read_host_port(struct opt_reader *r, const struct conf_node *n, const char **host,
                           int *port)
{
    struct slice s = n->u.str;
    int64_t number = n->u.i;
    if (n->type == CONF_STRING) {
        size_t colon = s.n;
        while (colon > 0 && s.p[colon - 1] != ':')
            colon--;
        struct slice name = slice_head(s, colon ? colon - 1 : 0), digits = slice_skip(s, colon);
        bool brackets = name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
        if (brackets)
            name = slice_of(name.p + 1, name.n - 2);
        if (colon == 0 || (!brackets && slice_find(name, ':') < name.n)) {
            opt_error(r, n, "could not parse address string %s", opt_quote(r, s));
            return false;
        }
        if (slice_i64(digits, &number) < 0) {
            opt_error(r, n, "could not parse port %s", opt_quote(r, digits));
            return false;
        }
        if (name.n)
            *host = opt_text(r, name);
    } else if (n->type != CONF_INT) {
        opt_error(r, n, "expected port or host:port, got %s", conf_type_name(n->type));
        return false;
    }
    if (number < -1 || number > 65535) {
        opt_error(r, n, "%s value %" PRId64 " is not a port", n->key, number);
        return false;
    }
    *port = (int)number;
    return true;
}

void opt_read_listen(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                     void *to)
{
    struct options *o = to;
    (void)row;
    if (read_host_port(r, n, &o->host, &o->port) && o->port == 0)
        o->port = OPTIONS_PORT;
}

void opt_read_http(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                   void *to)
{
    struct options *o = to;
    (void)row;
    read_host_port(r, n, &o->http_host, &o->http_port);
}

void opt_read_server_name(struct opt_reader *r, const struct conf_node *n,
                          const struct opt_row *row, void *to)
{
    struct options *o = to;
    (void)row;
    if (!opt_is(r, n, CONF_STRING))
        return;
    if (slice_find(n->u.str, ' ') < n->u.str.n)
        opt_error(r, n, "server name cannot contain spaces");
    else if (n->u.str.n)
        o->server_name = opt_text(r, n->u.str);
}

void opt_read_max_connections(struct opt_reader *r, const struct conf_node *n,
                              const struct opt_row *row, void *to)
{
    struct options *o = to;
    (void)row;
    if (opt_is(r, n, CONF_INT))
        o->max_connections = n->u.i == 0 ? -1 : n->u.i;
}

static bool read_duration_text(struct opt_reader *r, const struct conf_node *n, int64_t *ns)
{
    if (!opt_is(r, n, CONF_STRING))
        return false;
    if (duration_parse(n->u.str.p, n->u.str.n, ns) < 0) {
        opt_error(r, n, "error parsing %s: time: invalid duration %s", n->key,
                  opt_quote(r, n->u.str));
        return false;
    }
    *ns = opt_within_reason(*ns);
    return true;
}

void opt_read_lame_duck(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    struct options *o = to;
    char text[40];
    int64_t ns;
    (void)row;
    if (!read_duration_text(r, n, &ns))
        return;
    duration_print(ns, text);
    if (ns < 30 * NS_PER_S)
        opt_error(r, n, "invalid lame_duck_duration of %s, minimum is 30 seconds", text);
    else
        o->lame_duck_ns = ns;
}

void opt_read_grace(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                    void *to)
{
    struct options *o = to;
    int64_t ns;
    (void)row;
    if (!read_duration_text(r, n, &ns))
        return;
    if (ns < 0)
        opt_error(r, n, "invalid lame_duck_grace_period, needs to be positive");
    else if (ns > 0)
        o->lame_duck_grace_ns = ns;
}

void opt_read_write_timeout(struct opt_reader *r, const struct conf_node *n,
                            const struct opt_row *row, void *to)
{
    (void)row;
    (void)to;
    if (!opt_is(r, n, CONF_STRING))
        return;
    if (slice_is(n->u.str, "retry"))
        opt_later(r, n, "write_timeout: retry");
    else if (!slice_is(n->u.str, "default") && !slice_is(n->u.str, "close"))
        opt_error(r, n, "write_timeout must be 'default', 'close' or 'retry'");
}

void opt_read_tags(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                   void *to)
{
    struct options *o = to;
    struct text_list given;
    size_t count = 0;
    (void)row;
    if (!opt_texts(r, n, "tags", &given))
        return;
    struct slice *at = opt_copy(r, given.at, given.n * sizeof *at);
    for (size_t i = 0; i < given.n; i++) { /* lower case, trimmed, each once */
        struct slice tag = slice_trim(given.at[i]);
        char *text = opt_copy(r, opt_text(r, tag), tag.n + 1);
        bool seen = false;
        for (size_t k = 0; k < tag.n; k++)
            if (text[k] >= 'A' && text[k] <= 'Z')
                text[k] = (char)(text[k] | 0x20);
        for (size_t k = 0; k < count; k++)
            seen = seen || slice_is(at[k], text);
        if (!seen && tag.n)
            at[count++] = slice_of(text, tag.n);
    }
    o->tags = (struct text_list){at, count};
}
