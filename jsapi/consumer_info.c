/* jsapi/consumer_info.c -- CONSUMER.INFO, and how a consumer is shown anywhere
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumer.h"

#include "base/clock.h"
#include "jsapi/consumer_change.h"
#include "jsapi/pull.h"

static void write_pair(struct json_out *j, const char *key, struct pending_pair p,
                       int64_t last_active)
{
    json_obj(j, key);
    json_u64(j, "consumer_seq", p.consumer);
    json_u64(j, "stream_seq", p.stream);
    if (last_active)
        json_time(j, "last_active", last_active);
    json_end(j);
}

/* What it has delivered; one in memory that has delivered nothing tells what it passed over. */
static struct pending_pair delivered(const struct js_consumer *c)
{
    bool memory = c->cfg->mem_storage || c->stream->cfg.storage == STORE_MEMORY;
    bool fresh = !c->pend.delivered.consumer && !c->pend.told;
    return (struct pending_pair){c->pend.delivered.consumer,
                                 memory && fresh ? c->pend.delivered.stream : c->pend.told};
}

void consumer_write(struct js_consumer *c, struct json_out *j, enum consumer_show show)
{
    int64_t now = clock_wall();
    json_str(j, "stream_name", c->stream->name);
    json_str(j, "name", c->name);
    json_time(j, "created", c->created);
    if (show != SHOW_NO_CONFIG)
        consumer_config_write(c->cfg, j, "config", show == SHOW_LIVE, consumer_host(c)->version);
    write_pair(j, "delivered", delivered(c), c->delivered_wall);
    write_pair(j, "ack_floor", c->pend.floor, c->acked_wall);
    json_u64(j, "num_ack_pending", pending_count(&c->pend));
    json_u64(j, "num_redelivered", pending_redelivered(&c->pend));
    json_u64(j, "num_waiting", consumer_is_push(c->cfg) ? 0 : pull_count(c));
    json_u64(j, "num_pending", consumer_num_pending(c));
    if (c->bound)
        json_bool(j, "push_bound", true);
    if (consumer_paused(c)) {
        json_bool(j, "paused", true);
        json_i64(j, "pause_remaining", c->cfg->pause_until.ns - now);
    }
    json_time(j, "ts", now);
}

struct js_consumer *consumer_asked(struct request *r)
{
    struct js_consumer *c =
        r->stream->consumers ? consumers_find(r->stream->consumers, r->tok[1]) : NULL;
    if (!c) {
        api_fail(r, JSConsumerNotFoundErr, NULL);
        return NULL;
    }
    if (c->state == CONSUMER_MAKING || c->coming) {
        consumer_wait(c, r);
        return NULL;
    }
    return c;
}

void consumer_info(struct request *r)
{
    struct js_consumer *c = consumer_asked(r);
    if (!c || !consumer_counted(c, r))
        return;
    consumer_write(c, api_ok(r), SHOW_LIVE);
    api_send(r);
}
