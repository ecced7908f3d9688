/* server/leaf_words.c -- what is said on a link that is up
 *
 * Out: our account's interest (LS+, LS-; net differences, when little waits and always before the
 * next message), and messages: straight to the connection while it holds little, else into a lane.
 * In: the peer's interest becomes sinks in our account, its messages go to the router.
 *
 * JetStream deliveries are spelled "via ack-reply@subject" on a link
 * (reference/leafnode-protocol.md 4.6); both directions are translated here and nowhere else.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/domain.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/subject.h"
#include "base/uid.h"
#include "server/leaf_state.h"
#include "server/loop.h"
#include "server/router.h"
#include "server/spell.h"

#define FEED_BELOW     (32 << 10) /* bytes the connection may hold; more waits in the lanes */
#define FLUSHES_A_TURN 16   /* a fast link empties its lanes quickly, but others want their turn */
#define GROUPS_FEW     16   /* queue groups of one message that need no memory */
#define SCRATCH_KEEP   4096 /* a first announcement may be large: its buffer is not kept */

/* --- our interest ---------------------------------------------------------------------------- */

static bool is_lds(struct slice subject)
{
    return slice_starts(subject, SLICE("$LDS."));
}

/* reference/leafnode-protocol.md 3.3: what is told on this link, by who owns it. */
static bool tells(const struct leaf *l, const struct sink *s)
{
    const struct endpoint *owner = s->owner;
    if (owner == &l->ep)
        return false;
    if (owner && owner->link) {
        if (l->cfg->isolate)
            return false;
        if (owner->cluster.n && slice_eq(owner->cluster, l->ep.cluster))
            return false;
        if (l->ep.spoke && owner->spoke && !is_lds(s->subject))
            return false;
    }
    return is_lds(s->subject) || leaf_list_tells(&l->in, s->subject);
}

static void interest_changed(void *arg, struct sink *s, bool added)
{
    struct leaf *l = arg;
    if (!tells(l, s))
        return;
    int32_t by = s->weight ? (int32_t)s->weight : 1;
    leaf_interest_change(&l->told, s->subject, s->queue, added ? by : -by);
    if (leaf_interest_due(&l->told)) {
        const struct turn *t = loop_turn(l->host->loop);
        t->at_end(t->loop, &l->flush);
    }
}

static void tell_present(void *arg, struct sink *s)
{
    interest_changed(arg, s, true);
}

static void tell_interest(struct leaf *l)
{
    if (!leaf_interest_due(&l->told))
        return;
    buf_clear(&l->scratch);
    leaf_interest_flush(&l->told, &l->scratch);
    conn_write(l->conn, buf_slice(&l->scratch).p, l->scratch.len);
    if (l->scratch.cap > SCRATCH_KEEP)
        buf_release(&l->scratch);
}

/* While much waits only the difference of the end counts: inboxes that come and go would fill the
 * memory on a thin link. DRAINED tells it, or the next message. */
static void on_flush(void *arg)
{
    struct leaf *l = arg;
    if (l->state == LEAF_UP && !conn_is_above(l->conn))
        tell_interest(l);
}

/* --- messages out ---------------------------------------------------------------------------- */

static char *put_word(char *p, struct slice word)
{
    *p++ = ' ';
    return put_slice(p, word);
}

static char *put_number(char *p, size_t n)
{
    *p++ = ' ';
    return put_size(p, n);
}

/* "LMSG subject [reply | + reply q… | '|' q…] [hdr] size\r\n" */
static void write_head(struct buf *b, const struct leaf *l, const struct msg_view *m,
                       const struct slice *queues, size_t n)
{
    bool headers = m->hdr.n && l->peer_headers;
    bool delivery = m->via.n && m->reply.n;
    struct slice route = msg_route(m);
    size_t most = 5 + route.n + 2 + 1 + m->reply.n + 1 + m->subject.n +
                  sizeof " 18446744073709551615 18446744073709551615\r\n";
    for (size_t i = 0; i < n; i++)
        most += 1 + queues[i].n;
    char *start = buf_reserve(b, most), *p = put(start, headers ? "HMSG " : "LMSG ", 5);
    p = put_slice(p, route);
    if (n)
        p = put(p, m->reply.n ? " +" : " |", 2);
    if (m->reply.n) {
        p = put_word(p, m->reply);
        if (delivery && slice_starts(m->reply, SLICE("$JS.ACK.")) &&
            !slice_eq(m->via, m->subject)) {
            *p++ = '@';
            p = put_slice(p, m->subject);
        }
    }
    for (size_t i = 0; i < n; i++)
        p = put_word(p, queues[i]);
    if (headers)
        p = put_number(p, m->hdr.n);
    p = put_number(p, m->payload.n + (headers ? m->hdr.n : 0));
    p = put(p, "\r\n", 2);
    buf_commit(b, (size_t)(p - start));
}

