/* A link on a stage: a hub of ours at the other end of a wire in memory, over a clock that stands
 * still until the test moves it. For test_leaf.c and test_leaf_words.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LEAF_SCENE_H
#define LEAF_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/subject.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "server/leaf.h"
#include "server/loop.h"
#include "server/router.h"

#define GREETING                                                                                   \
    "INFO "                                                                                        \
    "{\"server_id\":\"NH\",\"server_name\":\"hub\",\"headers\":true,\"max_payload\":1048576,"      \
    "\"client_id\":7,"                                                                             \
    "\"nonce\":\"abc\",\"compression\":\"s2_auto\",\"info_on_connect\":true,\"leafnode_urls\":["   \
    "\"10.0.0.9:7422\"]} \r\n"
#define TAKEN_IN                                                                                   \
    "INFO "                                                                                        \
    "{\"server_id\":\"NH\",\"client_id\":7,\"connect_info\":true,\"remote_account\":\"HUB\"} \r\n"

/* --- the scene -----------------------------------------------------------------------------------
 */

struct heard { /* a local subscriber */
    struct sink sink;
    struct endpoint ep;
    char subject[64], reply[128], payload[64];
    unsigned n;
};

static struct loop *loop;
static struct accounts *accounts;
static struct account *account;
static struct leaf_host host;
static struct leaf_config cfg;
static struct leaf *leaf;
static struct slice urls[4];
static struct wire *hub;
static uint64_t counters[6], last_id;
static unsigned ups, downs, drains;
static char log_text[8192];

static inline void on_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    size_t n = strlen(log_text);
    snprintf(log_text + n, sizeof log_text - n, "%s\n", line);
}

static inline uint64_t next_id(void *arg)
{
    (void)arg;
    return ++last_id;
}

static inline void on_up(void *arg, struct leaf *l)
{
    (void)arg, (void)l;
    ups++;
}

static inline void on_down(void *arg, struct leaf *l)
{
    (void)arg, (void)l;
    downs++;
}

static inline void on_drained(void *arg)
{
    (void)arg;
    drains++;
}

static inline int set_up(void **state)
{
    (void)state;
    log_text[0] = '\0';
    log_capture(on_log, NULL);
    ups = downs = drains = 0;
    loop = loop_new();
    wires_open(loop);
    accounts = accounts_new();
    account = account_get(accounts, SLICE("A"));
    urls[0] = SLICE("nats-leaf://10.0.0.1:7422");
    host = (struct leaf_host){.loop = loop,
                              .version = SLICE("2.15.2"),
                              .server_id = SLICE("NS"),
                              .server_name = SLICE("site"),
                              .cluster = SLICE("site"),
                              .max_payload = 1 << 20,
                              .max_pending = 8 << 20,
                              .in_msgs = &counters[0],
                              .in_bytes = &counters[1],
                              .out_msgs = &counters[2],
                              .out_bytes = &counters[3],
                              .slow_consumers = &counters[4],
                              .stale_connections = &counters[5],
                              .next_id = next_id,
                              .up = on_up,
                              .down = on_down,
                              .drained = on_drained};
    memset(counters, 0, sizeof counters);
    cfg = (struct leaf_config){.account = account,
                               .urls = urls,
                               .nurls = 1,
                               .ignore_discovered = true,
                               .no_randomize = true};
    leaf = NULL;
    hub = NULL;
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    if (leaf)
        leaf_close(leaf);
    fake_loop_run(loop);
    if (hub)
        wire_free(hub);
    fake_loop_run(loop);
    loop_free(loop);
    accounts_free(accounts);
    log_capture(NULL, NULL);
    return 0;
}

static inline void say(const char *text)
{
    wire_say(hub, text, strlen(text));
    fake_loop_run(loop);
}

/* What came from the leaf so far, and empties it. */
static inline const char *hears(void)
{
    static char text[65536];
    struct buf *b = wire_heard(hub);
    struct slice s = buf_slice(b);
    size_t n = s.n < sizeof text - 1 ? s.n : sizeof text - 1;
    if (n)
        memcpy(text, s.p, n);
    text[n] = '\0';
    buf_consume(b, s.n);
    return text;
}

static inline void expect_heard(const char *text)
{
    const char *got = hears();
    if (strcmp(got, text) != 0)
        fail_msg("heard: %s\nwanted: %s\nlog: %s", got, text, log_text);
}

static inline void expect_in(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("not in it: %s\nit: %s", what, text);
}

static inline const char *state_name(void)
{
    struct leaf_view v;
    leaf_look(leaf, &v);
    return v.state;
}

static inline void accept_dial(void)
{
    if (hub)
        wire_free(hub);
    hub = wire_dialled(7422);
    if (!hub)
        fail_msg("nobody dials; log: %s", log_text);
    fake_loop_run(loop);
}

static inline void open_leaf(void)
{
    assert_int_equal(leaf_open(&host, &cfg, &leaf), E_OK);
    fake_loop_run(loop);
}

static inline void come_up(void)
{
    if (!leaf)
        open_leaf();
    accept_dial();
    say(GREETING);
    expect_in(hears(), "CONNECT {");
    say(TAKEN_IN);
    if (strcmp(state_name(), "UP") != 0)
        fail_msg("%s; log: %s", state_name(), log_text);
    const char *first = hears();
    assert_memory_equal(first, "LS+ $LDS.", 9);
}

/* Nobody dials until just before ns have passed, somebody does just after. */
static inline void dials_after(int64_t from_ns, int64_t to_ns)
{
    if (hub)
        wire_free(hub);
    hub = NULL;
    fake_loop_advance(loop, from_ns - NS_PER_MS);
    assert_null(wire_dialled(7422));
    fake_loop_advance(loop, to_ns - from_ns + NS_PER_MS); /* later the dial might be given up */
    accept_dial();
}

static inline enum sink_result on_message(struct sink *s, struct msg_view *m)
{
    struct heard *h = CONTAINER_OF(s, struct heard, sink);
    snprintf(h->subject, sizeof h->subject, "%.*s", SLICE_FMT(m->subject));
    snprintf(h->reply, sizeof h->reply, "%.*s", SLICE_FMT(m->reply));
    snprintf(h->payload, sizeof h->payload, "%.*s", SLICE_FMT(m->payload));
    h->n++;
    return SINK_TAKEN;
}

static inline void subscribe(struct heard *h, const char *subject, const char *queue)
{
    h->ep = (struct endpoint){.account = account, .id = 99};
    h->sink = (struct sink){.owner = &h->ep,
                            .subject = slice_cstr(subject),
                            .queue = slice_cstr(queue),
                            .weight = 1,
                            .deliver = on_message};
    assert_int_equal(account_add_sink(account, &h->sink), 0);
    fake_loop_run(loop);
}

static inline void unsubscribe(struct heard *h)
{
    account_remove_sink(account, &h->sink);
    fake_loop_run(loop);
}

static inline uint32_t publish_view(struct msg_view *m)
{
    static struct endpoint me;
    me = (struct endpoint){.account = account, .id = 98};
    struct route_in in = {.from = &me};
    struct route_out out;
    router_publish(account, &in, m, &out);
    msg_view_done(m);
    return out.taken;
}

static inline uint32_t publish(const char *subject, const char *reply, const char *payload)
{
    struct msg_view m = {
        .subject = slice_cstr(subject), .reply = slice_cstr(reply), .payload = slice_cstr(payload)};
    uint32_t n = publish_view(&m);
    fake_loop_run(loop);
    return n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
