/* fuzz_leaf.c -- anything a hub may say, from its first byte on; link: fake
 *
 * The first byte of an input is no talk: its bits choose who is the hub, how many bytes come at a
 * time, and whether there is a second of silence in the middle. The rest goes to a link that has
 * just dialled; then something is published, so that whatever interest it learned is used. Nothing
 * may crash, leak, or stay behind in the account.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "server/leaf.h"
#include "server/loop.h"
#include "server/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t counters[6], last_id;

static uint64_t next_id(void *arg)
{
    (void)arg;
    return ++last_id;
}

static void on_change(void *arg, struct leaf *l)
{
    (void)arg, (void)l;
}

static void on_drained(void *arg)
{
    (void)arg;
}

static void on_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

static void publish(struct account *a, const char *subject)
{
    struct endpoint me = {.account = a, .id = 1};
    struct route_in in = {.from = &me};
    struct route_out out;
    struct msg_view m = {.subject = slice_cstr(subject),
                         .reply = SLICE("r"),
                         .hdr = SLICE("NATS/1.0\r\n\r\n"),
                         .payload = SLICE("x")};
    router_publish(a, &in, &m, &out);
    msg_view_done(&m);
}

static void talk(struct loop *loop, struct account *a, const uint8_t *data, size_t size)
{
    struct wire *hub = wire_dialled(0);
    size_t half = data[0] & 8 ? size / 2 : size;
    if (!hub)
        return;
    wire_split(hub, data[0] & 6 ? (size_t)(data[0] & 6) : 0);
    wire_say(hub, data + 1, half - 1);
    fake_loop_run(loop);
    if (half < size)
        fake_loop_advance(loop, NS_PER_S);
    wire_say(hub, data + half, size - half);
    fake_loop_run(loop);
    publish(a, "a");
    publish(a, "$JS.API.INFO");
    publish(a, "$JS.hub.API.INFO");
    fake_loop_advance(loop, 2 * NS_PER_S);
    wire_free(hub);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct slice url = SLICE_INIT("nats-leaf://u:p@10.0.0.1:7422");
    if (size < 2 || size > 1 << 16)
        return 0;
    log_capture(on_log, NULL);
    struct loop *loop = loop_new();
    wires_open(loop);
    struct accounts *accounts = accounts_new();
    struct account *a = account_get(accounts, SLICE("A"));
    account_set_domain(a, SLICE("site"));
    struct leaf_host host = {.loop = loop,
                             .version = SLICE("2.15.2"),
                             .server_id = SLICE("N"),
                             .server_name = SLICE("site"),
                             .cluster = SLICE("site"),
                             .domain = SLICE("site"),
                             .jetstream = true,
                             .max_payload = 1 << 20,
                             .max_pending = 8 << 20,
                             .in_msgs = &counters[0],
                             .in_bytes = &counters[1],
                             .out_msgs = &counters[2],
                             .out_bytes = &counters[3],
                             .slow_consumers = &counters[4],
                             .stale_connections = &counters[5],
                             .next_id = next_id,
                             .up = on_change,
                             .down = on_change,
                             .drained = on_drained};
    struct leaf_config cfg = {.account = a, .urls = &url, .nurls = 1, .hub = data[0] & 1};
    struct leaf *leaf = NULL;
    ASSERT(leaf_open(&host, &cfg, &leaf) == E_OK);
    fake_loop_run(loop);
    talk(loop, a, data, size);
    leaf_close(leaf);
    fake_loop_run(loop);
    ASSERT(sublist_count(a->subs) == 0);
    ASSERT(a->leafs == 0);
    loop_free(loop);
    accounts_free(accounts);
    return 0;
}
