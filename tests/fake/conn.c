/* fake/conn.c -- server/conn.h and server/listener.h over memory; see conn.h
 *
 *     test: wire_say() → wire.to (packets with a due time) → conn.in → DATA
 *     conn_write() → conn.out → (end of turn, while there is room) → wire.from (packets)
 *                  → wire.heard
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "fake/conn.h"

#include "base/clock.h"
#include "base/list.h"
#include "server/conn.h"
#include "server/listener.h"
#include "server/loop.h"

struct packet {
    struct list link;
    int64_t due;
    struct buf bytes;
    bool fin;
};

struct listener {
    struct list link;
    struct loop *loop;
    listener_fn *fn;
    void *arg;
    char *host;
    uint16_t port;
    uint64_t accepted;
    bool paused;
};

struct wire {
    struct list link;
    int fd;               /* the number that the listener hands over */
    struct conn *c;       /* the server's end; NULL: gone, or not there yet */
    struct list to, from; /* struct packet: to the server, from it */
    struct buf heard;
    size_t split; /* bytes a turn to the server; 0: any */
    int64_t delay;
    size_t room;           /* what "the kernel" still takes from the server; SIZE_MAX: any */
    size_t life;           /* bytes, both ways, until it breaks; SIZE_MAX: never */
    struct turn_timer due; /* of the first packet under way */
    bool mine;             /* the test's: it frees it */
};

enum state { DIALING, OPEN, FLUSHING, DEAD };

struct conn {
    struct list link; /* in room.conns */
    struct wire *w;   /* NULL: the test has let go */
    conn_event_fn *fn;
    void *arg;
    enum state state;
    enum conn_reason reason;
    const char *error;
    unsigned pauses;
    struct buf in, out;
    size_t want, low;
    bool yielded;    /* DATA again next turn */
    bool above;      /* output was over the low-water mark */
    bool connecting; /* CONNECTED is to be told */
    bool shaking;    /* TLS_READY is to be told */
    bool tls;
    bool gone_told;
    struct turn_timer timer;       /* the upper storey's */
    struct turn_timer guard;       /* dial, write deadline, flush */
    struct turn_post again, flush; /* events in a turn of their own; write and tell at its end */
    int64_t start, last_read, last_write, write_deadline;
    uint64_t in_bytes, out_bytes;
    char ip[46];
    uint16_t port;
};

static struct {
    struct loop *loop;
    const struct turn *turn;
    struct list conns, wires, listeners;
    int fds;
    uint16_t ports;
} room;

static void feed(struct wire *w);

static void at_end(struct conn *c)
{
    room.turn->at_end(room.turn->loop, &c->flush);
}

static void next(struct conn *c)
{
    room.turn->post(room.turn->loop, &c->again);
}

/* --- packets ------------------------------------------------------------------------------- */

static void packet_put(struct wire *w, struct list *lane, struct slice bytes, bool fin)
{
    struct packet *k = xcalloc(1, sizeof *k);
    k->due = clock_mono() + w->delay;
    k->fin = fin;
    buf_add_slice(&k->bytes, bytes);
    list_push_back(lane, &k->link);
}

static struct packet *packet_first(const struct list *lane)
{
    return list_empty(lane) ? NULL : LIST_ENTRY(lane->next, struct packet, link);
}

static struct packet *packet_due(const struct list *lane)
{
    struct packet *k = packet_first(lane);
    return k && k->due <= clock_mono() ? k : NULL;
}

static void packet_free(struct packet *k)
{
    list_unlink(&k->link);
    buf_release(&k->bytes);
    free(k);
}

static void lane_release(struct list *lane)
{
    while (!list_empty(lane))
        packet_free(packet_first(lane));
}

/* What has come all the way is heard; the timer stands for what is still under way. */
static void settle(struct wire *w)
{
    struct packet *k;
    while ((k = packet_due(&w->from)) != NULL) {
        buf_add_slice(&w->heard, buf_slice(&k->bytes));
        packet_free(k);
    }
    const struct packet *to = packet_first(&w->to), *from = packet_first(&w->from);
    int64_t due = from ? from->due : INT64_MAX;
    if (to && to->due > clock_mono() && to->due < due)
        due = to->due;
    if (due != INT64_MAX)
        turn_set(room.turn, &w->due, due);
}

static void on_packet_due(void *arg)
{
    feed(arg);
}

