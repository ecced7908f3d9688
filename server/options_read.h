/* server/options_read.h -- tables of options, and how a map of the configuration is read by one
 *
 * For options_*.c only. A row says which key fills which field of a struct. Rows whose value has a
 * form of its own name a function. Everything that is found wrong is collected, with its place, in
 * the words of nats-server.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OPTIONS_READ_H
#define SERVER_OPTIONS_READ_H

#include "base/buf.h"
#include "conf/conf.h"
#include "server/options.h"

/* One reading of one file. */
struct opt_reader {
    struct options *o; /* everything is allocated in o->mem */
    struct buf errors; /* one per line */
    struct buf warnings;
    struct buf later;    /* "websocket (c.conf:3:1), …": features that are not there yet */
    struct buf users;    /* struct user_options, gathered from everywhere */
    struct buf accounts; /* struct account_options */
    struct buf marks;    /* struct options_mark */
    const struct conf_node *auth; /* the authorization block, for conflicts with accounts */
};

/* What a part of the configuration looked like, for options_compare(). */
struct options_mark {
    const char *name;   /* "Accounts" */
    enum reload reload; /* what a change asks for */
    const char *text;   /* canonical */
};
struct options_marks {
    const struct options_mark *at;
    size_t n;
};

enum opt_type {
    OPT_BOOL,     /* bool */
    OPT_INT,      /* int64_t */
    OPT_PORT,     /* int */
    OPT_STRING,   /* const char * */
    OPT_DURATION, /* int64_t ns; a bare number is seconds, with a warning */
    OPT_SIZE,     /* int64_t; also a string "10G" */
    OPT_TEXTS,    /* struct text_list from a string or an array of strings */
    OPT_PAIRS,    /* struct text_pair * and the count behind it, from a map of strings */
    OPT_CALL,     /* a form of its own: row->read */
    OPT_LATER,    /* known; the feature comes later; ignored with a word */
    OPT_REFUSED,  /* known; ignoring it would open a door or leave data bare: an error */
    OPT_QUIET,    /* known; makes no difference here */
};

struct opt_row;
typedef void opt_read_fn(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to);

struct opt_row {
    const char *keys; /* "pid_file pidfile": the first is the one to show */
    enum opt_type type;
    size_t at;        /* offset of the field in the table's struct */
    int64_t dflt;     /* numbers; a given 0 means it too */
    const char *text; /* default as text, for the documentation or an OPT_STRING */
    int64_t min, max; /* of numbers; both 0: any */
    enum reload reload;
    const char *name;  /* as nats-server calls the field in reload messages */
    opt_read_fn *read; /* OPT_CALL */
    const char *help;
};

struct opt_table {
    const char *title; /* for the documentation: "jetstream.limits" */
    const struct opt_row *rows;
    size_t n;
    const char *unknown; /* words before an unknown key in the complaint; NULL: "unknown field " */
    const char *unknown_after; /* and behind it; NULL: nothing */
};

/* Fills in the defaults. */
void opt_defaults(const struct opt_table *t, void *to);
/* Reads every key of map; afterwards numbers given as 0 are the default. */
void opt_read(struct opt_reader *r, const struct conf_node *map, const struct opt_table *t,
              void *to);
const struct opt_row *opt_find(const struct opt_table *t, const char *key);

/* Complaints about a node ("FILE:LINE:COL: text"), n NULL: without a place. */
void opt_error(struct opt_reader *r, const struct conf_node *n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void opt_warn(struct opt_reader *r, const struct conf_node *n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void opt_later(struct opt_reader *r, const struct conf_node *n, const char *what);

/* Is the node of that type? If not: "interface conversion: interface {} is string, not int64". */
bool opt_is(struct opt_reader *r, const struct conf_node *n, enum conf_type type);
/* Copies into the options. */
const char *opt_text(struct opt_reader *r, struct slice s);
void *opt_copy(struct opt_reader *r, const void *p, size_t n);
/* The text as Go's %q shows it; lives in the options. */
const char *opt_quote(struct opt_reader *r, struct slice s);
/* The value as Go's %v shows it; lives in the options. */
const char *opt_show(struct opt_reader *r, const struct conf_node *n);
/* Strings of a string or array node. False when it was something else (what: words for the
 * complaint). */
bool opt_texts(struct opt_reader *r, const struct conf_node *n, const char *what,
               struct text_list *out);
/* "5s", or a number of seconds; false after a complaint beginning with prefix. */
bool opt_seconds(struct opt_reader *r, const struct conf_node *n, const char *prefix, int64_t *ns);
int64_t opt_duration(struct opt_reader *r, const struct conf_node *n, const char *field);
/* 73 years at most: a time from now on, and a jitter on top, must not overflow anywhere. */
int64_t opt_within_reason(int64_t ns);
void opt_mark(struct opt_reader *r, const char *name, enum reload reload, const char *text);

/* Room for one more element in a growing array kept in a buf. */
void *opt_push(struct buf *b, const void *element, size_t size);

/* --- the readers with forms of their own; each in the file named --------------------- */

opt_read_fn opt_read_listen, opt_read_http, opt_read_https, opt_read_server_name,
    opt_read_max_connections, opt_read_lame_duck, opt_read_grace, opt_read_write_timeout,
    opt_read_tags;                                     /* options_table.c */
opt_read_fn opt_read_authorization, opt_read_accounts; /* options_auth.c */
opt_read_fn opt_read_tls;                              /* options_tls.c */
opt_read_fn opt_read_leafnodes;                        /* options_leaf.c */
opt_read_fn opt_read_jetstream, opt_read_store_dir;    /* options_js.c */

/* Subjects of a permission list; false after a complaint. */
bool opt_subjects(struct opt_reader *r, const struct conf_node *n, bool queues,
                  struct text_list *out);
/* A tls map; NULL after a complaint. */
const struct tls_options *opt_tls(struct opt_reader *r, const struct conf_node *n, bool client);
/* Can the files be read, does each certificate have its key? NULL: yes, else what nats-server says.
 * In o->mem. */
const char *opt_tls_files(struct options *o, const struct tls_options *t);
/* enabled | disabled words of jetstream values; false after a complaint. */
bool opt_enabled(struct opt_reader *r, const struct conf_node *n, bool *on);
/* A size: a number, or "10G". False after a complaint "what: …". */
bool opt_size(struct opt_reader *r, const struct conf_node *n, const char *what, int64_t *out);
/* After the last key: conflicts between users, tokens and accounts; fills in o->users and
 * o->accounts. */
void opt_finish_auth(struct opt_reader *r);

extern const struct opt_table opt_top, opt_authorization, opt_user, opt_permissions, opt_responses,
    opt_account, opt_account_limits, opt_account_js, opt_tls_table, opt_leafnodes, opt_remote,
    opt_js, opt_js_limits;

#endif
