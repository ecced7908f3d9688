/* jsapi/config_json.c -- see config_json.h
 *
 * One switch reads a member, one says whether it is empty, one prints it; every kind has its line
 * in each. Complaints are worded as Go's decoder words them, since they end up inside "invalid
 * JSON: …".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/config_json.h"

#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"

struct reading {
    const struct cfg_table *t;
    const struct cfg_row *row;
    struct arena *mem;
    bool strict;
    struct buf *why;
};

static const char *const go_types[] = {
    [CFG_STR] = "string",
    [CFG_BOOL] = "bool",
    [CFG_INT] = "int64",
    [CFG_I32] = "int32",
    [CFG_U64] = "uint64",
    [CFG_NS] = "time.Duration",
    [CFG_TIME] = "time.Time",
    [CFG_ENUM] = "string",
    [CFG_STRS] = "[]string",
    [CFG_INTS] = "[]time.Duration",
    [CFG_MAP] = "map[string]string",
    [CFG_OBJ] = "object",
    [CFG_OBJ_IN] = "object",
    [CFG_OBJS] = "array",
};

static const char *json_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "bool";
    case JSON_NULL:
        break;
    }
    return "null";
}

static int misfit(const struct reading *r, const json_t *v)
{
    if (r->why)
        buf_printf(r->why, "json: cannot unmarshal %s into Go struct field %s.%s of type %s",
                   json_name(v), r->t->go_name, r->row->name, go_types[r->row->kind]);
    return E_SYNTAX;
}

static int out_of_range(const struct reading *r, json_int_t v)
{
    if (r->why)
        buf_printf(r->why,
                   "json: cannot unmarshal number %lld into Go struct field %s.%s of type %s",
                   (long long)v, r->t->go_name, r->row->name, go_types[r->row->kind]);
    return E_SYNTAX;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* A null in a list or a map is an empty one, as in Go. */
static int keep(const struct reading *r, const json_t *v, struct slice *out)
{
    struct slice s =
        json_is_null(v) ? SLICE("") : slice_of(json_string_value(v), json_string_length(v));
    *out = arena_dup(r->mem, s);
    return out->p || !s.n ? 0 : E_TOOBIG;
}

/* Beyond the years 1677 and 2262 ("for ever": 9999-12-31) it is the first or last time there is. */
static int read_time(const struct reading *r, const json_t *v, struct cfg_time *out)
{
    if (!json_is_string(v))
        return misfit(r, v);
    int err = time_parse_at(json_string_value(v), json_string_length(v), &out->ns, &out->offset);
    if (err == E_RANGE) {
        out->ns = strcmp(json_string_value(v), "1970") < 0 ? INT64_MIN + 1 : INT64_MAX;
    } else if (err) {
        if (r->why)
            buf_printf(r->why, "parsing time \"%s\" as \"2006-01-02T15:04:05Z07:00\": cannot parse",
                       json_string_value(v));
        return E_SYNTAX;
    }
    out->set = true;
    return 0;
}

static int read_enum(const struct reading *r, const json_t *v, int *out)
{
    if (!json_is_string(v))
        return misfit(r, v);
    for (int i = 0; r->row->names[i]; i++)
        if (strcmp(r->row->names[i], json_string_value(v)) == 0) {
            *out = i;
            return 0;
        }
    if (r->why)
        buf_printf(r->why, "can not unmarshal \"\\\"%s\\\"\"", json_string_value(v));
    return E_SYNTAX;
}

/* Room for the elements of a list, of `size` bytes each. */
static int make_room(const struct reading *r, const json_t *v, size_t size, void **room)
{
    if (!json_is_array(v))
        return misfit(r, v);
    *room = arena_alloc(r->mem, json_array_size(v) * size + 1);
    return *room ? 0 : E_TOOBIG;
}

static int read_strs(const struct reading *r, const json_t *v, struct cfg_strs *out)
{
    size_t n = json_array_size(v);
    void *room;
    int bad = make_room(r, v, sizeof *out->at, &room);

    if (bad)
        return bad;
    *out = (struct cfg_strs){.at = room};
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);
        if (!json_is_string(one) && !json_is_null(one))
            return misfit(r, one);
        int err = keep(r, one, &out->at[out->n++]);
        if (err)
            return err;
    }
    return 0;
}

