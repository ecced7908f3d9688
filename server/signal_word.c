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

static int deliver(const pid_t *pids, size_t n, int signo, const char *word)
{
    int code = 0;

    for (size_t i = 0; i < n; i++) {
        if (kill(pids[i], signo) == 0)
            continue;
        if (n == 1)
            return complain(errno == ESRCH ? "no such process" : strerror(errno), "");
        (void)fprintf(stderr, "nats-server: signal \"%s\" %ld: %s\n", word, (long)pids[i],
                      strerror(errno));
        code = 1;
    }
    return code;
}

static int to_running(int signo, const char *word)
{
    pid_t pids[PIDS_MAX];
    size_t n = running("", pids);

    if (n == 0)
        return complain("no nats-server processes running", "");
    if (n == 1)
        return deliver(pids, 1, signo, word);
    (void)fputs("nats-server: multiple nats-server processes running:\n", stderr);
    for (size_t i = 0; i < n; i++)
        (void)fprintf(stderr, "%ld\n", (long)pids[i]);
    return 1;
}

int signal_word(const char *text)
{
    struct slice all = slice_cstr(text), cmd = slice_head(all, slice_find(all, '='));
    const char *where = cmd.n < all.n ? text + cmd.n + 1 : "";
    pid_t pids[PIDS_MAX];
    int signo = 0;
    char *word;
    size_t n = strlen(where);

    if (strchr(where, '='))
        return complain("invalid signal parameters: ", strchr(where, '=') + 1);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_is(cmd, words[i].word))
            signo = words[i].signo;
    word = slice_dup(cmd);
    if (!signo) {
        (void)fprintf(stderr, "nats-server: unknown signal \"%s\"\n", word);
        signo = -1;
    }
    if (signo > 0 && n == 0) {
        signo = to_running(signo, word) ? -1 : 0;
    } else if (signo > 0 && where[n - 1] == '*') {
        char *prefix = slice_dup(slice_of(where, n - 1));
        size_t found = running(prefix, pids);
        signo = found ? (deliver(pids, found, signo, word) ? -1 : 0)
                      : (complain("no nats-server processes running", ""), -1);
        free(prefix);
    } else if (signo > 0) {
        if (read_pid(where, &pids[0]))
            signo = deliver(pids, 1, signo, word) ? -1 : 0;
        else
            signo = (complain("invalid pid: ", where), -1);
    }
    free(word);
    return signo < 0 ? 1 : 0;
}
