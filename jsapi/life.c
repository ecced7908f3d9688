/* jsapi/life.c -- see life.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/life.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "jsapi/api.h"
#include "jsapi/capture.h"
#include "jsapi/consumers.h"
#include "jsapi/direct.h"
#include "jsapi/overlap.h"
#include "jsapi/replicate.h"

/* --- the table -------------------------------------------------------------------------------- */

/* The place of name, or where it belongs. */
static size_t place(const struct jsapi_account *a, struct slice name, bool *found)
{
    size_t lo = 0, hi = a->n_streams;

    *found = false;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = slice_cmp(a->streams[mid]->name, name);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct js_stream *js_stream_find(struct jsapi_account *a, struct slice name)
{
    bool found;
    size_t at = place(a, name, &found);
    return found ? a->streams[at] : NULL;
}

const struct stream_config *js_stream_config_of(void *arg, struct slice name)
{
    struct js_stream *s = js_stream_find(arg, name);
    if (s && s->coming)
        return s->coming;
    return s ? &s->cfg : NULL;
}

bool js_stream_overlaps(const struct jsapi_account *a, const struct stream_config *cfg,
                        const struct js_stream *except)
{
    struct overlap wanted;
    bool apart = true;

    overlap_init(&wanted, cfg->subjects.at, cfg->subjects.n, subject_overlap);
    for (size_t i = 0; i < a->n_streams && apart; i++) {
        const struct js_stream *s = a->streams[i];
        const struct cfg_strs *coming = s->coming ? &s->coming->subjects : NULL;
        apart = s == except || (overlap_apart(&wanted, s->cfg.subjects.at, s->cfg.subjects.n) &&
                                (!coming || overlap_apart(&wanted, coming->at, coming->n)));
    }
    overlap_release(&wanted);
    return !apart;
}

/* --- counting --------------------------------------------------------------------------------- */

void js_stream_hold(struct js_stream *s)
{
    s->holds++;
}

void js_stream_drop(struct js_stream *s)
{
    struct jsapi_account *a = s->acc;

    if (--s->holds > 0)
        return;
    const struct turn *t = a->js->host.turn;
    if (!a->closed)
        t->unpost(t->loop, &s->run_queue);
    capture_release(s);
    stream_config_release(&s->cfg);
    free((char *)s->name.p);
    free(s);
    jsapi_drop(a);
}

/* --- from CREATING to LIVE -------------------------------------------------------------------- */

static void enter(struct js_stream *s, enum js_stream_state to)
{
    static const char *const names[] = {"CREATING", "LIVE", "DELETING"};

    log_debug("Stream '%.*s > %.*s': %s -> %s", SLICE_FMT(s->acc->name), SLICE_FMT(s->name),
              names[s->state], names[to]);
    s->state = to;
    api_stream_ready(s);
}

static void on_durable(void *arg, uint64_t last)
{
    struct js_stream *s = arg;
    if (s->consumers)
        consumers_durable(s->consumers, last);
}

static void on_stored(void *arg, uint64_t seq, struct slice subject)
{
    struct js_stream *s = arg;
    if (s->consumers)
        consumers_stored(s->consumers, seq, subject);
}

static void on_removed(void *arg, uint64_t seq, struct slice subject)
{
    struct js_stream *s = arg;
    if (s->consumers)
        consumers_removed(s->consumers, seq, subject);
}

static void on_removed_range(void *arg, uint64_t first, uint64_t last)
{
    struct js_stream *s = arg;
    if (s->consumers)
        consumers_removed_range(s->consumers, first, last);
}

static void on_purged(void *arg, uint64_t first, uint64_t last, struct slice subject)
{
    struct js_stream *s = arg;
    if (s->consumers)
        consumers_leaving(s->consumers, first, last, subject);
}

struct js_stream *js_stream_new(struct jsapi_account *a, struct stream_config *cfg, int64_t created)
{
    struct js_stream *s = xcalloc(1, sizeof *s);
    char text[40];
    bool found;
    size_t at = place(a, cfg->name, &found);

    ASSERT(!found);
    s->acc = a;
    s->cfg = *cfg;
    memset(cfg, 0, sizeof *cfg);
    s->name = slice_of(slice_dup(s->cfg.name), s->cfg.name.n);
    s->created = created;
    short_hash(slice_of(text, time_print(created, text)), 8, s->identity);
    s->state = STREAM_CREATING;
    s->holds = 1;
    list_init(&s->queue);
    turn_post_init(&s->run_queue, NULL, s);
    s->watch = (struct stream_watch){.arg = s,
                                     .durable = on_durable,
                                     .stored = on_stored,
                                     .removed = on_removed,
                                     .removed_range = on_removed_range,
                                     .purged = on_purged};
    jsapi_hold(a);
    if (a->n_streams == a->streams_cap) {
        a->streams_cap = a->streams_cap ? a->streams_cap * 2 : 8;
        a->streams = xrealloc(a->streams, a->streams_cap * sizeof *a->streams);
    }
    memmove(a->streams + at + 1, a->streams + at, (a->n_streams - at) * sizeof *a->streams);
    a->streams[at] = s;
    a->n_streams++;
    return s;
}

struct js_stream *js_stream_recover(struct jsapi_account *a, struct stream *store)
{
    const struct stream_spec *spec = store_stream_spec(store);
    struct stream_config cfg;
    struct js_error e;
    json_t *obj = NULL;
    bool found = true;

    stream_config_init(&cfg);
    bool ok = json_read_kept(spec->config, &obj) == 0 && stream_config_read(&cfg, obj, false, &e);
    json_free(obj);
    if (ok)
        (void)place(a, cfg.name, &found);
    if (!ok || found || !slice_eq(cfg.name, spec->name)) {
        stream_config_release(&cfg);
        return NULL;
    }
    struct js_stream *s = js_stream_new(a, &cfg, spec->created);
    s->store = store;
    return s;
}

void js_stream_start(struct js_stream *s, bool recovered)
{
    store_stream_set_owner(s->store, s);
    store_watch(s->store, &s->watch);
    s->consumers = consumers_new(s);
    if (recovered)
        consumers_recover(s->consumers);
    capture_start(s);
    direct_update(s);
    enter(s, STREAM_LIVE);
    s->rep = replicator_new(s);
}

/* --- another config --------------------------------------------------------------------------- */

void js_stream_apply(struct js_stream *s, struct stream_config *cfg)
{
    struct stream_config old = s->cfg;

    s->cfg = *cfg;
    memset(cfg, 0, sizeof *cfg);
    capture_update(s, &old);
    direct_update(s);
    if (s->cfg.retention != old.retention)
        consumers_retention(s->consumers);
    s->rep = replicator_update(s, s->rep);
    stream_config_release(&old);
}

void js_stream_reopened(struct js_stream *s)
{
    if (s->revived) { /* a moment ago, from the same file; what is stored can be read but once */
        s->revived = false;
        return;
    }
    consumers_forget(s->consumers);
    consumers_recover(s->consumers);
    if (s->rep)
        replicator_reopened(s->rep);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void silence(struct js_stream *s, enum consumers_end why)
{
    direct_stop(s);
    capture_stop(s);
    replicator_free(s->rep, why == CONSUMERS_DELETED);
    s->rep = NULL;
    if (s->consumers) {
        struct consumers *cs = s->consumers;
        s->consumers = NULL;
        consumers_free(cs, why);
    }
    if (s->store) {
        store_watch(s->store, NULL);
        store_stream_set_owner(s->store, NULL);
    }
}

void js_stream_stop(struct js_stream *s)
{
    silence(s, CONSUMERS_DELETED);
    enter(s, STREAM_DELETING);
}

void js_stream_close(struct js_stream *s)
{
    silence(s, CONSUMERS_SHUTDOWN);
    s->store = NULL;
}

void js_stream_forget(struct js_stream *s)
{
    struct jsapi_account *a = s->acc;
    bool found;
    size_t at = place(a, s->name, &found);

    ASSERT(found && a->streams[at] == s);
    memmove(a->streams + at, a->streams + at + 1, (a->n_streams - at - 1) * sizeof *a->streams);
    a->n_streams--;
    if (a->closed) {
        const struct turn *t = a->js->host.turn; /* here still, at the last drop maybe not */
        t->unpost(t->loop, &s->run_queue);
        for (struct list *e; (e = list_pop(&s->queue)) != NULL;)
            api_drop(LIST_ENTRY(e, struct request, link));
    } else {
        api_stream_gone(s);
    }
    js_stream_drop(s);
}

void js_stream_spec(const struct jsapi_account *a, const struct stream_config *cfg, int64_t created,
                    struct slice config, struct stream_spec *out)
{
    *out = (struct stream_spec){
        .account = a->name,
        .name = cfg->name,
        .config = config,
        .created = created,
        .memory = cfg->storage == STORE_MEMORY,
        .discard_new = cfg->discard == DISCARD_NEW,
        .discard_new_per_subject = cfg->discard_new_per_subject,
        .max_msgs = cfg->max_msgs,
        .max_bytes = cfg->max_bytes,
        .max_msgs_per_subject = cfg->max_msgs_per_subject,
        .max_age_ns = cfg->max_age,
        .duplicate_window_ns = cfg->duplicate_window,
        .first_seq = cfg->first_seq,
    };
}
