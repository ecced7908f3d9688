"""cuts [--cuts N] [--seed N] …    scripts/cuts says them all

Several scenes at once, each a genuine hub, a link through a relay, and a site: who pulls (the hub from the site, the
site from the hub), what the origin keeps (limits, work queue, interest), and how it is copied (source, mirror). A till
sells all the time; trouble comes until each scene had its share. In the end the copy holds what was acknowledged, once
and in order. With --control the genuine server stands on the site as well, for comparison: what it loses is told, and
does not count. Exit status 1 when Frond lost, doubled or mixed up a message, or did not catch up.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/interop"))

from scene import SCENES  # noqa: E402

HERE = Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/cuts")
    parser.add_argument("--cuts", type=int, default=1000, metavar="N", help="of all scenes together")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="N", help="no new trouble after so long")
    parser.add_argument("--scenes", default=",".join(SCENES), metavar="A,B", help="only these")
    parser.add_argument("--control", action="store_true", help="the same with the genuine server on the site")
    parser.add_argument("--dir", metavar="DIR", help="where stores and logs lie; a scene that went wrong stays")
    parser.add_argument("--json", metavar="FILE", help="the figures")
    return parser.parse_args()


def start(args, work, kind, name, seed, cuts):
    figures = work / f"{kind}-{name}.json"
    said = open(work / f"{kind}-{name}.out", "w")  # noqa: SIM115 - the child's
    return figures, subprocess.Popen(
        [sys.executable, HERE / "scene.py", kind, name, str(cuts), str(seed), str(args.seconds), work / f"{kind}-{name}",
         figures], stdout=said, stderr=said)


def gather(work, figures, child, kind, name):
    child.wait()
    if figures.exists():
        return json.loads(figures.read_text())
    said = (work / f"{kind}-{name}.out").read_text()[-3000:]
    return {"kind": kind, "scene": name, "wrong": [f"ended with {child.returncode}: {said}"]}


def show(result):
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.get("troubles", {}).items()))
    print(f"cuts: {result['kind']}, {result['scene']}: {result.get('cuts', 0)} ({kinds}), {result.get('sold', 0)} acknowledged, "
          f"{result.get('links', 0)} links, {result.get('seconds', 0)} s: {len(result['wrong'])} wrong")
    if result.get("kept"):
        print(f"      {result['kept']} acknowledged ones are kept by the genuine server that was killed")
    for wrong in result["wrong"][:5]:
        print(f"      {wrong}")


def main():
    args = arguments()
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    names = args.scenes.split(",")
    kinds = ["frond", "nats-server"] if args.control else ["frond"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="frond-cuts-", dir=args.dir) as work:
        share = -(-args.cuts // len(names))
        children = [(kind, name, *start(args, Path(work), kind, name, seed + n, share))
                    for kind in kinds for n, name in enumerate(names)]
        results = [gather(Path(work), figures, child, kind, name) for kind, name, figures, child in children]
        wrong = [result for result in results if result["wrong"]]
        if wrong and args.dir:
            os.rename(work, f"{work}-wrong")
            os.mkdir(work)
    for result in results:
        show(result)
    total = Counter()
    for result in results:
        if result["kind"] == "frond":
            total.update(cuts=result.get("cuts", 0), sold=result.get("sold", 0), wrong=len(result["wrong"]))
    print(f"cuts: seed {seed}, {total['cuts']} in {len(names)} scenes, {total['sold']} acknowledged, "
          f"{time.monotonic() - began:.0f} s: {total['wrong']} wrong", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps({"seed": seed, **total, "scenes": results}))
    sys.exit(1 if total["wrong"] else 0)


if __name__ == "__main__":
    main()
