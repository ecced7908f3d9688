/* server/options.h -- what the server was told: command line and configuration -> struct options
 *
 * One table (options_table.c) says of every option its key, type, default, range, whether a reload
 * may change it, and what it is for; the documentation prints itself from it. Flags override the
 * file.
 *
 *     struct options_start st;
 *     options_start(argc, argv, &st);          flags, file, checks; never prints, never exits
 *     if (st.exit_code >= 0)                   print st.out on stdout, st.err on stderr, exit
 *     … st.options …
 *     options_start_release(&st);              texts and flags; the server frees its options
 *
 * Ownership: everything inside struct options belongs to it (an arena) and is read-only for
 * everybody else. Texts end in NUL; NULL means "not given". Times are ns, sizes bytes. Threads:
 * loop thread only. After options_start() and options_load() defaults are filled in: no reader
 * needs to know them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define OPTIONS_VERSION   "2.15.2" /* the nats-server we are compatible with */
#define OPTIONS_PORT      4222
#define OPTIONS_LEAF_PORT 7422

/* --- users, permissions, accounts ---------------------------------------------------- */

struct text_list {
    const struct slice *at; /* each ends in NUL */
    size_t n;
};

/* Permissions as written; server/auth.h compiles them. */
struct perm_options {
    struct text_list pub_allow, pub_deny;
    struct text_list sub_allow, sub_deny; /* "subject" or "subject queue" */
    bool pub_only_listed; /* an empty pub_allow allows nothing (allow_responses without a list) */
    bool responses;       /* replies may be published to */
    int response_max;     /* that many per reply subject; < 0: no limit */
    int64_t response_ttl_ns; /* for so long; < 0: for ever */
};

enum connection_type { /* bits of allowed_connection_types */
                       CONNECTION_STANDARD = 1,
                       CONNECTION_WEBSOCKET = 2,
                       CONNECTION_LEAFNODE = 4,
                       CONNECTION_LEAFNODE_WS = 8,
                       CONNECTION_MQTT = 16,
                       CONNECTION_MQTT_WS = 32,
                       CONNECTION_IN_PROCESS = 64,
};

struct user_options {
    const char *user;                 /* NULL for an nkey user */
    const char *password;             /* plain or bcrypt; "" when not given */
    const char *nkey;                 /* public user nkey, NULL for a named user */
    const char *account;              /* "$G" for users of the authorization block */
    const struct perm_options *perms; /* own or default ones; NULL: everything is allowed */
    unsigned types;                   /* enum connection_type bits; 0: all */
};

struct account_options {
    const char *name;
    const char *nkey; /* public account nkey */
    const struct perm_options *default_perms;
    int64_t max_connections, max_subscriptions, max_payload, max_leafs; /* -1: no limit */
    bool jetstream; /* JetStream is enabled for it */
    int64_t js_max_memory, js_max_store, js_max_streams, js_max_consumers,
        js_max_ack_pending;                                     /* -1: no limit */
    int64_t js_mem_max_stream_bytes, js_store_max_stream_bytes; /* -1: no limit */
    bool js_max_bytes_required;
};

/* --- tls, leafnodes, jetstream ------------------------------------------------------- */

struct tls_pair {
    const char *cert_file, *key_file;
};

struct tls_options {
    const char *cert_file, *key_file, *ca_file;
    const struct tls_pair *pairs; /* `certs`: several; then cert_file is NULL */
    size_t npairs;
    bool verify; /* the client must show a certificate */
    bool verify_and_map;
    bool insecure;            /* client role: any certificate of the server will do */
    int64_t timeout_ns;       /* of the handshake; 2 s */
    int min_version;          /* 0x0303 or 0x0304 */
    struct text_list ciphers; /* Go's names; empty: the library's choice */
    struct text_list curves;  /* "X25519", "CurveP256" …; empty: the library's choice */
    struct text_list pinned;  /* 64 hex digits, lower case */
    bool handshake_first;
    int64_t first_fallback_ns; /* handshake_first: auto; 0: never */
    int64_t rate_limit;        /* handshakes a second; 0: any */
};

struct remote_options {
    struct text_list urls;
    const char *account;     /* local account, "$G" by default */
    const char *credentials; /* file, ~ and $VARS expanded */
    const char *nkey;        /* seed "SU…" */
    const struct tls_options *tls;
    bool hub, no_randomize, disabled, ignore_discovered_servers, isolate, request_isolation;
    struct text_list deny_imports, deny_exports;
    int64_t first_info_timeout_ns; /* 1 s */
    int64_t dial_timeout_ns;       /* 0: the block's */
    int compression;               /* enum compression */
    const char *file;              /* where it was written, for messages */
    int line, col;
};

enum compression {
    COMPRESSION_AUTO,
    COMPRESSION_OFF,
    COMPRESSION_ACCEPT,
    COMPRESSION_FAST,
    COMPRESSION_BETTER,
    COMPRESSION_BEST
};

struct leafnode_options {
    const struct remote_options *remotes;
    size_t nremotes;
    int64_t reconnect_ns;      /* 1 s */
    int64_t dial_timeout_ns;   /* 1 s */
    int64_t write_deadline_ns; /* 0: the server's */
    int compression;
    bool isolate, no_advertise;
};

