/* server/conn.c -- one socket
 *
 *     DIALING --> OPEN --> SHAKING --> OPEN          conn_start_tls() moves OPEN to SHAKING
 *        |          |         |
 *        +----------+---------+--> FLUSHING --> LINGERING --> DEAD
 *        +----------+---------+---------------------------->  DEAD
 *
 *   DIALING    the TCP connect is under way
 *   OPEN       bytes move, plain or inside TLS
 *   SHAKING    what was written before conn_start_tls() leaves in plain, then the handshake runs
 *   FLUSHING   closed by us with flush: what waits is sent, what comes is thrown away
 *   LINGERING  all is sent, our FIN too, GONE is told: waiting for the peer's FIN
 *   DEAD       out of libevent; GONE (if not told yet) and the free come at the end of the turn
 *
 * What all connections of a loop share is in struct room: the read buffer, the pool of output
 * chunks and three lists that the end of a turn works off: dirty (something to write), again (DATA
 * without new bytes from the socket), dead. Two seconds of silence give the room's memory back.
 *
 * Reading, by what is there already:
 *   nothing            one read into the shared buffer, DATA shows it there
 *   a short rest       is copied in front of the shared buffer, one read behind it, DATA shows both
 * in one piece conn_want(n)       one readv into the rest's own room up to n, what is beyond into
 * the shared buffer; DATA when the n bytes are there, and once more for what is beyond a long rest
 * without a wish: its own buffer doubles
 *
 * What always holds
 *   (1) Only conn_enter() writes the state, update_events() follows it.
 *   (2) No event from inside a call of the upper storey; after DEAD or FLUSHING only GONE, once.
 *   (3) `shown` is set only while DATA is being handled and the input lies in the shared buffer.
 *   (4) wr_on means: the kernel was full (or the connect is under way); nobody tries to write
 * before it says so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/buf.h"
#include "base/clock.h"
#include "server/loop.h"
#include "server/outq.h"
#include "server/tls.h"

#define SHARED_MAX    (256 * 1024) /* one read */
#define REST_COPY_MAX (64 * 1024)
#define WRITE_NOW     (256 * 1024)
#define IOV_BATCH     64
#define FLUSH_NS      (2 * NS_PER_S)
#define SWEEP_NS      (2 * NS_PER_S)

enum conn_state { DIALING, OPEN, SHAKING, FLUSHING, LINGERING, DEAD };

#define TO(state) (1u << (state))
static const unsigned moves[] = {
    [DIALING] = TO(OPEN) | TO(DEAD),
    [OPEN] = TO(SHAKING) | TO(FLUSHING) | TO(DEAD),
    [SHAKING] = TO(OPEN) | TO(FLUSHING) | TO(DEAD),
    [FLUSHING] = TO(LINGERING) | TO(DEAD),
    [LINGERING] = TO(DEAD),
    [DEAD] = 0,
};

struct peer { /* an address in 20 bytes */
    uint8_t addr[16];
    uint16_t port;
    uint8_t family; /* AF_INET, AF_INET6 or 0: something else (a socketpair) */
};

struct room {
    struct loop *loop;
    const struct turn *turn;
    struct list all;                /* conn.link */
    struct list dirty, again, dead; /* conn.dirty, conn.again, conn.dirty */
    struct turn_post end;           /* works off dirty and dead */
    struct turn_timer again_timer, sweep_timer;
    struct outq_pool pool;
    char *shared; /* SHARED_MAX bytes, mapped */
    bool active;  /* something moved since the last sweep */
};

struct conn {
    struct list link, dirty, again;
    struct room *room;
    conn_event_fn *fn;
    void *arg;
    struct event rd, wr;
    enum conn_state state;
    enum conn_reason reason;
    int fd, err; /* err: errno behind the reason */
    unsigned pauses;
    bool rd_on, wr_on; /* in libevent */
    bool gone_told;
    bool peer_done;        /* FIN came while we flush */
    bool yielded;          /* show the rest without reading */
    bool above;            /* output was over the low-water mark since the last DRAINED */
    bool read_wants_write; /* TLS: the read goes on when the socket can be written */
    bool shown;            /* DATA is being handled, input is `cur` */
    struct slice cur;      /* not yet consumed, in the shared buffer */
    struct buf in;         /* the rest */
    size_t want;           /* DATA only when the rest is that long; 0: any */
    struct outq out;
    size_t low;
    struct tls *tls;         /* NULL: plain */
    size_t plain_left;       /* bytes of out that still leave in plain */
    struct turn_timer timer; /* the upper storey's */
    struct turn_timer guard; /* dial, write deadline or flush limit, as the state says */
    int64_t write_deadline;  /* ns; 0: never */
    int64_t stuck;           /* mono: since when the kernel has taken nothing */
    int64_t start, last_read, last_write;
    uint64_t in_bytes, out_bytes, raw_in;
    struct peer peer;
    char tls_error[120]; /* kept when tls is gone */
};

