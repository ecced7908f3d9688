/* jsapi/consumer_config.c -- the table of a consumer's members, and the rules between them
 *
 * The rules stand in the order in which nats-server looks at them, because the first broken one
 * gives the answer. Each function checks one chapter and returns false with the error filled.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/consumer_config.h"

#include "base/clock.h"
#include "base/subject.h"
#include "jsapi/overlap.h"

#define DESCRIPTION_MAX     4096
#define METADATA_MAX        131072
#define ACK_WAIT_DEFAULT    (30 * NS_PER_S)
#define MAX_ACK_DEFAULT     1000
#define MAX_WAIT_DEFAULT    512
#define PIN_DEFAULT         (120 * NS_PER_S)
#define EPHEMERAL_THRESHOLD (5 * NS_PER_S)
#define FC_HEARTBEAT        NS_PER_S
#define CONFIG_ARENA_MAX    (4 << 20)

static const char *const deliver_names[] = {
    "all",       "last", "new", "by_start_sequence", "by_start_time", "last_per_subject",
    "undefined", NULL};
static const char *const ack_names[] = {"none", "all", "explicit", "flow_control", NULL};
static const char *const replay_names[] = {"instant", "original", NULL};
static const char *const priority_names[] = {
    "", "none", "overflow", "pinned_client", "prioritized", NULL};
static const char *const action_names[] = {"", "create", "update", NULL};

#define AT(member) offsetof(struct consumer_config, member)
static const struct cfg_row rows[] = {
    {"durable_name", CFG_STR, AT(durable), 0, NULL, NULL},
    {"name", CFG_STR, AT(name), 0, NULL, NULL},
    {"description", CFG_STR, AT(description), 0, NULL, NULL},
    {"deliver_policy", CFG_ENUM, AT(deliver_policy), CFG_ALWAYS, deliver_names, NULL},
    {"opt_start_seq", CFG_U64, AT(opt_start_seq), 0, NULL, NULL},
    {"opt_start_time", CFG_TIME, AT(opt_start_time), 0, NULL, NULL},
    {"ack_policy", CFG_ENUM, AT(ack_policy), CFG_ALWAYS, ack_names, NULL},
    {"ack_wait", CFG_NS, AT(ack_wait), 0, NULL, NULL},
    {"max_deliver", CFG_INT, AT(max_deliver), 0, NULL, NULL},
    {"backoff", CFG_INTS, AT(backoff), 0, NULL, NULL},
    {"filter_subject", CFG_STR, AT(filter_subject), 0, NULL, NULL},
    {"filter_subjects", CFG_STRS, AT(filter_subjects), 0, NULL, NULL},
    {"replay_policy", CFG_ENUM, AT(replay_policy), CFG_ALWAYS, replay_names, NULL},
    {"rate_limit_bps", CFG_U64, AT(rate_limit), 0, NULL, NULL},
    {"sample_freq", CFG_STR, AT(sample_freq), 0, NULL, NULL},
    {"max_waiting", CFG_INT, AT(max_waiting), 0, NULL, NULL},
    {"max_ack_pending", CFG_INT, AT(max_ack_pending), 0, NULL, NULL},
    {"flow_control", CFG_BOOL, AT(flow_control), 0, NULL, NULL},
    {"headers_only", CFG_BOOL, AT(headers_only), 0, NULL, NULL},
    {"max_batch", CFG_INT, AT(max_batch), 0, NULL, NULL},
    {"max_expires", CFG_NS, AT(max_expires), 0, NULL, NULL},
    {"max_bytes", CFG_INT, AT(max_bytes), 0, NULL, NULL},
    {"deliver_subject", CFG_STR, AT(deliver_subject), 0, NULL, NULL},
    {"deliver_group", CFG_STR, AT(deliver_group), 0, NULL, NULL},
    {"idle_heartbeat", CFG_NS, AT(idle_heartbeat), 0, NULL, NULL},
    {"inactive_threshold", CFG_NS, AT(inactive_threshold), 0, NULL, NULL},
    {"num_replicas", CFG_INT, AT(num_replicas), CFG_ALWAYS, NULL, NULL},
    {"mem_storage", CFG_BOOL, AT(mem_storage), 0, NULL, NULL},
    {"direct", CFG_BOOL, AT(direct), 0, NULL, NULL},
    {"sourcing", CFG_BOOL, AT(sourcing), 0, NULL, NULL},
    {"metadata", CFG_MAP, AT(metadata), 0, NULL, NULL},
    {"pause_until", CFG_TIME, AT(pause_until), 0, NULL, NULL},
    {"priority_groups", CFG_STRS, AT(priority_groups), 0, NULL, NULL},
    {"priority_policy", CFG_ENUM, AT(priority_policy), 0, priority_names, NULL},
    {"priority_timeout", CFG_NS, AT(priority_timeout), 0, NULL, NULL},
    CFG_END};
const struct cfg_table consumer_config_table = {"ConsumerConfig", rows,
                                                sizeof(struct consumer_config)};

#define RAT(member) offsetof(struct consumer_request, member)
static const struct cfg_row request_rows[] = {
    {"stream_name", CFG_STR, RAT(stream_name), 0, NULL, NULL},
    {"config", CFG_OBJ_IN, RAT(config), 0, NULL, &consumer_config_table},
    {"action", CFG_STR, RAT(action_text), 0, NULL, NULL},
    {"pedantic", CFG_BOOL, RAT(pedantic), 0, NULL, NULL},
    CFG_END};
static const struct cfg_table request_table = {"CreateConsumerRequest", request_rows,
                                               sizeof(struct consumer_request)};

/* --- life ------------------------------------------------------------------------------------- */

