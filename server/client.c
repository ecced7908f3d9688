/* server/client.c -- the life of a local client
 *
 *     NEW ──► TLS ──► GREETED ──► CHECKING ──► OPEN ──► GONE
 *      │       │         │            └──────────────────▲
 *      └───────┴─────────┴─ any error, any timeout ──────┘
 *
 *   NEW       memory exists, the socket is ours, nothing is sent
 *   TLS       INFO is sent (unless the handshake comes first, or is waited for a moment: a client
 *             that does not begin it in time gets INFO); the handshake is under way, or,
 *             where TLS is optional, the first byte has not come yet (when it does not come in
 *             the time of a handshake, the client is a plain one: from then on it is asked for
 *             its name, or pinged, like others)
 *   GREETED   somebody has to be known: only CONNECT is listened to; the timer of authentication
 *             runs. A second CONNECT leads back here from OPEN
 *   CHECKING  the helper thread compares a bcrypt hash; the socket rests
 *   OPEN      bound to an account; all words; the ping timer runs. Where nobody has to be known
 *             this comes at once
 *   GONE      closed: out of the account, its sinks refuse; the memory goes when conn has said
 *             its last word and its subscriptions are out, too (many leave in portions)
 *
 * What always holds
 *   (1) only client_enter() writes the state;
 *   (2) in OPEN, and only there, the client is in its account: counted, in its list, with its
 *       subscriptions;
 *   (3) client_close() may be called from anywhere, also in the middle of a delivery, any number
 *       of times.
 *
 * A client rests (client_rest) when what it publishes finds a receiver with too much waiting, or
 * the store busy: its reads pause until somebody has room again, for 10 ms at most where a
 * receiver is the cause. So a dead receiver slows its publishers down until it is closed as a
 * slow consumer, and stops nobody.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/client_state.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/json.h"
#include "base/sm.h"
#include "server/info.h"
#include "server/monitor.h"
#include "server/jshost.h"
#include "server/options.h"
#include "server/tls.h"

#define FIRST_PING   (2 * NS_PER_S)
#define REST_AT_MOST (10 * NS_PER_MS)
#define ROOM_AGAIN   (512u << 10) /* pending bytes at which publishers and consumers go on */

static const struct sm_rule rules[] = {
    [CLIENT_NEW] = {"NEW", SM_TO(CLIENT_TLS) | SM_TO(CLIENT_GREETED) | SM_TO(CLIENT_OPEN) |
                               SM_TO(CLIENT_GONE)},
    [CLIENT_TLS] = {"TLS", SM_TO(CLIENT_GREETED) | SM_TO(CLIENT_OPEN) | SM_TO(CLIENT_GONE)},
    [CLIENT_GREETED] = {"GREETED",
                        SM_TO(CLIENT_CHECKING) | SM_TO(CLIENT_OPEN) | SM_TO(CLIENT_GONE)},
    [CLIENT_CHECKING] = {"CHECKING", SM_TO(CLIENT_OPEN) | SM_TO(CLIENT_GONE)},
    [CLIENT_OPEN] = {"OPEN", SM_TO(CLIENT_GREETED) | SM_TO(CLIENT_GONE)}, /* a second CONNECT */
    [CLIENT_GONE] = {"GONE", 0},
};

