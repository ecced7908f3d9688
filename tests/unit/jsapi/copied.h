/* tests/unit/jsapi/copied.h -- what was published and what copies were seen to have
 *
 * For test_copies.c: a message is known by the number its payload begins with. look_at() reads a
 * copy and checks what must hold of it at any time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_COPIED_H
#define TEST_COPIED_H

#include "jsapi/consumer.h"
#include "jsapi/life.h"
#include "jsapi/puller.h"
#include "two_places.h"
#include "dice.h"

enum { ORIGINS = 2, COPIES = 3, PUBS = 1024, ROWS = 24, MIRROR = 0, READER = 1 };
enum { OWN = ORIGINS, TARGETS }; /* a mirror that was promoted is published to, too */

struct pub {
    unsigned o;         /* an origin, or OWN */
    int64_t born;       /* its stream was */
    uint64_t seq;       /* 0: not known */
    bool refused, lost; /* lost: taken out of its work queue, or its copy was deleted */
    unsigned held_for;  /* copies (a bit each) that its origin, for interest, keeps it for */
    char subject[16];
};
struct row {            /* a source of a copy, or the mirror's only one */
    char *name;         /* as in the copies' header */
    uint64_t from;      /* asked for from here on */
    uint64_t got[PUBS]; /* the copy's numbers */
};
struct copy {
    int64_t created; /* 0: there is none */
    uint64_t msgs;   /* as many it had, and nobody took one out */
    uint64_t floor;  /* of a mirror: it never has what lies before */
    unsigned life;   /* another one after each look that found it gone or empty */
    bool promoted;   /* it was a mirror, and is one no more */
    struct row rows[ROWS];
    unsigned n_rows;
};
static struct {
    bool failing;
    bool queue[TARGETS];    /* is a work queue */
    bool interest[ORIGINS]; /* keeps what somebody wants */
    bool taking[TARGETS];   /* somebody is to take out of it, and has no answer yet */
    bool memory[COPIES];    /* lives in memory */
    struct {
        int64_t born;
        unsigned life;
    } used[ORIGINS];            /* the last copy that its durable served */
    bool late[COPIES][ORIGINS]; /* that copy asked, or may have asked, from 5 on */
    bool kept[ORIGINS]; /* a consumer that was to go may be there for ever: it was not told */
    struct pub pub[PUBS];
    unsigned n_pubs, inbox, lives;
    struct copy copy[COPIES];
} now;

static const char *const copy_names[] = {"M", "K1", "K2"};

static struct js_stream *stream_at(int place, const char *name)
{
    struct js_stream *s = js_stream_find(world->at[place].acc, slice_cstr(name));
    return s && s->store ? s : NULL;
}

static struct js_stream *origin(unsigned o)
{
    if (o == OWN)
        return now.copy[MIRROR].promoted ? stream_at(SITE, "M") : NULL;
    return stream_at(o == 0 ? HUB : SITE, o == 0 ? "O0" : "O1");
}

/* --- what is in a copy ----------------------------------------------------------------------- */

static struct row *row_of(struct copy *c, struct slice name)
{
    for (unsigned i = 0; i < c->n_rows; i++)
        if (slice_is(name, c->rows[i].name))
            return &c->rows[i];
    assert_true(c->n_rows < ROWS);
    struct row *r = &c->rows[c->n_rows++];
    memset(r, 0, sizeof *r);
    r->name = slice_dup(name);
    return r;
}

/* What a queue gave it went with it, and what was published to it. */
static void forget_copy(unsigned k)
{
    struct copy *c = &now.copy[k];
    for (unsigned i = 0; i < c->n_rows; i++)
        free(c->rows[i].name);
    memset(c, 0, sizeof *c);
    c->life = ++now.lives;
    for (unsigned i = 0; i < now.n_pubs; i++) {
        struct pub *p = &now.pub[i];
        p->lost |= p->o == OWN ? k == MIRROR : now.queue[p->o] && k == READER;
        p->held_for &= ~(1u << k);
    }
}

struct came { /* the last of a row, while the copy is read */
    int64_t born;
    uint64_t seq;
};
struct look {
    unsigned k;
    struct copy *c;
    bool rolls_up;       /* what is rolled up at the origin is here, too */
    unsigned n_subjects; /* of the messages so far */
    struct came came[ROWS];
    char subjects[12][16];
};
struct from { /* a Nats-Stream-Source header */
    struct slice head, filter, dest, subject, identity;
    uint64_t seq;
    char name[400];
};

static void read_from(struct slice value, struct from *f)
{
    struct slice tok[6] = {{0}};
    for (size_t n = 0; n < 6 && value.n; n++) {
        size_t end = slice_find(value, ' ');
        tok[n] = slice_head(value, end);
        value = end < value.n ? slice_skip(value, end + 1) : (struct slice){0};
    }
    *f = (struct from){tok[0], tok[2], tok[3], tok[4], tok[5], 0, ""};
    if (slice_u64(tok[1], &f->seq))
        fail_msg("no number in a source header");
    snprintf(f->name, sizeof f->name, "%.*s %.*s %.*s", SLICE_FMT(f->head), SLICE_FMT(f->filter),
             SLICE_FMT(f->dest));
}

