/* server/server.c -- opens rooms bottom-up, closes them top-down
 *
 *     open    log · loop · signals · accounts · auth · tls · monitor · JetStream · $SYS services ·
 *             listener · links
 *     close   the same, backwards
 *
 * Whatever fails at open is logged where it failed; server_close() is called all the same and
 * passes over what was never opened.
 *
 * server_stop() says good-bye from inside the loop: JetStream's pullers hear 409, the store closes,
 * clients are closed. What waits for a client that reads is still sent: the loop ends when all are
 * gone, which takes at most what a connection has for its last words (conn.h). server_close()
 * frees afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/auth.h"
#include "server/jshost.h"
#include "server/links.h"
#include "server/listener.h"
#include "server/monitor.h"
#include "server/options.h"
#include "server/process.h"
#include "server/sys.h"
#include "server/tls.h"

uint64_t server_next_id(struct server *srv)
{
    return ++srv->last_id;
}

bool server_is_overfull(const struct server *srv)
{
    int64_t max = srv->opt->max_connections;

    return max < 0 || (max > 0 && srv->nclients > max);
}

/* --- open ----------------------------------------------------------------------------------- */

static void make_identity(struct server *srv)
{
    unsigned char seed[32], pub[32];

    random_bytes(seed, sizeof seed);
    if (ed25519_public(seed, pub) < 0)
        random_bytes(pub, sizeof pub);
    nkey_public_encode(NKEY_SERVER, pub, srv->id);
    srv->name = xstrdup(srv->opt->server_name ? srv->opt->server_name : srv->id);
    srv->host = xstrdup(srv->opt->client_advertise ? srv->opt->client_advertise : srv->opt->host);
}

void server_set_accounts(struct server *srv)
{
    const struct options *o = srv->opt;

    srv->global = account_get(srv->accounts, SLICE("$G"));
    srv->system =
        o->system_account ? account_get(srv->accounts, slice_cstr(o->system_account)) : NULL;
    if (srv->system)
        srv->system->system = true;
    for (size_t i = 0; i < o->naccounts; i++) {
        const struct account_options *ao = &o->accounts[i];
        struct account *a = account_get(srv->accounts, slice_cstr(ao->name));
        a->max_connections = ao->max_connections > 0 ? (uint32_t)ao->max_connections : 0;
        a->max_subs = ao->max_subscriptions > 0 ? (uint32_t)ao->max_subscriptions : 0;
        a->max_payload = ao->max_payload > 0 ? (uint64_t)ao->max_payload : 0;
        a->max_leafs = ao->max_leafs > 0 ? (uint32_t)ao->max_leafs : 0;
    }
}

void server_set_rules(struct server *srv)
{
    const struct options *o = srv->opt;

    srv->rules = (struct client_rules){
        .max_control_line = (size_t)o->max_control_line,
        .max_payload = o->max_payload,
        .max_pending = o->max_pending,
        .max_subs = o->max_subscriptions > 0 ? (uint32_t)o->max_subscriptions : 0,
        .max_sub_tokens = (uint32_t)o->max_sub_tokens,
        .ping_interval_ns = o->ping_interval_ns,
        .ping_max = (int)o->ping_max,
        .auth_timeout_ns = o->auth_timeout_ns,
        .tls_timeout_ns = o->tls ? o->tls->timeout_ns : 0,
        .write_deadline_ns = o->write_deadline_ns,
        .no_stall = o->no_fast_producer_stall,
        .no_headers = o->no_header_support,
        .traced_max = (size_t)o->max_traced_msg_len,
        .tls = o->tls != NULL,
        .tls_verify = o->tls && o->tls->verify,
        .tls_optional =
            o->tls && o->allow_non_tls && (!o->tls->handshake_first || o->tls->first_fallback_ns),
        .tls_first = o->tls && o->tls->handshake_first,
        .tls_first_wait_ns = o->tls ? o->tls->first_fallback_ns : 0,
    };
}

static void on_client(void *arg, struct listener *l, int fd)
{
    (void)l;
    client_open(arg, fd);
}

