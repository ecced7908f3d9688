/* server/conn.c -- one socket: its life
 *
 *     DIALING --> OPEN --> SHAKING --> OPEN          conn_start_tls() moves OPEN to SHAKING
 *        |          |         |
 *        |          +---------+--> FLUSHING --> LINGERING --> DEAD
 *        +----------+---------+---------------------------->  DEAD
 *
 *   DIALING    the TCP connect is under way
 *   OPEN       bytes move, plain or inside TLS
 *   SHAKING    what was written before conn_start_tls() leaves in plain, then the handshake runs
 *   FLUSHING   closed by us with flush: what waits is sent, what comes is thrown away
 *   LINGERING  all is sent, our FIN too, GONE is told: waiting for the peer's FIN
 *   DEAD       out of libevent; GONE (if not told yet) and the free come at the end of the turn
 *
 * How bytes move is in conn_io.c; this file is the frame around it.
 *
 * What all connections of a loop share is in struct room: the read buffer, the pool of output
 * chunks and three lists that the end of a turn works off: dirty (something to write), again
 * (DATA without new bytes from the socket), dead. When traffic dies down to a trickle for two
 * seconds, or a minute after somebody left, the room's memory goes back to the system, and the
 * allocator's with it.
 *
 * What always holds
 *   (1) Only conn_enter() writes the state; conn_update_events() follows it.
 *   (2) No event from inside a call of the upper storey; after DEAD or FLUSHING only GONE, once.
 *   (3) A dead connection's descriptor is closed at once, its memory freed after GONE.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/conn_inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/loop.h"
#include "server/pace.h"
#include "server/tls.h"

#define FLUSH_NS   (2 * NS_PER_S)
#define SWEEP_NS   (2 * NS_PER_S)
#define LITTERED   2                   /* what a long turn frees may come behind the first sweep */
#define SWEEPS_MAX 30                  /* a minute of talk */
#define TRICKLE    ((size_t)64 * 1024) /* between two sweeps: as good as silence */

#define TO(state) (1u << (state))
static const unsigned moves[] = {
    [DIALING] = TO(OPEN) | TO(DEAD),
    [OPEN] = TO(SHAKING) | TO(FLUSHING) | TO(DEAD),
    [SHAKING] = TO(OPEN) | TO(FLUSHING) | TO(DEAD),
    [FLUSHING] = TO(LINGERING) | TO(DEAD),
    [LINGERING] = TO(DEAD),
    [DEAD] = 0,
};

static void conn_free(void *arg);
static void room_free(void *arg);
static void on_guard(void *arg);

/* --- the room --------------------------------------------------------------------------------- */

static void on_again(void *arg)
{
    struct room *r = arg;
    struct list now, *e;
    list_init(&now);
    list_splice(&now, &r->again);
    while ((e = list_pop(&now)) != NULL)
        conn_readable(LIST_ENTRY(e, struct conn, again));
}

static void sweep_soon(struct room *r)
{
    if (!turn_timer_is_set(&r->sweep_timer))
        turn_set(r->turn, &r->sweep_timer, clock_mono() + SWEEP_NS);
}

/* Little moves, and it was more before: memory goes back. Where it never gets quiet, it does so all
 * the same from time to time: a storm must not stay for good because others go on talking. */
static void on_sweep(void *arg)
{
    struct room *r = arg;
    bool quiet = r->moved < TRICKLE;
    if (!quiet)
        r->litter = LITTERED;
    r->moved = 0;
    outq_pool_trim(&r->pool);
    r->sweeps++;
    if (r->litter && (quiet || r->sweeps >= SWEEPS_MAX)) {
        madvise(r->shared, SHARED_MAX, MADV_DONTNEED);
        malloc_trim(0);
        r->litter--;
        r->sweeps = 0;
    }
    if (r->litter)
        turn_set(r->turn, &r->sweep_timer, clock_mono() + SWEEP_NS);
}

static void room_end(void *arg)
{
    struct room *r = arg;
    struct list now, *e;
    list_init(&now);
    list_splice(&now, &r->dirty);
    list_splice(&now, &r->fresh);
    while ((e = list_pop(&now)) != NULL) {
        struct conn *c = LIST_ENTRY(e, struct conn, dirty);
        conn_flush_now(c);
        c->begun = false;
        conn_after_flush(c);
    }
    while ((e = list_pop(&r->dead)) != NULL) {
        struct conn *c = LIST_ENTRY(e, struct conn, dirty);
        conn_tell_gone(c);
        loop_defer(r->loop, conn_free, c);
    }
    if (!list_empty(&r->again))
        turn_set(r->turn, &r->again_timer, clock_mono());
    if (r->moved || r->litter)
        sweep_soon(r);
}

