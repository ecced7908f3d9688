/* storage/lmdb.c -- the only file that knows LMDB
 *
 * It opens the environment by the rules of durability (no flag that weakens a commit, size and
 * magic looked at before a page is touched, dead readers cleared) and turns MDB codes into ours.
 *
 * A transaction is sticky: after the first error every further step is a no-op, and txn_commit()
 * aborts and returns that error. The loop's view is one read transaction, renewed when somebody
 * looks and reset when he is done, because a view that stays open keeps old pages from being used
 * again and the file grows. Who looks many times in one turn keeps it open between his looks, for
 * then LMDB finds the tables' roots only once. Cursors of the view are parked per table between
 * uses, so a look costs no allocation.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/codec.h"
#include "storage/mishap.h"
#include "storage/pages.h"

_Static_assert(MDB_VERSION_FULL >= MDB_VERINT(0, 9, 24), "LMDB 0.9.24 or later");

static const char *const table_names[DB_TABLES] = {
    [DB_MAIN] = NULL,    [DB_BLOCKS] = "b",  [DB_HOLES] = "t",
    [DB_SUBJECTS] = "s", [DB_CURSORS] = "c", [DB_META] = "m",
};

struct db {
    MDB_env *env;
    MDB_dbi dbi[DB_TABLES];
    struct txn view;              /* the loop's; its handle is kept, and reset while not open */
    bool open;                    /* the view shows something: a look, or the last one kept it */
    bool kept;                    /* it stays open when the last look ends */
    uint64_t views;               /* how many were opened */
    unsigned depth;               /* how many look through it now */
    uint64_t map_bytes, map_min;  /* as configured */
    void (*trouble)(void *, int); /* the view met damage */
    bool (*dead)(void *);
    void *trouble_arg;
    MDB_cursor *parked[DB_TABLES]; /* the view's idle cursors */
    uint32_t known[PAGES_KNOWN];   /* pages that were looked at; 0 is a root page */
};

static int err_of(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return E_NOTFOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
        return E_SPACE;
    case MDB_TXN_FULL:
        return E_TOOBIG;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_BAD_TXN:
    case MDB_INVALID:
        return E_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return E_VERSION;
    case ENOMEM:
        return E_NOMEM;
    case MDB_PANIC:
    case EIO:
        return E_IO;
    case EROFS:
        return E_READONLY;
    default:
        return rc < 0 ? E_CORRUPT : E_SYS;
    }
}

/* --- opening --------------------------------------------------------------------------------- */

static void on_assert(MDB_env *env, const char *msg)
{
    (void)env;
    mishap_end(msg);
}

#define THEN "put a copy back, or move it away to begin anew"

static int complain(char **why, int err, const char *dir, const char *what)
{
    if (why)
        *why = xasprintf("%s/data.mdb: %s", dir, what);
    return err;
}

/* A root page: where things are in it. */
enum { META_MAGIC = 16, META_VERSION = 20, META_PSIZE = 40, META_MAIN = 88, META_LAST = 136 };
enum { META_ID = 144, META_END = 152 };

static bool read_roots(const char *path, char root[2][META_END])
{
    struct stat sb;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &sb) == 0 && sb.st_size >= 2l * PAGES_SIZE;
    for (int i = 0; i < 2 && ok; i++)
        ok = pread(fd, root[i], META_END, (off_t)i * PAGES_SIZE) == META_END;
    close(fd);
    return ok;
}

/* The two take turns, and only the newer one is believed: a bit in its number, and the store would
 * be as it was a commit ago. */
static bool roots_agree(char root[2][META_END])
{
    enum { LAST_MOST = 35 }; /* bits of a page's number in an address space */
    uint64_t even = rd64(root[0] + META_ID), odd = rd64(root[1] + META_ID);
    bool turns = even % 2 == 0 && odd % 2 == 1 && (odd == even + 1 || even == odd + 1);
    for (int i = 0; i < 2; i++)
        if (rd64(root[i] + META_LAST) >> LAST_MOST)
            return false;
    return (turns || (even == 0 && odd == 0)) &&
           memcmp(root[0] + META_MAGIC, root[1] + META_MAGIC, 8) == 0 &&
           rd32(root[0] + META_PSIZE) == rd32(root[1] + META_PSIZE);
}

/* Before LMDB touches a page: long enough for both root pages, LMDB's magic in them, and they are
 * those of neighbouring commits. */
