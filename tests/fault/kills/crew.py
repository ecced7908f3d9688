"""Who works while the server is killed, and what each of them may hold against it.

A role has one connection at a time. When that breaks it connects anew, settles (looks what has become of what was in
flight, and whether all that was answered is so) and works on. At the end it gives its account.
"""
import asyncio
import json
import random
import zlib

from frondtest.wire import ApiError, Gone, Wire

SECOND = 1_000_000_000


class Role:
    """settle() may be broken off anywhere and begin again; work() returns when the scene is over."""

    def __init__(self, scene, name):
        self.scene, self.name = scene, name
        self.dice = random.Random(f"{scene.seed}/{name}")
        self.settled = 0  # in which start of the server

    async def life(self):
        while True:
            try:
                wire = await Wire.to(self.scene.server.port)
            except Gone:
                await asyncio.sleep(0.003)
                continue
            start = self.scene.starts
            try:
                await self.settle(wire)
                self.settled = start
                self.scene.news.set()
                await self.work(wire)
                return
            except Gone:
                if wire.error:
                    self.scene.fail(f"{self.name}: the server said {wire.error.decode()}")
            finally:
                wire.close()

    async def settle(self, wire):
        pass

    async def account(self, wire):
        """After the last start, when all have finished: what is stored, against what was answered."""

    def fail(self, text):
        self.scene.fail(f"{self.name}: {text}")


def size_of(dice):
    kind = dice.random()
    if kind < 0.8:
        return dice.randint(0, 300)
    return dice.randint(300, 9000) if kind < 0.995 else dice.choice([66_000, 131_072, 300_000])


class Publisher(Role):
    """Messages in order, at most `window` unanswered. With ids what was not answered is said again."""

    def __init__(self, scene, name, subject, window, ids=True):
        super().__init__(scene, name)
        self.subject, self.window, self.ids = subject, window, ids
        self.number, self.duplicates = 0, 0
        self.waiting = {}  # number -> body
        self.acked = {}  # number -> (seq, crc)
        self.unknown = {}  # number -> crc: without id, in flight at a kill

    async def settle(self, wire):
        if not self.ids:
            self.unknown.update((number, zlib.crc32(body)) for number, body in self.waiting.items())
            self.waiting.clear()
        for number, body in list(self.waiting.items()):
            self.publish(wire, number, body)

    async def work(self, wire):
        while not (self.scene.over and not self.waiting):
            if len(self.waiting) < self.window and not self.scene.over:
                self.number += 1
                body = b"%s %d " % (self.name.encode(), self.number)
                body = self.waiting[self.number] = body + self.dice.randbytes(size_of(self.dice))
                self.publish(wire, self.number, body)
                if self.number % 40 == 0:
                    await asyncio.sleep(0.01)  # the disk of a thousand cycles is finite
                continue
            await asyncio.wait_for(wire.changed(), 60)

    def publish(self, wire, number, body):
        headers = {"Nats-Msg-Id": f"{self.name}-{number}"} if self.ids else None
        wire.ask(self.subject, body, headers, lambda got: self.answered(number, got))

    def answered(self, number, got):
        ack = json.loads(got.body or b"{}")
        if "seq" not in ack:
            self.fail(f"{number}: {got}")
            return
        body = self.waiting.pop(number)
        self.duplicates += ack.get("duplicate", False)
        self.acked[number] = (ack["seq"], zlib.crc32(body))


def by_name(records):
    """Sequences and checksums of each publisher's messages: name -> [(number, seq, crc)]."""
    found = {}
    for seq, _, body in records:
        name, number, _ = body.split(b" ", 2)
        found.setdefault(name.decode(), []).append((int(number), seq, zlib.crc32(body)))
    return found


def check_publisher(role, found, same_seq=True):
    """All that was acknowledged, under its number, once, in order, and nothing that was never sent."""
    there = {}
    for number, seq, crc in found:
        if number in there:
            role.fail(f"doubled: {number} is {there[number][0]} and {seq}")
        there[number] = (seq, crc)
    for number, (seq, crc) in role.acked.items():
        one = there.get(number)
        if one is None:
            role.fail(f"lost: {number}, acknowledged as {seq}")
        elif one[1] != crc or same_seq and one[0] != seq:
            role.fail(f"changed: {number} is {one}, acknowledged as {(seq, crc)}")
    for number in there.keys() - role.acked.keys():
        if role.unknown.get(number) != there[number][1]:
            role.fail(f"invented: {number}, sequence {there[number][0]}")
    numbers = [number for number, _, _ in found]
    if numbers != sorted(numbers):
        role.fail("out of order")


