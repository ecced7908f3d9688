/* server/listener.c -- see listener.h
 *
 * At most ACCEPT_MAX are taken per readiness, so that a storm of reconnects leaves room for those
 * who talk.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/loop.h"
#include "server/pace.h"

#define ACCEPT_MAX 64
#define BACKLOG    4096

struct listener {
    struct loop *loop;
    struct event *ev;
    listener_fn *fn;
    void *arg;
    char *host; /* owned, as given */
    int fd;
    uint16_t port;
    uint64_t accepted;
    struct pace pace;
    bool paused;            /* by the owner */
    bool closed;            /* from inside fn */
    struct turn_timer rest; /* out of descriptors: until then */
};

static void listen_again(void *arg)
{
    struct listener *l = arg;
    if (!l->paused)
        event_add(l->ev, NULL);
}

static void out_of_descriptors(struct listener *l, int err)
{
    log_error("Error accepting a connection on %s:%u: %s; resting for 1s", l->host, l->port,
              strerror(err));
    event_del(l->ev);
    turn_set(loop_turn(l->loop), &l->rest, clock_mono() + NS_PER_S);
}

static void on_knock(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct listener *l = arg;
    loop_enter(l->loop);
    for (int i = 0; i < ACCEPT_MAX && !l->closed && !l->paused; i++) {
        struct sockaddr_storage from = {0};
        socklen_t n = sizeof from;
        int peer = accept4(fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                out_of_descriptors(l, errno);
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return;
        }
        pace_accepted(&l->pace, peer, &from);
        l->accepted++;
        l->fn(l->arg, l, peer);
    }
}

/* Every address: one socket for both families where the kernel has IPv6. */
static int bind_any(int port)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int off = 0, on = 1;
    if (fd >= 0) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0 &&
            bind(fd, (struct sockaddr *)&in6, sizeof in6) == 0)
            return fd;
        int err = errno;
        close(fd);
        errno = err;
        if (err != EADDRNOTAVAIL && err != EAFNOSUPPORT)
            return -1;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&in, sizeof in) == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

static int bind_host(const char *host, int port, const char **lookup)
{
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found;
    int r = getaddrinfo(host, service, &hints, &found);
    if (r != 0) {
        *lookup = gai_strerror(r);
        return -1;
    }
    int fd = -1, on = 1, err = EADDRNOTAVAIL;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            bind(fd, a->ai_addr, a->ai_addrlen) == 0)
            break;
        err = errno;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    errno = err;
    return fd;
}

static uint16_t port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u = {.in6 = {0}};
    socklen_t n = sizeof u;
    if (getsockname(fd, &u.any, &n) != 0)
        return 0;
    return ntohs(u.any.sa_family == AF_INET6 ? u.in6.sin6_port : u.in.sin_port);
}

/* In Go's words: lower case, as people's log filters expect. */
static const char *go_words(int err)
{
    switch (err) {
    case EADDRINUSE:
        return "address already in use";
    case EADDRNOTAVAIL:
        return "cannot assign requested address";
    case EACCES:
        return "permission denied";
    default:
        return strerror(err);
    }
}

int listener_bind(const char *host, int port, uint16_t *real, char **why)
{
    const char *lookup = NULL;
    if (port < 0)
        port = 0;
    bool any = !host || !*host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    int fd = any ? bind_any(port) : bind_host(host, port, &lookup);
    if (fd >= 0 && listen(fd, BACKLOG) == 0) {
        *real = port_of(fd);
        return fd;
    }
    int err = errno;
    if (fd >= 0)
        close(fd);
    *why = xasprintf("listen tcp %s:%d: %s%s", any ? "0.0.0.0" : host, port,
                     lookup ? "lookup: " : "bind: ", lookup ? lookup : go_words(err));
    return E_SYS;
}

int listener_open(struct loop *loop, const char *host, int port, listener_fn *fn, void *arg,
                  struct listener **out, char **why)
{
    uint16_t real;
    int fd = listener_bind(host, port, &real, why);
    if (fd < 0)
        return E_SYS;
    struct listener *l = xcalloc(1, sizeof *l);
    *l = (struct listener){.loop = loop, .fn = fn, .arg = arg, .fd = fd, .port = real};
    pace_listen(&l->pace, fd);
    l->host = xstrdup(host && *host ? host : "0.0.0.0");
    turn_timer_init(&l->rest, listen_again, l);
    l->ev = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_knock, l);
    ASSERT(l->ev && event_add(l->ev, NULL) == 0);
    *out = l;
    return 0;
}

static void listener_free(void *arg)
{
    struct listener *l = arg;
    free(l->host);
    free(l);
}

void listener_close(struct listener *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    turn_unset(loop_turn(l->loop), &l->rest);
    event_free(l->ev);
    close(l->fd);
    loop_defer(l->loop, listener_free, l);
}

const char *listener_host(const struct listener *l)
{
    return l->host;
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

uint64_t listener_accepted(const struct listener *l)
{
    return l->accepted;
}

void listener_pause(struct listener *l, bool on)
{
    l->paused = on;
    if (on)
        event_del(l->ev);
    else if (!turn_timer_is_set(&l->rest))
        event_add(l->ev, NULL);
}
