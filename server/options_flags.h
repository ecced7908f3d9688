/* server/options_flags.h -- the command line, as read
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OPTIONS_FLAGS_H
#define SERVER_OPTIONS_FLAGS_H

#include "server/options.h"

struct opt_reader;

/* Puts the flags over what the file said; complaints go to r. flags may be NULL. */
void flags_apply(const struct options_flags *flags, struct opt_reader *r);

#endif
