/* server/tls.c -- OpenSSL, and nobody else knows it
 *
 * A context is an SSL_CTX built from a remembered configuration; reload builds a second one and
 * swaps. A session is an SSL over a small BIO of our own: it hands out first what was read before
 * TLS began, then reads and writes the socket (MSG_NOSIGNAL) and counts. Nothing blocks: E_AGAIN
 * says what to wait for.
 *
 * Choices: TLS 1.2 at least, no renegotiation, no tickets and no session cache (a reconnect shakes
 * hands again), buffers given back while idle, partial writes from moving memory, no compression.
 *
 * Failure: OpenSSL's words in t->error; for certificates the verifier's words, which say more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"

struct tls_context {
    unsigned refs;
    SSL_CTX *ssl;             /* counted by its sessions as well */
    int64_t not_after;        /* wall ns; 0: no certificate */
    struct tls_config cfg;    /* pointers are to our copies */
    char *cert, *key, *ca;    /* owned */
    char **ciphers, **curves; /* owned, NULL-ended; or NULL */
};

struct tls {
    SSL *ssl;
    struct buf early;     /* what was read before TLS began */
    int fd;               /* conn's */
    uint64_t raw_in;      /* bytes read from the socket */
    bool wants_write;     /* of the last E_AGAIN */
    bool eof;             /* the peer sent FIN */
    bool broken;          /* a fatal error: no good-bye */
    struct buf peer_cert; /* DER */
    char error[160];
};

/* --- the names of Go -------------------------------------------------------------------------- */

/* TLS 1.3's suites are not for choosing, neither in Go nor here, but may be named. */
static const char *const suites13[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                       "TLS_CHACHA20_POLY1305_SHA256"};
static const struct {
    const char *go, *openssl;
} curve_names[] = {
    {"CurveP256", "P-256"}, {"CurveP384", "P-384"}, {"CurveP521", "P-521"}, {"X25519", "X25519"}};

static const char *curve_of(const char *go)
{
    for (size_t i = 0; i < ARRAY_LEN(curve_names); i++)
        if (strcmp(go, curve_names[i].go) == 0)
            return curve_names[i].openssl;
    return NULL;
}

bool tls_curve_known(const char *name)
{
    return curve_of(name) != NULL;
}

static bool is_suite13(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(suites13); i++)
        if (strcmp(name, suites13[i]) == 0)
            return true;
    return false;
}

/* Go ends the two ChaCha suites with _SHA256, or not: both are accepted. */
static bool same_suite(const char *name, const char *standard)
{
    size_t n = strlen(name);
    return strcmp(name, standard) == 0 ||
           (strstr(name, "CHACHA20_POLY1305") && strncmp(name, standard, n) == 0 &&
            strcmp(standard + n, "_SHA256") == 0);
}

static const SSL_CIPHER *find_cipher(SSL_CTX *ssl, const char *name)
{
    STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ssl);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);
        const char *standard = SSL_CIPHER_standard_name(c);
        if (standard && same_suite(name, standard))
            return c;
    }
    return NULL;
}

bool tls_cipher_known(const char *name)
{
    if (is_suite13(name))
        return true;
    SSL_CTX *ssl = SSL_CTX_new(TLS_method());
    ASSERT(ssl && SSL_CTX_set_cipher_list(ssl, "ALL:@SECLEVEL=0"));
    bool known = find_cipher(ssl, name) != NULL;
    SSL_CTX_free(ssl);
    return known;
}

/* --- contexts --------------------------------------------------------------------------------- */

static const char *last_words(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *s = e ? ERR_reason_error_string(e) : NULL;
    return s ? s : "unknown reason";
}

/* The file cannot be read (E_IO), or what is in it is wrong (E_INVAL): tell them apart. */
static int complain(const char *what, const char *file, char **why)
{
    FILE *f = fopen(file, "re");
    if (f) {
        (void)fclose(f);
        *why = xasprintf("error parsing %s: %s: %s", what, file, last_words());
    } else {
        *why = xasprintf("error parsing %s: open %s: %s", what, file, strerror(errno));
    }
    ERR_clear_error();
    return f ? E_INVAL : E_IO;
}

