/* base/msg.c -- counted messages, and header blocks; see msg.h
 *
 * A header block is read line by line with memchr(); nothing is kept and nothing is allocated. A
 * block that a peer broke (no colon, no empty line at the end) is read as far as it makes sense:
 * lines without a colon are no headers, the end of the bytes is the end of the block.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/msg.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

static char *put(char *at, struct slice s)
{
    if (s.n)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

struct msg *msg_new(const struct msg_view *v)
{
    size_t n = v->hdr.n + v->payload.n + v->subject.n + v->reply.n;
    ASSERT(n <= UINT32_MAX);
    struct msg *m = try_malloc(sizeof *m + n);
    if (!m)
        return NULL;
    m->refs = 1;
    m->hdr_n = (uint32_t)v->hdr.n;
    m->payload_n = (uint32_t)v->payload.n;
    m->subject_n = (uint32_t)v->subject.n;
    m->reply_n = (uint32_t)v->reply.n;
    put(put(put(put(m->data, v->hdr), v->payload), v->subject), v->reply);
    return m;
}

struct msg *msg_share(struct msg_view *v)
{
    if (!v->shared)
        v->shared = msg_new(v);
    return v->shared;
}

void msg_view_done(struct msg_view *v)
{
    if (v->shared)
        msg_unref(v->shared);
    v->shared = NULL;
}

void msg_unref(struct msg *m)
{
    ASSERT(m->refs > 0);
    if (--m->refs == 0)
        free(m);
}

struct msg_view msg_view_of(struct msg *m)
{
    const char *payload = m->data + m->hdr_n, *subject = payload + m->payload_n;
    return (struct msg_view){
        .hdr = slice_of(m->data, m->hdr_n),
        .payload = slice_of(payload, m->payload_n),
        .subject = slice_of(subject, m->subject_n),
        .reply = slice_of(subject + m->subject_n, m->reply_n),
        .shared = m,
    };
}

/* --- header blocks --------------------------------------------------------------------------- */

#define MAGIC "NATS/1.0"

/* A value begins behind the blanks; what stands at its end belongs to it, as with nats-server. */
static struct slice skip_blanks(struct slice s)
{
    while (s.n && s.p[0] == ' ')
        s = slice_skip(s, 1);
    return s;
}

/* The line at *pos without its end; *pos moves behind it. False at the end of the block. */
static bool next_line(struct slice hdr, size_t *pos, struct slice *line)
{
    if (*pos >= hdr.n)
        return false;
    const char *p = hdr.p + *pos, *end = memchr(p, '\n', hdr.n - *pos);
    size_t n = end ? (size_t)(end - p) : hdr.n - *pos;
    *pos += end ? n + 1 : n;
    if (n && p[n - 1] == '\r')
        n--;
    *line = slice_of(p, n);
    return true;
}

bool hdr_get(struct slice hdr, struct slice name, struct slice *value)
{
    struct slice line;
    size_t pos = 0;
    if (!next_line(hdr, &pos, &line))
        return false;
    while (next_line(hdr, &pos, &line))
        if (line.n > name.n && line.p[name.n] == ':' && memcmp(line.p, name.p, name.n) == 0) {
            *value = skip_blanks(slice_skip(line, name.n + 1));
            return true;
        }
    return false;
}

bool hdr_next(struct slice hdr, size_t *pos, struct slice *name, struct slice *value)
{
    struct slice line;
    if (*pos == 0 && !next_line(hdr, pos, &line))
        return false;
    while (next_line(hdr, pos, &line)) {
        size_t colon = slice_find(line, ':');
        if (colon == line.n)
            continue;
        *name = slice_head(line, colon);
        *value = skip_blanks(slice_skip(line, colon + 1));
        return true;
    }
    return false;
}

struct slice hdr_status(struct slice hdr)
{
    struct slice line, status = {NULL, 0};
    size_t pos = 0;
    if (!next_line(hdr, &pos, &line) || !slice_starts(line, SLICE(MAGIC)))
        return status;
    line = slice_skip(line, sizeof MAGIC - 1);
    if (line.n && line.p[0] == ' ' && slice_token(&line, &status))
        return status;
    return (struct slice){NULL, 0};
}

bool hdr_valid(struct slice hdr)
{
    size_t n = sizeof MAGIC - 1;
    return slice_starts(hdr, SLICE(MAGIC)) && slice_ends(hdr, SLICE("\r\n\r\n")) &&
           (hdr.p[n] == '\r' || hdr.p[n] == ' ');
}

void hdr_rewrite(struct buf *out, struct slice hdr, bool (*drop)(struct slice name, void *arg),
                 void *arg, struct slice extra)
{
    struct slice line, first = SLICE(MAGIC);
    size_t pos = 0, was = out->len;
    if (next_line(hdr, &pos, &line))
        first = line;
    buf_add_slice(out, first);
    buf_add(out, "\r\n", 2);
    size_t bare = out->len;
    while (next_line(hdr, &pos, &line) && line.n) {
        size_t colon = slice_find(line, ':');
        if (colon < line.n && drop && drop(slice_head(line, colon), arg))
            continue;
        buf_add_slice(out, line);
        buf_add(out, "\r\n", 2);
    }
    buf_add_slice(out, extra);
    if (out->len == bare && !hdr_status(first).n)
        out->len = was;
    else
        buf_add(out, "\r\n", 2);
}
