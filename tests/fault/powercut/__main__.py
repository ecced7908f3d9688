"""powercut [--images N] [--seed N] …    scripts/powercut says them all

Records a server's files and answers while traffic runs, builds N images of what a disk may hold after a power cut,
opens each with the store's own recovery and compares; on some the server itself goes on. Exit status 1 when anything
is wrong.
"""
import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/interop"), str(ROOT / "tests/fault")]

from frondtest import FROND_BIN, Frond, wait_for  # noqa: E402
import traffic  # noqa: E402
from share import share  # noqa: E402
from judge import Facts, Judge  # noqa: E402
from tape import Disk, Tape  # noqa: E402

# Beside the binary where that has them; they are the same in all builds.
TOOLS = next((path for path in (FROND_BIN.parent / "tests/fault", ROOT / "build/tests/fault")
              if (path / "powercut_open").exists()), ROOT / "build/tests/fault")
QUOTA = 1 << 26
PER_TAPE = 4000  # images of one recording
GO_ON = 10  # one image of so many is written to and opened once more
LIVE_ON = 100  # on one image of so many, and never one of the others, the server itself goes on


def record(binary, directory, seed, steps):
    """The tape and the truth of one run."""
    tape = directory / "tape"
    server = Frond(directory / "server", name="powercut", binary=binary, monitor=False,
                   jetstream={"max_file_store": QUOTA},
                   env={"LD_PRELOAD": str(TOOLS / "libpowercut_tape.so"), "POWERCUT_TAPE": str(tape),
                        "POWERCUT_ROOT": str(directory / "server")})
    server.start()
    try:
        truth = asyncio.run(traffic.play(server.port, seed, steps))
    finally:
        server.kill()
        server.check()
    return tape, truth


class Opener:
    """powercut_open, kept running."""

    def __init__(self):
        self.process = subprocess.Popen([str(TOOLS / "powercut_open")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)

    def open(self, store, out, go_on):
        """None, or what is wrong; with "exit 3" there are facts all the same."""
        self.process.stdin.write(f"{store} {out} {int(go_on)}\n")
        self.process.stdin.flush()
        ended = self.process.stdout.readline().strip()
        if ended == "exit 0":
            return None
        with open(out, errors="replace") as said:
            return f"{ended}: {said.read()[-500:].strip()}"

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def went_on(before, after):
    """After one more record each: what is there besides, or not any more?"""
    if set(before.streams) != set(after.streams):
        return "other streams"
    for name, one in before.streams.items():
        two = after.streams[name]
        if two.last != one.last + 1 or one.config != two.config:
            return f"{name}: the last is {two.last} after {one.last}"
        new = set(two.facts) - set(one.facts)
        if len(new) != 1 or len(set(one.facts) - set(two.facts)) > (name == "RING"):
            return f"{name}: {len(one.facts)} records became {len(two.facts)}"
    return None


class Examiner:
    """One process's share of the images of a tape."""

    def __init__(self, args, seed, images, tape, truth, work):
        self.args, self.seed, self.work = args, seed, work
        work.mkdir()
        tape = Tape(tape)
        self.disk, self.judge = Disk(tape, work, args.without), Judge(tape, truth, json.loads)
        self.cuts = self.disk.interesting(self.dice("cuts"), images)
        self.opener = Opener()
        self.done, self.manners, self.wrong = 0, Counter(), []

    def dice(self, *words):
        return random.Random("/".join(map(str, (self.seed, *words))))

    def look(self, image):
        cut = self.cuts[image]
        self.disk.play(cut)
        manner = self.disk.image(self.work / "image", self.dice("image", image))
        found = self.judged(cut, image % GO_ON == 0)
        if image % LIVE_ON == 1 and not found:
            found = self.lived_on(cut)
        self.done += 1
        self.manners[manner.split()[0]] += 1
        self.wrong += [(self.seed, image, cut, manner, kind, text) for kind, text in found]
        if found and self.args.keep and len(self.wrong) < 20:
            self.disk.image(Path(self.args.keep) / f"image-{self.seed}-{image}", self.dice("image", image))

    def judged(self, cut, go_on):
        out = self.work / "out"
        why = self.opener.open(self.work / "image/store", out, go_on)
        if why and not why.startswith("exit 3"):
            return [("unreadable", why)]
        found, facts = [("damaged", why)] if why else [], Facts(Path(f"{out}.facts").read_bytes())
        if go_on:
            after = Facts(Path(f"{out}.again").read_bytes())
            trouble = went_on(facts, after)
            found += [("going on", trouble)] if trouble else []
            for name, stream in facts.streams.items():
                stream.cursors = after.streams[name].cursors if name in after.streams else {}
        return found + self.judge.judge(cut, facts)

    def lived_on(self, cut):
        """The server starts on what is left, and what its work queue held is collected in the end."""
        server = Frond(self.work / "image", name="powercut", binary=Path(self.args.binary).absolute(), monitor=False,
                       jetstream={"max_file_store": QUOTA})
        server.start()
        try:
            wait_for(lambda: not waiting(server), 60, "the work queue is collected")
        except AssertionError as error:
            return [("living on", str(error))]
        finally:
            server.kill()
            server.check()
        out = self.work / "out"
        why = self.opener.open(self.work / "image/store", out, False)
        if why:
            return [("living on", why)]
        return self.judge.collected(Facts(Path(f"{out}.facts").read_bytes()))


def waiting(server):
    """How many messages are still in the work queue that another stream collects, if both are there."""
    counts = []
    with server.raw() as client:
        client.hello()
        client.send("SUB answers 1")
        for name in ("IN", "OUT"):
            client.send(f"PUB $JS.API.STREAM.INFO.{name} answers 0", "")
            counts.append(json.loads(client.message().payload).get("state", {}).get("messages"))
    return 0 if None in counts else counts[1]


def share_out(args, seed, images, tape, truth, work, deadline):
    """Images of one tape, on so many processes."""
    def examine(number):
        examiner = Examiner(args, seed, images, tape, truth, work / f"job-{number}")
        for image in range(number, len(examiner.cuts), args.jobs):
            if time.monotonic() > deadline:
                break
            examiner.look(image)
        examiner.opener.close()
        return examiner.done, examiner.manners, examiner.wrong

    done, manners, wrong = 0, Counter(), []
    for some, ways, bad in share(args.jobs, range(args.jobs), examine):
        done += some
        manners += ways
        wrong += bad
    return done, manners, sorted(wrong)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/powercut")
    parser.add_argument("--images", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="repeats the images, and nearly the traffic")
    parser.add_argument("--steps", type=int, default=600, metavar="N", help="how long the traffic is (600)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--binary", default=FROND_BIN, metavar="FILE")
    parser.add_argument("--dir", metavar="DIR", help="where images are built; a file system in memory is the fast one")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="N", help="no new image after so long")
    parser.add_argument("--keep", metavar="DIR", help="where the first wrong images are left")
    parser.add_argument("--without", choices=["data", "meta", "names"],
                        help="a disk that ignores flushes of data, O_DSYNC, or flushes of directories")
    parser.add_argument("--json", metavar="FILE", help="the figures")
    return parser.parse_args()


