/* server/client_hello.c -- CONNECT: what a client wants, and who it is
 *
 *     CONNECT {…} ──► read ──► known? ──► the rest looked at ──► into the account
 *                       │        └─ bcrypt: CHECKING, the helper thread answers later
 *                       └─ not an object, a member of the wrong type: closed without a word
 *
 * A second CONNECT is allowed: subscriptions are dropped, it is checked again, members that are not
 * mentioned keep their values. The order of refusals is the reference's: credentials, account key,
 * protocol, no_responders.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/client_state.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

struct hello { /* CONNECT's members; strings borrow from the document */
    json_t *doc;
    int protocol;
    bool verbose, pedantic, echo, headers, no_responders;
    struct slice name, lang, version, account;
    bool new_account;
    struct auth_hello who;
};

static bool get_bool(json_t *doc, const char *key, bool *out)
{
    json_t *v = json_key(doc, key);

    if (!v || json_is_null(v))
        return true;
    if (!json_is_boolean(v))
        return false;
    *out = json_is_true(v);
    return true;
}

static bool get_str(json_t *doc, const char *key, struct slice *out)
{
    json_t *v = json_key(doc, key);

    if (!v || json_is_null(v))
        return true;
    if (!json_is_string(v))
        return false;
    *out = slice_of(json_string_value(v), json_string_length(v));
    return true;
}

static bool get_int(json_t *doc, const char *key, int *out)
{
    json_t *v = json_key(doc, key);

    if (!v || json_is_null(v))
        return true;
    if (!json_is_integer(v) || json_integer_value(v) > INT32_MAX ||
        json_integer_value(v) < INT32_MIN)
        return false;
    *out = (int)json_integer_value(v);
    return true;
}

/* What it does not mention stays as it is. False: not JSON, or a member of the wrong type. */
static bool read_hello(const struct client *cl, struct slice text, struct hello *h)
{
    *h = (struct hello){.protocol = cl->protocol,
                        .verbose = cl->verbose,
                        .pedantic = cl->pedantic,
                        .echo = !cl->ep.no_echo,
                        .headers = cl->headers,
                        .no_responders = cl->no_responders};
    if (json_read(text, &h->doc, NULL) < 0 || !json_is_object(h->doc))
        return false;
    return get_bool(h->doc, "verbose", &h->verbose) && get_bool(h->doc, "pedantic", &h->pedantic) &&
           get_bool(h->doc, "echo", &h->echo) && get_bool(h->doc, "headers", &h->headers) &&
           get_bool(h->doc, "no_responders", &h->no_responders) &&
           get_int(h->doc, "protocol", &h->protocol) && get_str(h->doc, "name", &h->name) &&
           get_str(h->doc, "lang", &h->lang) && get_str(h->doc, "version", &h->version) &&
           get_str(h->doc, "account", &h->account) &&
           get_bool(h->doc, "new_account", &h->new_account) &&
           get_str(h->doc, "user", &h->who.user) && get_str(h->doc, "pass", &h->who.pass) &&
           get_str(h->doc, "auth_token", &h->who.token) && get_str(h->doc, "nkey", &h->who.nkey) &&
           get_str(h->doc, "sig", &h->who.sig) && get_str(h->doc, "jwt", &h->who.jwt);
}

static void keep(char **where, struct slice what)
{
    if (what.n == 0)
        return;
    free(*where);
    *where = slice_dup(what);
}

static void take_hello(struct client *cl, const struct hello *h)
{
    cl->connected = true;
    cl->verbose = h->verbose;
    cl->pedantic = h->pedantic;
    cl->ep.no_echo = !h->echo;
    cl->headers = h->headers && !cl->srv->rules.no_headers;
    cl->no_responders = h->no_responders;
    cl->protocol = h->protocol;
    cl->names_account = h->account.n || h->new_account;
    keep(&cl->name, h->name);
    keep(&cl->lang, h->lang);
    keep(&cl->version, h->version);
}

/* --- yes or no ------------------------------------------------------------------------------ */

