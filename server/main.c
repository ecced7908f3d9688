/* server/main.c -- the process: words of the command line in, an exit status out
 *
 *     options_start()   flags, file, checks       → print and exit, or go on
 *     server_open()     rooms, bottom-up
 *     server_run()      the loop, until a signal
 *     server_close()    rooms, top-down
 *
 * Called as nats-server (argv[0]) it answers -v as that one does; otherwise it is frond.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "server/options.h"
#include "server/server.h"
#include "server/signal_word.h"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int main(int argc, char **argv)
{
    static struct server srv; /* zero until opened */
    struct options_start st;
    int code;

    mem_settle();
    options_start(argc, argv, &st);
    if (st.out)
        (void)fputs(st.out, stdout);
    if (st.err)
        (void)fputs(st.err, stderr);
    if (st.signal)
        st.exit_code = signal_word(st.signal);
    if (st.exit_code >= 0) {
        code = st.exit_code;
        options_start_release(&st);
        return code;
    }
    options_redact(argc, argv);
    if (server_open(&srv, st.options, st.flags, base_name(argv[0])) == 0)
        server_run(&srv);
    else if (!srv.exit_code)
        srv.exit_code = 1;
    code = srv.exit_code;
    server_close(&srv);
    options_start_release(&st);
    return code;
}
