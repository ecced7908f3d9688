"""A link cut at random bytes while a backlog crosses it, in both directions: everything once, in order.

Who pulls has a stream with a source at the other end; the origin's stream keeps its messages
(limits) or gives each away once (work queue). The seed decides where each cut falls: among the data,
in the handshake of the link that comes back, or in the consumer's creation.
"""
import asyncio
import random
import time

import pytest

from frondtest import new_seed
from frondtest.readback import check_order, check_stream, read_stream, request, state
from frondtest.till import Till, orders

CUTS = 26  # per direction and kind of stream; two kinds
BATCH = 400  # orders sold per cut, so that there is always something to drain


class Drain:
    """An origin with stream ORDERS, a puller with stream ALL that sources it, the link between."""

    def __init__(self, scene, pulls, retention):
        self.origin, self.puller = \
            (scene.site, scene.hub) if pulls == "hub" else (scene.hub, scene.site)
        self.link, self.retention = scene.link, retention
        self.data_way = "up" if pulls == "hub" else "down"
        self.sold = []
        self.next_order = 1

    async def open(self):
        self.there = await self.origin.connect()
        self.here = await self.puller.connect()
        await request(self.there, "$JS.API.STREAM.CREATE.ORDERS", {
            "name": "ORDERS", "subjects": ["orders.>"], "storage": "file",
            "retention": self.retention})
        await request(self.here, "$JS.API.STREAM.CREATE.ALL", {
            "name": "ALL", "storage": "file", "sources": [{
                "name": "ORDERS", "external": {"api": f"$JS.{self.origin.domain}.API"}}]})

    async def sell(self, seed, count):
        till = Till(self.origin.url, "orders.1",
                    orders("origin", 1, seed, count, first=self.next_order, size=400))
        self.next_order += count
        await till.run()
        self.sold += till.acked

    async def count(self):
        return (await state(self.here, "ALL"))["messages"]

    async def until_more_than(self, count, timeout, hurry=lambda: False):
        end = time.monotonic() + timeout
        while await self.count() <= count and not hurry():
            assert time.monotonic() < end, \
                f"not more than {await self.count()} of {len(self.sold)} in {timeout} s"
            await asyncio.sleep(0.01)

    async def close(self):
        await self.here.close()
        await self.there.close()


async def cut_once(drain, dice, seed):
    """One cut: mostly amid the data, sometimes in the first bytes of a link."""
    link = drain.link
    cuts = link.cuts
    way = drain.data_way if dice.random() < 0.7 else ("down" if drain.data_way == "up" else "up")
    if way == drain.data_way:
        link.cut_after(dice.randrange(1, 100_000), way)
    else:
        link.cut_after(dice.randrange(1, 1500), way)
    await drain.sell(seed, BATCH)
    end = time.monotonic() + 3  # a planned cut may wait for bytes that do not come
    while link.cuts == cuts and time.monotonic() < end:
        await asyncio.sleep(0.005)
    if link.cuts == cuts:
        link.cut(refuse=False)
    if dice.random() < 0.15:  # and the link that comes back is cut in its greeting
        link.cut_after(dice.randrange(1, 1200), way)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("retention", ["limits", "workqueue"])
@pytest.mark.parametrize("pulls", ["hub", "site"])
def test_cuts_at_random_bytes_lose_and_double_nothing(pair, run, pulls, retention):
    seed = new_seed()
    dice = random.Random(seed)
    scene = pair("frond")
    drain = Drain(scene, pulls, retention)

    async def play():
        await drain.open()
        await drain.sell(seed, BATCH)
        await drain.until_more_than(0, 60)
        while scene.link.cuts < CUTS:
            before = await drain.count()
            await cut_once(drain, dice, seed)
            await drain.until_more_than(before, 100)
        scene.link.resume()
        await drain.until_more_than(len(drain.sold) - 1, 100)
        messages = await read_stream(drain.here, "ALL", "orders.>")
        if retention == "workqueue":
            await empty_queue()
        await drain.close()
        return messages

    async def empty_queue():
        end = time.monotonic() + 30
        while (await state(drain.there, "ORDERS"))["messages"]:
            assert time.monotonic() < end, "the work queue keeps what was collected"
            await asyncio.sleep(0.05)

    messages = run(play())
    print(f"{scene.link.cuts} cuts, {len(drain.sold)} orders, {scene.link.accepted} links")
    check_stream(drain.sold, messages, same_seq=False)
    check_order(messages, drain.sold)
