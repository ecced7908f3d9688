/* server/auth.c -- who may come in
 *
 * The order of deciding is the reference's: an nkey that is shown must be known and must have
 * signed the nonce; else a named user with its password; else the single token; else the single
 * user. A client that shows nothing is the no_auth_user, when there is one.
 *
 * When the only users are those of the system account and nothing else was said about
 * authorization, clients without credentials come into the global account as "nobody", and INFO
 * asks for credentials all the same.
 *
 * bcrypt takes 100 ms, so it runs on the helper thread:
 *
 *     auth_check() ──► memory of right passwords? yes: in
 *                      the same pair is being computed? join it
 *                      else a new errand, behind the others
 *                                        ──► helper: bcrypt_matches(copies)
 *                                        ──► settle(): remember, answer everyone, send the next
 *
 * A fleet that comes back after a restart has as many passwords as sites, and each takes its turn.
 * Few are with the helper at a time, for others need it, too. Where WAITING_MAX wait, who comes is
 * not refused (client libraries give up for good when they are), but told to come again.
 *
 * What is remembered is SHA-256 over a secret of this table, the stored hash and the password, so
 * nothing in memory helps to find a password, and a reload (a new table) forgets everything.
 *
 * Lifetimes: an errand holds a reference to the table; a table that was freed answers "no" to what
 * is still under way, and the client that asks again meets the new one. Users are counted and
 * outlive their table.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/auth.h"

#include <crypt.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "server/auth_inside.h"
#include "server/loop.h"

#define REMEMBERED_MAX 16384 /* right passwords; when full, all are forgotten */
#define WAITING_MAX    512   /* errands; 50 s at the usual cost of 11 */
#define AT_THE_HELPER  2     /* of these: one is computed, one is next */

/* A password that was right. */
struct right {
    unsigned char digest[32];
};

/* One comparison on the helper thread, for everybody who waits for the same one. */
struct errand {
    struct list link;  /* in auth.errands */
    struct auth *auth; /* a reference */
    unsigned char digest[32];
    char *stored, *shown;   /* copies; the helper's alone while it works */
    bool sent;              /* the helper has it */
    bool matches;           /* its answer */
    struct auth_try *tries; /* who waits for it, in no order */
};

struct auth_try {
    struct auth_try *next;  /* in the errand, which frees it */
    struct auth_user *user; /* who it would be; NULL: the single user or token */
    auth_done_fn *done;     /* NULL: cancelled */
    void *arg;
};

struct auth {
    uint32_t refs; /* the server's, one per errand */
    bool over;     /* auth_free() was called */
    struct loop *loop;
    struct htab users; /* struct auth_user by name or nkey */
    size_t nnamed, nkeys;
    struct auth_user *fallback;    /* the no_auth_user; NULL: none */
    struct auth_user *nobody;      /* see above; NULL: none */
    char *user, *password, *token; /* single ones; NULL: none */
    unsigned char secret[32];
    struct htab right;   /* struct right */
    struct list errands; /* in the order they came: those the helper has are the first */
    size_t nerrands, nsent;
};

/* --- users --------------------------------------------------------------------------- */

struct auth_user *auth_user_ref(struct auth_user *u)
{
    u->refs++;
    return u;
}

void auth_user_unref(struct auth_user *u)
{
    if (!u || --u->refs)
        return;
    arena_release(&u->mem);
    free(u);
}

const char *auth_user_name(const struct auth_user *u)
{
    return u ? u->name : "";
}

const char *auth_user_account(const struct auth_user *u)
{
    return u ? u->account : "$G";
}

static const char *keep(struct auth_user *u, const char *text)
{
    struct slice copy = arena_dup(&u->mem, slice_cstr(text));
    ASSERT(copy.p);
    return copy.p;
}

static struct auth_user *user_new(const char *name, const char *password, const char *account)
{
    struct auth_user *u = xcalloc(1, sizeof *u);
    u->refs = 1;
    arena_init(&u->mem, 0);
    u->name = keep(u, name);
    u->password = keep(u, password);
    u->account = keep(u, account);
    return u;
}

static bool user_eq(const void *item, const void *key)
{
    const struct auth_user *u = item;
    return slice_is(*(const struct slice *)key, u->name);
}

static struct auth_user *find(const struct auth *a, struct slice name)
{
    return htab_get(&a->users, hash_slice(name), user_eq, &name);
}

