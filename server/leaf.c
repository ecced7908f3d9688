/* server/leaf.c -- the life of a link
 *
 * One leaf, one hub: we dial, greet, talk, lose it, and dial again.
 *
 *     DOWN --> RESOLVING --> DIALING --> GREETING --> SECURING --> JOINING --> UP
 *      ^           |            |            |  \________________^   |          |
 *      +-----------+------------+------------+-----------+-----------+----------+
 *                                                          any loss, any time-out
 *
 *   DOWN       nothing is open; the retry timer is armed
 *   RESOLVING  a thread asks for the address of a name (loop_ask)
 *   DIALING    the TCP connect is under way
 *   GREETING   waiting for the hub's INFO (1 s)
 *   SECURING   the TLS handshake the INFO asked for (2 s); with handshake_first it comes before
 *              GREETING
 *   JOINING    CONNECT is sent; waiting for the INFO that takes us in (2 s)
 *   UP         our interest is announced and messages flow both ways
 *
 * What always holds
 *   (1) Only leaf_enter() writes the state.
 *   (2) l->conn is NULL in DOWN and RESOLVING, and only there (and in DIALING until the call to
 *       dial returned).
 *   (3) l->told and l->heard are empty in every state but UP.
 *   (4) There is no giving up and no exponential growth: reconnect time, a jitter after failed
 *       dials, and 30 s where the two sides can't agree
 * (reference/leafnode-protocol.md 2.14, 2.15).
 *
 * Liveness: a PING every ping_interval; more than ping_max unanswered ones end the link, but not
 * while bytes move in either direction: on a thin, full link the PONG may be minutes away and
 * everything is fine. So with the write deadline: while something waits, bytes must move, but they
 * may be few.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/leaf.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/subject.h"
#include "base/uid.h"
#include "server/leaf_state.h"
#include "server/loop.h"

#define JOIN_TIMEOUT      (2 * NS_PER_S) /* the reference's */
#define FEED_BELOW        (32 << 10)     /* bytes the kernel and the connection may hold unsent */
#define WAIT_FOR_FAREWELL (10 * NS_PER_MS)
#define OPS_PER_TURN      2000
#define CONTROL_LINE_MAX  (64u << 10)

static const struct sm_rule leaf_rules[] = {
    [LEAF_DOWN] = {"DOWN", SM_TO(LEAF_RESOLVING) | SM_TO(LEAF_DIALING) | SM_TO(LEAF_DOWN)},
    [LEAF_RESOLVING] = {"RESOLVING", SM_TO(LEAF_DIALING) | SM_TO(LEAF_DOWN)},
    [LEAF_DIALING] = {"DIALING", SM_TO(LEAF_GREETING) | SM_TO(LEAF_SECURING) | SM_TO(LEAF_DOWN)},
    [LEAF_GREETING] = {"GREETING", SM_TO(LEAF_SECURING) | SM_TO(LEAF_JOINING) | SM_TO(LEAF_DOWN)},
    [LEAF_SECURING] = {"SECURING", SM_TO(LEAF_JOINING) | SM_TO(LEAF_GREETING) | SM_TO(LEAF_DOWN)},
    [LEAF_JOINING] = {"JOINING", SM_TO(LEAF_UP) | SM_TO(LEAF_DOWN)},
    [LEAF_UP] = {"UP", SM_TO(LEAF_DOWN)},
};

static void on_conn(void *arg, struct conn *c, enum conn_event ev);

/* --- small words ----------------------------------------------------------------------------- */

static int64_t or_default(int64_t ns, int64_t dflt)
{
    return ns > 0 ? ns : dflt;
}

static int64_t random_below(int64_t n)
{
    uint64_t r;
    random_bytes(&r, sizeof r);
    return n > 0 ? (int64_t)(r % (uint64_t)n) : 0;
}

static const char *peer_text(const struct leaf *l, char *out, size_t n)
{
    (void)snprintf(out, n, "%s:%u - lid:%llu", l->at.host ? l->at.host : "?", l->at.port,
                   (unsigned long long)l->ep.id);
    return out;
}

