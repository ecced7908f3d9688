/* storage/mishap.h -- how the store ends a process, and what the next one knows of it
 *
 * The file is mapped: a sector that can't be read, a file that was cut off or a page that leads
 * astray is not an error code but a signal, in the middle of a read. Nothing can be saved then but
 * the truth. One line says what happened, a mark is left beside the store, and the process ends
 * with EXIT_STORE; the file is as it was, and no answer leaves any more.
 *
 * Marks are the times of such ends, one a line, in <store_dir>/jetstream/frond.failed. Two within a
 * minute mean that a restart does not help: whoever starts then does without the store.
 *
 * Threads: any; the signal may hit the writer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_MISHAP_H
#define STORAGE_MISHAP_H

#include <stddef.h>

#include "base/err.h"

enum { EXIT_STORE = 74, MISHAP_PERIOD_S = 60 };

/* From now on a fault in the mapped file, or in LMDB's code, ends the process as told above. code:
 * any address in LMDB. Paths are borrowed until mishap_forget(). One store a process watches. Until
 * mishap_locate() has found where the file is mapped every bus error counts. */
void mishap_watch(const char *data_path, const char *mark_path, const void *code);
void mishap_locate(void);
/* Where it is, and how many bytes; NULL: nowhere. */
void *mishap_located(size_t *n);
/* The store is open. Until now an end leaves two marks: the next start would end the same way. */
void mishap_opened(void);
void mishap_forget(void);
/* LMDB has found something impossible: the same end. */
_Noreturn void mishap_end(const char *what);

/* How many marks of the last minute there are. */
unsigned mishap_recent(const char *mark_path);
/* Adds one; 0, or E_SYS when it can't be written. */
int mishap_note(const char *mark_path) MUST_CHECK;

#endif