static void room_end(void *arg);
static void on_guard(void *arg);
static void readable(struct conn *c);
static void flush_now(struct conn *c);

/* --- the room --------------------------------------------------------------------------------- */

static void on_again(void *arg)
{
    struct room *r = arg;
    struct list now, *e;
    list_init(&now);
    list_splice(&now, &r->again);
    while ((e = list_pop(&now)) != NULL)
        readable(LIST_ENTRY(e, struct conn, again));
}

/* Silence since the last sweep: memory goes back. */
static void on_sweep(void *arg)
{
    struct room *r = arg;
    bool was_active = r->active;
    r->active = false;
    outq_pool_trim(&r->pool);
    if (was_active) {
        turn_set(r->turn, &r->sweep_timer, clock_mono() + SWEEP_NS);
        return;
    }
    madvise(r->shared, SHARED_MAX, MADV_DONTNEED);
    malloc_trim(0);
}

static void room_free(void *arg);

static struct room *room_of(struct loop *l)
{
    struct room *r = loop_conns(l);
    if (r)
        return r;
    r = xcalloc(1, sizeof *r);
    r->loop = l;
    r->turn = loop_turn(l);
    list_init(&r->all);
    list_init(&r->dirty);
    list_init(&r->again);
    list_init(&r->dead);
    turn_post_init(&r->end, room_end, r);
    turn_timer_init(&r->again_timer, on_again, r);
    turn_timer_init(&r->sweep_timer, on_sweep, r);
    r->shared = mmap(NULL, SHARED_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(r->shared != MAP_FAILED);
    loop_set_conns(l, r, room_free);
    return r;
}

static void mark_dirty(struct conn *c)
{
    if (!list_empty(&c->dirty))
        return;
    list_push_back(&c->room->dirty, &c->dirty);
    c->room->turn->at_end(c->room->turn->loop, &c->room->end);
}

/* Next turn, not this one: the timer is set at this turn's end. */
static void mark_again(struct conn *c)
{
    if (!list_empty(&c->again))
        return;
    list_push_back(&c->room->again, &c->again);
    c->room->turn->at_end(c->room->turn->loop, &c->room->end);
}

/* --- states ----------------------------------------------------------------------------------- */

static void update_events(struct conn *c)
{
    bool rd = (c->state == OPEN && c->pauses == 0) || c->state == SHAKING ||
              (c->state == FLUSHING && !c->peer_done) || c->state == LINGERING;
    if (rd && !c->rd_on)
        event_add(&c->rd, NULL);
    if (!rd && c->rd_on)
        event_del(&c->rd);
    c->rd_on = rd;
}

static void conn_enter(struct conn *c, enum conn_state to)
{
    ASSERT(moves[c->state] & TO(to));
    c->state = to;
    update_events(c);
}

/* The kernel is full (on) or has room. */
static void set_blocked(struct conn *c, bool on)
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

static void die(struct conn *c, enum conn_reason why, int err)
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
    list_unlink(&c->dirty);
    outq_release(&c->out, &c->room->pool);
    if (c->tls) {
        snprintf(c->tls_error, sizeof c->tls_error, "%s", tls_error(c->tls));
        tls_close(c->tls, c->reason == CONN_CLOSED || c->reason == CONN_EOF);
        c->tls = NULL;
    }
    close(c->fd); /* the peer need not wait for the end of our turn */
    c->fd = -1;
    list_push_back(&c->room->dead, &c->dirty);
    c->room->turn->at_end(c->room->turn->loop, &c->room->end);
}

static void tell(struct conn *c, enum conn_event ev)
{
    if (c->state == OPEN || c->state == SHAKING)
        c->fn(c->arg, c, ev);
}

