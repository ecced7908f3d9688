/* scenario/run.c -- the whole server over fake loop and conn, told by a script
 *
 *     conf port: 4222          a line of the configuration ($STORE: a directory of this run); the
 *                              server starts with the first line that is something else
 *     A> SUB orders.* 1        A says. A client connects with its first line; CONNECT is said for
 *                              it unless it does so itself
 *     A< MSG orders.new 1 "x"  the next thing A hears; see words.h
 *     A~ LS+ foo               among what A has heard and nobody looked at yet
 *     A- nothing               A has heard nothing that nobody looked at
 *     A- no LMSG orders        … nothing that begins so
 *     A- closed                A's connection is closed
 *     dialled H 7422           time passes until the server dials that port (a minute at most); H
 *                              is at the other end from now on
 *     refuse 7422              … and is refused
 *     disk holds               receipts of commits wait
 *     disk commits             … until now: what was committed comes through
 *     disk runs                all come at once, as in the beginning
 *     clock +5s                time passes, timers fire
 *     cut A, hang up A         RST, FIN
 *     split A 1                A's bytes reach the server one a turn; 0: all at once
 *     delay A 100ms            both ways
 *     narrow A 10              the server can write 10 more bytes to A
 *     restart                  clean stop and start on the same store; all connections are gone
 *     signal HUP               conf lines said since the start are read
 *
 * A PING of the server is answered and an INFO passed over unless the script waits for one. What
 * the server logs is shown when a line fails.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "scenario/site.h"
#include "scenario/words.h"

#define PORT 4222
#define HELLO                                                                                      \
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"       \
    "\"protocol\":1,\"lang\":\"scn\",\"version\":\"1\"}\r\n"

struct peer {
    char *name;
    struct wire *w;
    struct peer *next;
};

static struct {
    const char *file;
    unsigned line;
    struct site site;
    struct buf conf;
    bool holds;
    struct peer *peers;
    struct catches caught;
} scn;

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%u: ", scn.file, scn.line);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n--- the server's log\n%.*s", SLICE_FMT(buf_slice(&scn.site.log)));
    va_end(ap);
    site_release(&scn.site);
    _exit(1);
}

/* --- the server ---------------------------------------------------------------------------- */

static void start(void)
{
    if (site_start(&scn.site, buf_cstr(&scn.conf)) != 0)
        fail("the server does not start");
    if (scn.holds)
        fake_loop_hold_mail(scn.site.srv.loop, true);
}

static void stop(void)
{
    while (scn.peers) {
        struct peer *p = scn.peers;
        scn.peers = p->next;
        wire_free(p->w);
        free(p->name);
        free(p);
    }
    site_stop(&scn.site);
}

/* --- peers -------------------------------------------------------------------------------------
 */

static struct peer *find(struct slice name)
{
    for (struct peer *p = scn.peers; p; p = p->next)
        if (slice_is(name, p->name))
            return p;
    return NULL;
}

static struct peer *must_find(struct slice name)
{
    struct peer *p = find(name);
    if (!p)
        fail("who is %.*s?", SLICE_FMT(name));
    return p;
}

static void adopt(struct slice name, struct wire *w)
{
    struct peer *p = xcalloc(1, sizeof *p), **at = &scn.peers;
    while (*at && !slice_is(name, (*at)->name))
        at = &(*at)->next;
    if (*at) { /* a new connection of somebody we know */
        struct peer *old = *at;
        *at = old->next;
        wire_free(old->w);
        free(old->name);
        free(old);
    }
    p->name = slice_dup(name);
    p->w = w;
    p->next = scn.peers;
    scn.peers = p;
}

static struct peer *client(struct slice name, struct slice first)
{
    struct peer *p = find(name);
    struct slice head, payload;
    if (p)
        return p;
    struct wire *w = wire_knock(PORT);
    if (!w)
        fail("nobody listens");
    adopt(name, w);
    fake_loop_run(scn.site.srv.loop);
    if (slice_starts(first, SLICE("CONNECT")) || !wire_alive(w))
        return find(name);
    size_t n = words_next(buf_slice(wire_heard(w)), &head, &payload);
    if (!n || !slice_starts(head, SLICE("INFO ")))
        fail("%.*s is not greeted", SLICE_FMT(name));
    buf_consume(wire_heard(w), n);
    wire_say(w, HELLO, strlen(HELLO));
    return find(name);
}

static bool has_heard(void *arg)
{
    struct slice head, payload;
    return words_next(buf_slice(wire_heard(arg)), &head, &payload) > 0;
}

/* A PING is answered, an INFO passed over, unless the script waits for it. */
static bool is_noise(struct slice head, struct slice line)
{
    struct slice verb = slice_head(head, slice_find(head, ' '));
    return (slice_is(verb, "PING") || slice_is(verb, "INFO")) && !slice_starts(line, verb);
}

