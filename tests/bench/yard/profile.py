"""scripts/profile: one row under perf, as a flame graph and as a list."""
import argparse
import collections
import contextlib
import html
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from . import gate, world
from .case import Context
from .server import Server

RESULTS = world.ROOT / "results/profile"
HERTZ, WIDTH, ROW_HEIGHT, LEAST = 1999, 1400, 17, 0.001
STYLE = ("text{font:11px monospace;pointer-events:none}rect{stroke:#fff;stroke-width:.5}"
         "rect:hover{stroke:#000}")
CALLS = ("epoll_wait", "read", "recvfrom", "recvmsg", "readv", "write", "writev", "sendto", "sendmsg", "pwrite64",
         "pwritev", "fdatasync", "futex", "madvise")
# Of the last measured load: pid, kind, wall, threads {role: seconds}, calls {name: count}, load (its own figures).
told = {}


def role(tid, pid):
    """Frond's threads: the loop is the first one; beside it only the one that commits has much to do."""
    return "all threads" if told["kind"] == "nats" else "loop" if int(tid) == pid else "commit"


def threads(pid):
    """{role: seconds of processor time}"""
    out = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it may end meanwhile
            out[role(task.name, pid)] += int((task / "schedstat").read_text().split()[0]) / 1e9
    return out


class Perf:
    """One perf that counts from start() to end() and not before it is ready."""

    def __init__(self, *args):
        orders, self.orders = os.pipe()
        self.answers, answers = os.pipe()
        self.process = subprocess.Popen(["perf", *args, "-D", "-1", "--control", f"fd:{orders},{answers}"], text=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(orders, answers))
        os.close(orders)
        os.close(answers)

    def start(self):
        with contextlib.suppress(BrokenPipeError):  # it has left: end() has its words
            os.write(self.orders, b"enable\n")
            os.read(self.answers, 16)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=60)
        os.close(self.orders)
        os.close(self.answers)
        return said


@contextlib.contextmanager
def watch(server):
    """perf on the server while a load runs; the last load of a round is the measured one and stays."""
    data, calls, pid = RESULTS / "perf.data", RESULTS / "perf.calls", server.process.pid
    told.clear()
    told.update(pid=pid, kind=server.kind)
    calls.unlink(missing_ok=True)
    samples = Perf("record", "-q", "-F", str(HERTZ), "-g", "-p", str(pid), "-o", data)
    counts = Perf("stat", "-x", ";", "-o", calls, "-p", str(pid),
                  *(word for call in CALLS for word in ("-e", f"syscalls:sys_enter_{call}")))
    samples.start()
    counts.start()
    before, began = threads(pid), time.monotonic()
    try:
        yield
    finally:
        told["wall"] = time.monotonic() - began
        told["threads"] = {name: s - before[name] for name, s in threads(pid).items()}
        counts.end()
        said = samples.end()
        if not data.exists():
            sys.exit(f"perf recorded nothing: {said}")
        told["calls"] = counted_calls(calls)


def counted_calls(path):
    """{call: count}; empty where the kernel does not let us count them."""
    out = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split(";")
        if len(words) > 2 and words[0].isdigit() and int(words[0]):
            out[words[2].removeprefix("syscalls:sys_enter_")] = int(words[0])
    return out


def limits():
    """Lines: how busy everybody was, and how often the kernel was asked."""
    load, lines = told.get("load"), []
    wall = load["wall"] if load else told["wall"]
    busy = [f"{name} {s / wall:.2f}" for name, s in sorted(told["threads"].items(), key=lambda t: -t[1])]
    lines.append("cores: " + ", ".join(busy + ([f"generator {load['cpu'] / load['wall']:.2f}"] if load else [])))
    if load and told["calls"]:
        calls = sorted(told["calls"].items(), key=lambda c: -c[1])
        lines.append("messages per call: " + ", ".join(f"{name} {load['msgs'] / n:,.1f}" for name, n in calls))
    return lines


def stacks(data, pid):
    """Counter of stacks, each a tuple from the thread's role down to the function that was running; and the samples
    in the kernel, by role."""
    out = subprocess.run(["perf", "script", "-i", data, "-F", "tid,ip,sym"], capture_output=True, text=True,
                         check=True).stdout
    counted, kernel = collections.Counter(), collections.Counter()
    for sample in out.split("\n\n"):
        lines = [line for line in sample.splitlines() if line.strip()]
        if len(lines) < 2:
            continue
        frames = [re.sub(r"^\s*[0-9a-f]+\s+", "", line).strip() or "?" for line in lines[1:]]
        thread = role(lines[0], pid)
        counted[(thread, *frames[::-1])] += 1
        kernel[thread] += lines[1].strip().startswith("ffffffff")
    return counted, kernel


def shares(counted, kernel):
    """A line for each thread: its share of the samples, how much of it in the kernel, its dearest functions."""
    total, by_thread = sum(counted.values()), collections.defaultdict(collections.Counter)
    for stack, n in counted.items():
        by_thread[stack[0]][stack[-1]] += n
    for thread, own in sorted(by_thread.items(), key=lambda t: -sum(t[1].values())):
        n = sum(own.values())
        dear = ", ".join(f"{name} {k / total:.1%}" for name, k in own.most_common(12))
        yield f"{thread} {n / total:.1%}, in the kernel {kernel[thread] / total:.1%}: {dear}"


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
    p.add_argument("--times", type=int, default=1, help="so many times the row's messages: more samples of a short row")
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
    ctx.count = lambda number: number * args.times
    Server.watch, ended = watch, Server.end_load

    def end_load(server, load):
        result = ended(server, load)
        if "wall" not in told:  # one that ends later was beside the measured one
            told["load"] = result
        return result

    Server.end_load = end_load
    figures = cases[0].run(args.kind, ctx)
    counted, kernel = stacks(RESULTS / "perf.data", told["pid"])
    if not counted:
        sys.exit("perf saw no sample")
    name = re.sub(r"\W+", "-", f"{args.row} {args.kind}").strip("-")
    lines = [*limits(), *shares(counted, kernel), *top(counted)]
    flame(counted, f"{args.row}, {args.kind}", RESULTS / f"{name}.svg")
    (RESULTS / f"{name}.txt").write_text("\n".join(lines) + "\n")
    for left in ("perf.data", "perf.calls"):
        (RESULTS / left).unlink(missing_ok=True)
    print(", ".join(f"{f} {v:,.3f}" for f, v in figures.items()))
    print("\n".join(lines[:25]))
    print(f"{RESULTS / name}.svg, .txt")
