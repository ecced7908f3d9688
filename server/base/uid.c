/* base/uid.c -- unique names, as nuid makes them; see uid.h
 *
 *     | 12 random characters | 10 characters of a counter |
 *
 * The counter starts at a random place and advances by a random step, so names cannot be guessed
 * from each other without effort; when it passes the end a new prefix is drawn. Each thread has a
 * prefix and a counter of its own, so there is no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/uid.h"

#include <stdint.h>
#include <string.h>

#include "base/digest.h"

#define PREFIX_LEN 12
#define SEQ_LEN    (UID_LEN - PREFIX_LEN)
#define SEQ_MAX    839299365868340224ULL /* 62^10 */

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static _Thread_local struct {
    char prefix[PREFIX_LEN]; /* drawn anew when seq passes the end */
    uint64_t seq, step;      /* step 0: not drawn yet */
} state;

static void draw(void)
{
    char prefix[PREFIX_LEN + 1];
    uint64_t noise[2];
    uid_short(prefix, PREFIX_LEN);
    memcpy(state.prefix, prefix, PREFIX_LEN);
    random_bytes(noise, sizeof noise);
    state.seq = noise[0] % SEQ_MAX;
    state.step = 33 + noise[1] % 300;
}

void uid_make(char out[UID_LEN + 1])
{
    state.seq += state.step;
    if (!state.step || state.seq >= SEQ_MAX)
        draw();
    memcpy(out, state.prefix, PREFIX_LEN);
    uint64_t seq = state.seq;
    for (int i = UID_LEN - 1; i >= PREFIX_LEN; i--) {
        out[i] = digits[seq % 62];
        seq /= 62;
    }
    out[UID_LEN] = '\0';
}

void uid_short(char *out, size_t n)
{
    size_t made = 0;
    while (made < n) {
        unsigned char noise[32];
        random_bytes(noise, sizeof noise);
        for (size_t i = 0; i < sizeof noise && made < n; i++)
            if (noise[i] < 248) /* 4 * 62: every character equally likely */
                out[made++] = digits[noise[i] % 62];
    }
    out[n] = '\0';
}
