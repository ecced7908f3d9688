"""One scene of scripts/cuts: scene.py KIND SCENE CUTS SEED SECONDS DIRECTORY FIGURES"""
import asyncio
import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "interop"))

from frondtest import Frond, NatsServer, Relay, leaf_remote  # noqa: E402
from frondtest.readback import read_stream  # noqa: E402
from frondtest.till import Till, killed_servers_are_no_news, orders  # noqa: E402
from frondtest.wire import ApiError, Gone, Wire  # noqa: E402

#                   who pulls, what the origin keeps, how it is copied
SCENES = {
    "hub-limits": ("hub", "limits", "sources"),
    "hub-mirror": ("hub", "limits", "mirror"),
    "hub-workqueue": ("hub", "workqueue", "sources"),
    "hub-interest": ("hub", "interest", "sources"),
    "site-limits": ("site", "limits", "sources"),
    "site-mirror": ("site", "limits", "mirror"),
    "site-workqueue": ("site", "workqueue", "sources"),
    "site-interest": ("site", "interest", "sources"),
}
RATE = 250  # orders a second
PATIENCE = 150  # seconds; a genuine puller whose request fell into a cut asks again after 40
THIN = 50_000 // 8  # bytes a second


def differences(sold, messages):
    """What the copy has, against what was acknowledged; the till sold in the order of the names."""
    acked = {ack.id: ack.digest for ack in sold}
    there = Counter(message.id for message in messages)
    order = [message.id for message in messages]
    found = (("lost", [name for name in acked if name not in there]),
             ("doubled", [name for name, count in there.items() if count > 1]),
             ("changed", [m.id for m in messages if acked.get(m.id, m.digest) != m.digest]),
             ("never acknowledged", [name for name in there if name not in acked]),
             ("out of order", [two for one, two in zip(order, order[1:]) if two < one]))
    return [f"{len(names)} {what}, the first {names[0]}" for what, names in found if names]


def acknowledged(state, consumers):
    """Does a server itself say that all its work queue has is acknowledged? A genuine one that is killed while it
    removes what an ack settled keeps the rest for ever, below its consumer's floor (docs/differences.md)."""
    return bool(consumers) and all(c["ack_floor"]["stream_seq"] >= state["last_seq"] for c in consumers)


