/* server/conn_io.c -- one socket: bytes in, bytes out
 *
 * Reading, by what is there already:
 *   nothing        one read into the shared buffer, DATA shows it there
 *   a short rest   is copied in front of the shared buffer, one read behind it, DATA shows both
 *   conn_want(n)   one readv into the rest's own room up to n, what is beyond into the shared
 *                  buffer; DATA when the n bytes are there, and once more for what is beyond
 *   a long rest    without a wish: its own buffer doubles
 * TLS gives a record at a time, so it is asked until the buffer is full or the socket empty; what
 * is left inside OpenSSL is fetched next turn (conn_mark_again), for no event will tell of it.
 *
 * Fairness: a connection is heavy after a read of 16 KiB, until 16 reads in a row were short. While
 * somebody else says little (loop_lively), a heavy one that is readable is only noted; it is read
 * when all others of the turn are served and their small outputs are gone, in chunks, and between
 * two chunks the loop glances at the sockets. Alone it is read as ever: bulk costs what it did.
 * Many heavy ones are a crowd in which somebody who says little may stand unseen: after 10 ms of
 * a turn the others are only noted, too.
 *
 * Writing: the chain leaves by sendmsg, up to 64 pieces at a time, at the end of the turn, and
 * before it when much gathers: once at 16 KiB, so that the peer works on the beginning while we go
 * on with the rest (a puller asks for its next batch meanwhile; each further piece would cost a
 * wake-up and bring nothing), then whenever 320 KiB wait. TLS takes it record by record. A short
 * write means that the kernel is full: no second try before it says so.
 *
 * What always holds
 *   (1) `shown` is set only while DATA is being handled and the input lies in the shared buffer.
 *   (2) wr_on means that the kernel was full (or the connect is under way); nobody tries to write
 *       before it says so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/conn_inside.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/loop.h"
#include "server/tls.h"

#define REST_COPY_MAX ((size_t)64 * 1024)
#define WRITE_FIRST   ((size_t)16 * 1024)  /* the first piece of a turn */
#define WRITE_NOW     ((size_t)320 * 1024) /* what one read becomes: it leaves in one send */
#define IOV_BATCH     64
#define HEAVY_NS      (2 * NS_PER_MS) /* of one turn */

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
        conn_set_blocked(c, true);
    if (tls_raw_in(c->tls) != c->raw_in) {
        c->raw_in = tls_raw_in(c->tls);
        c->last_read = clock_mono();
    }
    if (got > 0 && r != E_AGAIN)
        conn_mark_again(c); /* no event of the socket will tell of what is left */
    return got > 0 ? (ssize_t)got : r;
}

/* Who says little, and who much? In between they stay what they were. */
static void note_size(struct conn *c, size_t n)
{
    if (n >= CHUNK)
        c->bulk = BULK;
    else if (n <= LITTLE && c->bulk)
        c->bulk--; /* the end of something long, perhaps */
    else if (n <= LITTLE)
        loop_note_lively(c->room->loop);
    c->filled = n >= c->room->chunk;
}

/* A count, 0 at the end, E_AGAIN, or E_IO with the connection dead. */
static ssize_t receive(struct conn *c, struct iovec *iov, int n)
{
    ssize_t r;
    if (c->tls) {
        r = receive_tls(c, iov, n);
        if (r < 0 && r != E_AGAIN)
            conn_die(c, CONN_READ_ERROR, EIO);
    } else {
        do
            r = n == 1 ? read(c->fd, iov->iov_base, iov->iov_len) : readv(c->fd, iov, n);
        while (r < 0 && errno == EINTR);
        if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            r = E_AGAIN;
        } else if (r < 0) {
            conn_die(c, CONN_READ_ERROR, errno);
            r = E_IO;
        }
    }
    if (r > 0) {
        c->in_bytes += (uint64_t)r;
        c->last_read = clock_mono();
        c->room->moved += (size_t)r;
        note_size(c, (size_t)r);
    } else if (r == 0) {
        c->reason = CONN_EOF;
        conn_flush_now(c);
        conn_die(c, CONN_EOF, 0);
    }
    return r;
}

/* Room for what this peer sends; NULL, and the connection dead, when there is no memory for it. */
static char *room_for(struct conn *c, size_t n)
{
    char *at = buf_try_reserve(&c->in, n);
    if (!at)
        conn_die(c, CONN_READ_ERROR, ENOMEM);
    return at;
}

