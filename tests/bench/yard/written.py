"""What reaches the disk: bytes written per stored byte, bytes of file per message.

A stored byte is one of a record as Frond keeps it: 28 bytes of frame, the subject, the payload. The same figure is
used for both servers.
"""
from .case import Case
from .server import Server

FRAME, SUBJECT, PAYLOAD = 28, len("bench.js"), 128


def batches(kind, ctx):
    """One stream, batches of well over 1000."""
    n = ctx.count(2_000_000)
    with Server(kind, ctx.base) as server:
        server.stream()
        got = server.load("publish", "--msgs", n, "--window", 8000)
        stored = n * (FRAME + SUBJECT + PAYLOAD)
        return {"written_per_stored": got["written"] / stored,
                "file_per_message": server.file_bytes() / (n * (SUBJECT + PAYLOAD))}


def steady(kind, ctx):
    """A stream that is full: each new message displaces the oldest."""
    kept = ctx.count(400_000)
    with Server(kind, ctx.base) as server:
        server.stream(max_msgs=kept)
        got = server.load("publish", "--msgs", 5 * kept, "--window", 4000, "--kept", kept)
        return {"file_per_message": server.file_bytes() / (kept * (SUBJECT + PAYLOAD)),
                "written_per_stored": got["written"] / (5 * kept * (FRAME + SUBJECT + PAYLOAD))}


def fifty_streams(kind, ctx):
    n, streams = ctx.count(500_000), 50
    with Server(kind, ctx.base) as server:
        for i in range(streams):
            server.stream(f"S{i:07d}", [f"bench.js.{i:07d}"])
        got = server.load("publish", "--msgs", n, "--window", streams * 100, "--streams", streams, "--run", 100)
        return {"written_per_stored": got["written"] / (n * (FRAME + SUBJECT + 8 + PAYLOAD)),
                "rate": got["msgs"] / got["wall"], "cpu_us": got["server_cpu"] / got["msgs"] * 1e6,
                "generator": got["cpu"] / got["wall"]}


def cases():
    d = "disk"
    return [
        Case("bytes written, batches >= 1000", d, batches, rounds=2, note="128 B messages; per payload + subject"),
        Case("file of a full stream", d, steady, rounds=2, note="128 B messages, each displaces one"),
        Case("50 streams, batches of 100", d, fifty_streams, rounds=3),
    ]
