/* tests/unit/jsapi/test_copies.c -- a copy has each message of its origin once and in order,
 * whatever went before
 *
 * Histories made by dice (dice.h) between two places (two_places.h). O0 is a stream at the hub, O1
 * one at the site; each may be a work queue, or keep what somebody wants. The site mirrors one of
 * them (M) and sources both (K1, K2): whole, filtered, with transforms, from a number on, over a
 * durable of the origin, with ids. Origins are filled, rolled up, emptied, deleted and made again;
 * sources are put in, taken out and put back; copies are emptied, deleted and made again, and some
 * live in memory and are empty after a restart; the mirror is promoted to a stream of its own; the
 * link is cut or slow; either place ends cleanly, is killed (also while a commit is on its way), or
 * a commit fails.
 *
 * What holds after each step
 *   (1) Each message of a copy is one that its origin had, unchanged, and its publisher was not
 *       told that it failed.
 *   (2) A source gives a copy no message twice, in all its life: not after restarts, failed commits
 *       or a purge of the copy, and not when it was taken out and put back.
 *   (3) What a source gives comes in the origin's order. When the origin was made again, all of the
 *       new one comes behind all of the old one.
 *   (4) What a copy has it keeps, if nobody takes it out.
 *   (5) A mirror's message has its origin's number, time, subject and headers. Where it permits
 *       roll-ups, nothing is left that one of them replaces.
 *   (6) A mirror that was promoted stays it and gets nothing more; what was published to it and
 *       answered is there.
 *   (7) A message that its origin kept for interest was copied to all copies whose consumers waited
 *       for it, when it leaves.
 *
 * and once there was time and a link
 *   (8) Each message that is in the origin and that a source (or the mirror) is for was copied, if
 *       its number is not before what was asked for. A mirror doesn't go back: of an origin that
 *       was made again, it has what lies behind all it had, or was purged to. Of a work queue only
 *       while all consumers that were to go could be told.
 *   (9) A message of a work queue whose publisher has his answer is there or was copied.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "copied.h"

#include "base/fault.h"

/* --- answers --------------------------------------------------------------------------------- */

static void gather(void)
{
    for (int i = 0; i < PLACES; i++) {
        struct place *p = &world->at[i];
        for (struct jshost_msg *m; (m = jshost_take(&p->h, "_INBOX.pub.*"));) {
            unsigned n = (unsigned)strtoul(m->route.p + strlen("_INBOX.pub."), NULL, 10);
            assert_true(n < now.n_pubs);
            if (strstr(m->text, "\"error\""))
                now.pub[n].refused = true;
            else
                now.pub[n].seq = number_in(m->text, "\"seq\":");
            jshost_msg_free(m);
        }
        jshost_forget(&p->h);
    }
}

static void observe(void)
{
    settle();
    if (world->holds)
        return;
    gather();
    memset(now.taking, 0, sizeof now.taking);
    for (unsigned k = 0; k < COPIES; k++)
        look_at(k);
    look_at_interest();
}

static bool ask_for(int place, const char *subject, const char *body)
{
    char inbox[48], *text = NULL;
    struct jshost *h = &world->at[place].h;
    snprintf(inbox, sizeof inbox, "_INBOX.q.%u", now.inbox++);
    TELL("%s %s", subject, body);
    jshost_send(h, ACC, subject, inbox, NULL, body);
    settle();
    struct jshost_msg *m = jshost_take(h, inbox);
    if (m)
        text = xstrdup(m->text);
    jshost_msg_free(m);
    bool good = text && !strstr(text, "\"error\"");
    if (!good)
        TELL("    %s", text ? text : "(no answer)");
    free(text);
    observe();
    return good;
}

/* --- have they all come? --------------------------------------------------------------------- */

struct missing {
    unsigned k;
    struct copy *c;
    struct row *r;
    const struct source_config *src;
    struct from f;
    unsigned n;
    bool any;
};