void consumer_config_init(struct consumer_config *c)
{
    *c = (struct consumer_config){0};
    arena_init(&c->mem, CONFIG_ARENA_MAX);
}

void consumer_config_release(struct consumer_config *c)
{
    arena_release(&c->mem);
    *c = (struct consumer_config){0};
}

static bool read_action(struct consumer_request *r, struct js_error *e)
{
    for (int i = 0; action_names[i]; i++)
        if (slice_is(r->action_text, action_names[i])) {
            r->action = i;
            return true;
        }
    return js_fail(e, JSInvalidJSONErr, "unknown consumer action: \"%.*s\"",
                   SLICE_FMT(r->action_text));
}

bool consumer_request_read(struct consumer_request *r, json_t *obj, bool strict, struct js_error *e)
{
    *r = (struct consumer_request){0};
    consumer_config_init(&r->config);
    if (!obj)
        return true;
    struct buf why = BUF_INIT;
    bool ok = cfg_read(&request_table, obj, r, &r->config.mem, strict, &why) == 0;
    if (!ok)
        js_fail(e, JSInvalidJSONErr, "%s", buf_cstr(&why));
    buf_release(&why);
    r->config.mem.limit = 0; /* what comes now is ours: a name, a level */
    return ok && read_action(r, e);
}

int consumer_config_load(struct consumer_config *c, struct slice json)
{
    json_t *obj;
    consumer_config_init(c);
    c->mem.limit = 0; /* it was within bounds when it came */
    int err = json_read_kept(json, &obj);
    if (err)
        return err;
    err = cfg_read(&consumer_config_table, obj, c, &c->mem, false, NULL);
    json_free(obj);
    return err;
}

void consumer_config_copy(const struct consumer_config *from, struct consumer_config *to)
{
    struct buf b = BUF_INIT;
    struct json_out j;
    json_begin(&j, &b);
    cfg_write_obj(&consumer_config_table, from, &j, NULL);
    int err = consumer_config_load(to, buf_slice(&b));
    buf_release(&b);
    ASSERT(err == 0);
}

