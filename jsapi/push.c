/* jsapi/push.c -- push consumers: interest, heartbeats, flow control, and the nudge after a restart
 *
 * Flow control counts bytes. The window starts at 2 MiB and doubles with every answer up to 32 MiB;
 * beyond half of it we ask once and go on, beyond the whole of it delivery rests until the answer
 * comes. With ack policy flow_control the answer acknowledges, so we also ask when the ack window
 * is full and after an idle heartbeat.
 *
 * The nudge. A consumer that feeds somebody's copy (direct, sourcing, or acked by flow control)
 * lost its place in the dialogue when this process ended: the copying side counts consumer
 * sequences, and ours start anew. If we just went on, the first messages would be taken for repeats
 * and then acknowledged: lost. So such a consumer stays silent until the other side sends CREATE or
 * RESET, and provokes exactly that with heartbeats whose Nats-Last-Consumer can't be what the other
 * side counted: two at a time with growing values, every second while somebody listens.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/push.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/uid.h"
#include "jsapi/ack.h"

#define FC_START    (2 << 20)
#define FC_MAX      (32 << 20)
#define NUDGE_EVERY NS_PER_S

static struct slice fc_subject(const struct js_consumer *c, char *room, size_t n)
{
    int len = snprintf(room, n, "$JS.FC.%.*s.%.*s.%s", SLICE_FMT(c->stream->name),
                       SLICE_FMT(c->name), c->fc_reply);
    return slice_of(room, len > 0 && (size_t)len < n ? (size_t)len : 0);
}

/* --- heartbeats ------------------------------------------------------------------------------- */

void push_heartbeat(struct js_consumer *c, struct slice to, uint64_t last_consumer)
{
    char line[768], fc[560];
    int n = snprintf(
        line, sizeof line,
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %llu\r\nNats-Last-Stream: %llu\r\n",
        (unsigned long long)last_consumer, (unsigned long long)c->pend.delivered.stream);
    if (n <= 0)
        return;
    size_t len = (size_t)n;
    if (c->fc_reply[0]) {
        struct slice s = fc_subject(c, fc, sizeof fc);
        n = snprintf(line + len, sizeof line - len, "Nats-Consumer-Stalled: %.*s\r\n",
                     SLICE_FMT(s));
        if (n <= 0 || (size_t)n >= sizeof line - len)
            return;
        len += (size_t)n;
    }
    memcpy(line + len, "\r\n", 2);
    js_say_backlog(c->acc, to, (struct slice){0}, slice_of(line, len + 2), (struct slice){0});
}

void push_nudge(struct js_consumer *c, int64_t now)
{
    if (!c->bound)
        return;
    for (int i = 0; i < 2; i++)
        push_heartbeat(c, c->cfg->deliver_subject, c->pend.delivered.consumer + ++c->nudges);
    c->sent_at = now;
    consumer_due(c, now + NUDGE_EVERY);
}

/* --- flow control ----------------------------------------------------------------------------- */

static void fc_ask(struct js_consumer *c)
{
    char room[560];
    uid_short(c->fc_reply, 4);
    c->fc_asked = c->fc_bytes;
    js_say_backlog(c->acc, c->cfg->deliver_subject, fc_subject(c, room, sizeof room),
                   SLICE("NATS/1.0 100 FlowControl Request\r\n\r\n"), (struct slice){0});
}

static bool ack_window_full(const struct js_consumer *c)
{
    return c->cfg->ack_policy == ACK_FLOW_CONTROL && c->cfg->max_ack_pending > 0 &&
           pending_count(&c->pend) >= c->cfg->max_ack_pending;
}

void push_sent(struct js_consumer *c, size_t size, int64_t now)
{
    c->sent_at = now;
    if (!c->cfg->flow_control)
        return;
    c->fc_bytes += (int64_t)size;
    if (!c->fc_reply[0]) {
        if (c->fc_bytes > c->fc_window / 2 || ack_window_full(c))
            fc_ask(c);
    } else if (c->fc_bytes - c->fc_asked >= c->fc_window) {
        c->fc_asked += (int64_t)size; /* the answer will stand for these as well */
    }
}

