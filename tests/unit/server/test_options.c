/* tests/unit/server/test_options.c -- options: the words of every complaint, defaults, flags over
 * file, reload
 *
 * The messages are what nats-server 2.15.2 prints for the same files.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/options.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/frond-options-XXXXXX");
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    remove("c.conf");
    return chdir("/") == 0 ? rmdir(dir) : -1;
}

static void write_file(const char *text)
{
    FILE *f = fopen("c.conf", "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static struct options *load(const char *text, bool check, char **say)
{
    struct options *o;
    write_file(text);
    int rc = options_load("c.conf", NULL, check, &o, say);
    assert_int_equal(rc == 0, o != NULL);
    return o;
}

static struct options *good(const char *text)
{
    char *say;
    struct options *o = load(text, true, &say);
    if (say)
        print_error("%s -> %s", text, say);
    assert_null(say);
    assert_non_null(o);
    return o;
}

struct row {
    const char *text, *want;
};

static void check_messages(const struct row *rows, size_t n, bool check)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        char *say;
        struct options *o = load(rows[i].text, check, &say);
        if (strcmp(say ? say : "", rows[i].want) != 0) {
            print_error("text  %s\n want %s  got %s\n", rows[i].text, rows[i].want,
                        say ? say : "(nothing)");
            bad++;
        }
        free(say);
        options_free(o);
    }
    assert_int_equal(bad, 0);
}

static void complaints_are_worded_as_in_the_reference(void **state)
{
    static const struct row rows[] = {
        {"X: 5\n", "c.conf:1:0: unknown field \"X\"\n"},
        {"X: 5\nport: $X\n", ""},
        {"port: 4222\nfoo: 1\n", "c.conf:2:1: unknown field \"foo\"\n"},
        {"port: \"x\"", "c.conf:1:0: interface conversion: interface {} is string, not int64\n"},
        {"server_name: 5", "c.conf:1:0: interface conversion: interface {} is int64, not string\n"},
        {"debug: \"yes\"", "c.conf:1:0: interface conversion: interface {} is string, not bool\n"},
        {"server_name: 'a b'", "c.conf:1:0: server name cannot contain spaces\n"},
        {"listen: 0.0.0.0", "c.conf:1:0: could not parse address string \"0.0.0.0\"\n"},
        {"listen: \"a:b\"", "c.conf:1:0: could not parse port \"b\"\n"},
        {"listen: true", "c.conf:1:0: expected port or host:port, got bool\n"},
        {"http: true", "c.conf:1:0: expected port or host:port, got bool\n"},
        {"# nothing\n", "c.conf: config has no values or is empty\n"},
        {"ping_interval: 5", "c.conf:1:0: invalid use of field \"ping_interval\": ping_interval "
                             "should be converted to a duration\n"},
        {"write_deadline: \"x\"",
         "c.conf:1:0: error parsing write_deadline: time: invalid duration \"x\"\n"},
        {"max_payload: 3GB", "c.conf:1:0: max_payload value is too big\n"},
        {"max_sub_tokens: 256", "c.conf:1:0: max_sub_tokens value is too big\n"},
        {"max_sub_tokens: -1", "c.conf:1:0: max_sub_tokens value can not be negative\n"},
        {"lame_duck_duration: 5s",
         "c.conf:1:0: invalid lame_duck_duration of 5s, minimum is 30 seconds\n"},
        {"lame_duck_grace_period: \"-1s\"",
         "c.conf:1:0: invalid lame_duck_grace_period, needs to be positive\n"},
        {"write_timeout: x", "c.conf:1:0: write_timeout must be 'default', 'close' or 'retry'\n"},
    };
    (void)state;
    check_messages(rows, ARRAY_LEN(rows), false);
}

static void complaints_about_a_block_say_where_in_it(void **state)
{
    static const struct row rows[] = {
        {"authorization { user: }\n", "c.conf:1:16: unknown field \"user\"\n"},
        {"authorization { foo: 1 }", "c.conf:1:16: unknown field \"foo\"\n"},
        {"authorization { user: a, password: b, token: c }",
         "c.conf:1:0: Cannot have a user/pass and token\n"},
        {"authorization { user: a, users: [] }",
         "c.conf:1:0: Can not have a single user/pass and a users array\n"},
        {"authorization { token: a, users: [{user: b}] }",
         "c.conf:1:0: Can not have a token and a users array\n"},
        {"authorization { users: [{user: a},{user: a}] }",
         "c.conf:1:0: Duplicate user \"a\" detected\n"},
        {"authorization { users: {a: b} }",
         "c.conf:1:16: Expected users field to be an array, got map[a:b]\n"},
        {"authorization { users: [a] }",
         "c.conf:1:24: Expected user entry to be a map/struct, got a\n"},
        {"authorization { users: [{password: a}] }", "c.conf:1:25: User entry requires a user\n"},
        {"authorization { users: [{nkey: UABC}] }",
         "c.conf:1:25: Not a valid public nkey for a user\n"},
        {"authorization { users: [{user: a, connection_types: [X, STANDARD]}] }",
         "c.conf:1:34: invalid connection types [\"X\"]\n"},
        {"authorization { timeout: x }", "c.conf:1:16: error parsing authorization config, "
                                         "'timeout' time: invalid duration \"x\"\n"},
        {"authorization { timeout: true }",
         "c.conf:1:16: error parsing authorization config, 'timeout' wrong type\n"},
        {"authorization { users: [{user: a, permissions: {publish: \"a..b\"}}] }",
         "c.conf:1:48: subject \"a..b\" is not a valid subject\n"},
        {"authorization { users: [{user: a, permissions: {publish: \"a b\"}}] }",
         "c.conf:1:48: subject \"a b\" is not a valid subject\n"},
        {"authorization { users: [{user: a, permissions: {subscribe: [\"a b\", \"a b..c\"]}}] }",
         "c.conf:1:48: queue \"b..c\" is not a valid queue\n"},
        {"authorization { users: [{user: a, permissions: {foo: b}}] }",
         "c.conf:1:48: Unknown field \"foo\" parsing permissions\n"},
        {"authorization { users: [{user: a, permissions: {sub: {foo: b}}}] }",
         "c.conf:1:54: Unknown field name \"foo\" parsing subject permissions, only 'allow' or "
         "'deny' are permitted\n"},
        {"authorization { users: [{user: a, permissions: {allow_responses: 5}}] }",
         "c.conf:1:48: error parsing response permissions, expected a boolean or a map\n"},
        {"accounts { A: 5 }", "c.conf:1:11: Expected map entries for accounts\n"},
        {"accounts { \"$G\": {} }", "c.conf:1:12: \"$G\" is a Reserved Account\n"},
        {"accounts [A, A]", "c.conf:1:13: Duplicate Account Entry: A\n"},
        {"accounts { A: {nkey: x} }",
         "c.conf:1:15: Not a valid public nkey for an account: \"x\"\n"},
        {"accounts { A: {limits: {x: 1}} }",
         "c.conf:1:24: Unknown field \"x\" parsing account limits\n"},
        {"accounts { A: {jetstream: x} }",
         "c.conf:1:15: Expected 'enabled' or 'disabled' for string value, got 'x'\n"},
        {"accounts { A: {jetstream: {max_mem: x}} }",
         "c.conf:1:27: Expected a parseable size for \"max_mem\", got x\n"},
        {"jetstream: x",
         "c.conf:1:0: Expected 'enabled' or 'disabled' for string value, got 'x'\n"},
        {"jetstream: 5",
         "c.conf:1:0: Expected map, bool or string to define JetStream, got int64\n"},
        {"jetstream { max_file: 5X }",
         "c.conf:1:12: max_file_store sizes defined as strings must end in K, M, G, T\n"},
        {"store_dir: a\njetstream { store_dir: b }",
         "c.conf:2:13: Duplicate 'store_dir' configuration\n"},
        {"jetstream { foo: 1 }", "c.conf:1:12: unknown field \"foo\"\n"},
        {"tls { cert_file: nope, key_file: x }", "c.conf:1:0: error parsing X509 certificate/key "
                                                 "pair: open nope: no such file or directory\n"},
        {"tls { cert_file: nope }", "c.conf:1:0: missing 'key_file' in TLS configuration\n"},
        {"tls { foo: nope }", "c.conf:1:6: error parsing tls config, unknown field \"foo\"\n"},
        {"tls { timeout: true }", "c.conf:1:6: error parsing tls config, 'timeout' wrong type\n"},
        {"tls { curve_preferences: [foo] }", "c.conf:1:26: unrecognized curve preference foo\n"},
        {"leafnodes { remotes: [{url: \"127.0.0.1:7422\"}] }",
         "c.conf:1:23: error parsing leafnode url [\"127.0.0.1:7422\"]\n"},
        {"leafnodes { remotes: [{url: 5}] }",
         "c.conf:1:23: Expected remote leafnode url to be an array or string, got 5\n"},
        {"leafnodes { remotes: [{urls: [\"nats://a\", \"nats://a\"]}] }",
         "c.conf:1:43: invalid use of field \"nats://a\": Duplicate leafnode entry detected\n"},
        {"leafnodes { remotes: 5 }",
         "c.conf:1:12: Expected remotes field to be an array, got int64\n"},
        {"leafnodes { compression: 5 }",
         "c.conf:1:12: field \"compression\" should be a boolean or a structure, got int64\n"},
        {"leafnodes { compression: foo }", "unsupported compression mode \"foo\"\n"},
        {"server_tags: [ 5 ]",
         "c.conf:1:15: error parsing tags: unsupported type in array int64\n"},
    };
    (void)state;
    check_messages(rows, ARRAY_LEN(rows), false);
}

static void checks_across_options_belong_to_a_start(void **state)
{
    static const struct row rows[] = {
        {"no_auth_user: x", "no_auth_user: \"x\" present, but users/nkeys are not defined"},
        {"no_auth_user: x\nauthorization { users: [{user: a}] }",
         "no_auth_user: \"x\" not present as user or nkey in authorization block or account "
         "configuration"},
        {"leafnodes { remotes: [{url: \"nats://x\", account: B}]}",
         "cannot find local account \"B\" specified in leafnode remote"},
        {"jetstream { domain: \"a.b\" }", "invalid domain name: may not contain ., * or >"},
        {"jetstream { domain: \"a b\" }",
         "invalid domain name: derived \"$JS.a b.API.>\" is not a valid subject"},
        {"max_payload: 2MB\nmax_pending: 1MB",
         "max_payload (2097152) cannot be higher than max_pending (1048576)"},
        {"lame_duck_duration: 30s\nlame_duck_grace_period: 30s",
         "lame duck grace period (30s) should be strictly lower than lame duck duration (30s)"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct row quiet = {rows[i].text, ""};
        check_messages(&quiet, 1, false);
    }
    check_messages(rows, ARRAY_LEN(rows), true);
}

static void several_errors_are_told_at_once_warnings_first(void **state)
{
    static const struct row rows[] = {
        {"port: x\nping_interval: 5\nfoo: 1\n",
         "c.conf:2:1: invalid use of field \"ping_interval\": ping_interval should be converted to "
         "a duration\n"
         "c.conf:1:0: interface conversion: interface {} is string, not int64\nc.conf:3:1: unknown "
         "field \"foo\"\n"},
    };
    (void)state;
    check_messages(rows, ARRAY_LEN(rows), false);
}

static void what_comes_later_is_named_once_and_what_must_not_be_ignored_is_refused(void **state)
{
    static const struct row rows[] = {
        {"operator: x", "c.conf:1:0: \"operator\" needs a feature this server does not have yet, "
                        "and can't be ignored "
                        "safely\n"},
        {"jetstream { key: x }",
         "c.conf:1:12: \"key\" needs a feature this server does not have yet, and can't be "
         "ignored safely\n"},
    };
    struct options *o = good("websocket { port: 1 }\nmqtt {}\nleafnodes { port: 7422 }");
    (void)state;
    assert_string_equal(o->later,
                        "Not supported yet and ignored: websocket (c.conf:1), mqtt (c.conf:2), "
                        "leafnodes.port (c.conf:3)");
    options_free(o);
    check_messages(rows, ARRAY_LEN(rows), false);
}

static void defaults_are_filled_in(void **state)
{
    struct options *o = good("server_name: s\nmax_payload: 0\n");
    (void)state;
    assert_string_equal(o->host, "0.0.0.0");
    assert_string_equal(o->http_host, "0.0.0.0");
    assert_string_equal(o->system_account, "$SYS");
    assert_int_equal(o->port, 4222);
    assert_int_equal(o->http_port, 0);
    assert_int_equal(o->max_payload, 1 << 20);
    assert_int_equal(o->max_pending, 64 << 20);
    assert_int_equal(o->max_control_line, 4096);
    assert_int_equal(o->max_connections, 65536);
    assert_int_equal(o->ping_interval_ns, 120000000000LL);
    assert_int_equal(o->write_deadline_ns, 10000000000LL);
    assert_int_equal(o->auth_timeout_ns, 2000000000LL);
    assert_int_equal(o->leaf.reconnect_ns, 1000000000LL);
    assert_true(o->logtime);
    assert_true(o->js.strict);
    assert_false(o->js.enabled);
    assert_false(o->plain_passwords);
    assert_int_equal(strlen(o->config_digest), 71);
    options_free(o);
}

static void a_site_reads_as_written(void **state)
{
    struct options *o =
        good("server_name: site7\nlisten: \"127.0.0.1:-1\"\nhttp: 8222\nmax_conn: 0\nserver_tags: "
             "[A, b, a]\n"
             "PERMS = { publish: { allow: [\"a.>\"], deny: \"a.x\" }, subscribe: \"b w\", "
             "allow_responses: true }\n"
             "accounts {\n  SHOP { jetstream: { max_file: 1G }, limits { max_conn: 5 }\n"
             "    users: [ {user: till, password: $2a$11$abcdefghijklmnopqrstuu, permissions: "
             "$PERMS}, {user: x, pass: y} ]\n"
             "    default_permissions { sub: { deny: z } } }\n  B {}\n}\n"
             "jetstream { store_dir: \"/data\", domain: site7, max_mem: 64MB, max_file: \"10G\", "
             "sync: always,"
             " limits { duplicate_window: \"2m\" } }\n"
             "leafnodes { reconnect: 2s, remotes: [ { urls: [\"nats-leaf://u:p@hub:7422\", "
             "\"tls://hub2\"], account: SHOP,"
             " deny_imports: [a, b], tls { insecure: true }, no_randomize: true } ] }\n");
    (void)state;
    assert_string_equal(o->host, "127.0.0.1");
    assert_int_equal(o->port, -1);
    assert_int_equal(o->http_port, 8222);
    assert_int_equal(o->max_connections, -1);
    assert_int_equal(o->tags.n, 2);
    assert_int_equal(o->naccounts, 2);
    assert_string_equal(o->accounts[0].name, "SHOP");
    assert_true(o->accounts[0].jetstream);
    assert_int_equal(o->accounts[0].js_max_store, 1000000000);
    assert_int_equal(o->accounts[0].js_max_memory, -1);
    assert_int_equal(o->accounts[0].max_connections, 5);
    assert_int_equal(o->accounts[0].max_leafs, -1);
    assert_int_equal(o->nusers, 2);
    const struct user_options *till = &o->users[0];
    assert_string_equal(till->account, "SHOP");
    assert_string_equal(till->password, "$2a$11$abcdefghijklmnopqrstuu");
    assert_true(slice_is(till->perms->pub_allow.at[0], "a.>"));
    assert_true(slice_is(till->perms->pub_deny.at[0], "a.x"));
    assert_true(slice_is(till->perms->sub_allow.at[0], "b w"));
    assert_true(till->perms->responses);
    assert_int_equal(till->perms->response_max, 1);
    assert_true(slice_is(o->users[1].perms->sub_deny.at[0], "z"));
    assert_true(o->plain_passwords);
    assert_string_equal(o->js.store_dir, "/data");
    assert_string_equal(o->js.domain, "site7");
    assert_int_equal(o->js.max_memory, 64 << 20);
    assert_int_equal(o->js.max_file, 10LL << 30);
    assert_true(o->js.enabled && o->js.sync_always);
    assert_int_equal(o->js.duplicate_window_ns, 120000000000LL);
    assert_int_equal(o->leaf.nremotes, 1);
    const struct remote_options *r = &o->leaf.remotes[0];
    assert_int_equal(r->urls.n, 2);
    assert_true(slice_is(r->urls.at[1], "tls://hub2"));
    assert_string_equal(r->account, "SHOP");
    assert_int_equal(r->deny_imports.n, 2);
    assert_true(r->tls->insecure);
    assert_true(r->no_randomize);
    assert_int_equal(r->first_info_timeout_ns, 1000000000LL);
    assert_int_equal(o->leaf.reconnect_ns, 2000000000LL);
    options_free(o);
}

/* --- flags --------------------------------------------------------------------------- */

