/* server/options_read.c -- reading a map of the configuration by a table
 *
 * The pattern: look the key up in the table, check the type, put the value where the row says. All
 * errors are collected, so that a person can repair a file in one go. A key that some $VARIABLE
 * referred to may be unknown.
 *
 * Numbers whose default is not 0 take a given 0 as "the default", as the reference does.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

/* --- saying what is wrong ------------------------------------------------------------ */

static void put_place(struct buf *to, const struct conf_node *n)
{
    if (n)
        buf_printf(to, "%s:%d:%d: ", n->file, n->line, n->col);
}

void opt_error(struct opt_reader *r, const struct conf_node *n, const char *fmt, ...)
{
    va_list ap;
    put_place(&r->errors, n);
    va_start(ap, fmt);
    buf_vprintf(&r->errors, fmt, ap);
    va_end(ap);
    buf_add_char(&r->errors, '\n');
}

void opt_warn(struct opt_reader *r, const struct conf_node *n, const char *fmt, ...)
{
    va_list ap;
    put_place(&r->warnings, n);
    va_start(ap, fmt);
    buf_vprintf(&r->warnings, fmt, ap);
    va_end(ap);
    buf_add_char(&r->warnings, '\n');
}

void opt_later(struct opt_reader *r, const struct conf_node *n, const char *what)
{
    buf_printf(&r->later, "%s%s (%s:%d)", r->later.len ? ", " : "", what, n->file, n->line);
}

bool opt_is(struct opt_reader *r, const struct conf_node *n, enum conf_type type)
{
    if (n->type == type)
        return true;
    opt_error(r, n, "interface conversion: interface {} is %s, not %s", conf_type_name(n->type),
              conf_type_name(type));
    return false;
}

/* --- copies -------------------------------------------------------------------------- */

void *opt_copy(struct opt_reader *r, const void *p, size_t n)
{
    void *to = arena_alloc(&r->o->mem, n ? n : 1);
    ASSERT(to); /* the arena of the options has no limit; the file that fills it has one */
    if (n)
        memcpy(to, p, n);
    return to;
}

const char *opt_text(struct opt_reader *r, struct slice s)
{
    struct slice copy = arena_dup(&r->o->mem, s);
    ASSERT(copy.p);
    return copy.p;
}

