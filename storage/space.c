/* storage/space.c -- see space.h
 *
 * The ballast is written by the loop in pieces of 64 KiB, one each second while the store is small,
 * so no turn waits for it; it is complete soon enough to matter and never larger than a sixteenth
 * of the quota.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/space.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

enum { PIECE = 64 * 1024 };
static const uint64_t MIB = 1 << 20;

struct space {
    uint64_t total, free;
};

static bool look(const char *dir, struct space *out)
{
    struct statvfs v;
    if (statvfs(dir, &v) != 0)
        return false;
    out->total = (uint64_t)v.f_blocks * v.f_frsize;
    out->free = (uint64_t)v.f_bavail * v.f_frsize;
    return true;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t low_mark(const struct space *sp)
{
    uint64_t low = least(64 * MIB, sp->total / 50);
    return low < 4 * MIB ? 4 * MIB : low;
}

int64_t space_default_quota(const char *dir)
{
    struct space sp;
    return look(dir, &sp) ? (int64_t)(sp.free / 4 * 3) : INT64_MAX / 8;
}

uint64_t store_room_lacking(const char *store_dir)
{
    struct space sp;
    char *dir = xstrdup(store_dir), *slash;
    bool seen = look(dir, &sp);
    while (!seen && (slash = strrchr(dir, '/')) != NULL) { /* it is not made yet */
        slash[slash == dir] = '\0';
        seen = look(dir, &sp);
        if (slash == dir)
            break;
    }
    free(dir);
    return seen && sp.free < 2 * low_mark(&sp) ? 2 * low_mark(&sp) - sp.free : 0;
}

bool space_is_out(struct store *st)
{
    struct space sp;
    return look(st->dir, &sp) && sp.free < 4 * MIB;
}

/* --- ballast --------------------------------------------------------------------------------- */

static char *ballast_path(const struct store *st)
{
    return xasprintf("%s/ballast", st->dir);
}

static uint64_t ballast_size(const struct store *st, const struct space *sp)
{
    uint64_t size = least(16 * MIB, sp->total / 100);
    return least(size, (uint64_t)st->cfg.max_file_bytes / 16) / PIECE * PIECE;
}

static void ballast_grow(struct store *st, const struct space *sp)
{
    static const char zero[PIECE];
    if (st->ballast_bytes >= ballast_size(st, sp) || sp->free < 4 * low_mark(sp))
        return;
    char *path = ballast_path(st);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    free(path);
    if (fd < 0)
        return;
    if (write(fd, zero, sizeof zero) == (ssize_t)sizeof zero)
        st->ballast_bytes += sizeof zero;
    close(fd);
}

static void ballast_drop(struct store *st)
{
    char *path = ballast_path(st);
    if (unlink(path) != 0 && errno != ENOENT)
        log_warn("the ballast file %s can't be removed", path);
    free(path);
    st->ballast_bytes = 0;
}

/* --- the mode -------------------------------------------------------------------------------- */

static void enter(struct store *st, const char *why)
{
    if (st->stats.full)
        return;
    st->stats.full = true;
    log_error("the store is full (%s): publishes are refused until space returns", why);
    ballast_drop(st);
}

void space_out(struct store *st)
{
    enter(st, "a commit found no space");
}

void space_open(struct store *st)
{
    struct stat sb;
    char *path = ballast_path(st);
    if (stat(path, &sb) == 0)
        st->ballast_bytes = (uint64_t)sb.st_size;
    free(path);
    space_check(st);
}

void space_check(struct store *st)
{
    struct space sp;
    if (!look(st->dir, &sp))
        return;
    bool out = fault_hit("space");
    if (st->stats.full) {
        if (!out && sp.free >= 2 * low_mark(&sp)) {
            st->stats.full = false;
            log_info("the store takes publishes again");
        }
    } else if (out || sp.free < low_mark(&sp)) {
        enter(st, "the file system has too little left");
    } else {
        ballast_grow(st, &sp);
    }
}