static int look_before(const char *dir, char **why)
{
    char root[2][META_END];
    char *path = xasprintf("%s/data.mdb", dir);
    bool there = access(path, R_OK) == 0, ok = there && read_roots(path, root);
    free(path);
    if (!there)
        return complain(why, E_CORRUPT, dir, "can't be opened for reading");
    if (!ok)
        return complain(why, E_CORRUPT, dir, "is shorter than two pages; " THEN);
    if (rd32(root[0] + META_MAGIC) != 0xBEEFC0DE)
        return complain(why, E_CORRUPT, dir, "is not an LMDB file; " THEN);
    if (!roots_agree(root))
        return complain(why, E_CORRUPT, dir, "is damaged in its first pages; " THEN);
    if (rd32(root[0] + META_VERSION) != 1)
        return complain(why, E_VERSION, dir, "is of another LMDB version");
    return 0;
}

/* How many of the pages from `first` on are in the list of free pages (LMDB's table 0: an array of
 * numbers behind its length). */
static int count_free(MDB_env *env, uint64_t first, uint64_t *count)
{
    MDB_txn *t;
    MDB_cursor *c;
    MDB_val k, v;
    *count = 0;
    int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &t);
    if (rc)
        return rc;
    rc = mdb_cursor_open(t, 0, &c);
    if (!rc) {
        while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
            const size_t *ids = v.mv_data;
            for (size_t i = 1; i <= ids[0] && (i + 1) * sizeof *ids <= v.mv_size; i++)
                *count += ids[i] >= first;
        }
        mdb_cursor_close(c);
    }
    mdb_txn_abort(t);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* LMDB does not check that the file is as long as its meta page says, and touching what is not
 * there is SIGBUS. A sound file may be shorter, because pages taken and freed within one
 * transaction are never written: then all that is missing is in the list of free pages. The file is
 * made longer to look (a hole, nothing is written), and cut back when it turns out that something
 * is missing. */
static int look_after(MDB_env *env, const char *dir, char **why)
{
    MDB_envinfo info;
    MDB_stat stat_main;
    struct stat sb;
    int fd;
    if (mdb_env_info(env, &info) || mdb_env_stat(env, &stat_main) || mdb_env_get_fd(env, &fd) ||
        fstat(fd, &sb) != 0)
        return complain(why, E_SYS, dir, "can't be examined");
    if (stat_main.ms_psize != 4096 || mdb_env_get_maxkeysize(env) != KEY_MAX)
        return complain(why, E_VERSION, dir, "has another page or key size");
    uint64_t pages = info.me_last_pgno + 1, here = (uint64_t)sb.st_size / 4096, free_ones;
    if (here >= pages)
        return 0;
    if (ftruncate(fd, (off_t)(pages * 4096)) == 0 && count_free(env, here, &free_ones) == 0 &&
        free_ones == pages - here)
        return 0;
    if (ftruncate(fd, sb.st_size) != 0)
        log_warn("%s/data.mdb: its length could not be put back", dir);
    return complain(why, E_CORRUPT, dir, "was cut off; " THEN);
}

static int open_tables(struct db *db, bool create)
{
    MDB_txn *t;
    int rc = mdb_txn_begin(db->env, NULL, 0, &t);
    if (rc)
        return err_of(rc);
    for (int i = 0; i < DB_TABLES && !rc; i++)
        rc = mdb_dbi_open(t, table_names[i], create && i != DB_MAIN ? MDB_CREATE : 0, &db->dbi[i]);
    if (rc) {
        mdb_txn_abort(t);
        return rc == MDB_NOTFOUND ? E_CORRUPT : err_of(rc);
    }
    return err_of(mdb_txn_commit(t));
}

static int open_env(struct db *db, const struct db_config *cfg)
{
    db->map_bytes = cfg->map_bytes;
    db->map_min = cfg->map_min;
    unsigned flags = MDB_NOTLS;
#ifdef FROND_NOSYNC
    flags |= MDB_NOSYNC; /* only to prove that the tests notice */
#endif
    if (cfg->scattered)
        flags |= MDB_NORDAHEAD;
    for (uint64_t map = cfg->map_bytes;; map /= 2) {
        if (map < cfg->map_min)
            map = cfg->map_min;
        int rc = mdb_env_create(&db->env);
        if (rc)
            return err_of(rc);
        mdb_env_set_assert(db->env, on_assert);
        mdb_env_set_maxdbs(db->env, DB_TABLES + 4);
        mdb_env_set_maxreaders(db->env, 64);
        mdb_env_set_mapsize(db->env, map);
        rc = mdb_env_open(db->env, cfg->dir, flags, 0600);
        if (rc == 0)
            return 0;
        mdb_env_close(db->env);
        db->env = NULL;
        if (rc != ENOMEM || map == cfg->map_min)
            return err_of(rc);
    }
}

