"""The same with the stock tool: `nats bench`, a check that our generator tells no tales.

The tool is dearer than either server, so ratios are smaller here; what counts is that nothing turns round.
"""
import re
import subprocess

from . import world
from .case import Case
from .server import Server
from .world import Failed

RATE = re.compile(r"([\d,]+) msgs/sec")


def nats(server, *args):
    return subprocess.Popen([world.NATS, "--server", f"127.0.0.1:{server.port}", "--no-context", "bench", *map(str, args),
                             "--no-progress"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            preexec_fn=world.die_with_parent)


def rate(tool):
    out, _ = tool.communicate(timeout=120)
    found = RATE.search(out)
    if tool.returncode or not found:
        raise Failed(f"nats {' '.join(tool.args[4:])}: {out[-600:]}")
    return float(found.group(1).replace(",", ""))


def core(kind, ctx):
    n = ctx.count(1_500_000)
    with Server(kind, ctx.base) as server:
        cpu = server.cpu()
        sub = nats(server, "sub", "bench.stock", "--msgs", n, "--size", 128)
        wait_for_interest(server)
        rate(nats(server, "pub", "bench.stock", "--msgs", n, "--size", 128))
        return {"rate": rate(sub), "cpu_us": (server.cpu() - cpu) / n * 1e6}


def wait_for_interest(server):
    """The subscriber is there when a request to its subject finds somebody."""
    from .server import Client

    client = Client(server.port)
    client.sock.settimeout(30)
    for _ in range(3000):
        client.sock.sendall(b"PUB bench.stock _INBOX.y 0\r\n\r\nPING\r\n")
        got = b""
        while b"PONG" not in got:
            got += client.sock.recv(4096)
        if b"503" not in got:
            client.close()
            return
    raise Failed("the subscriber did not come")


def publish(kind, ctx):
    n = ctx.count(300_000)
    with Server(kind, ctx.base) as server:
        server.stream("benchstream", ["bench.stock"])
        cpu = server.cpu()
        told = rate(nats(server, "js", "pub", "async", "bench.stock", "--msgs", n, "--size", 128, "--batch", 1000))
        return {"rate": told, "cpu_us": (server.cpu() - cpu) / n * 1e6}


def fetch(kind, ctx):
    n = ctx.count(200_000)
    with Server(kind, ctx.base) as server:
        server.stream("benchstream", ["bench.js"])
        server.load("publish", "--msgs", n, "--window", 4000, "--stream", "benchstream")
        cpu = server.cpu()
        told = rate(nats(server, "js", "fetch", "--stream", "benchstream", "--msgs", n, "--batch", 500))
        return {"rate": told, "cpu_us": (server.cpu() - cpu) / n * 1e6}


def cases():
    s = "nats bench"
    return [Case("nats bench: core 128 B", s, core, rounds=3),
            Case("nats bench: js pub async 1000", s, publish, rounds=3),
            Case("nats bench: js fetch 500", s, fetch, rounds=3)]
