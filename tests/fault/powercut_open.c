/* tests/fault/powercut_open.c -- what a store says after a power cut
 *
 * A line on standard input names a directory as store_dir, a file for the facts, and 0 or 1. A
 * child opens the store there, with the recovery of the server, and writes down what it holds into
 * FILE.facts; a 1 asks it to go on afterwards: one more record into each stream, closed, opened
 * again, and the facts once more, into FILE.again. The answer on standard output: how the child
 * ended; when not with 0, FILE says why. Where ids are remembered for an hour the newest message
 * that has one must be known again. A child per image, because a damaged file may well end the
 * process.
 *
 *     stream ACCOUNT NAME messages first last holes records cursors length
 *         config, `length` bytes
 *         `records` times struct fact
 *     cursor NAME delivered floor pending given length
 *         config, `length` bytes; pending and given numbers
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <isa-l/crc.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/msg.h"
#include "fake/turn.h"
#include "jsapi/pending.h"
#include "storage/storage.h"

enum {
    PROGRESS_HEAD = 13, /* jsapi/consumer.c puts so many bytes before the pending set */
    PATIENCE_S = 60,
    DAMAGED = 3 /* exit status: the facts are there, but some record failed its checksum */
};

struct fact {
    uint64_t seq;
    uint32_t mark; /* the payload begins "##" and eight digits */
    uint32_t size; /* of the payload */
    uint32_t crc;  /* of subject, NUL, headers, payload; zlib's */
    uint32_t zero;
};

static bool damaged; /* some record failed its checksum */

static void on_damaged(void *arg, struct stream *s, uint64_t seq)
{
    (void)arg;
    const struct stream_spec *spec = store_stream_spec(s);
    (void)fprintf(stderr, "damaged: %.*s %llu\n", SLICE_FMT(spec->name), (unsigned long long)seq);
    damaged = true;
}

static void on_failed(void *arg, int err)
{
    (void)arg;
    (void)fprintf(stderr, "the store failed: %s\n", err_text(err));
    _exit(4);
}

static void on_news(void *arg)
{
    (void)arg;
}

static void on_pressure(void *arg, bool on)
{
    (void)arg;
    (void)on;
}

/* --- facts ----------------------------------------------------------------------------------- */

static int put_fact(void *arg, const struct record_out *r)
{
    struct fact f = {.seq = r->seq, .mark = UINT32_MAX, .size = (uint32_t)r->payload.n};
    struct slice parts[] = {r->subject, slice_of("", 1), r->hdr, r->payload};
    for (size_t i = 0; i < 4; i++)
        if (parts[i].n)
            f.crc = crc32_gzip_refl(f.crc, (const unsigned char *)parts[i].p, parts[i].n);
    if (r->payload.n >= 10 && memcmp(r->payload.p, "##", 2) == 0) {
        char digits[9];
        (void)snprintf(digits, sizeof digits, "%.8s", r->payload.p + 2);
        f.mark = (uint32_t)strtoul(digits, NULL, 10);
    }
    buf_add(arg, &f, sizeof f);
    return READ_ON;
}

static int load(void *arg, bool is_snapshot, struct slice bytes)
{
    (void)is_snapshot;
    if (bytes.n < PROGRESS_HEAD)
        return 0;
    int err = pending_decode(arg, 0, slice_skip(bytes, PROGRESS_HEAD));
    if (err) {
        (void)fprintf(stderr, "progress: %s\n", err_text(err));
        _exit(5);
    }
    return 0;
}

static void no_news(void *arg, struct buf *out)
{
    (void)arg;
    (void)out;
}

/* Positions of sources (jsapi/replicate.h) are cursors too, but no consumers. */
static struct cursor *next_consumer(struct stream *s, size_t *at)
{
    struct cursor *c;
    while ((c = store_cursor_next(s, at)) && slice_starts(store_cursor_spec(c)->name, SLICE(".")))
        ;
    return c;
}

static void put_cursor(struct cursor *c, FILE *to, bool attach)
{
    static const struct pending_rules rules = {.tracks = true, .ack_wait = NS_PER_S};
    struct pending p;
    const struct cursor_spec *spec = store_cursor_spec(c);
    pending_init(&p, &rules);
    struct cursor_source src = {NULL, no_news, no_news};
    if (attach && store_cursor_attach(c, &src, load, &p))
        _exit(6);
    (void)fprintf(to, "cursor %.*s %llu %llu %u %u %zu\n", SLICE_FMT(spec->name),
                  (unsigned long long)p.delivered.stream, (unsigned long long)p.floor.stream,
                  pending_count(&p), p.given_n, spec->config.n);
    (void)fwrite(spec->config.p, 1, spec->config.n, to);
    uint32_t at = 0;
    for (const struct pending_entry *e; (e = pending_next(&p, &at));)
        (void)fwrite(&e->sseq, 1, 8, to);
    (void)fwrite(p.given, 8, p.given_n, to);
    pending_release(&p);
}

static void put_stream(struct stream *s, FILE *to, bool attach)
{
    struct buf facts = BUF_INIT;
    struct stream_state state;
    struct cursor *c;
    uint64_t from = 0;
    size_t ncursors = 0;
    struct read_budget budget = {10000, 100000, 16 << 20};
    int rc;
    while ((rc = store_read(s, &from, NULL, &budget, put_fact, &facts)) == READ_BUDGET)
        ;
    if (rc != READ_END) {
        (void)fprintf(stderr, "reading: %s\n", err_text(rc));
        _exit(7);
    }
    store_state(s, &state);
    for (size_t at = 0; next_consumer(s, &at);)
        ncursors++;
    const struct stream_spec *spec = store_stream_spec(s);
    (void)fprintf(to, "stream %.*s %.*s %llu %llu %llu %llu %zu %zu %zu\n",
                  SLICE_FMT(spec->account), SLICE_FMT(spec->name), (unsigned long long)state.msgs,
                  (unsigned long long)state.first_seq, (unsigned long long)state.last_seq,
                  (unsigned long long)state.num_deleted, facts.len / sizeof(struct fact), ncursors,
                  spec->config.n);
    (void)fwrite(spec->config.p, 1, spec->config.n, to);
    (void)fwrite(buf_slice(&facts).p, 1, facts.len, to);
    buf_release(&facts);
    for (size_t at = 0; (c = next_consumer(s, &at));)
        put_cursor(c, to, attach);
}

