/* files in which a bit leads astray: whatever a key, a header or a record says, every walk gets on,
 * nothing sound is deleted, and what is counted stays right
 *
 * Bytes are changed in the closed file, in every copy LMDB has left of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/storage/place.h"

#include "base/clock.h"
#include "storage/blocks.h"
#include "storage/store.h"
#include "storage/stream.h"

enum { MESSAGES = 900, BLOCKS = 64 };

/* Turns the bits of mask in the byte `at` of each copy of what is looked for; returns how many. */
static unsigned turn_bits(struct image *x, struct slice what, size_t at, unsigned mask)
{
    unsigned n = 0;
    char *p = x->bytes;
    while ((p = memmem(p, (size_t)(x->bytes + x->n - p), what.p, what.n))) {
        p[at] = (char)(p[at] ^ mask);
        p += what.n > at ? what.n : at + 1;
        n++;
    }
    return n;
}

/* Of a closed store. */
static void damage(struct place *p, struct slice what, size_t at, unsigned mask)
{
    struct image x = image_take(p);
    assert_true(turn_bits(&x, what, at, mask) > 0);
    image_put(&x);
    image_free(&x);
}

/* --- a store with blocks --------------------------------------------------------------------- */

static void begin(struct place *p)
{
    place_init(p);
    place_open(p);
}

static void finish(struct place *p)
{
    place_remove(p);
}

static void reopen(struct place *p)
{
    place_open(p);
    fake_turn_run(&p->ft);
}

/* Each payload says its number. */
static void fill(struct place *p, struct stream *s, unsigned n)
{
    char text[800];
    for (unsigned i = 0; i < n; i++) {
        memset(text, '.', sizeof text);
        text[snprintf(text, sizeof text, "<%u>", i)] = '.';
        text[sizeof text - 1] = '\0';
        struct record_in rec = rec_of(i % 2 ? "s.odd" : "s.even", text);
        assert_int_equal(store_append(s, &rec, NULL, NULL), 0);
    }
    put_text(p, s, "s.last", "the last one");
}

static struct stream *begin_filled(struct place *p)
{
    begin(p);
    struct stream_spec spec = spec_of("S");
    struct stream *s = make(p, &spec);
    fill(p, s, MESSAGES);
    return s;
}

/* The numbers blocks begin with. */
static size_t list_blocks(struct place *p, uint64_t *firsts)
{
    struct walk w;
    struct key k;
    unsigned part;
    size_t n = 0;
    struct txn *view = view_open(p->st->db);
    key_stream(&k, 1);
    for (bool on = walk_seek(&w, view, DB_BLOCKS, key_slice(&k));
         on && key_is_block(w.key, 1, &firsts[n], &part); on = walk_next(&w))
        n += part == 0 && n + 1 < BLOCKS;
    walk_end(&w);
    view_close(p->st->db);
    return n;
}

/* A block's key as it lies in a page: its length stands before it. */
static struct buf node_of(uint64_t first)
{
    struct buf node = BUF_INIT;
    struct key k;
    key_block(&k, 1, first);
    buf_add(&node, "\x0c", 2);
    buf_add_slice(&node, key_slice(&k));
    return node;
}

/* The head of the block that begins with `first`: version, flags, n, used and checksum. */
static struct buf head_of(struct place *p, uint64_t first)
{
    struct buf head = BUF_INIT;
    struct key k;
    struct slice v;
    struct txn *view = view_open(p->st->db);
    key_block(&k, 1, first);
    assert_true(txn_get(view, DB_BLOCKS, key_slice(&k), &v));
    buf_add(&head, v.p, BLOCK_HEAD);
    view_close(p->st->db);
    return head;
}

static void damage_head(struct place *p, const struct buf *head, size_t at, unsigned mask)
{
    damage(p, buf_slice(head), at, mask);
}

/* --- looking at all of it -------------------------------------------------------------------- */

struct tale {
    uint64_t last, n;
};

