"""A site's backlog goes to a real hub over a link of 100 Mbit/s and 20 ms there and back.

The link is tests/bench/link.c, a relay with a rate, a delay and a router's queue. Capacity is counted in bytes that
passed it: from the moment a tenth of the backlog has passed until nine tenths have, against what the rate allows.
Neither side compresses, so a byte is a byte.
"""
import json
import subprocess
import time

from . import world
from .case import Case
from .server import Server, free_port
from .world import Failed

RATE, DELAY_MS = 12_500_000, 10  # bytes per second; one way
PATIENCE = 60


class Link:
    def __init__(self, target):
        self.port = free_port()
        self.process = subprocess.Popen([world.LINK, str(self.port), str(target), str(RATE), str(DELAY_MS)],
                                        stdout=subprocess.PIPE, text=True, preexec_fn=world.die_with_parent)

    def end(self):
        """[(seconds, bytes up, bytes down)]"""
        self.process.terminate()
        out, _ = self.process.communicate()
        return [tuple(map(float, line.split())) for line in out.splitlines() if line.count(" ") == 2]


def share(told, before):
    """Of the capacity, in the middle eight tenths of what passed after `before`."""
    told = [t for t in told if t[0] >= before]
    first, last = told[0][1], told[-1][1]
    low, high = first + (last - first) * 0.1, first + (last - first) * 0.9
    begin = next(t for t in told if t[1] >= low)
    end = next(t for t in told if t[1] >= high)
    return (end[1] - begin[1]) / (end[0] - begin[0]) / RATE


def wait_for_all(kind, hub, count, end):
    while (state := hub.api("$JS.API.STREAM.INFO.ALL")["state"])["messages"] < count:
        if time.monotonic() > end:
            raise Failed(f"{kind}: after {PATIENCE} s the hub has {json.dumps(state)}")
        time.sleep(0.05)


def run(kind, ctx):
    leaf, n = free_port(), ctx.count(250_000)
    off = 'compression: "off"'
    with Server("nats", ctx.base, "hub", 'domain: "hub"',
                f'leafnodes {{ listen: "127.0.0.1:{leaf}", {off} }}') as hub:
        link = Link(leaf)
        try:
            remote = f'leafnodes {{ reconnect: 1, remotes: [ {{ url: "nats-leaf://127.0.0.1:{link.port}", {off} }} ] }}'
            with Server(kind, ctx.base, "site", 'domain: "site"', remote) as site:
                site.stream("BACKLOG")
                site.load("publish", "--msgs", n, "--window", 4000, "--stream", "BACKLOG")
                # The link takes its time; the hub is asked until it sees the site's API over it.
                end = time.monotonic() + PATIENCE
                while "error" in hub.ask("$JS.site.API.INFO"):
                    if time.monotonic() > end:
                        raise Failed(f"{kind}: the hub does not see the site")
                    time.sleep(0.1)
                cpu, began = site.cpu(), time.monotonic()
                with type(site).watch(site):
                    hub.stream("ALL", (), sources=[{"name": "BACKLOG", "external": {"api": "$JS.site.API"}}])
                    wait_for_all(kind, hub, n, began + PATIENCE)
                took, spent = time.monotonic() - began, site.cpu() - cpu
        finally:
            told = link.end()
    return {"rate": n / took, "cpu_us": spent / n * 1e6, "capacity": share(told, began), "seconds": took}


def cases():
    return [Case("backlog drain, 100 Mbit/s 20 ms", "drain", run, rounds=3,
                 note="128 B messages; the site's CPU; capacity: bytes at the relay of what the rate allows")]