/* Bytes stay for later: into a buffer of the connection, as large as was wished. */
static void keep(struct conn *c, struct slice rest)
{
    size_t room = c->want > c->in.len + rest.n ? c->want - c->in.len : rest.n;
    char *at = room_for(c, room);
    if (!at)
        return;
    memcpy(at, rest.p, rest.n);
    buf_commit(&c->in, rest.n);
}

/* An idle connection holds no buffers. */
static void settle(struct conn *c)
{
    if (c->in.len == 0)
        buf_release(&c->in);
    if (c->state == OPEN && c->yielded)
        conn_mark_again(c);
    if (c->tls && c->out.bytes && !c->wr_on)
        conn_mark_dirty(c); /* perhaps the write waited for what was read */
}

/* DATA from the shared buffer; the connection has no rest of its own. */
static void show_shared(struct conn *c, size_t n)
{
    c->cur = slice_of(c->room->shared, n);
    c->shown = true;
    c->want = 0;
    conn_tell(c, CONN_DATA);
    c->shown = false;
    if (c->cur.n && c->state == OPEN)
        keep(c, c->cur);
}

/* DATA from the rest. */
static void show_rest(struct conn *c)
{
    c->want = 0;
    conn_tell(c, CONN_DATA);
}

static void read_behind_copy(struct conn *c)
{
    char *shared = c->room->shared;
    size_t had = c->in.len;
    if (had)
        memcpy(shared, buf_slice(&c->in).p, had);
    size_t room = SHARED_MAX - had;
    struct iovec iov = {shared + had, room < c->room->chunk ? room : c->room->chunk};
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
    char *at = room_for(c, missing);
    if (!at)
        return;
    struct iovec iov[2] = {{at, missing}, {c->room->shared, c->room->chunk}};
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
        conn_update_events(c);
    else
        conn_die(c, CONN_CLOSED, 0);
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
        conn_set_blocked(c, tls_wants_write(c->tls));
        return;
    }
    if (r != 0) {
        conn_die(c, CONN_TLS_FAILED, EPROTO);
        return;
    }
    c->tls_version = tls_version(c->tls);
    c->tls_cipher = tls_cipher(c->tls);
    conn_set_blocked(c, false);
    conn_enter(c, OPEN);
    if (tls_has_pending(c->tls))
        conn_mark_again(c);
    if (c->out.bytes)
        conn_mark_dirty(c);
    conn_tell(c, CONN_TLS_READY);
}

void conn_readable(struct conn *c)
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

void conn_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *c = arg;
    loop_enter(c->room->loop);
    if (c->yielded)
        return; /* its share comes from on_again() */
    if (c->bulk && c->state == OPEN && (loop_lively(c->room->loop) || loop_late(c->room->loop))) {
        if (list_empty(&c->heavy))
            list_push_back(&c->room->heavy, &c->heavy);
        return;
    }
    conn_readable(c);
}

/* Those who say much, one after the other, in chunks: between two of them those who say little have
 * their turn. Each gets as many chunks as make one whole read, and together they get HEAVY_NS
 * and a chunk: whoever is left is the first next turn. */
static void read_heavy(struct room *r)
{
    int64_t until = clock_mono_exact() + HEAVY_NS;
    struct list now, *e;
    list_init(&now);
    list_splice(&now, &r->heavy);
    r->chunk = CHUNK;
    while (clock_mono_exact() < until && (e = list_pop(&now)) != NULL) {
        struct conn *c = LIST_ENTRY(e, struct conn, heavy);
        for (size_t n = 0; n < SHARED_MAX / CHUNK; n++) {
            c->filled = false;
            conn_readable(c);
            loop_glance(r->loop);
            if (!c->filled || c->yielded || c->state != OPEN || clock_mono_exact() >= until)
                break;
        }
    }
    r->chunk = SHARED_MAX;
    list_splice(&now, &r->heavy); /* those that came in a glance are behind them */
    list_splice(&r->heavy, &now);
}

/* A small output costs one send, now or later. A larger one may grow: it waits for the end. */
static void flush_small(struct room *r)
{
    struct list now, *e;
    list_init(&now);
    list_splice(&now, &r->fresh);
    while ((e = list_pop(&now)) != NULL) {
        struct conn *c = LIST_ENTRY(e, struct conn, dirty);
        if (c->state == OPEN && c->out.bytes <= LITTLE)
            conn_flush_now(c);
        bool through = c->state == OPEN && c->out.bytes == 0 && !c->above && !c->begun;
        if (c->state != DEAD && !through)
            list_push_back(&r->dirty, &c->dirty);
    }
}

