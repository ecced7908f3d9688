"""overload [--only ROW] [--seconds N] [--ours] …    scripts/overload says them all

Each row puts one kind of too much on a server and looks at two things: how much memory of its own the server takes
(RssAnon, the peak and what is left when it is quiet again), and how long an innocent client waits for its own message
(every 2 ms: p99 before, and p99 while it lasts). Frond's peak is held against the bound of the row; exit status 1 when
it is above. nats-server's figures stand beside it, from the same minutes.
"""
import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/interop"))

from frondtest import FROND_BIN, Frond, NatsServer  # noqa: E402
from rows import MB, ROWS  # noqa: E402

LIBRARY = next((path for path in (FROND_BIN.parent / "tests/fault", ROOT / "build/tests/fault")
                if (path / "librecorder.so").exists()), ROOT / "build/tests/fault") / "librecorder.so"
IDLE, QUIET = 2.0, 12.0  # seconds of looking before the load, and after it, until memory went back


def bystand(port, connect, tls, times, stop):
    """The innocent client, a process of its own: (when, how long) of each round."""
    from frondtest import Raw
    os.nice(-5) if os.geteuid() == 0 else None
    c = Raw(port, timeout=120, tls=tls and tls()).hello(**connect)
    c.send("SUB innocent 1")
    c.sync()
    found = []
    while not stop.is_set():
        began = time.monotonic()
        c.send("PUB innocent 2", "hi")
        c.message()
        ended = time.monotonic()
        found.append((began, ended - began))
        time.sleep(max(0.0, 0.002 - (ended - began)))
    times.put(found)


def p99(found):
    found = sorted(took for _, took in found)
    return found[int(len(found) * 0.99)] * 1000 if found else float("nan")


def watch(server, peak, stop):
    while not stop.is_set():
        try:
            peak[0] = max(peak[0], server.rss_anon())
        except (OSError, AttributeError):
            return
        time.sleep(0.01)


def play(row, kind, directory, seconds, idle, quiet):
    row.directory = directory
    directory.mkdir(parents=True)
    options = dict(row.options())
    if row.slow_disk_ms:
        options["env"] = {"LD_PRELOAD": str(LIBRARY), "RECORDER_DELAY_MS": str(row.slow_disk_ms),
                          "RECORDER_LOG": str(directory / "recorded")}
    server = kind(directory / "server", name="busy", **options)
    server.start()
    stop, over, times = threading.Event(), multiprocessing.Event(), multiprocessing.Queue()
    peak = [0]
    watcher = threading.Thread(target=watch, args=(server, peak, stop))
    other = multiprocessing.Process(target=bystand, args=(server.port, row.connect, row.tls, times, over))
    try:
        row.prepare(server)
        other.start()
        time.sleep(idle)
        idle_rss, begun = server.rss_anon(), time.monotonic()
        watcher.start()
        row.load(server, begun + seconds)
        ended = time.monotonic()
        over.set()
        found = times.get(timeout=150)
        other.join()
        row.rest(server)
        before = [f for f in found if f[0] < begun]
        during = [f for f in found if begun <= f[0] <= ended]
        stop.set()
        row.close()
        left = server.rss_anon()
        end = time.monotonic() + quiet
        while time.monotonic() < end and left > idle_rss + MB // 2:
            time.sleep(0.2)
            left = min(left, server.rss_anon())
        return {"row": row.name, "kind": server.kind, "idle_rss": idle_rss, "peak": peak[0], "left": left,
                "bound": row.bound(), "p99_idle_ms": p99(before), "p99_load_ms": p99(during),
                "rounds": len(during), "did": row.did()}
    finally:
        stop.set()
        over.set()
        row.close()
        if other.is_alive():
            other.terminate()
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def say(r):
    held = "" if r["kind"] != "frond" else "  held" if r["peak"] <= r["bound"] else "  ABOVE THE BOUND"
    print(f"{r['row']:<14} {r['kind']:<12} {r['bound'] / MB if r['kind'] == 'frond' else float('nan'):>7.1f} "
          f"{r['idle_rss'] / MB:>6.1f} {r['peak'] / MB:>8.1f} {r['left'] / MB:>7.1f} {r['p99_idle_ms']:>8.2f} "
          f"{r['p99_load_ms']:>8.2f}  {r['did']}{held}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="overload")
    parser.add_argument("--only", action="append", choices=list(ROWS))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results, above = [], 0
    print(f"{'row':<14} {'server':<12} {'bound':>7} {'idle':>6} {'peak':>8} {'after':>7} {'p99 idle':>8} {'load':>8}"
          "  (MB of RssAnon, ms)", flush=True)
    with tempfile.TemporaryDirectory(prefix="overload-", dir=os.environ.get("OVERLOAD_DIR")) as base:
        for name in args.only or ROWS:
            for kind in (Frond,) if args.ours else (Frond, NatsServer):
                idle, quiet = (0.3, 0) if args.small else (IDLE, QUIET)
                result = play(ROWS[name](name, args.small), kind, Path(base) / f"{name}-{kind.kind}", args.seconds,
                              idle, quiet)
                results.append(result)
                say(result)
                above += kind is Frond and result["peak"] > result["bound"]
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
