/* base/digest.h -- digests, signatures, base64, nkeys (libcrypto)
 *
 * Formats: nkeys as github.com/nats-io/nkeys spells them: base32 of prefix byte(s) + 32 bytes +
 * CRC-16.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/err.h"
#include "base/slice.h"

void sha256(const void *p, size_t n, unsigned char out[32]);
void sha1(const void *p, size_t n, unsigned char out[20]); /* WebSocket's accept key */
/* The reference server's short hash: sha256 of the text, first `len` (<= 32) bytes, each mod 62
 * into 0-9A-Za-z. out gets len bytes and a NUL. */
void short_hash(struct slice text, size_t len, char *out);
/* Fills with random bytes from the kernel or libcrypto; dies when there are none. */
void random_bytes(void *p, size_t n);
/* Time that does not depend on where the first difference is. */
bool secret_eq(struct slice a, struct slice b);

/* base64, url: '-' '_' without padding. out must have room for 4*((n+2)/3)+1; returns the length.
 */
size_t base64_encode(const void *p, size_t n, bool url, char *out);
/* Accepts both alphabets, padded or not. out: n bytes are enough. E_SYNTAX. */
int base64_decode(struct slice text, unsigned char *out, size_t *out_n) MUST_CHECK;

enum nkey_kind { NKEY_USER = 'U', NKEY_ACCOUNT = 'A', NKEY_SERVER = 'N', NKEY_OPERATOR = 'O' };

/* "SU…", 58 characters -> 32 bytes of seed and the kind. E_SYNTAX. */
int nkey_seed_decode(struct slice text, unsigned char seed[32], enum nkey_kind *kind) MUST_CHECK;
/* "U…", 56 characters -> 32 bytes of public key. */
int nkey_public_decode(struct slice text, unsigned char pub[32], enum nkey_kind *kind) MUST_CHECK;
/* 32 bytes -> 56 characters and a NUL. */
void nkey_public_encode(enum nkey_kind kind, const unsigned char pub[32], char out[57]);
int ed25519_public(const unsigned char seed[32], unsigned char pub[32]) MUST_CHECK;
int ed25519_sign(const unsigned char seed[32], struct slice text, unsigned char sig[64]) MUST_CHECK;
bool ed25519_verify(const unsigned char pub[32], struct slice text, const unsigned char sig[64]);

#endif