static int on_next(void *arg, const struct record_out *r)
{
    struct tale *t = arg;
    char text[16];
    size_t n = (size_t)snprintf(text, sizeof text, "<%llu>", (unsigned long long)r->seq - 1);
    assert_true(r->seq > t->last);
    if (!slice_eq(r->subject, SLICE("s.last")))
        assert_memory_equal(r->payload.p, text, n);
    t->last = r->seq;
    t->n++;
    return READ_ON;
}

static uint64_t read_forwards(struct stream *s)
{
    struct read_budget all = {UINT32_MAX, UINT32_MAX, UINT64_MAX};
    struct tale t = {0};
    uint64_t from = 0;
    assert_int_equal(store_read(s, &from, NULL, &all, on_next, &t), READ_END);
    return t.n;
}

static uint64_t read_backwards(struct stream *s)
{
    struct slice pattern = SLICE("s.*");
    struct store_filter f = {&pattern, 1};
    uint64_t seq, n = 0, up_to = state_of(s).last_seq;
    while (up_to && (seq = last_of(s, &f, up_to)) != 0) {
        assert_true(seq <= up_to);
        up_to = seq - 1;
        n++;
    }
    return n;
}

static uint64_t read_each(struct stream *s)
{
    uint64_t n = 0;
    for (uint64_t seq = 1; seq <= state_of(s).last_seq; seq++) {
        struct tale t = {0};
        n += store_get(s, seq, on_next, &t) == 0;
    }
    return n;
}

/* --- keys of blocks -------------------------------------------------------------------------- */

/* A closed store whose messages are in blocks, and the numbers they begin with. */
static struct image begin_in_blocks(struct place *p, uint64_t *firsts, size_t *n)
{
    (void)begin_filled(p);
    place_close(p);
    reopen(p);
    *n = list_blocks(p, firsts);
    assert_true(*n > 8);
    place_close(p);
    return image_take(p);
}

/* A key that is out of order sends a search anywhere: to a block before the number, or far behind
 * it. */
static void a_block_under_a_wrong_key_keeps_nobody(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS];
    size_t n;
    struct image sound = begin_in_blocks(&p, firsts, &n);
    for (size_t i = 1; i + 1 < n; i++) {
        for (unsigned bit = 0; bit < 64; bit += 7) {
            struct image x = sound;
            struct buf node = node_of(firsts[i]);
            x.bytes = xmalloc(x.n);
            memcpy(x.bytes, sound.bytes, x.n);
            assert_true(turn_bits(&x, buf_slice(&node), 2 + 4 + 7 - bit / 8, 1u << bit % 8) > 0);
            image_put(&x);
            free(x.bytes);
            buf_release(&node);
            if (place_try_open(&p) != 0)
                continue; /* the newest block is the one: said, not served */
            struct stream *s = find_stream(&p, "S");
            assert_int_equal(read_forwards(s), MESSAGES + 1);
            assert_int_equal(read_backwards(s), MESSAGES + 1);
            assert_int_equal(read_each(s), MESSAGES + 1);
            place_close(&p);
        }
    }
    image_free(&sound);
    finish(&p);
}

/* Puts a block under its key cut to `n` bytes, or with bytes behind it: LMDB's own field, how long
 * a key is, has no checksum. */
static void change_key_length(struct place *p, uint64_t first, size_t n)
{
    struct txn t;
    struct key k;
    struct slice v;
    char bytes[32] = {0};
    key_block(&k, 1, first);
    memcpy(bytes, key_slice(&k).p, key_slice(&k).n);
    txn_begin(p->st->db, &t);
    assert_true(txn_get(&t, DB_BLOCKS, key_slice(&k), &v));
    struct buf copy = BUF_INIT;
    buf_add_slice(&copy, v);
    txn_del(&t, DB_BLOCKS, key_slice(&k));
    txn_put(&t, DB_BLOCKS, slice_of(bytes, n), buf_slice(&copy));
    assert_int_equal(txn_commit(&t), 0);
    buf_release(&copy);
}