static int apply_ciphers(SSL_CTX *ssl, const char *const *names, char **why)
{
    struct buf list = BUF_INIT;
    int r = 0;
    SSL_CTX_set_cipher_list(ssl, "ALL");
    for (; *names; names++) {
        if (is_suite13(*names))
            continue;
        const SSL_CIPHER *c = find_cipher(ssl, *names);
        if (!c) {
            *why = xasprintf("unrecognized cipher %s", *names);
            r = E_INVAL;
            goto out;
        }
        buf_printf(&list, "%s%s", list.len ? ":" : "", SSL_CIPHER_get_name(c));
    }
    if (!SSL_CTX_set_cipher_list(ssl, list.len ? buf_cstr(&list) : "DEFAULT")) {
        *why = xasprintf("cipher suites: %s", last_words());
        r = E_INVAL;
    }
out:
    buf_release(&list);
    return r;
}

static int apply_curves(SSL_CTX *ssl, const char *const *names, char **why)
{
    struct buf list = BUF_INIT;
    int r = 0;
    for (; *names && r == 0; names++) {
        const char *name = curve_of(*names);
        if (name) {
            buf_printf(&list, "%s%s", list.len ? ":" : "", name);
        } else {
            *why = xasprintf("unrecognized curve preference %s", *names);
            r = E_INVAL;
        }
    }
    if (r == 0 && list.len && !SSL_CTX_set1_groups_list(ssl, buf_cstr(&list))) {
        *why = xasprintf("curve preferences: %s", last_words());
        r = E_INVAL;
    }
    buf_release(&list);
    return r;
}

static int apply_files(SSL_CTX *ssl, const struct tls_config *cfg, char **why)
{
    if (cfg->cert_file && SSL_CTX_use_certificate_chain_file(ssl, cfg->cert_file) != 1)
        return complain("X509 certificate/key pair", cfg->cert_file, why);
    if (cfg->key_file && SSL_CTX_use_PrivateKey_file(ssl, cfg->key_file, SSL_FILETYPE_PEM) != 1)
        return complain("X509 certificate/key pair", cfg->key_file, why);
    if (cfg->cert_file && SSL_CTX_check_private_key(ssl) != 1) {
        *why = xasprintf("error parsing X509 certificate/key pair: %s", last_words());
        return E_INVAL;
    }
    if (!cfg->ca_file) {
        if (SSL_CTX_set_default_verify_paths(ssl) != 1)
            ERR_clear_error();
        return 0;
    }
    if (SSL_CTX_load_verify_locations(ssl, cfg->ca_file, NULL) != 1)
        return complain("root ca certificate", cfg->ca_file, why);
    if (cfg->server && cfg->verify)
        SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(cfg->ca_file));
    return 0;
}

static int build(const struct tls_config *cfg, SSL_CTX **out, char **why)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(cfg->server ? TLS_server_method() : TLS_client_method());
    ASSERT(ssl);
    SSL_CTX_set_min_proto_version(ssl, cfg->min_version ? cfg->min_version : TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    int mode = SSL_VERIFY_NONE;
    if (cfg->server ? cfg->verify : !cfg->insecure)
        mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ssl, mode, NULL);
    int r = apply_files(ssl, cfg, why);
    if (r == 0 && cfg->ciphers)
        r = apply_ciphers(ssl, cfg->ciphers, why);
    if (r == 0 && cfg->curves)
        r = apply_curves(ssl, cfg->curves, why);
    if (r != 0) {
        SSL_CTX_free(ssl);
        ERR_clear_error();
        return r;
    }
    *out = ssl;
    return 0;
}

static int64_t end_of_life(SSL_CTX *ssl)
{
    const X509 *cert = SSL_CTX_get0_certificate(ssl);
    struct tm tm = {0};
    if (!cert || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm) * NS_PER_S;
}

