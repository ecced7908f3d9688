/* tests/bench/load_consume.c -- what comes out of a stream: push, pull, a work queue
 *
 * Each message must have the sequence after the last one, and, where the stream was filled by
 * `publish`, the number that belongs to it. Acks are counted as done when the server says so: the
 * consumer's floor has reached the last message (pull), or the queue is empty (queue). That wait is
 * inside the measured time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load.h"

#include <inttypes.h>
#include <stdlib.h>

#define REPLY_MAX 112
#define POOL      10000 /* unacknowledged messages of the work queue, of which a random one is next */

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

static void check_order(const struct options *o, struct peer *p, const struct message *m,
                        uint64_t seq)
{
    uint64_t number = seq - 1;
    if (m->n >= 8)
        memcpy(&number, m->payload, 8);
    if (seq != p->last_seq + 1 || number != seq - 1 || m->n != o->size)
        load_errors++;
    p->last_seq = seq;
    p->got++;
}

/* A message of the stream, checked, and where it wants its ack; false for what else comes. */
static bool delivered(const struct options *o, struct peer *p, const struct message *m,
                      const char **reply, size_t *reply_n)
{
    uint64_t seq = m->msg ? delivered_seq(m, reply, reply_n) : 0;
    if (seq)
        check_order(o, p, m, seq);
    return seq != 0;
}

void run_push(const struct options *o)
{
    struct peer p = dial(o);
    char subject[256], body[512], line[1024];
    say_str(&p, "SUB bench.deliver 1\r\n");
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s", o->stream);
    snprintf(body, sizeof body,
             "{\"stream_name\":\"%s\",\"config\":{\"deliver_subject\":\"bench.deliver\",\"deliver_"
             "policy\":\"all\",\"ack_policy\":\"none\"}}",
             o->stream);
    double start = now(), cpu = cpu_used();
    int n = snprintf(line, sizeof line, "PUB %s bench.created %zu\r\n%s\r\n", subject, strlen(body),
                     body);
    say(&p, line, (size_t)n);
    while (p.got < o->msgs) {
        struct message m = expect(&p);
        const char *reply;
        size_t reply_n;
        (void)delivered(o, &p, &m, &reply, &reply_n);
    }
    report(o->msgs, now() - start, cpu_used() - cpu, NULL, 0);
}

/* Creates the durable PULL; `next` becomes the request for one batch. */
static int make_consumer(const struct options *o, struct peer *p, const char *ack, char *next,
                         size_t next_size)
{
    char subject[256], body[512], batch[128];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.%s.PULL", o->stream);
    snprintf(body, sizeof body,
             "{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"PULL\",\"deliver_policy\":"
             "\"all\",\"ack_policy\":\"%s\",\"max_ack_pending\":%" PRIu64 "}}",
             o->stream, ack, o->pending);
    api(p, subject, body);
    int n =
        snprintf(batch, sizeof batch, "{\"batch\":%" PRIu64 ",\"expires\":60000000000}", o->batch);
    n = snprintf(next, next_size, "PUB $JS.API.CONSUMER.MSG.NEXT.%s.PULL _INBOX.pull %d\r\n%s\r\n",
                 o->stream, n, batch);
    say_str(p, "SUB _INBOX.pull 1\r\n");
    sync_peer(p);
    return n;
}

/* Asks until `key`, behind `section` in the answer, has the value. */
static void wait_until(struct peer *p, const char *subject, const char *section, const char *key,
                       uint64_t value)
{
    double end = now() + PATIENCE_MS / 1000.0;
    for (;;) {
        struct message m = api(p, subject, "");
        const char *at = memmem(m.payload, m.n, section, strlen(section));
        struct message rest = {.payload = at, .n = at ? (size_t)(m.payload + m.n - at) : 0};
        if (at && json_number(&rest, key) == value)
            return;
        if (now() > end)
            give_up("%s: %s is not %" PRIu64 ": %.*s", subject, key, value, (int)m.n, m.payload);
    }
}

