/* jsapi/stream_check.c -- may a stream be like this? defaults and rules, in the reference's order
 *
 * reference/jetstream-api.md 4.3 and 4.4. Each step is one function that fills in what was left
 * open or says what is wrong; the first complaint wins. Features this server doesn't have yet are
 * refused by name, never taken silently.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/subject.h"
#include "jsapi/overlap.h"
#include "jsapi/stream_config.h"

#define NAME_MAX_BYTES    255
#define DESC_MAX_BYTES    4096
#define META_MAX_BYTES    131072
#define REPLICAS_MAX      5
#define WINDOW_DEFAULT    (120 * NS_PER_S)
#define WINDOW_MIN        (100 * NS_PER_MS)
#define AGE_MIN           (100 * NS_PER_MS)
#define CYCLE_STEPS_MAX   10000
#define DELIVER_LOOKS_MAX 1000000u /* a delivery prefix beside a subject; about 0.1 s */

static bool bad(struct js_error *e, const char *what)
{
    return js_fail(e, JSStreamInvalidConfigF, "%s", what);
}

static bool pedantic(struct js_error *e, const char *what)
{
    return js_fail(e, JSPedanticErrF, "%s", what);
}

static bool check_names(struct stream_config *c, struct js_error *e)
{
    struct slice head = slice_head(c->name, NAME_MAX_BYTES);

    if (!js_name_valid(head))
        return bad(e, "stream name is required and can not contain '.', '*', '>', '\\', '/'");
    if (c->name.n > NAME_MAX_BYTES)
        return bad(e, "stream name is too long, maximum allowed is 255");
    if (c->description.n > DESC_MAX_BYTES)
        return bad(e, "stream description is too long, maximum allowed is 4096");
    if (cfg_map_bytes(&c->metadata) > META_MAX_BYTES)
        return bad(e, "stream metadata exceeds maximum size of 131072 bytes");
    if (c->num_replicas == 0)
        c->num_replicas = 1;
    if (c->num_replicas > REPLICAS_MAX)
        return bad(e, "maximum replicas is 5");
    if (c->num_replicas < 0)
        return js_fail(e, JSReplicasCountCannotBeNegative, NULL);
    if (c->persist_mode == PERSIST_DEFAULT)
        c->persist_mode = PERSIST_ABSENT;
    return true;
}