/* The row is nobody's then; what lies before and behind it is there. */
static void a_key_of_a_wrong_length_hides_its_own_block_only(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS];
    size_t n;
    struct image sound = begin_in_blocks(&p, firsts, &n);
    for (size_t i = 1; i + 2 < n; i++) {
        for (size_t length = 8; length <= 28; length += 5) { /* 8, 13, 18, 23, 28 */
            image_put(&sound);
            reopen(&p);
            change_key_length(&p, firsts[i], length);
            place_close(&p);
            reopen(&p);
            struct stream *s = find_stream(&p, "S");
            uint64_t others = MESSAGES + 1 - (firsts[i + 1] - firsts[i]);
            assert_int_equal(read_forwards(s), others);
            assert_int_equal(read_backwards(s), others);
            assert_int_equal(read_each(s), others);
            place_close(&p);
        }
    }
    image_free(&sound);
    finish(&p);
}

/* --- heads of blocks ------------------------------------------------------------------------- */

/* Where the sound messages of a damaged block are was found out by a look at all blocks. Once is
 * enough: the second time such a look would not find them. */
static void a_damaged_block_is_looked_for_once(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS];
    (void)begin_filled(&p);
    (void)list_blocks(&p, firsts);
    struct buf head = head_of(&p, firsts[1]);
    place_close(&p);
    damage_head(&p, &head, 20, 0x80);
    reopen(&p);
    struct stream *s = find_stream(&p, "S");
    assert_int_equal(read_each(s), MESSAGES + 1);
    assert_true(holes_set(&s->hopeless, firsts[1]));
    assert_int_equal(read_each(s), MESSAGES + 1);
    assert_int_equal(read_forwards(s), MESSAGES + 1);
    assert_int_equal(read_backwards(s), MESSAGES + 1);
    buf_release(&head);
    finish(&p);
}

/* Whatever the newest block says, what is in it and in the journal is all there. */
static void a_damaged_head_of_the_newest_block_hides_nothing(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS];
    struct stream *s = begin_filled(&p);
    for (int i = 0; i < 5; i++)
        put_text(&p, s, "s.last", "in the journal");
    while (p.st->flying)
        fake_turn_once(&p.ft);
    place_kill(&p);
    size_t n = list_blocks(&p, firsts);
    struct buf head = head_of(&p, firsts[n - 1]);
    struct image sound;
    uint64_t last = state_of(find_stream(&p, "S")).last_seq;
    place_kill(&p);
    p.st->failed = E_IO; /* nothing is written on the way out */
    place_close(&p);
    sound = image_take(&p);
    for (unsigned bit = 0; bit < 64; bit += 3) { /* of its last number */
        image_put(&sound);
        damage_head(&p, &head, 16 + bit / 8, 1u << bit % 8);
        reopen(&p);
        assert_int_equal(read_each(find_stream(&p, "S")), last);
        p.st->failed = E_IO;
        place_close(&p);
    }
    image_put(&sound);
    image_free(&sound);
    buf_release(&head);
    finish(&p);
}

/* A block that says it ends early is not given up while it has messages that live. */
static void a_block_is_given_up_for_what_it_holds_not_for_what_it_says(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS];
    struct answer a = {0};
    (void)begin_filled(&p);
    size_t n = list_blocks(&p, firsts);
    assert_true(n > 4);
    struct buf head = head_of(&p, firsts[1]);
    place_close(&p);
    uint64_t end = rd64(head.data + head.start + 16), wrong = firsts[1] + 1;
    for (unsigned byte = 0; byte < 8; byte++) /* to say that it has two messages */
        if ((end ^ wrong) >> byte * 8 & 0xff) {
            struct buf now = BUF_INIT;
            buf_add_slice(&now, buf_slice(&head));
            damage_head(&p, &head, 16 + byte, (unsigned)((end ^ wrong) >> byte * 8 & 0xff));
            head.data[head.start + 16 + byte] ^= (char)((end ^ wrong) >> byte * 8 & 0xff);
            buf_release(&now);
        }
    reopen(&p);
    struct purge_spec below = {.below = firsts[1] + 3};
    assert_int_equal(store_purge(find_stream(&p, "S"), &below, on_purged, &a), 0);
    wait_answer(&p, &a);
    for (int i = 0; i < 20; i++) {
        fake_turn_advance(&p.ft, 3 * NS_PER_S);
        put_text(&p, find_stream(&p, "S"), "s.last", "more");
    }
    place_close(&p);
    reopen(&p);
    assert_int_equal(read_each(find_stream(&p, "S")), state_of(find_stream(&p, "S")).msgs);
    buf_release(&head);
    finish(&p);
}

