/* fuzz/api.c -- see api.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/api.h"

#include <stdio.h>
#include <stdlib.h>

/* the scene's own mistakes, said without a test framework */
#define fail_msg(...)          (fprintf(stderr, __VA_ARGS__), assert_failed("the scene", __FILE__, __LINE__))
#define assert_non_null(p)     ASSERT((p) != NULL)
#define assert_int_equal(a, b) ASSERT((a) == (b))

#include "base/clock.h"
#include "base/log.h"
#include "base/subject.h"
#include "fake/jsscene.h"
#include "storage/store.h"

enum { LINES = 40, WAIT_S = 20 };
#define API "$JS.API."

struct api_scene {
    struct jsscene js;
    struct buf hdr; /* of the next line */
    char inbox[32]; /* of the request under way */
    uint64_t n;     /* requests so far */
};

static void on_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

/* Until the disk has everything and nobody has anything to do. */
static void settle(struct api_scene *s)
{
    do {
        fake_turn_run(&s->js.ft);
        store_drain(s->js.store);
    } while (fake_turn_once(&s->js.ft));
}

struct jshost *api_host(struct api_scene *s)
{
    return &s->js.host;
}

/* --- saying ----------------------------------------------------------------------------------- */

/* "a: b;c: d" as a header block; empty: none. */
static void set_header(struct buf *out, struct slice text)
{
    buf_clear(out);
    if (!text.n)
        return;
    buf_add_str(out, "NATS/1.0\r\n");
    for (struct slice rest = text; rest.n;) {
        struct slice line = slice_head(rest, slice_find(rest, ';'));
        buf_add_slice(out, line);
        buf_add_str(out, "\r\n");
        rest = slice_skip(rest, line.n + 1);
    }
    buf_add_str(out, "\r\n");
}

/* As a client's publish: a subject that no client can say is not said. True: somebody heard it. */
static bool say(struct api_scene *s, struct slice subject, struct slice reply, struct slice text)
{
    struct buf all = BUF_INIT;
    bool heard = false;
    buf_add_slice(&all, subject);
    buf_add_char(&all, '\0');
    buf_add_slice(&all, text);
    buf_add_char(&all, '\0');
    if (subject_valid_literal(subject)) {
        char *to = slice_dup(reply), *hdr = s->hdr.len ? slice_dup(buf_slice(&s->hdr)) : NULL;
        heard = jshost_send(&s->js.host, &s->js.account, all.data, reply.n ? to : NULL, hdr,
                            all.data + subject.n + 1) > 0;
        free(to);
        free(hdr);
    }
    buf_clear(&s->hdr);
    buf_release(&all);
    settle(s);
    return heard;
}

void api_say(struct api_scene *s, struct slice subject, struct slice reply, struct slice text)
{
    (void)say(s, subject, reply, text);
}

void api_deliver(struct api_scene *s, struct slice via, struct slice subject, struct slice reply,
                 struct slice text)
{
    struct jsapi_host *h = &s->js.host.host;
    struct msg_view m = {
        .subject = subject, .via = via, .reply = reply, .hdr = buf_slice(&s->hdr), .payload = text};
    if (subject_valid_literal(via) && (!reply.n || subject_valid_literal(reply)))
        (void)h->publish(h->arg, &s->js.account, &m);
    msg_view_done(&m);
    buf_clear(&s->hdr);
    settle(s);
}

/* --- hearing ---------------------------------------------------------------------------------- */

static void check_error(json_t *error, struct slice text)
{
    bool whole = json_get_int(error, "code", 0) >= 400 && json_get_int(error, "err_code", 0) > 0;
    if (!whole || !json_get_str(error, "description").n)
        fprintf(stderr, "half an error: %.*s\n", SLICE_FMT(text));
    ASSERT(whole && json_get_str(error, "description").n);
}

