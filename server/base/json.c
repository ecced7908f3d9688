/* base/json.c -- a thin face of jansson, and a writer that escapes as Go does; see json.h
 *
 * jansson is stricter than Go in one thing that peers do send: broken UTF-8. Then, and only then,
 * the text is copied with each broken byte replaced by U+FFFD, as Go reads it, and parsed again.
 *
 * jansson allocates through mem.h, from before main() on: a request that could not be read for want
 * of memory must not be called malformed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

#define TEXT_MAX   ((size_t)1 << 20)
#define KEPT_MAX   (8 * TEXT_MAX) /* written by us: each character may have become six */
#define DEPTH_MAX  64
#define READ_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* Bytes of the UTF-8 character at p (n >= 1), 0 when it is broken, too long or a surrogate. */
static size_t utf8_length(const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t want = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (want < 2)
        return want;
    if (s[0] > 0xf4 || n < want)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return want;
}

__attribute__((constructor)) static void take_memory(void)
{
    json_set_alloc_funcs(xmalloc, free);
}

/* --- reading --------------------------------------------------------------------------------- */

static bool too_deep(struct slice text)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return true;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return false;
}

static json_t *read_mended(struct slice text, json_error_t *error)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < text.n;) {
        size_t n = utf8_length(text.p + i, text.n - i);
        if (n)
            buf_add(&b, text.p + i, n);
        else
            buf_add_str(&b, "\xef\xbf\xbd");
        i += n ? n : 1;
    }
    json_t *j = json_loadb(b.data, b.len, READ_FLAGS, error);
    buf_release(&b);
    return j;
}

static int refuse(int err, char **why, const char *text)
{
    if (why)
        *why = xstrdup(text);
    return err;
}

static int read_text(struct slice text, size_t most, json_t **out, char **why)
{
    json_error_t error;
    if (text.n > most)
        return refuse(E_TOOBIG, why, "JSON text is too large");
    if (!text.n)
        return refuse(E_SYNTAX, why, "unexpected end of JSON input");
    if (too_deep(text))
        return refuse(E_TOOBIG, why, "JSON text is nested too deeply");
    json_t *j = json_loadb(text.p, text.n, READ_FLAGS, &error);
    if (!j && json_error_code(&error) == json_error_invalid_utf8)
        j = read_mended(text, &error);
    if (!j)
        return refuse(E_SYNTAX, why, error.text);
    *out = j;
    return 0;
}

int json_read(struct slice text, json_t **out, char **why)
{
    return read_text(text, TEXT_MAX, out, why);
}

int json_read_kept(struct slice text, json_t **out)
{
    return read_text(text, KEPT_MAX, out, NULL);
}

void json_free(json_t *j)
{
    json_decref(j);
}

json_t *json_key(json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);
    if (v || !json_is_object(obj))
        return v;
    struct slice want = slice_cstr(key);
    for (void *it = json_object_iter(obj); it; it = json_object_iter_next(obj, it))
        if (slice_ieq(slice_cstr(json_object_iter_key(it)), want))
            return json_object_iter_value(it);
    return NULL;
}

struct slice json_get_str(json_t *obj, const char *key)
{
    json_t *v = json_key(obj, key);
    if (!json_is_string(v))
        return (struct slice){NULL, 0};
    return slice_of(json_string_value(v), json_string_length(v));
}

int64_t json_get_int(json_t *obj, const char *key, int64_t dflt)
{
    json_t *v = json_key(obj, key);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : dflt;
}

bool json_get_bool(json_t *obj, const char *key, bool dflt)
{
    json_t *v = json_key(obj, key);
    return json_is_boolean(v) ? json_is_true(v) : dflt;
}

/* --- writing --------------------------------------------------------------------------------- */

/* Bytes that stand for themselves in Go's output. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

static void put_escape(struct buf *to, unsigned char c)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *at = names; *at; at += 2)
        if ((unsigned char)*at == c) {
            buf_add_char(to, '\\');
            buf_add_char(to, at[1]);
            return;
        }
    buf_printf(to, "\\u%04x", c);
}

static void put_string(struct buf *to, struct slice v)
{
    buf_add_char(to, '"');
    for (size_t i = 0; i < v.n;) {
        size_t run = i;
        while (run < v.n && is_plain((unsigned char)v.p[run]))
            run++;
        buf_add(to, v.p + i, run - i);
        i = run;
        if (i == v.n)
            break;
        size_t n = utf8_length(v.p + i, v.n - i);
        if (n == 0)
            buf_add_str(to, "\\ufffd");
        else if (n == 1)
            put_escape(to, (unsigned char)v.p[i]);
        else if (n == 3 && memcmp(v.p + i, "\xe2\x80\xa8", 3) == 0)
            buf_add_str(to, "\\u2028");
        else if (n == 3 && memcmp(v.p + i, "\xe2\x80\xa9", 3) == 0)
            buf_add_str(to, "\\u2029");
        else
            buf_add(to, v.p + i, n);
        i += n ? n : 1;
    }
    buf_add_char(to, '"');
}

static void put_i64(struct buf *to, int64_t v)
{
    if (v < 0)
        buf_add_char(to, '-');
    buf_add_u64(to, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* digits "12345" with the point behind the first `whole` of them (also left or right of all). */
