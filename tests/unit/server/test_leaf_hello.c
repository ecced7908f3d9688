/* The handshake's words: a hub's INFO in every odd shape, our CONNECT with every kind of
 * credential.
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

#include "base/digest.h"
#include "base/mem.h"
#include "server/leaf_hello.h"
#include "server/leaf_urls.h"

/* Bytes 0 … 31 as a user's seed, and what the genuine library makes of them. */
#define SEED   "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"
#define PUBLIC "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
#define NONCE  "VgGqaAwyJBdF-h8"
#define JWT    "eyJ0eXAiOiJKV1QifQ.eyJqdGkiOiJBIn0.c2ln-X_8"

/* --- INFO --------------------------------------------------------------------------------------
 */

static void a_greeting_of_a_genuine_hub(void **state)
{
    (void)state;
    struct leaf_info info;
    struct slice urls[8];
    assert_int_equal(
        leaf_info_parse(
            SLICE("{\"server_id\":\"NDSE\",\"server_name\":\"hub\",\"version\":\"2.15.2\","
                  "\"proto\":3,"
                  "\"go\":\"go1.26\",\"host\":\"0.0.0.0\",\"port\":7422,\"headers\":true,"
                  "\"auth_required\":true,\"tls_required\":true,\"tls_verify\":true,\"max_"
                  "payload\":1048576,"
                  "\"jetstream\":true,\"ip\":\"10.0.0.1:7422\",\"client_id\":7,\"nonce\":\"" NONCE
                  "\","
                  "\"cluster\":\"HC\",\"domain\":\"hub\",\"compression\":\"s2_auto\",\"api_lvl\":5,"
                  "\"info_on_connect\":true,\"leafnode_urls\":[\"10.0.0.1:7422\",7,\"10.0.0.2:"
                  "7422\"]} "),
            &info),
        E_OK);
    assert_true(slice_is(info.server_name, "hub"));
    assert_true(slice_is(info.server_id, "NDSE"));
    assert_true(slice_is(info.nonce, NONCE));
    assert_true(slice_is(info.cluster, "HC"));
    assert_true(slice_is(info.domain, "hub"));
    assert_int_equal(info.client_id, 7);
    assert_int_equal(info.max_payload, 1048576);
    assert_true(info.headers && info.tls_required && info.tls_verify && info.jetstream &&
                info.info_on_connect && info.has_compression && info.has_urls && info.has_cluster);
    assert_false(info.connect_info || info.acc_is_sys);
    assert_null(info.import);
    assert_int_equal(leaf_info_urls(&info, urls, 8), 2);
    assert_true(slice_is(urls[1], "10.0.0.2:7422"));
    assert_int_equal(leaf_info_urls(&info, urls, 1), 1);
    leaf_info_release(&info);
}

static void the_answer_to_connect_with_permissions(void **state)
{
    (void)state;
    struct leaf_info info;
    assert_int_equal(
        leaf_info_parse(SLICE("{\"connect_info\":true,\"remote_account\":\"B\",\"acc_is_sys\":true,"
                              "\"import\":{\"allow\":[\"sub.\\u003e\"],\"deny\":[\"sub.no\"]},"
                              "\"export\":{\"allow\":[\"pub.\\u003e\"]}}"),
                        &info),
        E_OK);
    assert_true(info.connect_info && info.acc_is_sys);
    assert_true(slice_is(info.remote_account, "B"));
    assert_string_equal(json_string_value(json_array_get(json_key(info.import, "allow"), 0)),
                        "sub.>");
    assert_non_null(info.export);
    leaf_info_release(&info);
}

static void what_is_not_there_is_empty(void **state)
{
    (void)state;
    struct leaf_info info;
    struct slice urls[1];
    assert_int_equal(leaf_info_parse(SLICE("{\"server_id\":\"N1\"}"), &info), E_OK);
    assert_true(slice_is(info.server_name, "N1")); /* stands in for the name */
    assert_int_equal(info.client_id, 0);
    assert_false(info.has_urls || info.info_on_connect || info.has_compression || info.headers);
    assert_int_equal(leaf_info_urls(&info, urls, 1), 0);
    leaf_info_release(&info);
}

static void members_of_the_wrong_kind_count_as_absent(void **state)
{
    (void)state;
    struct leaf_info info;
    struct slice urls[1];
    assert_int_equal(
        leaf_info_parse(
            SLICE("{\"client_id\":\"7\",\"leafnode_urls\":\"x\",\"import\":[],\"export\":3,"
                  "\"headers\":1,\"nonce\":null,\"max_payload\":\"big\",\"domain\":{}}"),
            &info),
        E_OK);
    assert_int_equal(info.client_id, 0);
    assert_int_equal(info.max_payload, 0);
    assert_false(info.has_urls || info.headers);
    assert_null(info.import);
    assert_null(info.export);
    assert_int_equal(info.nonce.n + info.domain.n, 0);
    assert_int_equal(leaf_info_urls(&info, urls, 1), 0);
    leaf_info_release(&info);
    assert_int_equal(
        leaf_info_parse(SLICE("{\"client_id\":-1,\"leafnode_urls\":null,\"info_on_connect\":true}"),
                        &info),
        E_OK);
    assert_int_equal(info.client_id, 0);
    assert_false(info.has_urls);
    leaf_info_release(&info);
}

