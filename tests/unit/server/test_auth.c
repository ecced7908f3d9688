/* tests/unit/server/test_auth.c -- who may come in; bcrypt through the real helper thread
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/mem.h"
#include "server/auth.h"
#include "server/loop.h"
#include "server/options.h"

static struct loop *loop;

static struct options *options_of(const char *text)
{
    char path[] = "/tmp/frond-auth-XXXXXX";
    struct options *o;
    char *say;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    int rc = options_load(path, NULL, true, &o, &say);
    unlink(path);
    if (say)
        print_error("%s: %s", text, say);
    free(say);
    assert_int_equal(rc, 0);
    return o;
}

static struct auth *auth_of(const char *text)
{
    struct auth *a;
    char *why = NULL;
    struct options *o = options_of(text);
    assert_int_equal(auth_new(o, loop, &a, &why), 0);
    options_free(o);
    return a;
}

static void never(void *arg, bool yes, struct auth_user *user)
{
    (void)arg;
    (void)yes;
    (void)user;
    fail();
}

/* "yes NAME@ACCOUNT", "yes" (no user), "no". */
static char *ask(struct auth *a, struct auth_hello h)
{
    struct auth_user *u;
    struct auth_try *later;
    enum auth_answer answer = auth_check(a, &h, never, NULL, &u, &later);
    assert_int_not_equal(answer, AUTH_LATER);
    char *text = answer == AUTH_NO ? xstrdup("no")
                 : u               ? xasprintf("yes %s@%s", auth_user_name(u), auth_user_account(u))
                                   : xstrdup("yes");
    auth_user_unref(u);
    return text;
}

#define EXPECT(a, want, ...)                                                                       \
    do {                                                                                           \
        char *got_ = ask(a, (struct auth_hello){__VA_ARGS__});                                     \
        assert_string_equal(got_, want);                                                           \
        free(got_);                                                                                \
    } while (0)

static void nothing_configured_lets_everybody_in(void **state)
{
    struct auth *a = auth_of("port: 4222");
    (void)state;
    assert_false(auth_required(a));
    assert_null(auth_default_user(a));
    EXPECT(a, "yes", .user = {0});
    EXPECT(a, "yes", .user = SLICE("x"), .pass = SLICE("y"));
    auth_free(a);
}

static void single_users_and_tokens(void **state)
{
    struct auth *a = auth_of("authorization { user: bob, password: secret }");
    (void)state;
    assert_true(auth_required(a));
    EXPECT(a, "yes", .user = SLICE("bob"), .pass = SLICE("secret"));
    EXPECT(a, "no", .user = SLICE("bob"), .pass = SLICE("Secret"));
    EXPECT(a, "no", .user = SLICE("bo"), .pass = SLICE("secret"));
    EXPECT(a, "no", .user = {0});
    auth_free(a);
    a = auth_of("authorization { token: t0k }");
    EXPECT(a, "yes", .token = SLICE("t0k"));
    EXPECT(a, "no", .token = SLICE("t0"));
    EXPECT(a, "no", .user = SLICE("t0k"));
    auth_free(a);
}

static void users_of_accounts_and_connection_types(void **state)
{
    struct auth *a =
        auth_of("accounts { A { users: [{user: x, password: y}, {user: w, password: w, "
                "connection_types: [WEBSOCKET, leafnode]}] } }\n"
                "authorization { users: [{user: g, password: h}, {user: e}] }");
    (void)state;
    EXPECT(a, "yes x@A", .user = SLICE("x"), .pass = SLICE("y"));
    EXPECT(a, "yes g@$G", .user = SLICE("g"), .pass = SLICE("h"));
    EXPECT(a, "yes e@$G", .user = SLICE("e"));
    EXPECT(a, "no", .user = SLICE("w"), .pass = SLICE("w"));
    EXPECT(a, "yes w@A", .user = SLICE("w"), .pass = SLICE("w"), .type = CONNECTION_LEAFNODE);
    EXPECT(a, "no", .token = SLICE("x"));
    auth_free(a);
}

static void the_no_auth_user_is_for_those_who_show_nothing(void **state)
{
    struct auth *a = auth_of("no_auth_user: g\nauthorization { users: [{user: g, password: h}, "
                             "{user: x, password: y}] }");
    (void)state;
    assert_false(auth_required(a));
    assert_string_equal(auth_user_name(auth_default_user(a)), "g");
    EXPECT(a, "yes g@$G", .user = {0});
    EXPECT(a, "no", .pass = SLICE("h"));
    EXPECT(a, "no", .token = SLICE("h"));
    EXPECT(a, "no", .user = SLICE("g"), .pass = SLICE("wrong"));
    EXPECT(a, "yes x@$G", .user = SLICE("x"), .pass = SLICE("y"));
    auth_free(a);
    a = auth_of(
        "no_auth_user: g\nauthorization { users: [{user: g, connection_types: WEBSOCKET}] }");
    assert_true(auth_required(a));
    assert_null(auth_default_user(a));
    auth_free(a);
}