void consumer_config_write(const struct consumer_config *c, struct json_out *out, const char *key,
                           bool live, struct slice version)
{
    struct consumer_config shown = *c;
    struct cfg_pair *room = NULL;
    if (live && c->unnamed)
        shown.name = (struct slice){0};
    if (live) {
        room = xmalloc((c->metadata.n + 2) * sizeof *room);
        shown.metadata = cfg_meta_dynamic(&c->metadata, version, room);
    }
    cfg_write_obj(&consumer_config_table, &shown, out, key);
    free(room);
}

bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b)
{
    return cfg_equal(&consumer_config_table, a, b);
}

struct store_filter consumer_filters(const struct consumer_config *c)
{
    if (c->filter_subject.n)
        return (struct store_filter){&c->filter_subject, 1};
    return (struct store_filter){c->filter_subjects.at, c->filter_subjects.n};
}

unsigned consumer_sampling(const struct consumer_config *c)
{
    struct slice s = c->sample_freq;
    uint64_t n;
    if (slice_ends(s, SLICE("%")))
        s = slice_head(s, s.n - 1);
    if (!s.n || slice_u64(s, &n) < 0)
        return 0;
    return n > 100 ? 100 : (unsigned)n;
}

/* --- defaults --------------------------------------------------------------------------------- */

static bool pedantic_fail(struct js_error *e, const char *text)
{
    return js_fail(e, JSPedanticErrF, "%s", text);
}

/* Negative numbers where none make sense become zero; a pedantic client hears about it. */
static bool clamp(struct consumer_config *c, bool pedantic, struct js_error *e)
{
    const struct {
        int64_t *at;
        const char *text;
    } zero[] = {{&c->max_waiting, "max_waiting must not be negative"},
                {&c->max_batch, "max_batch must not be negative"},
                {&c->max_expires, "max_expires must not be negative"},
                {&c->max_bytes, "max_bytes must not be negative"},
                {&c->idle_heartbeat, "idle_heartbeat must not be negative"},
                {&c->inactive_threshold, "inactive_threshold must not be negative"},
                {&c->priority_timeout, "priority_timeout must not be negative"}};
    if (c->max_deliver < -1 && pedantic)
        return pedantic_fail(e, "max_deliver must be set to -1");
    if (c->max_deliver <= 0)
        c->max_deliver = -1;
    if (c->max_ack_pending < -1) {
        if (pedantic)
            return pedantic_fail(e, "max_ack_pending must be set to -1");
        c->max_ack_pending = -1;
    }
    for (size_t i = 0; i < ARRAY_LEN(zero); i++) {
        if (*zero[i].at >= 0)
            continue;
        if (pedantic)
            return pedantic_fail(e, zero[i].text);
        *zero[i].at = 0;
    }
    return true;
}

static bool from_stream(struct consumer_config *c, const struct stream_limits *l, bool pedantic,
                        struct js_error *e)
{
    if (c->max_ack_pending == 0) {
        if (pedantic && l->max_ack_pending > 0)
            return pedantic_fail(e,
                                 "max_ack_pending must be set if it's configured in stream limits");
        c->max_ack_pending = l->max_ack_pending;
    }
    if (c->inactive_threshold == 0) {
        if (pedantic && l->inactive_threshold > 0)
            return pedantic_fail(
                e, "inactive_threshold must be set if it's configured in stream limits");
        c->inactive_threshold = l->inactive_threshold;
    }
    return true;
}

