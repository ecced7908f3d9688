/* test_dialogue.c -- the dialogues of tests/dialogue with jsapi, the real store and a fake host
 *
 * Each file holds requests and what the genuine nats-server answered
 * (tests/interop/frondtest/dialogue.py tells the format and plays the same files over sockets).
 * Every answer must be the same, byte for byte, moments masked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake/jsscene.h"

#define ANSWERS_MAX 8
#define HEADERS_MAX 8

struct step {
    int line;
    char *subject, *body, *headers[HEADERS_MAX];
    size_t n_headers;
    int count;                                           /* answers awaited */
    char *head[2][ANSWERS_MAX], *answer[2][ANSWERS_MAX]; /* [1]: where Frond differs on purpose */
    int n[2];
};

struct scene {
    struct jsscene js;
    unsigned sent;
    int wrong;
};

/* --- masking ---------------------------------------------------------------------------------- */

/* Copies text; what stands between `from` and `end` (not included) becomes `to`, when it starts
 * with `first` (0: any). */
static void mask_one(struct buf *out, struct slice text, const char *from, char first,
                     const char *end, const char *to)
{
    for (;;) {
        size_t at = slice_search(text, slice_cstr(from));
        buf_add_slice(out, slice_head(text, at));
        if (at == text.n)
            return;
        text = slice_skip(text, at + strlen(from));
        buf_add_str(out, from);
        if (first && (!text.n || text.p[0] != first))
            continue;
        buf_add_str(out, to);
        text = slice_skip(text, slice_search(text, slice_cstr(end)));
    }
}

static char *mask(struct slice text)
{
    static const struct {
        const char *from;
        char first;
        const char *end, *to;
    } rules[] = {
        {"\"created\":\"", '2', "\"", "T"},   {"\"ts\":\"", '2', "\"", "T"},
        {"\"first_ts\":\"", '2', "\"", "T"},  {"\"last_ts\":\"", '2', "\"", "T"},
        {"\"time\":\"", '2', "\"", "T"},      {"\"timestamp\":\"", '2', "\"", "T"},
        {"\"last_active\":\"", 0, "\"", "T"}, {"\"leader\":\"", 0, "\"", "L"},
        {"Nats-Time-Stamp: ", 0, "|", "T"},   {"Nats-Stream-Identity: ", 0, "|", "I"},
    };
    char *now = slice_dup(text);

    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct buf out = BUF_INIT;
        mask_one(&out, slice_cstr(now), rules[i].from, rules[i].first, rules[i].end, rules[i].to);
        free(now);
        now = buf_steal(&out);
    }
    char *bad = strstr(now, "invalid JSON: "), *said = bad ? bad + strlen("invalid JSON: ") : NULL;
    if (bad && strncmp(said, "json: ", 6) != 0 && strncmp(said, "can not ", 8) != 0) {
        struct buf out = BUF_INIT;
        const char *end = said;
        while (*end && *end != '"')
            end += *end == '\\' ? 2 : 1;
        buf_add(&out, now, (size_t)(said - now));
        buf_add_str(&out, "…");
        buf_add_str(&out, end);
        free(now);
        now = buf_steal(&out);
    }
    return now;
}

static char *one_line(struct slice hdr)
{
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < hdr.n; i++)
        if (hdr.p[i] == '\r')
            buf_add_char(&out, '|');
        else if (hdr.p[i] != '\n')
            buf_add_char(&out, hdr.p[i]);
    buf_add_char(&out, 0);
    char *text = mask(slice_of(buf_slice(&out).p, out.len - 1));
    buf_release(&out);
    return text;
}

/* --- playing ---------------------------------------------------------------------------------- */

static void complain(struct scene *s, const struct step *t, const char *wanted_head,
                     const char *wanted, const char *head, const char *heard)
{
    s->wrong++;
    print_error("line %d: > %s\n   b %.300s\nwanted %s %s\nheard  %s %s\n\n", t->line, t->subject,
                t->body ? t->body : "", wanted_head ? wanted_head : "", wanted, head ? head : "",
                heard);
}

static void expect(struct scene *s, const struct step *t, int i, const char *head,
                   const char *heard)
{
    int ours = t->n[1] ? 1 : 0;
    const char *wanted = i < t->n[ours] ? t->answer[ours][i] : "(nothing)";
    const char *wanted_head = i < t->n[ours] && t->head[ours][i] ? t->head[ours][i] : "";

    if (strcmp(wanted, heard) != 0 || strcmp(wanted_head, head) != 0)
        complain(s, t, wanted_head, wanted, head, heard);
}

