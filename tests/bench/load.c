/* tests/bench/load.c -- a load generator that speaks the raw client protocol
 *
 * One process, one thread, a few sockets; cheap enough that the server is what is measured. It
 * counts real messages and real acks, checks order on all of them and content on a sample, and
 * prints one line of JSON:
 *
 *     load core   PORT --size 128 --msgs 2000000 [--subs 1]   PUB to one subject, so many
 * subscribers load reqrep PORT --msgs 20000                           one requester, one responder,
 * latencies load jspub  PORT --size 128 --msgs 1000000 --window 4000   JetStream publishes with
 * acks outstanding load push   PORT --msgs N                               a push consumer, ack
 * none, of the stream BENCH load pull   PORT --msgs N --batch 500                   a pull
 * consumer, explicit acks
 *
 * {"msgs":…,"wall":s,"cpu":s of this process,"p50":us,"p99":us,"errors":n}
 * A busy generator (cpu / wall > 0.9) is the limit itself; scripts/bench marks such rounds.
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
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SIZE (1u << 20)
#define BLOCK   (256u << 10)

struct options {
    const char *mode;
    uint16_t port;
    size_t size;
    uint64_t msgs, window, batch;
    int subs;
    const char *stream;
};

/* One connection: what has arrived, and what of a prepared run of bytes is still to be written. */
struct peer {
    int fd;
    char *in;
    size_t have, at; /* bytes in `in`; parsed so far */
    const char *out;
    size_t out_n;
    uint64_t got;      /* messages */
    uint64_t last_seq; /* JetStream: the last stream sequence seen */
};

static uint64_t errors;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t))
        die("clock_gettime");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_used(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* --- sockets --------------------------------------------------------------------------------- */

static bool write_some(struct peer *p)
{
    ssize_t n = send(p->fd, p->out, p->out_n, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        die("send");
    if (n > 0) {
        p->out += n;
        p->out_n -= (size_t)n;
    }
    return p->out_n == 0;
}

static void wait_for(struct peer *p, short events)
{
    struct pollfd f = {p->fd, events, 0};
    if (poll(&f, 1, 20000) == 0) {
        fprintf(stderr, "load: nothing moved for 20 s (got %" PRIu64 ")\n", p->got);
        exit(3);
    }
}

static void say(struct peer *p, const char *text, size_t n)
{
    p->out = text;
    p->out_n = n;
    while (!write_some(p))
        wait_for(p, POLLOUT);
}

static void say_str(struct peer *p, const char *text)
{
    say(p, text, strlen(text));
}

/* Reads what is there; parsed bytes make room first. */
static bool read_some(struct peer *p)
{
    if (p->at) {
        memmove(p->in, p->in + p->at, p->have - p->at);
        p->have -= p->at;
        p->at = 0;
    }
    ssize_t n = recv(p->fd, p->in + p->have, IN_SIZE - p->have, 0);
    if (n == 0) {
        fprintf(stderr, "load: the server closed: %.*s\n", (int)p->have, p->in);
        exit(3);
    }
    if (n < 0 && errno != EAGAIN)
        die("recv");
    if (n > 0)
        p->have += (size_t)n;
    return n > 0;
}

/* One protocol message: its line without CR LF, and the payload that follows (n 0 for PING, +OK …).
 */
struct message {
    const char *line, *payload;
    size_t line_n, n;
    bool msg;
};

static bool next_message(struct peer *p, struct message *m)
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
        size_t mul = 1;
        for (const char *d = nl - 2; *d >= '0' && *d <= '9'; d--, mul *= 10)
            m->n += (size_t)(*d - '0') * mul;
        if ((size_t)(end - m->payload) < m->n + 2)
            return false;
        used += m->n + 2;
    } else if (*from == '-') {
        fprintf(stderr, "load: %.*s\n", (int)m->line_n, from);
        exit(3);
    } else if (from[0] == 'P' && from[1] == 'I') {
        p->at += used;
        say_str(p, "PONG\r\n");
        return next_message(p, m);
    }
    p->at += used;
    return true;
}

static struct message expect(struct peer *p)
{
    struct message m;
    for (;;) {
        while (!next_message(p, &m)) {
            wait_for(p, POLLIN);
            read_some(p);
        }
        return m;
    }
}