/* And one that can't be read does not keep a deleted stream's blocks, or commits, for ever. */
static void a_deleted_stream_with_a_damaged_block_is_reclaimed(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS];
    struct answer a = {0};
    (void)begin_filled(&p);
    (void)list_blocks(&p, firsts);
    struct buf head = head_of(&p, firsts[1]);
    place_close(&p);
    damage_head(&p, &head, 0, 0x40); /* of another version */
    reopen(&p);
    assert_int_equal(store_stream_delete(find_stream(&p, "S"), on_done, &a), 0);
    wait_answer(&p, &a);
    for (int i = 0; i < 1000 && !list_empty(&p.st->reclaims); i++) {
        fake_turn_advance(&p.ft, NS_PER_S);
        store_drain(p.st);
    }
    assert_true(list_empty(&p.st->reclaims));
    buf_release(&head);
    finish(&p);
}

/* One bit must not make a block of many messages look like one large message. */
static void an_erased_message_takes_no_others_along(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS], seq;
    static const struct {
        size_t at;
        unsigned mask;
    } wrong[] = {{1, BLOCK_PARTS}, {1, BLOCK_SPARSE}, {6, 0x40}, {7, 0x10}, {10, 0x80}, {20, 0x80}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct answer a = {0};
        (void)begin_filled(&p);
        (void)list_blocks(&p, firsts);
        struct buf head = head_of(&p, firsts[1]);
        place_close(&p);
        damage_head(&p, &head, wrong[i].at, wrong[i].mask);
        reopen(&p);
        seq = firsts[1] + 5;
        assert_int_equal(store_remove(find_stream(&p, "S"), &seq, 1, true, on_done, &a), 0);
        wait_answer(&p, &a);
        place_close(&p);
        reopen(&p);
        assert_int_equal(read_each(find_stream(&p, "S")), MESSAGES);
        buf_release(&head);
        finish(&p);
    }
}

/* The head of a record; blank: says in *blank whether nothing of its message is left. */
static struct buf record_head_of(struct place *p, uint64_t first, uint64_t seq, bool *blank)
{
    struct buf head = BUF_INIT;
    struct block b;
    struct record r;
    struct key k;
    struct slice v;
    size_t room;
    struct txn *view = view_open(p->st->db);
    key_block(&k, 1, first);
    assert_true(txn_get(view, DB_BLOCKS, key_slice(&k), &v));
    assert_int_equal(block_read(v, 1, first, &b), 0);
    const char *at = block_record(&b, seq, &room);
    assert_non_null(at);
    buf_add(&head, at, RECORD_HEAD);
    if (blank) {
        char mine[16];
        size_t n = (size_t)snprintf(mine, sizeof mine, "<%llu>.", (unsigned long long)seq - 1);
        *blank = record_read(at, room, &r) == 0 && record_sound(at, 1, seq) &&
                 r.flags & RECF_SKIP && !memmem(v.p, v.n, mine, n) && at[RECORD_HEAD + 700] == '\0';
    }
    view_close(p->st->db);
    return head;
}

