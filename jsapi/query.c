/* jsapi/query.c -- see query.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/query.h"

#define SCAN_AT_ONCE                                                                               \
    1000 /* records looked at before the search becomes a job, and in each of its steps */

#define AT(field) offsetof(struct msg_query, field)
static const struct cfg_row rows[] = {
    {"seq", CFG_U64, AT(seq), 0, NULL, NULL},
    {"last_by_subj", CFG_STR, AT(last_by_subj), 0, NULL, NULL},
    {"next_by_subj", CFG_STR, AT(next_by_subj), 0, NULL, NULL},
    {"batch", CFG_INT, AT(batch), 0, NULL, NULL},
    {"max_bytes", CFG_INT, AT(max_bytes), 0, NULL, NULL},
    {"start_time", CFG_TIME, AT(start_time), 0, NULL, NULL},
    {"multi_last", CFG_STRS, AT(multi_last), 0, NULL, NULL},
    {"up_to_seq", CFG_U64, AT(up_to_seq), 0, NULL, NULL},
    {"up_to_time", CFG_TIME, AT(up_to_time), 0, NULL, NULL},
    {"no_hdr", CFG_BOOL, AT(no_hdr), 0, NULL, NULL},
    CFG_END,
};
#undef AT
const struct cfg_table msg_query_table = {"JSApiMsgGetRequest", rows, sizeof(struct msg_query)};

struct search {
    struct list link; /* js->searches, once it is a job */
    struct job job;
    struct js_stream *s;  /* held */
    uint64_t from;        /* the next number to look at */
    bool back;            /* the newest is sought, from there backwards */
    struct slice pattern; /* borrowed from the query */
    query_fn *found;
    void *arg;
    bool answered;
};

static int take(void *arg, const struct record_out *m)
{
    struct search *f = arg;

    f->answered = true;
    f->found(f->arg, m, 0);
    return READ_STOP;
}

/* Deleted or never there is no error; damage and a store that has failed are. */
static int why(int err)
{
    return err == E_CORRUPT || err == E_IO ? err : 0;
}

static void none(struct search *f, int err)
{
    if (f->answered)
        return;
    f->answered = true;
    f->found(f->arg, NULL, why(err));
}

static bool look_back(struct search *f)
{
    struct store_filter filter = {&f->pattern, 1};
    struct stream *s = f->s->state == STREAM_LIVE ? f->s->store : NULL;
    uint64_t seq = 0;
    int err = s ? store_look_back(s, &filter, &f->from, SCAN_AT_ONCE, &seq) : 0;

    if (err == READ_BUDGET)
        return false;
    if (seq && err >= 0)
        err = store_get(s, seq, take, f);
    none(f, err);
    return true;
}

/* Looks at a portion. True: answered. */
static bool look(struct search *f)
{
    if (f->back)
        return look_back(f);
    struct store_filter filter = {&f->pattern, f->pattern.n ? 1 : 0};
    struct read_budget budget = {.max_msgs = 1, .max_scan = SCAN_AT_ONCE, .max_bytes = UINT64_MAX};
    int r = f->s->state == STREAM_LIVE && f->s->store
                ? store_read(f->s->store, &f->from, &filter, &budget, take, f)
                : READ_END;

    if (r != READ_BUDGET)
        none(f, r == READ_END ? 0 : E_IO); /* stopped, and not by us: it can't be read */
    return f->answered;
}

static void search_free(struct search *f)
{
    struct js_stream *s = f->s;

    list_unlink(&f->link);
    free(f);
    js_stream_drop(s);
}

static enum job_result step(struct job *j, const struct job_budget *b)
{
    struct search *f = LIST_ENTRY(j, struct search, job);

    while (!look(f))
        if (job_over(b))
            return JOB_MORE;
    search_free(f);
    return JOB_DONE;
}

static void search(struct js_stream *s, struct slice pattern, bool back, uint64_t from,
                   query_fn *found, void *arg)
{
    struct search here = {
        .s = s, .from = from, .back = back, .pattern = pattern, .found = found, .arg = arg};

    js_stream_hold(s);
    if (look(&here)) {
        js_stream_drop(s);
        return;
    }
    struct search *f = xmalloc(sizeof *f);
    *f = here;
    list_push_back(&s->acc->js->searches, &f->link);
    job_init(&f->job, back ? "last message by subject" : "next message by subject", step);
    s->acc->js->host.turn->job_start(s->acc->js->host.turn->loop, &f->job);
}

void query_one(struct js_stream *s, const struct msg_query *q, query_fn *found, void *arg)
{
    struct search one = {.s = s, .found = found, .arg = arg};
    uint64_t seq = q->start_time.set ? store_seq_at_time(s->store, q->start_time.ns) : q->seq;
    int err;

    if (q->next_by_subj.n) {
        search(s, q->next_by_subj, false, seq ? seq : 1, found, arg);
        return;
    }
    if (seq == 0) {
        search(s, q->last_by_subj, true, 0, found, arg);
        return;
    }
    err = store_get(s->store, seq, take, &one);
    if (err)
        none(&one, err);
}

void query_close(struct jsapi_account *a)
{
    const struct turn *t = a->js->host.turn;

    LIST_EACH_SAFE(it, &a->js->searches)
    {
        struct search *f = LIST_ENTRY(it, struct search, link);
        if (f->s->acc != a)
            continue;
        t->job_stop(t->loop, &f->job);
        none(f, 0);
        search_free(f);
    }
}
