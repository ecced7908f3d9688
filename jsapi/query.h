/* jsapi/query.h -- which message is meant: the body of STREAM.MSG.GET and of direct gets
 *
 * query_one() finds the one message; a search that has to look far becomes a job. The answer comes
 * exactly once, at once or later.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_QUERY_H
#define JSAPI_QUERY_H

#include "jsapi/config_json.h"
#include "jsapi/stream.h"

struct msg_query {
    uint64_t seq;
    struct slice last_by_subj, next_by_subj;
    struct cfg_time start_time;
    struct cfg_strs multi_last;
    int64_t batch, max_bytes;
    uint64_t up_to_seq;
    struct cfg_time up_to_time;
    bool no_hdr;
};
extern const struct cfg_table msg_query_table;

/* m is NULL when there is no such message (err 0), or when it can't be had: err is why, as for one
 * that is damaged. Borrowed during the call. */
typedef void query_fn(void *arg, const struct record_out *m, int err);
/* q's slices must live until found() is called. The stream is held meanwhile; when it ends,
 * found() hears of none. */
void query_one(struct js_stream *s, const struct msg_query *q, query_fn *found, void *arg);
/* The account closes: searches under way find nothing. */
void query_close(struct jsapi_account *a);

#endif
