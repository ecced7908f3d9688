/* server/signal_word.c -- "--signal reload=/run/nats.pid"
 *
 *     CMD           stop KILL · quit INT · term TERM · reopen USR1 · reload HUP · ldm USR2
 *     after '='     a decimal PID; a file whose whole content is one; the beginning of one and '*'
 *     without it    the one running process named nats-server or frond besides us
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/signal_word.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/slice.h"

#define PIDS_MAX 256

static const struct {
    const char *word;
    int signo;
} words[] = {{"stop", SIGKILL},   {"quit", SIGINT},   {"term", SIGTERM},
             {"reopen", SIGUSR1}, {"reload", SIGHUP}, {"ldm", SIGUSR2}};

static int complain(const char *fmt, const char *what)
{
    (void)fputs("nats-server: ", stderr);
    (void)fprintf(stderr, "%s%s\n", fmt, what);
    return 1;
}

static bool is_server(const char *pid)
{
    char path[300], name[32] = "";
    FILE *f;
    size_t n;

    (void)snprintf(path, sizeof path, "/proc/%s/comm", pid);
    f = fopen(path, "r");
    if (!f)
        return false;
    n = fread(name, 1, sizeof name - 1, f);
    (void)fclose(f);
    name[n && name[n - 1] == '\n' ? n - 1 : n] = 0;
    return strcmp(name, "nats-server") == 0 || strcmp(name, "frond") == 0;
}

/* The servers whose PID begins with `prefix`, without us. */
static size_t running(const char *prefix, pid_t *out)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    size_t n = 0;

    while (proc && n < PIDS_MAX && (e = readdir(proc))) {
        uint64_t pid;
        if (slice_u64(slice_cstr(e->d_name), &pid) < 0 ||
            strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if ((pid_t)pid != getpid() && is_server(e->d_name))
            out[n++] = (pid_t)pid;
    }
    if (proc)
        closedir(proc);
    return n;
}

/* "17", or a file that holds just that. */
static bool read_pid(const char *text, pid_t *out)
{
    char content[32];
    uint64_t pid;
    FILE *f;
    size_t n;

    if (slice_u64(slice_cstr(text), &pid) == 0) {
        *out = (pid_t)pid;
        return true;
    }
    f = fopen(text, "r");
    if (!f)
        return false;
    n = fread(content, 1, sizeof content, f);
    (void)fclose(f);
    if (slice_u64(slice_of(content, n), &pid) < 0)
        return false;
    *out = (pid_t)pid;
    return true;
}

/* One complaint for all, a line for each that could not be reached. */
static int deliver(const pid_t *pids, size_t n, int signo, const char *word)
{
    int code = 0;

    for (size_t i = 0; i < n; i++) {
        if (kill(pids[i], signo) == 0)
            continue;
        if (code == 0)
            (void)fputs("nats-server: ", stderr);
        (void)fprintf(stderr, "\nsignal \"%s\" %ld: %s", word, (long)pids[i],
                      errno == ESRCH ? "no such process" : strerror(errno));
        code = 1;
    }
    if (code)
        (void)fputs("\n", stderr);
    return code;
}

/* The PID it is for, or -1 after the complaint. One server has to run. */
static pid_t only_one(void)
{
    pid_t pids[PIDS_MAX];
    size_t n = running("", pids);

    if (n == 1)
        return pids[0];
    if (n == 0) {
        (void)complain("no nats-server processes running", "");
        return -1;
    }
    (void)fputs("nats-server: multiple nats-server processes running:\n", stderr);
    for (size_t i = 0; i < n; i++)
        (void)fprintf(stderr, "%ld\n", (long)pids[i]);
    return -1;
}

/* How many PIDs the part after '=' means; 0 after the complaint. */
static size_t find_pids(const char *where, pid_t *pids)
{
    size_t n = strlen(where), found;
    char *prefix;

    if (n == 0) {
        pids[0] = only_one();
        return pids[0] > 0;
    }
    if (where[n - 1] != '*') {
        if (read_pid(where, &pids[0]))
            return 1;
        (void)complain("invalid pid: ", where);
        return 0;
    }
    prefix = slice_dup(slice_of(where, n - 1));
    found = running(prefix, pids);
    free(prefix);
    if (found == 0)
        (void)complain("no nats-server processes running", "");
    return found;
}

int signal_word(const char *text)
{
    struct slice all = slice_cstr(text), cmd = slice_head(all, slice_find(all, '='));
    const char *where = cmd.n < all.n ? text + cmd.n + 1 : "", *word = NULL;
    pid_t pids[PIDS_MAX];
    int signo = 0;
    size_t n;

    if (strchr(where, '='))
        return complain("invalid signal parameters: ", strchr(where, '=') + 1);
    n = find_pids(where, pids);
    if (n == 0)
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!slice_is(cmd, words[i].word))
            continue;
        word = words[i].word;
        signo = words[i].signo;
    }
    if (word)
        return deliver(pids, n, signo, word);
    (void)fprintf(stderr, "nats-server: unknown signal \"%.*s\"\n", SLICE_FMT(cmd));
    return 1;
}
