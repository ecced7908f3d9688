/* tests/bench/load_publish.c -- JetStream publishes: many outstanding, or each waiting for its ack
 *
 * Every message carries its number in the first 8 bytes of the payload, so that whoever reads the
 * stream can tell what should stand where. Acks of one stream come in order: their sequences must
 * rise. Latencies: of each ack for `sync`, of a sample for `publish` (from the writing of its block
 * to the reading of its ack).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load.h"

#include <inttypes.h>
#include <stdlib.h>

#define SAMPLE         16 /* one latency kept of so many acks */
#define CHECKED        8  /* messages read back */
#define SUBJECT_DIGITS 7
#define ID_DIGITS      10

void digits(char *at, int n, uint64_t value)
{
    while (n-- > 0) {
        at[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

struct run make_run(const struct options *o, const char *subject, const char *reply, uint64_t most)
{
    char head[512], block[64] = "";
    bool many = o->subjects > 1 || o->streams > 1;
    int block_n = o->ids ? snprintf(block, sizeof block, "NATS/1.0\r\nNats-Msg-Id: %0*d\r\n\r\n",
                                    ID_DIGITS, 0)
                         : 0;
    char name[200], sizes[64];
    int name_n = snprintf(name, sizeof name, "%s%s", subject, many ? ".0000000" : "");
    if (o->ids)
        snprintf(sizes, sizeof sizes, "%d %zu", block_n, o->size + (size_t)block_n);
    else
        snprintf(sizes, sizeof sizes, "%zu", o->size);
    int n = snprintf(head, sizeof head, "%s %s%s%s %s\r\n%s", o->ids ? "HPUB" : "PUB", name,
                     reply ? " " : "", reply ? reply : "", sizes, block);
    struct run r = {.each = (size_t)n + o->size + 2};
    r.msgs = BLOCK / r.each ? BLOCK / r.each : 1;
    if (r.msgs > most)
        r.msgs = most;
    r.n = r.msgs * r.each;
    r.bytes = malloc(r.n);
    if (!r.bytes)
        die("malloc");
    if (o->size >= 8)
        r.number_at = (size_t)n;
    if (many)
        r.subject_at = (size_t)((o->ids ? 5 : 4) + name_n - SUBJECT_DIGITS);
    if (o->ids)
        r.id_at = (size_t)(n - 4 - ID_DIGITS);
    for (uint64_t i = 0; i < r.msgs; i++) {
        char *at = r.bytes + i * r.each;
        memcpy(at, head, (size_t)n);
        memset(at + n, 'x', o->size);
        memcpy(at + n + o->size, "\r\n", 2);
    }
    return r;
}

void stamp(const struct options *o, struct run *r, uint64_t msgs, uint64_t number)
{
    uint64_t among = o->streams > 1 ? o->streams : o->subjects;
    for (uint64_t i = 0; i < msgs; i++, number++) {
        char *at = r->bytes + i * r->each;
        if (r->number_at)
            memcpy(at + r->number_at, &number, 8);
        if (r->subject_at)
            digits(at + r->subject_at, SUBJECT_DIGITS, number / o->run % among);
        if (r->id_at)
            digits(at + r->id_at, ID_DIGITS, number);
    }
}

uint64_t ack_seq(const struct message *m)
{
    uint64_t seq = memmem(m->payload, m->n, "\"error\"", 7) ? 0 : json_number(m, "seq");
    if (seq == UINT64_MAX || seq == 0 || memmem(m->payload, m->n, "\"duplicate\"", 11)) {
        if (load_errors++ == 0)
            fprintf(stderr, "load: %.*s\n", (int)m->n, m->payload);
        return 0;
    }
    return seq;
}

void check_stored(const struct options *o, struct peer *p, bool exact)
{
    char subject[256], body[64];
    snprintf(subject, sizeof subject, "$JS.API.DIRECT.GET.%s", o->stream);
    uint64_t among = o->kept && o->kept < o->msgs ? o->kept : o->msgs;
    uint64_t lowest = o->first + o->msgs - among + 1;
    for (uint64_t i = 0; i < CHECKED; i++) {
        uint64_t seq = lowest + (among - 1) * i / (CHECKED - 1), number = seq - 1;
        snprintf(body, sizeof body, "{\"seq\":%" PRIu64 "}", seq);
        struct message m = api(p, subject, body);
        if (m.n != o->size) {
            load_errors++;
            continue;
        }
        uint64_t is = number;
        size_t from = 0;
        if (o->size >= 8) {
            memcpy(&is, m.payload, 8);
            from = 8;
        }
        if (exact && is != number)
            load_errors++;
        for (size_t at = from; at < m.n; at++)
            if (m.payload[at] != 'x') {
                load_errors++;
                break;
            }
    }
}

/* --- many outstanding ------------------------------------------------------------------------ */

struct flight {
    struct run run;
    double *sent_at; /* of each block */
    float *us;
    size_t us_n;
    uint64_t *last; /* of each stream, its last sequence */
};

/* "stream":"S0000017": the number of the stream an ack is of. */
static uint64_t ack_stream(const struct options *o, const struct message *m)
{
    const char *at = o->streams > 1 ? memmem(m->payload, m->n, "\"stream\":\"S", 11) : NULL;
    uint64_t n = at ? strtoull(at + 11, NULL, 10) : 0;
    return n < o->streams ? n : 0;
}

static void take_acks(const struct options *o, struct flight *f, struct peer *p)
{
    struct message m;
    double t = now();
    while (next_message(p, &m)) {
        if (!m.msg)
            continue;
        uint64_t seq = ack_seq(&m), *last = &f->last[ack_stream(o, &m)];
        if (seq && seq <= *last)
            load_errors++;
        *last = seq;
        if (p->got % SAMPLE == 0 && o->streams == 1)
            f->us[f->us_n++] = (float)((t - f->sent_at[p->got / f->run.msgs]) * 1e6);
        p->got++;
    }
}

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        die("calloc");
    return p;
}

void run_publish(const struct options *o)
{
    struct peer p = dial(o);
    say_str(&p, "SUB _INBOX.load 1\r\n");
    sync_peer(&p);
    struct flight f = {
        .run = make_run(o, "bench.js", "_INBOX.load", o->window > 8 ? o->window / 4 : 1)};
    struct run *r = &f.run;
    f.sent_at = zeroed(o->msgs / r->msgs + 2, sizeof *f.sent_at);
    f.us = zeroed(o->msgs / SAMPLE + 2, sizeof *f.us);
    f.last = zeroed(o->streams, sizeof *f.last);
    uint64_t sent = 0, total = o->msgs;
    double start = now(), cpu = cpu_used();
    while (p.got < total) {
        if (load_end)
            total = sent;
        while (p.out_n == 0 && sent < total && sent - p.got + r->msgs <= o->window) {
            uint64_t n = total - sent < r->msgs ? total - sent : r->msgs;
            stamp(o, r, n, o->first + sent);
            f.sent_at[sent / r->msgs] = now();
            p.out = r->bytes;
            p.out_n = n * r->each;
            sent += n;
            write_some(&p);
        }
        struct pollfd at = {p.fd, (short)(POLLIN | (p.out_n ? POLLOUT : 0)), 0};
        int ready = p.more ? 1 : poll(&at, 1, PATIENCE_MS);
        if (ready == 0)
            give_up("no ack for %d s after %" PRIu64, PATIENCE_MS / 1000, p.got);
        if (at.revents & POLLOUT)
            write_some(&p);
        if ((p.more || at.revents & POLLIN) && read_some(&p))
            take_acks(o, &f, &p);
    }
    double wall = now() - start, used = cpu_used() - cpu;
    if (o->streams == 1 && !load_end)
        check_stored(o, &p, true);
    report(total, wall, used, f.us, f.us_n);
}

/* --- each waits for its ack ------------------------------------------------------------------ */

struct waiter {
    struct peer peer;
    struct run run;
    double sent_at;
    uint64_t last;
};

static void send_one(const struct options *o, struct waiter *w, uint64_t number)
{
    stamp(o, &w->run, 1, number);
    w->sent_at = now();
    say(&w->peer, w->run.bytes, w->run.n);
}

void run_sync(const struct options *o)
{
    struct waiter *all = zeroed(o->conns, sizeof *all);
    struct pollfd *fds = zeroed(o->conns, sizeof *fds);
    float *us = zeroed(o->msgs, sizeof *us);
    for (uint64_t i = 0; i < o->conns; i++) {
        char line[64], reply[32];
        snprintf(reply, sizeof reply, "_INBOX.s%" PRIu64, i);
        snprintf(line, sizeof line, "SUB %s 1\r\n", reply);
        all[i].peer = dial(o);
        say_str(&all[i].peer, line);
        sync_peer(&all[i].peer);
        all[i].run = make_run(o, "bench.js", reply, 1);
        fds[i] = (struct pollfd){all[i].peer.fd, POLLIN, 0};
    }
    uint64_t sent = 0, got = 0;
    double start = now(), cpu = cpu_used();
    while (sent < o->conns && sent < o->msgs) {
        send_one(o, &all[sent], o->first + sent);
        sent++;
    }
    while (got < o->msgs) {
        if (poll(fds, (nfds_t)o->conns, PATIENCE_MS) == 0)
            give_up("no ack for %d s after %" PRIu64, PATIENCE_MS / 1000, got);
        for (uint64_t i = 0; i < o->conns; i++) {
            struct waiter *w = &all[i];
            struct message m;
            if (!fds[i].revents || !read_some(&w->peer))
                continue;
            while (next_message(&w->peer, &m)) {
                if (!m.msg)
                    continue;
                uint64_t seq = ack_seq(&m);
                if (seq <= w->last)
                    load_errors++;
                w->last = seq;
                us[got++] = (float)((now() - w->sent_at) * 1e6);
                if (sent < o->msgs)
                    send_one(o, w, o->first + sent++);
            }
        }
    }
    double wall = now() - start, used = cpu_used() - cpu;
    check_stored(o, &all[0].peer, o->conns == 1);
    report(o->msgs, wall, used, us, o->msgs);
}
