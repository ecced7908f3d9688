/* tests/unit/server/test_monitor.c -- the whole server in this process, asked over HTTP
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/monitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/conn.h"
#include "server/indent.h"
#include "server/options.h"
#include "server/server.h"

static struct server srv;
static struct options_start st;

static unsigned rests_told;

static void silent(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    if (strstr(line, "for monitoring: ") && strstr(line, "resting"))
        rests_told++;
}

static int open_server(void **state)
{
    char *argv[] = {"frond", "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-n", "site-1", NULL};
    (void)state;
    log_capture(silent, NULL);
    options_start(9, argv, &st);
    if (st.exit_code >= 0)
        return -1;
    return server_open(&srv, st.options, st.flags, "frond");
}

static int close_server(void **state)
{
    (void)state;
    server_close(&srv);
    options_start_release(&st);
    log_capture(NULL, NULL);
    return 0;
}

/* A peer of the server in the same loop: says something, gathers what comes. */
struct peer {
    struct conn *c;
    struct buf got;
};

static void on_event(void *arg, struct conn *c, enum conn_event ev)
{
    struct peer *p = arg;
    if (ev == CONN_DATA) {
        buf_add_slice(&p->got, conn_input(c));
        conn_consume(c, conn_input(c).n);
    }
    if (ev == CONN_GONE)
        p->c = NULL;
}

static void dial(struct peer *p, uint16_t port, const char *text)
{
    *p = (struct peer){0};
    assert_int_equal(conn_dial(srv.loop, "127.0.0.1", port, 0, on_event, p, &p->c), 0);
    conn_write(p->c, text, strlen(text));
}

static struct peer web; /* the last answer */

/* The body of the answer; its head stays in web.got in front of it. */
static const char *ask(const char *path, int status)
{
    char *request = xasprintf("GET %s HTTP/1.0\r\n\r\n", path), line[32];
    buf_release(&web.got);
    dial(&web, srv.monitor_port, request);
    free(request);
    while (web.c)
        loop_once(srv.loop);
    const char *text = buf_cstr(&web.got), *body = strstr(text, "\r\n\r\n");
    snprintf(line, sizeof line, " %d ", status);
    assert_non_null(body);
    assert_non_null(strstr(text, line));
    return body + 4;
}

