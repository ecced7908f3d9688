/* jsapi/consumer_list.c -- CONSUMER.NAMES and CONSUMER.LIST: a page of a stream's consumers, sorted
 * by name
 *
 * Direct consumers, the hidden hands of mirrors and sources, are left out, and so are those that
 * are still being made.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/api.h"
#include "jsapi/consumer.h"

static bool shown(const struct js_consumer *c)
{
    return !c->cfg->direct && c->state != CONSUMER_MAKING;
}

static uint64_t count_shown(const struct consumers *cs)
{
    uint64_t n = 0;
    for (size_t i = 0; cs && i < cs->n; i++)
        n += shown(cs->at[i]);
    return n;
}

struct page_request {
    int64_t offset;
};
static const struct cfg_row page_rows[] = {
    {"offset", CFG_INT, offsetof(struct page_request, offset), 0, NULL, NULL}, CFG_END};
static const struct cfg_table page_table = {"JSApiConsumersRequest.ApiPagedRequest", page_rows,
                                            sizeof(struct page_request)};

typedef void show_fn(struct js_consumer *c, struct json_out *j);

static void show_name(struct js_consumer *c, struct json_out *j)
{
    json_str(j, NULL, c->name);
}

static void show_info(struct js_consumer *c, struct json_out *j)
{
    json_obj(j, NULL);
    consumer_write(c, j, SHOW_STORED);
    json_end(j);
}

static void page(struct request *r, uint64_t limit, show_fn *show)
{
    struct consumers *cs = r->stream->consumers;
    struct page_request q = {0};
    if (!api_read(r, &page_table, &q))
        return;
    uint64_t total = count_shown(cs), offset = q.offset > 0 ? (uint64_t)q.offset : 0, at = 0;
    if (offset > total)
        offset = total;
    struct json_out *j = api_ok(r);
    api_page(j, total, offset, limit);
    json_arr(j, "consumers");
    for (size_t i = 0; cs && i < cs->n && at < offset + limit; i++) {
        if (!shown(cs->at[i]))
            continue;
        if (at++ >= offset)
            show(cs->at[i], j);
    }
    json_end(j);
    api_send(r);
}

void consumer_names(struct request *r)
{
    page(r, API_NAMES_PAGE, show_name);
}

void consumer_list(struct request *r)
{
    struct consumers *cs = r->stream->consumers;
    if (!cs) { /* it went while this waited */
        api_fail(r, JSStreamNotFoundErr, NULL);
        return;
    }
    for (size_t i = 0; i < cs->n; i++)
        if (shown(cs->at[i]) && !consumer_counted(cs->at[i], r))
            return; /* once more when this one is counted */
    page(r, API_LIST_PAGE, show_info);
}