static bool too_big(struct leaf *l, const struct msg_view *m)
{
    size_t n = m->hdr.n + m->payload.n;
    if (l->peer_max_payload <= 0 || n <= (size_t)l->peer_max_payload)
        return false;
    if (l->dropped_too_big++ % 1000 == 0)
        log_warn("lid:%llu - a message of %zu bytes on \"%.*s\" is above the hub's max_payload of "
                 "%lld: not sent",
                 (unsigned long long)l->ep.id, n, SLICE_FMT(msg_route(m)),
                 (long long)l->peer_max_payload);
    return true;
}

static void write_pieces(struct conn *c, const struct slice *pieces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].n)
            conn_write(c, pieces[i].p, pieces[i].n);
    }
}

bool leaf_words_nothing_waits(const struct leaf *l)
{
    return lanes_bytes(&l->lanes, LANE_LIVE) == 0 && lanes_bytes(&l->lanes, LANE_BACKLOG) == 0;
}

static void count_out(struct leaf *l, size_t bytes)
{
    struct account *a = l->ep.account;
    l->out_msgs++;
    l->out_bytes += bytes;
    a->out_msgs++;
    a->out_bytes += bytes;
    a->by_links.out_msgs++;
    a->by_links.out_bytes += bytes;
    ++*l->host->out_msgs;
    *l->host->out_bytes += bytes;
}

/* Straight out while little waits, so that a fast link never sees a lane; else into its lane. */
static enum sink_result send_or_queue(struct leaf *l, enum lane lane, const struct slice *pieces,
                                      size_t n)
{
    bool ahead =
        lane == LANE_LIVE ? lanes_bytes(&l->lanes, LANE_LIVE) == 0 : leaf_words_nothing_waits(l);
    if (ahead && conn_pending(l->conn) < FEED_BELOW) {
        write_pieces(l->conn, pieces, n);
        if (conn_pending(l->conn) >= FEED_BELOW)
            conn_flush(l->conn);
        return SINK_TAKEN;
    }
    if (!lanes_put(&l->lanes, lane, pieces, n)) {
        turn_post_now(loop_turn(l->host->loop), &l->overfull);
        return SINK_REFUSED;
    }
    leaf_watch_progress(l);
    if (lane == LANE_BACKLOG && lanes_backlog_full(&l->lanes)) {
        l->rested = true;
        return SINK_TAKEN_REST;
    }
    return SINK_TAKEN;
}

static enum sink_result deliver(struct endpoint *ep, struct msg_view *m, const struct slice *queues,
                                size_t n, bool plain)
{
    struct leaf *l = CONTAINER_OF(ep, struct leaf, ep);
    (void)plain;
    if (l->state != LEAF_UP || !leaf_list_passes(&l->out, msg_route(m)))
        return SINK_REFUSED;
    if (too_big(l, m))
        return SINK_TAKEN;
    tell_interest(l);
    buf_clear(&l->scratch);
    write_head(&l->scratch, l, m, queues, n);
    struct slice pieces[] = {
        buf_slice(&l->scratch),
        l->peer_headers ? m->hdr : (struct slice){0},
        m->payload,
        SLICE("\r\n"),
    };
    enum sink_result r =
        send_or_queue(l, m->backlog ? LANE_BACKLOG : LANE_LIVE, pieces, ARRAY_LEN(pieces));
    if (r != SINK_REFUSED)
        count_out(l, pieces[1].n + m->payload.n);
    return r;
}

