/* random life of a stream, compared with a naive model: appends, removals, purges, limits,
 * roll-ups, restarts, kills
 *
 * The model keeps every message in an array and decides as the reference says. A kill is a copy of
 * the file while nothing is under way: no close has happened to it, so what is lazy is missing and
 * must be found again. A seed is printed when something differs: STORE_SEED=n runs it alone,
 * STORE_ROUNDS=n runs more of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/subject.h"
#include "storage/store.h"
#include "storage/stream.h"

enum { SUBJECTS = 12, SEQS = 6000 };

struct message {
    bool live;
    unsigned subject;
    uint32_t size;
    int64_t ts;
};

struct model {
    struct place p, *at;
    struct stream *s;
    struct stream_spec spec;
    struct message m[SEQS];
    uint64_t first, last, msgs, bytes;
    uint64_t rng;
    unsigned waits; /* answers not in yet */
    bool failing;   /* the next commit will, and all of them say so */
    unsigned failed;
    uint64_t seed;
    char payload[200000];
};

static uint64_t dice(struct model *m, uint64_t n)
{
    m->rng ^= m->rng << 13;
    m->rng ^= m->rng >> 7;
    m->rng ^= m->rng << 17;
    return m->rng % n;
}

static struct slice subject_name(unsigned i, char *room, size_t n)
{
    int len = i == 0 ? snprintf(room, n, "long.%0500d", 7)
                     : snprintf(room, n, i % 3 ? "a.%u" : "b.x.%u", i);
    return slice_of(room, (size_t)len);
}

static uint64_t account(const struct model *m, const struct message *x)
{
    char room[600];
    size_t n = subject_name(x->subject, room, sizeof room).n;
    return m->spec.memory ? n + x->size + 16 : 30 + n + x->size;
}

/* STORE_TRACE=1 tells what happens, to find what went wrong. */
#define TRACE(...)                                                                                 \
    do {                                                                                           \
        if (getenv("STORE_TRACE"))                                                                 \
            fprintf(stderr, __VA_ARGS__);                                                          \
    } while (0)

/* --- the model's rules ----------------------------------------------------------------------- */

static void settle(struct model *m)
{
    if (!m->msgs) {
        m->first = m->last + 1;
        return;
    }
    while (!m->m[m->first].live)
        m->first++;
}

static void drop(struct model *m, uint64_t seq)
{
    if (seq < m->first || seq > m->last || !m->m[seq].live)
        return;
    m->m[seq].live = false;
    m->msgs--;
    m->bytes -= account(m, &m->m[seq]);
    settle(m);
}

static uint64_t count_of(const struct model *m, unsigned subject)
{
    uint64_t n = 0;
    for (uint64_t i = m->first; i <= m->last; i++)
        n += m->m[i].live && m->m[i].subject == subject;
    return n;
}

static void drop_oldest_of(struct model *m, unsigned subject, uint64_t keep)
{
    uint64_t n = count_of(m, subject);
    for (uint64_t i = m->first; i <= m->last && n > keep; i++)
        if (m->m[i].live && m->m[i].subject == subject) {
            drop(m, i);
            n--;
        }
}

static void enforce(struct model *m)
{
    while (m->msgs && ((m->spec.max_msgs > 0 && m->msgs > (uint64_t)m->spec.max_msgs) ||
                       (m->spec.max_bytes > 0 && m->bytes > (uint64_t)m->spec.max_bytes)))
        drop(m, m->first);
}

static void add(struct model *m, unsigned subject, uint32_t size, unsigned flags)
{
    uint64_t seq = ++m->last;
    m->m[seq] = (struct message){!(flags & REC_SKIP), subject, size, clock_wall()};
    if (flags & REC_SKIP) {
        settle(m);
    } else {
        if (!m->msgs++)
            m->first = seq;
        m->bytes += account(m, &m->m[seq]);
    }
    if (m->spec.max_msgs_per_subject > 0 && !(flags & REC_SKIP))
        drop_oldest_of(m, subject, (uint64_t)m->spec.max_msgs_per_subject);
    enforce(m);
    if (flags & REC_ROLLUP_ALL)
        while (m->first < seq)
            drop(m, m->first);
    if (flags & REC_ROLLUP_SUBJECT)
        drop_oldest_of(m, subject, 1);
}

/* --- operations ------------------------------------------------------------------------------ */

static void on_model_append(void *arg, const struct store_receipt *r)
{
    struct model *m = arg;
    assert_int_equal(r->err != 0, m->failing);
    m->waits--;
}

