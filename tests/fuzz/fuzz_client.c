/* fuzz_client.c -- anything a client may say, to a whole server with accounts and permissions
 *
 * The first byte is no talk: bit 0 says whether the client is the restricted user r or whoever it
 * says it is, the rest how many bytes come at a time. The talk is played twice, whole and in
 * pieces, and the client must hear the same both times, and so must a watcher in its account. A
 * witness in another account, whose password nobody knows, never hears anything; r is never heard
 * outside what it may publish, and never told what it may not hear; and in the end nothing of the
 * client is left in any account.
 *
 * link: site
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/subject.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "scenario/site.h"
#include "server/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conf[] = "server_name: site\n"
                           "listen: 127.0.0.1:4222\n"
                           "max_control_line: 256\nmax_payload: 512\nmax_subscriptions: 40\n"
                           "accounts {\n"
                           "  A { users [ {user: a, password: a}\n"
                           "    {user: r, password: r, permissions: {\n"
                           "       publish: {allow: [\"p.>\", \"_INBOX.>\"], deny: \"p.no\"}\n"
                           "       subscribe: {allow: [\"s.>\", \"q.* grp\", \"_INBOX.r.>\"], "
                           "deny: [\"s.no.>\", \"s.*.no\"]}}}] }\n"
                           "  B { users [ {user: b, password: p%016llx} ] }\n"
                           "}\n"
                           "no_auth_user: a\n";

static struct site site;
static struct wire *watcher, *witness; /* of account A, of account B */

static bool may_publish(struct slice s)
{
    return (subject_match(s, SLICE("p.>")) && !slice_is(s, "p.no")) ||
           subject_match(s, SLICE("_INBOX.>"));
}

static bool may_hear(struct slice s)
{
    if (subject_match(s, SLICE("s.no.>")) || subject_match(s, SLICE("s.*.no")))
        return false;
    return subject_match(s, SLICE("s.>")) || subject_match(s, SLICE("q.*")) ||
           subject_match(s, SLICE("_INBOX.r.>"));
}

static void say(struct wire *w, const char *text)
{
    wire_say(w, text, strlen(text));
    fake_loop_run(site.srv.loop);
}

static struct wire *enter(const char *connect)
{
    struct wire *w = wire_knock(site.srv.port);
    ASSERT(w);
    fake_loop_run(site.srv.loop);
    if (connect)
        say(w, connect);
    buf_clear(wire_heard(w));
    return w;
}

static void end(void)
{
    wire_free(watcher);
    wire_free(witness);
    site_stop(&site);
    site_release(&site);
}

static void begin(void)
{
    unsigned long long secret;
    ASSERT(getrandom(&secret, sizeof secret, 0) == sizeof secret);
    char *text = xasprintf(conf, secret);
    char *hello = xasprintf(
        "CONNECT {\"user\":\"b\",\"pass\":\"p%016llx\",\"verbose\":false,\"headers\":true}\r\n"
        "SUB > 1\r\n",
        secret);
    site_init(&site);
    ASSERT(atexit(end) == 0);
    ASSERT(site_start(&site, text) == 0);
    watcher = enter("CONNECT {\"user\":\"a\",\"pass\":\"a\",\"verbose\":false}\r\nSUB > 1\r\n");
    witness = enter(hello);
    free(text);
    free(hello);
}

/* --- what was heard --------------------------------------------------------------------------- */

/* Takes a line or a message off the front; its subject, if it is a message. */
static bool next_said(struct slice *rest, struct slice *said, struct slice *subject)
{
    size_t end = slice_search(*rest, SLICE("\r\n"));
    struct slice words = slice_head(*rest, end), word, last = {NULL, 0};
    uint64_t n = 0;
    *subject = (struct slice){NULL, 0};
    if (!rest->n)
        return false;
    ASSERT(end < rest->n); /* never half a line */
    end += 2;
    if (slice_starts(words, SLICE("MSG ")) || slice_starts(words, SLICE("HMSG "))) {
        ASSERT(slice_token(&words, &word) && slice_token(&words, subject));
        while (slice_token(&words, &word))
            last = word;
        ASSERT(slice_u64(last, &n) == 0 && end + n + 2 <= rest->n);
        end += n + 2;
    }
    *said = slice_head(*rest, end);
    ASSERT(slice_ends(*said, SLICE("\r\n")));
    *rest = slice_skip(*rest, end);
    return true;
}