static struct room *room_of(struct loop *l)
{
    struct room *r = loop_conns(l);
    if (r)
        return r;
    r = xcalloc(1, sizeof *r);
    r->loop = l;
    r->turn = loop_turn(l);
    list_init(&r->all);
    list_init(&r->fresh);
    list_init(&r->dirty);
    list_init(&r->heavy);
    r->chunk = SHARED_MAX;
    list_init(&r->again);
    list_init(&r->dead);
    turn_post_init(&r->end, room_end, r);
    turn_timer_init(&r->again_timer, on_again, r);
    turn_timer_init(&r->sweep_timer, on_sweep, r);
    r->shared = mmap(NULL, SHARED_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->shared == MAP_FAILED)
        mem_refused(SHARED_MAX);
    loop_set_conns(l, r, room_free);
    loop_after_sockets(l, conn_served);
    return r;
}

void conn_littered(struct loop *l)
{
    struct room *r = room_of(l);
    r->litter = LITTERED;
    sweep_soon(r);
}

void conn_mark_dirty(struct conn *c)
{
    if (!list_empty(&c->dirty))
        return;
    list_push_back(&c->room->fresh, &c->dirty);
    c->room->turn->at_end(c->room->turn->loop, &c->room->end);
}

/* Next turn, not this one: the timer is set at this turn's end. */
void conn_mark_again(struct conn *c)
{
    if (!list_empty(&c->again) || c->state == DEAD)
        return; /* the upper storey may ask before it has heard GONE */
    list_push_back(&c->room->again, &c->again);
    c->room->turn->at_end(c->room->turn->loop, &c->room->end);
}

/* --- states ----------------------------------------------------------------------------------- */

void conn_update_events(struct conn *c)
{
    bool rd = (c->state == OPEN && c->pauses == 0) || c->state == SHAKING ||
              (c->state == FLUSHING && !c->peer_done) || c->state == LINGERING;
    if (rd && !c->rd_on)
        event_add(&c->rd, NULL);
    if (!rd && c->rd_on)
        event_del(&c->rd);
    c->rd_on = rd;
}

void conn_enter(struct conn *c, enum conn_state to)
{
    ASSERT(moves[c->state] & TO(to));
    c->state = to;
    conn_update_events(c);
}

/* The kernel is full (on) or has room. */
void conn_set_blocked(struct conn *c, bool on)
{
    if (on == c->wr_on)
        return;
    c->wr_on = on;
    if (on)
        event_add(&c->wr, NULL);
    else
        event_del(&c->wr);
    if (c->state == FLUSHING || c->write_deadline == 0)
        return;
    if (on) {
        c->stuck = clock_mono();
        turn_set(c->room->turn, &c->guard, c->stuck + c->write_deadline);
    } else {
        turn_unset(c->room->turn, &c->guard);
    }
}

void conn_die(struct conn *c, enum conn_reason why, int err)
{
    if (c->state == DEAD)
        return;
    if (c->reason == CONN_ALIVE) {
        c->reason = why;
        c->err = err;
    }
    event_del(&c->rd);
    event_del(&c->wr);
    c->rd_on = c->wr_on = false;
    conn_enter(c, DEAD);
    turn_unset(c->room->turn, &c->guard);
    turn_unset(c->room->turn, &c->timer);
    list_unlink(&c->again);
    list_unlink(&c->heavy);
    list_unlink(&c->dirty);
    c->above |= c->out.bytes > c->low; /* conn_is_above() */
    outq_release(&c->out, &c->room->pool);
    if (c->tls) {
        (void)snprintf(c->tls_error, sizeof c->tls_error, "%s", tls_error(c->tls));
        tls_close(c->tls, c->reason == CONN_CLOSED || c->reason == CONN_EOF);
        c->tls = NULL;
    }
    c->room->litter = LITTERED;
    close(c->fd); /* the peer need not wait for the end of our turn */
    c->fd = -1;
    list_push_back(&c->room->dead, &c->dirty);
    c->room->turn->at_end(c->room->turn->loop, &c->room->end);
}

void conn_tell(struct conn *c, enum conn_event ev)
{
    if (c->state == OPEN || c->state == SHAKING)
        c->fn(c->arg, c, ev);
}

void conn_tell_gone(struct conn *c)
{
    if (c->gone_told)
        return;
    c->gone_told = true;
    c->fn(c->arg, c, CONN_GONE);
}

