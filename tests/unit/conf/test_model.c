/* tests/unit/conf/test_model.c -- random trees, written in random legal ways, read back and
 * compared
 *
 * The model is a tree of our own. Every round prints it anew: quotes or none, any separator, sizes
 * with suffixes, comments and blank lines in between, values moved into variables or an included
 * file. The seed is in the message of a failure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf.h"

#define ROUNDS 3000

struct value {
    enum conf_type type;
    struct slice key; /* in a map; ends in NUL */
    struct slice str;
    int64_t i;
    double f;
    bool b;
    struct value **kids;
    size_t n;
};

static uint64_t seed;
static bool line_begins; /* a block string has ended its line: no comma may follow */

static unsigned pick(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

/* --- the model ----------------------------------------------------------------------- */

static struct slice random_text(unsigned longest, bool plain)
{
    static const char all[] = "abzAZ09_-./:=#$%{}[](),;'\"\\ \t\n\r<>*\xc3\xa9\xff\x01";
    static const char tame[] = "abcXYZ_";
    unsigned n = 1 + pick(longest);
    char *text = xmalloc(n + 1);
    for (unsigned i = 0; i < n; i++)
        text[i] = plain ? tame[pick(sizeof tame - 1)] : all[pick(sizeof all - 1)];
    text[n] = 0;
    return slice_of(text, n);
}

static void free_value(struct value *v)
{
    for (size_t i = 0; i < v->n; i++)
        free_value(v->kids[i]);
    free((void *)(uintptr_t)v->key.p);
    free((void *)(uintptr_t)v->str.p);
    free(v->kids);
    free(v);
}

static struct value *random_value(unsigned depth)
{
    struct value *v = xcalloc(1, sizeof *v);
    v->type = (enum conf_type)(depth ? pick(7) : 2 + pick(5));
    v->i = (int64_t)pick(100000) - 50000;
    if (pick(4) == 0)
        v->i *= pick(2) ? 1000 : 1024;
    v->f = (double)v->i + (double)pick(64) / 64;
    v->b = pick(2);
    if (v->type == CONF_TIME)
        v->i = 1462388021 + (int64_t)pick(1000000);
    if (v->type == CONF_STRING && pick(10))
        v->str = random_text(12, pick(2));
    if (v->type != CONF_MAP && v->type != CONF_ARRAY)
        return v;
    v->n = pick(5);
    v->kids = xcalloc(v->n + 1, sizeof(struct value *));
    for (size_t i = 0; i < v->n; i++) {
        v->kids[i] = random_value(depth - 1);
        if (v->type == CONF_MAP) { /* numbered: no key twice */
            struct slice text = random_text(4, pick(4));
            char *key = xasprintf("k%zu%.*s", i, SLICE_FMT(text));
            free((void *)(uintptr_t)text.p);
            for (char *p = key; *p; p++) /* a key has no escapes: one kind of quote must do */
                if (*p == '"')
                    *p = '_';
            v->kids[i]->key = slice_cstr(key);
        }
    }
    return v;
}

/* --- printing ------------------------------------------------------------------------ */

static bool all_of(struct slice s, const char *set)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(set, s.p[i]))
            return false;
    return s.n > 0;
}

static bool has(struct slice s, char c)
{
    return slice_find(s, c) < s.n;
}

static void put_blank(struct buf *out)
{
    static const char *const blanks[] = {"", "", " ", "\t", "  "};
    buf_add_str(out, blanks[pick(ARRAY_LEN(blanks))]);
}

/* What may stand between two pairs of a map; the first of it ends the value before. */
static void put_gap(struct buf *out, bool in_array)
{
    static const char *const ends[] = {"\n", " # note\n", "\r\n", " // it's\n", ", ", ",\n", " ;"};
    if (!line_begins)
        buf_add_str(out, ends[pick(in_array ? 6 : 7)]);
    line_begins = false;
    while (pick(4) == 0)
        buf_add_str(out, pick(2) ? "\n  # another { [ \" '\n" : "\n\t\n");
}

