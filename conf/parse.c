/* conf/parse.c -- items -> tree; variables and includes
 *
 * The parser keeps two stacks. `open` holds the maps and arrays that are not closed yet, the
 * document's root at the bottom; `keys` holds the keys that still wait for their value. A finished
 * value goes to the innermost open container; a map takes the newest waiting key for it. (Two
 * stacks, because in "a { b: }" the key b finds no value and then names the map, as in the
 * reference server.)
 *
 *     authorization { users: [ { user: $U
 *     open:  root, map, array, map        keys: authorization, users, user
 *
 * A $VARIABLE is looked up among the keys already in the open maps, innermost first, then in the
 * environment, whose text is parsed as if it were "pk=TEXT" by a parser of its own. An included
 * file has a parser of its own as well, in the same document; its keys move into the map that
 * includes it.
 *
 * What always holds: a node is complete before it is found by tree_find(); weight of a node counts
 * everything below it once per reference, so whoever walks the tree is bounded by weight_max.
 *
 * Failure: the first error ends everything; its text is in p->err.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conf/lex.h"
#include "conf/tree.h"

#define ENV_KEY   "pk"
#define ENV_DEPTH 32 /* variables that name variables that name … */

/* A key that waits for its value. */
struct waiting_key {
    const char *key;
    int line, col;
};

/* What all parsers of one document share. */
struct reading {
    struct conf_doc *doc;
    struct conf_env env;  /* with the defaults filled in */
    struct tree_index ix; /* keys of all maps */
    struct conf_error *err;
    unsigned includes; /* files inside each other now */
};

/* The chain of variables whose text is being parsed: meeting one again is a cycle. */
struct env_name {
    struct slice name;
    const struct env_name *up;
};

struct parser {
    struct reading *r;
    struct lexer lx;
    const char *file;           /* as positions show it, in the arena */
    const struct env_name *via; /* not NULL while this parser reads the environment */
    struct buf open;            /* struct conf_node *, innermost last */
    struct buf keys;            /* struct waiting_key, newest last */
    int var_line, var_col;      /* inside the environment: where the variable was used */
    const char *var_file;
};

static int parse(struct parser *p, struct slice text, struct conf_node *root);

/* --- small things -------------------------------------------------------------------- */

