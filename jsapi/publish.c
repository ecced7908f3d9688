/* jsapi/publish.c -- see publish.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/publish.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/msg.h"

#define HEADERS_MAX 65535
#define RECORD_MAX  ((size_t)32 << 20)

enum wish {
    W_MSG_ID,
    W_STREAM,
    W_LAST_SEQ,
    W_SUBJECT_SEQ,
    W_SUBJECT_SEQ_OF,
    W_LAST_MSG_ID,
    W_ROLLUP,
    W_TTL,
    W_INCR,
    W_BATCH_ID,
    W_SCHEDULE,
    W_SOURCE,
    W_COUNT
};

#define NAME(lit)                                                                                  \
    {                                                                                              \
        SLICE_INIT(lit)                                                                            \
    }
static const struct {
    struct slice name;
} names[W_COUNT] = {
    [W_MSG_ID] = NAME("Nats-Msg-Id"),
    [W_STREAM] = NAME("Nats-Expected-Stream"),
    [W_LAST_SEQ] = NAME("Nats-Expected-Last-Sequence"),
    [W_SUBJECT_SEQ] = NAME("Nats-Expected-Last-Subject-Sequence"),
    [W_SUBJECT_SEQ_OF] = NAME("Nats-Expected-Last-Subject-Sequence-Subject"),
    [W_LAST_MSG_ID] = NAME("Nats-Expected-Last-Msg-Id"),
    [W_ROLLUP] = NAME("Nats-Rollup"),
    [W_TTL] = NAME("Nats-TTL"),
    [W_INCR] = NAME("Nats-Incr"),
    [W_BATCH_ID] = NAME("Nats-Batch-Id"),
    [W_SCHEDULE] = NAME("Nats-Schedule"),
    [W_SOURCE] = NAME("Nats-Stream-Source"),
};

struct wishes {
    unsigned has; /* bit per wish; an empty value counts as absent */
    struct slice value[W_COUNT];
};

static void note(struct wishes *w, struct slice name, struct slice value)
{
    for (unsigned i = 0; i < W_COUNT; i++)
        if (slice_eq(name, names[i].name)) {
            if (!(w->has & 1u << i) && value.n) {
                w->has |= 1u << i;
                w->value[i] = value;
            }
            return;
        }
}

static void gather(struct wishes *w, struct slice hdr)
{
    struct slice name, value;
    size_t pos = 0;

    w->has = 0;
    while (hdr_next(hdr, &pos, &name, &value))
        if (slice_starts(name, SLICE("Nats-")))
            note(w, name, value);
}

static bool has(const struct wishes *w, enum wish i)
{
    return w->has & 1u << i;
}

/* An integer of any size with an optional sign. */
static bool is_integer(struct slice v)
{
    if (v.n && (v.p[0] == '-' || v.p[0] == '+'))
        v = slice_skip(v, 1);
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
    return v.n > 0;
}

/* "never", a duration or seconds; at least a second. */
static bool ttl_valid(struct slice v)
{
    int64_t ns;
    uint64_t seconds;

    if (slice_ieq(v, SLICE("never")))
        return true;
    if (slice_u64(v, &seconds) == 0)
        return seconds > 0;
    return duration_parse(v.p, v.n, &ns) == 0 && ns >= NS_PER_S;
}

static uint64_t number(struct slice v)
{
    uint64_t n;
    return slice_u64(v, &n) == 0 ? n : UINT64_MAX;
}

/* Features that a config can't turn on yet answer as if they were off. */
static bool check_features(const struct wishes *w, struct slice reply, struct js_error *e)
{
    if (slice_ends(reply, SLICE(".$FI")))
        return js_fail(e, JSBatchPublishDisabledErr, NULL);
    if (has(w, W_BATCH_ID))
        return js_fail(e, JSAtomicPublishDisabledErr, NULL);
    if (has(w, W_INCR))
        return js_fail(
            e, is_integer(w->value[W_INCR]) ? JSMessageIncrDisabledErr : JSMessageIncrInvalidErr,
            NULL);
    return true;
}

static bool may_roll_up(const struct stream_config *cfg)
{
    return cfg->allow_rollup_hdrs && !cfg->deny_purge;
}

/* 0: none that is known. */
static unsigned rollup_of(struct slice v)
{
    if (slice_ieq(v, SLICE("sub")))
        return REC_ROLLUP_SUBJECT;
    return slice_ieq(v, SLICE("all")) ? REC_ROLLUP_ALL : 0;
}

static bool check_rollup(const struct stream_config *cfg, struct slice v, struct record_in *rec,
                         struct js_error *e)
{
    if (!may_roll_up(cfg))
        return js_fail(e, JSStreamRollupFailedF, "rollup not permitted");
    if (!rollup_of(v))
        return js_fail(e, JSStreamRollupFailedF, "rollup value invalid: \"%.*s\"", SLICE_FMT(v));
    rec->flags |= rollup_of(v);
    return true;
}

unsigned publish_copied_rollup(const struct stream_config *cfg, struct slice hdr)
{
    struct slice v;
    return may_roll_up(cfg) && hdr_get(hdr, names[W_ROLLUP].name, &v) ? rollup_of(v) : 0;
}

