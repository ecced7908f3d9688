/* server/options_flags.c -- the command line
 *
 * Flags follow the rules of Go's flag package: -x and --x are one, a value is the next word or
 * stands after "=", boolean flags take a value only with "=", the last one wins, and reading ends
 * at the first word without a dash. Flags are checked when they are read and applied after every
 * load of the file, so they override it at a reload too.
 *
 * A wrong flag is told on stderr, the usage goes to stdout, and the exit status is 0, as with the
 * reference.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/options_read.h"

enum flag_does {
    FLAG_SET,   /* the field at row->at */
    FLAG_LEVEL, /* log levels: bits in row->at */
    FLAG_TLS,   /* tls, tlsverify, tlscert … */
    FLAG_CONFIG,
    FLAG_CHECK,
    FLAG_VERSION,
    FLAG_HELP,
    FLAG_HELP_TLS,
    FLAG_SIGNAL,
    FLAG_ROUTES,
    FLAG_LATER, /* known, does nothing yet */
};
enum { LEVEL_DEBUG = 1, LEVEL_TRACE = 2, LEVEL_VERBOSE = 4 };

struct flag_row {
    const char *names;  /* "p port" */
    enum opt_type type; /* OPT_BOOL, OPT_INT, OPT_PORT, OPT_STRING */
    enum flag_does does;
    size_t at;         /* field of struct options; bits for FLAG_LEVEL */
    const char *shown; /* how the usage spells it; NULL: not shown */
    const char *help;
};

#define AT(field) offsetof(struct options, field)

