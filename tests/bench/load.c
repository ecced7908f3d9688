/* tests/bench/load.c -- a load generator that speaks the raw client protocol
 *
 * One process, one thread, a few sockets; cheap enough that the server is what is measured. It
 * counts real messages and real acks, checks order on all of them and content on all (core) or on a
 * sample (streams), and prints one line of JSON:
 *
 *     core    PORT --size 128 --msgs N [--subs 4]      PUB to one subject, so many subscribers
 *     reqrep  PORT --msgs N [--gap US]                 one requester, one responder, latencies
 *     publish PORT --size 128 --msgs N --window 4000   JetStream, so many acks outstanding
 *             [--subjects K] [--run R] [--streams S] [--ids 1] [--kept K]
 *     sync    PORT --msgs N --conns 16                 so many publishers, each waits for its ack
 *     push    PORT --msgs N                            a push consumer of the stream BENCH
 *     pull    PORT --msgs N --batch 500 [--ack 1]      a pull consumer
 *             [--pending P]                          max_ack_pending; the server's default
 *     queue   PORT --msgs N --batch 500                a work queue, acks in random order
 *     kv      PORT --msgs N --keys K [--first F]       puts that expect the key's last sequence
 *
 * All take --tls 1, --stream NAME and --first N.
 * {"msgs":…,"wall":s,"cpu":s of this process,"errors":n,"p50":us,"p99":us,"p999":us}
 * A busy generator (cpu / wall > 0.9) is the limit itself; scripts/bench marks such rounds.
 * Exit status 4: something was wrong with order, content or an ack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/load.h"

#include <signal.h>
#include <stdlib.h>

static void on_term(int number)
{
    (void)number;
    load_end = 1;
}

static const struct {
    const char *name;
    void (*run)(const struct options *);
} modes[] = {
    {"core", run_core}, {"reqrep", run_reqrep}, {"publish", run_publish}, {"sync", run_sync},
    {"push", run_push}, {"pull", run_pull},     {"queue", run_queue},     {"kv", run_kv},
};

static void take_option(struct options *o, const char *name, const char *value)
{
    uint64_t v = strtoull(value, NULL, 10);
    const struct {
        const char *name;
        uint64_t *number;
    } numbers[] = {{"--msgs", &o->msgs},         {"--window", &o->window},   {"--batch", &o->batch},
                   {"--first", &o->first},       {"--run", &o->run},         {"--conns", &o->conns},
                   {"--subjects", &o->subjects}, {"--streams", &o->streams}, {"--keys", &o->keys},
                   {"--kept", &o->kept},         {"--pending", &o->pending}, {"--gap", &o->gap}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].number = v;
            return;
        }
    }
    if (strcmp(name, "--size") == 0)
        o->size = v;
    else if (strcmp(name, "--subs") == 0)
        o->subs = (int)v;
    else if (strcmp(name, "--tls") == 0)
        o->tls = v;
    else if (strcmp(name, "--ids") == 0)
        o->ids = v;
    else if (strcmp(name, "--ack") == 0)
        o->ack = v;
    else if (strcmp(name, "--stream") == 0)
        o->stream = value;
    else
        give_up("unknown option %s", name);
}

int main(int argc, char **argv)
{
    struct options o = {.size = 128,
                        .msgs = 100000,
                        .window = 1000,
                        .batch = 500,
                        .subjects = 1,
                        .run = 1,
                        .streams = 1,
                        .conns = 1,
                        .keys = 1000,
                        .subs = 1,
                        .stream = "BENCH"};
    if (argc < 3)
        give_up("usage: load MODE PORT [--OPTION VALUE]...; the modes are told in load.c");
    o.mode = argv[1];
    o.port = (uint16_t)strtoul(argv[2], NULL, 10);
    for (int i = 3; i + 1 < argc; i += 2)
        take_option(&o, argv[i], argv[i + 1]);
    struct sigaction term = {.sa_handler = on_term};
    if (sigaction(SIGTERM, &term, NULL))
        die("sigaction");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(o.mode, modes[i].name) == 0) {
            modes[i].run(&o);
            return load_errors ? 4 : 0;
        }
    }
    give_up("unknown mode %s", o.mode);
}
