"""A genuine hub copies from the site: the origin's half of the dialogue, through cuts and restarts.

What is sold at the site arrives in the hub's stream once and in order, also when the site restarts at the moment the
reference loses a message (reference: a work queue's consumer starts to count anew without telling).
"""
import asyncio
import json
import time

import pytest

from frondtest.readback import request, state

RETENTION = pytest.mark.parametrize("retention", ["limits", "workqueue", "interest"])


class Copy:
    def __init__(self, scene, retention):
        self.scene, self.retention, self.sold = scene, retention, 0

    async def open(self):
        self.hub = await self.scene.hub.connect()
        self.site = await self.scene.site.connect()
        made = await request(self.site, "$JS.API.STREAM.CREATE.S", {
            "name": "S", "subjects": ["s.>"], "retention": self.retention})
        assert "error" not in made, made
        await request(self.hub, "$JS.API.STREAM.CREATE.H", {
            "name": "H", "sources": [{"name": "S", "external": {"api": "$JS.site.API"}}]})
        end = time.monotonic() + 10  # an interest stream drops what nobody wants: wait for the hub's consumer
        while self.retention == "interest" and not (await request(self.site, "$JS.API.CONSUMER.NAMES.S"))["consumers"]:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

    async def reopen(self):
        self.site = await self.scene.site.connect()

    async def sell(self, count):
        while count:
            some = range(self.sold + 1, self.sold + 1 + min(count, 100))
            self.sold, count = some[-1], count - len(some)
            for ack in await asyncio.gather(*(self.site.request("s.a", str(n).encode(), timeout=10) for n in some)):
                assert "error" not in json.loads(ack.data), ack.data

    async def collected(self, timeout):
        """Seconds until the hub has all."""
        start = time.monotonic()
        while (await state(self.hub, "H"))["messages"] < self.sold:
            assert time.monotonic() - start < timeout, f"{await state(self.hub, 'H')} of {self.sold}"
            await asyncio.sleep(0.01)
        return time.monotonic() - start

    async def check(self):
        js = self.hub.jetstream()
        seen = []
        for seq in range(1, (await state(self.hub, "H"))["last_seq"] + 1):
            seen.append(int((await js.get_msg("H", seq)).data))
        assert seen == list(range(1, self.sold + 1))
        if self.retention != "limits":
            end = time.monotonic() + 10
            while (await state(self.site, "S"))["messages"]:
                assert time.monotonic() < end, "the origin keeps what was collected"
                await asyncio.sleep(0.05)
        await self.hub.close()
        await self.site.close()


@RETENTION
def test_a_short_cut_goes_on_with_the_old_consumer(pair, run, retention):
    copy = Copy(pair("frond"), retention)

    async def play():
        await copy.open()
        await copy.sell(20)
        await copy.collected(10)
        copy.scene.link.cut()
        await copy.sell(5)
        copy.scene.link.resume()
        await copy.collected(8)
        await copy.sell(5)
        await copy.collected(5)
        await copy.check()

    run(play())


@RETENTION
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_restarted_site_provokes_a_new_create(pair, run, retention, kill):
    copy = Copy(pair("frond"), retention)
    waits = []

    async def play():
        await copy.open()
        await copy.sell(10)
        await copy.collected(10)
        for _ in range(3):
            await copy.site.close()
            copy.scene.site.restart(kill=kill)
            copy.scene.site.wait_linked()
            up = time.monotonic()
            await copy.reopen()
            await copy.sell(3)
            await copy.collected(20)
            waits.append(time.monotonic() - up)
            await asyncio.sleep(2)  # the hub's own throttle between two creates
        await copy.check()

    run(play())
    print("resumed after", " ".join(f"{w:.2f}" for w in waits), "s")
    assert max(waits) < 3


def test_the_backlog_of_an_outage_arrives(pair, run):
    copy = Copy(pair("frond"), "workqueue")

    async def play():
        await copy.open()
        await copy.sell(10)
        await copy.collected(10)
        copy.scene.link.cut()
        await copy.sell(2500)  # more than the window of acks
        await copy.site.close()
        copy.scene.site.restart(kill=True)
        await copy.reopen()
        await copy.sell(10)
        copy.scene.link.resume()
        await copy.collected(60)  # a hub that asked into the cut link asks again after 30 s + 10 s
        await copy.check()

    run(play())
