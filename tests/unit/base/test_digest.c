/* Digests, base64, nkeys and Ed25519, with values from elsewhere.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/digest.h"
#include "base/mem.h"

static void assert_hex(const unsigned char *p, size_t n, const char *hex)
{
    char text[200];
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", p[i]);
    assert_string_equal(text, hex);
}

static void digests_have_their_known_values(void **state)
{
    (void)state;
    unsigned char out[32];
    sha256("abc", 3, out);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256(NULL, 0, out);
    assert_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha1("abc", 3, out);
    assert_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void short_hashes_are_the_reference_servers(void **state)
{
    (void)state;
    char out[33];
    short_hash(SLICE("2026-11-21T12:11:31.947255804Z"), 8, out);
    assert_string_equal(out, "NCt48FrN");
    short_hash(SLICE("$G"), 8, out);
    assert_string_equal(out, "szMpdrwD");
    short_hash(SLICE("A"), 8, out);
    assert_string_equal(out, "NUmM6cRx");
    short_hash(SLICE("A"), 32, out);
    assert_int_equal(strlen(out), 32);
}

static void base64_goes_both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *plain, *url;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"\xfb\xff\xbe", "+/++", "-_--"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[16];
        unsigned char raw[16];
        size_t n, len = strlen(rows[i].raw);
        assert_int_equal(base64_encode(rows[i].raw, len, false, text), strlen(rows[i].plain));
        assert_string_equal(text, rows[i].plain);
        assert_int_equal(base64_decode(slice_cstr(text), raw, &n), 0);
        assert_true(n == len && memcmp(raw, rows[i].raw, n) == 0);
        assert_int_equal(base64_encode(rows[i].raw, len, true, text), strlen(rows[i].url));
        assert_string_equal(text, rows[i].url);
        assert_int_equal(base64_decode(slice_cstr(text), raw, &n), 0);
        assert_true(n == len && memcmp(raw, rows[i].raw, n) == 0);
    }
    static const char *const bad[] = {"A", "Zg=", "Zg===", "=", "====", "Z=g=", "Zm 8", "Zm9vY"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        unsigned char raw[16];
        size_t n;
        if (base64_decode(slice_cstr(bad[i]), raw, &n) != E_SYNTAX)
            fail_msg("%s was read", bad[i]);
    }
}

/* Made by the nkeys library; the signature is over "hello". */
static const struct {
    enum nkey_kind kind;
    const char *seed, *pub, *sig;
} keys[] = {
    {NKEY_USER, "SUABM76AR3E5TYON4B7SGAFZB6STDOBMNJI5Y65APAPIRJWRCM4U6UFTHM",
     "UDOOVLISKQAKHMK6ES6NGF7T3Q2L2KJVO4VHCFXY3SITI5LTRH3EVS3I",
     "2c8a4e8cac661357e572695f0b531220394fb709eb04f57b743da2a80b618a44"
     "7e99ecf72ca7dcb68b17961a18ba2a0192fdf89fe1f9b832ff2ece167b329f01"},
    {NKEY_ACCOUNT, "SAAFVMF33XTAY2PT6JMNJVAVHOQNIFJ3ZLAQWBTIYE7KXF3BCRJQGEJHOQ",
     "ADLBWZ2USEZZPL5OU42WWT2P2W5ZUQ7ZADPYEBCL4FJOOFVCBDTFZNTY",
     "ccc2c339d190e152cfa098aae47e6ba702b4d079ac3694628db93fc7f2dc36be"
     "d723935c63100164acc5f4b970ad2ff28a409ae648a0a6c310a71096297b4702"},
    {NKEY_SERVER, "SNAP3CYJH6DY7L5WU2WT36DLMCXXGU6TU4H55MGO7ETOEUNIRUAIJOVW2E",
     "NA75CZPMEIY2DIA2D5SOHMIXB3JWLJGJOI53FR5FCW7KDIK66NDENT2K",
     "d9bd9a6fa004f918115d23750bae774d2dc34ed53dc4f9a2778e9c805e2d6989"
     "68d9311707d2354ea96b6905e9f23959daa4a84cc19e7de1164e38dc429f5f08"},
    {NKEY_OPERATOR, "SOAMF36BL2DSGQE25F7AX62SIHOVC6SSVKC7LL34XJLO3J75T34OC765MA",
     "OA2MW4TGL66HLHSAMBCHSQ5JGOGKQ4UW6BHJ4ZFRHDU4BFDMLWMPJRXU",
     "3490eb2d3c8f0dad64411b81070d44c7db344dd0d39d0b30d8646a115b72315f"
     "ccf3afba5abc82eafdb3825c4f6ed5ac1505f2e597b5b9f81f656049e25e220d"},
};

static void nkeys_are_read_written_and_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        unsigned char seed[32], pub[32], derived[32], sig[64];
        enum nkey_kind kind;
        char text[57];
        assert_int_equal(nkey_seed_decode(slice_cstr(keys[i].seed), seed, &kind), 0);
        assert_int_equal(kind, keys[i].kind);
        assert_int_equal(nkey_public_decode(slice_cstr(keys[i].pub), pub, &kind), 0);
        assert_int_equal(kind, keys[i].kind);
        assert_int_equal(ed25519_public(seed, derived), 0);
        assert_memory_equal(pub, derived, 32);
        nkey_public_encode(kind, pub, text);
        assert_string_equal(text, keys[i].pub);
        assert_int_equal(ed25519_sign(seed, SLICE("hello"), sig), 0);
        assert_hex(sig, 64, keys[i].sig);
        assert_true(ed25519_verify(pub, SLICE("hello"), sig));
        assert_false(ed25519_verify(pub, SLICE("hullo"), sig));
        sig[63] ^= 1;
        assert_false(ed25519_verify(pub, SLICE("hello"), sig));
    }
}

static void a_mistyped_nkey_is_refused(void **state)
{
    (void)state;
    unsigned char raw[32];
    enum nkey_kind kind;
    for (size_t i = 0; i < 58; i++) {
        char text[59];
        memcpy(text, keys[0].seed, 59);
        text[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_equal(nkey_seed_decode(slice_cstr(text), raw, &kind), E_SYNTAX);
        text[i] = '!';
        assert_int_equal(nkey_seed_decode(slice_cstr(text), raw, &kind), E_SYNTAX);
    }
    assert_int_equal(nkey_seed_decode(slice_cstr(keys[0].pub), raw, &kind), E_SYNTAX);
    assert_int_equal(nkey_public_decode(slice_cstr(keys[0].seed), raw, &kind), E_SYNTAX);
    assert_int_equal(nkey_public_decode(slice_head(slice_cstr(keys[0].pub), 55), raw, &kind),
                     E_SYNTAX);
    assert_int_equal(nkey_public_decode((struct slice){NULL, 0}, raw, &kind), E_SYNTAX);
}

static void secrets_are_compared(void **state)
{
    (void)state;
    assert_true(secret_eq(SLICE("abc"), SLICE("abc")));
    assert_false(secret_eq(SLICE("abc"), SLICE("abd")));
    assert_false(secret_eq(SLICE("abc"), SLICE("ab")));
    assert_true(secret_eq(SLICE(""), (struct slice){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_have_their_known_values),
        cmocka_unit_test(short_hashes_are_the_reference_servers),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(nkeys_are_read_written_and_used),
        cmocka_unit_test(a_mistyped_nkey_is_refused),
        cmocka_unit_test(secrets_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