static void refuse(struct client *cl, const struct auth_hello *who)
{
    struct buf line = BUF_INIT;

    buf_add_str(&line, "authentication error");
    if (who && (who->nkey.n || who->user.n)) {
        buf_add_str(&line, who->nkey.n ? " - Nkey " : " - User ");
        client_quote(&line, who->nkey.n ? who->nkey : who->user);
    }
    client_log(cl, LOG_ERROR, "%s", buf_cstr(&line));
    buf_release(&line);
    client_close(cl, CLIENT_AUTH_VIOLATION, "Authorization Violation");
}

/* Who it is is known; the rest of CONNECT is looked at. Takes the reference. */
static void admit(struct client *cl, struct auth_user *user)
{
    client_set_user(cl, user);
    if (cl->names_account) {
        refuse(cl, NULL);
        return;
    }
    if (cl->protocol < 0 || cl->protocol > 1) {
        client_close(cl, CLIENT_BAD_VERSION, "invalid client protocol");
        return;
    }
    if (cl->no_responders && !cl->headers) {
        client_close(cl, CLIENT_NEEDS_HEADERS, "no responders requires headers support");
        return;
    }
    if (client_join(cl, client_account(cl), "CONNECT"))
        client_ok(cl);
}

static void checked(void *arg, bool yes, struct auth_user *user)
{
    struct client *cl = arg;

    cl->check = NULL;
    conn_resume(cl->conn);
    conn_yield(cl->conn);
    if (yes)
        admit(cl, user);
    else
        refuse(cl, NULL);
}

static void check(struct client *cl, struct auth_hello *who)
{
    struct auth_user *user = NULL;

    who->nonce = slice_cstr(cl->nonce);
    switch (auth_check(cl->srv->auth, who, checked, cl, &user, &cl->check)) {
    case AUTH_YES:
        admit(cl, user);
        return;
    case AUTH_NO:
        refuse(cl, who);
        return;
    case AUTH_BUSY:
        client_log(cl, LOG_ERROR, "too many passwords wait to be compared");
        client_close(cl, CLIENT_AUTH_TIMEOUT, "Authentication Timeout");
        return;
    case AUTH_LATER:
        client_enter(cl, CLIENT_CHECKING, "bcrypt");
        conn_timeout(cl->conn,
                     0); /* the helper answers; the time it takes is not the client's fault */
        conn_pause(cl->conn);
        return;
    }
}

static bool shows_nothing(const struct auth_hello *w)
{
    return !w->user.n && !w->pass.n && !w->token.n && !w->nkey.n && !w->sig.n && !w->jwt.n;
}

void client_connect_word(struct client *cl, struct slice json)
{
    struct hello h;

    if (!read_hello(cl, json, &h)) {
        client_log(cl, LOG_ERROR,
                   "error parsing CONNECT: not an object, or a member of the wrong type");
        client_close(cl, CLIENT_PROTOCOL, NULL);
        json_free(h.doc);
        return;
    }
    if (log_trace_on) /* never the secrets */
        client_log(cl, LOG_TRACE,
                   "<<- [CONNECT {\"name\":\"%.*s\",\"lang\":\"%.*s\",\"version\":\"%.*s\"}]",
                   SLICE_FMT(h.name), SLICE_FMT(h.lang), SLICE_FMT(h.version));
    take_hello(cl, &h);
    if (!cl->rtt_guess_ns) { /* until the first PONG, as the reference guesses */
        cl->rtt_guess_ns = clock_mono() - conn_last_write(cl->conn);
        if (cl->rtt_guess_ns <= 0)
            cl->rtt_guess_ns = 1;
    }
    client_leave(cl);
    if (!auth_required(cl->srv->auth) && shows_nothing(&h.who))
        admit(cl, auth_default_user(cl->srv->auth) ? auth_user_ref(auth_default_user(cl->srv->auth))
                                                   : NULL);
    else
        check(cl, &h.who);
    json_free(h.doc);
}
