/* base/fault.c -- points where a test may make the world fail; see fault.h
 *
 * Rules are read once, from FROND_FAULT or fault_set(); each counts the hits of its own point. In
 * a program built without FAULTS this file is empty and every point is the constant false.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#ifdef FROND_FAULTS

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/slice.h"

#define RULES_MAX 16

struct rule {
    char point[32];          /* name as fault_hit() gets it */
    uint64_t from, to, hits; /* fails when from <= hits <= to; hits counts this call, too */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES_MAX]; /* under lock, like the rest */
static size_t rule_n;
static bool loaded;

/* A specification we can't read is a test that would prove nothing: stop at once. */
static void refuse(struct slice item)
{
    fprintf(stderr, "FROND_FAULT: cannot read \"%.*s\"\n", SLICE_FMT(item));
    abort();
}

static void load_rule(struct slice item)
{
    size_t colon = slice_find(item, ':');
    struct slice range = slice_skip(item, colon + 1);
    struct rule r = {.from = 1, .to = UINT64_MAX};
    if (!colon || colon >= sizeof r.point || rule_n == RULES_MAX)
        refuse(item);
    memcpy(r.point, item.p, colon);
    if (range.n && range.p[range.n - 1] == '+') {
        if (slice_u64(slice_head(range, range.n - 1), &r.from))
            refuse(item);
    } else {
        size_t dash = slice_find(range, '-');
        if (slice_u64(slice_head(range, dash), &r.from))
            refuse(item);
        r.to = r.from;
        if (dash < range.n && slice_u64(slice_skip(range, dash + 1), &r.to))
            refuse(item);
    }
    rules[rule_n++] = r;
}

static void load(const char *spec)
{
    struct slice rest = slice_cstr(spec);
    rule_n = 0;
    loaded = true;
    while (rest.n) {
        size_t comma = slice_find(rest, ',');
        struct slice item = slice_head(rest, comma);
        if (item.n)
            load_rule(item);
        rest = slice_skip(rest, comma + 1);
    }
}

bool fault_hit(const char *point)
{
    bool hit = false;
    pthread_mutex_lock(&lock);
    if (!loaded)
        load(getenv("FROND_FAULT"));
    for (size_t i = 0; i < rule_n; i++) {
        struct rule *r = &rules[i];
        if (strcmp(r->point, point) != 0)
            continue;
        r->hits++;
        hit = hit || (r->hits >= r->from && r->hits <= r->to);
    }
    pthread_mutex_unlock(&lock);
    return hit;
}

void fault_set(const char *spec)
{
    pthread_mutex_lock(&lock);
    load(spec);
    pthread_mutex_unlock(&lock);
}

#endif
