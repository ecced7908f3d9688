"""The cost of one message while one thing grows and the others stay at their smallest. Frond alone.

Cost is the server's CPU for a 128 B publish (window 4000) and for a pulled message (batches of 500, no acks): medians
of REPEATS measures on one filling. `times` is the dearest size against the smallest.
"""
import statistics

from .case import Case
from .messages import STREAM
from .server import Server

REPEATS, MEASURED, PULLED = 5, 100_000, 10_000


def cost(server, first, *args):
    """us of CPU for a publish; what is stored grows by REPEATS * MEASURED meanwhile."""
    out = []
    for i in range(REPEATS):
        got = server.load("publish", "--msgs", MEASURED, "--window", 4000, "--first", first + i * MEASURED, *args)
        out.append(got["server_cpu"] / MEASURED * 1e6)
    return statistics.median(out)


def pull_cost(server):
    """us of CPU for a pulled message, from the beginning of the stream; always as many, for a consumer costs too."""
    out = []
    for _ in range(2 * REPEATS):
        got = server.load("pull", "--msgs", PULLED, "--batch", 500)
        out.append(got["server_cpu"] / PULLED * 1e6)
        server.api("$JS.API.CONSUMER.DELETE.BENCH.PULL")
    return statistics.median(out)


def axis(measure, sizes):
    """measure(server, size) -> {what: us}"""
    def run(_, ctx):
        out, by_what = {}, {}
        for size in sizes:
            size = min(size, ctx.count(size)) if size > 10_000 else size
            with Server("frond", ctx.base) as server:
                for what, us in measure(server, size).items():
                    out[f"{what}_{size}_us"] = us
                    by_what.setdefault(what, []).append(us)
        for what, costs in by_what.items():
            out[f"{what}_times"] = max(costs[1:]) / costs[0]
        return out

    return run


def fill(server, count, *args):
    if count:
        server.load("publish", "--msgs", count, "--window", 4000, *args)


def messages(server, size):
    server.stream(**STREAM)
    fill(server, size)
    pull = pull_cost(server)
    return {"publish": cost(server, size), "pull": pull}


def streams(server, size):
    for i in range(size):
        server.stream(f"S{i:07d}", [f"bench.js.{i:07d}"])
    if size == 1:  # the generator names streams only where there are several
        server.stream("BENCH", ["bench.js"])
        return {"publish": cost(server, 0)}
    fill(server, max(MEASURED, 10 * size), "--streams", size)
    return {"publish": cost(server, 0, "--streams", size)}


def consumers(server, size):
    server.stream(**STREAM)
    for i in range(size):
        server.api(f"$JS.API.CONSUMER.DURABLE.CREATE.BENCH.C{i}",
                   {"stream_name": "BENCH", "config": {"durable_name": f"C{i}", "ack_policy": "explicit"}})
    fill(server, MEASURED)
    return {"publish": cost(server, MEASURED)}


def subjects(server, size):
    server.stream(**STREAM)
    stored = 1_000_000
    fill(server, stored, "--subjects", size)
    pull = pull_cost(server)
    return {"publish": cost(server, stored, "--subjects", size), "pull": pull}


def cases():
    g, frond = "growth", ("frond",)
    return [
        Case("growth: stored messages", g, axis(messages, (10_000, 1_000_000, 10_000_000)), frond, rounds=1),
        Case("growth: streams", g, axis(streams, (1, 100, 2_000)), frond, rounds=1),
        Case("growth: consumers", g, axis(consumers, (1, 1_000)), frond, rounds=1),
        Case("growth: subjects", g, axis(subjects, (1, 1_000_000)), frond, rounds=1),
    ]
