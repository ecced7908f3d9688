/* storage/open.c -- opening and closing the store
 *
 * A new store is made under a temporary name, committed, its directory synced, and renamed: after a
 * power cut it is there as a whole or not at all. An existing one is opened in the order of
 * durability's rules: our lock first (LMDB would let a second server in), then the file's length
 * and magic, then mdb_env_sync, because what the process before us wrote may be in the page cache
 * only and a "duplicate" answer would acknowledge it.
 *
 *     <dir>/jetstream/frond/      data.mdb lock.mdb ballast
 *     <dir>/jetstream/frond.lock  ours
 *     <dir>/jetstream/frond.failed  when it ended a process: mishap.h
 *     <dir>/jetstream/frond.tmp/  a store being made; whatever is in it was never acknowledged
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/append.h"
#include "storage/chores.h"
#include "storage/compact.h"
#include "storage/cursor.h"
#include "storage/looks.h"
#include "storage/mishap.h"
#include "storage/space.h"
#include "storage/store.h"
#include "storage/streams.h"

static const uint64_t GIB = 1 << 30;

/* --- directories ----------------------------------------------------------------------------- */

/* E_SYS with an errno that speaks of the disk. */
static int worldly(int err)
{
    if (err != E_SYS)
        return err;
    switch (errno) {
    case EIO:
        return E_IO;
    case ENOSPC:
    case EDQUOT:
        return E_SPACE;
    case EROFS:
        return E_READONLY;
    default:
        return E_SYS;
    }
}

static int complain(char **why, int err, const char *what, const char *path)
{
    if (why && !*why)
        *why = xasprintf("%s: %s: %s", path, what, err == E_SYS ? strerror(errno) : err_text(err));
    return worldly(err);
}

static int sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return E_SYS;
    int rc = fsync(fd);
    close(fd);
    return rc ? E_SYS : 0;
}

static bool exists(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0;
}

/* mkdir -p, with each parent that got a new entry synced. */
static int make_dirs(const char *path)
{
    char *p = xstrdup(path);
    int err = 0;
    for (char *at = p + 1; !err; at++) {
        char c = *at;
        if (c != '/' && c != '\0')
            continue;
        *at = '\0';
        if (mkdir(p, 0700) == 0) {
            char *slash = strrchr(p, '/');
            char *parent = slash == p ? xstrdup("/")
                           : slash    ? slice_dup(slice_of(p, (size_t)(slash - p)))
                                      : xstrdup(".");
            err = sync_dir(parent);
            free(parent);
        } else if (errno != EEXIST) {
            err = E_SYS;
        }
        *at = c;
        if (!c)
            break;
    }
    free(p);
    return err;
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    (void)rmdir(path);
}

/* nats-server's own streams in the same place are left alone; one line says so. */
static void warn_of_foreign(const char *jetstream)
{
    DIR *d = opendir(jetstream);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        char *path = xasprintf("%s/%s/streams", jetstream, e->d_name);
        bool foreign = e->d_name[0] != '.' && exists(path);
        free(path);
        if (foreign) {
            log_warn("%s holds streams of nats-server (account %s): they are left alone", jetstream,
                     e->d_name);
            break;
        }
    }
    closedir(d);
}

static int take_lock(struct store *st, const char *jetstream, char **why)
{
    char *path = xasprintf("%s/frond.lock", jetstream);
    int err = 0;
    st->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (st->lock_fd < 0)
        err = complain(why, E_SYS, "can't be opened", path);
    else if (flock(st->lock_fd, LOCK_EX | LOCK_NB) != 0)
        err = complain(why, E_BUSY, "another server uses this store", path);
    free(path);
    return err;
}

/* --- mishaps --------------------------------------------------------------------------------- */

static char *mark_path(const char *store_dir)
{
    return xasprintf("%s/jetstream/frond.failed", store_dir);
}

unsigned store_mishaps(const char *store_dir)
{
    char *path = mark_path(store_dir);
    unsigned n = mishap_recent(path);
    free(path);
    return n;
}

int store_note_mishap(const char *store_dir)
{
    char *path = mark_path(store_dir);
    int err = mishap_note(path);
    free(path);
    return err;
}

/* --- the file -------------------------------------------------------------------------------- */

static void make_uuid(char out[37])
{
    unsigned char b[16];
    size_t at = 0;
    random_bytes(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = "0123456789abcdef"[b[i] >> 4];
        out[at++] = "0123456789abcdef"[b[i] & 15];
    }
    out[at] = '\0';
}

static int write_first(struct store *st)
{
    struct txn t;
    struct key k;
    struct buf row = BUF_INIT;
    make_uuid(st->uuid);
    st->next_sid = 1;
    store_write_format(st, &row);
    key_meta(&k, 0);
    txn_begin(st->db, &t);
    txn_put(&t, DB_META, key_slice(&k), buf_slice(&row));
    buf_release(&row);
    return txn_commit(&t);
}

