"""The command behind scripts/differ."""
import argparse
import sys
import tempfile
from pathlib import Path

from .beside import Beside
from .conversation import read
from .ports import ports_given_back


def table(files, words, verbose):
    talks = [talk for file in files for talk in read(Path(file)) if words in talk.title]
    with ports_given_back(), tempfile.TemporaryDirectory() as place, Beside(place) as beside:
        beside.verbose = verbose
        wrong = beside.judge(talks)
    print("\n\n".join(wrong))
    print(f"{len(talks)} conversations, {len(wrong)} differ")
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser(prog="differ")
    parser.add_argument("files", nargs="*")
    parser.add_argument("-k", dest="words", default="")
    parser.add_argument("-v", dest="verbose", action="store_true")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    sys.exit(table(asked.files, asked.words, asked.verbose))


if __name__ == "__main__":
    main()