class Ledger(Role):
    """A stream nobody removes from, its publishers, and a copy of it: a source (other numbers) or a mirror."""

    def __init__(self, scene, stream, publishers, copy, mirrors):
        super().__init__(scene, f"{stream}>{copy}")
        self.stream, self.publishers, self.copy, self.mirrors = stream, publishers, copy, mirrors
        self.seen = 0

    async def open(self, wire):
        await wire.api(f"STREAM.CREATE.{self.stream}", {
            "name": self.stream, "subjects": [f"{self.stream}.>"], "duplicate_window": 3600 * SECOND})
        origin = {"name": self.stream}
        await wire.api(f"STREAM.CREATE.{self.copy}", {
            "name": self.copy, **({"mirror": origin} if self.mirrors else {"sources": [origin]})})

    async def settle(self, wire):
        known = max((p.acked[max(p.acked)][0] for p in self.publishers if p.acked), default=0)
        for stream in (self.stream, self.copy):
            state = (await wire.api(f"STREAM.INFO.{stream}"))["state"]
            if state["messages"] != state["last_seq"]:
                self.fail(f"{stream} has holes: {state}")
            if stream == self.stream and state["last_seq"] < known:
                self.fail(f"lost: {stream} ends with {state['last_seq']}, {known} was acknowledged")

    async def work(self, wire):
        while not self.scene.over:
            await asyncio.sleep(0.02)
            if wire.gone:
                raise Gone

    async def account(self, wire):
        records = await wire.read(self.stream)
        found = by_name(records)
        for publisher in self.publishers:
            check_publisher(publisher, found.pop(publisher.name, []))
        if found:
            self.fail(f"strange publishers: {list(found)}")
        await self.scene.until(self.caught_up(wire, records[-1][0] if records else 0), f"{self.copy} has all")
        copy = await wire.read(self.copy)
        if [body for _, _, body in copy] != [body for _, _, body in records]:
            self.fail(f"{self.copy} has {len(copy)} records, and not the {len(records)} of {self.stream}")
        if self.mirrors and [seq for seq, _, _ in copy] != [seq for seq, _, _ in records]:
            self.fail(f"{self.copy} has other sequences")
        self.seen = len(copy)

    def caught_up(self, wire, last):
        async def asked():
            return (await wire.api(f"STREAM.INFO.{self.copy}"))["state"]["last_seq"] >= last
        return asked


class Worker(Role):
    """Pulls from a work-queue or interest stream and acks nearly everything, each ack confirmed."""

    def __init__(self, scene, stream, consumer, publisher):
        super().__init__(scene, f"{stream}/{consumer}")
        self.stream, self.consumer, self.publisher = stream, consumer, publisher
        self.done, self.terminated, self.seen, self.again = set(), 0, {}, 0  # done: number, ack answered
        self.open_acks = 0

    async def open(self, wire):
        await wire.api(f"CONSUMER.DURABLE.CREATE.{self.stream}.{self.consumer}", {
            "stream_name": self.stream, "config": {
                "durable_name": self.consumer, "ack_policy": "explicit", "ack_wait": SECOND,
                "max_ack_pending": 5000, "filter_subject": f"{self.stream}.>"}})

    async def settle(self, wire):
        self.open_acks = 0
        await wire.api(f"CONSUMER.INFO.{self.stream}.{self.consumer}")

    async def work(self, wire):
        idle = 0
        while idle < 2:
            got = await self.pull(wire, self.dice.randint(1, 60))
            idle = idle + 1 if self.scene.over and not self.publisher.waiting and not got and \
                not (await wire.api(f"CONSUMER.INFO.{self.stream}.{self.consumer}"))["num_ack_pending"] else 0

    async def pull(self, wire, batch):
        over = asyncio.get_running_loop().create_future()
        wire.waiting.add(over)
        left = [batch]

        def take(got):
            if got.status:
                left[0] = 0
            else:
                self.take(wire, got)
                left[0] -= 1
            if left[0] <= 0 and not over.done():
                over.set_result(None)

        inbox = wire.inbox(take)
        wire.tell(f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.consumer}",
                  json.dumps({"batch": batch, "expires": 100_000_000}).encode(), reply=inbox)
        before = len(self.seen)
        await asyncio.wait_for(over, 60)
        wire.waiting.discard(over)
        wire.forget(inbox)
        await asyncio.sleep(self.dice.choice([0, 0, 0.01]))
        return len(self.seen) - before

    def take(self, wire, got):
        number = int(got.body.split(b" ", 2)[1])
        if number in self.done:
            self.fail(f"doubled: {number} was delivered after its ack was answered ({got.reply})")
        self.again += number in self.seen
        self.seen[number] = zlib.crc32(got.body)
        chance = self.dice.random()
        if chance < 0.03:
            return  # comes again
        if chance < 0.07:
            wire.tell(got.reply, b"-NAK")
            return
        term = chance < 0.09
        self.terminated += term
        wire.ask(got.reply, b"+TERM" if term else b"+ACK", then=lambda _: self.done.add(number))

    async def account(self, wire):
        for number, (seq, crc) in self.publisher.acked.items():
            if self.seen.get(number) != crc:
                self.fail(f"lost: {number}, sequence {seq}, was never delivered")
        for number in self.seen.keys() - self.publisher.acked.keys():
            self.fail(f"invented: {number}")

        async def empty():
            return (await wire.api(f"STREAM.INFO.{self.stream}"))["state"]["messages"] == 0
        await self.scene.until(empty, f"{self.stream} is empty")


