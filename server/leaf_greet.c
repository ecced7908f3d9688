/* server/leaf_greet.c -- how a link begins: INFO, TLS, CONNECT, the INFO back
 *
 *     GREETING   INFO says who the hub is; is it a hub at all? Then TLS or CONNECT
 *     SECURING   the handshake is through: CONNECT
 *     JOINING    the INFO with connect_info: who we are there, and what may cross
 *     UP         later INFOs tell of other addresses, or of other permissions: these hold for all
 *                messages from then on
 *
 * A link that was secured once never says CONNECT in plain again, whatever the next INFO asks for:
 * who sits between us and the hub must not talk us out of it, nor an address that was gossiped.
 *
 * What may cross is known in whole before the first interest is told: the hub's permissions, our
 * own denies, and what two JetStream domains keep from each other (base/domain.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/domain.h"
#include "base/mem.h"
#include "server/leaf_hello.h"
#include "server/leaf_state.h"

static void replace(char **slot, struct slice with)
{
    free(*slot);
    *slot = with.n ? slice_dup(with) : NULL;
}

void leaf_forget_permissions(struct leaf *l)
{
    leaf_list_release(&l->out);
    leaf_list_release(&l->in);
    leaf_list_release(&l->said);
}

static void add_json_list(json_t *perms, const char *key, struct leaf_list *l,
                          void (*add)(struct leaf_list *, struct slice))
{
    json_t *list = json_key(perms, key);
    for (size_t i = 0; list && i < json_array_size(list); i++) {
        json_t *s = json_array_get(list, i);
        if (json_is_string(s))
            add(l, slice_of(json_string_value(s), json_string_length(s)));
    }
}

/* Everything that restricts this link, once both domains are known. */
static void collect_permissions(struct leaf *l, const struct leaf_info *info)
{
    leaf_forget_permissions(l);
    if (info->export) {
        add_json_list(info->export, "allow", &l->out, leaf_list_allow);
        add_json_list(info->export, "deny", &l->out, leaf_list_deny);
    }
    if (info->import) {
        add_json_list(info->import, "allow", &l->in, leaf_list_allow);
        add_json_list(info->import, "deny", &l->in, leaf_list_deny);
        add_json_list(info->import, "allow", &l->said, leaf_list_allow);
        add_json_list(info->import, "deny", &l->said, leaf_list_deny);
    }
    for (size_t i = 0; i < l->cfg->ndeny_exports; i++)
        leaf_list_deny(&l->out, l->cfg->deny_exports[i]);
    for (size_t i = 0; i < l->cfg->ndeny_imports; i++) {
        leaf_list_deny(&l->in, l->cfg->deny_imports[i]);
        leaf_list_deny(&l->said, l->cfg->deny_imports[i]);
    }
    struct domain_pair pair = {
        .ours = l->host->domain,
        .jetstream = l->host->jetstream,
        .theirs = slice_cstr(l->peer_domain),
        .system = l->cfg->account->system,
        .default_is_empty = l->cfg->default_domain_is_empty,
    };
    struct buf own = BUF_INIT;
    struct slice denies[DOMAIN_DENY_MAX];
    size_t n = domain_denies(&pair, DOMAIN_OUT, &own, denies);
    for (size_t i = 0; i < n; i++)
        leaf_list_deny(&l->out, denies[i]);
    buf_clear(&own);
    n = domain_denies(&pair, DOMAIN_IN, &own, denies);
    for (size_t i = 0; i < n; i++)
        leaf_list_deny(&l->in, denies[i]);
    buf_release(&own);
}

