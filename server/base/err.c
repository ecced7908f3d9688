/* base/err.c -- see err.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stddef.h>

static const struct {
    const char *name, *text;
} table[] = {
#define ERR_ROW(name, text) {#name, text},
    ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

#define TABLE_LEN (int)(sizeof table / sizeof table[0])

static int row_of(int err)
{
    int row = err - (E_BASE_ + 1);
    return row >= 0 && row < TABLE_LEN ? row : -1;
}

const char *err_text(int err)
{
    int row = row_of(err);
    if (row >= 0)
        return table[row].text;
    return err == E_OK ? "no error" : "unknown error";
}

const char *err_name(int err)
{
    int row = row_of(err);
    if (row >= 0)
        return table[row].name;
    return err == E_OK ? "E_OK" : "E_UNKNOWN";
}
