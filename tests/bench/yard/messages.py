"""The rows about messages. Each round: a fresh server, what the row wants stored, the measured load."""
import signal
import time

from .case import Case
from .server import Server
from .world import Failed, bare

ALWAYS = "sync_interval: always"
LARGE, COMMIT = 16 << 10, 4 << 20  # from here on the disk is the limit; bytes of one commit then
ROOM = ("--pending", 100_000)  # max_ack_pending: acks of one batch may wait while the next is on its way
STREAM = {"subjects": ["bench.js", "bench.js.>"]}
KV_STREAM = {"subjects": ["bench.kv.>"], "max_msgs_per_subject": 1, "discard": "new", "deny_delete": True,
             "allow_rollup_hdrs": True}


def figures(result, payload=0):
    """What one round of the generator tells."""
    out = {"rate": result["msgs"] / result["wall"], "cpu_us": result["server_cpu"] / result["msgs"] * 1e6,
           "generator": result["cpu"] / result["wall"], "anon_mb": result["memory"]["RssAnon"],
           "rss_mb": result["memory"]["VmRSS"], "peak_mb": result["memory"]["VmHWM"]}
    for p in ("p50", "p99", "p999"):
        if p in result:
            out[f"{p}_us"] = result[p]
    if payload:
        out["written"] = result["written"] / (result["msgs"] * payload)
    return out


def core(size, msgs, subs=1, tls=False):
    def run(kind, ctx):
        with Server(kind, ctx.base, tls=tls) as server:
            return figures(server.load("core", "--size", size, "--msgs", ctx.count(msgs), "--subs", subs,
                                       "--tls", int(tls)))

    return run


def request_reply(msgs):
    def run(kind, ctx):
        with Server(kind, ctx.base) as server:
            return figures(server.load("reqrep", "--msgs", ctx.count(msgs)))

    return run


def request_reply_under_load(msgs, gap=0):
    """Beside a publisher that keeps 1000 acks outstanding. Its rate is told, the CPU is both together.

    gap: us from one request to the next, whatever the server does (the rate is the gap's, then). Without one a
    requester asks most while the stream pauses for its disk, and takes the processor from the load: its median is
    that of the pauses."""
    def run(kind, ctx):
        with Server(kind, ctx.base) as server:
            server.stream(**STREAM)
            publisher = server.start_load("publish", "--msgs", 20_000_000, "--window", 1000)
            time.sleep(0.3)  # not a wait for anything: its start is not to be measured
            result = server.load("reqrep", "--msgs", ctx.count(msgs), "--gap", gap)
            if publisher.poll() is not None:
                raise Failed(f"{kind}: the load ended before the requests: {publisher.stderr.read()}")
            publisher.send_signal(signal.SIGTERM)
            beside = server.end_load(publisher)
            out = figures(result)
            del out["cpu_us"]
            return {**out, "beside_rate": beside["msgs"] / beside["wall"]}

    return run


def publish(size, msgs, *args, window=1000, always=False, nats_msgs=None, subjects=1):
    """always: the reference flushes too; it gets fewer messages then, for it is far slower."""
    def run(kind, ctx):
        js = ALWAYS if always and kind == "nats" else ""
        n = ctx.count(nats_msgs if nats_msgs and kind == "nats" else msgs)
        with Server(kind, ctx.base, jetstream=js) as server:
            server.stream(**STREAM)
            out = figures(server.load("publish", "--size", size, "--msgs", n, "--window", window,
                                      "--subjects", subjects, *args), size)
        if size >= LARGE:  # the same bytes without a server, right beside the row
            out["bare_rate"] = bare(ctx.base, "stream", n * size, COMMIT)["stream_bytes_s"] / size
        return out

    return run