/* --- states ---------------------------------------------------------------------------------- */

static void deaf(void *arg, struct conn *c, enum conn_event ev)
{
    (void)arg, (void)c, (void)ev;
}

static void enter_down(struct leaf *l)
{
    if (l->conn) {
        conn_set_handler(l->conn, deaf, NULL); /* it may live on for a while, to say what waits */
        conn_close(l->conn, true);
        l->conn = NULL;
    }
    turn_unset(loop_turn(l->host->loop), &l->stuck);
    lanes_clear(&l->lanes);
    leaf_forget_permissions(l);
}

void leaf_enter(struct leaf *l, enum leaf_state to, const char *why)
{
    enum leaf_state from = (enum leaf_state)l->state;
    sm_move(leaf_rules, &l->state, to, "leaf", why);
    if (from == LEAF_UP) {
        leaf_words_stop(l);
        leaf_orphans_stop(l);
        l->host->down(l->host->arg, l);
    }
    switch (to) {
    case LEAF_DOWN:
        enter_down(l);
        break;
    case LEAF_GREETING:
        conn_timeout(l->conn, or_default(l->cfg->first_info_timeout_ns, NS_PER_S));
        break;
    case LEAF_SECURING:
        conn_timeout(l->conn, or_default(l->cfg->tls_timeout_ns, 2 * NS_PER_S));
        break;
    case LEAF_JOINING:
        conn_timeout(l->conn, JOIN_TIMEOUT);
        break;
    case LEAF_UP:
        l->connects++;
        l->attempts = 0;
        l->start = clock_wall();
        l->in_msgs = l->in_bytes = l->out_msgs = l->out_bytes = 0;
        l->pings_out = 0;
        l->ping_sent = l->rtt_ns = 0;
        conn_timeout(l->conn, NS_PER_S + random_below(NS_PER_S / 5));
        leaf_words_start(l);
        leaf_orphans_start(l);
        l->host->up(l->host->arg, l);
        break;
    case LEAF_RESOLVING:
    case LEAF_DIALING:
        break;
    }
}

static void arm_retry(struct leaf *l, bool dial_failed)
{
    int64_t wait = or_default(l->cfg->reconnect_ns, NS_PER_S);
    if (dial_failed)
        wait += random_below(wait);
    turn_set(loop_turn(l->host->loop), &l->retry, clock_mono() + wait + l->delay_ns);
    l->delay_ns = 0;
}

/* A dial that fails is told only now and then; who was there and would not have us is told always.
 */
static bool worth_telling(const struct leaf *l)
{
    int64_t every = l->connects ? l->cfg->reconnect_error_reports : l->cfg->connect_error_reports;
    if (l->closing)
        return false;
    if (l->state != LEAF_DIALING && l->state != LEAF_RESOLVING)
        return true;
    return l->attempts <= 1 || every <= 1 || l->attempts % (uint64_t)every == 0;
}

void leaf_fail(struct leaf *l, const char *why, int64_t delay_ns)
{
    char peer[320];
    bool joined = l->state == LEAF_UP;
    if (l->state == LEAF_DOWN)
        return;
    if (joined)
        log_info("%s - Leafnode connection closed: %s - Remote: %s",
                 peer_text(l, peer, sizeof peer), why, l->peer_name ? l->peer_name : "");
    else if (worth_telling(l))
        log_error(
            "Error trying to connect as leafnode to remote server \"%s:%u\" (attempt %llu): %s",
            l->at.host ? l->at.host : "?", l->at.port, (unsigned long long)l->attempts, why);
    if (delay_ns > l->delay_ns)
        l->delay_ns = delay_ns;
    leaf_enter(l, LEAF_DOWN, why);
    if (!l->closing)
        arm_retry(l, !joined);
}

void leaf_slow(struct leaf *l, const char *which)
{
    char peer[320], why[64];
    l->cfg->account->slow_consumers++;
    ++*l->host->slow_consumers;
    log_info("%s - Slow Consumer Detected: %s Exceeded", peer_text(l, peer, sizeof peer), which);
    (void)snprintf(why, sizeof why, "Slow Consumer (%s)", which);
    leaf_fail(l, why, 0);
}

