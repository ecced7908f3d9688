// room: jsapi
/* tests/fuzz/fuzz_consumer_config.c -- the body of CONSUMER.CREATE: anything a client may send
 *
 * A config that passes the checks prints, reads back, and is equal to itself.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/consumer_config.h"

#include "base/mem.h"

static void passed(const struct consumer_config *c)
{
    struct consumer_config copy;
    consumer_config_copy(c, &copy);
    ASSERT(consumer_config_equal(c, &copy));
    (void)consumer_sampling(c);
    consumer_config_release(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice subject = SLICE("orders.>");
    struct stream_config s = {.num_replicas = 1, .subjects = {&subject, 1}};
    struct consumer_request r;
    struct js_error e;
    json_t *obj;
    if (json_read(slice_of(data, size), &obj, NULL) < 0)
        return 0;
    for (int retention = RETAIN_LIMITS; retention <= RETAIN_WORKQUEUE; retention++) {
        struct consumer_bounds b = {.stream = &s};
        s.retention = retention;
        if (consumer_request_read(&r, obj, retention == RETAIN_LIMITS, &e) &&
            consumer_config_check(&r.config, &b, r.pedantic, &e))
            passed(&r.config);
        consumer_config_release(&r.config);
    }
    json_free(obj);
    return 0;
}