static struct options_start start(const char *const *words)
{
    struct options_start st;
    char *argv[32];
    int argc = 0;
    for (; words[argc]; argc++)
        argv[argc] = xstrdup(words[argc]);
    argv[argc] = NULL;
    options_start(argc, argv, &st);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return st;
}

static void finish(struct options_start *st)
{
    options_start_release(st);
    options_free(st->options);
}

#define START(...) start((const char *const[]){__VA_ARGS__, NULL})

static void flags_override_the_file_in_every_spelling(void **state)
{
    (void)state;
    write_file("port: 1\nhost: x\ndebug: true\njetstream { store_dir: \"/a\" }\n");
    struct options_start st =
        START("nats-server", "--config=c.conf", "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-js",
              "-sd=/b", "--ports_file_dir", "/c", "-D=false", "--name", "n", "-P", "pid", "-V",
              "-T=false", "--max_traced_msg_len", "0x10", "-l", "log");
    assert_int_equal(st.exit_code, -1);
    assert_null(st.err);
    const struct options *o = st.options;
    assert_string_equal(o->host, "127.0.0.1");
    assert_int_equal(o->port, -1);
    assert_int_equal(o->http_port, -1);
    assert_true(o->js.enabled);
    assert_string_equal(o->js.store_dir, "/b");
    assert_string_equal(o->ports_file_dir, "/c");
    assert_string_equal(o->server_name, "n");
    assert_string_equal(o->pid_file, "pid");
    assert_string_equal(o->log_file, "log");
    assert_false(o->debug);
    assert_true(o->trace);
    assert_false(o->logtime);
    assert_int_equal(o->max_traced_msg_len, 16);
    finish(&st);
    st = START("./frond", "-DV", "--user", "u", "--pass", "p");
    assert_true(st.options->debug && st.options->trace);
    assert_string_equal(st.options->user, "u");
    assert_true(st.options->plain_passwords);
    assert_int_equal(st.options->port, 4222);
    finish(&st);
}

