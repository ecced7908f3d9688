/* base/digest.c -- digests, signatures, base64, nkeys; see digest.h
 *
 * The only room that includes libcrypto for anything but TLS.
 *
 *     public key   | prefix, 1 byte        | 32 bytes | CRC-16 |   35 bytes, base32: 56 characters
 *     seed         | 'S' and kind, 2 bytes | 32 bytes | CRC-16 |   36 bytes, base32: 58 characters
 *
 * The prefix is chosen so that the first character of the base32 text is the kind: (letter - 'A')
 * << 3. In a seed those five bits are pushed behind the five bits of 'S'.
 *
 * libcrypto and libssl allocate through mem.h, from before main() on: hardly a caller can tell
 * their "no memory" from a bad key or a bad signature.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/mem.h"

static void *ssl_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n ? xmalloc(n) : NULL;
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    if (n)
        return xrealloc(p, n);
    free(p);
    return NULL;
}

static void ssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

__attribute__((constructor)) static void take_memory(void)
{
    ASSERT(CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free));
}

void sha256(const void *p, size_t n, unsigned char out[32])
{
    ASSERT(SHA256(n ? p : (const void *)"", n, out));
}

void sha1(const void *p, size_t n, unsigned char out[20])
{
    ASSERT(SHA1(n ? p : (const void *)"", n, out));
}

void short_hash(struct slice text, size_t len, char *out)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned char sum[32];
    ASSERT(len <= sizeof sum);
    sha256(text.p, text.n, sum);
    for (size_t i = 0; i < len; i++)
        out[i] = digits[sum[i] % 62];
    out[len] = '\0';
}

void random_bytes(void *p, size_t n)
{
    unsigned char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            ASSERT(errno == EINTR);
            continue;
        }
        at += got;
        n -= (size_t)got;
    }
}

bool secret_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

/* --- base64 ---------------------------------------------------------------------------------- */

static const char plain64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t base64_encode(const void *p, size_t n, bool url, char *out)
{
    const unsigned char *in = p;
    const char *alphabet = url ? url64 : plain64;
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16;
        if (have > 1)
            bits |= (uint32_t)in[i + 1] << 8;
        if (have > 2)
            bits |= in[i + 2];
        for (size_t k = 0; k <= have; k++)
            out[at++] = alphabet[bits >> (18 - 6 * k) & 63];
        for (size_t k = have; k < 3 && !url; k++)
            out[at++] = '=';
    }
    out[at] = '\0';
    return at;
}

static int value64(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

int base64_decode(struct slice text, unsigned char *out, size_t *out_n)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;
    if (text.n && text.n % 4 == 0)
        for (int pad = 0; pad < 2 && text.p[text.n - 1] == '='; pad++)
            text.n--;
    if (text.n % 4 == 1)
        return E_SYNTAX;
    for (size_t i = 0; i < text.n; i++) {
        int v = value64(text.p[i]);
        if (v < 0)
            return E_SYNTAX;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[at++] = (unsigned char)(bits >> have);
        }
    }
    *out_n = at;
    return 0;
}

/* --- nkeys ----------------------------------------------------------------------------------- */

#define PUBLIC_RAW  35
#define PUBLIC_TEXT 56
#define SEED_RAW    36
#define SEED_TEXT   58

static const char alphabet32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* CRC-16/XMODEM: polynomial 0x1021, start 0. */
static unsigned crc16(const unsigned char *p, size_t n)
{
    unsigned crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned)p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
        crc &= 0xffff;
    }
    return crc;
}

/* The whole of text gives exactly raw_n bytes whose last two are the CRC of the others. */
static int decode32(struct slice text, unsigned char *raw, size_t raw_n)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *c = text.p[i] ? strchr(alphabet32, text.p[i]) : NULL;
        if (!c)
            return E_SYNTAX;
        bits = bits << 5 | (uint32_t)(c - alphabet32);
        have += 5;
        if (have >= 8) {
            have -= 8;
            if (at == raw_n)
                return E_SYNTAX;
            raw[at++] = (unsigned char)(bits >> have);
        }
    }
    if (at != raw_n)
        return E_SYNTAX;
    unsigned crc = crc16(raw, raw_n - 2);
    return raw[raw_n - 2] == (crc & 0xff) && raw[raw_n - 1] == crc >> 8 ? 0 : E_SYNTAX;
}

static void encode32(const unsigned char *raw, size_t n, char *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | raw[i];
        have += 8;
        for (; have >= 5; have -= 5)
            *out++ = alphabet32[bits >> (have - 5) & 31];
    }
    if (have)
        *out++ = alphabet32[bits << (5 - have) & 31];
    *out = '\0';
}

static bool kind_of(unsigned prefix, enum nkey_kind *kind)
{
    char letter = alphabet32[prefix >> 3 & 31];
    if ((prefix & 7) || !strchr("UANO", letter))
        return false;
    *kind = (enum nkey_kind)letter;
    return true;
}

int nkey_seed_decode(struct slice text, unsigned char seed[32], enum nkey_kind *kind)
{
    unsigned char raw[SEED_RAW];
    int err = text.n == SEED_TEXT ? decode32(text, raw, sizeof raw) : E_SYNTAX;
    if (!err) {
        unsigned head = raw[0] & 0xf8, prefix = (raw[0] & 7u) << 5 | (raw[1] & 0xf8u) >> 3;
        if (head != ('S' - 'A') << 3 || !kind_of(prefix, kind))
            err = E_SYNTAX;
        else
            memcpy(seed, raw + 2, 32);
    }
    OPENSSL_cleanse(raw, sizeof raw);
    return err;
}

int nkey_public_decode(struct slice text, unsigned char pub[32], enum nkey_kind *kind)
{
    unsigned char raw[PUBLIC_RAW];
    if (text.n != PUBLIC_TEXT || decode32(text, raw, sizeof raw) || !kind_of(raw[0], kind))
        return E_SYNTAX;
    memcpy(pub, raw + 1, 32);
    return 0;
}

void nkey_public_encode(enum nkey_kind kind, const unsigned char pub[32], char out[57])
{
    unsigned char raw[PUBLIC_RAW];
    raw[0] = (unsigned char)((kind - 'A') << 3);
    memcpy(raw + 1, pub, 32);
    unsigned crc = crc16(raw, 33);
    raw[33] = (unsigned char)crc;
    raw[34] = (unsigned char)(crc >> 8);
    encode32(raw, sizeof raw, out);
}

/* --- Ed25519 --------------------------------------------------------------------------------- */

int ed25519_public(const unsigned char seed[32], unsigned char pub[32])
{
    size_t n = 32;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    int err = key && EVP_PKEY_get_raw_public_key(key, pub, &n) == 1 && n == 32 ? 0 : E_INVAL;
    EVP_PKEY_free(key);
    return err;
}

int ed25519_sign(const unsigned char seed[32], struct slice text, unsigned char sig[64])
{
    size_t n = 64;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const unsigned char *p = (const unsigned char *)(text.n ? text.p : "");
    bool ok = key && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(ctx, sig, &n, p, text.n) == 1 && n == 64;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok ? 0 : E_INVAL;
}

bool ed25519_verify(const unsigned char pub[32], struct slice text, const unsigned char sig[64])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const unsigned char *p = (const unsigned char *)(text.n ? text.p : "");
    bool ok = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(ctx, sig, 64, p, text.n) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok;
}