static bool type_fits(const struct auth_user *u, unsigned type)
{
    return !u->types || (u->types & (type ? type : CONNECTION_STANDARD));
}

/* --- the table ----------------------------------------------------------------------- */

static void add_user(struct auth *a, const struct user_options *o)
{
    const char *name = o->nkey ? o->nkey : o->user;
    enum nkey_kind kind;
    struct slice key = slice_cstr(name);
    if (find(a, key)) /* the options have complained about it */
        return;
    struct auth_user *u = user_new(name, o->password, o->account);
    u->is_nkey = o->nkey != NULL;
    if (u->is_nkey && nkey_public_decode(key, u->key, &kind) < 0) {
        auth_user_unref(u);
        return;
    }
    u->types = o->types;
    u->rules = o->perms ? perm_rules_new(&u->mem, o->perms) : NULL;
    *(u->is_nkey ? &a->nkeys : &a->nnamed) += 1;
    htab_put(&a->users, hash_slice(key), u);
}

static bool only_system_users(const struct options *o)
{
    if (o->auth_block || o->no_auth_user || o->user || o->token || !o->nusers || !o->system_account)
        return false;
    for (size_t i = 0; i < o->nusers; i++)
        if (strcmp(o->users[i].account, o->system_account) != 0)
            return false;
    return true;
}

int auth_new(const struct options *o, struct loop *loop, struct auth **out, char **why)
{
    struct auth *a = xcalloc(1, sizeof *a);
    a->refs = 1;
    a->loop = loop;
    htab_init(&a->users);
    htab_init(&a->right);
    list_init(&a->errands);
    random_bytes(a->secret, sizeof a->secret);
    for (size_t i = 0; i < o->nusers; i++)
        add_user(a, &o->users[i]);
    a->user = o->user ? xstrdup(o->user) : NULL;
    a->password = xstrdup(o->password ? o->password : "");
    a->token = o->token ? xstrdup(o->token) : NULL;
    if (only_system_users(o)) {
        a->nobody = user_new("", "", "$G");
        a->nobody->nobody = true;
    }
    *out = a;
    if (!o->no_auth_user || !*o->no_auth_user)
        return 0;
    a->fallback = find(a, slice_cstr(o->no_auth_user));
    if (a->fallback)
        return 0;
    *why = xasprintf("no_auth_user: \"%s\" not present as user or nkey in authorization block or "
                     "account configuration",
                     o->no_auth_user);
    auth_free(a);
    *out = NULL;
    return E_NOTFOUND;
}

static void unref(struct auth *a)
{
    void *item;
    if (--a->refs)
        return;
    for (size_t pos = 0; (item = htab_next(&a->users, &pos));)
        auth_user_unref(item);
    for (size_t pos = 0; (item = htab_next(&a->right, &pos));)
        free(item);
    htab_release(&a->users);
    htab_release(&a->right);
    auth_user_unref(a->nobody);
    explicit_bzero(a->secret, sizeof a->secret);
    free(a->user);
    free(a->password);
    free(a->token);
    free(a);
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    a->over = true;
    unref(a);
}

static bool anything_configured(const struct auth *a)
{
    return a->nnamed || a->nkeys || a->user || a->token;
}

struct auth_user *auth_default_user(struct auth *a)
{
    return a->fallback && type_fits(a->fallback, CONNECTION_STANDARD) ? a->fallback : NULL;
}

bool auth_required(const struct auth *a)
{
    bool fallback = a->fallback && type_fits(a->fallback, CONNECTION_STANDARD);
    return anything_configured(a) && !fallback;
}

bool auth_nonce_wanted(const struct auth *a)
{
    return a->nkeys > 0;
}

/* --- passwords ----------------------------------------------------------------------- */

static bool is_bcrypt(const char *s)
{
    return s[0] == '$' && s[1] == '2' && s[2] && strchr("abxy", s[2]) && s[3] == '$' &&
           s[4] >= '0' && s[4] <= '9' && s[5] >= '0' && s[5] <= '9' && s[6] == '$';
}

bool auth_bcrypt_matches(const char *stored, const char *shown)
{
    struct crypt_data *data = xcalloc(1, sizeof *data);
    char *setting = xstrdup(stored);
    setting[2] = 'b'; /* one algorithm for all four letters, as the reference has it */
    const char *got = crypt_r(shown, setting, data);
    bool ok = got && strlen(got) > 7 && secret_eq(slice_cstr(got + 7), slice_cstr(stored + 7));
    explicit_bzero(data, sizeof *data);
    free(data);
    free(setting);
    return ok;
}

