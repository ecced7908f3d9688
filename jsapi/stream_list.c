/* jsapi/stream_list.c -- STREAM.NAMES and STREAM.LIST: pages of streams, sorted by name
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"

struct list_request {
    int64_t offset;
    struct slice subject;
};
#define AT(field) offsetof(struct list_request, field)
static const struct cfg_row rows[] = {
    {"offset", CFG_INT, AT(offset), 0, NULL, NULL},
    {"subject", CFG_STR, AT(subject), 0, NULL, NULL},
    CFG_END,
};
#undef AT
static const struct cfg_table request_table = {"JSApiStreamNamesRequest", rows,
                                               sizeof(struct list_request)};

static bool wanted(const struct js_stream *s, struct slice subject)
{
    if (s->state != STREAM_LIVE)
        return false;
    for (size_t i = 0; i < s->cfg.subjects.n && subject.n; i++)
        if (subject_overlap(s->cfg.subjects.at[i], subject))
            return true;
    return subject.n == 0;
}

static uint64_t count(const struct jsapi_account *a, struct slice subject)
{
    uint64_t n = 0;

    for (size_t i = 0; i < a->n_streams; i++)
        n += wanted(a->streams[i], subject);
    return n;
}

/* An offset beyond the end is the end. Returns how many there are. */
static uint64_t begin_page(struct request *r, struct list_request *q, size_t limit,
                           struct json_out *j)
{
    uint64_t total = count(r->acc, q->subject);

    if ((uint64_t)q->offset > total)
        q->offset = (int64_t)total;
    api_page(j, total, (uint64_t)q->offset, limit);
    return total;
}

/* Calls each() for the streams of the page. */
static void page(struct request *r, const struct list_request *q, size_t limit,
                 void (*each)(struct js_stream *s, struct json_out *j), struct json_out *j)
{
    uint64_t at = 0, offset = (uint64_t)q->offset;

    for (size_t i = 0; i < r->acc->n_streams && at < offset + limit; i++)
        if (wanted(r->acc->streams[i], q->subject) && at++ >= offset)
            each(r->acc->streams[i], j);
}

static bool read_list(struct request *r, struct list_request *q)
{
    *q = (struct list_request){0};
    if (!api_read(r, &request_table, q))
        return false;
    if (q->offset < 0)
        q->offset = 0;
    return true;
}

static void write_name(struct js_stream *s, struct json_out *j)
{
    json_str(j, NULL, s->name);
}

static void write_info(struct js_stream *s, struct json_out *j)
{
    json_obj(j, NULL);
    js_stream_write_info(s, j, INFO_DOMAIN, (struct slice){0}, (struct slice){0});
    json_end(j);
}

void stream_names(struct request *r)
{
    struct list_request q;

    if (!read_list(r, &q))
        return;
    struct json_out *j = api_ok(r);
    uint64_t total = begin_page(r, &q, API_NAMES_PAGE, j);
    if (total > (uint64_t)q.offset) {
        json_arr(j, "streams");
        page(r, &q, API_NAMES_PAGE, write_name, j);
        json_end(j);
    } else {
        json_raw(j, "streams", SLICE("null"));
    }
    api_send(r);
}

void stream_list(struct request *r)
{
    struct list_request q;

    if (!read_list(r, &q))
        return;
    struct json_out *j = api_ok(r);
    (void)begin_page(r, &q, API_LIST_PAGE, j);
    json_arr(j, "streams");
    page(r, &q, API_LIST_PAGE, write_info, j);
    json_end(j);
    api_send(r);
}
