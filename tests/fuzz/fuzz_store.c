/* fuzz_store.c -- a store's file with rows changed behind its back, opened and used
 *
 * A genuine store is made once: a stream with deleted messages, ids, a message in parts, a
 * cursor, a purge, blocks and a journal. An input is a list of patches:
 *
 *     u8 row | u8 what | u16 offset | u8 n | n bytes
 *     what: set bytes, cut, add bytes, remove the row, copy it; turn bits and leave the checksum
 *     wrong; change the key where it lies, so that keys are out of order
 *
 * But for the last two, checksums are made right again, those of records as well, so that what is
 * behind them is reached: nobody but a hand could write such a file. The store may refuse it with a
 * reason, or it opens; then everything is read, counted, appended, removed and purged, no message
 * is told twice or out of order, and the store closes and opens once more. Where keys are out of
 * order it is only read: what LMDB makes of writes there is not ours.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: storage
// link: turn
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "fake/turn.h"
#include "storage/holes.h"
#include "storage/keys.h"
#include "storage/lmdb.h"
#include "storage/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 256, PATCHES = 12, LOOKED_AT = 3000 };

static struct buf image; /* data.mdb of the genuine store */
static char dir[64], file[128];
static int failed;      /* what the store told its owner */
static bool disordered; /* keys were changed where they lie */

static void on_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level, (void)line;
}

static void on_pressure(void *arg, bool on)
{
    (void)arg, (void)on;
}

static void on_reopened(void *arg)
{
    (void)arg;
}

static void on_damaged(void *arg, struct stream *s, uint64_t seq)
{
    (void)arg, (void)s, (void)seq;
}

static void on_failed(void *arg, int err)
{
    (void)arg;
    failed = err;
}

/* --- a store ---------------------------------------------------------------------------------- */

struct scene {
    struct fake_turn ft;
    struct store *st;
};

static int scene_open(struct scene *s)
{
    struct store_config cfg = {.dir = dir, .max_file_bytes = 64 << 20, .max_mem_bytes = 64 << 20};
    struct store_host host = {.turn = &s->ft.turn,
                              .pressure = on_pressure,
                              .reopened = on_reopened,
                              .damaged = on_damaged,
                              .failed = on_failed};
    char *why = NULL;
    fake_turn_init(&s->ft);
    int err = store_open(&cfg, &host, &s->st, &why);
    ASSERT(err == 0 || (why && *why));
    free(why);
    if (err)
        fake_turn_release(&s->ft);
    return err;
}

static void settle(struct scene *s)
{
    do {
        fake_turn_run(&s->ft);
        if (failed)
            return;
        store_drain(s->st);
    } while (fake_turn_once(&s->ft));
}

static void scene_close(struct scene *s)
{
    store_close(s->st);
    fake_turn_run(&s->ft);
    fake_turn_release(&s->ft);
}

static void append(struct scene *s, struct stream *st, const char *subject, const char *id,
                   size_t n)
{
    struct record_in rec = {.subject = slice_cstr(subject),
                            .hdr = SLICE("NATS/1.0\r\na: b\r\n\r\n")};
    char *payload = xcalloc(1, n + 1);
    rec.msg_id = slice_cstr(id);
    rec.payload = slice_of(payload, n);
    (void)!store_append(st, &rec, NULL, NULL);
    free(payload);
    settle(s);
}

/* --- the genuine one -------------------------------------------------------------------------- */

static void write_delta(void *arg, struct buf *out)
{
    (void)arg;
    buf_add_str(out, "delta");
}

static void write_snapshot(void *arg, struct buf *out)
{
    (void)arg;
    buf_add_str(out, "snapshot");
}

