#!/usr/bin/env python3
"""The picture: python3 plot.py REPORT.json PICTURE.png (needs Debian's python3-matplotlib).

One bar per row: how many times nats-server's figure Frond reaches, on a logarithmic scale, so that twice as good and
twice as bad are equally long; for CPU and latencies the ratio is turned round. The black tick is the goal.
"""
import json
import sys

GOOD, MISSED, PLAIN = "#2f7d5b", "#c2562f", "#8a97a3"


def bars(report):
    """(label, times better, goal or None, hit)"""
    out = []
    for name, row in report["rows"].items():
        if "ratio" not in row:
            continue
        goals = {g["figure"]: g for g in row["goals"] if g["figure"].startswith("ratio.") and g["is"]}
        shown = [f for f in goals] or (["ratio.rate"] if "rate" in row["ratio"] else [])
        for path in shown:
            figure, goal = path.partition(".")[2], goals.get(path)
            less = figure != "rate"
            value = row["ratio"][figure]
            label = name if figure == "rate" else f"{name}: {figure.rpartition('_')[0]}"
            want = goal and (1 / goal["want"] if less else goal["want"])
            out.append((label, 1 / value if less else value, want, goal is None or goal["hit"]))
    return out


def draw(report, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = bars(report)[::-1]
    fig, axis = plt.subplots(figsize=(9, 1.6 + 0.27 * len(rows)))
    for y, (_, value, want, hit) in enumerate(rows):
        color = PLAIN if want is None else GOOD if hit else MISSED
        axis.barh(y, value - 1, left=1, color=color, height=0.68)
        axis.text(max(value, want or 1, 1) * 1.06, y, f"{value:.2f}x" if value < 10 else f"{value:.0f}x", va="center", fontsize=8)
        if want:
            axis.plot([want, want], [y - 0.42, y + 0.42], color="black", linewidth=1.6)
    axis.set_xscale("log")
    most = max(max(value, want or 1) for _, value, want, _ in rows)
    least = min(min(value, want or 1) for _, value, want, _ in rows)
    axis.set_xlim(min(0.5, least * 0.8), most * 1.9)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if axis.get_xlim()[0] <= t <= most * 1.9]
    axis.set_xticks(ticks, [f"{t:g}x" for t in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=8)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_title(f"Frond beside nats-server {report['versions']['nats-server']}: how many times better",
                   loc="left", fontsize=11, fontweight="bold", pad=24)
    machine = report["machine"]
    axis.text(0, 1.005, f"{report['when']}, {machine['cores']} cores, {report['disk']['file_system']}; black tick: the "
              "goal; green: reached, red: missed, grey: no goal", transform=axis.transAxes, fontsize=8, va="bottom")
    fig.tight_layout()
    fig.savefig(path, dpi=110)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw(json.load(file), sys.argv[2])
