/* tests/bench/load.h -- what the parts of the load generator share
 *
 * load.c is the command line, load_wire.c a connection (plain or TLS), load_core.c, load_publish.c,
 * load_consume.c and load_kv.c are the kinds of traffic. One thread; everything a mode opens is
 * given back by the end of the process. Whoever cannot go on says why on stderr and leaves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <openssl/ssl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define BLOCK       (256u << 10) /* bytes of prepared messages, written with as few calls as go */
#define PATIENCE_MS 30000        /* nothing moved for so long: give up */

struct options {
    const char *mode;
    uint16_t port;
    bool tls;
    size_t size;                  /* payload bytes */
    uint64_t msgs, window, batch; /* acks outstanding at most; messages of one pull request */
    uint64_t first;               /* the number of the first message; > 0 after an earlier run */
    uint64_t subjects, run;       /* so many subjects in turn, so many messages on one */
    uint64_t streams;             /* subjects are streams: acks are in order in each alone */
    uint64_t conns;               /* publishers, each with a window of its own */
    uint64_t pending; /* max_ack_pending of the pull consumer; 0: the server's default */
    uint64_t gap;     /* us from one request to the next; 0: as soon as it is answered */
    uint64_t keys;
    uint64_t kept; /* the stream keeps only so many: older ones can't be read back; 0: all */
    int subs;
    bool ids, ack;
    const char *stream;
};

/* One connection: what has arrived, and what of a prepared run of bytes is still to be written. */
struct peer {
    int fd;
    SSL *ssl;  /* NULL: plain */
    bool more; /* TLS: records may be left inside the library that poll() does not see */
    char *in;
    size_t have, at; /* bytes in `in`; parsed so far */
    const char *out;
    size_t out_n;
    uint64_t got;      /* messages */
    uint64_t last_seq; /* JetStream: the last stream sequence seen */
};

/* One protocol message: its line without CR LF, and the payload that follows (n 0 for PING, +OK …).
 * Good until the next read. */
struct message {
    const char *line, *payload; /* payload: behind the header block, if there is one */
    size_t line_n, n;
    bool msg;
};

/* Messages ready to be sent, equally long. Numbers that differ are stamped before each sending. */
struct run {
    char *bytes;
    size_t n, each;
    uint64_t msgs;
    size_t number_at;  /* of the payload's first 8 bytes, its number; 0: payload is too small */
    size_t subject_at; /* of seven digits that end the subject; 0: one subject */
    size_t id_at;      /* of ten digits of Nats-Msg-Id; 0: no header */
};

extern uint64_t load_errors;  /* wrong order, wrong content, refused publishes */
extern volatile int load_end; /* SIGTERM: send no more, report what was done */

_Noreturn void die(const char *what);
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
double now(void);
double cpu_used(void);
/* Prints the line of results; us: n latencies, sorted in place. */
void report(uint64_t msgs, double wall, double cpu, float *us, size_t n);

struct peer dial(const struct options *o);
bool write_some(struct peer *p); /* true: nothing is left to write */
bool read_some(struct peer *p);  /* false: nothing was there */
void wait_for(struct peer *p, short events);
void say(struct peer *p, const char *text, size_t n); /* all of it, waiting */
void say_str(struct peer *p, const char *text);
bool next_message(struct peer *p, struct message *m); /* answers PING by itself */
struct message expect(struct peer *p);                /* the next message, waiting */
void sync_peer(struct peer *p);                       /* PING, and wait for its PONG */
/* A JetStream request; the answer's JSON, good until the next read. An error ends the process. */
struct message api(struct peer *p, const char *subject, const char *body);
uint64_t json_number(const struct message *m, const char *key); /* UINT64_MAX: no such key */

struct run make_run(const struct options *o, const char *subject, const char *reply, uint64_t most);
void stamp(const struct options *o, struct run *r, uint64_t msgs, uint64_t number);
void digits(char *at, int n, uint64_t value);
uint64_t ack_seq(const struct message *m); /* 0, and an error counted: not an ack */
/* Reads stored messages back and compares them; `exact`: message n has sequence n + 1. */
void check_stored(const struct options *o, struct peer *p, bool exact);

void run_core(const struct options *o);
void run_reqrep(const struct options *o);
void run_publish(const struct options *o);
void run_sync(const struct options *o);
void run_push(const struct options *o);
void run_pull(const struct options *o);
void run_queue(const struct options *o);
void run_kv(const struct options *o);

#endif