static void fill(struct scene *s)
{
    static const struct cursor_source src = {.delta = write_delta, .snapshot = write_snapshot};
    struct stream_spec spec = {.account = SLICE("$G"),
                               .name = SLICE("S"),
                               .config = SLICE("{}"),
                               .created = 5,
                               .max_msgs = -1,
                               .max_bytes = -1,
                               .max_msgs_per_subject = -1,
                               .duplicate_window_ns = 120000000000};
    struct cursor_spec cursor = {.name = SLICE("C"), .config = SLICE("{}")};
    struct stream *st;
    struct cursor *c;
    uint64_t gone[] = {3, 4, 7};
    ASSERT(store_stream_create(s->st, &spec, NULL, NULL, &st) == 0);
    settle(s);
    for (int i = 0; i < 40; i++) /* the first two fill blocks, the others stay in the journal */
        append(s, st, i % 3 ? "s.a" : "s.b", i % 5 ? NULL : "id", i < 3 ? 30000 : 10);
    append(s, st, "s.long", NULL, 70000);
    ASSERT(store_remove(st, gone, ARRAY_LEN(gone), false, NULL, NULL) == 0);
    ASSERT(store_cursor_create(st, &cursor, &src, NULL, NULL, &c) == 0);
    settle(s);
    store_cursor_dirty(c);
    fake_turn_advance(&s->ft, NS_PER_S);
    settle(s);
    append(s, st, "s.c", "last", 5);
}

static void read_file(struct buf *all)
{
    FILE *f = fopen(file, "re");
    ASSERT(f);
    for (size_t n = 1; n;) {
        n = fread(buf_reserve(all, 65536), 1, 65536, f);
        buf_commit(all, n);
    }
    ASSERT(fclose(f) == 0);
}

static void write_file(const struct buf *all)
{
    FILE *f = fopen(file, "we");
    ASSERT(f && fwrite(all->data, 1, all->len, f) == all->len && fclose(f) == 0);
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char *at = xasprintf("%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(at) < 0)
            remove_dir(at);
        free(at);
    }
    if (d)
        closedir(d);
    (void)rmdir(path);
}

static void end(void)
{
    remove_dir(dir);
    buf_release(&image);
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    struct scene s;
    log_capture(on_log, NULL);
    if (!tmp || strlen(tmp) >= 40)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* memory, where there is */
    (void)snprintf(dir, sizeof dir, "%s/frond-store-XXXXXX", tmp);
    ASSERT(mkdtemp(dir) && atexit(end) == 0);
    (void)snprintf(file, sizeof file, "%s/jetstream/frond/data.mdb", dir);
    ASSERT(scene_open(&s) == 0);
    fill(&s);
    read_file(&image); /* as after a power cut: the journal still has what is in no block */
    scene_close(&s);
}

/* --- patches ---------------------------------------------------------------------------------- */

struct changed_key {
    char node[2 + KEY_MAX]; /* its length and its bytes, as they lie in a page */
    size_t n, at;           /* how many; which of them is changed, */
    char mask;              /* and how */
};
static struct changed_key keys[PATCHES];
static size_t nkeys;

struct row {
    enum db_table table;
    struct buf key, value;
};

static size_t read_rows(struct db *db, struct row *rows)
{
    static const enum db_table tables[] = {DB_META,   DB_CURSORS, DB_MAIN,
                                           DB_BLOCKS, DB_HOLES,   DB_SUBJECTS};
    struct txn *view = view_open(db);
    struct walk w;
    size_t n = 0;
    ASSERT(view);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        for (bool on = walk_seek(&w, view, tables[i], SLICE("\0")); on && n < ROWS;
             on = walk_next(&w)) {
            uint64_t batch;
            unsigned part;
            if (tables[i] == DB_MAIN && !key_is_journal(w.key, &batch, &part))
                continue; /* the names of the other tables */
            rows[n] = (struct row){.table = tables[i]};
            buf_add_slice(&rows[n].key, w.key);
            buf_add_slice(&rows[n++].value, w.value);
        }
        walk_end(&w);
    }
    view_close(db);
    return n;
}

