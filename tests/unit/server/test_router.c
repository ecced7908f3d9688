/* test_router.c -- who gets a message, and who must not
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"

struct ear { /* a sink that counts */
    struct sink sink;
    unsigned heard;
    bool refuses, wants_rest;
    char subject[64]; /* of the last message */
};

struct wire { /* a link that remembers */
    struct endpoint ep;
    unsigned heard;
    size_t groups;
    bool plain;
    char names[64];
};

static enum sink_result hear(struct sink *s, struct msg_view *m)
{
    struct ear *e = CONTAINER_OF(s, struct ear, sink);

    if (e->refuses)
        return SINK_REFUSED;
    e->heard++;
    snprintf(e->subject, sizeof e->subject, "%.*s", SLICE_FMT(m->subject));
    return e->wants_rest ? SINK_TAKEN_REST : SINK_TAKEN;
}

static enum sink_result carry(struct endpoint *ep, struct msg_view *m, const struct slice *queues,
                              size_t n, bool plain)
{
    struct wire *w = CONTAINER_OF(ep, struct wire, ep);

    (void)m;
    w->heard++;
    w->groups = n;
    w->plain = plain;
    w->names[0] = 0;
    for (size_t i = 0; i < n; i++)
        snprintf(w->names + strlen(w->names), sizeof w->names - strlen(w->names), "%.*s ",
                 SLICE_FMT(queues[i]));
    return SINK_TAKEN;
}

struct world {
    struct accounts *as;
    struct account *a;
    struct endpoint one, two;
    struct wire up, down;
};

static void world_open(struct world *w)
{
    *w = (struct world){.as = accounts_new()};
    w->a = account_get(w->as, SLICE("$G"));
    w->one = (struct endpoint){.id = 1, .account = w->a};
    w->two = (struct endpoint){.id = 2, .account = w->a};
    w->up.ep = (struct endpoint){
        .id = 3, .account = w->a, .link = true, .spoke = true, .deliver_link = carry};
    w->down.ep = (struct endpoint){.id = 4, .account = w->a, .link = true, .deliver_link = carry};
}

static struct ear *ear(struct world *w, struct endpoint *owner, const char *subject,
                       const char *queue)
{
    struct ear *e = xcalloc(1, sizeof *e);

    e->sink = (struct sink){.owner = owner,
                            .subject = slice_cstr(subject),
                            .queue = slice_cstr(queue),
                            .weight = 1,
                            .deliver = hear};
    assert_int_equal(account_add_sink(w->a, &e->sink), 0);
    return e;
}

static void drop(struct world *w, struct ear *e)
{
    account_remove_sink(w->a, &e->sink);
    free(e);
}

static struct route_out say(struct world *w, const struct route_in *in, const char *subject)
{
    struct msg_view m = {.subject = slice_cstr(subject), .payload = SLICE("x")};
    struct route_out out;

    router_publish(w->a, in, &m, &out);
    return out;
}

static void echo_is_a_choice(void **state)
{
    struct world w;
    struct ear *e;

    (void)state;
    world_open(&w);
    e = ear(&w, &w.one, "a", NULL);
    assert_int_equal(say(&w, &(struct route_in){.from = &w.one}, "a").taken, 1);
    w.one.no_echo = true;
    assert_int_equal(say(&w, &(struct route_in){.from = &w.one}, "a").taken, 0);
    assert_int_equal(say(&w, &(struct route_in){.from = &w.two}, "a").taken, 1);
    assert_int_equal(say(&w, &(struct route_in){0}, "a").taken, 1);
    drop(&w, e);
    accounts_free(w.as);
}

static void a_group_tries_the_next_member(void **state)
{
    struct world w;
    struct ear *e[3];

    (void)state;
    world_open(&w);
    for (int i = 0; i < 3; i++)
        e[i] = ear(&w, &w.one, "a", "g");
    e[0]->refuses = e[1]->refuses = true;
    for (int i = 0; i < 30; i++)
        assert_int_equal(say(&w, &(struct route_in){0}, "a").taken, 1);
    assert_int_equal(e[2]->heard, 30);
    e[0]->refuses = e[1]->refuses = false;
    for (int i = 0; i < 300; i++)
        say(&w, &(struct route_in){0}, "a");
    for (int i = 0; i < 3; i++) {
        assert_true(e[i]->heard > 40);
        drop(&w, e[i]);
    }
    accounts_free(w.as);
}

static void a_link_gets_a_message_once_with_its_groups(void **state)
{
    struct world w;
    struct ear *e[4];

    (void)state;
    world_open(&w);
    e[0] = ear(&w, &w.up.ep, "a", NULL);
    e[1] = ear(&w, &w.up.ep, "*", NULL);
    e[2] = ear(&w, &w.up.ep, "a", "g");
    e[3] = ear(&w, &w.up.ep, ">", "h");
    assert_int_equal(say(&w, &(struct route_in){.from = &w.one}, "a").taken, 1);
    assert_int_equal(w.up.heard, 1);
    assert_true(w.up.plain);
    assert_int_equal(w.up.groups, 2);
    /* nothing goes back into the same link */
    assert_int_equal(say(&w, &(struct route_in){.from = &w.up.ep, .from_link = true}, "a").taken,
                     0);
    /* nor into another link of the same cluster */
    w.down.ep.cluster = w.up.ep.cluster = SLICE("hub");
    assert_int_equal(say(&w, &(struct route_in){.from = &w.down.ep, .from_link = true}, "a").taken,
                     0);
    for (int i = 0; i < 4; i++)
        drop(&w, e[i]);
    accounts_free(w.as);
}

