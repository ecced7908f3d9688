/* server/options_auth.c -- users, permissions and accounts, as written
 *
 * The authorization block and the accounts may come in any order, so users are gathered as they are
 * met and the conflicts between them (a single user beside a list, a name twice) are looked for
 * when everything is read: opt_finish_auth(). server/auth.c makes something that can be asked out
 * of what is noted here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_read.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/subject.h"

/* --- permissions --------------------------------------------------------------------- */

#define AT(field) offsetof(struct perm_options, field)

static opt_read_fn read_publish, read_subscribe, read_responses, read_response_max,
    read_response_ttl;

/* clang-format off */
static const struct opt_row permission_rows[] = {
    {"publish pub import", OPT_CALL, .read = read_publish, .help = "subjects, or {allow, deny}"},
    {"subscribe sub export", OPT_CALL, .read = read_subscribe, .help = "subjects (or \"subject queue\"), or {allow, deny}"},
    {"allow_responses publish_allow_responses", OPT_CALL, .read = read_responses, .help = "replies to delivered requests may be published: true, or {max, expires}"},
};
const struct opt_table opt_permissions = {.title = "permissions", .rows = permission_rows, .n = ARRAY_LEN(permission_rows),
    .unknown = "Unknown field ", .unknown_after = " parsing permissions"};

static const struct opt_row response_rows[] = {
    {"max max_msgs max_messages max_responses", OPT_CALL, AT(response_max), .text = "1", .read = read_response_max, .help = "per request; negative: no limit"},
    {"expires expiration ttl", OPT_CALL, AT(response_ttl_ns), .text = "2m", .read = read_response_ttl, .help = "how long; negative: no limit"},
};
const struct opt_table opt_responses = {.title = "permissions.allow_responses", .rows = response_rows, .n = ARRAY_LEN(response_rows),
    .unknown = "Unknown field ", .unknown_after = " parsing permissions"};
/* clang-format on */

static bool check_subject(struct opt_reader *r, const struct conf_node *n, struct slice s,
                          bool queues)
{
    struct slice rest = slice_trim(s), subject = {0}, queue = {0};
    if (subject_valid(s))
        return true;
    bool two =
        slice_token(&rest, &subject) && slice_token(&rest, &queue) && slice_trim(rest).n == 0;
    if (!queues || !two)
        opt_error(r, n, "subject %s is not a valid subject", opt_quote(r, s));
    else if (!subject_valid(subject))
        opt_error(r, n, "subject %s is not a valid subject", opt_quote(r, subject));
    else if (!subject_valid(queue))
        opt_error(r, n, "queue %s is not a valid queue", opt_quote(r, queue));
    else
        return true;
    return false;
}

bool opt_subjects(struct opt_reader *r, const struct conf_node *n, bool queues,
                  struct text_list *out)
{
    size_t errors = r->errors.len;
    struct text_list list = {0};
    CONF_EACH(kid, n)
    {
        if (kid->type != CONF_STRING) {
            opt_error(r, kid, "Subject in permissions array cannot be cast to string");
            return false;
        }
    }
    if (n->type != CONF_STRING && n->type != CONF_ARRAY) {
        opt_error(r, n,
                  "Expected subject permissions to be a subject, or array of subjects, got %s",
                  conf_type_name(n->type));
        return false;
    }
    if (opt_texts(r, n, "subjects", &list))
        for (size_t i = 0; i < list.n && r->errors.len == errors; i++)
            check_subject(r, n, list.at[i], queues);
    if (r->errors.len != errors)
        return false;
    *out = list;
    return true;
}

