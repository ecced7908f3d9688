/* jsapi/pull.c -- waiting requests of a pull consumer
 *
 * MSG.NEXT is a hot word: it does not pass through the JSON API. An empty body or a number costs no
 * parser; in a JSON body unknown members are passed over, those of a wrong type refuse it. All that
 * a request is told besides messages is a status line in a header block; statuses are posted,
 * because most are born inside a hear function.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/pull.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "jsapi/api.h"
#include "jsapi/push.h"

/* --- statuses --------------------------------------------------------------------------------- */

static void say_status(struct js_consumer *c, struct slice to, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void say_status(struct js_consumer *c, struct slice to, const char *fmt, ...)
{
    char line[320];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof line)
        js_post_backlog(c->acc, to, (struct slice){0}, slice_of(line, (size_t)n),
                        (struct slice){0});
}

static void refuse(struct js_consumer *c, struct slice to, const char *status)
{
    say_status(c, to, "NATS/1.0 %s\r\n\r\n", status);
}

void pull_end(struct js_consumer *c, struct pull_request *p, const char *status, bool pair)
{
    if (status && pair)
        say_status(c, pull_reply(p),
                   "NATS/1.0 %s\r\nNats-Pending-Messages: %lld\r\nNats-Pending-Bytes: %lld\r\n\r\n",
                   status, (long long)p->batch, (long long)p->bytes);
    else if (status)
        refuse(c, pull_reply(p), status);
    list_unlink(&p->link);
    c->n_waiting--;
#ifndef __clang_analyzer__ /* it does not see that p has left the list */
    free(p);
#endif
}

void pull_end_all(struct js_consumer *c, const char *status, bool pair)
{
    LIST_EACH_SAFE(it, &c->waiting)
    pull_end(c, LIST_ENTRY(it, struct pull_request, link), status, pair);
}

/* --- asking ----------------------------------------------------------------------------------- */

struct wanted {
    int64_t batch, expires, bytes, heartbeat;
    bool no_wait;
    struct slice group, id; /* gone when it is read; what counts is whether there is an id */
    int64_t min_pending, min_ack_pending, priority;
    const char *unfit; /* what it asks for and no consumer here has */
    struct buf bad;    /* why it can't be read; empty: it can */
};

#define AT(field) offsetof(struct wanted, field)
static const struct cfg_row rows[] = {
    {"expires", CFG_NS, AT(expires), 0, NULL, NULL},
    {"batch", CFG_INT, AT(batch), 0, NULL, NULL},
    {"max_bytes", CFG_INT, AT(bytes), 0, NULL, NULL},
    {"no_wait", CFG_BOOL, AT(no_wait), 0, NULL, NULL},
    {"idle_heartbeat", CFG_NS, AT(heartbeat), 0, NULL, NULL},
    {"group", CFG_STR, AT(group), 0, NULL, NULL},
    {"min_pending", CFG_INT, AT(min_pending), 0, NULL, NULL},
    {"min_ack_pending", CFG_INT, AT(min_ack_pending), 0, NULL, NULL},
    {"id", CFG_STR, AT(id), 0, NULL, NULL},
    {"priority", CFG_INT, AT(priority), 0, NULL, NULL},
    CFG_END};
#undef AT
static const struct cfg_table table = {"JSApiConsumerGetNextRequest", rows, sizeof(struct wanted)};

static void read_members(json_t *obj, struct arena *mem, struct wanted *w)
{
    int err = cfg_read(&table, obj, w, mem, false, &w->bad);
    if (err) {
        if (!w->bad.len)
            buf_add_str(&w->bad, err_text(err));
        return;
    }
    if (w->min_pending || w->min_ack_pending)
        w->unfit = "Not a Overflow Priority consumer";
    else if (w->id.n)
        w->unfit = "Not a Pinned Client Priority consumer";
    else if (w->priority < 0 || w->priority > 9)
        w->unfit = "Priority must be between 0 and 9";
    if (w->heartbeat > 0 && (w->heartbeat > INT64_MAX / 2 || w->heartbeat * 2 > w->expires))
        buf_add_str(&w->bad, "heartbeat value too large");
}

static void read_json(struct slice body, struct wanted *w)
{
    struct arena mem;
    char *why = NULL;
    json_t *obj;
    w->batch = 0;
    if (json_read(body, &obj, &why) < 0) {
        buf_add_str(&w->bad, why ? why : "invalid JSON");
        free(why);
        return;
    }
    arena_init(&mem, 3 * body.n + 256); /* a byte that is no UTF-8 becomes three */
    read_members(obj, &mem, w);
    arena_release(&mem);
    json_free(obj);
}

