"""The story of scripts/demo: sites that sell while their links are down.

    cast.py     the servers, the links, the price service
    tills.py    who sells, in processes of their own
    screen.py   what the audience sees
    ledger.py   acknowledged against collected
"""
import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from cast import KINDS, Prices, Stage
from ledger import BREAKS, damage, found, judge, percentile, phases, total
from screen import closing_table, screen
from tills import Shift

from frondtest.readback import read_stream
from frondtest.till import killed_servers_are_no_news

TILLS = 4  # per site

# The story: when so many of all orders are acknowledged, this happens.
PLOT = [
    (0.08, "close_shelf"), (0.14, "open_shelf"), (0.20, "cut_north"), (0.35, "cut_south"),
    (0.48, "kill_north"), (0.60, "heal_south"), (0.75, "heal_north"),
]


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="A hub, two sites, and links that fail: sets up, builds, "
        "plays the story, and compares what was acknowledged with what the hub's stream holds.")
    parser.add_argument("--orders", type=int, default=20000, metavar="N",
                        help="how many orders the tills sell (20000)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed sells the same goods")
    parser.add_argument("--stay", action="store_true",
                        help="leave all running afterwards and print commands to try")
    parser.add_argument("--break", choices=BREAKS, dest="damage",
                        help="damage what is read back: the check must notice")
    parser.add_argument("--site-kind", choices=list(KINDS), default="frond",
                        help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.orders < 100:
        parser.error("a story needs at least 100 orders")
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(1 << 31)
    return chosen


class Story:
    def __init__(self, options, stage, view):
        self.options, self.stage, self.view = options, stage, view
        self.north, self.south = stage.sites
        self.prices = Prices(stage)
        self.shifts = []
        self.hub_has = [0, 0]
        self.restart = None  # seconds until ready after SIGKILL
        self.killed_at = None  # orders of north acknowledged then
        self.drains = []  # one per healed link
        self._polling = None
        self._watching = []

    async def play(self):
        view, options = self.view, self.options
        view.event(f"seed {options.seed}; the curtain rises: a hub, two sites")
        await self.stage.open()
        await self.prices.open()
        view.event("hub, north and south are up and linked; the hub's ORDERS-ALL pulls from both")
        half = options.orders // 2
        rate = max(1250, options.orders / 24) / 2
        self.shifts = [
            Shift(self.north, TILLS, options.orders - half, rate, options.seed),
            Shift(self.south, TILLS, half, rate, options.seed)]
        view.event(f"{2 * TILLS} tills open: {options.orders:,} orders, about {2 * rate:,.0f} a second")
        for part, scene in PLOT:
            await self._until(lambda part=part: self.sold >= part * options.orders)
            await getattr(self, scene)()
        await self._until(lambda: all(shift.over() for shift in self.shifts))
        view.event(f"the tills close: {self.sold:,} orders acknowledged", "bold")
        for site, shift in zip(self.stage.sites, self.shifts):
            for error in shift.ledger["errors"]:
                view.event(f"{site.name} refused an order, which was repeated: {error}", "red")
        last = [max(ack.seq for till in shift.ledger["acks"] for ack in till)
                for shift in self.shifts]
        await self._until(lambda: self.hub_has[0] >= last[0] and self.hub_has[1] >= last[1],
                          timeout=180)
        await asyncio.gather(*self._watching)
        view.event("the hub's stream has caught up")

    @property
    def sold(self):
        return sum(shift.sold for shift in self.shifts)

    async def _until(self, condition, timeout=600):
        end = time.monotonic() + timeout
        while not condition():
            await self._look()
            if time.monotonic() > end:
                self.view.event("this takes too long; looking at what is there", "red")
                return
            await asyncio.sleep(0.02)

    async def _look(self):
        """Once in a while: what does the hub have, and tell the audience."""
        if self._polling is None or self._polling.done():
            if self._polling and not self._polling.exception():
                self.hub_has = self._polling.result()
            self._polling = asyncio.create_task(self.stage.collected())
        rows = []
        for site, shift, at_hub in zip(self.stage.sites, self.shifts, self.hub_has):
            rows.append({
                "name": site.name, "sold": shift.sold, "count": shift.count, "hub": at_hub,
                "site": ("up  ", "green") if site.server.running else ("DEAD", "bold red"),
                "link": ("link DOWN", "bold red") if site.link_is_down else ("link up  ", "green")})
        answers = ", ".join(
            f"{name}: {seen['here']} answered there, {seen['hub']} by the hub"
            for name, seen in self.prices.answers.items())
        self.view.tick(rows, self.sold, self.options.orders, "prices asked at " + answers)

    # -- the scenes --

    async def close_shelf(self):
        await self.prices.close_shelf(self.north.server)
        self.view.event("north's price service goes for a break: the hub's answers instead")

    async def open_shelf(self):
        await self.prices.open_shelf(self.north.server)
        self.view.event("north's price service is back: local first again")

    async def cut_north(self):
        self._cut(self.north)

    async def cut_south(self):
        self._cut(self.south)

    async def heal_south(self):
        self._heal(self.south)

    async def heal_north(self):
        self._heal(self.north)

    async def kill_north(self):
        server = self.north.server
        self.killed_at = self.shifts[0].sold
        pid = server.pid
        server.kill()
        self.view.event(f"SIGKILL for north (pid {pid}), its link still down", "bold red")
        server.start()
        self.restart = server.ready_after
        self.view.event(f"north is ready again after {self.restart * 1000:.0f} ms; "
                        "the tills repeat what was not acknowledged", "bold green")

    def _cut(self, site):
        site.cut()
        self.view.event(f"the link of {site.name} is cut; the tills go on selling", "bold yellow")

    def _heal(self, site):
        backlog = self.shifts[self.stage.sites.index(site)].sold
        already = self.hub_has[self.stage.sites.index(site)]
        site.heal()
        self.view.event(f"the link of {site.name} can be used again; "
                        f"{backlog - already:,} orders wait for the hub", "bold green")
        self._watching.append(asyncio.create_task(self._drain(site, already, backlog)))

    async def _drain(self, site, already, backlog):
        """Watch the backlog of a healed link arrive."""
        index = self.stage.sites.index(site)
        healed = site.down[-1][1]
        while site.link.connections == 0:
            await asyncio.sleep(0.002)
        linked = time.monotonic()
        while self.hub_has[index] <= already:
            await asyncio.sleep(0.005)
        first = time.monotonic()
        self.view.event(f"{site.name} is linked again after {linked - healed:.2f} s; "
                        f"the first order arrives {first - linked:.2f} s later")
        while self.hub_has[index] < backlog:
            await asyncio.sleep(0.005)
        done = time.monotonic()
        self.drains.append({"site": site.name, "count": backlog - already,
                            "redial": linked - healed, "first": first - linked,
                            "all": done - linked,
                            "rate": (backlog - already) / max(done - linked, 0.02)})
        self.view.event(f"{site.name}: the {backlog - already:,} orders of the outage are at the hub")

    async def close(self):
        for shift in self.shifts:
            shift.end()
        for task in self._watching:
            task.cancel()
        if self._polling:
            await asyncio.gather(self._polling, return_exceptions=True)
        await self.prices.close()

    # -- the end --

    async def read_back(self):
        """The hub's stream, through an ordinary client: every message, its body's hash."""
        return [found(message.data, message.digest)
                for message in await read_stream(self.stage.nc, "ORDERS-ALL", "orders.>")]

    def table(self, messages):
        """Compare, tell, and say whether all is well."""
        sites = self.stage.sites
        acks = [[ack for till in shift.ledger["acks"] for ack in till] for shift in self.shifts]
        verdicts = [judge(site.name, mine, messages) for site, mine in zip(sites, acks)]
        both = total(verdicts)
        table = closing_table([site.name for site in sites] + ["both"])

        def row(text, values, style=None):
            table.add_row(text, *values, style=style)

        def numbers(field):
            return [f"{getattr(verdict, field):,}" for verdict in [*verdicts, both]]

        offline = [sum(1 for ack in mine if any(cut <= ack.at < back for cut, back in site.down))
                   for site, mine in zip(sites, acks)]
        repeated = [sum(ack.duplicate for ack in mine) for mine in acks]
        row("acknowledged at the site", numbers("acknowledged"))
        row("  of these while its link was down", [f"{n:,}" for n in [*offline, sum(offline)]])
        row("  stored, ack lost by SIGKILL, told again",
            [f"{n:,}" for n in [*repeated, sum(repeated)]])
        row("in the hub's stream", numbers("present"))
        for text, field in (("missing", "missing"), ("twice", "twice"),
                            ("out of order", "disorder"), ("never acknowledged", "strange")):
            if field != "strange" or both.strange:
                row(text, numbers(field), "bold red" if getattr(both, field) else "bold green")
        table.add_section()
        spans = [phases(mine, site.down) for site, mine in zip(sites, acks)]
        for name in ("before", "during", "after"):
            parts = [span[name] for span in spans]
            parts.append([value for part in parts for value in part])
            row(f"ack latency {name} the outage, p50 / p99",
                [f"{1000 * percentile(part, .5):.2f} / {1000 * percentile(part, .99):.2f} ms"
                 if part else "-" for part in parts])
        table.add_section()
        row("killed after so many acks", [f"{self.killed_at:,}", "-", ""])
        row("restart after SIGKILL until ready", [f"{1000 * self.restart:.0f} ms", "-", ""])
        by_site = {drain["site"]: drain for drain in self.drains}
        drains = [by_site.get(site.name) for site in sites]
        for text, tell in (
                ("link back until dialled again", lambda d: f"{d['redial']:.2f} s"),
                ("  until the first order at the hub", lambda d: f"{d['first']:.2f} s"),
                ("  until the backlog was drained", lambda d: f"{d['all']:.2f} s"),
                ("backlog", lambda d: f"{d['count']:,}"),
                ("drain rate", lambda d: f"{d['rate']:,.0f} /s")):
            row(text, [tell(drain) if drain else "-" for drain in drains] + [""])
        table.add_section()
        answers = [self.prices.answers[site.name] for site in sites]
        for text, field in (("prices answered at the site", "here"),
                            ("  of these while its link was down", "here, link down"),
                            ("prices answered by the hub", "hub")):
            values = [seen[field] for seen in answers]
            row(text, [f"{n:,}" for n in [*values, sum(values)]])
        self.view.show(table)
        return both.good and both.acknowledged == self.options.orders


STAY = """
All of it is still running. Ctrl-C ends it. Some commands to try:

    export PATH={peers}:$PATH
    nats -s {hub} stream info ORDERS-ALL
    nats -s {hub} --js-domain north stream info ORDERS
    nats -s {hub} --js-domain south stream report
    nats -s {north} pub --jetstream orders.north.1 "one more"
    nats -s {hub} stream view ORDERS-ALL
    nats -s {north} request prices.rope ""
    kill -9 {pid}        # north; then start it again:
    cd {site} && {binary} -c north.conf

Configurations, stores and logs are in {directory}
"""


async def stay(story):
    stage, stop = story.stage, asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    north = story.north.server
    story.view.say(STAY.format(
        peers=stage.hub.binary.parent, hub=stage.hub.url, north=north.url, pid=north.pid,
        binary=north.binary, site=north.directory, directory=stage.directory))
    await stop.wait()


async def main():
    options = arguments()
    killed_servers_are_no_news()
    directory = Path(tempfile.mkdtemp(prefix="demo-", dir=Path.cwd()))
    stage = Stage(directory, options.site_kind)
    view = screen()
    story = Story(options, stage, view)
    good = False
    try:
        with view:
            await story.play()
            messages = await story.read_back()
            view.event(f"read back from the hub's stream: {len(messages):,} orders")
            if options.damage:
                damage(messages, options.damage, options.seed)
                view.event(f"--break {options.damage}: what was read back is damaged now", "red")
        good = story.table(messages)
        view.say(f"demo: {'every acknowledged order, once, in order' if good else 'FAILED'}"
                 f" (seed {options.seed})")
        if options.stay:
            await stay(story)
    finally:
        await story.close()
        await stage.close()
        if good:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            view.say(f"demo: configurations, stores and logs are left in {directory}")
    for server in [stage.hub, *(site.server for site in stage.sites)]:
        server.check()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
