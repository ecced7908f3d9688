/* tests/unit/jsapi/two_places.h -- a hub and a site over one clock, and a link between them
 *
 * Each place is the whole room over the real store, in a directory of its own. The link carries
 * what a leaf link would: the site's requests to "$JS.hub.API.>", and both ways what the other
 * listens to. It can be cut (what is under way is lost, and so is the interest), and it can be slow
 * (nothing passes for a while). A place can end and begin again, with its file as it is or as it
 * was; the receipts of commits can be held, as on a slow disk.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TWO_PLACES_H
#define TEST_TWO_PLACES_H

#include "base/subject.h"
#include "consumer_site.h"
#include "storage/store.h"
#include "storage/writer.h"
#include "unit/store_file.h"

enum { HUB, SITE, PLACES };

struct place {
    struct jshost h; /* first: what the host's functions get is a place, too */
    struct store *store;
    struct jsapi *js;
    struct jsapi_account *acc;
    struct slice domain;
    struct turn turn; /* the world's, but for the mail */
    char dir[80];
    bool up, slow_disk; /* slow_disk: its receipts are held while the world holds some */
};
struct lent { /* a subscription, and whether the other place knows */
    struct list link;
    struct jsapi_sub *sub;
    struct place *of;
    char *pattern;
    bool known, gone;
};
struct parcel {
    struct list link;
    struct msg *msg;
    struct slice via;
};
struct world {
    struct fake_turn ft;
    struct place at[PLACES];
    struct list lent;
    struct list under_way[PLACES]; /* struct parcel, to that place */
    struct turn_post carry;
    bool linked, slow;
    bool holds;           /* the receipts of commits */
    pthread_mutex_t lock; /* of the letters */
    struct letter {
        turn_fn *fn;
        void *arg;
    } letters[8];
    unsigned n_letters;
};
static struct world *world;
static struct jsapi_host plain; /* the functions of a host alone */

static struct place *other(const struct place *p)
{
    return &world->at[p == &world->at[HUB] ? SITE : HUB];
}

/* --- receipts -------------------------------------------------------------------------------- */

static void hold_or_deliver(int place, turn_fn *fn, void *arg)
{
    pthread_mutex_lock(&world->lock);
    bool held = world->holds && world->at[place].slow_disk;
    if (held) {
        assert_true(world->n_letters < ARRAY_LEN(world->letters));
        world->letters[world->n_letters++] = (struct letter){fn, arg};
    }
    pthread_mutex_unlock(&world->lock);
    if (!held)
        world->ft.turn.mail(&world->ft, fn, arg);
}

static void mail_at_hub(void *loop, turn_fn *fn, void *arg)
{
    (void)loop;
    hold_or_deliver(HUB, fn, arg);
}

static void mail_at_site(void *loop, turn_fn *fn, void *arg)
{
    (void)loop;
    hold_or_deliver(SITE, fn, arg);
}

static inline void hold_mail(bool at_hub, bool at_site)
{
    world->at[HUB].slow_disk = at_hub;
    world->at[SITE].slow_disk = at_site;
    world->holds = true;
}

static void let_mail_go(void)
{
    pthread_mutex_lock(&world->lock);
    world->holds = false;
    for (unsigned i = 0; i < world->n_letters; i++)
        world->ft.turn.mail(&world->ft, world->letters[i].fn, world->letters[i].arg);
    world->n_letters = 0;
    pthread_mutex_unlock(&world->lock);
}

/* --- the link -------------------------------------------------------------------------------- */

static void drop_parcel(struct parcel *p)
{
    list_unlink(&p->link);
    msg_unref(p->msg);
    free((char *)p->via.p);
    free(p);
}

static void send_over(const struct place *to, const struct msg_view *m, struct slice via)
{
    struct parcel *p = xcalloc(1, sizeof *p);
    p->msg = msg_new(m);
    p->via = slice_of(slice_dup(via), via.n);
    list_push_back(&world->under_way[to - world->at], &p->link);
    turn_post_now(&world->ft.turn, &world->carry);
}

