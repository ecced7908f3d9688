/* tests/bench/load_wire.c -- one connection of the load generator, plain or TLS
 *
 * A peer reads into one buffer and parses in place; what it writes is borrowed until it is gone.
 * Its socket does not block, so whoever waits says for what (wait_for). Under TLS the library may
 * hold decrypted bytes that poll() knows nothing of: read_some() takes all it can, and `more` says
 * when the buffer was full before the library was empty. The generator does not verify the
 * server's certificate: it measures, it trusts nobody with anything.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SIZE (4u << 20) /* the longest message and then some */

uint64_t load_errors;
volatile int load_end;

void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(3);
}

double now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t))
        die("clock_gettime");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double cpu_used(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t))
        die("clock_gettime");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void report(uint64_t msgs, double wall, double cpu, float *us, size_t n)
{
    printf("{\"msgs\":%" PRIu64 ",\"wall\":%.6f,\"cpu\":%.6f,\"errors\":%" PRIu64, msgs, wall, cpu,
           load_errors);
    if (n) {
        qsort(us, n, sizeof *us, by_value);
        printf(",\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f", (double)us[n / 2],
               (double)us[n * 99 / 100], (double)us[n * 999 / 1000]);
    }
    printf("}\n");
}

/* --- bytes ----------------------------------------------------------------------------------- */

static ssize_t tls_result(struct peer *p, int n)
{
    int why = SSL_get_error(p->ssl, n);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return -1;
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    give_up("TLS: error %d (%s)", why, strerror(errno));
}

