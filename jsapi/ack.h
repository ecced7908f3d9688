/* jsapi/ack.h -- ack subjects: write, read, apply
 *
 *     $JS.ACK.<S>.<C>.<deliveries>.<stream seq>.<consumer seq>.<timestamp ns>.<num pending>
 *     $JS.ACK.<domain or _>.<account hash>.<S>.<C>.<the same five>[.<anything>]
 *
 * The second form is understood and not written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_ACK_H
#define JSAPI_ACK_H

#include "jsapi/consumer.h"

struct ack_ref {
    uint64_t deliveries, sseq, cseq;
    int64_t ts; /* of the message */
    uint64_t pending;
};
#define ACK_REF_MAX 104 /* bytes that ack_write() may need */

/* Writes "1.17.12.1795264397734884075.3"; returns its length. */
size_t ack_write(char *to, const struct ack_ref *ref);
/* What stands behind the prefix, as far as an ack needs it: deliveries and sequences. What is no
 * number reads as UINT64_MAX. */
void ack_read(struct slice rest, struct ack_ref *ref);

/* The hear function of a consumer's ack subjects (arg: the consumer). */
bool ack_heard(void *arg, struct msg_view *m, void *from);
/* What an acknowledgement up to sseq does (flow control answers). */
void ack_flow_control(struct js_consumer *c, uint64_t sseq, uint64_t cseq);

/* Sequences that left the stream while pending: settled, with an advisory each. */
void ack_gone(struct js_consumer *c, uint64_t sseq, const char *reason);
void ack_gone_range(struct js_consumer *c, uint64_t first, uint64_t last, const char *reason);
/* pending_gave_up_fn: the last try of a message failed. */
void ack_gave_up(void *consumer, uint64_t sseq, uint32_t deliveries);

#endif
