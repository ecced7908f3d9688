/* jsapi/consumer_reset.c -- CONSUMER.RESET {"seq": n}: start anew, consumer sequence 1
 *
 * Without a sequence right behind the ack floor. The other half of a sourcing dialogue: this, or a
 * CREATE, wakes a consumer that waits to be asked anew after a restart. A reset of a consumer or
 * stream that does not exist is not answered at all, and one without reply subject does nothing, as
 * with nats-server. The answer tells the consumer as the reset left it: deliveries wait for it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumer_change.h"

#include <stdlib.h>

static bool may_reset(struct js_consumer *c, uint64_t seq, struct js_error *e)
{
    const struct consumer_config *cfg = c->cfg;
    switch (cfg->deliver_policy) {
    case DELIVER_ALL:
        return true;
    case DELIVER_BY_SEQ:
        return seq >= cfg->opt_start_seq ||
               js_fail(e, JSConsumerInvalidResetErr, "%s", "below start seq");
    case DELIVER_BY_TIME:
        return seq >= store_seq_at_time(c->stream->store, cfg->opt_start_time.ns) ||
               js_fail(e, JSConsumerInvalidResetErr, "%s", "below start time");
    default:
        return js_fail(e, JSConsumerInvalidResetErr, "%s", "not allowed");
    }
}

/* Lenient, as nats-server is here: members it does not know are passed over. */
static bool read_seq(struct slice body, uint64_t *seq, struct js_error *e)
{
    json_t *obj;
    char *why = NULL;
    if (!body.n)
        return true;
    if (json_read(body, &obj, &why) < 0) {
        js_fail(e, JSInvalidJSONErr, "%s", why ? why : "");
        free(why);
        return false;
    }
    json_t *asked = json_key(obj, "seq");
    bool good = json_is_object(obj) || json_is_null(obj);
    if (asked && !json_is_null(asked))
        good = json_is_integer(asked) && json_integer_value(asked) >= 0;
    if (!good)
        js_fail(e, JSInvalidJSONErr, "%s", "json: seq is not a sequence");
    else if (json_is_integer(asked))
        *seq = (uint64_t)json_integer_value(asked);
    json_free(obj);
    return good;
}

struct slice consumer_identity_header(struct request *r, struct js_stream *s)
{
    return slice_cstr(
        arena_printf(&r->mem, "NATS/1.0\r\nNats-Stream-Identity: %s\r\n\r\n", s->identity));
}

struct reset {
    struct js_consumer *c; /* held */
    uint64_t seq;
};

/* It is answered: now deliveries may begin. Another reset may wait for a count that this one has
 * ended, and nothing else asks for it until that is answered. */
static void release(struct js_consumer *c)
{
    c->resetting--;
    if (c->resetting && c->n_waiters && c->state != CONSUMER_GONE)
        consumer_counted(c, NULL);
    consumer_ready(c);
    consumer_drop(c);
}

static void finish(struct request *r)
{
    struct reset *x = r->arg;
    struct js_consumer *c = x->c;
    struct slice ignored;
    if (c->state == CONSUMER_GONE) {
        api_fail(r, JSConsumerInvalidResetErr, "%s", "consumer closed");
    } else {
        if (!consumer_counted(c, r))
            return;
        if (hdr_get(r->hdr, SLICE("Nats-Stream-Identity"), &ignored))
            r->out_hdr = consumer_identity_header(r, r->stream);
        struct json_out *j = api_ok(r);
        consumer_write(c, j, SHOW_LIVE);
        json_u64(j, "reset_seq", x->seq);
        api_send(r);
    }
    release(c);
}

static void on_stored(void *arg, int err)
{
    struct request *r = arg;
    struct reset *x = r->arg;
    if (!err) {
        finish(r);
        return;
    }
    struct js_consumer *c = x->c;
    api_fail(r, JSConsumerInvalidResetErr, "%s", err_text(err));
    release(c);
}

void consumer_reset(struct request *r)
{
    struct js_error e;
    if (r->arg) {
        finish(r);
        return;
    }
    if (!r->reply.n || !r->stream || !r->stream->consumers ||
        !consumers_find(r->stream->consumers, r->tok[1])) {
        api_drop(r);
        return;
    }
    struct js_consumer *c = consumer_asked(r);
    if (!c)
        return;
    uint64_t seq = 0;
    if (!read_seq(r->body, &seq, &e) || (seq && !may_reset(c, seq, &e))) {
        api_fail_with(r, &e);
        return;
    }
    struct reset *x = arena_alloc(&r->mem, sizeof *x);
    *x = (struct reset){c, seq ? seq : c->pend.base.stream + 1};
    r->arg = x;
    r->held = c;
    consumer_hold(c);
    c->resetting++;
    consumer_restart(c, x->seq - 1);
    int err = c->cursor ? store_cursor_sync(c->cursor, on_stored, r) : 0;
    if (err)
        on_stored(r, err);
    else if (!c->cursor)
        finish(r);
}
