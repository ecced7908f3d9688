/* storage/space.h -- when the disk is full
 *
 * Full mode: publishes are refused at once, everything else lives. It begins before the disk is
 * full (free < min(64 MiB, 2 %), at least 4 MiB) or when a commit fails for want of space, and ends
 * when twice that is free again. A ballast file of written bytes beside the store is removed on
 * entry, so that deletes and acks can still commit, and written anew on exit.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_SPACE_H
#define STORAGE_SPACE_H

#include "storage/store.h"

void space_open(struct store *st);
/* Each second. */
void space_check(struct store *st);
/* A commit failed for want of space. */
void space_out(struct store *st);
/* Is the file system full? To tell a full disk from a broken one after EIO. */
bool space_is_out(struct store *st);
/* What max_file_bytes means when the configuration says nothing: 75 % of what is free. */
int64_t space_default_quota(const char *dir);

#endif
