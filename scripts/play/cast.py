"""Who plays: a genuine hub, two sites, and between them links that can be cut.

The configurations are the blocks of docs/demo.md; only their ports are our own.
"""
import asyncio
import contextlib
import json
import random
import sys
import time
from pathlib import Path

import nats

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "interop"))

from frondtest import Frond, NatsServer, Relay  # noqa: E402
from frondtest.readback import request  # noqa: E402
from frondtest.recipe import Recipes, recipe_server  # noqa: E402

PAGE = "docs/demo.md"
KINDS = {"frond": Frond, "nats": NatsServer}
GOODS = ["apples", "bread", "candles", "rope", "salt"]


async def quiet(_):
    pass


class Site:
    def __init__(self, stage, name, kind, client_port, http_port):
        self.name = name
        self.link = Relay(stage.hub.leaf_port, record_max=0)
        self.server = recipe_server(kind, stage.directory / name, name, stage.page[f"{name}.conf"])
        self.server.ports = {client_port: self.server.port, http_port: self.server.http_port,
                             7422: self.link.port}
        self.down = []  # [cut, back] of each outage, time.monotonic()

    def cut(self):
        self.link.cut()
        self.down.append([time.monotonic(), None])

    def heal(self):
        self.down[-1][1] = time.monotonic()
        self.link.resume()

    @property
    def link_is_down(self):
        return bool(self.down) and self.down[-1][1] is None


class Stage:
    """The servers of the story, from curtain up to curtain down."""

    def __init__(self, directory, site_kind="frond"):
        self.directory = directory
        self.page = Recipes(PAGE)
        self.hub = recipe_server(NatsServer, directory / "hub", "hub", self.page["hub.conf"],
                                 leaf_listen=True)
        self.hub.ports = {4222: self.hub.port, 8222: self.hub.http_port, 7422: self.hub.leaf_port}
        kind = KINDS[site_kind]
        self.sites = [Site(self, "north", kind, 4301, 8301), Site(self, "south", kind, 4302, 8302)]
        self.nc = None  # at the hub

    async def open(self):
        self.hub.start()
        for site in self.sites:
            site.server.start()
        for site in self.sites:
            site.server.wait_linked()
        self.nc = await self.hub.connect(error_cb=quiet)
        for site in self.sites:
            nc = await site.server.connect(error_cb=quiet)
            await self._create(nc, f"orders-{site.name}.json")
            await nc.close()
        await self._create(self.nc, "orders-all.json")

    async def _create(self, nc, block):
        config = json.loads(self.page[block])
        await request(nc, f"$JS.API.STREAM.CREATE.{config['name']}", config)

    async def collected(self):
        """How many orders of each site the hub's stream has; sites in our order."""
        info = await request(self.nc, "$JS.API.STREAM.INFO.ORDERS-ALL")
        by_api = {source["external"]["api"]: source.get("seq", 0)
                  for source in info.get("sources") or []}
        return [by_api.get(f"$JS.{site.name}.API", 0) for site in self.sites]

    async def close(self):
        if self.nc:
            with contextlib.suppress(Exception):
                await self.nc.close()
        for site in self.sites:
            site.server.stop()
            site.link.close()
        self.hub.stop()


class Prices:
    """A price service in a queue group at every server, and somebody at each site who asks."""

    def __init__(self, stage):
        self.stage = stage
        self.services = {}  # server name -> its connection
        self.answers = {site.name: {"here": 0, "hub": 0, "here, link down": 0, "again": 0}
                        for site in stage.sites}
        self._tasks = []
        self._closing = False  # beside cancel(): wait_for of Python 3.11 loses one that meets an answer

    async def open(self):
        for server in [self.stage.hub, *(site.server for site in self.stage.sites)]:
            await self.open_shelf(server)
        self._tasks = [asyncio.create_task(self._ask(site)) for site in self.stage.sites]

    async def open_shelf(self, server):
        nc = await server.connect(error_cb=quiet)
        name = server.name.encode()

        async def answer(message):
            await message.respond(name)

        await nc.subscribe("prices.*", queue="prices", cb=answer)
        await nc.flush()
        self.services[server.name] = nc

    async def close_shelf(self, server):
        await self.services.pop(server.name).close()

    async def _ask(self, site):
        """Ask all the time; what stays without an answer (the site restarts) is asked again."""
        nc = await site.server.connect(error_cb=quiet)
        seen = self.answers[site.name]
        try:
            while not self._closing:
                down = site.link_is_down
                try:
                    reply = await nc.request("prices." + random.choice(GOODS), b"", timeout=0.5)
                except (nats.errors.Error, OSError, asyncio.TimeoutError):
                    seen["again"] += 1
                    await asyncio.sleep(0.02)
                    continue
                where = "hub" if reply.data == b"hub" else "here"
                seen[where] += 1
                if down and where == "here":
                    seen["here, link down"] += 1
                await asyncio.sleep(0.04)
        finally:
            with contextlib.suppress(Exception):
                await nc.close()

    async def close(self):
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for nc in self.services.values():
            with contextlib.suppress(Exception):
                await nc.close()
