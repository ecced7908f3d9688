"""Work as large as what is stored, and whether anybody notices: scripts/turns, a row for each kind of work.

The figure of a row is the worst of its pieces: the longest turn of the loop in thread CPU time, and the p99 of an
unrelated request against the same when nothing else happens. Frond alone. Not in a plain run; --all or --only jobs.
"""
import json
import subprocess
import tempfile

from . import world
from .case import Case
from .world import Failed

LEAST_P99_MS = 0.05  # below that a p99 is a wake-up, not a server


def work(what):
    def run(_, ctx):
        with tempfile.NamedTemporaryFile(suffix=".json") as told:
            done = subprocess.run([world.ROOT / "scripts/turns", "--only", what, "--dir", ctx.base, "--json", told.name,
                                   "--scale", "0.02" if ctx.quick else "1"], capture_output=True, text=True,
                                  timeout=900, preexec_fn=world.die_with_parent)
            if done.returncode:
                raise Failed(f"scripts/turns {what}: {done.stdout[-300:]}{done.stderr[-300:]}")
            pieces = json.load(told)
        return {"turn_cpu_ms": max(p["cpu_ms"] for p in pieces), "turn_wall_ms": max(p["wall_ms"] for p in pieces),
                "p99_ms": max(p["p99_ms"] for p in pieces),
                "p99_times": max(p["p99_ms"] / max(p["idle_p99_ms"], LEAST_P99_MS) for p in pieces)}

    return run


def cases():
    return [Case(f"jobs: {name}", "jobs", work(what), ("frond",), rounds=1, extra=True)
            for name, what in (("5M purged", "purge"), ("1M subjects listed", "list"), ("1M expire at once", "expire"),
                               ("10M counted, deleted", "count"))]