static void pass_over(struct peer *p, struct slice head, size_t n)
{
    bool ping = slice_is(head, "PING");
    buf_consume(wire_heard(p->w), n);
    if (ping)
        wire_say(p->w, "PONG\r\n", 6);
}

/* Turns until the peer has something to look at; waits for the disk unless it holds. */
static bool listen_to(struct peer *p, struct slice line, struct slice *head, struct slice *payload,
                      size_t *n)
{
    for (;;) {
        fake_loop_run(scn.site.srv.loop);
        if (!has_heard(p->w) && (scn.holds || !fake_loop_wait(scn.site.srv.loop, has_heard, p->w)))
            return false;
        *n = words_next(buf_slice(wire_heard(p->w)), head, payload);
        if (!is_noise(*head, line))
            return true;
        pass_over(p, *head, *n);
    }
}

static void hear(struct peer *p, struct slice line)
{
    struct slice head, payload;
    size_t n;
    if (!listen_to(p, line, &head, &payload, &n))
        fail("%s hears nothing instead of: %.*s", p->name, SLICE_FMT(line));
    if (!words_match(line, head, payload, &scn.caught))
        fail("%s hears\n  %.*s | %.*s\ninstead of\n  %.*s", p->name, SLICE_FMT(head),
             SLICE_FMT(payload), SLICE_FMT(line));
    buf_consume(wire_heard(p->w), n);
}

struct among {
    struct peer *p;
    struct slice line;
};

/* Looks through all that was heard; takes what matches out of it. */
static bool take_among(void *arg)
{
    struct among *m = arg;
    struct buf *heard = wire_heard(m->p->w);
    struct slice all = buf_slice(heard), head, payload;
    size_t at = 0, n;
    while ((n = words_next(slice_skip(all, at), &head, &payload)) > 0) {
        if (words_match(m->line, head, payload, &scn.caught)) {
            struct buf rest = BUF_INIT;
            buf_add_slice(&rest, slice_head(all, at));
            buf_add_slice(&rest, slice_skip(all, at + n));
            buf_release(heard);
            *heard = rest;
            return true;
        }
        at += n;
    }
    return false;
}

static void hear_among(struct peer *p, struct slice line)
{
    struct among m = {p, line};
    fake_loop_run(scn.site.srv.loop);
    if (take_among(&m))
        return;
    if (scn.holds || !fake_loop_wait(scn.site.srv.loop, take_among, &m))
        fail("%s has not heard: %.*s\nbut\n%.*s", p->name, SLICE_FMT(line),
             SLICE_FMT(buf_slice(wire_heard(p->w))));
}

/* Of all that was heard, nothing begins with these words. */
static void not_among(struct peer *p, struct slice words)
{
    struct slice all = buf_slice(wire_heard(p->w)), head, payload;
    for (size_t n; (n = words_next(all, &head, &payload)) > 0; all = slice_skip(all, n))
        if (slice_starts(head, words))
            fail("%s hears %.*s | %.*s", p->name, SLICE_FMT(head), SLICE_FMT(payload));
}

static void state_of(struct peer *p, struct slice what)
{
    fake_loop_run(scn.site.srv.loop);
    if (slice_starts(what, SLICE("no "))) {
        not_among(p, slice_skip(what, 3));
        return;
    }
    if (slice_is(what, "closed")) {
        if (wire_alive(p->w))
            fail("%s is still connected", p->name);
        return;
    }
    if (!slice_is(what, "nothing"))
        fail("unknown: %.*s", SLICE_FMT(what));
    struct slice head, payload;
    while (has_heard(p->w)) {
        size_t n = words_next(buf_slice(wire_heard(p->w)), &head, &payload);
        if (!is_noise(head, what))
            fail("%s hears %.*s | %.*s", p->name, SLICE_FMT(head), SLICE_FMT(payload));
        pass_over(p, head, n);
        fake_loop_run(scn.site.srv.loop);
    }
}

/* --- lines --------------------------------------------------------------------------------------
 */

static int64_t duration(struct slice s)
{
    int64_t ns;
    if (slice_starts(s, SLICE("+")))
        s = slice_skip(s, 1);
    if (duration_parse(s.p, s.n, &ns) != 0)
        fail("not a duration: %.*s", SLICE_FMT(s));
    return ns;
}

static uint64_t number(struct slice s)
{
    uint64_t v;
    if (slice_u64(s, &v) != 0)
        fail("not a number: %.*s", SLICE_FMT(s));
    return v;
}

static void disk(struct slice what)
{
    if (slice_is(what, "commits")) {
        if (!fake_loop_release_mail(scn.site.srv.loop))
            fail("no commit was under way");
        return;
    }
    scn.holds = slice_is(what, "holds");
    if (!scn.holds && !slice_is(what, "runs"))
        fail("the disk holds, commits or runs");
    fake_loop_run(scn.site.srv.loop);
    fake_loop_hold_mail(scn.site.srv.loop, scn.holds);
}

static void pass_time(struct slice s)
{
    site_wait(&scn.site, duration(s));
}