static void put_escaped(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\t' && pick(2))
            buf_add_str(out, "\\t");
        else if (c == '\n' && pick(2))
            buf_add_str(out, "\\n");
        else if (c == '\r' && pick(2))
            buf_add_str(out, "\\r");
        else if (pick(10) == 0)
            buf_printf(out, pick(2) ? "\\x%02x" : "\\x%02X", c);
        else
            buf_add_char(out, (char)c);
    }
}

static void put_string(struct buf *out, struct slice s)
{
    static const char bare[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=<>*%";
    bool safe = all_of(s, bare) && ((s.p[0] | 0x20) >= 'a' && (s.p[0] | 0x20) <= 'z') &&
                !slice_ieq(s, SLICE("true")) && !slice_ieq(s, SLICE("on")) &&
                !slice_ieq(s, SLICE("yes")) && !slice_ieq(s, SLICE("no")) &&
                !slice_ieq(s, SLICE("off")) && !slice_ieq(s, SLICE("false"));
    if (safe && pick(2)) {
        buf_add_slice(out, s);
    } else if (!has(s, '\'') && pick(2)) {
        buf_add_char(out, '\'');
        buf_add_slice(out, s);
        buf_add_char(out, '\'');
    } else if (s.n && s.p[0] == '\n' && s.p[s.n - 1] == '\n' && s.n > 1 && !has(s, ')')) {
        buf_add_char(out, '(');
        buf_add_slice(out, s);
        buf_add_str(out, ")\n");
        line_begins = true;
    } else {
        buf_add_char(out, '"');
        put_escaped(out, s);
        buf_add_char(out, '"');
    }
}

static void put_key(struct buf *out, struct slice key)
{
    bool tame = all_of(key, "kabcXYZ_0123456789");
    if (tame && pick(2)) {
        buf_add_slice(out, key);
    } else {
        char quote = has(key, '\'') ? '"' : '\'';
        buf_add_char(out, quote);
        buf_add_slice(out, key);
        buf_add_char(out, quote);
    }
}

static void put_time(struct buf *out, int64_t at)
{
    struct tm tm;
    time_t t = (time_t)at;
    char text[32];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_add_str(out, text);
}

static void put_value(struct buf *out, const struct value *v);

static void put_kids(struct buf *out, const struct value *v)
{
    static const char *const seps[] = {" ", "=", ":", " = ", ": ", "\t:\t"};
    for (size_t i = 0; i < v->n; i++) {
        if (v->type == CONF_MAP) {
            put_key(out, v->kids[i]->key);
            buf_add_str(out, seps[pick(ARRAY_LEN(seps))]);
        }
        put_value(out, v->kids[i]);
        if (i + 1 < v->n || pick(2))
            put_gap(out, v->type == CONF_ARRAY);
    }
}

static void put_value(struct buf *out, const struct value *v)
{
    line_begins = false;
    static const char *const yes[] = {"true", "YES", "On"}, *const no[] = {"False", "no", "oFF"};
    switch (v->type) {
    case CONF_MAP:
    case CONF_ARRAY:
        buf_add_char(out, v->type == CONF_MAP ? '{' : '[');
        put_blank(out);
        put_kids(out, v);
        buf_add_str(out, v->type == CONF_MAP ? " }" : " ]");
        line_begins = false;
        break;
    case CONF_STRING:
        put_string(out, v->str);
        break;
    case CONF_INT:
        if (v->i % 1024 == 0 && pick(2))
            buf_printf(out, "%lld%s", (long long)v->i / 1024, pick(2) ? "KiB" : "kb");
        else if (v->i % 1000 == 0 && pick(2))
            buf_printf(out, "%lldk", (long long)v->i / 1000);
        else
            buf_printf(out, "%lld", (long long)v->i);
        break;
    case CONF_FLOAT:
        buf_printf(out, "%.6f", v->f);
        break;
    case CONF_BOOL:
        buf_add_str(out, v->b ? yes[pick(3)] : no[pick(3)]);
        break;
    case CONF_TIME:
        put_time(out, v->i);
        break;
    }
}

/* --- comparing ----------------------------------------------------------------------- */

static bool same(const struct value *v, const struct conf_node *n);

static bool same_kids(const struct value *v, const struct conf_node *n, size_t skip)
{
    const struct conf_node *kid = conf_first(n);
    while (skip-- && kid)
        kid = kid->next;
    for (size_t i = 0; i < v->n; i++, kid = kid->next) {
        if (!kid || !same(v->kids[i], kid))
            return false;
        if (v->type == CONF_MAP && !slice_is(v->kids[i]->key, kid->key))
            return false;
    }
    return kid == NULL;
}

static bool same(const struct value *v, const struct conf_node *n)
{
    if (v->type != n->type)
        return false;
    switch (v->type) {
    case CONF_MAP:
    case CONF_ARRAY:
        return same_kids(v, n, 0);
    case CONF_STRING:
        return slice_eq(v->str, n->u.str);
    case CONF_INT:
        return v->i == n->u.i;
    case CONF_FLOAT:
        return v->f == n->u.f;
    case CONF_BOOL:
        return v->b == n->u.b;
    case CONF_TIME:
        return v->i * 1000000000 == n->u.time_ns;
    }
    return false;
}

/* --- rounds -------------------------------------------------------------------------- */

static int load_included(void *arg, const char *path, char **text, size_t *n)
{
    const struct buf *b = arg;
    assert_string_equal(path, "dir/part.conf");
    *n = b->len;
    *text = xmalloc(b->len + 1);
    memcpy(*text, buf_slice(b).p ? buf_slice(b).p : "", b->len);
    return 0;
}

/* Prints the tree; some of the top goes into variables in front, some into an included file.
 * Returns how many variables there are. */
static size_t print_file(const struct value *v, struct buf *out, struct buf *part)
{
    size_t variables = 0, cut = pick(3) ? v->n : pick((unsigned)v->n + 1);
    struct value head = {.type = CONF_MAP, .kids = v->kids, .n = cut};
    struct value tail = {.type = CONF_MAP, .kids = v->kids + cut, .n = v->n - cut};
    bool braces = pick(4) == 0;
    struct buf body = BUF_INIT;
    if (pick(3) == 0 && head.n) { /* the last of the head through a variable */
        struct value *last = head.kids[head.n - 1];
        buf_add_str(out, "var = ");
        put_value(out, last);
        buf_add_str(out, "\n");
        head.n--;
        put_kids(&body, &head);
        buf_add_char(&body, '\n');
        put_key(&body, last->key);
        buf_add_str(&body, ": $var");
        variables = 1;
    } else {
        put_kids(&body, &head);
    }
    if (tail.n) {
        buf_add_str(&body, pick(2) ? "\ninclude 'part.conf'" : "\nINCLUDE part.conf");
        put_kids(part, &tail);
    }
    if (braces && !variables)
        buf_add_str(out, "{ ");
    buf_add_slice(out, buf_slice(&body));
    if (braces && !variables)
        buf_add_str(out, pick(2) ? "}" : "\n}\n");
    else if (pick(2))
        buf_add_char(out, '\n');
    buf_release(&body);
    return variables;
}

static void random_trees_survive_random_spelling(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        seed = round * 7919;
        struct buf text = BUF_INIT, part = BUF_INIT;
        struct conf_doc *doc;
        struct conf_error err;
        struct value *v = random_value(4);
        while (v->type != CONF_MAP) {
            free_value(v);
            v = random_value(4);
        }
        size_t variables = print_file(v, &text, &part);
        struct conf_env env = {.load = load_included, .arg = &part};
        int rc = conf_parse_text(buf_slice(&text), "dir/main.conf", &env, &doc, &err);
        if (rc < 0 || !same_kids(v, conf_root(doc), variables))
            fail_msg("round %llu: %s\n%s\n--- part.conf\n%s", (unsigned long long)round,
                     rc < 0 ? err.text : "differs", buf_cstr(&text), buf_cstr(&part));
        conf_free(doc);
        free_value(v);
        buf_release(&text);
        buf_release(&part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_trees_survive_random_spelling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