static void tell_gone(struct conn *c)
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
    while (!list_empty(&r->all)) {
        struct conn *c = LIST_ENTRY(r->all.next, struct conn, link);
        die(c, CONN_CLOSED, 0);
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
        die(c, CONN_DIAL_TIMEOUT, ETIMEDOUT);
        return;
    case OPEN:
    case SHAKING:
        if (clock_mono() - c->stuck >= c->write_deadline)
            die(c, CONN_WRITE_TIMEOUT, ETIMEDOUT);
        else
            turn_set(c->room->turn, &c->guard, c->stuck + c->write_deadline);
        return;
    case FLUSHING:
    case LINGERING:
        die(c, CONN_CLOSED, 0);
        return;
    case DEAD:
        return;
    }
}

static void on_timeout(void *arg)
{
    tell(arg, CONN_TIMEOUT);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* From TLS as much as there is and fits. */
static ssize_t receive_tls(struct conn *c, const struct iovec *iov, int n)
{
    size_t got = 0;
    ssize_t r = 0;
    for (int i = 0; i < n; i++) {
        for (size_t in = 0; in < iov[i].iov_len; in += (size_t)r, got += (size_t)r)
            if ((r = tls_read(c->tls, (char *)iov[i].iov_base + in, iov[i].iov_len - in)) <= 0)
                goto out;
    }
out:
    c->read_wants_write = r == E_AGAIN && tls_wants_write(c->tls);
    if (c->read_wants_write)
        set_blocked(c, true);
    if (tls_raw_in(c->tls) != c->raw_in) {
        c->raw_in = tls_raw_in(c->tls);
        c->last_read = clock_mono();
    }
    if (got > 0 && r != E_AGAIN)
        mark_again(c); /* no event of the socket will tell of what is left */
    return got > 0 ? (ssize_t)got : r;
}

/* A count, 0 at the end, E_AGAIN, or E_IO with the connection dead. */
static ssize_t receive(struct conn *c, struct iovec *iov, int n)
{
    ssize_t r;
    if (c->tls) {
        r = receive_tls(c, iov, n);
        if (r < 0 && r != E_AGAIN)
            die(c, CONN_READ_ERROR, EIO);
    } else {
        do
            r = n == 1 ? read(c->fd, iov->iov_base, iov->iov_len) : readv(c->fd, iov, n);
        while (r < 0 && errno == EINTR);
        if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            r = E_AGAIN;
        } else if (r < 0) {
            die(c, CONN_READ_ERROR, errno);
            r = E_IO;
        }
    }
    if (r > 0) {
        c->in_bytes += (uint64_t)r;
        c->last_read = clock_mono();
        c->room->active = true;
    } else if (r == 0) {
        c->reason = CONN_EOF;
        flush_now(c);
        die(c, CONN_EOF, 0);
    }
    return r;
}

/* Bytes stay for later: into a buffer of the connection, as large as was wished. */
static void keep(struct conn *c, struct slice rest)
{
    size_t room = c->want > c->in.len + rest.n ? c->want - c->in.len : rest.n;
    memcpy(buf_reserve(&c->in, room), rest.p, rest.n);
    buf_commit(&c->in, rest.n);
}

/* An idle connection holds no buffers. */
static void settle(struct conn *c)
{
    if (c->in.len == 0)
        buf_release(&c->in);
    if (c->state == OPEN && c->yielded)
        mark_again(c);
    if (c->tls && c->out.bytes && !c->wr_on)
        mark_dirty(c); /* perhaps the write waited for what was read */
}

/* DATA from the shared buffer; the connection has no rest of its own. */
static void show_shared(struct conn *c, size_t n)
{
    c->cur = slice_of(c->room->shared, n);
    c->shown = true;
    c->want = 0;
    tell(c, CONN_DATA);
    c->shown = false;
    if (c->cur.n && c->state == OPEN)
        keep(c, c->cur);
}

/* DATA from the rest. */
static void show_rest(struct conn *c)
{
    c->want = 0;
    tell(c, CONN_DATA);
}

static void read_behind_copy(struct conn *c)
{
    char *shared = c->room->shared;
    size_t had = c->in.len;
    if (had)
        memcpy(shared, buf_slice(&c->in).p, had);
    struct iovec iov = {shared + had, SHARED_MAX - had};
    ssize_t n = receive(c, &iov, 1);
    if (n <= 0)
        return;
    buf_clear(&c->in);
    show_shared(c, had + (size_t)n);
}

