/* unit/storage/place.h -- a store in a directory of its own, over the fake turn
 *
 * The directory lies where the test runs (the build directory: a real file system) and goes with
 * place_remove().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_STORAGE_PLACE_H
#define UNIT_STORAGE_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "fake/turn.h"
#include "storage/store.h"
#include "storage/storage.h"
#include "unit/store_file.h"

struct place {
    char dir[64];
    struct fake_turn ft;
    struct store_config cfg;
    struct store_host host;
    struct store *st;
    unsigned reopened, failed, damaged, pressed;
};

static inline void place_on_reopened(void *arg)
{
    ((struct place *)arg)->reopened++;
}
static inline void place_on_failed(void *arg, int err)
{
    (void)err;
    ((struct place *)arg)->failed++;
}
static inline void place_on_damaged(void *arg, struct stream *s, uint64_t seq)
{
    (void)s;
    (void)seq;
    ((struct place *)arg)->damaged++;
}
static inline void place_on_pressure(void *arg, bool on)
{
    ((struct place *)arg)->pressed += on;
}

static inline void place_init(struct place *p)
{
    *p = (struct place){.dir = "storage-test-XXXXXX"};
    assert_non_null(mkdtemp(p->dir));
    fake_turn_init(&p->ft);
    p->cfg = (struct store_config){.dir = p->dir, .max_file_bytes = 1 << 30};
    p->host = (struct store_host){.arg = p,
                                  .turn = &p->ft.turn,
                                  .pressure = place_on_pressure,
                                  .reopened = place_on_reopened,
                                  .damaged = place_on_damaged,
                                  .failed = place_on_failed};
}

static inline int place_try_open(struct place *p)
{
    char *why = NULL;
    int err = store_open(&p->cfg, &p->host, &p->st, &why);
    if (err)
        print_message("open: %s\n", why ? why : "?");
    free(why);
    return err;
}

static inline void place_open(struct place *p)
{
    assert_int_equal(place_try_open(p), 0);
}

static inline void place_close(struct place *p)
{
    if (p->st)
        store_close(p->st);
    p->st = NULL;
    fake_turn_run(&p->ft);
}

/* A SIGKILL: the file as it is now, nothing written on the way out, opened again. */
static inline void place_kill_now(struct place *p)
{
    writer_wait(p->st->writer); /* half a commit can't be copied */
    store_file_copy(p->dir);
    place_close(p);
    store_file_put_back(p->dir);
    place_open(p);
}

/* The same when all is quiet. */
static inline void place_kill(struct place *p)
{
    while (p->st->flying)
        fake_turn_once(&p->ft);
    place_kill_now(p);
}

static inline void place_remove_tree(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char *sub = xasprintf("%s/%s", path, e->d_name);
        if (unlink(sub) != 0)
            place_remove_tree(sub);
        free(sub);
    }
    closedir(d);
    rmdir(path);
}

static inline void place_remove(struct place *p)
{
    place_close(p);
    fake_turn_release(&p->ft);
    place_remove_tree(p->dir);
}

static inline int place_setup(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    place_init(p);
    place_open(p);
    *state = p;
    return 0;
}

static inline int place_teardown(void **state)
{
    place_remove(*state);
    free(*state);
    return 0;
}

/* --- the file in memory ---------------------------------------------------------------------- */

/* A closed store's file; a test changes the bytes and puts them back. */
struct image {
    char *path, *bytes;
    size_t n;
};

static inline struct image image_take(struct place *p)
{
    struct image x = {.path = store_file(p->dir)};
    struct stat sb;
    int fd = open(x.path, O_RDONLY);
    assert_int_equal(fstat(fd, &sb), 0);
    x.n = (size_t)sb.st_size;
    x.bytes = xmalloc(x.n);
    assert_int_equal(read(fd, x.bytes, x.n), x.n);
    close(fd);
    return x;
}
static inline void image_put(const struct image *x)
{
    int fd = open(x->path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, x->bytes, x->n), x->n);
    close(fd);
}
static inline void image_free(struct image *x)
{
    free(x->path);
    free(x->bytes);
}

