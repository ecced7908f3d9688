/* server/spell.h -- words of the protocol, written one behind the other
 *
 *     char *p = conn_reserve(c, most);  p = put(p, "MSG ", 4);  p = put_slice(p, subject);  …
 *
 * Each returns where the next one goes; the caller has made room for all. For the two hot places,
 * MSG to clients and LMSG to links.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SPELL_H
#define SERVER_SPELL_H

#include <string.h>

#include "base/digits.h"
#include "base/slice.h"

static inline char *put(char *p, const char *s, size_t n)
{
    memcpy(p, s, n);
    return p + n;
}

static inline char *put_slice(char *p, struct slice s)
{
    return s.n ? put(p, s.p, s.n) : p;
}

/* At most DIGITS_MAX. */
static inline char *put_size(char *p, size_t v)
{
    return p + digits_put(p, v);
}

#endif