static const char *const reasons[CLIENT_REASONS_] = {
    [CLIENT_GOES_ON] = "",
    [CLIENT_CLOSED_BY_PEER] = "Client Closed",
    [CLIENT_AUTH_TIMEOUT] = "Authentication Timeout",
    [CLIENT_AUTH_VIOLATION] = "Authentication Failure",
    [CLIENT_TLS_ERROR] = "TLS Handshake Failure",
    [CLIENT_SLOW_PENDING] = "Slow Consumer (Pending Bytes)",
    [CLIENT_SLOW_DEADLINE] = "Slow Consumer (Write Deadline)",
    [CLIENT_WRITE_ERROR] = "Write Error",
    [CLIENT_READ_ERROR] = "Read Error",
    [CLIENT_PARSE_ERROR] = "Parse Error",
    [CLIENT_STALE] = "Stale Connection",
    [CLIENT_PROTOCOL] = "Protocol Violation",
    [CLIENT_BAD_VERSION] = "Bad Client Protocol Version",
    [CLIENT_TOO_MANY] = "Maximum Connections Exceeded",
    [CLIENT_ACCOUNT_TOO_MANY] = "Maximum Account Connections Exceeded",
    [CLIENT_MAX_PAYLOAD] = "Maximum Message Payload Exceeded",
    [CLIENT_MAX_LINE] = "Maximum Control Line Exceeded",
    [CLIENT_NEEDS_HEADERS] = "No Responders Requires Headers",
    [CLIENT_SHUTDOWN] = "Server Shutdown",
    [CLIENT_KICKED] = "Kicked",
};

static void on_event(void *arg, struct conn *c, enum conn_event ev);
static void client_wake(struct client *cl);

/* --- small words ---------------------------------------------------------------------------- */

