/* fuzz/api.h -- a script of requests, played against the real dispatcher: what the api targets
 * share
 *
 * jsapi on a real store with the fake host; a fresh site for every input. The input is lines; a
 * target says which verbs it plays (others are passed over) and what stands before every input:
 *
 *     :STREAM.CREATE.S {"name":"S"}   a request to $JS.API.…; its answer is checked
 *     +s.a hello                      a publish
 *     #Nats-Msg-Id: 1;Nats-TTL: 1s    the header of the next line; ';' begins a new one
 *     ~30                             so many seconds pass
 *     !                               restart: what is on disk is what was told before
 *     =hub.> {"seq":1}                the other side speaks: see api_target.other_side
 *
 * What is checked: every request is answered once, with a JSON object of the right type or a whole
 * error; every configuration that was accepted is printed, accepted again and equal; a restart
 * changes neither configurations nor states; in the end nobody listens any more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_API_H
#define FUZZ_API_H

#include "base/mem.h"
#include "base/slice.h"

/* A script: a stream S that holds three messages, the last of them with an id. */
#define API_ONE_STREAM                                                                             \
    ":STREAM.CREATE.S {\"name\":\"S\",\"subjects\":[\"s.>\"],\"allow_direct\":true,"               \
    "\"allow_rollup_hdrs\":true,\"allow_msg_ttl\":true}\n"                                         \
    "+s.a one\n+s.b two\n#Nats-Msg-Id: 3\n+s.a three\n"

struct api_scene;
struct api_target {
    const char *before;       /* a script, played first; all of it is taken */
    const char *const *verbs; /* prefixes of the verbs the input may use; ends with NULL */
    /* NULL, or what the other side of a link says: the line after '='. */
    void (*other_side)(struct api_scene *s, struct slice subject, struct slice text);
};

int api_play(const struct api_target *t, const uint8_t *data, size_t size);

/* For other_side: the host everything goes through; somebody publishes; a message "subject" comes
 * by way of another one, with the header of the last '#' line. */
struct jshost *api_host(struct api_scene *s);
void api_say(struct api_scene *s, struct slice subject, struct slice reply, struct slice text);
void api_deliver(struct api_scene *s, struct slice via, struct slice subject, struct slice reply,
                 struct slice text);

#endif
