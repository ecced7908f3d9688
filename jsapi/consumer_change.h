/* jsapi/consumer_change.h -- inside: another config for a consumer, on disk first
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_CONSUMER_CHANGE_H
#define JSAPI_CONSUMER_CHANGE_H

#include "jsapi/consumer.h"

/* Takes cfg over. When it is stored it applies and answer(c, r) is called, which ends r; on failure
 * r gets the error. Other requests for c wait meanwhile. */
typedef void consumer_answer_fn(struct js_consumer *c, struct request *r);
void consumer_change(struct js_consumer *c, struct consumer_config *cfg, struct request *r,
                     consumer_answer_fn *answer);
/* The API level a config needs (_nats.req.level). */
unsigned consumer_level(const struct consumer_config *cfg);
/* The consumer a request of the form VERB.S.C asks for; NULL: answered, or it runs again later. */
struct js_consumer *consumer_asked(struct request *r);

/* "NATS/1.0⏎Nats-Stream-Identity: …⏎⏎", in the request's arena. */
struct slice consumer_identity_header(struct request *r, struct js_stream *s);

#endif
