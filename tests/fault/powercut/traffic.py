"""Traffic for a server on tape, and the truth about it.

Each request and each publish has a mark, "@@" and eight digits, in its reply subject; the tape says when the server
heard it and when it said the answer. Each payload begins with "##" and the same number. Everything of a stream goes
through one connection, so its order is the server's; purges and changes of configuration stand alone.

    truth = asyncio.run(play(port, seed, steps))      truth.streams: every stream that was ever made, a Stream each
"""
import asyncio
import itertools
import json
import random
import re
import zlib
from dataclasses import dataclass, field


@dataclass(eq=False)
class Record:
    mark: int
    subject: str
    size: int
    crc: int
    seq: int = 0
    removers: list = field(default_factory=list)  # marks of what takes it away


@dataclass(eq=False)
class Consumer:
    name: str
    made: list = field(default_factory=list)  # (mark, config as answered), the oldest first
    pauses: list = field(default_factory=list)  # (mark, until when or None), the oldest first
    deleted: int = None
    acks: dict = field(default_factory=dict)  # stream sequence -> marks


@dataclass(eq=False)
class Stream:
    name: str
    made: list = field(default_factory=list)
    deleted: int = None
    records: list = field(default_factory=list)
    consumers: list = field(default_factory=list)
    live: list = field(default_factory=list)  # records nothing was sent against
    goes_to: "Stream" = None  # a work queue that this one collects: what leaves it is there
    comes_from: "Stream" = None


class Wire:
    """One connection."""
    numbers = itertools.count(1)

    def __init__(self, name):
        self.name, self.waiting, self.pulled, self.lost = name, {}, asyncio.Queue(), None

    async def open(self, port, marks):
        self.marks = marks
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await self.reader.readline()
        self.writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                          b"SUB R.%s.* 1\r\nSUB P.%s.* 2\r\n" % (self.name.encode(), self.name.encode()))
        self.task = asyncio.ensure_future(self._read())
        return self

    async def close(self):
        self.task.cancel()
        self.writer.close()

    async def _read(self):
        try:
            while line := await self.reader.readline():
                words = line.split()
                if words[0] in (b"MSG", b"HMSG"):
                    body = (await self.reader.readexactly(int(words[-1]) + 2))[:-2]
                    self._got(words, body)
                elif words[0] == b"PING":
                    self.writer.write(b"PONG\r\n")
                elif words[0] == b"-ERR":
                    raise AssertionError(line)
            raise AssertionError("closed by the server")
        except (AssertionError, OSError) as error:
            self.lost = error
            for future in self.waiting.values():
                future.set_exception(error)
            self.pulled.put_nowait(error)

    def _got(self, words, body):
        if words[2] == b"2":
            self.pulled.put_nowait(words[3].decode() if words[0] == b"MSG" else None)
            return
        if words[0] == b"HMSG":
            raise AssertionError((words, body))
        future = self.waiting.pop(int(words[1].rpartition(b"@")[2]))
        if not future.done():
            future.set_result(body)

    def ask(self, subject, body=b"", mark=None, head=b""):
        """(mark, future of the answer)."""
        if self.lost:
            raise self.lost
        mark = mark or next(self.marks)
        future = self.waiting[mark] = asyncio.get_running_loop().create_future()
        words = b"%s R.%s.@@%08d" % (subject.encode(), self.name.encode(), mark)
        if head:
            line = b"HPUB %s %d %d\r\n" % (words, len(head), len(head) + len(body))
        else:
            line = b"PUB %s %d\r\n" % (words, len(body))
        self.writer.write(line + head + body + b"\r\n")
        return mark, future

    def api(self, verb, request=None):
        return self.ask("$JS.API." + verb, json.dumps(request).encode() if request is not None else b"")


def answer(body):
    got = json.loads(body)
    if "error" in got:
        raise AssertionError(got["error"])
    return got


def header_block(headers):
    if not headers:
        return b""
    return ("NATS/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n").encode()


