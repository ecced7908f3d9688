/* tests/unit/jsapi/consumer_site.h -- a site to try consumers on, and the words the tests use
 *
 * The whole room over a fake subject space, a clock we set, and the real store: memory streams
 * where nothing needs to last, a file store in a directory of its own where the process "restarts".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_CONSUMER_SITE_H
#define TEST_CONSUMER_SITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake/jshost.h"

struct site {
    struct fake_turn ft;
    struct jshost h;
    struct store *store;
    struct jsapi *js;
    struct jsapi_account *acc;
    char dir[64];
};
static int the_account;
#define ACC (&the_account)

static inline void site_closing(void *arg)
{
    struct site *s = arg;
    if (s->js)
        jsapi_closing(s->js);
}

static inline void site_reopened(void *arg)
{
    jsapi_reopened(((struct site *)arg)->js);
}

static void site_clock_moved(void *arg, int64_t by)
{
    (void)by;
    jsapi_clock_moved(((struct site *)arg)->js);
}

static inline struct store_host site_host(struct site *s)
{
    return (struct store_host){.arg = s,
                               .turn = &s->ft.turn,
                               .closing = site_closing,
                               .reopened = site_reopened,
                               .clock_moved = site_clock_moved};
}

static inline void site_up(struct site *s)
{
    char *why = NULL;
    struct store_config cfg = {
        .dir = s->dir, .max_file_bytes = 64 << 20, .max_mem_bytes = 64 << 20};
    struct jsapi_limits limits = {-1, -1, -1, -1, -1, -1, -1, false};
    fake_turn_init(&s->ft);
    struct store_host host = site_host(s);
    assert_int_equal(store_open(&cfg, &host, &s->store, &why), 0);
    jshost_init(&s->h, &s->ft, s->store);
    s->h.host.domain = SLICE("leaf");
    assert_int_equal(jsapi_open(&s->h.host, &s->js), 0);
    assert_int_equal(jsapi_account_open(s->js, ACC, SLICE("$G"), &limits, &s->acc), 0);
    jshost_want(&s->h, "_INBOX.>");
    fake_turn_run(&s->ft);
}

/* What is left to do behind jsapi_close(). */
static inline void site_closed(struct site *s)
{
    fake_turn_run(&s->ft);
    store_close(s->store);
    fake_turn_run(&s->ft);
    jshost_release(&s->h);
    fake_turn_release(&s->ft);
}

static inline void site_down(struct site *s)
{
    jsapi_close(s->js);
    s->js = NULL;
    site_closed(s);
}

static inline int setup(void **state)
{
    struct site *s = xcalloc(1, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "/tmp/frond-consumers-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    site_up(s);
    *state = s;
    return 0;
}

static inline int teardown(void **state)
{
    struct site *s = *state;
    char cmd[128];
    site_down(s);
    snprintf(cmd, sizeof cmd, "rm -rf %s", s->dir);
    assert_int_equal(system(cmd), 0);
    free(s);
    return 0;
}

/* --- words of the tests ----------------------------------------------------------------------- */

static inline char *ask(struct site *s, const char *subject, const char *body)
{
    struct jshost_msg *m = jshost_request(&s->h, ACC, subject, body);
    if (!m)
        fail_msg("no answer on %s", subject);
    char *text = xstrdup(m->text);
    jshost_msg_free(m);
    fake_turn_run(&s->ft);
    return text;
}

static inline void ask_ok(struct site *s, const char *subject, const char *body)
{
    char *text = ask(s, subject, body);
    if (strstr(text, "\"error\""))
        fail_msg("%s: %s", subject, text);
    free(text);
}

static inline void ask_error(struct site *s, const char *subject, const char *body, int code)
{
    char *text = ask(s, subject, body), want[32];
    snprintf(want, sizeof want, "\"err_code\":%d,", code);
    if (!strstr(text, want))
        fail_msg("%s: wanted %d, got %s", subject, code, text);
    free(text);
}

static inline void make_stream(struct site *s, const char *extra)
{
    char body[512];
    snprintf(body, sizeof body, "{\"name\":\"S\",\"subjects\":[\"o.>\"]%s}", extra);
    ask_ok(s, "$JS.API.STREAM.CREATE.S", body);
}

static inline void make_consumer(struct site *s, const char *name, const char *members)
{
    char subject[96], body[768];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.S.%s", name);
    snprintf(body, sizeof body, "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"%s\"%s}}",
             name, members);
    ask_ok(s, subject, body);
}

static inline void publish(struct site *s, const char *subject, const char *payload)
{
    struct jshost_msg *m = jshost_request(&s->h, ACC, subject, payload);
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"seq\":"));
    jshost_msg_free(m);
    fake_turn_run(&s->ft);
}

