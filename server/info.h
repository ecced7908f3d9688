/* server/info.h -- the INFO line
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_INFO_H
#define SERVER_INFO_H

#include "base/buf.h"

struct server;

/* What differs from client to client. */
struct info_for {
    uint64_t client_id;
    const char *client_ip;
    const char *nonce; /* NULL or "": none */
    int64_t max_payload;
    const char *remote_account; /* not NULL: the INFO that answers CONNECT */
    bool account_is_system;
};
/* Appends "INFO {…} \r\n". */
void info_write(const struct server *srv, const struct info_for *who, struct buf *out);

#endif
