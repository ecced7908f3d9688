/* tests/unit/jsapi/test_restarts.c -- what was answered is so after a restart, whatever went before
 *
 * Histories made by dice: streams and consumers of all kinds are made, changed, filled, read,
 * acknowledged, emptied; in between, often several times in a row, the process ends and begins
 * anew. It ends cleanly, or it is killed: then the next one gets the file as it was at that moment.
 *
 *   clean, or a kill after a quiet second    everything is as it was: configs, states, each message
 *                                            byte for byte, each entry of each pending set
 *   a kill at once                           streams are as they were (all of it was answered);
 *                                            of consumers the configs are, what was acknowledged
 *                                            and answered stays so, and a message nobody
 *                                            acknowledged is pending, or still to come
 *   a kill while a commit is on its way      the same for what was answered before
 *
 * How to play one by hand, and shorten it, stands in dice.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "history.h"
#include "unit/store_file.h"

/* --- the end, and a new beginning ------------------------------------------------------------ */

static void end_and_begin(bool kill)
{
    struct site *s = &now->site;
    int64_t mono = s->ft.mono, wall = s->ft.wall;
    let_mail_go();
    site_down(s);
    if (kill)
        store_file_put_back(s->dir);
    memset(now->asked, 0, sizeof now->asked);
    /* It begins a nanosecond before: a deadline that passed is looked at a nanosecond later. */
    up((chance(25) ? NS_PER_S : mono) - 1, wall - 1);
    fake_turn_advance(&s->ft, 1);
}

static void listen_again(void)
{
    for (unsigned s = 0; s < STREAMS; s++)
        for (unsigned c = 0; c < CONSUMERS; c++) {
            char subject[32];
            snprintf(subject, sizeof subject, "d.S%u.C%u", s, c);
            if (now->listens[s][c])
                jshost_want(&now->site.h, subject);
        }
    settle();
}

/* Consumers in memory only, ids of messages that left the stream. */
static void forget_lost(void)
{
    for (unsigned s = 0; s < STREAMS; s++) {
        const struct js_stream *stream = live_stream(s);
        for (unsigned c = 0; c < CONSUMERS; c++)
            if (!live_consumer(s, c))
                memset(&now->s[s].c[c], 0, sizeof now->s[s].c[c]);
        for (unsigned i = 0; i < IDS; i++)
            if (!stream || !store_has(stream->store, now->s[s].id[i].seq))
                now->s[s].id[i] = (struct known_id){0};
    }
}

static void restart_exactly(bool kill)
{
    const char *how = kill ? "a kill, a second later," : "a clean restart";
    /* Deliveries may go on all the time, and a deadline that passed is looked at a bit later. */
    fake_turn_advance(&now->site.ft, kill ? 1100 * NS_PER_MS : NS_PER_MS);
    settle();
    for (int i = 0; kill && i < 100 && !list_empty(&now->site.store->dirty_cursors); i++) {
        fake_turn_advance(&now->site.ft, 60 * NS_PER_MS);
        settle();
    }
    char *before = show(SHOW_STREAMS | SHOW_CONFIGS | SHOW_CONSUMERS);
    if (kill)
        store_file_copy(now->site.dir);
    TELL("RESTART: %s", how);
    end_and_begin(kill);
    char *after = show(SHOW_STREAMS | SHOW_CONFIGS | SHOW_CONSUMERS);
    compare(before, after, how);
    nothing_is_lost(how);
    free(before);
    free(after);
}

static void kill_at_once(void)
{
    settle();
    char *before = show(SHOW_STREAMS | SHOW_CONFIGS);
    store_file_copy(now->site.dir);
    TELL("RESTART: a kill at once");
    end_and_begin(true);
    char *after = show(SHOW_STREAMS | SHOW_CONFIGS);
    compare(before, after, "a kill");
    nothing_is_lost("a kill");
    free(before);
    free(after);
}

