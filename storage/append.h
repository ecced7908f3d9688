/* storage/append.h -- may this record be stored, and under which number?
 *
 * Also the queue of those that have to wait before the question can be answered: after a crash
 * until the subject index has caught up, after a restart (with an id) until the duplicate window is
 * complete, and while the newest message an append expects is far away and being searched.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_APPEND_H
#define STORAGE_APPEND_H

#include "storage/stream.h"

void append_init(struct stream *s);
/* Lets those go on who need not wait any more. */
void append_unpark(struct stream *s);
/* All of them get this error, through the gathering batch. */
void append_refuse_parked(struct stream *s, int err);

#endif