static bool check_limits(struct stream_config *c, struct js_error *e)
{
    const struct {
        int64_t *v;
        const char *name;
    } unlimited[] = {
        {&c->max_msgs, "max_msgs must be set to -1"},
        {&c->max_msgs_per_subject, "max_msgs_per_subject must be set to -1"},
        {&c->max_bytes, "max_bytes must be set to -1"},
        {&c->max_msg_size, "max_msg_size must be set to -1"},
        {&c->max_consumers, "max_consumers must be set to -1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(unlimited); i++) {
        if (c->pedantic && *unlimited[i].v < -1)
            return pedantic(e, unlimited[i].name);
        if (*unlimited[i].v <= 0)
            *unlimited[i].v = -1;
    }
    if (c->max_age < 0)
        return bad(e, "max age can not be negative");
    if (c->max_age != 0 && c->max_age < AGE_MIN)
        return bad(e, "max age needs to be >= 100ms");
    return true;
}

static bool check_window(struct stream_config *c, const struct stream_bounds *b, struct js_error *e)
{
    if (c->duplicate_window == 0 && !c->mirror && !c->sources.n) {
        int64_t window = WINDOW_DEFAULT;
        if (b->duplicate_window_max > 0 && window > b->duplicate_window_max) {
            if (c->pedantic)
                return pedantic(e, "duplicate window limits are higher than current limits");
            window = b->duplicate_window_max;
        }
        if (c->max_age && c->max_age < window) {
            if (c->pedantic)
                return pedantic(e, "duplicate window cannot be bigger than max age");
            window = c->max_age;
        }
        c->duplicate_window = window;
    }
    if (c->duplicate_window < 0)
        return bad(e, "duplicates window can not be negative");
    if (c->max_age && c->duplicate_window > c->max_age)
        return bad(e, "duplicates window can not be larger then max age");
    if (b->duplicate_window_max > 0 && c->duplicate_window > b->duplicate_window_max) {
        char text[40];
        size_t n = duration_print(b->duplicate_window_max, text);
        return js_fail(e, JSStreamInvalidConfigF,
                       "duplicates window can not be larger then server limit of %.*s", (int)n,
                       text);
    }
    if (c->duplicate_window > 0 && c->duplicate_window < WINDOW_MIN)
        return bad(e, "duplicates window needs to be >= 100ms");
    return true;
}

/* Rules between members, and what later versions of this server bring. */
static bool check_features(struct stream_config *c, struct js_error *e)
{
    if (c->deny_purge && c->allow_rollup_hdrs)
        return bad(e, "roll-ups require the purge permission");
    if (c->allow_msg_counter)
        return bad(e, "message counters (allow_msg_counter) are not supported by this server");
    if (c->discard_new_per_subject) {
        if (c->discard != DISCARD_NEW)
            return bad(e, "discard new per subject requires discard new policy to be set");
        if (c->max_msgs_per_subject <= 0)
            return bad(e, "discard new per subject requires max msgs per subject > 0");
    }
    if (c->subject_delete_marker_ttl < 0)
        return bad(e, "subject delete marker TTL must not be negative");
    if (c->subject_delete_marker_ttl > 0 && c->subject_delete_marker_ttl < NS_PER_S)
        return bad(e, "subject delete marker TTL must be at least 1 second");
    if (c->subject_delete_marker_ttl > 0)
        return bad(
            e,
            "subject delete markers (subject_delete_marker_ttl) are not supported by this server");
    if (c->allow_msg_ttl)
        return bad(e, "per-message TTLs (allow_msg_ttl) are not supported by this server");
    if (c->allow_msg_schedules)
        return bad(e, "message schedules (allow_msg_schedules) are not supported by this server");
    if (c->persist_mode == PERSIST_ASYNC) {
        if (c->storage != STORE_FILE)
            return bad(e, "async persist mode is only supported on file storage");
        if (c->num_replicas > 1)
            return bad(e, "async persist mode is not supported on replicated streams");
        if (c->allow_atomic)
            return bad(e, "async persist mode is not supported with atomic batch publish");
    }
    if (c->allow_atomic && c->pedantic)
        return pedantic(e,
                        "atomic batch publishing (allow_atomic) is not supported by this server");
    if (c->allow_batched)
        return bad(e, "fast batch publishing (allow_batched) is not supported by this server");
    return true;
}

/* --- mirror and sources ----------------------------------------------------------------------- */

static const struct stream_config *other(const struct stream_bounds *b, struct slice name)
{
    return b->other ? b->other(b->arg, name) : NULL;
}

static bool consumer_fits(const struct source_config *s)
{
    return !s->consumer || (js_name_valid(s->consumer->name) &&
                            subject_valid_literal(s->consumer->deliver_subject) &&
                            !s->opt_start_seq && !s->opt_start_time.set && !s->filter_subject.n);
}

/* A destination that is no subject is told in the words of mappings. */
static const char *mapping_trouble(const char *why, struct slice dest)
{
    return strcmp(why, "invalid subject") == 0 && !subject_valid(dest)
               ? "invalid mapping destination: invalid transform"
               : why;
}

/* Codes for a mirror and for a source differ, the rules are the same. */
static bool check_transforms(const struct source_config *s, enum js_code bad_src,
                             enum js_code bad_dest, struct js_error *e)
{
    for (size_t i = 0; i < s->transforms.n; i++) {
        const struct subject_pair *t = source_transform(s, i);
        struct transform *made;
        const char *why = "";
        if (t->src.n && !subject_valid(t->src))
            return js_fail(e, bad_src, "invalid subject %.*s", SLICE_FMT(t->src));
        if (transform_new(t->src, t->dest, &made, &why) < 0)
            return js_fail(e, bad_dest, "%s", mapping_trouble(why, t->dest));
        transform_free(made);
    }
    return true;
}

static bool filters_meet(const struct source_config *s, overlap_fn *meet)
{
    struct slice *filters = xmalloc((s->transforms.n + 1) * sizeof *filters);
    struct overlap o;
    size_t i, k;

    for (i = 0; i < s->transforms.n; i++)
        filters[i] = source_transform(s, i)->src;
    overlap_init(&o, filters, s->transforms.n, meet);
    bool apart = overlap_first(&o, &i, &k) == OVERLAP_APART;
    overlap_release(&o);
    free(filters);
    return !apart;
}

static bool message_size_fits(const struct stream_config *c, const struct stream_config *origin)
{
    return !origin || c->max_msg_size <= 0 || origin->max_msg_size <= 0 ||
           c->max_msg_size >= origin->max_msg_size;
}

static bool check_mirror(struct stream_config *c, const struct stream_bounds *b, struct js_error *e)
{
    const struct source_config *m = c->mirror;

    if (!m)
        return true;
    if (c->first_seq)
        return js_fail(e, JSMirrorWithFirstSeqErr, NULL);
    if (c->subjects.n)
        return js_fail(e, JSMirrorWithSubjectsErr, NULL);
    if (c->sources.n)
        return js_fail(e, JSMirrorWithSourcesErr, NULL);
    if (c->allow_atomic)
        return js_fail(e, JSMirrorWithAtomicPublishErr, NULL);
    if (!consumer_fits(m))
        return js_fail(e, JSMirrorDurableConsumerCfgInvalid, NULL);
    if (m->filter_subject.n && m->transforms.n)
        return js_fail(e, JSMirrorMultipleFiltersNotAllowed, NULL);
    if (!check_transforms(m, JSMirrorInvalidSubjectFilter, JSMirrorInvalidTransformDestination, e))
        return false;
    if (filters_meet(m, subject_overlap))
        return js_fail(e, JSMirrorOverlappingSubjectFilters, NULL);
    if (m->external)
        return true;
    if (!js_name_valid(m->name))
        return js_fail(e, JSMirrorInvalidStreamName, NULL);
    const struct stream_config *origin = other(b, m->name);
    if (!message_size_fits(c, origin))
        return js_fail(e, JSMirrorMaxMessageSizeTooBigErr, NULL);
    if (origin) {
        if (c->pedantic && c->mirror_direct != origin->allow_direct)
            return pedantic(e, "origin stream has direct get set, mirror has it disabled");
        c->mirror_direct = origin->allow_direct;
    }
    return true;
}

/* Any order will do that puts equal ones side by side. */
static int cmp_origins(const struct source_config *a, const struct source_config *b)
{
    int order = slice_cmp(a->name, b->name);
    if (!order)
        order = (a->external != NULL) - (b->external != NULL);
    if (!order && a->external)
        order = slice_cmp(a->external->api, b->external->api);
    if (!order)
        order = (a->consumer != NULL) - (b->consumer != NULL);
    if (!order && a->consumer)
        order = slice_cmp(a->consumer->name, b->consumer->name);
    return order;
}

/* What is left out means all. */
static int cmp_subjects(struct slice a, struct slice b)
{
    return slice_cmp(a.n ? a : SLICE(">"), b.n ? b : SLICE(">"));
}

static int cmp_sources(const struct source_config *a, const struct source_config *b)
{
    int order = cmp_origins(a, b);
    if (!order)
        order = cmp_subjects(a->filter_subject, b->filter_subject);
    if (!order)
        order = (a->transforms.n > b->transforms.n) - (a->transforms.n < b->transforms.n);
    for (size_t i = 0; !order && i < a->transforms.n; i++) {
        order = cmp_subjects(source_transform(a, i)->src, source_transform(b, i)->src);
        if (!order)
            order = cmp_subjects(source_transform(a, i)->dest, source_transform(b, i)->dest);
    }
    return order;
}

/* Equal ones stand as they came: they lie in one array. */
static int by_source(const void *a, const void *b)
{
    const struct source_config *const *x = a, *const *y = b;
    int order = cmp_sources(*x, *y);
    return order ? order : (*x > *y) - (*x < *y);
}

static int by_origin(const void *a, const void *b)
{
    const struct source_config *const *x = a, *const *y = b;
    int order = cmp_origins(*x, *y);
    return order ? order : (*x > *y) - (*x < *y);
}

/* What of the sources was said before, in the order they came. */
struct source_twins {
    bool whole;  /* the whole source */
    bool origin; /* its origin and the origin's consumer */
};

/* One per source, the caller's to free. There may be thousands: sorted, not each with each. */
static struct source_twins *find_twins(const struct stream_config *c)
{
    size_t n = c->sources.n;
    struct source_twins *twins = xcalloc(n + 1, sizeof *twins);
    const struct source_config **sorted = xmalloc((n + 1) * sizeof *sorted);

    for (size_t i = 0; i < n; i++)
        sorted[i] = stream_source(c, i);
    qsort(sorted, n, sizeof *sorted, by_source);
    for (size_t i = 1; i < n; i++)
        twins[sorted[i] - stream_source(c, 0)].whole = cmp_sources(sorted[i - 1], sorted[i]) == 0;
    qsort(sorted, n, sizeof *sorted, by_origin);
    for (size_t i = 1; i < n; i++)
        twins[sorted[i] - stream_source(c, 0)].origin = cmp_origins(sorted[i - 1], sorted[i]) == 0;
    free(sorted);
    return twins;
}

static bool check_source(const struct stream_config *c, size_t at, const struct source_twins *twin,
                         const struct stream_bounds *b, struct js_error *e)
{
    const struct source_config *s = stream_source(c, at);

    if (!js_name_valid(s->name))
        return js_fail(e, JSSourceInvalidStreamName, NULL);
    if (twin->whole)
        return js_fail(e, JSSourceDuplicateDetected, NULL);
    if (s->filter_subject.n && s->transforms.n)
        return js_fail(e, JSSourceMultipleFiltersNotAllowed, NULL);
    if (!check_transforms(s, JSSourceInvalidSubjectFilter, JSSourceInvalidTransformDestination, e))
        return false;
    if (filters_meet(s, subject_subset))
        return js_fail(e, JSSourceOverlappingSubjectFilters, NULL);
    if (!consumer_fits(s))
        return js_fail(e, JSSourceDurableConsumerCfgInvalid, NULL);
    if (s->consumer && twin->origin)
        return js_fail(e, JSSourceDurableConsumerDuplicateDetected, NULL);
    if (!s->external && !message_size_fits(c, other(b, s->name)))
        return js_fail(e, JSSourceMaxMessageSizeTooBigErr, NULL);
    return true;
}

static bool check_sources(const struct stream_config *c, const struct stream_bounds *b,
                          struct js_error *e)
{
    struct source_twins *twins = find_twins(c);
    bool ok = true;

    for (size_t i = 0; ok && i < c->sources.n; i++)
        ok = check_source(c, i, &twins[i], b, e);
    free(twins);
    return ok;
}

/* nats-server looks at plain filters only when all else is well. */
static bool check_filters(const struct stream_config *c, struct js_error *e)
{
    const struct source_config *m = c->mirror;
    if (m && m->filter_subject.n && !subject_valid(m->filter_subject))
        return js_fail(e, JSStreamCreateErrF,
                       "subject filter '%.*s' for the mirror invalid subject",
                       SLICE_FMT(m->filter_subject));
    for (size_t i = 0; i < c->sources.n; i++) {
        struct slice filter = stream_source(c, i)->filter_subject;
        if (filter.n && !subject_valid(filter))
            return js_fail(e, JSStreamCreateErrF,
                           "subject filter '%.*s' for the source: invalid subject",
                           SLICE_FMT(filter));
    }
    return true;
}

/* --- external origins ------------------------------------------------------------------------- */

static size_t count_origins(const struct stream_config *c)
{
    return c->mirror ? 1 : c->sources.n;
}

static const struct source_config *origin_at(const struct stream_config *c, size_t at)
{
    return c->mirror ? c->mirror : stream_source(c, at);
}

struct word {
    struct slice text;
    size_t at;
};

static int by_text(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int cmp = slice_cmp(x->text, y->text);
    return cmp ? cmp : (x->at > y->at) - (x->at < y->at);
}

/* Empties those that repeat an earlier one. */
static void drop_repeated(struct slice *at, size_t n)
{
    struct word *sorted = xmalloc((n + 1) * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct word){at[i], i};
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 1; i < n; i++)
        if (slice_eq(sorted[i - 1].text, sorted[i].text))
            at[sorted[i].at] = (struct slice){0};
    free(sorted);
}