static void on_model_done(void *arg, int err)
{
    struct model *m = arg;
    assert_int_equal(err != 0, m->failing);
    m->waits--;
}

static bool all_answered(void *arg)
{
    return ((struct model *)arg)->waits == 0;
}

static void wait_all(struct model *m)
{
    assert_true(fake_turn_wait(&m->at->ft, all_answered, m));
}

static uint32_t random_size(struct model *m)
{
    switch (dice(m, 40)) {
    case 0:
        return (uint32_t)dice(m, sizeof m->payload);
    case 1:
    case 2:
        return (uint32_t)dice(m, 32000);
    default:
        return (uint32_t)dice(m, 300);
    }
}

/* As a mirror does: numbers that its origin has not are passed over. */
static void jump(struct model *m, struct record_in *rec)
{
    uint64_t gap = dice(m, 4) ? dice(m, 4) : dice(m, 300);
    if (m->last + gap + 10 >= SEQS)
        return;
    rec->flags |= REC_EXACT;
    rec->seq = m->last + gap + 1;
    for (; gap; gap--)
        m->m[++m->last].live = false;
    settle(m);
}

static void append(struct model *m)
{
    char room[600];
    if (m->last + 2 >= SEQS)
        return;
    unsigned subject = (unsigned)dice(m, SUBJECTS);
    struct record_in rec = {.subject = subject_name(subject, room, sizeof room),
                            .payload = slice_of(m->payload, random_size(m))};
    if (dice(m, 100) == 0)
        rec.flags = REC_ROLLUP_ALL;
    else if (dice(m, 40) == 0)
        rec.flags = REC_ROLLUP_SUBJECT;
    else if (dice(m, 40) == 0)
        rec.flags = REC_SKIP;
    if (dice(m, 20) == 0)
        jump(m, &rec);
    TRACE("append %llu subject %u flags %u size %zu\n", (unsigned long long)m->last + 1, subject,
          rec.flags, rec.payload.n);
    m->waits++;
    add(m, subject, (uint32_t)rec.payload.n, rec.flags);
    assert_int_equal(store_append(m->s, &rec, on_model_append, m), 0);
}

static void remove_some(struct model *m)
{
    uint64_t seqs[20];
    size_t n = dice(m, 20) + 1;
    for (size_t i = 0; i < n; i++) {
        seqs[i] = m->first + dice(m, m->last - m->first + 3);
        TRACE("remove %llu\n", (unsigned long long)seqs[i]);
        drop(m, seqs[i]);
    }
    m->waits++;
    bool erase = dice(m, 4) == 0;
    TRACE("erase %d\n", erase);
    assert_int_equal(store_remove(m->s, seqs, n, erase, on_model_done, m), 0);
}

static void purge(struct model *m)
{
    char room[600];
    struct purge_spec spec = {0};
    unsigned subject = SUBJECTS;
    if (dice(m, 3)) {
        subject = (unsigned)dice(m, SUBJECTS);
        spec.filter = subject_name(subject, room, sizeof room);
    }
    if (dice(m, 2))
        spec.below = m->first + dice(m, m->last - m->first + 5);
    else if (dice(m, 2))
        spec.keep = dice(m, 5);
    TRACE("purge subject %u below %llu keep %llu\n", subject, (unsigned long long)spec.below,
          (unsigned long long)spec.keep);
    wait_all(m);
    uint64_t before = m->msgs, matching = 0, last = m->last;
    for (uint64_t i = m->first; i <= last; i++)
        matching += m->m[i].live && (subject == SUBJECTS || m->m[i].subject == subject);
    for (uint64_t i = m->first; i <= last && matching > spec.keep; i++)
        if (m->m[i].live && (!spec.below || i < spec.below) &&
            (subject == SUBJECTS || m->m[i].subject == subject)) {
            drop(m, i);
            matching--;
        }
    struct answer a = {0};
    assert_int_equal(store_purge(m->s, &spec, on_purged, &a), 0);
    wait_answer(m->at, &a);
    assert_int_equal(a.err, 0);
    assert_int_equal(a.n, before - m->msgs);
}

static void skip_to(struct model *m)
{
    uint64_t next = m->last + 1 + dice(m, 50);
    if (next + 10 >= SEQS)
        return;
    TRACE("skip to %llu\n", (unsigned long long)next);
    m->msgs = m->bytes = 0;
    for (uint64_t i = m->first; i < next; i++)
        m->m[i].live = false;
    m->last = next - 1;
    m->first = next;
    m->waits++;
    assert_int_equal(store_skip_to(m->s, next, on_model_done, m), 0);
}