static enum jsapi_published publish_here(void *arg, void *account, struct msg_view *m)
{
    struct place *p = arg, *to = other(p);
    struct slice route = msg_route(m), head = SLICE("$JS.hub.API.");
    if (p->up && world->linked && p == &world->at[SITE] && slice_starts(route, head)) {
        char *api = xasprintf("$JS.API.%.*s", SLICE_FMT(slice_skip(route, head.n)));
        struct msg_view there = *m;
        there.subject = slice_cstr(api);
        there.shared = NULL;
        send_over(to, &there, there.subject);
        free(api);
    } else if (p->up && world->linked && slice_starts(route, SLICE("$JS.FC."))) {
        send_over(to, m, route);
    } else if (p->up && world->linked) {
        LIST_EACH(e, &world->lent)
        {
            const struct lent *l = LIST_ENTRY(e, struct lent, link);
            if (l->of == to && l->known && subject_match(route, slice_cstr(l->pattern))) {
                send_over(to, m, route);
                break;
            }
        }
    }
    return plain.publish(arg, account, m);
}

static struct jsapi_sub *subscribe_here(void *arg, void *account, struct slice pattern,
                                        struct slice queue, jsapi_hear_fn *fn, void *fn_arg)
{
    struct jsapi_sub *sub = plain.subscribe(arg, account, pattern, queue, fn, fn_arg);
    if (slice_starts(pattern, SLICE("$JS.S.")) || slice_starts(pattern, SLICE("$JS.M.")) ||
        slice_starts(pattern, SLICE("$JSC.R.")) || slice_starts(pattern, SLICE("durable."))) {
        struct lent *l = xcalloc(1, sizeof *l);
        l->sub = sub;
        l->of = arg;
        l->pattern = slice_dup(pattern);
        list_push_back(&world->lent, &l->link);
        turn_post_now(&world->ft.turn, &world->carry);
    }
    return sub;
}

static void unsubscribe_here(void *arg, struct jsapi_sub *sub)
{
    LIST_EACH(e, &world->lent)
    {
        struct lent *l = LIST_ENTRY(e, struct lent, link);
        if (l->sub == sub) {
            l->gone = true;
            l->sub = NULL;
            turn_post_now(&world->ft.turn, &world->carry);
        }
    }
    plain.unsubscribe(arg, sub);
}

static void forget_lent(struct lent *l)
{
    list_unlink(&l->link);
    free(l->pattern);
    free(l);
}

static void interest_crosses(void)
{
    LIST_EACH_SAFE(e, &world->lent)
    {
        struct lent *l = LIST_ENTRY(e, struct lent, link);
        struct place *to = other(l->of);
        if (l->known && (l->gone || !world->linked)) {
            l->known = false;
            if (to->up)
                jshost_unwant(&to->h, l->pattern);
        }
        if (l->gone)
            forget_lent(l);
        else if (!l->known && world->linked && (l->known = to->up))
            jshost_want(&to->h, l->pattern);
    }
}

static void carry(void *arg)
{
    (void)arg;
    for (int i = 0; i < PLACES; i++) /* watches hear of the place's own subscriptions */
        if (world->at[i].up)
            jshost_unwant(&world->at[i].h, "nothing");
    if (world->slow)
        return;
    interest_crosses();
    for (int i = 0; i < PLACES; i++) {
        struct list *l = &world->under_way[i];
        for (unsigned n = 3; n && !list_empty(l); n--) {
            struct parcel *p = LIST_ENTRY(l->next, struct parcel, link);
            struct msg_view m = msg_view_of(p->msg);
            m.via = p->via;
            m.shared = NULL; /* ours stays ours */
            list_unlink(&p->link);
            if (world->at[i].up)
                jshost_hear(&world->at[i].h, ACC, &m);
            drop_parcel(p);
        }
        if (!list_empty(l))
            turn_post_now(&world->ft.turn, &world->carry);
    }
}

static void cut(void)
{
    if (!world->linked)
        return;
    world->linked = world->slow = false;
    for (int i = 0; i < PLACES; i++)
        while (!list_empty(&world->under_way[i]))
            drop_parcel(LIST_ENTRY(world->under_way[i].next, struct parcel, link));
    interest_crosses();
    for (int i = 0; i < PLACES; i++)
        if (world->at[i].up) {
            jshost_unwant(&world->at[i].h, "$JS.hub.API.>");
            jsapi_link_down(world->at[i].acc, world->at[!i].domain);
        }
}

