/* server/process.h -- what the world sees of the process: signals, pid file, ports file, first
 * lines
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_PROCESS_H
#define SERVER_PROCESS_H

#include "base/err.h"

struct server;

/* "Starting …", version, name, id. */
void process_greet(const struct server *srv);
/* As many open files as the system lets us have: every client is one. */
void process_files_limit(void);
/* INT TERM HUP USR1 USR2; PIPE is ignored. */
int process_signals(struct server *srv) MUST_CHECK;
/* The log as the options say. */
int process_log(const struct server *srv) MUST_CHECK;
int process_pid_file(const struct server *srv) MUST_CHECK;
/* Written to a temporary name and renamed: who reads it parses it as soon as it is there. */
void process_ports_file(const struct server *srv);
void process_ports_file_remove(const struct server *srv);

#endif