/* Subjects of local origins that a prefix may lead back to: those with an open end. Any other is
 * shorter than it is behind the prefix. */
struct open_ended {
    struct slice *at; /* owned */
    size_t n, cap;
    size_t looks; /* so far */
};

static void find_open_ended(const struct stream_config *c, const struct stream_bounds *b,
                            struct open_ended *o)
{
    size_t n = count_origins(c);
    struct slice *names = xcalloc(n + 1, sizeof *names);

    for (size_t i = 0; i < n; i++)
        if (!origin_at(c, i)->external)
            names[i] = origin_at(c, i)->name;
    drop_repeated(names, n);
    for (size_t i = 0; i < n; i++) {
        const struct stream_config *origin = names[i].n ? other(b, names[i]) : NULL;
        for (size_t k = 0; origin && k < origin->subjects.n; k++) {
            struct slice subject = origin->subjects.at[k];
            if (subject.p[subject.n - 1] != '>')
                continue;
            if (o->n == o->cap) {
                o->cap = o->cap ? o->cap * 2 : 16;
                o->at = xrealloc(o->at, o->cap * sizeof *o->at);
            }
            o->at[o->n++] = subject;
        }
    }
    free(names);
}

/* Would what comes through this prefix meet a subject of a local origin again? */
static bool check_deliver(struct slice prefix, struct open_ended *o, struct js_error *e)
{
    struct buf joined = BUF_INIT;
    bool ok = true;

    if (!subject_valid_literal(prefix))
        return js_fail(e, JSStreamInvalidExternalDeliverySubjErrF, "%.*s", SLICE_FMT(prefix));
    for (size_t k = 0; ok && k < o->n; k++) {
        struct slice subject = o->at[k];
        if (o->looks++ == DELIVER_LOOKS_MAX) {
            ok = bad(e, "too many delivery prefixes and subjects of origins");
            break;
        }
        buf_clear(&joined);
        buf_add_slice(&joined, prefix);
        buf_add_char(&joined, '.');
        buf_add_slice(&joined, subject);
        if (subject_overlap(subject, buf_slice(&joined)))
            ok = js_fail(e, JSStreamExternalDelPrefixOverlapsErrF, "%.*s\x1f%.*s",
                         SLICE_FMT(prefix), SLICE_FMT(subject));
    }
    buf_release(&joined);
    return ok;
}

