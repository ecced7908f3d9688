/* server/monitor_connz.c -- /connz: who is connected, and who was
 *
 * Every connection becomes a row, rows are filtered, sorted and cut to the page that was asked for.
 * A connection that closes leaves a row behind, with its own copies of its texts, in a list of at
 * most max_closed_clients; only while monitoring listens.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "server/monitor_inside.h"
#include "server/options.h"

struct row {
    struct client_view v;
    const char *kind;
    const struct client *client; /* NULL: a link, or closed */
    const struct leaf *leaf;
    const char *reason; /* NULL: open */
    int64_t stop;
};

struct closed {
    struct list link;
    struct row row;
    char text[]; /* account, user, name, lang, version */
};

/* --- the closed ones ----------------------------------------------------------------------- */

static struct slice keep_text(char **at, struct slice s)
{
    char *p = *at;
    if (s.n)
        memcpy(p, s.p, s.n);
    *at += s.n;
    return slice_of(p, s.n);
}

/* The oldest go until `left` are left. */
static void forget(struct monitor *m, size_t left)
{
    LIST_EACH_SAFE(e, &m->closed)
    {
        if (m->nclosed <= left)
            return;
        m->nclosed--;
        list_unlink(e);
        free(LIST_ENTRY(e, struct closed, link));
    }
}

void monitor_forget_closed(struct monitor *m)
{
    forget(m, 0);
}

void monitor_note_closed(struct monitor *m, const struct client *cl, const char *reason)
{
    struct client_view v;
    if (!m || m->srv->opt->max_closed_clients <= 0)
        return;
    client_look(cl, &v);
    size_t n = v.account.n + v.user.n + v.name.n + v.lang.n + v.version.n;
    struct closed *c = xmalloc(sizeof *c + n);
    char *at = c->text;
    v.account = keep_text(&at, v.account);
    v.user = keep_text(&at, v.user);
    v.name = keep_text(&at, v.name);
    v.lang = keep_text(&at, v.lang);
    v.version = keep_text(&at, v.version);
    v.state = NULL;
    c->row = (struct row){.v = v, .kind = "Client", .reason = reason, .stop = clock_wall()};
    list_push_back(&m->closed, &c->link);
    m->nclosed++;
    forget(m, (size_t)m->srv->opt->max_closed_clients);
}

/* --- rows ---------------------------------------------------------------------------------- */

struct rows {
    struct row *at; /* owned */
    size_t n, cap;
};

static struct row *rows_add(struct rows *rs)
{
    if (rs->n == rs->cap) {
        rs->cap = rs->cap ? rs->cap * 2 : 64;
        rs->at = xrealloc(rs->at, rs->cap * sizeof *rs->at);
    }
    struct row *r = &rs->at[rs->n++];
    *r = (struct row){.kind = "Client"};
    return r;
}

static void add_leaf(struct rows *rs, const struct leaf *l)
{
    struct leaf_view v;
    leaf_look(l, &v);
    if (!v.up)
        return;
    struct row *r = rows_add(rs);
    r->kind = "Leafnode";
    r->leaf = l;
    r->v = (struct client_view){.id = v.id,
                                .account = v.account,
                                .rtt_ns = v.rtt_ns,
                                .in_msgs = v.in_msgs,
                                .in_bytes = v.in_bytes,
                                .out_msgs = v.out_msgs,
                                .out_bytes = v.out_bytes,
                                .subs = v.subscriptions,
                                .pending = v.live_bytes + v.backlog_bytes,
                                .last_activity = v.start};
    r->v.net.start = v.start;
    r->v.net.port = v.port;
    (void)snprintf(r->v.net.ip, sizeof r->v.net.ip, "%s", v.ip);
}

static void gather(const struct ask *a, struct rows *rs, bool open, bool closed)
{
    struct server *srv = a->srv;
    for (struct client *cl = NULL; open && (cl = client_next(srv, cl));) {
        struct row *r = rows_add(rs);
        r->client = cl;
        client_look(cl, &r->v);
    }
    for (size_t i = 0; open && i < srv->nleafs; i++)
        add_leaf(rs, srv->leafs[i]);
    if (!closed || !a->m)
        return;
    LIST_EACH(e, &a->m->closed)
    {
        struct row *r = rows_add(rs);
        *r = LIST_ENTRY(e, struct closed, link)->row;
    }
}

/* Keeps the rows of one account (or user, or cid). */
static void keep_rows(struct rows *rs, bool (*wanted)(const struct row *r, const void *arg),
                      const void *arg)
{
    size_t n = 0;
    for (size_t i = 0; i < rs->n; i++)
        if (wanted(&rs->at[i], arg))
            rs->at[n++] = rs->at[i];
    rs->n = n;
}

