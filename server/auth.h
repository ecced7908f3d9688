/* server/auth.h -- who may come in, and what may they say
 *
 * A table of users compiled from the options, the check of what a CONNECT shows, and a user's
 * permissions.
 *
 *     auth_check(auth, &hello, done, arg, &user, &later)
 *         AUTH_YES    come in, as *user (NULL: the single user or token of the server)
 *         AUTH_NO     -ERR 'Authorization Violation'
 *         AUTH_LATER  bcrypt: the helper thread computes; done(arg, yes, user) comes once,
 *                     unless auth_cancel()
 *         AUTH_BUSY   too many passwords wait for that: come again later
 *
 * A password that was right is remembered as a keyed hash until the next reload, so a reconnecting
 * fleet costs no bcrypt. Users are counted: a connection keeps its own across a reload, until
 * auth_again() says who it is now.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "base/err.h"
#include "base/slice.h"

struct auth;
struct auth_try; /* a check under way */
struct auth_user;
struct json_out;
struct loop;
struct options;
struct perms;

/* Copies what it needs of the options. On error *why gets an owned sentence (an unknown
 * no_auth_user, …). */
int auth_new(const struct options *o, struct loop *loop, struct auth **out, char **why) MUST_CHECK;
/* Checks under way are answered with no. NULL is fine. */
void auth_free(struct auth *a);
/* INFO's auth_required: a CONNECT has to show something. False with a no_auth_user. */
bool auth_required(const struct auth *a);
/* Somebody may sign: INFO carries a nonce. */
bool auth_nonce_wanted(const struct auth *a);
/* Who comes in without showing anything: the no_auth_user, NULL: none. Borrowed. */
struct auth_user *auth_default_user(struct auth *a);

struct auth_hello { /* what a CONNECT shows; empty: absent. Borrowed during the call */
    struct slice user, pass, token, nkey, sig, jwt;
    struct slice nonce; /* as we sent it in INFO */
    unsigned type;      /* one bit of enum connection_type; 0: CONNECTION_STANDARD */
};
enum auth_answer { AUTH_YES, AUTH_NO, AUTH_LATER, AUTH_BUSY };
/* user: a reference of the callee's (auth_user_unref); NULL: no user of the table. */
typedef void auth_done_fn(void *arg, bool yes, struct auth_user *user);
/* *user: as above; *later is set with AUTH_LATER only. done is never called from inside. */
enum auth_answer auth_check(struct auth *a, const struct auth_hello *h, auth_done_fn *done,
                            void *arg, struct auth_user **user, struct auth_try **later) MUST_CHECK;
void auth_cancel(struct auth_try *t);
/* Pure, any thread, 100 ms: does the password fit the bcrypt hash ("$2…")? */
bool auth_bcrypt_matches(const char *stored, const char *shown) MUST_CHECK;
/* After a reload: who the user of the old table is now (a reference). False: gone, other password,
 * other account. user may be NULL: is the single user or the token the same as in `old`? */
bool auth_again(struct auth *fresh, const struct auth *old, const struct auth_user *user,
                struct auth_user **now);

struct auth_user *auth_user_ref(struct auth_user *u);
void auth_user_unref(struct auth_user *u);                /* NULL is fine */
const char *auth_user_name(const struct auth_user *u);    /* or its nkey */
const char *auth_user_account(const struct auth_user *u); /* "$G" */

/* --- permissions of one connection --------------------------------------------------- */

/* NULL when everything is allowed. user may be NULL. Owned by the caller; keeps a reference to the
 * user. */
struct perms *perms_new(struct auth_user *u);
void perms_free(struct perms *p); /* NULL is fine */
/* allow and deny lists, then what allow_responses lends (counts down). */
bool perms_may_publish(struct perms *p, struct slice subject);
/* As reference: server surface 4.13; queue may be empty. */
bool perms_may_subscribe(const struct perms *p, struct slice subject, struct slice queue);
/* A wildcard subscription that overlaps a denied subject: its messages have to be looked at one by
 * one. */
bool perms_filters(const struct perms *p, struct slice subject);
bool perms_may_receive(const struct perms *p, struct slice subject, struct slice queue);
/* A message with this reply subject was delivered to the connection. */
void perms_note_reply(struct perms *p, struct slice reply);
/* The value of "permissions" in $SYS.REQ.USER.INFO. */
void perms_describe(const struct perms *p, struct json_out *out, const char *key);

#endif