/* --- waiting --------------------------------------------------------------------------------- */

struct answer {
    unsigned calls;
    int err;
    struct store_receipt r;
    uint64_t n;
};

static inline void on_append(void *arg, const struct store_receipt *r)
{
    struct answer *a = arg;
    a->calls++;
    a->err = r->err;
    a->r = *r;
    a->r.last_msg_id = (struct slice){0};
}
static inline void on_done(void *arg, int err)
{
    struct answer *a = arg;
    a->calls++;
    a->err = err;
}
static inline void on_purged(void *arg, int err, uint64_t n)
{
    struct answer *a = arg;
    a->calls++;
    a->err = err;
    a->n = n;
}
static inline void on_count(void *arg, int err, uint64_t n, uint64_t as_of)
{
    (void)as_of;
    on_purged(arg, err, n);
}
static inline bool answered(void *arg)
{
    return ((struct answer *)arg)->calls > 0;
}
static inline void wait_answer(struct place *p, struct answer *a)
{
    assert_true(fake_turn_wait(&p->ft, answered, a));
    assert_int_equal(a->calls, 1);
}

/* --- short words ----------------------------------------------------------------------------- */

static inline struct stream_spec spec_of(const char *name)
{
    return (struct stream_spec){.account = SLICE("A"),
                                .name = slice_cstr(name),
                                .config = SLICE("{}"),
                                .created = 1795263091123456789,
                                .max_msgs = -1,
                                .max_bytes = -1,
                                .max_msgs_per_subject = -1};
}

static inline struct stream *make(struct place *p, const struct stream_spec *spec)
{
    struct stream *s;
    struct answer a = {0};
    assert_int_equal(store_stream_create(p->st, spec, on_done, &a, &s), 0);
    wait_answer(p, &a);
    assert_int_equal(a.err, 0);
    return s;
}

static inline struct record_in rec_of(const char *subject, const char *payload)
{
    return (struct record_in){.subject = slice_cstr(subject), .payload = slice_cstr(payload)};
}

/* Appends and waits; the receipt. */
static inline struct store_receipt put(struct place *p, struct stream *s,
                                       const struct record_in *rec)
{
    struct answer a = {0};
    assert_int_equal(store_append(s, rec, on_append, &a), 0);
    wait_answer(p, &a);
    return a.r;
}

static inline uint64_t put_text(struct place *p, struct stream *s, const char *subject,
                                const char *payload)
{
    struct record_in rec = rec_of(subject, payload);
    struct store_receipt r = put(p, s, &rec);
    assert_int_equal(r.err, 0);
    return r.seq;
}

static inline struct stream_state state_of(struct stream *s)
{
    struct stream_state st;
    store_state(s, &st);
    return st;
}

/* The newest one that matches, looked for in small portions. */
static inline uint64_t last_of(struct stream *s, const struct store_filter *f, uint64_t up_to)
{
    uint64_t seq;
    while (store_look_back(s, f, &up_to, 7, &seq) == READ_BUDGET)
        ;
    return seq;
}

struct seen {
    uint64_t seqs[64], n;
    char text[256];
    char subject[256];
};
static inline int on_seen(void *arg, const struct record_out *r)
{
    struct seen *x = arg;
    if (x->n < 64)
        x->seqs[x->n] = r->seq;
    x->n++;
    snprintf(x->text, sizeof x->text, "%.*s", SLICE_FMT(r->payload));
    snprintf(x->subject, sizeof x->subject, "%.*s", SLICE_FMT(r->subject));
    return READ_ON;
}

static inline struct stream *find_stream(struct place *p, const char *name)
{
    return store_stream_find(p->st, SLICE("A"), slice_cstr(name));
}

#endif