/* "foo", ["foo", "bar"], or {allow: …, deny: …}. */
static void read_lists(struct opt_reader *r, const struct conf_node *n, bool queues,
                       struct text_list *allow, struct text_list *deny)
{
    *allow = *deny = (struct text_list){0};
    if (n->type != CONF_MAP) {
        opt_subjects(r, n, queues, allow);
        return;
    }
    CONF_EACH(kid, n)
    {
        if (conf_key_is(kid, "allow"))
            opt_subjects(r, kid, queues, allow);
        else if (conf_key_is(kid, "deny"))
            opt_subjects(r, kid, queues, deny);
        else if (!kid->used)
            opt_error(r, kid,
                      "Unknown field name %s parsing subject permissions, only 'allow' or 'deny' "
                      "are permitted",
                      opt_quote(r, slice_cstr(kid->key)));
    }
}

static void read_publish(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to)
{
    struct perm_options *p = to;
    (void)row;
    read_lists(r, n, false, &p->pub_allow, &p->pub_deny);
}

static void read_subscribe(struct opt_reader *r, const struct conf_node *n,
                           const struct opt_row *row, void *to)
{
    struct perm_options *p = to;
    (void)row;
    read_lists(r, n, true, &p->sub_allow, &p->sub_deny);
}

static void read_response_max(struct opt_reader *r, const struct conf_node *n,
                              const struct opt_row *row, void *to)
{
    struct perm_options *p = to;
    (void)row;
    if (opt_is(r, n, CONF_INT) && n->u.i != 0)
        p->response_max = n->u.i < 0 ? -1 : n->u.i > INT32_MAX ? INT32_MAX : (int)n->u.i;
}

static void read_response_ttl(struct opt_reader *r, const struct conf_node *n,
                              const struct opt_row *row, void *to)
{
    struct perm_options *p = to;
    int64_t ns = 0;
    (void)row;
    if (n->type != CONF_STRING)
        opt_error(r, n, "error parsing expires, not a duration string");
    else if (duration_parse(n->u.str.p, n->u.str.n, &ns) < 0)
        opt_error(r, n, "error parsing expires: time: invalid duration %s", opt_quote(r, n->u.str));
    else if (ns != 0)
        p->response_ttl_ns = ns;
}

static void read_responses(struct opt_reader *r, const struct conf_node *n,
                           const struct opt_row *row, void *to)
{
    struct perm_options *p = to;
    (void)row;
    if (n->type == CONF_BOOL) {
        p->responses = n->u.b;
        return;
    }
    if (n->type != CONF_MAP) {
        opt_error(r, n, "error parsing response permissions, expected a boolean or a map");
        return;
    }
    p->responses = true;
    opt_read(r, n, &opt_responses, p);
}

static const struct perm_options *read_permissions(struct opt_reader *r, const struct conf_node *n)
{
    struct perm_options p = {.response_max = 1, .response_ttl_ns = 120 * NS_PER_S};
    if (n->type != CONF_MAP) {
        opt_error(r, n, "Expected permissions to be a map/struct, got %s", opt_show(r, n));
        return NULL;
    }
    opt_read(r, n, &opt_permissions, &p);
    p.pub_only_listed = p.responses && p.pub_allow.n == 0;
    return opt_copy(r, &p, sizeof p);
}

/* Any `permissions` row: the target's field at row->at is a pointer to them. */
static void read_permissions_row(struct opt_reader *r, const struct conf_node *n,
                                 const struct opt_row *row, void *to)
{
    *(const struct perm_options **)(void *)((char *)to + row->at) = read_permissions(r, n);
}

/* --- users --------------------------------------------------------------------------- */

#undef AT
#define AT(field) offsetof(struct user_options, field)

static opt_read_fn read_types, read_proxy_required;

/* clang-format off */
static const struct opt_row user_rows[] = {
    {"user username", OPT_STRING, AT(user), .help = "name"},
    {"password pass", OPT_STRING, AT(password), .help = "plain or bcrypt"},
    {"nkey", OPT_STRING, AT(nkey), .help = "public user key instead of name and password"},
    {"permissions permission authorization", OPT_CALL, AT(perms), .read = read_permissions_row, .help = "what it may do; everything without"},
    {"allowed_connection_types connection_types clients", OPT_CALL, AT(types), .read = read_types, .help = "STANDARD WEBSOCKET LEAFNODE LEAFNODE_WS MQTT MQTT_WS IN_PROCESS"},
    {"proxy_required", OPT_CALL, .read = read_proxy_required, .help = "only through a trusted proxy"},
};
/* clang-format on */
const struct opt_table opt_user = {.title = "users", .rows = user_rows, .n = ARRAY_LEN(user_rows)};

