/* server/parser.h -- bytes become verbs
 *
 * One parser for both dialects: what a client says (CONNECT PING PONG PUB HPUB SUB UNSUB) and what
 * a leaf link says (LS+ LS- LMSG HMSG). It looks at a run of bytes that starts where an operation
 * starts and answers with one operation, all of it slices into those bytes. It keeps nothing
 * between calls, allocates nothing, does no I/O; so it is tested and fuzzed alone.
 *
 *     struct op op;
 *     while ((r = parse(&limits, in, &op)) == PARSED) { …; in = slice_skip(in, op.len); }
 *
 *     PARSE_MORE      come again with more bytes; op.len, if not 0, says how many it needs in all
 *     anything else   the peer broke the rules, see parse_error_text()
 *
 * Limits are met before anything waits for bytes: a line that grows beyond max_control_line is
 * refused while it is still incomplete, a payload beyond max_payload when its size is read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_PARSER_H
#define SERVER_PARSER_H

#include "base/slice.h"

enum verb {
    VERB_NONE, /* nothing is known yet (PARSE_MORE) */
    VERB_CONNECT,
    VERB_INFO,
    VERB_PING,
    VERB_PONG,
    VERB_OK,
    VERB_ERR,
    VERB_PUB,
    VERB_HPUB,
    VERB_SUB,
    VERB_UNSUB,
    VERB_LS_ADD,
    VERB_LS_DEL,
    VERB_LMSG,
    VERB_HMSG,
    VERB_COUNT_
};

enum parse_side { PARSE_CLIENT, PARSE_LEAF };

struct parse_limits {
    enum parse_side side;    /* whose dialect is spoken to us */
    size_t max_control_line; /* bytes of arguments in one line (links are given 16 times the
                                clients') */
    size_t max_payload;      /* header block + payload; 0: no limit */
};

enum parsed {
    PARSED,
    PARSE_MORE,     /* not all of it is there */
    PARSE_UNKNOWN,  /* -ERR 'Unknown Protocol Operation', close */
    PARSE_BAD_ARGS, /* close without a word; op.why is for the log */
    PARSE_LINE,     /* -ERR 'maximum control line exceeded', close */
    PARSE_PAYLOAD   /* -ERR 'Maximum Payload Violation', close */
};

struct op { /* only verb, len, args and what belongs to the verb are set */
    enum verb verb;
    size_t len;           /* PARSED: bytes it took. PARSE_MORE: bytes it needs in all, 0: unknown */
    struct slice args;    /* the argument line: CONNECT's and INFO's JSON, -ERR's text */
    struct slice subject; /* PUB HPUB SUB LS+ LS- LMSG HMSG */
    struct slice reply;   /* PUB HPUB LMSG HMSG; empty: none */
    struct slice queue;   /* SUB LS+ LS-; empty: none */
    struct slice sid;     /* SUB UNSUB */
    struct slice
        groups; /* LMSG HMSG: the queue names as they stand in the line, for parse_groups() */
    uint32_t ngroups;
    bool indicator;       /* LMSG HMSG: the form with '+' or '|' was used */
    int64_t max;          /* UNSUB: the number given, 0: none or not a number */
    uint32_t weight;      /* LS+ with a queue; at least 1 */
    struct slice hdr;     /* HPUB HMSG: the header block */
    struct slice payload; /* PUB HPUB LMSG HMSG */
    const char *why;      /* PARSE_BAD_ARGS: static, "processPub Parse Error" */
};

enum parsed parse(const struct parse_limits *limits, struct slice in, struct op *op);
/* Cuts op->groups into names; out has room for op->ngroups. */
void parse_groups(const struct op *op, struct slice *out);
/* The text of the -ERR line without quotes; NULL where the reference closes in silence. */
const char *parse_error_text(enum parsed r);

#endif