def sync(conns, msgs, nats_msgs):
    def run(kind, ctx):
        js = ALWAYS if kind == "nats" else ""
        n = ctx.count(nats_msgs if kind == "nats" else msgs)
        with Server(kind, ctx.base, jetstream=js) as server:
            server.stream(**STREAM)
            server.load("sync", "--msgs", max(50, conns), "--conns", conns)  # the first flushes make files
            out = figures(server.load("sync", "--msgs", n, "--conns", conns, "--first", max(50, conns)), 128)
        if conns == 1:  # the disk's mood changes: ask it right beside the row
            out["bare_us"] = bare(ctx.base, 400)["lmdb_p50"]
            out["over_bare_us"] = out["p50_us"] - out["bare_us"]
        return out

    return run


def consume(mode, msgs, *args, **stream):
    def run(kind, ctx):
        n = ctx.count(msgs)
        with Server(kind, ctx.base) as server:
            server.stream(**STREAM, **stream)
            server.load("publish", "--msgs", n, "--window", 4000)
            return figures(server.load(mode, "--msgs", n, *args))

    return run


def kv(keys, msgs):
    def run(kind, ctx):
        k, n = ctx.count(keys), ctx.count(msgs)
        with Server(kind, ctx.base) as server:
            server.stream(**KV_STREAM)
            server.load("kv", "--msgs", k, "--keys", k)
            return figures(server.load("kv", "--msgs", n, "--keys", k, "--first", k), 128)

    return run


def cases():
    c, j, k = "core", "JetStream", 1024
    return [
        Case("core 16 B", c, core(16, 3_000_000), quick=True),
        Case("core 128 B", c, core(128, 2_000_000), quick=True),
        Case("core 1 KiB", c, core(k, 800_000), quick=True),
        Case("core 16 KiB", c, core(16 * k, 80_000)),
        Case("fan-out 4, 128 B", c, core(128, 600_000, 4), quick=True),
        Case("fan-out 16, 128 B", c, core(128, 150_000, 16)),
        Case("fan-out 4, 1 KiB", c, core(k, 250_000, 4)),
        Case("fan-out 16, 1 KiB", c, core(k, 60_000, 16)),
        Case("fan-out 4, 16 KiB", c, core(16 * k, 20_000, 4)),
        Case("fan-out 16, 16 KiB", c, core(16 * k, 5_000, 16)),
        Case("request/reply", c, request_reply(10_000), quick=True),
        Case("request/reply under load", c, request_reply_under_load(4_000, gap=500), quick=True),
        Case("request/reply under load, back to back", c, request_reply_under_load(8_000)),
        Case("TLS 128 B", c, core(128, 1_000_000, tls=True), quick=True),
        Case("TLS 1 KiB", c, core(k, 400_000, tls=True)),
        Case("async w1000 128 B", j, publish(128, 500_000), quick=True),
        Case("async w4000 128 B", j, publish(128, 600_000, window=4000), quick=True),
        Case("async w4000 1 KiB", j, publish(k, 300_000, window=4000)),
        Case("async w400 16 KiB", j, publish(16 * k, 24_000, window=400)),
        Case("async w8 1 MiB", j, publish(1024 * k, 400, window=8)),
        Case("async w1000, theirs always", j, publish(128, 500_000, always=True, nats_msgs=8_000), quick=True),
        Case("async 1M subjects", j, publish(128, 1_000_000, window=4000, subjects=1_000_000), rounds=3),
        Case("1 sync publisher, theirs always", j, sync(1, 3_000, 3_000), quick=True),
        Case("16 sync publishers, theirs always", j, sync(16, 20_000, 5_000)),
        Case("100 sync publishers, theirs always", j, sync(100, 60_000, 8_000)),
        Case("push", j, consume("push", 600_000), quick=True),
        Case("pull 500", j, consume("pull", 400_000, "--batch", 500), quick=True),
        Case("pull 500 + ack", j, consume("pull", 200_000, "--batch", 500, "--ack", 1, *ROOM)),
        Case("pull 1000 + ack", j, consume("pull", 200_000, "--batch", 1000, "--ack", 1, *ROOM), quick=True),
        Case("KV put, 100k keys", j, kv(100_000, 200_000), quick=True),
        Case("work queue, random acks", j, consume("queue", 100_000, "--batch", 500, *ROOM, retention="workqueue"),
             quick=True),
    ]
