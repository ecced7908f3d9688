/* jsapi/stream_msg.c -- STREAM.MSG.GET and STREAM.MSG.DELETE
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"
#include "jsapi/api.h"
#include "jsapi/query.h"

/* --- get -------------------------------------------------------------------------------------- */

static void write_base64(struct json_out *j, const char *key, struct slice bytes)
{
    if (!bytes.n)
        return;
    char *text = xmalloc(4 * ((bytes.n + 2) / 3) + 1);
    size_t n = base64_encode(bytes.p, bytes.n, false, text);
    json_str(j, key, slice_of(text, n));
    free(text);
}

static void on_found(void *arg, const struct record_out *m, int err)
{
    struct request *r = arg;
    const struct msg_query *q = r->arg;

    if (err) {
        api_fail(r, JSStreamGeneralErrorF, "%s", err_text(err));
        return;
    }
    if (!m) {
        api_fail(r, JSNoMessageFoundErr, NULL);
        return;
    }
    struct json_out *j = api_ok(r);
    json_obj(j, "message");
    json_str(j, "subject", m->subject);
    json_u64(j, "seq", m->seq);
    if (!q->no_hdr)
        write_base64(j, "hdrs", m->hdr);
    write_base64(j, "data", m->payload);
    json_time(j, "time", m->ts);
    json_end(j);
    api_send(r);
}

static bool sensible(const struct msg_query *q)
{
    bool last = q->last_by_subj.n, next = q->next_by_subj.n, time = q->start_time.set;

    if (q->batch > 0 || q->max_bytes > 0)
        return false;
    return (q->seq || last || next || time) && !(q->seq && last) && !(q->seq && time) &&
           !(time && last) && !(last && next);
}

void stream_msg_get(struct request *r)
{
    struct msg_query *q = arena_alloc(&r->mem, sizeof *q);

    if (!q || !api_read(r, &msg_query_table, q))
        return;
    if (!sensible(q)) {
        api_fail(r, JSBadRequestErr, NULL);
        return;
    }
    r->arg = q;
    if (api_need_stream(r))
        query_one(r->stream, q, on_found, r);
}

/* --- delete ----------------------------------------------------------------------------------- */

struct delete_request {
    uint64_t seq;
    bool no_erase;
};
#define AT(field) offsetof(struct delete_request, field)
static const struct cfg_row rows[] = {
    {"seq", CFG_U64, AT(seq), 0, NULL, NULL},
    {"no_erase", CFG_BOOL, AT(no_erase), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table request_table = {"JSApiMsgDeleteRequest", rows,
                                               sizeof(struct delete_request)};

static void on_removed(void *arg, int err)
{
    struct request *r = arg;

    if (err) {
        api_fail(r, JSStreamMsgDeleteFailedF, "%s", err_text(err));
        return;
    }
    struct json_out *j = api_ok(r);
    json_bool(j, "success", true);
    api_send(r);
}

static int look_only(void *arg, const struct record_out *m)
{
    (void)arg;
    (void)m;
    return READ_STOP;
}

/* Why a message can't be deleted: file streams tell what lies outside from what is gone. */
static void tell_missing(struct request *r, uint64_t seq)
{
    struct stream_state st;

    store_state(r->stream->store, &st);
    if (r->stream->cfg.storage == STORE_FILE && seq > st.last_seq)
        api_fail(r, JSStreamMsgDeleteFailedF, "stream store EOF");
    else if (r->stream->cfg.storage == STORE_FILE && (seq < st.first_seq || !seq))
        api_fail(r, JSStreamMsgDeleteFailedF, "no message found");
    else
        api_fail(r, JSSequenceNotFoundErrF, "%llu", (unsigned long long)seq);
}

void stream_msg_delete(struct request *r)
{
    struct delete_request q = {0};

    if (!api_read(r, &request_table, &q) || !api_need_stream(r))
        return;
    if (r->stream->cfg.sealed) {
        api_fail(r, JSStreamSealedErr, NULL);
        return;
    }
    if (r->stream->cfg.deny_delete) {
        api_fail(r, JSStreamMsgDeleteFailedF, "message delete not permitted");
        return;
    }
    int err = q.seq ? store_get(r->stream->store, q.seq, look_only, NULL) : E_NOTFOUND;
    if (err == E_NOTFOUND || err == E_DELETED) {
        tell_missing(r, q.seq);
        return;
    }
    err = store_remove(r->stream->store, &q.seq, 1, !q.no_erase, on_removed, r);
    if (err)
        on_removed(r, err);
}
