/* server/jshost.c -- JetStream's host: accounts and router, as jsapi wants to see them
 *
 *     jsapi ──publish──► router           jsapi ◄──hear── sink in the account's list
 *     jsapi ──watch────► account          jsapi ◄──interest── subject watch
 *     store ──pressure─► jsapi ──pressure──► the clients' reads rest
 *
 * What always holds
 *   (1) a registration's memory lives to the end of the turn after unsubscribe(), and refuses
 *       meanwhile;
 *   (2) jsapi is closed before the store.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/jshost.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "jsapi/jsapi.h"
#include "server/options.h"
#include "server/router.h"
#include "server/server.h"

enum { MISHAPS_MOST = 2 }; /* within a minute; then the server does without the store */

struct jshost {
    struct server *srv;
    struct route_cache last; /* deliveries to one consumer come in runs */
    bool no_room;            /* why JetStream is refused: its file system was full */
};

struct jsapi_sub {
    struct sink sink;
    struct jshost *host;
    struct account *account;
    jsapi_hear_fn *fn;
    void *fn_arg;
    bool dead;
    char text[]; /* subject, then queue */
};

struct jsapi_watch {
    struct subject_watch watch;
    char text[]; /* subject, then queue */
};

/* --- speaking and hearing ------------------------------------------------------------------- */

static enum jsapi_published publish(void *arg, void *account, struct msg_view *m)
{
    struct jshost *h = arg;
    struct route_in in = {0};
    struct route_out out;

    router_publish_cached(&h->last, account, &in, m, &out);
    if (out.taken == 0)
        return PUBLISHED_NOBODY;
    return out.rest ? PUBLISHED_REST : PUBLISHED;
}

static enum sink_result hear(struct sink *s, struct msg_view *m)
{
    struct jsapi_sub *sub = CONTAINER_OF(s, struct jsapi_sub, sink);

    if (sub->dead)
        return SINK_REFUSED;
    return sub->fn(sub->fn_arg, m, sub->account->speaker) ? SINK_TAKEN : SINK_TAKEN_REST;
}

static struct jsapi_sub *subscribe(void *arg, void *account, struct slice pattern,
                                   struct slice queue, jsapi_hear_fn *fn, void *fn_arg)
{
    struct jsapi_sub *sub = xcalloc(1, sizeof *sub + pattern.n + queue.n);

    memcpy(sub->text, pattern.p, pattern.n);
    if (queue.n)
        memcpy(sub->text + pattern.n, queue.p, queue.n);
    sub->host = arg;
    sub->account = account;
    sub->fn = fn;
    sub->fn_arg = fn_arg;
    sub->sink = (struct sink){.owner = &sub->account->inside,
                              .subject = {sub->text, pattern.n},
                              .queue = {sub->text + pattern.n, queue.n},
                              .weight = 1,
                              .internal = true,
                              .deliver = hear};
    if (account_add_sink(account, &sub->sink) < 0) {
        free(sub);
        return NULL;
    }
    return sub;
}

static void free_it(void *p)
{
    free(p);
}

static void unsubscribe(void *arg, struct jsapi_sub *sub)
{
    (void)arg;
    sub->dead = true;
    account_remove_sink(sub->account, &sub->sink);
    loop_defer(sub->host->srv->loop, free_it, sub);
}

static bool interest(void *arg, void *account, struct slice subject, struct slice queue)
{
    (void)arg;
    return account_has_interest(account, subject, queue);
}

static struct jsapi_watch *watch(void *arg, void *account, struct slice subject, struct slice queue,
                                 jsapi_interest_fn *fn, void *fn_arg, bool *has)
{
    struct jsapi_watch *w = xcalloc(1, sizeof *w + subject.n + queue.n);

    (void)arg;
    memcpy(w->text, subject.p, subject.n);
    if (queue.n)
        memcpy(w->text + subject.n, queue.p, queue.n);
    w->watch = (struct subject_watch){.subject = {w->text, subject.n},
                                      .queue = {w->text + subject.n, queue.n},
                                      .changed = fn,
                                      .arg = fn_arg};
    account_watch_subject(account, &w->watch);
    *has = w->watch.has;
    return w;
}

static void unwatch(void *arg, struct jsapi_watch *w)
{
    (void)arg;
    account_unwatch_subject(&w->watch);
    free(w);
}

static void describe(void *arg, void *from, struct json_out *out)
{
    struct client *cl = client_of(from);

    (void)arg;
    if (cl)
        client_describe(cl, out);
}

static void pressure(void *arg, bool on)
{
    struct jshost *h = arg;
    struct server *srv = h->srv;

    srv->pressure = on;
    if (!on)
        client_wake_all(srv);
}

