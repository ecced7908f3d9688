/* storage/codec.h -- facts <-> bytes: versioned, checksummed, pure
 *
 * Integers in values are little-endian. Nothing here allocates, except what is added to a struct
 * buf. Reading checks every length against the room there is; what does not fit is E_CORRUPT, never
 * a read past the end.
 *
 * Record (24 bytes, then the bytes)
 *     u32 len | u32 crc32c | u32 hdr_len | u64 ts_ns | u16 subj_len | u16 flags
 *     [RECF_ID: u32 id_at | u16 id_len | u16 0]  subject | headers | payload  [RECF_ID_TAIL: id]
 *
 * len is everything. The checksum covers stream id, sequence, len and all that follows it: a sound
 * record under the wrong number is a damaged record.
 *
 * Block: header 40 bytes | records | … | directory, which grows down from the end of the value
 *     u8 version | u8 flags | u16 0 | u32 n | u32 used | u32 crc32c | u64 last_seq
 *     | i64 min_ts | i64 max_ts
 *     dense:   u32 offset[i] at end - 4 (i + 1), number = first_seq + i, 0 = absent
 *     SPARSE:  {u32 seq - first_seq, u32 offset}[i] at end - 8 (i + 1), ascending
 *
 * `used` is the end of the records. The checksum covers sid, first_seq, header and directory.
 *
 * Journal value: u32 crc32c | u8 version | u8 0 | u16 0 | ops
 * Each op: u8 type | u8 0 | u16 check | u32 length | body; check: of the batch's number, the head
 * and the body, of an append without its records, which have their own
 *     'A' append   sid, u64 first_seq, u32 count, records
 *     'D' delete   sid, {u64 seq, u16 len, subject}…
 *     'H' hole     sid, u64 first, u64 last             numbers that were skipped
 *     'S' state    sid, struct state                    what the stream is after this batch
 *     'C' cursor   sid, u32 cursor id, delta
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CODEC_H
#define STORAGE_CODEC_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

static inline void le16(char *p, unsigned v)
{
    uint16_t x = (uint16_t)v;
    memcpy(p, &x, 2);
}
static inline void le32(char *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void le64(char *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static inline unsigned rd16(const char *p)
{
    uint16_t x;
    memcpy(&x, p, 2);
    return x;
}
static inline uint32_t rd32(const char *p)
{
    uint32_t x;
    memcpy(&x, p, 4);
    return x;
}
static inline uint64_t rd64(const char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

/* --- records --------------------------------------------------------------------------------- */

/* SKIP: a number was used up, there is no message */
enum { RECF_ID = 1, RECF_ID_TAIL = 2, RECF_SKIP = 4 };
enum { RECORD_HEAD = 24, RECORD_ID_HEAD = 8 };

struct record {
    struct slice subject, hdr, payload, msg_id; /* borrowed; msg_id may lie inside hdr */
    int64_t ts;
    unsigned flags; /* RECF_… */
    uint32_t len;   /* of the whole record, filled by record_read() */
};

/* The size record_write() will need; sets r->flags' ID bits from r->msg_id. */
size_t record_size(struct record *r);
void record_write(char *to, uint32_t sid, uint64_t seq, const struct record *r);
/* Lengths are checked, the checksum is not. */
int record_read(const char *p, size_t room, struct record *r) MUST_CHECK;
/* p is a record that record_read() took. */
bool record_sound(const char *p, uint32_t sid, uint64_t seq);
/* The checksum it should have; its length is right. */
uint32_t record_checksum(const char *p, uint32_t sid, uint64_t seq);
/* Overwrites all but the frame: what is left says that the number was used up. Its length is right.
 */
void record_blank(char *p, uint32_t sid, uint64_t seq);
/* What the reference accounts for it (jetstream-api.md 4.2). */
uint64_t record_account(size_t subject, size_t hdr, size_t payload, bool memory);

/* --- blocks ---------------------------------------------------------------------------------- */

enum { BLOCK_SPARSE = 1, BLOCK_PARTS = 2, BLOCK_HAS_MSGID = 4 };
enum { BLOCK_HEAD = 40, BLOCK_SIZE = 65520, BLOCK_VERSION = 1 };

