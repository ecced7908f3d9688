"""A stream that is made, filled, thinned out, changed and deleted again and again, with consumers that come and go.

One order is under way at a time, so after a kill the server may have carried out that one or not, and nothing else:
what was answered stays, in both directions. Of a purge that was not answered any part may have happened.
"""
import json
import zlib

from crew import SECOND, ApiError, Role

NOT_FOUND, NO_CONSUMER = 10059, 10014


class Order:
    """One request whose answer did not come (yet): what may be true instead of what was."""

    def __init__(self, what, **may):
        self.what, self.may = what, may


class StreamLife(Role):
    """A large one has thousands of messages: its purges and deletions are jobs of many portions."""

    def __init__(self, scene, number, large=False):
        super().__init__(scene, f"life{number}")
        self.stream = f"LIFE{number}"
        self.most, self.bursts, self.size = (9000, [300, 2000], 60) if large else (300, [1, 5, 30], 3000)
        self.config = None  # description, as answered; None: there is no stream
        self.records = {}  # seq -> crc, each answered
        self.highest = 0
        self.flying = {}  # crc -> number, publishes without an answer
        self.consumers = {}  # name -> [description, paused until]
        self.order = None
        self.number = self.orders = self.in_doubt = 0

    # -- what is there --

    async def settle(self, wire):
        order = self.order
        try:
            info = await wire.api(f"STREAM.INFO.{self.stream}")
        except ApiError as error:
            assert error.code == NOT_FOUND, error
            if self.config and not (order and order.what == "delete"):
                self.fail(f"lost: the stream is gone ({order and order.what})")
            self.forget()
            self.decided()
            return
        text = info["config"]["description"]
        if text != self.config:
            if not (order and order.what in ("create", "update") and text == order.may["config"]):
                self.fail(f"the stream is {text}, answered was {self.config} ({order and order.what})")
            if order and order.what == "create":
                self.forget()
            self.config = text
        await self.settle_records(wire, order, info["state"])
        await self.settle_consumers(wire, order)
        self.decided()

    def decided(self):
        self.in_doubt += self.order is not None
        self.order = None

    def forget(self):
        self.config, self.records, self.consumers, self.highest = None, {}, {}, 0
        self.flying.clear()

    async def settle_records(self, wire, order, state):
        found = {seq: zlib.crc32(body) for seq, _, body in await wire.read(self.stream)}
        going = order.may["going"] if order and order.what == "remove" else set()
        for seq, crc in self.records.items():
            if found.get(seq) != crc and seq not in going:
                self.fail(f"lost: {seq}, answered; there is {found.get(seq)} ({order and order.what})")
        for seq in found.keys() - self.records.keys():
            if self.flying.pop(found[seq], None) is None or seq <= self.highest:
                self.fail(f"back: {seq} was removed, or never sent, or is doubled")
        if state["last_seq"] < self.highest or state["messages"] != len(found):
            self.fail(f"numbers: {state}, {len(found)} records, {self.highest} was given already")
        self.flying.clear()
        self.records, self.highest = found, state["last_seq"]

    async def settle_consumers(self, wire, order):
        there = (await wire.api(f"CONSUMER.LIST.{self.stream}", {}))["consumers"] or []
        found = {one["name"]: [one["config"]["description"], one["config"].get("pause_until")] for one in there}
        for name in found.keys() | self.consumers.keys():
            now, was = found.get(name), self.consumers.get(name)
            if now != was and not (order and order.what == "consumer" and order.may["name"] == name
                                   and order.may["fits"](now)):
                self.fail(f"consumer {name} is {now}, answered was {was} ({order and order.what})")
        self.consumers = found

    # -- what is done --

    async def work(self, wire):
        while not self.scene.over:
            if not self.config:
                await self.create(wire)
            what = self.dice.random()
            if len(self.records) > self.most or what < 0.1:
                await self.purge(wire)
            elif what < 0.5:
                await self.publish(wire, self.dice.choice(self.bursts))
            elif what < 0.65:
                await self.delete_message(wire)
            elif what < 0.75:
                await self.change(wire, "UPDATE")
            elif what < 0.8:
                await self.do(wire, Order("delete"), f"STREAM.DELETE.{self.stream}", None)
                self.forget()
            else:
                await self.change_consumers(wire)

    async def do(self, wire, order, verb, request):
        self.order = order
        got = await wire.api(verb, request)
        self.order = None
        self.orders += 1
        return got

    def text(self):
        self.number += 1
        return f"revision {self.number}"

    async def create(self, wire):
        await self.change(wire, "CREATE")

    async def change(self, wire, verb):
        text = self.text()
        await self.do(wire, Order(verb.lower(), config=text), f"STREAM.{verb}.{self.stream}", {
            "name": self.stream, "subjects": [f"{self.name}.>"], "description": text})
        self.config = text

    async def publish(self, wire, count):
        left = count
        for _ in range(count):
            self.number += 1
            body = b"%d " % self.number + self.dice.randbytes(self.dice.randint(10, self.size))
            self.flying[zlib.crc32(body)] = self.number
            wire.ask(f"{self.name}.{self.dice.randint(1, 5)}", body,
                     then=lambda got, crc=zlib.crc32(body): self.stored(crc, json.loads(got.body)))
        await wire.request(f"$JS.API.STREAM.INFO.{self.stream}")
        while self.flying:  # some of a batch may be answered behind the info
            await wire.request(f"$JS.API.STREAM.INFO.{self.stream}")
        self.orders += left

    def stored(self, crc, ack):
        if "seq" not in ack:
            self.fail(f"publish: {ack}")
            return
        del self.flying[crc]
        self.records[ack["seq"]] = crc
        self.highest = max(self.highest, ack["seq"])

    async def delete_message(self, wire):
        if not self.records:
            return
        seq = self.dice.choice(list(self.records))
        await self.do(wire, Order("remove", going={seq}), f"STREAM.MSG.DELETE.{self.stream}",
                      {"seq": seq, "no_erase": self.dice.random() < 0.5})
        del self.records[seq]

    async def purge(self, wire):
        request, seqs = {}, sorted(self.records)
        if seqs and self.dice.random() < 0.4:
            request["seq"] = self.dice.choice(seqs)
            seqs = [seq for seq in seqs if seq < request["seq"]]
        elif self.dice.random() < 0.5:
            request["keep"] = self.dice.randint(1, 20)
            seqs = seqs[:-request["keep"]]
        got = await self.do(wire, Order("remove", going=set(seqs)), f"STREAM.PURGE.{self.stream}", request)
        if got["purged"] != len(seqs):
            self.fail(f"purged {got['purged']}, expected {len(seqs)} ({request})")
        for seq in seqs:
            del self.records[seq]

    async def change_consumers(self, wire):
        name, what, text = f"c{self.dice.randint(1, 4)}", self.dice.random(), self.text()
        old = self.consumers.get(name)
        if old and what < 0.3:
            await self.do(wire, Order("consumer", name=name, fits=lambda now: now is None),
                          f"CONSUMER.DELETE.{self.stream}.{name}", None)
            del self.consumers[name]
        elif old and what < 0.6:
            until = None if old[1] else f"2099-01-01T00:00:{self.dice.randint(10, 59)}Z"
            await self.do(wire, Order("consumer", name=name, fits=lambda now: now == [old[0], until]),
                          f"CONSUMER.PAUSE.{self.stream}.{name}", {"pause_until": until} if until else {})
            old[1] = until
        else:
            now = await self.do(wire, Order("consumer", name=name, fits=lambda now: now and now[0] == text),
                          f"CONSUMER.DURABLE.CREATE.{self.stream}.{name}", {
                              "stream_name": self.stream, "config": {
                                  "durable_name": name, "ack_policy": "explicit", "description": text,
                                  "ack_wait": 30 * SECOND}})
            self.consumers[name] = [text, now["config"].get("pause_until")]

    async def account(self, wire):
        await self.settle(wire)
