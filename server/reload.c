/* server/reload.c -- SIGHUP: the file is read again
 *
 *     read ──► compare ──► refused as a whole, or:
 *              options ──► log ──► rules ──► TLS ──► links ──► users
 *
 * Nothing is changed before everything that can fail has been tried. Old options and users live
 * until the new ones are in force everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "server/auth.h"
#include "server/links.h"
#include "server/options.h"
#include "server/process.h"
#include "server/server.h"
#include "server/sys.h"
#include "server/tls.h"

/* Logs line by line. */
static void say_lines(enum log_level level, const char *text)
{
    struct slice rest = slice_cstr(text);

    while (rest.n) {
        size_t n = slice_find(rest, '\n');
        if (n)
            log_line(level, "%.*s", (int)n, rest.p);
        rest = slice_skip(rest, n + 1);
    }
}

static int fail(const char *why, int err)
{
    log_error("Failed to reload server configuration: %s", why ? why : err_text(err));
    return err;
}

/* Every connection is judged anew; accounts that are new get their services. */
static int apply_users(struct server *srv, struct auth *fresh)
{
    struct auth *old = srv->auth;
    int err = 0;

    srv->auth = fresh;
    server_set_accounts(srv);
    for (struct account *a = NULL; !err && srv->sys && (a = accounts_next(srv->accounts, a));)
        err = sys_account(srv->sys, a);
    for (struct client *cl = client_next(srv, NULL), *next; cl; cl = next) {
        next = client_next(srv, cl);
        client_reload(cl, old);
    }
    auth_free(old);
    return err;
}

static void close_excess(struct server *srv)
{
    unsigned closed = 0;

    for (struct client *cl; server_is_overfull(srv) && (cl = client_next(srv, NULL));) {
        client_close(cl, CLIENT_TOO_MANY, "maximum connections exceeded");
        closed++;
    }
    if (closed)
        log_info("Closed %u connections to fall within max_connections", closed);
}

int server_reload(struct server *srv)
{
    struct options *fresh = NULL, *old = srv->opt;
    struct auth *auth = NULL;
    unsigned changes = 0;
    char *say = NULL;
    int err;

    if (!old->config_file)
        return fail("can only reload config when a file is provided using -c or --config", E_INVAL);
    err = options_load(old->config_file, srv->flags, true, &fresh, &say);
    if (!err) {
        if (say)
            say_lines(LOG_WARN, say);
        free(say);
        say = NULL;
        err = options_compare(old, fresh, &changes, &say);
    }
    if (!err) {
        char *text = say;
        say = NULL;
        err = auth_new(fresh, srv->loop, &auth, &say);
        if (!err && text)
            say_lines(LOG_INFO, text);
        free(text);
    }
    if (err) {
        fail(say, err);
        free(say);
        options_free(fresh);
        return err;
    }
    srv->opt = fresh;
    srv->config_loaded = clock_wall();
    server_set_rules(srv);
    if ((changes & (1u << RELOAD_LOG)) && process_log(srv) < 0)
        log_error("The log can't be opened as configured; the old one stays");
    if (srv->tls && tls_context_reload(srv->tls, &say) < 0)
        log_error("TLS files: %s", say ? say : "unreadable");
    free(say);
    links_reload(srv);
    err = apply_users(srv, auth);
    close_excess(srv);
    if (old != srv->boot)
        options_free(old);
    log_info("Reloaded server configuration (%s)", fresh->config_digest);
    return err;
}
