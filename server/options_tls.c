/* server/options_tls.c -- the tls block, of clients, remotes and whoever comes later
 *
 * A block is wrong as a whole: after a complaint there is no struct. The names of ciphers and
 * curves are those of Go; server/tls.c translates them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/options_read.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define AT(field) offsetof(struct tls_options, field)

static opt_read_fn read_file_name, read_flag, read_timeout, read_names, read_certs,
    read_min_version, read_first, read_pinned, read_rate;

/* clang-format off */
static const struct opt_row rows[] = {
    {"cert_file", OPT_CALL, AT(cert_file), .read = read_file_name, .help = "certificate, PEM"},
    {"key_file", OPT_CALL, AT(key_file), .read = read_file_name, .help = "its private key, PEM"},
    {"certs certificates", OPT_CALL, AT(pairs), .read = read_certs, .help = "several {cert_file, key_file}"},
    {"ca_file", OPT_CALL, AT(ca_file), .read = read_file_name, .help = "authorities the peer's certificate is checked against"},
    {"verify", OPT_CALL, AT(verify), .read = read_flag, .help = "clients must show a certificate"},
    {"verify_and_map", OPT_CALL, AT(verify_and_map), .read = read_flag, .help = "and are the user it names: an error where we listen"},
    {"insecure", OPT_CALL, AT(insecure), .read = read_flag, .help = "dialling: take any certificate"},
    {"timeout", OPT_CALL, AT(timeout_ns), .text = "2s", .read = read_timeout, .help = "of the handshake"},
    {"min_version", OPT_CALL, AT(min_version), .text = "1.2", .read = read_min_version, .help = "1.2 or 1.3"},
    {"cipher_suites", OPT_CALL, AT(ciphers), .read = read_names, .help = "for TLS 1.2, as Go names them"},
    {"curve_preferences", OPT_CALL, AT(curves), .read = read_names, .help = "X25519, CurveP256, CurveP384, CurveP521, X25519MLKEM768"},
    {"handshake_first first immediate", OPT_CALL, AT(handshake_first), .read = read_first, .help = "TLS before INFO; auto or a duration: when the client starts in time"},
    {"pinned_certs", OPT_CALL, AT(pinned), .read = read_pinned, .help = "SHA-256 of public keys that may connect"},
    {"connection_rate_limit", OPT_CALL, AT(rate_limit), .read = read_rate, .help = "handshakes a second"},
    {"allow_insecure_cipher_suites", OPT_QUIET, .help = "the library decides what is insecure"},
    {"verify_cert_and_check_known_urls", OPT_REFUSED, .help = "for clusters"},
    {"ocsp_peer", OPT_REFUSED, .help = "status of client certificates"},
    {"cert_store", OPT_REFUSED, .help = "Windows"},
    {"cert_match_by", OPT_REFUSED, .help = "Windows"},
    {"cert_match", OPT_REFUSED, .help = "Windows"},
    {"ca_certs_match", OPT_REFUSED, .help = "Windows"},
    {"cert_match_skip_invalid", OPT_REFUSED, .help = "Windows"},
};
/* clang-format on */

const struct opt_table opt_tls_table = {.title = "tls",
                                        .rows = rows,
                                        .n = ARRAY_LEN(rows),
                                        .unknown = "error parsing tls config, unknown field "};

static void read_file_name(struct opt_reader *r, const struct conf_node *n,
                           const struct opt_row *row, void *to)
{
    if (n->type != CONF_STRING)
        opt_error(r, n, "error parsing tls config, expected '%s' to be filename", row->keys);
    else if (n->u.str.n)
        *(const char **)(void *)((char *)to + row->at) = opt_text(r, n->u.str);
}

static void read_flag(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                      void *to)
{
    struct tls_options *t = to;
    if (n->type != CONF_BOOL) {
        opt_error(r, n, "error parsing tls config, expected '%s' to be a boolean", row->keys);
        return;
    }
    *(bool *)((char *)to + row->at) = n->u.b;
    t->verify = t->verify || t->verify_and_map;
}

static void read_timeout(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                         void *to)
{
    struct tls_options *t = to;
    int64_t ns;
    (void)row;
    if (opt_seconds(r, n, "error parsing tls config", &ns) && ns > 0)
        t->timeout_ns = ns;
}

static void read_rate(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                      void *to)
{
    struct tls_options *t = to;
    (void)row;
    if (n->type == CONF_INT)
        t->rate_limit = n->u.i;
    else
        opt_error(r, n, "error parsing tls config, 'connection_rate_limit' wrong type");
}

