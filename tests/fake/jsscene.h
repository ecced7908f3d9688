/* fake/jsscene.h -- jsapi on a real store in a directory of its own, with a fake host: a site
 * without sockets
 *
 *     struct jsscene s;
 *     jsscene_open(&s, NULL);
 *     free(jsscene_ask(&s, "$JS.API.INFO", ""));
 *     jsscene_restart(&s);                       close and open again, the same files
 *     jsscene_close(&s);
 *
 * Domain and limits may be set before: jsscene_init(), then jsscene_start().
 *
 * Include after cmocka.h: mistakes of the scene itself fail the test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_JSSCENE_H
#define FAKE_JSSCENE_H

#include <dirent.h>
#include <unistd.h>

#include "base/buf.h"
#include "fake/jshost.h"

struct jsscene {
    char dir[64];
    struct fake_turn ft;
    struct store *store;
    struct jshost host;
    struct jsapi *js;
    struct jsapi_account *acc;
    struct jsapi_limits limits;
    struct slice domain;
    int64_t max_storage; /* of the server; 0: none */
    int account;         /* its address is the host's account */
    bool pressed;
};

static void jsscene_pressure(void *arg, bool on)
{
    struct jsscene *s = arg;
    jsapi_pressure(s->js, on);
}
static void jsscene_closing(void *arg)
{
    struct jsscene *s = arg;
    if (s->js)
        jsapi_closing(s->js);
}
static void jsscene_reopened(void *arg)
{
    struct jsscene *s = arg;
    jsapi_reopened(s->js);
}
static void jsscene_damaged(void *arg, struct stream *st, uint64_t seq)
{
    struct jsscene *s = arg;
    jsapi_damaged(s->js, st, seq);
}
static void jsscene_failed(void *arg, int err)
{
    (void)arg;
    fail_msg("the store failed: %s", err_text(err));
}

static inline void jsscene_start(struct jsscene *s)
{
    struct store_config cfg = {
        .dir = s->dir, .max_file_bytes = 64 << 20, .max_mem_bytes = 64 << 20};
    struct store_host sh = {.arg = s,
                            .turn = &s->ft.turn,
                            .pressure = jsscene_pressure,
                            .closing = jsscene_closing,
                            .reopened = jsscene_reopened,
                            .damaged = jsscene_damaged,
                            .failed = jsscene_failed};
    char *why = NULL;

    int err = store_open(&cfg, &sh, &s->store, &why);
    if (err)
        fail_msg("store_open: %s: %s", err_text(err), why ? why : "");
    free(why);
    jshost_init(&s->host, &s->ft, s->store);
    s->host.host.domain = s->domain;
    s->host.host.max_storage = s->max_storage;
    jshost_want(&s->host, "_INBOX.>");
    assert_int_equal(jsapi_open(&s->host.host, &s->js), 0);
    assert_int_equal(jsapi_account_open(s->js, &s->account, SLICE("$G"), &s->limits, &s->acc), 0);
}

static inline void jsscene_init(struct jsscene *s)
{
    const char *tmp = getenv("TMPDIR");

    memset(s, 0, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "%s/frond-jsapi-XXXXXX",
             tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(s->dir));
    fake_turn_init(&s->ft);
    s->limits = (struct jsapi_limits){-1, -1, -1, -1, -1, -1, -1, false};
}

static inline void jsscene_open(struct jsscene *s)
{
    jsscene_init(s);
    jsscene_start(s);
}

static inline void jsscene_stop(struct jsscene *s)
{
    jsapi_close(s->js);
    s->js = NULL;
    store_close(s->store);
    fake_turn_run(&s->ft);
    jshost_release(&s->host);
}

static inline void jsscene_restart(struct jsscene *s)
{
    jsscene_stop(s);
    jsscene_start(s);
}

static inline void jsscene_remove(const char *dir)
{
    struct buf path = BUF_INIT;
    DIR *d = opendir(dir);

    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        buf_clear(&path);
        buf_printf(&path, "%s/%s", dir, e->d_name);
        if (unlink(buf_cstr(&path)) < 0)
            jsscene_remove(buf_cstr(&path));
    }
    if (d)
        closedir(d);
    (void)rmdir(dir);
    buf_release(&path);
}

static inline void jsscene_close(struct jsscene *s)
{
    jsscene_stop(s);
    fake_turn_release(&s->ft);
    jsscene_remove(s->dir);
}

/* The answer's text, owned by the caller; "(silence)" when nobody listens or nothing comes. */
static inline char *jsscene_ask_hdr(struct jsscene *s, const char *subject, const char *hdr,
                                    const char *body)
{
    struct jshost_msg *m = jshost_request_hdr(&s->host, &s->account, subject, hdr, body);
    char *text = slice_dup(m ? m->payload : SLICE("(silence)"));
    jshost_msg_free(m);
    return text;
}

static inline char *jsscene_ask(struct jsscene *s, const char *subject, const char *body)
{
    return jsscene_ask_hdr(s, subject, NULL, body);
}

/* The answer must contain all of the texts. */
static inline void jsscene_expect_all(struct jsscene *s, const char *subject, const char *body,
                                      const char *const *wanted, size_t n)
{
    char *answer = jsscene_ask(s, subject, body);

    for (size_t i = 0; i < n; i++)
        if (!strstr(answer, wanted[i]))
            fail_msg("%s %s\nwanted %s\nin     %s", subject, body, wanted[i], answer);
    free(answer);
}
#define jsscene_expect(s, subject, body, ...)                                                      \
    jsscene_expect_all(s, subject, body, (const char *const[]){__VA_ARGS__},                       \
                       sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

#endif
