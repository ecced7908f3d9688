/* server/options.c -- loading, checking and comparing options
 *
 *     defaults → the file, by the tables → flags on top → what follows from other options
 *              → checks across them
 *
 * What -t looks at ends with the tables; the checks across options belong to a start or a reload. A
 * reload loads a second struct options and compares: every row of the table says what a change of
 * it asks for, and one change that is not possible refuses them all.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/subject.h"
#include "server/options_flags.h"
#include "server/options_read.h"

static struct options *options_new(void)
{
    struct options *o = xcalloc(1, sizeof *o);
    arena_init(&o->mem, 0);
    opt_defaults(&opt_top, o);
    opt_defaults(&opt_leafnodes, &o->leaf);
    o->max_connections = 65536;
    o->lame_duck_ns = 120 * NS_PER_S;
    o->lame_duck_grace_ns = 10 * NS_PER_S;
    o->js.max_memory = o->js.max_file = -1;
    o->js.sync_interval_ns = 120 * NS_PER_S;
    o->js.strict = true;
    o->js.default_max_consumers = 1000;
    return o;
}

void options_free(struct options *o)
{
    if (!o)
        return;
    arena_release(&o->mem);
    free(o);
}

/* --- what follows from other options ------------------------------------------------- */

static void settle(struct options *o)
{
    const char *temp = getenv("TMPDIR");
    o->trace = o->trace || o->trace_verbose || o->trace_headers;
    if (o->http_base_path && o->http_base_path[0] != '/')
        o->http_base_path = arena_printf(&o->mem, "/%s", o->http_base_path);
    if (!o->http_host)
        o->http_host = o->host;
    if (o->auth_timeout_ns == 0)
        o->auth_timeout_ns = o->tls ? o->tls->timeout_ns + NS_PER_S : 2 * NS_PER_S;
    if (o->no_system_account)
        o->system_account = NULL;
    if (o->js.enabled && !o->js.store_dir) {
        o->js.temporary = true;
        o->js.store_dir = temp && *temp ? arena_dup(&o->mem, slice_cstr(temp)).p : "/tmp";
    }
    if (o->js.domain && !*o->js.domain)
        o->js.domain = NULL;
}

/* --- checks across options ----------------------------------------------------------- */

static bool has_user(const struct options *o, const char *name)
{
    for (size_t i = 0; i < o->nusers; i++) {
        const struct user_options *u = &o->users[i];
        if ((u->user && strcmp(u->user, name) == 0) || (u->nkey && strcmp(u->nkey, name) == 0))
            return true;
    }
    return false;
}

static bool has_account(const struct options *o, const char *name)
{
    if (strcmp(name, "$G") == 0 || (o->system_account && strcmp(name, o->system_account) == 0))
        return true;
    for (size_t i = 0; i < o->naccounts; i++)
        if (strcmp(o->accounts[i].name, name) == 0)
            return true;
    return false;
}

static void check_domain(struct opt_reader *r, const char *domain)
{
    char *subject = xasprintf("$JS.%s.API.>", domain);
    if (strpbrk(domain, ".*>"))
        opt_error(r, NULL, "invalid domain name: may not contain ., * or >");
    else if (!subject_valid(slice_cstr(subject)))
        opt_error(r, NULL, "invalid domain name: derived \"%s\" is not a valid subject", subject);
    free(subject);
}

static void check_across(struct opt_reader *r)
{
    const struct options *o = r->o;
    char grace[40], whole[40];
    duration_print(o->lame_duck_grace_ns, grace);
    duration_print(o->lame_duck_ns, whole);
    if (o->lame_duck_grace_ns >= o->lame_duck_ns)
        opt_error(
            r, NULL,
            "lame duck grace period (%s) should be strictly lower than lame duck duration (%s)",
            grace, whole);
    if (o->max_payload > o->max_pending)
        opt_error(r, NULL,
                  "max_payload (%" PRId64 ") cannot be higher than max_pending (%" PRId64 ")",
                  o->max_payload, o->max_pending);
    if (o->server_name && strchr(o->server_name, ' '))
        opt_error(r, NULL, "server name cannot contain spaces");
    for (size_t i = 0; i < o->leaf.nremotes; i++)
        if (!has_account(o, o->leaf.remotes[i].account))
            opt_error(r, NULL, "cannot find local account \"%s\" specified in leafnode remote",
                      o->leaf.remotes[i].account);
    if (o->no_auth_user && *o->no_auth_user && o->nusers == 0)
        opt_error(r, NULL, "no_auth_user: \"%s\" present, but users/nkeys are not defined",
                  o->no_auth_user);
    else if (o->no_auth_user && *o->no_auth_user && !has_user(o, o->no_auth_user))
        opt_error(r, NULL,
                  "no_auth_user: \"%s\" not present as user or nkey in authorization block or "
                  "account configuration",
                  o->no_auth_user);
    if (o->js.domain)
        check_domain(r, o->js.domain);
    for (size_t i = 0; i < o->njs_domains; i++)
        if (*o->js_domains[i].value)
            check_domain(r, o->js_domains[i].value);
}