bool push_open_for(const struct js_consumer *c)
{
    return c->bound && (!c->cfg->flow_control || c->fc_bytes <= c->fc_window);
}

static void fc_forget(struct js_consumer *c)
{
    c->fc_bytes = c->fc_asked = 0;
    c->fc_reply[0] = 0;
}

bool push_fc_heard(void *arg, struct msg_view *m, void *from)
{
    struct js_consumer *c = arg;
    struct slice subject = msg_route(m), value;
    uint64_t sseq = 0, cseq = 0;
    (void)from;
    /* The id is the last token in both forms of the subject. */
    if (c->state != CONSUMER_LIVE || !c->fc_reply[0] ||
        !slice_ends(subject, slice_cstr(c->fc_reply)))
        return true;
    c->fc_window = c->fc_window * 2 > FC_MAX ? FC_MAX : c->fc_window * 2;
    c->fc_bytes = c->fc_bytes > c->fc_asked ? c->fc_bytes - c->fc_asked : 0;
    c->fc_asked = 0;
    c->fc_reply[0] = 0;
    if (c->cfg->ack_policy == ACK_FLOW_CONTROL && m->hdr.n) {
        if (!hdr_get(m->hdr, SLICE("Nats-Last-Stream"), &value) || slice_u64(value, &sseq) < 0)
            sseq = 0;
        if (!hdr_get(m->hdr, SLICE("Nats-Last-Consumer"), &value) || slice_u64(value, &cseq) < 0)
            cseq = 0;
        ack_flow_control(c, sseq, cseq);
    }
    consumer_ready(c);
    return true;
}

/* --- interest --------------------------------------------------------------------------------- */

static void on_interest(void *arg, bool has)
{
    struct js_consumer *c = arg;
    int64_t now = clock_mono();
    if (c->bound == has)
        return;
    c->bound = has;
    consumer_active(c, now);
    if (!has) {
        fc_forget(c); /* the answer may be lost with whoever left */
        c->rests = false;
        consumer_rearm(c);
        return;
    }
    if (c->state == CONSUMER_AWAITING) {
        consumer_due(c, now); /* nudge, but not from inside the news */
        return;
    }
    c->sent_at = now;
    if (c->cfg->idle_heartbeat)
        consumer_due(c, clock_after(now, c->cfg->idle_heartbeat));
    consumer_ready(c);
}

void push_open(struct js_consumer *c)
{
    const struct jsapi_host *h = consumer_host(c);
    bool has = false;
    if (!consumer_is_push(c->cfg) || c->watch)
        return;
    fc_forget(c);
    c->fc_window = FC_START;
    c->watch = h->watch(h->arg, c->acc->account, c->cfg->deliver_subject, c->cfg->deliver_group,
                        on_interest, c, &has);
    c->bound = has;
    c->sent_at = clock_mono();
}

void push_close(struct js_consumer *c)
{
    const struct jsapi_host *h = consumer_host(c);
    if (c->watch)
        h->unwatch(h->arg, c->watch);
    c->watch = NULL;
    c->bound = false;
}

/* --- time ------------------------------------------------------------------------------------- */

int64_t push_tick(struct js_consumer *c, int64_t now)
{
    if (!c->bound)
        return INT64_MAX;
    if (c->state == CONSUMER_AWAITING) {
        if (!c->nudges || now - c->sent_at >= NUDGE_EVERY)
            push_nudge(c, now);
        return c->sent_at + NUDGE_EVERY;
    }
    int64_t every = c->cfg->idle_heartbeat;
    if (!every || c->state != CONSUMER_LIVE)
        return INT64_MAX;
    if (now - c->sent_at >= every) {
        push_heartbeat(c, c->cfg->deliver_subject, c->pend.delivered.consumer);
        if (c->cfg->ack_policy == ACK_FLOW_CONTROL && pending_count(&c->pend) && !c->fc_reply[0])
            fc_ask(c);
        c->sent_at = now;
    }
    return clock_after(c->sent_at, every);
}
