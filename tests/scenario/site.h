/* scenario/site.h -- the whole server over fake loop and conn, in a directory of its own
 *
 *     struct site s; site_init(&s);
 *     site_start(&s, "jetstream { store_dir: \"$STORE\" }");   E_…: the server's words are in s.log
 *     … fake_loop_run(s.srv.loop) …
 *     site_stop(&s); site_start(&s, …) again: the same store, time goes on
 *     site_release(&s);                                       removes the directory
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SCENARIO_SITE_H
#define SCENARIO_SITE_H

#include "base/buf.h"
#include "server/options.h"
#include "server/server.h"

struct site {
    char dir[64], conf_path[80];
    struct buf log; /* "level text" lines of all starts */
    struct server srv;
    struct options_start st;
    int64_t elapsed; /* fake time that tests let pass; they count it */
    bool started;
};

void site_init(struct site *s);
void site_release(struct site *s);
/* $STORE in the configuration becomes a directory of this site. */
void site_configure(struct site *s, const char *conf);
int site_start(struct site *s, const char *conf) MUST_CHECK;
void site_stop(struct site *s);
/* Time passes, timers fire. */
void site_wait(struct site *s, int64_t ns);

#endif
