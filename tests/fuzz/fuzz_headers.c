/* fuzz_headers.c -- any bytes as a header block
 *
 * The three ways to look at a block must agree: what hdr_next() walks is what hdr_get() finds, and
 * what hdr_rewrite() leaves is what it was not asked to drop. A rewritten block is sound, and a
 * second rewriting changes nothing. The first byte of the input chooses which headers are dropped:
 * those whose name begins with it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: base
#include "base/buf.h"
#include "base/mem.h"
#include "base/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice all, struct slice s)
{
    ASSERT(s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n));
}

static bool drop(struct slice name, void *arg)
{
    const char *c = arg;
    return name.n && name.p[0] == *c;
}

/* The first header of each name is the one that is found. */
static void walk(struct slice hdr)
{
    struct slice name, value, found;
    for (size_t pos = 0, at = 0; hdr_next(hdr, &pos, &name, &value); at = pos) {
        ASSERT(pos > at && pos <= hdr.n);
        inside(hdr, name);
        inside(hdr, value);
        ASSERT(hdr_get(hdr, name, &found));
        inside(hdr, found);
        ASSERT(found.p <= value.p);
    }
    inside(hdr, hdr_status(hdr));
}

/* Every header of `from` that stays and stands before the first empty line, in order, is in `to`.
 */
static void same_but_dropped(struct slice from, struct slice to, const char *c)
{
    struct slice name, value, kept, as;
    size_t a = 0, b = 0, end = from.n;
    for (size_t i = slice_find(from, '\n') + 1;
         i < from.n;) { /* lines end with LF, an empty one ends all */
        size_t n = slice_find(slice_skip(from, i), '\n');
        if (n == 0 || (n == 1 && from.p[i] == '\r')) {
            end = i;
            break;
        }
        i += n + 1;
    }
    from = slice_head(from, end);
    while (hdr_next(from, &a, &name, &value)) {
        if (drop(name, (void *)c))
            continue;
        ASSERT(hdr_next(to, &b, &kept, &as));
        ASSERT(slice_eq(name, kept) && slice_eq(value, as));
    }
    ASSERT(!hdr_next(to, &b, &kept, &as));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once = BUF_INIT, twice = BUF_INIT;
    struct slice found;
    if (size == 0)
        return 0;
    char c = (char)data[0];
    struct slice hdr = slice_of(data + 1, size - 1);
    walk(hdr);
    hdr_rewrite(&once, hdr, drop, &c, (struct slice){0});
    if (once.len) {
        ASSERT(slice_ends(buf_slice(&once), SLICE("\r\n\r\n")));
        same_but_dropped(hdr, buf_slice(&once), &c);
        if (hdr_valid(hdr))
            ASSERT(hdr_valid(buf_slice(&once)));
        hdr_rewrite(&twice, buf_slice(&once), drop, &c, (struct slice){0});
        ASSERT(slice_eq(buf_slice(&once), buf_slice(&twice)));
        buf_clear(&twice);
    }
    hdr_rewrite(&twice, hdr, drop, &c, SLICE("\x01new: v\r\n"));
    ASSERT(hdr_get(buf_slice(&twice), SLICE("\x01new"), &found));
    buf_release(&once);
    buf_release(&twice);
    return 0;
}
