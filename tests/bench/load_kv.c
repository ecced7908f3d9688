/* tests/bench/load_kv.c -- puts into a bucket-shaped stream, each expecting the key's last sequence
 *
 * Keys are written in turn and nobody else writes, so put number i (from 0) gets sequence i + 1 and
 * must expect i + 1 - keys, or 0 the first time round. An ack with another sequence is an error,
 * and so is a refusal.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load.h"

#include <inttypes.h>
#include <stdlib.h>

static size_t write_put(const struct options *o, char *at, size_t room, uint64_t i)
{
    char block[96];
    int block_n = snprintf(block, sizeof block,
                           "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %" PRIu64 "\r\n\r\n",
                           i >= o->keys ? i + 1 - o->keys : 0);
    int n = snprintf(at, room, "HPUB bench.kv.key%07" PRIu64 " _INBOX.load %d %zu\r\n%s",
                     i % o->keys, block_n, (size_t)block_n + o->size, block);
    memset(at + n, 'x', o->size);
    memcpy(at + n, &i, o->size < 8 ? o->size : 8);
    memcpy(at + n + o->size, "\r\n", 2);
    return (size_t)n + o->size + 2;
}

static void take_puts(const struct options *o, struct peer *p)
{
    struct message m;
    while (next_message(p, &m)) {
        if (!m.msg)
            continue;
        if (ack_seq(&m) != o->first + p->got + 1)
            load_errors++;
        p->got++;
    }
}

void run_kv(const struct options *o)
{
    struct peer p = dial(o);
    size_t most = o->size + 256, chunk = o->window > 8 ? o->window / 4 : 1, room = 2 * BLOCK + most;
    char *out = malloc(room);
    if (!out)
        die("malloc");
    if (o->window >= o->keys)
        give_up("a key's ack must be there before its next put: window %" PRIu64 ", keys %" PRIu64,
                o->window, o->keys);
    say_str(&p, "SUB _INBOX.load 1\r\n");
    sync_peer(&p);
    uint64_t sent = 0;
    double start = now(), cpu = cpu_used();
    while (p.got < o->msgs) {
        while (p.out_n == 0 && sent < o->msgs && sent - p.got + chunk <= o->window) {
            size_t n = 0;
            for (uint64_t i = 0; i < chunk && sent < o->msgs && n + most <= room; i++)
                n += write_put(o, out + n, room - n, o->first + sent++);
            p.out = out;
            p.out_n = n;
            write_some(&p);
        }
        struct pollfd at = {p.fd, (short)(POLLIN | (p.out_n ? POLLOUT : 0)), 0};
        if (!p.more && poll(&at, 1, PATIENCE_MS) == 0)
            give_up("no ack for %d s after %" PRIu64, PATIENCE_MS / 1000, p.got);
        if (at.revents & POLLOUT)
            write_some(&p);
        if ((p.more || at.revents & POLLIN) && read_some(&p))
            take_puts(o, &p);
    }
    report(o->msgs, now() - start, cpu_used() - cpu, NULL, 0);
}