/* --- loading ------------------------------------------------------------------------- */

static int read_file(struct opt_reader *r, const char *file)
{
    struct conf_doc *doc;
    struct conf_error err;
    int rc = conf_parse_file(file, NULL, &doc, &err);
    if (rc < 0) {
        opt_error(r, NULL, "%s", err.text);
        return rc;
    }
    r->o->config_file = opt_text(r, slice_cstr(file));
    conf_digest(doc, r->o->config_digest);
    const struct conf_node *root = conf_root(doc);
    if (!conf_first(root))
        opt_warn(r, NULL, "%s: config has no values or is empty", file);
    opt_read(r, root, &opt_top, r->o);
    opt_finish_auth(r);
    CONF_EACH(n, root)
    { /* blocks are compared as they were written */
        const struct opt_row *row = opt_find(&opt_top, n->key);
        if (row && row->type == OPT_CALL && row->reload != RELOAD_SAME) {
            struct buf text = BUF_INIT;
            conf_json(n, &text);
            opt_mark(r, row->name, row->reload, opt_text(r, buf_slice(&text)));
            buf_release(&text);
        }
    }
    conf_free(doc);
    return 0;
}

static void keep_marks(struct opt_reader *r)
{
    struct options_marks m = {.n = r->marks.len / sizeof(struct options_mark)};
    m.at = opt_copy(r, buf_slice(&r->marks).p, r->marks.len);
    r->o->marks = opt_copy(r, &m, sizeof m);
    if (r->later.len)
        r->o->later =
            arena_printf(&r->o->mem, "Not supported yet and ignored: %s", buf_cstr(&r->later));
}

int options_load(const char *file, const struct options_flags *flags, bool check,
                 struct options **out, char **say)
{
    struct opt_reader r = {.o = options_new()};
    int rc = file ? read_file(&r, file) : 0;
    bool listed =
        rc == 0 &&
        r.errors.len > 0; /* complaints about options: one a line, the last one ended, too */
    if (rc == 0 && !listed) {
        flags_apply(flags, &r);
        keep_marks(&r);
        settle(r.o);
        if (check && r.errors.len == 0)
            check_across(&r);
    }
    if (r.errors.len && !listed)
        r.errors.len--; /* a single sentence */
    if (r.errors.len && rc == 0)
        rc = E_SYNTAX;
    buf_add_slice(&r.warnings, buf_slice(&r.errors));
    *say = r.warnings.len ? buf_steal(&r.warnings) : NULL;
    buf_release(&r.warnings);
    buf_release(&r.errors);
    buf_release(&r.later);
    buf_release(&r.users);
    buf_release(&r.accounts);
    buf_release(&r.marks);
    *out = r.o;
    if (rc < 0) {
        options_free(r.o);
        *out = NULL;
    }
    return rc;
}

/* --- comparing ----------------------------------------------------------------------- */

#define AT(field) offsetof(struct options, field)

/* Fields whose rows have a form of their own. */
static const struct opt_row more_rows[] = {
    {"server_name", OPT_STRING, AT(server_name), .name = "ServerName"},
    {"http_host", OPT_STRING, AT(http_host), .name = "HTTPHost"},
    {"max_connections", OPT_INT, AT(max_connections), .name = "MaxConn", .reload = RELOAD_READ},
    {"lame_duck_duration", OPT_DURATION, AT(lame_duck_ns), .name = "LameDuckDuration"},
    {"lame_duck_grace_period", OPT_DURATION, AT(lame_duck_grace_ns), .name = "LameDuckGracePeriod"},
    {"jetstream", OPT_BOOL, AT(js.enabled), .name = "JetStream"},
    {"store_dir", OPT_STRING, AT(js.store_dir), .name = "StoreDir"},
};