/* Nor must a wrong length of its own: it would reach into those behind it, or leave a part. */
static void an_erased_message_of_a_wrong_length_takes_no_others_along(void **state)
{
    (void)state;
    struct place p;
    uint64_t firsts[BLOCKS], seq;
    static const struct {
        size_t at;
        unsigned mask;
    } wrong[] = {{0, 0x80}, {1, 0x04}, {1, 0x20}, {1, 0x02}, {3, 0x40}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct answer a = {0};
        bool blank = false;
        (void)begin_filled(&p);
        (void)list_blocks(&p, firsts);
        seq = firsts[1] + 5;
        struct buf head = record_head_of(&p, firsts[1], seq, NULL);
        place_close(&p);
        damage(&p, buf_slice(&head), wrong[i].at, wrong[i].mask);
        buf_release(&head);
        reopen(&p);
        assert_int_equal(store_remove(find_stream(&p, "S"), &seq, 1, true, on_done, &a), 0);
        wait_answer(&p, &a);
        place_close(&p);
        reopen(&p);
        assert_int_equal(read_each(find_stream(&p, "S")), MESSAGES);
        head = record_head_of(&p, firsts[1], seq, &blank);
        assert_true(blank);
        buf_release(&head);
        finish(&p);
    }
}

/* --- damaged records ------------------------------------------------------------------------- */

static uint64_t count_of(struct place *p, struct slice subject)
{
    struct subject *e = index_get(find_stream(p, "S"), subject, false);
    return e ? e->count : 0;
}

static struct stream_spec bucket_spec(void)
{
    struct stream_spec spec = spec_of("S");
    spec.max_msgs_per_subject = 1;
    return spec;
}

/* A value whose record is damaged, in a block. bits: how many are wrong. */
static void begin_bucket(struct place *p, unsigned bits)
{
    begin(p);
    struct stream_spec spec = bucket_spec();
    struct stream *s = make(p, &spec);
    put_text(p, s, "b.key", "a value that is easy to find");
    for (unsigned i = 0; i < 200; i++) {
        char name[16], text[800];
        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = '\0';
        snprintf(name, sizeof name, "b.%u", i);
        put_text(p, s, name, text);
    }
    place_close(p);
    for (unsigned i = 0; i < bits; i++)
        damage(p, SLICE("value that is"), 20 + i, 4);
    reopen(p);
}

static void a_damaged_value_does_not_stop_its_key(void **state)
{
    (void)state;
    struct place p;
    for (unsigned bits = 1; bits <= 3; bits += 2) {
        begin_bucket(&p, bits);
        struct stream *s = find_stream(&p, "S");
        struct slice key = SLICE("b.key");
        struct store_filter f = {&key, 1};
        for (int i = 0; i < 4; i++) {
            uint64_t seq = put_text(&p, s, "b.key", "a new value");
            struct seen x = {0};
            assert_int_equal(last_of(s, &f, 0), seq);
            assert_int_equal(store_get(s, seq, on_seen, &x), 0);
            assert_int_equal(count_of(&p, key), 1);
            assert_int_equal(state_of(s).msgs, 201);
            assert_int_equal(state_of(s).num_subjects, 201);
        }
        place_kill(&p);
        fake_turn_run(&p.ft);
        assert_int_equal(count_of(&p, key), 1);
        assert_int_equal(state_of(find_stream(&p, "S")).msgs, 201);
        finish(&p);
    }
}

static void a_damaged_message_leaves_with_its_subject(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct place p;
        struct answer a = {0};
        struct purge_spec purge = {.below = how == 1 ? 2 : 0};
        uint64_t seq = 1;
        begin_bucket(&p, 1);
        struct stream *s = find_stream(&p, "S");
        if (how == 2)
            purge.filter = SLICE("b.key");
        if (how == 0)
            assert_int_equal(store_remove(s, &seq, 1, false, on_done, &a), 0);
        else
            assert_int_equal(store_purge(s, &purge, on_purged, &a), 0);
        wait_answer(&p, &a);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(count_of(&p, SLICE("b.key")), 0);
            assert_int_equal(state_of(find_stream(&p, "S")).msgs, 200);
            assert_int_equal(state_of(find_stream(&p, "S")).num_subjects, 200);
            assert_int_equal(state_of(find_stream(&p, "S")).first_seq, 2);
            place_kill(&p);
            fake_turn_run(&p.ft);
        }
        finish(&p);
    }
}

