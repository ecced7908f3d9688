/* server/auth_inside.h -- what auth.c and perms.c share: a user and its compiled permissions
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_AUTH_INSIDE_H
#define SERVER_AUTH_INSIDE_H

#include "base/arena.h"
#include "server/auth.h"
#include "server/options.h"

/* "subject" or "subject queue". */
struct perm_entry {
    struct slice subject;
    struct slice queue; /* empty: plain */
};

struct perm_list {
    const struct perm_entry *at;
    size_t n;
    bool given; /* there is such a list: an allow list that is given and empty allows nothing */
};

/* Never changes once made; lives in its user. */
struct perm_rules {
    struct perm_list pub_allow, pub_deny, sub_allow, sub_deny;
    bool responses;
    int response_max;        /* < 0: no limit */
    int64_t response_ttl_ns; /* < 0: for ever */
};

struct auth_user {
    uint32_t refs;        /* table, connections, answers under way */
    struct arena mem;     /* the texts and rules below */
    const char *name;     /* or the nkey */
    const char *password; /* plain or bcrypt; "" for nkeys */
    const char *account;
    const struct perm_rules *rules; /* NULL: everything is allowed */
    unsigned types;                 /* enum connection_type bits; 0: all */
    bool is_nkey;
    bool nobody;           /* made up for clients without credentials, see auth.c */
    unsigned char key[32]; /* public key of an nkey user */
};

/* Compiles into mem. */
const struct perm_rules *perm_rules_new(struct arena *mem, const struct perm_options *o);

#endif