/* Posted: nobody is in the middle of a delivery any more. */
static void on_overfull(void *arg)
{
    struct leaf *l = arg;
    if (l->state == LEAF_UP)
        leaf_slow(l, "Pending Bytes");
}

void leaf_words_feed(struct leaf *l)
{
    struct lane_run run;
    tell_interest(l);
    for (int flushes = 0;;) {
        size_t has;
        while ((has = conn_pending(l->conn)) < FEED_BELOW &&
               lanes_peek(&l->lanes, FEED_BELOW - has, &run)) {
            conn_write(l->conn, run.bytes.p, run.bytes.n);
            lanes_take(&l->lanes, &run);
        }
        if (conn_pending(l->conn) < FEED_BELOW || flushes++ == FLUSHES_A_TURN)
            break;
        conn_flush(l->conn);
        if (conn_pending(l->conn) >= FEED_BELOW)
            break; /* the kernel is full: DRAINED comes */
    }
    if (l->rested && lanes_bytes(&l->lanes, LANE_BACKLOG) < LANES_BACKLOG_REST / 2) {
        l->rested = false;
        l->host->drained(l->host->arg);
    }
}

/* --- the peer's interest --------------------------------------------------------------------- */

struct leaf_sink {
    struct sink sink;
    uint64_t hash;
    bool orphan; /* an inbox of a request that has not come */
    char text[]; /* subject, queue */
};

struct sink_key {
    struct slice subject, queue;
};

static bool sink_eq(const void *item, const void *key)
{
    const struct leaf_sink *s = item;
    const struct sink_key *k = key;
    return slice_eq(s->sink.subject, k->subject) && slice_eq(s->sink.queue, k->queue);
}

static uint64_t sink_hash(const struct sink_key *k)
{
    return hash_slice(k->subject) ^ (k->queue.n ? hash_slice(k->queue) * 3 : 0);
}

/* A match that was made earlier in this turn may still show it: its memory stays until the turn is
 * over. */
static void drop_sink(struct leaf *l, struct leaf_sink *s)
{
    account_remove_sink(l->ep.account, &s->sink);
    loop_defer(l->host->loop, free, s);
}

static void drop_item(void *leaf, void *item)
{
    drop_sink(leaf, item);
}

static bool loop_found(struct leaf *l)
{
    char text[256];
    (void)snprintf(
        text, sizeof text,
        "Loop detected for leafnode account=\"%s\". Delaying attempt to reconnect for 30s",
        l->ep.account->name);
    log_error("lid:%llu - %s", (unsigned long long)l->ep.id, text);
    leaf_refuse(l, text, LEAF_LONG_DELAY);
    return false;
}

/* A literal that may not leave by this link: nobody is to choose the link for it, or to tell others
 * of it. */
static bool may_leave(const struct leaf *l, struct slice subject)
{
    return subject_has_wildcard(subject) || is_lds(subject) ||
           slice_starts(subject, SLICE("_GR_.")) || leaf_list_passes(&l->out, subject);
}

/* As a spoke we don't take it, the hub knows what it permits; as the hub of a link that we dialled
 * we close on it. */
static bool wants_too_much(struct leaf *l, struct slice subject)
{
    if (l->ep.spoke)
        return true;
    char text[320];
    (void)snprintf(text, sizeof text, "Permissions Violation for Subscription to \"%.*s\"",
                   SLICE_FMT(subject));
    leaf_refuse(l, text, LEAF_LONG_DELAY);
    return false;
}