static json_t *ask_json(const char *path)
{
    json_t *j;
    char *why = NULL;
    const char *body = ask(path, 200);
    if (json_read(slice_cstr(body), &j, &why) != 0)
        fail_msg("%s: %s\n%s", path, why, body);
    assert_non_null(strstr(web.got.data, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(web.got.data, "Access-Control-Allow-Origin: *\r\n"));
    return j;
}

static void wait_for(struct peer *p, const char *text)
{
    while (!strstr(buf_cstr(&p->got), text))
        loop_once(srv.loop);
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

/* A socket that nobody can accept stays readable: the loop must not run in a ring for its sake. */
static void out_of_descriptors_it_rests(void **state)
{
    enum { MOST = 256 };
    struct rlimit was, few;
    struct loop_stats before, after;
    struct turn_timer while_out;
    struct peer late;
    bool over = false;
    int spare[MOST];
    size_t n = 0;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = (struct rlimit){MOST, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    dial(&late, srv.monitor_port, "GET /healthz HTTP/1.0\r\n\r\n");
    while (n < MOST && (spare[n] = dup(STDERR_FILENO)) >= 0)
        n++;
    loop_stats(srv.loop, &before);
    turn_timer_init(&while_out, set_true, &over);
    turn_set(srv.turn, &while_out, clock_mono() + 300 * NS_PER_MS);
    while (!over)
        loop_once(srv.loop);
    loop_stats(srv.loop, &after);
    assert_true(rests_told > 0);
    assert_true(after.turns - before.turns < 50);
    while (n)
        close(spare[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    while (late.c)
        loop_once(srv.loop);
    assert_non_null(strstr(buf_cstr(&late.got), " 200 OK"));
    buf_release(&late.got);
}

static void varz_has_the_members_that_clients_read(void **state)
{
    (void)state;
    json_t *j = ask_json("/varz");
    const char *const keys[] = {"server_id",
                                "version",
                                "proto",
                                "host",
                                "port",
                                "max_connections",
                                "ping_interval",
                                "http_host",
                                "http_port",
                                "max_payload",
                                "cluster",
                                "gateway",
                                "leaf",
                                "jetstream",
                                "start",
                                "now",
                                "uptime",
                                "mem",
                                "cores",
                                "cpu",
                                "connections",
                                "total_connections",
                                "in_msgs",
                                "out_bytes",
                                "slow_consumers",
                                "subscriptions",
                                "http_req_stats",
                                "config_load_time",
                                "slow_consumer_stats",
                                "frond"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!json_key(j, keys[i]))
            fail_msg("/varz lacks %s", keys[i]);
    assert_true(slice_is(json_get_str(j, "version"), SERVER_COMPAT));
    assert_true(slice_is(json_get_str(j, "server_name"), "site-1"));
    assert_int_equal(json_get_int(j, "port", 0), srv.port);
    assert_int_equal(json_get_int(j, "http_port", 0), srv.monitor_port);
    assert_true(json_get_int(j, "mem", 0) > 1000000);
    assert_int_equal(json_get_int(json_key(j, "http_req_stats"), "/varz", 0), 1);
    assert_true(json_get_int(json_key(json_key(j, "frond"), "loop"), "turns", 0) > 0);
    json_free(j);
}

static int64_t turns_counted(const char *path)
{
    json_t *j = ask_json(path);
    int64_t n = json_get_int(json_key(json_key(j, "frond"), "loop"), "turns", -1);
    json_free(j);
    return n;
}

static void turns_are_counted_anew_when_asked(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        loop_defer(srv.loop, free, NULL); /* a turn that need not wait */
        loop_once(srv.loop);
    }
    int64_t before = turns_counted("/varz?turns=reset");
    assert_true(before >= 1000);
    int64_t after = turns_counted("/varz");
    assert_true(after >= 0 && after < before);
}

static void connections_are_listed_while_open_and_after(void **state)
{
    (void)state;
    struct peer p;
    dial(&p, srv.port,
         "CONNECT {\"name\":\"till\",\"lang\":\"C\",\"version\":\"9\",\"verbose\":false}\r\n"
         "SUB orders.* q 7\r\nPUB orders.x 2\r\nhi\r\nPING\r\n");
    wait_for(&p, "PONG");
    json_t *j = ask_json("/connz?subs=detail&auth=1"),
           *c = json_array_get(json_key(j, "connections"), 0);
    assert_int_equal(json_get_int(j, "num_connections", 0), 1);
    assert_true(slice_is(json_get_str(c, "kind"), "Client"));
    assert_true(slice_is(json_get_str(c, "name"), "till"));
    assert_true(slice_is(json_get_str(c, "ip"), "127.0.0.1"));
    assert_int_equal(json_get_int(c, "in_msgs", 0), 1);
    assert_int_equal(json_get_int(c, "in_bytes", 0), 2);
    assert_int_equal(json_get_int(c, "out_msgs", 0), 1);
    json_t *s = json_array_get(json_key(c, "subscriptions_list_detail"), 0);
    assert_true(slice_is(json_get_str(s, "subject"), "orders.*"));
    assert_true(slice_is(json_get_str(s, "qgroup"), "q"));
    assert_true(slice_is(json_get_str(s, "sid"), "7"));
    assert_int_equal(json_get_int(s, "msgs", 0), 1);
    json_free(j);
    j = ask_json("/subsz?subs=1&test=orders.x&acc=$G");
    assert_int_equal(json_get_int(j, "total", 0), 1);
    json_free(j);
    j = ask_json("/accstatz");
    c = json_array_get(json_key(j, "account_statz"), 0);
    assert_int_equal(json_get_int(c, "conns", 0), 1);
    assert_int_equal(json_get_int(json_key(c, "received"), "msgs", 0), 1);
    json_free(j);
    conn_close(p.c, false);
    while (p.c || srv.nclients)
        loop_once(srv.loop);
    j = ask_json("/connz");
    assert_int_equal(json_get_int(j, "total", 9), 0);
    json_free(j);
    j = ask_json("/connz?state=closed&sort=stop");
    c = json_array_get(json_key(j, "connections"), 0);
    assert_true(slice_is(json_get_str(c, "reason"), "Client Closed"));
    assert_true(slice_is(json_get_str(c, "name"), "till"));
    json_free(j);
    buf_release(&p.got);
}

static void pages_are_sorted_and_cut(void **state)
{
    (void)state;
    struct peer p[5];
    for (int i = 0; i < 5; i++) {
        char text[200] = "CONNECT {\"verbose\":false}\r\n";
        for (int k = 0; k < (i * 3) % 5; k++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "SUB s.%d %d\r\n", k, k);
        snprintf(text + strlen(text), sizeof text - strlen(text), "PING\r\n");
        dial(&p[i], srv.port, text);
        wait_for(&p[i], "PONG");
    }
    json_t *j = ask_json("/connz?sort=subs&limit=2&offset=1"), *list = json_key(j, "connections");
    assert_int_equal(json_get_int(j, "total", 0), 5);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_get_int(json_array_get(list, 0), "subscriptions", 0), 3);
    assert_int_equal(json_get_int(json_array_get(list, 1), "subscriptions", 0), 2);
    json_free(j);
    j = ask_json("/connz?cid=999");
    assert_int_equal(json_get_int(j, "num_connections", 9), 0);
    assert_int_equal(json_get_int(j, "limit", 9), 1);
    json_free(j);
    for (int i = 0; i < 5; i++) {
        conn_close(p[i].c, false);
        while (p[i].c)
            loop_once(srv.loop);
        buf_release(&p[i].got);
    }
}

static void wrong_arguments_are_told_as_go_tells_them(void **state)
{
    (void)state;
    assert_string_equal(
        ask("/connz?subs=abc", 400),
        "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"abc\": invalid syntax");
    assert_non_null(strstr(web.got.data, "Content-Type: text/plain; charset=utf-8\r\n"));
    assert_string_equal(
        ask("/connz?limit=x", 400),
        "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax");
    assert_string_equal(
        ask("/connz?cid=x", 400),
        "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"x\": invalid syntax");
    assert_string_equal(ask("/connz?sort=foo", 400), "invalid sorting option: foo");
    assert_string_equal(ask("/connz?sort=stop", 400),
                        "sort by stop only valid on closed connections");
    assert_string_equal(ask("/connz?state=foo", 400), "Error decoding state for foo");
    assert_string_equal(ask("/accountz?acc=zz", 400), "Account zz does not exist");
    assert_string_equal(ask("/subsz?test=foo.*", 400),
                        "invalid test subject, must be valid publish subject: foo.*");
    assert_string_equal(ask("/nowhere", 404), "404 page not found\n");
}

static void health_is_short(void **state)
{
    (void)state;
    assert_string_equal(ask("/healthz", 200), "{\"status\":\"ok\"}");
    assert_string_equal(ask("/healthz?js-server-only=true", 200), "{\"status\":\"ok\"}");
    assert_string_equal(ask("/healthz?stream=x", 400),
                        "{\"status\":\"error\",\"error\":\"\\\"account\\\" must not be empty when "
                        "checking stream health\"}");
}

static void the_rest_answers_too(void **state)
{
    (void)state;
    const char *const all[] = {"/leafz",
                               "/jsz",
                               "/jsz?accounts=1&streams=1",
                               "/accountz",
                               "/accountz?acc=$G",
                               "/subsz",
                               "/subscriptionsz",
                               "/routez",
                               "/gatewayz",
                               "/accstatz?unused=1"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        json_t *j = ask_json(all[i]);
        assert_int_equal(json_get_str(j, "server_id").n, 56);
        json_free(j);
    }
    json_t *j = ask_json("/jsz");
    assert_true(json_get_bool(j, "disabled", false));
    json_free(j);
    assert_non_null(strstr(ask("/", 200), "./varz"));
    assert_non_null(strstr(web.got.data, "text/html"));
    buf_release(&web.got);
}

static void odd_requests_are_answered_or_dropped_and_nobody_is_hurt(void **state)
{
    (void)state;
    const char *const odd[] = {
        "HEAD /varz HTTP/1.0\r\n\r\n",
        "GET /varz?%zz=%&&&=subs HTTP/1.0\r\n\r\n",
        "GET /varz\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET /%00varz HTTP/1.0\r\n\r\n",
        "POST /healthz HTTP/1.0\r\nContent-Length: 99999999\r\n\r\nx",
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
         "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        buf_release(&web.got);
        dial(&web, srv.monitor_port, odd[i]);
        while (web.c)
            loop_once(srv.loop);
        if (i == 0) {
            const char *text = buf_cstr(&web.got);
            assert_non_null(strstr(text, "200 OK"));
            assert_true(web.got.len < 400); /* no body */
        }
    }
    assert_string_equal(ask("/healthz", 200), "{\"status\":\"ok\"}");
    buf_release(&web.got);
}

static void indentation_is_gos(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    json_indent(SLICE("{\"a\":1,\"b\":[],\"c\":{\"d\":[1,\"x,{}\\\"\"],\"e\":{}}}"), &b);
    assert_string_equal(buf_cstr(&b),
                        "{\n  \"a\": 1,\n  \"b\": [],\n  \"c\": {\n    \"d\": [\n      1,\n"
                        "      \"x,{}\\\"\"\n    ],\n    \"e\": {}\n  }\n}");
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_descriptors_it_rests),
        cmocka_unit_test(varz_has_the_members_that_clients_read),
        cmocka_unit_test(turns_are_counted_anew_when_asked),
        cmocka_unit_test(connections_are_listed_while_open_and_after),
        cmocka_unit_test(pages_are_sorted_and_cut),
        cmocka_unit_test(wrong_arguments_are_told_as_go_tells_them),
        cmocka_unit_test(health_is_short),
        cmocka_unit_test(the_rest_answers_too),
        cmocka_unit_test(odd_requests_are_answered_or_dropped_and_nobody_is_hurt),
        cmocka_unit_test(indentation_is_gos),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
