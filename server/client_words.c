/* server/client_words.c -- what a client says: PUB SUB UNSUB PING and the rest
 *
 *     input ──parse()──► one operation ──► its word ──► router, subscriptions, the output
 *
 * A turn's share of one connection is bounded by operations (a SUB counts for several), by
 * deliveries (a message to ten thousand receivers counts ten thousand) and by the bytes of these,
 * so that nobody waits long behind it. Words are taken while the state is GREETED (only CONNECT,
 * when somebody has to be known) or OPEN; a client that rests, or is being checked, leaves its
 * input where it is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/client_state.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/subject.h"

#define SHARE_OPS        16384
#define SUB_OPS          8 /* SUB and UNSUB cost so much more than the others */
#define SHARE_DELIVERIES 32768
#define SHARE_BYTES      (2u << 20) /* what was delivered, counted per receiver */

/* --- PUB and HPUB --------------------------------------------------------------------------- */

/* Subject spaces that belong to servers: routed replies, raft. */
static bool reserved(const struct client *cl, struct slice subject)
{
    if (subject.n < 5 || (subject.p[0] != '$' && subject.p[0] != '_'))
        return false;
    if (slice_starts(subject, SLICE("$GR.")) || slice_starts(subject, SLICE("_GR_.")))
        return true;
    return slice_starts(subject, SLICE("$NRG.")) && !cl->ep.account->system;
}

static bool reserved_reply(struct slice reply)
{
    if (reply.n < 5 || (reply.p[0] != '$' && reply.p[0] != '_'))
        return false;
    return slice_starts(reply, SLICE("_R_.")) || slice_starts(reply, SLICE("_GR_.")) ||
           slice_starts(reply, SLICE("$GR.")) || slice_starts(reply, SLICE("$JS.ACK."));
}

static bool may_publish(struct client *cl, struct slice subject, struct slice reply)
{
    if (reserved(cl, subject) || (cl->perms && !perms_may_publish(cl->perms, subject))) {
        client_deny(cl, DENIED_PUBLISH, subject, (struct slice){0}, (struct slice){0});
        return false;
    }
    if (reserved_reply(reply)) {
        client_deny(cl, DENIED_REPLY, reply, (struct slice){0}, (struct slice){0});
        return false;
    }
    return true;
}

/* Returns how many took it. */
static uint32_t publish(struct client *cl, const struct op *op)
{
    struct account *a = cl->ep.account;
    struct route_in in = {.from = &cl->ep, .renamed = true};
    struct route_out out;
    struct msg_view m = {.subject = account_rename(a, op->subject),
                         .reply = op->reply,
                         .hdr = op->hdr,
                         .payload = op->payload};
    size_t bytes = op->hdr.n + op->payload.n;

    cl->in_msgs++;
    cl->in_bytes += bytes;
    cl->srv->in_msgs++;
    cl->srv->in_bytes += bytes;
    if (cl->pedantic && !subject_valid_literal(op->subject))
        client_err(cl, "Invalid Publish Subject");
    if (!may_publish(cl, m.subject, m.reply))
        return 0;
    client_ok(cl);
    router_publish_cached(&cl->last, a, &in, &m, &out);
    if (out.taken == 0 && m.reply.n && cl->no_responders)
        client_no_responders(cl, m.reply, m.subject);
    if (out.rest && cl->state == CLIENT_OPEN)
        client_rest(cl);
    return out.taken;
}

/* --- PING, PONG ----------------------------------------------------------------------------- */

static void ping(struct client *cl)
{
    conn_write(cl->conn, "PONG\r\n", 6);
    if (log_trace_on)
        client_log(cl, LOG_TRACE, "->> [PONG]");
    if (cl->ponged)
        return;
    cl->ponged = true;
    client_send_info(cl);
}

static void pong(struct client *cl)
{
    cl->pings_out = 0;
    if (cl->ping_sent) {
        cl->rtt_ns = clock_mono() - cl->ping_sent;
        if (cl->rtt_ns <= 0)
            cl->rtt_ns = 1;
        cl->ping_sent = 0;
    }
}

/* --- one operation -------------------------------------------------------------------------- */

/* A line in the log about something the peer said, quoted. */
static void quote_log(const struct client *cl, enum log_level level, const char *before,
                      struct slice said, const char *after)
{
    struct buf text = BUF_INIT;

    client_quote(&text, said);
    client_log(cl, level, "%s%s%s", before, buf_cstr(&text), after);
    buf_release(&text);
}

static void trace_in(const struct client *cl, const struct op *op)
{
    static const char *const names[VERB_COUNT_] = {
        [VERB_INFO] = "INFO",   [VERB_PING] = "PING",      [VERB_PONG] = "PONG", [VERB_OK] = "+OK",
        [VERB_ERR] = "-ERR",    [VERB_PUB] = "PUB",        [VERB_HPUB] = "HPUB", [VERB_SUB] = "SUB",
        [VERB_UNSUB] = "UNSUB", [VERB_CONNECT] = "CONNECT"};
    size_t max = cl->srv->rules.traced_max;
    struct slice p = op->payload;

    if (op->verb == VERB_CONNECT)
        return; /* client_connect_word() hides the secrets */
    if (op->args.n)
        client_log(cl, LOG_TRACE, "<<- [%s %.*s]", names[op->verb], SLICE_FMT(op->args));
    else
        client_log(cl, LOG_TRACE, "<<- [%s]", names[op->verb]);
    if (op->verb != VERB_PUB && op->verb != VERB_HPUB)
        return;
    if (max && p.n > max)
        quote_log(cl, LOG_TRACE, "<<- MSG_PAYLOAD: [", slice_head(p, max), "...]");
    else
        quote_log(cl, LOG_TRACE, "<<- MSG_PAYLOAD: [", p, "]");
}