static char **copy_names(const char *const *names)
{
    if (!names)
        return NULL;
    size_t n = 0;
    while (names[n])
        n++;
    char **copy = xcalloc(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(names[i]);
    return copy;
}

static void free_names(char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

static char *copy_text(const char *s)
{
    return s && *s ? xstrdup(s) : NULL;
}

int tls_context_new(const struct tls_config *cfg, struct tls_context **out, char **why)
{
    SSL_CTX *ssl;
    int r = build(cfg, &ssl, why);
    if (r != 0)
        return r;
    struct tls_context *ctx = xcalloc(1, sizeof *ctx);
    ctx->refs = 1;
    ctx->ssl = ssl;
    ctx->not_after = end_of_life(ssl);
    ctx->cfg = *cfg;
    ctx->cfg.cert_file = ctx->cert = copy_text(cfg->cert_file);
    ctx->cfg.key_file = ctx->key = copy_text(cfg->key_file);
    ctx->cfg.ca_file = ctx->ca = copy_text(cfg->ca_file);
    ctx->ciphers = copy_names(cfg->ciphers);
    ctx->cfg.ciphers = (const char *const *)ctx->ciphers;
    ctx->curves = copy_names(cfg->curves);
    ctx->cfg.curves = (const char *const *)ctx->curves;
    *out = ctx;
    return 0;
}

int tls_context_reload(struct tls_context *ctx, char **why)
{
    SSL_CTX *ssl;
    int r = build(&ctx->cfg, &ssl, why);
    if (r != 0)
        return r;
    SSL_CTX_free(ctx->ssl);
    ctx->ssl = ssl;
    ctx->not_after = end_of_life(ssl);
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *ctx)
{
    ctx->refs++;
    return ctx;
}

void tls_context_unref(struct tls_context *ctx)
{
    if (!ctx || --ctx->refs > 0)
        return;
    SSL_CTX_free(ctx->ssl);
    free(ctx->cert);
    free(ctx->key);
    free(ctx->ca);
    free_names(ctx->ciphers);
    free_names(ctx->curves);
    free(ctx);
}

int64_t tls_context_not_after(const struct tls_context *ctx)
{
    return ctx->not_after;
}

/* --- the wire under a session ------------------------------------------------------------------
 */

static int wire_read(BIO *bio, char *p, int n)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->early.len) {
        size_t take = t->early.len < (size_t)n ? t->early.len : (size_t)n;
        memcpy(p, buf_slice(&t->early).p, take);
        buf_consume(&t->early, take);
        if (t->early.len == 0)
            buf_release(&t->early);
        return (int)take;
    }
    ssize_t r;
    do
        r = recv(t->fd, p, (size_t)n, 0);
    while (r < 0 && errno == EINTR);
    if (r > 0)
        t->raw_in += (uint64_t)r;
    else if (r == 0)
        t->eof = true;
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
        BIO_set_retry_read(bio);
    return (int)r;
}

static int wire_write(BIO *bio, const char *p, int n)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t r;
    do
        r = send(t->fd, p, (size_t)n, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_write(bio);
    return (int)r;
}

static long wire_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)num, (void)ptr;
    if (cmd == BIO_CTRL_EOF)
        return ((struct tls *)BIO_get_data(bio))->eof;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO *wire_new(struct tls *t)
{
    static BIO_METHOD *method; /* made once, lives as long as the process */
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
        ASSERT(method);
        BIO_meth_set_read(method, wire_read);
        BIO_meth_set_write(method, wire_write);
        BIO_meth_set_ctrl(method, wire_ctrl);
    }
    BIO *bio = BIO_new(method);
    ASSERT(bio);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- sessions ----------------------------------------------------------------------------------
 */

/* Whom do we expect? A host name goes into SNI, too; an address does not. */
static void expect_name(SSL *ssl, const char *name)
{
    unsigned char addr[16];
    if (inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
        return;
    }
    SSL_set_tlsext_host_name(ssl, name);
    SSL_set1_host(ssl, name);
}

int tls_open(struct tls_context *ctx, int fd, bool server, const char *name, struct slice early,
             struct tls **out)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(ctx->ssl);
    if (!ssl)
        return E_NOMEM;
    struct tls *t = xcalloc(1, sizeof *t);
    t->ssl = ssl;
    t->fd = fd;
    buf_add_slice(&t->early, early);
    BIO *bio = wire_new(t);
    SSL_set_bio(ssl, bio, bio);
    if (server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        if (name && *name)
            expect_name(ssl, name);
    }
    *out = t;
    return 0;
}