static struct wire *wire_new(void)
{
    struct wire *w = xcalloc(1, sizeof *w);
    w->fd = 1000 + ++room.fds; /* no descriptor: a number to find the wire by */
    w->room = w->life = SIZE_MAX;
    list_init(&w->to);
    list_init(&w->from);
    turn_timer_init(&w->due, on_packet_due, w);
    list_push_back(&room.wires, &w->link);
    return w;
}

static void wire_destroy(struct wire *w)
{
    list_unlink(&w->link);
    turn_unset(room.turn, &w->due);
    lane_release(&w->to);
    lane_release(&w->from);
    buf_release(&w->heard);
    free(w);
}

/* --- the server's end ---------------------------------------------------------------------- */

static void tell(struct conn *c, enum conn_event ev)
{
    if (c->state == OPEN)
        c->fn(c->arg, c, ev);
}

static void die(struct conn *c, enum conn_reason why, const char *error)
{
    if (c->state == DEAD)
        return;
    c->state = DEAD;
    if (c->reason == CONN_ALIVE) {
        c->reason = why;
        c->error = error;
    }
    turn_unset(room.turn, &c->timer);
    turn_unset(room.turn, &c->guard);
    room.turn->unpost(room.turn->loop, &c->again);
    at_end(c);
}

static void conn_free(void *arg)
{
    struct conn *c = arg;
    list_unlink(&c->link);
    buf_release(&c->in);
    buf_release(&c->out);
    free(c);
}

/* The wire outlives the connection if the test has it: what was heard stays. */
static void detach(struct conn *c)
{
    struct wire *w = c->w;
    c->w = NULL;
    if (!w)
        return;
    w->c = NULL;
    lane_release(&w->to);
    if (!w->mine)
        wire_destroy(w);
}

static void show(struct conn *c)
{
    if (c->state != OPEN || c->shaking || c->pauses || !c->in.len || c->in.len < c->want)
        return;
    c->want = 0;
    c->yielded = false;
    tell(c, CONN_DATA);
}

static void on_again(void *arg)
{
    struct conn *c = arg;
    bool tell_connected = c->connecting, tell_ready = c->shaking && c->out.len == 0;
    c->connecting = false;
    if (tell_connected)
        tell(c, CONN_CONNECTED);
    if (tell_ready && c->state == OPEN) {
        c->shaking = false;
        c->tls = true;
        tell(c, CONN_TLS_READY);
    }
    show(c);
    if (c->w)
        feed(c->w);
    if (c->state == OPEN && (c->out.len || c->yielded))
        at_end(c);
}

/* n bytes went through. True: they were the last. */
static bool wears_out(struct wire *w, size_t n)
{
    if (w->life == SIZE_MAX)
        return false;
    w->life -= n;
    if (w->life == 0)
        wire_cut(w);
    return w->life == 0;
}

/* What is due goes to the server, in the portions that the test wants. */
static void feed(struct wire *w)
{
    struct packet *k;
    bool more = true;
    while (more && w->c && w->c->state == OPEN && !w->c->shaking && !w->c->connecting &&
           w->c->pauses == 0 && (k = packet_due(&w->to)) != NULL) {
        struct conn *c = w->c;
        if (k->fin) {
            die(c, CONN_EOF, "connection closed");
            break;
        }
        struct slice s = slice_head(buf_slice(&k->bytes), w->split ? w->split : SIZE_MAX);
        s = slice_head(s, w->life);
        buf_add_slice(&c->in, s);
        buf_consume(&k->bytes, s.n);
        c->in_bytes += s.n;
        c->last_read = clock_mono();
        if (k->bytes.len == 0)
            packet_free(k);
        show(c);
        more = !w->split && !c->yielded;
        if (wears_out(w, s.n))
            return;
        if (!more)
            at_end(c); /* the next portion in the next turn */
    }
    settle(w);
}

/* "The kernel" takes what it has room for. */
static void push_out(struct conn *c)
{
    struct wire *w = c->w;
    c->above |= c->out.len > c->low;
    size_t n = c->out.len < w->room ? c->out.len : w->room;
    if (n > w->life)
        n = w->life;
    if (n) {
        packet_put(w, &w->from, slice_head(buf_slice(&c->out), n), false);
        buf_consume(&c->out, n);
        if (w->room != SIZE_MAX)
            w->room -= n;
        c->out_bytes += n;
        c->last_write = clock_mono();
        settle(w);
        if (wears_out(w, n))
            return;
    }
    if (c->state == OPEN && c->write_deadline) {
        if (c->out.len == 0)
            turn_unset(room.turn, &c->guard);
        else if (n || !turn_timer_is_set(&c->guard))
            turn_set(room.turn, &c->guard, clock_mono() + c->write_deadline);
    }
}