static void read_proxy_required(struct opt_reader *r, const struct conf_node *n,
                                const struct opt_row *row, void *to)
{
    (void)row;
    (void)to;
    if (opt_is(r, n, CONF_BOOL) && n->u.b)
        opt_error(
            r, n,
            "\"%s\" needs a feature this server does not have yet, and can't be ignored safely",
            n->key);
}

static void read_types(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                       void *to)
{
    static const char *const names[] = {"STANDARD", "WEBSOCKET", "LEAFNODE",  "LEAFNODE_WS",
                                        "MQTT",     "MQTT_WS",   "IN_PROCESS"};
    struct user_options *u = to;
    struct text_list list;
    struct buf unknown = BUF_INIT;
    (void)row;
    if (!opt_texts(r, n, "allowed connection types", &list))
        return;
    for (size_t i = 0; i < list.n; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(names) && !slice_ieq(list.at[i], slice_cstr(names[k])))
            k++;
        if (k < ARRAY_LEN(names)) {
            u->types |= 1u << k;
            continue;
        }
        char *upper = opt_copy(r, list.at[i].p, list.at[i].n + 1);
        for (char *p = upper; *p; p++)
            if (*p >= 'a' && *p <= 'z')
                *p = (char)(*p & ~0x20);
        buf_printf(&unknown, "%s%s", unknown.len ? " " : "", opt_quote(r, slice_cstr(upper)));
    }
    if (unknown.len)
        opt_error(r, n, "invalid connection types [%s]", buf_cstr(&unknown));
    buf_release(&unknown);
}

static void read_user(struct opt_reader *r, const struct conf_node *n, const char *account)
{
    struct user_options u = {.account = account};
    unsigned char key[32];
    enum nkey_kind kind;
    if (n->type != CONF_MAP) {
        opt_error(r, n, "Expected user entry to be a map/struct, got %s", opt_show(r, n));
        return;
    }
    opt_read(r, n, &opt_user, &u);
    const struct conf_node *at =
        n->u.kids.last ? n->u.kids.last : n; /* where the reference points */
    bool has_name = u.user && *u.user, has_key = u.nkey && *u.nkey;
    if (!has_name && !has_key) {
        opt_error(r, at, "User entry requires a user");
        return;
    }
    if (has_key && (nkey_public_decode(slice_cstr(u.nkey), key, &kind) < 0 || kind != NKEY_USER)) {
        opt_error(r, at, "Not a valid public nkey for a user");
        return;
    }
    if (has_key && (has_name || (u.password && *u.password))) {
        opt_error(r, at, "Nkey users do not take usernames or passwords");
        return;
    }
    u.user = has_name ? u.user : NULL;
    u.nkey = has_key ? u.nkey : NULL;
    u.password = u.password ? u.password : "";
    opt_push(&r->users, &u, sizeof u);
}

static void read_users(struct opt_reader *r, const struct conf_node *n, const char *account)
{
    if (n->type != CONF_ARRAY) {
        opt_error(r, n, "Expected users field to be an array, got %s", opt_show(r, n));
        return;
    }
    CONF_EACH(kid, n)
    read_user(r, kid, account);
}

static struct user_options *users_of(struct opt_reader *r, size_t *n)
{
    *n = r->users.len / sizeof(struct user_options);
    return (struct user_options *)(void *)buf_slice(&r->users).p;
}

