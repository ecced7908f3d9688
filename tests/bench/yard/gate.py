"""The command line of scripts/bench."""
import argparse
import pathlib
import signal
import subprocess
import sys
import time

from . import drain, growth, jobs, memory, messages, report, restart, stock, world, written
from .case import Context, measure

DOCS = world.ROOT / "docs"
GROUPS = (messages, restart, memory, written, drain, growth, jobs, stock)


def all_cases():
    return [case for group in GROUPS for case in group.cases()]


def arguments(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="central rows, few messages, 2 rounds: at most a minute")
    p.add_argument("--rounds", type=int, help="rounds of each row (5, quick: 2)")
    p.add_argument("--only", action="append", metavar="TEXT", help="rows whose name or group contains this; may be repeated")
    p.add_argument("--all", action="store_true", help="the jobs too, several minutes more")
    p.add_argument("--list", action="store_true", help="name the rows and leave")
    p.add_argument("--dir", type=pathlib.Path, default=world.BUILD / "bench", help="where the stores lie")
    p.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures there")
    p.add_argument("--plot", type=pathlib.Path, metavar="FILE.png", help="draw the ratios there")
    p.add_argument("--docs", action="store_true", help="write docs/performance.{json,png} and the table of the page")
    return p.parse_args()


def chosen(args):
    if args.only:
        return [c for c in all_cases() if any(o in c.name or o == c.group for o in args.only)]
    return [c for c in all_cases() if (c.quick if args.quick else args.all or not c.extra)]


def draw(source, picture):
    """In Debian's Python: matplotlib comes from its packages."""
    plot = ["/usr/bin/python3", pathlib.Path(__file__).with_name("plot.py"), source, picture]
    for step in ([world.ROOT / "scripts/setup", "bench"], plot):
        if subprocess.run(step).returncode:  # the figures are written; only the picture is missing
            return print(f"no picture; again with: {' '.join(map(str, plot))}")


def main(doc):
    args = arguments(doc)
    cases = chosen(args)
    if args.list:
        print("\n".join(f"{c.group:12} {c.name}{'  (quick)' if c.quick else ''}" for c in cases))
        return 0
    world.need_binaries()
    args.dir.mkdir(parents=True, exist_ok=True)
    rounds, began = args.rounds or (2 if args.quick else 5), time.monotonic()
    ctx = Context(args.dir.resolve(), args.quick, world.disk(args.dir, args.quick))
    result = {"when": world.today(), "machine": world.machine(), "disk": ctx.disk, "versions": world.versions(),
              "rounds": rounds, "quick": args.quick, "rows": {}}
    print("\n".join(report.head(result)), flush=True)
    print(report.TITLE, flush=True)
    for case in cases:
        row = result["rows"][case.name] = measure(case, ctx, rounds)
        print(report.line(case.name, row), flush=True)
        if args.json:
            report.write_json(result, args.json)
    result["seconds"] = round(time.monotonic() - began)
    print("\n".join(report.closing(result)))
    print(f"{result['seconds']} s")
    if args.json:
        report.write_json(result, args.json)
    if args.docs:
        report.write_page(result, DOCS / "performance.md")
    if args.docs or args.plot:
        source = DOCS / "performance.json" if args.docs else args.json or args.plot.with_suffix(".json")
        report.write_json(result, source)
        draw(source, DOCS / "performance.png" if args.docs else args.plot)
    return 1 if any("failed" in row for row in result["rows"].values()) else 0


def run(doc):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    try:
        sys.exit(main(doc))
    except KeyboardInterrupt:
        sys.exit(130)