void leaf_say_connect(struct leaf *l)
{
    struct leaf_hello h = {
        .version = l->host->version,
        .server_id = l->host->server_id,
        .name = l->host->server_name,
        .cluster = l->host->cluster,
        .domain = l->host->domain,
        .remote_account = slice_cstr(l->cfg->account->name),
        .nonce = slice_cstr(l->nonce),
        .headers = l->peer_headers,
        .jetstream = l->cfg->account->jetstream,
        .is_hub = l->cfg->hub,
        .isolate = l->cfg->isolate_request,
        .compression_known = l->peer_known_compression,
        .deny_pub = l->cfg->deny_imports,
        .ndeny_pub = l->cfg->ndeny_imports,
        .credentials = &l->at,
        .creds_file = l->cfg->credentials,
        .nkey_seed = l->cfg->nkey,
    };
    struct buf line = BUF_INIT;
    char *why = NULL;
    int err = leaf_hello_write(&h, &line, &why);
    if (err) {
        leaf_fail(l, why ? why : err_text(err), 0);
    } else {
        conn_write(l->conn, line.data, line.len);
        leaf_enter(l, LEAF_JOINING, "CONNECT is sent");
        if (!l->info_on_connect)
            leaf_enter(l, LEAF_UP, "the hub sends no second INFO");
    }
    free(why);
    if (line.data)
        explicit_bzero(line.data, line.cap);
    buf_release(&line);
}

void leaf_start_tls(struct leaf *l)
{
    struct tls_context *ctx = l->cfg->tls;
    if (!ctx && l->host->default_tls)
        ctx = l->host->default_tls(l->host->arg);
    const char *name = leaf_url_is_ip(&l->at) && l->tls_name ? l->tls_name : l->at.host;
    leaf_enter(l, LEAF_SECURING, name);
    int err = ctx ? conn_start_tls(l->conn, ctx, false, name) : E_NOTFOUND;
    if (err)
        leaf_fail(l, "the hub asks for TLS and it can't be set up", 0);
}

/* An address that is a bare IP is checked against the first host name we were ever told of. */
void leaf_remember_tls_name(struct leaf *l)
{
    if (!l->tls_name)
        replace(&l->tls_name, slice_cstr(leaf_urls_name(&l->urls)));
}

static void take_gossip(struct leaf *l, const struct leaf_info *info)
{
    struct slice urls[256];
    size_t n = leaf_info_urls(info, urls, ARRAY_LEN(urls));
    if (n == 0 || l->cfg->ignore_discovered)
        return;
    leaf_urls_gossip(&l->urls, urls, n);
    leaf_remember_tls_name(l);
}

/* The hub's first INFO. False: the link is over. */
static bool hear_greeting(struct leaf *l, const struct leaf_info *info)
{
    if (info->client_id == 0 || !(info->has_urls || info->info_on_connect)) {
        leaf_fail(l, "attempted to connect to wrong port", 0);
        return false;
    }
    if (slice_find(info->cluster, ' ') < info->cluster.n) {
        leaf_refuse(l, "cluster name cannot contain spaces", 0);
        return false;
    }
    if (slice_is(info->cluster, "_")) {
        leaf_refuse(l, "cluster name is reserved", 0);
        return false;
    }
    replace(&l->peer_name, info->server_name);
    replace(&l->peer_cluster, info->cluster);
    replace(&l->peer_domain, info->domain);
    replace(&l->nonce, info->nonce);
    l->peer_headers = info->headers;
    l->peer_known_compression = info->has_compression;
    l->info_on_connect = info->info_on_connect;
    l->peer_max_payload = info->max_payload;
    leaf_orphans_hub(l, info->server_id);
    take_gossip(l, info);
    collect_permissions(l, info);
    l->secure |= info->tls_required || l->at.tls || l->cfg->tls;
    if (l->secure && !l->cfg->tls_first)
        leaf_start_tls(l);
    else
        leaf_say_connect(l);
    return l->conn != NULL;
}

bool leaf_hear_info(struct leaf *l, struct slice text)
{
    struct leaf_info info;
    if (leaf_info_parse(text, &info)) {
        leaf_fail(l, "the hub's INFO is not JSON", 0);
        return false;
    }
    bool alive = true;
    switch ((enum leaf_state)l->state) {
    case LEAF_GREETING:
        alive = hear_greeting(l, &info);
        break;
    case LEAF_JOINING:
        if (!info.connect_info)
            break;
        replace(&l->remote_account, info.remote_account);
        take_gossip(l, &info);
        collect_permissions(l, &info);
        leaf_enter(l, LEAF_UP, "taken in");
        break;
    case LEAF_UP:
        take_gossip(l, &info);
        if (info.import || info.export)
            collect_permissions(l, &info);
        break;
    case LEAF_DOWN:
    case LEAF_RESOLVING:
    case LEAF_DIALING:
    case LEAF_SECURING:
        break;
    }
    leaf_info_release(&info);
    return alive;
}
