/* tests/bench/bare.c -- what the disk under a store can do, without any server
 *
 *     bare DIR [ROUNDS]
 *     bare DIR stream BYTES PIECE
 *
 * {"fdatasync_p50":us,"lmdb_p50":us,"lmdb_p99":us}: a 4 KiB overwrite + fdatasync, and an LMDB
 * transaction that puts one 128-byte value, with the flags of Frond's store.
 * {"stream_bytes_s":n}: so many bytes appended to a new file, each piece flushed before the next.
 * All in DIR, which is left as it was.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now_us(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t))
        die("clock_gettime");
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_fdatasync(const char *dir, double *us, size_t rounds)
{
    char path[512], page[4096] = {0};
    snprintf(path, sizeof path, "%s/bare.tmp", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    for (size_t i = 0; i < rounds; i++) {
        page[0] = (char)i;
        double t = now_us();
        if (pwrite(fd, page, sizeof page, 0) != (ssize_t)sizeof page || fdatasync(fd))
            die("write");
        us[i] = now_us() - t;
    }
    close(fd);
    unlink(path);
    qsort(us, rounds, sizeof *us, by_value);
}

static void check(int rc, const char *what)
{
    if (rc) {
        fprintf(stderr, "bare: %s: %s\n", what, mdb_strerror(rc));
        exit(2);
    }
}

static void time_lmdb(const char *dir, double *us, size_t rounds)
{
    char path[512], file[600];
    snprintf(path, sizeof path, "%s/bare.lmdb", dir);
    if (mkdir(path, 0700) && errno != EEXIST)
        die(path);
    MDB_env *env;
    MDB_dbi dbi = 0;
    char value[128] = {0};
    check(mdb_env_create(&env), "env");
    check(mdb_env_set_mapsize(env, (size_t)1 << 30), "map");
    check(mdb_env_open(env, path, MDB_NOTLS, 0600), "open");
    for (uint64_t i = 0; i < rounds; i++) {
        MDB_txn *txn;
        MDB_val k = {sizeof i, &i}, v = {sizeof value, value};
        double t = now_us();
        check(mdb_txn_begin(env, NULL, 0, &txn), "begin");
        check(mdb_dbi_open(txn, NULL, 0, &dbi), "dbi");
        check(mdb_put(txn, dbi, &k, &v, 0), "put");
        check(mdb_txn_commit(txn), "commit");
        us[i] = now_us() - t;
    }
    mdb_env_close(env);
    snprintf(file, sizeof file, "%s/data.mdb", path);
    unlink(file);
    snprintf(file, sizeof file, "%s/lock.mdb", path);
    unlink(file);
    rmdir(path);
    qsort(us, rounds, sizeof *us, by_value);
}

static int stream(const char *dir, size_t bytes, size_t piece)
{
    char path[512], *data = malloc(piece);
    snprintf(path, sizeof path, "%s/bare.tmp", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || !data)
        die(path);
    double began = now_us();
    for (size_t at = 0; at < bytes; at += piece) {
        memset(data, (int)(at / piece), piece); /* a store fills its pages, too */
        for (size_t n = 0; n < piece;) {
            ssize_t some = write(fd, data + n, piece - n);
            if (some <= 0)
                die("write");
            n += (size_t)some;
        }
        if (fdatasync(fd))
            die("fdatasync");
    }
    printf("{\"stream_bytes_s\":%.0f}\n", (double)bytes / (now_us() - began) * 1e6);
    close(fd);
    unlink(path);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[2], "stream") == 0 && strtoul(argv[4], NULL, 10))
        return stream(argv[1], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    if (argc < 2 || rounds < 10) {
        fprintf(stderr, "usage: bare DIR [ROUNDS | stream BYTES PIECE]\n");
        return 1;
    }
    double *us = malloc(rounds * sizeof *us);
    if (!us)
        die("malloc");
    time_fdatasync(argv[1], us, rounds);
    double sync_p50 = us[rounds / 2];
    time_lmdb(argv[1], us, rounds);
    printf("{\"fdatasync_p50\":%.1f,\"lmdb_p50\":%.1f,\"lmdb_p99\":%.1f}\n", sync_p50,
           us[rounds / 2], us[rounds * 99 / 100]);
    free(us);
    return 0;
}
