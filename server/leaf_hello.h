/* server/leaf_hello.h -- the words of the handshake: the hub's INFO, our CONNECT
 *
 * Pure, except that leaf_creds_read() opens a file (at every connect, so a rotated file is picked
 * up). reference/leafnode-protocol.md 2.2 - 2.4, 2.9.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEAF_HELLO_H
#define SERVER_LEAF_HELLO_H

#include "base/buf.h"
#include "base/json.h"
#include "server/leaf_urls.h"

/* What one INFO of the hub says. Slices borrow from `doc`. */
struct leaf_info {
    json_t *doc;
    struct slice server_id, server_name, version, cluster, domain, nonce, remote_account;
    bool has_cluster;
    uint64_t client_id;   /* 0: not a leaf port */
    bool has_urls;        /* leafnode_urls is there (may be empty) */
    bool info_on_connect; /* CONNECT will be answered */
    bool connect_info;    /* this is that answer */
    bool headers, tls_required, tls_verify, jetstream, acc_is_sys;
    bool has_compression;
    int64_t max_payload;     /* 0: not told */
    json_t *import, *export; /* NULL: no restriction known */
};
/* E_SYNTAX. Release with leaf_info_release(). */
int leaf_info_parse(struct slice text, struct leaf_info *out) MUST_CHECK;
void leaf_info_release(struct leaf_info *info);
/* Copies the strings of leafnode_urls into slices borrowed from info->doc; returns how many (at
 * most max). */
size_t leaf_info_urls(const struct leaf_info *info, struct slice *urls, size_t max);

/* Who we say we are. Empty slices and NULLs are left out. */
struct leaf_hello {
    struct slice version, server_id, name, cluster, domain, remote_account, nonce;
    bool headers, jetstream, is_hub, isolate;
    bool compression_known; /* the hub speaks of compression: we say "off", else "not supported" */
    const struct slice *deny_pub; /* deny_imports */
    size_t ndeny_pub;
    const struct leaf_url *credentials; /* user and password, or a token; NULL: none */
    const char *creds_file;             /* NULL: none */
    const char *nkey_seed;              /* NULL: none */
};
/* Appends "CONNECT {…}\r\n". On error *why gets an owned sentence. */
int leaf_hello_write(const struct leaf_hello *h, struct buf *out, char **why) MUST_CHECK;

#endif
