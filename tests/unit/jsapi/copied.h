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

enum { ORIGINS = 2, COPIES = 3, PUBS = 1024, ROWS = 24, MIRROR = 0 };

struct pub {
    unsigned o;
    int64_t born;       /* its stream was */
    uint64_t seq;       /* 0: not known */
    bool refused, lost; /* lost: taken out of its work queue, or its copy was deleted */
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
    struct row rows[ROWS];
    unsigned n_rows;
};
static struct {
    bool failing;
    bool queue[ORIGINS]; /* is a work queue */
    struct {
        int64_t born, copy;
    } used[ORIGINS];            /* the last copy that its durable served */
    bool late[COPIES][ORIGINS]; /* that copy asked, or may have asked, from 5 on */
    bool kept[ORIGINS]; /* a consumer that was to go may be there for ever: it was not told */
    struct pub pub[PUBS];
    unsigned n_pubs, inbox;
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

static void forget_copy(unsigned k)
{
    struct copy *c = &now.copy[k];
    for (unsigned i = 0; i < c->n_rows; i++)
        free(c->rows[i].name);
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < now.n_pubs; i++) /* what a queue gave it went with it */
        now.pub[i].lost = true;
}

struct came { /* the last of a row, while the copy is read */
    int64_t born;
    uint64_t seq;
};
struct look {
    unsigned k;
    struct copy *c;
    struct came came[ROWS];
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
    if (now.used[o].born == s->created && now.used[o].copy != c->created)
        r->from = store_last_assigned(s->store) + 1;
    now.used[o].born = s->created;
    now.used[o].copy = c->created;
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
    c->created = s->created;
    store_state(s->store, &st);
    if (st.msgs < c->msgs)
        WRONG("%s has %lu messages, and had %lu", copy_names[k], (unsigned long)st.msgs,
              (unsigned long)c->msgs);
    c->msgs = st.msgs;
    for (uint64_t q = st.first_seq; q && q <= st.last_seq; q++) {
        int err = store_get(s->store, q, look_at_message, &l);
        if (err && err != E_DELETED && err != E_NOTFOUND)
            WRONG("%s, %lu: %s", copy_names[k], (unsigned long)q, err_text(err));
    }
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
