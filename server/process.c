/* server/process.c -- what the world sees of the process: signals, files, first lines
 *
 *     INT, TERM  stop, exit status 0 (TERM is ignored by a lame duck)      HUP   reload
 *     USR1       reopen the log file                                       USR2  lame duck
 *
 * Signals arrive as events on the loop, so nothing here has to be async-signal-safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/lameduck.h"
#include "server/options.h"
#include "server/server.h"

/* --- first lines ---------------------------------------------------------------------------- */

void process_greet(const struct server *srv)
{
    const struct options *o = srv->opt;
    bool alias = strcmp(srv->argv0, "nats-server") == 0;

    log_info("Starting %s", alias ? "nats-server" : "frond");
    if (alias)
        log_info("  Version:  %s", SERVER_COMPAT);
    else
        log_info("  Version:  %s (compatible with nats-server %s)", FROND_VERSION, SERVER_COMPAT);
    log_info("  Git:      [not set]");
    log_info("  Name:     %s", srv->name);
    if (o->js.enabled) {
        char node[9];
        short_hash(slice_cstr(srv->name), 8, node);
        log_info("  Node:     %s", node);
    }
    log_info("  ID:       %s", srv->id);
    if (o->plain_passwords)
        log_warn("Plaintext passwords detected, use nkeys or bcrypt");
    if (o->config_file)
        log_info("Using configuration file: %s (%s)", o->config_file, o->config_digest);
    if (o->later)
        log_warn("%s", o->later);
}

int process_log(const struct server *srv)
{
    const struct options *o = srv->opt;
    struct log_config cfg = {.file = o->log_file,
                             .debug = o->debug,
                             .trace = o->trace,
                             .no_time = !o->logtime,
                             .utc = o->logtime_utc,
                             .colour = true,
                             .size_limit = o->log_size_limit,
                             .max_files = (int)o->log_max_files};

    return log_open(&cfg);
}

/* --- signals -------------------------------------------------------------------------------- */

static const char *signal_name(int signo)
{
    switch (signo) {
    case SIGINT:
        return "interrupt";
    case SIGTERM:
        return "terminated";
    case SIGHUP:
        return "hangup";
    case SIGUSR1:
        return "user defined signal 1";
    case SIGUSR2:
        return "user defined signal 2";
    default:
        return "unknown";
    }
}

static void reopen_log(const struct server *srv)
{
    if (!srv->opt->log_file)
        log_info("File log re-open ignored, not a file logger");
    else if (log_reopen() < 0)
        log_error("File log re-open failed: %s", strerror(errno));
    else
        log_info("File log re-opened");
}

static void on_signal(void *arg, int signo)
{
    struct server *srv = arg;

    log_info("Trapped \"%s\" signal", signal_name(signo));
    switch (signo) {
    case SIGTERM:
        if (srv->lame_duck)
            return;
        /* fall through */
    case SIGINT:
        server_stop(srv, 0);
        return;
    case SIGHUP:
        if (server_reload(srv) < 0)
            log_debug("The old configuration stays");
        return;
    case SIGUSR1:
        reopen_log(srv);
        return;
    case SIGUSR2:
        lameduck_begin(srv);
        return;
    }
}

void process_files_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &r) < 0)
            log_debug("The limit of open files stays as it is: %s", strerror(errno));
    }
}

int process_signals(struct server *srv)
{
    static const int mine[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(mine); i++) {
        int err = loop_on_signal(srv->loop, mine[i], on_signal, srv);
        if (err)
            return err;
    }
    return 0;
}

/* --- files ---------------------------------------------------------------------------------- */

static int write_file(const char *path, struct slice content, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    ssize_t n;

    if (fd < 0)
        return E_SYS;
    n = write(fd, content.p, content.n);
    if (close(fd) < 0 || n != (ssize_t)content.n)
        return E_SYS;
    return 0;
}

int process_pid_file(const struct server *srv)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%ld", (long)getpid());

    if (!srv->opt->pid_file)
        return 0;
    if (write_file(srv->opt->pid_file, slice_of(text, (size_t)n), 0600) == 0)
        return 0;
    log_fatal("Could not write pidfile: open %s: %s", srv->opt->pid_file, strerror(errno));
    return E_SYS;
}

static bool any_address(const char *host)
{
    return !*host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static void url(struct json_out *j, const char *scheme, const char *ip, uint16_t port)
{
    char text[96];

    (void)snprintf(text, sizeof text, strchr(ip, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, ip,
                   port);
    json_cstr(j, NULL, text);
}

/* A wildcard address becomes every address of every interface, in their order. */
static void urls(struct json_out *j, const char *key, const char *scheme, const char *host,
                 uint16_t port)
{
    struct ifaddrs *all = NULL;

    json_arr(j, key);
    if (!any_address(host)) {
        url(j, scheme, host, port);
    } else if (getifaddrs(&all) == 0) {
        for (struct ifaddrs *i = all; i; i = i->ifa_next) {
            char ip[INET6_ADDRSTRLEN];
            const void *addr;
            if (!i->ifa_addr ||
                (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
                continue;
            addr = i->ifa_addr->sa_family == AF_INET
                       ? (const void *)&((const struct sockaddr_in *)(const void *)i->ifa_addr)
                             ->sin_addr
                       : (const void *)&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)
                             ->sin6_addr;
            if (inet_ntop(i->ifa_addr->sa_family, addr, ip, sizeof ip))
                url(j, scheme, ip, port);
        }
        freeifaddrs(all);
    }
    json_end(j);
}

static char *ports_path(const struct server *srv)
{
    return xasprintf("%s/%s_%ld.ports", srv->opt->ports_file_dir, srv->argv0, (long)getpid());
}

void process_ports_file(const struct server *srv)
{
    struct buf text = BUF_INIT;
    struct json_out j;
    char *path, *temp;

    if (!srv->opt->ports_file_dir)
        return;
    json_begin(&j, &text);
    json_obj(&j, NULL);
    urls(&j, "nats", srv->rules.tls && !srv->rules.tls_optional ? "tls" : "nats", srv->opt->host,
         srv->port);
    if (srv->monitor_port)
        urls(&j, "monitoring", "http", srv->opt->http_host ? srv->opt->http_host : srv->opt->host,
             srv->monitor_port);
    json_end(&j);
    path = ports_path(srv);
    temp = xasprintf("%s.tmp", path);
    if (write_file(temp, buf_slice(&text), 0640) < 0 || rename(temp, path) < 0)
        log_error("Error writing ports file (%s): %s", path, strerror(errno));
    free(temp);
    free(path);
    buf_release(&text);
}

void process_ports_file_remove(const struct server *srv)
{
    char *path;

    if (!srv->opt->ports_file_dir)
        return;
    path = ports_path(srv);
    unlink(path);
    free(path);
}