void run_pull(const struct options *o)
{
    struct peer p = dial(o);
    char next[256], info[256];
    int next_n = make_consumer(o, &p, o->ack ? "explicit" : "none", next, sizeof next);
    char *out = malloc(BLOCK * 2);
    if (!out)
        die("malloc");
    size_t out_n = 0;
    uint64_t asked = 0;
    double start = now(), cpu = cpu_used();
    while (p.got < o->msgs) {
        if (asked < o->msgs && asked - p.got < o->batch) {
            memcpy(out + out_n, next, (size_t)next_n);
            out_n += (size_t)next_n;
            asked += o->batch;
        }
        if (out_n)
            say(&p, out, out_n);
        out_n = 0;
        wait_for(&p, POLLIN);
        read_some(&p);
        struct message m;
        while (out_n < BLOCK && next_message(&p, &m)) {
            const char *reply = NULL;
            size_t reply_n = 0;
            if (!delivered(o, &p, &m, &reply, &reply_n))
                continue;
            if (!o->ack)
                continue;
            memcpy(out + out_n, "PUB ", 4);
            memcpy(out + out_n + 4, reply, reply_n);
            memcpy(out + out_n + 4 + reply_n, " 4\r\n+ACK\r\n", 10);
            out_n += reply_n + 14;
        }
    }
    if (out_n)
        say(&p, out, out_n);
    snprintf(info, sizeof info, "$JS.API.CONSUMER.INFO.%s.PULL", o->stream);
    if (o->ack)
        wait_until(&p, info, "\"ack_floor\"", "stream_seq", p.last_seq);
    report(o->msgs, now() - start, cpu_used() - cpu, NULL, 0);
}

/* --- work queue ------------------------------------------------------------------------------ */

struct pool {
    char (*reply)[REPLY_MAX];
    size_t n;
    uint64_t random;
};

static void keep(struct pool *pool, const char *reply, size_t n)
{
    if (n >= REPLY_MAX)
        give_up("a reply subject of %zu bytes", n);
    memcpy(pool->reply[pool->n], reply, n);
    pool->reply[pool->n++][n] = 0;
}

/* Takes one at random and writes its ack to `out`. */
static size_t ack_any(struct pool *pool, char *out)
{
    pool->random = pool->random * 6364136223846793005u + 1442695040888963407u;
    size_t i = (size_t)(pool->random >> 33) % pool->n, n = strlen(pool->reply[i]);
    memcpy(out, "PUB ", 4);
    memcpy(out + 4, pool->reply[i], n);
    memcpy(out + 4 + n, " 4\r\n+ACK\r\n", 10);
    memcpy(pool->reply[i], pool->reply[--pool->n], REPLY_MAX);
    return n + 14;
}

void run_queue(const struct options *o)
{
    struct peer p = dial(o);
    char next[256], info[256];
    int next_n = make_consumer(o, &p, "explicit", next, sizeof next);
    struct pool pool = {.reply = malloc((POOL + 4 * o->batch + 1) * REPLY_MAX), .random = 20261121};
    char *out = malloc(BLOCK * 2);
    if (!out || !pool.reply)
        die("malloc");
    uint64_t asked = 0;
    double start = now(), cpu = cpu_used();
    while (p.got < o->msgs || pool.n) {
        size_t out_n = 0;
        if (asked < o->msgs && asked - p.got < o->batch) {
            memcpy(out, next, (size_t)next_n);
            out_n = (size_t)next_n;
            asked += o->batch;
        }
        while (out_n < BLOCK && pool.n && (pool.n > POOL || p.got == o->msgs))
            out_n += ack_any(&pool, out + out_n);
        if (out_n)
            say(&p, out, out_n);
        if (p.got == o->msgs)
            continue;
        wait_for(&p, POLLIN);
        read_some(&p);
        struct message m;
        while (pool.n < POOL + 2 * o->batch && next_message(&p, &m)) {
            const char *reply = NULL;
            size_t reply_n = 0;
            if (!delivered(o, &p, &m, &reply, &reply_n))
                continue;
            keep(&pool, reply, reply_n);
        }
    }
    snprintf(info, sizeof info, "$JS.API.STREAM.INFO.%s", o->stream);
    wait_until(&p, info, "\"state\"", "messages", 0);
    report(o->msgs, now() - start, cpu_used() - cpu, NULL, 0);
}
