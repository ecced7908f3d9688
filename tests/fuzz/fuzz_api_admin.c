/* fuzz_api_admin.c -- the verbs that look at streams and take things out of them
 *
 * Over one stream that holds a few messages; api.h tells how an input is played.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
// link: jshost
#include "fuzz/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"INFO",
                                        "STREAM.INFO.",
                                        "STREAM.LIST",
                                        "STREAM.NAMES",
                                        "STREAM.PURGE.",
                                        "STREAM.MSG.",
                                        "STREAM.DELETE.",
                                        "STREAM.SNAPSHOT.",
                                        "STREAM.RESTORE.",
                                        "STREAM.PEER.",
                                        "STREAM.LEADER.",
                                        "STREAM.CREATE.",
                                        NULL};
    static const struct api_target target = {.verbs = verbs, .before = API_ONE_STREAM};
    return api_play(&target, data, size);
}