struct jetstream_options {
    bool enabled;
    const char *store_dir;    /* data goes to its "jetstream" directory */
    bool temporary;           /* store_dir was not given: the directory for temporary files */
    const char *domain;       /* NULL: none */
    int64_t max_memory;       /* -1: 75 % of what there is */
    int64_t max_file;         /* -1: 75 % of what is free */
    int64_t sync_interval_ns; /* accepted; our acks follow the commit anyway */
    bool sync_always;
    bool strict; /* unknown members of API requests are errors; default true */
    int64_t max_ack_pending, max_request_batch, default_max_consumers; /* limits { }; 0: none */
    int64_t duplicate_window_ns;                                       /* limits { }; 0: none */
};

struct text_pair {
    const char *key, *value;
};

/* --- all of it ----------------------------------------------------------------------- */

struct options {
    struct arena mem; /* everything below lives here */
    /* process */
    const char *config_file; /* NULL: none */
    char config_digest[72];  /* "sha256:…" of the file; empty without one */
    const char *server_name; /* NULL: the server id */
    const char *host;
    int port; /* -1: any free one */
    const char *client_advertise;
    const char *pid_file, *ports_file_dir;
    struct text_list tags; /* lower case */
    const struct text_pair *metadata;
    size_t nmetadata;
    /* log */
    bool debug, trace, trace_verbose, trace_headers, logtime, logtime_utc, syslog;
    const char *log_file, *remote_syslog;
    int64_t log_size_limit;     /* bytes; 0: none */
    int64_t log_max_files;      /* 0: all */
    int64_t max_traced_msg_len; /* 0: all */
    int64_t connect_error_reports, reconnect_error_reports;
    /* monitoring */
    const char *http_host;      /* the client host unless given */
    int http_port, https_port;  /* 0: none; -1: any free one */
    const char *http_base_path; /* "/" or "/x" */
    int prof_port;
    /* limits */
    int64_t max_control_line, max_payload, max_pending;
    int64_t max_connections;   /* -1: none may connect */
    int64_t max_subscriptions; /* per connection; 0: no limit */
    int64_t max_sub_tokens;    /* 0: no limit */
    int64_t max_closed_clients;
    int64_t ping_interval_ns, write_deadline_ns, lame_duck_ns, lame_duck_grace_ns;
    int64_t ping_max;
    bool no_header_support, no_fast_producer_stall, no_sublist_cache;
    /* who may come in */
    const char *user, *password; /* the single user; NULL: none */
    const char *token;           /* NULL: none */
    int64_t auth_timeout_ns;
    const struct user_options *users; /* of the authorization block and of all accounts */
    size_t nusers;
    const struct account_options
        *accounts; /* as configured; "$G" and the system account may be missing */
    size_t naccounts;
    const char *no_auth_user;
    const char *system_account; /* "$SYS" unless given; NULL with no_system_account */
    bool no_system_account;
    bool auth_block;               /* an authorization block was there */
    const struct tls_options *tls; /* NULL: plain */
    bool allow_non_tls;
    /* rooms of their own */
    struct leafnode_options leaf;
    struct jetstream_options js;
    const struct text_pair *js_domains; /* default_js_domain: account -> domain */
    size_t njs_domains;
    /* what to say */
    const char *later;    /* one line naming options whose feature is not there yet; NULL: none */
    bool plain_passwords; /* "Plaintext passwords detected, use nkeys or bcrypt" */
    const struct options_marks *marks; /* for options_compare() */
};

/* --- start --------------------------------------------------------------------------- */

struct options_flags; /* the command line, kept to be applied again at every reload */

struct options_start {
    struct options *options; /* NULL when exit_code >= 0 */
    struct options_flags *flags;
    int exit_code;   /* -1: go on */
    char *out, *err; /* owned texts for stdout and stderr, NULL: nothing to say. err may be set with
                        exit_code -1: warnings */
    const char
        *signal; /* --signal: its argument, borrowed from argv; the caller sends it and exits */
};

/* argv[0] decides whose version -v tells ("nats-server" or ours). */
void options_start(int argc, char **argv, struct options_start *out);
/* Frees the texts and the flags (a server needs them for its reloads: release at its end); not the
 * options. */
void options_start_release(struct options_start *st);
/* Blots out passwords in argv, as ps and /debug/vars show it. */
void options_redact(int argc, char **argv);

/* file may be NULL. *say gets the messages to print, one per line, owned, NULL if there are none
 * (warnings may come with 0). check: what a start checks across options, beyond what -t looks at.
 * E_SYNTAX, E_IO. */
int options_load(const char *file, const struct options_flags *flags, bool check,
                 struct options **out, char **say) MUST_CHECK;
void options_free(struct options *o);

/* --- reload -------------------------------------------------------------------------- */

enum reload {              /* what a change of an option asks for */
              RELOAD_NO,   /* refused */
              RELOAD_LOG,  /* open the log anew */
              RELOAD_AUTH, /* users and permissions: judge every connection again */
              RELOAD_READ, /* whoever needs it reads it from the new options */
              RELOAD_SAME, /* makes no difference */
};

/* What is different? 0: *changes has a bit (1 << enum reload) per kind, *say one "Reloaded: name =
 * value" a line. E_DENIED: something that can't change while running; *say names it as nats-server
 * does. *say is owned, may be NULL. */
int options_compare(const struct options *now, const struct options *fresh, unsigned *changes,
                    char **say) MUST_CHECK;

/* --- documentation ------------------------------------------------------------------- */

/* Markdown tables of all options and flags. */
void options_document(struct buf *out);
/* The text of --help. */
void options_usage(struct buf *out);

#endif