/* There may be thousands of sources, and thousands of subjects of their origins: each but once. */
static bool check_delivers(const struct stream_config *c, const struct stream_bounds *b,
                           struct js_error *e)
{
    size_t n = count_origins(c);
    struct slice *prefixes = xcalloc(n + 1, sizeof *prefixes);
    struct open_ended o = {0};
    bool ok = true;

    for (size_t i = 0; i < n; i++)
        if (origin_at(c, i)->external)
            prefixes[i] = origin_at(c, i)->external->deliver;
    drop_repeated(prefixes, n);
    find_open_ended(c, b, &o);
    for (size_t i = 0; ok && i < n; i++)
        ok = !prefixes[i].n || check_deliver(prefixes[i], &o, e);
    free(o.at);
    free(prefixes);
    return ok;
}

static bool check_externals(const struct stream_config *c, const struct stream_bounds *b,
                            struct js_error *e)
{
    size_t n = count_origins(c);

    if (!check_delivers(c, b, e))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct source_config *s = origin_at(c, i);
        if (!s->external || !s->external->api.n)
            continue;
        struct slice api = s->external->api;
        if (!subject_valid_literal(api))
            return js_fail(
                e, JSStreamInvalidConfigF,
                "stream external api prefix \"%.*s\" must be a valid subject without wildcards",
                SLICE_FMT(api));
        if (slice_is(api, "$JS.API"))
            return js_fail(e, JSStreamExternalApiOverlapErrF, "%.*s\x1f$JS.API", SLICE_FMT(api));
    }
    return true;
}

