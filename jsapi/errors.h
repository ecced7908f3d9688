/* jsapi/errors.h -- the errors of the JetStream API: number, status, text
 *
 * errors.def has one line per error, named as in nats-server's errors.json. A text may hold places
 * in braces ("{err}"); js_fail() fills them. struct js_error is how an error travels from where it
 * is found to the answer: validation fills one, api_fail() and capture print it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_ERRORS_H
#define JSAPI_ERRORS_H

#include "base/json.h"

enum js_code {
    JS_NO_ERROR = 0,
#define E(err_code, status, name, text) name = err_code,
#include "jsapi/errors.def"
#undef E
};

struct js_error {
    enum js_code code; /* JS_NO_ERROR: all is well */
    int status;        /* HTTP-like */
    char text[512];    /* the description, places filled; longer ones are cut */
};

/* Fills e; fmt (NULL when the text has no places) prints what comes into the places; several are
 * parted by "\x1f". Returns false, so that checks can `return js_fail(…)`. */
bool js_fail(struct js_error *e, enum js_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The text as it stands in the table; NULL for a number that is not there. */
const char *js_error_text(enum js_code code);
int js_error_status(enum js_code code);
/* Writes "error":{"code":…,"err_code":…,"description":"…"}. */
void js_error_write(const struct js_error *e, struct json_out *out);

#endif
