/* base/subject.h -- subjects: tokens, wildcards, matching, transforms
 *
 * Pure: no memory is kept, nothing is allocated except by transform_new().
 * A subject is tokens separated by '.', none empty; '*' is one token, '>' the last one and more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SUBJECT_H
#define BASE_SUBJECT_H

#include "base/err.h"
#include "base/slice.h"

#define SUBJECT_TOKENS_MAX                                                                         \
    256 /* deeper subjects are refused by subject_valid(); NATS itself has no limit */

/* No empty token, no blank, tab, CR, LF or NUL; '>' only at the end. Wildcards allowed. */
bool subject_valid(struct slice s);
/* subject_valid() and no '*' or '>' token. */
bool subject_valid_literal(struct slice s);
/* Has a '*' or '>' token ("a*b" is a literal). */
bool subject_has_wildcard(struct slice s);
size_t subject_tokens(struct slice s);
/* The i-th token, counted from 0; empty when there are fewer. */
struct slice subject_token(struct slice s, size_t i);
/* Does the literal subject match the pattern? Both are taken as valid: who must know whether a
 * published subject has an empty token (it then matches nothing) asks subject_valid() once, not for
 * every pattern. */
bool subject_match(struct slice literal, struct slice pattern);
/* Is every subject that matches `inner` matched by `outer` too? Both may have wildcards. */
bool subject_subset(struct slice inner, struct slice outer);
/* Is there a literal subject that matches both? */
bool subject_overlap(struct slice a, struct slice b);

/* --- subject transforms: src "orders.*.>" -> dest "site7.$1.>" ---------------------------------
 * The destination may use $1 and, as nats-server 2.15 has them (reference/server-surface.md 4.11),
 * {{wildcard(1)}}, {{partition(n,1,2)}}, {{split(1,-)}}, {{splitFromLeft(1,3)}},
 * {{splitFromRight(1,3)}}, {{sliceFromLeft(1,2)}}, {{sliceFromRight(1,2)}}, {{left(1,2)}},
 * {{right(1,2)}}, {{random(n)}}. */
struct transform;
/* src empty means ">", dest empty means "as it is". On E_SYNTAX *why (if not NULL) is the text as
 * nats-server words it ("invalid mapping destination: unknown function in {{x(1)}}"), good until
 * the next call on this thread. */
int transform_new(struct slice src, struct slice dest, struct transform **out,
                  const char **why) MUST_CHECK;
void transform_free(struct transform *t);
/* The source pattern, borrowed from t. */
struct slice transform_src(const struct transform *t);
struct buf;
/* Appends the new subject to out when the literal subject matches; false (nothing written)
 * otherwise. As in nats-server, a split may give a subject with an empty token ("--a" -> ".a"). */
bool transform_apply(const struct transform *t, struct slice subject, struct buf *out);

#endif