/* The end of the turn: what was written leaves, DRAINED and GONE are told. */
static void on_flush(void *arg)
{
    struct conn *c = arg;
    if (c->w &&
        (c->state == OPEN || c->state == FLUSHING || (c->state == DEAD && c->reason == CONN_EOF)))
        push_out(c);
    if (c->state == FLUSHING && c->out.len == 0)
        die(c, CONN_CLOSED, "connection closed");
    if (c->state == DEAD) {
        if (c->gone_told)
            return;
        c->gone_told = true;
        room.turn->unpost(room.turn->loop, &c->flush);
        c->fn(c->arg, c, CONN_GONE);
        room.turn->unpost(room.turn->loop, &c->flush);
        detach(c);
        loop_defer(room.loop, conn_free, c);
        return;
    }
    if (c->above && c->out.len <= c->low && c->state == OPEN) {
        c->above = false;
        tell(c, CONN_DRAINED);
    }
    if (c->state == OPEN &&
        (c->yielded || c->shaking || (c->w && c->w->split && packet_due(&c->w->to))))
        next(c);
}

static void on_guard(void *arg)
{
    struct conn *c = arg;
    if (c->state == DIALING)
        die(c, CONN_DIAL_TIMEOUT, "i/o timeout");
    else if (c->state == OPEN)
        die(c, CONN_WRITE_TIMEOUT, "i/o timeout");
    else
        die(c, CONN_CLOSED, "connection closed");
}

static void on_timeout(void *arg)
{
    tell(arg, CONN_TIMEOUT);
}

static struct conn *conn_new(struct wire *w, conn_event_fn *fn, void *arg)
{
    struct conn *c = xcalloc(1, sizeof *c);
    c->w = w;
    c->fn = fn;
    c->arg = arg;
    c->error = "connection closed";
    w->c = c;
    list_push_back(&room.conns, &c->link);
    turn_timer_init(&c->timer, on_timeout, c);
    turn_timer_init(&c->guard, on_guard, c);
    turn_post_init(&c->again, on_again, c);
    turn_post_init(&c->flush, on_flush, c);
    c->start = clock_wall();
    c->last_read = c->last_write = clock_mono();
    snprintf(c->ip, sizeof c->ip, "127.0.0.1");
    c->port = (uint16_t)(50000 + room.fds);
    return c;
}

struct conn *conn_accept(struct loop *l, int fd, conn_event_fn *fn, void *arg)
{
    ASSERT(l == room.loop);
    LIST_EACH(e, &room.wires)
    {
        struct wire *w = LIST_ENTRY(e, struct wire, link);
        if (w->fd == fd) {
            struct conn *c = conn_new(w, fn, arg);
            c->state = OPEN;
            return c;
        }
    }
    assert_failed("a wire of that number", __FILE__, __LINE__);
}

int conn_dial(struct loop *l, const char *ip, uint16_t port, int64_t timeout_ns, conn_event_fn *fn,
              void *arg, struct conn **out)
{
    ASSERT(l == room.loop);
    struct conn *c = conn_new(wire_new(), fn, arg);
    c->state = DIALING;
    snprintf(c->ip, sizeof c->ip, "%s", ip);
    c->port = port;
    if (timeout_ns > 0)
        turn_set(room.turn, &c->guard, clock_mono() + timeout_ns);
    *out = c;
    return 0;
}

void conn_set_handler(struct conn *c, conn_event_fn *fn, void *arg)
{
    c->fn = fn;
    c->arg = arg;
}

struct slice conn_input(const struct conn *c)
{
    return buf_slice(&c->in);
}

void conn_consume(struct conn *c, size_t n)
{
    ASSERT(n <= c->in.len);
    buf_consume(&c->in, n);
}

void conn_want(struct conn *c, size_t n)
{
    c->want = n;
}

void conn_yield(struct conn *c)
{
    c->yielded = true;
    if (c->state == OPEN)
        at_end(c);
}

void conn_pause(struct conn *c)
{
    c->pauses++;
}