static bool hear_add(struct leaf *l, const struct op *op)
{
    if (!subject_valid(op->subject)) {
        conn_write(l->conn, "-ERR 'Invalid Subscription'\r\n", 29);
        return true;
    }
    if (slice_is(op->subject, l->ep.account->lds))
        return loop_found(l);
    if (!may_leave(l, op->subject))
        return wants_too_much(l, op->subject);
    struct sink_key k = {op->subject, op->queue};
    uint64_t hash = sink_hash(&k);
    uint32_t weight = op->weight ? op->weight : 1;
    struct leaf_sink *s = htab_get(&l->heard, hash, sink_eq, &k);
    if (s) {
        if (op->queue.n && s->sink.weight != weight)
            account_sink_weight(l->ep.account, &s->sink, weight);
        return true;
    }
    s = xcalloc(1, sizeof *s + op->subject.n + op->queue.n);
    memcpy(s->text, op->subject.p, op->subject.n);
    if (op->queue.n)
        memcpy(s->text + op->subject.n, op->queue.p, op->queue.n);
    s->hash = hash;
    s->orphan = leaf_orphans_is_inbox(op->subject) && leaf_orphans_greeting(l);
    s->sink = (struct sink){
        .owner = &l->ep,
        .subject = slice_of(s->text, op->subject.n),
        .queue = slice_of(s->text + op->subject.n, op->queue.n),
        .weight = op->queue.n ? weight : 1,
    };
    if (account_add_sink(l->ep.account, &s->sink)) {
        free(s);
        conn_write(l->conn, "-ERR 'Invalid Subscription'\r\n", 29);
        return true;
    }
    htab_put(&l->heard, hash, s);
    return true;
}

static bool hear_del(struct leaf *l, const struct op *op)
{
    struct sink_key k = {op->subject, op->queue};
    struct leaf_sink *s = htab_del(&l->heard, sink_hash(&k), sink_eq, &k);
    if (s)
        drop_sink(l, s);
    return true;
}

/* --- messages in ----------------------------------------------------------------------------- */

/* "$JS.ACK.S.C.1.2.3.4.5@orders.new": the '@' after the 8th dot parts the ack reply from the
 * message's own subject. */
static size_t ack_split(struct slice reply)
{
    if (!slice_starts(reply, SLICE("$JS.ACK.")))
        return reply.n;
    size_t dots = 0;
    for (size_t i = 0; i < reply.n; i++) {
        if (reply.p[i] == '.')
            dots++;
        else if (reply.p[i] == '@' && dots >= 8)
            return i + 1 < reply.n ? i : reply.n;
    }
    return reply.n;
}

/* Checked by the subject on the wire. As a hub we close on a violation, as a spoke we let it drop.
 */
static bool may_say(struct leaf *l, struct slice subject)
{
    if (leaf_list_passes(l->ep.spoke ? &l->in : &l->said, subject) ||
        slice_starts(subject, SLICE("_R_.")) || slice_starts(subject, SLICE("$JS.ACK.")))
        return true;
    if (l->ep.spoke)
        return slice_starts(subject, SLICE("_GR_.")); /* an answer by way of the hub's gateways */
    char text[320];
    (void)snprintf(text, sizeof text, "Permissions Violation for Publish to \"%.*s\"",
                   SLICE_FMT(subject));
    leaf_refuse(l, text, LEAF_LONG_DELAY);
    return false;
}

/* A request came: whoever waits for its answer gets one the usual way. */
static void note_request(struct leaf *l, struct slice inbox)
{
    struct sink_key k = {inbox, {0}};
    struct leaf_sink *s = htab_get(&l->heard, sink_hash(&k), sink_eq, &k);
    if (s)
        s->orphan = false;
}

static bool hear_msg(struct leaf *l, const struct op *op)
{
    size_t bytes = op->hdr.n + op->payload.n;
    l->in_msgs++;
    l->in_bytes += bytes;
    l->ep.account->by_links.in_msgs++;
    l->ep.account->by_links.in_bytes += bytes;
    ++*l->host->in_msgs;
    *l->host->in_bytes += bytes;
    if (!may_say(l, op->subject))
        return l->state == LEAF_UP;
    if (leaf_orphans_is_inbox(op->reply))
        note_request(l, op->reply);
    struct slice few[GROUPS_FEW], *groups = few;
    if (op->ngroups > GROUPS_FEW)
        groups = xcalloc(op->ngroups, sizeof *groups);
    parse_groups(op, groups);
    struct msg_view m = {
        .subject = op->subject, .reply = op->reply, .hdr = op->hdr, .payload = op->payload};
    size_t at = ack_split(op->reply);
    if (at < op->reply.n) {
        m.via = op->subject;
        m.subject = slice_skip(op->reply, at + 1);
        m.reply = slice_head(op->reply, at);
    }
    struct route_in in = {
        .from = &l->ep, .from_link = true, .groups = groups, .ngroups = op->ngroups};
    struct route_out out;
    router_publish(l->ep.account, &in, &m, &out);
    msg_view_done(&m);
    if (groups != few)
        free(groups);
    return l->state == LEAF_UP;
}

