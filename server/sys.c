/* server/sys.c -- the server's own services
 *
 *     $SYS.REQ.USER.INFO       every account      who am I, what may I?
 *     $SYS.REQ.SERVER.PING     system account     {"server":{…},"statsz":{…}}
 *
 * Each is a sink that prepares its answer at once (who asks is known only during the call) and
 * posts it: a publish is never made inside a delivery. Who asks faster than answers leave rests.
 *
 * A PING may come over a link, so that a hub lists its sites; who a client of another server is
 * that one knows.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/sys.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "server/monitor.h"
#include "server/options.h"
#include "server/router.h"
#include "server/server.h"

#define WAITING_MOST (512u << 10) /* bytes of answers: a user's permissions may be long */

typedef void service_fn(const struct sys *s, const struct client *who, struct json_out *out);

struct service {
    struct sink sink;
    struct list link; /* in sys->services */
    struct sys *sys;
    struct account *account;
    service_fn *answer;
};

struct answer { /* waits for the post */
    struct list link;
    struct account *account;
    struct buf text;
    size_t reply_n;
    char reply[];
};

struct sys {
    struct server *srv;
    struct list services, answers;
    size_t waiting; /* bytes of answers */
    struct turn_post post;
    uint64_t seq; /* of the envelopes */
};

/* --- answers -------------------------------------------------------------------------------- */

static void server_member(const struct sys *s, struct json_out *out)
{
    const struct server *srv = s->srv;

    json_obj(out, "server");
    json_cstr(out, "name", srv->name);
    json_cstr(out, "host", srv->host);
    json_cstr(out, "id", srv->id);
    if (srv->boot->leaf.nremotes && srv->boot->server_name) /* as links call it */
        json_cstr(out, "cluster", srv->boot->server_name);
    if (srv->domain.n)
        json_str(out, "domain", srv->domain);
    json_cstr(out, "ver", SERVER_COMPAT);
    json_bool(out, "jetstream", srv->js != NULL);
    json_u64(out, "flags", srv->js ? 1 : 0);
    json_u64(out, "seq", s->seq);
    json_time(out, "time", clock_wall());
    json_end(out);
}

static void user_info(const struct sys *s, const struct client *who, struct json_out *out)
{
    json_obj(out, NULL);
    server_member(s, out);
    json_obj(out, "data");
    client_user_info(who, out);
    json_end(out);
    json_end(out);
}

static void count_pair(struct json_out *out, const char *key, uint64_t msgs, uint64_t bytes)
{
    json_obj(out, key);
    json_u64(out, "msgs", msgs);
    json_u64(out, "bytes", bytes);
    json_end(out);
}

static void ping(const struct sys *s, const struct client *who, struct json_out *out)
{
    const struct server *srv = s->srv;
    uint64_t subs = 0, accounts = 0;

    (void)who;
    for (struct account *a = NULL; (a = accounts_next(srv->accounts, a));) {
        subs += sublist_count(a->subs);
        accounts += a->clients > 0;
    }
    json_obj(out, NULL);
    server_member(s, out);
    json_obj(out, "statsz");
    json_time(out, "start", srv->start);
    monitor_load(srv, out);
    json_u64(out, "connections", srv->nclients);
    json_u64(out, "total_connections", srv->total_connections);
    json_u64(out, "active_accounts", accounts);
    json_u64(out, "subscriptions", subs);
    count_pair(out, "sent", srv->out_msgs, srv->out_bytes);
    count_pair(out, "received", srv->in_msgs, srv->in_bytes);
    json_u64(out, "slow_consumers", srv->slow_consumers);
    json_end(out);
    json_end(out);
}

/* --- asked and posted ----------------------------------------------------------------------- */

static void speak(void *arg)
{
    struct sys *s = arg;
    struct list *e;

    s->waiting = 0;
    while ((e = list_pop(&s->answers))) {
        struct answer *a = LIST_ENTRY(e, struct answer, link);
        struct route_in in = {0};
        struct route_out out;
        struct msg_view m = {.subject = {a->reply, a->reply_n}, .payload = buf_slice(&a->text)};
        router_publish(a->account, &in, &m, &out);
        buf_release(&a->text);
        free(a);
    }
}

static enum sink_result asked(struct sink *sink, struct msg_view *m)
{
    struct service *sv = CONTAINER_OF(sink, struct service, sink);
    struct sys *s = sv->sys;
    struct client *who = client_of(sv->account->speaker);
    struct answer *a;
    struct json_out out;

    if (m->reply.n == 0 || (!who && sv->answer == user_info))
        return SINK_TAKEN;
    a = xcalloc(1, sizeof *a + m->reply.n);
    a->account = sv->account;
    a->reply_n = m->reply.n;
    memcpy(a->reply, m->reply.p, m->reply.n);
    s->seq++;
    json_begin(&out, &a->text);
    sv->answer(s, who, &out);
    list_init(&a->link);
    list_push_back(&s->answers, &a->link);
    s->waiting += a->text.len;
    turn_post_now(s->srv->turn, &s->post);
    return s->waiting > WAITING_MOST ? SINK_TAKEN_REST : SINK_TAKEN;
}

static int serve(struct sys *s, struct account *a, struct slice subject, service_fn *answer)
{
    struct service *sv;

    LIST_EACH(it, &s->services)
    { /* asked again at a reload */
        const struct service *old = LIST_ENTRY(it, struct service, link);
        if (old->account == a && old->answer == answer)
            return 0;
    }
    sv = xcalloc(1, sizeof *sv);
    sv->sys = s;
    sv->account = a;
    sv->answer = answer;
    sv->sink = (struct sink){
        .owner = &a->inside, .subject = subject, .weight = 1, .internal = true, .deliver = asked};
    list_init(&sv->link);
    list_push_back(&s->services, &sv->link);
    return account_add_sink(a, &sv->sink);
}

int sys_account(struct sys *s, struct account *a)
{
    int err = 0;

    if (!s->srv->system) /* no_system_account: no services */
        return 0;
    err = serve(s, a, SLICE("$SYS.REQ.USER.INFO"), user_info);
    if (!err && a->system)
        err = serve(s, a, SLICE("$SYS.REQ.SERVER.PING"), ping);
    return err;
}

int sys_open(struct server *srv, struct sys **out)
{
    struct sys *s = xcalloc(1, sizeof *s);
    int err = 0;

    *out = s;
    s->srv = srv;
    list_init(&s->services);
    list_init(&s->answers);
    turn_post_init(&s->post, speak, s);
    for (struct account *a = NULL; !err && (a = accounts_next(srv->accounts, a));)
        err = sys_account(s, a);
    return err;
}

void sys_close(struct sys *s)
{
    struct list *e;

    if (!s)
        return;
    while ((e = list_pop(&s->services))) {
        struct service *sv = LIST_ENTRY(e, struct service, link);
        account_remove_sink(sv->account, &sv->sink);
        free(sv);
    }
    while ((e = list_pop(&s->answers))) {
        struct answer *a = LIST_ENTRY(e, struct answer, link);
        buf_release(&a->text);
        free(a);
    }
    free(s);
}