static void read_in_place(struct conn *c)
{
    size_t missing = c->want > c->in.len ? c->want - c->in.len : 0;
    bool wished = missing > 0;
    if (!wished)
        missing = c->in.len; /* double it */
    struct iovec iov[2] = {{buf_reserve(&c->in, missing), missing}, {c->room->shared, SHARED_MAX}};
    ssize_t r = receive(c, iov, wished ? 2 : 1);
    if (r <= 0)
        return;
    size_t n = (size_t)r, beyond = n > missing ? n - missing : 0;
    buf_commit(&c->in, n - beyond);
    if (c->in.len < c->want)
        return;
    show_rest(c);
    if (beyond == 0 || c->state != OPEN)
        return;
    if (c->in.len == 0 && c->pauses == 0 && !c->yielded) {
        show_shared(c, beyond);
        return;
    }
    keep(c, slice_of(c->room->shared, beyond));
    if (c->pauses == 0 && c->in.len >= c->want)
        c->yielded = true; /* there is news, let it be seen next turn */
}

static void discard(struct conn *c)
{
    struct iovec iov = {c->room->shared, SHARED_MAX};
    ssize_t n;
    do
        n = read(c->fd, iov.iov_base, iov.iov_len);
    while (n < 0 && errno == EINTR);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)))
        return;
    c->peer_done = n == 0;
    if (c->peer_done && c->state == FLUSHING)
        update_events(c);
    else
        die(c, CONN_CLOSED, 0);
}

static void shake(struct conn *c)
{
    if (c->plain_left)
        return;
    int r = tls_handshake(c->tls);
    if (tls_raw_in(c->tls) != c->raw_in) {
        c->raw_in = tls_raw_in(c->tls);
        c->last_read = clock_mono();
    }
    if (r == E_AGAIN) {
        set_blocked(c, tls_wants_write(c->tls));
        return;
    }
    if (r != 0) {
        die(c, CONN_TLS_FAILED, EPROTO);
        return;
    }
    set_blocked(c, false);
    conn_enter(c, OPEN);
    if (tls_has_pending(c->tls))
        mark_again(c);
    if (c->out.bytes)
        mark_dirty(c);
    tell(c, CONN_TLS_READY);
}