void leaf_refuse(struct leaf *l, const char *text, int64_t delay_ns)
{
    if (l->conn) {
        struct buf line = BUF_INIT;
        buf_printf(&line, "-ERR '%s'\r\n", text);
        conn_write(l->conn, line.data, line.len);
        buf_release(&line);
    }
    leaf_fail(l, text, delay_ns);
}

/* --- dialling -------------------------------------------------------------------------------- */

struct resolve {
    struct leaf *leaf; /* NULL: nobody waits any more */
    char host[256];
    char ip[46];
    int error; /* of getaddrinfo */
};

static void dial_ip(struct leaf *l, const char *ip)
{
    (void)snprintf(l->ip, sizeof l->ip, "%s", ip);
    leaf_enter(l, LEAF_DIALING, l->ip);
    int err = conn_dial(l->host->loop, ip, l->at.port,
                        or_default(l->cfg->dial_timeout_ns, NS_PER_S), on_conn, l, &l->conn);
    if (err) {
        leaf_fail(l, err_text(err), 0);
        return;
    }
    conn_notsent_lowat(l->conn, FEED_BELOW);
    conn_low_water(l->conn, FEED_BELOW / 2);
}

/* On the asking thread: one of the addresses, picked at random. */
static void resolve_work(void *arg)
{
    struct resolve *r = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC}, *list = NULL;
    r->error = getaddrinfo(r->host, NULL, &hints, &list);
    if (r->error)
        return;
    size_t n = 0;
    for (struct addrinfo *a = list; a; a = a->ai_next)
        n++;
    size_t pick = (size_t)random_below((int64_t)n);
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        if (pick-- == 0) {
            r->error = getnameinfo(a->ai_addr, a->ai_addrlen, r->ip, sizeof r->ip, NULL, 0,
                                   NI_NUMERICHOST);
            break;
        }
    }
    freeaddrinfo(list);
}

static void resolve_done(void *arg)
{
    struct resolve *r = arg;
    struct leaf *l = r->leaf;
    if (l) {
        l->resolving = NULL;
        if (r->error)
            leaf_fail(l, gai_strerror(r->error), 0);
        else
            dial_ip(l, r->ip);
    }
    free(r);
}

static void start_resolve(struct leaf *l)
{
    struct resolve *r = xcalloc(1, sizeof *r);
    r->leaf = l;
    (void)snprintf(r->host, sizeof r->host, "%s", l->at.host);
    leaf_enter(l, LEAF_RESOLVING, r->host);
    int err = loop_ask(l->host->loop, resolve_work, resolve_done, r);
    if (err) {
        free(r);
        leaf_fail(l, err_text(err), 0);
        return;
    }
    l->resolving = r;
}

static void dial(void *arg)
{
    struct leaf *l = arg;
    if (farewell_lasts(&l->leaving)) { /* of the last link's interest: its sinks name us, too */
        turn_set(loop_turn(l->host->loop), &l->retry, clock_mono() + WAIT_FOR_FAREWELL);
        return;
    }
    const struct leaf_url *u = leaf_urls_pick(&l->urls);
    if (!u)
        return;
    leaf_url_release(&l->at);
    l->at = (struct leaf_url){.host = xstrdup(u->host), .port = u->port, .tls = u->tls};
    const struct leaf_url *c = leaf_urls_credentials(&l->urls, u);
    if (c) {
        l->at.user = xstrdup(c->user);
        l->at.password = c->password ? xstrdup(c->password) : NULL;
    }
    l->attempts++;
    l->ep.id = l->host->next_id(l->host->arg);
    log_debug("Trying to connect as leafnode to remote server on \"%s:%u\"", l->at.host,
              l->at.port);
    if (leaf_url_is_ip(&l->at)) {
        dial_ip(l, l->at.host);
        return;
    }
    start_resolve(l);
}

/* --- liveness -------------------------------------------------------------------------------- */

