"""SIGKILL in the middle of publishing, with much stored; how soon the server is back.

Times run from the spawn: to the line "Server is ready", and to the ack of the first publish (with a message id)
that was accepted. Warm: the page cache as the killed server left it. Cold: the store's pages were put out of it.
One filling serves several kills; a round's figure is their median.
"""
import statistics
import time

from .case import Case
from .messages import STREAM
from .server import Client, Server
from .world import Failed, forget_pages

KILLS = {"frond": 5, "nats": 2}  # warm, and as many cold
PATIENCE = 30


def kill_under_load(server, first, ids, subjects):
    load = server.start_load("publish", "--msgs", 10_000_000, "--window", 1000, "--first", first, "--ids", int(ids),
                             "--subjects", subjects)
    time.sleep(0.25)  # some hundred thousand messages; the kill comes in their midst
    server.kill()
    load.communicate()


def first_ack(server, spawned, number):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        client = Client(server.port)
        try:
            answer = client.request("bench.js", b"after the kill", b"Nats-Msg-Id: after-%d" % number)
            if answer and b'"seq"' in answer and b'"duplicate"' not in answer:
                return (time.monotonic() - spawned) * 1000
        finally:
            client.close()
    raise Failed(f"{server.kind}: no publish was accepted for {PATIENCE} s after the restart")


def comeback(msgs, subjects=1, ids=False, consumers=0):
    def run(kind, ctx):
        times = {f"{what}_{how}ms": [] for how in ("", "cold_") for what in ("ready", "publish")}
        stored = ctx.count(msgs)
        with Server(kind, ctx.base) as server:
            server.stream(**STREAM)
            server.load("publish", "--msgs", stored, "--window", 4000, "--subjects", subjects, "--ids", int(ids))
            for i in range(consumers):
                name = f"F{i}"
                config = {"durable_name": name, "ack_policy": "explicit", "filter_subject": f"bench.js.{i:07d}"}
                server.api(f"$JS.API.CONSUMER.DURABLE.CREATE.BENCH.{name}",
                           {"stream_name": "BENCH", "config": config})
            for i in range(KILLS[kind] * 2):
                cold = "cold_" if i % 2 else ""
                kill_under_load(server, stored + i * 10_000_000, ids, subjects)
                if cold:
                    forget_pages(server.store)
                spawned = time.monotonic()
                times[f"ready_{cold}ms"].append(server.start(timeout=120))
                times[f"publish_{cold}ms"].append(first_ack(server, spawned, i))
                kept = server.api("$JS.API.STREAM.INFO.BENCH")["state"]["messages"]
                if kind == "frond" and kept < stored:
                    raise Failed(f"{kept} of at least {stored} messages are left")
        return {figure: statistics.median(values) for figure, values in times.items()}

    return run


def cases():
    r = "restart"
    return [
        Case("restart, 5M messages", r, comeback(5_000_000), rounds=1,
             note="after SIGKILL under load; the median of 5 kills"),
        Case("restart, 1M subjects", r, comeback(1_000_000, subjects=1_000_000), rounds=1),
        Case("restart, 2M ids, 100 consumers", r, comeback(2_000_000, subjects=1000, ids=True, consumers=100), rounds=1,
             note="every message of the last two minutes has an id; 100 filtered consumers"),
    ]
