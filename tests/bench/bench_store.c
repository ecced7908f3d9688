/* bench/bench_store.c -- what the store alone costs: async appends through the door, the real
 * writer, a real file
 *
 *     bench_store DIR [messages [payload [window [subjects [max_msgs]]]]]
 *
 * Prints messages per second, CPU per message (both threads), bytes written per payload byte,
 * memory. DIR must lie on a real file system; the store in it is made anew.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>

#include "base/clock.h"
#include "fake/turn.h"
#include "storage/storage.h"

struct bench {
    struct stream *s;
    uint64_t total, asked, answered, window, subjects;
    struct slice payload;
};

static uint64_t number_of(const char *file, const char *key)
{
    char line[256];
    uint64_t n = 0;
    FILE *f = fopen(file, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            n = strtoull(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return n;
}

/* The fake turn's clocks stand still. */
static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void on_answer(void *arg, const struct store_receipt *r)
{
    struct bench *b = arg;
    ASSERT(r->err == 0);
    b->answered++;
}

static void on_made(void *arg, int err)
{
    ASSERT(err == 0);
    ((struct bench *)arg)->answered++;
}

static void ask(struct bench *b)
{
    char subject[32];
    int n = snprintf(subject, sizeof subject, "bench.%llu",
                     (unsigned long long)((b->asked * 2654435761u) % b->subjects));
    struct record_in rec = {.subject = slice_of(subject, (size_t)n), .payload = b->payload};
    int err = store_append(b->s, &rec, on_answer, b);
    ASSERT(err == 0);
    b->asked++;
}

static bool room(void *arg)
{
    struct bench *b = arg;
    return b->asked - b->answered < (b->window + 1) / 2 || b->answered == b->total;
}

static bool one_answer(void *arg)
{
    return ((struct bench *)arg)->answered > 0;
}

static int look(void *arg, const struct record_out *r)
{
    *(uint64_t *)arg += r->payload.n;
    return READ_ON;
}

static void read_all(struct bench *b)
{
    uint64_t from = 0, bytes = 0;
    struct read_budget slice = {1000, 10000, 256 * 1024};
    double began = wall_s();
    while (store_read(b->s, &from, NULL, &slice, look, &bytes) == READ_BUDGET)
        ;
    double s = wall_s() - began;
    printf("read all: %.1f M msg/s\n", (double)b->total / s / 1e6);
}

static void run(struct bench *b, struct fake_turn *ft)
{
    double cpu = cpu_s();
    uint64_t written = number_of("/proc/self/io", "wchar: ");
    double began = wall_s();
    while (b->answered < b->total) {
        while (b->asked < b->total && b->asked - b->answered < b->window)
            ask(b);
        bool ok = fake_turn_wait(ft, room, b);
        ASSERT(ok);
    }
    double s = wall_s() - began, n = (double)b->total;
    cpu = cpu_s() - cpu;
    written = number_of("/proc/self/io", "wchar: ") - written;
    printf("%.0f msg/s, %.3f us CPU per message, WA %.2f, RssAnon %llu KiB\n", n / s, cpu / n * 1e6,
           (double)written / (n * (double)b->payload.n),
           (unsigned long long)number_of("/proc/self/status", "RssAnon:"));
}

static uint64_t arg_of(char **argv, int argc, int i, uint64_t dflt)
{
    return i < argc ? strtoull(argv[i], NULL, 10) : dflt;
}

int main(int argc, char **argv)
{
    struct bench b = {.total = arg_of(argv, argc, 2, 1000000),
                      .window = arg_of(argv, argc, 4, 4000),
                      .subjects = arg_of(argv, argc, 5, 1)};
    size_t n = arg_of(argv, argc, 3, 128);
    struct fake_turn ft;
    struct store *st;
    char *why = NULL;
    if (argc < 2)
        return fprintf(stderr,
                       "bench_store DIR [messages [payload [window [subjects [max_msgs]]]]]\n"),
               2;
    char *payload = xcalloc(1, n + 1);
    b.payload = slice_of(payload, n);
    fake_turn_init(&ft);
    struct store_config cfg = {.dir = argv[1]};
    struct store_host host = {.turn = &ft.turn};
    if (store_open(&cfg, &host, &st, &why))
        return fprintf(stderr, "%s\n", why), 1;
    struct stream_spec spec = {.account = SLICE("$G"),
                               .name = SLICE("BENCH"),
                               .max_msgs = (int64_t)arg_of(argv, argc, 6, 0),
                               .created = clock_wall_exact()};
    int err = store_stream_create(st, &spec, on_made, &b, &b.s);
    ASSERT(err == 0);
    bool made = fake_turn_wait(&ft, one_answer, &b);
    ASSERT(made);
    b.answered = 0;
    run(&b, &ft);
    read_all(&b);
    fake_turn_advance(&ft, 5 * NS_PER_S);
    printf("idle: RssAnon %llu KiB\n",
           (unsigned long long)number_of("/proc/self/status", "RssAnon:"));
    store_close(st);
    fake_turn_release(&ft);
    free(payload);
    return 0;
}