/* --- comparing ------------------------------------------------------------------------------- */

struct check {
    struct model *m;
    struct slice pattern; /* empty: all */
    uint64_t next;        /* the model's next match */
};

static bool wanted(struct model *m, uint64_t seq, struct slice pattern)
{
    char room[600];
    return m->m[seq].live &&
           (!pattern.n ||
            subject_match(subject_name(m->m[seq].subject, room, sizeof room), pattern));
}

static int on_check(void *arg, const struct record_out *r)
{
    struct check *c = arg;
    struct model *m = c->m;
    char room[600];
    while (c->next <= m->last && !wanted(m, c->next, c->pattern))
        c->next++;
    TRACE("seen %llu %.*s, wanted %llu\n", (unsigned long long)r->seq, SLICE_FMT(r->subject),
          (unsigned long long)c->next);
    assert_int_equal(r->seq, c->next);
    assert_true(slice_eq(r->subject, subject_name(m->m[r->seq].subject, room, sizeof room)));
    assert_int_equal(r->payload.n, m->m[r->seq].size);
    assert_memory_equal(r->payload.p ? r->payload.p : "", m->payload, r->payload.n);
    c->next++;
    return READ_ON;
}

static void check_reads(struct model *m, struct slice pattern)
{
    struct check c = {m, pattern, m->first};
    struct store_filter f = {&c.pattern, pattern.n ? 1 : 0};
    struct read_budget b = {1 + (uint32_t)dice(m, 50), 1 + (uint32_t)dice(m, 200),
                            1 + dice(m, 100000)};
    uint64_t from = 0;
    int said;
    while ((said = store_read(m->s, &from, &f, &b, on_check, &c)) == READ_BUDGET)
        ;
    assert_int_equal(said, READ_END);
    while (c.next <= m->last && !wanted(m, c.next, pattern))
        c.next++;
    assert_int_equal(c.next, m->last + 1);
}

static void check_state(struct model *m)
{
    struct stream_state st = state_of(m->s);
    uint64_t subjects = 0;
    for (unsigned i = 0; i < SUBJECTS; i++)
        subjects += count_of(m, i) > 0;
    assert_int_equal(st.msgs, m->msgs);
    assert_int_equal(st.bytes, m->bytes);
    assert_int_equal(st.last_seq, m->last);
    assert_int_equal(st.first_seq, m->last ? m->first : 0);
    assert_int_equal(st.num_subjects, subjects);
    assert_int_equal(st.first_ts, m->msgs ? m->m[m->first].ts : 0);
}

static void check_places(struct model *m)
{
    for (int i = 0; i < 5; i++) {
        uint64_t seq = m->first + dice(m, m->last - m->first + 2), n = 0;
        for (uint64_t k = seq; k <= m->last; k++)
            n += m->m[k].live;
        assert_int_equal(store_count_from(m->s, seq), n);
        struct check c = {m, {0}, seq};
        bool live = seq <= m->last && m->m[seq].live;
        int err = store_get(m->s, seq, on_check, &c);
        assert_int_equal(err, live ? 0 : seq > m->last ? E_NOTFOUND : E_DELETED);
    }
}

static void check_lasts(struct model *m)
{
    char room[600];
    for (unsigned i = 0; i < SUBJECTS; i++) {
        uint64_t last = 0, up_to = dice(m, 2) ? 0 : m->first + dice(m, m->last - m->first + 2);
        for (uint64_t k = m->first; k <= m->last; k++)
            if (m->m[k].live && m->m[k].subject == i && (!up_to || k <= up_to))
                last = k;
        struct slice name = subject_name(i, room, sizeof room);
        struct store_filter f = {&name, 1};
        assert_int_equal(last_of(m->s, &f, up_to), last);
    }
}

struct counts {
    struct model *m;
    unsigned calls;
    uint64_t holes; /* numbers below were told or live */
};

static void on_subjects(void *arg, int err, const struct subject_count *x, size_t n, uint64_t total,
                        bool more)
{
    struct counts *c = arg;
    char room[600];
    uint64_t subjects = 0;
    assert_int_equal(err, 0);
    assert_false(more); /* that few come at once */
    for (unsigned i = 0; i < SUBJECTS; i++) {
        uint64_t count = count_of(c->m, i), said = 0;
        struct slice name = subject_name(i, room, sizeof room);
        for (size_t k = 0; k < n; k++)
            if (slice_eq(x[k].subject, name))
                said += x[k].msgs;
        if (said != count)
            fprintf(stderr, "subject %u: %llu, not %llu\n", i, (unsigned long long)said,
                    (unsigned long long)count);
        assert_int_equal(said, count);
        subjects += count > 0;
    }
    for (size_t k = 1; k < n; k++)
        assert_true(slice_cmp(x[k - 1].subject, x[k].subject) < 0);
    assert_int_equal(n, subjects);
    assert_int_equal(total, subjects);
    c->calls++;
}