/* Users from number `first` on that have no permissions of their own get these. */
static void apply_default(struct opt_reader *r, size_t first, const struct perm_options *perms)
{
    size_t n;
    struct user_options *users = users_of(r, &n);
    for (size_t i = first; i < n; i++)
        if (!users[i].perms)
            users[i].perms = perms;
}

/* --- the authorization block --------------------------------------------------------- */

struct auth_block {
    const char *user, *password, *token;
    int64_t timeout_ns;
    const struct perm_options *perms;
};

#undef AT
#define AT(field) offsetof(struct auth_block, field)

static opt_read_fn read_auth_timeout, read_auth_users;

/* clang-format off */
static const struct opt_row auth_rows[] = {
    {"user username", OPT_STRING, AT(user), .help = "the single user"},
    {"password pass", OPT_STRING, AT(password), .help = "its password, plain or bcrypt"},
    {"token", OPT_STRING, AT(token), .help = "the single token"},
    {"timeout", OPT_CALL, AT(timeout_ns), .read = read_auth_timeout, .text = "2s, with TLS its timeout and 1s", .help = "time to authenticate"},
    {"users", OPT_CALL, .read = read_auth_users, .help = "several users, of the global account"},
    {"default_permissions default_permission permissions", OPT_CALL, AT(perms), .read = read_permissions_row, .help = "of users without their own"},
    {"proxy_required", OPT_CALL, .read = read_proxy_required, .help = "only through a trusted proxy"},
    {"auth_callout auth_hook", OPT_REFUSED, .help = "somebody else decides"},
};
/* clang-format on */
const struct opt_table opt_authorization = {
    .title = "authorization", .rows = auth_rows, .n = ARRAY_LEN(auth_rows)};

static void read_auth_timeout(struct opt_reader *r, const struct conf_node *n,
                              const struct opt_row *row, void *to)
{
    struct auth_block *a = to;
    (void)row;
    if (!opt_seconds(r, n, "error parsing authorization config", &a->timeout_ns))
        return;
    if (a->timeout_ns > 60 * NS_PER_S)
        opt_warn(r, n,
                 "invalid use of field %s: timeout of %s (%f seconds) is high, consider keeping it "
                 "under 60 seconds. "
                 "possibly caused by unquoted duration; use '1m' instead of 1m, for example",
                 opt_quote(r, slice_cstr(n->key)), opt_show(r, n), (double)a->timeout_ns / 1e9);
}

static void read_auth_users(struct opt_reader *r, const struct conf_node *n,
                            const struct opt_row *row, void *to)
{
    (void)row;
    (void)to;
    read_users(r, n, "$G");
}

void opt_read_authorization(struct opt_reader *r, const struct conf_node *n,
                            const struct opt_row *row, void *to)
{
    struct options *o = to;
    struct auth_block a = {0};
    size_t first = r->users.len / sizeof(struct user_options);
    (void)row;
    if (!opt_is(r, n, CONF_MAP))
        return;
    opt_read(r, n, &opt_authorization, &a);
    apply_default(r, first, a.perms);
    r->auth = n;
    o->auth_block = true;
    o->user = a.user && *a.user ? a.user : NULL;
    o->password = a.password && *a.password ? a.password : NULL;
    o->token = a.token && *a.token ? a.token : NULL;
    o->auth_timeout_ns = a.timeout_ns > 0 ? a.timeout_ns : 0;
    if ((o->user || o->password) && o->token)
        opt_error(r, n, "Cannot have a user/pass and token");
}

/* --- accounts ------------------------------------------------------------------------ */

#undef AT
#define AT(field) offsetof(struct account_options, field)

static opt_read_fn read_account_nkey, read_account_limits, read_account_js, read_account_users,
    read_js_number, read_js_bool, read_js_traffic;