/* What is refused only when the expected sequences are right, before message ids are looked at. */
static bool check_late(const struct wishes *w, struct js_error *e)
{
    if (has(w, W_SCHEDULE))
        return js_fail(e, JSMessageSchedulesDisabledErr, NULL);
    if (has(w, W_SOURCE))
        return js_fail(e, JSMessageSourceHdrNotAllowedErr, NULL);
    return true;
}

/* What is refused last of all. */
static bool check_last(const struct stream_config *cfg, const struct wishes *w,
                       struct record_in *rec, struct js_error *e)
{
    if (has(w, W_ROLLUP) && !check_rollup(cfg, w->value[W_ROLLUP], rec, e))
        return false;
    if (has(w, W_TTL)) { /* a valid one was refused before */
        rec->flags &= ~(unsigned)(REC_ROLLUP_SUBJECT | REC_ROLLUP_ALL);
        return js_fail(e, JSMessageTTLInvalidErr, NULL);
    }
    return true;
}

static void expected_sequences(const struct wishes *w, struct record_in *rec)
{
    if (has(w, W_SUBJECT_SEQ)) {
        rec->flags |= REC_EXPECT_SUBJECT_SEQ;
        rec->expect_subject_seq = number(w->value[W_SUBJECT_SEQ]);
        if (has(w, W_SUBJECT_SEQ_OF))
            rec->expect_subject = w->value[W_SUBJECT_SEQ_OF];
    }
    if (has(w, W_LAST_SEQ)) {
        rec->flags |= REC_EXPECT_LAST_SEQ;
        rec->expect_last_seq = number(w->value[W_LAST_SEQ]);
    }
}

static void message_ids(const struct wishes *w, struct record_in *rec)
{
    if (has(w, W_LAST_MSG_ID)) {
        rec->flags |= REC_EXPECT_MSG_ID;
        rec->expect_msg_id = w->value[W_LAST_MSG_ID];
    }
    if (has(w, W_MSG_ID))
        rec->msg_id = w->value[W_MSG_ID];
}

bool publish_check(const struct stream_config *cfg, struct slice hdr, struct slice reply,
                   struct record_in *rec, struct js_error *e)
{
    struct wishes w;

    if (rec->subject.n + hdr.n + rec->payload.n > RECORD_MAX)
        return js_fail(e, JSStreamStoreFailedF, "message too large");
    if (cfg->sealed)
        return js_fail(e, JSStreamSealedErr, NULL);
    if (cfg->max_msg_size >= 0 && hdr.n + rec->payload.n > (size_t)cfg->max_msg_size)
        return js_fail(e, JSStreamMessageExceedsMaximumErr, NULL);
    if (hdr.n > HEADERS_MAX)
        return js_fail(e, JSStreamHeaderExceedsMaximumErr, NULL);
    if (!hdr.n && !(reply.n && reply.p[reply.n - 1] == 'I'))
        return true;
    gather(&w, hdr);
    if (!check_features(&w, reply, e))
        return false;
    if (has(&w, W_STREAM) && !slice_eq(w.value[W_STREAM], cfg->name))
        return js_fail(e, JSStreamNotMatchErr, NULL);
    if (has(&w, W_TTL) && ttl_valid(w.value[W_TTL]))
        return js_fail(e, JSMessageTTLDisabledErr, NULL);
    if (has(&w, W_SUBJECT_SEQ_OF) && !has(&w, W_SUBJECT_SEQ))
        return js_fail(e, JSStreamExpectedLastSeqPerSubjectInvalid, NULL);
    expected_sequences(&w, rec);
    if (!check_late(&w, e)) {
        rec->flags |= REC_REFUSED;
        return true;
    }
    message_ids(&w, rec);
    if (!check_last(cfg, &w, rec, e))
        rec->flags |= REC_REFUSED;
    return true;
}

void publish_store_error(const struct store_receipt *r, struct js_error *e)
{
    switch (r->err) {
    case E_LAST_SEQ:
    case E_LAST_SUBJECT_SEQ:
        js_fail(e, JSStreamWrongLastSequenceErrF, "%llu", (unsigned long long)r->last);
        return;
    case E_LAST_MSG_ID:
        js_fail(e, JSStreamWrongLastMsgIDErrF, "%.*s", SLICE_FMT(r->last_msg_id));
        return;
    case E_MAX_MSG_SIZE:
        js_fail(e, JSStreamMessageExceedsMaximumErr, NULL);
        return;
    case E_MAX_MSGS:
        js_fail(e, JSStreamStoreFailedF, "maximum messages exceeded");
        return;
    case E_MAX_BYTES:
        js_fail(e, JSStreamStoreFailedF, "maximum bytes exceeded");
        return;
    case E_MAX_PER_SUBJECT:
        js_fail(e, JSStreamStoreFailedF, "maximum messages per subject exceeded");
        return;
    case E_TOOBIG:
        js_fail(e, JSStreamStoreFailedF, "message too large");
        return;
    case E_SPACE:
        js_fail(e, JSInsufficientResourcesErr, NULL);
        return;
    case E_LIMIT:
        js_fail(e, JSAccountResourcesExceededErr, NULL);
        return;
    case E_FULL:
        js_fail(e, JSStreamTooManyRequests, NULL);
        return;
    default:
        js_fail(e, JSStreamStoreFailedF, "%s", err_text(r->err));
    }
}