static bool of_account(const struct row *r, const void *arg)
{
    return slice_is(r->v.account, arg);
}

static bool of_user(const struct row *r, const void *arg)
{
    return slice_is(r->v.user, arg);
}

static bool of_cid(const struct row *r, const void *arg)
{
    return r->v.id == *(const uint64_t *)arg;
}

/* --- order --------------------------------------------------------------------------------- */

#define KEY(name, expr)                                                                            \
    static int64_t by_##name(const struct row *r, int64_t now)                                     \
    {                                                                                              \
        (void)now;                                                                                 \
        return (int64_t)(expr);                                                                    \
    }
KEY(cid, r->v.id)
KEY(start, r->v.net.start)
KEY(subs, r->v.subs)
KEY(pending, r->v.pending)
KEY(msgs_to, r->v.out_msgs)
KEY(msgs_from, r->v.in_msgs)
KEY(bytes_to, r->v.out_bytes)
KEY(bytes_from, r->v.in_bytes)
KEY(last, r->v.last_activity)
KEY(idle, now - r->v.last_activity)
KEY(uptime, (r->reason ? r->stop : now) - r->v.net.start)
KEY(stop, r->stop)
KEY(rtt, r->v.rtt_ns)

/* now: of the present look, for uptime and idle */
typedef int64_t key_fn(const struct row *r, int64_t now);
static const struct order {
    const char *name;
    key_fn *key; /* NULL: by the text of the reason */
    bool up;     /* the smallest first */
    bool closed_only;
} orders[] = {
    {"cid", by_cid, true, false},
    {"start", by_start, true, false},
    {"subs", by_subs, false, false},
    {"pending", by_pending, false, false},
    {"msgs_to", by_msgs_to, false, false},
    {"msgs_from", by_msgs_from, false, false},
    {"bytes_to", by_bytes_to, false, false},
    {"bytes_from", by_bytes_from, false, false},
    {"last", by_last, false, false},
    {"idle", by_idle, false, false},
    {"uptime", by_uptime, false, false},
    {"stop", by_stop, false, true},
    {"reason", NULL, true, true},
    {"rtt", by_rtt, false, false},
};

struct connz {
    const struct order *order;
    bool open, closed, auth, subs, detail;
    int64_t offset, limit, now;
    uint64_t cid; /* 0: any */
    const char *user, *acc;
};

static int compare(const void *pa, const void *pb, void *arg)
{
    const struct row *a = pa, *b = pb;
    const struct connz *z = arg;
    const struct order *o = z->order;
    int64_t ka = o->key ? o->key(a, z->now) : 0, kb = o->key ? o->key(b, z->now) : 0;
    int r = (ka > kb) - (ka < kb);
    if (!o->key)
        r = strcmp(a->reason ? a->reason : "", b->reason ? b->reason : "");
    if (r == 0)
        return (a->v.id > b->v.id) - (a->v.id < b->v.id);
    return o->up ? r : -r;
}

/* --- arguments ----------------------------------------------------------------------------- */

static bool read_state(struct ask *a, struct connz *z)
{
    const char *s = ask_text(a, "state");
    z->open = !s || strcasecmp(s, "open") == 0;
    if (s && strcasecmp(s, "closed") == 0)
        z->closed = true;
    else if (s && (strcasecmp(s, "any") == 0 || strcasecmp(s, "all") == 0))
        z->open = z->closed = true;
    if (z->open || z->closed)
        return true;
    ask_complain(a, "Error decoding state for %s", s);
    return false;
}

static bool read_order(struct ask *a, struct connz *z)
{
    const char *s = ask_text(a, "sort");
    z->order = &orders[0];
    for (size_t i = 0; s && i < ARRAY_LEN(orders); i++)
        if (strcmp(s, orders[i].name) == 0)
            z->order = &orders[i];
    if (s && strcmp(s, z->order->name) != 0)
        ask_complain(a, "invalid sorting option: %s", s);
    else if (z->order->closed_only && (z->open || !z->closed))
        ask_complain(a, "sort by %s only valid on closed connections", s);
    return a->complaint == NULL;
}

static bool read_args(struct ask *a, struct connz *z)
{
    *z = (struct connz){.user = ask_text(a, "user"), .acc = ask_text(a, "acc")};
    return ask_bool(a, "auth", &z->auth) && ask_subs(a, &z->subs, &z->detail) &&
           ask_page(a, &z->offset, &z->limit) && ask_u64(a, "cid", &z->cid) && read_state(a, z) &&
           read_order(a, z);
}