static bool feeds(const struct stream_config *c, struct slice filter)
{
    if (!filter.n)
        return true;
    for (size_t i = 0; i < c->subjects.n; i++)
        if (subject_overlap(c->subjects.at[i], filter))
            return true;
    return false;
}

static bool seen(const struct stream_config *const *list, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq(list[i]->name, name))
            return true;
    return false;
}

/* Breadth first from c along local sources and mirrors; meeting one again is a cycle. */
static bool check_cycle(const struct stream_config *c, const struct stream_bounds *b,
                        struct js_error *e)
{
    const struct stream_config **list = xmalloc(sizeof *list);
    size_t n = 1, cap = 1;
    bool ok = true;

    list[0] = c;
    for (size_t at = 0; at < n && ok && n < CYCLE_STEPS_MAX; at++) {
        const struct stream_config *x = list[at];
        size_t edges = x->sources.n + (x->mirror ? 1 : 0);
        for (size_t i = 0; i < edges && ok; i++) {
            bool mirror = i == x->sources.n;
            const struct source_config *s = mirror ? x->mirror : stream_source(x, i);
            if (s->external)
                continue;
            if (seen(list, at + 1, s->name)) {
                ok = !mirror && !feeds(x, s->filter_subject);
                continue;
            }
            const struct stream_config *next = other(b, s->name);
            if (!next || seen(list, n, s->name))
                continue;
            if (n == cap)
                list = xrealloc(list, (cap *= 2) * sizeof *list);
            list[n++] = next;
        }
    }
    free(list);
    return ok || bad(e, "detected cycle");
}

