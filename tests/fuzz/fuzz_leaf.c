/* fuzz_leaf.c -- anything a hub may say, from its first byte on; link: fake
 *
 * The first byte of an input is no talk: its bits choose who is the hub, how many bytes come at
 * a time, and whether there is a second of silence in the middle. The rest goes to a link that
 * has just dialled; then something is published, so that whatever interest it learned is used.
 * Nothing may crash, leak, or stay behind in the account. It is played twice, whole and in
 * pieces: what we say to the hub, and what is told at home, must be the same.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

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

/* What came of one talk: what we said on the link, what a subscriber at home was told. */
struct heard {
    struct buf hub, home;
};

static enum sink_result listen(struct sink *s, struct msg_view *m)
{
    struct buf *home = s->arg;
    buf_printf(home, "%.*s %.*s %zu %zu\n", SLICE_FMT(m->subject), SLICE_FMT(m->reply), m->hdr.n,
               m->payload.n);
    return SINK_TAKEN;
}

static void talk(struct loop *loop, struct account *a, const uint8_t *data, size_t size,
                 size_t piece, struct heard *out)
{
    struct wire *hub = wire_dialled(0);
    size_t half = data[0] & 8 ? size / 2 : size;
    if (!hub)
        return;
    wire_split(hub, piece);
    wire_say(hub, data + 1, half - 1);
    fake_loop_run(loop);
    if (half < size)
        fake_loop_advance(loop, NS_PER_S);
    wire_say(hub, data + half, size - half);
    for (int i = 0; i < 100; i++) /* whatever was begun has an end */
        wire_say(hub, "\r\nPING\r\n", 8);
    fake_loop_run(loop);
    publish(a, "a");
    publish(a, "$JS.API.INFO");
    publish(a, "$JS.hub.API.INFO");
    fake_loop_advance(loop, 2 * NS_PER_S);
    buf_add_slice(&out->hub, buf_slice(wire_heard(hub)));
    wire_free(hub);
}

static void play(const uint8_t *data, size_t size, size_t piece, struct heard *out)
{
    static const struct slice url = SLICE_INIT("nats-leaf://u:p@10.0.0.1:7422");
    struct loop *loop = loop_new();
    wires_open(loop);
    struct accounts *accounts = accounts_new();
    struct account *a = account_get(accounts, SLICE("A"));
    account_set_domain(a, SLICE("site"));
    struct endpoint home = {.account = a, .id = 2};
    struct sink sink = {
        .owner = &home, .subject = SLICE(">"), .weight = 1, .deliver = listen, .arg = &out->home};
    struct leaf_host host = {.loop = loop,
                             .version = SLICE("2.15.2"),
                             .server_id = SLICE("N"),
                             .server_name = SLICE("site"),
                             .cluster = SLICE("site"),
                             .domain = SLICE("site"),
                             .jetstream = true,
                             .max_payload = 512,
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
    ASSERT(account_add_sink(a, &sink) == 0);
    ASSERT(leaf_open(&host, &cfg, &leaf) == E_OK);
    fake_loop_run(loop);
    talk(loop, a, data, size, piece, out);
    leaf_close(leaf);
    fake_loop_run(loop);
    account_remove_sink(a, &sink);
    ASSERT(sublist_count(a->subs) == 0);
    ASSERT(a->leafs == 0);
    loop_free(loop);
    accounts_free(accounts);
}

/* Our own subject for finding loops is another one every time. */
static void mask(struct buf *b)
{
    size_t at = 0;
    while ((at += slice_search(slice_skip(buf_slice(b), at), SLICE("$LDS."))) < b->len)
        for (at += 5; at < b->len && b->data[b->start + at] > ' '; at++)
            b->data[b->start + at] = 'x';
}

static void same(const char *who, struct buf *whole, struct buf *cut)
{
    mask(whole);
    mask(cut);
    if (slice_eq(buf_slice(whole), buf_slice(cut)))
        return;
    fprintf(stderr, "%s, whole and in pieces:\n%s\n---\n%s\n", who, buf_cstr(whole), buf_cstr(cut));
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard whole = {BUF_INIT, BUF_INIT}, cut = {BUF_INIT, BUF_INIT};
    if (size < 2 || size > 1 << 14)
        return 0;
    log_capture(on_log, NULL);
    play(data, size, 0, &whole);
    play(data, size, 1 + (data[0] >> 4), &cut);
    /* before INFO the link may be given up with a word or without one */
    if (slice_starts(slice_of(data + 1, size - 1), SLICE("INFO "))) {
        same("the hub", &whole.hub, &cut.hub);
        same("home", &whole.home, &cut.home);
    }
    buf_release(&whole.hub);
    buf_release(&whole.home);
    buf_release(&cut.hub);
    buf_release(&cut.home);
    return 0;
}
