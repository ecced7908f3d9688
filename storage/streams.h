/* storage/streams.h -- streams come, change and go: what the other rooms need of it
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_STREAMS_H
#define STORAGE_STREAMS_H

#include "storage/stream.h"

/* The specification row. Slices of the result point into v. */
int stream_spec_read(struct slice v, uint32_t sid, struct stream_spec *spec) MUST_CHECK;
/* Into the list, by sid. */
void streams_insert(struct store *st, struct stream *s);
/* The row of the store itself: format, uuid, next sid. */
void store_write_format(struct store *st, struct buf *out);
int store_read_format(struct store *st, struct slice v) MUST_CHECK;
/* The first number seen whose time is >= ts; shown.last_seq + 1 when there is none. */
uint64_t stream_seq_at(struct stream *s, int64_t ts);
/* The stream gets its timer. */
void stream_ready(struct stream *s);

#endif
