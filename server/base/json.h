/* base/json.h -- a thin face of jansson for reading, and a small writer
 *
 * Reading: json_read() parses a borrowed slice (limits: 1 MiB, depth 64; a duplicate key keeps the
 * last, as Go does) and hands out jansson's json_t, which callers use through jansson's own
 * functions; json_free() at the end. Go matches keys without regard to case when no exact one is
 * there: json_key() does the same.
 *
 * jansson's memory is mem.h's, in every program that links this file: refused, it ends the process.
 *
 * Writing: struct json_out is a sticky writer: twenty steps, one look at the end. Keys are literals
 * of ours; values are escaped as Go does (<, > and & as \u003c …, invalid UTF-8 as \ufffd). Commas
 * place themselves.
 *
 *     struct json_out j; json_begin(&j, &buf);
 *     json_obj(&j, NULL);  json_str(&j, "type", SLICE("…"));  json_u64(&j, "seq", 7); json_end(&j);
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* E_SYNTAX (*why, if not NULL, gets an owned text to free), E_TOOBIG. An empty slice is E_SYNTAX.
 */
int json_read(struct slice text, json_t **out, char **why) MUST_CHECK;
/* The same for what the writer below made of a text that was read: that may be six times as long.
 */
int json_read_kept(struct slice text, json_t **out) MUST_CHECK;
void json_free(json_t *j);
/* The member of that name, exact match first, then ignoring ASCII case; NULL when absent or not an
 * object. */
json_t *json_key(json_t *obj, const char *key);
/* Typed looks with a default for "absent or of another type". */
struct slice json_get_str(json_t *obj,
                          const char *key); /* empty slice when absent; borrowed from obj */
int64_t json_get_int(json_t *obj, const char *key, int64_t dflt);
bool json_get_bool(json_t *obj, const char *key, bool dflt);

struct json_out {
    struct buf *to;
    unsigned depth;
    bool comma;        /* the next value wants a comma before it */
    uint64_t is_array; /* bit per depth */
};

void json_begin(struct json_out *j, struct buf *to);
/* key NULL inside an array and at the top. */
void json_obj(struct json_out *j, const char *key);
void json_arr(struct json_out *j, const char *key);
void json_end(struct json_out *j); /* closes the innermost object or array */
void json_str(struct json_out *j, const char *key, struct slice v);
void json_cstr(struct json_out *j, const char *key, const char *v);
void json_i64(struct json_out *j, const char *key, int64_t v);
void json_u64(struct json_out *j, const char *key, uint64_t v);
void json_f64(struct json_out *j, const char *key, double v);
void json_bool(struct json_out *j, const char *key, bool v);
void json_nil(struct json_out *j, const char *key); /* null; jansson owns the name json_null() */
/* RFC 3339 as clock.h prints it. */
void json_time(struct json_out *j, const char *key, int64_t wall_ns);
/* Not inside a json_out: the shortest digits that read back as v, in Go's notation (an exponent
 * only below 1e-6 and from 1e21 on); "null" for what is no number. */
void json_put_f64(struct buf *to, double v);
/* Text that is JSON already. */
void json_raw(struct json_out *j, const char *key, struct slice text);
/* A whole jansson value, compact. */
void json_value(struct json_out *j, const char *key, json_t *v);
/* A member whose name is data (subjects, metadata). */
void json_key_slice(struct json_out *j,
                    struct slice key); /* writes "key": ; the value call after it passes NULL */

#endif