/* clang-format off */
static const struct opt_row limit_rows[] = {
    {"max_connections max_conn", OPT_INT, AT(max_connections), .dflt = -1, .help = "clients; -1: no limit"},
    {"max_subscriptions max_subs", OPT_INT, AT(max_subscriptions), .dflt = -1, .help = "of all its connections; -1: no limit"},
    {"max_payload max_pay", OPT_INT, AT(max_payload), .dflt = -1, .help = "bytes; -1: the server's"},
    {"max_leafnodes max_leafs", OPT_INT, AT(max_leafs), .dflt = -1, .help = "links; -1: no limit"},
};
const struct opt_table opt_account_limits = {.title = "accounts.limits", .rows = limit_rows, .n = ARRAY_LEN(limit_rows),
    .unknown = "Unknown field ", .unknown_after = " parsing account limits"};

static const struct opt_row js_rows[] = {
    {"max_memory max_mem mem memory", OPT_CALL, AT(js_max_memory), .read = read_js_number, .text = "-1", .help = "bytes of memory streams"},
    {"max_store max_file max_disk store disk", OPT_CALL, AT(js_max_store), .read = read_js_number, .text = "-1", .help = "bytes of file streams"},
    {"max_streams streams", OPT_CALL, AT(js_max_streams), .read = read_js_number, .text = "-1", .help = "streams"},
    {"max_consumers consumers", OPT_CALL, AT(js_max_consumers), .read = read_js_number, .text = "-1", .help = "consumers"},
    {"max_bytes_required max_stream_bytes max_bytes", OPT_CALL, AT(js_max_bytes_required), .read = read_js_bool, .text = "false", .help = "streams must name max_bytes"},
    {"mem_max_stream_bytes memory_max_stream_bytes", OPT_CALL, AT(js_mem_max_stream_bytes), .read = read_js_number, .text = "-1", .help = "bytes of one memory stream"},
    {"store_max_stream_bytes disk_max_stream_bytes", OPT_CALL, AT(js_store_max_stream_bytes), .read = read_js_number, .text = "-1", .help = "bytes of one file stream"},
    {"max_ack_pending", OPT_CALL, AT(js_max_ack_pending), .read = read_js_number, .text = "-1", .help = "of one consumer"},
    {"cluster_traffic", OPT_CALL, .read = read_js_traffic, .help = "for clusters"},
};
const struct opt_table opt_account_js = {.title = "accounts.jetstream", .rows = js_rows, .n = ARRAY_LEN(js_rows)};

static const struct opt_row account_rows[] = {
    {"users", OPT_CALL, .read = read_account_users, .help = "who belongs to it"},
    {"default_permissions", OPT_CALL, AT(default_perms), .read = read_permissions_row, .help = "of users without their own"},
    {"limits", OPT_CALL, .read = read_account_limits, .help = "of connections"},
    {"jetstream", OPT_CALL, .read = read_account_js, .help = "streams: true, enabled, or limits"},
    {"nkey", OPT_CALL, AT(nkey), .read = read_account_nkey, .help = "public account key"},
    {"imports", OPT_LATER, .help = "subjects of other accounts"},
    {"exports", OPT_LATER, .help = "subjects for other accounts"},
    {"mappings maps", OPT_LATER, .help = "subject mappings"},
    {"msg_trace trace_dest", OPT_LATER, .help = "message tracing"},
};
/* clang-format on */
const struct opt_table opt_account = {
    .title = "accounts", .rows = account_rows, .n = ARRAY_LEN(account_rows)};

static void read_account_nkey(struct opt_reader *r, const struct conf_node *n,
                              const struct opt_row *row, void *to)
{
    struct account_options *a = to;
    unsigned char key[32];
    enum nkey_kind kind;
    (void)row;
    if (n->type != CONF_STRING || nkey_public_decode(n->u.str, key, &kind) < 0 ||
        kind != NKEY_ACCOUNT)
        opt_error(r, n, "Not a valid public nkey for an account: %s",
                  opt_quote(r, slice_cstr(opt_show(r, n))));
    else
        a->nkey = opt_text(r, n->u.str);
}