static bool counted(void *arg)
{
    return ((struct counts *)arg)->calls > 0;
}

static void on_lasts(void *arg, int err, const uint64_t *seqs, size_t n, uint64_t as_of)
{
    struct counts *c = arg;
    size_t k = 0;
    assert_int_equal(err, 0);
    assert_int_equal(as_of, c->m->last);
    for (uint64_t i = c->m->first; i <= c->m->last; i++) {
        bool last = c->m->m[i].live;
        for (uint64_t j = i + 1; j <= c->m->last && last; j++)
            last = !(c->m->m[j].live && c->m->m[j].subject == c->m->m[i].subject);
        if (last) {
            assert_true(k < n);
            assert_int_equal(seqs[k++], i);
        }
    }
    assert_int_equal(k, n);
    c->calls++;
}

static void on_holes(void *arg, int err, const uint64_t *seqs, size_t n, bool more)
{
    struct counts *c = arg;
    assert_int_equal(err, 0);
    assert_true(n > 0 || !more);
    for (size_t k = 0; k < n; k++, c->holes++) {
        while (c->holes <= c->m->last && c->m->m[c->holes].live)
            c->holes++;
        assert_int_equal(seqs[k], c->holes);
    }
    if (more)
        return;
    while (c->holes <= c->m->last && c->m->m[c->holes].live)
        c->holes++;
    assert_int_equal(c->holes, c->m->last + 1);
    c->calls++;
}

static void check_looks(struct model *m)
{
    struct counts c = {.m = m};
    assert_int_equal(store_subjects(m->s, SLICE(""), 0, 1000, on_subjects, &c, NULL), 0);
    assert_true(fake_turn_wait(&m->at->ft, counted, &c));
    c.calls = 0;
    assert_int_equal(store_last_seqs(m->s, NULL, 0, 0, on_lasts, &c, NULL), 0);
    assert_true(fake_turn_wait(&m->at->ft, counted, &c));
    c.calls = 0;
    c.holes = m->first;
    assert_int_equal(store_deleted(m->s, SEQS, on_holes, &c, NULL), 0);
    assert_true(fake_turn_wait(&m->at->ft, counted, &c));
    struct slice pattern = SLICE("a.*");
    struct store_filter f = {&pattern, 1};
    uint64_t from = m->first + dice(m, m->last - m->first + 2), n = 0;
    for (uint64_t i = from; i <= m->last; i++)
        n += wanted(m, i, pattern);
    struct answer a = {0};
    assert_int_equal(store_count(m->s, &f, from, false, on_count, &a, NULL), 0);
    wait_answer(m->at, &a);
    assert_int_equal(a.n, n);
}

static void check_all(struct model *m)
{
    TRACE("check\n");
    wait_all(m);
    check_state(m);
    check_reads(m, (struct slice){0});
    check_reads(m, SLICE("a.*"));
    check_reads(m, SLICE("b.>"));
    check_reads(m, SLICE("a.1"));
    check_places(m);
    check_lasts(m);
    check_looks(m);
    assert_int_equal(m->at->damaged, 0);
    assert_int_equal(m->at->reopened, m->failed);
}

/* --- lives ----------------------------------------------------------------------------------- */

static void be_eager(struct model *m)
{
    m->at->st->lazy_at = (struct laziness){.journal_max = 1000 + dice(m, 100000),
                                           .flush_dirty = 1 + dice(m, 20),
                                           .flush_lag = 1 + dice(m, 500),
                                           .clean_max = dice(m, 8),
                                           .rows_bytes = 200 + dice(m, 3000),
                                           .compact_bytes = 1 + dice(m, 20000)};
}

static void found_again(struct model *m)
{
    be_eager(m);
    if (!m->spec.memory) {
        m->s = find_stream(m->at, "S");
        assert_non_null(m->s);
    }
}

static void restart(struct model *m)
{
    TRACE("restart\n");
    wait_all(m);
    place_close(m->at);
    place_open(m->at);
    found_again(m);
}

/* What a SIGKILL leaves: the file as it is, nothing written on the way out. */
static void kill_it(struct model *m)
{
    TRACE("kill first %llu last %llu\n", (unsigned long long)m->first, (unsigned long long)m->last);
    wait_all(m);
    place_kill(m->at);
    found_again(m);
}

