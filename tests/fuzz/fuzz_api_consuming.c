/* fuzz_api_consuming.c -- next, acks, pause, reset, unpin: what is said to a consumer
 *
 * Over a pull consumer C and a push consumer P; acks are publishes to $JS.ACK.… (a line with '+').
 * api.h tells how an input is played.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
// link: jshost
#include "fuzz/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"CONSUMER.", NULL};
    static const struct api_target target = {
        .verbs = verbs,
        .before = ":STREAM.CREATE.S "
                  "{\"name\":\"S\",\"subjects\":[\"s.>\"],\"allow_direct\":true,\"allow_rollup_"
                  "hdrs\":true,\"allow_msg_ttl\":true}\n"
                  "+s.a one\n+s.b two\n#Nats-Msg-Id: 3\n+s.a three\n"
                  ":CONSUMER.CREATE.S.C "
                  "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":"
                  "\"explicit\",\"max_deliver\":3}}\n"
                  ":CONSUMER.CREATE.S.P "
                  "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"P\",\"deliver_subject\":"
                  "\"d.p\",\"ack_policy\":\"all\"}}\n"};
    return api_play(&target, data, size);
}
