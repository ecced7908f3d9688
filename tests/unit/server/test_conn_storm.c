/* tests/unit/server/test_conn_storm.c -- many connections, plain and TLS, and whatever comes to
 * mind
 *
 * Pairs over loopback write, pause, yield, want, time out and close, in handlers and between turns,
 * as a seed says. Whatever happens: each end hears GONE once and nothing after it, what arrives is
 * a beginning of what was sent, and all of it when the sender closed with flush and nobody cut the
 * way.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/tls.h"

#include "server/listener.h"
#include "unit/server/certs.h"
#include "unit/server/ends.h"

#define PAIRS 40
#define STEPS 6000

struct side {
    struct conn *c;
    struct side *other;
    size_t sent, received;
    unsigned pauses;
    bool ready;           /* connected, and through with TLS: what is written leaves */
    bool closing;         /* by us */
    bool closed_flushing; /* … in order, with all that was sent */
    bool rough;           /* something was cut short: anything less than all is fine */
    bool gone, tls;
};

static struct side sides[2 * PAIRS];
static struct side *knocking; /* who is dialled next */
static struct tls_context *server_ctx, *client_ctx;
static char dir[64];
static unsigned over;

static void act(struct side *s);

static void on_side(void *arg, struct conn *c, enum conn_event ev)
{
    struct side *s = arg;
    assert_false(s->gone);
    assert_ptr_equal(s->c, c);
    switch (ev) {
    case CONN_DATA: {
        struct slice in = conn_input(c);
        assert_true(in.n > 0);
        size_t n = rnd(4) ? in.n : 1 + rnd((unsigned)in.n);
        if (n > PERIOD)
            n = PERIOD;
        if (rnd(16) == 0 && s->other->closed_flushing == false && in.n < 5000 &&
            s->received + in.n + 2000 < s->other->sent) {
            conn_want(c, in.n + 1 + rnd(2000));
            break;
        }
        assert_memory_equal(in.p, pattern + s->received % PERIOD, n);
        s->received += n;
        conn_consume(c, n);
        if (n < in.n)
            conn_yield(c);
        break;
    }
    case CONN_GONE:
        s->gone = true;
        s->c = NULL;
        over++;
        return;
    case CONN_TIMEOUT:
        while (s->pauses) {
            s->pauses--;
            conn_resume(c);
        }
        break;
    case CONN_TLS_READY:
        s->ready = true;
        break;
    case CONN_CONNECTED:
    case CONN_DRAINED:
        break;
    }
    if (s->c && rnd(64) == 0)
        act(s);
}

static void begin(struct side *s)
{
    s->ready = !s->tls;
    if (s->tls)
        assert_int_equal(conn_start_tls(s->c,
                                        s == &sides[(s - sides) & ~1] ? client_ctx : server_ctx,
                                        s != &sides[(s - sides) & ~1], NULL),
                         0);
}

static void on_dialled(void *arg, struct conn *c, enum conn_event ev)
{
    struct side *s = arg;
    assert_int_equal(ev, CONN_CONNECTED);
    conn_set_handler(c, on_side, s);
    begin(s);
}

static void accepted(void *arg, struct listener *li, int fd)
{
    (void)arg, (void)li;
    struct side *s = knocking;
    s->c = conn_accept(l, fd, on_side, s);
    begin(s);
}

static void act(struct side *s)
{
    if (!s->c || s->closing)
        return;
    switch (rnd(40)) {
    case 0:
        s->closing = true;
        s->closed_flushing = s->ready;
        conn_close(s->c, true);
        break;
    case 1:
        s->closing = rnd(4) == 0;
        if (s->closing) {
            s->rough = s->other->rough = true;
            conn_close(s->c, false);
        }
        break;
    case 2:
        if (s->pauses < 3) {
            s->pauses++;
            conn_pause(s->c);
            conn_timeout(s->c, (1 + rnd(3)) * NS_PER_MS);
        }
        break;
    case 3:
        conn_flush(s->c);
        break;
    case 4:
        conn_yield(s->c);
        break;
    default:
        if (conn_pending(s->c) < 1000000) {
            size_t n = rnd(10) ? rnd(3000) : rnd(200000);
            conn_write(s->c, pattern + s->sent % PERIOD, n);
            s->sent += n;
        }
    }
}