int db_open(const struct db_config *cfg, struct db **out, char **why)
{
    int err = cfg->create ? 0 : look_before(cfg->dir, why);
    if (err)
        return err;
    struct db *db = xcalloc(1, sizeof *db);
    db->view.db = db;
    db->trouble = cfg->trouble;
    db->dead = cfg->dead;
    db->trouble_arg = cfg->trouble_arg;
    err = open_env(db, cfg);
    if (err) {
        (void)complain(why, err, cfg->dir, err_text(err));
        free(db);
        return err;
    }
    if (!cfg->create)
        err = look_after(db->env, cfg->dir, why);
    db_reader_check(db);
    if (!err) {
        err = open_tables(db, cfg->create);
        if (err)
            (void)complain(why, err, cfg->dir, "its tables can't be opened");
    }
    if (err) {
        db_close(db);
        return err;
    }
    *out = db;
    return 0;
}

static void drop_view(struct db *db)
{
    for (int i = 0; i < DB_TABLES; i++) {
        if (db->parked[i])
            mdb_cursor_close(db->parked[i]);
        db->parked[i] = NULL;
    }
    if (db->view.handle)
        mdb_txn_abort(db->view.handle);
    db->view.handle = NULL;
    db->open = false;
}

static bool is_dead(struct db *db)
{
    MDB_txn *t;
    int rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &t);
    if (rc == 0)
        mdb_txn_abort(t);
    return rc == MDB_PANIC;
}

int db_mend(struct db *db, const char *dir)
{
    ASSERT(db->depth == 0);
    if (!is_dead(db))
        return 0;
    struct db_config cfg = {.dir = dir, .map_bytes = db->map_bytes, .map_min = db->map_min};
    log_warn("%s/data.mdb: its first pages could not be written; it is opened again", dir);
    drop_view(db);
    mdb_env_close(db->env);
    db->env = NULL;
    int err = open_env(db, &cfg);
    if (!err)
        err = open_tables(db, false);
    return err ? err : db_sync(db);
}

void db_close(struct db *db)
{
    if (!db)
        return;
    ASSERT(db->depth == 0);
    drop_view(db);
    mdb_env_close(db->env);
    free(db);
}

void db_fetch(struct slice value)
{
    uintptr_t from = (uintptr_t)value.p & ~(uintptr_t)4095, to = (uintptr_t)value.p + value.n;
    (void)madvise((void *)from, to - from, MADV_WILLNEED); /* it is only advice */
}

const void *db_code(void)
{
    return (const void *)(uintptr_t)mdb_env_open;
}

int db_sync(struct db *db)
{
#ifdef FROND_NOSYNC
    (void)db;
    return 0;
#else
    return err_of(mdb_env_sync(db->env, 1));
#endif
}

uint64_t db_extent(struct db *db)
{
    MDB_envinfo info;
    return mdb_env_info(db->env, &info) ? 0 : (info.me_last_pgno + 1) * 4096ull;
}

void db_reader_check(struct db *db)
{
    int dead;
    (void)mdb_reader_check(db->env, &dead);
}

/* --- transactions ---------------------------------------------------------------------------- */

/* A commit that lacks memory is answered with an error. What the loop looks up it can't do without,
 * and no memory is no damage. */
static bool failed(struct txn *t, int rc)
{
    if (rc == ENOMEM && !t->write)
        mem_refused(0); /* LMDB doesn't say how many bytes */
    if (rc && !t->err)
        t->err = err_of(rc);
    return rc != 0;
}

static MDB_val val_of(struct slice s)
{
    return (MDB_val){s.n, (void *)s.p};
}

void txn_begin(struct db *db, struct txn *t)
{
    *t = (struct txn){.db = db, .write = true};
    MDB_txn *handle = NULL;
    failed(t, mdb_txn_begin(db->env, NULL, 0, &handle));
    t->handle = handle;
}

int txn_commit(struct txn *t)
{
    if (!t->err && fault_hit("commit"))
        t->err = E_NOMEM;
    if (!t->err && fault_hit("commit-space"))
        t->err = E_SPACE;
    if (!t->err && fault_hit("commit-io"))
        t->err = E_IO;
    if (t->err) {
        txn_abort(t);
        return t->err;
    }
    int rc = mdb_txn_commit(t->handle);
    t->handle = NULL;
    failed(t, rc);
    return t->err;
}