static void read_body(struct slice body, struct wanted *w)
{
    *w = (struct wanted){.batch = 1, .bad = BUF_INIT};
    body = slice_trim(body);
    if (!body.n)
        return;
    if (body.p[0] == '{')
        read_json(body, w);
    else if (slice_i64(body, &w->batch) < 0)
        w->batch = 1;
}

/* Messages the waiting requests still want, all together. */
static uint64_t outstanding(const struct js_consumer *c)
{
    uint64_t sum = 0;
    LIST_EACH(it, &c->waiting)
    {
        int64_t batch = LIST_ENTRY(it, struct pull_request, link)->batch;
        sum += batch > 0 ? (uint64_t)batch : 0;
    }
    return sum;
}

/* False: answered already. */
static bool no_wait_may_stay(struct js_consumer *c, const struct wanted *w, struct slice reply)
{
    if (c->filtered && !c->counted)
        return true; /* the pump will tell */
    uint64_t there = consumer_num_pending(c) + pending_queued(&c->pend);
    if (!there && !w->expires) {
        refuse(c, reply, "404 No Messages");
        return false;
    }
    if (there && there < outstanding(c)) {
        pull_count(c);
        if (there < outstanding(c)) {
            refuse(c, reply, "408 Requests Pending");
            return false;
        }
    }
    return true;
}

static bool within_limits(struct js_consumer *c, const struct wanted *w, struct slice reply)
{
    const struct consumer_config *cfg = c->cfg;
    if (cfg->max_batch > 0 && w->batch > cfg->max_batch) {
        say_status(c, reply, "NATS/1.0 409 Exceeded MaxRequestBatch of %lld\r\n\r\n",
                   (long long)cfg->max_batch);
        return false;
    }
    if (cfg->max_expires > 0 && w->expires > cfg->max_expires) {
        char text[40];
        size_t n = duration_print(cfg->max_expires, text);
        say_status(c, reply, "NATS/1.0 409 Exceeded MaxRequestExpires of %.*s\r\n\r\n", (int)n,
                   text);
        return false;
    }
    if (cfg->max_bytes > 0 && w->bytes > cfg->max_bytes) {
        say_status(c, reply, "NATS/1.0 409 Exceeded MaxRequestMaxBytes of %lld\r\n\r\n",
                   (long long)cfg->max_bytes);
        return false;
    }
    return true;
}

static void bad_request(struct js_consumer *c, struct slice reply, const char *why)
{
    say_status(c, reply, "NATS/1.0 400 Bad Request - %.200s\r\n\r\n", why);
}

static void enqueue(struct js_consumer *c, const struct wanted *w, struct slice reply)
{
    int64_t now = clock_mono();
    struct pull_request *p = xmalloc(sizeof *p + reply.n);
    *p = (struct pull_request){.batch =
                                   w->batch, /* no more than zero: one, but told as it was asked */
                               .bytes = w->bytes > 0 ? w->bytes : 0,
                               .heartbeat = w->heartbeat > 0 ? w->heartbeat : 0,
                               .no_wait = w->no_wait,
                               .reply_n = (uint32_t)reply.n};
    memcpy(p->reply, reply.p, reply.n);
    if (w->expires) { /* a negative one has passed */
        if (__builtin_add_overflow(now, w->expires, &p->expires))
            p->expires = w->expires > 0 ? INT64_MAX : now;
        consumer_due(c, p->expires);
    }
    if (p->heartbeat) {
        p->beat_at = now + p->heartbeat;
        consumer_due(c, p->beat_at);
    }
    list_init(&p->link);
    list_push_back(&c->waiting, &p->link);
    c->n_waiting++;
    consumer_active(c, now);
    consumer_ready(c);
}

void pull_ask(struct js_consumer *c, struct slice body, struct slice reply)
{
    struct wanted w;
    if (consumer_is_push(c->cfg)) {
        refuse(c, reply, "409 Consumer is push based");
        return;
    }
    read_body(body, &w);
    if (w.bad.len) {
        bad_request(c, reply, buf_cstr(&w.bad));
        buf_release(&w.bad);
        return;
    }
    if (!within_limits(c, &w, reply))
        return;
    if (w.unfit) {
        bad_request(c, reply, w.unfit);
        return;
    }
    if (c->n_waiting >= (uint64_t)c->cfg->max_waiting)
        pull_count(c);
    if (w.no_wait && !no_wait_may_stay(c, &w, reply)) {
        consumer_active(c, clock_mono());
        return;
    }
    if (c->n_waiting >= (uint64_t)c->cfg->max_waiting) {
        if (w.heartbeat <= 0)
            refuse(c, reply, "409 Exceeded MaxWaiting");
        return;
    }
    enqueue(c, &w, reply);
}