static void put_facts(struct store *st, const char *path, bool attach)
{
    FILE *to = fopen(path, "w");
    if (!to)
        _exit(8);
    struct stream *s;
    for (size_t at = 0; (s = store_stream_next(st, &at));)
        put_stream(s, to, attach);
    if (fclose(to))
        _exit(8);
}

/* --- going on -------------------------------------------------------------------------------- */

enum { LONG_WINDOW_S = 3600 }; /* nobody needs so long from the recording to here */

struct known { /* the newest live message with an id */
    uint64_t seq;
    struct buf id;
};

static int note_id(void *arg, const struct record_out *r)
{
    struct known *k = arg;
    struct slice id;
    if (hdr_get(r->hdr, SLICE("Nats-Msg-Id"), &id)) {
        k->seq = r->seq;
        buf_clear(&k->id);
        buf_add_slice(&k->id, id);
    }
    return READ_ON;
}

struct repeat {
    struct known known;
    bool answered;
};

static void on_repeated(void *arg, const struct store_receipt *r)
{
    struct repeat *again = arg;
    again->answered = true;
    if (!r->err && r->duplicate && r->seq == again->known.seq)
        return;
    (void)fprintf(stderr, "an id is forgotten: of %llu; now %llu\n",
                  (unsigned long long)again->known.seq, (unsigned long long)r->seq);
    _exit(11);
}

static bool is_answered(void *arg)
{
    return ((struct repeat *)arg)->answered;
}

static void repeat_one_id(struct stream *s, struct fake_turn *ft)
{
    struct repeat again = {.known = {.id = BUF_INIT}};
    uint64_t from = 0;
    struct read_budget budget = {10000, 100000, 16 << 20};
    if (store_stream_spec(s)->duplicate_window_ns < LONG_WINDOW_S * NS_PER_S)
        return;
    while (store_read(s, &from, NULL, &budget, note_id, &again.known) == READ_BUDGET)
        ;
    struct record_in rec = {.subject = SLICE("one.more"), .msg_id = buf_slice(&again.known.id)};
    if (again.known.seq &&
        (store_append(s, &rec, on_repeated, &again) || !fake_turn_wait(ft, is_answered, &again)))
        _exit(10);
    buf_release(&again.known.id);
}

static void on_stored(void *arg, const struct store_receipt *r)
{
    if (r->err) {
        (void)fprintf(stderr, "one more: %s\n", err_text(r->err));
        _exit(9);
    }
    --*(size_t *)arg;
}

static bool all_stored(void *arg)
{
    return *(size_t *)arg == 0;
}

static void add_one_each(struct store *st, struct fake_turn *ft)
{
    struct stream *s;
    size_t waiting = 0;
    struct record_in rec = {.subject = SLICE("one.more"), .payload = SLICE("one more")};
    for (size_t at = 0; (s = store_stream_next(st, &at));)
        repeat_one_id(s, ft);
    for (size_t at = 0; (s = store_stream_next(st, &at));) {
        waiting++;
        if (store_append(s, &rec, on_stored, &waiting))
            _exit(9);
    }
    if (!fake_turn_wait(ft, all_stored, &waiting))
        _exit(10);
}

static struct store *open_it(const char *dir, struct fake_turn *ft)
{
    struct store_config cfg = {.dir = dir, .max_file_bytes = 1 << 26};
    struct store_host host = {.turn = &ft->turn,
                              .pressure = on_pressure,
                              .reopened = on_news,
                              .damaged = on_damaged,
                              .failed = on_failed};
    struct store *st;
    char *why = NULL;
    if (store_open(&cfg, &host, &st, &why)) {
        (void)fprintf(stderr, "refused %s\n", why);
        _exit(2);
    }
    fake_turn_run(ft);
    return st;
}

static void look(const char *dir, const char *path, bool go_on)
{
    struct fake_turn ft;
    if (!freopen(path, "w", stderr)) /* until there are facts: why there are none */
        _exit(8);
    (void)setvbuf(stderr, NULL, _IONBF, 0);
    char again[4200];
    (void)snprintf(again, sizeof again, "%s.again", path);
    fake_turn_init(&ft);
    (void)alarm(PATIENCE_S);
    struct store *st = open_it(dir, &ft);
    char facts[4200];
    (void)snprintf(facts, sizeof facts, "%s.facts", path);
    put_facts(st, facts, !go_on);
    if (!go_on)
        _exit(damaged ? DAMAGED : 0);
    add_one_each(st, &ft);
    store_close(st);
    st = open_it(dir, &ft);
    put_facts(st, again, true);
    _exit(damaged ? DAMAGED : 0);
}

int main(void)
{
    char line[9000], dir[4096], path[4096];
    int go_on;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%4095s %4095s %d", dir, path, &go_on) != 3)
            return 2;
        pid_t child = fork();
        if (child == 0)
            look(dir, path, go_on != 0);
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        if (WIFSIGNALED(status))
            (void)printf("signal %d\n", WTERMSIG(status));
        else
            (void)printf("exit %d\n", WEXITSTATUS(status));
        (void)fflush(stdout);
    }
    return 0;
}
