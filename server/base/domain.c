/* base/domain.c -- the one place that spells $JS.<domain>; see domain.h
 *
 * A domain D is a second name for the API of the server that has it. One table, read in both
 * directions, says how the names go together; another lists what must not cross a link under its
 * plain name:
 *
 *     $JS.D.API.STREAM.>   <->  $JS.API.STREAM.>      (and six more families like it)
 *     $JS.D.API.$KV.>      <->  $KV.>
 *
 * The system account knows the single pair $JS.D.API.> -> $JS.API.>.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/domain.h"

#include "base/mem.h"

/* The first two are the insides of a cluster: only a link between system accounts would carry them.
 */
static const struct slice deny_list[] = {
    SLICE_INIT("$JSC.>"), SLICE_INIT("$NRG.>"), SLICE_INIT("$JS.API.>"),
    SLICE_INIT("$KV.>"),  SLICE_INIT("$OBJ.>"),
};
#define DENY_CLIENT_FROM 2

#define JS  "$JS."
#define API "$JS.API"

/* What follows "$JS.D.API." and what stands there without a domain. A prefix ends in a dot. */
static const struct family {
    struct slice suffix;
    struct slice plain;
} families[] = {
    {SLICE_INIT("INFO"), SLICE_INIT("$JS.API.INFO")},
    {SLICE_INIT("STREAM."), SLICE_INIT("$JS.API.STREAM.")},
    {SLICE_INIT("CONSUMER."), SLICE_INIT("$JS.API.CONSUMER.")},
    {SLICE_INIT("DIRECT."), SLICE_INIT("$JS.API.DIRECT.")},
    {SLICE_INIT("META."), SLICE_INIT("$JS.API.META.")},
    {SLICE_INIT("SERVER."), SLICE_INIT("$JS.API.SERVER.")},
    {SLICE_INIT("ACCOUNT."), SLICE_INIT("$JS.API.ACCOUNT.")},
    {SLICE_INIT("$KV."), SLICE_INIT("$KV.")},
    {SLICE_INIT("$OBJ."), SLICE_INIT("$OBJ.")},
};
static const struct family system_family = {SLICE_INIT(""), SLICE_INIT("$JS.API.")};

/* "STREAM." stands for "STREAM.>", "INFO" for itself. */
static bool is_prefix(struct slice s)
{
    return !s.n || s.p[s.n - 1] == '.';
}

static size_t list_families(bool system, const struct family **list)
{
    *list = system ? &system_family : families;
    return system ? 1 : ARRAY_LEN(families);
}

size_t domain_denies(const struct domain_pair *pair, enum domain_dir dir, struct buf *own,
                     struct slice out[DOMAIN_DENY_MAX])
{
    size_t n = 0;
    buf_clear(own);
    if (!pair->system && pair->default_is_empty)
        return 0;
    bool mismatch = !slice_eq(pair->ours, pair->theirs) || (!pair->jetstream && !pair->ours.n) ||
                    (pair->system && pair->default_is_empty);
    if (mismatch || !pair->system)
        for (size_t i = pair->system ? 0 : DENY_CLIENT_FROM; i < ARRAY_LEN(deny_list); i++)
            out[n++] = deny_list[i];
    /* A guard against a hub with our own domain's name: what is meant for us does not leave. */
    if (mismatch && dir == DOMAIN_OUT && pair->jetstream && pair->ours.n) {
        domain_api_prefix(pair->ours, own);
        buf_add_str(own, ".>");
        out[n++] = buf_slice(own);
    }
    ASSERT(n <= DOMAIN_DENY_MAX);
    return n;
}

bool domain_mapping(struct slice ours, bool system, size_t i, struct buf *out)
{
    const struct family *list;
    if (!ours.n || i >= list_families(system, &list))
        return false;
    domain_api_prefix(ours, out);
    buf_add_char(out, '.');
    buf_add_slice(out, list[i].suffix);
    if (is_prefix(list[i].suffix))
        buf_add_char(out, '>');
    return true;
}

/* Cuts what off the front of *s. */
static bool skip(struct slice *s, struct slice what)
{
    if (!slice_starts(*s, what))
        return false;
    *s = slice_skip(*s, what.n);
    return true;
}

/* Does name, a prefix or a whole subject, stand at the front of s? *rest is what follows. */
static bool under(struct slice s, struct slice name, struct slice *rest)
{
    if (!skip(&s, name) || is_prefix(name) != (s.n > 0))
        return false;
    *rest = s;
    return true;
}

bool domain_to_local(struct slice ours, bool system, struct slice subject, struct buf *out)
{
    const struct family *list;
    struct slice rest;
    if (!ours.n || !skip(&subject, SLICE(JS)) || !skip(&subject, ours) ||
        !skip(&subject, SLICE(".API.")))
        return false;
    for (size_t i = 0, n = list_families(system, &list); i < n; i++)
        if (under(subject, list[i].suffix, &rest)) {
            buf_add_slice(out, list[i].plain);
            buf_add_slice(out, rest);
            return true;
        }
    return false;
}

bool domain_to_remote(struct slice hub_domain, struct slice subject, struct buf *out)
{
    struct slice rest;
    if (!hub_domain.n || !subject.n || subject.p[0] != '$')
        return false;
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (under(subject, families[i].plain, &rest)) {
            domain_api_prefix(hub_domain, out);
            buf_add_char(out, '.');
            buf_add_slice(out, families[i].suffix);
            buf_add_slice(out, rest);
            return true;
        }
    return false;
}

/* ".." becomes "." from left to right, each pair once: "..." leaves "..". */
static void add_collapsed(struct buf *out, struct slice s)
{
    size_t at;
    while ((at = slice_search(s, SLICE(".."))) < s.n) {
        buf_add_slice(out, slice_head(s, at + 1));
        s = slice_skip(s, at + 2);
    }
    buf_add_slice(out, s);
}

void domain_external(struct slice api_prefix, struct slice subject, struct buf *out)
{
    struct buf whole = BUF_INIT;
    size_t at = slice_search(subject, SLICE(API));
    buf_add_slice(&whole, slice_head(subject, at));
    if (at < subject.n)
        buf_add_slice(&whole, api_prefix);
    buf_add_slice(&whole, slice_skip(subject, at + sizeof API - 1));
    add_collapsed(out, buf_slice(&whole));
    buf_release(&whole);
}

void domain_api_prefix(struct slice domain, struct buf *out)
{
    buf_add_str(out, JS);
    buf_add_slice(out, domain);
    buf_add_str(out, domain.n ? ".API" : "API");
}