static void what_is_no_object_is_refused(void **state)
{
    (void)state;
    const char *texts[] = {"", "nonsense", "[]", "7", "null", "{\"a\":", "{} {}", "\"x\""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct leaf_info info;
        if (leaf_info_parse(slice_cstr(texts[i]), &info) == E_OK)
            fail_msg("accepted: %s", texts[i]);
        assert_null(info.doc);
        leaf_info_release(&info);
    }
}

/* --- CONNECT -----------------------------------------------------------------------------------
 */

static struct buf line;

static json_t *connect_object(const struct leaf_hello *h)
{
    char *why = NULL;
    json_t *doc;
    buf_clear(&line);
    if (leaf_hello_write(h, &line, &why))
        fail_msg("%s", why);
    assert_null(why);
    struct slice s = buf_slice(&line);
    assert_true(slice_starts(s, SLICE("CONNECT {")));
    assert_true(slice_ends(s, SLICE("}\r\n")));
    assert_int_equal(json_read(slice_head(slice_skip(s, 8), s.n - 10), &doc, NULL), E_OK);
    return doc;
}

static void connect_is(const struct leaf_hello *h, const char *text)
{
    json_t *doc = connect_object(h), *wanted;
    assert_int_equal(json_read(slice_cstr(text), &wanted, NULL), E_OK);
    if (!json_equal(doc, wanted))
        fail_msg("%s", buf_cstr(&line));
    json_free(doc);
    json_free(wanted);
}

static void the_least_we_say(void **state)
{
    (void)state;
    struct leaf_hello h = {.version = SLICE("2.15.2"),
                           .server_id = SLICE("NA"),
                           .name = SLICE("site"),
                           .remote_account = SLICE("$G")};
    connect_is(&h, "{\"version\":\"2.15.2\",\"server_id\":\"NA\",\"name\":\"site\","
                   "\"compress_mode\":\"not supported\",\"remote_account\":\"$G\"}");
}

static void the_most_we_say(void **state)
{
    (void)state;
    const struct slice deny[] = {SLICE_INIT("imp.no"), SLICE_INIT("impw.>")};
    struct leaf_url url = {.user = (char[]){"u"}, .password = (char[]){"p\"<"}};
    struct leaf_hello h = {
        .version = SLICE("2.15.2"),
        .server_id = SLICE("NA"),
        .name = SLICE("edge1"),
        .cluster = SLICE("edge1"),
        .domain = SLICE("leaf"),
        .remote_account = SLICE("A"),
        .nonce = SLICE(NONCE),
        .headers = true,
        .jetstream = true,
        .is_hub = true,
        .isolate = true,
        .compression_known = true,
        .deny_pub = deny,
        .ndeny_pub = 2,
        .credentials = &url,
    };
    connect_is(
        &h,
        "{\"version\":\"2.15.2\",\"server_id\":\"NA\",\"domain\":\"leaf\",\"name\":\"edge1\","
        "\"cluster\":\"edge1\",\"headers\":true,\"jetstream\":true,\"is_hub\":true,\"isolate\":"
        "true,"
        "\"deny_pub\":[\"imp.no\",\"impw.>\"],\"compress_mode\":\"off\",\"remote_account\":\"A\","
        "\"user\":\"u\",\"pass\":\"p\\\"<\"}");
}

static void a_user_without_a_password_is_a_token(void **state)
{
    (void)state;
    struct leaf_url url = {.user = (char[]){"s3cr3t"}};
    struct leaf_hello h = {.credentials = &url};
    json_t *doc = connect_object(&h);
    assert_true(slice_is(json_get_str(doc, "user"), "s3cr3t"));
    assert_true(slice_is(json_get_str(doc, "auth_token"), "s3cr3t"));
    assert_null(json_key(doc, "pass"));
    json_free(doc);
}

static void check_signature(json_t *doc)
{
    unsigned char sig[96], seed[32], pub[32];
    enum nkey_kind kind;
    size_t n = 0;
    struct slice text = json_get_str(doc, "sig");
    assert_int_equal(text.n, 86); /* unpadded */
    assert_int_equal(base64_decode(text, sig, &n), E_OK);
    assert_int_equal(n, 64);
    assert_int_equal(nkey_seed_decode(SLICE(SEED), seed, &kind), E_OK);
    assert_int_equal(ed25519_public(seed, pub), E_OK);
    assert_true(ed25519_verify(pub, SLICE(NONCE), sig));
}