/* The answer as JSON, or NULL; there must not be two. */
static json_t *hear_answer(struct api_scene *s, bool must)
{
    struct jshost_msg *m = jshost_take(&s->js.host, s->inbox);
    json_t *doc = NULL, *error;
    for (int i = 0; !m && must && i < WAIT_S; i++) {
        fake_turn_advance(&s->js.ft, NS_PER_S);
        settle(s);
        m = jshost_take(&s->js.host, s->inbox);
    }
    ASSERT(m || !must);
    if (!m)
        return NULL;
    if (json_read(m->payload, &doc, NULL) != 0)
        fprintf(stderr, "no JSON: %.*s\n", SLICE_FMT(m->payload));
    ASSERT(json_is_object(doc));
    ASSERT(slice_starts(json_get_str(doc, "type"), SLICE("io.nats.jetstream.api.v1.")));
    if ((error = json_key(doc, "error")) != NULL)
        check_error(error, m->payload);
    jshost_msg_free(m);
    m = jshost_take(&s->js.host, s->inbox);
    ASSERT(m == NULL);
    return doc;
}

/* Is there such an endpoint? Others are met with silence, as is a reset of what does not exist. */
static bool is_verb(const char *verb)
{
    if (slice_starts(slice_cstr(verb), SLICE("CONSUMER.RESET.")))
        return false;
    static const char *const patterns[] = {
#define V(pattern, type, fn, flags, in_error) pattern,
#include "jsapi/verbs.def"
#undef V
    };
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        if (subject_match(slice_cstr(verb), slice_cstr(patterns[i])))
            return true;
    return false;
}

/* NULL when nobody listens. */
static json_t *ask(struct api_scene *s, const char *verb, struct slice body)
{
    struct buf subject = BUF_INIT;
    json_t *doc = NULL;
    snprintf(s->inbox, sizeof s->inbox, "_INBOX.fuzz.%llu", (unsigned long long)s->n++);
    buf_printf(&subject, API "%s", verb);
    if (say(s, buf_slice(&subject), slice_cstr(s->inbox), body))
        doc = hear_answer(s, is_verb(verb));
    buf_release(&subject);
    return doc;
}

static json_t *ask_json(struct api_scene *s, const char *verb, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_t *doc = ask(s, verb, slice_cstr(text));
    free(text);
    return doc;
}

/* --- what is known ---------------------------------------------------------------------------- */

static json_t *list(struct api_scene *s, const char *verb, const char *of)
{
    json_t *doc = ask(s, verb, (struct slice){0}), *all = json_incref(json_key(doc, of));
    json_free(doc);
    return all;
}

/* Takes the next answer of a description apart: what a restart does not change. */
static void picture_of_consumers(struct api_scene *s, const char *stream, json_t *out)
{
    char *verb = xasprintf("CONSUMER.LIST.%s", stream);
    json_t *all = list(s, verb, "consumers"), *c;
    size_t i;
    json_array_foreach(all, i, c)
    {
        json_t *cfg = json_key(c, "config");
        if (!json_get_str(cfg, "durable_name").n || json_get_bool(cfg, "mem_storage", false) ||
            json_get_int(cfg, "inactive_threshold", 0) || json_get_str(cfg, "deliver_subject").n)
            continue;
        json_t *d = json_key(c, "delivered"), *f = json_key(c, "ack_floor");
        json_array_append_new(
            out, json_pack("[O, I, I, I, I, O]", cfg, json_get_int(d, "consumer_seq", -1),
                           json_get_int(d, "stream_seq", -1), json_get_int(f, "consumer_seq", -1),
                           json_get_int(f, "stream_seq", -1), json_key(c, "num_ack_pending")));
    }
    json_free(all);
    free(verb);
}

/* Does it store what is said by looking at it? */
static bool is_curious(json_t *cfg)
{
    json_t *subject;
    size_t i;
    json_array_foreach(json_key(cfg, "subjects"), i, subject)
    {
        struct slice s = slice_of(json_string_value(subject), json_string_length(subject));
        if (subject_overlap(s, SLICE("$JS.>")) || subject_overlap(s, SLICE("_INBOX.>")))
            return true;
    }
    return false;
}

