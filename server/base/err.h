/* base/err.h -- the one list of errors
 *
 * A function returns 0, or a negative E_… from this list. bool is for questions. Who decides about
 * an error logs it, once; who passes it on stays silent. Libraries are translated in the one room
 * that uses them (storage/lmdb.c for LMDB, server/tls.c for OpenSSL).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/*       name          text */
#define ERR_LIST(X)                                                                                \
    X(E_NOMEM, "out of memory")                                                                    \
    X(E_INVAL, "invalid argument")                                                                 \
    X(E_SYNTAX, "syntax error")                                                                    \
    X(E_RANGE, "value out of range")                                                               \
    X(E_TOOBIG, "too large")                                                                       \
    X(E_FULL, "too much is waiting")                                                               \
    X(E_SPACE, "no space left for the store")                                                      \
    X(E_LIMIT, "a limit is reached")                                                               \
    X(E_NOTFOUND, "not found")                                                                     \
    X(E_DELETED, "deleted")                                                                        \
    X(E_EXISTS, "exists already")                                                                  \
    X(E_BUSY, "in use")                                                                            \
    X(E_AGAIN, "not now")                                                                          \
    X(E_CLOSED, "closed")                                                                          \
    X(E_IO, "input/output error")                                                                  \
    X(E_SYS, "system call failed")                                                                 \
    X(E_CORRUPT, "damaged data")                                                                   \
    X(E_VERSION, "unknown version")                                                                \
    X(E_DENIED, "not permitted")                                                                   \
    X(E_TIMEOUT, "timed out")                                                                      \
    X(E_READONLY, "store is read-only")                                                            \
    /* refusals of store_append(), each with its own answer for the publisher */                   \
    X(E_LAST_SEQ, "wrong last sequence")                                                           \
    X(E_LAST_SUBJECT_SEQ, "wrong last sequence of the subject")                                    \
    X(E_LAST_MSG_ID, "wrong last message id")                                                      \
    X(E_MAX_MSGS, "maximum messages exceeded")                                                     \
    X(E_MAX_BYTES, "maximum bytes exceeded")                                                       \
    X(E_MAX_PER_SUBJECT, "maximum messages per subject exceeded")                                  \
    X(E_MAX_MSG_SIZE, "message too large")

enum err {
    E_OK = 0,
    E_BASE_ = -1000,
#define ERR_ENUM(name, text) name,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

/* The text for a person; never NULL, also for numbers that are not in the list. */
const char *err_text(int err);
/* The name, "E_FULL". */
const char *err_name(int err);

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
