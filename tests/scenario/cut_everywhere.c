/* scenario/cut_everywhere.c -- a work queue that a hub pulls over the link, cut at every byte
 *
 *     cut_everywhere [STRIDE]
 *
 * The same small play again and again: a till publishes three orders (each acknowledged), a hub's
 * hand at the other end of the link pulls them and acknowledges each, waiting for the site's word
 * that the ack is on disk. In round k the link breaks when k bytes went through, both ways
 * together, greeting included; the hub's hand comes back and goes on. The rounds end when k is more
 * than the whole play.
 *
 * What must hold in every round: every order reaches the hub, none comes again once the site
 * confirmed its ack, and in the end the stream is empty.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "scenario/site.h"
#include "scenario/words.h"

#define ORDERS   3
#define HUB_PORT 7422
static const char conf[] = "server_name: site\njetstream { store_dir: \"$STORE\", domain: site }\n"
                           "leafnodes { remotes: [ { url: \"nats-leaf://127.0.0.1:7422\" } ] }\n";

static struct site site;
static size_t round_k;
static struct wire *till; /* the local client */
static unsigned requests;
static struct wire *hub; /* NULL: not connected */
static bool asked;       /* a pull request is with the site */
static struct {
    bool seen, confirmed;
} orders[ORDERS];

static void fail(const char *what, struct slice detail)
{
    fprintf(stderr, "cut after %zu bytes: %s %.*s\n--- the server's log\n%.*s", round_k, what,
            SLICE_FMT(detail), SLICE_FMT(buf_slice(&site.log)));
    site_release(&site);
    _exit(1);
}

static void say(struct wire *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct wire *w, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    wire_say(w, buf_slice(&b).p, b.len);
    buf_release(&b);
}

/* --- the till: publishes, asks, and waits for the answer ----------------------------------------
 */

static struct slice answer; /* into the till's buffer */

static bool till_heard(void *arg)
{
    struct buf *heard = wire_heard(till);
    struct slice head, payload;
    for (size_t n; (n = words_next(buf_slice(heard), &head, &payload)) > 0; buf_consume(heard, n)) {
        struct slice rest = head, verb, subject = {0};
        slice_token(&rest, &verb);
        slice_token(&rest, &subject);
        if (slice_is(verb, "PING"))
            say(till, "PONG\r\n");
        if (slice_is(verb, "MSG") && slice_is(subject, arg)) {
            answer = payload;
            return true;
        }
    }
    return false;
}

/* The answer, good until the next request. */
static json_t *request(const char *subject, const char *body)
{
    char inbox[32];
    json_t *j;
    (void)snprintf(inbox, sizeof inbox, "T.%u", ++requests);
    (void)till_heard(inbox); /* old answers go, PINGs are answered */
    say(till, "PUB %s %s %zu\r\n%s\r\n", subject, inbox, strlen(body), body);
    if (!fake_loop_wait(site.srv.loop, till_heard, inbox))
        fail("no answer on", slice_cstr(subject));
    if (json_read(answer, &j, NULL) != 0 || json_key(j, "error"))
        fail("a bad answer:", answer);
    return j;
}

static void call(const char *subject, const char *body)
{
    json_free(request(subject, body));
}

static int64_t messages_left(void)
{
    json_t *j = request("$JS.API.STREAM.INFO.ORDERS", "");
    int64_t n = json_get_int(json_key(j, "state"), "messages", -1);
    json_free(j);
    return n;
}

/* Commits come in order: when this one is through, so are all before it. */
static void wait_for_disk(void)
{
    call("sync.now", "x");
    fake_loop_run(site.srv.loop);
}

/* --- the hub's hand --------------------------------------------------------------------------- */

static void come_back(size_t life)
{
    for (int i = 0; i < 100 && !(hub = wire_dialled(HUB_PORT)); i++)
        site_wait(&site, 100 * NS_PER_MS);
    if (!hub)
        fail("the site does not dial", SLICE(""));
    wire_cut_after(hub, life);
    asked = false;
    say(hub,
        "INFO {\"server_id\":\"H\",\"server_name\":\"hub\",\"version\":\"2.15.2\",\"headers\":true,"
        "\"max_payload\":1048576,\"client_id\":1,\"jetstream\":true,\"domain\":\"hub\","
        "\"leafnode_urls\":[\"127.0.0.1:7422\"]}\r\n");
    say(hub, "PING\r\nLS+ _INBOX.>\r\n");
    fake_loop_run(site.srv.loop);
}

static void hang_on(void)
{
    if (hub && !wire_alive(hub)) {
        wire_free(hub);
        hub = NULL;
    }
    if (!hub)
        come_back(SIZE_MAX);
}