void conn_served(void *room)
{
    struct room *r = room;
    if (!list_empty(&r->fresh))
        flush_small(r);
    if (!list_empty(&r->heavy) && r->chunk == SHARED_MAX)
        read_heavy(r);
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
        conn_mark_again(c);
}

void conn_pause(struct conn *c)
{
    c->pauses++;
    conn_update_events(c);
}

void conn_resume(struct conn *c)
{
    ASSERT(c->pauses > 0);
    if (--c->pauses > 0)
        return;
    conn_update_events(c);
    if (c->state == OPEN && (c->in.len || (c->tls && tls_has_pending(c->tls)))) {
        c->yielded = c->in.len > 0;
        conn_mark_again(c);
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
        n = niov == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                      : sendmsg(c->fd, &mh, MSG_NOSIGNAL);
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
    c->room->moved += n;
}

/* All that we wanted to say is in the kernel: say so and let the peer close. */
static void linger(struct conn *c)
{
    if (c->tls) {
        tls_close(c->tls, true);
        c->tls = NULL;
    }
    if (c->peer_done) {
        conn_die(c, CONN_CLOSED, 0);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    conn_set_blocked(c, false);
    conn_enter(c, LINGERING);
}

void conn_flush_now(struct conn *c)
{
    if (c->state == DIALING || c->state == LINGERING || c->state == DEAD || c->wr_on)
        return;
    c->above |= c->out.bytes > c->low;
    bool all = true;
    while (c->out.bytes && all && !(c->state == SHAKING && c->plain_left == 0)) {
        bool plain = !c->tls || c->plain_left;
        ssize_t n = plain ? send_plain(c, &all) : send_tls(c, &all);
        if (n == E_AGAIN && !plain && !tls_wants_write(c->tls))
            return; /* TLS waits for bytes of the peer: conn_readable() marks us dirty */
        if (n == E_AGAIN) {
            all = false;
            break;
        }
        if (n < 0) {
            conn_die(c, CONN_WRITE_ERROR, c->tls ? EIO : errno);
            return;
        }
        sent(c, (size_t)n);
    }
    conn_set_blocked(c, !all);
}

/* After a flush, where events may be sent. */
void conn_after_flush(struct conn *c)
{
    if (c->state == FLUSHING && c->out.bytes == 0) {
        linger(c);
        conn_tell_gone(c);
        return;
    }
    if (c->state == SHAKING) {
        if (!c->wr_on)
            shake(c);
        return;
    }
    if (c->above && c->state != DEAD && c->out.bytes <= c->low) {
        c->above = false;
        conn_tell(c, CONN_DRAINED);
    }
}

static void finish_dial(struct conn *c)
{
    int err = 0;
    socklen_t n = sizeof err;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &n) != 0)
        err = errno;
    if (err) {
        conn_die(c, CONN_DIAL_FAILED, err);
        return;
    }
    turn_unset(c->room->turn, &c->guard);
    c->wr_on = false;
    event_del(&c->wr);
    c->last_read = c->last_write = clock_mono();
    conn_enter(c, OPEN);
    if (c->out.bytes)
        conn_mark_dirty(c);
    conn_tell(c, CONN_CONNECTED);
}

void conn_on_writable(evutil_socket_t fd, short what, void *arg)
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
    conn_flush_now(c);
    if (!c->wr_on && c->state != DEAD) {
        c->wr_on = true;
        conn_set_blocked(c, false);
    }
    conn_after_flush(c);
    if (retry_read)
        conn_readable(c);
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
    if (c->out.bytes >= (c->begun ? WRITE_NOW : WRITE_FIRST) && !c->wr_on) {
        c->begun = true;
        conn_flush_now(c);
    }
    conn_mark_dirty(c);
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
    conn_mark_dirty(c); /* its end of line follows: both in one piece */
}

size_t conn_pending(const struct conn *c)
{
    return c->out.bytes;
}

bool conn_is_above(const struct conn *c)
{
    return c->above || c->out.bytes > c->low;
}

void conn_low_water(struct conn *c, size_t bytes)
{
    c->low = bytes;
}

void conn_flush(struct conn *c)
{
    conn_flush_now(c);
    if (c->state != DEAD)
        conn_mark_dirty(c); /* events come at the end of the turn */
}

void conn_write_deadline(struct conn *c, int64_t ns)
{
    c->write_deadline = ns;
}
