/* server/options_leaf.c -- the leafnodes block: links to hubs
 *
 * Only remotes do something yet; what concerns accepting leaves is known and named as "later". Two
 * remotes with the same URLs, account and credentials are one too many.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_read.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "server/leaf_urls.h"

#define AT(field) offsetof(struct remote_options, field)

static opt_read_fn read_urls, read_account, read_credentials, read_nkey, read_remote_tls,
    read_denied, read_compression, read_leaf_compression, read_remotes, read_migrate;

/* clang-format off */
static const struct opt_row remote_rows[] = {
    {"urls url", OPT_CALL, AT(urls), .read = read_urls, .help = "nats-leaf://[user:password@]host[:7422], or several"},
    {"account local", OPT_CALL, AT(account), .read = read_account, .text = "$G", .help = "local account"},
    {"credentials creds", OPT_CALL, AT(credentials), .read = read_credentials, .help = "credentials file; ~ and $VARIABLES are expanded"},
    {"nkey seed", OPT_CALL, AT(nkey), .read = read_nkey, .help = "user seed, SU…"},
    {"tls", OPT_CALL, AT(tls), .read = read_remote_tls, .help = "authorities and certificate for the hub"},
    {"deny_imports deny_import", OPT_CALL, AT(deny_imports), .read = read_denied, .help = "subjects not taken from the hub"},
    {"deny_exports deny_export", OPT_CALL, AT(deny_exports), .read = read_denied, .help = "subjects not sent to the hub"},
    {"hub", OPT_BOOL, AT(hub), .help = "this side acts as the hub"},
    {"no_randomize dont_randomize", OPT_BOOL, AT(no_randomize), .help = "try the URLs in order"},
    {"disabled", OPT_BOOL, AT(disabled), .help = "leave it out"},
    {"ignore_discovered_servers", OPT_BOOL, AT(ignore_discovered_servers), .help = "do not follow addresses the hub tells of"},
    {"isolate_leafnode_interest isolate", OPT_BOOL, AT(isolate), .help = "no interest of other links over this one"},
    {"request_isolation", OPT_BOOL, AT(request_isolation), .help = "ask the hub to do the same"},
    {"first_info_timeout", OPT_DURATION, AT(first_info_timeout_ns), .dflt = NS_PER_S, .help = "for the hub's first line"},
    {"dial_timeout", OPT_DURATION, AT(dial_timeout_ns), .text = "the block's", .help = "for the connection"},
    {"compression", OPT_CALL, AT(compression), .read = read_compression, .text = "s2_auto", .help = "agreed off for now"},
    {"jetstream_cluster_migrate js_cluster_migrate", OPT_CALL, .read = read_migrate, .help = "for clusters"},
    {"proxy", OPT_LATER, .name = "remotes.proxy", .help = "dial through a proxy"},
    {"ws_compression ws_compress websocket_compress websocket_compression", OPT_QUIET, .help = "links over WebSocket"},
    {"ws_no_masking websocket_no_masking", OPT_QUIET, .help = "links over WebSocket"},
};
const struct opt_table opt_remote = {.title = "leafnodes.remotes", .rows = remote_rows, .n = ARRAY_LEN(remote_rows)};

#undef AT
#define AT(field) offsetof(struct leafnode_options, field)