static int open_listener(struct server *srv)
{
    const char *host = srv->opt->host;
    char *why = NULL;
    int err = listener_open(srv->loop, host, srv->opt->port, on_client, srv, &srv->listener, &why);

    if (err) {
        log_fatal(strchr(host, ':') ? "Error listening on port: [%s]:%d, %s"
                                    : "Error listening on port: %s:%d, %s",
                  host, srv->opt->port, why ? why : err_text(err));
        free(why);
        return err;
    }
    srv->port = listener_port(srv->listener);
    log_info(strchr(host, ':') ? "Listening for client connections on [%s]:%u"
                               : "Listening for client connections on %s:%u",
             host, srv->port);
    if (srv->rules.tls)
        log_info(srv->rules.tls_optional ? "TLS available for client connections"
                                         : "TLS required for client connections");
    return 0;
}

static int open_tls(struct server *srv)
{
    char *why = NULL;
    int err;

    if (!srv->opt->tls)
        return 0;
    err = links_tls(srv->opt->tls, true, &srv->tls, &why);
    if (err)
        log_fatal("%s", why ? why : err_text(err));
    free(why);
    return err;
}

static int open_auth(struct server *srv)
{
    char *why = NULL;
    int err = auth_new(srv->opt, srv->loop, &srv->auth, &why);

    if (err)
        log_fatal("%s", why ? why : err_text(err));
    free(why);
    return err;
}

int server_open(struct server *srv, struct options *opt, const struct options_flags *flags,
                const char *argv0)
{
    int err;

    *srv = (struct server){.opt = opt, .boot = opt, .flags = flags, .argv0 = argv0};
    list_init(&srv->clients);
    list_init(&srv->leaving);
    list_init(&srv->resting);
    clock_tick();
    srv->start = srv->config_loaded = clock_wall();
    srv->start_mono = clock_mono();
    make_identity(srv);
    if ((err = process_log(srv)))
        return err;
    process_greet(srv);
    process_files_limit();
    srv->loop = loop_new();
    if (!srv->loop) {
        log_fatal("The event loop can't be made: %s", strerror(errno));
        return E_SYS;
    }
    srv->turn = loop_turn(srv->loop);
    srv->accounts = accounts_new();
    server_set_accounts(srv);
    server_set_rules(srv);
    if ((err = process_signals(srv)) || (err = open_auth(srv)) || (err = open_tls(srv)) ||
        (err = process_pid_file(srv)) || (err = monitor_open(srv, &srv->monitor)))
        return err;
    if (opt->js.enabled && (err = jshost_open(srv, &srv->jshost)))
        return err;
    if ((err = sys_open(srv, &srv->sys)) || (err = open_listener(srv)) || (err = links_open(srv)))
        return err;
    process_ports_file(srv);
    log_info("Server is ready");
    return 0;
}

/* --- run and stop --------------------------------------------------------------------------- */

void server_run(struct server *srv)
{
    loop_run(srv->loop);
}

static void good_bye(void *arg)
{
    struct server *srv = arg;

    turn_unset(srv->turn, &srv->duck);
    listener_close(srv->listener);
    srv->listener = NULL;
    jshost_close(srv->jshost);
    srv->jshost = NULL;
    for (struct client *cl; (cl = client_next(srv, NULL));)
        client_close(cl, CLIENT_SHUTDOWN, NULL);
    client_finish_leaving(srv);
    links_close(srv);
    srv->good_bye = true;
    if (srv->nclosing == 0)
        server_all_gone(srv);
}

void server_all_gone(struct server *srv)
{
    if (srv->good_bye)
        loop_stop(srv->loop); /* this turn still frees what was closed */
}

void server_stop(struct server *srv, int exit_code)
{
    if (srv->stopping)
        return;
    srv->stopping = true;
    srv->exit_code = exit_code;
    log_info("Initiating Shutdown...");
    turn_post_init(&srv->stop, good_bye, srv);
    turn_post_now(srv->turn, &srv->stop);
}

void server_close(struct server *srv)
{
    if (srv->loop && !srv->stopping) { /* it never ran: one turn for the good-bye */
        server_stop(srv, srv->exit_code);
        loop_run(srv->loop);
    }
    if (srv->loop)
        process_ports_file_remove(srv);
    monitor_close(srv->monitor);
    sys_close(srv->sys);
    links_free(srv);
    loop_free(srv->loop);
    auth_free(srv->auth);
    accounts_free(srv->accounts);
    tls_context_unref(srv->tls);
    log_info("Server Exiting..");
    free(srv->host);
    free(srv->name);
    if (srv->opt != srv->boot)
        options_free(srv->opt);
    options_free(srv->boot);
    log_close();
}