/* Go's names of what TLS 1.2 and the key exchange offer; insecure suites are unknown to this
 * server. */
static bool known_name(const struct opt_row *row, const char *name)
{
    static const char *const ciphers[] = {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                                          "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                                          "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                                          "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                                          "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                                          "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                                          "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
                                          "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
                                          "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
                                          "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
                                          "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
                                          "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
                                          "TLS_AES_128_GCM_SHA256",
                                          "TLS_AES_256_GCM_SHA384",
                                          "TLS_CHACHA20_POLY1305_SHA256"};
    static const char *const curves[] = {"X25519", "CurveP256", "CurveP384", "CurveP521",
                                         "X25519MLKEM768"};
    bool is_cipher = row->at == AT(ciphers);
    const char *const *names = is_cipher ? ciphers : curves;
    for (size_t i = 0; i < (is_cipher ? ARRAY_LEN(ciphers) : ARRAY_LEN(curves)); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void read_names(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                       void *to)
{
    struct text_list *list = (struct text_list *)(void *)((char *)to + row->at);
    if (!opt_is(r, n, CONF_ARRAY))
        return;
    if (n->u.kids.count == 0) {
        opt_error(r, n, "error parsing tls config, '%s' cannot be empty", row->keys);
        return;
    }
    CONF_EACH(kid, n)
    {
        if (!opt_is(r, kid, CONF_STRING))
            return;
        if (!known_name(row, kid->u.str.p)) {
            opt_error(r, kid, "unrecognized %s %s",
                      row->at == AT(ciphers) ? "cipher" : "curve preference", kid->u.str.p);
            return;
        }
    }
    opt_texts(r, n, row->keys, list);
}

static void read_pinned(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                        void *to)
{
    static const char what[] = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo";
    struct tls_options *t = to;
    size_t count = 0;
    (void)row;
    if (n->type != CONF_ARRAY) {
        opt_error(r, n, "error parsing tls config, expected 'pinned_certs' to be a list of %s",
                  what);
        return;
    }
    struct slice *at = arena_alloc(&r->o->mem, (n->u.kids.count + 1) * sizeof *at);
    ASSERT(at);
    CONF_EACH(kid, n)
    {
        if (!opt_is(r, kid, CONF_STRING))
            return;
        char *hex = opt_copy(r, kid->u.str.p, kid->u.str.n + 1);
        for (char *p = hex; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p | 0x20);
        if (kid->u.str.n != 64 || strspn(hex, "0123456789abcdef") != 64) {
            opt_error(r, kid,
                      "error parsing tls config, 'pinned_certs' key %s does not look like %s", hex,
                      what);
            return;
        }
        at[count++] = slice_of(hex, 64);
    }
    t->pinned = (struct text_list){at, count};
}

static void read_certs(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                       void *to)
{
    static const char prefix[] = "error parsing certificates config: ";
    struct tls_options *t = to;
    size_t count = 0;
    (void)row;
    if (n->type != CONF_ARRAY) {
        opt_error(r, n, "%sunsupported type %s", prefix, conf_type_name(n->type));
        return;
    }
    struct tls_pair *at = arena_alloc(&r->o->mem, (n->u.kids.count + 1) * sizeof *at);
    ASSERT(at);
    CONF_EACH(pair, n)
    {
        if (pair->type != CONF_MAP) {
            opt_error(r, pair, "%sunsupported type %s", prefix, conf_type_name(pair->type));
            return;
        }
        CONF_EACH(file, pair)
        {
            bool cert = strcmp(file->key, "cert_file") == 0,
                 key = strcmp(file->key, "key_file") == 0;
            if (file->type != CONF_STRING)
                opt_error(r, file, "%sunsupported type %s", prefix, conf_type_name(file->type));
            else if (cert)
                at[count].cert_file = opt_text(r, file->u.str);
            else if (key)
                at[count].key_file = opt_text(r, file->u.str);
            else
                opt_error(r, file, "error parsing tls certs config, unknown field %s",
                          opt_quote(r, slice_cstr(file->key)));
        }
        if (!at[count].cert_file || !at[count].key_file) {
            opt_error(r, pair, "%sboth 'cert_file' and 'cert_key' options are required", prefix);
            return;
        }
        count++;
    }
    t->pairs = at;
    t->npairs = count;
}

static void read_min_version(struct opt_reader *r, const struct conf_node *n,
                             const struct opt_row *row, void *to)
{
    struct tls_options *t = to;
    (void)row;
    if (n->type != CONF_STRING)
        opt_error(r, n, "error parsing tls config: 'min_version' wrong type: %s", opt_show(r, n));
    else if (slice_is(n->u.str, "1.2") || slice_is(n->u.str, "1.3"))
        t->min_version = slice_is(n->u.str, "1.2") ? 0x0303 : 0x0304;
    else if (slice_is(n->u.str, "1.0") || slice_is(n->u.str, "1.1"))
        opt_error(r, n, "error parsing tls config: unsupported TLS version: TLS %s", n->u.str.p);
    else
        opt_error(r, n, "error parsing tls config: unknown version: %s", n->u.str.p);
}

static void read_first(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                       void *to)
{
    struct tls_options *t = to;
    (void)row;
    if (n->type == CONF_BOOL) {
        t->handshake_first = n->u.b;
        return;
    }
    if (n->type != CONF_STRING) {
        opt_error(r, n, "field %s should be a boolean or a string, got %s",
                  opt_quote(r, slice_cstr(n->key)), conf_type_name(n->type));
        return;
    }
    t->handshake_first = true;
    if (slice_ieq(n->u.str, SLICE("false")) || slice_ieq(n->u.str, SLICE("off")))
        t->handshake_first = false;
    else if (slice_ieq(n->u.str, SLICE("auto")) || slice_ieq(n->u.str, SLICE("auto_fallback")))
        t->first_fallback_ns = 50 * NS_PER_MS;
    else if (!slice_ieq(n->u.str, SLICE("true")) && !slice_ieq(n->u.str, SLICE("on")) &&
             duration_parse(n->u.str.p, n->u.str.n, &t->first_fallback_ns) < 0)
        opt_error(r, n, "field %s's value %s is invalid", opt_quote(r, slice_cstr(n->key)),
                  opt_quote(r, n->u.str));
}

/* --- the block ----------------------------------------------------------------------- */

/* "open FILE: no such file or directory" when it can't be read. */
static const char *unreadable(struct options *o, const char *file)
{
    char why[128];
    if (access(file, R_OK) == 0)
        return NULL;
    const char *said = strerror_r(errno, why, sizeof why);
    char *text = arena_printf(&o->mem, "open %s: %s", file, said);
    ASSERT(text);
    char *first = text + strlen("open ") + strlen(file) + 2;
    *first = (char)(*first >= 'A' && *first <= 'Z' ? *first | 0x20 : *first);
    return text;
}

const char *opt_tls_files(struct options *o, const struct tls_options *t)
{
    struct tls_pair single = {t->cert_file, t->key_file};
    const struct tls_pair *pairs = t->cert_file || t->key_file ? &single : t->pairs;
    size_t n = t->cert_file || t->key_file ? 1 : t->npairs;
    if (t->cert_file && !t->key_file)
        return "missing 'key_file' in TLS configuration";
    if (!t->cert_file && t->key_file)
        return "missing 'cert_file' in TLS configuration";
    for (size_t i = 0; i < n; i++) {
        const char *why = unreadable(o, pairs[i].cert_file);
        if (!why)
            why = unreadable(o, pairs[i].key_file);
        if (why && pairs == &single)
            return arena_printf(&o->mem, "error parsing X509 certificate/key pair: %s", why);
        if (why)
            return arena_printf(&o->mem, "error parsing X509 certificate/key pair %zu/%zu: %s",
                                i + 1, n, why);
    }
    return t->ca_file ? unreadable(o, t->ca_file) : NULL;
}

const struct tls_options *opt_tls(struct opt_reader *r, const struct conf_node *n, bool client)
{
    struct tls_options t = {.timeout_ns = 2 * NS_PER_S, .min_version = 0x0303};
    size_t errors = r->errors.len;
    if (!opt_is(r, n, CONF_MAP))
        return NULL;
    opt_read(r, n, &opt_tls_table, &t);
    if (r->errors.len == errors && t.npairs && t.cert_file)
        opt_error(
            r, n,
            "error parsing tls config, cannot combine 'cert_file' option with 'certs' option");
    const char *why = r->errors.len == errors ? opt_tls_files(r->o, &t) : NULL;
    if (why)
        opt_error(r, n, "%s", why);
    if (t.verify_and_map && !client) /* its users need no password: the certificate is theirs */
        opt_error(r, n,
                  "\"verify_and_map\" needs a feature this server does not have yet, and can't be "
                  "ignored safely");
    if (r->errors.len != errors)
        return NULL;
    return opt_copy(r, &t, sizeof t);
}

void opt_read_tls(struct opt_reader *r, const struct conf_node *n, const struct opt_row *row,
                  void *to)
{
    struct options *o = to;
    (void)row;
    o->tls = opt_tls(r, n, false);
}