/* --- what the store says -------------------------------------------------------------------- */

static void store_pressure(void *arg, bool on)
{
    struct jshost *h = arg;

    if (h->srv->js)
        jsapi_pressure(h->srv->js, on);
}

static void store_closing(void *arg)
{
    struct jshost *h = arg;

    if (h->srv->js)
        jsapi_closing(h->srv->js);
}

static void store_reopened(void *arg)
{
    struct jshost *h = arg;

    if (h->srv->js)
        jsapi_reopened(h->srv->js);
}

static void store_clock_moved(void *arg, int64_t by)
{
    struct jshost *h = arg;

    (void)by;
    if (h->srv->js)
        jsapi_clock_moved(h->srv->js);
}

static void store_damaged(void *arg, struct stream *s, uint64_t seq)
{
    struct jshost *h = arg;

    if (h->srv->js)
        jsapi_damaged(h->srv->js, s, seq);
}

static void store_failed(void *arg, int err)
{
    struct jshost *h = arg;

    log_fatal("JetStream store failed (%s): no message can be acknowledged any more; exit %d",
              err_text(err), STORE_EXIT);
    if (store_note_mishap(h->srv->opt->js.store_dir))
        log_warn("that could not be noted in %s", h->srv->opt->js.store_dir);
    server_stop(h->srv, STORE_EXIT);
}

/* --- open and close ------------------------------------------------------------------------- */

/* Is it the disk, or what is on it? Then a restart may help; anything else is for the operator. */
static bool is_mishap(int err)
{
    return err == E_CORRUPT || err == E_IO || err == E_SPACE || err == E_READONLY;
}

/* A store that has failed: the process ends with a status of its own, once. When that does not
 * help, or can't be noted, it goes on without JetStream. */
static int refuse(struct jshost *h, int err)
{
    const char *dir = h->srv->opt->js.store_dir;
    char text[200];

    h->no_room = err == E_SPACE || store_room_lacking(dir);

    if (err && store_note_mishap(dir) == 0 && store_mishaps(dir) < MISHAPS_MOST) {
        h->srv->exit_code = STORE_EXIT;
        return err;
    }
    jshost_refusal(h, text, sizeof text);
    log_error(
        "%s; everything else goes on. A start more than a minute after the last failure tries "
        "again (%s/jetstream)",
        text, dir);
    return 0;
}

void jshost_refusal(const struct jshost *h, char *out, size_t n)
{
    uint64_t lacking = h ? store_room_lacking(h->srv->opt->js.store_dir) : 0;

    if (!h || !h->no_room)
        (void)snprintf(out, n, "JetStream is refused: its store failed");
    else if (lacking)
        (void)snprintf(
            out, n,
            "JetStream is refused: no space for its store; free %llu MiB, then start the "
            "server again",
            (unsigned long long)(lacking >> 20) + 1);
    else
        (void)snprintf(
            out, n,
            "JetStream is refused: there was no space for its store; there is now: start "
            "the server again");
}

static int open_store(struct jshost *h)
{
    const struct jetstream_options *o = &h->srv->opt->js;
    struct store_config cfg = {o->store_dir, o->max_file, o->max_memory};
    struct store_host host = {.arg = h,
                              .turn = h->srv->turn,
                              .pressure = store_pressure,
                              .closing = store_closing,
                              .reopened = store_reopened,
                              .clock_moved = store_clock_moved,
                              .damaged = store_damaged,
                              .failed = store_failed};
    char *why = NULL;

    if (store_mishaps(o->store_dir) >= MISHAPS_MOST)
        return refuse(h, 0);
    int err = store_open(&cfg, &host, &h->srv->store, &why);
    if (err)
        log_fatal("Can't start JetStream: %s", why ? why : err_text(err));
    free(why);
    return is_mishap(err) ? refuse(h, err) : err;
}

static int open_api(struct jshost *h)
{
    struct server *srv = h->srv;
    const struct jetstream_options *o = &srv->opt->js;
    struct jsapi_host host = {.arg = h,
                              .turn = srv->turn,
                              .store = srv->store,
                              .domain = srv->domain,
                              .server_name = slice_cstr(srv->name),
                              .server_id = slice_cstr(srv->id),
                              .cluster = slice_cstr(srv->boot->leaf.nremotes ? srv->name : ""),
                              .version = SLICE(SERVER_COMPAT),
                              .max_payload = srv->opt->max_payload,
                              .strict = o->strict,
                              .max_ack_pending = o->max_ack_pending,
                              .max_request_batch = o->max_request_batch,
                              .default_max_consumers = o->default_max_consumers,
                              .duplicate_window_max_ns = o->duplicate_window_ns,
                              .max_memory = o->max_memory,
                              .max_storage = o->max_file,
                              .publish = publish,
                              .subscribe = subscribe,
                              .unsubscribe = unsubscribe,
                              .interest = interest,
                              .watch = watch,
                              .unwatch = unwatch,
                              .describe = describe,
                              .pressure = pressure};

    return jsapi_open(&host, &srv->js);
}