void txn_abort(struct txn *t)
{
    if (t->handle)
        mdb_txn_abort(t->handle);
    t->handle = NULL;
}

void txn_put(struct txn *t, enum db_table table, struct slice key, struct slice value)
{
    if (t->err)
        return;
    MDB_val k = val_of(key), v = val_of(value);
    failed(t, mdb_put(t->handle, t->db->dbi[table], &k, &v, 0));
}

static bool run_begin(struct txn_run *r, struct txn *t, enum db_table table)
{
    MDB_cursor *c = NULL;
    if (r->t && r->table == table)
        return true;
    run_end(r);
    if (failed(t, mdb_cursor_open(t->handle, t->db->dbi[table], &c)))
        return false;
    *r = (struct txn_run){.t = t, .table = table, .cursor = c, .behind = true};
    return true;
}

void run_put(struct txn_run *r, struct txn *t, enum db_table table, struct slice key,
             struct slice value)
{
    if (t->err || !run_begin(r, t, table))
        return;
    MDB_val k = val_of(key), v = val_of(value);
    if (r->behind) {
        int rc = mdb_cursor_put(r->cursor, &k, &v, MDB_APPEND);
        if (rc != MDB_KEYEXIST) {
            failed(t, rc);
            return;
        }
        r->behind = false;
    }
    failed(t, mdb_cursor_put(r->cursor, &k, &v, 0));
}

void run_end(struct txn_run *r)
{
    if (r->t)
        mdb_cursor_close(r->cursor);
    *r = (struct txn_run){0};
}

char *txn_reserve(struct txn *t, enum db_table table, struct slice key, size_t n, bool append)
{
    if (t->err)
        return NULL;
    MDB_val k = val_of(key), v = {n, NULL};
    unsigned flags = MDB_RESERVE | (append ? MDB_APPEND : 0);
    return failed(t, mdb_put(t->handle, t->db->dbi[table], &k, &v, flags)) ? NULL : v.mv_data;
}

void txn_del(struct txn *t, enum db_table table, struct slice key)
{
    if (t->err)
        return;
    MDB_val k = val_of(key);
    int rc = mdb_del(t->handle, t->db->dbi[table], &k, NULL);
    if (rc != MDB_NOTFOUND)
        failed(t, rc);
}

bool txn_get(struct txn *t, enum db_table table, struct slice key, struct slice *value)
{
    if (t->err)
        return false;
    MDB_val k = val_of(key), v = {0};
    int rc = mdb_get(t->handle, t->db->dbi[table], &k, &v);
    if (!rc && !v.mv_data)
        rc = MDB_CORRUPTED;
    if (rc == MDB_NOTFOUND || failed(t, rc))
        return false;
    *value = slice_of(v.mv_data, v.mv_size);
    return true;
}

/* --- the view -------------------------------------------------------------------------------- */

static int view_begin(struct db *db)
{
    if (!db->env) /* db_mend() failed */
        return MDB_PANIC;
    if (db->view.handle)
        return mdb_txn_renew(db->view.handle);
    MDB_txn *handle = NULL;
    int rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &handle);
    if (rc == MDB_READERS_FULL) {
        db_reader_check(db);
        rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &handle);
    }
    db->view.handle = handle;
    return rc;
}

struct txn *view_open(struct db *db)
{
    if (!db->open) {
        int rc = view_begin(db);
        if (rc == MDB_PANIC && db->dead && db->dead(db->trouble_arg))
            rc = view_begin(db);
        if (rc == ENOMEM)
            mem_refused(0);
        db->view.err = 0;
        if (rc) {
            log_error("the store can't be read: %s", mdb_strerror(rc));
            drop_view(db);
            if (db->trouble)
                db->trouble(db->trouble_arg, err_of(rc));
            return NULL;
        }
        db->open = true;
        db->views++;
    }
    db->depth++;
    return &db->view;
}

static void view_end(struct db *db)
{
    if (!db->open || db->depth > 0)
        return;
    mdb_txn_reset(db->view.handle);
    db->open = false;
}

void view_close(struct db *db)
{
    ASSERT(db->depth > 0);
    if (db->view.err && db->trouble)
        db->trouble(db->trouble_arg, db->view.err);
    --db->depth;
    if (!db->kept || db->view.err)
        view_end(db);
}

uint64_t view_number(const struct db *db)
{
    return db->open ? db->views : 0;
}

void view_keep(struct db *db)
{
    db->kept = true;
}

void view_let_go(struct db *db)
{
    db->kept = false;
    view_end(db);
}

/* LMDB's own word on a table, as of the view. What LMDB hands out lies in the mapping: else it is
 * not the one that was located, and nothing can be said. */
