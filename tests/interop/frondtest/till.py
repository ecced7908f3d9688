"""A till: a publisher that counts only what was acknowledged, and repeats the rest.

    till = Till(server.url, "orders.north.1", orders("north", 1, seed, 1000), window=256, rate=200)
    await till.run()             # returns when every order is acknowledged
    till.acked                   # [Ack(...)], in the order of the acknowledgements

It publishes through the official client, many orders ahead of their acks (at most `window`). When
the connection breaks, or an ack is an error or does not come, it connects anew and first publishes
all that is not acknowledged again, in the same order and under the same Nats-Msg-Id.
"""
import asyncio
import contextlib
import hashlib
import json
import os
import random
import time
from functools import partial
from typing import NamedTuple

import nats

GOODS = ["apples", "bread", "candles", "eggs", "flour", "honey", "nails", "paint", "rope", "salt"]


class Ack(NamedTuple):
    id: str
    digest: bytes  # of the body, SHA-256
    seq: int  # in the site's stream
    sent: float  # first published; time.monotonic(), the same clock in all processes
    at: float  # acknowledged
    duplicate: bool  # the first copy was stored, its ack was lost


def orders(site, till, seed, count, first=1, size=0):
    """count orders of a till, as (id, body): the same seed sells the same goods."""
    for number in range(first, first + count):
        dice = random.Random(f"{seed}/{site}/{till}/{number}")
        items = {dice.choice(GOODS): dice.randint(1, 9) for _ in range(dice.randint(1, 3))}
        name = f"{site}-{till}-{number:06d}"
        body = {"id": name, "site": site, "till": till, "number": number, "items": items,
                "cents": dice.randint(100, 99999)}
        if size:
            body["note"] = "x" * dice.randint(0, size)
        yield name, json.dumps(body, separators=(",", ":")).encode()


def digest(body):
    return hashlib.sha256(body).digest()


def new_seed():
    """A seed, printed; FROND_SEED repeats one."""
    seed = int(os.environ.get("FROND_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"seed {seed} (FROND_SEED={seed} repeats it)")
    return seed


async def _quiet(_):
    pass


def killed_servers_are_no_news():
    """For the running loop: nats-py leaves the exception of its reading task to nobody when a server is killed."""
    def handler(loop, context):
        if not isinstance(context.get("exception"), OSError):
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handler)


class Till:
    def __init__(self, url, subject, source, window=256, rate=None, patience=10.0, counted=None):
        self.url, self.subject, self.source = url, subject, iter(source)
        self.window, self.rate, self.patience = window, rate, patience
        self.counted = counted or (lambda: None)  # called at each ack
        self.waiting = {}  # id -> (body, first published), in the order of publishing
        self.acked = []
        self.connections = 0
        self.errors = []  # JetStream's error answers; each order was repeated
        self._closing = False
        self._lost = self._news = None
        self._next_at = 0.0

    def stop(self):
        """Take no new orders; run() returns when the last one is acknowledged."""
        self._closing = True

    async def run(self):
        while True:
            connection = await self._connect()
            try:
                await self._session(connection)
            finally:
                with contextlib.suppress(Exception):
                    await connection.close()
            if self._closing and not self.waiting:
                return

    async def _connect(self):
        self._lost, self._news = asyncio.Event(), asyncio.Event()
        while True:
            try:
                connection = await nats.connect(
                    self.url, allow_reconnect=False, connect_timeout=5, reconnect_time_wait=0.01,
                    error_cb=_quiet, closed_cb=self._closed, name=self.subject)
                self.connections += 1
                return connection
            except Exception:  # noqa: BLE001 - the server is away; that is what we are here for
                await asyncio.sleep(0.01)

    async def _closed(self):
        self._lose(self._lost)

    def _lose(self, lost):
        lost.set()
        self._news.set()

    async def _session(self, connection):
        """Publish until all is acknowledged or the connection is lost."""
        lost = self._lost
        stream = connection.jetstream(publish_async_max_pending=self.window + 1)
        try:
            for name, (body, _) in list(self.waiting.items()):
                await self._publish(stream, name, body, lost)
            while not lost.is_set() and not self._closing:
                await self._pace()
                if not await self._room(self.window):
                    return
                order = next(self.source, None)
                if order is None or self._closing:
                    self._closing = True
                    break
                name, body = order
                self.waiting[name] = (body, time.monotonic())
                await self._publish(stream, name, body, lost)
            await self._room(1)
        except (nats.errors.Error, OSError):
            pass  # the connection went; what waits is published again

    async def _publish(self, stream, name, body, lost):
        if lost.is_set():
            raise nats.errors.ConnectionClosedError
        future = await stream.publish_async(self.subject, body, headers={"Nats-Msg-Id": name})
        future.add_done_callback(partial(self._answered, name, lost))

    def _answered(self, name, lost, future):
        now = time.monotonic()
        if lost.is_set() or future.cancelled():
            return
        error = future.exception()
        if error:
            self.errors.append(str(error))
            self._lose(lost)
            return
        ack = future.result()
        body, sent = self.waiting.pop(name)
        self.acked.append(
            Ack(name, digest(body), ack.seq, sent, now, bool(ack.duplicate)))
        self._news.set()
        self.counted()

    async def _room(self, below):
        """Wait until fewer than `below` orders wait; false when the connection is lost."""
        while len(self.waiting) >= below and not self._lost.is_set():
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), self.patience)
            except asyncio.TimeoutError:
                self._lose(self._lost)
        return not self._lost.is_set()

    async def _pace(self):
        """Not more than rate orders a second; what an outage of the site cost is caught up slowly."""
        if not self.rate:
            return
        now = time.monotonic()
        self._next_at = max(self._next_at, now - 0.25) + 1 / self.rate
        if self._next_at > now + 0.001:
            await asyncio.sleep(self._next_at - now)