static void readable(struct conn *c)
{
    if (c->state == SHAKING) {
        shake(c);
    } else if (c->state == FLUSHING || c->state == LINGERING) {
        discard(c);
    } else if (c->state == OPEN && c->pauses == 0) {
        bool rest_first = c->yielded;
        c->yielded = false;
        if (rest_first && c->in.len >= c->want && c->in.len)
            show_rest(c);
        else if (c->want > c->in.len || c->in.len > REST_COPY_MAX)
            read_in_place(c);
        else
            read_behind_copy(c);
        settle(c);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *c = arg;
    loop_enter(c->room->loop);
    if (!c->yielded) /* else its share comes from on_again() */
        readable(c);
}

struct slice conn_input(const struct conn *c)
{
    return c->shown ? c->cur : buf_slice(&c->in);
}

void conn_consume(struct conn *c, size_t n)
{
    if (c->shown) {
        ASSERT(n <= c->cur.n);
        c->cur = slice_skip(c->cur, n);
    } else {
        ASSERT(n <= c->in.len);
        buf_consume(&c->in, n);
    }
}

void conn_want(struct conn *c, size_t n)
{
    c->want = n;
}

void conn_yield(struct conn *c)
{
    c->yielded = true;
    if (!c->shown)
        mark_again(c);
}

void conn_pause(struct conn *c)
{
    c->pauses++;
    update_events(c);
}

void conn_resume(struct conn *c)
{
    ASSERT(c->pauses > 0);
    if (--c->pauses > 0)
        return;
    update_events(c);
    if (c->state == OPEN && (c->in.len || (c->tls && tls_has_pending(c->tls)))) {
        c->yielded = c->in.len > 0;
        mark_again(c);
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Cuts the vector to at most `limit` bytes. */
static int cut_iov(struct iovec *iov, int n, size_t limit, size_t *total)
{
    *total = 0;
    for (int i = 0; i < n; i++) {
        if (*total + iov[i].iov_len >= limit) {
            iov[i].iov_len = limit - *total;
            *total = limit;
            return i + 1;
        }
        *total += iov[i].iov_len;
    }
    return n;
}

/* A count, or E_AGAIN, or E_IO; *all: the kernel took what it was offered. */
static ssize_t send_plain(struct conn *c, bool *all)
{
    struct iovec iov[IOV_BATCH];
    size_t offered;
    int niov = outq_iov(&c->out, iov, IOV_BATCH);
    niov = cut_iov(iov, niov, c->tls ? c->plain_left : SIZE_MAX, &offered);
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = (size_t)niov};
    ssize_t n;
    do
        n = sendmsg(c->fd, &mh, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? E_AGAIN : E_IO;
    if (c->tls)
        c->plain_left -= (size_t)n;
    *all = (size_t)n == offered;
    return n;
}

static ssize_t send_tls(struct conn *c, bool *all)
{
    struct iovec iov;
    if (outq_iov(&c->out, &iov, 1) == 0)
        return E_AGAIN;
    *all = true;
    return tls_write(c->tls, iov.iov_base, iov.iov_len);
}

static void sent(struct conn *c, size_t n)
{
    outq_take(&c->out, &c->room->pool, n);
    c->out_bytes += n;
    c->last_write = c->stuck = clock_mono();
    c->room->active = true;
}

/* All that we wanted to say is in the kernel: say so and let the peer close. */
static void linger(struct conn *c)
{
    if (c->tls) {
        tls_close(c->tls, true);
        c->tls = NULL;
    }
    if (c->peer_done) {
        die(c, CONN_CLOSED, 0);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    set_blocked(c, false);
    conn_enter(c, LINGERING);
}

static void flush_now(struct conn *c)
{
    if (c->state == DIALING || c->state == LINGERING || c->state == DEAD || c->wr_on)
        return;
    c->above |= c->out.bytes > c->low;
    bool all = true;
    while (c->out.bytes && all && !(c->state == SHAKING && c->plain_left == 0)) {
        bool plain = !c->tls || c->plain_left;
        ssize_t n = plain ? send_plain(c, &all) : send_tls(c, &all);
        if (n == E_AGAIN && !plain && !tls_wants_write(c->tls))
            return; /* TLS waits for bytes of the peer: readable() marks us dirty */
        if (n == E_AGAIN) {
            all = false;
            break;
        }
        if (n < 0) {
            die(c, CONN_WRITE_ERROR, c->tls ? EIO : errno);
            return;
        }
        sent(c, (size_t)n);
    }
    set_blocked(c, !all);
}

/* After a flush, where events may be sent. */
static void after_flush(struct conn *c)
{
    if (c->state == FLUSHING && c->out.bytes == 0) {
        linger(c);
        tell_gone(c);
        return;
    }
    if (c->state == SHAKING) {
        if (!c->wr_on)
            shake(c);
        return;
    }
    if (c->above && c->out.bytes <= c->low) {
        c->above = false;
        tell(c, CONN_DRAINED);
    }
}

static void finish_dial(struct conn *c)
{
    int err = 0;
    socklen_t n = sizeof err;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n) != 0)
        err = errno;
    if (err) {
        die(c, CONN_DIAL_FAILED, err);
        return;
    }
    turn_unset(c->room->turn, &c->guard);
    c->wr_on = false;
    event_del(&c->wr);
    c->last_read = c->last_write = clock_mono();
    conn_enter(c, OPEN);
    if (c->out.bytes)
        mark_dirty(c);
    tell(c, CONN_CONNECTED);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *c = arg;
    loop_enter(c->room->loop);
    if (c->state == DIALING) {
        finish_dial(c);
        return;
    }
    /* one attempt; wr_on goes off only when all is gone, so that a full socket costs no epoll_ctl()
     */
    c->wr_on = false;
    bool retry_read = c->read_wants_write;
    c->read_wants_write = false;
    flush_now(c);
    if (!c->wr_on && c->state != DEAD) {
        c->wr_on = true;
        set_blocked(c, false);
    }
    after_flush(c);
    if (retry_read)
        readable(c);
}

static void room_end(void *arg)
{
    struct room *r = arg;
    struct list now, *e;
    list_init(&now);
    list_splice(&now, &r->dirty);
    while ((e = list_pop(&now)) != NULL) {
        struct conn *c = LIST_ENTRY(e, struct conn, dirty);
        flush_now(c);
        after_flush(c);
    }
    while ((e = list_pop(&r->dead)) != NULL) {
        struct conn *c = LIST_ENTRY(e, struct conn, dirty);
        tell_gone(c);
        loop_defer(r->loop, conn_free, c);
    }
    if (!list_empty(&r->again))
        turn_set(r->turn, &r->again_timer, clock_mono());
    if (r->active && !turn_timer_is_set(&r->sweep_timer))
        turn_set(r->turn, &r->sweep_timer, clock_mono() + SWEEP_NS);
}

char *conn_reserve(struct conn *c, size_t n)
{
    return outq_reserve(&c->out, &c->room->pool, n);
}

static bool takes_output(const struct conn *c)
{
    return c->state == OPEN || c->state == SHAKING || c->state == DIALING;
}

/* Something was appended. */
static void appended(struct conn *c)
{
    if (c->out.bytes >= WRITE_NOW && !c->wr_on)
        flush_now(c);
    mark_dirty(c);
}

void conn_commit(struct conn *c, size_t n)
{
    if (!takes_output(c) || n == 0)
        return;
    outq_commit(&c->out, n);
    appended(c);
}

void conn_write(struct conn *c, const void *p, size_t n)
{
    if (!takes_output(c) || n == 0)
        return;
    memcpy(outq_reserve(&c->out, &c->room->pool, n), p, n);
    outq_commit(&c->out, n);
    appended(c);
}

void conn_write_msg(struct conn *c, struct msg *m, size_t from, size_t n)
{
    if (!takes_output(c) || n == 0)
        return;
    outq_ref(&c->out, m, from, n);
    appended(c);
}

size_t conn_pending(const struct conn *c)
{
    return c->out.bytes;
}

void conn_low_water(struct conn *c, size_t bytes)
{
    c->low = bytes;
}

void conn_notsent_lowat(struct conn *c, int bytes)
{
    if (c->fd >= 0)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

void conn_flush(struct conn *c)
{
    flush_now(c);
    if (c->state != DEAD)
        mark_dirty(c); /* events come at the end of the turn */
}

void conn_write_deadline(struct conn *c, int64_t ns)
{
    c->write_deadline = ns;
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
    list_push_back(&r->all, &c->link);
    buf_init(&c->in);
    turn_timer_init(&c->timer, on_timeout, c);
    turn_timer_init(&c->guard, on_guard, c);
    c->start = clock_wall();
    c->last_read = c->last_write = clock_mono();
    event_assign(&c->rd, loop_base(l), fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->wr, loop_base(l), fd, EV_WRITE | EV_PERSIST, on_writable, c);
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
    update_events(c);
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
    c->state = DIALING;
    *out = c;
    if (connect(fd, (struct sockaddr *)&ss, n) != 0 && errno != EINPROGRESS && errno != EINTR) {
        die(c, CONN_DIAL_FAILED, errno);
        return 0;
    }
    c->wr_on = true; /* also when it is through at once: the event says so */
    event_add(&c->wr, NULL);
    if (timeout_ns > 0)
        turn_set(c->room->turn, &c->guard, clock_mono() + timeout_ns);
    return 0;
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
    mark_dirty(c);
    return 0;
}

void conn_close(struct conn *c, bool flush)
{
    if (c->state == DEAD || c->state == LINGERING || (c->state == FLUSHING && flush))
        return;
    turn_unset(c->room->turn, &c->timer);
    bool cannot = c->state == DIALING || (c->state == SHAKING && c->plain_left != c->out.bytes);
    if (!flush || cannot || c->state == FLUSHING) {
        die(c, CONN_CLOSED, 0);
        return;
    }
    if (c->state == SHAKING) { /* the handshake has not begun: what waits leaves in plain */
        tls_close(c->tls, false);
        c->tls = NULL;
    }
    c->reason = CONN_CLOSED;
    conn_enter(c, FLUSHING);
    turn_set(c->room->turn, &c->guard, clock_mono() + FLUSH_NS);
    mark_dirty(c);
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
                              .tls = c->tls && c->state != SHAKING};
    print_peer(&c->peer, out->ip, &out->port);
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    if (c->fd >= 0 && getsockname(c->fd, (struct sockaddr *)&ss, &n) == 0) {
        struct peer local = {0};
        note_peer(&local, &ss);
        print_peer(&local, out->local_ip, &out->local_port);
    }
    if (out->tls) {
        snprintf(out->tls_version, sizeof out->tls_version, "%s", tls_version(c->tls));
        snprintf(out->tls_cipher, sizeof out->tls_cipher, "%s", tls_cipher(c->tls));
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

struct slice conn_peer_cert(const struct conn *c)
{
    return c->tls ? tls_peer_cert(c->tls) : slice_of(NULL, 0);
}