static void with_only_system_users_anonymous_clients_are_global(void **state)
{
    struct auth *a = auth_of("accounts { \"$SYS\": { users: [{user: admin, password: p}] } }");
    (void)state;
    assert_true(auth_required(a));
    EXPECT(a, "yes @$G", .user = {0});
    EXPECT(a, "no", .user = SLICE("x"));
    EXPECT(a, "yes admin@$SYS", .user = SLICE("admin"), .pass = SLICE("p"));
    auth_free(a);
}

static void nkeys_sign_the_nonce(void **state)
{
    unsigned char seed[32], pub[32], sig[64];
    char key[57], text[120], plain[120];
    (void)state;
    memset(seed, 7, sizeof seed);
    assert_int_equal(ed25519_public(seed, pub), 0);
    nkey_public_encode(NKEY_USER, pub, key);
    char *conf = xasprintf("authorization { users: [{nkey: %s}, {user: a, password: b}] }", key);
    struct auth *a = auth_of(conf);
    struct slice nonce = SLICE("abcdefghijklmno"), id = slice_cstr(key);
    assert_true(auth_nonce_wanted(a));
    assert_int_equal(ed25519_sign(seed, nonce, sig), 0);
    size_t n = base64_encode(sig, 64, true, text), m = base64_encode(sig, 64, false, plain);
    char *want = xasprintf("yes %s@$G", key);
    EXPECT(a, want, .nkey = id, .sig = slice_of(text, n), .nonce = nonce);
    EXPECT(a, want, .nkey = id, .sig = slice_of(plain, m), .nonce = nonce);
    EXPECT(a, "no", .nkey = id, .sig = slice_of(text, n), .nonce = SLICE("other"));
    EXPECT(a, "no", .nkey = id, .nonce = nonce);
    EXPECT(a, "no", .nkey = SLICE("UABC"), .sig = slice_of(text, n), .nonce = nonce);
    EXPECT(a, "no", .user = id, .nonce = nonce);
    EXPECT(a, "yes a@$G", .user = SLICE("a"), .pass = SLICE("b"));
    free(want);
    free(conf);
    auth_free(a);
}

/* --- bcrypt -------------------------------------------------------------------------- */

struct waiter {
    int calls, yes;
    char name[16];
    int *left; /* the loop stops when all have been called */
};

static void told(void *arg, bool yes, struct auth_user *user)
{
    struct waiter *w = arg;
    w->calls++;
    w->yes += yes;
    snprintf(w->name, sizeof w->name, "%s", auth_user_name(user));
    auth_user_unref(user);
    if (--*w->left == 0)
        loop_stop(loop);
}

static char *hash_of(const char *password, char letter)
{
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data data = {0};
    assert_non_null(crypt_gensalt_rn("$2b$", 4, NULL, 0, salt, sizeof salt));
    char *hash = xstrdup(crypt_r(password, salt, &data));
    hash[2] = letter;
    return hash;
}

static void bcrypt_hashes_of_all_letters_match(void **state)
{
    (void)state;
    for (const char *l = "abxy"; *l; l++) {
        char *hash = hash_of("pass", *l);
        assert_true(auth_bcrypt_matches(hash, "pass"));
        assert_false(auth_bcrypt_matches(hash, "Pass"));
        free(hash);
    }
    assert_false(auth_bcrypt_matches("$2a$11$short", "x"));
}

static void bcrypt_answers_later_once_for_all_and_is_remembered(void **state)
{
    char *hash = hash_of("pass", 'a');
    char *conf = xasprintf("authorization { users: [{user: u, password: \"%s\"}] }", hash);
    struct auth *a = auth_of(conf);
    struct auth_hello right = {.user = SLICE("u"), .pass = SLICE("pass")},
                      wrong = {.user = SLICE("u"), .pass = SLICE("x")};
    struct waiter w[4] = {0};
    struct auth_try *later[4];
    struct auth_user *u;
    int left = 3;
    (void)state;
    for (int i = 0; i < 4; i++) {
        w[i].left = &left;
        assert_int_equal(auth_check(a, i == 3 ? &wrong : &right, told, &w[i], &u, &later[i]),
                         AUTH_LATER);
    }
    auth_cancel(later[1]);
    loop_run(loop);
    assert_int_equal(w[0].calls + w[2].calls + w[3].calls, 3);
    assert_int_equal(w[1].calls, 0);
    assert_int_equal(w[0].yes + w[2].yes, 2);
    assert_int_equal(w[3].yes, 0);
    assert_string_equal(w[2].name, "u");
    EXPECT(a, "yes u@$G", .user = SLICE("u"), .pass = SLICE("pass"));
    assert_int_equal(auth_check(a, &wrong, told, &w[3], &u, &later[3]),
                     AUTH_LATER); /* wrong ones are not */
    left = 1;
    auth_free(a); /* a table that is gone says no */
    w[3].yes = 0;
    loop_run(loop);
    assert_int_equal(w[3].calls, 2);
    assert_int_equal(w[3].yes, 0);
    free(conf);
    free(hash);
}

