/* fuzz_api_stream.c -- STREAM.CREATE and STREAM.UPDATE: what a client may ask a stream to be
 *
 * api.h tells how an input is played and what is checked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
// link: jshost
#include "fuzz/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"STREAM.CREATE.", "STREAM.UPDATE.", NULL};
    static const struct api_target target = {.verbs = verbs, .before = ""};
    return api_play(&target, data, size);
}