static size_t send_step(struct scene *s, const struct step *t, const char *inbox)
{
    struct buf hdr = BUF_INIT;

    if (t->n_headers) {
        buf_add_str(&hdr, "NATS/1.0\r\n");
        for (size_t i = 0; i < t->n_headers; i++)
            buf_printf(&hdr, "%s\r\n", t->headers[i]);
        buf_add_str(&hdr, "\r\n");
    }
    size_t heard = jshost_send(&s->js.host, &s->js.account, t->subject, inbox,
                               hdr.len ? buf_cstr(&hdr) : NULL, t->body);
    buf_release(&hdr);
    return heard;
}

static void play(struct scene *s, const struct step *t)
{
    int ours = t->n[1] ? 1 : 0;
    bool silence = t->n[ours] == 1 && strcmp(t->answer[ours][0], "(silence)") == 0;
    char inbox[32];

    if (!t->subject)
        return;
    snprintf(inbox, sizeof inbox, "answer.%u", s->sent++);
    if (!send_step(s, t, t->count ? inbox : NULL)) {
        expect(s, t, 0, "", "(no responders)");
        return;
    }
    for (int i = 0; i < t->count; i++) {
        if (silence)
            fake_turn_run(&s->js.ft);
        struct jshost_msg *m =
            silence ? jshost_take(&s->js.host, inbox) : jshost_wait(&s->js.host, inbox);
        if (!m) {
            expect(s, t, i, "", "(silence)");
            break;
        }
        char *head = one_line(m->hdr), *body = mask(m->payload);
        expect(s, t, i, head, body);
        free(head);
        free(body);
        jshost_msg_free(m);
    }
    jshost_forget(&s->js.host);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void clear(struct step *t)
{
    free(t->subject);
    free(t->body);
    for (size_t i = 0; i < t->n_headers; i++)
        free(t->headers[i]);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < t->n[k]; i++) {
            free(t->head[k][i]);
            free(t->answer[k][i]);
        }
    *t = (struct step){.count = 1};
}

static void answer_line(struct step *t, int ours, const char *rest, char **head)
{
    assert_true(t->n[ours] < ANSWERS_MAX);
    t->head[ours][t->n[ours]] = *head;
    t->answer[ours][t->n[ours]++] = slice_dup(slice_cstr(rest));
    *head = NULL;
}

static void play_file(const char *path)
{
    struct scene s;
    struct step t = {.count = 1};
    char *line = NULL, *head = NULL;
    size_t room = 0;
    ssize_t n;
    int at = 0;
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    memset(&s, 0, sizeof s);
    jsscene_open(&s.js);
    jshost_want(&s.js.host, "answer.*");
    while ((n = getline(&line, &room, f)) >= 0) {
        at++;
        if (n && line[n - 1] == '\n')
            line[--n] = 0;
        const char *rest = strchr(line, ' ');
        rest = rest ? rest + 1 : "";
        if (!line[0]) {
            play(&s, &t);
            clear(&t);
        } else if (line[0] == '>') {
            t.line = at;
            t.subject = slice_dup(slice_cstr(rest));
        } else if (line[0] == 'h') {
            assert_true(t.n_headers < HEADERS_MAX);
            t.headers[t.n_headers++] = slice_dup(slice_cstr(rest));
        } else if (line[0] == 'b') {
            t.body = slice_dup(slice_cstr(rest));
        } else if (line[0] == 'x') {
            t.count = (int)strtol(rest, NULL, 10);
        } else if (line[0] == '<' && line[1] == 'h') {
            head = slice_dup(slice_cstr(rest));
        } else if (line[0] == '<' || line[0] == '=') {
            answer_line(&t, line[0] == '=', rest, &head);
        }
    }
    play(&s, &t);
    clear(&t);
    free(line);
    fclose(f);
    jsscene_close(&s.js);
    assert_int_equal(s.wrong, 0);
}

#define DIALOGUE(name)                                                                             \
    static void name##_as_the_reference(void **state)                                              \
    {                                                                                              \
        char path[4096];                                                                           \
        (void)state;                                                                               \
        snprintf(path, sizeof path, "%s/tests/dialogue/" #name ".txt", SOURCE_DIR);                \
        play_file(path);                                                                           \
    }
DIALOGUE(stream_config)
DIALOGUE(stream_admin)
DIALOGUE(stream_data)
DIALOGUE(publish)
DIALOGUE(stream_limits)
DIALOGUE(consumer_config)
DIALOGUE(consumer_verbs)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_config_as_the_reference),
        cmocka_unit_test(stream_admin_as_the_reference),
        cmocka_unit_test(stream_data_as_the_reference),
        cmocka_unit_test(publish_as_the_reference),
        cmocka_unit_test(stream_limits_as_the_reference),
        cmocka_unit_test(consumer_config_as_the_reference),
        cmocka_unit_test(consumer_verbs_as_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
