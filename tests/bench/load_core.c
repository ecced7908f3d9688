/* tests/bench/load_core.c -- traffic without streams: one publisher, many subscribers; requests
 *
 * What a subscriber of the core run must receive is known to the byte: the publisher repeats one
 * block of numbered messages, so the subscriber compares what comes with one block of deliveries,
 * round and round. That checks order and content of everything and costs a memcmp.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define SUBS_MAX 64

/* What each subscriber must hear, for ever. */
struct script {
    char *bytes;
    size_t n, each;
};

static struct script make_script(const struct run *r, const char *head, size_t size)
{
    char line[128];
    int line_n = snprintf(line, sizeof line, "%s %zu\r\n", head, size);
    struct script s = {.each = (size_t)line_n + size + 2};
    s.n = s.each * r->msgs;
    s.bytes = malloc(s.n);
    if (!s.bytes)
        die("malloc");
    for (uint64_t i = 0; i < r->msgs; i++) {
        memcpy(s.bytes + i * s.each, line, (size_t)line_n);
        memcpy(s.bytes + i * s.each + line_n, r->bytes + (i + 1) * r->each - size - 2, size + 2);
    }
    return s;
}

/* How many of n bytes are the same. */
static size_t alike(const char *a, const char *b, size_t n)
{
    size_t i = 0;
    if (memcmp(a, b, n) == 0)
        return n;
    while (a[i] == b[i])
        i++;
    return i;
}

/* Compares what has arrived with the script from `*at` on; how many bytes of the script that was.
 * Between two messages the server may say PING. */
static uint64_t take_core(struct peer *p, const struct script *s, size_t *at)
{
    uint64_t all = 0;
    while (p->at < p->have) {
        size_t left = p->have - p->at, part = s->n - *at;
        size_t n = alike(p->in + p->at, s->bytes + *at, left < part ? left : part);
        p->at += n;
        all += n;
        *at = (*at + n) % s->n;
        if (n > 0)
            continue;
        size_t ping = left < 6 ? left : 6;
        if (*at % s->each != 0 || memcmp(p->in + p->at, "PING\r\n", ping) != 0)
            give_up("not what was published: %.*s", (int)(left < 60 ? left : 60), p->in + p->at);
        if (left < 6)
            break;
        p->at += 6;
        say_str(p, "PONG\r\n");
    }
    return all;
}

void run_core(const struct options *o)
{
    if (o->subs < 1 || o->subs > SUBS_MAX)
        give_up("1 to %d subscribers", SUBS_MAX);
    struct peer pub = dial(o), sub[SUBS_MAX];
    struct pollfd fds[SUBS_MAX + 1];
    size_t at[SUBS_MAX] = {0};
    for (int i = 0; i < o->subs; i++) {
        sub[i] = dial(o);
        say_str(&sub[i], "SUB bench.core 1\r\n");
        sync_peer(&sub[i]);
        fds[i] = (struct pollfd){sub[i].fd, POLLIN, 0};
    }
    struct run r = make_run(o, "bench.core", NULL, UINT64_MAX);
    stamp(o, &r, r.msgs, 0);
    struct script s = make_script(&r, "MSG bench.core 1", o->size);
    uint64_t sent = 0, total = (o->msgs + r.msgs - 1) / r.msgs * r.msgs;
    uint64_t bytes = 0, want = total * s.each * (uint64_t)o->subs;
    double start = now(), cpu = cpu_used();
    while (bytes < want) {
        if (pub.out_n == 0 && sent < total) {
            pub.out = r.bytes;
            pub.out_n = r.n;
            sent += r.msgs;
        }
        bool more = false;
        for (int i = 0; i < o->subs; i++)
            more |= sub[i].more;
        fds[o->subs] = (struct pollfd){pub.fd, pub.out_n ? POLLOUT : 0, 0};
        if (poll(fds, (nfds_t)o->subs + 1, more ? 0 : PATIENCE_MS) == 0 && !more)
            give_up("stalled after %" PRIu64 " of %" PRIu64 " bytes", bytes, want);
        if (fds[o->subs].revents & POLLOUT)
            write_some(&pub);
        for (int i = 0; i < o->subs; i++)
            if ((fds[i].revents || sub[i].more) && read_some(&sub[i]))
                bytes += take_core(&sub[i], &s, &at[i]);
    }
    report(total * (uint64_t)o->subs, now() - start, cpu_used() - cpu, NULL, 0);
}

/* Sleeps until `due` and tells the time; when that is over already, somebody has waited since then.
 */
static double its_time(double due)
{
    struct timespec t = {.tv_sec = (time_t)due,
                         .tv_nsec = (long)((due - (double)(time_t)due) * 1e9)};
    if (now() > due)
        return due;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
    return now();
}

void run_reqrep(const struct options *o)
{
    struct peer req = dial(o), rep = dial(o);
    say_str(&rep, "SUB bench.req 1\r\n");
    sync_peer(&rep);
    say_str(&req, "SUB _INBOX.askr 1\r\n");
    sync_peer(&req);
    float *us = malloc(o->msgs * sizeof *us);
    if (!us)
        die("malloc");
    double start = now(), cpu = cpu_used();
    for (uint64_t i = 0; i < o->msgs; i++) {
        char ask[64], answer[64];
        int n = snprintf(ask, sizeof ask, "PUB bench.req _INBOX.askr 16\r\n%016" PRIu64 "\r\n", i);
        struct message m;
        double t = o->gap ? its_time(start + (double)(i * o->gap) / 1e6) : now();
        say(&req, ask, (size_t)n);
        do
            m = expect(&rep);
        while (!m.msg);
        n = snprintf(answer, sizeof answer, "PUB _INBOX.askr 16\r\n%.16s\r\n", m.payload);
        say(&rep, answer, (size_t)n);
        do
            m = expect(&req);
        while (!m.msg);
        us[i] = (float)((now() - t) * 1e6);
        if (m.n != 16 || memcmp(m.payload, ask + 30, 16) != 0)
            load_errors++;
    }
    report(o->msgs, now() - start, cpu_used() - cpu, us, o->msgs);
}
