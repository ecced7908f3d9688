/* jsapi/stream_delete.c -- STREAM.DELETE and STREAM.PURGE
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumers.h"
#include "jsapi/life.h"
#include "jsapi/query.h"

/* --- delete ----------------------------------------------------------------------------------- */

static void advise_deleted(struct js_stream *s)
{
    struct js_advisory ad;

    if (!js_advise(&ad, s->acc, "stream_action", "$JS.EVENT.ADVISORY.STREAM.DELETED.%.*s",
                   SLICE_FMT(s->name)))
        return;
    json_str(&ad.j, "stream", s->name);
    json_cstr(&ad.j, "action", "delete");
    js_advise_end(&ad);
}

/* The commit that would have deleted it failed: it lives, with the consumers that are stored. */
static void revive(struct js_stream *s)
{
    s->store = store_stream_find(s->acc->js->host.store, s->acc->name, s->name);
    if (s->store)
        js_stream_start(s, true);
    else
        js_stream_forget(s);
}

static void not_deleted(struct request *r, int err)
{
    revive(r->stream);
    api_fail(r, JSStreamDeleteErrF, "%s", err_text(err));
}

static void on_deleted(void *arg, int err)
{
    struct request *r = arg;
    struct js_stream *s = r->stream;

    if (r->acc->closed) {
        api_drop(r);
        return;
    }
    if (err) { /* a failed commit: the store has gone back, and will say so in a moment */
        s->revived = true;
        not_deleted(r, err);
        return;
    }
    advise_deleted(s);
    js_stream_forget(s);
    struct json_out *j = api_ok(r);
    json_bool(j, "success", true);
    api_send(r);
}

void stream_delete(struct request *r)
{
    struct js_stream *s = r->stream;
    struct stream *store = s->store;

    js_stream_stop(s);
    s->store = NULL;
    int err = store_stream_delete(store, on_deleted, r);
    if (err)
        not_deleted(r, err);
}

/* --- purge ------------------------------------------------------------------------------------ */

struct purge_request {
    uint64_t seq, keep;
    struct slice filter;
    uint64_t purged;        /* when the numbers still have to move up */
    uint64_t one;           /* the only one it took (consumers_taken()) */
    struct msg_query first; /* for the first message left */
};
#define AT(field) offsetof(struct purge_request, field)
static const struct cfg_row rows[] = {
    {"filter", CFG_STR, AT(filter), 0, NULL, NULL},
    {"seq", CFG_U64, AT(seq), 0, NULL, NULL},
    {"keep", CFG_U64, AT(keep), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table request_table = {"JSApiStreamPurgeRequest", rows,
                                               sizeof(struct purge_request)};

static void say_purged(struct request *r, uint64_t first)
{
    const struct purge_request *q = r->arg;

    consumers_purged(r->stream->consumers, q->filter, first, q->one);
    struct json_out *j = api_ok(r);
    json_bool(j, "success", true);
    json_u64(j, "purged", q->purged);
    api_send(r);
}

/* The first message left that matches the filter, however far away. */
static void on_first(void *arg, const struct record_out *m, int err)
{
    struct request *r = arg;

    if (api_gone(r))
        return;
    if (err) /* damage: nobody moves further than to the first message of all */
        say_purged(r, 1);
    else
        say_purged(r, m ? m->seq : 0);
}

static void on_moved(void *arg, int err)
{
    struct request *r = arg;
    struct purge_request *q = r->arg;

    if (api_gone(r))
        return;
    if (err) {
        api_fail(r, JSStreamGeneralErrorF, "%s", err_text(err));
        return;
    }
    q->one = consumers_taken(r->stream->consumers);
    q->first = (struct msg_query){.next_by_subj = q->filter};
    if (consumers_follow(r->stream->consumers, q->filter))
        query_one(r->stream, &q->first, on_first, r);
    else
        say_purged(r, 0);
}

static void on_purged(void *arg, int err, uint64_t purged)
{
    struct request *r = arg;
    struct purge_request *q = r->arg;
    bool some = q->filter.n && !slice_is(q->filter, ">");

    q->purged = purged;
    if (r->acc->closed || r->stream->state != STREAM_LIVE || err || some ||
        q->seq <= store_last_assigned(r->stream->store) + 1) {
        on_moved(r, err);
        return;
    }
    err = store_skip_to(r->stream->store, q->seq, on_moved,
                        r); /* beyond the end: the numbers go on from there */
    if (err)
        on_moved(r, err);
}

void stream_purge(struct request *r)
{
    struct purge_request *q = arena_alloc(&r->mem, sizeof *q);

    if (!api_read(r, &request_table, q))
        return;
    if (q->seq && q->keep) {
        api_fail(r, JSBadRequestErr, NULL);
        return;
    }
    struct js_stream *s = api_need_stream(r);
    if (!s)
        return;
    if (s->cfg.sealed) {
        api_fail(r, JSStreamSealedErr, NULL);
        return;
    }
    if (s->cfg.deny_purge) {
        api_fail(r, JSStreamPurgeFailedF, "stream purge not permitted");
        return;
    }
    r->arg = q;
    struct purge_spec spec = {.filter = q->filter, .below = q->seq, .keep = q->keep};
    int err = store_purge(s->store, &spec, on_purged, r);
    if (err)
        on_purged(r, err, 0);
}