static void open_pair(struct listener *li, struct side *a, struct side *b, bool tls)
{
    *a = (struct side){.other = b, .tls = tls};
    *b = (struct side){.other = a, .tls = tls};
    knocking = b;
    assert_int_equal(conn_dial(l, "127.0.0.1", listener_port(li), 0, on_dialled, a, &a->c), 0);
    while (!b->c)
        loop_once(l);
}

/* Everybody who is left says good-bye. */
static void wind_up(void)
{
    for (int i = 0; i < 2 * PAIRS; i++) {
        struct side *s = &sides[i];
        s->rough = s->other->rough = true;
        while (s->c && s->pauses) {
            s->pauses--;
            conn_resume(s->c);
        }
        if (s->c)
            conn_close(s->c, i % 2);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        UNTIL(!sides[i].c);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void nothing_is_lost_doubled_or_used_after_its_end(void **state)
{
    (void)state;
    struct listener *li;
    char *why;
    assert_int_equal(listener_open(l, "127.0.0.1", 0, accepted, NULL, &li, &why), 0);
    over = 0;
    unsigned complete = 0, began = 0;
    struct turn_timer tick;
    turn_timer_init(&tick, nothing, NULL);
    for (int i = 0; i < PAIRS; i++, began++)
        open_pair(li, &sides[2 * i], &sides[2 * i + 1], i % 3 == 0);
    for (int step = 0; step < STEPS; step++) {
        act(&sides[rnd(2 * PAIRS)]);
        if (step % 4 == 0) {
            turn_set(loop_turn(l), &tick, 0); /* no turn sleeps */
            loop_once(l);
        }
        for (int i = 0; i < PAIRS; i++) {
            struct side *a = &sides[2 * i], *b = a->other;
            if (!a->gone || !b->gone)
                continue;
            assert_true(a->received <= b->sent && b->received <= a->sent);
            struct side *closer = a->closed_flushing ? a : b->closed_flushing ? b : NULL;
            if (closer && !a->rough && !b->rough && !(a->closed_flushing && b->closed_flushing)) {
                complete += closer->other->received == closer->sent;
                assert_int_equal(closer->other->received, closer->sent);
            }
            open_pair(li, a, b, (step + i) % 3 == 0);
            began++;
        }
    }
    turn_unset(loop_turn(l), &tick);
    wind_up();
    assert_int_equal(over, 2 * began);
    assert_true(complete > 10);
    listener_close(li);
}

static int make_contexts(void **state)
{
    (void)state;
    struct authority ca;
    char cert[96], key[96], root[96], *why = NULL;
    (void)snprintf(dir, sizeof dir, "/tmp/frond-storm-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    authority_make(&ca, dir, "ca");
    certificate_make(&ca, dir, "server", "DNS:localhost");
    authority_free(&ca);
    (void)snprintf(cert, sizeof cert, "%s/server.pem", dir);
    (void)snprintf(key, sizeof key, "%s/server.key", dir);
    (void)snprintf(root, sizeof root, "%s/ca.pem", dir);
    struct tls_config sc = {.server = true, .cert_file = cert, .key_file = key},
                      cc = {.ca_file = root};
    int r = tls_context_new(&sc, &server_ctx, &why);
    r = r ? r : tls_context_new(&cc, &client_ctx, &why);
    unlink(cert);
    unlink(key);
    unlink(root);
    rmdir(dir);
    return r;
}

static int free_contexts(void **state)
{
    (void)state;
    tls_context_unref(server_ctx);
    tls_context_unref(client_ctx);
    free(pattern);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_lost_doubled_or_used_after_its_end, open_loop,
                                        close_loop),
    };
    if (getenv("SEED"))
        seed = (unsigned)strtoul(getenv("SEED"), NULL, 10);
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}