/* Everything but INFO, which tells ids and nonces; each message must be allowed. */
static void take_heard(struct wire *w, bool (*allowed)(struct slice subject), struct buf *out)
{
    struct slice rest = buf_slice(wire_heard(w)), said, subject;
    while (next_said(&rest, &said, &subject)) {
        if (subject.n && allowed)
            ASSERT(allowed(subject));
        if (!slice_starts(said, SLICE("INFO ")))
            buf_add_slice(out, said);
    }
    buf_clear(wire_heard(w));
}

/* --- playing ---------------------------------------------------------------------------------- */

static size_t sinks(void)
{
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct account *a = account_find(site.srv.accounts, slice_cstr(i ? "B" : "A"));
        n += sublist_count(a->subs);
    }
    return n;
}

/* It may become somebody else. */
static bool says_connect(struct slice talk)
{
    for (; talk.n >= 6; talk = slice_skip(talk, 1))
        if (slice_ieq(slice_head(talk, 6), SLICE("ONNECT")))
            return true;
    return false;
}

struct heard {
    struct buf client, watcher;
    bool alive;
};

static void play(struct slice talk, bool restricted, size_t piece, struct heard *out)
{
    size_t before = sinks();
    bool strict = restricted && !says_connect(talk);
    struct wire *w =
        enter(restricted
                  ? "CONNECT {\"user\":\"r\",\"pass\":\"r\",\"verbose\":false,\"headers\":true}\r\n"
                  : NULL);
    wire_split(w, piece);
    wire_say(w, talk.p, talk.n);
    for (int i = 0; i < 100; i++) /* whatever was begun has an end */
        wire_say(w, "\r\nPING\r\n", 8);
    fake_loop_run(site.srv.loop);
    take_heard(watcher, strict ? may_publish : NULL, &out->watcher);
    say(watcher, "PUB s.x r 1\r\nx\r\nPUB s.no.x 1\r\nx\r\nPUB q.1 1\r\ny\r\nPUB secret "
                 "1\r\nz\r\nPUB s.a.no 0\r\n\r\n");
    out->alive = wire_alive(w);
    take_heard(w, strict ? may_hear : NULL, &out->client);
    buf_clear(wire_heard(watcher));
    wire_free(w);
    fake_loop_run(site.srv.loop);
    ASSERT(sinks() == before);
    ASSERT(wire_alive(watcher) && wire_alive(witness) && wire_heard(witness)->len == 0);
}

static void same(const char *who, const struct heard *h, const struct heard *other, struct slice a,
                 struct slice b)
{
    if (slice_eq(a, b) && h->alive == other->alive)
        return;
    fprintf(stderr, "%s, whole (alive: %d) and in pieces (alive: %d):\n%.*s\n---\n%.*s\n%s\n", who,
            h->alive, other->alive, SLICE_FMT(a), SLICE_FMT(b), buf_cstr(&site.log));
    abort();
}

/* A queue's member is chosen by chance, a service tells the time; and the refusal of a line that is
 * too long comes at another place. */
static bool is_sure(struct slice in, const struct heard *h)
{
    static const struct parse_limits limits = {PARSE_CLIENT, 256, 512};
    struct op op;
    if (slice_search(buf_slice(&h->client), SLICE("maximum control line")) < h->client.len)
        return false;
    for (; parse(&limits, in, &op) == PARSED; in = slice_skip(in, op.len))
        if ((op.verb == VERB_SUB && op.queue.n) || ((op.verb == VERB_PUB || op.verb == VERB_HPUB) &&
                                                    slice_starts(op.subject, SLICE("$SYS"))))
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard whole = {.alive = false}, cut = {.alive = false};
    if (size < 2 || size > 4096)
        return 0;
    if (!watcher)
        begin();
    struct slice talk = slice_of(data + 1, size - 1);
    play(talk, data[0] & 1, 0, &whole);
    if (is_sure(talk, &whole)) {
        play(talk, data[0] & 1, 1 + (data[0] >> 1), &cut);
        same("the client", &whole, &cut, buf_slice(&whole.client), buf_slice(&cut.client));
        same("the watcher", &whole, &cut, buf_slice(&whole.watcher), buf_slice(&cut.watcher));
    }
    buf_clear(&site.log);
    buf_release(&whole.client);
    buf_release(&whole.watcher);
    buf_release(&cut.client);
    buf_release(&cut.watcher);
    return 0;
}
