/* tests/bench/link.c -- a thin, long link: a TCP relay with a rate and a delay
 *
 *     link LISTEN_PORT TARGET_PORT BYTES_PER_SECOND DELAY_MS
 *
 * Each direction is a pipe of its own: what is read is due after it has been clocked out at the
 * rate behind what was read before it, plus the delay (one way). A pipe holds what the line holds
 * (rate x delay) and a router's queue of 256 KiB; when it is full we read no more, and TCP tells
 * the sender. Every 50 ms one line: seconds, bytes delivered up (by who dialled us), bytes down.
 * Ends with its parent's SIGTERM, or when stdout is gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE  4096 /* read at once: 0.3 ms at 100 Mbit/s, so that delivery is smooth */
#define PIECES 4096
#define QUEUE  (256u << 10)

struct piece {
    double due;
    size_t n, at;
    char bytes[PIECE];
};

/* One direction. Pieces form a ring: head is the oldest. */
struct pipe {
    int from, to;
    struct piece *ring;
    size_t head, count, held;
    double clear; /* when the line will have clocked out all it was given */
    bool ended;   /* `from` said it is done */
};

static double rate, delay;
static uint64_t delivered[2];

static void die(const char *what)
{
    fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t))
        die("clock_gettime");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool has_room(const struct pipe *p)
{
    return !p->ended && p->count < PIECES && (double)p->held < rate * delay + QUEUE;
}

/* false: the connection is broken. */
static bool fill(struct pipe *p, double t)
{
    struct piece *piece = &p->ring[(p->head + p->count) % PIECES];
    ssize_t n = recv(p->from, piece->bytes, PIECE, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        p->ended = true;
        return true;
    }
    if (p->clear < t)
        p->clear = t;
    p->clear += (double)n / rate;
    piece->due = p->clear + delay;
    piece->n = (size_t)n;
    piece->at = 0;
    p->count++;
    p->held += (size_t)n;
    return true;
}

static bool drain(struct pipe *p, double t, uint64_t *count)
{
    while (p->count && p->ring[p->head].due <= t) {
        struct piece *piece = &p->ring[p->head];
        ssize_t n = send(p->to, piece->bytes + piece->at, piece->n - piece->at,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        *count += (uint64_t)n;
        p->held -= (size_t)n;
        piece->at += (size_t)n;
        if (piece->at < piece->n)
            return true;
        p->head = (p->head + 1) % PIECES;
        p->count--;
    }
    return !(p->ended && p->count == 0);
}

static void tell(double t, double *last)
{
    if (t - *last < 0.05)
        return;
    *last = t;
    printf("%.4f %" PRIu64 " %" PRIu64 "\n", t, delivered[0], delivered[1]);
    if (fflush(stdout))
        exit(0);
}

/* One connection, until either side ends it. */
static void carry(int near, int far, double *told)
{
    static struct piece rings[2][PIECES];
    struct pipe way[2] = {{near, far, rings[0], 0, 0, 0, 0, false},
                          {far, near, rings[1], 0, 0, 0, 0, false}};
    for (;;) {
        double t = now(), wait = 0.05;
        for (int i = 0; i < 2; i++) {
            if (!drain(&way[i], t, &delivered[i]))
                return;
            if (way[i].count && way[i].ring[way[i].head].due - t < wait)
                wait = way[i].ring[way[i].head].due - t;
        }
        tell(t, told);
        struct pollfd fds[2] = {{near, has_room(&way[0]) ? POLLIN : 0, 0},
                                {far, has_room(&way[1]) ? POLLIN : 0, 0}};
        struct timespec most = {0, wait > 0.0002 ? (long)(wait * 1e9) : 200000};
        if (ppoll(fds, 2, &most, NULL) < 0 && errno != EINTR)
            die("ppoll");
        for (int i = 0; i < 2; i++)
            while (fds[i].revents && has_room(&way[i])) {
                size_t before = way[i].count;
                if (!fill(&way[i], now()))
                    return;
                if (way[i].count == before)
                    break;
            }
    }
}

static int tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, size = 64 << 10;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size))
        die("socket");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: link LISTEN_PORT TARGET_PORT BYTES_PER_SECOND DELAY_MS\n");
        return 1;
    }
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in there = here;
    there.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    rate = strtod(argv[3], NULL);
    delay = strtod(argv[4], NULL) / 1000;
    int door = tcp(), one = 1;
    double told = 0;
    if (rate <= 0 || bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 4))
        die("listen");
    for (;;) {
        int near = accept(door, NULL, NULL), far = tcp();
        if (near < 0)
            die("accept");
        setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(far, (struct sockaddr *)&there, sizeof there) == 0)
            carry(near, far, &told);
        close(near);
        close(far);
    }
}
