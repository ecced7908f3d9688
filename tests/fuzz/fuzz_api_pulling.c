/* fuzz_api_pulling.c -- what a hub may answer and send to the streams that copy from it
 *
 * A mirror M and a stream A with two sources ask for their consumers at $JS.hub.API; the input is
 * the hub: it answers the oldest question and sends messages to where the last question said.
 *
 *     =a {"config":…}             an answer
 *     =m REPLY text               a message, or (after a '#' line) a status: heartbeat, flow
 * control
 *
 * api.h tells the rest.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: jsapi
// link: jshost
#include <stdlib.h>

#include "base/json.h"
#include "fake/jshost.h"
#include "fuzz/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char deliver[320]; /* where the last question wants its messages */

static void note_deliver(struct slice question)
{
    json_t *doc;
    if (json_read(question, &doc, NULL) != 0)
        return;
    struct slice to = json_get_str(json_key(doc, "config"), "deliver_subject");
    if (to.n && to.n < sizeof deliver) {
        memcpy(deliver, to.p, to.n);
        deliver[to.n] = '\0';
    }
    json_free(doc);
}

static void answer(struct api_scene *s, struct slice text)
{
    struct jshost_msg *m = jshost_take(api_host(s), "$JS.hub.>");
    if (!m)
        return;
    note_deliver(m->payload);
    if (m->reply.n)
        api_say(s, m->reply, (struct slice){0}, text);
    jshost_msg_free(m);
}

static void other_side(struct api_scene *s, struct slice what, struct slice text)
{
    if (slice_is(what, "a")) {
        answer(s, text);
    } else if (slice_is(what, "m") && *deliver) {
        struct slice reply = slice_head(text, slice_find(text, ' '));
        api_deliver(s, slice_cstr(deliver), SLICE("o.a"), reply, slice_skip(text, reply.n + 1));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"STREAM.INFO.", "STREAM.UPDATE.", NULL};
    static const struct api_target target = {
        .verbs = verbs,
        .other_side = other_side,
        .before =
            ":STREAM.CREATE.M "
            "{\"name\":\"M\",\"mirror\":{\"name\":\"O\",\"external\":{\"api\":\"$JS.hub.API\","
            "\"deliver\":\"\"}}}\n"
            ":STREAM.CREATE.A "
            "{\"name\":\"A\",\"sources\":[{\"name\":\"O\",\"external\":{\"api\":\"$JS.hub.API\","
            "\"deliver\":\"\"}},{\"name\":\"P\",\"opt_start_seq\":3,\"filter_subject\":\"p.*\","
            "\"external\":"
            "{\"api\":\"$JS.hub.API\",\"deliver\":\"\"}}]}\n"};
    *deliver = '\0';
    return api_play(&target, data, size);
}