static const struct account_options *options_of(const struct options *o, const char *name)
{
    for (size_t i = 0; i < o->naccounts; i++)
        if (strcmp(o->accounts[i].name, name) == 0)
            return &o->accounts[i];
    return NULL;
}

/* Where only $G exists it has JetStream; otherwise the accounts that say so. Never the system
 * account. */
static bool wants_jetstream(const struct server *srv, const struct account *a,
                            const struct account_options *ao)
{
    if (a->system)
        return false;
    for (size_t i = 0; i < srv->opt->naccounts; i++)
        if (srv->system == NULL || strcmp(srv->opt->accounts[i].name, srv->system->name) != 0)
            return ao && ao->jetstream;
    return a == srv->global;
}

static int open_accounts(struct jshost *h)
{
    struct server *srv = h->srv;

    for (struct account *a = NULL; (a = accounts_next(srv->accounts, a));) {
        const struct account_options *ao = options_of(srv->opt, a->name);
        struct jsapi_limits limits = {-1, -1, -1, -1, -1, -1, -1, false};
        int err;
        if (!wants_jetstream(srv, a, ao))
            continue;
        if (ao && ao->jetstream)
            limits = (struct jsapi_limits){ao->js_max_memory,
                                           ao->js_max_store,
                                           ao->js_max_streams,
                                           ao->js_max_consumers,
                                           ao->js_max_ack_pending,
                                           ao->js_mem_max_stream_bytes,
                                           ao->js_store_max_stream_bytes,
                                           ao->js_max_bytes_required};
        err = jsapi_account_open(srv->js, a, slice_cstr(a->name), &limits, &a->js);
        if (err)
            return err;
        a->jetstream = true;
        account_set_domain(a, srv->domain);
    }
    return 0;
}

static void size_text(int64_t n, char *out, size_t cap)
{
    static const char units[] = " KMGTPE";
    double v = (double)n;
    int u = 0;

    if (n < 0) {
        (void)snprintf(out, cap, "75%% of what is there");
        return;
    }
    while (v >= 1024 && u < 6) {
        v /= 1024;
        u++;
    }
    (void)snprintf(out, cap, "%.2f %cB", v, units[u]);
}

static void banner(const struct server *srv)
{
    const struct jetstream_options *o = &srv->opt->js;
    char text[40];

    log_info("Starting JetStream");
    log_info("---------------- JETSTREAM ----------------");
    log_info("  Strict:          %s", o->strict ? "true" : "false");
    size_text(o->max_memory, text, sizeof text);
    log_info("  Max Memory:      %s", text);
    size_text(o->max_file, text, sizeof text);
    log_info("  Max Storage:     %s", text);
    log_info("  Store Directory: \"%s/jetstream\"", o->store_dir);
    if (srv->domain.n)
        log_info("  Domain:          %.*s", SLICE_FMT(srv->domain));
    log_info("  API Level:       %d", SERVER_API_LEVEL);
    log_info("-------------------------------------------");
}

int jshost_open(struct server *srv, struct jshost **out)
{
    struct jshost *h = xcalloc(1, sizeof *h);
    int err;

    h->srv = srv;
    *out = h;
    srv->domain = slice_cstr(srv->opt->js.domain);
    banner(srv);
    err = open_store(h);
    if (err)
        return err;
    if (!srv->store) /* refused */
        return 0;
    err = open_api(h);
    if (!err)
        err = open_accounts(h);
    if (err)
        log_fatal("Can't start JetStream: %s", err_text(err));
    return err;
}

void jshost_close(struct jshost *h)
{
    struct server *srv;

    if (!h)
        return;
    srv = h->srv;
    if (srv->js)
        jsapi_close(srv->js); /* its accounts with it */
    srv->js = NULL;
    for (struct account *a = NULL; (a = accounts_next(srv->accounts, a));)
        a->js = NULL;
    if (srv->store)
        store_close(srv->store);
    srv->store = NULL;
    route_cache_release(&h->last);
    free(h);
}

void jshost_drained(struct jshost *h)
{
    if (h && h->srv->js)
        jsapi_drained(h->srv->js);
}