static void many_different_passwords_take_their_turn_and_too_many_come_again(void **state)
{
    char *hash = hash_of("pass", 'b');
    char *conf = xasprintf("authorization { user: u, password: \"%s\" }", hash);
    struct auth *a = auth_of(conf);
    struct waiter w = {0};
    int left = 0;
    (void)state;
    w.left = &left;
    for (int i = 0; i < 520; i++) {
        char pass[16];
        struct auth_user *u;
        struct auth_try *later;
        snprintf(pass, sizeof pass, "p%d", i);
        struct auth_hello h = {.user = SLICE("u"), .pass = slice_cstr(pass)};
        enum auth_answer answer = auth_check(a, &h, told, &w, &u, &later);
        assert_int_equal(answer,
                         i < 512 ? AUTH_LATER : AUTH_BUSY); /* none is back: the loop waits */
        left += answer == AUTH_LATER;
    }
    loop_run(loop);
    assert_int_equal(left, 0);
    assert_int_equal(w.calls, 512);
    assert_int_equal(w.yes, 0);
    for (int i = 0; i < 9; i++) { /* a table that goes says no to all who wait */
        struct auth_user *u;
        struct auth_try *later;
        char pass[16];
        snprintf(pass, sizeof pass, "q%d", i);
        struct auth_hello h = {.user = SLICE("u"), .pass = slice_cstr(pass)};
        assert_int_equal(auth_check(a, &h, told, &w, &u, &later), AUTH_LATER);
        left++;
    }
    auth_free(a);
    loop_run(loop);
    assert_int_equal(w.calls, 521);
    assert_int_equal(w.yes, 0);
    free(conf);
    free(hash);
}

/* --- reload -------------------------------------------------------------------------- */

static void after_a_reload_everybody_is_judged_again(void **state)
{
    struct auth *old = auth_of(
        "authorization { users: [{user: a, password: x}, {user: b, password: y}, {user: c}] }");
    struct auth *fresh =
        auth_of("authorization { users: [{user: a, password: x, permissions: {publish: p}}, "
                "{user: b, password: z}] }");
    struct auth *open = auth_of("port: 1"), *token = auth_of("authorization { token: t }");
    const char *const names[] = {"a", "b", "c"}, *const passes[] = {"x", "y", ""};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct auth_hello h = {.user = slice_cstr(names[i]), .pass = slice_cstr(passes[i])};
        struct auth_user *u, *now;
        struct auth_try *later;
        assert_int_equal(auth_check(old, &h, never, NULL, &u, &later), AUTH_YES);
        assert_int_equal(auth_again(fresh, old, u, &now), i == 0);
        if (i == 0) {
            struct perms *p = perms_new(now);
            assert_non_null(p);
            assert_true(perms_may_publish(p, SLICE("p")));
            assert_false(perms_may_publish(p, SLICE("q")));
            perms_free(p);
        }
        auth_user_unref(now);
        assert_true(auth_again(open, old, u, &now));
        assert_null(now);
        auth_user_unref(u);
    }
    struct auth_user *now;
    assert_true(auth_again(token, token, NULL, &now));
    assert_false(auth_again(token, open, NULL, &now));
    assert_false(auth_again(fresh, token, NULL, &now));
    assert_true(auth_again(open, token, NULL, &now));
    auth_free(old);
    auth_free(fresh);
    auth_free(open);
    auth_free(token);
}

static int start(void **state)
{
    (void)state;
    loop = loop_new();
    return loop ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_configured_lets_everybody_in),
        cmocka_unit_test(single_users_and_tokens),
        cmocka_unit_test(users_of_accounts_and_connection_types),
        cmocka_unit_test(the_no_auth_user_is_for_those_who_show_nothing),
        cmocka_unit_test(with_only_system_users_anonymous_clients_are_global),
        cmocka_unit_test(nkeys_sign_the_nonce),
        cmocka_unit_test(bcrypt_hashes_of_all_letters_match),
        cmocka_unit_test(bcrypt_answers_later_once_for_all_and_is_remembered),
        cmocka_unit_test(many_different_passwords_take_their_turn_and_too_many_come_again),
        cmocka_unit_test(after_a_reload_everybody_is_judged_again),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