struct block {
    const char *p;      /* the value: header, records, directory at its end */
    size_t size;        /* of the value */
    uint64_t first_seq; /* from the key */
    uint64_t last_seq;
    int64_t min_ts, max_ts;
    uint32_t n;     /* directory entries */
    uint32_t used;  /* end of the records */
    unsigned flags; /* BLOCK_… */
};

/* Writes the header for what b says; the directory must be at dir_end - 4n (8n) already. */
void block_head_write(char *head, const struct block *b, uint32_t sid, const char *dir_end);
/* Checks version, lengths and checksum. size: of the whole value, parts put together. */
int block_read(struct slice value, uint32_t sid, uint64_t first_seq, struct block *b) MUST_CHECK;
/* The header alone, unchecked against the directory (part 0 of a block in parts has no directory).
 */
int block_peek(struct slice value, uint64_t first_seq, struct block *b) MUST_CHECK;
/* The bytes of record seq and the room they have, NULL when absent. */
const char *block_record(const struct block *b, uint64_t seq, size_t *room);
/* The smallest number >= seq that is present; 0 when there is none. */
uint64_t block_next(const struct block *b, uint64_t seq);
/* The largest number <= seq that is present; 0 when there is none. */
uint64_t block_prev(const struct block *b, uint64_t seq);

/* --- states and rows ------------------------------------------------------------------------- */

struct state {
    uint64_t msgs, bytes, first_seq, last_seq;
    int64_t first_ts, last_ts;
    uint64_t num_subjects;
    uint64_t purge_floor; /* index rows whose `upto` is below count for nothing; 0: never emptied */
};
enum { STATE_SIZE = 64 };
void state_write(char *to, const struct state *st);
void state_read(const char *from, struct state *st);
/* Can it be of a stream? */
bool state_plausible(const struct state *st);

/* The state row: state, the index watermark, the batch it was written with. */
struct state_row {
    struct state st;
    uint64_t batch;                    /* this batch and all earlier ones are in it */
    uint64_t w_batch, w_first, w_last; /* the subject rows have all effects up to here */
    uint64_t holed;                    /* bytes removed from the middle since the last compaction */
};
void state_row_add(struct buf *out, uint32_t sid, const struct state_row *r);
int state_row_read(struct slice v, uint32_t sid, struct state_row *r) MUST_CHECK;

/* A subject row. */
struct subject_row {
    uint64_t first, last, count;
    uint64_t upto;        /* appends up to this number are in it */
    uint64_t floor;       /* trims below this number are in it */
    uint64_t batch;       /* deletes up to this batch are in it */
    unsigned flags;       /* SUBJ_… */
    struct slice subject; /* the whole one, only for long subjects; borrowed */
};
enum { SUBJ_FIRST_STALE = 1, SUBJ_LAST_STALE = 2 };
/* The checksum covers the key: a row under another key is damaged. */
void subject_row_add(struct buf *out, struct slice key, const struct subject_row *r);
int subject_row_read(struct slice v, struct slice key, struct subject_row *r) MUST_CHECK;

/* --- small steps with a sticky end ------------------------------------------------------------ */

/* Reads fields off the front of a slice; past the end everything is 0 and ok is false. */
struct take {
    struct slice rest;
    bool ok;
};
static inline struct take take_of(struct slice s)
{
    return (struct take){s, true};
}
uint8_t take_u8(struct take *t);
unsigned take_u16(struct take *t);
uint32_t take_u32(struct take *t);
uint64_t take_u64(struct take *t);
struct slice take_bytes(struct take *t, size_t n);
struct slice take_str(struct take *t); /* u32 length | bytes */

void add_u8(struct buf *b, unsigned v);
void add_u16(struct buf *b, unsigned v);
void add_u32(struct buf *b, uint32_t v);
void add_u64(struct buf *b, uint64_t v);
void add_str(struct buf *b, struct slice s);

/* Rows that carry their own checksum: u32 crc32c | u8 version | bytes. sid is part of the checksum.
 */
size_t row_begin(struct buf *out);
void row_end(struct buf *out, size_t at, uint32_t sid);
/* The checksum it should have; v has five bytes at least. */
uint32_t row_checksum(struct slice v, uint32_t sid);
/* E_CORRUPT, E_VERSION. */
int row_open(struct slice v, uint32_t sid, struct take *t) MUST_CHECK;

#endif