static bool defaults(struct consumer_config *c, const struct consumer_bounds *b, bool pedantic,
                     struct js_error *e)
{
    if (c->deliver_policy == DELIVER_UNDEFINED)
        c->deliver_policy = DELIVER_ALL;
    if (!clamp(c, pedantic, e))
        return false;
    if (!consumer_is_push(c) && !c->max_waiting)
        c->max_waiting = MAX_WAIT_DEFAULT;
    if (!c->ack_wait && (c->ack_policy == ACK_EXPLICIT || c->ack_policy == ACK_ALL))
        c->ack_wait = ACK_WAIT_DEFAULT;
    if (c->backoff.n) {
        if (pedantic && c->ack_wait != c->backoff.at[0])
            return pedantic_fail(e, "first backoff value has to equal batch AckWait");
        c->ack_wait = c->backoff.at[0];
    }
    if (!from_stream(c, &b->stream->consumer_limits, pedantic, e))
        return false;
    if (!c->max_ack_pending && c->ack_policy != ACK_NONE) {
        c->max_ack_pending = MAX_ACK_DEFAULT;
        if (b->max_ack_pending > 0 && b->max_ack_pending < c->max_ack_pending)
            c->max_ack_pending = b->max_ack_pending;
        if (b->account_max_ack_pending > 0 && b->account_max_ack_pending < c->max_ack_pending)
            c->max_ack_pending = b->account_max_ack_pending;
    }
    if (!consumer_is_push(c) && !c->max_batch && b->max_request_batch > 0) {
        if (pedantic)
            return pedantic_fail(e,
                                 "max_request_batch must be set if it's JetStream limits are set");
        c->max_batch = b->max_request_batch;
    }
    if (c->priority_policy == PRIORITY_PINNED && !c->priority_timeout)
        c->priority_timeout = PIN_DEFAULT;
    if (c->ack_policy == ACK_FLOW_CONTROL && !pedantic) {
        c->flow_control = true;
        c->idle_heartbeat = FC_HEARTBEAT;
    }
    return true;
}

/* --- rules ------------------------------------------------------------------------------------ */

static bool name_rules(const struct consumer_config *c, const struct stream_config *s,
                       struct js_error *e)
{
    if (c->name.n && !js_name_valid(c->name))
        return js_fail(e, JSStreamInvalidConfigF, "%s",
                       "consumer name can not contain '.', '*', '>', '\\', '/'");
    /* A durable name that is only too long has its own answer, at the very end of all checks. */
    if (c->durable.n && !js_name_valid(slice_head(c->durable, 255)))
        return js_fail(e, JSStreamInvalidConfigF, "%s",
                       "consumer durable name can not contain '.', '*', '>', '\\', '/'");
    if (c->num_replicas > 0 && c->num_replicas > s->num_replicas)
        return js_fail(e, JSConsumerReplicasExceedsStream, NULL);
    if (c->num_replicas < 0)
        return js_fail(e, JSReplicasCountCannotBeNegative, NULL);
    if (s->retention != RETAIN_LIMITS && c->num_replicas && c->num_replicas != s->num_replicas)
        return js_fail(e, JSConsumerReplicasShouldMatchStream, NULL);
    return true;
}

static bool flow_control_ack_rules(const struct consumer_config *c, struct js_error *e)
{
    if (c->ack_policy != ACK_FLOW_CONTROL)
        return true;
    if (!consumer_is_push(c))
        return js_fail(e, JSConsumerAckFCRequiresPushErr, NULL);
    if (!c->flow_control)
        return js_fail(e, JSConsumerAckFCRequiresFCErr, NULL);
    if (c->idle_heartbeat != FC_HEARTBEAT)
        return js_fail(e, JSStreamInvalidConfigF, "%s",
                       "flow control ack policy heartbeat needs to be 1s");
    if (c->max_ack_pending <= 0)
        return js_fail(e, JSConsumerAckFCRequiresMaxAckPendingErr, NULL);
    if (c->ack_wait || c->backoff.n)
        return js_fail(e, JSConsumerAckFCRequiresNoAckWaitErr, NULL);
    if (c->max_deliver > 0)
        return js_fail(e, JSConsumerAckFCRequiresNoMaxDeliverErr, NULL);
    return true;
}