static void read_account_limits(struct opt_reader *r, const struct conf_node *n,
                                const struct opt_row *row, void *to)
{
    (void)row;
    if (n->type == CONF_MAP)
        opt_read(r, n, &opt_account_limits, to);
    else
        opt_error(r, n, "Expected account limits to be a map/struct, got %s", opt_show(r, n));
}

static void read_js_number(struct opt_reader *r, const struct conf_node *n,
                           const struct opt_row *row, void *to)
{
    if (n->type == CONF_INT)
        *(int64_t *)(void *)((char *)to + row->at) = n->u.i;
    else
        opt_error(r, n, "Expected a parseable size for %s, got %s",
                  opt_quote(r, slice_cstr(n->key)), opt_show(r, n));
}

static void read_js_bool(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to)
{
    if (n->type == CONF_BOOL)
        *(bool *)((char *)to + row->at) = n->u.b;
    else
        opt_error(r, n, "Expected a parseable bool for %s, got %s",
                  opt_quote(r, slice_cstr(n->key)), opt_show(r, n));
}

static void read_js_traffic(struct opt_reader *r, const struct conf_node *n,
                            const struct opt_row *row, void *to)
{
    (void)row;
    (void)to;
    if (n->type != CONF_STRING ||
        (!slice_is(n->u.str, "system") && !slice_is(n->u.str, "owner") && n->u.str.n))
        opt_error(r, n, "Expected 'system' or 'owner' string value for %s, got %s",
                  opt_quote(r, slice_cstr(n->key)), opt_show(r, n));
}

static void read_account_js(struct opt_reader *r, const struct conf_node *n,
                            const struct opt_row *row, void *to)
{
    struct account_options *a = to;
    (void)row;
    if (n->type == CONF_BOOL || n->type == CONF_STRING) {
        opt_enabled(r, n, &a->jetstream);
    } else if (n->type == CONF_MAP) {
        a->jetstream = true;
        opt_read(r, n, &opt_account_js, a);
    } else {
        opt_error(r, n, "Expected map, bool or string to define JetStream, got %s",
                  conf_type_name(n->type));
    }
}

static void read_account_users(struct opt_reader *r, const struct conf_node *n,
                               const struct opt_row *row, void *to)
{
    struct account_options *a = to;
    (void)row;
    read_users(r, n, a->name);
}

static void add_account(struct opt_reader *r, const char *name, const struct conf_node *n)
{
    struct account_options a = {.name = opt_text(r, slice_cstr(name)),
                                .js_max_memory = -1,
                                .js_max_store = -1,
                                .js_max_streams = -1,
                                .js_max_consumers = -1,
                                .js_max_ack_pending = -1,
                                .js_mem_max_stream_bytes = -1,
                                .js_store_max_stream_bytes = -1};
    size_t first = r->users.len / sizeof(struct user_options);
    opt_defaults(&opt_account_limits, &a);
    if (n)
        opt_read(r, n, &opt_account, &a);
    apply_default(r, first, a.default_perms);
    opt_push(&r->accounts, &a, sizeof a);
}

static bool account_known(struct opt_reader *r, const char *name)
{
    const struct account_options *at = (const void *)buf_slice(&r->accounts).p;
    size_t n = at ? r->accounts.len / sizeof *at : 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(at[i].name, name) == 0)
            return true;
    return false;
}

static void account_list(struct opt_reader *r, const struct conf_node *n)
{
    CONF_EACH(kid, n)
    {
        if (!opt_is(r, kid, CONF_STRING))
            return;
        if (slice_is(kid->u.str, "$G"))
            opt_error(r, kid, "%s is a Reserved Account", opt_quote(r, kid->u.str));
        else if (account_known(r, kid->u.str.p))
            opt_error(r, kid, "Duplicate Account Entry: %s", kid->u.str.p);
        else
            add_account(r, kid->u.str.p, NULL);
    }
}

