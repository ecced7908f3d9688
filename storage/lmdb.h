/* storage/lmdb.h -- the file: a transaction with a sticky error, and walks that look like loops
 *
 *     struct txn t;
 *     txn_begin(db, &t);
 *     txn_put(&t, DB_META, key, value);
 *     txn_del(&t, DB_HOLES, key);
 *     int err = txn_commit(&t);              twenty steps, one look at the end
 *
 *     struct walk w;
 *     for (bool on = walk_seek(&w, view, DB_BLOCKS, from); on; on = walk_next(&w))
 *         use(w.key, w.value);
 *     walk_end(&w);
 *
 * Threads: one write transaction at a time, by the thread that began it (the writer). The one view
 * belongs to the loop thread. Slices into the file are good until the transaction ends or, in a
 * write transaction, changes something. Errors: E_SPACE (map or disk full), E_IO, E_CORRUPT,
 * E_NOMEM, E_NOTFOUND. LMDB's own codes stay in lmdb.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_LMDB_H
#define STORAGE_LMDB_H

#include "base/err.h"
#include "storage/keys.h"

struct db;

/* dir holds (or, with create, will hold) data.mdb. map_bytes is tried first and halved down to
 * map_min while the address space refuses. *why gets an owned sentence on error. */
struct db_config {
    const char *dir;
    uint64_t map_bytes, map_min;
    bool create;
    bool scattered; /* single pages are wanted: the kernel reads no others along with them, until
                     * somebody who knows the mapping tells it otherwise */
    /* The loop met damage in LMDB's own pages, or the file can't be read; may be NULL. Not during
     * db_open(). */
    void (*trouble)(void *arg, int err);
    /* The loop wants to read and can't, for a commit has failed: true when db_mend() has helped.
     * May be NULL. */
    bool (*dead)(void *arg);
    void *trouble_arg; /* of both */
};
int db_open(const struct db_config *cfg, struct db **out, char **why) MUST_CHECK;
void db_close(struct db *db);
/* The pages of this value are wanted soon: the kernel begins to read them, nobody waits. */
void db_fetch(struct slice value);
/* Some address in LMDB's code. */
const void *db_code(void);
/* After a commit that failed for want of space: when the meta page could not be written LMDB calls
 * the environment dead, and it is opened again in place. No transaction may be open, of the writer
 * neither. */
int db_mend(struct db *db, const char *dir) MUST_CHECK;
/* Everything the process before us wrote is on the device when this returns 0. */
int db_sync(struct db *db) MUST_CHECK;
/* Bytes of the file in use: used pages less free ones can't be had cheaply; this is the file's
 * extent. */
uint64_t db_extent(struct db *db);
/* Clears the slots of readers that died. */
void db_reader_check(struct db *db);

struct txn {
    struct db *db;
    void *handle; /* MDB_txn */
    int err;      /* the first thing that went wrong; later steps do nothing */
    bool write;
};

void txn_begin(struct db *db, struct txn *t);
int txn_commit(struct txn *t) MUST_CHECK;
void txn_abort(struct txn *t);
void txn_put(struct txn *t, enum db_table table, struct slice key, struct slice value);
/* Room for a value of n bytes to be filled before the next step; NULL when the transaction has
 * failed. append: the key is larger than all others. */
char *txn_reserve(struct txn *t, enum db_table table, struct slice key, size_t n, bool append);
/* A row of puts into one table, best in the order of their keys: the page of the last one is looked
 * at first, and keys behind all others fill their pages. */
struct txn_run {
    struct txn *t; /* NULL: it has not begun */
    enum db_table table;
    void *cursor; /* MDB_cursor */
    bool behind;  /* the last one went behind all others */
};
void run_put(struct txn_run *r, struct txn *t, enum db_table table, struct slice key,
             struct slice value);
/* Before anything else happens to the transaction. Ending what has not begun is fine. */
void run_end(struct txn_run *r);
/* Deleting what is not there is fine. */
void txn_del(struct txn *t, enum db_table table, struct slice key);
/* False: not there, or the transaction has failed. */
bool txn_get(struct txn *t, enum db_table table, struct slice key, struct slice *value);

/* Damage in LMDB's own pages can hide what is there (pages.h). Is the way to this key, whether it
 * is there or not, as it must be? Are all pages of the table? False: the view has failed,
 * E_CORRUPT. */
bool view_path_sound(struct txn *view, enum db_table table, struct slice key);
bool view_table_sound(struct txn *view, enum db_table table);

/* The loop's view of the last commit. Nests: the outermost call opens, its view_close() ends it.
 * NULL when it can't be opened (logged). */
struct txn *view_open(struct db *db);
void view_close(struct db *db);
/* From now on the view stays open between looks, and shows all of them the same commit: until it is
 * let go, which must be before a receipt tells that something newer is in the file, and at the end
 * of the turn. */
void view_keep(struct db *db);
void view_let_go(struct db *db);
/* As long as it is the same, what was found in the view is there still. 0: it isn't open. */
uint64_t view_number(const struct db *db);

struct walk {
    struct slice key, value;
    void *cursor; /* MDB_cursor */
    struct txn *t;
    void *kept; /* the view's parked cursor for this table, when it is that one */
};
/* The first key >= from; false at the end. Must be paired with walk_end(), whatever it returns. */
bool walk_seek(struct walk *w, struct txn *t, enum db_table table, struct slice from);
/* The last key <= from. */
bool walk_seek_back(struct walk *w, struct txn *t, enum db_table table, struct slice from);
bool walk_next(struct walk *w);
bool walk_prev(struct walk *w);
/* Deletes the current pair of a write transaction; walk_next() then gives the one after it. */
void walk_del(struct walk *w);
void walk_end(struct walk *w);

#endif