enum tree_is { TREE_HERE, TREE_DAMAGED, TREE_UNKNOWN };

static enum tree_is tree_of(struct txn *view, enum db_table table, struct tree *x)
{
    const char *name = table_names[table == DB_MAIN ? DB_META : table];
    MDB_envinfo info;
    MDB_val k = {strlen(name), (void *)name}, v = {0};
    size_t n, id = mdb_txn_id(view->handle);
    if (mdb_get(view->handle, view->db->dbi[DB_MAIN], &k, &v) || v.mv_size != TREE_BYTES ||
        mdb_env_info(view->db->env, &info))
        return TREE_DAMAGED;
    *x = (struct tree){.map = mishap_located(&n), .pages = info.me_last_pgno + 1};
    const char *bytes = v.mv_data, *root = x->map + (id & 1) * PAGES_SIZE;
    if (!x->map || bytes < x->map || bytes >= x->map + n)
        return TREE_UNKNOWN;
    if (table == DB_MAIN)
        bytes = rd64(root + META_ID) == id ? root + META_MAIN : NULL;
    return bytes && tree_read(x, bytes) ? TREE_HERE : TREE_DAMAGED;
}

static bool found_sound(struct txn *view, bool sound)
{
    return sound || !failed(view, MDB_CORRUPTED);
}

bool view_path_sound(struct txn *view, enum db_table table, struct slice key)
{
    struct tree x;
    if (view->err)
        return false;
    enum tree_is is = tree_of(view, table, &x);
    x.known = view->db->known;
    return found_sound(view, is == TREE_UNKNOWN || (is == TREE_HERE && tree_path_sound(&x, key)));
}

bool view_table_sound(struct txn *view, enum db_table table)
{
    struct tree x;
    if (view->err)
        return false;
    enum tree_is is = tree_of(view, table, &x);
    return found_sound(view, is == TREE_UNKNOWN || (is == TREE_HERE && tree_sound(&x)));
}

/* --- walks ----------------------------------------------------------------------------------- */

static bool walk_step(struct walk *w, MDB_cursor_op op, struct slice at)
{
    MDB_val k = val_of(at), v = {0};
    int rc = mdb_cursor_get(w->cursor, &k, &v, op);
    if (!rc && !v.mv_data) /* a page of another kind, which has no values */
        rc = MDB_CORRUPTED;
    if (rc) {
        if (rc != MDB_NOTFOUND)
            failed(w->t, rc);
        return false;
    }
    w->key = slice_of(k.mv_data, k.mv_size);
    w->value = slice_of(v.mv_data, v.mv_size);
    return true;
}

static bool walk_begin(struct walk *w, struct txn *t, enum db_table table)
{
    *w = (struct walk){.t = t};
    if (t->err)
        return false;
    MDB_cursor *c = NULL;
    if (!t->write) {
        w->kept = &t->db->parked[table];
        c = t->db->parked[table];
        t->db->parked[table] = NULL;
        if (c && failed(t, mdb_cursor_renew(t->handle, c))) {
            mdb_cursor_close(c);
            return false;
        }
    }
    if (!c && failed(t, mdb_cursor_open(t->handle, t->db->dbi[table], &c)))
        return false;
    w->cursor = c;
    return true;
}

bool walk_seek(struct walk *w, struct txn *t, enum db_table table, struct slice from)
{
    return walk_begin(w, t, table) && walk_step(w, MDB_SET_RANGE, from);
}

bool walk_seek_back(struct walk *w, struct txn *t, enum db_table table, struct slice from)
{
    if (!walk_begin(w, t, table))
        return false;
    if (!walk_step(w, MDB_SET_RANGE, from))
        return !t->err && walk_step(w, MDB_LAST, from);
    return slice_eq(w->key, from) || walk_step(w, MDB_PREV, from);
}

bool walk_next(struct walk *w)
{
    return !w->t->err && walk_step(w, MDB_NEXT, (struct slice){0});
}

bool walk_prev(struct walk *w)
{
    return !w->t->err && walk_step(w, MDB_PREV, (struct slice){0});
}

void walk_del(struct walk *w)
{
    if (!w->t->err)
        failed(w->t, mdb_cursor_del(w->cursor, 0));
}

void walk_end(struct walk *w)
{
    if (!w->cursor)
        return;
    MDB_cursor **kept = w->kept;
    if (kept && !*kept)
        *kept = w->cursor;
    else
        mdb_cursor_close(w->cursor);
    w->cursor = NULL;
}