const char *opt_quote(struct opt_reader *r, struct slice s)
{
    struct buf b = BUF_INIT;
    buf_add_char(&b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(&b, "\\%c", c);
        else if (c == '\n' || c == '\t' || c == '\r')
            buf_printf(&b, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else if (c < 0x20 || c == 0x7f)
            buf_printf(&b, "\\x%02x", c);
        else
            buf_add_char(&b, (char)c);
    }
    buf_add_char(&b, '"');
    const char *text = opt_text(r, buf_slice(&b));
    buf_release(&b);
    return text;
}

static void show(struct buf *b, const struct conf_node *n)
{
    switch (n->type) {
    case CONF_MAP:
    case CONF_ARRAY:
        buf_add_str(b, n->type == CONF_MAP ? "map[" : "[");
        CONF_EACH(kid, n)
        {
            if (kid != conf_first(n))
                buf_add_char(b, ' ');
            if (kid->key)
                buf_printf(b, "%s:", kid->key);
            show(b, kid);
        }
        buf_add_char(b, ']');
        break;
    case CONF_STRING:
        buf_add_slice(b, n->u.str);
        break;
    case CONF_INT:
        buf_printf(b, "%" PRId64, n->u.i);
        break;
    case CONF_FLOAT:
        buf_printf(b, "%g", n->u.f);
        break;
    case CONF_BOOL:
        buf_add_str(b, n->u.b ? "true" : "false");
        break;
    case CONF_TIME:
        time_print(n->u.time_ns, buf_reserve(b, 40));
        buf_commit(b, strlen(b->data + b->start + b->len));
        break;
    }
}

const char *opt_show(struct opt_reader *r, const struct conf_node *n)
{
    struct buf b = BUF_INIT;
    show(&b, n);
    const char *text = opt_text(r, buf_slice(&b));
    buf_release(&b);
    return text;
}

void *opt_push(struct buf *b, const void *element, size_t size)
{
    buf_add(b, element, size);
    return b->data + b->start + b->len - size;
}

void opt_mark(struct opt_reader *r, const char *name, enum reload reload, const char *text)
{
    struct options_mark m = {name, reload, text};
    opt_push(&r->marks, &m, sizeof m);
}

/* --- values -------------------------------------------------------------------------- */

bool opt_texts(struct opt_reader *r, const struct conf_node *n, const char *what,
               struct text_list *out)
{
    size_t count = 0;
    if (n->type != CONF_STRING && n->type != CONF_ARRAY) {
        opt_error(r, n, "error parsing %s: unsupported type %s", what, conf_type_name(n->type));
        return false;
    }
    struct slice *at = opt_copy(r, NULL, 0);
    if (n->type == CONF_STRING) {
        at = opt_copy(r, &n->u.str, sizeof n->u.str);
        at[0].p = opt_text(r, n->u.str);
        count = 1;
    } else if (n->u.kids.count) {
        at = arena_alloc(&r->o->mem, n->u.kids.count * sizeof *at);
        ASSERT(at);
    }
    CONF_EACH(kid, n)
    {
        if (kid->type != CONF_STRING) {
            opt_error(r, kid, "error parsing %s: unsupported type in array %s", what,
                      conf_type_name(kid->type));
            continue;
        }
        at[count++] = slice_of(opt_text(r, kid->u.str), kid->u.str.n);
    }
    *out = (struct text_list){at, count};
    return true;
}

int64_t opt_within_reason(int64_t ns)
{
    const int64_t most = INT64_MAX / 4;
    return ns > most ? most : ns < -most ? -most : ns;
}

static bool go_duration(struct opt_reader *r, const struct conf_node *n, const char *prefix,
                        int64_t *ns)
{
    int rc = duration_parse(n->u.str.p, n->u.str.n, ns);
    if (rc < 0)
        opt_error(r, n, "%stime: invalid duration %s", prefix, opt_quote(r, n->u.str));
    else
        *ns = opt_within_reason(*ns);
    return rc == 0;
}

int64_t opt_duration(struct opt_reader *r, const struct conf_node *n, const char *field)
{
    int64_t ns = 0;
    if (n->type == CONF_STRING) {
        char *prefix = xasprintf("error parsing %s: ", field);
        if (!go_duration(r, n, prefix, &ns))
            ns = 0;
        free(prefix);
    } else if (opt_is(r, n, CONF_INT)) {
        opt_warn(r, n, "invalid use of field \"%s\": %s should be converted to a duration", field,
                 field);
        if (__builtin_mul_overflow(n->u.i, NS_PER_S, &ns))
            opt_error(r, n, "%s value is too big", field);
    }
    return opt_within_reason(ns);
}

bool opt_seconds(struct opt_reader *r, const struct conf_node *n, const char *prefix, int64_t *ns)
{
    double s = n->type == CONF_INT ? (double)n->u.i : n->u.f;
    if (n->type == CONF_STRING) {
        char *before = xasprintf("%s, 'timeout' ", prefix);
        bool ok = go_duration(r, n, before, ns);
        free(before);
        return ok;
    }
    if ((n->type != CONF_INT && n->type != CONF_FLOAT) || s > 1e9 || s < -1e9) {
        opt_error(r, n, "%s, 'timeout' wrong type", prefix);
        return false;
    }
    *ns = (int64_t)(s * 1e9);
    return true;
}

bool opt_size(struct opt_reader *r, const struct conf_node *n, const char *what, int64_t *out)
{
    static const char suffixes[] = "KMGT";
    struct slice s = n->u.str;
    int64_t number;
    if (n->type == CONF_INT) {
        *out = n->u.i;
        return true;
    }
    if (n->type != CONF_STRING) {
        opt_error(r, n, "%s must be int64 or string", what);
        return false;
    }
    *out = 0;
    if (s.n == 0)
        return true;
    const char *at = strchr(suffixes, s.p[s.n - 1]);
    struct slice digits = slice_head(s, s.n - 1);
    if (slice_i64(digits, &number) < 0) {
        opt_error(r, n, "%s strconv.ParseInt: parsing %s: invalid syntax", what,
                  opt_quote(r, digits));
        return false;
    }
    if (!at || !*at ||
        __builtin_mul_overflow(number, (int64_t)1 << (10 * (at - suffixes + 1)), out)) {
        opt_error(r, n, "%s sizes defined as strings must end in K, M, G, T", what);
        return false;
    }
    return true;
}

bool opt_enabled(struct opt_reader *r, const struct conf_node *n, bool *on)
{
    if (n->type == CONF_BOOL) {
        *on = n->u.b;
        return true;
    }
    bool yes = slice_ieq(n->u.str, SLICE("enabled")) || slice_ieq(n->u.str, SLICE("enable"));
    bool no = slice_ieq(n->u.str, SLICE("disabled")) || slice_ieq(n->u.str, SLICE("disable"));
    if (!yes && !no) {
        opt_error(r, n, "Expected 'enabled' or 'disabled' for string value, got '%.*s'",
                  SLICE_FMT(n->u.str));
        return false;
    }
    *on = yes;
    return true;
}

static void read_pairs(struct opt_reader *r, const struct conf_node *n, void *field)
{
    struct {
        const struct text_pair *at;
        size_t n;
    } *to = field;
    size_t count = 0;
    if (!opt_is(r, n, CONF_MAP))
        return;
    struct text_pair *at = arena_alloc(&r->o->mem, (n->u.kids.count + 1) * sizeof *at);
    ASSERT(at);
    CONF_EACH(kid, n)
    if (opt_is(r, kid, CONF_STRING))
        at[count++] =
            (struct text_pair){opt_text(r, slice_cstr(kid->key)), opt_text(r, kid->u.str)};
    to->at = at;
    to->n = count;
}

/* A number within the row's range. */
static bool in_range(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row)
{
    if (!opt_is(r, n, CONF_INT))
        return false;
    if (row->min == 0 && row->max == 0)
        return true;
    if (n->u.i > row->max)
        opt_error(r, n, "%s value is too big", n->key);
    else if (n->u.i < row->min)
        opt_error(r, n, "%s value can not be negative", n->key);
    return n->u.i <= row->max && n->u.i >= row->min;
}

static void read_row(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                     void *to)
{
    char *field = (char *)to + row->at;
    int64_t number;
    switch (row->type) {
    case OPT_BOOL:
        if (opt_is(r, n, CONF_BOOL))
            *(bool *)(void *)field = n->u.b;
        break;
    case OPT_INT:
        if (in_range(r, n, row))
            *(int64_t *)(void *)field = n->u.i;
        break;
    case OPT_PORT:
        if (opt_is(r, n, CONF_INT) && (n->u.i < -1 || n->u.i > 65535))
            opt_error(r, n, "%s value %" PRId64 " is not a port", n->key, n->u.i);
        else if (n->type == CONF_INT)
            *(int *)(void *)field = (int)n->u.i;
        break;
    case OPT_STRING:
        if (opt_is(r, n, CONF_STRING))
            *(const char **)(void *)field = opt_text(r, n->u.str);
        break;
    case OPT_DURATION:
        *(int64_t *)(void *)field = opt_duration(r, n, n->key);
        break;
    case OPT_SIZE:
        if (opt_size(r, n, n->key, &number))
            *(int64_t *)(void *)field = number;
        break;
    case OPT_TEXTS:
        opt_texts(r, n, n->key, (struct text_list *)(void *)field);
        break;
    case OPT_PAIRS:
        read_pairs(r, n, field);
        break;
    case OPT_CALL:
        row->read(r, n, row, to);
        break;
    case OPT_LATER:
        opt_later(r, n, row->name ? row->name : n->key);
        break;
    case OPT_REFUSED:
        opt_error(
            r, n,
            "\"%s\" needs a feature this server does not have yet, and can't be ignored safely",
            n->key);
        break;
    case OPT_QUIET:
        break;
    }
}

const struct opt_row *opt_find(const struct opt_table *t, const char *key)
{
    struct slice wanted = slice_cstr(key), name;
    for (size_t i = 0; i < t->n; i++) {
        struct slice keys = slice_cstr(t->rows[i].keys);
        while (slice_token(&keys, &name))
            if (slice_ieq(name, wanted))
                return &t->rows[i];
    }
    return NULL;
}

void opt_defaults(const struct opt_table *t, void *to)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct opt_row *row = &t->rows[i];
        void *field = (char *)to + row->at;
        if (row->type == OPT_BOOL)
            *(bool *)field = row->dflt != 0;
        else if (row->type == OPT_INT || row->type == OPT_DURATION || row->type == OPT_SIZE)
            *(int64_t *)field = row->dflt;
        else if (row->type == OPT_PORT)
            *(int *)field = (int)row->dflt;
        else if (row->type == OPT_STRING && row->text)
            *(const char **)field = row->text;
    }
}

static void zero_is_default(const struct opt_row *row, void *field)
{
    bool wide = row->type == OPT_INT || row->type == OPT_DURATION || row->type == OPT_SIZE;
    if (wide && row->dflt && *(int64_t *)field == 0)
        *(int64_t *)field = row->dflt;
    if (row->type == OPT_PORT && row->dflt && *(int *)field == 0)
        *(int *)field = (int)row->dflt;
}

void opt_read(struct opt_reader *r, const struct conf_node *map, const struct opt_table *t,
              void *to)
{
    CONF_EACH(n, map)
    {
        const struct opt_row *row = opt_find(t, n->key);
        if (row) {
            read_row(r, n, row, to);
            zero_is_default(row, (char *)to + row->at);
        } else if (!n->used) {
            const char *key = opt_quote(r, slice_cstr(n->key));
            put_place(&r->errors, n);
            buf_printf(&r->errors, "%s%s%s\n", t->unknown ? t->unknown : "unknown field ", key,
                       t->unknown_after ? t->unknown_after : "");
        }
    }
}
