/* server/leaf_hello.c -- INFO in, CONNECT out; see leaf_hello.h
 *
 * Seeds live on the stack for as long as a signature takes and are wiped after.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/leaf_hello.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/mem.h"

#define CREDS_MAX (64u << 10)

int leaf_info_parse(struct slice text, struct leaf_info *out)
{
    *out = (struct leaf_info){0};
    int err = json_read(text, &out->doc, NULL);
    if (err)
        return err;
    json_t *d = out->doc;
    if (!json_is_object(d)) {
        leaf_info_release(out);
        return E_SYNTAX;
    }
    out->server_id = json_get_str(d, "server_id");
    out->server_name = json_get_str(d, "server_name");
    if (out->server_name.n == 0)
        out->server_name = out->server_id;
    out->version = json_get_str(d, "version");
    out->cluster = json_get_str(d, "cluster");
    out->has_cluster = out->cluster.n > 0;
    out->domain = json_get_str(d, "domain");
    out->nonce = json_get_str(d, "nonce");
    out->remote_account = json_get_str(d, "remote_account");
    int64_t cid = json_get_int(d, "client_id", 0);
    out->client_id = cid > 0 ? (uint64_t)cid : 0;
    out->has_urls = json_is_array(json_key(d, "leafnode_urls"));
    out->info_on_connect = json_get_bool(d, "info_on_connect", false);
    out->connect_info = json_get_bool(d, "connect_info", false);
    out->headers = json_get_bool(d, "headers", false);
    out->tls_required = json_get_bool(d, "tls_required", false);
    out->tls_verify = json_get_bool(d, "tls_verify", false);
    out->jetstream = json_get_bool(d, "jetstream", false);
    out->acc_is_sys = json_get_bool(d, "acc_is_sys", false);
    out->has_compression = json_get_str(d, "compression").n > 0;
    out->max_payload = json_get_int(d, "max_payload", 0);
    json_t *import = json_key(d, "import"), *export = json_key(d, "export");
    out->import = json_is_object(import) ? import : NULL;
    out->export = json_is_object(export) ? export : NULL;
    return E_OK;
}

void leaf_info_release(struct leaf_info *info)
{
    if (info->doc)
        json_free(info->doc);
    *info = (struct leaf_info){0};
}

size_t leaf_info_urls(const struct leaf_info *info, struct slice *urls, size_t max)
{
    json_t *list = json_key(info->doc, "leafnode_urls");
    size_t n = 0;
    for (size_t i = 0; list && i < json_array_size(list) && n < max; i++) {
        json_t *u = json_array_get(list, i);
        if (json_is_string(u))
            urls[n++] = slice_of(json_string_value(u), json_string_length(u));
    }
    return n;
}

/* Cuts the next line off *rest; false at the end. */
static bool next_line(struct slice *rest, struct slice *line)
{
    if (rest->n == 0)
        return false;
    size_t nl = slice_find(*rest, '\n');
    *line = slice_trim(slice_head(*rest, nl));
    *rest = slice_skip(*rest, nl + 1);
    return true;
}

/* The first line after the i-th opening line of dashes ("-----BEGIN …"): blocks are JWT, then seed.
 * A line of at least three dashes opens and closes, whatever it says; CRLF is fine. */
static struct slice creds_block(struct slice file, int i)
{
    struct slice line;
    bool inside = false;
    int block = -1;
    while (next_line(&file, &line)) {
        if (slice_starts(line, SLICE("---"))) {
            inside = !inside;
            block += inside;
        } else if (inside && block == i && line.n) {
            return line;
        }
    }
    return (struct slice){0};
}