/* What nobody can read goes with a purge of everything before it all the same. */
static void a_purge_takes_what_can_t_be_read(void **state)
{
    (void)state;
    struct place p;
    struct answer a = {0};
    struct purge_spec below = {.below = 10};
    begin_bucket(&p, 3);
    assert_int_equal(store_purge(find_stream(&p, "S"), &below, on_purged, &a), 0);
    wait_answer(&p, &a);
    assert_int_equal(a.n, 9);
    assert_int_equal(state_of(find_stream(&p, "S")).first_seq, 10);
    assert_int_equal(state_of(find_stream(&p, "S")).msgs, 192);
    finish(&p);
}

/* --- index rows ------------------------------------------------------------------------------ */

/* Its key or its value has a wrong bit; a publish comes before anybody looks. */
static void a_subject_whose_row_is_damaged_goes_on_counting(void **state)
{
    (void)state;
    struct slice row = SLICE("\0\0\0\1s.050"); /* a message's subject has other bytes before it */
    for (int how = 0; how < 3; how++) {
        struct place p;
        begin(&p);
        struct stream_spec spec = spec_of("S");
        struct stream *s = make(&p, &spec);
        for (unsigned i = 0; i < 300; i++) {
            char name[16];
            snprintf(name, sizeof name, "s.%03u", i % 100);
            put_text(&p, s, name, "x");
        }
        place_close(&p);
        if (how == 2) /* two bits of the value: only the messages can tell */
            damage(&p, row, 14, 0x42);
        else
            damage(&p, row, how ? 14 : 7, 0x40);
        reopen(&p);
        s = find_stream(&p, "S");
        assert_int_equal(put_text(&p, s, "s.050", "one more"), 301);
        put_text(&p, s, "s.0505", "its neighbour");
        assert_int_equal(count_of(&p, SLICE("s.050")), 4);
        assert_int_equal(count_of(&p, SLICE("s.0505")), 1);
        uint64_t newest = 301;
        struct answer a = {0};
        assert_int_equal(store_remove(s, &newest, 1, false, on_done, &a), 0);
        wait_answer(&p, &a);
        struct record_in rec = rec_of("s.050", "if nobody else has");
        rec.flags = REC_EXPECT_SUBJECT_SEQ;
        assert_int_equal(put(&p, s, &rec).err, E_LAST_SUBJECT_SEQ);
        rec.expect_subject_seq = 251;
        assert_int_equal(put(&p, s, &rec).err, 0);
        assert_int_equal(state_of(s).num_subjects, 101);
        place_close(&p);
        reopen(&p);
        assert_int_equal(count_of(&p, SLICE("s.050")), 4);
        finish(&p);
    }
}

/* --- small rows ------------------------------------------------------------------------------ */

static void say_progress(void *arg, struct buf *out)
{
    (void)arg;
    buf_add_str(out, "progress");
}

/* A specification, a state, a cursor, a list of deletions: one wrong bit is put right, two are
 * refused. */