static void conn_free(void *arg)
{
    struct conn *c = arg;
    list_unlink(&c->link);
    buf_release(&c->in);
    outq_release(&c->out, &c->room->pool);
    free(c);
}

static void room_free(void *arg)
{
    struct room *r = arg;
    LIST_EACH_SAFE(e, &r->all)
    {
        struct conn *c = LIST_ENTRY(e, struct conn, link);
        bool flushing = c->state == FLUSHING;
        conn_die(c, CONN_CLOSED, 0);
        if (flushing)
            conn_tell_gone(c); /* its owner has closed it and waits for this */
        list_unlink(&c->dirty);
        conn_free(c);
    }
    turn_unset(r->turn, &r->again_timer);
    turn_unset(r->turn, &r->sweep_timer);
    r->turn->unpost(r->turn->loop, &r->end);
    outq_pool_release(&r->pool);
    munmap(r->shared, SHARED_MAX);
    free(r);
}

static void on_guard(void *arg)
{
    struct conn *c = arg;
    switch (c->state) {
    case DIALING:
        conn_die(c, CONN_DIAL_TIMEOUT, ETIMEDOUT);
        return;
    case OPEN:
    case SHAKING:
        if (clock_mono() - c->stuck >= c->write_deadline)
            conn_die(c, CONN_WRITE_TIMEOUT, ETIMEDOUT);
        else
            turn_set(c->room->turn, &c->guard, c->stuck + c->write_deadline);
        return;
    case FLUSHING:
    case LINGERING:
        conn_die(c, CONN_CLOSED, 0);
        return;
    case DEAD:
        return;
    }
}

static void on_timeout(void *arg)
{
    conn_tell(arg, CONN_TIMEOUT);
}

/* --- life ------------------------------------------------------------------------------------- */

static void note_peer(struct peer *p, const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)ss;
        memcpy(p->addr, &in->sin_addr, 4);
        p->port = ntohs(in->sin_port);
        p->family = AF_INET;
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)ss;
        p->port = ntohs(in6->sin6_port);
        p->family = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? AF_INET : AF_INET6;
        if (p->family == AF_INET)
            memcpy(p->addr, in6->sin6_addr.s6_addr + 12, 4);
        else
            memcpy(p->addr, &in6->sin6_addr, 16);
    }
}

static struct conn *conn_new(struct loop *l, int fd, conn_event_fn *fn, void *arg)
{
    struct conn *c = xcalloc(1, sizeof *c);
    struct room *r = room_of(l);
    c->room = r;
    c->fn = fn;
    c->arg = arg;
    c->fd = fd;
    list_init(&c->dirty);
    list_init(&c->again);
    list_init(&c->heavy);
    list_push_back(&r->all, &c->link);
    buf_init(&c->in);
    turn_timer_init(&c->timer, on_timeout, c);
    turn_timer_init(&c->guard, on_guard, c);
    c->start = clock_wall();
    c->last_read = c->last_write = clock_mono();
    event_assign(&c->rd, loop_base(l), fd, EV_READ | EV_PERSIST, conn_on_readable, c);
    event_assign(&c->wr, loop_base(l), fd, EV_WRITE | EV_PERSIST, conn_on_writable, c);
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* a socketpair says no */
    return c;
}

struct conn *conn_accept(struct loop *l, int fd, conn_event_fn *fn, void *arg)
{
    evutil_make_socket_nonblocking(fd);
    evutil_make_socket_closeonexec(fd);
    struct conn *c = conn_new(l, fd, fn, arg);
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    if (getpeername(fd, (struct sockaddr *)&ss, &n) == 0)
        note_peer(&c->peer, &ss);
    c->state = OPEN;
    conn_update_events(c);
    return c;
}

static bool parse_address(const char *ip, uint16_t port, struct sockaddr_storage *ss, socklen_t *n)
{
    struct sockaddr_in *in = (void *)ss;
    struct sockaddr_in6 *in6 = (void *)ss;
    memset(ss, 0, sizeof *ss);
    if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        *n = sizeof *in;
        return true;
    }
    if (inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        *n = sizeof *in6;
        return true;
    }
    return false;
}