static void restart(void)
{
    unsigned times = chance(40) ? 1 + roll(3) : 1;
    while (times--) {
        uint32_t how = roll(10);
        if (how < 4)
            restart_exactly(false);
        else if (how < 7)
            restart_exactly(true);
        else
            kill_at_once();
    }
    forget_lost();
    listen_again();
}

/* --- streams --------------------------------------------------------------------------------- */

static void stream_config(unsigned s, uint64_t shape, struct buf *b)
{
    uint64_t mine = die;
    dice_for(shape, 0);
    buf_printf(b, "{\"name\":\"S%u\",\"subjects\":[\"s%u.>\"],\"storage\":\"file\"", s, s);
    buf_printf(b, ",\"retention\":\"%s\"", PICK("limits", "limits", "workqueue", "interest"));
    buf_add_str(b, PICK("", "", ",\"allow_msg_ttl\":true", ",\"first_seq\":100"));
    die = mine;
    buf_add_str(b, PICK("", "", "", ",\"max_msgs\":8", ",\"max_msgs\":30", ",\"max_bytes\":1500"));
    buf_add_str(b, PICK("", "", "", ",\"max_msgs_per_subject\":1", ",\"max_msgs_per_subject\":3"));
    buf_add_str(b, PICK("", "", "", ",\"max_age\":10000000000", ",\"max_age\":120000000000"));
    buf_add_str(b, PICK("", "", ",\"discard\":\"new\""));
    buf_add_str(b, PICK("", ",\"allow_rollup_hdrs\":true"));
    buf_add_str(b, PICK("", ",\"duplicate_window\":2000000000"));
    buf_add_str(b, PICK("", "", ",\"description\":\"one\"", ",\"metadata\":{\"a\":\"b\"}"));
    buf_add_str(b, PICK("", ",\"allow_direct\":true"));
    buf_add_str(b, "}");
}

static void make_or_change_stream(unsigned s)
{
    struct buf b = BUF_INIT;
    char subject[64];
    bool there = live_stream(s);
    if (!there) {
        memset(&now->s[s], 0, sizeof now->s[s]);
        now->s[s].shape = die | 1;
    }
    stream_config(s, now->s[s].shape, &b);
    snprintf(subject, sizeof subject, "$JS.API.STREAM.%s.S%u", there ? "UPDATE" : "CREATE", s);
    if ((ask_for(subject, buf_cstr(&b)) || now->holds) && there) /* another window */
        memset(now->s[s].id, 0, sizeof now->s[s].id);
    buf_release(&b);
}

static void delete_stream(unsigned s)
{
    char subject[64];
    snprintf(subject, sizeof subject, "$JS.API.STREAM.DELETE.S%u", s);
    ask_for(subject, "");
    memset(&now->s[s], 0, sizeof now->s[s]);
}

static void purge(unsigned s)
{
    char subject[64], body[96];
    struct stream_state st = {0};
    if (live_stream(s))
        store_state(live_stream(s)->store, &st);
    snprintf(subject, sizeof subject, "$JS.API.STREAM.PURGE.S%u", s);
    uint64_t q = st.first_seq + roll((uint32_t)(st.last_seq + 2 - st.first_seq) + 1);
    switch (roll(5)) {
    case 0:
        snprintf(body, sizeof body, "{}");
        break;
    case 1:
        snprintf(body, sizeof body, "{\"keep\":%u}", roll(4));
        break;
    case 2:
        snprintf(body, sizeof body, "{\"filter\":\"s%u.%c\"}", s, 'a' + (char)roll(3));
        break;
    case 3:
        snprintf(body, sizeof body, "{\"filter\":\"s%u.%c\",\"keep\":1}", s, 'a' + (char)roll(3));
        break;
    default:
        snprintf(body, sizeof body, "{\"seq\":%lu}", (unsigned long)q);
    }
    ask_for(subject, body);
}

