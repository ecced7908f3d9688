/* server/leaf_urls.c -- the list of places to dial; see leaf_urls.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/leaf_urls.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/mem.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %41 -> A; owned. */
static char *percent_decode(struct slice s)
{
    char *out = xmalloc(s.n + 1), *w = out;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            *w++ = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
            i += 2;
        } else {
            *w++ = s.p[i];
        }
    }
    *w = '\0';
    return out;
}

static void parse_userinfo(struct slice info, struct leaf_url *u)
{
    size_t colon = slice_find(info, ':');
    u->user = percent_decode(slice_head(info, colon));
    if (colon < info.n)
        u->password = percent_decode(slice_skip(info, colon + 1));
}

static int parse_hostport(struct slice hp, struct leaf_url *u)
{
    struct slice port = {0};
    if (hp.n && hp.p[0] == '[') {
        size_t end = slice_find(hp, ']');
        if (end == hp.n)
            return E_SYNTAX;
        struct slice rest = slice_skip(hp, end + 1);
        if (rest.n && rest.p[0] != ':')
            return E_SYNTAX;
        port = slice_skip(rest, 1);
        hp = slice_of(hp.p + 1, end - 1);
    } else {
        size_t colon = slice_find(hp, ':');
        port = slice_skip(hp, colon + 1);
        hp = slice_head(hp, colon);
    }
    if (hp.n == 0 || hp.n > 253)
        return E_SYNTAX;
    uint64_t number = LEAF_PORT;
    if (port.n && (slice_u64(port, &number) || number == 0 || number > 65535))
        return E_SYNTAX;
    u->host = slice_dup(hp);
    u->port = (uint16_t)number;
    return E_OK;
}

int leaf_url_parse(struct slice text, struct leaf_url *out)
{
    *out = (struct leaf_url){0};
    text = slice_trim(text);
    size_t scheme = slice_search(text, SLICE("://"));
    if (scheme < text.n) {
        out->tls = slice_ieq(slice_head(text, scheme), SLICE("tls"));
        text = slice_skip(text, scheme + 3);
    }
    size_t slash = slice_find(text, '/');
    text = slice_head(text, slash);
    size_t at = text.n;
    for (size_t i = text.n; i-- > 0;) {
        if (text.p[i] == '@') {
            at = i;
            break;
        }
    }
    if (at < text.n) {
        parse_userinfo(slice_head(text, at), out);
        text = slice_skip(text, at + 1);
    }
    int err = parse_hostport(text, out);
    if (err)
        leaf_url_release(out);
    return err;
}

void leaf_url_release(struct leaf_url *u)
{
    free(u->host);
    free(u->user);
    free(u->password);
    *u = (struct leaf_url){0};
}

int leaf_urls_init(struct leaf_urls *us, const struct slice *configured, size_t n, bool shuffle)
{
    *us = (struct leaf_urls){.at = xcalloc(n ? n : 1, sizeof *us->at)};
    for (size_t i = 0; i < n; i++) {
        int err = leaf_url_parse(configured[i], &us->at[i]);
        if (err) {
            leaf_urls_release(us);
            return err;
        }
        us->n++;
    }
    us->configured = us->n;
    for (size_t i = us->n; shuffle && i > 1; i--) {
        uint32_t r;
        random_bytes(&r, sizeof r);
        struct leaf_url swap = us->at[i - 1];
        us->at[i - 1] = us->at[r % i];
        us->at[r % i] = swap;
    }
    return E_OK;
}

void leaf_urls_release(struct leaf_urls *us)
{
    for (size_t i = 0; i < us->n; i++)
        leaf_url_release(&us->at[i]);
    free(us->at);
    *us = (struct leaf_urls){0};
}

const struct leaf_url *leaf_urls_pick(struct leaf_urls *us)
{
    if (us->n == 0)
        return NULL;
    if (us->used && us->n > 1) {
        struct leaf_url first = us->at[0];
        memmove(&us->at[0], &us->at[1], (us->n - 1) * sizeof us->at[0]);
        us->at[us->n - 1] = first;
    }
    us->used = true;
    return &us->at[0];
}

static bool same_place(const struct leaf_url *a, const struct leaf_url *b)
{
    return a->port == b->port && slice_ieq(slice_cstr(a->host), slice_cstr(b->host));
}

static bool listed(const struct leaf_url *list, size_t n, const struct leaf_url *u)
{
    for (size_t i = 0; i < n; i++) {
        if (same_place(&list[i], u))
            return true;
    }
    return false;
}

void leaf_urls_gossip(struct leaf_urls *us, const struct slice *urls, size_t n)
{
    struct leaf_url used = {
        0}; /* where we are now: if it stays at the head, the next pick passes it over */
    if (us->used && us->n)
        used = (struct leaf_url){.host = xstrdup(us->at[0].host), .port = us->at[0].port};
    struct leaf_url *kept = xcalloc(us->configured ? us->configured : 1, sizeof *kept);
    size_t nkept = 0;
    for (size_t i = 0; i < us->n; i++) {
        if (us->at[i].gossiped)
            leaf_url_release(&us->at[i]);
        else
            kept[nkept++] = us->at[i];
    }
    struct leaf_url *now = xcalloc(n + nkept + 1, sizeof *now);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        struct leaf_url u;
        if (leaf_url_parse(urls[i], &u))
            continue;
        u.gossiped = true;
        if (listed(kept, nkept, &u) || listed(now, count, &u))
            leaf_url_release(&u);
        else
            now[count++] = u;
    }
    memcpy(now + count, kept, nkept * sizeof *kept);
    free(kept);
    free(us->at);
    us->at = now;
    us->n = count + nkept;
    us->used = used.host && us->n && same_place(&us->at[0], &used);
    leaf_url_release(&used);
}

const struct leaf_url *leaf_urls_credentials(const struct leaf_urls *us, const struct leaf_url *u)
{
    if (u->user)
        return u;
    for (size_t i = 0; i < us->n; i++) {
        if (!us->at[i].gossiped && us->at[i].user)
            return &us->at[i];
    }
    return NULL;
}

bool leaf_url_is_ip(const struct leaf_url *u)
{
    unsigned char out[16];
    return inet_pton(AF_INET, u->host, out) == 1 || inet_pton(AF_INET6, u->host, out) == 1;
}

const char *leaf_urls_name(const struct leaf_urls *us)
{
    for (size_t i = 0; i < us->n; i++) {
        if (!leaf_url_is_ip(&us->at[i]))
            return us->at[i].host;
    }
    return NULL;
}