static inline void publish_n(struct site *s, const char *subject, int n)
{
    for (int i = 0; i < n; i++)
        publish(s, subject, "hello");
}

static inline void pull(struct site *s, const char *consumer, const char *inbox, const char *body)
{
    char subject[96];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.S.%s", consumer);
    assert_int_equal(jshost_send(&s->h, ACC, subject, inbox, NULL, body), 1);
    fake_turn_run(&s->ft);
}

static inline uint64_t number_in(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    if (!at)
        fail_msg("no %s in %s", key, text);
    return strtoull(at + strlen(key), NULL, 10);
}

/* A number of the consumer's info: path "num_pending", or "delivered.stream_seq". */
static inline uint64_t info(struct site *s, const char *consumer, const char *object,
                            const char *key)
{
    char subject[96], quoted[64];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.S.%s", consumer);
    char *text = ask(s, subject, "");
    const char *from = text;
    if (object) {
        snprintf(quoted, sizeof quoted, "\"%s\":{", object);
        from = strstr(text, quoted);
        assert_non_null(from);
    }
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    uint64_t v = number_in(from, quoted);
    free(text);
    return v;
}

static inline uint64_t stream_msgs(struct site *s)
{
    char *text = ask(s, "$JS.API.STREAM.INFO.S", "");
    uint64_t v = number_in(text, "\"messages\":");
    free(text);
    return v;
}

struct got { /* a delivered message */
    uint64_t deliveries, sseq, cseq, pending;
    char reply[160], subject[64], text[64], hdr[256];
};

static inline bool take(struct site *s, const char *inbox, struct got *g)
{
    struct jshost_msg *m = jshost_take(&s->h, inbox);
    *g = (struct got){0};
    if (!m)
        return false;
    snprintf(g->reply, sizeof g->reply, "%.*s", SLICE_FMT(m->reply));
    snprintf(g->subject, sizeof g->subject, "%.*s", SLICE_FMT(m->subject));
    snprintf(g->text, sizeof g->text, "%s", m->text);
    snprintf(g->hdr, sizeof g->hdr, "%.*s", SLICE_FMT(m->hdr));
    const char *at = strstr(g->reply, "$JS.ACK.S.");
    if (at && (at = strchr(at + 10, '.')))
        assert_int_equal(
            sscanf(at, ".%lu.%lu.%lu.%*d.%lu", &g->deliveries, &g->sseq, &g->cseq, &g->pending), 4);
    jshost_msg_free(m);
    return true;
}

static inline void expect_msg(struct site *s, const char *inbox, uint64_t sseq, uint64_t cseq,
                              uint64_t deliveries, struct got *g)
{
    if (!take(s, inbox, g))
        fail_msg("nothing on %s where %lu should be", inbox, (unsigned long)sseq);
    if (g->sseq != sseq || g->cseq != cseq || g->deliveries != deliveries)
        fail_msg("%s: %s | %s", inbox, g->reply, g->hdr);
}

static inline void expect_status(struct site *s, const char *inbox, const char *hdr)
{
    struct got g;
    if (!take(s, inbox, &g))
        fail_msg("nothing on %s where \"%s\" should be", inbox, hdr);
    assert_string_equal(g.hdr, hdr);
}

static inline void expect_nothing(struct site *s, const char *inbox)
{
    struct got g;
    if (take(s, inbox, &g))
        fail_msg("%s: %s | %s", inbox, g.reply, g.hdr);
}

static inline void ack(struct site *s, const struct got *g, const char *what)
{
    assert_int_equal(jshost_send(&s->h, ACC, g->reply, NULL, NULL, what), 1);
    fake_turn_run(&s->ft);
}

#define MEMORY   ",\"storage\":\"memory\""
#define EXPLICIT ",\"ack_policy\":\"explicit\""

#endif