/* Does it keep what it has over a restart, whatever the clock and its consumers do? */
static bool is_steady(json_t *cfg)
{
    return slice_is(json_get_str(cfg, "storage"), "file") &&
           slice_is(json_get_str(cfg, "retention"), "limits") && !json_get_int(cfg, "max_age", 0) &&
           !json_key(cfg, "mirror") && !json_key(cfg, "sources") &&
           !json_get_bool(cfg, "allow_msg_ttl", false) && !is_curious(cfg);
}

static json_t *picture(struct api_scene *s)
{
    json_t *out = json_array(), *all = list(s, "STREAM.LIST", "streams"), *st;
    size_t i;
    json_array_foreach(all, i, st)
    {
        json_t *cfg = json_key(st, "config"), *state = json_key(st, "state");
        if (!is_steady(cfg))
            continue;
        json_array_append_new(out, json_pack("[O, O, I, I, I, I]", cfg, json_key(st, "created"),
                                             json_get_int(state, "messages", -1),
                                             json_get_int(state, "bytes", -1),
                                             json_get_int(state, "first_seq", -1),
                                             json_get_int(state, "last_seq", -1)));
        picture_of_consumers(s, json_string_value(json_key(cfg, "name")), out);
    }
    json_free(all);
    return out;
}

static void complain(const char *what, json_t *a, json_t *b)
{
    char *x = json_dumps(a, JSON_COMPACT), *y = json_dumps(b, JSON_COMPACT);
    fprintf(stderr, "%s\n%s\n%s\n", what, x, y);
    free(x);
    free(y);
}

static void restart(struct api_scene *s)
{
    buf_clear(&s->hdr);
    settle(s);
    json_t *before = picture(s);
    jsscene_restart(&s->js);
    jshost_want(&s->js.host, "d.>");
    jshost_want(&s->js.host, "$JS.hub.>");
    settle(s);
    json_t *after = picture(s);
    if (!json_equal(before, after))
        complain("a restart changed something", before, after);
    ASSERT(json_equal(before, after));
    json_free(before);
    json_free(after);
}

/* --- accepted is accepted again --------------------------------------------------------------- */

/* Go marshals what it was given; these it adds at every create. */
static json_t *without_level(json_t *cfg)
{
    json_t *meta, *copy = json_deep_copy(cfg);
    if ((meta = json_object_get(copy, "metadata")) != NULL) {
        json_object_del(meta, "_nats.req.level");
        json_object_del(meta, "_nats.level");
        json_object_del(meta, "_nats.ver");
        if (!json_object_size(meta))
            json_object_del(copy, "metadata");
    }
    return copy;
}

static void same_again(struct api_scene *s, const char *verb, json_t *body, json_t *cfg)
{
    json_t *doc = ask_json(s, verb, body);
    json_t *a = without_level(cfg), *b = without_level(json_key(doc, "config"));
    if (json_key(doc, "error") || !json_equal(a, b))
        complain(verb, body, doc);
    ASSERT(!json_key(doc, "error") && json_equal(a, b));
    json_free(a);
    json_free(b);
    json_free(doc);
}

static void consumers_again(struct api_scene *s, const char *stream)
{
    char *verb = xasprintf("CONSUMER.LIST.%s", stream);
    json_t *all = list(s, verb, "consumers"), *c;
    size_t i;
    free(verb);
    json_array_foreach(all, i, c)
    {
        json_t *cfg = json_key(c, "config"),
               *body = json_pack("{s:s, s:O}", "stream_name", stream, "config", cfg);
        if (json_get_str(cfg, "durable_name").n) {
            verb = xasprintf("CONSUMER.DURABLE.CREATE.%s.%s", stream,
                             json_string_value(json_key(cfg, "durable_name")));
            same_again(s, verb, body, cfg);
            free(verb);
        }
        json_free(body);
    }
    json_free(all);
}