/* --- writing ------------------------------------------------------------------------------- */

struct listing {
    struct json_out *j;
    bool detail;
    uint64_t cid;
};

static void list_sub(void *arg, const struct sink *s, struct slice sid, uint64_t msgs, uint64_t max)
{
    struct listing *ls = arg;
    if (ls->detail)
        json_subscription(ls->j, NULL, s, sid, msgs, max, ls->cid);
    else
        json_str(ls->j, NULL, s->subject);
}

static void list_interest(void *arg, const struct sink *s)
{
    list_sub(arg, s, s->subject, 0, 0);
}

static void write_subs(struct json_out *j, const struct row *r, const struct connz *z)
{
    struct listing ls = {j, z->detail, r->v.id};
    if ((!z->subs && !z->detail) || r->reason || !r->v.subs)
        return;
    json_arr(j, z->detail ? "subscriptions_list_detail" : "subscriptions_list");
    if (r->client)
        client_each_sub(r->client, list_sub, &ls);
    else if (r->leaf)
        leaf_each_interest(r->leaf, list_interest, &ls);
    json_end(j);
}

static void text_if(struct json_out *j, const char *key, struct slice s)
{
    if (s.n)
        json_str(j, key, s);
}

static void write_row(struct json_out *j, const struct row *r, const struct connz *z)
{
    const struct client_view *v = &r->v;
    json_obj(j, NULL);
    json_u64(j, "cid", v->id);
    json_cstr(j, "kind", r->kind);
    if (!r->leaf)
        json_cstr(j, "type", "nats");
    json_cstr(j, "ip", v->net.ip);
    json_u64(j, "port", v->net.port);
    json_time(j, "start", v->net.start);
    json_time(j, "last_activity", v->last_activity);
    if (r->reason) {
        json_time(j, "stop", r->stop);
        json_cstr(j, "reason", r->reason);
    }
    if (v->rtt_ns)
        json_duration(j, "rtt", v->rtt_ns);
    json_age(j, "uptime", (r->reason ? r->stop : z->now) - v->net.start);
    json_age(j, "idle", (r->reason ? r->stop : z->now) - v->last_activity);
    json_u64(j, "pending_bytes", r->reason ? 0 : v->pending);
    json_u64(j, "in_msgs", v->in_msgs);
    json_u64(j, "out_msgs", v->out_msgs);
    json_u64(j, "in_bytes", v->in_bytes);
    json_u64(j, "out_bytes", v->out_bytes);
    json_u64(j, "subscriptions", v->subs);
    text_if(j, "name", v->name);
    text_if(j, "lang", v->lang);
    text_if(j, "version", v->version);
    if (v->net.tls) {
        json_cstr(j, "tls_version", v->net.tls_version);
        json_cstr(j, "tls_cipher_suite", v->net.tls_cipher);
    }
    if (z->auth) {
        text_if(j, "authorized_user", v->user);
        if (!slice_is(v->account, "$G"))
            text_if(j, "account", v->account);
    }
    write_subs(j, r, z);
    if (z->auth)
        text_if(j, "name_tag", v->account);
    json_end(j);
}

void ask_connz(struct ask *a)
{
    struct connz z;
    struct rows rs = {0};
    struct json_out *j = &a->j;

    if (!read_args(a, &z))
        return;
    z.now = clock_wall();
    gather(a, &rs, z.open, z.closed);
    if (z.acc)
        keep_rows(&rs, of_account, z.acc);
    size_t total = rs.n;
    if (z.user)
        keep_rows(&rs, of_user, z.user);
    if (z.cid) {
        keep_rows(&rs, of_cid, &z.cid);
        z.limit = 1;
        z.offset = 0;
    }
    if (rs.n)
        qsort_r(rs.at, rs.n, sizeof *rs.at, compare, &z);
    size_t from = (size_t)z.offset < rs.n ? (size_t)z.offset : rs.n;
    size_t n = rs.n - from < (size_t)z.limit ? rs.n - from : (size_t)z.limit;

    json_obj(j, NULL);
    ask_head(a);
    json_u64(j, "num_connections", n);
    json_u64(j, "total", total);
    json_i64(j, "offset", z.offset);
    json_i64(j, "limit", z.limit);
    json_arr(j, "connections");
    for (size_t i = 0; i < n; i++)
        write_row(j, &rs.at[from + i], &z);
    json_end(j);
    json_end(j);
    free(rs.at);
}
