/* fuzz_keys.c -- any bytes as an nkey, a seed, a password in base64, and a credentials file
 *
 * What decodes encodes to the same text again; one flipped character of a public key is noticed, as
 * the checksum promises. The input is also the credentials file of a link that says hello: it is
 * refused with a reason, or the CONNECT is a line of JSON that carries a signature over the nonce.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "server/leaf_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_public(struct slice text)
{
    unsigned char pub[32], other[32];
    enum nkey_kind kind;
    char again[57], bad[57];
    if (nkey_public_decode(text, pub, &kind) != 0)
        return;
    ASSERT(text.n == 56);
    nkey_public_encode(kind, pub, again);
    ASSERT(slice_is(text, again));
    memcpy(bad, again, sizeof bad);
    bad[7] = bad[7] == 'A' ? 'B' : 'A';
    ASSERT(nkey_public_decode(slice_cstr(bad), other, &kind) != 0);
    (void)ed25519_verify(pub, text,
                         (const unsigned char *)"0123456789abcdef0123456789abcdef"
                                                "0123456789abcdef0123456789abcdef");
}

static void as_seed(struct slice text)
{
    unsigned char seed[32], pub[32], sig[64];
    enum nkey_kind kind;
    if (nkey_seed_decode(text, seed, &kind) != 0)
        return;
    ASSERT(ed25519_public(seed, pub) == 0 && ed25519_sign(seed, text, sig) == 0);
    ASSERT(ed25519_verify(pub, text, sig));
    sig[3] ^= 1;
    ASSERT(!ed25519_verify(pub, text, sig));
}

static void as_base64(struct slice text)
{
    unsigned char *out = xmalloc(text.n + 1);
    unsigned char *back = xmalloc(4 * ((text.n + 2) / 3) + 1);
    char *again = xmalloc(4 * ((text.n + 2) / 3) + 1);
    size_t n, m;
    if (base64_decode(text, out, &n) == 0) {
        ASSERT(n <= text.n);
        for (int url = 0; url < 2; url++) {
            size_t len = base64_encode(out, n, url, again);
            ASSERT(base64_decode(slice_of(again, len), back, &m) == 0);
            ASSERT(m == n && memcmp(back, out, n) == 0);
        }
    }
    size_t len = base64_encode(text.p, text.n, true, again);
    ASSERT(base64_decode(slice_of(again, len), back, &m) == 0 && m == text.n);
    ASSERT(m == 0 || memcmp(back, text.p, m) == 0);
    free(again);
    free(back);
    free(out);
}

/* The file has a name, as any other: the kernel's name for a file in memory. */
static void as_credentials(struct slice text)
{
    static int fd = -1;
    static char path[40];
    struct leaf_hello h = {.version = SLICE("2.15.2"),
                           .server_id = SLICE("N"),
                           .name = SLICE("site"),
                           .nonce = SLICE("nonce"),
                           .creds_file = path};
    struct buf out = BUF_INIT;
    json_t *doc = NULL;
    char *why = NULL;
    if (fd < 0) {
        fd = memfd_create("creds", MFD_CLOEXEC);
        ASSERT(fd >= 0);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, text.p, text.n, 0) == (ssize_t)text.n);
    int err = leaf_hello_write(&h, &out, &why);
    struct slice line = buf_slice(&out);
    ASSERT((err == 0) == (why == NULL));
    ASSERT(slice_starts(line, SLICE("CONNECT {")) && slice_ends(line, SLICE("}\r\n")));
    ASSERT(slice_find(slice_skip(line, 8), '\n') == line.n - 9);
    if (!err) {
        ASSERT(json_read(slice_head(slice_skip(line, 8), line.n - 10), &doc, NULL) == 0);
        ASSERT(json_get_str(doc, "jwt").n && json_get_str(doc, "sig").n == 86);
        json_free(doc);
    }
    free(why);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(size ? (const void *)data : "", size);
    if (size > 4096)
        return 0;
    as_public(text);
    as_seed(text);
    as_base64(text);
    as_credentials(text);
    return 0;
}
