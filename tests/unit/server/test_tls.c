/* tests/unit/server/test_tls.c -- both sides of TLS in one loop, with certificates of our own
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/tls.h"

#include <sys/stat.h>

#include "unit/server/certs.h"
#include "unit/server/ends.h"

static char dir[64];

static const char *file(const char *name)
{
    static char path[16][128];
    static int turn;
    turn = (turn + 1) % 16;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static int make_certificates(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/frond-tls-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    struct authority ca, other;
    authority_make(&ca, dir, "ca");
    authority_make(&other, dir, "other");
    certificate_make(&ca, dir, "server", "DNS:localhost,DNS:hub.example,IP:127.0.0.1");
    certificate_make(&ca, dir, "client", "email:site@example.com");
    certificate_make(&other, dir, "stranger", "DNS:localhost");
    authority_free(&ca);
    authority_free(&other);
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    const char *names[] = {"ca.pem",     "other.pem",  "server.pem",   "server.key",
                           "client.pem", "client.key", "stranger.pem", "stranger.key"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(file(names[i]));
    return rmdir(dir);
}

static struct tls_context *context(const struct tls_config *cfg)
{
    struct tls_context *ctx;
    char *why = NULL;
    if (tls_context_new(cfg, &ctx, &why) != 0)
        fail_msg("%s", why);
    return ctx;
}

static struct tls_config server_config(void)
{
    return (struct tls_config){
        .server = true, .cert_file = file("server.pem"), .key_file = file("server.key")};
}

/* A pair that begins TLS at once. */
static void start(struct end *client, struct end *server, struct tls_context *cctx,
                  struct tls_context *sctx, const char *name)
{
    pair(client, server);
    assert_int_equal(conn_start_tls(client->c, cctx, false, name), 0);
    assert_int_equal(conn_start_tls(server->c, sctx, true, NULL), 0);
}

