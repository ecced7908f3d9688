"""The table on the terminal, the JSON, the page."""
import json
import re

FIGURES = {  # figure -> (unit on the terminal, digits)
    "p50_us": ("us", 0), "p99_us": ("us", 0), "p999_us": ("us", 0), "beside_rate": ("/s", 0), "bare_us": ("us", 0),
    "bare_rate": ("/s", 0), "anon_mb": ("MB", 1), "rss_mb": ("MB", 1), "written": ("x", 2), "capacity": ("", 3),
}
WORDS = {  # how a figure is called in a goal, where its own name will not do
    "cpu_us": "CPU", "p50_us": "p50", "p99_us": "p99", "over_bare_us": "us over a bare LMDB commit",
    "ready_ms": "ready in ms", "ready_cold_ms": "ready in ms, cold", "idle_mb": "idle MB", "after_1m_mb": "MB after 1M",
    "connections_mb": "MB for the idle clients", "written_per_stored": "written per stored byte",
    "file_per_message": "file bytes per message byte", "publish_times": "publish, times the smallest",
    "pull_times": "pull, times the smallest", "turn_cpu_ms": "longest turn, ms of CPU",
    "p99_times": "p99, times idle",
}
BEGIN, END = "<!-- table: written by scripts/bench --docs -->", "<!-- end of the table -->"


def number(value, digits=None):
    if value is None:
        return "-"
    if digits is None:
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def median(row, kind, figure):
    return row.get(kind, {}).get(figure, {}).get("median")


def both(row, figure, digits):
    if median(row, "frond", figure) is None:
        return ""
    return " / ".join(number(median(row, kind, figure), digits) for kind in ("frond", "nats"))


def goal_text(goal):
    figure = goal["figure"].partition(".")[2]
    return f"{WORDS.get(figure, figure)} {number(goal['is'])} ({goal['sign']} {number(goal['want'])}) {'hit' if goal['hit'] else 'MISS'}"


def head(report):
    d, m = report["disk"], report["machine"]
    return [f"{report['when']}: {m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB, Linux {m['kernel']}",
            f"Frond {report['versions']['frond']} ({report['versions']['commit']}) beside nats-server "
            f"{report['versions']['nats-server']}; {report['rounds']} rounds, alternating; medians",
            f"store on {d['mount']} ({d['file_system']}, {d['options']}); bare fdatasync p50 "
            f"{d['fdatasync_p50']:.0f} us, bare LMDB commit p50 {d['lmdb_p50']:.0f} us, p99 {d['lmdb_p99']:.0f} us"]


TITLE = (f"{'row (* the generator is the limit)':36} {'frond /s':>11} {'nats /s':>11} {'ratio':>7}   "
         f"{'cpu us':>7} {'nats':>7} {'ratio':>6}  frond / nats")


def line(name, row):
    """One row for the terminal."""
    if "failed" in row:
        return f"{name:36} FAILED: {'; '.join(row['failed'])}"
    label = name + "*" * row["marked"]
    out = f"{label:36} "
    if median(row, "frond", "rate") is not None:
        rates, cpus = ([median(row, kind, f) for kind in ("frond", "nats")] for f in ("rate", "cpu_us"))
        out += f"{number(rates[0], 0):>11} {number(rates[1], 0):>11} {row['ratio']['rate']:6.2f}x   "
        out += (f"{number(cpus[0], 3):>7} {number(cpus[1], 3):>7} {row['ratio']['cpu_us']:6.3f}"
                if cpus[0] is not None and cpus[1] else f"{'':22}")
        rest = [f"{f.rpartition('_')[0] or f} {number(median(row, 'frond', f), d)}/{number(median(row, 'nats', f), d)}"
                f" {u}" for f, (u, d) in FIGURES.items() if median(row, "frond", f) is not None]
    else:
        rest = [f"{f} {number(median(row, 'frond', f))}" +
                (f"/{number(median(row, 'nats', f))}" if "nats" in row else "")
                for f in row["frond"] if f != "rounds"]
    out += "  " + ", ".join(rest)
    out += "".join(f"\n{'':36}   {goal_text(goal)}" for goal in row["goals"])
    out += "".join(f"\n{'':36}   trouble: {trouble}" for trouble in row["troubles"])
    return out


