/* fuzz_parser.c -- any bytes, as a client's and as a link's
 *
 * Each input is read twice: whole, and cut at a place the input itself chooses; both must give the
 * same operations, and every slice must lie inside the input.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "server/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice all, struct slice s)
{
    ASSERT(s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n));
}

static void look(struct slice in, const struct op *op)
{
    struct slice groups[64];

    ASSERT(op->len > 0 && op->len <= in.n);
    inside(in, op->args);
    inside(in, op->subject);
    inside(in, op->reply);
    inside(in, op->hdr);
    inside(in, op->payload);
    if (op->verb == VERB_PUB)
        return;
    inside(in, op->queue);
    inside(in, op->sid);
    if (op->ngroups > 0 && op->ngroups <= ARRAY_LEN(groups)) {
        parse_groups(op, groups);
        for (uint32_t i = 0; i < op->ngroups; i++) {
            ASSERT(groups[i].n > 0);
            inside(in, groups[i]);
        }
    }
}

/* Takes operations off the front of in until it ends or is broken. */
static size_t take_all(const struct parse_limits *l, struct slice in, size_t have,
                       enum parsed *last)
{
    struct slice rest = in;
    size_t at = 0;

    for (;;) {
        struct op op;
        rest = slice_of(in.p + at, have - at);
        *last = parse(l, rest, &op);
        if (*last == PARSED) {
            look(rest, &op);
            at += op.len;
            continue;
        }
        if (*last == PARSE_MORE && have < in.n) {
            if (op.len)
                ASSERT(op.len > have - at);
            have = in.n;
            continue;
        }
        return at;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct parse_limits limits[] = {{PARSE_CLIENT, 128, 64}, {PARSE_LEAF, 256, 64}};
    struct slice in = slice_of(size ? (const void *)(data + 1) : NULL, size ? size - 1 : 0);

    if (size == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        enum parsed whole, cut;
        size_t a = take_all(&limits[i], in, in.n, &whole);
        size_t b = take_all(&limits[i], in, in.n ? data[0] % (in.n + 1) : 0, &cut);
        /* only the refusal of a line that is too long may come at another place */
        ASSERT(whole == PARSE_LINE || cut == PARSE_LINE || (a == b && whole == cut));
    }
    return 0;
}