static void local_members_win_and_links_are_chosen_by_weight(void **state)
{
    struct world w;
    struct ear *local, *far[2];

    (void)state;
    world_open(&w);
    far[0] = ear(&w, &w.up.ep, "a", "g");
    far[1] = ear(&w, &w.down.ep, "a", "g");
    account_sink_weight(w.a, &far[0]->sink, 4);
    local = ear(&w, &w.one, "a", "g");
    for (int i = 0; i < 50; i++)
        say(&w, &(struct route_in){0}, "a");
    assert_int_equal(local->heard, 50);
    assert_int_equal(w.up.heard + w.down.heard, 0);
    local->refuses = true;
    for (int i = 0; i < 1000; i++)
        say(&w, &(struct route_in){0}, "a");
    assert_int_equal(w.up.heard + w.down.heard, 1000);
    assert_true(w.up.heard > 700 && w.up.heard < 900);
    drop(&w, local);
    drop(&w, far[0]);
    drop(&w, far[1]);
    accounts_free(w.as);
}

static void from_a_link_only_listed_groups_are_served(void **state)
{
    struct slice groups[] = {SLICE("g")};
    struct world w;
    struct ear *plain, *g, *h;

    (void)state;
    world_open(&w);
    plain = ear(&w, &w.one, "a", NULL);
    g = ear(&w, &w.one, "a", "g");
    h = ear(&w, &w.one, "a", "h");
    say(&w, &(struct route_in){.from = &w.up.ep, .from_link = true}, "a");
    assert_int_equal(plain->heard, 1);
    assert_int_equal(g->heard + h->heard, 0);
    say(&w, &(struct route_in){.from = &w.up.ep, .from_link = true, .groups = groups, .ngroups = 1},
        "a");
    assert_int_equal(plain->heard, 2);
    assert_int_equal(g->heard, 1);
    assert_int_equal(h->heard, 0);
    drop(&w, plain);
    drop(&w, g);
    drop(&w, h);
    accounts_free(w.as);
}

static void the_domain_is_renamed_for_those_outside(void **state)
{
    struct world w;
    struct ear *api;

    (void)state;
    world_open(&w);
    account_set_domain(w.a, SLICE("site"));
    api = ear(&w, &w.a->inside, "$JS.API.>", NULL);
    assert_int_equal(say(&w, &(struct route_in){.from = &w.one}, "$JS.site.API.INFO").taken, 1);
    assert_string_equal(api->subject, "$JS.API.INFO");
    assert_int_equal(say(&w, &(struct route_in){0}, "$JS.site.API.INFO").taken, 0);
    struct route_in again = {.from = &w.one, .renamed = true};
    assert_int_equal(say(&w, &again, "$JS.site.API.INFO").taken, 0);
    assert_int_equal(say(&w, &(struct route_in){.from = &w.one}, "$JS.hub.API.INFO").taken, 0);
    drop(&w, api);
    accounts_free(w.as);
}

static void watch_told(void *arg, bool has)
{
    *(int *)arg += has ? 1 : 100;
}

static void subject_watchers_hear_the_first_and_the_last(void **state)
{
    struct world w;
    struct ear *a, *b, *c, *q;
    int told = 0;
    struct subject_watch sw = {.subject = SLICE("d.1"), .changed = watch_told, .arg = &told};

    (void)state;
    world_open(&w);
    account_watch_subject(w.a, &sw);
    assert_false(sw.has);
    a = ear(&w, &w.one, "d.*", NULL);
    q = ear(&w, &w.one, "d.1", "g");
    assert_int_equal(told, 0);
    b = ear(&w, &w.one, "d.1", NULL);
    c = ear(&w, &w.one, "d.1", NULL);
    assert_int_equal(told, 1);
    drop(&w, b);
    assert_int_equal(told, 1);
    drop(&w, c);
    assert_int_equal(told, 101);
    drop(&w, a);
    drop(&w, q);
    account_unwatch_subject(&sw);
    accounts_free(w.as);
}

static void a_cached_match_follows_the_list(void **state)
{
    struct world w;
    struct route_cache rc = {0};
    struct route_in in = {0};
    struct route_out out;
    struct ear *a, *b;
    struct msg_view m = {.subject = SLICE("a")};

    (void)state;
    world_open(&w);
    a = ear(&w, &w.one, "a", NULL);
    router_publish_cached(&rc, w.a, &in, &m, &out);
    assert_int_equal(out.taken, 1);
    b = ear(&w, &w.one, "*", NULL);
    b->wants_rest = true;
    router_publish_cached(&rc, w.a, &in, &m, &out);
    assert_int_equal(out.taken, 2);
    assert_true(out.rest);
    drop(&w, a);
    router_publish_cached(&rc, w.a, &in, &m, &out);
    assert_int_equal(out.taken, 1);
    drop(&w, b);
    router_publish_cached(&rc, w.a, &in, &m, &out);
    assert_int_equal(out.taken, 0);
    route_cache_release(&rc);
    accounts_free(w.as);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_is_a_choice),
        cmocka_unit_test(a_group_tries_the_next_member),
        cmocka_unit_test(a_link_gets_a_message_once_with_its_groups),
        cmocka_unit_test(local_members_win_and_links_are_chosen_by_weight),
        cmocka_unit_test(from_a_link_only_listed_groups_are_served),
        cmocka_unit_test(the_domain_is_renamed_for_those_outside),
        cmocka_unit_test(subject_watchers_hear_the_first_and_the_last),
        cmocka_unit_test(a_cached_match_follows_the_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
