/* fake/conn.h -- wires in memory, held by the test at one end and by the server at the other
 *
 * Linked in place of server/conn.c and server/listener.c: their doors work as ever, without a
 * socket. The test knocks at a port, or waits to be dialled, and gets a wire:
 *
 *     struct wire *w = wire_knock(4222);          → the listener's function, conn_accept(), …
 *     wire_say(w, "PING\r\n", 6);  fake_loop_run(l);  wire_heard(w) is now "INFO …\r\nPONG\r\n"
 *     struct wire *hub = wire_dialled("127.0.0.1", 7422);    NULL: nobody dials
 *
 * A wire can be made slow, narrow and short: see below. TLS is a handshake that always succeeds and
 * changes no byte. Wires are freed with wire_free(), which also cuts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_CONN_H
#define FAKE_CONN_H

#include "base/buf.h"

struct loop;
struct wire;

/* Connections and wires belong to this loop from now on; the fake loop_new() does it. One loop at a
 * time. */
void wires_open(struct loop *l);

/* NULL: nobody listens there. */
struct wire *wire_knock(uint16_t port);
/* The oldest dial to that port (0: any) that is not answered yet, accepted; NULL: none. */
struct wire *wire_dialled(uint16_t port);
/* The same, but the answer is "connection refused"; false: none. */
bool wire_refuse(uint16_t port);
/* Is the server's end still there? */
bool wire_alive(const struct wire *w);
void wire_free(struct wire *w);

/* Bytes to the server. */
void wire_say(struct wire *w, const void *p, size_t n);
/* What came from the server and was not taken yet; take with buf_consume(). */
struct buf *wire_heard(struct wire *w);

void wire_split(struct wire *w,
                size_t n); /* the server gets at most n bytes a turn; 0: all at once */
void wire_delay(struct wire *w,
                int64_t ns); /* both ways, of the fake clock, for what is said from now on */
void wire_narrow(struct wire *w,
                 size_t n); /* "the kernel" takes n more bytes from the server, then it is full */
void wire_hang_up(struct wire *w); /* FIN: the server reads the end after what was said */
void wire_cut_after(struct wire *w, size_t n); /* … after n more bytes, both ways together */
size_t wire_left(const struct wire *w); /* how many of them are left; SIZE_MAX: it never breaks */
void wire_cut(struct wire *w); /* RST: what is under way is lost, the server gets a read error */

#endif
