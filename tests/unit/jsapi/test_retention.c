/* what consumers have settled and the removal of it are on disk together, wherever in a turn a
 * batch is closed
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/jsapi/consumer_site.h"

#include "storage/store.h"
#include "storage/stream.h"
#include "storage/writer.h"

static void a_receipt_closes_no_batch_between_acks_and_removals(void **state)
{
    struct site *s = *state;
    struct got g[5];
    make_stream(s, ",\"retention\":\"workqueue\"");
    publish_n(s, "o.a", 5);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "5");
    for (uint64_t i = 0; i < 5; i++)
        expect_msg(s, "_INBOX.p", i + 1, i + 1, 1, &g[i]);
    jshost_send(&s->h, ACC, "o.a", NULL, NULL, "on its way to the disk");
    while (!s->store->flying)
        fake_turn_once(&s->ft);
    jshost_send(&s->h, ACC, "o.a", NULL, NULL, "so that the next batch has something to write");
    for (int i = 0; i < 5; i++)
        assert_int_equal(jshost_send(&s->h, ACC, g[i].reply, NULL, NULL, ""), 1);
    writer_wait(s->store->writer);
    const struct stream *st = store_stream_find(s->store, SLICE("$G"), SLICE("S"));
    assert_int_equal(st->now.msgs, 7);
    uint64_t gathering = s->store->gather->n;
    store_on_back(s->store); /* mail is read before the turn's posts */
    assert_true(s->store->gather->n > gathering);
    assert_int_equal(st->now.msgs, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_receipt_closes_no_batch_between_acks_and_removals, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