/* --- subjects, transform, republish ----------------------------------------------------------- */

static bool check_subject(const struct stream_config *c, size_t at, struct js_error *e)
{
    static const char *const ours[] = {"$JS.>", "$JSC.>", "$NRG.>"};
    struct slice s = c->subjects.at[at];

    if (!subject_valid(s))
        return bad(e, "invalid subject");
    if (slice_is(s, ">")) {
        if (!c->no_ack)
            return bad(e, "capturing all subjects requires no-ack to be true");
        if (c->num_replicas != 1)
            return bad(e, "capturing all subjects requires replicas of 1");
    }
    for (size_t i = 0; i < ARRAY_LEN(ours) && !c->no_ack; i++)
        if (subject_overlap(s, slice_cstr(ours[i])) && !subject_subset(s, SLICE("$JS.EVENT.>")))
            return bad(e, "subjects that overlap with jetstream api require no-ack to be true");
    if (!c->no_ack && subject_overlap(s, SLICE("$SYS.>")) &&
        !subject_subset(s, SLICE("$SYS.ACCOUNT.>")))
        return bad(e, "subjects that overlap with system api require no-ack to be true");
    return true;
}

static bool check_subjects(struct stream_config *c, struct js_error *e)
{
    if (!c->subjects.n && !c->mirror && !c->sources.n) {
        c->subjects.at = arena_alloc(&c->mem, sizeof *c->subjects.at);
        if (!c->subjects.at)
            return bad(e, "stream configuration invalid");
        c->subjects.at[c->subjects.n++] = c->name;
    }
    const struct slice *at = c->subjects.at;
    struct overlap o;
    size_t first = 0, other = 0;
    overlap_init(&o, at, c->subjects.n, subject_overlap);
    enum overlap_answer within = overlap_first(&o, &first, &other);
    overlap_release(&o);
    for (size_t i = 0; i < c->subjects.n; i++) {
        if (!check_subject(c, i, e))
            return false;
        if (i != first || within == OVERLAP_APART)
            continue;
        if (within == OVERLAP_MANY)
            return bad(e, "too many wildcard subjects that begin alike");
        return js_fail(e, JSStreamInvalidConfigF, "subject \"%.*s\" overlaps with \"%.*s\"",
                       SLICE_FMT(at[first]), SLICE_FMT(at[other]));
    }
    return true;
}

static bool check_transform(const struct stream_config *c, struct js_error *e)
{
    struct transform *made;
    const char *why = "";

    if (!c->transform)
        return true;
    if (c->transform->src.n && !subject_valid(c->transform->src))
        return js_fail(e, JSStreamTransformInvalidSource, "invalid subject %.*s",
                       SLICE_FMT(c->transform->src));
    if (transform_new(c->transform->src, c->transform->dest, &made, &why) < 0)
        return js_fail(e, JSStreamTransformInvalidDestination, "%s",
                       mapping_trouble(why, c->transform->dest));
    transform_free(made);
    return true;
}