static const struct opt_row rows[] = {
    {"remotes", OPT_CALL, .read = read_remotes, .help = "hubs to dial"},
    {"reconnect reconnect_delay reconnect_interval", OPT_DURATION, AT(reconnect_ns), .dflt = NS_PER_S, .help = "first wait after a loss"},
    {"dial_timeout", OPT_DURATION, AT(dial_timeout_ns), .dflt = NS_PER_S, .help = "for the connection"},
    {"write_deadline", OPT_DURATION, AT(write_deadline_ns), .text = "the server's", .help = "a hub that takes nothing for so long is lost"},
    {"write_timeout", OPT_QUIET, .help = "links are closed and dialled again"},
    {"compression", OPT_CALL, AT(compression), .read = read_leaf_compression, .text = "s2_auto", .help = "agreed off for now"},
    {"isolate_leafnode_interest isolate", OPT_BOOL, AT(isolate), .help = "no interest of other links"},
    {"no_advertise", OPT_BOOL, AT(no_advertise), .help = "for accepting leaves"},
    {"listen", OPT_LATER, .name = "leafnodes.listen", .help = "accept leaves"},
    {"port", OPT_LATER, .name = "leafnodes.port", .help = "accept leaves"},
    {"host net", OPT_LATER, .name = "leafnodes.host", .help = "accept leaves"},
    {"authorization", OPT_LATER, .name = "leafnodes.authorization", .help = "accept leaves"},
    {"tls", OPT_LATER, .name = "leafnodes.tls", .help = "accept leaves"},
    {"advertise leafnode_advertise", OPT_LATER, .name = "leafnodes.advertise", .help = "accept leaves"},
    {"min_version minimum_version", OPT_LATER, .name = "leafnodes.min_version", .help = "accept leaves"},
};
/* clang-format on */
const struct opt_table opt_leafnodes = {.title = "leafnodes", .rows = rows, .n = ARRAY_LEN(rows)};

/* --- a remote ------------------------------------------------------------------------ */

/* scheme://… and an address behind it, as far as can be told without asking anybody. */
static bool url_fits(struct opt_reader *r, const struct conf_node *n, struct slice url)
{
    struct leaf_url parsed;
    size_t at = slice_search(url, SLICE("://"));
    bool fits = at > 0 && at < url.n && isalpha((unsigned char)url.p[0]);
    bool web = slice_starts(url, SLICE("ws://")) || slice_starts(url, SLICE("wss://"));
    if (web) {
        opt_later(r, n, "links over WebSocket");
        return true;
    }
    if (fits && leaf_url_parse(url, &parsed) == 0) {
        leaf_url_release(&parsed);
        return true;
    }
    opt_error(r, n, "error parsing leafnode url [%s]", opt_quote(r, url));
    return false;
}

static void read_urls(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                      void *to)
{
    struct remote_options *remote = to;
    size_t count = 0;
    (void)row;
    if (n->type == CONF_STRING) {
        struct slice url = slice_trim(n->u.str);
        if (url_fits(r, n, url) && opt_texts(r, n, "leafnode url", &remote->urls))
            remote->urls.at =
                opt_copy(r, &(struct slice){opt_text(r, url), url.n}, sizeof(struct slice));
        return;
    }
    if (n->type != CONF_ARRAY) {
        opt_error(r, n, "Expected remote leafnode url to be an array or string, got %s",
                  opt_show(r, n));
        return;
    }
    struct slice *at = arena_alloc(&r->o->mem, (n->u.kids.count + 1) * sizeof *at);
    ASSERT(at);
    CONF_EACH(kid, n)
    {
        bool twice = false;
        if (!opt_is(r, kid, CONF_STRING))
            return;
        struct slice url = slice_trim(kid->u.str);
        for (size_t i = 0; i < count; i++)
            twice = twice || slice_eq(at[i], url);
        if (twice)
            opt_warn(r, kid, "invalid use of field %s: Duplicate leafnode entry detected",
                     opt_quote(r, url));
        else if (url_fits(r, kid, url))
            at[count++] = slice_of(opt_text(r, url), url.n);
    }
    remote->urls = (struct text_list){at, count};
}

static void read_account(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to)
{
    struct remote_options *remote = to;
    (void)row;
    if (opt_is(r, n, CONF_STRING) && n->u.str.n)
        remote->account = opt_text(r, n->u.str);
}

/* $NAME and ${NAME} from the environment, then ~ in front. */
static const char *expand_path(struct opt_reader *r, const char *path)
{
    struct buf out = BUF_INIT;
    const char *home = getenv("HOME"), *p = path;
    while (*p) {
        bool braces = p[0] == '$' && p[1] == '{';
        const char *name = p + (braces ? 2 : 1), *end = name;
        while (*p == '$' &&
               (braces ? *end && *end != '}' : isalnum((unsigned char)*end) || *end == '_'))
            end++;
        if (*p != '$' || end == name) {
            buf_add_char(&out, *p++);
            continue;
        }
        char *key = slice_dup(slice_of(name, (size_t)(end - name)));
        const char *text = getenv(key);
        buf_add_str(&out, text ? text : "");
        free(key);
        p = end + (braces && *end == '}');
    }
    const char *plain = opt_text(r, buf_slice(&out));
    buf_release(&out);
    if (plain[0] != '~' || !home)
        return plain;
    char *at_home = arena_printf(&r->o->mem, "%s/%s", home, plain + (plain[1] == '/' ? 2 : 1));
    ASSERT(at_home);
    return at_home;
}

