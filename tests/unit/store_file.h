/* unit/store_file.h -- a SIGKILL: a store's file as it was at that moment
 *
 * store_file_copy() keeps what the process would leave behind, a clean end may follow, and
 * store_file_put_back() makes as if it had never come.
 *
 * Include after cmocka.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_STORE_FILE_H
#define UNIT_STORE_FILE_H

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

static inline void copy_file(const char *from, const char *to)
{
    static char room[1 << 16];
    size_t n;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(room, 1, sizeof room, in)) > 0)
        assert_int_equal(fwrite(room, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static inline char *store_file(const char *dir)
{
    return xasprintf("%s/jetstream/frond/data.mdb", dir);
}

static inline void store_file_copy(const char *dir)
{
    char *data = store_file(dir), *copy = xasprintf("%s/copy", dir);
    copy_file(data, copy);
    free(data);
    free(copy);
}

static inline void store_file_put_back(const char *dir)
{
    char *data = store_file(dir), *copy = xasprintf("%s/copy", dir);
    assert_int_equal(rename(copy, data), 0);
    free(data);
    free(copy);
}

#endif