/* A row with names == NULL is the title of a section. */
/* clang-format off */
static const struct flag_row rows[] = {
    {.help = "Server Options:"},
    {"a addr net", OPT_STRING, FLAG_SET, AT(host), "-a, --addr, --net <host>", "Address to bind (default: 0.0.0.0)"},
    {"p port", OPT_PORT, FLAG_SET, AT(port), "-p, --port <port>", "Port for clients, -1 for a free one (default: 4222)"},
    {"n name server_name", OPT_STRING, FLAG_SET, AT(server_name), "-n, --name, --server_name <name>", "Server name (default: its id)"},
    {"P pid", OPT_STRING, FLAG_SET, AT(pid_file), "-P, --pid <file>", "File to store the process id"},
    {"m http_port", OPT_PORT, FLAG_SET, AT(http_port), "-m, --http_port <port>", "Port for http monitoring, -1 for a free one"},
    {"ms https_port", OPT_PORT, FLAG_LATER, 0, "-ms,--https_port <port>", "Port for https monitoring (not supported yet)"},
    {"c config", OPT_STRING, FLAG_CONFIG, 0, "-c, --config <file>", "Configuration file"},
    {"t", OPT_BOOL, FLAG_CHECK, 0, "-t", "Check the configuration and exit"},
    {"sl signal", OPT_STRING, FLAG_SIGNAL, 0, "-sl,--signal <signal>[=<pid>]", "Send a signal to a running server (ldm, stop, quit, term, reopen, reload)"},
    {"client_advertise", OPT_STRING, FLAG_SET, AT(client_advertise), "    --client_advertise <string>", "Address told to clients"},
    {"ports_file_dir", OPT_STRING, FLAG_SET, AT(ports_file_dir), "    --ports_file_dir <dir>", "Directory for the file that lists the ports (<executable_name>_<pid>.ports)"},
    {.help = "Logging Options:"},
    {"l log", OPT_STRING, FLAG_SET, AT(log_file), "-l, --log <file>", "Log to this file"},
    {"T logtime", OPT_BOOL, FLAG_SET, AT(logtime), "-T, --logtime", "Date and time in log lines (default: true)"},
    {"logtime_utc", OPT_BOOL, FLAG_SET, AT(logtime_utc), "    --logtime_utc", "In UTC instead of local time (default: false)"},
    {"s syslog", OPT_BOOL, FLAG_LATER, 0, "-s, --syslog", "Log to syslog (not supported yet)"},
    {"r remote_syslog", OPT_STRING, FLAG_LATER, 0, "-r, --remote_syslog <addr>", "Remote syslog (not supported yet)"},
    {"D debug", OPT_BOOL, FLAG_LEVEL, LEVEL_DEBUG, "-D, --debug", "Debug lines"},
    {"V trace", OPT_BOOL, FLAG_LEVEL, LEVEL_TRACE, "-V, --trace", "Protocol lines"},
    {"VV", OPT_BOOL, FLAG_LEVEL, LEVEL_TRACE | LEVEL_VERBOSE, "-VV", "Protocol lines, the system account's too"},
    {"DV", OPT_BOOL, FLAG_LEVEL, LEVEL_DEBUG | LEVEL_TRACE, "-DV", "Debug and trace"},
    {"DVV", OPT_BOOL, FLAG_LEVEL, LEVEL_DEBUG | LEVEL_TRACE | LEVEL_VERBOSE, "-DVV", "Debug and verbose trace"},
    {"log_size_limit", OPT_INT, FLAG_SET, AT(log_size_limit), "    --log_size_limit <limit>", "Bytes after which the log file is set aside"},
    {"max_traced_msg_len", OPT_INT, FLAG_SET, AT(max_traced_msg_len), "    --max_traced_msg_len <len>", "Cut traced payloads (default: unlimited)"},
    {.help = "JetStream Options:"},
    {"js jetstream", OPT_BOOL, FLAG_SET, AT(js.enabled), "-js, --jetstream", "Enable JetStream"},
    {"sd store_dir", OPT_STRING, FLAG_SET, AT(js.store_dir), "-sd, --store_dir <dir>", "Storage directory"},
    {.help = "Authorization Options:"},
    {"user", OPT_STRING, FLAG_SET, AT(user), "    --user <user>", "User required for connections"},
    {"pass", OPT_STRING, FLAG_SET, AT(password), "    --pass <password>", "Password required for connections"},
    {"auth", OPT_STRING, FLAG_SET, AT(token), "    --auth <token>", "Authorization token required for connections"},
    {.help = "TLS Options:"},
    {"tls", OPT_BOOL, FLAG_TLS, 0, "    --tls", "Enable TLS, do not verify clients (default: false)"},
    {"tlscert", OPT_STRING, FLAG_TLS, 0, "    --tlscert <file>", "Server certificate file"},
    {"tlskey", OPT_STRING, FLAG_TLS, 0, "    --tlskey <file>", "Private key for server certificate"},
    {"tlsverify", OPT_BOOL, FLAG_TLS, 0, "    --tlsverify", "Enable TLS, verify client certificates"},
    {"tlscacert", OPT_STRING, FLAG_TLS, 0, "    --tlscacert <file>", "Authorities for client certificates"},
    {.help = "Cluster Options:"},
    {"routes", OPT_STRING, FLAG_ROUTES, 0, "    --routes <rurl-1, rurl-2>", "Routes (not supported)"},
    {"cluster cluster_listen", OPT_STRING, FLAG_LATER, 0, "    --cluster <cluster-url>", "Cluster (not supported)"},
    {"cluster_name", OPT_STRING, FLAG_LATER, 0, NULL, NULL},
    {"cluster_advertise", OPT_STRING, FLAG_LATER, 0, NULL, NULL},
    {"connect_retries", OPT_INT, FLAG_LATER, 0, NULL, NULL},
    {"no_advertise", OPT_BOOL, FLAG_LATER, 0, NULL, NULL},
    {.help = "Profiling Options:"},
    {"profile", OPT_INT, FLAG_LATER, 0, "    --profile <port>", "Profiling (not supported)"},
    {.help = "Common Options:"},
    {"h help", OPT_BOOL, FLAG_HELP, 0, "-h, --help", "Show this message"},
    {"v version", OPT_BOOL, FLAG_VERSION, 0, "-v, --version", "Show version"},
    {"help_tls", OPT_BOOL, FLAG_HELP_TLS, 0, "    --help_tls", "Help on TLS"},
};
/* clang-format on */

/* One flag as given. */
struct flag_given {
    const struct flag_row *row;
    char *text;     /* owned */
    int64_t number; /* of OPT_INT, OPT_PORT; 0 or 1 of OPT_BOOL */
};

struct options_flags {
    struct buf given; /* struct flag_given */
};

/* --- reading words ------------------------------------------------------------------- */

static const struct flag_row *find_flag(struct slice name)
{
    struct slice one;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice names = slice_cstr(rows[i].names);
        while (rows[i].names && slice_token(&names, &one)) {
            if (slice_eq(one, name))
                return &rows[i];
        }
    }
    return NULL;
}