static void one_wrong_bit_of_a_small_row_is_put_right(void **state)
{
    (void)state;
    static const struct cursor_source src = {.delta = say_progress, .snapshot = say_progress};
    static const char *const keys[] = {"\x04\0\0\0\0\1", "\x05\0\0\0\0\1S", "\x08\0\0\0\0\1\0\0\0",
                                       "\x0c\0\0\0\0\1\0\0\0\0\0\0\0\0"};
    static const size_t sizes[] = {6, 7, 9, 14};
    struct place p;
    struct cursor *c;
    struct answer a = {0};
    struct cursor_spec cursor = {.name = SLICE("C"), .config = SLICE("{}")};
    struct stream *s = begin_filled(&p);
    uint64_t gone[] = {300, 302, 310};
    assert_int_equal(store_remove(s, gone, 3, false, on_done, &a), 0);
    wait_answer(&p, &a);
    a = (struct answer){0};
    assert_int_equal(store_cursor_create(s, &cursor, &src, on_done, &a, &c), 0);
    wait_answer(&p, &a);
    p.st->lazy_at.journal_max = 1; /* the deletions have to leave the journal for a row */
    for (int i = 0; i < 20; i++)
        put_text(&p, s, "s.last", "more");
    place_close(&p);
    struct image sound = image_take(&p);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        for (size_t at = 0; at < 12; at++) {
            image_put(&sound);
            damage(&p, slice_of(keys[i], sizes[i]), sizes[i] + 1 + at, 1u << at % 8);
            reopen(&p);
            s = find_stream(&p, "S");
            assert_int_equal(read_each(s), MESSAGES + 21 - 3);
            assert_false(p.st->unreadable);
            size_t pos = 0;
            assert_non_null(store_cursor_next(s, &pos));
            p.st->failed = E_IO; /* nothing is written on the way out */
            place_close(&p);
        }
    }
    image_put(&sound);
    damage(&p, slice_of(keys[0], sizes[0]), sizes[0] + 8, 0x41);
    assert_int_equal(place_try_open(&p), E_CORRUPT);
    image_put(&sound);
    image_free(&sound);
    p.st = NULL;
    finish(&p);
}

/* --- times ----------------------------------------------------------------------------------- */

static void a_time_before_all_times_is_old(void **state)
{
    (void)state;
    struct place p;
    begin(&p);
    struct stream_spec spec = spec_of("S");
    spec.duplicate_window_ns = 120 * NS_PER_S;
    spec.max_age_ns = 3600 * NS_PER_S;
    struct stream *s = make(&p, &spec);
    for (uint64_t seq = 1; seq <= 6; seq++) {
        char id[8];
        struct record_in rec = rec_of("x", "payload");
        snprintf(id, sizeof id, "%u", (unsigned)seq);
        rec.msg_id = slice_cstr(id);
        rec.flags = REC_EXACT;
        rec.seq = seq;
        rec.ts = seq == 4 ? INT64_MIN + 5 : clock_wall();
        assert_int_equal(put(&p, s, &rec).err, 0);
    }
    place_kill(&p);
    fake_turn_run(&p.ft);
    fake_turn_advance(&p.ft, NS_PER_S);
    struct record_in rec = rec_of("x", "payload");
    rec.msg_id = SLICE("5");
    assert_true(put(&p, find_stream(&p, "S"), &rec).duplicate);
    finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_under_a_wrong_key_keeps_nobody),
        cmocka_unit_test(a_key_of_a_wrong_length_hides_its_own_block_only),
        cmocka_unit_test(a_damaged_block_is_looked_for_once),
        cmocka_unit_test(a_damaged_head_of_the_newest_block_hides_nothing),
        cmocka_unit_test(a_block_is_given_up_for_what_it_holds_not_for_what_it_says),
        cmocka_unit_test(a_deleted_stream_with_a_damaged_block_is_reclaimed),
        cmocka_unit_test(an_erased_message_takes_no_others_along),
        cmocka_unit_test(an_erased_message_of_a_wrong_length_takes_no_others_along),
        cmocka_unit_test(a_damaged_value_does_not_stop_its_key),
        cmocka_unit_test(a_damaged_message_leaves_with_its_subject),
        cmocka_unit_test(a_purge_takes_what_can_t_be_read),
        cmocka_unit_test(a_subject_whose_row_is_damaged_goes_on_counting),
        cmocka_unit_test(one_wrong_bit_of_a_small_row_is_put_right),
        cmocka_unit_test(a_time_before_all_times_is_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
