/* jsapi/replicate.h -- our own mirrors and sources: a stream that copies from others
 *
 * A stream with `mirror` or `sources` owns one struct replicator: a puller per source (puller.h),
 * and the positions: how far each source was stored. Positions live in a cursor of the store with a
 * name no consumer can have (REPLICATOR_CURSOR): the store writes them in the same commit as the
 * messages they speak of, so a restart resumes at the exact place, without a scan, and also after a
 * purge.
 *
 * Loop thread only. Nothing here publishes from inside a hear function.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_REPLICATE_H
#define JSAPI_REPLICATE_H

#include "base/json.h"
#include "base/slice.h"

struct js_stream;
struct replicator;

/* The consumer half skips the store's cursors whose names start with a dot. */
#define REPLICATOR_CURSOR ".sources"

/* For a live stream whose config has a mirror or sources; NULL when it has none. Starts asking
 * soon. */
struct replicator *replicator_new(struct js_stream *s);
/* The stream's config was replaced. Sources that stay keep their place, and those that go leave it
 * behind for when they come back. May return NULL (a mirror no more, r is gone) or a new one (r was
 * NULL). */
struct replicator *replicator_update(struct js_stream *s, struct replicator *r);
/* deleted: the stream goes, the origins are told to forget their consumers; else a shutdown. */
void replicator_free(struct replicator *r, bool deleted);
/* The store took its picture back: positions are read anew. Call after the stream's handle is good
 * again. */
void replicator_reopened(struct replicator *r);
/* A link of the account came up or went; domain is the peer's. */
void replicator_link(struct replicator *r, struct slice domain, bool up);
/* Writes "mirror":{…} or "sources":[…] of stream info; nothing for neither. r may be NULL. */
void replicator_write_info(const struct replicator *r, struct json_out *out);

#endif