bool write_some(struct peer *p)
{
    ssize_t n;
    if (p->ssl) {
        int done = SSL_write(p->ssl, p->out, (int)p->out_n);
        n = done > 0 ? done : tls_result(p, done);
    } else {
        n = send(p->fd, p->out, p->out_n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            die("send");
    }
    if (n > 0) {
        p->out += n;
        p->out_n -= (size_t)n;
    }
    return p->out_n == 0;
}

void wait_for(struct peer *p, short events)
{
    if (p->more && events & POLLIN)
        return;
    struct pollfd f = {p->fd, events, 0};
    if (poll(&f, 1, PATIENCE_MS) == 0)
        give_up("nothing moved for %d s (got %" PRIu64 ")", PATIENCE_MS / 1000, p->got);
}

void say(struct peer *p, const char *text, size_t n)
{
    p->out = text;
    p->out_n = n;
    while (!write_some(p))
        wait_for(p, POLLOUT);
}

void say_str(struct peer *p, const char *text)
{
    say(p, text, strlen(text));
}

static bool read_tls(struct peer *p)
{
    size_t before = p->have;
    p->more = false;
    while (p->have < IN_SIZE) {
        int n = SSL_read(p->ssl, p->in + p->have, (int)(IN_SIZE - p->have));
        if (n <= 0) {
            if (tls_result(p, n) == 0)
                give_up("the server closed");
            return p->have > before;
        }
        p->have += (size_t)n;
        if (p->have - before >= BLOCK) {
            p->more = true;
            return true;
        }
    }
    p->more = true;
    return true;
}

/* Reads what is there; parsed bytes make room first. */
bool read_some(struct peer *p)
{
    if (p->at) {
        memmove(p->in, p->in + p->at, p->have - p->at);
        p->have -= p->at;
        p->at = 0;
    }
    if (p->ssl)
        return read_tls(p);
    size_t room = IN_SIZE - p->have;
    ssize_t n = recv(p->fd, p->in + p->have, room < BLOCK ? room : BLOCK, 0);
    if (n == 0)
        give_up("the server closed: %.*s", (int)(p->have < 200 ? p->have : 200), p->in);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        die("recv");
    if (n > 0)
        p->have += (size_t)n;
    return n > 0;
}

/* --- protocol -------------------------------------------------------------------------------- */

/* The number that ends at `end` (exclusive); *end becomes the place of its first digit. */
static size_t number_before(const char **end)
{
    size_t value = 0, mul = 1;
    const char *d = *end - 1;
    for (; *d >= '0' && *d <= '9'; d--, mul *= 10)
        value += (size_t)(*d - '0') * mul;
    *end = d + 1;
    return value;
}

bool next_message(struct peer *p, struct message *m)
{
    const char *from = p->in + p->at, *end = p->in + p->have;
    const char *nl = memchr(from, '\n', (size_t)(end - from));
    if (!nl)
        return false;
    m->line = from;
    m->line_n = (size_t)(nl - from - 1);
    m->payload = nl + 1;
    m->n = 0;
    m->msg = *from == 'M' || (*from == 'H' && from[1] == 'M');
    size_t used = m->line_n + 2;
    if (m->msg) {
        const char *d = nl - 1;
        size_t all = number_before(&d), head = 0;
        if (*from == 'H') {
            d--;
            head = number_before(&d);
        }
        if ((size_t)(end - m->payload) < all + 2)
            return false;
        used += all + 2;
        m->payload += head;
        m->n = all - head;
    } else if (*from == '-') {
        give_up("%.*s", (int)m->line_n, from);
    } else if (from[0] == 'P' && from[1] == 'I') {
        p->at += used;
        const char *out = p->out;
        size_t out_n = p->out_n;
        if (!out_n)
            say_str(p, "PONG\r\n"); /* in the middle of a block there is no room for it */
        p->out = out;
        p->out_n = out_n;
        return next_message(p, m);
    }
    p->at += used;
    return true;
}

struct message expect(struct peer *p)
{
    struct message m;
    while (!next_message(p, &m)) {
        wait_for(p, POLLIN);
        read_some(p);
    }
    return m;
}

static SSL_CTX *tls_context(void)
{
    static SSL_CTX *ctx;
    if (!ctx) {
        ctx = SSL_CTX_new(TLS_client_method());
        if (!ctx)
            give_up("no TLS context");
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_default_read_buffer_len(ctx, BLOCK);
    }
    return ctx;
}

struct peer dial(const struct options *o)
{
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM, 0), .in = malloc(IN_SIZE + 1)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(o->port), .sin_addr.s_addr = htonl(0x7f000001)};
    int one = 1;
    if (p.fd < 0 || !p.in || connect(p.fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (o->tls) {
        expect(&p); /* INFO comes in the clear */
        p.ssl = SSL_new(tls_context());
        if (!p.ssl || !SSL_set_fd(p.ssl, p.fd) || SSL_connect(p.ssl) != 1)
            give_up("TLS handshake failed");
    }
    say_str(&p, "CONNECT "
                "{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
                "\"name\":\"load\"}\r\n");
    if (fcntl(p.fd, F_SETFL, O_NONBLOCK))
        die("fcntl");
    sync_peer(&p);
    return p;
}

void sync_peer(struct peer *p)
{
    say_str(p, "PING\r\n");
    for (;;) {
        struct message m = expect(p);
        if (!m.msg && m.line_n >= 4 && memcmp(m.line, "PONG", 4) == 0)
            return;
    }
}

struct message api(struct peer *p, const char *subject, const char *body)
{
    char line[2048];
    say_str(p, "SUB _INBOX.api 99\r\nUNSUB 99 1\r\n");
    int n =
        snprintf(line, sizeof line, "PUB %s _INBOX.api %zu\r\n%s\r\n", subject, strlen(body), body);
    say(p, line, (size_t)n);
    for (;;) {
        struct message m = expect(p);
        if (!m.msg || m.line_n < 15 || memcmp(m.line + (*m.line == 'H') + 4, "_INBOX.api", 10) != 0)
            continue;
        if (memmem(m.payload, m.n, "\"error\"", 7))
            give_up("%s: %.*s", subject, (int)m.n, m.payload);
        return m;
    }
}

uint64_t json_number(const struct message *m, const char *key)
{
    char quoted[64];
    int n = snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = memmem(m->payload, m->n, quoted, (size_t)n), *end = m->payload + m->n;
    uint64_t value = 0;
    if (!at)
        return UINT64_MAX;
    for (at += n; at < end && (*at == ' '); at++)
        ;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}