bool pull_heard(void *arg, struct msg_view *m, void *from)
{
    struct js_consumer *c = arg;
    (void)from;
    if (!m->reply.n || c->state == CONSUMER_GONE)
        return true;
    if (consumer_is_push(c->cfg))
        refuse(c, m->reply, "409 Consumer is push based");
    else if (m->hdr.n && !api_level_ok(m->hdr))
        refuse(c, m->reply, "412 Required Api Level");
    else
        pull_ask(c, m->payload, m->reply);
    return true;
}

/* --- serving ---------------------------------------------------------------------------------- */

struct pull_request *pull_next(struct js_consumer *c)
{
    int64_t now = clock_mono();
    LIST_EACH_SAFE(it, &c->waiting)
    {
        struct pull_request *p = LIST_ENTRY(it, struct pull_request, link);
        if (p->expires && p->expires <= now)
            pull_end(c, p, "408 Request Timeout", true);
        else if (!p->rests)
            return p;
    }
    return NULL;
}

bool pull_fits(struct js_consumer *c, struct pull_request *p, size_t size)
{
    if (!p->bytes || size <= (size_t)p->bytes)
        return true;
    pull_end(c, p, "409 Message Size Exceeds MaxBytes", true);
    return false;
}

void pull_took(struct js_consumer *c, struct pull_request *p, size_t size, int64_t now)
{
    bool budget = p->bytes > 0;
    p->delivered++;
    p->batch--;
    if (budget) {
        p->bytes -= (int64_t)size;
        if (!p->bytes)
            p->batch = 0;
    }
    if (p->batch <= 0) {
        pull_end(c, p, p->bytes > 0 ? "409 Batch Completed" : NULL, true);
        return;
    }
    if (p->heartbeat)
        p->beat_at = now + p->heartbeat;
    if (c->n_waiting > 1) {
        list_unlink(&p->link);
        list_push_back(&c->waiting, &p->link);
    }
}

void pull_end_of_stream(struct js_consumer *c)
{
    LIST_EACH_SAFE(it, &c->waiting)
    {
        struct pull_request *p = LIST_ENTRY(it, struct pull_request, link);
        if (p->no_wait && (!p->expires || p->delivered)) {
            consumer_active(c, clock_mono());
            pull_end(c, p, "404 No Messages", false);
        }
    }
}

int64_t pull_tick(struct js_consumer *c, int64_t now)
{
    int64_t next = INT64_MAX;
    bool ended = false;
    LIST_EACH_SAFE(it, &c->waiting)
    {
        struct pull_request *p = LIST_ENTRY(it, struct pull_request, link);
        if (p->expires && p->expires <= now) {
            consumer_active(c, now);
            pull_end(c, p, "408 Request Timeout", true);
            ended = true;
            continue;
        }
        if (p->heartbeat && p->beat_at <= now) {
            push_heartbeat(c, pull_reply(p), c->pend.delivered.consumer);
            p->beat_at = now + p->heartbeat;
        }
        if (p->expires && p->expires < next)
            next = p->expires;
        if (p->heartbeat && p->beat_at < next)
            next = p->beat_at;
    }
    if (ended && !consumer_window_open(c)) /* nats-server looks at who can't wait only then */
        pull_end_of_stream(c);
    return next;
}

uint32_t pull_count(struct js_consumer *c)
{
    const struct jsapi_host *h = consumer_host(c);
    int64_t now = clock_mono();
    LIST_EACH_SAFE(it, &c->waiting)
    {
        struct pull_request *p = LIST_ENTRY(it, struct pull_request, link);
        if (p->expires && p->expires <= now)
            pull_end(c, p, "408 Request Timeout", true);
        else if (!h->interest(h->arg, c->acc->account, pull_reply(p), (struct slice){0}))
            pull_end(c, p, NULL, false);
    }
    return c->n_waiting;
}

void pull_wake(struct js_consumer *c)
{
    LIST_EACH(it, &c->waiting)
    LIST_ENTRY(it, struct pull_request, link)->rests = false;
}