static int is_copied(void *arg, const struct record_out *r)
{
    struct missing *m = arg;
    unsigned n = number_of(r->payload);
    bool wanted = letter_for(&m->f, r->subject) && r->seq >= m->r->from &&
                  (m->k != MIRROR || r->seq > m->c->floor);
    for (unsigned i = 0; i < m->c->n_rows && tale.seed % 3 == 0; i++)
        wanted &= !m->c->rows[i].got[n]; /* by its id, what another source brought is a duplicate */
    if (now.late[m->k][m->src->name.p[1] - '0'])
        wanted &= r->seq >= 5;
    if (m->src->consumer)
        wanted &= slice_ends(r->subject, SLICE(".b"));
    if (wanted && !m->r->got[n]) {
        m->any = true;
        m->n = n;
    }
    return READ_ON;
}

static bool is_complete(struct missing *m)
{
    struct js_stream *o = origin(slice_is(m->src->name, "O0") ? 0 : 1);
    struct stream_state st;
    if (o && m->src->consumer && !consumers_find(o->consumers, SLICE("D")))
        return true;
    if (!o || now.kept[m->src->name.p[1] - '0'])
        return true;
    store_state(o->store, &st);
    for (uint64_t q = st.first_seq; q && q <= st.last_seq && !m->any; q++)
        if (store_get(o->store, q, is_copied, m)) {
            /* it has left */
        }
    return !m->any;
}

/* It takes nothing more until something goes. */
static bool is_full(struct js_stream *s)
{
    struct stream_state st;
    store_state(s->store, &st);
    return s->cfg.max_msgs > 0 && st.msgs >= (uint64_t)s->cfg.max_msgs;
}

static bool all_came(struct missing *m)
{
    for (unsigned k = 0; k < COPIES; k++) {
        struct js_stream *s = stream_at(SITE, copy_names[k]);
        if (s && is_full(s))
            continue;
        for (size_t i = 0; s && i < s->cfg.sources.n + (s->cfg.mirror != NULL); i++) {
            struct buf head = BUF_INIT, tail = BUF_INIT;
            *m = (struct missing){.k = k, .c = &now.copy[k]};
            m->src = s->cfg.mirror ? s->cfg.mirror : stream_source(&s->cfg, i);
            puller_write_names(m->src, &head, &tail);
            char *line = xasprintf("%s 1%s o", buf_cstr(&head), buf_cstr(&tail));
            read_from(slice_cstr(line), &m->f);
            m->r = row_of(m->c, s->cfg.mirror ? SLICE("mirror") : slice_cstr(m->f.name));
            bool done = is_complete(m);
            m->f.head = m->f.filter = m->f.dest = (struct slice){0};
            free(line);
            buf_release(&head);
            buf_release(&tail);
            if (!done)
                return false;
        }
    }
    return true;
}

/* READER alone reads from queues. */
static void queues_lose_nothing(void)
{
    for (unsigned n = 0; n < now.n_pubs; n++) {
        const struct pub *p = &now.pub[n];
        struct js_stream *o = origin(p->o);
        bool copied = false;
        if (!now.queue[p->o] || p->lost || !p->seq || !o || o->created != p->born)
            continue;
        for (unsigned i = 0; i < now.copy[READER].n_rows; i++)
            copied |= now.copy[READER].rows[i].got[n] != 0;
        if (!copied && !store_has(o->store, p->seq))
            WRONG("%u (%lu of queue O%u) is nowhere", n, (unsigned long)p->seq, p->o);
    }
}

static void let_all_come(void)
{
    struct missing m;
    TELL("all is well");
    let_mail_go();
    be_slow(false);
    join();
    observe();
    for (int i = 0; i < 60 && !all_came(&m); i++) {
        fake_turn_advance(&world->ft, 3 * NS_PER_S);
        observe();
    }
    if (!all_came(&m))
        WRONG("%u never came to %s by way of '%s'", m.n, copy_names[m.k],
              m.k == MIRROR ? "mirror" : m.f.name);
    queues_lose_nothing();
}

/* --- origins --------------------------------------------------------------------------------- */