static void read_credentials(struct opt_reader *r, const struct conf_node *n,
                             const struct opt_row *row, void *to)
{
    struct remote_options *remote = to;
    (void)row;
    if (!opt_is(r, n, CONF_STRING))
        return;
    if (remote->nkey)
        opt_error(r, n, "Remote leafnode can not have both creds and nkey defined");
    else if (n->u.str.n)
        remote->credentials = expand_path(r, n->u.str.p);
}

static void read_nkey(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                      void *to)
{
    struct remote_options *remote = to;
    unsigned char seed[32];
    enum nkey_kind kind;
    (void)row;
    if (!opt_is(r, n, CONF_STRING))
        return;
    if (nkey_seed_decode(n->u.str, seed, &kind) < 0 || kind != NKEY_USER)
        opt_error(r, n, "Remote leafnode nkey is not a valid seed: %s", opt_quote(r, n->u.str));
    else if (remote->credentials)
        opt_error(r, n, "Remote leafnode can not have both creds and nkey defined");
    else
        remote->nkey = opt_text(r, n->u.str);
}

static void read_remote_tls(struct opt_reader *r, const struct conf_node *n,
                            const struct opt_row *row, void *to)
{
    struct remote_options *remote = to;
    (void)row;
    remote->tls = opt_tls(r, n, true);
}

static void read_denied(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    opt_subjects(r, n, false, (struct text_list *)(void *)((char *)to + row->at));
}

static void read_migrate(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to)
{
    (void)row;
    (void)to;
    if (n->type != CONF_BOOL && n->type != CONF_MAP)
        opt_error(r, n, "Expected boolean or map for jetstream_cluster_migrate, got %s",
                  conf_type_name(n->type));
}

/* --- compression --------------------------------------------------------------------- */

static void compression_word(struct opt_reader *r, const struct conf_node *n, int *to)
{
    static const struct {
        const char *words;
        enum compression mode;
    } modes[] = {
        {"on enabled true auto s2_auto", COMPRESSION_AUTO},
        {"off disabled false", COMPRESSION_OFF},
        {"accept", COMPRESSION_ACCEPT},
        {"fast s2_fast", COMPRESSION_FAST},
        {"better s2_better", COMPRESSION_BETTER},
        {"best s2_best", COMPRESSION_BEST},
    };
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct slice words = slice_cstr(modes[i].words), word;
        while (slice_token(&words, &word)) {
            if (slice_ieq(word, n->u.str)) {
                *to = (int)modes[i].mode;
                return;
            }
        }
    }
    opt_error(r, NULL, "unsupported compression mode %s", opt_quote(r, n->u.str));
}

static void compression(struct opt_reader *r, const struct conf_node *n, int *to)
{
    int before = *to;
    if (n->type == CONF_BOOL) {
        *to = n->u.b ? COMPRESSION_AUTO : COMPRESSION_OFF;
    } else if (n->type == CONF_STRING) {
        compression_word(r, n, to);
    } else if (n->type == CONF_MAP) {
        CONF_EACH(kid, n)
        {
            bool mode = conf_key_is(kid, "mode");
            bool times = conf_key_is(kid, "rtt_thresholds") || conf_key_is(kid, "thresholds") ||
                         conf_key_is(kid, "rtts") || conf_key_is(kid, "rtt");
            if (mode && opt_is(r, kid, CONF_STRING))
                compression_word(r, kid, to);
            else if (times)
                opt_is(r, kid, CONF_ARRAY);
            else if (!mode && !kid->used)
                opt_error(r, kid, "unknown field %s", opt_quote(r, slice_cstr(kid->key)));
        }
    } else {
        opt_error(r, n, "field %s should be a boolean or a structure, got %s",
                  opt_quote(r, slice_cstr(n->key)), conf_type_name(n->type));
    }
    if (*to != before && *to != COMPRESSION_OFF && *to != COMPRESSION_ACCEPT)
        opt_later(r, n, "leafnodes compression");
}

