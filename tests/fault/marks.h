/* fault/marks.h -- the marks that traffic puts into its messages, for who watches bytes go by
 *
 * A mark is "@@" and eight digits: one number per message, so that what is seen in a file and what
 * is seen on a socket can be told to be the same message.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAULT_MARKS_H
#define FAULT_MARKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MARK = 10,       /* length of a mark: "@@00001234" */
    TAIL = MARK - 1, /* what may be the beginning of one */
};

/* p: MARK bytes. */
static inline bool is_mark(const char *p)
{
    if (p[0] != '@' || p[1] != '@')
        return false;
    for (int i = 2; i < MARK; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return true;
}

/* What a mark says: its eight digits, whatever stands behind them. */
static inline uint32_t mark_number(const char *p)
{
    uint32_t n = 0;
    for (int i = 2; i < MARK; i++)
        n = n * 10 + (uint32_t)(p[i] - '0');
    return n;
}

#endif
