/* server/cells.h -- small things that stay, kept apart from larger ones that come and go
 *
 * libevent keeps a few words per descriptor for as long as the loop lives. Between connections they
 * would pin every page of a heap that a storm has filled, and none of it could go back. These three
 * are malloc, realloc and free for libevent (loop.c): up to 64 bytes come from pages of their own,
 * at most a million such cells, the rest from mem.h. What libevent hands out for keeps goes back
 * through cells_free(). Loop thread only. Refused memory ends the process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_CELLS_H
#define SERVER_CELLS_H

#include <stddef.h>

void *cells_malloc(size_t n);
void *cells_realloc(void *p, size_t n);
void cells_free(void *p);

#endif
