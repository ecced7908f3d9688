/* tests/unit/server/certs.h -- certificates for an hour, made on the spot
 *
 *     struct authority ca;
 *     authority_make(&ca, dir, "ca");                                      → dir/ca.pem
 *     certificate_make(&ca, dir, "server", "DNS:localhost,IP:127.0.0.1");  → dir/server.{pem,key}
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CERTS_H
#define TESTS_CERTS_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/mem.h"

struct authority {
    EVP_PKEY *key;
    X509 *cert;
};

static void pem_write(const char *dir, const char *name, const char *ext, X509 *cert, EVP_PKEY *key)
{
    char *path = xasprintf("%s/%s.%s", dir, name, ext);
    FILE *f = fopen(path, "w");
    ASSERT(f);
    if (cert)
        ASSERT(PEM_write_X509(f, cert));
    else
        ASSERT(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    fclose(f);
    free(path);
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ASSERT(e && X509_add_ext(cert, e, -1));
    X509_EXTENSION_free(e);
}

static X509 *certificate_new(const char *name, EVP_PKEY *key, X509 *issuer, const char *alt)
{
    static long serial = 1;
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
    extend(cert, issuer ? issuer : cert, NID_basic_constraints,
           issuer ? "CA:FALSE" : "critical,CA:TRUE");
    if (alt)
        extend(cert, issuer, NID_subject_alt_name, alt);
    return cert;
}

static void authority_make(struct authority *ca, const char *dir, const char *name)
{
    ca->key = EVP_EC_gen("P-256");
    ca->cert = certificate_new(name, ca->key, NULL, NULL);
    ASSERT(X509_sign(ca->cert, ca->key, EVP_sha256()));
    pem_write(dir, name, "pem", ca->cert, NULL);
}

static void authority_free(struct authority *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
}

static void certificate_make(const struct authority *ca, const char *dir, const char *name,
                             const char *alt)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = certificate_new(name, key, ca->cert, alt);
    ASSERT(X509_sign(cert, ca->key, EVP_sha256()));
    pem_write(dir, name, "pem", cert, NULL);
    pem_write(dir, name, "key", NULL, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

#endif
