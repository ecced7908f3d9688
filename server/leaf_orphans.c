/* server/leaf_orphans.c -- requests of the hub that died with a link
 *
 * A hub that copies from one of our streams asks for a consumer and waits for the answer on an
 * inbox, "$JSC.R.…". When that request goes into a dead link (the hub asks every 10 s while nothing
 * comes, and at once after its own restart, before we are back), it waits 30 s for the answer and
 * 10 s more before it asks again, link up or not.
 *
 * Such an inbox is among the first interest the hub tells us. If a second later it is still there
 * and no request with it has come, nobody will ever answer: we do, with the error that means "try
 * again", and then send a few INFO lines, for at each of them a hub looks which of its copies have
 * nothing to read from, as it does for a new link. It asks anew within 0.2 s, but not within 2 s of
 * its last request.
 *
 *     UP ── 1 s ──► look: none? done.
 *                   Else answer each, INFO ── 0.2 s ──► INFO ── 0.4 s ──► INFO ── …
 *
 * What always holds
 *   (1) An inbox whose request came over this link is never answered here.
 *   (2) The INFO says the same of us as our CONNECT did, and never "compression": a hub would begin
 *       to negotiate. It takes the first one for part of the greeting and the second one for news;
 *       hence several.
 *   (3) Two such rounds of one site lie REST apart; a link that came within it is looked at later.
 *       A hub process we never met is looked at in time: it was started a moment ago, or this is
 *       our first word to it, so its requests did not wait for a link of ours that comes and goes.
 *
 * The inbox does not say which site was asked. If it was another one (its link is dead, too, or it
 * needs more than a second), that hub asks that site once more: a consumer is made a second time
 * under its own name, nothing is lost. But a site whose link comes and goes would end the requests
 * of a slow neighbour again and again; (3) leaves that neighbour ten seconds for its answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "server/leaf_state.h"
#include "server/loop.h"

#define FIRST_WORDS (NS_PER_S / 4) /* the interest of the greeting has come by then */
#define LOOK_AFTER  NS_PER_S       /* a request under way is answered by then */
#define REST        (10 * NS_PER_S)
#define NUDGES      4                 /* INFO lines; the hub ignores the first */
#define NUDGE_EVERY (200 * NS_PER_MS) /* and twice as long each time */

/* What the API itself says when it can't serve a request now. */
#define TRY_AGAIN                                                                                  \
    "{\"type\":\"io.nats.jetstream.api.v1.consumer_create_response\",\"error\":{\"code\":503,"     \
    "\"err_code\":10008,\"description\":\"JetStream system temporarily unavailable\"}}"

bool leaf_orphans_is_inbox(struct slice subject)
{
    return slice_starts(subject, SLICE("$JSC.R."));
}

bool leaf_orphans_greeting(const struct leaf *l)
{
    return clock_mono() - l->up_since < FIRST_WORDS;
}

static void answer(struct leaf *l, struct slice inbox)
{
    static const struct slice body = SLICE_INIT(TRY_AGAIN "\r\n");
    if (!leaf_list_passes(&l->out, inbox))
        return;
    log_debug("lid:%llu - the request of \"%.*s\" was lost with a link: asking for another",
              (unsigned long long)l->ep.id, SLICE_FMT(inbox));
    struct buf line = BUF_INIT;
    buf_printf(&line, "LMSG %.*s %zu\r\n", SLICE_FMT(inbox), body.n - 2);
    buf_add_slice(&line, body);
    conn_write(l->conn, line.data, line.len);
    buf_release(&line);
    l->nudges = NUDGES;
}

static void say_info(struct leaf *l)
{
    struct buf line = BUF_INIT;
    struct json_out j;
    buf_add_str(&line, "INFO ");
    json_begin(&j, &line);
    json_obj(&j, NULL);
    json_str(&j, "server_id", l->host->server_id);
    json_str(&j, "server_name", l->host->server_name);
    json_str(&j, "version", l->host->version);
    json_str(&j, "domain", l->host->domain);
    if (l->host->cluster.n)
        json_str(&j, "cluster", l->host->cluster);
    json_bool(&j, "headers", l->peer_headers);
    json_bool(&j, "jetstream", true);
    json_i64(&j, "max_payload", l->host->max_payload);
    json_end(&j);
    buf_add_str(&line, "\r\n");
    conn_write(l->conn, line.data, line.len);
    buf_release(&line);
}

static void on_timer(void *arg)
{
    struct leaf *l = arg;
    if (l->state != LEAF_UP)
        return;
    if (!l->nudges) {
        leaf_words_each_orphan(l, answer);
        if (!l->nudges)
            return;
        l->orphans_rest = clock_mono() + REST;
    }
    say_info(l);
    int64_t wait = NUDGE_EVERY << (NUDGES - l->nudges);
    if (--l->nudges)
        turn_set(loop_turn(l->host->loop), &l->orphans, clock_mono() + wait);
}

void leaf_orphans_init(struct leaf *l)
{
    turn_timer_init(&l->orphans, on_timer, l);
}

void leaf_orphans_hub(struct leaf *l, struct slice server_id)
{
    uint64_t id = hash_slice(server_id);
    for (size_t i = 0; i < LEAF_HUBS_MET; i++)
        if (l->hubs_met[i] == id)
            return;
    l->hubs_met[l->hubs_next++ % LEAF_HUBS_MET] = id;
    l->orphans_rest = 0;
}

void leaf_orphans_start(struct leaf *l)
{
    l->nudges = 0;
    l->up_since = clock_mono();
    int64_t look = l->up_since + LOOK_AFTER;
    if (look < l->orphans_rest)
        look = l->orphans_rest;
    if (l->ep.spoke && l->cfg->account->jetstream && l->host->domain.n)
        turn_set(loop_turn(l->host->loop), &l->orphans, look);
}

void leaf_orphans_stop(struct leaf *l)
{
    turn_unset(loop_turn(l->host->loop), &l->orphans);
}