void tls_close(struct tls *t, bool notify)
{
    if (!t)
        return;
    ERR_clear_error();
    if (notify && !t->broken && SSL_is_init_finished(t->ssl))
        (void)SSL_shutdown(t->ssl);
    SSL_free(t->ssl);
    ERR_clear_error();
    buf_release(&t->early);
    buf_release(&t->peer_cert);
    free(t);
}

static void explain(struct tls *t, int sys)
{
    long verdict = SSL_get_verify_result(t->ssl);
    const char *text = ERR_peek_last_error() ? last_words()
                       : sys                 ? strerror(sys)
                                             : "connection closed";
    if (verdict != X509_V_OK)
        text = X509_verify_cert_error_string(verdict);
    (void)snprintf(t->error, sizeof t->error, "%s", text);
    t->broken = true;
}

/* What a call that gave r <= 0 means. */
static int verdict_of(struct tls *t, int r)
{
    int sys = errno;
    switch (SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        t->wants_write = false;
        return E_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        t->wants_write = true;
        return E_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return E_CLOSED;
    case SSL_ERROR_SYSCALL:
        explain(t, sys);
        return E_IO;
    default:
        explain(t, 0);
        return E_IO;
    }
}

static void keep_peer_cert(struct tls *t)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    if (!cert || SSL_get_verify_mode(t->ssl) == SSL_VERIFY_NONE)
        return;
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    if (n > 0)
        buf_add(&t->peer_cert, der, (size_t)n);
    OPENSSL_free(der);
}

int tls_handshake(struct tls *t)
{
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(t->ssl);
    if (r == 1) {
        keep_peer_cert(t);
        return 0;
    }
    int v = verdict_of(t, r);
    if (v == E_CLOSED)
        (void)snprintf(t->error, sizeof t->error, "connection closed");
    return v;
}

ssize_t tls_read(struct tls *t, void *p, size_t n)
{
    ERR_clear_error();
    errno = 0;
    size_t got = 0;
    int r = SSL_read_ex(t->ssl, p, n, &got);
    if (r == 1)
        return (ssize_t)got;
    int v = verdict_of(t, r);
    return v == E_CLOSED ? 0 : v;
}

ssize_t tls_write(struct tls *t, const void *p, size_t n)
{
    ERR_clear_error();
    errno = 0;
    size_t put = 0;
    int r = SSL_write_ex(t->ssl, p, n, &put);
    return r == 1 ? (ssize_t)put : verdict_of(t, r);
}

bool tls_wants_write(const struct tls *t)
{
    return t->wants_write;
}

bool tls_has_pending(const struct tls *t)
{
    return t->early.len > 0 || SSL_has_pending(t->ssl);
}

uint64_t tls_raw_in(const struct tls *t)
{
    return t->raw_in;
}

const char *tls_error(const struct tls *t)
{
    return t->error;
}

const char *tls_version(const struct tls *t)
{
    switch (SSL_version(t->ssl)) {
    case TLS1_3_VERSION:
        return "1.3";
    case TLS1_2_VERSION:
        return "1.2";
    default:
        return "unknown";
    }
}

const char *tls_cipher(const struct tls *t)
{
    const SSL_CIPHER *c = SSL_get_current_cipher(t->ssl);
    const char *name = c ? SSL_CIPHER_standard_name(c) : NULL;
    return name ? name : "";
}

struct slice tls_peer_cert(const struct tls *t)
{
    return buf_slice(&t->peer_cert);
}

bool tls_key_id(struct slice cert, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = (const unsigned char *)cert.p;
    unsigned char *der = NULL, sum[32];
    X509 *x = d2i_X509(NULL, &at, (long)cert.n);
    int n = x ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der) : 0;
    if (n > 0) {
        sha256(der, (size_t)n, sum);
        for (size_t i = 0; i < sizeof sum; i++) {
            out[2 * i] = digits[sum[i] >> 4];
            out[2 * i + 1] = digits[sum[i] & 15];
        }
        out[64] = '\0';
    }
    OPENSSL_free(der);
    X509_free(x);
    ERR_clear_error();
    return n > 0;
}
