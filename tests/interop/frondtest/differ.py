"""The command behind scripts/differ."""
import argparse
import sys
import tempfile
import time
from pathlib import Path

from . import histories
from .beside import Beside, accounts, compared
from .conversation import read
from .ports import ports_given_back

LENGTH = 250  # steps of one history
SPARE = 80   # accounts for making histories shorter


def table(files, words, verbose):
    talks = [talk for file in files for talk in read(Path(file)) if words in talk.title]
    with ports_given_back(), tempfile.TemporaryDirectory() as place, Beside(place) as beside:
        beside.verbose = verbose
        wrong = beside.judge(talks)
    print("\n\n".join(wrong))
    print(f"{len(talks)} conversations, {len(wrong)} differ")
    return bool(wrong)


def random_steps(steps, seed, place, enough=5, tell=False, first=0, wide=False):
    """Plays so many steps; a story for each history that differs, at most enough."""
    count = first + -(-steps // LENGTH)
    stories = []
    with Beside(place) as beside:
        servers = beside.start(accounts(count + enough * SPARE), jetstream=True)
        users = iter({"user": f"a{n}", "pass": "p"} for n in range(count + enough * SPARE))
        try:
            for n in range(first, count):
                length = min(LENGTH, steps - (n - first) * LENGTH)
                history, found = histories.improvise(seed * 1000 + n, length, servers, next(users), wide)
                if len(history) < length and not found and tell:
                    print(f"history {n} ends after {len(history)} steps", flush=True)
                if found and tell:
                    look, theirs, ours = found
                    print(f"history {n} differs after {len(history)} steps:", look.text(), *compared(theirs, ours), sep="\n  ",
                          flush=True)
                if found:
                    stories.append(story(f"seed {seed}, history {n}", history, found, servers, users))
                if found and tell:
                    print(stories[-1], end="\n\n", flush=True)
                if len(stories) == enough:
                    break
        finally:
            beside.stop(servers)
        return stories + beside.troubles


def story(title, history, found, servers, users):
    """The shortest script that shows a difference, and the difference."""
    last = [found]

    def fails(steps):
        again = histories.replay(steps, servers, next(users))
        if again:
            last[0] = again[1]
        return again and again[0]

    alone = [step for step in history if not histories.copies(step)]  # with copies each try would take a minute
    if fails(alone):
        history = histories.shorten(alone, fails, SPARE - 10)
        fails(history)
    else:
        title += " (not made shorter)"
    look, theirs, ours = last[0]
    return "\n".join([histories.script(title, history, look), *(f"    {line}" for line in compared(theirs, ours))])


def main():
    parser = argparse.ArgumentParser(prog="differ")
    parser.add_argument("files", nargs="*")
    parser.add_argument("-k", dest="words", default="")
    parser.add_argument("-v", dest="verbose", action="store_true")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--enough", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--wide", action="store_true")
    asked = parser.parse_args()
    if asked.files:
        sys.exit(table(asked.files, asked.words, asked.verbose))
    began = time.monotonic()
    with ports_given_back(), tempfile.TemporaryDirectory() as place:
        stories = random_steps(asked.steps, asked.seed, place, asked.enough, tell=True, first=asked.first,
                               wide=asked.wide)
    print(f"{asked.steps} random steps, seed {asked.seed}: {len(stories)} differences in {time.monotonic() - began:.0f} s")
    sys.exit(bool(stories))


if __name__ == "__main__":
    main()
