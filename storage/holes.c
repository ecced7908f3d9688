/* storage/holes.c -- see holes.h
 *
 * What always holds: at[] is sorted by page and runs don't overlap; a page with a bitmap has 1 <=
 * dead < 4096 (a full one becomes a run of one, neighbours that are full join it); `dead` is the
 * number of bits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/holes.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "storage/codec.h"

void holes_init(struct holes *h)
{
    *h = (struct holes){0};
}

void holes_reset(struct holes *h)
{
    for (size_t i = 0; i < h->n; i++)
        free(h->at[i].bits);
    h->n = 0;
    h->sums_n = 0;
    h->ndirty = 0;
}

void holes_release(struct holes *h)
{
    holes_reset(h);
    free(h->at);
    free(h->sums);
    holes_init(h);
}

/* --- the array ------------------------------------------------------------------------------- */

size_t holes_from(const struct holes *h, uint64_t page)
{
    size_t lo = 0, hi = h->n;
    if (h->n && h->at[h->n - 1].page + h->at[h->n - 1].pages <= page)
        return h->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (h->at[mid].page + h->at[mid].pages <= page)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_at(const struct holes *h, size_t i, uint64_t page)
{
    return i < h->n && h->at[i].page <= page;
}

static struct hole_page *insert(struct holes *h, size_t i, uint64_t page)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 8;
        h->at = xrealloc(h->at, h->cap * sizeof *h->at);
    }
    memmove(h->at + i + 1, h->at + i, (h->n - i) * sizeof *h->at);
    h->n++;
    h->at[i] = (struct hole_page){.page = page, .pages = 1};
    h->sums_n = 0;
    return &h->at[i];
}

static void drop(struct holes *h, size_t i, size_t n)
{
    if (!n)
        return;
    for (size_t k = i; k < i + n; k++) {
        free(h->at[k].bits);
        h->ndirty -= h->at[k].dirty;
    }
    memmove(h->at + i, h->at + i + n, (h->n - i - n) * sizeof *h->at);
    h->n -= n;
    h->sums_n = 0;
}

static void soil(struct holes *h, struct hole_page *p)
{
    if (h->quiet)
        return;
    h->ndirty += !p->dirty;
    p->dirty = true;
}

static uint64_t dead_of(const struct hole_page *p)
{
    return p->bits ? p->dead : p->pages * HOLE_PAGE;
}

/* --- sums ------------------------------------------------------------------------------------ */

static void sums_add(struct holes *h, size_t i, uint64_t by)
{
    if (!h->sums_n)
        return;
    for (size_t k = i + 1; k <= h->sums_n; k += k & (0 - k))
        h->sums[k] += by;
}

static void sums_build(struct holes *h)
{
    if (h->sums_n == h->n)
        return;
    h->sums = xrealloc(h->sums, (h->n + 1) * sizeof *h->sums);
    for (size_t i = 1; i <= h->n; i++)
        h->sums[i] = dead_of(&h->at[i - 1]);
    for (size_t i = 1; i <= h->n; i++) {
        size_t up = i + (i & (0 - i));
        if (up <= h->n)
            h->sums[up] += h->sums[i];
    }
    h->sums_n = h->n;
}

static uint64_t sums_upto(const struct holes *h, size_t n)
{
    uint64_t sum = 0;
    for (size_t k = n; k; k -= k & (0 - k))
        sum += h->sums[k];
    return sum;
}

/* --- bits ------------------------------------------------------------------------------------ */

static bool bit(const struct hole_page *p, uint64_t seq)
{
    unsigned i = (unsigned)(seq % HOLE_PAGE);
    return !p->bits || (p->bits[i / 64] >> (i % 64) & 1);
}

bool holes_test(const struct holes *h, uint64_t seq)
{
    uint64_t page = seq / HOLE_PAGE;
    size_t i = holes_from(h, page);
    return is_at(h, i, page) && bit(&h->at[i], seq);
}

/* Full pages side by side become one run. */
static void join(struct holes *h, size_t i)
{
    if (i + 1 < h->n && !h->at[i].bits && !h->at[i + 1].bits &&
        h->at[i].page + h->at[i].pages == h->at[i + 1].page) {
        h->at[i].pages += h->at[i + 1].pages;
        if (h->at[i + 1].dirty && !h->at[i].dirty) {
            h->at[i].dirty = true;
            h->ndirty++;
        }
        soil(h, &h->at[i]);
        drop(h, i + 1, 1);
    }
}