/* Bytes of the UTF-8 sequence at the start of s; 0: it is none. */
static size_t utf8_run(struct slice s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

    if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void client_quote(struct buf *out, struct slice s)
{
    static const char plain[] = "\a\b\t\n\v\f\r", words[] = "abtnvfr";

    ASSERT(s.p || !s.n);
    buf_add_char(out, '"');
    while (s.n) {
        size_t n = utf8_run(s);
        unsigned char c = (unsigned char)s.p[0];
        const char *word = c ? strchr(plain, c) : NULL;
        if (word)
            buf_printf(out, "\\%c", words[word - plain]);
        else if (n == 0 || c < ' ' || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else
            buf_add(out, s.p, n);
        s = slice_skip(s, n ? n : 1);
    }
    buf_add_char(out, '"');
}

/* "127.0.0.1:51234 - cid:7 - "v1:go:name" - "ACC/user:bob" - " as far as it is known. */
static void label(const struct client *cl, struct buf *out)
{
    struct conn_info net;

    conn_info(cl->conn, &net);
    buf_printf(out, strchr(net.ip, ':') ? "[%s]:%u - cid:%llu" : "%s:%u - cid:%llu", net.ip,
               net.port, (unsigned long long)cl->ep.id);
    if (cl->version || cl->lang || cl->name) {
        struct buf who = BUF_INIT;
        buf_printf(&who, "%s%s%s%s%s%s", cl->version ? "v" : "", cl->version ? cl->version : "",
                   cl->lang ? ":" : "", cl->lang ? cl->lang : "", cl->name ? ":" : "",
                   cl->name ? cl->name : "");
        buf_add_str(out, " - ");
        client_quote(out, buf_slice(&who));
        buf_release(&who);
    }
    if (cl->ep.account && cl->user)
        buf_printf(out, " - \"%s/user:%s\"", cl->ep.account->name, auth_user_name(cl->user));
    buf_add_str(out, " - ");
}

void client_log(const struct client *cl, enum log_level level, const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    va_list ap;

    if ((level == LOG_DEBUG && !log_debug_on) || (level == LOG_TRACE && !log_trace_on))
        return;
    label(cl, &line);
    va_start(ap, fmt);
    buf_vprintf(&line, fmt, ap);
    va_end(ap);
    log_line(level, "%s", buf_cstr(&line));
    buf_release(&line);
}

void client_err(struct client *cl, const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    va_list ap;

    buf_add_str(&line, "-ERR '");
    va_start(ap, fmt);
    buf_vprintf(&line, fmt, ap);
    va_end(ap);
    if (log_trace_on)
        client_log(cl, LOG_TRACE, "->> [%.*s']", SLICE_FMT(buf_slice(&line)));
    buf_add_str(&line, "'\r\n");
    conn_write(cl->conn, line.data + line.start, line.len);
    buf_release(&line);
}

void client_deny(struct client *cl, enum client_denied what, struct slice subject,
                 struct slice queue, struct slice sid)
{
    static const struct {
        const char *err, *log;
    } words[] = {
        [DENIED_PUBLISH] = {"Publish to", "Publish Violation - Subject"},
        [DENIED_REPLY] = {"Publish with Reply of", "Publish Violation - Reply"},
        [DENIED_SUBSCRIBE] = {"Subscription to", "Subscription Violation - Subject"},
        [DENIED_AFTER_RELOAD] = {"Subscription to", "Subscription Violation - Subject"},
    };
    struct buf err = BUF_INIT, line = BUF_INIT;

    buf_printf(&err, "Permissions Violation for %s ", words[what].err);
    buf_printf(&line, "%s ", words[what].log);
    client_quote(&err, subject);
    client_quote(&line, subject);
    if (queue.n) {
        buf_add_str(&err, " using queue ");
        client_quote(&err, queue);
        buf_add_str(&line, ", Queue: ");
        client_quote(&line, queue);
    }
    if (what == DENIED_AFTER_RELOAD)
        buf_printf(&err, " (sid \"%.*s\")", SLICE_FMT(sid));
    if (sid.n)
        buf_printf(&line, ", SID %.*s", SLICE_FMT(sid));
    client_err(cl, "%s", buf_cstr(&err));
    client_log(cl, LOG_ERROR, "%s", buf_cstr(&line));
    buf_release(&err);
    buf_release(&line);
}

void client_ok(struct client *cl)
{
    if (!cl->verbose)
        return;
    conn_write(cl->conn, "+OK\r\n", 5);
    if (log_trace_on)
        client_log(cl, LOG_TRACE, "->> [OK]");
}

void client_enter(struct client *cl, enum client_state to, const char *why)
{
    char who[32];

    (void)snprintf(who, sizeof who, "cid:%llu", (unsigned long long)cl->ep.id);
    sm_move(rules, &cl->state, (int)to, who, why);
}

/* --- INFO ----------------------------------------------------------------------------------- */

static void write_info(struct client *cl, bool connect_info)
{
    struct buf line = BUF_INIT;
    struct conn_info net;
    struct info_for who = {
        .client_id = cl->ep.id, .nonce = cl->nonce, .max_payload = cl->srv->rules.max_payload};

    conn_info(cl->conn, &net);
    who.client_ip = net.ip;
    if (cl->limits.max_payload)
        who.max_payload = (int64_t)cl->limits.max_payload;
    if (connect_info && cl->ep.account) {
        who.remote_account = cl->ep.account->name;
        who.account_is_system = cl->ep.account->system;
    }
    info_write(cl->srv, &who, &line);
    conn_write(cl->conn, line.data + line.start, line.len);
    buf_release(&line);
}

void client_send_info(struct client *cl)
{
    if (cl->state == CLIENT_OPEN && cl->ponged && cl->protocol >= 1)
        write_info(cl, true);
}

/* --- into the account and out of it --------------------------------------------------------- */

static void arm_ping(struct client *cl, int64_t ns)
{
    uint16_t dice;

    random_bytes(&dice, sizeof dice);
    conn_timeout(cl->conn, ns + ns / 5 / UINT16_MAX * dice);
}

void client_set_limits(struct client *cl)
{
    const struct client_rules *r = &cl->srv->rules;
    const struct account *a = cl->ep.account;
    uint64_t payload = r->max_payload > 0 ? (uint64_t)r->max_payload : 0;

    if (a && a->max_payload && (!payload || a->max_payload < payload))
        payload = a->max_payload;
    cl->limits = (struct parse_limits){PARSE_CLIENT, r->max_control_line, (size_t)payload};
}

void client_set_user(struct client *cl, struct auth_user *user)
{
    perms_free(cl->perms);
    auth_user_unref(cl->user);
    cl->user = user;
    cl->perms = perms_new(user);
}

struct account *client_account(const struct client *cl)
{
    return cl->user ? account_get(cl->srv->accounts, slice_cstr(auth_user_account(cl->user)))
                    : cl->srv->global;
}

bool client_join(struct client *cl, struct account *a, const char *why)
{
    int64_t first = cl->srv->rules.ping_interval_ns;

    if (a->max_connections && a->clients >= a->max_connections) {
        client_log(cl, LOG_ERROR, "maximum account active connections exceeded");
        client_close(cl, CLIENT_ACCOUNT_TOO_MANY, "maximum account active connections exceeded");
        return false;
    }
    cl->ep.account = a;
    a->clients++;
    list_push_back(&a->endpoints, &cl->in_account);
    client_set_limits(cl);
    client_enter(cl, CLIENT_OPEN, why);
    arm_ping(cl, first < FIRST_PING ? first : FIRST_PING);
    return true;
}

/* Out of its account, but for its subscriptions. */
static void sign_off(struct client *cl)
{
    ASSERT(cl->ep.account);
    list_unlink(&cl->in_account);
    cl->ep.account->clients--;
    route_cache_release(&cl->last);
    client_enter(cl, CLIENT_GREETED, "leaves its account");
}

void client_leave(struct client *cl)
{
    if (cl->state != CLIENT_OPEN)
        return;
    client_drop_subs(cl);
    sign_off(cl);
}

/* --- opening -------------------------------------------------------------------------------- */

/* The connection is as safe as it has to be; who is it? */
static void greet(struct client *cl)
{
    if (!auth_required(cl->srv->auth)) {
        struct auth_user *user = auth_default_user(cl->srv->auth);
        client_set_user(cl, user ? auth_user_ref(user) : NULL);
        client_join(cl, client_account(cl), user ? "no_auth_user" : "open server");
        return;
    }
    client_enter(cl, CLIENT_GREETED, "waits for CONNECT");
    conn_timeout(cl->conn, cl->srv->rules.auth_timeout_ns);
}

static void start_tls(struct client *cl)
{
    cl->shaking = true;
    conn_timeout(cl->conn, cl->srv->rules.tls_timeout_ns);
    if (conn_start_tls(cl->conn, cl->srv->tls, true, NULL) < 0)
        client_close(cl, CLIENT_TLS_ERROR, NULL);
}

static void tell_info(struct client *cl)
{
    cl->told = true;
    write_info(cl, false);
    conn_flush(cl->conn);
}

/* INFO comes before the handshake. */
static void begin_tls(struct client *cl)
{
    tell_info(cl);
    if (cl->srv->rules.tls_optional)
        conn_timeout(cl->conn, cl->srv->rules.tls_timeout_ns);
    else
        start_tls(cl);
}

static bool too_many(struct client *cl)
{
    if (!server_is_overfull(cl->srv))
        return false;
    write_info(cl, false);
    client_log(cl, LOG_ERROR, "maximum connections exceeded");
    client_close(cl, CLIENT_TOO_MANY, "maximum connections exceeded");
    return true;
}

static void rest_over(void *arg)
{
    struct client *cl = arg;

    if (!cl->srv->pressure)
        client_wake(cl);
}

void client_open(struct server *srv, int fd)
{
    struct client *cl = xcalloc(1, sizeof *cl);

    cl->srv = srv;
    cl->ep.id = server_next_id(srv);
    cl->verbose = cl->pedantic = true; /* until CONNECT says otherwise */
    list_init(&cl->in_account);
    list_init(&cl->resting);
    htab_init(&cl->subs);
    turn_timer_init(&cl->rest_over, rest_over, cl);
    cl->last_word = clock_mono();
    if (auth_nonce_wanted(srv->auth)) {
        unsigned char raw[11];
        random_bytes(raw, sizeof raw);
        base64_encode(raw, sizeof raw, true, cl->nonce);
    }
    cl->conn = conn_accept(srv->loop, fd, on_event, cl);
    conn_low_water(cl->conn, ROOM_AGAIN);
    conn_write_deadline(cl->conn, srv->rules.write_deadline_ns);
    client_set_limits(cl);
    list_push_back(&srv->clients, &cl->link);
    srv->nclients++;
    srv->total_connections++;
    if (too_many(cl))
        return;
    client_log(cl, LOG_DEBUG, "Client connection created");
    if (!srv->rules.tls) {
        write_info(cl, false);
        greet(cl);
        return;
    }
    client_enter(cl, CLIENT_TLS, "TLS is configured");
    if (!srv->rules.tls_first)
        begin_tls(cl);
    else if (srv->rules.tls_first_wait_ns)
        conn_timeout(cl->conn, srv->rules.tls_first_wait_ns);
    else
        start_tls(cl);
}

/* TLS is optional, and this is the first byte: 22 begins a handshake. Before INFO was told, any
 * does. */
static void first_byte(struct client *cl)
{
    struct slice in = conn_input(cl->conn);

    if (in.n == 0)
        return;
    if (in.p[0] == 22 || !cl->told) {
        start_tls(cl);
    } else {
        conn_timeout(cl->conn, 0);
        greet(cl);
        client_words(cl);
    }
}

/* --- closing -------------------------------------------------------------------------------- */

void client_close(struct client *cl, enum client_reason why, const char *err)
{
    if (cl->state == CLIENT_GONE)
        return;
    cl->reason = why;
    if (err)
        client_err(cl, "%s", err);
    client_log(cl, LOG_DEBUG, "Client connection closed: %s", reasons[why]);
    monitor_note_closed(cl->srv->monitor, cl, reasons[why]);
    bool subs = cl->state == CLIENT_OPEN;
    if (subs)
        sign_off(cl);
    if (cl->check)
        auth_cancel(cl->check);
    cl->check = NULL;
    client_enter(cl, CLIENT_GONE, reasons[why]);
    turn_unset(cl->srv->turn, &cl->rest_over);
    list_unlink(&cl->resting);
    list_unlink(&cl->link);
    cl->srv->nclients--;
    if (subs)
        client_withdraw_subs(cl);
    if (cl->leaving)
        list_push_back(&cl->srv->leaving, &cl->link);
    cl->was_full = conn_is_above(cl->conn);
    cl->srv->nclosing++;
    conn_close(cl->conn, why != CLIENT_SLOW_PENDING);
}

/* Its connection ended by itself: who is to blame? */
static enum client_reason blame(const struct client *cl)
{
    switch (conn_reason(cl->conn)) {
    case CONN_EOF:
        return CLIENT_CLOSED_BY_PEER;
    case CONN_READ_ERROR:
        return CLIENT_READ_ERROR;
    case CONN_WRITE_TIMEOUT:
        return CLIENT_SLOW_DEADLINE;
    case CONN_TLS_FAILED:
        return CLIENT_TLS_ERROR;
    case CONN_ALIVE:
    case CONN_WRITE_ERROR:
    case CONN_DIAL_FAILED:
    case CONN_DIAL_TIMEOUT:
    case CONN_CLOSED:
        break;
    }
    return CLIENT_WRITE_ERROR;
}

static void gone(struct client *cl)
{
    struct server *srv = cl->srv;

    if (cl->state != CLIENT_GONE) {
        enum client_reason why = blame(cl);
        if (why == CLIENT_SLOW_DEADLINE && cl->connected) {
            srv->slow_consumers++;
            if (cl->ep.account)
                cl->ep.account->slow_consumers++;
            char text[40];
            size_t n = duration_print(srv->rules.write_deadline_ns, text);
            client_log(cl, LOG_INFO, "Slow Consumer Detected: WriteDeadline of %.*s exceeded",
                       (int)n, text);
        } else if (why == CLIENT_TLS_ERROR) {
            client_log(cl, LOG_ERROR, "TLS handshake error: %s", conn_error(cl->conn));
        }
        client_close(cl, why, NULL);
    }
    client_set_user(cl, NULL);
    cl->conn = NULL;
    if (cl->was_full) /* who rested for its sake will not hear that it has room again */
        jshost_drained(srv->jshost);
    if (!cl->leaving)
        client_free(cl);
    if (--srv->nclosing == 0)
        server_all_gone(srv);
}

void client_free(struct client *cl)
{
    htab_release(&cl->subs);
    free(cl->name);
    free(cl->lang);
    free(cl->version);
    free(cl);
}

void client_finish_leaving(struct server *srv)
{
    LIST_EACH_SAFE(it, &srv->leaving)
    farewell_finish(LIST_ENTRY(it, struct client, link)->leaving);
}

/* --- rest ----------------------------------------------------------------------------------- */

void client_rest(struct client *cl)
{
    struct server *srv = cl->srv;

    if (!list_empty(&cl->resting))
        return;
    srv->stalled_clients++;
    list_push_back(&srv->resting, &cl->resting);
    conn_pause(cl->conn);
    if (!srv->pressure)
        turn_set(srv->turn, &cl->rest_over, clock_mono() + REST_AT_MOST);
}

static void client_wake(struct client *cl)
{
    if (list_empty(&cl->resting))
        return;
    list_unlink(&cl->resting);
    turn_unset(cl->srv->turn, &cl->rest_over);
    conn_resume(cl->conn);
    conn_yield(cl->conn);
}

void client_wake_all(struct server *srv)
{
    LIST_EACH_SAFE(it, &srv->resting)
    client_wake(LIST_ENTRY(it, struct client, resting));
}

static void drained(struct client *cl)
{
    if (!cl->srv->pressure)
        client_wake_all(cl->srv);
    jshost_drained(cl->srv->jshost);
}

/* --- time ----------------------------------------------------------------------------------- */

static void ping_due(struct client *cl)
{
    const struct client_rules *r = &cl->srv->rules;
    bool quiet = clock_mono() - cl->last_word >= r->ping_interval_ns;

    if (quiet || cl->rtt_ns == 0) {
        if (cl->pings_out + 1 > r->ping_max) {
            cl->srv->stale_connections++;
            client_log(cl, LOG_DEBUG, "Stale Client Connection - Closing");
            client_close(cl, CLIENT_STALE, "Stale Connection");
            return;
        }
        cl->pings_out++;
        cl->ping_sent = clock_mono();
        conn_write(cl->conn, "PING\r\n", 6);
        if (log_trace_on)
            client_log(cl, LOG_TRACE, "->> [PING]");
    }
    arm_ping(cl, r->ping_interval_ns);
}

static void time_out(struct client *cl)
{
    switch ((enum client_state)cl->state) {
    case CLIENT_TLS:
        if (!cl->told && !cl->shaking) { /* no handshake before INFO, then */
            begin_tls(cl);
            return;
        }
        if (!cl->shaking) { /* TLS is optional, and nothing came: it is a plain one */
            greet(cl);
            return;
        }
        client_log(cl, LOG_ERROR, "TLS handshake timeout");
        client_close(cl, CLIENT_TLS_ERROR,
                     cl->srv->rules.tls_optional ? NULL : "Secure Connection - TLS Required");
        return;
    case CLIENT_GREETED:
    case CLIENT_CHECKING:
        client_log(cl, LOG_DEBUG, "Authorization timeout");
        client_close(cl, CLIENT_AUTH_TIMEOUT, "Authentication Timeout");
        return;
    case CLIENT_OPEN:
        ping_due(cl);
        return;
    case CLIENT_NEW:
    case CLIENT_GONE:
        return;
    }
}

/* --- events --------------------------------------------------------------------------------- */

/* Is its key one of those that are listed, where some are? */
static bool is_pinned(const struct client *cl)
{
    const struct tls_options *o = cl->srv->opt->tls;
    char id[65] = "none";

    if (!o || !o->pinned.n)
        return true;
    if (tls_key_id(conn_peer_cert(cl->conn), id))
        for (size_t i = 0; i < o->pinned.n; i++)
            if (slice_is(o->pinned.at[i], id))
                return true;
    client_log(cl, LOG_ERROR, "TLS handshake error: certificate not pinned (key id: %s)", id);
    return false;
}

static void tls_ready(struct client *cl)
{
    conn_timeout(cl->conn, 0);
    if (!is_pinned(cl)) {
        client_close(cl, CLIENT_TLS_ERROR, NULL);
        return;
    }
    if (!cl->told)
        tell_info(cl);
    greet(cl);
}

static void on_event(void *arg, struct conn *c, enum conn_event ev)
{
    struct client *cl = arg;

    (void)c;
    switch (ev) {
    case CONN_CONNECTED:
        return; /* we never dial */
    case CONN_TLS_READY:
        tls_ready(cl);
        return;
    case CONN_DATA:
        if (cl->state == CLIENT_TLS)
            first_byte(cl);
        else
            client_words(cl);
        return;
    case CONN_DRAINED:
        drained(cl);
        return;
    case CONN_TIMEOUT:
        time_out(cl);
        return;
    case CONN_GONE:
        gone(cl);
        return;
    }
}

/* --- looking -------------------------------------------------------------------------------- */

struct client *client_next(struct server *srv, struct client *after)
{
    struct list *next = after ? after->link.next : srv->clients.next;

    return next == &srv->clients ? NULL : LIST_ENTRY(next, struct client, link);
}

void client_look(const struct client *cl, struct client_view *out)
{
    *out = (struct client_view){
        .id = cl->ep.id,
        .state = rules[cl->state].name,
        .account = slice_cstr(cl->ep.account ? cl->ep.account->name : NULL),
        .user = slice_cstr(cl->user ? auth_user_name(cl->user) : NULL),
        .name = slice_cstr(cl->name),
        .lang = slice_cstr(cl->lang),
        .version = slice_cstr(cl->version),
        .last_activity = clock_wall() - (clock_mono() - cl->last_word),
        .rtt_ns = cl->rtt_ns ? cl->rtt_ns : cl->rtt_guess_ns,
        .in_msgs = cl->in_msgs,
        .in_bytes = cl->in_bytes,
        .out_msgs = cl->out_msgs,
        .out_bytes = cl->out_bytes,
        .subs = (uint32_t)cl->subs.count,
        .pending = conn_pending(cl->conn),
    };
    conn_info(cl->conn, &out->net);
}

struct client *client_of(struct endpoint *ep)
{
    return ep && ep->deliver_link == NULL && ep->id && !ep->link
               ? CONTAINER_OF(ep, struct client, ep)
               : NULL;
}

void client_describe(const struct client *cl, struct json_out *out)
{
    struct conn_info net;

    conn_info(cl->conn, &net);
    json_time(out, "start", net.start);
    json_cstr(out, "host", net.ip);
    json_u64(out, "id", cl->ep.id);
    json_cstr(out, "acc", cl->ep.account->name);
    if (cl->user)
        json_cstr(out, "user", auth_user_name(cl->user));
    if (cl->name)
        json_cstr(out, "name", cl->name);
    if (cl->lang)
        json_cstr(out, "lang", cl->lang);
    if (cl->version)
        json_cstr(out, "ver", cl->version);
    if (cl->rtt_ns)
        json_i64(out, "rtt", cl->rtt_ns);
    json_cstr(out, "server", cl->srv->name);
    json_cstr(out, "kind", "Client");
    json_cstr(out, "client_type", "nats");
}

void client_user_info(const struct client *cl, struct json_out *out)
{
    json_cstr(out, "user", cl->user ? auth_user_name(cl->user) : "");
    json_cstr(out, "account", cl->ep.account->name);
    json_cstr(out, "account_name", cl->ep.account->name);
    if (cl->perms)
        perms_describe(cl->perms, out, "permissions");
}

/* --- reload --------------------------------------------------------------------------------- */

void client_reload(struct client *cl, const struct auth *old)
{
    struct auth_user *now = NULL;
    size_t payload = cl->limits.max_payload;

    client_set_limits(cl);
    if (cl->state != CLIENT_OPEN)
        return;
    if (!auth_again(cl->srv->auth, old, cl->user, &now)) {
        client_close(cl, CLIENT_AUTH_VIOLATION, "Authorization Violation");
        return;
    }
    client_set_user(cl, now);
    client_review_subs(cl);
    if (payload != cl->limits.max_payload)
        client_send_info(cl);
}