static int fail(struct parser *p, int err, int line, int col, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static int fail(struct parser *p, int err, int line, int col, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(p->r->err->text, sizeof p->r->err->text, fmt, ap);
    va_end(ap);
    p->r->err->line = line;
    p->r->err->col = col;
    return err;
}

static int too_big(struct parser *p, int line)
{
    return fail(p, E_TOOBIG, line, 0, "Parse error on line %d: 'The configuration is too large.'",
                line);
}

static struct conf_node *innermost(struct parser *p)
{
    struct conf_node *n;
    memcpy(&n, p->open.data + p->open.start + p->open.len - sizeof n, sizeof n);
    return n;
}

static struct waiting_key newest_key(struct parser *p)
{
    struct waiting_key k;
    ASSERT(p->keys.len >= sizeof k); /* the lexer never gives a map a value without a key */
    p->keys.len -= sizeof k;
    memcpy(&k, p->keys.data + p->keys.start + p->keys.len, sizeof k);
    return k;
}

/* The finished node joins the innermost container. */
static int add(struct parser *p, const struct lex_item *item, const struct conf_node *value)
{
    struct conf_node *parent = innermost(p);
    struct conf_node *n = arena_alloc(&p->r->doc->arena, sizeof *n);
    if (!n)
        return too_big(p, item->line);
    *n = *value;
    n->key = NULL;
    n->used = false;
    n->next = NULL;
    n->file = p->file;
    n->line = item->line;
    n->col = item->col;
    if (parent->type == CONF_MAP) {
        struct waiting_key k = newest_key(p);
        n->key = k.key;
        n->line = k.line;
        n->col = k.col;
    }
    if (p->via) {
        n->file = p->var_file;
        n->line = p->var_line;
        n->col = p->var_col;
    }
    parent->weight += 1 + n->weight;
    if (parent->weight > p->r->env.weight_max)
        return too_big(p, item->line);
    return tree_add(p->r->doc, &p->r->ix, parent, n) < 0 ? too_big(p, item->line) : 0;
}

/* --- values -------------------------------------------------------------------------- */

static uint64_t size_factor(struct slice suffix)
{
    static const char letters[] = "kmgtpe";
    uint64_t factor = 1, base = suffix.n == 1 ? 1000 : 1024;
    char text[4] = {0};
    if (suffix.n == 0)
        return 1;
    if (suffix.n > 3)
        return 0;
    for (size_t i = 0; i < suffix.n; i++)
        text[i] = (char)(suffix.p[i] | 0x20);
    if (suffix.n > 1 && strcmp(text + 1, "b") != 0 && strcmp(text + 1, "i") != 0 &&
        strcmp(text + 1, "ib") != 0)
        return 0;
    const char *at = strchr(letters, text[0]);
    for (const char *l = letters; at && l <= at; l++)
        factor *= base;
    return at ? factor : 0;
}

static int add_int(struct parser *p, const struct lex_item *item)
{
    struct slice t = item->text;
    size_t digits = 0;
    int64_t n;
    while (digits < t.n && (t.p[digits] == '-' || (t.p[digits] >= '0' && t.p[digits] <= '9')))
        digits++;
    int rc = slice_i64(slice_head(t, digits), &n);
    uint64_t factor = size_factor(slice_skip(t, digits));
    if (rc == E_RANGE)
        return fail(p, E_SYNTAX, item->line, item->col, "integer '%.*s' is out of the range",
                    SLICE_FMT(t));
    if (rc < 0 || factor == 0)
        return fail(p, E_SYNTAX, item->line, item->col, "expected integer, but got '%.*s'",
                    SLICE_FMT(t));
    /* Beyond 64 bits the product wraps round, as it does in the reference. */
    struct conf_node v = {.type = CONF_INT, .u.i = (int64_t)((uint64_t)n * factor)};
    return add(p, item, &v);
}

static int add_float(struct parser *p, const struct lex_item *item)
{
    struct conf_node v = {.type = CONF_FLOAT};
    char *text = slice_dup(item->text);
    v.u.f = strtod(text, NULL);
    free(text);
    if (isinf(v.u.f))
        return fail(p, E_SYNTAX, item->line, item->col, "float '%.*s' is out of the range",
                    SLICE_FMT(item->text));
    return add(p, item, &v);
}

static int add_time(struct parser *p, const struct lex_item *item)
{
    struct conf_node v = {.type = CONF_TIME};
    if (time_parse(item->text.p, item->text.n, &v.u.time_ns) < 0)
        return fail(p, E_SYNTAX, item->line, item->col,
                    "expected Zulu formatted DateTime, but got '%.*s'", SLICE_FMT(item->text));
    return add(p, item, &v);
}

static int add_string(struct parser *p, const struct lex_item *item, struct slice text)
{
    struct conf_node v = {.type = CONF_STRING, .u.str = arena_dup(&p->r->doc->arena, text)};
    return v.u.str.p ? add(p, item, &v) : too_big(p, item->line);
}

static int add_bool(struct parser *p, const struct lex_item *item)
{
    bool yes = slice_ieq(item->text, SLICE("true")) || slice_ieq(item->text, SLICE("yes")) ||
               slice_ieq(item->text, SLICE("on"));
    struct conf_node v = {.type = CONF_BOOL, .u.b = yes};
    return add(p, item, &v);
}

static int open_container(struct parser *p, const struct lex_item *item)
{
    struct conf_node *n = arena_alloc(&p->r->doc->arena, sizeof *n);
    if (!n)
        return too_big(p, item->line);
    n->type = item->type == LEX_MAP_START ? CONF_MAP : CONF_ARRAY;
    buf_add(&p->open, &n, sizeof n);
    return 0;
}

static int close_container(struct parser *p, const struct lex_item *item)
{
    struct conf_node *n = innermost(p);
    p->open.len -= sizeof n;
    return add(p, item, n);
}

static int wait_for_value(struct parser *p, const struct lex_item *item)
{
    struct waiting_key k = {.line = item->line, .col = item->col};
    struct slice key = arena_dup(&p->r->doc->arena, item->text);
    if (!key.p)
        return too_big(p, item->line);
    k.key = key.p;
    buf_add(&p->keys, &k, sizeof k);
    return 0;
}

/* --- variables ----------------------------------------------------------------------- */

static struct conf_node *find_above(struct parser *p, struct slice name)
{
    for (size_t at = p->open.len; at > 0; at -= sizeof(struct conf_node *)) {
        struct conf_node *map;
        memcpy(&map, p->open.data + p->open.start + at - sizeof map, sizeof map);
        struct conf_node *n = map->type == CONF_MAP ? tree_find(&p->r->ix, map, name) : NULL;
        if (n)
            return n;
    }
    return NULL;
}

static int not_parsed(struct parser *p, const struct lex_item *item, struct slice name,
                      const char *why)
{
    return fail(p, E_SYNTAX, item->line, item->col,
                "variable reference for '%.*s' on line %d could not be parsed: %s", SLICE_FMT(name),
                item->line, why);
}

/* Parses the text of an environment variable. *found stays NULL when there is none. */
static int from_environment(struct parser *p, const struct lex_item *item, struct slice name,
                            struct conf_node **found)
{
    struct env_name here = {name, p->via};
    unsigned depth = 0;
    for (const struct env_name *e = p->via; e; e = e->up, depth++) {
        if (slice_eq(e->name, name) || depth >= ENV_DEPTH) {
            char why[300];
            (void)snprintf(why, sizeof why, "variable reference cycle for '%.*s'", SLICE_FMT(name));
            return not_parsed(p, item, name, why);
        }
    }
    const char *text = p->r->env.lookup(p->r->env.arg, name.p);
    struct conf_node *root;
    if (!text)
        return 0;
    root = arena_alloc(&p->r->doc->arena, sizeof *root);
    if (!root)
        return too_big(p, item->line);
    root->type = CONF_MAP;
    struct parser sub = {.r = p->r, .file = "", .via = &here};
    sub.var_line = p->via ? p->var_line : item->line;
    sub.var_col = p->via ? p->var_col : item->col;
    sub.var_file = p->via ? p->var_file : p->file;
    struct buf line = BUF_INIT;
    buf_printf(&line, ENV_KEY "=%s", text);
    int rc = parse(&sub, buf_slice(&line), root);
    buf_release(&line);
    if (rc == E_SYNTAX) {
        char why[sizeof p->r->err->text];
        memcpy(why, p->r->err->text, sizeof why);
        return not_parsed(p, item, name, why);
    }
    *found = rc < 0 ? NULL : tree_find(&p->r->ix, root, SLICE(ENV_KEY));
    return rc;
}

static int add_variable(struct parser *p, const struct lex_item *item)
{
    struct slice name =
        arena_dup(&p->r->doc->arena, item->text); /* the lexer's goes with the next item */
    if (!name.p)
        return too_big(p, item->line);
    if (slice_starts(name, SLICE("2a$"))) { /* a bcrypt hash without quotes */
        char *text = xasprintf("$%s", name.p);
        int rc = add_string(p, item, slice_cstr(text));
        free(text);
        return rc;
    }
    struct conf_node *n = find_above(p, name);
    if (!n) {
        int rc = from_environment(p, item, name, &n);
        if (rc < 0)
            return rc;
    }
    if (!n)
        return fail(p, E_SYNTAX, item->line, item->col,
                    "variable reference for '%.*s' on line %d can not be found", SLICE_FMT(name),
                    item->line);
    n->used = true;
    return add(p, item, n);
}

/* --- include ------------------------------------------------------------------------- */

/* The file's directory and the path, joined and tidied: "a/./b//../c" is "a/c". An absolute path is
 * joined too. */
static char *join(const char *file, struct slice path)
{
    struct buf out = BUF_INIT;
    const char *slash = strrchr(file, '/');
    char *all = slash ? xasprintf("%.*s/%.*s", (int)(slash - file), file, SLICE_FMT(path))
                      : slice_dup(path);
    bool absolute = slash && file[0] == '/';
    struct slice rest = slice_cstr(all);
    size_t floor = 0; /* what ".." can't take away */
    if (absolute)
        buf_add_char(&out, '/'), floor = 1;
    while (rest.n) {
        struct slice part = slice_head(rest, slice_find(rest, '/'));
        rest = slice_skip(rest, part.n + 1);
        if (part.n == 0 || slice_is(part, "."))
            continue;
        if (slice_is(part, "..") && out.len > floor) {
            while (out.len > floor && out.data[out.start + out.len - 1] != '/')
                out.len--;
            if (out.len > floor)
                out.len--;
            continue;
        }
        if (slice_is(part, "..") && absolute)
            continue;
        if (out.len > floor || (out.len && !absolute))
            buf_add_char(&out, '/');
        buf_add_slice(&out, part);
        if (slice_is(part, ".."))
            floor = out.len;
    }
    if (out.len == 0)
        buf_add_char(&out, '.');
    free(all);
    return buf_steal(&out);
}

static int read_file(void *arg, const char *path, char **text, size_t *n)
{
    size_t max = *n, got = 0, room = 4096;
    struct stat st;
    (void)arg;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return E_NOTFOUND;
    int rc = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? E_IO : 0;
    if (rc < 0)
        errno = EISDIR;
    char *data = rc == 0 ? xmalloc(room) : NULL;
    while (rc == 0) {
        ssize_t more = read(fd, data + got, room - got);
        if (more < 0 && errno == EINTR)
            continue;
        if (more <= 0) {
            rc = more < 0 ? E_IO : 0;
            break;
        }
        got += (size_t)more;
        if (got > max)
            rc = E_TOOBIG;
        else if (got == room)
            data = xrealloc(data, room *= 2);
    }
    int saved = errno;
    close(fd);
    errno = saved;
    if (rc < 0) {
        free(data);
        return rc;
    }
    *text = data;
    *n = got;
    return 0;
}

/* Loads one file and parses it into root. Messages are those of Go's os.ReadFile. */
static int parse_path(struct parser *p, const char *path, struct conf_node *root)
{
    char *text = NULL, why[128];
    size_t n = p->r->env.size_max;
    int rc = p->r->env.load(p->r->env.arg, path, &text, &n);
    if (rc == E_TOOBIG)
        return fail(p, rc, 0, 0, "read %s: file too large", path);
    if (rc < 0) {
        const char *said = strerror_r(errno, why, sizeof why); /* Go begins these in lower case */
        if (said != why)
            (void)snprintf(why, sizeof why, "%s", said);
        why[0] = (char)(why[0] >= 'A' && why[0] <= 'Z' ? why[0] | 0x20 : why[0]);
        return fail(p, E_IO, 0, 0, "%s %s: %s", rc == E_NOTFOUND ? "open" : "read", path, why);
    }
    p->file = path;
    rc = parse(p, slice_of(text, n), root);
    free(text);
    return rc;
}

/* The children of an included file move into the innermost map, positions and all. */
static int merge(struct parser *p, struct conf_node *from, int line)
{
    struct conf_node *into = innermost(p), *next;
    for (struct conf_node *n = from->u.kids.first; n; n = next) {
        next = n->next;
        into->weight += 1 + n->weight;
        if (into->weight > p->r->env.weight_max || tree_add(p->r->doc, &p->r->ix, into, n) < 0)
            return too_big(p, line);
    }
    return 0;
}

static int include(struct parser *p, const struct lex_item *item)
{
    struct arena *arena = &p->r->doc->arena;
    char *joined = join(p->file, item->text);
    struct slice path = arena_dup(arena, slice_cstr(joined)),
                 as_written = arena_dup(arena, item->text);
    struct conf_node *root = arena_alloc(arena, sizeof *root);
    int rc = 0;
    free(joined);
    if (!path.p || !as_written.p || !root)
        return too_big(p, item->line);
    root->type = CONF_MAP;
    struct parser sub = {.r = p->r};
    if (p->r->includes >= p->r->env.include_max) {
        rc = fail(p, E_SYNTAX, item->line, item->col, "too many files include each other");
    } else {
        p->r->includes++;
        rc = parse_path(&sub, path.p, root);
        p->r->includes--;
    }
    if (rc < 0) {
        char why[sizeof p->r->err->text];
        memcpy(why, p->r->err->text, sizeof why);
        return fail(p, rc, item->line, item->col, "error parsing include file '%.*s', %s",
                    SLICE_FMT(as_written), why);
    }
    return merge(p, root, item->line);
}

/* --- the parser ---------------------------------------------------------------------- */

static int take(struct parser *p, const struct lex_item *item)
{
    switch (item->type) {
    case LEX_EOF:
        return 0;
    case LEX_ERROR:
        return fail(p, E_SYNTAX, item->line, item->col, "Parse error on line %d: '%.*s'",
                    item->line, SLICE_FMT(item->text));
    case LEX_KEY:
        return wait_for_value(p, item);
    case LEX_STRING:
        return add_string(p, item, item->text);
    case LEX_BOOL:
        return add_bool(p, item);
    case LEX_INT:
        return add_int(p, item);
    case LEX_FLOAT:
        return add_float(p, item);
    case LEX_TIME:
        return add_time(p, item);
    case LEX_VARIABLE:
        return add_variable(p, item);
    case LEX_INCLUDE:
        return include(p, item);
    case LEX_MAP_START:
    case LEX_ARRAY_START:
        return open_container(p, item);
    case LEX_MAP_END:
    case LEX_ARRAY_END:
        return close_container(p, item);
    }
    return 0;
}

static int parse(struct parser *p, struct slice text, struct conf_node *root)
{
    struct lex_item item;
    bool after_key =
        false; /* a stray "}" at the very end of the file reads as a key, and is forgiven */
    int rc = 0;
    lex_init(&p->lx, text, p->r->env.depth_max);
    buf_add(&p->open, &root, sizeof root);
    do {
        lex_next(&p->lx, &item);
        if (item.type == LEX_EOF && after_key)
            rc = fail(p, E_SYNTAX, item.line, item.col, "config is invalid (%s:%d:%d)", p->file,
                      item.line, item.col);
        else
            rc = take(p, &item);
        after_key = item.type == LEX_KEY && !slice_is(item.text, "}");
    } while (rc == 0 && item.type != LEX_EOF);
    lex_release(&p->lx);
    buf_release(&p->open);
    buf_release(&p->keys);
    return rc;
}

/* --- the door ------------------------------------------------------------------------ */

static const char *from_process(void *arg, const char *name)
{
    (void)arg;
    return getenv(name);
}

static void begin(struct reading *r, const struct conf_env *env, struct conf_error *err)
{
    *r = (struct reading){.err = err};
    memset(err, 0, sizeof *err);
    if (env)
        r->env = *env;
    if (!r->env.lookup)
        r->env.lookup = from_process;
    if (!r->env.load)
        r->env.load = read_file;
    if (!r->env.size_max)
        r->env.size_max = 16u << 20;
    if (!r->env.total_max)
        r->env.total_max = 256u << 20;
    if (!r->env.depth_max)
        r->env.depth_max = 200;
    if (!r->env.include_max)
        r->env.include_max = 16;
    if (!r->env.weight_max)
        r->env.weight_max = 4u << 20;
    r->doc = xcalloc(1, sizeof *r->doc);
    arena_init(&r->doc->arena, r->env.total_max);
    r->doc->root.type = CONF_MAP;
    tree_index_init(&r->ix);
}

static int end(struct reading *r, int rc, struct conf_doc **doc)
{
    tree_index_release(&r->ix);
    if (rc < 0) {
        conf_free(r->doc);
        r->doc = NULL;
    }
    *doc = r->doc;
    return rc;
}

int conf_parse_file(const char *path, const struct conf_env *env, struct conf_doc **doc,
                    struct conf_error *err)
{
    struct reading r;
    begin(&r, env, err);
    struct parser p = {.r = &r};
    struct slice name = arena_dup(&r.doc->arena, slice_cstr(path));
    int rc = name.p ? parse_path(&p, name.p, &r.doc->root) : too_big(&p, 0);
    return end(&r, rc, doc);
}

int conf_parse_text(struct slice text, const char *name, const struct conf_env *env,
                    struct conf_doc **doc, struct conf_error *err)
{
    struct reading r;
    begin(&r, env, err);
    struct parser p = {.r = &r};
    struct slice file = arena_dup(&r.doc->arena, slice_cstr(name));
    p.file = file.p;
    int rc = file.p && text.n <= r.env.size_max ? parse(&p, text, &r.doc->root) : too_big(&p, 0);
    return end(&r, rc, doc);
}