static bool ack_rules(const struct consumer_config *c, struct js_error *e)
{
    for (size_t i = 0; i < c->backoff.n; i++)
        if (c->backoff.at[i] < 0)
            return js_fail(e, JSConsumerBackOffNegativeErr, NULL);
    if (c->ack_wait < 0)
        return js_fail(e, JSConsumerAckWaitNegativeErr, NULL);
    if (!flow_control_ack_rules(c, e))
        return false;
    if (c->backoff.n && c->max_deliver != -1 && (int64_t)c->backoff.n > c->max_deliver)
        return js_fail(e, JSConsumerMaxDeliverBackoffErr, NULL);
    if (c->description.n > DESCRIPTION_MAX)
        return js_fail(e, JSConsumerDescriptionTooLongErrF, "%d", DESCRIPTION_MAX);
    return true;
}

static bool push_rules(const struct consumer_config *c, const struct stream_config *s,
                       struct js_error *e)
{
    if (subject_has_wildcard(c->deliver_subject))
        return js_fail(e, JSConsumerDeliverToWildcardsErr, NULL);
    if (!subject_valid(c->deliver_subject))
        return js_fail(e, JSConsumerInvalidDeliverSubject, NULL);
    for (size_t i = 0; i < s->subjects.n; i++)
        if (subject_match(c->deliver_subject, s->subjects.at[i]))
            return js_fail(e, JSConsumerDeliverCycleErr, NULL);
    if (c->max_waiting)
        return js_fail(e, JSConsumerPushMaxWaitingErr, NULL);
    if (c->max_ack_pending > 0 && c->ack_policy == ACK_NONE)
        return js_fail(e, JSConsumerMaxPendingAckPolicyRequiredErr, NULL);
    if (c->idle_heartbeat > 0 && c->idle_heartbeat < 100 * NS_PER_MS)
        return js_fail(e, JSConsumerSmallHeartbeatErr, NULL);
    return true;
}

static bool pull_rules(const struct consumer_config *c, const struct consumer_bounds *b,
                       struct js_error *e)
{
    if (c->ack_policy == ACK_NONE && b->stream->retention == RETAIN_WORKQUEUE)
        return js_fail(e, JSConsumerPullRequiresAckErr, NULL);
    if (c->rate_limit)
        return js_fail(e, JSConsumerPullWithRateLimitErr, NULL);
    if (c->idle_heartbeat)
        return js_fail(e, JSConsumerHBRequiresPushErr, NULL);
    if (c->flow_control)
        return js_fail(e, JSConsumerFCRequiresPushErr, NULL);
    if (c->max_expires && c->max_expires < NS_PER_MS)
        return js_fail(e, JSConsumerMaxRequestExpiresTooSmall, NULL);
    if (b->max_request_batch > 0 && c->max_batch > b->max_request_batch)
        return js_fail(e, JSConsumerMaxRequestBatchExceededF, "%lld",
                       (long long)b->max_request_batch);
    return true;
}

static bool bound_rules(const struct consumer_config *c, const struct consumer_bounds *b,
                        struct js_error *e)
{
    const struct stream_limits *l = &b->stream->consumer_limits;
    const int64_t bounds[] = {b->max_ack_pending, b->account_max_ack_pending, l->max_ack_pending};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        if (bounds[i] > 0 && c->max_ack_pending > bounds[i])
            return js_fail(e, JSConsumerMaxPendingAckExcessErrF, "%lld", (long long)bounds[i]);
    if (l->inactive_threshold > 0 && c->inactive_threshold > l->inactive_threshold) {
        char text[40];
        size_t n = duration_print(l->inactive_threshold, text);
        return js_fail(e, JSConsumerInactiveThresholdExcess, "%.*s", (int)n, text);
    }
    if (c->direct && !consumer_is_push(c))
        return js_fail(e, JSConsumerDirectRequiresPushErr, NULL);
    if (c->direct && c->durable.n)
        return js_fail(e, JSConsumerDirectRequiresEphemeralErr, NULL);
    return true;
}