/* Lets time pass until somebody dials that port; a minute at most. */
static void wait_for_dial(struct slice port, bool (*answer)(uint16_t port, struct wire **w),
                          struct wire **w)
{
    uint16_t n = (uint16_t)number(port);
    for (int i = 0; i < 600; i++) {
        fake_loop_run(scn.site.srv.loop);
        if (answer(n, w)) {
            fake_loop_run(scn.site.srv.loop);
            return;
        }
        site_wait(&scn.site, 100 * NS_PER_MS);
    }
    fail("nobody dials %.*s", SLICE_FMT(port));
}

static bool take_dial(uint16_t port, struct wire **w)
{
    return (*w = wire_dialled(port)) != NULL;
}

static bool refuse_dial(uint16_t port, struct wire **w)
{
    (void)w;
    return wire_refuse(port);
}

static void dialled(struct slice name, struct slice port)
{
    struct wire *w = NULL;
    wait_for_dial(port, take_dial, &w);
    adopt(name, w);
}

static void send_signal(struct slice name)
{
    const struct {
        const char *name;
        int signo;
    } table[] = {{"HUP", SIGHUP}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"TERM", SIGTERM}};
    site_configure(&scn.site, buf_cstr(&scn.conf));
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (slice_is(name, table[i].name))
            fake_loop_signal(scn.site.srv.loop, table[i].signo);
}

/* "cut A", "split A 1": a verb, somebody, perhaps a value. */
static bool wire_words(struct slice verb, struct slice who, struct slice value)
{
    if (slice_is(verb, "cut"))
        wire_cut(must_find(who)->w);
    else if (slice_is(verb, "split"))
        wire_split(must_find(who)->w, number(value));
    else if (slice_is(verb, "delay"))
        wire_delay(must_find(who)->w, duration(value));
    else if (slice_is(verb, "narrow"))
        wire_narrow(must_find(who)->w, number(value));
    else if (slice_is(verb, "hang") && slice_is(who, "up"))
        wire_hang_up(must_find(value)->w);
    else
        return false;
    fake_loop_run(scn.site.srv.loop);
    return true;
}

static void command(struct slice line)
{
    struct slice rest = line, verb = {0}, a = {0}, b = {0};
    slice_token(&rest, &verb);
    slice_token(&rest, &a);
    slice_token(&rest, &b);
    if (wire_words(verb, a, b))
        return;
    if (slice_is(verb, "disk")) {
        disk(a);
    } else if (slice_is(verb, "clock")) {
        pass_time(a);
    } else if (slice_is(verb, "dialled")) {
        dialled(a, b);
    } else if (slice_is(verb, "refuse")) {
        wait_for_dial(a, refuse_dial, NULL);
    } else if (slice_is(verb, "signal")) {
        send_signal(a);
    } else if (slice_is(verb, "restart")) {
        stop();
        start();
    } else {
        fail("unknown: %.*s", SLICE_FMT(line));
    }
}

static void talk(struct slice name, char how, struct slice text)
{
    struct buf bytes = BUF_INIT;
    if (how != '>') {
        struct peer *p =
            how == '<' || how == '~' ? client(name, SLICE("CONNECT")) : must_find(name);
        if (how == '<')
            hear(p, text);
        else if (how == '~')
            hear_among(p, text);
        else
            state_of(p, text);
        return;
    }
    struct peer *p = client(name, text);
    if (!words_say(text, &scn.caught, &bytes))
        fail("nothing was caught under that name: %.*s", SLICE_FMT(text));
    wire_say(p->w, bytes.data + bytes.start, bytes.len);
    buf_release(&bytes);
    fake_loop_run(scn.site.srv.loop);
}

static void run_line(struct slice line)
{
    size_t comment = slice_search(line, SLICE("  #"));
    line = slice_trim(slice_head(line, comment));
    if (line.n == 0 || line.p[0] == '#')
        return;
    if (slice_starts(line, SLICE("conf "))) {
        buf_add_slice(&scn.conf, slice_trim(slice_skip(line, 5)));
        buf_add_char(&scn.conf, '\n');
        return;
    }
    if (!scn.site.started)
        start();
    size_t n = slice_find(line, ' ');
    if (n >= 2 && n < line.n && strchr("><~-", line.p[n - 1]))
        talk(slice_head(line, n - 1), line.p[n - 1], slice_trim(slice_skip(line, n)));
    else
        command(line);
}

int main(int argc, char **argv)
{
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;
    if (argc != 2)
        return 2;
    scn.file = argv[1];
    FILE *f = fopen(scn.file, "re");
    if (!f) {
        perror(scn.file);
        return 2;
    }
    site_init(&scn.site);
    while ((n = getline(&text, &cap, f)) >= 0) {
        scn.line++;
        run_line(slice_of(text, (size_t)n));
    }
    if (scn.site.started)
        stop();
    free(text);
    fclose(f);
    catches_release(&scn.caught);
    buf_release(&scn.conf);
    site_release(&scn.site);
    return 0;
}
