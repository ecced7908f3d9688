"""allocfaults [--only SCENE] [--every N] …    scripts/allocfaults says them all

Plays each scene once to count its allocations, then once per allocation with that one refused, and judges: what was
answered, how the server ended, what is on disk afterwards. Exit status 1 when anything is wrong.

    ok       nobody noticed: there was another way
    error    an honest error was the answer
    closed   one connection was closed, everybody else is served
    stop     exit status 71 and one line that names it (or 1 and a line, when a start says why it can't be)
    wrong    anything else: a signal, another exit status, no answer, a leak, something acknowledged that is gone
"""
import argparse
import json
import os
import re
import shutil
import ssl
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/interop"))

from frondtest import FROND_BIN  # noqa: E402
from frondtest.ports import ports_given_back  # noqa: E402
from page import FOR_EVER, Page  # noqa: E402
from scenes import SCENES  # noqa: E402
from server import Refused, Site  # noqa: E402

LIBRARY = next((path for path in (FROND_BIN.parent / "tests/fault", ROOT / "build/tests/fault")
                if (path / "liballocfail.so").exists()), ROOT / "build/tests/fault") / "liballocfail.so"
OUT_OF_MEMORY = 71
OUTCOMES = ("ok", "error", "closed", "stop", "wrong")
SPARE = 3  # the count of a scene may differ by so much from run to run
FEW = 12   # with --every: a small scene is tried so often all the same


@dataclass
class Run:
    outcome: str
    words: str = ""  # what was said
    where: list = field(default_factory=list)  # who asked for the memory
    hit: bool = False
    counted: int = 0
    blocks: int = 0  # held at the end, when it ended by itself


class Wrong(Exception):
    pass


def judge_end(site, scene, page, asked_for=False):
    """It ended, or was asked to: how?"""
    status = site.stop() if asked_for else site.wait_end()
    log = site.log()
    if status == OUT_OF_MEMORY and log.count("Out of memory") == 1:
        return Run("stop", "out of memory")
    if status == 1 and scene.whole_start and page.refused and log and "Server is ready" not in log:
        reason = next((line for line in log.splitlines() if "[FTL]" in line), log.splitlines()[-1])
        return Run("stop", reason.split("[FTL] ")[-1])
    if status == 0 and (asked_for or scene.flags):
        return Run("ok", blocks=page.blocks)
    raise Wrong(f"ended with {status}")


def still_serves(site, scene):
    """Everybody else: a new client is taken in, heard, and stored for."""
    with scene.newcomer(site) as c:
        c.send("SUB ok.1 3")
        c.put("ok.1", "?")
        m = c.message()
        while m.subject != "ok.1":  # late answers to the one before, who listened to the same
            m = c.message()
        assert m.payload == b"?"
        if "jetstream:" in site.config.read_text():
            c.ask("$JS.API.STREAM.CREATE.health", {"name": "health", "subjects": ["health"]})
            c.ask("health", b"ok")


def act(scene, site):
    try:
        scene.act(site)
    except Refused as e:
        return Run("error", str(e))
    except (EOFError, ConnectionError, ssl.SSLError) as e:
        return Run("closed", type(e).__name__)
    return Run("ok")


def play_start(scene, site, page, nth, count):
    """The whole life of the process is the scene."""
    scene.before(site)
    page.clear()
    if nth:
        page.arm(nth, count)
    site.launch(page.env, scene.flags)
    run = judge_end(site, scene, page, asked_for=not scene.flags and site.wait_ready())
    run.counted = page.counted
    return run


def play_talk(scene, site, page, nth, count):
    """The server is up; what is said to it now is the scene."""
    page.clear()
    site.launch(page.env)
    if not site.wait_ready():
        raise Wrong("no start")
    scene.prepare(site)
    begun = page.counted
    if nth:
        page.arm(nth, count)
    run = act(scene, site)
    page.disarm()
    counted = page.counted - begun
    scene.close()
    if not site.running or run.outcome == "closed" and site.ends_soon():
        run = judge_end(site, scene, page)
    else:
        try:
            still_serves(site, scene)
            with_client(site, scene)
            run.blocks = judge_end(site, scene, page, asked_for=True).blocks
        except (EOFError, ConnectionError, ssl.SSLError):
            if not page.refused or not site.ends_soon():
                raise
            run = judge_end(site, scene, page)  # refused just behind the scene's last word
    run.counted = counted
    return run


def with_client(site, scene):
    if scene.promised:
        with site.client() as c:
            for promise in scene.promised:
                promise(c)