/* The first letter that the transform gives the subject; 0: the filter is not for it. */
static char letter_for(const struct from *f, struct slice subject)
{
    struct slice filter = f->filter, dest = f->dest;
    for (;;) {
        size_t a = slice_find(filter, '\f'), b = slice_find(dest, '\f');
        if (subject_match(subject, slice_head(filter, a)))
            return *dest.p == '>' ? *subject.p : *dest.p;
        if (a == filter.n || b == dest.n)
            return 0;
        filter = slice_skip(filter, a + 1);
        dest = slice_skip(dest, b + 1);
    }
}

static unsigned number_of(struct slice payload)
{
    unsigned n = (unsigned)strtoul(payload.p, NULL, 10);
    assert_true(n < now.n_pubs);
    return n;
}

static void look_at_sourced(struct look *l, const struct record_out *r)
{
    struct slice value;
    struct from f;
    unsigned n = number_of(r->payload);
    const char *k = copy_names[l->k];
    struct pub *p = &now.pub[n];
    if (!hdr_get(r->hdr, SLICE("Nats-Stream-Source"), &value))
        WRONG("%s: %lu has no origin", k, (unsigned long)r->seq);
    read_from(value, &f);
    struct row *row = row_of(l->c, slice_cstr(f.name));
    struct came *last = &l->came[row - l->c->rows];
    if (p->seq && p->seq != f.seq)
        WRONG("%s: %u says it was %lu, and was %lu", k, n, (unsigned long)f.seq,
              (unsigned long)p->seq);
    if (!slice_is(f.subject, p->subject) || r->subject.p[0] != letter_for(&f, f.subject) ||
        !slice_eq(slice_skip(r->subject, 1), slice_skip(f.subject, 1)))
        WRONG("%s: %u has subject %.*s", k, n, SLICE_FMT(r->subject));
    if (row->got[n] && row->got[n] != r->seq)
        WRONG("%s: %u of '%s' is %lu and was %lu", k, n, f.name, (unsigned long)r->seq,
              (unsigned long)row->got[n]);
    if (p->born < last->born || (p->born == last->born && f.seq <= last->seq))
        WRONG("%s: %u of '%s' is behind %lu", k, n, f.name, (unsigned long)last->seq);
    *last = (struct came){p->born, f.seq};
    row->got[n] = r->seq;
}

static int same_as(void *arg, const struct record_out *r)
{
    const struct record_out *m = arg;
    if (slice_eq(r->payload, m->payload) &&
        (!slice_eq(r->hdr, m->hdr) || !slice_eq(r->subject, m->subject) || r->ts != m->ts))
        WRONG("M: %lu differs from its origin", (unsigned long)m->seq);
    return READ_ON;
}

/* Nothing is left that it replaces. */
static void look_at_rollup(struct look *l, const struct record_out *r)
{
    struct slice what = {0};
    bool another = true;
    hdr_get(r->hdr, SLICE("Nats-Rollup"), &what);
    if (slice_is(what, "all") && l->n_subjects)
        WRONG("M: %lu replaces all, and there are some", (unsigned long)r->seq);
    for (unsigned i = 0; i < l->n_subjects; i++)
        another &= !slice_is(r->subject, l->subjects[i]);
    if (slice_is(what, "sub") && !another)
        WRONG("M: %lu replaces its subject's, and there are some", (unsigned long)r->seq);
    if (another)
        snprintf(l->subjects[l->n_subjects++], 16, "%.*s", SLICE_FMT(r->subject));
    assert_true(l->n_subjects < ARRAY_LEN(l->subjects));
}

static void look_at_mirrored(struct look *l, const struct record_out *r)
{
    unsigned n = number_of(r->payload);
    struct pub *p = &now.pub[n];
    struct row *row = row_of(l->c, SLICE("mirror"));
    struct record_out copy = *r;
    if (p->seq && p->seq != r->seq)
        WRONG("M: %u is %lu, and was %lu", n, (unsigned long)r->seq, (unsigned long)p->seq);
    if (!slice_is(r->subject, p->subject))
        WRONG("M: %u has subject %.*s", n, SLICE_FMT(r->subject));
    if (l->c->promoted && p->o != OWN && !row->got[n])
        WRONG("M: %u came though it is no mirror any more", n);
    if (l->rolls_up)
        look_at_rollup(l, r);
    struct js_stream *o = origin(p->o);
    if (o && store_get(o->store, r->seq, same_as, &copy)) {
        /* it has left */
    }
    row->got[n] = r->seq;
}