class KeyValue(Role):
    """A bucket: puts, deletes and purges of keys, each with the revision it expects; history 3."""

    HISTORY, KEYS = 3, 40

    def __init__(self, scene):
        super().__init__(scene, "bucket")
        self.entries = {f"k{n}": [] for n in range(self.KEYS)}  # key -> [(seq, crc)], the oldest first
        self.doubts = {}  # key -> (body, headers)
        self.number = self.changes = self.found_stored = 0

    async def open(self, wire):
        await wire.api("STREAM.CREATE.KV_b", {
            "name": "KV_b", "subjects": ["$KV.b.>"], "max_msgs_per_subject": self.HISTORY, "discard": "new",
            "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True})

    def last(self, key):
        return self.entries[key][-1][0] if self.entries[key] else 0

    def put(self, wire, key):
        body, headers = self.doubts[key]
        wire.ask(f"$KV.b.{key}", body, {**headers, "Nats-Expected-Last-Subject-Sequence": self.last(key)},
                 lambda got: self.answered(key, json.loads(got.body)))

    def answered(self, key, ack):
        if "seq" in ack:
            self.stored(key, ack["seq"])
        else:
            self.fail(f"{key} at {self.last(key)}: {ack}")

    def stored(self, key, seq):
        body, headers = self.doubts.pop(key)
        kept = [] if "Nats-Rollup" in headers else self.entries[key][1 - self.HISTORY:]
        self.entries[key] = [*kept, (seq, zlib.crc32(body))]
        self.changes += 1

    async def newest(self, wire, key):
        got = await wire.request(f"$JS.API.DIRECT.GET.KV_b.$KV.b.{key}")
        if got.status == 404:
            return None
        fields = dict(line.split(b": ", 1) for line in got.headers.split(b"\r\n")[1:] if b": " in line)
        return int(fields[b"Nats-Sequence"]), zlib.crc32(got.body)

    async def settle(self, wire):
        for key in self.entries:
            newest = await self.newest(wire, key)
            known = self.entries[key][-1] if self.entries[key] else None
            if newest == known:
                continue
            if key in self.doubts and newest and newest[1] == zlib.crc32(self.doubts[key][0]) and \
                    newest[0] > self.last(key):
                self.found_stored += 1
                self.stored(key, newest[0])
            else:
                self.fail(f"lost: {key} is {newest}, answered was {known}")
        for key in list(self.doubts):  # what was not stored: the same again, on the same revision
            self.put(wire, key)

    async def work(self, wire):
        while not self.scene.over or self.doubts:
            if self.scene.over or len(self.doubts) >= 8:
                await asyncio.wait_for(wire.changed(), 60)
                continue
            key = self.dice.choice([key for key in self.entries if key not in self.doubts])
            self.number += 1
            chance, headers = self.dice.random(), {}
            if chance < 0.08:
                headers = {"KV-Operation": "DEL"}
            elif chance < 0.15:
                headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
            self.doubts[key] = (b"%d " % self.number + self.dice.randbytes(self.dice.randint(0, 2000)), headers)
            self.put(wire, key)
            await asyncio.sleep(0)

    async def account(self, wire):
        stored = {}
        for seq, _, body in await wire.read("KV_b"):
            stored[seq] = zlib.crc32(body)
        answered = {seq: crc for history in self.entries.values() for seq, crc in history}
        if stored != answered:
            self.fail(f"lost: {sorted(answered.items() - stored.items())[:3]}, "
                      f"back: {sorted(stored.items() - answered.items())[:3]}")


__all__ = ["ApiError", "Gone", "KeyValue", "Ledger", "Publisher", "Role", "Worker", "SECOND"]