static void say_ping(struct leaf *l)
{
    conn_write(l->conn, "PING\r\n", 6);
    l->pings_out++;
    if (!l->ping_sent) /* the next PONG is for the oldest PING */
        l->ping_sent = clock_mono();
}

/* Have bytes moved since the last look? Received ones, or ours that the peer's kernel took while
 * more of them wait: a PING may be among those. */
static bool has_moved(const struct leaf *l, struct leaf_moved *seen)
{
    uint64_t unacked;
    struct leaf_moved now = {.read = conn_last_read(l->conn)};
    conn_in_flight(l->conn, &now.acked, &unacked);
    bool moved =
        now.read != seen->read || (now.acked != seen->acked && unacked + conn_pending(l->conn) > 0);
    *seen = now;
    return moved;
}

static void on_ping_timer(struct leaf *l)
{
    int max = l->cfg->ping_max > 0 ? l->cfg->ping_max : 2;
    if (has_moved(l, &l->ping_seen))
        l->pings_out = 0;
    if (l->pings_out >= max + 1) {
        ++*l->host->stale_connections;
        leaf_refuse(l, "Stale Connection", 0);
        return;
    }
    say_ping(l);
    conn_timeout(l->conn, or_default(l->cfg->ping_interval_ns, 120 * NS_PER_S));
}

static int64_t write_deadline(const struct leaf *l)
{
    return or_default(l->cfg->write_deadline_ns, 10 * NS_PER_S);
}

static void on_stuck_timer(void *arg)
{
    struct leaf *l = arg;
    int64_t now = clock_mono();
    if (l->state != LEAF_UP || leaf_words_nothing_waits(l))
        return;
    if (has_moved(l, &l->stuck_seen))
        l->stuck_since = now;
    if (now - l->stuck_since >= write_deadline(l)) {
        leaf_slow(l, "Write Deadline");
        return;
    }
    turn_set(loop_turn(l->host->loop), &l->stuck, now + write_deadline(l) / 4);
}

void leaf_watch_progress(struct leaf *l)
{
    if (turn_timer_is_set(&l->stuck))
        return;
    has_moved(l, &l->stuck_seen);
    l->stuck_since = clock_mono();
    turn_set(loop_turn(l->host->loop), &l->stuck, l->stuck_since + write_deadline(l) / 4);
}

/* --- what is heard --------------------------------------------------------------------------- */

static bool hear_err(struct leaf *l, struct slice text)
{
    char peer[320];
    text = slice_trim(text);
    log_error("%s - Leafnode Error %.*s", peer_text(l, peer, sizeof peer), SLICE_FMT(text));
    if (slice_search(text, SLICE("Loop detected")) < text.n) {
        leaf_fail(l, "Loop detected", LEAF_LONG_DELAY);
        return false;
    }
    if (slice_search(text, SLICE("same cluster name")) < text.n)
        l->delay_ns = LEAF_LONG_DELAY;
    else if (slice_search(text, SLICE("minimum version required")) < text.n)
        l->delay_ns = 5 * NS_PER_S;
    else if (l->cfg->hub && slice_search(text, SLICE("Permissions Violation")) < text.n)
        l->delay_ns = LEAF_LONG_DELAY;
    return true;
}

static bool hear(struct leaf *l, const struct op *op)
{
    switch (op->verb) {
    case VERB_INFO:
        return leaf_hear_info(l, op->args);
    case VERB_PING:
        conn_write(l->conn, "PONG\r\n", 6);
        return true;
    case VERB_PONG:
        l->pings_out = 0;
        if (l->ping_sent)
            l->rtt_ns = clock_mono() - l->ping_sent;
        l->ping_sent = 0;
        return true;
    case VERB_ERR:
        return hear_err(l, op->args);
    case VERB_OK:
        return true;
    case VERB_LS_ADD:
    case VERB_LS_DEL:
    case VERB_LMSG:
    case VERB_HMSG:
        if (l->state == LEAF_UP)
            return leaf_words_hear(l, op);
        if (l->state == LEAF_JOINING) { /* the hub's interest may overtake nothing, but messages
                                           may: not ours yet */
            leaf_refuse(l, "Authorization Violation", 0);
            return false;
        }
        leaf_fail(l, "a message before the INFO", 0);
        return false;
    case VERB_NONE:
    case VERB_CONNECT:
    case VERB_PUB:
    case VERB_HPUB:
    case VERB_SUB:
    case VERB_UNSUB:
    case VERB_COUNT_:
        break;
    }
    leaf_refuse(l, "Unknown Protocol Operation", 0);
    return false;
}