def closing(report):
    goals = [(name, goal) for name, row in report["rows"].items() for goal in row["goals"]]
    missed = [f"{name}: {goal_text(goal)}" for name, goal in goals if not goal["hit"]]
    failed = [name for name, row in report["rows"].items() if "failed" in row]
    out = [f"goals: {len(goals) - len(missed)} of {len(goals)} reached"] + [f"  {text}" for text in missed]
    return out + ([f"failed rows: {', '.join(failed)}"] if failed else [])


def page_table(report):
    """The table of docs/performance.md."""
    out = head(report)
    out = ["; ".join(out) + ".", "", closing(report)[0].capitalize() + ".", "", "![How many times better, row by row](performance.png)", "",
           "| row | Frond /s | nats-server /s | ratio | CPU | nats-server | ratio | private MB | written | goals |",
           "|---|---|---|---|---|---|---|---|---|---|"]
    others = []
    for name, row in report["rows"].items():
        goals = "; ".join(goal_text(goal) for goal in row["goals"])
        if "failed" in row:
            out.append(f"| {name} | failed | | | | | | | | {goals} |")
        elif median(row, "frond", "rate") is not None:
            cells = [number(median(row, "frond", "rate"), 0), number(median(row, "nats", "rate"), 0),
                     number(row["ratio"]["rate"], 2), number(median(row, "frond", "cpu_us")),
                     number(median(row, "nats", "cpu_us")), number(row["ratio"].get("cpu_us")),
                     both(row, "anon_mb", 1), both(row, "written", 2)]
            out.append(f"| {name}{'*' * row['marked']} | " + " | ".join(cells) + f" | {goals} |")
        else:
            others += [(name, figure, row, goals) for figure in row["frond"] if figure != "rounds"]
    out += ["", "A * marks rows where the load generator used more than 0.9 of a core in a round: there it is the limit. Private "
            "memory (RssAnon) is that at the end of the load, written are bytes the server wrote per byte of payload; "
            "Frond / nats-server.", ""]
    latencies = [(name, row) for name, row in report["rows"].items() if median(row, "frond", "p50_us") is not None]
    out += ["| latency in us | Frond p50 | p99 | p99.9 | nats-server p50 | p99 | p99.9 |", "|---|---|---|---|---|---|---|"]
    for name, row in latencies:
        cells = [number(median(row, kind, f), 0) for kind in ("frond", "nats") for f in ("p50_us", "p99_us", "p999_us")]
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    out += ["", "| scene | figure | Frond | nats-server | goals |", "|---|---|---|---|---|"]
    seen = set()
    for name, figure, row, goals in others:
        first = name not in seen
        seen.add(name)
        theirs = number(median(row, "nats", figure)) if "nats" in row else ""
        out.append(f"| {name if first else ''} | {figure} | {number(median(row, 'frond', figure))} | {theirs} | "
                   f"{goals if first else ''} |")
    notes = [f"* {name}: {row['note']}." for name, row in report["rows"].items() if row.get("note")]
    notes += [f"* {name}: the disk alone takes {number(median(row, 'frond', 'bare_rate'), 0)} a second: the same bytes appended to a "
              "file and flushed every 4 MiB, right beside each round." for name, row in report["rows"].items()
              if median(row, "frond", "bare_rate") is not None]
    return "\n".join(out + ["", *notes]) + "\n"


def write_page(report, page):
    text = page.read_text()
    table = f"{BEGIN}\n{page_table(report)}{END}"
    if BEGIN not in text:
        raise SystemExit(f"{page}: no line {BEGIN}")
    page.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: table, text, flags=re.S))


def write_json(report, path):
    path.write_text(json.dumps(report, indent=1) + "\n")
