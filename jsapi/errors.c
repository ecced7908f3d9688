/* jsapi/errors.c -- see errors.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/errors.h"

#include <stdarg.h>

#include "base/mem.h"

static const struct {
    int code, status;
    const char *text;
} table[] = {
#define E(err_code, status, name, text) {err_code, status, text},
#include "jsapi/errors.def"
#undef E
};

static int row_of(int code)
{
    int lo = 0, hi = (int)ARRAY_LEN(table) - 1;

    while (lo <= hi) {
        int mid = (lo + hi) / 2;
        if (table[mid].code == code)
            return mid;
        if (table[mid].code < code)
            lo = mid + 1;
        else
            hi = mid - 1;
    }
    return -1;
}

const char *js_error_text(enum js_code code)
{
    int row = row_of((int)code);
    return row >= 0 ? table[row].text : NULL;
}

int js_error_status(enum js_code code)
{
    int row = row_of((int)code);
    return row >= 0 ? table[row].status : 500;
}

/* Copies text to out; each {place} is replaced by the next \x1f-separated piece of args. */
static void fill(const char *text, const char *args, char *out, size_t room)
{
    size_t n = 0;

    while (*text && n + 1 < room) {
        if (*text != '{' || !args) {
            out[n++] = *text++;
            continue;
        }
        while (*args && *args != '\x1f' && n + 1 < room)
            out[n++] = *args++;
        if (*args == '\x1f')
            args++;
        while (*text && *text != '}')
            text++;
        if (*text)
            text++;
    }
    out[n] = 0;
}

bool js_fail(struct js_error *e, enum js_code code, const char *fmt, ...)
{
    char args[sizeof e->text];
    const char *text = js_error_text(code);
    va_list ap;

    ASSERT(text);
    e->code = code;
    e->status = js_error_status(code);
    args[0] = 0;
    if (fmt) {
        va_start(ap, fmt);
        (void)vsnprintf(args, sizeof args, fmt, ap);
        va_end(ap);
    }
    fill(text, fmt ? args : NULL, e->text, sizeof e->text);
    return false;
}

void js_error_write(const struct js_error *e, struct json_out *out)
{
    json_obj(out, "error");
    json_i64(out, "code", e->status);
    json_i64(out, "err_code", (int)e->code);
    json_cstr(out, "description", e->text);
    json_end(out);
}