static void configs_again(struct api_scene *s)
{
    json_t *all = list(s, "STREAM.LIST", "streams"), *st;
    size_t i;
    json_array_foreach(all, i, st)
    {
        json_t *cfg = json_key(st, "config");
        const char *name = json_string_value(json_key(cfg, "name"));
        char *verb = xasprintf("STREAM.CREATE.%s", name);
        same_again(s, verb, cfg, cfg);
        consumers_again(s, name);
        free(verb);
    }
    json_free(all);
}

/* --- playing ---------------------------------------------------------------------------------- */

/* These answer when they have something to say, as plain messages. */
static bool is_plain(struct slice verb)
{
    return slice_starts(verb, SLICE("DIRECT.GET")) ||
           slice_starts(verb, SLICE("CONSUMER.MSG.NEXT"));
}

static void request(struct api_scene *s, struct slice verb, struct slice body)
{
    if (is_plain(verb)) {
        struct buf subject = BUF_INIT;
        snprintf(s->inbox, sizeof s->inbox, "_INBOX.fuzz.%llu", (unsigned long long)s->n++);
        buf_printf(&subject, API "%.*s", SLICE_FMT(verb));
        (void)say(s, buf_slice(&subject), slice_cstr(s->inbox), body);
        buf_release(&subject);
        return;
    }
    char *text = slice_dup(verb);
    if (slice_find(verb, '\0') == verb.n)
        json_free(ask(s, text, body));
    free(text);
}

static bool is_played(const struct api_target *t, struct slice verb)
{
    for (const char *const *v = t->verbs; *v; v++)
        if (slice_starts(verb, slice_cstr(*v)))
            return true;
    return false;
}

static void pass(struct api_scene *s, struct slice seconds)
{
    uint64_t n;
    if (slice_u64(seconds, &n) != 0 || n > 3600)
        return;
    fake_turn_advance(&s->js.ft, (int64_t)n * NS_PER_S);
    settle(s);
}

static void line(struct api_scene *s, const struct api_target *t, struct slice l, bool all)
{
    char what = l.p[0];
    struct slice rest = slice_skip(l, 1), first = slice_head(rest, slice_find(rest, ' '));
    struct slice body = slice_skip(rest, first.n + 1);
    if (what == ':' && (all || is_played(t, first)))
        request(s, first, body);
    else if (what == '+')
        (void)say(s, first, SLICE("_INBOX.ack"), body);
    else if (what == '#')
        set_header(&s->hdr, rest);
    else if (what == '~')
        pass(s, first);
    else if (what == '!')
        restart(s);
    else if (what == '=' && t->other_side)
        t->other_side(s, first, body);
}

static void play(struct api_scene *s, const struct api_target *t, struct slice text, bool all)
{
    for (int i = 0; text.n && i < LINES; i++) {
        struct slice l = slice_head(text, slice_find(text, '\n'));
        text = slice_skip(text, l.n + 1);
        if (l.n)
            line(s, t, l, all);
    }
}

int api_play(const struct api_target *t, const uint8_t *data, size_t size)
{
    struct api_scene s = {.n = 0};
    if (size == 0 || size > 8192)
        return 0;
    log_capture(on_log, NULL);
    jsscene_init(&s.js);
    s.js.domain = SLICE("site");
    jsscene_start(&s.js);
    jshost_want(&s.js.host, "d.>");
    jshost_want(&s.js.host, "$JS.hub.>");
    play(&s, t, slice_cstr(t->before), true);
    play(&s, t, slice_of(data, size), false);
    buf_clear(&s.hdr);
    configs_again(&s);
    jsapi_close(s.js.js);
    s.js.js = NULL;
    store_close(s.js.store);
    fake_turn_run(&s.js.ft);
    ASSERT(s.js.host.n_subs == 0 && list_empty(&s.js.host.watches));
    jshost_release(&s.js.host);
    fake_turn_release(&s.js.ft);
    jsscene_remove(s.js.dir);
    buf_release(&s.hdr);
    log_capture(NULL, NULL);
    return 0;
}