static struct peer dial(const struct options *o)
{
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM, 0), .in = malloc(IN_SIZE + 1)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(o->port), .sin_addr.s_addr = htonl(0x7f000001)};
    int one = 1;
    if (p.fd < 0 || !p.in || connect(p.fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    say_str(&p, "CONNECT "
                "{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
                "\"name\":\"load\"}\r\nPING\r\n");
    for (;;) {
        struct message m = expect(&p);
        if (m.line_n >= 4 && memcmp(m.line, "PONG", 4) == 0)
            break;
    }
    if (fcntl(p.fd, F_SETFL, O_NONBLOCK))
        die("fcntl");
    return p;
}

static void sync_peer(struct peer *p)
{
    say_str(p, "PING\r\n");
    for (;;) {
        struct message m = expect(p);
        if (!m.msg && m.line_n >= 4 && memcmp(m.line, "PONG", 4) == 0)
            return;
    }
}

/* --- results --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report(uint64_t msgs, double wall, double cpu, float *us, size_t n)
{
    printf("{\"msgs\":%" PRIu64 ",\"wall\":%.6f,\"cpu\":%.6f,\"errors\":%" PRIu64, msgs, wall, cpu,
           errors);
    if (n) {
        qsort(us, n, sizeof *us, by_value);
        printf(",\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f", (double)us[n / 2],
               (double)us[n * 99 / 100], (double)us[n * 999 / 1000]);
    }
    printf("}\n");
}

/* A run of PUB messages, each with its number in the run at the start of the payload. */
struct run {
    char *bytes;
    size_t n, each;
    uint64_t msgs;
};

static struct run make_run(const char *head, size_t size, uint64_t most)
{
    char line[256];
    int line_n = snprintf(line, sizeof line, "%s %zu\r\n", head, size);
    struct run r = {.each = (size_t)line_n + size + 2};
    r.msgs = BLOCK / r.each ? BLOCK / r.each : 1;
    if (r.msgs > most)
        r.msgs = most;
    r.n = r.msgs * r.each;
    r.bytes = malloc(r.n);
    if (!r.bytes)
        die("malloc");
    for (uint64_t i = 0; i < r.msgs; i++) {
        char *at = r.bytes + i * r.each;
        memcpy(at, line, (size_t)line_n);
        memset(at + line_n, 'x', size);
        if (size >= 8)
            memcpy(at + line_n, &i, 8);
        memcpy(at + line_n + size, "\r\n", 2);
    }
    return r;
}

/* --- core ------------------------------------------------------------------------------------ */

static void take_core(struct peer *p, const struct run *r, size_t size)
{
    struct message m;
    while (next_message(p, &m)) {
        if (!m.msg)
            continue;
        uint64_t want = p->got % r->msgs, is = want;
        if (size >= 8)
            memcpy(&is, m.payload, 8);
        if (is != want || m.n != size)
            errors++;
        p->got++;
    }
}

static void run_core(const struct options *o)
{
    struct peer pub = dial(o), sub[64];
    struct pollfd fds[65];
    for (int i = 0; i < o->subs; i++) {
        sub[i] = dial(o);
        say_str(&sub[i], "SUB bench.core 1\r\n");
        sync_peer(&sub[i]);
        fds[i] = (struct pollfd){sub[i].fd, POLLIN, 0};
    }
    struct run r = make_run("PUB bench.core", o->size, UINT64_MAX);
    uint64_t sent = 0, done = 0, total = o->msgs / r.msgs * r.msgs;
    double start = now(), cpu = cpu_used();
    while (done < total * (uint64_t)o->subs) {
        if (pub.out_n == 0 && sent < total) {
            pub.out = r.bytes;
            pub.out_n = r.n;
            sent += r.msgs;
        }
        fds[o->subs] = (struct pollfd){pub.fd, pub.out_n ? POLLOUT : 0, 0};
        if (poll(fds, (nfds_t)o->subs + 1, 20000) == 0) {
            fprintf(stderr, "load: stalled at %" PRIu64 "\n", done);
            exit(3);
        }
        if (fds[o->subs].revents & POLLOUT)
            write_some(&pub);
        done = 0;
        for (int i = 0; i < o->subs; i++) {
            if (fds[i].revents && read_some(&sub[i]))
                take_core(&sub[i], &r, o->size);
            done += sub[i].got;
        }
    }
    report(total * (uint64_t)o->subs, now() - start, cpu_used() - cpu, NULL, 0);
}

static void run_reqrep(const struct options *o)
{
    struct peer req = dial(o), rep = dial(o);
    say_str(&rep, "SUB bench.req 1\r\n");
    sync_peer(&rep);
    say_str(&req, "SUB _INBOX.load 1\r\n");
    sync_peer(&req);
    float *us = malloc(o->msgs * sizeof *us);
    char payload[128 + 64];
    int n =
        snprintf(payload, sizeof payload, "PUB bench.req _INBOX.load 16\r\n0123456789abcdef\r\n");
    double start = now(), cpu = cpu_used();
    for (uint64_t i = 0; i < o->msgs; i++) {
        double t = now();
        say(&req, payload, (size_t)n);
        while (!expect(&rep).msg)
            ;
        say_str(&rep, "PUB _INBOX.load 16\r\n0123456789abcdef\r\n");
        while (!expect(&req).msg)
            ;
        us[i] = (float)((now() - t) * 1e6);
    }
    report(o->msgs, now() - start, cpu_used() - cpu, us, o->msgs);
}

/* --- JetStream ------------------------------------------------------------------------------- */

static void api(struct peer *p, const char *subject, const char *body)
{
    char line[2048];
    say_str(p, "SUB _INBOX.api 99\r\nUNSUB 99 1\r\n");
    int n =
        snprintf(line, sizeof line, "PUB %s _INBOX.api %zu\r\n%s\r\n", subject, strlen(body), body);
    say(p, line, (size_t)n);
    for (;;) {
        struct message m = expect(p);
        if (!m.msg)
            continue;
        if (memmem(m.payload, m.n, "\"error\"", 7)) {
            fprintf(stderr, "load: %s: %.*s\n", subject, (int)m.n, m.payload);
            exit(3);
        }
        return;
    }
}

static uint64_t ack_seq(const struct message *m)
{
    const char *at = memmem(m->payload, m->n, "\"seq\":", 6);
    uint64_t seq = 0;
    if (!at || memmem(m->payload, m->n, "\"error\"", 7)) {
        if (errors++ == 0)
            fprintf(stderr, "load: %.*s\n", (int)m->n, m->payload);
        return 0;
    }
    for (at += 6; *at >= '0' && *at <= '9'; at++)
        seq = seq * 10 + (uint64_t)(*at - '0');
    return seq;
}

static void take_acks(struct peer *p, float *us, const double *sent_at)
{
    struct message m;
    double t = us ? now() : 0;
    while (next_message(p, &m)) {
        if (!m.msg)
            continue;
        uint64_t seq = ack_seq(&m);
        if (seq && seq <= p->last_seq)
            errors++;
        p->last_seq = seq;
        if (us)
            us[p->got] = (float)((t - sent_at[p->got]) * 1e6);
        p->got++;
    }
}

/* window 1 is the synchronous publisher: every latency is kept; a larger window keeps none. */
static void run_jspub(const struct options *o)
{
    struct peer p = dial(o);
    char head[256];
    snprintf(head, sizeof head, "PUB bench.js _INBOX.load");
    say_str(&p, "SUB _INBOX.load 1\r\n");
    sync_peer(&p);
    bool lat = o->window == 1;
    uint64_t chunk = o->window > 8 ? o->window / 4 : 1;
    struct run r = make_run(head, o->size, chunk);
    float *us = lat ? malloc(o->msgs * sizeof *us) : NULL;
    double *at = lat ? malloc(o->msgs * sizeof *at) : NULL;
    uint64_t sent = 0;
    double start = now(), cpu = cpu_used();
    while (p.got < o->msgs) {
        if (p.out_n == 0 && sent < o->msgs && sent - p.got + r.msgs <= o->window) {
            uint64_t n = o->msgs - sent < r.msgs ? o->msgs - sent : r.msgs;
            p.out = r.bytes;
            p.out_n = n * r.each;
            if (lat)
                at[sent] = now();
            sent += n;
            write_some(&p);
        }
        bool may = p.out_n || (sent < o->msgs && sent - p.got + r.msgs <= o->window);
        struct pollfd f = {p.fd, (short)(POLLIN | (p.out_n ? POLLOUT : 0)), 0};
        if (may && p.out_n == 0)
            continue;
        if (poll(&f, 1, 20000) == 0) {
            fprintf(stderr, "load: no ack for 20 s after %" PRIu64 "\n", p.got);
            exit(3);
        }
        if (f.revents & POLLOUT)
            write_some(&p);
        if (f.revents & POLLIN && read_some(&p))
            take_acks(&p, us, at);
    }
    report(o->msgs, now() - start, cpu_used() - cpu, us, lat ? o->msgs : 0);
}

/* The stream sequence in "$JS.ACK.S.C.1.<seq>.…", the reply of a delivered message's line. */
static uint64_t delivered_seq(const struct message *m, const char **reply, size_t *reply_n)
{
    const char *at = memmem(m->line, m->line_n, "$JS.ACK.", 8), *end = m->line + m->line_n;
    if (!at)
        return 0;
    const char *stop = memchr(at, ' ', (size_t)(end - at));
    *reply = at;
    *reply_n = (size_t)((stop ? stop : end) - at);
    int dots = 0;
    while (at < end && dots < 5)
        dots += *at++ == '.';
    uint64_t seq = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        seq = seq * 10 + (uint64_t)(*at - '0');
    return seq;
}

static void check_order(struct peer *p, uint64_t seq)
{
    if (seq != p->last_seq + 1)
        errors++;
    p->last_seq = seq;
    p->got++;
}

static void run_push(const struct options *o)
{
    struct peer p = dial(o);
    char subject[256];
    say_str(&p, "SUB bench.deliver 1\r\n");
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s", o->stream);
    char body[512];
    snprintf(body, sizeof body,
             "{\"stream_name\":\"%s\",\"config\":{\"deliver_subject\":\"bench.deliver\",\"deliver_"
             "policy\":\"all\",\"ack_policy\":\"none\"}}",
             o->stream);
    double start = now(), cpu = cpu_used();
    char line[1024];
    int n = snprintf(line, sizeof line, "PUB %s bench.created %zu\r\n%s\r\n", subject, strlen(body),
                     body);
    say(&p, line, (size_t)n);
    while (p.got < o->msgs) {
        struct message m = expect(&p);
        const char *reply;
        size_t reply_n;
        uint64_t seq = m.msg ? delivered_seq(&m, &reply, &reply_n) : 0;
        if (seq)
            check_order(&p, seq);
    }
    report(o->msgs, now() - start, cpu_used() - cpu, NULL, 0);
}

static void run_pull(const struct options *o)
{
    struct peer p = dial(o);
    char subject[256], body[512], next[256];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.%s.PULL", o->stream);
    snprintf(body, sizeof body,
             "{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"PULL\",\"deliver_policy\":"
             "\"all\",\"ack_policy\":\"explicit\",\"max_ack_pending\":100000}}",
             o->stream);
    api(&p, subject, body);
    char batch[32];
    int batch_n = snprintf(batch, sizeof batch, "%" PRIu64, o->batch);
    int next_n = snprintf(next, sizeof next,
                          "PUB $JS.API.CONSUMER.MSG.NEXT.%s.PULL _INBOX.pull %d\r\n%s\r\n",
                          o->stream, batch_n, batch);
    say_str(&p, "SUB _INBOX.pull 1\r\n");
    sync_peer(&p);
    char *acks = malloc(BLOCK * 2);
    size_t acks_n = 0;
    uint64_t asked = 0;
    double start = now(), cpu = cpu_used();
    while (p.got < o->msgs) {
        if (asked < o->msgs && asked - p.got < o->batch) {
            memcpy(acks + acks_n, next, (size_t)next_n);
            acks_n += (size_t)next_n;
            asked += o->batch;
        }
        if (acks_n) {
            say(&p, acks, acks_n);
            acks_n = 0;
        }
        wait_for(&p, POLLIN);
        read_some(&p);
        struct message m;
        while (acks_n < BLOCK && next_message(&p, &m)) {
            const char *reply = NULL;
            size_t reply_n = 0;
            uint64_t seq = m.msg ? delivered_seq(&m, &reply, &reply_n) : 0;
            if (!seq)
                continue;
            check_order(&p, seq);
            memcpy(acks + acks_n, "PUB ", 4);
            memcpy(acks + acks_n + 4, reply, reply_n);
            memcpy(acks + acks_n + 4 + reply_n, " 4\r\n+ACK\r\n", 10);
            acks_n += reply_n + 14;
        }
    }
    say(&p, acks, acks_n);
    sync_peer(&p);
    report(o->msgs, now() - start, cpu_used() - cpu, NULL, 0);
}

int main(int argc, char **argv)
{
    struct options o = {
        .size = 128, .msgs = 100000, .window = 1000, .batch = 500, .subs = 1, .stream = "BENCH"};
    if (argc < 3) {
        fprintf(stderr, "usage: load core|reqrep|jspub|push|pull PORT [--size N] [--msgs N] "
                        "[--window N] [--batch N] [--subs N] [--stream S]\n");
        return 1;
    }
    o.mode = argv[1];
    o.port = (uint16_t)strtoul(argv[2], NULL, 10);
    for (int i = 3; i + 1 < argc; i += 2) {
        uint64_t v = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--size") == 0)
            o.size = v;
        else if (strcmp(argv[i], "--msgs") == 0)
            o.msgs = v;
        else if (strcmp(argv[i], "--window") == 0)
            o.window = v;
        else if (strcmp(argv[i], "--batch") == 0)
            o.batch = v;
        else if (strcmp(argv[i], "--subs") == 0)
            o.subs = (int)v;
        else if (strcmp(argv[i], "--stream") == 0)
            o.stream = argv[i + 1];
    }
    static const struct {
        const char *name;
        void (*run)(const struct options *);
    } modes[] = {{"core", run_core},
                 {"reqrep", run_reqrep},
                 {"jspub", run_jspub},
                 {"push", run_push},
                 {"pull", run_pull}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(o.mode, modes[i].name) == 0) {
            modes[i].run(&o);
            return errors ? 4 : 0;
        }
    }
    fprintf(stderr, "load: unknown mode %s\n", o.mode);
    return 1;
}