class Scene:
    def __init__(self, kind, name, seed, directory):
        self.kind, self.name, self.seed = kind, name, seed
        self.pulls, self.retention, self.how = SCENES[name]
        self.dice = random.Random(f"{seed}/{name}")
        self.troubles, self.wrong, self.till = Counter(), [], None
        self.kept = 0  # by a genuine origin that was killed, though it says that they are acknowledged
        self.hub = NatsServer(directory / "hub", name="hub", domain="hub", jetstream=True, leaf_listen=True)
        self.link = Relay(self.hub.leaf_port, record_max=0)
        site = Frond if kind == "frond" else NatsServer
        self.site = site(directory / "site", name="site", domain="site", jetstream=True, reconnect="50ms",
                         remotes=[leaf_remote(self.link.port)])
        self.origin, self.puller = (self.site, self.hub) if self.pulls == "hub" else (self.hub, self.site)
        self.data_way = "up" if self.pulls == "hub" else "down"

    # -- asking, also servers that are just being killed --

    async def api(self, server, verb, request=None):
        end = time.monotonic() + 60
        while True:
            try:
                wire = await Wire.to(server.port)
                try:
                    return await wire.api(verb, request, timeout=10)
                finally:
                    wire.close()
            except (Gone, AssertionError, asyncio.TimeoutError):
                assert time.monotonic() < end, f"{server.name} does not answer {verb}"
                await asyncio.sleep(0.05)

    async def count(self):
        return (await self.api(self.puller, "STREAM.INFO.ALL"))["state"]["messages"]

    async def make_copy(self):
        origin = {"name": "ORDERS", "external": {"api": f"$JS.{self.origin.domain}.API"}}
        await self.api(self.puller, "STREAM.CREATE.ALL", {
            "name": "ALL", "storage": "file", **({"mirror": origin} if self.how == "mirror" else {"sources": [origin]})})

    async def open(self):
        self.hub.start()
        self.site.start()
        self.hub.wait_linked()
        await self.api(self.origin, "STREAM.CREATE.ORDERS", {
            "name": "ORDERS", "subjects": ["orders.>"], "storage": "file", "retention": self.retention,
            "duplicate_window": 3600 * 10**9})
        if self.retention == "interest":  # somebody else needs them, too: else they go while no copy is linked
            await self.api(self.origin, "CONSUMER.DURABLE.CREATE.ORDERS.keeper", {
                "stream_name": "ORDERS", "config": {"durable_name": "keeper", "ack_policy": "explicit"}})
        await self.make_copy()
        self.till = Till(self.origin.url, "orders.1", orders("origin", 1, self.seed, 1 << 40, size=400),
                         window=64, rate=RATE)
        self.selling = asyncio.create_task(self.till.run())

    async def progress(self, hurry=lambda: False):
        before, end = await self.count(), time.monotonic() + PATIENCE
        while await self.count() <= before and not hurry():
            if time.monotonic() > end:
                self.wrong.append(f"stuck at {before} of {len(self.till.acked)} for {PATIENCE} s")
                return
            await asyncio.sleep(0.02)

    # -- the troubles --

    def way(self):
        return self.dice.choice(("up", "down"))

    async def cut(self):
        """At any byte, mostly amid the data."""
        cuts, end = self.link.cuts, time.monotonic() + 2
        if self.dice.random() < 0.7:
            self.link.cut_after(self.dice.randrange(1, 60_000), self.data_way)
        else:
            self.link.cut_after(self.dice.randrange(1, 1500), self.way())
        while self.link.cuts == cuts and time.monotonic() < end:
            await asyncio.sleep(0.005)
        if self.link.cuts == cuts:  # a plan may wait for bytes that do not come
            self.link.resume()
            self.link.cut(refuse=False)

    async def greeting(self):
        """The link that comes back is cut in its first bytes."""
        self.link.cut(refuse=False)
        cuts, end = self.link.cuts, time.monotonic() + 2
        self.link.cut_after(self.dice.randrange(1, 1200), self.way())
        while self.link.cuts == cuts and time.monotonic() < end:
            await asyncio.sleep(0.005)
        self.link.resume()

    async def stall(self):
        self.link.stall()
        await asyncio.sleep(self.dice.uniform(0.1, 2))
        if self.dice.random() < 0.5:
            self.link.cut(refuse=False)
        self.link.resume()

    async def throttle(self):
        self.link.throttle(THIN)
        await asyncio.sleep(self.dice.uniform(0.2, 3))
        if self.dice.random() < 0.7:
            self.link.cut(refuse=False)
        self.link.throttle(None)

    async def late(self):
        """One end hears of the loss and may be back before the other end hears of it."""
        accepted = self.link.accepted
        self.link.half_cut(self.dice.choice(("near", "far")))
        end = time.monotonic() + self.dice.uniform(0.1, 2)
        while self.link.accepted == accepted and time.monotonic() < end:
            await asyncio.sleep(0.005)
        await asyncio.sleep(self.dice.choice([0, 0.05, 0.5]))
        self.link.bury()

    async def hub_killed(self):
        self.hub.kill()
        await asyncio.sleep(self.dice.choice([0, 0.1, 1]))
        self.hub.start()

    async def site_killed(self):
        self.site.kill()
        await asyncio.sleep(self.dice.choice([0, 0.1, 1]))
        self.site.start()

    async def hub_wiped(self):
        """Nothing is left of the hub. What it had collected of a limits stream comes again."""
        self.hub.kill()
        shutil.rmtree(self.hub.store_dir)
        self.hub.start()
        await self.make_copy()

    def choose(self):
        menu = {self.cut: 55, self.greeting: 12, self.stall: 8, self.throttle: 6, self.late: 10,
                self.hub_killed: 4, self.site_killed: 4}
        if self.pulls == "hub" and self.retention == "limits":
            menu[self.hub_wiped] = 1
        return self.dice.choices(list(menu), menu.values())[0]

    # -- the whole --

    async def play(self, cuts, seconds):
        killed_servers_are_no_news()
        await self.open()
        end = time.monotonic() + seconds
        while sum(self.troubles.values()) < cuts and time.monotonic() < end and not self.wrong:
            trouble = self.choose()
            await trouble()
            self.troubles[trouble.__name__] += 1
            if self.selling.done():
                self.selling.result()
            if self.dice.random() < 0.6:
                await self.progress()
            else:
                await asyncio.sleep(self.dice.uniform(0, 0.3))
        self.link.resume()
        self.link.bury()
        self.till.stop()
        await asyncio.wait_for(self.selling, 60)
        await self.settle()

    async def settle(self):
        sold, end = self.till.acked, time.monotonic() + PATIENCE
        while await self.count() < len(sold) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        nc = await self.puller.connect()
        messages = await read_stream(nc, "ALL", "orders.>")
        await nc.close()
        self.wrong += differences(sold, messages)
        if self.retention == "workqueue" and not self.wrong:
            await self.settle_queue()

    async def settle_queue(self):
        end = time.monotonic() + PATIENCE
        while (state := (await self.api(self.origin, "STREAM.INFO.ORDERS"))["state"])["messages"] and \
                time.monotonic() < end:
            await asyncio.sleep(0.1)
        if state["messages"]:
            consumers = (await self.api(self.origin, "CONSUMER.LIST.ORDERS"))["consumers"]
            if self.origin.kind != "frond" and self.troubles["hub_killed"] and acknowledged(state, consumers):
                self.kept = state["messages"]
            else:
                self.wrong.append(f"the work queue keeps {state['messages']} that were collected")

    def close(self):
        for server in (self.site, self.hub):
            server.stop()
        self.link.close()
        for server in (self.site, self.hub):
            try:
                server.check()
            except AssertionError as error:
                self.wrong.append(str(error))


def main():
    kind, name, cuts, seed, seconds, directory, figures = sys.argv[1:]
    began = time.monotonic()
    scene = Scene(kind, name, int(seed), Path(directory))
    try:
        asyncio.run(scene.play(int(cuts), float(seconds)))
    except (AssertionError, ApiError, asyncio.TimeoutError, OSError) as error:
        scene.wrong.append(f"{type(error).__name__}: {error}")
    scene.close()
    Path(figures).write_text(json.dumps({
        "kind": kind, "scene": name, "seed": scene.seed, "cuts": sum(scene.troubles.values()), "troubles": scene.troubles,
        "sold": len(scene.till.acked) if scene.till else 0, "links": scene.link.accepted, "wrong": scene.wrong,
        "kept": scene.kept, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