static int read_file(const char *path, struct buf *out, char **why)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        *why = xasprintf("can not open credentials file %s: %s", path, strerror(errno));
        return E_SYS;
    }
    char *at = buf_reserve(out, CREDS_MAX);
    size_t n = fread(at, 1, CREDS_MAX, f);
    bool bad = ferror(f) != 0;
    bool closed = fclose(f) == 0;
    if (bad || !closed || n == CREDS_MAX) {
        *why = xasprintf("can not read credentials file %s", path);
        return E_SYS;
    }
    buf_commit(out, n);
    return E_OK;
}

/* Writes "sig" over the nonce, and "nkey" when asked to. */
static int write_signature(struct slice seed_text, struct slice nonce, bool with_nkey,
                           struct json_out *j)
{
    unsigned char seed[32], pub[32], sig[64];
    enum nkey_kind kind;
    int err = nkey_seed_decode(seed_text, seed, &kind);
    if (!err)
        err = ed25519_public(seed, pub);
    if (!err)
        err = ed25519_sign(seed, nonce, sig);
    explicit_bzero(seed, sizeof seed);
    if (err)
        return err;
    if (with_nkey) {
        char name[57];
        nkey_public_encode(kind, pub, name);
        json_cstr(j, "nkey", name);
    }
    char text[4 * ((sizeof sig + 2) / 3) + 1];
    size_t n = base64_encode(sig, sizeof sig, true, text);
    json_str(j, "sig", slice_of(text, n));
    return E_OK;
}

static int write_creds(const struct leaf_hello *h, struct json_out *j, char **why)
{
    struct buf file = BUF_INIT;
    int err = read_file(h->creds_file, &file, why);
    if (!err) {
        struct slice jwt = creds_block(buf_slice(&file), 0),
                     seed = creds_block(buf_slice(&file), 1);
        json_str(j, "jwt", jwt);
        err = jwt.n && seed.n ? write_signature(seed, h->nonce, false, j) : E_SYNTAX;
        if (err)
            *why = xasprintf("credentials file %s: no user JWT and seed in it", h->creds_file);
    }
    if (file.data)
        explicit_bzero(file.data, file.cap);
    buf_release(&file);
    return err;
}

static int write_auth(const struct leaf_hello *h, struct json_out *j, char **why)
{
    const struct leaf_url *c = h->credentials;
    if (c && c->user) {
        json_cstr(j, "user", c->user);
        json_cstr(j, c->password ? "pass" : "auth_token", c->password ? c->password : c->user);
    }
    if (h->creds_file)
        return write_creds(h, j, why);
    if (h->nkey_seed) {
        int err = write_signature(slice_trim(slice_cstr(h->nkey_seed)), h->nonce, true, j);
        if (err)
            *why = xstrdup("the remote's nkey is not a valid seed");
        return err;
    }
    return E_OK;
}

int leaf_hello_write(const struct leaf_hello *h, struct buf *out, char **why)
{
    struct json_out j;
    *why = NULL;
    buf_add_str(out, "CONNECT ");
    json_begin(&j, out);
    json_obj(&j, NULL);
    json_str(&j, "version", h->version);
    json_str(&j, "server_id", h->server_id);
    json_str(&j, "name", h->name);
    if (h->domain.n)
        json_str(&j, "domain", h->domain);
    if (h->cluster.n)
        json_str(&j, "cluster", h->cluster);
    if (h->headers)
        json_bool(&j, "headers", true);
    if (h->jetstream)
        json_bool(&j, "jetstream", true);
    if (h->is_hub)
        json_bool(&j, "is_hub", true);
    if (h->isolate)
        json_bool(&j, "isolate", true);
    if (h->ndeny_pub) {
        json_arr(&j, "deny_pub");
        for (size_t i = 0; i < h->ndeny_pub; i++)
            json_str(&j, NULL, h->deny_pub[i]);
        json_end(&j);
    }
    json_cstr(&j, "compress_mode", h->compression_known ? "off" : "not supported");
    json_str(&j, "remote_account", h->remote_account);
    int err = write_auth(h, &j, why);
    json_end(&j);
    buf_add_str(out, "\r\n");
    return err;
}