static int look_at_message(void *arg, const struct record_out *r)
{
    struct look *l = arg;
    unsigned n = number_of(r->payload);
    if (now.pub[n].refused)
        WRONG("%s has %u, which failed", copy_names[l->k], n);
    if (l->k == MIRROR)
        look_at_mirrored(l, r);
    else
        look_at_sourced(l, r);
    return READ_ON;
}

/* A durable goes on where it was acknowledged, whoever comes. */
static void look_at_durable(const struct copy *c, struct row *r, unsigned o)
{
    const struct js_stream *s = origin(o);
    if (!s)
        return;
    if (now.used[o].born == s->created && now.used[o].life != c->life)
        r->from = store_last_assigned(s->store) + 1;
    now.used[o].born = s->created;
    now.used[o].life = c->life;
}

/* What was published to it and answered is there. */
static void look_at_own(const struct copy *c, struct js_stream *s)
{
    for (unsigned n = 0; n < now.n_pubs; n++) {
        const struct pub *p = &now.pub[n];
        if (p->o == OWN && p->born == c->created && p->seq && !p->lost &&
            !store_has(s->store, p->seq))
            WRONG("M: %u (%lu), which was published to it, is gone", n, (unsigned long)p->seq);
    }
}

/* The copies that wait for it over a consumer of its origin. */
static unsigned who_waits(const struct js_stream *o, const struct pub *p)
{
    unsigned who = 0;
    for (size_t i = 0; i < o->consumers->n; i++) {
        const struct js_consumer *c = o->consumers->at[i];
        struct slice name = cfg_map_get(&c->cfg->metadata, SLICE("_nats.src.stream"));
        if (!name.n)
            name = cfg_map_get(&c->cfg->metadata, SLICE("_nats.mirror.stream"));
        for (unsigned k = 0; k < COPIES; k++)
            if (slice_is(name, copy_names[k]) && c->pend.floor.stream < p->seq &&
                consumer_wants(c, slice_cstr(p->subject)))
                who |= 1u << k;
    }
    return who;
}

/* A message that nobody waits for any more was copied. */
static void look_at_interest(void)
{
    for (unsigned n = 0; n < now.n_pubs; n++) {
        struct pub *p = &now.pub[n];
        struct js_stream *o = origin(p->o);
        if (p->o == OWN || !now.interest[p->o] || now.kept[p->o] || p->lost || !p->seq || !o ||
            o->created != p->born)
            continue;
        bool there = store_has(o->store, p->seq);
        if (there)
            p->held_for |= who_waits(o, p);
        for (unsigned k = 0; k < COPIES && !there; k++) {
            const struct copy *c = &now.copy[k];
            bool copied = !(p->held_for & 1u << k);
            for (unsigned i = 0; i < c->n_rows; i++)
                copied |= c->rows[i].got[n] != 0;
            if (!copied)
                WRONG("%u (%lu of O%u) has left, and %s waited for it", n, (unsigned long)p->seq,
                      p->o, copy_names[k]);
        }
    }
}

static void look_at(unsigned k)
{
    struct js_stream *s = stream_at(SITE, copy_names[k]);
    struct copy *c = &now.copy[k];
    struct look l = {.k = k, .c = c};
    struct stream_state st;
    if (c->created && (!s || s->created != c->created))
        forget_copy(k);
    if (!s)
        return;
    if (c->promoted && s->cfg.mirror)
        WRONG("M is a mirror again");
    c->created = s->created;
    l.rolls_up = s->cfg.allow_rollup_hdrs;
    store_state(s->store, &st);
    if (st.msgs < c->msgs && !l.rolls_up)
        WRONG("%s has %lu messages, and had %lu", copy_names[k], (unsigned long)st.msgs,
              (unsigned long)c->msgs);
    c->msgs = st.msgs;
    for (uint64_t q = st.first_seq; q && q <= st.last_seq; q++) {
        int err = store_get(s->store, q, look_at_message, &l);
        if (err && err != E_DELETED && err != E_NOTFOUND)
            WRONG("%s, %lu: %s", copy_names[k], (unsigned long)q, err_text(err));
    }
    c->promoted = k == MIRROR && !s->cfg.mirror;
    if (c->promoted)
        look_at_own(c, s);
    for (size_t i = 0; i < s->cfg.sources.n; i++) {
        const struct source_config *src = stream_source(&s->cfg, i);
        struct buf name = BUF_INIT, tail = BUF_INIT;
        puller_write_names(src, &name, &tail);
        buf_add_slice(&name, buf_slice(&tail));
        struct row *r = row_of(c, buf_slice(&name));
        if (src->consumer)
            look_at_durable(c, r, src->name.p[1] - '0');
        if (src->opt_start_seq > r->from)
            r->from = src->opt_start_seq;
        buf_release(&name);
        buf_release(&tail);
    }
}

#endif