static bool check_republish(struct stream_config *c, struct js_error *e)
{
    struct subject_pair *r = c->republish;
    struct transform *made;
    const char *why;

    if (!r)
        return true;
    if (!r->src.n) {
        if (c->pedantic)
            return pedantic(e, "republish source can not be empty");
        r->src = SLICE(">");
    }
    if (slice_is(r->src, ">") && slice_is(r->dest, ">") && c->transform && c->subjects.n == 1 &&
        slice_eq(c->transform->src, c->subjects.at[0])) {
        if (c->pedantic)
            return pedantic(e, "implicit republish based on subject transform");
        r->src = r->dest = c->transform->dest;
    }
    for (size_t i = 0; i < c->subjects.n; i++)
        if (subject_overlap(r->dest, c->subjects.at[i]))
            return bad(e, "stream configuration for republish destination forms a cycle");
    if (transform_new(r->src, r->dest, &made, &why) < 0)
        return js_fail(
            e, JSStreamInvalidConfigF,
            "stream configuration for republish with transform from '%.*s' to '%.*s' not valid",
            SLICE_FMT(r->src), SLICE_FMT(r->dest));
    transform_free(made);
    return true;
}

static bool check_placement(struct stream_config *c, struct js_error *e)
{
    struct stream_placement *p = c->placement;

    if (p && !p->cluster.n && !p->preferred.n && !p->tags.at) /* an empty list is one */
        c->placement = NULL;
    if (c->placement && p->preferred.n)
        return bad(e, "preferred server not permitted in placement");
    return true;
}

/* The lowest API level that knows all of this config's features. */
static unsigned level_needed(const struct stream_config *c)
{
    if (c->allow_batched)
        return 4;
    if (c->allow_msg_counter || c->allow_atomic || c->allow_msg_schedules ||
        c->persist_mode == PERSIST_ASYNC)
        return 2;
    return c->allow_msg_ttl || c->subject_delete_marker_ttl > 0 ? 1 : 0;
}

bool stream_config_check(struct stream_config *c, const struct stream_bounds *b, struct js_error *e)
{
    *e = (struct js_error){0};
    bool ok = check_names(c, e) && check_limits(c, e) && check_window(c, b, e) &&
              check_features(c, e) && check_mirror(c, b, e) && check_sources(c, b, e) &&
              check_externals(c, b, e) && check_cycle(c, b, e) && check_subjects(c, e) &&
              check_transform(c, e) && check_republish(c, e) && check_placement(c, e) &&
              check_filters(c, e);
    /* `nats bench js` asks for it with every stream it makes: left off, as the answer shows */
    c->allow_atomic = false;
    if (ok)
        cfg_meta_static(&c->metadata, level_needed(c), &c->mem);
    return ok;
}

/* --- from one config to the next -------------------------------------------------------------- */

static bool same_mirror(const struct stream_config *a, const struct stream_config *b)
{
    struct stream_config x = {.mirror = a->mirror}, y = {.mirror = b->mirror};
    return stream_config_equal(&x, &y);
}

bool stream_config_may_update(const struct stream_config *old, struct stream_config *now,
                              struct js_error *e)
{
    *e = (struct js_error){0};
    if (!slice_eq(old->name, now->name))
        return bad(e, "stream configuration name must match original");
    if (now->num_replicas > 1)
        return js_fail(e, JSStreamReplicasNotSupportedErr, NULL);
    if (now->storage != old->storage)
        return bad(e, "stream configuration update can not change storage type");
    if (now->retention != old->retention &&
        (now->retention == RETAIN_WORKQUEUE || old->retention == RETAIN_WORKQUEUE))
        return bad(e,
                   "stream configuration update can not change retention policy to/from workqueue");
    if (old->sealed && !now->sealed)
        return bad(e, "stream configuration update can not unseal a sealed stream");
    if (old->deny_delete && !now->deny_delete)
        return bad(e, "stream configuration update can not cancel deny message deletes");
    if (old->deny_purge && !now->deny_purge)
        return bad(e, "stream configuration update can not cancel deny purge");
    if (now->mirror && !same_mirror(old, now))
        return js_fail(e, JSStreamMirrorNotUpdatableErr, NULL);
    if (old->persist_mode != now->persist_mode)
        return bad(e, "stream configuration update can not change persist mode");
    if (now->sealed) {
        now->max_age = 0;
        now->discard = DISCARD_NEW;
        now->deny_delete = now->deny_purge = true;
        now->allow_rollup_hdrs = false;
    }
    return true;
}