void conn_resume(struct conn *c)
{
    ASSERT(c->pauses > 0);
    if (--c->pauses == 0 && c->state == OPEN)
        next(c);
}

char *conn_reserve(struct conn *c, size_t n)
{
    return buf_reserve(&c->out, n);
}

void conn_commit(struct conn *c, size_t n)
{
    if (c->state > OPEN || n == 0)
        return;
    buf_commit(&c->out, n);
    at_end(c);
}

void conn_write(struct conn *c, const void *p, size_t n)
{
    if (c->state > OPEN || n == 0)
        return;
    buf_add(&c->out, p, n);
    at_end(c);
}

void conn_write_msg(struct conn *c, struct msg *m, size_t from, size_t n)
{
    conn_write(c, m->data + from, n);
}

size_t conn_pending(const struct conn *c)
{
    return c->out.len;
}

bool conn_is_above(const struct conn *c)
{
    return c->above || c->out.len > c->low;
}

void conn_low_water(struct conn *c, size_t bytes)
{
    c->low = bytes;
}

void conn_notsent_lowat(struct conn *c, int bytes)
{
    (void)c, (void)bytes;
}

void conn_flush(struct conn *c)
{
    if (c->state == OPEN && c->w)
        push_out(c);
    if (c->state != DEAD)
        at_end(c);
}

void conn_write_deadline(struct conn *c, int64_t ns)
{
    c->write_deadline = ns;
}

void conn_timeout(struct conn *c, int64_t ns)
{
    if (ns > 0 && c->state != DEAD)
        turn_set(room.turn, &c->timer, clock_mono() + ns);
    else
        turn_unset(room.turn, &c->timer);
}

int conn_start_tls(struct conn *c, struct tls_context *ctx, bool server, const char *name)
{
    (void)ctx, (void)server, (void)name;
    if (c->state != OPEN)
        return E_CLOSED;
    buf_clear(&c->in);
    c->shaking = true;
    at_end(c);
    return 0;
}

void conn_close(struct conn *c, bool flush)
{
    if (c->state == DEAD || (c->state == FLUSHING && flush))
        return;
    turn_unset(room.turn, &c->timer);
    if (!flush || c->state != OPEN) {
        die(c, CONN_CLOSED, "connection closed");
        return;
    }
    c->state = FLUSHING;
    c->reason = CONN_CLOSED;
    turn_set(room.turn, &c->guard, clock_mono() + 2 * NS_PER_S);
    at_end(c);
}

enum conn_reason conn_reason(const struct conn *c)
{
    return c->reason;
}

const char *conn_error(const struct conn *c)
{
    return c->error;
}

void conn_info(const struct conn *c, struct conn_info *out)
{
    *out = (struct conn_info){.port = c->port,
                              .local_ip = "127.0.0.1",
                              .start = c->start,
                              .last_read = c->last_read,
                              .last_write = c->last_write,
                              .in_bytes = c->in_bytes,
                              .out_bytes = c->out_bytes,
                              .tls = c->tls};
    snprintf(out->ip, sizeof out->ip, "%s", c->ip);
}

int64_t conn_last_read(const struct conn *c)
{
    return c->last_read;
}

void conn_in_flight(const struct conn *c, uint64_t *acked, uint64_t *unacked)
{
    *acked = c->out_bytes;
    *unacked = 0;
}

int64_t conn_last_write(const struct conn *c)
{
    return c->last_write;
}

struct slice conn_peer_cert(const struct conn *c)
{
    (void)c;
    return slice_of(NULL, 0);
}

/* --- listeners ----------------------------------------------------------------------------- */

static struct listener *listener_at(uint16_t port)
{
    LIST_EACH(e, &room.listeners)
    {
        struct listener *li = LIST_ENTRY(e, struct listener, link);
        if (li->port == port)
            return li;
    }
    return NULL;
}

int listener_open(struct loop *loop, const char *host, int port, listener_fn *fn, void *arg,
                  struct listener **out, char **why)
{
    uint16_t real = port > 0 ? (uint16_t)port : (uint16_t)(40000 + ++room.ports);
    if (listener_at(real)) {
        *why = xasprintf("listen tcp %s:%u: bind: address already in use", host, real);
        return E_SYS;
    }
    struct listener *li = xcalloc(1, sizeof *li);
    *li = (struct listener){.loop = loop, .fn = fn, .arg = arg, .port = real};
    li->host = xstrdup(host && *host ? host : "0.0.0.0");
    list_push_back(&room.listeners, &li->link);
    *out = li;
    return 0;
}

