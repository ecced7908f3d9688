/* fuzz_stream_config.c -- any bytes as a stream's configuration, and as the headers of a publish to
 * it
 *
 * What is read is checked, printed, read again and must be the same. The input may hold two parts,
 * parted by the first NUL: the configuration and a header block.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
#include "base/mem.h"
#include "jsapi/publish.h"
#include "jsapi/stream_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct stream_config seen; /* as another stream of the account: itself */

static const struct stream_config *other(void *arg, struct slice name)
{
    (void)arg;
    return slice_eq(name, seen.name) ? &seen : NULL;
}

static void publish(const struct stream_config *c, struct slice hdr)
{
    struct record_in rec = {.subject = SLICE("a.b"), .hdr = hdr, .payload = SLICE("x")};
    struct js_error e = {0};

    if (!publish_check(c, hdr, SLICE("_INBOX.a.1.ok.1.0.$FI"), &rec, &e))
        ASSERT(e.code != JS_NO_ERROR && e.text[0]);
    (void)publish_check(c, hdr, (struct slice){0}, &rec, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct slice config = slice_head(text, slice_find(text, 0)),
                 hdr = slice_skip(text, config.n + 1);
    struct stream_bounds bounds = {.other = other};
    struct stream_config again;
    struct js_error e = {0};
    json_t *obj = NULL;

    if (json_read(config, &obj, NULL) < 0)
        return 0;
    stream_config_init(&seen);
    if (stream_config_read(&seen, obj, size & 1, &e) && stream_config_check(&seen, &bounds, &e)) {
        stream_config_copy(&seen, &again);
        ASSERT(stream_config_equal(&seen, &again));
        (void)stream_config_check(&again, &bounds, &e);
        (void)stream_config_may_update(&seen, &again, &e);
        publish(&again, hdr);
        stream_config_release(&again);
    } else {
        ASSERT(e.code != JS_NO_ERROR && e.text[0]);
    }
    stream_config_release(&seen);
    json_free(obj);
    return 0;
}
