/* jsapi/consumer_pause.c -- CONSUMER.PAUSE {"pause_until": time}, and CONSUMER.UNPIN
 *
 * A time that is past, zero or absent resumes. The pause is part of the config, so it survives a
 * restart. A body that can't be read is told before a stream that isn't there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumer.h"

#include "base/clock.h"
#include "jsapi/consumer_change.h"

struct pause_request {
    struct cfg_time pause_until;
};
static const struct cfg_row rows[] = {
    {"pause_until", CFG_TIME, offsetof(struct pause_request, pause_until), 0, NULL, NULL}, CFG_END};
static const struct cfg_table table = {"JSApiConsumerPauseRequest", rows,
                                       sizeof(struct pause_request)};

static void paused(struct js_consumer *c, struct request *r)
{
    bool on = consumer_paused(c);
    struct json_out *j = api_ok(r);
    json_bool(j, "paused", on);
    cfg_write_time(&c->cfg->pause_until, j, "pause_until");
    if (on)
        json_i64(j, "pause_remaining", c->cfg->pause_until.ns - clock_wall());
    api_send(r);
}

void consumer_pause(struct request *r)
{
    struct pause_request p = {0};
    struct js_consumer *c;
    if (!api_read(r, &table, &p) || !api_need_stream(r) || !(c = consumer_asked(r)))
        return;
    struct consumer_config *cfg = xmalloc(sizeof *cfg);
    consumer_config_copy(c->cfg, cfg);
    cfg->pause_until = p.pause_until;
    cfg->pause_until.offset = 0; /* nats-server shows it in UTC from here on */
    if (p.pause_until.ns == INT64_MIN)
        cfg->pause_until = (struct cfg_time){0};
    cfg_meta_static(&cfg->metadata, consumer_level(cfg), &cfg->mem);
    consumer_change(c, cfg, r, paused);
}

/* There are no priority groups, so whatever group is named does not exist. */
void consumer_unpin(struct request *r)
{
    struct slice group = r->json ? json_get_str(r->json, "group") : (struct slice){0};
    if (!group.n) {
        api_fail(r, JSInvalidJSONErr, "%s", "consumer group not specified");
        return;
    }
    if (!consumer_group_valid(group)) {
        api_fail(r, JSConsumerInvalidGroupNameErr, NULL);
        return;
    }
    if (api_need_stream(r) && consumer_asked(r))
        api_fail(r, JSConsumerInvalidPriorityGroupErr, NULL);
}
