/* scenario/words.c -- see words.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "scenario/words.h"

#include <ctype.h>

#include "base/json.h"
#include "base/mem.h"

void catches_release(struct catches *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->at[i].name);
        free(c->at[i].value);
    }
    free(c->at);
    *c = (struct catches){0};
}

static const char *caught(const struct catches *c, struct slice name)
{
    for (size_t i = 0; i < c->n; i++)
        if (slice_is(name, c->at[i].name))
            return c->at[i].value;
    return NULL;
}

static bool carries_payload(struct slice verb)
{
    const char *const verbs[] = {"PUB", "HPUB", "MSG", "HMSG", "LMSG"};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (slice_is(verb, verbs[i]))
            return true;
    return false;
}

static bool has_headers(struct slice verb)
{
    return slice_starts(verb, SLICE("H"));
}

/* Where the payload begins: a quote, { or [ after a blank; n: there is none (an -ERR quotes, too).
 */
static size_t payload_at(struct slice line)
{
    if (slice_starts(line, SLICE("-ERR")))
        return line.n;
    for (size_t i = 1; i < line.n; i++)
        if (line.p[i - 1] == ' ' && strchr("\"{[", line.p[i]))
            return i;
    return line.n;
}

static void unquote(struct slice q, struct buf *out)
{
    for (size_t i = 1; i + 1 < q.n; i++) {
        char c = q.p[i];
        if (c != '\\') {
            buf_add_char(out, c);
            continue;
        }
        c = q.p[++i];
        if (c == 'x' && i + 2 < q.n) {
            char hex[3] = {q.p[i + 1], q.p[i + 2], 0};
            buf_add_char(out, (char)strtoul(hex, NULL, 16));
            i += 2;
        } else {
            buf_add_char(out, c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c);
        }
    }
}