static void delete_message(unsigned s)
{
    char subject[64], body[64];
    struct stream_state st = {0};
    if (live_stream(s))
        store_state(live_stream(s)->store, &st);
    if (!st.msgs)
        return;
    uint64_t q = st.first_seq + roll((uint32_t)(st.last_seq - st.first_seq) + 1);
    snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.DELETE.S%u", s);
    snprintf(body, sizeof body, "{\"seq\":%lu}", (unsigned long)q);
    ask_for(subject, body);
}

/* --- publishing ------------------------------------------------------------------------------ */

static void check_id(unsigned s, unsigned id, const char *text)
{
    const struct js_stream *stream = live_stream(s);
    struct known_id *k = &now->s[s].id[id];
    if (!stream || !text || !strstr(text, "\"seq\":") || strstr(text, "\"error\""))
        return;
    uint64_t seq = number_in(text, "\"seq\":");
    bool dup = strstr(text, "\"duplicate\": true");
    int64_t age = now->site.ft.wall - k->at, window = stream->cfg.duplicate_window;
    if (k->seq && age + NS_PER_S < window && (!dup || seq != k->seq))
        WRONG("S%u: id %u was %lu, now %s", s, id, (unsigned long)k->seq, text);
    if (!dup)
        *k = (struct known_id){seq, now->site.ft.wall};
}

static void publish_one(unsigned s)
{
    char subject[32], hdr[160] = "", body[80];
    int id = -1;
    snprintf(subject, sizeof subject, "s%u.%s", s, PICK("a", "a", "b", "c", "b.x", "c.y"));
    snprintf(body, sizeof body, "%u-%.*s", tale.step, (int)roll(60),
             "................................................................");
    switch (roll(8)) {
    case 0:
    case 1:
        id = (int)roll(IDS);
        snprintf(hdr, sizeof hdr, "NATS/1.0\r\nNats-Msg-Id: id%d\r\n\r\n", id);
        break;
    case 2:
        if (chance(50))
            snprintf(hdr, sizeof hdr, "NATS/1.0\r\nNats-Rollup: %s\r\n\r\n",
                     PICK("sub", "sub", "all"));
        break;
    case 3:
        snprintf(hdr, sizeof hdr, "NATS/1.0\r\nNats-TTL: %us\r\n\r\n", 1 + roll(40));
        break;
    }
    char *text = answer_to(subject, *hdr ? hdr : NULL, body);
    TELL("%s %s %s", subject, hdr, text ? text : "-");
    if (id >= 0 && text)
        check_id(s, (unsigned)id, text);
    else if (id >= 0)
        now->s[s].id[id] = (struct known_id){0};
    free(text);
}

/* --- consumers ------------------------------------------------------------------------------- */

