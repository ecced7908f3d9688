/* server/links.c -- the remotes of the configuration become links
 *
 * Translates options into what leaf.h takes, and passes the links' news on to JetStream: a link
 * that is up, a link that went, room again in a backlog.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/links.h"

#include "base/log.h"
#include "base/mem.h"
#include "jsapi/jsapi.h"
#include "server/jshost.h"
#include "server/leaf.h"
#include "server/options.h"
#include "server/server.h"
#include "server/tls.h"

struct links {
    struct server *srv;
    struct leaf_host host;
    struct leaf_config *configs; /* one per link: links keep what they are given */
    struct tls_context
        *roots; /* for hubs that ask for TLS where the remote has no tls block; NULL until then */
    struct tls_context **blocks; /* one per link, NULL without a tls block */
};

/* --- tls ------------------------------------------------------------------------------------ */

static const char **names(const struct text_list *l)
{
    const char **out;

    if (l->n == 0)
        return NULL;
    out = xcalloc(l->n + 1, sizeof *out);
    for (size_t i = 0; i < l->n; i++)
        out[i] = l->at[i].p;
    return out;
}

int links_tls(const struct tls_options *o, bool accepts, struct tls_context **out, char **why)
{
    struct tls_config cfg = {.server = accepts};
    const char **ciphers = NULL, **curves = NULL;
    int err;

    if (o) {
        cfg.cert_file = o->npairs ? o->pairs[0].cert_file : o->cert_file;
        cfg.key_file = o->npairs ? o->pairs[0].key_file : o->key_file;
        cfg.ca_file = o->ca_file;
        cfg.verify = o->verify;
        cfg.insecure = o->insecure;
        cfg.min_version = o->min_version;
        cfg.ciphers = ciphers = names(&o->ciphers);
        cfg.curves = curves = names(&o->curves);
    }
    err = tls_context_new(&cfg, out, why);
    free(ciphers);
    free(curves);
    return err;
}

static struct tls_context *default_tls(void *arg)
{
    struct links *ls = arg;
    char *why = NULL;

    if (!ls->roots && links_tls(NULL, false, &ls->roots, &why) < 0)
        log_error("No TLS with the system's roots: %s", why ? why : "unknown");
    free(why);
    return ls->roots;
}

/* --- news ----------------------------------------------------------------------------------- */

static uint64_t next_id(void *arg)
{
    struct links *ls = arg;

    return server_next_id(ls->srv);
}

/* Which account a link serves is in its view. */
static void tell_jetstream(struct links *ls, struct leaf *l, bool up)
{
    struct leaf_view v;
    struct account *a;

    leaf_look(l, &v);
    a = account_find(ls->srv->accounts, v.account);
    if (!a || !a->js)
        return;
    if (up)
        jsapi_link_up(a->js, v.remote_domain);
    else
        jsapi_link_down(a->js, v.remote_domain);
}

static void up(void *arg, struct leaf *l)
{
    tell_jetstream(arg, l, true);
}

static void down(void *arg, struct leaf *l)
{
    tell_jetstream(arg, l, false);
}

static void drained(void *arg)
{
    struct links *ls = arg;

    jshost_drained(ls->srv->jshost);
}

/* --- open and close ------------------------------------------------------------------------- */

/* default_js_domain of an account; NULL: none. */
static const char *default_domain(const struct options *o, const char *account)
{
    for (size_t i = 0; i < o->njs_domains; i++)
        if (strcmp(o->js_domains[i].key, account) == 0)
            return o->js_domains[i].value;
    return NULL;
}

/* Mapped to "": no denies, no second names. On the system account one such account is enough. */
static bool domain_is_empty(const struct options *o, const struct account *a)
{
    const char *domain = default_domain(o, a->name);

    for (size_t i = 0; a->system && i < o->njs_domains; i++)
        if (o->js_domains[i].value[0] == 0)
            return true;
    return domain && domain[0] == 0;
}

/* The second names of JetStream's API in the account of a link: our own domain's, if we have one,
 * and for an account without JetStream the plain ones, if they stand for a hub's. */
static void set_domains(struct server *srv, const struct leaf_config *cfg)
{
    struct account *a = cfg->account;
    const char *domain = default_domain(srv->opt, a->name);

    if (!cfg->default_domain_is_empty || a->system)
        account_set_domain(a, srv->domain);
    if (domain && domain[0] && !a->jetstream && !a->system)
        account_set_hub_domain(a, slice_cstr(domain));
}