static void on_trouble(void *store, int err)
{
    struct store *st = store;
    if (st->writer) /* else the opening itself fails */
        store_trouble(st, err, "LMDB's pages");
}

static bool on_dead(void *store)
{
    return store_mend(store);
}

static struct db_config db_config(const struct store *st, const char *dir, bool create)
{
    uint64_t quota = (uint64_t)st->cfg.max_file_bytes, map = quota * 4;
    if (map < 64 * GIB || quota > (1ull << 46))
        map = 64 * GIB;
    uint64_t min = quota + quota / 4 < map ? quota + quota / 4 : map;
    return (struct db_config){.dir = dir,
                              .map_bytes = map,
                              .map_min = min < GIB ? GIB : min,
                              .create = create,
                              .trouble = on_trouble,
                              .dead = on_dead,
                              .trouble_arg = (void *)(uintptr_t)st};
}

static int create(struct store *st, const char *jetstream, char **why)
{
    char *tmp = xasprintf("%s/frond.tmp", jetstream);
    remove_dir(tmp);
    int err = mkdir(tmp, 0700) ? complain(why, E_SYS, "can't be made", tmp) : 0;
    if (!err) {
        struct db_config cfg = db_config(st, tmp, true);
        err = db_open(&cfg, &st->db, why);
    }
    if (!err)
        err = write_first(st);
    if (!err)
        err = sync_dir(tmp);
    if (!err && rename(tmp, st->dir) != 0)
        err = E_SYS;
    if (!err)
        err = sync_dir(jetstream);
    if (err)
        err = complain(why, err, "can't be made", tmp);
    free(tmp);
    return err;
}

static int read_format(struct store *st)
{
    struct key k;
    struct slice v;
    struct txn *view = view_open(st->db);
    if (!view)
        return E_SYS;
    key_meta(&k, 0);
    int err = txn_get(view, DB_META, key_slice(&k), &v) ? store_read_format(st, v) : E_CORRUPT;
    view_close(st->db);
    return err;
}

/* Until the first turn, single pages all over the file are wanted; what the kernel would read
 * around each of them (128 KiB, on some machines megabytes) is what a cold start would wait for.
 * From then on blocks are read, one beside the other. */
static void on_read_on(void *store)
{
    size_t n;
    void *map = mishap_located(&n);
    (void)store;
    if (map)
        (void)madvise(map, n, MADV_NORMAL);
}

static int open_existing(struct store *st, const char *jetstream, char **why)
{
    struct db_config cfg = db_config(st, st->dir, false);
    cfg.scattered = true;
    int err = db_open(&cfg, &st->db, why);
    if (err)
        return err;
    err = db_sync(st->db);
    if (!err)
        err = sync_dir(st->dir);
    if (!err)
        err = sync_dir(jetstream);
    if (!err)
        err = read_format(st);
    return err ? complain(why, err, "can't be used", st->dir) : 0;
}

static int open_file(struct store *st, char **why)
{
    char *jetstream = xasprintf("%s/jetstream", st->cfg.dir);
    st->dir = xasprintf("%s/frond", jetstream);
    int err = make_dirs(jetstream);
    if (err)
        err = complain(why, err, "can't be made", jetstream);
    if (!err)
        err = take_lock(st, jetstream, why);
    if (!err) {
        warn_of_foreign(jetstream);
        if (st->cfg.max_file_bytes <= 0)
            st->cfg.max_file_bytes = space_default_quota(jetstream);
        st->data_path = xasprintf("%s/data.mdb", st->dir);
        st->mark_path = mark_path(st->cfg.dir);
        mishap_watch(st->data_path, st->mark_path, db_code());
        err = exists(st->dir) ? open_existing(st, jetstream, why) : create(st, jetstream, why);
        mishap_locate();
    }
    free(jetstream);
    return err;
}

/* --- the store ------------------------------------------------------------------------------- */

static struct store *store_new(const struct store_config *cfg, const struct store_host *host)
{
    struct store *st = xcalloc(1, sizeof *st);
    st->cfg = *cfg;
    st->cfg.dir = xstrdup(cfg->dir);
    if (st->cfg.max_mem_bytes <= 0)
        st->cfg.max_mem_bytes = INT64_MAX;
    st->host = *host;
    st->turn = host->turn;
    st->lock_fd = -1;
    st->lazy_at = (struct laziness){.journal_max = 4 << 20,
                                    .flush_dirty = 131072,
                                    .flush_lag = 65536,
                                    .clean_max = 8192,
                                    .rows_bytes = 256ul * 1024,
                                    .compact_bytes = 1 << 20};
    st->pool = pool_new();
    st->gather = batch_new(1);
    st->mem = batch_new(1);
    list_init(&st->streams);
    list_init(&st->ready);
    list_init(&st->cleans);
    list_init(&st->graves);
    slabs_init(&st->entries);
    index_evict_init(st);
    turn_post_init(&st->read_on, on_read_on, st);
    list_init(&st->dirty_cursors);
    reclaim_init(st);
    list_init(&st->compactions);
    htab_init(&st->names);
    pins_init(&st->pins);
    store_posts_init(st);
    return st;
}