static void on_data(struct leaf *l)
{
    for (int ops = 0; ops < OPS_PER_TURN; ops++) {
        struct op op;
        struct slice in = conn_input(l->conn);
        enum parsed r = parse(&l->limits, in, &op);
        if (r == PARSE_MORE) {
            if (op.len)
                conn_want(l->conn, op.len);
            return;
        }
        if (r != PARSED) {
            const char *text = parse_error_text(r);
            if (text)
                leaf_refuse(l, text, 0);
            else
                leaf_fail(l, op.why ? op.why : "Protocol Violation", 0);
            return;
        }
        enum leaf_state before = (enum leaf_state)l->state;
        struct conn *c = l->conn;
        if (op.verb == VERB_INFO && before == LEAF_GREETING) {
            /* the bytes after the INFO may be the start of TLS: consume first, the text is copied
             * by the JSON reader */
            char *line = slice_dup(op.args);
            conn_consume(c, op.len);
            leaf_hear_info(l, slice_cstr(line));
            free(line);
            if (l->state != LEAF_JOINING && l->state != LEAF_UP)
                return; /* over, or TLS comes first */
            continue;
        }
        if (!hear(l, &op))
            return;
        conn_consume(c, op.len);
    }
    conn_yield(l->conn);
}

/* The one we remembered may be the wrong one. */
static void forget_tls_name(struct leaf *l)
{
    free(l->tls_name);
    l->tls_name = NULL;
}

static void on_gone(struct leaf *l, struct conn *c)
{
    static const char *const why[] = {
        [CONN_ALIVE] = "Client Closed",       [CONN_EOF] = "Client Closed",
        [CONN_READ_ERROR] = "Read Error",     [CONN_WRITE_ERROR] = "Write Error",
        [CONN_WRITE_TIMEOUT] = "Write Error", [CONN_DIAL_FAILED] = NULL,
        [CONN_DIAL_TIMEOUT] = "i/o timeout",  [CONN_TLS_FAILED] = NULL,
        [CONN_CLOSED] = "Client Closed",
    };
    const char *text = why[conn_reason(c)];
    if (conn_reason(c) == CONN_TLS_FAILED && leaf_url_is_ip(&l->at))
        forget_tls_name(l);
    leaf_fail(l, text ? text : conn_error(c), 0);
}

static void on_timeout(struct leaf *l)
{
    switch ((enum leaf_state)l->state) {
    case LEAF_GREETING:
        leaf_fail(l, "no INFO in time", 0);
        break;
    case LEAF_SECURING:
        leaf_fail(l, "TLS handshake timeout", 0);
        break;
    case LEAF_JOINING:
        leaf_refuse(l, "Stale Leaf Node Connection - Closing", 0);
        break;
    case LEAF_UP:
        on_ping_timer(l);
        break;
    case LEAF_DOWN:
    case LEAF_RESOLVING:
    case LEAF_DIALING:
        break;
    }
}

static void on_conn(void *arg, struct conn *c, enum conn_event ev)
{
    struct leaf *l = arg;
    if (l->conn != c)
        return;
    switch (ev) {
    case CONN_CONNECTED:
        if (l->cfg->tls_first)
            leaf_start_tls(l);
        else
            leaf_enter(l, LEAF_GREETING, "connected");
        break;
    case CONN_TLS_READY:
        if (l->cfg->tls_first)
            leaf_enter(l, LEAF_GREETING, "secured");
        else
            leaf_say_connect(l);
        break;
    case CONN_DATA:
        on_data(l);
        break;
    case CONN_DRAINED:
        if (l->state == LEAF_UP)
            leaf_words_feed(l);
        break;
    case CONN_TIMEOUT:
        on_timeout(l);
        break;
    case CONN_GONE:
        on_gone(l, c);
        break;
    }
}

