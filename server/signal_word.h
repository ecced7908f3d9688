/* server/signal_word.h -- "--signal reload=/run/nats.pid": tell a running server something, and
 * exit
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SIGNAL_WORD_H
#define SERVER_SIGNAL_WORD_H

/* word: "CMD[=PID|PIDFILE|PID*]". Prints what goes wrong on stderr. Returns the exit status. */
int signal_word(const char *word);

#endif
