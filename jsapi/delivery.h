/* jsapi/delivery.h -- the pump: cursor → messages
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_DELIVERY_H
#define JSAPI_DELIVERY_H

#include "jsapi/consumer.h"

/* The set's job: visits ready consumers, a slice each, in turn. */
enum job_result delivery_pump(struct job *j, const struct job_budget *b);

#endif