static int read_ints(const struct reading *r, const json_t *v, struct cfg_ints *out)
{
    size_t n = json_array_size(v);
    void *room;
    int bad = make_room(r, v, sizeof *out->at, &room);

    if (bad)
        return bad;
    *out = (struct cfg_ints){.at = room};
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);
        if (!json_is_integer(one) && !json_is_null(one))
            return misfit(r, one);
        out->at[out->n++] = json_integer_value(one); /* of null: 0 */
    }
    return 0;
}

static int pair_cmp(const void *a, const void *b)
{
    const struct cfg_pair *x = a, *y = b;
    return slice_cmp(x->key, y->key);
}

static int read_map(const struct reading *r, json_t *v, struct cfg_map *out)
{
    const char *key;
    json_t *one;

    if (!json_is_object(v))
        return misfit(r, v);
    out->n = 0;
    out->at = arena_alloc(r->mem, json_object_size(v) * sizeof *out->at + 1);
    if (!out->at)
        return E_TOOBIG;
    json_object_foreach(v, key, one)
    {
        struct cfg_pair *p = &out->at[out->n];
        if (!json_is_string(one) && !json_is_null(one))
            return misfit(r, one);
        p->key = arena_dup(r->mem, slice_cstr(key));
        int err = p->key.p ? keep(r, one, &p->value) : E_TOOBIG;
        if (err)
            return err;
        out->n++;
    }
    if (out->n)
        qsort(out->at, out->n, sizeof *out->at, pair_cmp);
    return 0;
}

static int read_objs(const struct reading *r, json_t *v, struct cfg_objs *out)
{
    size_t n = json_array_size(v), size = r->row->sub->size;
    void *room;
    int bad = make_room(r, v, size, &room);

    if (bad)
        return bad;
    *out = (struct cfg_objs){.at = room};
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_array_get(v, i);
        void *at = (char *)out->at + size * out->n++;
        if (json_is_null(one))
            continue;
        if (!json_is_object(one))
            return misfit(r, one);
        int err = cfg_read(r->row->sub, one, at, r->mem, r->strict, r->why);
        if (err)
            return err;
    }
    return 0;
}

static int read_number(const struct reading *r, const json_t *v, void *at)
{
    if (!json_is_integer(v))
        return misfit(r, v);
    json_int_t n = json_integer_value(v);
    if (r->row->kind == CFG_U64) {
        if (n < 0)
            return out_of_range(r, n);
        *(uint64_t *)at = (uint64_t)n;
        return 0;
    }
    if (r->row->kind == CFG_I32 && (n > INT32_MAX || n < INT32_MIN))
        return out_of_range(r, n);
    *(int64_t *)at = n;
    return 0;
}

static int read_member(const struct reading *r, json_t *v, void *at)
{
    switch (r->row->kind) {
    case CFG_STR:
        return json_is_string(v) ? keep(r, v, at) : misfit(r, v);
    case CFG_BOOL:
        if (!json_is_boolean(v))
            return misfit(r, v);
        *(bool *)at = json_is_true(v);
        return 0;
    case CFG_INT:
    case CFG_I32:
    case CFG_U64:
    case CFG_NS:
        return read_number(r, v, at);
    case CFG_TIME:
        return read_time(r, v, at);
    case CFG_ENUM:
        return read_enum(r, v, at);
    case CFG_STRS:
        return read_strs(r, v, at);
    case CFG_INTS:
        return read_ints(r, v, at);
    case CFG_MAP:
        return read_map(r, v, at);
    case CFG_OBJS:
        return read_objs(r, v, at);
    case CFG_OBJ:
        if (!json_is_object(v))
            return misfit(r, v);
        *(void **)at = arena_alloc(r->mem, r->row->sub->size);
        if (!*(void **)at)
            return E_TOOBIG;
        return cfg_read(r->row->sub, v, *(void **)at, r->mem, r->strict, r->why);
    case CFG_OBJ_IN:
        if (!json_is_object(v))
            return misfit(r, v);
        return cfg_read(r->row->sub, v, at, r->mem, r->strict, r->why);
    }
    return E_INVAL;
}

/* An exact name first, then one that differs in case only, as Go does. */
static const struct cfg_row *row_named(const struct cfg_table *t, const char *name)
{
    for (const struct cfg_row *row = t->rows; row->name; row++)
        if (strcmp(row->name, name) == 0)
            return row;
    for (const struct cfg_row *row = t->rows; row->name; row++)
        if (strcasecmp(row->name, name) == 0)
            return row;
    return NULL;
}