struct comparison {
    const struct options *now, *fresh;
    unsigned changes;
    struct buf good, bad;
};

/* The value as Go prints it; false when the type has none. */
static bool show_field(const struct options *o, const struct opt_row *row, struct buf *out)
{
    const void *field = (const char *)o + row->at;
    char text[40];
    switch (row->type) {
    case OPT_BOOL:
        buf_add_str(out, *(const bool *)field ? "true" : "false");
        return true;
    case OPT_INT:
    case OPT_SIZE:
        buf_printf(out, "%" PRId64, *(const int64_t *)field);
        return true;
    case OPT_PORT:
        buf_printf(out, "%d", *(const int *)field);
        return true;
    case OPT_DURATION:
        duration_print(*(const int64_t *)field, text);
        buf_add_str(out, text);
        return true;
    case OPT_STRING:
        buf_add_str(out, *(const char *const *)field ? *(const char *const *)field : "");
        return true;
    case OPT_PAIRS: {
        const struct {
            const struct text_pair *at;
            size_t n;
        } *pairs = field;
        for (size_t i = 0; i < pairs->n; i++)
            buf_printf(out, "%s%s:%s", i ? " " : "", pairs->at[i].key, pairs->at[i].value);
        return true;
    }
    case OPT_TEXTS:
    case OPT_CALL:
    case OPT_LATER:
    case OPT_REFUSED:
    case OPT_QUIET:
        break;
    }
    return false;
}

static void compare_row(struct comparison *c, const struct opt_row *row)
{
    struct buf old = BUF_INIT, new = BUF_INIT;
    bool has = show_field(c->now, row, &old) && show_field(c->fresh, row, &new);
    if (has && !slice_eq(buf_slice(&old), buf_slice(&new))) {
        struct slice key =
            slice_head(slice_cstr(row->keys), slice_find(slice_cstr(row->keys), ' '));
        c->changes |= 1u << row->reload;
        if (row->reload == RELOAD_NO)
            buf_printf(&c->bad, "config reload not supported for %s: old=%s, new=%s\n", row->name,
                       buf_cstr(&old), buf_cstr(&new));
        else
            buf_printf(&c->good, "Reloaded: %.*s = %s\n", SLICE_FMT(key), buf_cstr(&new));
    }
    buf_release(&old);
    buf_release(&new);
}

static const char *mark_text(const struct options *o, const char *name)
{
    for (size_t i = 0; i < o->marks->n; i++)
        if (strcmp(o->marks->at[i].name, name) == 0)
            return o->marks->at[i].text;
    return "";
}

/* Marks of `of` that differ in the other; both ways, so that blocks that come or go are seen. */
static void compare_marks(struct comparison *c, const struct options *of, bool only_missing)
{
    const struct options *other = of == c->now ? c->fresh : c->now;
    for (size_t i = 0; i < of->marks->n; i++) {
        const struct options_mark *m = &of->marks->at[i];
        const char *text = mark_text(other, m->name);
        if (strcmp(m->text, text) == 0 || (only_missing && *text))
            continue;
        c->changes |= 1u << m->reload;
        if (m->reload == RELOAD_NO)
            buf_printf(&c->bad, "config reload not supported for %s\n", m->name);
        else
            buf_printf(&c->good, "Reloaded: %s\n", m->name);
    }
}

int options_compare(const struct options *now, const struct options *fresh, unsigned *changes,
                    char **say)
{
    struct comparison c = {.now = now, .fresh = fresh};
    for (size_t i = 0; i < opt_top.n; i++)
        if (opt_top.rows[i].reload != RELOAD_SAME)
            compare_row(&c, &opt_top.rows[i]);
    for (size_t i = 0; i < ARRAY_LEN(more_rows); i++)
        compare_row(&c, &more_rows[i]);
    compare_marks(&c, now, false);
    compare_marks(&c, fresh, true);
    bool refused = c.bad.len > 0;
    struct buf *text = refused ? &c.bad : &c.good;
    if (refused)
        text->len--; /* a sentence (or several); no line end behind it */
    *say = text->len ? buf_steal(text) : NULL;
    *changes = c.changes;
    buf_release(&c.good);
    buf_release(&c.bad);
    return refused ? E_DENIED : 0;
}
