"""What the audience sees: live bars and a timeline on a terminal, plain lines elsewhere."""
import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SHOWN = 12  # lines of the timeline


class Plain:
    """One line per event, and one for every tenth sold."""

    def __init__(self):
        self.console = Console(width=110, highlight=False, color_system=None)
        self.began = time.monotonic()
        self._tenth = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def event(self, text, mood=""):
        print(f"{time.monotonic() - self.began:7.2f} s  {text}", flush=True)

    def tick(self, rows, sold, total, prices):
        tenth = sold * 10 // total
        if tenth > self._tenth:
            self._tenth = tenth
            parts = ", ".join(
                f"{row['name']} {row['sold']} sold, {row['hub']} at the hub" for row in rows)
            self.event(f"{tenth * 10:3d} %: {parts}")

    def show(self, table):
        self.console.print(table)

    def say(self, text):
        print(text, flush=True)


class Lively(Plain):
    """The same on a terminal."""

    def __init__(self):
        self.console = Console(highlight=False)
        self.began = time.monotonic()
        self.lines = []
        self.live = Live(console=self.console, refresh_per_second=12, transient=False)
        self.last = None

    def __enter__(self):
        self.live.start()
        return self

    def __exit__(self, *_):
        self.live.stop()

    def event(self, text, mood=""):
        stamp = f"{time.monotonic() - self.began:7.2f} s  "
        self.lines.append(Text(stamp, style="dim") + Text(text, style=mood))
        self.draw()

    def tick(self, rows, sold, total, prices):
        self.last = (rows, sold, total, prices)
        self.draw()

    def draw(self):
        parts = []
        if self.last:
            rows, sold, total, prices = self.last
            grid = Table.grid(padding=(0, 2))
            for row in rows:
                grid.add_row(
                    Text(row["name"], style="bold"), Text(*row["site"]),
                    "sold", ProgressBar(row["count"], row["sold"], width=26), f"{row['sold']:>7}",
                    Text(*row["link"]),
                    "hub", ProgressBar(row["count"], row["hub"], width=26, complete_style="green"),
                    f"{row['hub']:>7}")
            parts.append(Panel(Group(grid, Text(prices, style="dim")),
                               title=f"{sold:,} of {total:,} orders acknowledged"))
        parts.append(Group(*self.lines[-SHOWN:]))
        self.live.update(Group(*parts))

    def say(self, text):
        self.console.print(text, markup=False)


def screen():
    return Lively() if sys.stdout.isatty() else Plain()


def closing_table(heads):
    table = Table(title="What became of the orders", title_justify="left")
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right")
    return table
