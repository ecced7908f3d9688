/* server/conn.h -- one socket: bytes in, bytes out, nothing about what they mean
 *
 * Six events go up to one handler; writing, pausing and closing go down.
 *
 *     CONNECTED  the dial succeeded (dialled connections only)
 *     TLS_READY  the handshake that conn_start_tls() began is through
 *     DATA       conn_input() has bytes; take what you can with conn_consume(), the rest is kept
 *                and comes again with more
 *     DRAINED    what waits to be sent fell to the low-water mark, after it had been above
 *     TIMEOUT    the time set with conn_timeout() is over
 *     GONE       the connection is over (conn_reason() says why); the last event, also after
 *                conn_close()
 *
 * In a turn, CONNECTED, TLS_READY and DATA come from the socket, TIMEOUT with the timers, DRAINED
 * from the socket or at the end, GONE at the end. None comes from inside one of the calls below.
 *
 * Reading: level-triggered, one read per readiness into one shared buffer of the loop (256 KiB);
 * only an incomplete rest is copied into a buffer of the connection. A large payload is read
 * directly where it is wanted: conn_want(n) says that the unfinished rest needs n bytes in one
 * piece; DATA then waits until they are there. While somebody says little at a time, or when the
 * turn has taken 10 ms, those who say much are read after the others, 16 KiB at a time (or what
 * they wanted in one piece).
 *
 * Writing: bytes gather in the connection's output and leave at the end of the turn in one
 * sendmsg; small ones (4 KiB) when the sockets of the turn are served; of much output the first
 * 16 KiB leave at once, and later what is above 320 KiB. Payloads shared by several receivers are
 * referenced, not copied (conn_write_msg). An idle connection holds no buffers.
 *
 * Closing: conn_close() stops reading and unlinks; GONE comes at the end of the turn, then the
 * memory goes. With flush set, what waits is sent first, for at most 2 s, GONE comes after that,
 * and the socket lingers until the peer closes or the 2 s are over, so that an -ERR line reaches
 * its reader even when unread input is left. Between conn_close() and GONE no other event comes.
 * When the peer closes its half, what waits is sent as far as the kernel takes it at once (a PONG
 * for `printf PING | nc`), then GONE.
 *
 * TLS: OpenSSL on the socket, never blocking; conn hides it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CONN_H
#define SERVER_CONN_H

#include "base/err.h"
#include "base/msg.h"
#include "base/slice.h"

struct loop;
struct tls_context;
struct conn;

enum conn_event {
    CONN_CONNECTED,
    CONN_TLS_READY,
    CONN_DATA,
    CONN_DRAINED,
    CONN_TIMEOUT,
    CONN_GONE
};
typedef void conn_event_fn(void *arg, struct conn *c, enum conn_event ev);

/* Takes the descriptor (non-blocking, close-on-exec from here on). */
struct conn *conn_accept(struct loop *l, int fd, conn_event_fn *fn, void *arg);
/* Dials one address ("ip", port); CONNECTED or GONE follows, never from inside this call. */
int conn_dial(struct loop *l, const char *ip, uint16_t port, int64_t timeout_ns, conn_event_fn *fn,
              void *arg, struct conn **out) MUST_CHECK;
/* Another storey takes over (a client that turned out to be something else). */
void conn_set_handler(struct conn *c, conn_event_fn *fn, void *arg);

/* What has arrived and is not consumed yet; borrowed until the handler returns or consumes. */
struct slice conn_input(const struct conn *c);
void conn_consume(struct conn *c, size_t n);
/* From inside DATA: the unfinished rest (what is not consumed when the handler returns) will be n
 * bytes long in all: get room for it in one piece (n was checked against its limit) and send DATA
 * when it is complete. */
void conn_want(struct conn *c, size_t n);
/* More input is there, but this turn's share is used up: DATA comes again next turn without new
 * bytes. */
void conn_yield(struct conn *c);

/* Appends to the output. Nothing happens after conn_close(). */
void conn_write(struct conn *c, const void *p, size_t n);
/* The same in two steps: room for n bytes, then what of it counts. The hot path of MSG. */
char *conn_reserve(struct conn *c, size_t n);
void conn_commit(struct conn *c, size_t n);
/* bytes [from, from + n) of m->data, by reference; the end of the message is written behind it. */
void conn_write_msg(struct conn *c, struct msg *m, size_t from, size_t n);
/* Bytes that the kernel has not taken yet. */
size_t conn_pending(const struct conn *c);
/* DRAINED comes when pending falls to `bytes` or below after it was above, within a turn or over
 * many. Default 0: each turn that wrote something ends with DRAINED when the kernel took it all. */
void conn_low_water(struct conn *c, size_t bytes);
/* DRAINED is still to come; or would have been, before its end. */
bool conn_is_above(const struct conn *c);
/* Keeps the kernel's unsent part small (TCP_NOTSENT_LOWAT). */
void conn_notsent_lowat(struct conn *c, int bytes);
/* Sends what waits now instead of at the end of the turn. */
void conn_flush(struct conn *c);

/* No more reads; counted: as many resumes as pauses. The peer's end is noticed only after the last
 * resume (or by writing). What the handler left in the input comes again as DATA after the last
 * resume. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* One timer per connection; ns from now, 0 takes it off. */
void conn_timeout(struct conn *c, int64_t ns);
/* The handler's next DATA is inside TLS. server: we accept; name: what to verify and to put in SNI
 * (client side, may be NULL). What is in the input beyond the last consumed byte is the start of
 * the handshake. */
int conn_start_tls(struct conn *c, struct tls_context *ctx, bool server,
                   const char *name) MUST_CHECK;

enum conn_reason {
    CONN_ALIVE,
    CONN_EOF, /* the peer closed */
    CONN_READ_ERROR,
    CONN_WRITE_ERROR,
    CONN_WRITE_TIMEOUT, /* the write deadline: nothing could be sent for so long */
    CONN_DIAL_FAILED,
    CONN_DIAL_TIMEOUT,
    CONN_TLS_FAILED,
    CONN_CLOSED /* we did: the upper storey knows why */
};
void conn_close(struct conn *c, bool flush);
enum conn_reason conn_reason(const struct conn *c);
/* "connection reset by peer"; for TLS the library's words. Borrowed. */
const char *conn_error(const struct conn *c);

struct conn_info {
    char ip[46];
    uint16_t port;
    char local_ip[46];
    uint16_t local_port;
    int64_t start;                 /* wall */
    int64_t last_read, last_write; /* mono, bytes moved */
    uint64_t in_bytes, out_bytes;
    bool tls;
    char tls_version[16], tls_cipher[64];
};
void conn_info(const struct conn *c, struct conn_info *out);
int64_t conn_last_read(const struct conn *c);  /* mono ns when bytes last arrived */
int64_t conn_last_write(const struct conn *c); /* mono ns when the kernel last took bytes */
/* Bytes of ours that the peer's kernel has acknowledged since the connection began, and those in
 * our kernel that it has not. */
void conn_in_flight(const struct conn *c, uint64_t *acked, uint64_t *unacked);
/* After so long without being able to send anything: GONE with CONN_WRITE_TIMEOUT. 0: never. */
void conn_write_deadline(struct conn *c, int64_t ns);
/* Much memory was given up that belonged to connections: the allocator gives it back in a while. */
void conn_littered(struct loop *l);
/* The peer's certificate, DER, of a verified TLS connection; empty otherwise. */
struct slice conn_peer_cert(const struct conn *c);

#endif