static bool filter_rules(const struct consumer_config *c, struct js_error *e)
{
    if (c->filter_subject.n && c->filter_subjects.n)
        return js_fail(e, JSConsumerDuplicateFilterSubjects, NULL);
    for (size_t i = 0; i < c->filter_subjects.n; i++)
        if (!c->filter_subjects.at[i].n)
            return js_fail(e, JSConsumerEmptyFilter, NULL);
    struct store_filter f = consumer_filters(c);
    struct overlap o;
    size_t first = 0, other;
    overlap_init(&o, f.patterns, f.n, subject_subset);
    enum overlap_answer within = overlap_first(&o, &first, &other);
    overlap_release(&o);
    for (size_t i = 0; i < f.n; i++) {
        if (!subject_valid(f.patterns[i]))
            return js_fail(e, JSStreamInvalidConfigF, "%s", "invalid subject");
        if (within != OVERLAP_APART && i == first)
            return js_fail(e, JSConsumerOverlappingSubjectFilters, NULL);
    }
    return true;
}

static bool start_rules(const struct consumer_config *c, struct js_error *e)
{
    static const char *const words[] = {
        "all", "last", "new", "by start sequence", "by start time", "last per subject"};
    const char *policy = words[c->deliver_policy], *extra = NULL, *missing = NULL;
    switch (c->deliver_policy) {
    case DELIVER_BY_SEQ:
        missing = c->opt_start_seq ? NULL : "start sequence";
        extra = c->opt_start_time.set ? "time" : NULL;
        break;
    case DELIVER_BY_TIME:
        missing = c->opt_start_time.set ? NULL : "start time";
        extra = c->opt_start_seq ? "start sequence" : NULL;
        break;
    default:
        extra = c->opt_start_seq ? "sequence" : c->opt_start_time.set ? "time" : NULL;
        if (!extra && c->deliver_policy == DELIVER_LAST_PER_SUBJECT && !consumer_filters(c).n)
            missing = "filter subject";
    }
    if (missing)
        return js_fail(e, JSConsumerInvalidPolicyErrF,
                       "consumer delivery policy is deliver %s, but optional %s is not set", policy,
                       missing);
    if (extra)
        return js_fail(e, JSConsumerInvalidPolicyErrF,
                       "consumer delivery policy is deliver %s, but optional start %s is also set",
                       policy, extra);
    return true;
}

static bool sample_rules(const struct consumer_config *c, struct js_error *e)
{
    struct slice s = c->sample_freq;
    int64_t n;
    if (!s.n)
        return true;
    if (slice_ends(s, SLICE("%")))
        s = slice_head(s, s.n - 1);
    if (slice_i64(s, &n) < 0)
        return js_fail(e, JSConsumerInvalidSamplingErrF,
                       "strconv.Atoi: parsing \"%.*s\": invalid syntax", SLICE_FMT(s));
    if (n < 0)
        return js_fail(e, JSConsumerInvalidSamplingErrF, "%s", "<nil>");
    return true;
}

bool consumer_group_valid(struct slice s)
{
    if (s.n > 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '/' || c == '_' || c == '=' || c == '-';
        if (!ok)
            return false;
    }
    return true;
}

static bool priority_rules(const struct consumer_config *c, struct js_error *e)
{
    if (c->priority_policy <= PRIORITY_NONE) {
        if (c->priority_groups.n)
            return js_fail(e, JSConsumerPriorityGroupWithPolicyNone, NULL);
        if (c->priority_timeout)
            return js_fail(e, JSConsumerPinnedTTLWithoutPriorityPolicyNone, NULL);
        return true;
    }
    if (consumer_is_push(c))
        return js_fail(e, JSConsumerPushWithPriorityGroupErr, NULL);
    if (!c->priority_groups.n)
        return js_fail(e, JSConsumerPriorityPolicyWithoutGroup, NULL);
    for (size_t i = 0; i < c->priority_groups.n; i++) {
        if (!c->priority_groups.at[i].n)
            return js_fail(e, JSConsumerEmptyGroupName, NULL);
        if (!consumer_group_valid(c->priority_groups.at[i]))
            return js_fail(e, JSConsumerInvalidGroupNameErr, NULL);
    }
    return js_fail(e, JSConsumerCreateErrF, "%s",
                   "priority groups are not supported by this server yet");
}