static void join(void)
{
    if (world->linked || !world->at[HUB].up || !world->at[SITE].up)
        return;
    world->linked = true;
    interest_crosses();
    jshost_want(&world->at[SITE].h, "$JS.hub.API.>");
    for (int i = 0; i < PLACES; i++)
        jsapi_link_up(world->at[i].acc, world->at[!i].domain);
}

static inline void be_slow(bool on)
{
    world->slow = on && world->linked;
    turn_post_now(&world->ft.turn, &world->carry);
}

/* --- life ------------------------------------------------------------------------------------ */

static void place_closing(void *arg)
{
    struct place *p = arg;
    if (p->js)
        jsapi_closing(p->js);
}

static void place_reopened(void *arg)
{
    jsapi_reopened(((struct place *)arg)->js);
}

static void place_up(struct place *p)
{
    char *why = NULL;
    struct store_config cfg = {
        .dir = p->dir, .max_file_bytes = 64 << 20, .max_mem_bytes = 64 << 20};
    struct jsapi_limits limits = {-1, -1, -1, -1, -1, -1, -1, false};
    struct store_host host = {
        .arg = p, .turn = &p->turn, .closing = place_closing, .reopened = place_reopened};
    if (store_open(&cfg, &host, &p->store, &why))
        fail_msg("the store does not open: %s", why ? why : "?");
    jshost_init(&p->h, &world->ft, p->store);
    plain = p->h.host;
    p->h.host.publish = publish_here;
    p->h.host.subscribe = subscribe_here;
    p->h.host.unsubscribe = unsubscribe_here;
    p->h.host.domain = p->domain;
    p->up = true;
    assert_int_equal(jsapi_open(&p->h.host, &p->js), 0);
    assert_int_equal(jsapi_account_open(p->js, ACC, SLICE("$G"), &limits, &p->acc), 0);
    jshost_want(&p->h, "_INBOX.>");
    fake_turn_run(&world->ft);
}

static void place_down(struct place *p)
{
    cut();
    p->up = false;
    let_mail_go();
    jsapi_close(p->js);
    p->js = NULL;
    fake_turn_run(&world->ft);
    store_close(p->store);
    p->store = NULL;
    fake_turn_run(&world->ft);
    jshost_release(&p->h);
    LIST_EACH_SAFE(e, &world->lent)
    if (LIST_ENTRY(e, struct lent, link)->of == p)
        forget_lent(LIST_ENTRY(e, struct lent, link));
}

static bool is_quiet(void *arg)
{
    (void)arg;
    for (int i = 0; i < PLACES; i++)
        if (world->at[i].up &&
            (world->at[i].store->flying || !list_empty(&world->at[i].store->ready)))
            return false;
    return true;
}

static void settle(void)
{
    fake_turn_run(&world->ft);
    while (!world->holds && !is_quiet(NULL)) {
        assert_true(fake_turn_wait(&world->ft, is_quiet, NULL));
        fake_turn_run(&world->ft);
    }
}

static void world_begins(void)
{
    const char *tmp = getenv("TMPDIR");
    world = xcalloc(1, sizeof *world);
    pthread_mutex_init(&world->lock, NULL);
    list_init(&world->lent);
    turn_post_init(&world->carry, carry, NULL);
    fake_turn_init(&world->ft);
    for (int i = 0; i < PLACES; i++) {
        struct place *p = &world->at[i];
        list_init(&world->under_way[i]);
        p->turn = world->ft.turn;
        p->turn.mail = i == HUB ? mail_at_hub : mail_at_site;
        p->domain = i == HUB ? SLICE("hub") : SLICE("leaf");
        snprintf(p->dir, sizeof p->dir, "%s/frond-copies-XXXXXX",
                 tmp && strlen(tmp) < 40 ? tmp : "/tmp");
        assert_non_null(mkdtemp(p->dir));
        place_up(p);
    }
    join();
    settle();
}

static void world_ends(void)
{
    for (int i = 0; i < PLACES; i++)
        place_down(&world->at[i]);
    fake_turn_release(&world->ft);
    for (int i = 0; i < PLACES; i++) {
        char *cmd = xasprintf("rm -rf %s", world->at[i].dir);
        assert_int_equal(system(cmd), 0);
        free(cmd);
    }
    pthread_mutex_destroy(&world->lock);
    free(world);
}

#endif
