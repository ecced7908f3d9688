/* scenario/site.c -- see site.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "scenario/site.h"

#include <ftw.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "fake/loop.h"

static void on_log(void *arg, enum log_level level, const char *line)
{
    struct site *s = arg;
    buf_printf(&s->log, "%d %s\n", (int)level, line);
}

void site_init(struct site *s)
{
    *s = (struct site){.dir = "/tmp/frond-site-XXXXXX"};
    ASSERT(mkdtemp(s->dir));
    (void)snprintf(s->conf_path, sizeof s->conf_path, "%s/site.conf", s->dir);
}

static int remove_one(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
    (void)sb, (void)flag, (void)ftw;
    return remove(path);
}

void site_release(struct site *s)
{
    nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    buf_release(&s->log);
    log_capture(NULL, NULL);
}

void site_configure(struct site *s, const char *conf)
{
    FILE *f = fopen(s->conf_path, "we");
    struct slice rest = slice_cstr(conf);
    ASSERT(f);
    while (rest.n) {
        size_t at = slice_search(rest, SLICE("$STORE"));
        (void)fprintf(f, "%.*s", (int)at, rest.p);
        rest = slice_skip(rest, at);
        if (rest.n)
            (void)fprintf(f, "%s/store", s->dir);
        rest = slice_skip(rest, 6);
    }
    ASSERT(fclose(f) == 0);
}

int site_start(struct site *s, const char *conf)
{
    char *argv[] = {"frond", "-c", s->conf_path, "-a", "127.0.0.1", "-D", NULL};
    int err;
    site_configure(s, conf);
    log_capture(on_log, s);
    options_start(6, argv, &s->st);
    if (s->st.exit_code >= 0) {
        buf_add_str(&s->log, s->st.err ? s->st.err : "?");
        return E_INVAL;
    }
    fake_loop_begin_after(s->elapsed);
    err = server_open(&s->srv, s->st.options, s->st.flags, "frond");
    s->started = true;
    if (err == 0)
        fake_loop_run(s->srv.loop);
    return err;
}

void site_stop(struct site *s)
{
    fake_loop_run(s->srv.loop);
    server_close(&s->srv);
    options_start_release(&s->st);
    log_capture(on_log, s);
    s->started = false;
}

void site_wait(struct site *s, int64_t ns)
{
    fake_loop_run(s->srv.loop);
    fake_loop_advance(s->srv.loop, ns);
    s->elapsed += ns;
}