static const char *retention_of(unsigned o)
{
    return now.queue[o] ? "workqueue" : now.interest[o] ? "interest" : "limits";
}

static void make_origin(unsigned o)
{
    char subject[64], body[320];
    struct js_stream *m = stream_at(SITE, "M");
    struct copy *c = &now.copy[MIRROR];
    fake_turn_advance(&world->ft, NS_PER_MS); /* born at another time than the last one */
    if (m && store_last_assigned(m->store) > c->floor)
        c->floor = store_last_assigned(m->store);
    snprintf(subject, sizeof subject, "$JS.API.STREAM.CREATE.O%u", o);
    snprintf(body, sizeof body,
             "{\"name\":\"O%u\",\"subjects\":[\"o%u.>\"],\"retention\":\"%s\"%s%s%s}", o, o,
             retention_of(o), PICK("", ",\"allow_rollup_hdrs\":true"),
             PICK("", "", "", ",\"max_msgs_per_subject\":2", ",\"max_msgs\":6"),
             PICK("", "", ",\"first_seq\":50"));
    if ((now.queue[o] || now.interest[o]) && strstr(body, "max_msgs"))
        snprintf(body, sizeof body,
                 "{\"name\":\"O%u\",\"subjects\":[\"o%u.>\"],\"retention\":\"%s\"%s}", o, o,
                 retention_of(o), PICK("", ",\"allow_rollup_hdrs\":true"));
    ask_for(o == 0 ? HUB : SITE, subject, body);
    if (now.queue[o])
        return;
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.O%u.D", o);
    /* It delivers elsewhere each time: who listens takes a new origin's first for the old one's,
     * with nats-server, too. */
    snprintf(body, sizeof body,
             "{\"stream_name\":\"O%u\",\"config\":{\"durable_name\":\"D\",\"deliver_subject\":"
             "\"durable.o%u.%u\",\"ack_policy\":\"flow_control\",\"flow_control\":true,"
             "\"idle_heartbeat\":1000000000,\"filter_subject\":\"o%u.b\"}}",
             o, o, tale.step, o);
    ask_for(o == 0 ? HUB : SITE, subject, body);
}

static void delete_origin(unsigned o)
{
    char subject[64];
    struct copy *c = &now.copy[MIRROR];
    uint64_t last = store_last_assigned(origin(o)->store);
    if (last > c->floor && c->created && !world->holds) {
        const struct js_stream *m = stream_at(SITE, "M");
        if (m && m->cfg.mirror && m->cfg.mirror->name.p[1] == '0' + (char)o)
            c->floor = last;
    }
    snprintf(subject, sizeof subject, "$JS.API.STREAM.DELETE.O%u", o);
    ask_for(o == 0 ? HUB : SITE, subject, "");
}

static void write_headers(unsigned o, unsigned n, struct buf *hdr)
{
    if (tale.seed % 3 == 0)
        buf_printf(hdr, "Nats-Msg-Id: m%u\r\n", n);
    else if (tale.seed % 2)
        buf_printf(hdr, "k: %u\r\n", n);
    if (chance(6)) {
        buf_printf(hdr, "Nats-Rollup: %s\r\n", PICK("sub", "sub", "all"));
        for (unsigned i = 0; i < n; i++)
            now.pub[i].lost |= now.pub[i].o == o;
    }
}

static void publish_to(unsigned o)
{
    struct js_stream *s = origin(o);
    char inbox[32], body[64];
    struct buf hdr = BUF_INIT;
    if (!s || now.n_pubs == PUBS)
        return;
    unsigned n = now.n_pubs++;
    struct pub *p = &now.pub[n];
    *p = (struct pub){.o = o, .born = s->created, .lost = now.taking[o]};
    snprintf(p->subject, sizeof p->subject, "%c%u.%s", o == OWN ? 'm' : 'o', o,
             PICK("a", "a", "b", "c.x", "c.y"));
    snprintf(inbox, sizeof inbox, "_INBOX.pub.%u", n);
    snprintf(body, sizeof body, "%u %.*s", n, (int)roll(40),
             "........................................");
    buf_add_str(&hdr, "NATS/1.0\r\n");
    size_t none = hdr.len;
    write_headers(o, n, &hdr);
    TELL("%s %u %s", p->subject, n, buf_cstr(&hdr) + none);
    bool any = hdr.len > none;
    buf_add_str(&hdr, "\r\n");
    jshost_send(&world->at[o == 0 ? HUB : SITE].h, ACC, p->subject, inbox,
                any ? buf_cstr(&hdr) : NULL, body);
    buf_release(&hdr);
    if (chance(50))
        observe();
}