/* Only HTTP asks for a real socket, and no scenario has one. */
int listener_bind(const char *host, int port, uint16_t *real, char **why)
{
    (void)real;
    *why = xasprintf("listen tcp %s:%d: not in a scenario", host, port);
    return E_SYS;
}

static void listener_free(void *arg)
{
    struct listener *li = arg;
    free(li->host);
    free(li);
}

void listener_close(struct listener *li)
{
    if (!li)
        return;
    list_unlink(&li->link);
    loop_defer(li->loop, listener_free, li);
}

const char *listener_host(const struct listener *li)
{
    return li->host;
}

uint16_t listener_port(const struct listener *li)
{
    return li->port;
}

uint64_t listener_accepted(const struct listener *li)
{
    return li->accepted;
}

void listener_pause(struct listener *li, bool on)
{
    li->paused = on;
}

/* --- the test's end ------------------------------------------------------------------------ */

static void room_free(void *arg)
{
    (void)arg;
    while (!list_empty(&room.conns)) {
        struct conn *c = LIST_ENTRY(room.conns.next, struct conn, link);
        die(c, CONN_CLOSED, "connection closed");
        room.turn->unpost(room.turn->loop, &c->flush);
        detach(c);
        conn_free(c);
    }
    while (!list_empty(&room.wires))
        wire_destroy(LIST_ENTRY(room.wires.next, struct wire, link));
    room.loop = NULL;
}

void wires_open(struct loop *l)
{
    room.loop = l;
    room.turn = loop_turn(l);
    room.fds = 0;
    room.ports = 0;
    list_init(&room.conns);
    list_init(&room.wires);
    list_init(&room.listeners);
    loop_set_conns(l, &room, room_free);
}

struct wire *wire_knock(uint16_t port)
{
    struct listener *li = listener_at(port);
    if (!li || li->paused)
        return NULL;
    struct wire *w = wire_new();
    w->mine = true;
    li->accepted++;
    li->fn(li->arg, li, w->fd);
    return w;
}

static struct conn *dialling(uint16_t port)
{
    LIST_EACH(e, &room.conns)
    {
        struct conn *c = LIST_ENTRY(e, struct conn, link);
        if (c->state == DIALING && (port == 0 || c->port == port))
            return c;
    }
    return NULL;
}

struct wire *wire_dialled(uint16_t port)
{
    struct conn *c = dialling(port);
    if (!c)
        return NULL;
    turn_unset(room.turn, &c->guard);
    c->state = OPEN;
    c->connecting = true;
    c->w->mine = true;
    next(c);
    return c->w;
}

bool wire_refuse(uint16_t port)
{
    struct conn *c = dialling(port);
    if (c)
        die(c, CONN_DIAL_FAILED, "Connection refused");
    return c != NULL;
}

bool wire_alive(const struct wire *w)
{
    return w->c && w->c->state != DEAD;
}

void wire_free(struct wire *w)
{
    wire_cut(w);
    if (w->c)
        w->c->w = NULL;
    wire_destroy(w);
}

void wire_say(struct wire *w, const void *p, size_t n)
{
    if (n == 0 || !wire_alive(w))
        return;
    packet_put(w, &w->to, slice_of(p, n), false);
    next(w->c);
}

struct buf *wire_heard(struct wire *w)
{
    return &w->heard;
}

void wire_split(struct wire *w, size_t n)
{
    w->split = n;
}

void wire_delay(struct wire *w, int64_t ns)
{
    w->delay = ns;
}

void wire_narrow(struct wire *w, size_t n)
{
    w->room = n;
    if (wire_alive(w))
        at_end(w->c);
}

void wire_cut_after(struct wire *w, size_t n)
{
    w->life = n;
    if (n == 0)
        wire_cut(w);
}

size_t wire_left(const struct wire *w)
{
    return w->life;
}

void wire_hang_up(struct wire *w)
{
    if (!wire_alive(w))
        return;
    packet_put(w, &w->to, slice_of(NULL, 0), true);
    next(w->c);
}

void wire_cut(struct wire *w)
{
    lane_release(&w->to);
    lane_release(&w->from);
    if (wire_alive(w))
        die(w->c, CONN_READ_ERROR, "Connection reset by peer");
}

void conn_littered(struct loop *loop)
{
    (void)loop;
}
