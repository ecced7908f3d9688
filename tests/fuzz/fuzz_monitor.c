/* fuzz_monitor.c -- any path and arguments, asked of the monitoring of a whole server
 *
 * The input is "path?name=value&…", what is left of an HTTP request once evhttp has read it;
 * http.c's door is ours here, so no socket is needed. Every request is answered once: a page,
 * JSON that parses (and the same whether it is indented or not), or an error in plain text.
 * Looking changes nothing: the server lives, and the same question gets the same status again.
 *
 * link: site
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "scenario/site.h"
#include "server/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the door of http.c ----------------------------------------------------------------------- */

struct http {
    http_fn *fn;
    void *arg;
};
struct http_request {
    char *path;       /* owned */
    struct buf names; /* "name\0value\0" … */
    int answers, status;
    bool json;
    struct buf body;
};
static struct http door;

int http_open(struct loop *loop, const char *host, int port, http_fn *fn, void *arg,
              struct http **out, char **why)
{
    (void)loop, (void)host, (void)port, (void)why;
    door = (struct http){fn, arg};
    *out = &door;
    return 0;
}

void http_close(struct http *h)
{
    (void)h;
}

uint16_t http_port(const struct http *h)
{
    (void)h;
    return 8222;
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_arg(const struct http_request *r, const char *name)
{
    struct slice all = buf_slice(&r->names);
    while (all.n) {
        struct slice key = slice_head(all, slice_find(all, '\0'));
        struct slice value = slice_skip(all, key.n + 1);
        value = slice_head(value, slice_find(value, '\0'));
        if (slice_is(key, name))
            return value.p;
        all = slice_skip(all, key.n + value.n + 2);
    }
    return NULL;
}

void http_header(struct http_request *r, const char *name, const char *value)
{
    (void)r;
    ASSERT(*name && !strpbrk(value, "\r\n"));
}

void http_answer(struct http_request *r, int status, const char *type, struct slice body)
{
    r->answers++;
    r->status = status;
    r->json = strcmp(type, "application/json") == 0;
    buf_add_slice(&r->body, body);
}

/* --- the server ------------------------------------------------------------------------------- */

static const char conf[] = "server_name: site\nlisten: 127.0.0.1:4222\nhttp: 127.0.0.1:8222\n"
                           "jetstream { store_dir: \"$STORE\", domain: site }\n"
                           "leafnodes { remotes: [ {url: \"nats-leaf://10.0.0.1:7422\"} ] }\n";
static struct site site;
static struct wire *client;

static bool settled(void *arg)
{
    (void)arg;
    return slice_search(buf_slice(wire_heard(client)), SLICE("settled")) < wire_heard(client)->len;
}

static void ask_client(const char *subject, const char *body)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "PUB %s R.1 %zu\r\n%s\r\n", subject, strlen(body), body);
    wire_say(client, b.data, b.len);
    buf_release(&b);
    fake_loop_run(site.srv.loop);
}

static void end(void)
{
    wire_free(client);
    site_stop(&site);
    site_release(&site);
}

static void begin(void)
{
    static const char hello[] = "CONNECT {\"verbose\":false}\r\nSUB a.> q 1\r\nSUB R.1 2\r\n";
    site_init(&site);
    ASSERT(atexit(end) == 0);
    ASSERT(site_start(&site, conf) == 0);
    client = wire_knock(4222);
    ASSERT(client);
    wire_say(client, hello, sizeof hello - 1);
    ask_client("$JS.API.STREAM.CREATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
    ask_client(
        "$JS.API.CONSUMER.CREATE.S.C",
        "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}}");
    ask_client("s.a", "hi");
    ask_client("$JS.API.STREAM.CREATE.settled",
               "{\"name\":\"settled\",\"subjects\":[\"settled\"]}");
    ASSERT(fake_loop_wait(site.srv.loop, settled, NULL));
    wire_free(wire_knock(4222)); /* a closed one */
    fake_loop_run(site.srv.loop);
}

/* --- one request ------------------------------------------------------------------------------ */

static void read_request(struct slice in, struct http_request *r)
{
    size_t n = slice_find(in, '?');
    *r = (struct http_request){.path = slice_dup(slice_head(in, n))};
    for (in = slice_skip(in, n + 1); in.n;) {
        struct slice pair = slice_head(in, slice_find(in, '&'));
        size_t eq = slice_find(pair, '=');
        in = slice_skip(in, pair.n + 1);
        buf_add_slice(&r->names, slice_head(pair, eq));
        buf_add_char(&r->names, '\0');
        buf_add_slice(&r->names, slice_skip(pair, eq + 1));
        buf_add_char(&r->names, '\0');
    }
}

static int ask(struct slice in)
{
    struct http_request r;
    json_t *doc = NULL;
    read_request(in, &r);
    door.fn(door.arg, &r);
    fake_loop_run(site.srv.loop);
    ASSERT(r.answers == 1);
    if (r.json && (r.body.len == 0 || json_read(buf_slice(&r.body), &doc, NULL) != 0)) {
        fprintf(stderr, "no JSON: %s\n", buf_cstr(&r.body));
        abort();
    }
    json_free(doc);
    free(r.path);
    buf_release(&r.names);
    buf_release(&r.body);
    return r.status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    if (size > 2048 || slice_find(in, '\0') < size)
        return 0;
    if (!client)
        begin();
    int status = ask(in);
    ASSERT(ask(in) == status);
    buf_clear(&site.log);
    return 0;
}
