/* server/tls.h -- contexts made from options, and sessions for conn
 *
 * A context holds certificate, key, roots and choices of one place in the configuration (clients,
 * leaf listener, a remote). It is counted: a session keeps the one it began with, so
 * tls_context_reload() touches nobody who is connected. Files are read by tls_context_new() and
 * tls_context_reload() only.
 *
 *     struct tls_config cfg = {.server = true, .cert_file = …, .key_file = …};
 *     if (tls_context_new(&cfg, &ctx, &why) != 0) { log_error("%s", why); free(why); }
 *     conn_start_tls(c, ctx, true, NULL);  →  CONN_TLS_READY or CONN_GONE
 *
 * Sessions (tls_open …) are conn's business alone. Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include <sys/types.h>

#include "base/err.h"
#include "base/slice.h"

struct tls_context;

struct tls_config {
    bool server;           /* we accept; else we dial */
    const char *cert_file; /* PEM, chain allowed; NULL on the client side: none */
    const char *key_file;
    const char *ca_file; /* PEM; NULL: the system's roots (client side) */
    bool verify;         /* server: the client must show a certificate of ca_file */
    bool insecure;       /* client: any certificate of the server will do */
    int min_version;     /* 0x0303 (TLS 1.2), 0x0304; 0: 1.2 */
    const char *const
        *ciphers; /* NULL-ended, names as IANA and Go write them; NULL: the library's choice */
    const char *const
        *curves; /* NULL-ended: "X25519", "CurveP256" … as Go writes them; NULL: default */
};

/* Copies cfg. E_IO, E_INVAL with an owned text in *why. */
int tls_context_new(const struct tls_config *cfg, struct tls_context **out, char **why) MUST_CHECK;
struct tls_context *tls_context_ref(struct tls_context *ctx);
void tls_context_unref(struct tls_context *ctx); /* NULL is fine */
/* Reads the files again. On failure everything stays as it was. */
int tls_context_reload(struct tls_context *ctx, char **why) MUST_CHECK;
/* End of the certificate's life, wall ns; 0 without a certificate. */
int64_t tls_context_not_after(const struct tls_context *ctx);
/* Names for the options' check: is this cipher suite (curve) known? */
bool tls_cipher_known(const char *name);
bool tls_curve_known(const char *name);

/* --- sessions: only for conn ------------------------------------------------------------------ */

struct tls;
/* early: bytes that were read already and belong to the handshake; copied. name: SNI and what the
 * certificate must say (client side, a host name or an address; NULL: neither). */
int tls_open(struct tls_context *ctx, int fd, bool server, const char *name, struct slice early,
             struct tls **out) MUST_CHECK;
/* Frees; with notify it says good-bye to the peer first, if the socket takes it at once. */
void tls_close(struct tls *t, bool notify);
/* Each: 0 or a count; E_AGAIN (tls_wants_write() says for what); E_CLOSED; E_IO with tls_error().
 * tls_read gives 0 at the end. */
int tls_handshake(struct tls *t) MUST_CHECK;
ssize_t tls_read(struct tls *t, void *p, size_t n) MUST_CHECK;
ssize_t tls_write(struct tls *t, const void *p, size_t n) MUST_CHECK;
bool tls_wants_write(const struct tls *t);
/* Bytes are here that no event of the socket will tell of. */
bool tls_has_pending(const struct tls *t);
/* Bytes on the wire. */
uint64_t tls_raw_in(const struct tls *t);
const char *tls_error(const struct tls *t);   /* borrowed */
const char *tls_version(const struct tls *t); /* "1.3"; static */
const char *tls_cipher(const struct tls *t);  /* "TLS_AES_128_GCM_SHA256"; static */
/* The peer's certificate, DER, if it was verified; borrowed. */
struct slice tls_peer_cert(const struct tls *t);
/* What pinned_certs lists: SHA-256 of the public key of a certificate (DER), 64 hex digits. False:
 * it is no certificate. */
bool tls_key_id(struct slice cert, char out[65]);

#endif