static uint32_t sid_of(struct slice key)
{
    const unsigned char *k = (const unsigned char *)key.p;
    return (uint32_t)k[0] << 24 | (uint32_t)k[1] << 16 | (uint32_t)k[2] << 8 | k[3];
}

/* Those the directory knows, whatever it says. */
static void mend_records(struct row *r, const struct block *b)
{
    struct record rec;
    size_t room;
    uint64_t seq = b->first_seq;
    for (int i = 0; i < LOOKED_AT && (seq = block_next(b, seq)) != 0; i++, seq++) {
        const char *p = block_record(b, seq, &room);
        if (p && record_read(p, room, &rec) == 0)
            le32(r->value.data + (p - b->p) + 4, record_checksum(p, 1, seq));
    }
}

static void mend_block(struct row *r)
{
    uint64_t first;
    unsigned part;
    struct block b;
    if (!key_is_block(buf_slice(&r->key), 1, &first, &part) || part ||
        block_peek(buf_slice(&r->value), first, &b))
        return;
    size_t dir_n = (size_t)b.n * ((b.flags & BLOCK_SPARSE) ? 8 : 4);
    if (b.used > r->value.len || dir_n > r->value.len - b.used)
        return;
    block_head_write(r->value.data, &b, 1, r->value.data + r->value.len);
    bool directory = block_read(buf_slice(&r->value), 1, first, &b) == 0;
    if (directory)
        mend_records(r, &b);
}

/* The checksum that belongs to what the row says now. */
static void mend(struct row *r)
{
    char place[8];
    uint64_t batch;
    unsigned part;
    if (r->value.len < 8)
        return;
    if (r->table == DB_META || r->table == DB_CURSORS) {
        row_end(&r->value, 0, sid_of(buf_slice(&r->key)));
    } else if (r->table == DB_SUBJECTS) {
        row_end(&r->value, 0, crc32c(0, r->key.data, r->key.len));
    } else if (r->table == DB_HOLES && key_is_hole(buf_slice(&r->key), 1, &batch)) {
        row_end(&r->value, 0, holes_row_place(1, batch));
    } else if (r->table == DB_BLOCKS) {
        mend_block(r);
    } else if (r->table == DB_MAIN && key_is_journal(buf_slice(&r->key), &batch, &part)) {
        le64(place, batch << 16 | part);
        le32(r->value.data,
             crc32c(crc32c(0, place, sizeof place), r->value.data + 4, r->value.len - 4));
    }
}

static void patch(struct row *r, unsigned what, size_t offset, struct slice bytes)
{
    size_t at = r->value.len ? offset % r->value.len : 0;
    if (what == 0 && bytes.n)
        memcpy(r->value.data + at, bytes.p,
               bytes.n < r->value.len - at ? bytes.n : r->value.len - at);
    else if (what == 1)
        r->value.len = at;
    else if (what == 2)
        buf_add_slice(&r->value, bytes);
    else if (what == 5)
        for (size_t i = 0; i < bytes.n && at + i < r->value.len; i++)
            r->value.data[at + i] ^= bytes.p[i];
    if (what != 5)
        mend(r);
}

static void write_row(struct txn *t, const struct row *r)
{
    txn_del(t, r->table, buf_slice(&r->key));
    if (r->value.len)
        txn_put(t, r->table, buf_slice(&r->key), buf_slice(&r->value));
}

/* Removes it, or stores its value under the key with one byte changed too. */
static void move_row(struct txn *t, struct row *r, unsigned what, size_t offset, struct slice bytes)
{
    txn_del(t, r->table, buf_slice(&r->key));
    if (what == 3)
        return;
    write_row(t, r);
    if (bytes.n && r->key.len > 4)
        r->key.data[4 + offset % (r->key.len - 4)] = bytes.p[0];
    mend(r);
    write_row(t, r);
}