static bool is_number(struct slice s) /* also one that is too large */
{
    for (size_t i = 0; i < s.n; i++)
        if (!isdigit((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

/* "<name>" anywhere in the line becomes what was caught. */
static bool substitute(struct slice line, const struct catches *c, struct buf *out)
{
    while (line.n) {
        size_t at = slice_find(line, '<');
        struct slice rest = slice_skip(line, at);
        size_t end = slice_find(rest, '>');
        bool name = end > 1 && end < rest.n;
        for (size_t i = 1; name && i < end; i++)
            name = isalnum((unsigned char)rest.p[i]);
        if (at == line.n || !name) {
            size_t take = at < line.n ? at + 1 : line.n;
            buf_add(out, line.p, take);
            line = slice_skip(line, take);
            continue;
        }
        const char *value = caught(c, slice_of(rest.p + 1, end - 1));
        if (!value)
            return false;
        buf_add(out, line.p, at);
        buf_add_str(out, value);
        line = slice_skip(rest, end + 1);
    }
    return true;
}

static void add_sizes(struct buf *out, struct slice verb, struct slice head, struct slice payload)
{
    struct slice rest = head, token, last = {0};
    while (slice_token(&rest, &token))
        last = token;
    if (is_number(last))
        return; /* written by hand, right or wrong */
    if (has_headers(verb)) {
        size_t n = slice_search(payload, SLICE("\r\n\r\n"));
        buf_printf(out, " %zu", n < payload.n ? n + 4 : payload.n);
    }
    buf_printf(out, " %zu", payload.n);
}

bool words_say(struct slice line, const struct catches *c, struct buf *out)
{
    struct buf text = BUF_INIT, payload = BUF_INIT;
    bool ok = substitute(line, c, &text);
    struct slice whole = buf_slice(&text), rest = whole, verb = {0};
    if (!slice_token(&rest, &verb) || !carries_payload(verb)) {
        buf_add_slice(out, whole);
        buf_add(out, "\r\n", 2);
    } else {
        size_t at = payload_at(whole);
        struct slice head = slice_trim(slice_head(whole, at)), p = slice_skip(whole, at);
        if (p.n && p.p[0] == '"')
            unquote(p, &payload);
        else
            buf_add_slice(&payload, p);
        buf_add_slice(out, head);
        add_sizes(out, verb, head, buf_slice(&payload));
        buf_add(out, "\r\n", 2);
        buf_add_slice(out, buf_slice(&payload));
        buf_add(out, "\r\n", 2);
    }
    buf_release(&text);
    buf_release(&payload);
    return ok;
}

size_t words_next(struct slice heard, struct slice *head, struct slice *payload)
{
    size_t at = slice_search(heard, SLICE("\r\n"));
    struct slice rest, token, last = {0};
    uint64_t n;
    if (at == heard.n)
        return 0;
    *head = slice_trim(slice_head(heard, at));
    *payload = slice_of(NULL, 0);
    rest = *head;
    if (!slice_token(&rest, &token) || !carries_payload(token))
        return at + 2;
    while (slice_token(&rest, &token))
        last = token;
    if (slice_u64(last, &n) != 0 || heard.n < at + 2 + n + 2)
        return 0;
    *payload = slice_of(heard.p + at + 2, n);
    return at + 2 + n + 2;
}

/* --- comparing ---------------------------------------------------------------------------------
 */

static bool json_contains(json_t *want, json_t *have)
{
    const char *key;
    json_t *w;
    size_t i;
    if (json_is_string(want) && strcmp(json_string_value(want), "*") == 0)
        return json_is_string(have);
    if (json_is_object(want)) {
        json_object_foreach(want, key, w)
        {
            json_t *h = json_object_get(have, key);
            if (!h || !json_contains(w, h))
                return false;
        }
        return json_is_object(have);
    }
    if (json_is_array(want)) {
        json_array_foreach(want, i, w) if (!json_contains(w, json_array_get(have, i))) return false;
        return json_array_size(want) == json_array_size(have);
    }
    return json_equal(want, have);
}

static bool json_matches(struct slice want, struct slice have)
{
    json_t *w = NULL, *h = NULL;
    bool same =
        json_read(want, &w, NULL) == 0 && json_read(have, &h, NULL) == 0 && json_contains(w, h);
    json_free(w);
    json_free(h);
    return same;
}

static bool token_matches(struct slice want, struct slice have, struct catches *c)
{
    if (slice_is(want, "*"))
        return true;
    if (want.n < 3 || want.p[0] != '<' || want.p[want.n - 1] != '>')
        return slice_eq(want, have);
    struct slice name = slice_of(want.p + 1, want.n - 2);
    const char *value = caught(c, name);
    if (value)
        return slice_is(have, value);
    c->at = xrealloc(c->at, (c->n + 1) * sizeof *c->at);
    c->at[c->n++] = (struct catch){slice_dup(name), slice_dup(have)};
    return true;
}

static bool payload_matches(struct slice want, struct slice have)
{
    struct buf text = BUF_INIT;
    if (want.n == 0)
        return have.n == 0;
    if (want.p[0] != '"')
        return json_matches(want, have);
    unquote(want, &text);
    bool same = slice_eq(buf_slice(&text), have);
    buf_release(&text);
    return same;
}

bool words_match(struct slice line, struct slice head, struct slice payload, struct catches *c)
{
    size_t at = payload_at(line);
    struct slice want = slice_trim(slice_head(line, at)), p = slice_skip(line, at), w, h,
                 verb = head;
    if (!slice_token(&want, &w) || !slice_token(&head, &h) || !slice_eq(w, h))
        return false;
    bool sized = carries_payload(h);
    verb = h;
    for (;;) {
        bool more_w = slice_token(&want, &w), more_h = slice_token(&head, &h);
        if (!more_w && !more_h)
            return sized ? payload_matches(p, payload) : p.n == 0;
        if (!more_w && sized) { /* only sizes may be left out */
            bool two = slice_token(&head, &w);
            return is_number(h) && two == has_headers(verb) && payload_matches(p, payload);
        }
        if (!more_w && !sized && p.n) /* INFO {…} */
            return json_matches(p, slice_of(h.p, h.n + head.n));
        if (!more_w || !more_h || !token_matches(w, h, c))
            return false;
    }
}