static void read_compression(struct opt_reader *r, const struct conf_node *n,
                             const struct opt_row *row, void *to)
{
    struct remote_options *remote = to;
    (void)row;
    compression(r, n, &remote->compression);
}

static void read_leaf_compression(struct opt_reader *r, const struct conf_node *n,
                                  const struct opt_row *row, void *to)
{
    struct leafnode_options *leaf = to;
    (void)row;
    compression(r, n, &leaf->compression);
}

/* --- the block ----------------------------------------------------------------------- */

/* What nats-server calls the remote; passwords are shown only when it is for comparing. */
static const char *remote_name(struct opt_reader *r, const struct remote_options *remote,
                               bool secrets)
{
    struct buf b = BUF_INIT;
    buf_add_str(&b, "urls=[");
    for (size_t i = 0; i < remote->urls.n; i++) {
        struct slice url = remote->urls.at[i], shown = url;
        size_t host = slice_find(url, '@'), start = slice_search(url, SLICE("://")) + 3;
        struct slice user = host < url.n && start < host ? slice_of(url.p + start, host - start)
                                                         : (struct slice){0};
        size_t colon = slice_find(user, ':');
        if (!secrets && colon < user.n)
            shown = slice_cstr(arena_printf(&r->o->mem, "%.*s:xxxxx%.*s", (int)(start + colon),
                                            url.p, (int)(url.n - host), url.p + host));
        buf_printf(&b, "%s%s", i ? " " : "", opt_quote(r, shown));
    }
    buf_printf(&b, "], account=%s", opt_quote(r, slice_cstr(remote->account)));
    if (remote->credentials)
        buf_printf(&b, ", credentials=%s", opt_quote(r, slice_cstr(remote->credentials)));
    else if (remote->nkey)
        buf_printf(&b, ", nkey=\"%s\"", secrets ? remote->nkey : "[REDACTED]");
    const char *text = opt_text(r, buf_slice(&b));
    buf_release(&b);
    return text;
}

static void read_remotes(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to)
{
    struct leafnode_options *leaf = to;
    size_t count = 0;
    (void)row;
    if (n->type != CONF_ARRAY) {
        opt_error(r, n, "Expected remotes field to be an array, got %s", conf_type_name(n->type));
        return;
    }
    struct remote_options *at = arena_alloc(&r->o->mem, (n->u.kids.count + 1) * sizeof *at);
    ASSERT(at);
    CONF_EACH(kid, n)
    {
        struct remote_options *remote = &at[count];
        bool twice = false;
        if (kid->type != CONF_MAP) {
            opt_error(r, kid, "Expected remote leafnode entry to be a map/struct, got %s",
                      opt_show(r, kid));
            continue;
        }
        *remote = (struct remote_options){.account = "$G",
                                          .file = opt_text(r, slice_cstr(kid->file)),
                                          .line = kid->line,
                                          .col = kid->col};
        opt_defaults(&opt_remote, remote);
        opt_read(r, kid, &opt_remote, remote);
        for (size_t i = 0; i < count && !twice; i++)
            twice = strcmp(remote_name(r, &at[i], true), remote_name(r, remote, true)) == 0;
        if (twice)
            opt_error(r, kid->u.kids.last ? kid->u.kids.last : kid, "duplicate remote %s",
                      remote_name(r, remote, false));
        else
            count++;
    }
    leaf->remotes = at;
    leaf->nremotes = count;
}

void opt_read_leafnodes(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    struct options *o = to;
    (void)row;
    if (n->type == CONF_MAP)
        opt_read(r, n, &opt_leafnodes, &o->leaf);
    else
        opt_error(r, n, "Expected map to define a leafnode, got %s", conf_type_name(n->type));
}