static void echo_through(int version)
{
    struct tls_config sc = server_config(),
                      cc = {.ca_file = file("ca.pem"), .min_version = version};
    const char *const one_suite[] = {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", NULL};
    const char *const curves[] = {"CurveP256", NULL};
    sc.curves = curves;
    sc.ciphers = one_suite;
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    struct end a = {.then = talker, .total = 40u << 20}, b = {.then = echoer, .total = a.total};
    start(&a, &b, cctx, sctx, "localhost");
    turn_timer_init(&b.resume, go_on, &b);
    conn_low_water(a.c, 300 * 1024);
    conn_low_water(b.c, 100000);
    say_more(&a); /* before the handshake: waits for it */
    UNTIL(a.received == a.total || !a.c);
    assert_int_equal(a.received, a.total);
    assert_int_equal(a.events[CONN_TLS_READY], 1);
    assert_int_equal(b.events[CONN_TLS_READY], 1);
    struct conn_info info;
    conn_info(b.c, &info);
    assert_true(info.tls);
    assert_string_equal(info.tls_version, "1.3");
    assert_non_null(strstr(info.tls_cipher, "TLS_"));
    turn_unset(loop_turn(l), &b.resume);
    release(&a);
    UNTIL(!b.c);
    assert_int_equal(b.reason, CONN_EOF);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

static void forty_megabytes_come_back_unharmed(void **state)
{
    (void)state;
    echo_through(0x0304);
}

static void suites_of_tls12_are_named_as_go_names_them(void **state)
{
    (void)state;
    assert_true(tls_cipher_known("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
    assert_true(tls_cipher_known("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"));
    assert_true(tls_cipher_known("TLS_AES_256_GCM_SHA384"));
    assert_false(tls_cipher_known("TLS_NO_SUCH_SUITE"));
    assert_true(tls_curve_known("X25519"));
    assert_false(tls_curve_known("P-256"));
}

static void plain_bytes_written_before_leave_before(void **state)
{
    (void)state;
    struct tls_config sc = server_config(), cc = {.ca_file = file("ca.pem")};
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    struct end a = {0}, b = {0};
    pair(&a, &b);
    conn_write(b.c, "INFO {}\r\n", 9);
    assert_int_equal(conn_start_tls(b.c, sctx, true, NULL), 0);
    conn_write(b.c, "inside", 6);
    UNTIL(a.got.len == 9);
    assert_int_equal(conn_start_tls(a.c, cctx, false, "hub.example"), 0);
    UNTIL(a.got.len == 15);
    assert_memory_equal(a.got.data, "INFO {}\r\ninside", 15);
    release(&a);
    release(&b);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

static struct tls_context *begin_with;

/* Sees the first byte of a handshake before it knows that it is one. */
static void look_first(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev != CONN_DATA)
        return;
    if (e->events[CONN_DATA] == 1) {
        assert_int_equal(conn_input(c).p[0], 0x16);
        assert_int_equal(conn_start_tls(c, begin_with, true, NULL), 0);
        return;
    }
    buf_add_slice(&e->got, conn_input(c));
    conn_consume(c, conn_input(c).n);
}

static void input_that_is_there_already_begins_the_handshake(void **state)
{
    (void)state;
    struct tls_config sc = server_config(), cc = {.ca_file = file("ca.pem")};
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    struct end a = {0}, b = {.then = look_first};
    begin_with = sctx;
    pair(&a, &b);
    assert_int_equal(conn_start_tls(a.c, cctx, false, "127.0.0.1"), 0);
    conn_write(a.c, "hello", 5);
    UNTIL(b.got.len == 5);
    release(&a);
    release(&b);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

static void mutual_tls_shows_the_peers_certificate(void **state)
{
    (void)state;
    struct tls_config sc = server_config();
    sc.verify = true;
    sc.ca_file = file("ca.pem");
    struct tls_config cc = {
        .ca_file = file("ca.pem"), .cert_file = file("client.pem"), .key_file = file("client.key")};
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    struct end a = {0}, b = {0};
    start(&a, &b, cctx, sctx, "localhost");
    UNTIL(a.events[CONN_TLS_READY] && b.events[CONN_TLS_READY]);
    assert_true(conn_peer_cert(b.c).n > 100);
    assert_true(conn_peer_cert(a.c).n > 100);
    release(&a);
    release(&b);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

/* The handshake must fail; the server's and the client's words are in the ends. */
static void must_fail(struct tls_config sc, struct tls_config cc, const char *name, struct end *a,
                      struct end *b)
{
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    *a = *b = (struct end){0};
    start(a, b, cctx, sctx, name);
    UNTIL(!b->c);
    UNTIL(!a->c);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    struct end a, b;
    struct tls_config sc = server_config(), cc = {.ca_file = file("other.pem")};
    must_fail(sc, cc, "localhost", &a, &b);
    assert_int_equal(a.reason, CONN_TLS_FAILED);
    assert_int_equal(a.events[CONN_TLS_READY], 0);
    assert_non_null(strstr(a.error, "unable to get local issuer certificate"));
    cc.ca_file = file("ca.pem");
    must_fail(sc, cc, "other.example", &a, &b);
    assert_int_equal(a.reason, CONN_TLS_FAILED);
    assert_string_equal(a.error, "hostname mismatch");
    must_fail(sc, cc, "10.0.0.1", &a, &b);
    assert_string_equal(a.error, "IP address mismatch");
    sc.verify = true;
    sc.ca_file = file("ca.pem");
    must_fail(sc, cc, "localhost", &a, &b);
    assert_int_equal(b.reason, CONN_TLS_FAILED);
    assert_string_equal(b.error, "peer did not return a certificate");
    cc.cert_file = file("stranger.pem");
    cc.key_file = file("stranger.key");
    must_fail(sc, cc, "localhost", &a, &b);
    assert_int_equal(b.reason, CONN_TLS_FAILED);
    assert_non_null(strstr(b.error, "issuer certificate"));
}

static void insecure_takes_anyone(void **state)
{
    (void)state;
    struct tls_config sc = server_config(), cc = {.insecure = true};
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    struct end a = {0}, b = {0};
    start(&a, &b, cctx, sctx, "whatever");
    UNTIL(a.events[CONN_TLS_READY]);
    release(&a);
    release(&b);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

static void a_plain_peer_fails_the_handshake(void **state)
{
    (void)state;
    struct tls_config sc = server_config();
    struct tls_context *sctx = context(&sc);
    struct end a = {0}, b = {0};
    pair(&a, &b);
    assert_int_equal(conn_start_tls(b.c, sctx, true, NULL), 0);
    conn_write(a.c, "CONNECT {}\r\nPING\r\n", 18);
    UNTIL(!b.c);
    assert_int_equal(b.reason, CONN_TLS_FAILED);
    release(&a);
    pair(&a, &b);
    assert_int_equal(conn_start_tls(b.c, sctx, true, NULL), 0);
    conn_close(a.c, false); /* goes away in the middle */
    UNTIL(!b.c);
    assert_int_equal(b.reason, CONN_TLS_FAILED);
    buf_release(&a.got);
    UNTIL(!a.c);
    tls_context_unref(sctx);
}

static void last_words(void *arg, struct conn *c, enum conn_event ev)
{
    (void)arg;
    if (ev == CONN_DATA) {
        conn_write(c, "-ERR 'Authorization Violation'\r\n", 32);
        conn_close(c, true);
    }
}

static void last_words_go_through_tls(void **state)
{
    (void)state;
    struct tls_config sc = server_config(), cc = {.ca_file = file("ca.pem")};
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    struct end a = {0}, b = {.then = last_words};
    start(&a, &b, cctx, sctx, NULL);
    conn_write(a.c, "CONNECT {}\r\n", 12);
    UNTIL(!a.c);
    assert_int_equal(a.reason, CONN_EOF);
    assert_int_equal(a.got.len, 32);
    UNTIL(!b.c);
    buf_release(&a.got);
    tls_context_unref(sctx);
    tls_context_unref(cctx);
}

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    assert_true(in && out);
    for (int ch; (ch = fgetc(in)) != EOF;)
        fputc(ch, out);
    fclose(in);
    fclose(out);
}

static void reload_reads_the_files_again_or_leaves_all_as_it_was(void **state)
{
    (void)state;
    copy_file(file("server.pem"), file("r.pem"));
    copy_file(file("server.key"), file("r.key"));
    struct tls_config sc = {.server = true, .cert_file = file("r.pem"), .key_file = file("r.key")};
    struct tls_config cc = {.ca_file = file("other.pem")};
    struct tls_context *sctx = context(&sc), *cctx = context(&cc);
    assert_true(tls_context_not_after(sctx) > clock_wall_exact());
    char *why = NULL;
    copy_file(file("stranger.pem"), file("r.pem")); /* the key is the old one */
    assert_int_equal(tls_context_reload(sctx, &why), E_INVAL);
    assert_non_null(strstr(why, "key"));
    free(why);
    copy_file(file("stranger.key"), file("r.key"));
    assert_int_equal(tls_context_reload(sctx, &why), 0);
    struct end a = {0}, b = {0};
    start(&a, &b, cctx, sctx, "localhost");
    UNTIL(a.events[CONN_TLS_READY]);
    unlink(file("r.pem"));
    assert_int_equal(tls_context_reload(sctx, &why), E_IO);
    assert_non_null(strstr(why, "No such file"));
    free(why);
    unlink(file("r.key"));
    tls_context_unref(sctx); /* the session keeps what it needs */
    conn_write(a.c, "x", 1);
    UNTIL(b.got.len == 1);
    release(&a);
    release(&b);
    tls_context_unref(cctx);
}

static void wrong_options_are_told_in_words(void **state)
{
    (void)state;
    struct tls_config sc = server_config();
    const char *const names[] = {"TLS_NO_SUCH_SUITE", NULL};
    struct tls_context *ctx;
    char *why = NULL;
    sc.ciphers = names;
    assert_int_equal(tls_context_new(&sc, &ctx, &why), E_INVAL);
    assert_string_equal(why, "unrecognized cipher TLS_NO_SUCH_SUITE");
    free(why);
    sc.ciphers = NULL;
    sc.curves = names;
    assert_int_equal(tls_context_new(&sc, &ctx, &why), E_INVAL);
    free(why);
    sc.curves = NULL;
    sc.ca_file = file("nothing.pem");
    assert_int_equal(tls_context_new(&sc, &ctx, &why), E_IO);
    free(why);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(forty_megabytes_come_back_unharmed),
        TEST(suites_of_tls12_are_named_as_go_names_them),
        TEST(plain_bytes_written_before_leave_before),
        TEST(input_that_is_there_already_begins_the_handshake),
        TEST(mutual_tls_shows_the_peers_certificate),
        TEST(strangers_are_refused),
        TEST(insecure_takes_anyone),
        TEST(a_plain_peer_fails_the_handshake),
        TEST(last_words_go_through_tls),
        TEST(reload_reads_the_files_again_or_leaves_all_as_it_was),
        TEST(wrong_options_are_told_in_words),
    };
    int r = cmocka_run_group_tests(tests, make_certificates, remove_certificates);
    free(pattern);
    return r;
}