/* Returns the cost in deliveries. */
static uint32_t say(struct client *cl, const struct op *op)
{
    switch (op->verb) {
    case VERB_PUB:
        return publish(cl, op);
    case VERB_HPUB:
        if (!cl->headers) {
            client_log(cl, LOG_ERROR, "message headers not supported");
            client_close(cl, CLIENT_PROTOCOL, NULL);
            return 0;
        }
        return publish(cl, op);
    case VERB_SUB:
        client_subscribe(cl, op);
        return 0;
    case VERB_UNSUB:
        client_unsubscribe(cl, op);
        return 0;
    case VERB_PING:
        ping(cl);
        return 0;
    case VERB_PONG:
        pong(cl);
        return 0;
    case VERB_CONNECT:
        client_connect_word(cl, op->args);
        return 0;
    case VERB_ERR:
        quote_log(cl, LOG_ERROR, "Client Error ", op->args, "");
        client_close(cl, CLIENT_PARSE_ERROR, NULL);
        return 0;
    case VERB_INFO:
    case VERB_OK:
    case VERB_NONE:
    case VERB_LS_ADD:
    case VERB_LS_DEL:
    case VERB_LMSG:
    case VERB_HMSG:
    case VERB_COUNT_:
        break;
    }
    return 0;
}

static void broken(struct client *cl, enum parsed r, const struct op *op, struct slice in)
{
    char why[64];

    switch (r) {
    case PARSE_UNKNOWN:
        quote_log(cl, LOG_ERROR, "Client parser ERROR: proto='", slice_head(in, 32), "...'");
        client_close(cl, CLIENT_PARSE_ERROR, parse_error_text(r));
        return;
    case PARSE_LINE:
        client_log(cl, LOG_ERROR, "maximum control line exceeded: %zu",
                   cl->limits.max_control_line);
        client_close(cl, CLIENT_MAX_LINE, parse_error_text(r));
        return;
    case PARSE_PAYLOAD:
        (void)snprintf(why, sizeof why, " vs %zu", cl->limits.max_payload);
        quote_log(cl, LOG_ERROR, "maximum payload exceeded: ", op->args, why);
        client_close(cl, CLIENT_MAX_PAYLOAD, parse_error_text(r));
        return;
    case PARSE_BAD_ARGS:
        (void)snprintf(why, sizeof why, "%s: ", op->why);
        quote_log(cl, LOG_ERROR, why, slice_head(op->args, 256), "");
        client_close(cl, CLIENT_PROTOCOL, NULL);
        return;
    case PARSED:
    case PARSE_MORE:
        return;
    }
}

static bool listening(const struct client *cl)
{
    return (cl->state == CLIENT_OPEN || cl->state == CLIENT_GREETED) && list_empty(&cl->resting);
}

/* What it is answered (PONG, +OK, -ERR, no responders) waits like messages do, and counts like
 * them. What this turn wrote has its chance first. */
static void mind_answers(struct client *cl)
{
    size_t most = (size_t)cl->srv->rules.max_pending;

    if (conn_pending(cl->conn) <= most)
        return;
    conn_flush(cl->conn);
    if (conn_pending(cl->conn) > most)
        client_too_slow(cl);
}

void client_words(struct client *cl)
{
    struct slice in = conn_input(cl->conn);
    size_t begin = in.n;
    uint32_t ops = 0, deliveries = 0;
    uint64_t bytes = 0;
    bool share_is_used = false;

    if (in.n < cl->need) {
        conn_want(cl->conn, cl->need);
        return;
    }
    cl->need = 0;
    while (in.n && listening(cl)) {
        struct op op;
        enum parsed r;
        if (cl->state == CLIENT_GREETED && in.p[0] != 'C' && in.p[0] != 'c') {
            client_close(cl, CLIENT_AUTH_VIOLATION, "Authorization Violation");
            break;
        }
        r = parse(&cl->limits, in, &op);
        if (r == PARSE_MORE) {
            cl->need = op.len;
            break;
        }
        if (r != PARSED) {
            broken(cl, r, &op, in);
            break;
        }
        if (__builtin_expect(log_trace_on, 0))
            trace_in(cl, &op);
        uint32_t taken = say(cl, &op);
        deliveries += taken;
        bytes += (uint64_t)taken * op.len;
        in = slice_skip(in, op.len);
        ops += op.verb == VERB_SUB || op.verb == VERB_UNSUB ? SUB_OPS : 1;
        if (ops >= SHARE_OPS || deliveries >= SHARE_DELIVERIES || bytes >= SHARE_BYTES) {
            share_is_used = true;
            break;
        }
    }
    cl->last_word = clock_mono();
    if (cl->state != CLIENT_GONE)
        mind_answers(cl);
    if (cl->state == CLIENT_GONE)
        return;
    conn_consume(cl->conn, begin - in.n);
    if (cl->need)
        conn_want(cl->conn, cl->need);
    else if (in.n && listening(cl) && share_is_used)
        conn_yield(cl->conn);
}