class Driver:
    """One stream at a time, and its truth."""

    def __init__(self, wire, dice, truth):
        self.wire, self.dice, self.truth = wire, dice, truth
        self.out = set()  # answers still to come
        self.revisions = itertools.count(1)

    async def room(self, window=1):
        while len(self.out) >= window:
            done, self.out = await asyncio.wait(self.out, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()

    def later(self, future, then):
        async def wait():
            then(answer(await asyncio.wait_for(future, 60)))
        self.out.add(asyncio.ensure_future(wait()))

    async def create(self, name, **config):
        self.stream = Stream(name)
        self.config = {"name": name, "storage": "file", **config}
        self.truth.append(self.stream)
        await self.change("CREATE")

    async def change(self, verb="UPDATE", **config):
        await self.room()
        self.config.update(config, description=f"revision {self.stream.name} {next(self.revisions)} {len(self.truth)}")
        mark, future = self.wire.api(f"STREAM.{verb}.{self.stream.name}", self.config)
        self.stream.made.append([mark, self.config["description"], None])
        self.stream.made[-1][2] = answer(await future)["config"]

    async def delete(self):
        await self.room()
        self.stream.deleted, future = self.wire.api(f"STREAM.DELETE.{self.stream.name}")
        for consumer in self.stream.consumers:
            consumer.deleted = consumer.deleted or self.stream.deleted
        assert answer(await future)["success"]

    def publish(self, subject, size, removes=(), headers=None, then=None):
        mark = next(self.wire.marks)
        head = header_block(headers)
        body = (b"##%08d" % mark + self.dice.randbytes(max(0, size - 10)))
        record = Record(mark, subject, len(body), zlib.crc32(subject.encode() + b"\0" + head + body))
        for other in removes:
            self.remove(other, mark)
        self.stream.records.append(record)
        self.stream.live.append(record)
        _, future = self.wire.ask(subject, body, mark, head)

        def answered(ack):
            assert not ack.get("duplicate"), ack
            record.seq = ack["seq"]
            if then:
                then(record)

        self.later(future, answered)
        return record

    def repeat(self, record, headers):
        """The same id again, with another body: told to be a duplicate, and not stored."""
        mark = next(self.wire.marks)
        _, future = self.wire.ask(record.subject, b"##%08d" % mark, mark, header_block(headers))

        def answered(ack):
            assert ack.get("duplicate") and ack["seq"] == record.seq, (ack, record)

        self.later(future, answered)

    def remove(self, record, mark):
        record.removers.append(mark)
        if record in self.stream.live:
            self.stream.live.remove(record)

    async def delete_message(self):
        known = [r for r in self.stream.live if r.seq]
        if not known:
            return
        record = self.dice.choice(known)
        mark, future = self.wire.api(f"STREAM.MSG.DELETE.{self.stream.name}",
                                     {"seq": record.seq, "no_erase": self.dice.random() < 0.5})
        self.remove(record, mark)
        self.later(future, lambda got: None)

    async def purge(self):
        await self.room()
        live, request = self.stream.live, {}
        if self.dice.random() < 0.6 and live:
            request["filter"] = self.dice.choice(live).subject
        gone = [r for r in live if "filter" not in request or r.subject == request["filter"]]
        if self.dice.random() < 0.3 and gone:
            request["seq"] = self.dice.choice(gone).seq
            gone = [r for r in gone if r.seq < request["seq"]]
        elif self.dice.random() < 0.4:
            request["keep"] = self.dice.randint(1, 30)
            gone = gone[:-request["keep"]]
        mark, future = self.wire.api(f"STREAM.PURGE.{self.stream.name}", request)
        for record in gone:
            self.remove(record, mark)
        got = answer(await asyncio.wait_for(future, 60))
        assert got["purged"] == len(gone), (got, len(gone), request)

    # -- consumers --

    async def consumer(self, name, old=None, **config):
        """Made, or changed when it is there."""
        await self.room()
        consumer = old or Consumer(name)
        config = {"durable_name": name, "ack_policy": "explicit", "ack_wait": 120_000_000_000, "max_ack_pending": 5000,
                  "description": f"revision {name} {next(self.revisions)} {len(self.stream.consumers)}", **config}
        mark, future = self.wire.api(f"CONSUMER.DURABLE.CREATE.{self.stream.name}.{name}",
                                     {"stream_name": self.stream.name, "config": config})
        consumer.made.append([mark, config["description"], None])
        if not old:
            self.stream.consumers.append(consumer)
        consumer.pauses.append([mark, None])
        consumer.made[-1][2] = answer(await future)["config"]
        consumer.pauses[-1][1] = consumer.made[-1][2].get("pause_until")
        return consumer

    async def pause(self, consumer):
        """Till the end of the century, or not any more."""
        await self.room()
        until = None if consumer.pauses[-1][1] else f"2099-12-31T23:59:{self.dice.randint(10, 59)}Z"
        mark, future = self.wire.api(f"CONSUMER.PAUSE.{self.stream.name}.{consumer.name}",
                                     {"pause_until": until} if until else {})
        consumer.pauses.append([mark, until])
        assert bool(until) == answer(await future)["paused"]

    async def delete_consumer(self, consumer):
        await self.room()
        consumer.deleted, future = self.wire.api(f"CONSUMER.DELETE.{self.stream.name}.{consumer.name}")
        assert answer(await future)["success"]

    async def pull(self, consumer, batch, removes=()):
        """Pulls what is there and acks nearly all of it, each ack confirmed.

        What all the consumers of removes have acked is gone from the stream.
        """
        mark = next(self.wire.marks)
        body = json.dumps({"batch": batch, "no_wait": True}).encode()
        self.wire.writer.write(b"PUB $JS.API.CONSUMER.MSG.NEXT.%s.%s P.%s.@@%08d %d\r\n%s\r\n" % (
            self.stream.name.encode(), consumer.name.encode(), self.wire.name.encode(), mark, len(body), body))
        replies = []
        while len(replies) < batch:
            reply = await asyncio.wait_for(self.wire.pulled.get(), 60)
            if isinstance(reply, Exception):
                raise reply
            if reply is None:
                break
            replies.append(reply)
        self.dice.shuffle(replies)
        by_seq = {r.seq: r for r in self.stream.records} if removes else {}
        for reply in replies:
            seq = int(re.search(r"\.(\d+)\.\d+\.\d+\.\d+$", reply)[1])
            chance = self.dice.random()
            if chance < 0.04:
                continue
            if chance < 0.1:
                self.wire.writer.write(b"PUB %s 4\r\n-NAK\r\n" % reply.encode())
                continue
            mark, future = self.wire.ask(reply, b"+ACK")
            consumer.acks.setdefault(seq, []).append(mark)
            if removes:
                await asyncio.sleep(0)
                if all(seq in other.acks for other in removes):
                    self.remove(by_seq[seq], mark)

            async def wait(future=future):
                assert await asyncio.wait_for(future, 60) == b""
            self.out.add(asyncio.ensure_future(wait()))
            await self.room(64)


def size_of(dice):
    kind = dice.random()
    if kind < 0.6:
        return dice.randint(10, 300)
    if kind < 0.9:
        return dice.randint(300, 6000)
    if kind < 0.985:
        return dice.randint(6000, 60_000)
    return dice.choice([65_000, 65_536, 70_000, 131_072, 200_000, 400_000])


async def limits(driver, steps):
    """Publishes of all sizes, deletes, purges, updates, consumers that come and go."""
    dice, names = driver.dice, itertools.count(1)
    await driver.create("LIM", subjects=["lim.>"])
    consumers = []
    for _ in range(steps):
        await driver.room(dice.choice([1, 8, 64]))
        what = dice.random()
        if what < 0.8:
            driver.publish(f"lim.{dice.randint(1, 12)}", size_of(dice))
        elif what < 0.88:
            await driver.delete_message()
        elif what < 0.905 or sum(r.size for r in driver.stream.live) > 3_000_000:
            await driver.purge()
        elif what < 0.92:
            await driver.change(max_msg_size=1_000_000 + dice.randint(1, 1000))
        elif what < 0.94 and len(consumers) < 4:
            consumers.append(await driver.consumer(f"c{next(names)}"))
        elif what < 0.945 and consumers:
            consumer = dice.choice(consumers)
            await driver.consumer(consumer.name, old=consumer)
        elif what < 0.9475 and consumers:
            await driver.pause(dice.choice(consumers))
        elif what < 0.955 and consumers:
            await driver.delete_consumer(consumers.pop(dice.randrange(len(consumers))))
        elif consumers:
            await driver.room()
            consumer = dice.choice(consumers)
            if not consumer.pauses[-1][1]:
                await driver.pull(consumer, dice.randint(1, 40))
    await driver.room()


async def newest(driver, steps):
    """One message a subject; many subjects are quiet, so blocks empty slowly and are compacted."""
    dice, on = driver.dice, {}
    await driver.create("KV", subjects=["kv.>"], max_msgs_per_subject=1)
    for step in range(steps * 2):
        await driver.room(dice.choice([4, 32, 100]))
        key = dice.randint(1, 20) if dice.random() < 0.8 else dice.randint(21, 400)
        old = on.get(key)
        on[key] = driver.publish(f"kv.{key}", dice.randint(500, 4000), [old] if old else [])
    await driver.room()


async def ring(driver, steps):
    dice = driver.dice
    await driver.create("RING", subjects=["ring"], max_msgs=40)
    for step in range(steps):
        await driver.room(dice.choice([1, 16, 64]))
        live = driver.stream.live
        headers = {"Nats-Expected-Last-Sequence": step} if dice.random() < 0.3 else None  # its only publisher knows
        driver.publish("ring", dice.randint(10, 2000), live[:1] if len(live) == 40 else [], headers)
    await driver.room()


async def retries(driver, steps):
    """Messages with ids, some of them sent again, at once or much later; some were deleted meanwhile."""
    dice, known = driver.dice, []  # (record, headers)
    await driver.create("IDS", subjects=["ids.>"], duplicate_window=3600_000_000_000)
    for step in range(steps):
        await driver.room(dice.choice([1, 16, 64]))
        chance, said = dice.random(), [one for one in known[-200:] if one[0].seq]
        if chance < 0.15 and said:
            driver.repeat(*dice.choice(said))
        elif chance < 0.2:
            await driver.delete_message()
        else:
            headers = {"Nats-Msg-Id": f"id-{step}"}
            known.append((driver.publish(f"ids.{dice.randint(1, 5)}", dice.randint(10, 2000), headers=headers), headers))
    await driver.room()


async def bucket(driver, steps):
    """A bucket with history: puts on the revision that was read, deletes, and purges that roll a key up."""
    dice, busy, keys = driver.dice, set(), {}  # keys: the records of a key, the oldest first
    history = 3
    await driver.create("KV_b", subjects=["$KV.b.>"], max_msgs_per_subject=history, discard="new",
                        allow_rollup_hdrs=True, allow_direct=True)
    for step in range(steps):
        while True:
            await driver.room(dice.choice([1, 8, 30]))
            free = [key for key in range(40) if key not in busy]
            if free:
                break
        key = dice.choice(free)
        records, chance = keys.setdefault(key, []), dice.random()
        headers = {"Nats-Expected-Last-Subject-Sequence": records[-1].seq if records else 0}
        if chance < 0.08:
            headers["KV-Operation"] = "DEL"
        elif chance < 0.15:
            headers.update({"KV-Operation": "PURGE", "Nats-Rollup": "sub"})
        keep = 0 if "Nats-Rollup" in headers else history - 1
        gone = records[:len(records) - keep] if len(records) > keep else []
        busy.add(key)
        records.append(driver.publish(f"$KV.b.{key}", dice.randint(10, 3000), gone, headers,
                                      lambda _, key=key: busy.discard(key)))
        del records[:len(gone)]
    await driver.room()


async def work_queue(driver, steps, name="WQ", retention="workqueue", workers=("worker",)):
    dice = driver.dice
    await driver.create(name, subjects=[f"{name}.>"], retention=retention)
    workers = [await driver.consumer(worker) for worker in workers]
    while steps > 0:
        burst = dice.randint(1, 60)
        steps -= burst
        for _ in range(burst):
            await driver.room(64)
            driver.publish(f"{name}.{dice.randint(1, 3)}", dice.randint(10, 3000))
        if dice.random() < 0.5:
            await driver.room()
        await driver.room(200)
        if all(r.seq for r in driver.stream.live):
            await driver.pull(dice.choice(workers), dice.randint(1, 80), removes=workers)
    await driver.room()


async def interest(driver, steps):
    await work_queue(driver, steps, "INT", "interest", ("one", "two"))


async def collected(driver, steps):
    """A work queue that another stream of this server collects: each message is in one of both."""
    dice, into = driver.dice, Driver(driver.wire, driver.dice, driver.truth)
    await driver.create("OUT", subjects=["out.>"], retention="workqueue")
    await into.create("IN", sources=[{"name": "OUT"}])
    driver.stream.goes_to, into.stream.comes_from = into.stream, driver.stream
    for _ in range(steps):
        await driver.room(dice.choice([1, 8, 64]))
        driver.publish(f"out.{dice.randint(1, 3)}", dice.randint(10, 3000))
        if dice.random() < 0.02:
            await into.change(max_msg_size=1_000_000 + dice.randint(1, 1000))
    await driver.room()


async def short_lived(driver, steps, number):
    dice = driver.dice
    while steps > 0:
        await driver.create(f"TMP{number}{dice.randint(1, 2)}", subjects=[f"tmp{number}.>"])
        if dice.random() < 0.5:
            await driver.consumer("tmp")
        burst = dice.randint(0, 40)
        steps -= burst + 5
        for _ in range(burst):
            await driver.room(16)
            driver.publish(f"tmp{number}.{dice.randint(1, 3)}", size_of(dice))
        if dice.random() < 0.3:
            await driver.change(max_msgs=1000)
        await driver.delete()


async def play(port, seed, steps):
    marks, truth, tasks = itertools.count(1), [], []
    crew = [limits, newest, ring, retries, bucket, work_queue, interest, collected, lambda d, n: short_lived(d, n, 1),
            lambda d, n: short_lived(d, n, 2)]
    wires = []
    for number, role in enumerate(crew):
        wires.append(await Wire(f"w{number}").open(port, marks))
        tasks.append(role(Driver(wires[-1], random.Random(f"{seed}/{number}"), truth), steps))
    await asyncio.gather(*tasks)
    for wire in wires:
        await wire.close()
    return truth