static void became_full(struct holes *h, size_t i)
{
    free(h->at[i].bits);
    h->at[i].bits = NULL;
    join(h, i);
    if (i)
        join(h, i - 1);
}

bool holes_set(struct holes *h, uint64_t seq)
{
    uint64_t page = seq / HOLE_PAGE;
    size_t i = holes_from(h, page);
    if (!is_at(h, i, page)) {
        struct hole_page *p = insert(h, i, page);
        p->bits = xcalloc(HOLE_WORDS, sizeof *p->bits);
    }
    struct hole_page *p = &h->at[i];
    if (bit(p, seq))
        return false;
    p->bits[seq % HOLE_PAGE / 64] |= 1ull << (seq % 64);
    p->dead++;
    soil(h, p);
    sums_add(h, i, 1);
    if (p->dead == HOLE_PAGE)
        became_full(h, i);
    return true;
}

/* Whole pages first..last, all of them free of entries or covered: replaces what is there. */
static void set_pages(struct holes *h, uint64_t first, uint64_t last)
{
    size_t i = holes_from(h, first), k = i;
    uint64_t begin = first, end = last + 1;
    bool dirty = false;
    while (k < h->n && h->at[k].page <= last) {
        if (h->at[k].page < begin)
            begin = h->at[k].page;
        if (h->at[k].page + h->at[k].pages > end)
            end = h->at[k].page + h->at[k].pages;
        dirty |= h->at[k].dirty;
        k++;
    }
    drop(h, i, k - i);
    struct hole_page *p = insert(h, i, begin);
    p->pages = end - begin;
    p->dirty = dirty;
    h->ndirty += dirty;
    soil(h, p);
    join(h, i);
    if (i)
        join(h, i - 1);
}

void holes_set_range(struct holes *h, uint64_t first, uint64_t last)
{
    while (first <= last && (first % HOLE_PAGE || last - first + 1 < HOLE_PAGE)) {
        (void)holes_set(h, first++);
        if (first % HOLE_PAGE == 0 && first <= last && last - first + 1 >= HOLE_PAGE)
            break;
    }
    if (first > last)
        return;
    uint64_t pages = (last - first + 1) / HOLE_PAGE;
    if (pages) {
        set_pages(h, first / HOLE_PAGE, first / HOLE_PAGE + pages - 1);
        first += pages * HOLE_PAGE;
    }
    for (; first <= last; first++)
        (void)holes_set(h, first);
}

/* Cuts a run so that `page` stands alone, with a bitmap. */
static size_t split(struct holes *h, size_t i, uint64_t page)
{
    struct hole_page run = h->at[i];
    uint64_t before = page - run.page, after = run.page + run.pages - 1 - page;
    if (before) {
        h->at[i].pages = before;
        struct hole_page *p = insert(h, ++i, page);
        p->dirty = run.dirty;
        h->ndirty += run.dirty;
    }
    h->at[i].page = page;
    h->at[i].pages = 1;
    if (after) {
        struct hole_page *p = insert(h, i + 1, page + 1);
        p->pages = after;
        p->dirty = run.dirty;
        h->ndirty += run.dirty;
    }
    h->at[i].bits = xmalloc(HOLE_WORDS * sizeof(uint64_t));
    memset(h->at[i].bits, 0xff, HOLE_WORDS * sizeof(uint64_t));
    h->at[i].dead = HOLE_PAGE;
    h->sums_n = 0;
    return i;
}

void holes_clear(struct holes *h, uint64_t seq)
{
    uint64_t page = seq / HOLE_PAGE;
    size_t i = holes_from(h, page);
    if (!is_at(h, i, page) || !bit(&h->at[i], seq))
        return;
    if (!h->at[i].bits)
        i = split(h, i, page);
    struct hole_page *p = &h->at[i];
    p->bits[seq % HOLE_PAGE / 64] &= ~(1ull << (seq % 64));
    soil(h, p);
    sums_add(h, i, 0 - 1ull);
    if (--p->dead == 0)
        drop(h, i, 1);
}

void holes_drop_below(struct holes *h, uint64_t seq)
{
    uint64_t page = seq / HOLE_PAGE;
    size_t n = 0;
    while (n < h->n && h->at[n].page + h->at[n].pages <= page)
        n++;
    if (n)
        drop(h, 0, n);
    if (h->n && h->at[0].page < page) { /* the front of a run */
        h->at[0].pages -= page - h->at[0].page;
        h->at[0].page = page;
        soil(h, &h->at[0]);
        h->sums_n = 0;
    }
}