class Figures:
    """What all recordings together came to."""

    def __init__(self):
        self.began, self.sums, self.manners, self.wrong = time.monotonic(), Counter(), Counter(), []

    def add(self, tape, truth, result):
        done, manners, wrong = result
        self.manners += manners
        self.wrong += wrong
        self.sums.update(
            images=done, recordings=1, events=len(Tape(tape).events), tape_bytes=tape.stat().st_size,
            streams=len(truth), records=sum(len(s.records) for s in truth),
            bytes=sum(r.size for s in truth for r in s.records),
            acks=sum(len(c.acks) for s in truth for c in s.consumers))

    @property
    def bad(self):
        return len({(seed, image) for seed, image, *_ in self.wrong})

    def kinds(self):
        """How many images show each kind of trouble."""
        return Counter(kind for *_, kind in {(seed, image, kind) for seed, image, _, _, kind, _ in self.wrong})

    def as_json(self, seed):
        return json.dumps({"seed": seed, "wrong": self.bad, "kinds": self.kinds(), "manners": self.manners,
                           "seconds": round(time.monotonic() - self.began, 1), **self.sums})

    def show(self, seed):
        n = self.sums
        for seed_, image, cut, manner, kind, text in sorted(self.wrong)[:20]:
            print(f"seed {seed_}, image {image}, cut before event {cut}, {manner}: {kind}: {text}")
        print(f"powercut: seed {seed}, {n['recordings']} recordings: {n['records']} publishes ({n['bytes'] >> 20} MiB) "
              f"into {n['streams']} streams, {n['acks']} consumer acks; {n['events']} events, "
              f"{n['tape_bytes'] >> 20} MiB of tape; {time.monotonic() - self.began:.0f} s")
        manners = ", ".join(f"{count} {name}" for name, count in sorted(self.manners.items()))
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.kinds().items()))
        print(f"powercut: {n['images']} images ({manners}): {self.bad} wrong{': ' if kinds else ''}{kinds}", flush=True)


def main():
    args = arguments()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 31)
    base = args.dir or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    figures = Figures()
    deadline = figures.began + args.seconds
    for number, first in enumerate(range(0, args.images, PER_TAPE)):
        seed = args.seed + number
        work = Path(tempfile.mkdtemp(prefix="frond-powercut-", dir=base))
        try:
            tape, truth = record(Path(args.binary).absolute(), work, seed, args.steps)
            images = min(PER_TAPE, args.images - first)
            figures.add(tape, truth, share_out(args, seed, images, tape, truth, work, deadline))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if args.json:
            Path(args.json).write_text(figures.as_json(args.seed))
        if time.monotonic() > deadline:
            break
        if number % 5 == 4:
            print(f"powercut: {figures.sums['images']} images so far, {figures.bad} wrong", flush=True)
    figures.show(args.seed)
    sys.exit(1 if figures.bad or not figures.sums["images"] else 0)


if __name__ == "__main__":
    main()