/* Go's strconv.ParseBool. */
static bool parse_bool(const char *s, int64_t *out)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
            *out = strcmp(s, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

/* Go's integers: 10, 0x1f, 0o17, 017, 0b1, 1_000, with a sign. */
static int parse_int(const char *s, int64_t *out)
{
    char digits[80];
    size_t n = 0;
    bool minus = *s == '-';
    int base = 10;
    char *end;
    if (*s == '-' || *s == '+')
        s++;
    if (*s == '0' && s[1]) {
        char c = (char)(s[1] | 0x20);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        s += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
    }
    for (; *s; s++) {
        if (*s == '_')
            continue;
        if (n + 1 >= sizeof digits)
            return E_RANGE;
        digits[n++] = *s;
    }
    digits[n] = 0;
    if (n == 0 || digits[0] == '-' || digits[0] == '+' || digits[0] == ' ')
        return E_SYNTAX;
    errno = 0;
    unsigned long long v = strtoull(digits, &end, base);
    if (*end)
        return E_SYNTAX;
    if (errno == ERANGE || v > (unsigned long long)INT64_MAX)
        return E_RANGE;
    *out = minus ? -(int64_t)v : (int64_t)v;
    return 0;
}

/* The complaint, or NULL. */
static char *parse_value(struct flag_given *g, struct slice name)
{
    int rc;
    switch (g->row->type) {
    case OPT_BOOL:
        return parse_bool(g->text, &g->number)
                   ? NULL
                   : xasprintf("invalid boolean value \"%s\" for -%.*s: parse error", g->text,
                               SLICE_FMT(name));
    case OPT_INT:
    case OPT_PORT:
        rc = parse_int(g->text, &g->number);
        if (rc == 0 && g->row->type == OPT_PORT && (g->number < -1 || g->number > 65535))
            rc = E_RANGE;
        return rc == 0
                   ? NULL
                   : xasprintf("invalid value \"%s\" for flag -%.*s: %s", g->text, SLICE_FMT(name),
                               rc == E_RANGE ? "value out of range" : "parse error");
    default:
        return NULL;
    }
}

/* Reads argv from *at on up to the first word that is no flag. Returns a complaint or NULL. */
static char *read_flags(struct options_flags *flags, int argc, char **argv, int *at)
{
    while (*at < argc && argv[*at][0] == '-' && argv[*at][1]) {
        struct slice word = slice_cstr(argv[*at] + (argv[*at][1] == '-' ? 2 : 1));
        struct flag_given g = {0};
        (*at)++;
        if (word.n == 0)
            break; /* "--" */
        size_t equals = slice_find(word, '=');
        struct slice name = slice_head(word, equals);
        if (name.n == 0 || name.p[0] == '-')
            return xasprintf("bad flag syntax: %s", argv[*at - 1]);
        g.row = find_flag(name);
        if (!g.row)
            return xasprintf("flag provided but not defined: -%.*s", SLICE_FMT(name));
        if (equals < word.n)
            g.text = slice_dup(slice_skip(word, equals + 1));
        else if (g.row->type == OPT_BOOL)
            g.text = xstrdup("true");
        else if (*at < argc)
            g.text = xstrdup(argv[(*at)++]);
        else
            return xasprintf("flag needs an argument: -%.*s", SLICE_FMT(name));
        char *wrong = parse_value(&g, name);
        opt_push(&flags->given, &g, sizeof g);
        if (wrong)
            return wrong;
    }
    return NULL;
}

/* --- looking at what was given ------------------------------------------------------- */

static const struct flag_given *given_at(const struct options_flags *flags, size_t i)
{
    const struct flag_given *all = (const void *)buf_slice(&flags->given).p;
    return i < flags->given.len / sizeof *all ? &all[i] : NULL;
}

/* The last one of that kind (and name, if not NULL). */
static const struct flag_given *last_given(const struct options_flags *flags, enum flag_does does,
                                           const char *name)
{
    const struct flag_given *found = NULL, *g;
    for (size_t i = 0; (g = given_at(flags, i)); i++)
        if (g->row->does == does && (!name || strcmp(g->row->names, name) == 0))
            found = g;
    return found;
}

static bool wants(const struct options_flags *flags, enum flag_does does)
{
    const struct flag_given *g = last_given(flags, does, NULL);
    return g && g->number;
}

/* --- applying ------------------------------------------------------------------------ */

static void apply_field(const struct flag_given *g, struct opt_reader *r)
{
    void *field = (char *)r->o + g->row->at;
    if (g->row->type == OPT_BOOL)
        *(bool *)field = g->number != 0;
    else if (g->row->type == OPT_INT)
        *(int64_t *)field = g->number;
    else if (g->row->type == OPT_PORT)
        *(int *)field = g->number == 0 && g->row->at == AT(port) ? OPTIONS_PORT : (int)g->number;
    else
        *(const char **)field = *g->text                 ? opt_text(r, slice_cstr(g->text))
                                : g->row->at == AT(host) ? "0.0.0.0"
                                                         : NULL;
}

static void apply_levels(const struct flag_given *g, struct options *o)
{
    bool on = g->number != 0;
    if (g->row->at & LEVEL_DEBUG)
        o->debug = on;
    if (g->row->at & LEVEL_TRACE)
        o->trace = on;
    if (g->row->at & LEVEL_VERBOSE)
        o->trace_verbose = on;
}

static void apply_tls(const struct options_flags *flags, struct opt_reader *r)
{
    const struct flag_given *tls = last_given(flags, FLAG_TLS, "tls"),
                            *cert = last_given(flags, FLAG_TLS, "tlscert"),
                            *key = last_given(flags, FLAG_TLS, "tlskey"),
                            *ca = last_given(flags, FLAG_TLS, "tlscacert"),
                            *verify = last_given(flags, FLAG_TLS, "tlsverify");
    struct tls_options t = {.timeout_ns = 2 * NS_PER_S, .min_version = 0x0303};
    if (!last_given(flags, FLAG_TLS, NULL))
        return;
    if (tls && !tls->number) {
        r->o->tls = NULL;
        return;
    }
    if (!cert || !*cert->text) {
        opt_error(r, NULL, "TLS Server certificate must be present and valid");
        return;
    }
    if (!key || !*key->text) {
        opt_error(r, NULL, "TLS Server private key must be present and valid");
        return;
    }
    t.cert_file = opt_text(r, slice_cstr(cert->text));
    t.key_file = opt_text(r, slice_cstr(key->text));
    t.ca_file = ca && *ca->text ? opt_text(r, slice_cstr(ca->text)) : NULL;
    t.verify = verify && verify->number;
    const char *why = opt_tls_files(r->o, &t);
    if (why)
        opt_error(r, NULL, "%s", why);
    r->o->tls = opt_copy(r, &t, sizeof t);
}

void flags_apply(const struct options_flags *flags, struct opt_reader *r)
{
    const struct flag_given *g;
    if (!flags)
        return;
    for (size_t i = 0; (g = given_at(flags, i)); i++) {
        if (g->row->does == FLAG_SET)
            apply_field(g, r);
        else if (g->row->does == FLAG_LEVEL)
            apply_levels(g, r->o);
        else if (g->row->does == FLAG_ROUTES && *g->text)
            opt_error(r, NULL, "solicited routes require cluster capabilities, e.g. --cluster");
        else if (g->row->does == FLAG_LATER && (g->number || g->row->type == OPT_STRING))
            buf_printf(&r->later, "%s--%.*s", r->later.len ? ", " : "",
                       (int)slice_find(slice_cstr(g->row->names), ' '), g->row->names);
    }
    apply_tls(flags, r);
    if (r->o->password || r->o->token) {
        const char *secret = r->o->token ? r->o->token : r->o->password;
        r->o->plain_passwords = r->o->plain_passwords || strncmp(secret, "$2", 2) != 0;
    }
}

/* --- start --------------------------------------------------------------------------- */

void options_usage(struct buf *out)
{
    buf_add_str(out, "\nUsage: nats-server [options]\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!rows[i].names)
            buf_printf(out, "\n%s\n", rows[i].help);
        else if (rows[i].shown)
            buf_printf(out, "    %-32s %s\n", rows[i].shown, rows[i].help);
    }
    buf_add_str(out, "\n\n");
}

static void document_tls(struct buf *out)
{
    buf_add_str(
        out,
        "TLS configuration is specified in the tls section of a configuration file:\n\n"
        "    tls {\n        cert_file: \"./certs/server-cert.pem\"\n"
        "        key_file:  \"./certs/server-key.pem\"\n        ca_file:   \"./certs/ca.pem\"\n"
        "        verify:    true\n    }\n\nKeys of the section:\n");
    for (size_t i = 0; i < opt_tls_table.n; i++)
        if (opt_tls_table.rows[i].type != OPT_REFUSED)
            buf_printf(out, "    %-44s %s\n", opt_tls_table.rows[i].keys,
                       opt_tls_table.rows[i].help);
}

static bool is_reference(const char *exe)
{
    return strncmp(exe, "nats-server", 11) == 0;
}

static void say_version(struct buf *out, const char *exe)
{
    if (is_reference(exe))
        buf_printf(out, "nats-server: v%s\n", OPTIONS_VERSION);
    else
        buf_printf(out, "frond: v%s (compatible with nats-server: v%s)\n", FROND_VERSION,
                   OPTIONS_VERSION);
}

/* What a word or flag asks to be printed instead of a start. False: nothing. */
static bool only_print(const struct options_flags *flags, const char *word, const char *exe,
                       struct buf *out)
{
    if (wants(flags, FLAG_VERSION) || (word && strcasecmp(word, "version") == 0))
        say_version(out, exe);
    else if (wants(flags, FLAG_HELP) || (word && strcasecmp(word, "help") == 0))
        options_usage(out);
    else if (wants(flags, FLAG_HELP_TLS))
        document_tls(out);
    else
        return false;
    return true;
}

/* The file, and what its loading means for the start. */
static void load(struct options_start *st, const char *exe, const char *file, bool check_only,
                 struct buf *err)
{
    char *say = NULL;
    if (check_only && !file) {
        buf_printf(err,
                   "%s: must specify [-c, --config] option to check configuration file syntax\n",
                   exe);
        st->exit_code = 1;
        return;
    }
    int rc = options_load(file, check_only ? NULL : st->flags, !check_only, &st->options, &say);
    if (rc < 0 || (check_only && say)) { /* warnings make a check fail, too */
        buf_printf(err, "%s: %s\n", exe, say ? say : err_text(rc));
        st->exit_code = 1;
    } else if (check_only) {
        buf_printf(err, "%s: configuration file %s is valid (%s)\n", exe, file,
                   st->options->config_digest);
        st->exit_code = 0;
    } else if (say) {
        buf_add_str(err, say);
    }
    free(say);
}

static void decide(struct options_start *st, int argc, char **argv, const char *exe,
                   struct buf *out, struct buf *err)
{
    int at = 1;
    char *wrong = read_flags(st->flags, argc, argv, &at);
    const char *word = at < argc ? argv[at] : NULL;
    st->exit_code = 0;
    if (wrong) {
        buf_printf(err, "%s\n", wrong);
        options_usage(out);
        free(wrong);
        return;
    }
    if (only_print(st->flags, word, exe, out))
        return;
    if (word) {
        buf_printf(err, "%s: unrecognized command: \"%s\"\n", exe, word);
        st->exit_code = 1;
        return;
    }
    const struct flag_given *signal = last_given(st->flags, FLAG_SIGNAL, NULL);
    const struct flag_given *config = last_given(st->flags, FLAG_CONFIG, NULL);
    if (signal && *signal->text) {
        st->signal = signal->text;
        st->exit_code = -1;
        return;
    }
    st->exit_code = -1;
    load(st, exe, config && *config->text ? config->text : NULL, wants(st->flags, FLAG_CHECK), err);
}

void options_start(int argc, char **argv, struct options_start *st)
{
    struct buf out = BUF_INIT, err = BUF_INIT;
    const char *path = argc > 0 ? argv[0] : "frond", *slash = strrchr(path, '/');
    const char *exe = slash ? slash + 1 : path;
    *st = (struct options_start){.flags = xcalloc(1, sizeof *st->flags)};
    decide(st, argc, argv, is_reference(exe) ? "nats-server" : "frond", &out, &err);
    st->out = out.len ? buf_steal(&out) : NULL;
    st->err = err.len ? buf_steal(&err) : NULL;
    buf_release(&out);
    buf_release(&err);
    if (st->exit_code >= 0) {
        options_free(st->options);
        st->options = NULL;
    }
}

static void flags_free(struct options_flags *flags)
{
    const struct flag_given *g;
    if (!flags)
        return;
    for (size_t i = 0; (g = given_at(flags, i)); i++)
        free(g->text);
    buf_release(&flags->given);
    free(flags);
}

void options_start_release(struct options_start *st)
{
    free(st->out);
    free(st->err);
    flags_free(st->flags);
    st->out = st->err = NULL;
    st->flags = NULL;
}

void options_redact(int argc, char **argv)
{
    static const char *const secrets[] = {"user", "pass", "auth"};
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        struct slice name = slice_cstr(word);
        while (name.n && name.p[0] == '-')
            name = slice_skip(name, 1);
        size_t equals = slice_find(name, '=');
        for (size_t k = 0; word[0] == '-' && k < ARRAY_LEN(secrets); k++) {
            if (!slice_is(slice_head(name, equals), secrets[k]))
                continue;
            char *value = equals < name.n ? strchr(word, '=') + 1
                          : i + 1 < argc  ? argv[i + 1]
                                          : NULL;
            if (value)
                memset(value, '*', strlen(value));
        }
    }
}
