/* server/conn_inside.h -- what conn.c (life, states) and conn_io.c (reading, writing) share
 *
 * For these two files only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CONN_INSIDE_H
#define SERVER_CONN_INSIDE_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/buf.h"
#include "base/turn.h"
#include "server/conn.h"
#include "server/outq.h"

struct tls;

#define SHARED_MAX ((size_t)256 * 1024) /* one read */
#define CHUNK      ((size_t)16 * 1024)  /* one read of a heavy connection while others are lively */
#define BULK       16 /* short reads in a row before a heavy connection is a light one again */
#define LITTLE     ((size_t)4 * 1024) /* a read or an output of at most so much is light */

enum conn_state { DIALING, OPEN, SHAKING, FLUSHING, LINGERING, DEAD };

struct peer { /* an address in 20 bytes */
    uint8_t addr[16];
    uint16_t port;
    uint8_t family; /* AF_INET, AF_INET6 or 0: something else (a socketpair) */
};

struct room {
    struct loop *loop;
    const struct turn *turn;
    struct list all;          /* conn.link */
    struct list fresh, dirty; /* conn.dirty; fresh: since the sockets were last served */
    struct list again, dead;  /* conn.again, conn.dirty */
    struct list heavy;        /* conn.heavy: readable, to be read after those who say little */
    size_t chunk;             /* one read takes at most so much */
    struct turn_post end;     /* works off dirty and dead */
    struct turn_timer again_timer, sweep_timer;
    struct outq_pool pool;
    char *shared;    /* SHARED_MAX bytes, mapped */
    size_t moved;    /* bytes since the last sweep */
    unsigned litter; /* much moved, or somebody left: so many times memory is to be given back */
    unsigned sweeps; /* since it was */
};

struct conn {
    struct list link, dirty, again, heavy;
    struct room *room;
    conn_event_fn *fn;
    void *arg;
    struct event rd, wr;
    enum conn_state state;
    enum conn_reason reason;
    int fd, err; /* err: errno behind the reason */
    unsigned pauses;
    unsigned bulk;     /* BULK after a long read, less after each short one; 0: says little */
    bool rd_on, wr_on; /* in libevent */
    bool gone_told;
    bool peer_done;        /* FIN came while we flush */
    bool filled;           /* the last read was as long as it may be */
    bool yielded;          /* show the rest without reading */
    bool above;            /* output was over the low-water mark since the last DRAINED */
    bool read_wants_write; /* TLS: the read goes on when the socket can be written */
    bool begun;            /* some of this turn's output has been sent */
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
    const char *tls_version,
        *tls_cipher;     /* static texts of the handshake, kept to the end; NULL: plain */
    char tls_error[120]; /* kept when tls is gone */
};

/* --- conn.c --------------------------------------------------------------------------------- */

void conn_enter(struct conn *c, enum conn_state to);
/* libevent's read interest follows state and pauses. */
void conn_update_events(struct conn *c);
/* The kernel is full (on) or has room: write interest and write deadline. */
void conn_set_blocked(struct conn *c, bool on);
/* Over, now; GONE at the end of the turn. The first reason counts. */
void conn_die(struct conn *c, enum conn_reason why, int err);
void conn_tell(struct conn *c, enum conn_event ev);
void conn_tell_gone(struct conn *c);
/* Something to write, or to say, at the end of this turn. */
void conn_mark_dirty(struct conn *c);
/* To be read (or shown its rest) next turn without waiting for the socket. */
void conn_mark_again(struct conn *c);

/* --- conn_io.c ------------------------------------------------------------------------------ */

void conn_on_readable(evutil_socket_t fd, short what, void *arg);
void conn_on_writable(evutil_socket_t fd, short what, void *arg);
void conn_readable(struct conn *c);
/* After the handlers of sockets: small outputs leave, then heavy connections are read. */
void conn_served(void *room);
/* Writes what waits; no events from inside. */
void conn_flush_now(struct conn *c);
/* After a flush, where events may be sent: DRAINED, the handshake's turn, the end of FLUSHING. */
void conn_after_flush(struct conn *c);

#endif
