/* scenario/words.h -- protocol as people write it, to and from bytes
 *
 *     PUB orders.new R.1 5 "hello"      PUB orders.new R.1 5\r\nhello\r\n
 *     PUB orders.new R.1 {"a":1}        the size is counted when it is not written
 *     HPUB a "NATS/1.0\r\n\r\nx"        both sizes are counted
 *     PING                              PING\r\n
 *
 * A text in quotes knows \r \n \t \\ \" and \xNN. <name> in a line to be said stands for what was
 * caught under that name; in a line to be heard it catches one token, or compares it when the name
 * is known. * stands for any token. A payload {…} or […] to be heard is compared as JSON: what is
 * written must be there, "*" is any string, more may be there. Sizes to be heard may be left out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIO_WORDS_H
#define SCENARIO_WORDS_H

#include "base/buf.h"

/* What was caught; zero is empty. */
struct catches {
    struct catch
    {
        char *name, *value; /* owned */
    }
    *at;
    size_t n;
};
void catches_release(struct catches *c);

/* Appends the bytes of one line. False: it makes no sense. */
bool words_say(struct slice line, const struct catches *c, struct buf *out);
/* The first whole operation of what was heard: its head without CRLF, its payload (head of headers
 * included). Returns the bytes it takes, 0 when it is not complete. */
size_t words_next(struct slice heard, struct slice *head, struct slice *payload);
/* Does it look as the line says? */
bool words_match(struct slice line, struct slice head, struct slice payload, struct catches *c);

#endif