static void what_is_only_printed_ends_the_start(void **state)
{
    (void)state;
    struct options_start st = START("/usr/bin/nats-server", "-v");
    assert_int_equal(st.exit_code, 0);
    assert_string_equal(st.out, "nats-server: v2.15.2\n");
    finish(&st);
    st = START("build/frond", "version");
    assert_non_null(strstr(st.out, "nats-server: v2.15.2"));
    finish(&st);
    st = START("nats-server", "--help");
    assert_int_equal(strncmp(st.out, "\nUsage: nats-server [options]\n", 30), 0);
    finish(&st);
    st = START("nats-server", "-foo");
    assert_int_equal(st.exit_code, 0);
    assert_string_equal(st.err, "flag provided but not defined: -foo\n");
    assert_non_null(st.out);
    finish(&st);
    st = START("nats-server", "foo");
    assert_int_equal(st.exit_code, 1);
    assert_string_equal(st.err, "nats-server: unrecognized command: \"foo\"\n");
    finish(&st);
    static const struct {
        const char *a, *b, *want;
    } wrong[] = {
        {"-p", "x", "invalid value \"x\" for flag -p: parse error\n"},
        {"--port", "1.5", "invalid value \"1.5\" for flag -port: parse error\n"},
        {"-D=maybe", NULL, "invalid boolean value \"maybe\" for -D: parse error\n"},
        {"-c", NULL, "flag needs an argument: -c\n"},
        {"-log_size_limit", "99999999999999999999",
         "invalid value \"99999999999999999999\" for flag -log_size_limit: value out of range\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        st = START("nats-server", wrong[i].a, wrong[i].b);
        assert_int_equal(st.exit_code, 0);
        assert_string_equal(st.err, wrong[i].want);
        finish(&st);
    }
    st = START("nats-server", "--tlscert", "x");
    assert_int_equal(st.exit_code, 1);
    assert_string_equal(st.err, "nats-server: TLS Server private key must be present and valid\n");
    finish(&st);
    st = START("nats-server", "--signal", "ldm=/x");
    assert_string_equal(st.signal, "ldm=/x");
    finish(&st);
}

static void t_checks_the_file(void **state)
{
    (void)state;
    struct options_start st = START("nats-server", "-t");
    assert_int_equal(st.exit_code, 1);
    assert_string_equal(
        st.err,
        "nats-server: must specify [-c, --config] option to check configuration file syntax\n");
    finish(&st);
    write_file("port: 4222");
    st = START("nats-server", "-t", "-c", "c.conf");
    assert_int_equal(st.exit_code, 0);
    assert_string_equal(
        st.err, "nats-server: configuration file c.conf is valid "
                "(sha256:797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e)\n");
    finish(&st);
    write_file("ping_interval: 5");
    st = START("nats-server", "-t", "-c", "c.conf");
    assert_int_equal(st.exit_code, 1);
    finish(&st);
    st = START("nats-server", "-c", "c.conf");
    assert_int_equal(st.exit_code, -1);
    assert_non_null(st.err);
    finish(&st);
    st = START("nats-server", "-c", "nonexist");
    assert_int_equal(st.exit_code, 1);
    assert_string_equal(st.err, "nats-server: open nonexist: no such file or directory\n");
    finish(&st);
}

static void secrets_vanish_from_argv(void **state)
{
    char a[] = "frond", b[] = "--user", c[] = "bob", d[] = "-pass=secret", e[] = "-p", f[] = "42";
    char *argv[] = {a, b, c, d, e, f, NULL};
    (void)state;
    options_redact(6, argv);
    assert_string_equal(c, "***");
    assert_string_equal(d, "-pass=******");
    assert_string_equal(f, "42");
}

/* --- reload -------------------------------------------------------------------------- */

static void reload_tells_what_changes_and_refuses_what_can_not(void **state)
{
    static const struct {
        const char *now, *fresh;
        int rc;
        unsigned changes;
        const char *say;
    } rows[] = {
        {"port: 1", "port: 1", 0, 0, NULL},
        {"port: 1", "port: 1\ndebug: true", 0, 1u << RELOAD_LOG, "Reloaded: debug = true\n"},
        {"port: 1", "port: 2", E_DENIED, 1u << RELOAD_NO,
         "config reload not supported for Port: old=1, new=2"},
        {"max_pending: 67108864", "max_pending: 1MB\nmax_payload: 1KB", E_DENIED,
         1u << RELOAD_NO | 1u << RELOAD_READ, NULL},
        {"authorization { user: a, password: b }", "authorization { user: a, password: c }", 0,
         1u << RELOAD_AUTH, "Reloaded: authorization users\n"},
        {"port: 1", "port: 1\nauthorization { token: x }", 0, 1u << RELOAD_AUTH,
         "Reloaded: authorization users\n"},
        {"accounts { A { users: [{user: a}] } }", "accounts { A { users: [{user: b}] } }", 0,
         1u << RELOAD_AUTH, "Reloaded: accounts users\n"},
        {"accounts { A { users: [{user: a}] } }",
         "accounts { A { users: [{user: a}], jetstream: true } }", E_DENIED, 1u << RELOAD_NO,
         "config reload not supported for Accounts"},
        {"leafnodes { remotes: [] }", "port: 4222", E_DENIED, 1u << RELOAD_NO,
         "config reload not supported for LeafNode"},
        {"max_pending: 2MB", "max_pending: 3MB", E_DENIED, 1u << RELOAD_NO,
         "config reload not supported for MaxPending: old=2097152, new=3145728"},
        {"ping_interval: \"1m\"", "ping_interval: 2s", 0, 1u << RELOAD_READ,
         "Reloaded: ping_interval = 2s\n"},
        {"max_connections: 9", "max_connections: 0", 0, 1u << RELOAD_READ,
         "Reloaded: max_connections = -1\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options *now = good(rows[i].now), *fresh = good(rows[i].fresh);
        unsigned changes = 99;
        char *say;
        int rc = options_compare(now, fresh, &changes, &say);
        assert_int_equal(rc, rows[i].rc);
        assert_int_equal(changes, rows[i].changes);
        if (rows[i].say)
            assert_string_equal(say, rows[i].say);
        else if (rows[i].rc == 0)
            assert_null(say);
        free(say);
        options_free(now);
        options_free(fresh);
    }
}

/* docs/options.md is what the tables say; WRITE_OPTIONS_PAGE=1 writes it anew. */
static void the_page_says_what_the_tables_say(void **state)
{
    char *path = xasprintf("%s/docs/options.md", SOURCE_DIR);
    struct buf want = BUF_INIT, have = BUF_INIT;
    bool write_it = getenv("WRITE_OPTIONS_PAGE") != NULL;
    FILE *f = fopen(path, write_it ? "w" : "r");
    (void)state;
    options_document(&want);
    assert_non_null(strstr(buf_cstr(&want), "| `port` | number | 4222 |"));
    assert_non_null(f);
    if (write_it)
        assert_int_equal(fwrite(buf_cstr(&want), 1, want.len, f), want.len);
    for (int c; !write_it && (c = fgetc(f)) != EOF;)
        buf_add_char(&have, (char)c);
    assert_int_equal(fclose(f), 0);
    if (!write_it && !slice_eq(buf_slice(&want), buf_slice(&have)))
        fail_msg("docs/options.md is not what the tables say: WRITE_OPTIONS_PAGE=1 %s",
                 "server_test_options");
    buf_release(&want);
    buf_release(&have);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complaints_are_worded_as_in_the_reference),
        cmocka_unit_test(complaints_about_a_block_say_where_in_it),
        cmocka_unit_test(checks_across_options_belong_to_a_start),
        cmocka_unit_test(several_errors_are_told_at_once_warnings_first),
        cmocka_unit_test(what_comes_later_is_named_once_and_what_must_not_be_ignored_is_refused),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(a_site_reads_as_written),
        cmocka_unit_test(flags_override_the_file_in_every_spelling),
        cmocka_unit_test(what_is_only_printed_ends_the_start),
        cmocka_unit_test(t_checks_the_file),
        cmocka_unit_test(secrets_vanish_from_argv),
        cmocka_unit_test(reload_tells_what_changes_and_refuses_what_can_not),
        cmocka_unit_test(the_page_says_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