/* What of the accounts block a reload may change (who is in) and what it may not (the rest). */
static void mark_accounts(struct opt_reader *r, const struct conf_node *n)
{
    struct buf fixed = BUF_INIT, users = BUF_INIT;
    CONF_EACH(account, n)
    {
        buf_printf(&fixed, "%s{", account->key ? account->key : "");
        buf_printf(&users, "%s{", account->key ? account->key : "");
        if (account->type != CONF_MAP)
            conf_json(account, &fixed);
        CONF_EACH(kid, account)
        {
            bool who = conf_key_is(kid, "users") || conf_key_is(kid, "default_permissions");
            buf_printf(who ? &users : &fixed, "%s:", kid->key);
            conf_json(kid, who ? &users : &fixed);
        }
        buf_add_char(&fixed, '}');
        buf_add_char(&users, '}');
    }
    opt_mark(r, "Accounts", RELOAD_NO, opt_text(r, buf_slice(&fixed)));
    opt_mark(r, "accounts users", RELOAD_AUTH, opt_text(r, buf_slice(&users)));
    buf_release(&fixed);
    buf_release(&users);
}

void opt_read_accounts(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                       void *to)
{
    (void)row;
    (void)to;
    if (n->type == CONF_ARRAY)
        account_list(r, n);
    CONF_EACH(kid, n)
    {
        if (n->type != CONF_MAP || kid->used) /* a variable kept among the accounts */
            continue;
        if (kid->type != CONF_MAP)
            opt_error(r, kid, "Expected map entries for accounts");
        else if (strcmp(kid->key, "$G") == 0)
            opt_error(r, kid, "%s is a Reserved Account", opt_quote(r, slice_cstr(kid->key)));
        else
            add_account(r, kid->key, kid);
    }
    mark_accounts(r, n);
}

/* --- when all is read ---------------------------------------------------------------- */

static bool is_bcrypt(const char *s)
{
    return s[0] == '$' && s[1] == '2' && s[2] && strchr("abxy", s[2]) && s[3] == '$';
}

static int by_name(const void *a, const void *b)
{
    const struct user_options *const *x = a, *const *y = b;
    const char *left = (*x)->nkey ? (*x)->nkey : (*x)->user,
               *right = (*y)->nkey ? (*y)->nkey : (*y)->user;
    return strcmp(left, right);
}

static void find_duplicates(struct opt_reader *r, const struct user_options *users, size_t n)
{
    const struct user_options **sorted = xcalloc(n + 1, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &users[i];
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0 &&
            (i < 2 || by_name(&sorted[i - 2], &sorted[i]) != 0))
            opt_error(
                r, r->auth, "Duplicate %s %s detected", sorted[i]->nkey ? "nkey" : "user",
                opt_quote(r, slice_cstr(sorted[i]->nkey ? sorted[i]->nkey : sorted[i]->user)));
    free(sorted);
}

void opt_finish_auth(struct opt_reader *r)
{
    struct options *o = r->o;
    size_t n;
    const struct user_options *users = users_of(r, &n);
    bool list = r->auth && conf_get(r->auth, "users") != NULL;
    const char *what = list ? "a users array" : "accounts";
    if ((list || n) && (o->user || o->password))
        opt_error(r, r->auth, "Can not have a single user/pass and %s", what);
    if ((list || n) && o->token)
        opt_error(r, r->auth, "Can not have a token and %s", what);
    find_duplicates(r, users, n);
    o->users = opt_copy(r, users, n * sizeof *users);
    o->nusers = n;
    o->naccounts = r->accounts.len / sizeof(struct account_options);
    o->accounts = opt_copy(r, buf_slice(&r->accounts).p, r->accounts.len);
    o->plain_passwords =
        (o->password && !is_bcrypt(o->password)) || (o->token && !is_bcrypt(o->token));
    for (size_t i = 0; i < n; i++)
        o->plain_passwords =
            o->plain_passwords || (*users[i].password && !is_bcrypt(users[i].password));
}