#ifdef FROND_FAULTS
/* A commit fails: what was asked since the last answer never was, and its numbers come again. */
static void lose_commit(struct model *m)
{
    static struct message was[SEQS];
    if (m->last + 2 >= SEQS)
        return;
    wait_all(m);
    uint64_t first = m->first, last = m->last, msgs = m->msgs, bytes = m->bytes;
    memcpy(was, m->m, sizeof was);
    fault_set("commit:1");
    m->failing = true;
    TRACE("failing\n");
    append(m);
    for (uint64_t n = dice(m, 30); n; n--)
        dice(m, 5) || !m->last ? append(m) : remove_some(m);
    m->failed += m->waits > 0;
    wait_all(m);
    m->failing = false;
    memcpy(m->m, was, sizeof was);
    m->first = first;
    m->last = last;
    m->msgs = msgs;
    m->bytes = bytes;
    fault_set(NULL);
    TRACE("failed\n");
}
#else
static void lose_commit(struct model *m)
{
    (void)m;
}
#endif

static void choose_limits(struct model *m)
{
    m->spec = spec_of("S");
    m->spec.memory = dice(m, 5) == 0;
    if (dice(m, 3) == 0)
        m->spec.max_msgs = 5 + (int64_t)dice(m, 300);
    if (dice(m, 4) == 0)
        m->spec.max_bytes = 20000 + (int64_t)dice(m, 1000000);
    if (dice(m, 3) == 0)
        m->spec.max_msgs_per_subject = 1 + (int64_t)dice(m, 6);
    if (dice(m, 4) == 0)
        m->spec.first_seq = 1 + dice(m, 1000);
    m->first = m->spec.first_seq ? m->spec.first_seq : 1;
    m->last = m->first - 1;
}

/* What is decided already must agree as well, not only what is seen. STORE_SPY=1 asks after each
 * step. */
static void check_now(struct model *m)
{
    char room[600];
    if (m->s->index.behind)
        return;
    stream_trim(m->s);
    for (unsigned i = 0; i < SUBJECTS; i++) {
        struct subject *e = index_get(m->s, subject_name(i, room, sizeof room), false);
        if ((e ? e->count : 0) != count_of(m, i))
            fprintf(stderr, "subject %u\n", i);
        assert_int_equal(e ? e->count : 0, count_of(m, i));
    }
    assert_int_equal(m->s->now.msgs, m->msgs);
}

static void one_step(struct model *m)
{
    if (dice(m, 16) == 0 || getenv("STORE_SPY"))
        check_now(m);
    uint64_t what = dice(m, 400);
    if (what < 300)
        append(m);
    else if (what < 350 && m->last)
        remove_some(m);
    else if (what < 370)
        fake_turn_once(&m->at->ft);
    else if (what < 380)
        fake_turn_advance(&m->at->ft, (int64_t)dice(m, 3 * NS_PER_S));
    else if (what < 384 && m->last)
        purge(m);
    else if (what == 384)
        skip_to(m);
    else if (what < 388 && !m->spec.memory)
        restart(m);
    else if (what < 394 && !m->spec.memory)
        kill_it(m), dice(m, 2) ? check_all(m) : (void)0;
    else if (what < 396 && !m->spec.memory)
        lose_commit(m);
    else if (what < 400 && m->last)
        check_all(m);
}

static void live(uint64_t seed)
{
    struct model *m = xcalloc(1, sizeof *m);
    m->seed = seed;
    m->rng = seed * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < 5; i++)
        dice(m, 2);
    for (size_t i = 0; i < sizeof m->payload; i++)
        m->payload[i] = (char)dice(m, 256);
    m->at = &m->p;
    place_init(m->at);
    place_open(m->at);
    choose_limits(m);
    be_eager(m);
    m->s = make(m->at, &m->spec);
    for (int i = 0; i < 2500; i++)
        one_step(m);
    check_all(m);
    if (!m->spec.memory) {
        kill_it(m);
        check_all(m);
        restart(m);
        check_all(m);
    }
    place_remove(m->at);
    free(m);
}

static void the_store_lives_as_the_model_says(void **state)
{
    (void)state;
    const char *one = getenv("STORE_SEED"), *rounds = getenv("STORE_ROUNDS");
    uint64_t seed = one ? strtoull(one, NULL, 10) : 1;
    uint64_t n = one ? 1 : rounds ? strtoull(rounds, NULL, 10) : 5;
    for (uint64_t i = 0; i < n; i++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)(seed + i));
        live(seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_store_lives_as_the_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
