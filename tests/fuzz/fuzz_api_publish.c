/* fuzz_api_publish.c -- the headers of a publish to a stream that allows everything
 *
 * Lines with '#' are headers, lines with '+' publish; api.h tells how an input is played.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
// link: jshost
#include "fuzz/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"STREAM.INFO.", NULL};
    static const struct api_target target = {
        .verbs = verbs,
        .before = ":STREAM.CREATE.S "
                  "{\"name\":\"S\",\"subjects\":[\"s.>\"],\"allow_direct\":true,\"allow_rollup_"
                  "hdrs\":true,\"allow_msg_ttl\":true}\n"
                  ":STREAM.CREATE.W "
                  "{\"name\":\"W\",\"subjects\":[\"w.>\"],\"discard\":\"new\",\"max_msgs\":4,\"max_"
                  "msg_size\":64,\"discard_new_per_subject\":true,\"max_msgs_per_subject\":2,"
                  "\"allow_msg_counter\":false}\n"};
    return api_play(&target, data, size);
}