static int open_one(struct links *ls, const struct remote_options *r)
{
    struct server *srv = ls->srv;
    const struct options *o = srv->boot;
    size_t i = srv->nleafs;
    struct account *a = account_get(srv->accounts, slice_cstr(r->account));
    struct leaf_config *cfg = &ls->configs[i];
    char *why = NULL;
    int err;

    *cfg = (struct leaf_config){
        .account = a,
        .urls = r->urls.at,
        .nurls = r->urls.n,
        .no_randomize = r->no_randomize,
        .ignore_discovered = r->ignore_discovered_servers,
        .hub = r->hub,
        .isolate = r->isolate || o->leaf.isolate,
        .isolate_request = r->request_isolation,
        .credentials = r->credentials,
        .nkey = r->nkey,
        .deny_imports = r->deny_imports.at,
        .deny_exports = r->deny_exports.at,
        .ndeny_imports = r->deny_imports.n,
        .ndeny_exports = r->deny_exports.n,
        .reconnect_ns = o->leaf.reconnect_ns,
        .dial_timeout_ns = r->dial_timeout_ns ? r->dial_timeout_ns : o->leaf.dial_timeout_ns,
        .first_info_timeout_ns = r->first_info_timeout_ns,
        .ping_interval_ns = o->ping_interval_ns,
        .ping_max = (int)o->ping_max,
        .connect_error_reports = o->connect_error_reports,
        .reconnect_error_reports = o->reconnect_error_reports,
        .write_deadline_ns =
            o->leaf.write_deadline_ns ? o->leaf.write_deadline_ns : o->write_deadline_ns,
        .default_domain_is_empty = domain_is_empty(o, a)};
    if (r->tls) {
        err = links_tls(r->tls, false, &ls->blocks[i], &why);
        if (err) {
            log_fatal("leafnode remote: %s", why ? why : err_text(err));
            free(why);
            return err;
        }
        cfg->tls = ls->blocks[i];
        cfg->tls_timeout_ns = r->tls->timeout_ns;
        cfg->tls_first = r->tls->handshake_first;
    }
    set_domains(srv, cfg);
    err = leaf_open(&ls->host, cfg, &srv->leafs[i]);
    if (err)
        log_fatal("leafnode remote: %s", err_text(err));
    else
        srv->nleafs++;
    return err;
}

int links_open(struct server *srv)
{
    const struct leafnode_options *o = &srv->boot->leaf;
    struct links *ls;
    int err = 0;

    if (o->nremotes == 0)
        return 0;
    ls = xcalloc(1, sizeof *ls);
    ls->srv = srv;
    ls->blocks = xcalloc(o->nremotes, sizeof *ls->blocks);
    ls->configs = xcalloc(o->nremotes, sizeof *ls->configs);
    ls->host = (struct leaf_host){.loop = srv->loop,
                                  .arg = ls,
                                  .version = SLICE(SERVER_COMPAT),
                                  .server_id = slice_cstr(srv->id),
                                  .server_name = slice_cstr(srv->name),
                                  .cluster = slice_cstr(srv->opt->server_name),
                                  .domain = srv->domain,
                                  .jetstream = srv->js != NULL,
                                  .max_payload = srv->opt->max_payload,
                                  .max_pending = srv->opt->max_pending,
                                  .in_msgs = &srv->in_msgs,
                                  .in_bytes = &srv->in_bytes,
                                  .out_msgs = &srv->out_msgs,
                                  .out_bytes = &srv->out_bytes,
                                  .slow_consumers = &srv->slow_consumers,
                                  .stale_connections = &srv->stale_connections,
                                  .next_id = next_id,
                                  .default_tls = default_tls,
                                  .up = up,
                                  .down = down,
                                  .drained = drained};
    srv->links = ls;
    srv->leafs = xcalloc(o->nremotes, sizeof(struct leaf *));
    for (size_t i = 0; !err && i < o->nremotes; i++)
        if (!o->remotes[i].disabled)
            err = open_one(ls, &o->remotes[i]);
    return err;
}

void links_reload(struct server *srv)
{
    struct links *ls = srv->links;

    if (!ls)
        return;
    ls->host.max_payload = srv->opt->max_payload;
    for (size_t i = 0; i < srv->nleafs; i++) {
        char *why = NULL;
        leaf_reload(srv->leafs[i]);
        if (ls->blocks[i] && tls_context_reload(ls->blocks[i], &why) < 0)
            log_error("leafnode remote: TLS files: %s", why ? why : "unreadable");
        free(why);
    }
}

void links_close(struct server *srv)
{
    for (size_t i = 0; i < srv->nleafs; i++)
        leaf_close(srv->leafs[i]);
    srv->nleafs = 0;
}

void links_free(struct server *srv)
{
    struct links *ls = srv->links;

    if (!ls)
        return;
    for (size_t i = 0; i < srv->boot->leaf.nremotes; i++)
        tls_context_unref(ls->blocks[i]);
    tls_context_unref(ls->roots);
    free(ls->blocks);
    free(ls->configs);
    free(srv->leafs);
    free(ls);
    srv->links = NULL;
}