bool consumer_config_check(struct consumer_config *c, const struct consumer_bounds *b,
                           bool pedantic, struct js_error *e)
{
    if (!defaults(c, b, pedantic, e) || !name_rules(c, b->stream, e) || !ack_rules(c, e))
        return false;
    if (consumer_is_push(c) ? !push_rules(c, b->stream, e) : !pull_rules(c, b, e))
        return false;
    if (!bound_rules(c, b, e) || !filter_rules(c, e) || !start_rules(c, e) || !sample_rules(c, e))
        return false;
    if (c->flow_control && !c->idle_heartbeat)
        return js_fail(e, JSConsumerWithFlowControlNeedsHeartbeats, NULL);
    if (c->durable.n && c->name.n && !slice_eq(c->durable, c->name))
        return js_fail(e, JSConsumerCreateDurableAndNameMismatch, NULL);
    if (cfg_map_bytes(&c->metadata) > METADATA_MAX)
        return js_fail(e, JSConsumerMetadataLengthErrF, "%dKB", METADATA_MAX / 1024);
    return priority_rules(c, e);
}

/* --- updates ---------------------------------------------------------------------------------- */

void consumer_config_lifetime(struct consumer_config *c)
{
    if (!c->durable.n && c->inactive_threshold <= 0)
        c->inactive_threshold = EPHEMERAL_THRESHOLD;
}

static bool same_time(struct cfg_time a, struct cfg_time b)
{
    return a.set == b.set && (!a.set || a.ns == b.ns);
}

bool consumer_config_may_update(const struct consumer_config *old,
                                const struct consumer_config *now, bool deliver_bound,
                                struct js_error *e)
{
    bool push = consumer_is_push(old), push_now = consumer_is_push(now);
    const struct {
        bool broken;
        const char *text;
    } rules[] = {
        {old->deliver_policy != now->deliver_policy, "deliver policy can not be updated"},
        {old->mem_storage != now->mem_storage, "storage type can not be updated"},
        {old->direct != now->direct, "direct can not be updated"},
        {old->sourcing != now->sourcing, "sourcing can not be updated"},
        {old->opt_start_seq != now->opt_start_seq, "start sequence can not be updated"},
        {!same_time(old->opt_start_time, now->opt_start_time), "start time can not be updated"},
        {old->ack_policy != now->ack_policy, "ack policy can not be updated"},
        {old->replay_policy != now->replay_policy, "replay policy can not be updated"},
        {old->idle_heartbeat != now->idle_heartbeat, "heart beats can not be updated"},
        {old->flow_control != now->flow_control, "flow control can not be updated"},
        {!push && push_now, "can not update pull consumer to push based"},
        {push && !push_now, "can not update push consumer to pull based"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (rules[i].broken)
            return js_fail(e, JSConsumerCreateErrF, "%s", rules[i].text);
    if (deliver_bound && !slice_eq(old->deliver_subject, now->deliver_subject))
        return js_fail(e, JSConsumerNameExistErr, NULL);
    if (old->max_waiting != now->max_waiting)
        return js_fail(e, JSConsumerCreateErrF, "%s", "max waiting can not be updated");
    if (now->backoff.n && now->max_deliver != -1 && (int64_t)now->backoff.n > now->max_deliver)
        return js_fail(e, JSConsumerMaxDeliverBackoffErr, NULL);
    return true;
}