static void digest_of(const struct auth *a, const char *stored, struct slice shown,
                      unsigned char out[32])
{
    size_t n = strlen(stored) + 1, all = sizeof a->secret + n + shown.n;
    char *text = xmalloc(all);
    memcpy(text, a->secret, sizeof a->secret);
    memcpy(text + sizeof a->secret, stored, n);
    if (shown.n)
        memcpy(text + sizeof a->secret + n, shown.p, shown.n);
    sha256(text, all, out);
    explicit_bzero(text, all);
    free(text);
}

static bool right_eq(const void *item, const void *key)
{
    return memcmp(((const struct right *)item)->digest, key, 32) == 0;
}

static uint64_t digest_hash(const unsigned char digest[32])
{
    return hash64(digest, 32);
}

static void remember(struct auth *a, const unsigned char digest[32])
{
    void *item;
    if (htab_get(&a->right, digest_hash(digest), right_eq, digest))
        return;
    if (a->right.count >= REMEMBERED_MAX) {
        for (size_t pos = 0; (item = htab_next(&a->right, &pos));)
            free(item);
        htab_release(&a->right);
        htab_init(&a->right);
    }
    struct right *r = xmalloc(sizeof *r);
    memcpy(r->digest, digest, sizeof r->digest);
    htab_put(&a->right, digest_hash(digest), r);
}

/* --- errands to the helper thread ---------------------------------------------------- */

static void compute(void *arg) /* helper thread: touches its copies and nothing else */
{
    struct errand *e = arg;
    e->matches = auth_bcrypt_matches(e->stored, e->shown);
}

/* Out of the list, answered, freed. */
static void finish(struct errand *e)
{
    struct auth *a = e->auth;
    bool yes = e->matches && !a->over;
    list_unlink(&e->link);
    a->nerrands--;
    if (yes)
        remember(a, e->digest);
    for (struct auth_try *t = e->tries, *next; t; t = next) { /* done() may cancel those behind */
        next = t->next;
        if (!t->done || !yes)
            auth_user_unref(t->user);
        if (t->done)
            t->done(t->arg, yes, yes ? t->user : NULL);
        free(t);
    }
    explicit_bzero(e->shown, strlen(e->shown));
    free(e->shown);
    free(e->stored);
    free(e);
    unref(a);
}

static void settle(void *arg);

static void send_errands(struct auth *a)
{
    LIST_EACH(l, &a->errands)
    {
        struct errand *e = LIST_ENTRY(l, struct errand, link);
        if (e->sent)
            continue;
        if (a->nsent >= AT_THE_HELPER || loop_help(a->loop, compute, settle, e) < 0)
            return;
        e->sent = true;
        a->nsent++;
    }
}

/* One is back. Those that nobody will compute (the table is over, the helper ends) are a no. */
static void settle(void *arg)
{
    struct errand *e = arg;
    struct auth *a = e->auth;
    a->refs++;
    a->nsent--;
    finish(e);
    if (!a->over)
        send_errands(a);
    while (a->nsent == 0 && !list_empty(&a->errands))
        finish(LIST_ENTRY(a->errands.next, struct errand, link));
    unref(a);
}

static struct errand *same_errand(struct auth *a, const unsigned char digest[32])
{
    LIST_EACH(l, &a->errands)
    {
        struct errand *e = LIST_ENTRY(l, struct errand, link);
        if (memcmp(e->digest, digest, 32) == 0)
            return e;
    }
    return NULL;
}

/* NULL: too many wait. */
static struct errand *errand_new(struct auth *a, const unsigned char digest[32], const char *stored,
                                 struct slice shown)
{
    if (a->nerrands >= WAITING_MAX)
        return NULL;
    struct errand *e = xcalloc(1, sizeof *e);
    memcpy(e->digest, digest, sizeof e->digest);
    e->auth = a;
    e->stored = xstrdup(stored);
    e->shown = slice_dup(shown);
    list_init(&e->link);
    a->refs++;
    a->nerrands++;
    list_push_back(&a->errands, &e->link);
    send_errands(a);
    if (a->nsent)
        return e;
    finish(e); /* the helper takes none: nothing will come back that could send this one */
    return NULL;
}