/* Its key is to be changed in the file itself: a byte of it, behind the stream's number. Notes what
 * make_file() does when LMDB is out of the way. */
static void change_key(const struct row *r, size_t offset, struct slice bytes)
{
    if (nkeys == ARRAY_LEN(keys) || !bytes.n || !bytes.p[0] || r->key.len < 6 ||
        (r->table != DB_BLOCKS && r->table != DB_SUBJECTS))
        return;
    struct changed_key *k = &keys[nkeys++];
    le16(k->node, (unsigned)r->key.len);
    memcpy(k->node + 2, r->key.data, r->key.len);
    k->n = 2 + r->key.len;
    k->at = 6 + offset % (r->key.len - 4);
    k->mask = bytes.p[0];
}

static void change_keys(void)
{
    struct buf all = BUF_INIT;
    disordered = nkeys > 0;
    if (!nkeys)
        return;
    read_file(&all);
    for (; nkeys; nkeys--) {
        const struct changed_key *k = &keys[nkeys - 1];
        char *end = all.data + all.len, *p = all.data;
        for (; (p = memmem(p, (size_t)(end - p), k->node, k->n)) != NULL; p += k->n)
            p[k->at] = (char)(p[k->at] ^ k->mask);
    }
    write_file(&all);
    buf_release(&all);
}

static void apply(struct txn *t, struct row *rows, size_t n, struct slice in)
{
    for (int i = 0; in.n >= 5 && i < PATCHES; i++) {
        struct row *r = &rows[(unsigned char)in.p[0] % n];
        unsigned what = (unsigned char)in.p[1] % 7;
        size_t offset = rd16(in.p + 2), len = (unsigned char)in.p[4];
        struct slice bytes = slice_head(slice_skip(in, 5), len);
        in = slice_skip(in, 5 + bytes.n);
        if (what == 6) {
            change_key(r, offset, bytes);
        } else if (what < 3 || what == 5) {
            patch(r, what, offset, bytes);
            write_row(t, r);
        } else {
            move_row(t, r, what, offset, bytes);
        }
    }
}

static void make_file(struct slice in)
{
    struct row *rows = xcalloc(ROWS, sizeof *rows);
    char *at = slice_dup(slice_head(slice_cstr(file), strlen(file) - 9));
    struct db_config cfg = {.dir = at, .map_bytes = 1u << 30, .map_min = 1u << 30};
    struct db *db;
    struct txn t;
    write_file(&image);
    ASSERT(db_open(&cfg, &db, NULL) == 0);
    size_t n = read_rows(db, rows);
    txn_begin(db, &t);
    apply(&t, rows, n, in);
    ASSERT(txn_commit(&t) == 0);
    db_close(db);
    change_keys();
    for (size_t i = 0; i < n; i++) {
        buf_release(&rows[i].key);
        buf_release(&rows[i].value);
    }
    free(rows);
    free(at);
}

/* --- looking at what opened ------------------------------------------------------------------- */

struct reading {
    uint64_t last;
    unsigned n;
};

static int on_record(void *arg, const struct record_out *r)
{
    struct reading *x = arg;
    ASSERT(r->seq > x->last);
    x->last = r->seq;
    return ++x->n < LOOKED_AT ? READ_ON : READ_STOP;
}

static void on_count(void *arg, int err, uint64_t count, uint64_t as_of)
{
    (void)arg, (void)err, (void)count, (void)as_of;
}

static void on_seqs(void *arg, int err, const uint64_t *seqs, size_t n, uint64_t as_of)
{
    (void)arg, (void)as_of;
    for (size_t i = 1; !err && i < n; i++)
        ASSERT(seqs[i] > seqs[i - 1]);
}

static void on_deleted(void *arg, int err, const uint64_t *seqs, size_t n, bool more)
{
    (void)more;
    on_seqs(arg, err, seqs, n, 0);
}