/* --- questions ------------------------------------------------------------------------------- */

static uint64_t dead_before(const struct hole_page *p, uint64_t seq)
{
    if (!p->bits)
        return seq - p->page * HOLE_PAGE;
    unsigned n = (unsigned)(seq % HOLE_PAGE);
    uint64_t sum = 0;
    for (unsigned w = 0; w < n / 64; w++)
        sum += (unsigned)__builtin_popcountll(p->bits[w]);
    if (n % 64)
        sum += (unsigned)__builtin_popcountll(p->bits[n / 64] << (64 - n % 64));
    return sum;
}

uint64_t holes_count_from(struct holes *h, uint64_t seq)
{
    if (!h->n)
        return 0;
    sums_build(h);
    uint64_t page = seq / HOLE_PAGE;
    size_t i = holes_from(h, page);
    uint64_t sum = sums_upto(h, h->n) - sums_upto(h, i);
    if (is_at(h, i, page))
        sum -= dead_before(&h->at[i], seq);
    return sum;
}

uint64_t holes_next_live(const struct holes *h, uint64_t seq)
{
    for (size_t i = holes_from(h, seq / HOLE_PAGE); is_at(h, i, seq / HOLE_PAGE); i++) {
        const struct hole_page *p = &h->at[i];
        if (p->bits)
            for (uint64_t end = (p->page + 1) * HOLE_PAGE; seq < end; seq++)
                if (!bit(p, seq))
                    return seq;
        seq = (p->page + p->pages) * HOLE_PAGE;
    }
    return seq;
}

uint64_t holes_prev_live(const struct holes *h, uint64_t seq)
{
    while (seq) {
        size_t i = holes_from(h, seq / HOLE_PAGE);
        if (!is_at(h, i, seq / HOLE_PAGE))
            return seq;
        const struct hole_page *p = &h->at[i];
        uint64_t begin = p->page * HOLE_PAGE;
        if (p->bits)
            for (; seq > begin; seq--)
                if (!bit(p, seq))
                    return seq;
        if (p->bits && !bit(p, begin))
            return begin;
        if (!begin)
            return 0;
        seq = begin - 1;
    }
    return 0;
}

uint64_t holes_next_dead(const struct holes *h, uint64_t seq)
{
    for (size_t i = holes_from(h, seq / HOLE_PAGE); i < h->n; i++) {
        const struct hole_page *p = &h->at[i];
        if (seq < p->page * HOLE_PAGE)
            seq = p->page * HOLE_PAGE;
        for (uint64_t end = (p->page + p->pages) * HOLE_PAGE; seq < end; seq++)
            if (bit(p, seq))
                return seq;
    }
    return UINT64_MAX;
}

/* --- rows ------------------------------------------------------------------------------------ */

uint32_t holes_row_place(uint32_t sid, uint64_t page)
{
    char place[12];
    le32(place, sid);
    le64(place + 4, page);
    return crc32c(0, place, sizeof place);
}

void holes_row_add(struct buf *out, uint32_t sid, const struct hole_page *p)
{
    size_t at = row_begin(out);
    add_u8(out, p->bits ? 0 : 1);
    if (p->bits)
        buf_add(out, p->bits, HOLE_WORDS * sizeof *p->bits);
    else
        add_u64(out, p->pages);
    row_end(out, at, holes_row_place(sid, p->page));
}

static int load(struct holes *h, uint32_t sid, uint64_t page, struct slice value)
{
    struct take t;
    int err = row_open(value, holes_row_place(sid, page), &t);
    if (err)
        return err;
    if (take_u8(&t) == 1) {
        uint64_t pages = take_u64(&t);
        if (!t.ok || !pages || pages > UINT64_MAX / HOLE_PAGE - page)
            return E_CORRUPT;
        set_pages(h, page, page + pages - 1);
        return 0;
    }
    struct slice bits = take_bytes(&t, HOLE_WORDS * sizeof(uint64_t));
    if (!t.ok)
        return E_CORRUPT;
    for (unsigned w = 0; w < HOLE_WORDS; w++)
        for (uint64_t word = rd64(bits.p + w * 8ul); word; word &= word - 1)
            (void)holes_set(h, page * HOLE_PAGE + w * 64ull + (unsigned)__builtin_ctzll(word));
    return 0;
}

int holes_row_load(struct holes *h, uint32_t sid, uint64_t page, struct slice value)
{
    h->quiet = true;
    int err = load(h, sid, page, value);
    h->quiet = false;
    return err;
}
