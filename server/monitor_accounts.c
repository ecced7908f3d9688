/* server/monitor_accounts.c -- links, subscriptions and accounts: /leafz /subsz /accountz /accstatz
 *
 * A leaf-only server has neither routes nor gateways; /routez and /gatewayz say so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/subject.h"
#include "server/monitor_inside.h"

/* --- /leafz ------------------------------------------------------------------------------------
 */

static void list_subject(void *arg, const struct sink *s)
{
    json_str(arg, NULL, s->subject);
}

static void write_leaf(struct json_out *j, const struct leaf *l, bool subs)
{
    struct leaf_view v;
    leaf_look(l, &v);
    json_obj(j, NULL);
    json_u64(j, "id", v.id);
    json_str(j, "name", v.remote_name);
    json_bool(j, "is_spoke", v.spoke);
    json_str(j, "account", v.account);
    json_cstr(j, "ip", v.ip);
    json_u64(j, "port", v.port);
    if (v.rtt_ns)
        json_duration(j, "rtt", v.rtt_ns);
    json_u64(j, "in_msgs", v.in_msgs);
    json_u64(j, "out_msgs", v.out_msgs);
    json_u64(j, "in_bytes", v.in_bytes);
    json_u64(j, "out_bytes", v.out_bytes);
    json_u64(j, "subscriptions", v.subscriptions);
    if (subs && v.subscriptions) {
        json_arr(j, "subscriptions_list");
        leaf_each_interest(l, list_subject, j);
        json_end(j);
    }
    if (v.compression.n)
        json_str(j, "compression", v.compression);
    json_end(j);
}

static bool leaf_is_wanted(const struct leaf *l, const char *acc)
{
    struct leaf_view v;
    leaf_look(l, &v);
    return v.up && (!acc || slice_is(v.account, acc));
}

void ask_leafz(struct ask *a)
{
    struct server *srv = a->srv;
    const char *acc = ask_text(a, "acc");
    bool subs = false;
    uint64_t n = 0;

    if (!ask_bool(a, "subs", &subs))
        return;
    for (size_t i = 0; i < srv->nleafs; i++)
        n += leaf_is_wanted(srv->leafs[i], acc);
    json_obj(&a->j, NULL);
    ask_head(a);
    json_u64(&a->j, "leafnodes", n);
    json_arr(&a->j, "leafs");
    for (size_t i = 0; i < srv->nleafs; i++)
        if (leaf_is_wanted(srv->leafs[i], acc))
            write_leaf(&a->j, srv->leafs[i], subs);
    json_end(&a->j);
    json_end(&a->j);
}

/* --- /subsz -------------------------------------------------------------------------------------
 */

static void write_sublist(struct json_out *j, const struct sublist_stats *s)
{
    json_u64(j, "num_subscriptions", s->count);
    json_u64(j, "num_cache", s->cache_size);
    json_u64(j, "num_inserts", s->inserts);
    json_u64(j, "num_removes", s->removes);
    json_u64(j, "num_matches", s->matches);
    json_f64(j, "cache_hit_rate", s->matches ? (double)s->cache_hits / (double)s->matches : 0);
    json_u64(j, "max_fanout", s->fanout_max);
    json_f64(j, "avg_fanout", s->cache_size ? (double)s->fanout_sum / (double)s->cache_size : 0);
}

static void add_stats(struct sublist_stats *sum, const struct sublist_stats *s)
{
    sum->count += s->count;
    sum->inserts += s->inserts;
    sum->removes += s->removes;
    sum->matches += s->matches;
    sum->cache_hits += s->cache_hits;
    sum->cache_size += s->cache_size;
    sum->fanout_sum += s->fanout_sum;
    if (s->fanout_max > sum->fanout_max)
        sum->fanout_max = s->fanout_max;
}

/* The walk over all subscriptions of clients and links, twice: to count, then to write a page. */
struct walk {
    const char *acc;   /* NULL: all */
    struct slice test; /* only what this subject reaches; empty: all */
    int64_t seen, offset, limit;
    struct json_out *j; /* NULL: only count */
    const char *account;
    uint64_t cid;
};

static void walk_sub(void *arg, const struct sink *s, struct slice sid, uint64_t msgs, uint64_t max)
{
    struct walk *w = arg;
    if (w->test.n && !subject_match(w->test, s->subject))
        return;
    int64_t at = w->seen++;
    if (w->j && at >= w->offset && at - w->offset < w->limit)
        json_subscription(w->j, w->account, s, sid, msgs, max, w->cid);
}

static void walk_interest(void *arg, const struct sink *s)
{
    walk_sub(arg, s, s->subject, 0, 0);
}

static void walk_all(struct server *srv, struct walk *w)
{
    w->seen = 0;
    for (struct client *cl = NULL; (cl = client_next(srv, cl));) {
        struct client_view v;
        client_look(cl, &v);
        struct account *acc = account_find(srv->accounts, v.account);
        if (!acc || (w->acc && strcmp(w->acc, acc->name) != 0))
            continue;
        w->account = acc->name;
        w->cid = v.id;
        client_each_sub(cl, walk_sub, w);
    }
    for (size_t i = 0; i < srv->nleafs; i++) {
        struct leaf_view v;
        leaf_look(srv->leafs[i], &v);
        struct account *acc = account_find(srv->accounts, v.account);
        if (!acc || !v.up || (w->acc && strcmp(w->acc, acc->name) != 0))
            continue;
        w->account = acc->name;
        w->cid = v.id;
        leaf_each_interest(srv->leafs[i], walk_interest, w);
    }
}

