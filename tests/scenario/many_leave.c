/* scenario/many_leave.c -- clients with thousands of subscriptions come and go
 *
 * Their subscriptions are taken out in portions. Two things must not follow from that: that one who
 * comes back meets the account's limit, filled by who has left; and that those who come and go
 * faster than the portions fill the memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "fake/conn.h"
#include "fake/loop.h"
#include "scenario/site.h"
#include "server/account.h"

#define EACH   4000
#define ROUNDS 40
#define MOST   (65536 + 2 * EACH) /* server/client_subs.c: LEAVING_MOST */

static const char conf[] = "accounts { A { users: [ { user: a } ], limits { max_subs: 5000 } } }\n"
                           "no_auth_user: a\n";

static struct site site;

static void fail(const char *what, struct slice detail)
{
    fprintf(stderr, "%s %.*s\n", what, SLICE_FMT(slice_head(detail, 600)));
    site_release(&site);
    _exit(1);
}

static size_t subscriptions(void)
{
    return sublist_count(account_get(site.srv.accounts, SLICE("A"))->subs);
}

/* A client with so many subscriptions; turn by turn, so that others leave meanwhile. */
static struct wire *come(void)
{
    struct wire *w = wire_knock(4222);
    struct buf say = BUF_INIT;
    buf_add_str(&say, "CONNECT {\"verbose\":false}\r\n");
    for (int i = 0; i < EACH; i++)
        buf_printf(&say, "SUB a.%d.b %d\r\n", i, i);
    buf_add_str(&say, "PING\r\n");
    wire_say(w, say.data + say.start, say.len);
    buf_release(&say);
    for (int i = 0;
         slice_search(buf_slice(wire_heard(w)), SLICE("PONG\r\n")) == buf_slice(wire_heard(w)).n;
         i++) {
        if (i > 1000)
            fail("no PONG", buf_slice(wire_heard(w)));
        loop_once(site.srv.loop);
    }
    if (slice_search(buf_slice(wire_heard(w)), SLICE("-ERR")) < buf_slice(wire_heard(w)).n)
        fail("refused:", buf_slice(wire_heard(w)));
    return w;
}

static void go(struct wire *w)
{
    wire_hang_up(w);
    while (wire_alive(w))
        loop_once(site.srv.loop);
    wire_free(w);
}

int main(void)
{
    size_t peak = 0;
    site_init(&site);
    if (site_start(&site, conf) != 0)
        fail("the site does not start", SLICE(""));
    size_t inside = subscriptions(); /* the server's own */
    fake_loop_busy(site.srv.loop);
    go(come());
    if (subscriptions() < EACH / 2)
        fail("they left at once: there is nothing to see here", SLICE(""));
    for (int i = 0; i < ROUNDS; i++) {
        go(come());
        if (subscriptions() > peak)
            peak = subscriptions();
    }
    if (peak <= MOST / 2)
        fail("they left too soon: there is nothing to see here", SLICE(""));
    if (peak > MOST)
        fail("more and more of them are on their way out", SLICE(""));
    fake_loop_run(site.srv.loop);
    if (subscriptions() != inside)
        fail("some are left", SLICE(""));
    site_stop(&site);
    site_release(&site);
    printf("%d clients with %d subscriptions: at most %zu at a time\n", ROUNDS + 1, EACH, peak);
    return 0;
}