/* --- the door -------------------------------------------------------------------------------- */

static enum sink_result deliver_nothing(struct endpoint *ep, struct msg_view *m,
                                        const struct slice *queues, size_t n, bool plain)
{
    (void)ep, (void)m, (void)queues, (void)n, (void)plain;
    return SINK_REFUSED;
}

void leaf_reload(struct leaf *l)
{
    int64_t most = l->host->max_payload;
    l->limits.max_payload = (size_t)(most > 0 ? most : 0);
}

int leaf_open(const struct leaf_host *host, const struct leaf_config *cfg, struct leaf **out)
{
    struct leaf *l = xcalloc(1, sizeof *l);
    l->host = host;
    l->cfg = cfg;
    l->state = LEAF_DOWN;
    int err = leaf_urls_init(&l->urls, cfg->urls, cfg->nurls, !cfg->no_randomize);
    if (err) {
        free(l);
        return err;
    }
    l->limits = (struct parse_limits){
        .side = PARSE_LEAF,
        .max_control_line = CONTROL_LINE_MAX,
    };
    leaf_reload(l);
    l->ep = (struct endpoint){
        .account = cfg->account, .link = true, .spoke = !cfg->hub, .deliver_link = deliver_nothing};
    lanes_init(&l->lanes, (size_t)host->max_pending);
    leaf_interest_init(&l->told);
    htab_init(&l->heard);
    turn_timer_init(&l->retry, dial, l);
    turn_timer_init(&l->stuck, on_stuck_timer, l);
    turn_set(loop_turn(host->loop), &l->retry, clock_mono());
    leaf_words_init(l);
    leaf_orphans_init(l);
    leaf_remember_tls_name(l);
    *out = l;
    return E_OK;
}

static void leaf_free(void *arg)
{
    struct leaf *l = arg;
    leaf_urls_release(&l->urls);
    leaf_url_release(&l->at);
    lanes_release(&l->lanes);
    leaf_interest_reset(&l->told);
    htab_release(&l->heard);
    buf_release(&l->scratch);
    free(l->tls_name);
    free(l->peer_name);
    free(l->peer_cluster);
    free(l->peer_domain);
    free(l->remote_account);
    free(l->nonce);
    free(l);
}

void leaf_close(struct leaf *l)
{
    l->closing = true;
    if (l->resolving)
        l->resolving->leaf = NULL;
    leaf_fail(l, "Server Shutdown", 0);
    turn_unset(loop_turn(l->host->loop), &l->retry);
    farewell_finish(&l->leaving);
    loop_defer(l->host->loop, leaf_free, l);
}

void leaf_look(const struct leaf *l, struct leaf_view *out)
{
    *out = (struct leaf_view){
        .id = l->state == LEAF_UP ? l->ep.id : 0,
        .up = l->state == LEAF_UP,
        .spoke = l->ep.spoke,
        .isolated = l->cfg->isolate,
        .state = leaf_rules[l->state].name,
        .account = slice_cstr(l->cfg->account->name),
        .remote_account = slice_cstr(l->remote_account),
        .remote_name = slice_cstr(l->peer_name),
        .remote_domain = slice_cstr(l->peer_domain),
        .compression = l->peer_known_compression ? SLICE("off") : SLICE("not supported"),
        .port = l->at.port,
        .rtt_ns = l->rtt_ns,
        .in_msgs = l->in_msgs,
        .in_bytes = l->in_bytes,
        .out_msgs = l->out_msgs,
        .out_bytes = l->out_bytes,
        .subscriptions = (uint32_t)l->heard.count,
        .live_bytes = lanes_bytes(&l->lanes, LANE_LIVE),
        .backlog_bytes = lanes_bytes(&l->lanes, LANE_BACKLOG),
        .dropped_too_big = l->dropped_too_big,
        .attempts = l->attempts,
        .connects = l->connects,
        .start = l->start,
    };
    (void)snprintf(out->ip, sizeof out->ip, "%s", l->ip);
}