static void stop_timers(struct store *st)
{
    turn_unset(st->turn, &st->lazy);
    turn_unset(st->turn, &st->second);
    st->turn->job_stop(st->turn->loop, &st->evict);
    st->turn->job_stop(st->turn->loop, &st->leftovers);
    st->turn->unpost(st->turn->loop, &st->hand_over);
    st->turn->unpost(st->turn->loop, &st->mem_back);
    st->turn->unpost(st->turn->loop, &st->read_on);
}

static void free_streams(struct store *st)
{
    LIST_EACH_SAFE(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        st->turn->job_stop(st->turn->loop, &s->catch_up);
        turn_unset(st->turn, &s->expiry);
        compact_end(s);
        stream_free(s);
    }
}

/* A recovery that failed halfway has sealed chunks for a commit that never comes. */
static void forget_gathered(struct batch *b)
{
    for (size_t i = 0; i < b->nparts; i++)
        b->parts[i].chunk->borrowed--;
    b->nparts = 0;
}

static void store_free(struct store *st)
{
    reclaim_end(st, NULL);
    st->closing = true;
    forget_gathered(st->gather);
    free_streams(st);
    index_graves_end(st);
    stop_timers(st);
    if (st->writer)
        writer_stop(st->writer);
    mishap_forget();
    db_close(st->db);
    free(st->data_path);
    free(st->mark_path);
    if (st->lock_fd >= 0)
        close(st->lock_fd);
    batch_free(st->gather);
    batch_free(st->spare);
    batch_free(st->mem);
    batch_free(st->mem_spare);
    pool_free(st->pool);
    slabs_release(&st->entries);
    htab_release(&st->names);
    for (size_t i = 0; i < st->nusages; i++)
        free((char *)st->usages[i].account.p);
    free(st->usages);
    free((char *)st->cfg.dir);
    free(st->dir);
    free(st);
}

int store_open(const struct store_config *cfg, const struct store_host *host, struct store **out,
               char **why)
{
    struct store *st = store_new(cfg, host);
    char *text = NULL;
    /* LMDB mallocs every dirty run of pages. What is larger than any of these grows and goes by
     * moving pages (mremap), not bytes: no turn pays for a copy of a hundred megabytes. */
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    int err = open_file(st, &text);
    if (!err)
        err = store_recover(st, &text);
    if (!err)
        err = writer_start(st->db, st->turn, store_on_back, st, &st->writer);
    if (err) {
        if (why)
            *why = text ? text : xasprintf("%s: %s", cfg->dir, err_text(err));
        else
            free(text);
        store_free(st);
        return err;
    }
    free(text);
    mishap_opened();
    st->turn->post(st->turn->loop, &st->read_on);
    space_open(st);
    st->wall_offset = clock_wall() - clock_mono();
    turn_set(st->turn, &st->second, clock_mono() + NS_PER_S);
    store_wake(st);
    *out = st;
    return 0;
}

/* Everything lazy is written, so that the next start has nothing to catch up with. */
static void write_all(struct store *st)
{
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        if (s->memory || s->life != STREAM_LIVE || s->index.behind)
            continue;
        while (s->index.ndirty && !index_flush(s, SIZE_MAX))
            ;
        if (s->index.w_last < s->now.last_seq || s->index.w_first < s->now.first_seq)
            (void)index_flush(s, SIZE_MAX);
    }
    cursors_gather(st);
}

void store_close(struct store *st)
{
    store_drain(st);
    LIST_EACH(e, &st->streams)
    {
        struct stream *s = LIST_ENTRY(e, struct stream, link);
        chores_end(s, E_CLOSED);
        append_refuse_parked(s, E_CLOSED);
        looks_end(s, E_CLOSED);
        compact_end(s);
    }
    reclaim_end(st, NULL);
    st->closing = true;
    if (!st->failed)
        write_all(st);
    store_drain(st);
    if (st->failed)
        store_refuse_rest(st);
    store_free(st);
}

struct slice store_uuid(const struct store *st)
{
    return slice_of(st->uuid, sizeof st->uuid - 1);
}

void store_stats(const struct store *st, struct store_stats *out)
{
    *out = st->stats;
    out->waiting_bytes = st->waiting;
}

void store_account_usage(const struct store *st, struct slice account, int64_t *file, int64_t *mem)
{
    *file = *mem = 0;
    for (size_t i = 0; i < st->nusages; i++) {
        if (slice_eq(st->usages[i].account, account)) {
            *file = st->usages[i].file;
            *mem = st->usages[i].mem;
        }
    }
}
