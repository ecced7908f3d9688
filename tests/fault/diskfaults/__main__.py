"""diskfaults [--flips N] [--calls] …    scripts/diskfaults says them all

A disk that lies, fails or is full, under the server as it is shipped. Prints a table of what became of each fault;
exit status 1 when anything was wrong.
"""
import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import calls  # noqa: E402
import disks  # noqa: E402
import flips  # noqa: E402
import pages  # noqa: E402
from share import share  # noqa: E402

PER_STORE = 500  # flips of one store, or with --aim
PER_STORE_AIMED = 50


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/diskfaults")
    parser.add_argument("--flips", type=int, default=0, metavar="N", help="flip so many bits, one at a time")
    parser.add_argument("--aim", metavar="WORD", help="with --flips: only bits of LMDB's own words (trees.py) that hold WORD")
    parser.add_argument("--calls", action="store_true", help="the n-th call fails, for every kind and every n")
    parser.add_argument("--step", type=int, default=1, metavar="N", help="with --calls: every N-th n only")
    parser.add_argument("--pages", type=int, default=0, metavar="N", help="so many pages that can't be read")
    parser.add_argument("--disks", action="store_true", help="real file systems that are full (wants root)")
    parser.add_argument("--seed", default=None, metavar="S", help="repeats the bits, and nearly the store")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="N", help="nothing new after so long")
    parser.add_argument("--dir", default="/dev/shm" if os.path.isdir("/dev/shm") else None, metavar="DIR",
                        help="where stores are made; a file system in memory is the fast one")
    parser.add_argument("--json", metavar="FILE", help="the figures")
    return parser.parse_args()


def run_flips(args, directory, deadline):
    """Half of the stores were closed well, half killed. [(store, bit, Verdict)]"""
    most = PER_STORE if args.aim is None else PER_STORE_AIMED

    def each(store):
        place = Path(tempfile.mkdtemp(dir=directory))
        try:
            count = min(most, args.flips - store * most)
            size, done = flips.run(place, f"{args.seed}/{store}", range(count), count, store % 2 == 1, deadline,
                                   aim=args.aim)
            return [(store, size, bit, verdict) for bit, verdict in done]
        finally:
            shutil.rmtree(place)

    stores = range((args.flips + most - 1) // most)
    return [one for some in share(args.jobs, stores, each) for one in some]


def show_flips(args, done, seconds):
    kinds = Counter(verdict.kind for *_, verdict in done)
    for store, _, bit, verdict in done:
        if verdict.kind == "wrong":
            print(f"seed {args.seed}/{store}, bit {bit} (page {bit // 32768}, byte {bit // 8 % 4096}) "
                  f"{verdict.what}: {verdict.text}")
    held = sum(verdict.held for *_, verdict in done)
    most = max((verdict.held for *_, verdict in done), default=0)
    print(f"diskfaults: {len(done)} flipped bits, seed {args.seed}, {seconds:.0f} s")
    for kind in ("found", "harmless", "stopped", "wrong"):
        print(f"    {kind:<9} {kinds[kind]:>6}  {100 * kinds[kind] / max(1, len(done)):6.2f} %")
    print(f"    messages held back: {held}, at most {most} for one flip")
    for where, count in sorted(Counter(v.at for *_, v in done if v.kind == "stopped").items()):
        print(f"    stopped at {where}: {count}")
    return {"flips": len(done), "held": held, "held_most": most, "seconds": round(seconds, 1), **kinds}


def run_calls(args, directory, deadline):
    """{fault: [(n, Outcome)]}."""
    counts = share(args.jobs, range(len(calls.FAULTS)),
                   lambda i: (i, calls.how_many(Path(directory) / f"count-{i}", calls.FAULTS[i])))
    work = [(i, n) for i, count in sorted(counts) for n in range(1 + (args.first + i) % args.step, count + 1, args.step)]

    def each(item):
        i, n = item
        if time.monotonic() > deadline:
            return None
        return i, n, calls.run(Path(directory) / f"run-{i}-{n}", calls.FAULTS[i], n)

    done = [one for one in share(args.jobs * 2, work, each) if one]
    return {fault: sorted(((n, o) for k, n, o in done if k == i), key=lambda it: it[0])
            for i, fault in enumerate(calls.FAULTS)}


def show_calls(table):
    kinds = ("survived", "stopped", "refused", "unhurt", "wrong")
    print("diskfaults: the n-th call fails" + " " * 10 + "".join(f"{kind:>10}" for kind in kinds) + "   back after")
    figures, errors = {}, Counter()
    for fault, done in table.items():
        count = Counter(outcome.kind for _, outcome in done)
        back = max((outcome.recovered for _, outcome in done), default=0)
        figures[fault.name] = {**count, "recovered_max_s": round(back, 1)}
        print(f"    {fault.name:<36}" + "".join(f"{count[kind]:>10}" for kind in kinds) + f"   {back:.1f} s")
        errors.update(error for _, outcome in done for error in outcome.errors)
        for n, outcome in done:
            if outcome.kind == "wrong":
                print(f"        call {n}: {outcome.text}")
    for (code, err_code, text), count in errors.most_common():
        print(f"    told in {count} runs: {code} {err_code} {text}")
    return figures


def show_pages(done):
    figures = {}
    for what in sorted({what for what, _ in done}):
        count = Counter(outcome.kind for of, outcome in done if of == what)
        figures[what] = dict(count)
        print(f"diskfaults: {what}: " + ", ".join(f"{count[k]} {k}" for k in ("unhurt", "stopped", "wrong")))
    for what, outcome in done:
        if outcome.kind == "wrong":
            print(f"    {what}: {outcome.text}")
    return figures


def run_disks(directory):
    figures, wrong = {}, 0
    for kind in ("tmpfs", "ext4"):
        place = Path(tempfile.mkdtemp(dir=directory))
        try:
            waits, errors, stored = disks.play(place, kind)
            figures[kind] = {"back_after_s": waits, "told": errors, "stored": stored}
            print(f"diskfaults: {kind} full {len(waits)} times: {stored} stored, none lost; publishes taken again after "
                  f"{waits} s; told {errors}")
        except OSError as error:
            print(f"diskfaults: {kind}: not tried: {error}")
        except (calls.Wrong, AssertionError) as error:
            wrong += 1
            print(f"diskfaults: {kind}: {error}")
    return figures, wrong


def main():
    args = arguments()
    args.seed = args.seed or str(int(time.time()))
    began = time.monotonic()
    figures, wrong = {"seed": args.seed}, 0
    directory = tempfile.mkdtemp(dir=args.dir, prefix="diskfaults-")
    try:
        if args.flips:
            done = run_flips(args, directory, began + args.seconds)
            figures["flips"] = show_flips(args, done, time.monotonic() - began)
            wrong += figures["flips"].get("wrong", 0) + (not done)
        if args.calls:
            args.first = random.Random(args.seed).randrange(args.step)
            table = run_calls(args, directory, began + args.seconds)
            figures["calls"] = show_calls(table)
            wrong += sum(outcome.kind == "wrong" for done in table.values() for _, outcome in done)
        if args.pages:
            place = Path(tempfile.mkdtemp(dir=directory))
            done = pages.run(place, args.seed, args.pages)
            figures["pages"] = show_pages(done)
            wrong += sum(outcome.kind == "wrong" for _, outcome in done)
        if args.disks:
            figures["disks"], bad = run_disks(directory)
            wrong += bad
    finally:
        shutil.rmtree(directory)
    if args.json:
        Path(args.json).write_text(json.dumps(figures))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
