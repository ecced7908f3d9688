/* server/lameduck.c -- leaving without a jolt (SIGUSR2)
 *
 *     begin ──► listener closed, INFO "ldm":true ──grace──► one client, a wait, the next … ──► stop
 *
 * The waits spread the reconnecting fleet over lame_duck_duration: each is random within half and
 * whole of (duration - grace) / clients, never above a second.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/lameduck.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "server/listener.h"
#include "server/options.h"
#include "server/server.h"

static void close_one(void *arg)
{
    struct server *srv = arg;
    struct client *cl = client_next(srv, NULL);
    uint16_t dice;
    int64_t half = srv->duck_step_ns / 2;

    if (cl)
        client_close(cl, CLIENT_SHUTDOWN, NULL);
    if (srv->nclients == 0) {
        server_stop(srv, 0);
        return;
    }
    random_bytes(&dice, sizeof dice);
    turn_set(srv->turn, &srv->duck, clock_mono() + half + half * dice / UINT16_MAX);
}

static void grace_over(void *arg)
{
    struct server *srv = arg;
    int64_t rest = srv->opt->lame_duck_ns - srv->opt->lame_duck_grace_ns;

    log_info("Closing existing clients");
    if (rest <= 0)
        rest = NS_PER_S;
    srv->duck_step_ns = srv->nclients ? rest / srv->nclients : 0;
    if (srv->duck_step_ns > NS_PER_S)
        srv->duck_step_ns = NS_PER_S;
    turn_timer_init(&srv->duck, close_one, srv);
    close_one(srv);
}

void lameduck_begin(struct server *srv)
{
    if (srv->lame_duck || srv->stopping)
        return;
    srv->lame_duck = true;
    log_info("Entering lame duck mode, stop accepting new clients");
    listener_close(srv->listener);
    srv->listener = NULL;
    if (srv->nclients == 0) {
        server_stop(srv, 0);
        return;
    }
    for (struct client *cl = NULL; (cl = client_next(srv, cl));)
        client_send_info(cl);
    turn_timer_init(&srv->duck, grace_over, srv);
    turn_set(srv->turn, &srv->duck, clock_mono() + srv->opt->lame_duck_grace_ns);
}