/* Takes messages out of a stream, somehow. */
static void take_out(int place, const char *name, unsigned o)
{
    struct js_stream *s = stream_at(place, name);
    char subject[64], body[96];
    struct stream_state st;
    store_state(s->store, &st);
    uint64_t q = st.first_seq + roll((uint32_t)(st.last_seq + 1 - st.first_seq) + 1);
    char letter = *name == 'O' ? 'o' : "otx"[roll(3)];
    for (unsigned i = 0; i < now.n_pubs; i++)
        now.pub[i].lost |= now.pub[i].o == (*name == 'O' ? o : OWN);
    snprintf(subject, sizeof subject, "$JS.API.STREAM.PURGE.%s", name);
    switch (roll(6)) {
    case 0:
        snprintf(body, sizeof body, "{}");
        break;
    case 1:
        snprintf(body, sizeof body, "{\"keep\":%u}", roll(4));
        break;
    case 2:
        snprintf(body, sizeof body, "{\"filter\":\"%c%u.%c\"}", letter, o, 'a' + (char)roll(3));
        break;
    case 3:
        snprintf(body, sizeof body, "{\"seq\":%lu}", (unsigned long)(q + roll(3)));
        break;
    default:
        snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.DELETE.%s", name);
        snprintf(body, sizeof body, "{\"seq\":%lu}", (unsigned long)q);
        break;
    }
    unsigned from = *name == 'O' ? o : OWN;
    now.taking[from] |= !ask_for(place, subject, body) && world->holds;
}

/* --- copies ---------------------------------------------------------------------------------- */

static const char *external(unsigned o)
{
    return o == 0 ? ",\"external\":{\"api\":\"$JS.hub.API\",\"deliver\":\"\"}" : "";
}

static const char *storage_of(unsigned k)
{
    return now.memory[k] ? ",\"storage\":\"memory\"" : "";
}

static void add_source(struct buf *b, unsigned o, unsigned variant)
{
    if (b->len && b->data[b->len - 1] == '}')
        buf_add_char(b, ',');
    buf_printf(b, "{\"name\":\"O%u\"%s", o, external(o));
    switch (variant) {
    case 1:
        buf_printf(b, ",\"filter_subject\":\"o%u.a\"", o);
        break;
    case 2:
        buf_printf(b, ",\"subject_transforms\":[{\"src\":\"o%u.b\",\"dest\":\"t%u.b\"}]", o, o);
        break;
    case 3:
        buf_printf(b, ",\"opt_start_seq\":3,\"filter_subject\":\"o%u.c.>\"", o);
        break;
    case 4:
        buf_printf(b,
                   ",\"subject_transforms\":[{\"src\":\"o%u.a\",\"dest\":\"x%u.a\"},"
                   "{\"src\":\"o%u.c.>\",\"dest\":\"y%u.c.>\"}]",
                   o, o, o, o);
        break;
    case 6: /* a durable of the origin */
        buf_printf(b, ",\"consumer\":{\"name\":\"D\",\"deliver_subject\":\"durable.o%u\"}", o);
        break;
    case 5:
        buf_add_str(b, ",\"opt_start_seq\":5");
        break;
    }
    buf_add_char(b, '}');
}