void ask_subsz(struct ask *a)
{
    struct walk w = {.acc = ask_text(a, "acc"), .test = slice_cstr(ask_text(a, "test"))};
    struct sublist_stats sum = {0};
    struct json_out *j = &a->j;
    bool subs = false;

    if (!ask_bool(a, "subs", &subs) || !ask_page(a, &w.offset, &w.limit))
        return;
    if (w.test.n && !subject_valid_literal(w.test)) {
        ask_complain(a, "invalid test subject, must be valid publish subject: %s",
                     ask_text(a, "test"));
        return;
    }
    for (struct account *acc = NULL; (acc = accounts_next(a->srv->accounts, acc));) {
        struct sublist_stats s;
        if (w.acc && strcmp(w.acc, acc->name) != 0)
            continue;
        sublist_stats(acc->subs, &s);
        add_stats(&sum, &s);
    }
    if (subs)
        walk_all(a->srv, &w);
    json_obj(j, NULL);
    ask_head(a);
    write_sublist(j, &sum);
    json_i64(j, "total", w.seen);
    json_i64(j, "offset", w.offset);
    json_i64(j, "limit", w.limit);
    if (w.seen > w.offset) {
        json_arr(j, "subscriptions_list");
        w.j = j;
        walk_all(a->srv, &w);
        json_end(j);
    }
    json_end(j);
}

/* --- /accountz /accstatz ------------------------------------------------------------------------
 */

static void write_account(struct ask *a, const struct account *acc)
{
    struct json_out *j = &a->j;
    struct sublist_stats s;
    sublist_stats(acc->subs, &s);
    json_obj(j, "account_detail");
    json_cstr(j, "account_name", acc->name);
    json_time(j, "update_time", a->srv->config_loaded);
    if (acc->system)
        json_bool(j, "is_system", true);
    json_bool(j, "expired", false);
    json_bool(j, "complete", true);
    json_bool(j, "jetstream_enabled", acc->jetstream);
    json_u64(j, "leafnode_connections", acc->leafs);
    json_u64(j, "client_connections", acc->clients);
    json_u64(j, "subscriptions", s.count);
    json_cstr(j, "name_tag", acc->name);
    json_obj(j, "sublist_stats");
    write_sublist(j, &s);
    json_end(j);
    json_end(j);
}

void ask_accountz(struct ask *a)
{
    struct server *srv = a->srv;
    const char *name = ask_text(a, "acc");
    struct account *acc = name ? account_find(srv->accounts, slice_cstr(name)) : NULL;

    if (name && !acc) {
        ask_complain(a, "Account %s does not exist", name);
        return;
    }
    json_obj(&a->j, NULL);
    ask_head(a);
    if (srv->system)
        json_cstr(&a->j, "system_account", srv->system->name);
    if (acc) {
        write_account(a, acc);
    } else {
        json_arr(&a->j, "accounts");
        for (acc = NULL; (acc = accounts_next(srv->accounts, acc));)
            json_cstr(&a->j, NULL, acc->name);
        json_end(&a->j);
    }
    json_end(&a->j);
}

static void write_flow(struct json_out *j, const char *key, uint64_t msgs, uint64_t bytes,
                       uint64_t leaf_msgs, uint64_t leaf_bytes)
{
    static const char *const parts[] = {"gateways", "routes", "leafs"};
    json_obj(j, key);
    json_u64(j, "msgs", msgs);
    json_u64(j, "bytes", bytes);
    for (int i = 0; i < 3; i++) {
        json_obj(j, parts[i]);
        json_u64(j, "msgs", i == 2 ? leaf_msgs : 0);
        json_u64(j, "bytes", i == 2 ? leaf_bytes : 0);
        json_end(j);
    }
    json_end(j);
}

static void write_accstat(struct ask *a, const struct account *acc)
{
    struct json_out *j = &a->j;
    json_obj(j, NULL);
    json_cstr(j, "acc", acc->name);
    json_cstr(j, "name", acc->name);
    json_u64(j, "conns", acc->clients);
    json_u64(j, "leafnodes", acc->leafs);
    json_u64(j, "total_conns", acc->clients + acc->leafs);
    json_u64(j, "num_subscriptions", sublist_count(acc->subs));
    write_flow(j, "sent", acc->out_msgs, acc->out_bytes, acc->by_links.out_msgs,
               acc->by_links.out_bytes);
    write_flow(j, "received", acc->in_msgs, acc->in_bytes, acc->by_links.in_msgs,
               acc->by_links.in_bytes);
    json_u64(j, "slow_consumers", acc->slow_consumers);
    json_end(j);
}

void ask_accstatz(struct ask *a)
{
    bool unused = false;
    if (!ask_bool(a, "unused", &unused))
        return;
    json_obj(&a->j, NULL);
    ask_head(a);
    json_arr(&a->j, "account_statz");
    for (struct account *acc = NULL; (acc = accounts_next(a->srv->accounts, acc));)
        if (unused || acc->clients + acc->leafs > 0)
            write_accstat(a, acc);
    json_end(&a->j);
    json_end(&a->j);
}

/* --- what a leaf-only server has none of --------------------------------------------------------
 */

void ask_routez(struct ask *a)
{
    json_obj(&a->j, NULL);
    json_cstr(&a->j, "server_id", a->srv->id);
    json_cstr(&a->j, "server_name", a->srv->name);
    json_time(&a->j, "now", clock_wall());
    json_u64(&a->j, "num_routes", 0);
    json_arr(&a->j, "routes");
    json_end(&a->j);
    json_end(&a->j);
}

void ask_gatewayz(struct ask *a)
{
    json_obj(&a->j, NULL);
    ask_head(a);
    json_obj(&a->j, "outbound_gateways");
    json_end(&a->j);
    json_obj(&a->j, "inbound_gateways");
    json_end(&a->j);
    json_end(&a->j);
}