/* Is `shown` the password behind `stored`? user: who it is then (borrowed), NULL for the single
 * ones. */
static enum auth_answer compare(struct auth *a, const char *stored, struct slice shown,
                                struct auth_user *user, auth_done_fn *done, void *arg,
                                struct auth_try **later)
{
    unsigned char digest[32];
    if (!is_bcrypt(stored))
        return secret_eq(slice_cstr(stored), shown) ? AUTH_YES : AUTH_NO;
    if (shown.n && memchr(shown.p, 0, shown.n))
        return AUTH_NO;
    digest_of(a, stored, shown, digest);
    if (htab_get(&a->right, digest_hash(digest), right_eq, digest))
        return AUTH_YES;
    struct errand *e = same_errand(a, digest);
    if (!e)
        e = errand_new(a, digest, stored, shown);
    if (!e)
        return AUTH_BUSY;
    struct auth_try *t = xcalloc(1, sizeof *t);
    t->user = user ? auth_user_ref(user) : NULL;
    t->done = done;
    t->arg = arg;
    t->next = e->tries;
    e->tries = t;
    *later = t;
    return AUTH_LATER;
}

void auth_cancel(struct auth_try *t)
{
    if (t)
        t->done = NULL;
}

/* --- the check ----------------------------------------------------------------------- */

static bool signed_by(const struct auth_user *u, const struct auth_hello *h)
{
    unsigned char sig[128];
    size_t n = 0;
    return h->sig.n > 0 && h->sig.n <= sizeof sig && base64_decode(h->sig, sig, &n) == 0 &&
           n == 64 && ed25519_verify(u->key, h->nonce, sig);
}

static enum auth_answer yes(struct auth_user *u, struct auth_user **user)
{
    *user = u ? auth_user_ref(u) : NULL;
    return AUTH_YES;
}

enum auth_answer auth_check(struct auth *a, const struct auth_hello *h, auth_done_fn *done,
                            void *arg, struct auth_user **user, struct auth_try **later)
{
    bool silent = !h->user.n && !h->pass.n && !h->token.n;
    struct auth_user *u = NULL;
    enum auth_answer answer;
    *user = NULL;
    *later = NULL;
    if (!anything_configured(a))
        return yes(NULL, user);
    if (silent && a->fallback && (!h->nkey.n || !a->nkeys))
        return type_fits(a->fallback, h->type) ? yes(a->fallback, user) : AUTH_NO;
    if (a->nkeys && h->nkey.n) {
        u = find(a, h->nkey);
        return u && u->is_nkey && type_fits(u, h->type) && signed_by(u, h) ? yes(u, user) : AUTH_NO;
    }
    if (silent && a->nobody)
        return yes(a->nobody, user);
    if (a->nnamed && h->user.n) {
        u = find(a, h->user);
        if (!u || u->is_nkey || !type_fits(u, h->type))
            return AUTH_NO;
        answer = compare(a, u->password, h->pass, u, done, arg, later);
    } else if (a->token) {
        answer = compare(a, a->token, h->token, NULL, done, arg, later);
    } else if (a->user && slice_is(h->user, a->user)) {
        answer = compare(a, a->password, h->pass, NULL, done, arg, later);
    } else {
        return AUTH_NO;
    }
    return answer == AUTH_YES ? yes(u, user) : answer;
}

/* --- after a reload ------------------------------------------------------------------ */

static bool same_text(const char *x, const char *y)
{
    return x == y || (x && y && strcmp(x, y) == 0);
}

bool auth_again(struct auth *fresh, const struct auth *old, const struct auth_user *user,
                struct auth_user **now)
{
    *now = NULL;
    if (!anything_configured(fresh))
        return true;
    if (user && !user->nobody) {
        struct auth_user *u = find(fresh, slice_cstr(user->name));
        if (!u || u->is_nkey != user->is_nkey || strcmp(u->account, user->account) != 0 ||
            strcmp(u->password, user->password) != 0)
            return false;
        *now = auth_user_ref(u);
        return true;
    }
    struct auth_user *silent = fresh->fallback ? fresh->fallback : fresh->nobody;
    if (user || !anything_configured(old)) { /* it never showed anything */
        *now = silent ? auth_user_ref(silent) : NULL;
        return silent != NULL;
    }
    return !fresh->nnamed && !fresh->nkeys && same_text(fresh->user, old->user) &&
           same_text(fresh->password, old->password) && same_text(fresh->token, old->token);
}