static void make_or_change_sourced(unsigned k)
{
    struct buf b = BUF_INIT;
    char subject[64];
    bool there = stream_at(SITE, copy_names[k]) != NULL, turned = chance(30);
    buf_printf(&b, "{\"name\":\"%s\"%s,\"sources\":[", copy_names[k], storage_of(k));
    for (unsigned i = 0; i < ORIGINS; i++) {
        unsigned o = turned ? 1 - i : i, how = roll(8);
        if (now.queue[o] && k != READER)
            continue;
        if (how < 2) {
            add_source(&b, o, 0);
        } else if (how == 2) {
            now.late[k][o] |= !now.queue[o];
            add_source(&b, o, now.queue[o] ? 0 : 5);
        } else if (how < 7) {
            for (unsigned v = 1; v <= (now.queue[o] ? 3 : 4); v++)
                if (chance(50))
                    add_source(&b, o, v);
        }
        if (k == 2 && chance(50))
            add_source(&b, o, 6);
    }
    buf_printf(&b, "]%s%s}", PICK("", ",\"description\":\"it\""),
               PICK("", "", ",\"max_msgs\":15,\"discard\":\"new\""));
    snprintf(subject, sizeof subject, "$JS.API.STREAM.%s.%s", there ? "UPDATE" : "CREATE",
             copy_names[k]);
    fake_turn_advance(&world->ft, NS_PER_MS);
    ask_for(SITE, subject, buf_cstr(&b));
    buf_release(&b);
}

static void promote_mirror(const struct js_stream *m)
{
    char body[160];
    snprintf(body, sizeof body, "{\"name\":\"M\",\"subjects\":[\"m%u.>\"]%s%s}", OWN,
             storage_of(MIRROR), m->cfg.allow_rollup_hdrs ? ",\"allow_rollup_hdrs\":true" : "");
    ask_for(SITE, "$JS.API.STREAM.UPDATE.M", body);
}

static void make_or_delete_mirror(void)
{
    char body[320];
    unsigned o = roll(ORIGINS);
    struct js_stream *m = stream_at(SITE, "M");
    if (m) {
        if (chance(40))
            ask_for(SITE, "$JS.API.STREAM.DELETE.M", "");
        else if (chance(40))
            promote_mirror(m);
        return;
    }
    if (now.queue[o])
        o = 1 - o;
    if (now.queue[o])
        return;
    fake_turn_advance(&world->ft, NS_PER_MS);
    const char *filter = o == 0 ? ",\"filter_subject\":\"o0.a\"" : ",\"filter_subject\":\"o1.a\"";
    snprintf(body, sizeof body, "{\"name\":\"M\"%s%s,\"mirror\":{\"name\":\"O%u\"%s%s}}",
             storage_of(MIRROR), PICK("", ",\"allow_rollup_hdrs\":true"), o, external(o),
             chance(30) ? filter : "");
    ask_for(SITE, "$JS.API.STREAM.CREATE.M", body);
}

static void change_copy(unsigned k)
{
    const char *name = copy_names[k];
    char subject[64];
    struct js_stream *s = stream_at(SITE, name);
    for (unsigned n = 0; n < now.n_pubs; n++)
        now.pub[n].held_for &= ~(1u << k);
    if (s && !world->holds && chance(25)) {
        now.copy[k].msgs = 0;
        take_out(SITE, name, roll(2));
        if (k == MIRROR && (s = stream_at(SITE, name)) &&
            store_last_assigned(s->store) > now.copy[k].floor)
            now.copy[k].floor = store_last_assigned(s->store);
    } else if (k == MIRROR) {
        make_or_delete_mirror();
    } else if (s && chance(8)) {
        snprintf(subject, sizeof subject, "$JS.API.STREAM.DELETE.%s", name);
        ask_for(SITE, subject, "");
    } else {
        make_or_change_sourced(k);
    }
    for (unsigned o = 0; o < ORIGINS; o++)
        now.kept[o] |= ((now.queue[o] && k == READER) || now.interest[o]) &&
                       (world->holds || now.failing || (o == 0 && (!world->linked || world->slow)));
}

/* --- a history ------------------------------------------------------------------------------- */