static void put_digits(struct buf *to, struct slice digits, long whole)
{
    if (whole <= 0)
        buf_add_str(to, "0.");
    for (long i = whole; i < 0; i++)
        buf_add_char(to, '0');
    size_t n = whole > 0 ? (size_t)whole : 0;
    buf_add_slice(to, slice_head(digits, n));
    for (size_t i = digits.n; i < n; i++)
        buf_add_char(to, '0');
    if (whole > 0 && n < digits.n)
        buf_add_char(to, '.');
    buf_add_slice(to, slice_skip(digits, n));
}

void json_put_f64(struct buf *to, double v)
{
    char text[64];
    int precision = 0;
    if (!isfinite(v)) {
        buf_add_str(to, "null");
        return;
    }
    if (v == 0) {
        buf_add_str(to, signbit(v) ? "-0" : "0");
        return;
    }
    do
        (void)snprintf(text, sizeof text, "%.*e", precision, fabs(v)); /* d.ddde+xx */
    while (strtod(text, NULL) != fabs(v) && ++precision < 17);
    struct slice all = slice_cstr(text), mantissa = slice_head(all, slice_find(all, 'e'));
    long exponent = strtol(text + mantissa.n + 1, NULL, 10);
    if (v < 0)
        buf_add_char(to, '-');
    if (exponent < -6 || exponent >= 21) {
        buf_add_slice(to, mantissa);
        buf_printf(to, "e%c%ld", exponent < 0 ? '-' : '+', labs(exponent));
        return;
    }
    if (mantissa.n > 1) { /* take the point out */
        memmove(text + 1, text + 2, mantissa.n - 2);
        mantissa.n--;
    }
    put_digits(to, mantissa, exponent + 1);
}

void json_begin(struct json_out *j, struct buf *to)
{
    *j = (struct json_out){.to = to};
}

/* What stands before every value: the comma of its predecessor, its name. */
static void before(struct json_out *j, const char *key)
{
    if (j->comma)
        buf_add_char(j->to, ',');
    if (key) {
        put_string(j->to, slice_cstr(key));
        buf_add_char(j->to, ':');
    }
    j->comma = true;
}

static void open(struct json_out *j, const char *key, bool is_array)
{
    ASSERT(j->depth < DEPTH_MAX);
    before(j, key);
    buf_add_char(j->to, is_array ? '[' : '{');
    uint64_t bit = (uint64_t)1 << j->depth++;
    j->is_array = is_array ? j->is_array | bit : j->is_array & ~bit;
    j->comma = false;
}

void json_obj(struct json_out *j, const char *key)
{
    open(j, key, false);
}

void json_arr(struct json_out *j, const char *key)
{
    open(j, key, true);
}

void json_end(struct json_out *j)
{
    ASSERT(j->depth > 0);
    j->depth--;
    buf_add_char(j->to, j->is_array >> j->depth & 1 ? ']' : '}');
    j->comma = true;
}

void json_str(struct json_out *j, const char *key, struct slice v)
{
    before(j, key);
    put_string(j->to, v);
}

void json_cstr(struct json_out *j, const char *key, const char *v)
{
    json_str(j, key, slice_cstr(v));
}

void json_i64(struct json_out *j, const char *key, int64_t v)
{
    before(j, key);
    put_i64(j->to, v);
}

void json_u64(struct json_out *j, const char *key, uint64_t v)
{
    before(j, key);
    buf_add_u64(j->to, v);
}

void json_f64(struct json_out *j, const char *key, double v)
{
    before(j, key);
    json_put_f64(j->to, v);
}

void json_bool(struct json_out *j, const char *key, bool v)
{
    before(j, key);
    buf_add_str(j->to, v ? "true" : "false");
}

void json_nil(struct json_out *j, const char *key)
{
    before(j, key);
    buf_add_str(j->to, "null");
}

void json_time(struct json_out *j, const char *key, int64_t wall_ns)
{
    char text[40];
    size_t n = time_print(wall_ns, text);
    json_str(j, key, slice_of(text, n));
}

void json_raw(struct json_out *j, const char *key, struct slice text)
{
    before(j, key);
    buf_add_slice(j->to, text);
}

/* Recursion ends: json_read() refuses what is deeper than DEPTH_MAX. */
static void put_value(struct buf *to, json_t *v)
{
    const char *sep = "";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_add_char(to, '{');
        for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
            buf_add_str(to, sep);
            put_string(to, slice_cstr(json_object_iter_key(it)));
            buf_add_char(to, ':');
            put_value(to, json_object_iter_value(it));
            sep = ",";
        }
        buf_add_char(to, '}');
        break;
    case JSON_ARRAY:
        buf_add_char(to, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            buf_add_str(to, i ? "," : "");
            put_value(to, json_array_get(v, i));
        }
        buf_add_char(to, ']');
        break;
    case JSON_STRING:
        put_string(to, slice_of(json_string_value(v), json_string_length(v)));
        break;
    case JSON_INTEGER:
        put_i64(to, (int64_t)json_integer_value(v));
        break;
    case JSON_REAL:
        json_put_f64(to, json_real_value(v));
        break;
    case JSON_TRUE:
        buf_add_str(to, "true");
        break;
    case JSON_FALSE:
        buf_add_str(to, "false");
        break;
    case JSON_NULL:
        buf_add_str(to, "null");
        break;
    }
}

void json_value(struct json_out *j, const char *key, json_t *v)
{
    before(j, key);
    if (v)
        put_value(j->to, v);
    else
        buf_add_str(j->to, "null");
}

void json_key_slice(struct json_out *j, struct slice key)
{
    before(j, NULL);
    put_string(j->to, key);
    buf_add_char(j->to, ':');
    j->comma = false;
}