int cfg_read(const struct cfg_table *t, json_t *obj, void *to, struct arena *mem, bool strict,
             struct buf *why)
{
    struct reading r = {.t = t, .mem = mem, .strict = strict, .why = why};
    const char *key;
    json_t *v;

    if (!json_is_object(obj)) {
        if (why)
            buf_printf(why, "json: cannot unmarshal %s into Go value of type server.%.*s",
                       json_name(obj), (int)strcspn(t->go_name, "."), t->go_name);
        return E_SYNTAX;
    }
    json_object_foreach(obj, key, v)
    {
        r.row = row_named(t, key);
        if (!r.row) {
            if (!strict)
                continue;
            if (why)
                buf_printf(why, "json: unknown field \"%s\"", key);
            return E_SYNTAX;
        }
        if (json_is_null(v) && r.row->kind != CFG_ENUM)
            continue;
        int err = read_member(&r, v, (char *)to + r.row->at);
        if (err)
            return err;
    }
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool is_empty(const struct cfg_row *row, const void *at)
{
    switch (row->kind) {
    case CFG_STR:
        return ((const struct slice *)at)->n == 0;
    case CFG_BOOL:
        return !*(const bool *)at;
    case CFG_INT:
    case CFG_I32:
    case CFG_NS:
        return *(const int64_t *)at == 0;
    case CFG_U64:
        return *(const uint64_t *)at == 0;
    case CFG_TIME:
        return !((const struct cfg_time *)at)->set;
    case CFG_ENUM:
        return !row->names[*(const int *)at][0];
    case CFG_STRS:
        return ((const struct cfg_strs *)at)->n == 0;
    case CFG_INTS:
        return ((const struct cfg_ints *)at)->n == 0;
    case CFG_MAP:
        return ((const struct cfg_map *)at)->n == 0;
    case CFG_OBJ:
        return !*(void *const *)at;
    case CFG_OBJ_IN:
        return false;
    case CFG_OBJS:
        return ((const struct cfg_objs *)at)->n == 0 &&
               !((row->flags & CFG_SPARSE) && ((const struct cfg_objs *)at)->at);
    }
    return true;
}

static void write_map(const struct cfg_map *m, struct json_out *out, const char *key)
{
    json_obj(out, key);
    for (size_t i = 0; i < m->n; i++) {
        json_key_slice(out, m->at[i].key);
        json_str(out, NULL, m->at[i].value);
    }
    json_end(out);
}

void cfg_write_time(const struct cfg_time *t, struct json_out *out, const char *key)
{
    char text[40];
    size_t n = time_print_at(t->set ? t->ns : INT64_MIN, t->offset, text);
    json_str(out, key, slice_of(text, n));
}

static void write_list(const struct cfg_row *row, const void *at, struct json_out *out)
{
    json_arr(out, row->name);
    if (row->kind == CFG_STRS) {
        const struct cfg_strs *l = at;
        for (size_t i = 0; i < l->n; i++)
            json_str(out, NULL, l->at[i]);
    } else if (row->kind == CFG_INTS) {
        const struct cfg_ints *l = at;
        for (size_t i = 0; i < l->n; i++)
            json_i64(out, NULL, l->at[i]);
    } else {
        const struct cfg_objs *l = at;
        for (size_t i = 0; i < l->n; i++)
            cfg_write_obj(row->sub, (const char *)l->at + i * row->sub->size, out, NULL);
    }
    json_end(out);
}

static void write_member(const struct cfg_row *row, const void *at, struct json_out *out)
{
    switch (row->kind) {
    case CFG_STR:
        json_str(out, row->name, *(const struct slice *)at);
        return;
    case CFG_BOOL:
        json_bool(out, row->name, *(const bool *)at);
        return;
    case CFG_INT:
    case CFG_I32:
    case CFG_NS:
        json_i64(out, row->name, *(const int64_t *)at);
        return;
    case CFG_U64:
        json_u64(out, row->name, *(const uint64_t *)at);
        return;
    case CFG_TIME:
        cfg_write_time(at, out, row->name);
        return;
    case CFG_ENUM:
        json_cstr(out, row->name, row->names[*(const int *)at]);
        return;
    case CFG_STRS:
    case CFG_INTS:
    case CFG_OBJS:
        write_list(row, at, out);
        return;
    case CFG_MAP:
        write_map(at, out, row->name);
        return;
    case CFG_OBJ:
        if (*(void *const *)at)
            cfg_write_obj(row->sub, *(void *const *)at, out, row->name);
        else
            json_raw(out, row->name, SLICE("null"));
        return;
    case CFG_OBJ_IN:
        cfg_write_obj(row->sub, at, out, row->name);
        return;
    }
}

void cfg_write(const struct cfg_table *t, const void *from, struct json_out *out)
{
    for (const struct cfg_row *row = t->rows; row->name; row++) {
        const void *at = (const char *)from + row->at;
        if (row->flags & CFG_NEVER)
            continue;
        if ((row->flags & CFG_ALWAYS) || !is_empty(row, at))
            write_member(row, at, out);
    }
}

void cfg_write_obj(const struct cfg_table *t, const void *from, struct json_out *out,
                   const char *key)
{
    json_obj(out, key);
    cfg_write(t, from, out);
    json_end(out);
}

/* --- comparing -------------------------------------------------------------------------------- */

static bool own_key(struct slice key)
{
    return slice_starts(key, SLICE("_nats."));
}

static bool map_equal(const struct cfg_map *a, const struct cfg_map *b)
{
    size_t i = 0, k = 0;

    for (;;) {
        while (i < a->n && own_key(a->at[i].key))
            i++;
        while (k < b->n && own_key(b->at[k].key))
            k++;
        if (i == a->n || k == b->n)
            return i == a->n && k == b->n;
        if (!slice_eq(a->at[i].key, b->at[k].key) || !slice_eq(a->at[i].value, b->at[k].value))
            return false;
        i++;
        k++;
    }
}

static void print_row(const struct cfg_row *row, const void *from, struct buf *to)
{
    struct json_out out;

    json_begin(&out, to);
    json_obj(&out, NULL);
    if (!is_empty(row, (const char *)from + row->at))
        write_member(row, (const char *)from + row->at, &out);
    json_end(&out);
}

bool cfg_equal(const struct cfg_table *t, const void *a, const void *b)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    bool same = true;

