"""scripts/profile: one row under perf, as a flame graph and as a list."""
import argparse
import collections
import contextlib
import html
import pathlib
import re
import signal
import subprocess
import sys

from . import gate, world
from .case import Context
from .server import Server

RESULTS = world.ROOT / "results/profile"
HERTZ, WIDTH, ROW_HEIGHT, LEAST = 1999, 1400, 17, 0.001
STYLE = ("text{font:11px monospace;pointer-events:none}rect{stroke:#fff;stroke-width:.5}"
         "rect:hover{stroke:#000}")


@contextlib.contextmanager
def watch(server):
    """perf on the server while a load runs; the last load of a round is the measured one and stays."""
    data = RESULTS / "perf.data"
    perf = subprocess.Popen(["perf", "record", "-q", "-F", str(HERTZ), "-g", "-p", str(server.process.pid), "-o", data],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        perf.send_signal(signal.SIGINT)
        _, said = perf.communicate(timeout=60)
        if not data.exists():
            sys.exit(f"perf recorded nothing: {said}")


def stacks(data):
    """Counter of stacks, each a tuple from the thread's name down to the function that was running."""
    out = subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym"], capture_output=True, text=True,
                         check=True).stdout
    counted = collections.Counter()
    for sample in out.split("\n\n"):
        lines = [line for line in sample.splitlines() if line.strip()]
        if len(lines) < 2:
            continue
        frames = [re.sub(r"^\s*[0-9a-f]+\s+", "", line).strip() or "?" for line in lines[1:]]
        counted[(lines[0].strip(), *frames[::-1])] += 1
    return counted


def color(name):
    """Kernel and libraries stay apart from our own by nothing but a hash: the same name has the same colour."""
    h = sum(name.encode()) * 2654435761 % 97
    return f"rgb({205 + h % 50},{110 + h % 90},{50 + h % 40})"


def flame(counted, title, path):
    total = sum(counted.values())
    boxes, depth = [], max(map(len, counted))

    def place(group, level, x):
        children = collections.defaultdict(collections.Counter)
        for stack, n in group.items():
            if len(stack) > level:
                children[stack[level]][stack] += n
        for name in sorted(children):
            n = sum(children[name].values())
            if n / total >= LEAST:
                boxes.append((name, level, x / total * WIDTH, n / total * WIDTH, n / total))
                place(children[name], level + 1, x)
            x += n

    place(counted, 0, 0)
    height = (depth + 2) * ROW_HEIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"><style>{STYLE}</style>'
           f'<text x="4" y="13">{html.escape(title)}: {total} samples</text>']
    for name, level, x, wide, part in boxes:
        y = height - (level + 1) * ROW_HEIGHT
        out.append(f'<g><title>{html.escape(name)} {part:.1%}</title><rect x="{x:.1f}" y="{y}" width="{wide:.1f}" '
                   f'height="{ROW_HEIGHT - 1}" fill="{color(name)}"/>')
        if wide > 30:
            out.append(f'<text x="{x + 3:.1f}" y="{y + 12}">{html.escape(name[:int(wide / 6.8)])}</text>')
        out.append("</g>")
    path.write_text("".join(out) + "</svg>\n")


def top(counted):
    """Lines: share of the samples in the function itself, share with what it calls."""
    total, own, whole = sum(counted.values()), collections.Counter(), collections.Counter()
    for stack, n in counted.items():
        own[stack[-1]] += n
        for name in set(stack[1:]):
            whole[name] += n
    lines = [f"{'itself':>7} {'with callees':>12}  function ({total} samples)"]
    return lines + [f"{n / total:7.1%} {whole[name] / total:12.1%}  {name}" for name, n in own.most_common(60)]


def run(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("row", help="as scripts/bench --list names it")
    p.add_argument("--kind", choices=("frond", "nats"), default="frond")
    p.add_argument("--dir", type=pathlib.Path, default=world.BUILD / "bench", help="where the store lies")
    args = p.parse_args()
    cases = [c for c in gate.all_cases() if c.name == args.row]
    if not cases:
        sys.exit(f"no row {args.row!r}; scripts/bench --list names them")
    world.need_binaries()
    if subprocess.run(["perf", "--version"], capture_output=True).returncode:
        subprocess.run([world.ROOT / "scripts/setup", "bench"], check=True)
    for directory in (RESULTS, args.dir):
        directory.mkdir(parents=True, exist_ok=True)
    (RESULTS / "perf.data").unlink(missing_ok=True)
    ctx = Context(args.dir.resolve(), disk=world.disk(args.dir, quick=True))
    Server.watch = watch
    figures = cases[0].run(args.kind, ctx)
    counted = stacks(RESULTS / "perf.data")
    if not counted:
        sys.exit("perf saw no sample")
    name = re.sub(r"\W+", "-", f"{args.row} {args.kind}").strip("-")
    lines = top(counted)
    flame(counted, f"{args.row}, {args.kind}", RESULTS / f"{name}.svg")
    (RESULTS / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (RESULTS / "perf.data").unlink()
    print(", ".join(f"{f} {v:,.3f}" for f, v in figures.items()))
    print("\n".join(lines[:25]))
    print(f"{RESULTS / name}.svg, .txt")
