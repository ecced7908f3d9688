/* server/http.c -- evhttp behind http.h
 *
 * The socket is bound by the listener's code, so that ports, families and complaints are the same
 * everywhere. One request at a time is answered while its handler runs: nothing is kept here.
 *
 * When the process is out of descriptors the listening socket rests for a second: it stays readable
 * and would keep the loop running in a ring. evhttp has taken the listener's argument for itself,
 * so all that are open are in a list, and the one that is in trouble is found by its listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/http.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/cells.h"
#include "server/listener.h"
#include "server/loop.h"

#define HEAD_MAX  8192
#define BODY_MAX  65536
#define SILENCE_S 60

struct http {
    struct http *next; /* in all_open */
    struct loop *loop;
    struct evhttp *ev;
    struct evconnlistener *ears; /* evhttp's */
    struct turn_timer rest;      /* out of descriptors: until then */
    http_fn *fn;
    void *arg;
    uint16_t port;
};

static struct http *all_open;

struct http_request {
    struct evhttp_request *ev;
    char *path;              /* decoded, owned */
    struct evkeyvalq *query; /* NULL: none that can be read */
    bool answered;
};

static void on_request(struct evhttp_request *ev, void *arg)
{
    struct http *h = arg;
    struct evkeyvalq query;
    struct http_request r = {.ev = ev};
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(ev);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    const char *text = uri ? evhttp_uri_get_query(uri) : NULL;

    loop_enter(h->loop);
    if (text && evhttp_parse_query_str(text, &query) == 0)
        r.query = &query;
    r.path = evhttp_uridecode(path && *path ? path : "/", 0, NULL);
    if (r.path)
        h->fn(h->arg, &r);
    if (!r.answered)
        evhttp_send_error(ev, HTTP_BADREQUEST, NULL);
    cells_free(r.path); /* libevent made it */
    if (r.query)
        evhttp_clear_headers(r.query);
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_arg(const struct http_request *r, const char *name)
{
    return r->query ? evhttp_find_header(r->query, name) : NULL;
}

void http_header(struct http_request *r, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(r->ev), name, value);
}

static const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

void http_answer(struct http_request *r, int status, const char *type, struct slice body)
{
    ASSERT(!r->answered);
    r->answered = true;
    http_header(r, "Content-Type", type);
    if (evhttp_request_get_command(r->ev) == EVHTTP_REQ_HEAD) {
        char n[24];
        (void)snprintf(n, sizeof n, "%zu", body.n);
        http_header(r, "Content-Length", n);
        evhttp_send_reply(r->ev, status, status_text(status), NULL);
        return;
    }
    struct evbuffer *out = evbuffer_new();
    ASSERT(out && evbuffer_add(out, body.p, body.n) == 0);
    evhttp_send_reply(r->ev, status, status_text(status), out);
    evbuffer_free(out);
}

static void listen_again(void *arg)
{
    struct http *h = arg;
    (void)evconnlistener_enable(h->ears);
}

/* accept() failed, and not because nobody was there. */
static void on_trouble(struct evconnlistener *ears, void *evhttp)
{
    int err = errno;
    struct http *h = all_open;
    (void)evhttp;
    while (h && h->ears != ears)
        h = h->next;
    if (!h)
        return;
    loop_enter(h->loop);
    log_error("Error accepting a connection for monitoring: %s; resting for 1s", strerror(err));
    (void)evconnlistener_disable(ears);
    turn_set(loop_turn(h->loop), &h->rest, clock_mono() + NS_PER_S);
}

int http_open(struct loop *loop, const char *host, int port, http_fn *fn, void *arg,
              struct http **out, char **why)
{
    uint16_t real;
    int fd = listener_bind(host, port, &real, why);
    if (fd < 0)
        return E_SYS;
    struct http *h = xcalloc(1, sizeof *h);
    *h = (struct http){.loop = loop, .fn = fn, .arg = arg, .port = real};
    turn_timer_init(&h->rest, listen_again, h);
    h->ev = evhttp_new(loop_base(loop));
    ASSERT(h->ev);
    struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(h->ev, fd);
    ASSERT(bound);
    h->ears = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(h->ears, on_trouble);
    h->next = all_open;
    all_open = h;
    evhttp_set_gencb(h->ev, on_request, h);
    evhttp_set_max_headers_size(h->ev, HEAD_MAX);
    evhttp_set_max_body_size(h->ev, BODY_MAX);
    evhttp_set_timeout(h->ev, SILENCE_S);
    evhttp_set_default_content_type(h->ev, NULL);
    *out = h;
    return 0;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    struct http **at = &all_open;
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    turn_unset(loop_turn(h->loop), &h->rest);
    evhttp_free(h->ev); /* with the listening socket and all connections */
    free(h);
}

uint16_t http_port(const struct http *h)
{
    return h->port;
}