    for (const struct cfg_row *row = t->rows; row->name && same; row++) {
        if (row->flags & CFG_NEVER)
            continue;
        if (row->kind == CFG_MAP) {
            same = map_equal((const void *)((const char *)a + row->at),
                             (const void *)((const char *)b + row->at));
            continue;
        }
        buf_clear(&x);
        buf_clear(&y);
        print_row(row, a, &x);
        print_row(row, b, &y);
        same = slice_eq(buf_slice(&x), buf_slice(&y));
    }
    buf_release(&x);
    buf_release(&y);
    return same;
}

/* --- metadata --------------------------------------------------------------------------------- */

#define META_VER   SLICE("_nats.ver")
#define META_LEVEL SLICE("_nats.level")
#define META_REQ   SLICE("_nats.req.level")

void cfg_meta_static(struct cfg_map *m, unsigned level, struct arena *mem)
{
    struct cfg_pair *at = arena_alloc(mem, (m->n + 1) * sizeof *at);
    char digits[12];
    size_t n = 0;

    if (!at)
        return; /* the config as it came; only its level is not noted */
    for (size_t i = 0; i < m->n; i++) {
        struct slice k = m->at[i].key;
        if (!slice_eq(k, META_VER) && !slice_eq(k, META_LEVEL) && !slice_eq(k, META_REQ))
            at[n++] = m->at[i];
    }
    (void)snprintf(digits, sizeof digits, "%u", level);
    at[n++] = (struct cfg_pair){META_REQ, arena_dup(mem, slice_cstr(digits))};
    qsort(at, n, sizeof *at, pair_cmp);
    m->at = at;
    m->n = n;
}

#define STR_OF_(x) #x
#define STR_OF(x)  STR_OF_(x)

struct cfg_map cfg_meta_dynamic(const struct cfg_map *m, struct slice version, struct cfg_pair *at)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        if (!slice_eq(m->at[i].key, META_VER) && !slice_eq(m->at[i].key, META_LEVEL))
            at[n++] = m->at[i];
    at[n++] = (struct cfg_pair){META_LEVEL, SLICE(STR_OF(API_LEVEL))};
    at[n++] = (struct cfg_pair){META_VER, version};
    qsort(at, n, sizeof *at, pair_cmp);
    return (struct cfg_map){at, n};
}

struct slice cfg_map_get(const struct cfg_map *m, struct slice key)
{
    for (size_t i = 0; i < m->n; i++)
        if (slice_eq(m->at[i].key, key))
            return m->at[i].value;
    return (struct slice){0};
}

size_t cfg_map_bytes(const struct cfg_map *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        n += m->at[i].key.n + m->at[i].value.n;
    return n;
}
