/* server/info.c -- the INFO line
 *
 * The members stand in the order in which the reference writes them (reference: server
 * surface 4.2): some harnesses read it with regular expressions. Our own key comes last.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/info.h"

#include "base/json.h"
#include "server/auth.h"
#include "server/server.h"

void info_write(const struct server *srv, const struct info_for *who, struct buf *out)
{
    struct json_out j;

    buf_add_str(out, "INFO ");
    json_begin(&j, out);
    json_obj(&j, NULL);
    json_cstr(&j, "server_id", srv->id);
    json_cstr(&j, "server_name", srv->name);
    json_cstr(&j, "version", SERVER_COMPAT);
    json_i64(&j, "proto", 1);
    json_cstr(&j, "go", "none (C11)");
    json_cstr(&j, "host", srv->host);
    json_u64(&j, "port", srv->port);
    json_bool(&j, "headers", !srv->rules.no_headers);
    if (auth_required(srv->auth))
        json_bool(&j, "auth_required", true);
    if (srv->rules.tls && !srv->rules.tls_optional)
        json_bool(&j, "tls_required", true);
    if (srv->rules.tls_verify)
        json_bool(&j, "tls_verify", true);
    if (srv->rules.tls && srv->rules.tls_optional)
        json_bool(&j, "tls_available", true);
    json_i64(&j, "max_payload", who->max_payload);
    if (srv->js)
        json_bool(&j, "jetstream", true);
    if (who->client_id)
        json_u64(&j, "client_id", who->client_id);
    if (who->client_ip)
        json_cstr(&j, "client_ip", who->client_ip);
    if (who->nonce && *who->nonce)
        json_cstr(&j, "nonce", who->nonce);
    if (srv->js && srv->domain.n)
        json_str(&j, "domain", srv->domain);
    if (srv->lame_duck)
        json_bool(&j, "ldm", true);
    if (who->remote_account) {
        json_bool(&j, "connect_info", true);
        json_cstr(&j, "remote_account", who->remote_account);
        if (who->account_is_system)
            json_bool(&j, "acc_is_sys", true);
    }
    json_i64(&j, "api_lvl", SERVER_API_LEVEL);
    json_cstr(&j, "frond", FROND_VERSION);
    json_end(&j);
    buf_add_str(out, " \r\n");
}