/* "LMSG _INBOX.m $JS.ACK…@orders.2 5", and what the site says to an ack. */
static void hear_message(struct slice subject, struct slice reply, struct slice payload)
{
    uint64_t i;
    if (slice_starts(subject, SLICE("_INBOX.ack."))) {
        if (slice_u64(slice_skip(subject, 11), &i) == 0 && i < ORDERS)
            orders[i].confirmed = true;
        return;
    }
    if (slice_u64(payload, &i) != 0 || i >= ORDERS)
        fail("what is this message?", payload);
    if (orders[i].confirmed)
        fail("comes again after its ack was confirmed:", payload);
    orders[i].seen = true;
    reply = slice_head(reply, slice_find(reply, '@'));
    say(hub, "LMSG %.*s _INBOX.ack.%d 4\r\n+ACK\r\n", SLICE_FMT(reply), (int)i);
}

/* True: something was heard. */
static bool hub_listens(void)
{
    struct buf *heard = wire_heard(hub);
    struct slice head, payload;
    bool any = false;
    for (size_t n; (n = words_next(buf_slice(heard), &head, &payload)) > 0; any = true) {
        struct slice rest = head, verb, subject = {0}, reply = {0};
        slice_token(&rest, &verb);
        slice_token(&rest, &subject);
        slice_token(&rest, &reply);
        if (slice_is(verb, "PING"))
            say(hub, "PONG\r\n");
        else if (slice_is(verb, "LMSG"))
            hear_message(subject, reply, payload);
        else if (slice_is(verb, "HMSG"))
            asked = false; /* 408: the request is over */
        buf_consume(heard, n);
    }
    if (!asked && wire_alive(hub)) {
        static const char body[] = "{\"batch\":3,\"expires\":2000000000}";
        say(hub, "LMSG $JS.site.API.CONSUMER.MSG.NEXT.ORDERS.hub _INBOX.m %zu\r\n%s\r\n",
            strlen(body), body);
        asked = true;
    }
    fake_loop_run(site.srv.loop);
    return any;
}

/* One play. Returns the bytes that were left to the link; 0: it was cut. */
static size_t play(size_t k)
{
    size_t left = 0;
    round_k = k;
    memset(orders, 0, sizeof orders);
    hang_on();
    wire_free(hub); /* a new link, so that its greeting is part of the play */
    come_back(k);
    for (int i = 0; i < ORDERS; i++) {
        char body[16];
        (void)snprintf(body, sizeof body, "%d", i);
        call("orders.new", body);
    }
    for (int patience = 0; messages_left() > 0; patience++) {
        hang_on();
        if (!hub_listens()) {
            wait_for_disk();
            if (!hub_listens())
                site_wait(&site, 400 * NS_PER_MS);
        }
        if (patience > 200)
            fail("orders stay behind", SLICE(""));
    }
    wait_for_disk();
    if (wire_alive(hub)) {
        hub_listens();
        left = wire_left(hub);
    }
    for (int i = 0; i < ORDERS; i++)
        if (!orders[i].seen)
            fail("an order never reached the hub", SLICE(""));
    if (left == SIZE_MAX || left == 0)
        return 0;
    for (int i = 0; i < ORDERS; i++) /* nobody cut it: the whole play was played */
        if (!orders[i].confirmed)
            fail("an ack was never confirmed", SLICE(""));
    return left;
}

int main(int argc, char **argv)
{
    size_t stride = argc > 1 ? strtoul(argv[1], NULL, 10) : 1, k = 1;
    site_init(&site);
    if (site_start(&site, conf) != 0)
        fail("the site does not start", SLICE(""));
    till = wire_knock(4222);
    say(till, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\nSUB T.* 1\r\n");
    call("$JS.API.STREAM.CREATE.ORDERS",
         "{\"name\":\"ORDERS\",\"subjects\":[\"orders.*\"],\"retention\":\"workqueue\"}");
    call("$JS.API.STREAM.CREATE.SYNC",
         "{\"name\":\"SYNC\",\"subjects\":[\"sync.*\"],\"max_msgs\":1}");
    call("$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.hub",
         "{\"stream_name\":\"ORDERS\",\"config\":{\"durable_name\":\"hub\",\"ack_policy\":"
         "\"explicit\","
         "\"ack_wait\":1000000000}}");
    while (play(k) == 0)
        k += stride;
    printf("%zu cuts, one every %zu bytes: nothing lost, nothing after its ack\n", k / stride,
           stride);
    if (hub)
        wire_free(hub);
    wire_free(till);
    site_stop(&site);
    site_release(&site);
    return 0;
}