int conn_dial(struct loop *l, const char *ip, uint16_t port, int64_t timeout_ns, conn_event_fn *fn,
              void *arg, struct conn **out)
{
    struct sockaddr_storage ss;
    socklen_t n;
    if (!parse_address(ip, port, &ss, &n))
        return E_INVAL;
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return E_SYS;
    struct conn *c = conn_new(l, fd, fn, arg);
    note_peer(&c->peer, &ss);
    pace_dial(fd, &ss);
    c->state = DIALING;
    *out = c;
    if (connect(fd, (struct sockaddr *)&ss, n) != 0 && errno != EINPROGRESS && errno != EINTR) {
        conn_die(c, CONN_DIAL_FAILED, errno);
        return 0;
    }
    c->wr_on = true; /* also when it is through at once: the event says so */
    event_add(&c->wr, NULL);
    if (timeout_ns > 0)
        turn_set(c->room->turn, &c->guard, clock_mono() + timeout_ns);
    return 0;
}

void conn_notsent_lowat(struct conn *c, int bytes)
{
    if (c->fd >= 0)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

void conn_set_handler(struct conn *c, conn_event_fn *fn, void *arg)
{
    c->fn = fn;
    c->arg = arg;
}

void conn_timeout(struct conn *c, int64_t ns)
{
    if (ns > 0 && c->state != DEAD)
        turn_set(c->room->turn, &c->timer, clock_mono() + ns);
    else
        turn_unset(c->room->turn, &c->timer);
}

int conn_start_tls(struct conn *c, struct tls_context *ctx, bool server, const char *name)
{
    if (c->state != OPEN || c->tls)
        return E_CLOSED;
    struct slice early = conn_input(c);
    int r = tls_open(ctx, c->fd, server, name, early, &c->tls);
    if (r != 0)
        return r;
    conn_consume(c, early.n);
    c->plain_left = c->out.bytes;
    conn_enter(c, SHAKING);
    conn_mark_dirty(c);
    return 0;
}

void conn_close(struct conn *c, bool flush)
{
    if (c->state == DEAD || c->state == LINGERING || (c->state == FLUSHING && flush))
        return;
    turn_unset(c->room->turn, &c->timer);
    bool cannot = c->state == DIALING || (c->state == SHAKING && c->plain_left != c->out.bytes);
    if (!flush || cannot || c->state == FLUSHING) {
        conn_die(c, CONN_CLOSED, 0);
        return;
    }
    if (c->state == SHAKING) { /* the handshake has not begun: what waits leaves in plain */
        tls_close(c->tls, false);
        c->tls = NULL;
    }
    c->reason = CONN_CLOSED;
    conn_enter(c, FLUSHING);
    turn_set(c->room->turn, &c->guard, clock_mono() + FLUSH_NS);
    conn_mark_dirty(c);
}

/* --- looking ---------------------------------------------------------------------------------- */

enum conn_reason conn_reason(const struct conn *c)
{
    return c->reason;
}

const char *conn_error(const struct conn *c)
{
    const char *tls = c->tls ? tls_error(c->tls) : c->tls_error;
    if (tls[0])
        return tls;
    return c->err ? strerror(c->err) : "connection closed";
}

static void print_peer(const struct peer *p, char ip[46], uint16_t *port)
{
    ip[0] = '\0';
    *port = p->port;
    if (p->family)
        inet_ntop(p->family, p->addr, ip, 46);
}

void conn_info(const struct conn *c, struct conn_info *out)
{
    *out = (struct conn_info){.start = c->start,
                              .last_read = c->last_read,
                              .last_write = c->last_write,
                              .in_bytes = c->in_bytes,
                              .out_bytes = c->out_bytes,
                              .tls = c->tls_version != NULL};
    print_peer(&c->peer, out->ip, &out->port);
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    if (c->fd >= 0 && getsockname(c->fd, (struct sockaddr *)&ss, &n) == 0) {
        struct peer local = {0};
        note_peer(&local, &ss);
        print_peer(&local, out->local_ip, &out->local_port);
    }
    if (out->tls) {
        (void)snprintf(out->tls_version, sizeof out->tls_version, "%s", c->tls_version);
        (void)snprintf(out->tls_cipher, sizeof out->tls_cipher, "%s", c->tls_cipher);
    }
}

int64_t conn_last_read(const struct conn *c)
{
    return c->last_read;
}

int64_t conn_last_write(const struct conn *c)
{
    return c->last_write;
}

void conn_in_flight(const struct conn *c, uint64_t *acked, uint64_t *unacked)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    int queued = 0;
    *acked = c->out_bytes;
    *unacked = 0;
    if (c->fd < 0 || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return; /* gone, or no TCP: what the kernel took has arrived */
    *acked = info.tcpi_bytes_acked;
    if (ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued > 0)
        *unacked = (uint64_t)queued;
}

struct slice conn_peer_cert(const struct conn *c)
{
    return c->tls ? tls_peer_cert(c->tls) : slice_of(NULL, 0);
}
