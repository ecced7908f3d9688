/* jsapi/stream_info.c -- STREAM.INFO, and how a stream is described everywhere
 *
 * The state is what the last commit left, from memory. Subjects and deleted details are looked up
 * by jobs of the store, one after the other; the rest of the answer is made when both are there.
 * Of very many deleted messages the first million are told, and how many there are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "jsapi/api.h"
#include "jsapi/consumers.h"
#include "jsapi/replicate.h"

struct info_request {
    bool deleted_details;
    struct slice subjects_filter;
    int64_t offset;
};
#define AT(field) offsetof(struct info_request, field)
static const struct cfg_row rows[] = {
    {"offset", CFG_INT, AT(offset), 0, NULL, NULL},
    {"deleted_details", CFG_BOOL, AT(deleted_details), 0, NULL, NULL},
    {"subjects_filter", CFG_STR, AT(subjects_filter), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table request_table = {"JSApiStreamInfoRequest", rows,
                                               sizeof(struct info_request)};

struct details { /* gathered for one request, in its arena; the buffers are its own */
    struct info_request req;
    struct buf subjects, deleted; /* JSON; comes in pieces, */
    struct json_out out;          /* through this */
    uint64_t total;
    bool asked_subjects, asked_deleted;
};

static void write_time(struct json_out *j, const char *key, int64_t ns)
{
    if (ns)
        json_time(j, key, ns);
    else
        json_cstr(j, key, "0001-01-01T00:00:00Z");
}

void js_stream_write_state(struct js_stream *s, struct json_out *j, struct slice subjects,
                           struct slice deleted)
{
    struct stream_state st;

    store_state(s->store, &st);
    json_obj(j, "state");
    json_u64(j, "messages", st.msgs);
    json_u64(j, "bytes", st.bytes);
    json_u64(j, "first_seq", st.first_seq || s->cfg.first_seq != 1 ? st.first_seq : 1);
    write_time(j, "first_ts", st.msgs ? st.first_ts : 0);
    json_u64(j, "last_seq", st.last_seq);
    write_time(j, "last_ts", st.last_ts);
    if (st.num_subjects)
        json_u64(j, "num_subjects", st.num_subjects);
    if (subjects.n)
        json_raw(j, "subjects", subjects);
    if (st.num_deleted)
        json_u64(j, "num_deleted", st.num_deleted);
    if (deleted.n)
        json_raw(j, "deleted", deleted);
    json_u64(j, "consumer_count", s->consumers ? consumers_count(s->consumers) : 0);
    json_end(j);
}

void js_write_cluster(const struct jsapi_host *h, struct json_out *j)
{
    json_obj(j, "cluster");
    if (h->cluster.n)
        json_str(j, "name", h->cluster);
    json_str(j, "leader", h->server_name);
    json_end(j);
}

void js_stream_write_info(struct js_stream *s, struct json_out *j, unsigned what,
                          struct slice subjects, struct slice deleted)
{
    const struct jsapi_host *h = &s->acc->js->host;

    stream_config_write(&s->cfg, j, "config", what & INFO_LIVE, h->version);
    json_time(j, "created", s->created);
    js_stream_write_state(s, j, subjects, deleted);
    if ((what & INFO_DOMAIN) && h->domain.n)
        json_str(j, "domain", h->domain);
    if (what & INFO_CLUSTER)
        js_write_cluster(h, j);
    replicator_write_info(s->rep, j);
    json_time(j, "ts", clock_wall());
}

/* --- the request ------------------------------------------------------------------------------ */

static void next(struct request *r);

static void release(struct details *d)
{
    buf_release(&d->subjects);
    buf_release(&d->deleted);
}

/* The list begins with the first piece that is not empty, and is closed with the last. */
static struct json_out *piece(struct details *d, struct buf *to, size_t n, bool array)
{
    if (!to->len && n) {
        json_begin(&d->out, to);
        if (array)
            json_arr(&d->out, NULL);
        else
            json_obj(&d->out, NULL);
    }
    return &d->out;
}

static void piece_over(struct request *r, struct buf *to, int err)
{
    struct details *d = r->arg;
    if (to->len)
        json_end(&d->out);
    if (err)
        buf_clear(to);
    next(r);
}

static void on_subjects(void *arg, int err, const struct subject_count *list, size_t n,
                        uint64_t total, bool more)
{
    struct request *r = arg;
    struct details *d = r->arg;
    struct json_out *j = piece(d, &d->subjects, n, false);

    for (size_t i = 0; i < n; i++) {
        json_key_slice(j, list[i].subject);
        json_u64(j, NULL, list[i].msgs);
    }
    d->total = err ? 0 : total;
    if (!more)
        piece_over(r, &d->subjects, err);
}

static void on_deleted(void *arg, int err, const uint64_t *seqs, size_t n, bool more)
{
    struct request *r = arg;
    struct details *d = r->arg;
    struct json_out *j = piece(d, &d->deleted, n, true);

    for (size_t i = 0; i < n; i++)
        json_u64(j, NULL, seqs[i]);
    if (!more)
        piece_over(r, &d->deleted, err);
}

static void finish(struct request *r, struct details *d)
{
    struct json_out *j;

    if (r->acc->closed || r->stream->state != STREAM_LIVE) {
        release(d);
        (void)api_gone(r);
        return;
    }
    j = api_ok(r);
    if (d->total)
        api_page(j, d->total, (uint64_t)d->req.offset, API_SUBJECTS_PAGE);
    else
        api_page(j, 0, 0, 0);
    js_stream_write_info(r->stream, j, INFO_LIVE | INFO_DOMAIN | INFO_CLUSTER,
                         buf_slice(&d->subjects), buf_slice(&d->deleted));
    release(d);
    api_send(r);
}

/* Asks for what is still missing, or answers. */
static void next(struct request *r)
{
    struct details *d = r->arg;
    struct js_stream *s = r->stream;
    bool alive = !r->acc->closed && s->state == STREAM_LIVE;

    if (alive && d->req.subjects_filter.n && !d->asked_subjects) {
        d->asked_subjects = true;
        if (store_subjects(s->store, d->req.subjects_filter, (size_t)d->req.offset,
                           API_SUBJECTS_PAGE, on_subjects, r, NULL) == 0)
            return;
    }
    if (alive && d->req.deleted_details && !d->asked_deleted) {
        d->asked_deleted = true;
        if (store_deleted(s->store, API_DELETED_MOST, on_deleted, r, NULL) == 0)
            return;
    }
    finish(r, d);
}

void stream_info(struct request *r)
{
    struct details *d = arena_alloc(&r->mem, sizeof *d);

    if (!d || !api_read(r, &request_table, &d->req) || !api_need_stream(r))
        return;
    if (d->req.offset < 0)
        d->req.offset = 0;
    r->arg = d;
    next(r);
}
