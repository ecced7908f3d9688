"""Anonymous resident memory (RssAnon) of a site with a link and JetStream."""
import resource
import socket
import time

from .case import Case
from .server import Server, free_port

IDLE_S, AFTER_S = 4, 8  # what a server may take to give memory back; stated with the figures
CONNECTIONS = 1000


def settled(server, seconds):
    time.sleep(seconds)
    return server.memory()["RssAnon"]


def idle_connections(server, count):
    """MB more with so many clients that subscribed to something and are silent."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before, clients = server.memory()["RssAnon"], []
    for i in range(count):
        client = socket.create_connection(("127.0.0.1", server.port), 10)
        client.sendall(b'CONNECT {"verbose":false}\r\nSUB idle.%d 1\r\nPING\r\n' % i)
        clients.append(client)
    for client in clients:
        got = b""
        while b"PONG" not in got:
            got += client.recv(4096)
    more = settled(server, 2) - before
    for client in clients:
        client.close()
    return more


def run(kind, ctx):
    leaf = free_port()
    count = ctx.count(1_000_000)
    hub_more = f'leafnodes {{ listen: "127.0.0.1:{leaf}" }}'
    with Server("nats", ctx.base, "hub", 'domain: "hub"', hub_more) as hub:
        hub.cpu()
        remote = f'leafnodes {{ remotes: [ {{ url: "nats-leaf://127.0.0.1:{leaf}" }} ] }}'
        with Server(kind, ctx.base, "site", 'domain: "site"', remote) as site:
            idle = settled(site, IDLE_S)
            connections = idle_connections(site, CONNECTIONS)
            site.stream()
            peak = 0.0
            for args in (("publish", "--msgs", count, "--window", 4000),
                         ("pull", "--msgs", count, "--batch", 500, "--ack", 1, "--pending", 100_000)):
                load = site.start_load(*args)
                while load.poll() is None:
                    peak = max(peak, site.memory()["RssAnon"])
                    time.sleep(0.02)
                site.end_load(load)
            return {"idle_mb": idle, "after_1m_mb": settled(site, AFTER_S), "peak_mb": peak,
                    "connections_mb": max(connections, 0.001)}


def cases():
    return [Case("memory of a linked site", "memory", run, rounds=2,
                 note=f"RssAnon idle; {AFTER_S} s after 1M published, pulled, acked; its peak; {CONNECTIONS} idle clients more")]