/* What can't be changed, by the dice of its making; returns whether it is plain. */
static bool fixed_part(unsigned s, unsigned n, const struct js_stream *stream, struct buf *b)
{
    struct stream_state st;
    bool queue = stream->cfg.retention == RETAIN_WORKQUEUE, plain = false;
    const char *ack_policy =
        queue ? "explicit" : PICK("explicit", "explicit", "explicit", "all", "none");
    store_state(stream->store, &st);
    buf_printf(b, ",\"ack_policy\":\"%s\"", ack_policy);
    switch (queue ? 0 : roll(12)) {
    default: /* "all": a message that leaves acknowledges those before it */
        plain = strcmp(ack_policy, "all") != 0;
        break;
    case 7:
        buf_add_str(b, ",\"deliver_policy\":\"last\"");
        break;
    case 8:
        buf_add_str(b, ",\"deliver_policy\":\"new\"");
        break;
    case 9:
        buf_add_str(b, ",\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"s");
        buf_printf(b, "%u.>\"", s);
        break;
    case 10:
        buf_printf(
            b, ",\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%u",
            1 + roll((uint32_t)st.last_seq + (stream->cfg.retention == RETAIN_LIMITS ? 3 : 1)));
        break;
    case 11:
        buf_add_str(b, ",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":"
                       "\"2026-11-21T12:11:40Z\"");
        break;
    }
    if (chance(25))
        buf_printf(b, ",\"deliver_subject\":\"d.S%u.C%u\"%s", s, n,
                   PICK("", ",\"idle_heartbeat\":5000000000",
                        ",\"idle_heartbeat\":5000000000,\"flow_control\":true"));
    buf_add_str(b, PICK("", "", "", "", ",\"replay_policy\":\"original\""));
    if (stream->cfg.retention != RETAIN_INTEREST) /* what only it needed goes with it */
        buf_add_str(b, PICK("", "", "", "", ",\"mem_storage\":true"));
    return plain;
}

static void changing_part(const struct js_stream *stream, struct buf *b)
{
    /* What was given up and forgotten by a purge goes at a start only, where interest holds it. */
    bool gives_up = stream->cfg.retention != RETAIN_INTEREST;
    buf_add_str(b, PICK("", ",\"ack_wait\":1000000000", ",\"ack_wait\":5000000000",
                        ",\"max_deliver\":4,\"backoff\":[500000000,2000000000,4000000000]"));
    if (gives_up && !strstr(buf_cstr(b), "max_deliver"))
        buf_add_str(b, PICK("", "", ",\"max_deliver\":1", ",\"max_deliver\":2"));
    buf_add_str(b, PICK("", "", ",\"max_ack_pending\":2", ",\"max_ack_pending\":5"));
    buf_add_str(b, PICK("", ",\"description\":\"it\"", ",\"metadata\":{\"k\":\"v\"}",
                        ",\"sample_freq\":\"50\""));
    buf_add_str(b, PICK("", "", "", ",\"headers_only\":true"));
}

static void filter_part(unsigned s, unsigned n, const struct js_stream *stream, struct buf *b)
{
    if (strstr(buf_cstr(b), "filter_subject"))
        return;
    if (stream->cfg.retention == RETAIN_WORKQUEUE) {
        buf_printf(b, ",\"filter_subject\":\"s%u.%s\"", s,
                   ((const char *[]){"a", "b", "c", "b.>"})[n]);
        return;
    }
    switch (roll(4)) {
    case 0:
        buf_printf(b, ",\"filter_subject\":\"s%u.%s\"", s, PICK("a", "b", "c.>", "*"));
        break;
    case 1:
        buf_printf(b, ",\"filter_subjects\":[\"s%u.a\",\"s%u.b.>\"]", s, s);
        break;
    }
}

static void make_or_change_consumer(unsigned s, unsigned n)
{
    struct js_stream *stream = live_stream(s);
    struct known_consumer *k = &now->s[s].c[n];
    struct buf b = BUF_INIT;
    char subject[64];
    if (!stream)
        return;
    bool there = live_consumer(s, n) != NULL;
    uint64_t mine = die;
    if (!there) {
        memset(k, 0, sizeof *k);
        k->shape = die;
    }
    buf_printf(&b, "{\"stream_name\":\"S%u\",\"config\":{\"%s\":\"C%u\"", s,
               k->shape & 16 ? "name" : "durable_name", n);
    if (k->shape & 16)
        buf_add_str(&b, ",\"inactive_threshold\":3600000000000");
    die = k->shape;
    bool plain = fixed_part(s, n, stream, &b);
    bool other = there && (mine & 7) == 0; /* seldom another filter */
    if (other)
        die = mine;
    filter_part(s, n, stream, &b);
    die = mine;
    changing_part(stream, &b);
    if (!there && chance(10))
        buf_add_str(&b, ",\"pause_until\":\"2026-11-21T12:13:00Z\"");
    buf_add_str(&b, "}}");
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.S%u.C%u", s, n);
    ask_for(subject, buf_cstr(&b));
    k->plain = there ? k->plain && !other : plain;
    k->plain &= !strstr(buf_cstr(&b), "max_deliver"); /* given up, and a purge forgets that */
    buf_release(&b);
}

static void delete_consumer(unsigned s, unsigned n)
{
    char subject[64];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.S%u.C%u", s, n);
    ask_for(subject, "");
    memset(&now->s[s].c[n], 0, sizeof now->s[s].c[n]);
}

static void pause_consumer(unsigned s, unsigned n)
{
    char subject[64];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.PAUSE.S%u.C%u", s, n);
    ask_for(subject, chance(50) ? "{\"pause_until\":\"2026-11-21T12:13:30Z\"}" : "");
}

static void reset_consumer(unsigned s, unsigned n)
{
    char subject[64], body[64] = "";
    struct js_consumer *c = live_consumer(s, n);
    struct known_consumer *k = &now->s[s].c[n];
    if (!c)
        return;
    bool far = c->stream->cfg.retention == RETAIN_LIMITS; /* else all goes that nobody wants */
    if (chance(50))
        snprintf(body, sizeof body, "{\"seq\":%u}",
                 1 + roll((uint32_t)c->pend.delivered.stream + (far ? 3 : 1)));
    memset(k->acked, 0, sizeof k->acked); /* before: what comes again may come with the answer */
    memset(k->sure, 0, sizeof k->sure);
    memset(now->asked, 0, sizeof now->asked);
    k->plain = false;
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.RESET.S%u.C%u", s, n);
    ask_for(subject, body);
}

static void pull_some(unsigned s, unsigned n)
{
    char subject[64], body[64];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.S%u.C%u", s, n);
    snprintf(body, sizeof body, "{\"batch\":%u,%s}", 1 + roll(7),
             PICK("\"no_wait\":true", "\"no_wait\":true", "\"expires\":3000000000"));
    TELL("pull S%u C%u %s", s, n, body);
    jshost_send(&now->site.h, ACC, subject, "_INBOX.p", NULL, body);
    settle();
}

static void listen_to(unsigned s, unsigned n)
{
    char subject[32];
    snprintf(subject, sizeof subject, "d.S%u.C%u", s, n);
    TELL("%s %s", now->listens[s][n] ? "unlisten" : "listen", subject);
    if (now->listens[s][n])
        jshost_unwant(&now->site.h, subject);
    else
        jshost_want(&now->site.h, subject);
    now->listens[s][n] = !now->listens[s][n];
    settle();
}

/* --- acks ------------------------------------------------------------------------------------ */

static void note_ack(const struct unacked *u, bool done)
{
    struct known_consumer *k = &now->s[u->s].c[u->c];
    const struct js_consumer *c = live_consumer(u->s, u->c);
    if (!done)
        return;
    k->acked[u->sseq % SEQS] = true;
    for (uint64_t q = 1; c && c->cfg->ack_policy == ACK_ALL && q <= u->sseq; q++)
        k->acked[q % SEQS] = true;
}

static void acknowledge(void)
{
    if (!now->n_pool)
        return;
    unsigned at = chance(40) ? now->n_pool - 1 : roll(now->n_pool);
    struct unacked u = now->pool[at];
    const struct js_consumer *c = live_consumer(u.s, u.c);
    const char *what =
        PICK("+ACK", "+ACK", "+ACK", "", "+TERM", "-NAK", "-NAK {\"delay\":1500000000}", "+WPI");
    bool done = !*what || *what == '+';
    char inbox[48] = "";
    if (strcmp(what, "+WPI") == 0)
        done = false;
    if (chance(60)) {
        unsigned i = now->inbox++;
        bool pends = c && pending_find(&c->pend, u.sseq) && c->cfg->ack_policy == ACK_EXPLICIT;
        snprintf(inbox, sizeof inbox, "_INBOX.ack.%u", i);
        now->asked[i % INBOXES] = (struct asked){done && pends, u.s, u.c, u.sseq};
    }
    TELL("%s %s %s", u.reply, *what ? what : "(ack)", inbox);
    note_ack(&u, done);
    if (done)
        now->pool[at] = now->pool[--now->n_pool];
    jshost_send(&now->site.h, ACC, u.reply, *inbox ? inbox : NULL, NULL, what);
    settle();
}

/* --- a history ------------------------------------------------------------------------------- */

static void let_time_pass(void)
{
    static const int64_t steps[] = {3, 20, 55, 55, 200, 1200, 2500, 6000, 35000};
    int64_t ms = steps[roll(ARRAY_LEN(steps))];
    if (now->holds && ms > 1200)
        ms = 55;
    TELL("%ld ms pass", (long)ms);
    fake_turn_advance(&now->site.ft, ms * NS_PER_MS);
    settle();
}

static void do_something(void)
{
    unsigned s = roll(STREAMS), c = roll(CONSUMERS), what = roll(100);
    if (chance(50))
        s = 0;
    if (!live_stream(s) && what < 90)
        make_or_change_stream(s);
    else if (what < 24)
        publish_one(s);
    else if (what < 38)
        make_or_change_consumer(s, c);
    else if (what < 54)
        pull_some(s, c);
    else if (what < 74)
        acknowledge();
    else if (what < 82)
        let_time_pass();
    else if (what < 84)
        delete_message(s);
    else if (what < 87)
        purge(s);
    else if (what < 89)
        pause_consumer(s, c);
    else if (what < 91)
        reset_consumer(s, c);
    else if (what < 92)
        delete_consumer(s, c);
    else if (what < 95)
        make_or_change_stream(s);
    else if (what < 96)
        delete_stream(s);
    else
        listen_to(s, c);
}

/* A commit is on its way and its receipt does not come; then it does, or the process is killed. */
static void slowly(void)
{
    now->holds = true;
    TELL("HOLD");
    for (unsigned n = 2 + roll(6); n--;)
        do_something();
    let_mail_go();
    TELL("GO ON");
    settle();
}

/* A consumer alone: nothing else reaches the disk beside it. */
static void alone(void)
{
    unsigned s = roll(STREAMS), c = roll(CONSUMERS);
    if (!live_stream(s))
        make_or_change_stream(s);
    for (unsigned n = roll(3); n--;)
        publish_one(s);
    if (chance(60) || !live_consumer(s, c))
        make_or_change_consumer(s, c);
    else if (chance(50))
        pause_consumer(s, c);
    else
        reset_consumer(s, c);
    restart();
    for (unsigned lives = 1 + roll(2); lives--; restart()) {
        pull_some(s, c);
        for (unsigned n = roll(4); n--;)
            acknowledge();
    }
}

/* The same while a commit is on its way; what is written lazily falls due meanwhile. */
static void alone_and_slowly(void)
{
    unsigned s = roll(STREAMS), c = roll(CONSUMERS);
    if (!live_stream(s) || !live_consumer(s, c))
        return;
    publish_one(s);
    pull_some(s, c);
    now->holds = true;
    TELL("HOLD");
    publish_one(s);
    if (chance(70))
        make_or_change_consumer(s, c);
    else
        pause_consumer(s, c);
    fake_turn_advance(&now->site.ft, 55 * NS_PER_MS);
    for (unsigned n = 1 + roll(3); n--;)
        acknowledge();
    let_mail_go();
    TELL("GO ON");
    settle();
    restart();
}

static void take_step(void)
{
    uint32_t what = roll(100);
    if (what < 22)
        restart();
    else if (what < 30)
        slowly();
    else if (what < 36)
        alone();
    else if (what < 42)
        alone_and_slowly();
    else
        for (unsigned n = 1 + roll(3); n--;)
            do_something();
}

static void begin(void)
{
    now = xcalloc(1, sizeof *now);
    pthread_mutex_init(&now->lock, NULL);
    const char *tmp = getenv("TMPDIR");
    snprintf(now->site.dir, sizeof now->site.dir, "%s/frond-restarts-XXXXXX",
             tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(now->site.dir));
    up(NS_PER_S, FAKE_TURN_WALL);
}

static void end(void)
{
    char cmd[128];
    site_down(&now->site);
    snprintf(cmd, sizeof cmd, "rm -rf %s", now->site.dir);
    assert_int_equal(system(cmd), 0);
    free(now);
}

int main(int argc, char **argv)
{
    const struct plan plan = {"what was answered is so after a restart", 10, 70};
    return histories(argc, argv, &plan);
}