static void an_nkey_signs_the_nonce(void **state)
{
    (void)state;
    struct leaf_hello h = {.nonce = SLICE(NONCE), .nkey_seed = SEED "\n"};
    json_t *doc = connect_object(&h);
    assert_true(slice_is(json_get_str(doc, "nkey"), PUBLIC));
    assert_null(json_key(doc, "jwt"));
    check_signature(doc);
    json_free(doc);
    char *why = NULL;
    h.nkey_seed = PUBLIC;
    buf_clear(&line);
    assert_int_not_equal(leaf_hello_write(&h, &line, &why), E_OK);
    assert_non_null(why);
    free(why);
}

/* --- credentials files --------------------------------------------------------------------------
 */

static char path[64];

static void write_file(struct slice text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    assert_int_equal(fclose(f), 0);
}

#define JWT_BLOCK(eol)                                                                             \
    "-----BEGIN NATS USER JWT-----" eol JWT eol "------END NATS USER JWT------" eol
#define SEED_BLOCK(eol)                                                                            \
    "-----BEGIN USER NKEY SEED-----" eol SEED eol "------END USER NKEY SEED------"
#define NOTICE(eol)                                                                                \
    eol "************************* IMPORTANT *************************" eol                        \
        "NKEY Seed is secret." eol eol

static const char *const good[] = {
    JWT_BLOCK("\n") NOTICE("\n") SEED_BLOCK("\n") "\n\n*****\n",
    JWT_BLOCK("\r\n") NOTICE("\r\n") SEED_BLOCK("\r\n") "\r\n",
    JWT_BLOCK("\n") SEED_BLOCK("\n"), /* nothing between, no end of line */
    "---x---\n" JWT "\n---\n---\n" SEED "\n---",
    "\n\n  \n" JWT_BLOCK("\n") "\n\n" SEED_BLOCK("\n"),
    "-----BEGIN NATS USER JWT-----\n\n  " JWT
    "  \n\n------END NATS USER JWT------\n" SEED_BLOCK("\n"),
};

static void every_good_creds_file_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct leaf_hello h = {.nonce = SLICE(NONCE), .creds_file = path};
        write_file(slice_cstr(good[i]));
        json_t *doc = connect_object(&h);
        if (!slice_is(json_get_str(doc, "jwt"), JWT))
            fail_msg("file %zu: %s", i, buf_cstr(&line));
        assert_null(json_key(doc, "nkey"));
        check_signature(doc);
        json_free(doc);
    }
}

static const char *const bad[] = {
    "",
    "no dashes at all\n",
    JWT_BLOCK("\n"),
    SEED_BLOCK("\n"),
    JWT_BLOCK("\n") "-----BEGIN USER NKEY SEED-----\n------END USER NKEY SEED------\n",
    JWT_BLOCK(
        "\n") "-----BEGIN USER NKEY SEED-----\nSUAAAAICAMCA\n------END USER NKEY SEED------\n",
    "-----BEGIN NATS USER JWT-----\n",
};

static void a_bad_creds_file_is_told_by_name(void **state)
{
    (void)state;
    struct leaf_hello h = {.nonce = SLICE(NONCE), .creds_file = path};
    char *why = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file(slice_cstr(bad[i]));
        buf_clear(&line);
        if (leaf_hello_write(&h, &line, &why) == E_OK)
            fail_msg("file %zu was taken", i);
        assert_non_null(strstr(why, path));
        free(why);
    }
    char *huge = xcalloc(1, 70000);
    memset(huge, 'x', 70000);
    write_file(slice_of(huge, 70000));
    free(huge);
    assert_int_not_equal(leaf_hello_write(&h, &line, &why), E_OK);
    free(why);
    h.creds_file = "/nowhere/at/all.creds";
    assert_int_not_equal(leaf_hello_write(&h, &line, &why), E_OK);
    assert_non_null(strstr(why, "/nowhere/at/all.creds"));
    free(why);
}

/* A rotated file is picked up, and user info goes along with it (auth call-out reads that). */
static void creds_and_user_info_are_both_sent(void **state)
{
    (void)state;
    struct leaf_url url = {.user = (char[]){"u"}, .password = (char[]){"p"}};
    struct leaf_hello h = {.nonce = SLICE(NONCE), .creds_file = path, .credentials = &url};
    write_file(slice_cstr(good[0]));
    json_t *doc = connect_object(&h);
    assert_true(slice_is(json_get_str(doc, "user"), "u"));
    assert_true(slice_is(json_get_str(doc, "jwt"), JWT));
    json_free(doc);
}

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/frond-creds-%d", (int)getpid());
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    buf_release(&line);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_of_a_genuine_hub),
        cmocka_unit_test(the_answer_to_connect_with_permissions),
        cmocka_unit_test(what_is_not_there_is_empty),
        cmocka_unit_test(members_of_the_wrong_kind_count_as_absent),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(the_least_we_say),
        cmocka_unit_test(the_most_we_say),
        cmocka_unit_test(a_user_without_a_password_is_a_token),
        cmocka_unit_test(an_nkey_signs_the_nonce),
        cmocka_unit_test(every_good_creds_file_is_read),
        cmocka_unit_test(a_bad_creds_file_is_told_by_name),
        cmocka_unit_test(creds_and_user_info_are_both_sent),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
