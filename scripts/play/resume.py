"""How long until a hub collects again? Frond and nats-server as the site, side by side.

A cell is one kind of site, one kind of stream and one kind of trouble, many rounds of it, in a process
of its own with a genuine hub and a relay as the link. A till sells all the while (three orders a round where the site is quiet). A round's time
runs from the link being up (the connection that stays reaches the hub) until the first order sold
after the trouble began is in the hub's stream. At the end of a cell everything acknowledged is looked for.
"""
import argparse
import asyncio
import base64
import concurrent.futures
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "interop"))

from frondtest import Frond, NatsServer, Relay, leaf_remote  # noqa: E402
from frondtest.readback import read_stream, request  # noqa: E402
from frondtest.till import Till, orders  # noqa: E402

KINDS = {"Frond": Frond, "nats-server": NatsServer}
STREAMS = ("limits", "workqueue")
RATE = 25  # orders a second
PATIENCE = 100.0  # seconds a round may take


async def quiet(_):
    pass


class Cell:
    def __init__(self, kind, retention, trouble, rounds, seed, directory):
        self.kind, self.retention, self.trouble = kind, retention, trouble
        self.rounds, self.seed = rounds, seed
        self.dice = random.Random(f"{seed}/{retention}/{trouble}")
        self.hub = NatsServer(directory / "hub", name="hub", domain="hub", jetstream=True,
                              leaf_listen=True)
        self.link = Relay(self.hub.leaf_port)
        self.site = KINDS[kind](directory / "site", name="site", domain="site", jetstream=True,
                                remotes=[leaf_remote(self.link.port)])
        self.times = []

    async def run(self):
        self.hub.start()
        self.site.start()
        self.site.wait_linked()
        site = await self.site.connect(error_cb=quiet)
        await request(site, "$JS.API.STREAM.CREATE.ORDERS", {
            "name": "ORDERS", "subjects": ["orders.>"], "storage": "file",
            "retention": self.retention})
        await site.close()
        self.nc = await self.hub.connect(error_cb=quiet)
        await request(self.nc, "$JS.API.STREAM.CREATE.ALL", {
            "name": "ALL", "storage": "file",
            "sources": [{"name": "ORDERS", "external": {"api": "$JS.site.API"}}]})
        self.goods, self.sold, acks = self._goods(), 0, []
        till = Till(self.site.url, "orders.1", self.goods, window=16, rate=RATE)
        selling = asyncio.create_task(till.run()) if self.trouble != "quiet_restart" else None
        for _ in range(self.rounds):
            if not selling:
                acks += await self._sell_one()
            await self._caught_up(self.sold)
            # any moment of everybody's timers, but not within 2 s of the hub's last create: its throttle
            await asyncio.sleep(self.dice.uniform(2.2, 5))
            self.times.append(await self._round())
            if not selling:
                await self.later
                acks += self.quietly_sold
        if selling:
            till.stop()
            await selling
            acks = till.acked
        await self._caught_up(self.sold)
        copies = Counter(m.id for m in await read_stream(self.nc, "ALL", "orders.>"))
        await self.nc.close()
        return {"kind": self.kind, "retention": self.retention, "trouble": self.trouble,
                "times": self.times, "sold": len(acks),
                "lost": sum(1 for ack in acks if ack.id not in copies),
                "doubled": sum(copies.values()) - len(copies)}

    def _goods(self):
        for order in orders("site", 1, self.seed, 1 << 40):
            self.sold += 1
            yield order

    async def _sell_one(self):
        till = Till(self.site.url, "orders.1", itertools.islice(self.goods, 1))
        await till.run()
        return till.acked

    async def _round(self):
        """One trouble; the seconds from the link's return to the first new order, None: not in time."""
        mark = self.sold
        self.link.forget()
        await getattr(self, "_" + self.trouble)()
        if not await self._caught_up(mark + 1):
            return None
        arrived = time.monotonic()
        newest = max(number for _, number, _, _ in self.link.record)
        return arrived - next(at for at, number, _, _ in self.link.record if number == newest)

    async def _caught_up(self, number):
        """Wait until the hub has this order or a newer one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if await self._newest() >= number:
                return True
            await asyncio.sleep(0.005)
        return False

    async def _newest(self):
        answer = await self.nc.request("$JS.API.STREAM.MSG.GET.ALL",
                                       b'{"last_by_subj":"orders.1"}', timeout=10)
        message = json.loads(answer.data).get("message")
        return json.loads(base64.b64decode(message["data"]))["number"] if message else 0

    # -- the troubles --

    async def _cut(self, seconds):
        self.link.cut()
        await asyncio.sleep(seconds)
        self.link.resume()

    async def _cut_1s(self):
        await self._cut(1)

    async def _cut_13s(self):
        await self._cut(13)

    async def _site_killed(self):
        self.site.kill()
        self.site.start()

    async def _quiet_restart(self):
        """A queue at rest; then one order, and a heartbeat later another one."""
        links = self.link.accepted
        self.site.restart()
        while self.link.accepted == links:
            await asyncio.sleep(0.002)
        self.quietly_sold = await self._sell_one()
        self.later = asyncio.create_task(self._sell_later())

    async def _sell_later(self):
        await asyncio.sleep(1.5)
        self.quietly_sold += await self._sell_one()

    async def _hub_restarted(self):
        await self.nc.close()
        self.hub.restart()
        self.nc = await self.hub.connect(error_cb=quiet)

    def close(self):
        self.site.stop()
        self.hub.stop()
        self.link.close()


def play(kind, retention, trouble, rounds, seed):
    with tempfile.TemporaryDirectory(prefix="frond-resume-") as directory:
        cell = Cell(kind, retention, trouble, rounds, seed, Path(directory))
        try:
            return asyncio.run(cell.run())
        finally:
            cell.close()


TROUBLES = {"cut_1s": "link cut for 1 s", "cut_13s": "link cut for 13 s",
            "site_killed": "site killed, restarted", "quiet_restart": "quiet site restarted",
            "hub_restarted": "hub restarted"}


def told(times):
    """Median and worst."""
    late = sum(1 for t in times if t is None)
    good = [PATIENCE if t is None else t for t in times]
    return f"{statistics.median(good):6.2f} {max(good):6.2f}" + (f" ({late} never)" if late else "")


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/resume", description="From the link being up to the first new message in the "
        "hub's stream: Frond and nats-server as the site, limits and work-queue streams.")
    parser.add_argument("--rounds", type=int, default=10, metavar="N",
                        help="rounds of each; half of it where nats-server takes 40 s (10)")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--jobs", type=int, default=4, metavar="N",
                        help="cells played at a time (4)")
    parser.add_argument("--only", choices=list(TROUBLES), action="append", metavar="TROUBLE",
                        help=", ".join(TROUBLES))
    parser.add_argument("--kind", choices=list(KINDS), action="append", metavar="KIND",
                        help=", ".join(KINDS))
    chosen = parser.parse_args()
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(1 << 31)
    return chosen


def main():
    options = arguments()
    print(f"resume: seed {options.seed}, {RATE} orders a second, rounds {options.rounds} "
          f"(hub restarted: {(options.rounds + 1) // 2})", flush=True)
    cells = [(kind, retention, trouble,
              (options.rounds + 1) // 2 if trouble == "hub_restarted" else options.rounds,
              options.seed)
             for trouble in options.only or TROUBLES for retention in STREAMS
             for kind in options.kind or KINDS]
    results = {}
    with concurrent.futures.ProcessPoolExecutor(
            options.jobs, mp_context=multiprocessing.get_context("spawn"),
            max_tasks_per_child=1) as pool:
        for done in concurrent.futures.as_completed(pool.submit(play, *cell) for cell in cells):
            cell = done.result()
            results[cell["trouble"], cell["retention"], cell["kind"]] = cell
            rounds = " ".join("never" if t is None else f"{t:.2f}" for t in cell["times"])
            print(f"  {TROUBLES[cell['trouble']]}, {cell['retention']}, {cell['kind']}: {rounds} s",
                  flush=True)
    print(f"\n{'seconds: median  worst':47}{'sold':>12} {'lost':>5} {'doubled':>8}")
    bad = 0
    for kind, retention, trouble, *_ in sorted(cells, key=lambda c: list(TROUBLES).index(c[2])):
        cell = results[trouble, retention, kind]
        print(f"{TROUBLES[trouble]:23} {retention:10} {kind:12}{told(cell['times'])}"
              f"{cell['sold']:>8} {cell['lost']:>5} {cell['doubled']:>8}")
        if kind == "Frond":
            bad += cell["lost"] + cell["doubled"] + cell["times"].count(None)
    if bad:
        print(f"\nresume: FAILED: Frond lost, doubled or never came back (seed {options.seed})")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
