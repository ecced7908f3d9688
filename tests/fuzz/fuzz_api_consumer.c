/* fuzz_api_consumer.c -- CONSUMER.CREATE in its four forms: what a client may ask a consumer to be
 *
 * Over a stream that holds a few messages; api.h tells how an input is played.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
// link: jshost
#include "fuzz/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"CONSUMER.CREATE.", "CONSUMER.DURABLE.CREATE.", NULL};
    static const struct api_target target = {.verbs = verbs, .before = API_ONE_STREAM};
    return api_play(&target, data, size);
}