bool leaf_words_hear(struct leaf *l, const struct op *op)
{
    switch (op->verb) {
    case VERB_LS_ADD:
        return hear_add(l, op);
    case VERB_LS_DEL:
        return hear_del(l, op);
    case VERB_LMSG:
    case VERB_HMSG:
        return hear_msg(l, op);
    default:
        return true; /* leaf.c sends only these four */
    }
}

/* --- up and down ----------------------------------------------------------------------------- */

static void tell_mappings(struct leaf *l)
{
    struct account *a = l->ep.account;
    struct buf source = BUF_INIT;
    for (size_t i = 0; a->domain.n && domain_mapping(a->domain, a->system, i, &source); i++) {
        if (leaf_list_tells(&l->in, buf_slice(&source)))
            leaf_interest_change(&l->told, buf_slice(&source), (struct slice){0}, 1);
        buf_clear(&source);
    }
    buf_release(&source);
}

void leaf_words_init(struct leaf *l)
{
    turn_post_init(&l->flush, on_flush, l);
    turn_post_init(&l->overfull, on_overfull, l);
    list_init(&l->watch.link);
}

void leaf_words_start(struct leaf *l)
{
    struct account *a = l->ep.account;
    char peer[128];
    ASSERT(!farewell_lasts(&l->leaving)); /* both are named by the same endpoint; see dial() */
    l->ep.away = false;
    l->ep.cluster = slice_cstr(l->peer_cluster);
    l->ep.deliver_link = deliver;
    l->rested = false;
    if (!a->lds[0]) {
        char uid[UID_LEN + 1];
        uid_make(uid);
        (void)snprintf(a->lds, sizeof a->lds, "$LDS.%s", uid);
    }
    (void)snprintf(peer, sizeof peer, "%s:%u - lid:%llu", l->ip, l->at.port,
                   (unsigned long long)l->ep.id);
    log_info("%s - Leafnode connection created for account: %s", peer, a->name);
    if (l->host->jetstream && l->host->domain.n)
        log_info("%s - JetStream using domains: local \"%.*s\", remote \"%s\"", peer,
                 SLICE_FMT(l->host->domain), l->peer_domain ? l->peer_domain : "");
    a->leafs++;
    leaf_interest_change(&l->told, slice_cstr(a->lds), (struct slice){0}, 1);
    tell_mappings(l);
    sublist_each(a->subs, tell_present, l);
    l->watch = (struct interest_watch){.changed = interest_changed, .arg = l};
    list_init(&l->watch.link);
    account_watch_interest(a, &l->watch);
    tell_interest(l);
}

void leaf_words_stop(struct leaf *l)
{
    struct account *a = l->ep.account;
    const struct turn *t = loop_turn(l->host->loop);
    t->unpost(t->loop, &l->flush);
    t->unpost(t->loop, &l->overfull);
    account_unwatch_interest(&l->watch);
    leaf_interest_reset(&l->told);
    l->ep.away = true;
    (void)farewell_begin(&l->leaving, l->host->loop, &l->heard, drop_item, NULL, l);
    a->leafs--;
    if (l->rested) {
        l->rested = false;
        l->host->drained(l->host->arg);
    }
}

void leaf_each_interest(const struct leaf *l, void (*fn)(void *arg, const struct sink *s),
                        void *arg)
{
    size_t pos = 0;
    for (struct leaf_sink *s; (s = htab_next(&l->heard, &pos)) != NULL;)
        fn(arg, &s->sink);
}

void leaf_words_each_orphan(struct leaf *l, void (*fn)(struct leaf *l, struct slice inbox))
{
    size_t pos = 0;
    for (struct leaf_sink *s; (s = htab_next(&l->heard, &pos)) != NULL;) {
        if (s->orphan)
            fn(l, s->sink.subject);
    }
}