static void let_time_pass(void)
{
    static const int64_t steps[] = {3, 20, 120, 120, 500, 1200, 2500, 2500, 6000, 12000, 35000};
    int64_t ms = steps[roll(ARRAY_LEN(steps))];
    TELL("%ld ms pass", (long)ms);
    fake_turn_advance(&world->ft, ms * NS_PER_MS);
    observe();
}

static void change_link(void)
{
    switch (roll(4)) {
    case 0:
        TELL("cut");
        cut();
        break;
    case 1:
        TELL("slow");
        be_slow(true);
        break;
    default:
        TELL("the link is good");
        join();
        be_slow(false);
    }
    observe();
}

static void do_something(void)
{
    unsigned o = roll(ORIGINS), what = roll(100);
    if (!origin(o) && what < 75)
        make_origin(o);
    else if (what < 45)
        for (unsigned n = 1 + roll(4); n--;)
            publish_to(chance(30) && origin(OWN) ? OWN : o);
    else if (what < 63)
        let_time_pass();
    else if (what < 80)
        change_copy(roll(COPIES));
    else if (what < 85 && origin(o))
        take_out(o == 0 ? HUB : SITE, o == 0 ? "O0" : "O1", o);
    else if (what < 88 && origin(o))
        delete_origin(o);
    else
        change_link();
    observe();
}

static void restart(bool kill)
{
    struct place *p = &world->at[roll(PLACES)];
    TELL("%s %.*s", kill ? "KILL" : "RESTART", SLICE_FMT(p->domain));
    if (kill) {
        writer_wait(p->store->writer);
        store_file_copy(p->dir);
    } else {
        observe();
    }
    place_down(p);
    if (kill)
        store_file_put_back(p->dir);
    if (chance(30))
        fake_turn_advance(&world->ft, (int64_t)roll(15) * NS_PER_S);
    place_up(p);
    for (unsigned k = 0; k < COPIES && p == &world->at[SITE]; k++)
        if (now.memory[k]) {
            forget_copy(k); /* and what it acknowledged does not come again */
            now.kept[0] |= now.interest[0];
            now.kept[1] |= now.interest[1];
        }
    if (chance(80))
        join();
    observe();
}

static void slowly(void)
{
    unsigned where = 1 + roll(3);
    TELL("HOLD %u", where);
    hold_mail(where & 1, where & 2);
    for (unsigned n = 2 + roll(5); n--;)
        do_something();
    if (chance(50)) {
        restart(true);
    } else {
        TELL("GO ON");
        let_mail_go();
    }
    observe();
}

static void with_a_failure(void)
{
#ifdef FROND_FAULTS
    char spec[32];
    snprintf(spec, sizeof spec, "commit:%u", 1 + roll(4));
    TELL("FAIL %s", spec);
    fault_set(spec);
    now.failing = true;
    for (unsigned n = 1 + roll(3); n--;)
        do_something();
    settle();
    fault_set(NULL);
    now.failing = false;
    observe();
#endif
}

static void take_step(void)
{
    uint32_t what = roll(100);
    if (what < 12)
        restart(chance(50));
    else if (what < 20)
        slowly();
    else if (what < 25)
        with_a_failure();
    else if (what < 29)
        let_all_come();
    else
        for (unsigned n = 1 + roll(3); n--;)
            do_something();
}

static void begin(void)
{
    memset(&now, 0, sizeof now);
    world_begins();
    now.queue[0] = chance(25);
    now.queue[1] = chance(25);
    now.interest[0] = !now.queue[0] && chance(40);
    now.interest[1] = !now.queue[1] && chance(40);
    for (unsigned k = 0; k < COPIES; k++)
        now.memory[k] = chance(20);
}

static void end(void)
{
    let_all_come();
    for (unsigned k = 0; k < COPIES; k++)
        forget_copy(k);
    world_ends();
}

int main(int argc, char **argv)
{
    const struct plan plan = {"a copy has each message once and in order", 12, 60};
    return histories(argc, argv, &plan);
}