static void on_subjects(void *arg, int err, const struct subject_count *subjects, size_t n,
                        uint64_t total, bool more)
{
    (void)arg, (void)total, (void)more;
    for (size_t i = 1; !err && i < n; i++)
        ASSERT(slice_cmp(subjects[i - 1].subject, subjects[i].subject) < 0);
}

static void look_back(struct stream *st, const struct store_filter *f)
{
    uint64_t up_to = 30, seq = 0, last = up_to;
    for (int i = 0; i < 100 && store_look_back(st, f, &up_to, 10, &seq) == READ_BUDGET;
         i++, last = up_to)
        ASSERT(up_to < last);
    ASSERT(seq <= last);
}

static void look(struct scene *s, struct stream *st)
{
    static const struct read_budget budget = {100, 1000, 1 << 20};
    static const struct slice pattern = SLICE_INIT("s.*"), literal = SLICE_INIT("s.a");
    const struct store_filter all = {0}, some = {&pattern, 1}, one = {&literal, 1};
    struct reading x = {0, 0};
    struct stream_state state;
    uint64_t from = 0;
    for (int i = 0; i < 50 && store_read(st, &from, i & 1 ? &some : &all, &budget, on_record, &x) ==
                                  READ_BUDGET;
         i++)
        ;
    store_state(st, &state);
    for (uint64_t seq = state.first_seq, i = 0; i < 50; i++, seq++) {
        x = (struct reading){0, 0};
        (void)!store_get(st, seq, on_record, &x);
        ASSERT(x.n == 0 || x.last == seq);
    }
    look_back(st, &some);
    look_back(st, &one);
    (void)store_seq_at_time(st, 6);
    (void)store_count_from(st, 5);
    (void)!store_count(st, &some, 1, true, on_count, NULL, NULL);
    (void)!store_last_seqs(st, &some, 0, 100, on_seqs, NULL, NULL);
    (void)!store_subjects(st, SLICE(">"), 0, 100, on_subjects, NULL, NULL);
    (void)!store_deleted(st, 100, on_deleted, NULL, NULL);
    settle(s);
}

static int on_cursor(void *arg, bool is_snapshot, struct slice bytes)
{
    (void)arg, (void)is_snapshot, (void)bytes;
    return 0;
}

static void change(struct scene *s, struct stream *st)
{
    static const struct cursor_source src = {.delta = write_delta, .snapshot = write_snapshot};
    struct purge_spec purge = {.filter = SLICE("s.b")}, below = {.below = 6};
    struct cursor *c;
    uint64_t gone = 5;
    size_t pos = 0;
    if ((c = store_cursor_next(st, &pos)) != NULL &&
        store_cursor_attach(c, &src, on_cursor, NULL) == 0)
        store_cursor_dirty(c);
    append(s, st, "s.new", "id", 10);
    if (!failed)
        (void)!store_remove(st, &gone, 1, true, NULL, NULL);
    settle(s);
    if (!failed)
        (void)!store_purge(st, &purge, NULL, NULL);
    settle(s);
    if (!failed)
        (void)!store_purge(st, &below, NULL, NULL);
    settle(s);
}

static void use(struct scene *s)
{
    struct stream *st;
    settle(s);
    for (size_t pos = 0; !failed && (st = store_stream_next(s->st, &pos));)
        look(s, st);
    for (size_t pos = 0; !failed && !disordered && (st = store_stream_next(s->st, &pos));)
        change(s, st);
    for (size_t pos = 0; !failed && (st = store_stream_next(s->st, &pos));)
        look(s, st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scene s;
    if (!image.len)
        begin();
    if (size > 2048)
        return 0;
    failed = 0;
    make_file(slice_of(data, size));
    if (scene_open(&s) != 0)
        return 0;
    use(&s);
    scene_close(&s);
    if (failed)
        return 0;
    ASSERT(scene_open(&s) == 0);
    settle(&s);
    scene_close(&s);
    return 0;
}