def afterwards(site, scene):
    """The next start, by nobody's library: sound, and every promise kept."""
    if scene.flags:
        return
    site.launch()
    try:
        if not site.wait_ready():
            raise Wrong("the next start failed: " + site.log().splitlines()[-1])
        bad = re.search(r"\[(FTL|ERR)\].*", site.log())
        if bad and "leaf" not in bad.group(0).lower():
            raise Wrong(f"the next start says {bad.group(0)}")
        with_client(site, scene)
    finally:
        site.kill()


def one(name, nth, count, base):
    """Scene name with its nth allocation refused (and count - 1 more)."""
    with ports_given_back():
        return one_here(name, nth, count, Path(tempfile.mkdtemp(dir=base)))


def one_here(name, nth, count, directory):
    site = Site(FROND_BIN, directory)
    page = Page(directory / "page", LIBRARY)
    scene = SCENES[name]()
    try:
        scene.write(site)
        run = (play_start if scene.whole_start else play_talk)(scene, site, page, nth, count)
        afterwards(site, scene)
    except Exception as e:  # noqa: BLE001 - whatever it is, it is wrong
        words = "".join(traceback.format_exception_only(e)).strip()
        run = Run("wrong", words + "".join(f"\n    {line}" for line in site.log().splitlines()[-3:]))
    finally:
        scene.close()
        site.kill()
    run.hit = page.refused > 0
    if run.outcome not in ("ok", "stop") or run.words not in ("", "out of memory"):
        run.where = page.stack(FROND_BIN)
    shutil.rmtree(directory, ignore_errors=True)
    return nth, run


def play_scene(name, args, pool, base):
    """The row of the table, and what was wrong."""
    dry = [one(name, 0, 1, base)[1] for _ in range(2)]
    for run in dry:
        if run.outcome != "ok":
            raise SystemExit(f"allocfaults: {name} goes wrong with nothing refused: {run.words}")
    n, blocks = max(run.counted for run in dry), max(run.blocks for run in dry)
    least = min(run.counted for run in dry)
    last = n + SPARE
    step = max(1, min(args.every, least // FEW))
    first = args.first or 1 + (zlib.crc32(name.encode()) + args.seed) % step  # the same ones in every run
    count = FOR_EVER - 2**40 if args.all_after else 1
    jobs = [pool.submit(one, name, nth, count, base) for nth in range(first, (args.last or last) + 1, step)]
    row, said, wrong = Counter(), Counter(), []
    for job in jobs:
        nth, run = job.result()
        if not run.hit and run.outcome == "ok":
            least = min(least, run.counted)
            continue  # the scene was over
        if run.outcome in ("ok", "error", "closed") and run.blocks > blocks:
            run.outcome, run.words = "wrong", f"{run.blocks - blocks} blocks leaked ({run.outcome}: {run.words})"
        row[run.outcome] += 1
        if run.outcome == "wrong":
            wrong.append((nth, run))
            if args.verbose:
                print(f"  wrong: {name} {nth}: {run.words}\n    {' < '.join(run.where[:12])}", flush=True)
        elif run.words:
            said[f"{run.outcome}: {run.words}"] += 1
    return {"scene": name, "allocations": n, "due": (least - SPARE) // step, "tried": sum(row.values()),
            **{o: row[o] for o in OUTCOMES}, "said": dict(said.most_common())}, wrong


def main():
    parser = argparse.ArgumentParser(prog="allocfaults")
    parser.add_argument("--only", action="append", choices=list(SCENES))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int)
    parser.add_argument("--last", type=int)
    parser.add_argument("--all-after", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    began, rows, wrong = time.monotonic(), [], []
    print(f"{'scene':<20} {'allocations':>11} {'tried':>6} " + " ".join(f"{o:>6}" for o in OUTCOMES), flush=True)
    with tempfile.TemporaryDirectory(prefix="allocfaults-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as base:
        with ProcessPoolExecutor(args.jobs) as pool:
            for name in args.only or SCENES:
                row, bad = play_scene(name, args, pool, Path(base))
                rows.append(row)
                wrong += [(name, *b) for b in bad]
                print(f"{name:<20} {row['allocations']:>11} {row['tried']:>6} "
                      + " ".join(f"{row[o]:>6}" for o in OUTCOMES), flush=True)
                for words, times in row["said"].items():
                    print(f"    {times:>5}  {words[:150]}")
    for name, nth, run in wrong[:20]:
        print(f"wrong: {name}, allocation {nth}: {run.words}")
        print(f"    asked for by {' < '.join(run.where[:10]) or 'a library'}")
    print(f"{sum(r['tried'] for r in rows)} allocations refused, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "wrong": len(wrong)}, indent=1))
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
