"""A fast raw client for asyncio: many requests in flight, answers in the order in which they came.

    wire = await Wire.to(server.port)
    ack = await wire.request("orders.1", b"body", {"Nats-Msg-Id": "1"})    # a Got
    made = await wire.api("STREAM.CREATE.S", {"name": "S", …})             # JSON; ApiError when it says so
    wire.ask("orders.2", b"body", then=take)          # take(got) runs as the bytes come, before the next answer
    inbox = wire.inbox(take)                          # a reply subject for many messages; wire.forget(inbox)
    wire.tell("orders.3", b"body", reply=inbox)

When the connection goes, whoever waits and whoever asks from then on gets Gone; `then` is told nothing: its
question has no answer, and only its owner knows what that means.
"""
import asyncio
import contextlib
import itertools
import json
from typing import NamedTuple

HELLO = b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"lang":"wire","version":"0","protocol":1}\r\n'


class Gone(Exception):
    """The connection is no more."""


class ApiError(Exception):
    def __init__(self, subject, error):
        super().__init__(f"{subject}: {error}")
        self.code = error.get("err_code")


class Got(NamedTuple):
    reply: str
    headers: bytes
    body: bytes

    @property
    def status(self):
        """503 of "NATS/1.0 503"; 0 when there is none."""
        word = self.headers[9:12]
        return int(word) if word.isdigit() else 0


class Wire(asyncio.Protocol):
    serial = itertools.count(1)

    @classmethod
    async def to(cls, port):
        """Connected and taken in; Gone when nobody is there."""
        wire = cls()
        try:
            await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
        except OSError as error:
            raise Gone from error
        wire.transport.write(HELLO + b"SUB %s.* 0\r\nPING\r\n" % wire.prefix)
        await wire.greeted
        return wire

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.prefix = b"_W.%d" % next(self.serial)
        self.numbers = itertools.count(1)
        self.takers = {}  # number -> taker; of an answer, or of all that comes to an inbox with that sid
        self.waiting = set()  # futures
        self.greeted = loop.create_future()
        self.waiting.add(self.greeted)
        self.gone, self.news = False, asyncio.Event()
        self.error = b""  # what the server said with -ERR
        self.rest = b""

    def close(self):
        self.transport.close()

    # -- asking --

    def inbox(self, then):
        number = next(self.numbers)
        self.takers[number] = then
        self.transport.write(b"SUB %s.in.%d %d\r\n" % (self.prefix, number, number))
        return (b"%s.in.%d" % (self.prefix, number)).decode()

    def forget(self, inbox):
        number = int(inbox.rpartition(".")[2])
        self.takers.pop(number, None)
        self.transport.write(b"UNSUB %d\r\n" % number)

    async def changed(self):
        """Something came."""
        self.news.clear()
        if not self.gone:
            await self.news.wait()
        if self.gone:
            raise Gone

    def tell(self, subject, body=b"", headers=None, reply=""):
        if self.gone or self.transport.is_closing():
            raise Gone
        head = b""
        if headers:
            head = b"NATS/1.0\r\n" + b"".join(b"%s: %s\r\n" % (k.encode(), str(v).encode())
                                              for k, v in headers.items()) + b"\r\n"
        words = b"%s %s" % (subject.encode(), reply.encode()) if reply else subject.encode()
        if head:
            line = b"HPUB %s %d %d\r\n" % (words, len(head), len(head) + len(body))
        else:
            line = b"PUB %s %d\r\n" % (words, len(body))
        self.transport.write(line + head + body + b"\r\n")

    def ask(self, subject, body=b"", headers=None, then=None):
        number = next(self.numbers)
        self.takers[number] = then
        self.tell(subject, body, headers, (b"%s.%d" % (self.prefix, number)).decode())

    async def request(self, subject, body=b"", headers=None, timeout=60):
        answer = asyncio.get_running_loop().create_future()
        self.waiting.add(answer)
        try:
            self.ask(subject, body, headers, lambda got: answer.done() or answer.set_result(got))
            return await asyncio.wait_for(answer, timeout)
        except asyncio.TimeoutError as error:
            raise AssertionError(f"no answer to {subject} within {timeout} s") from error
        finally:
            self.waiting.discard(answer)

    async def api(self, verb, request=None, timeout=60):
        body = json.dumps(request).encode() if request is not None else b""
        got = await self.request("$JS.API." + verb, body, timeout=timeout)
        if got.status:
            raise ApiError(verb, {"status": got.status})
        answer = json.loads(got.body)
        if "error" in answer:
            raise ApiError(verb, answer["error"])
        return answer

    async def read(self, stream, first=1):
        """[(sequence, headers, body)] of all that is there now, from sequence first on."""
        found, over = [], asyncio.get_running_loop().create_future()
        self.waiting.add(over)

        def take(got):
            words = got.reply.split(".")
            found.append((int(words[5]), got.headers, got.body))
            if words[8] == "0" and not over.done():
                over.set_result(None)

        inbox = self.inbox(take)
        # An answer may come behind the messages; so the last message is what ends it.
        made = await self.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": {
            "deliver_subject": inbox, "ack_policy": "none", "replay_policy": "instant", "mem_storage": True,
            "deliver_policy": "by_start_sequence", "opt_start_seq": first, "inactive_threshold": 30_000_000_000}})
        if made["num_pending"] or found:
            await asyncio.wait_for(over, 120)
        self.waiting.discard(over)
        self.forget(inbox)
        await self.api(f"CONSUMER.DELETE.{stream}.{made['name']}")
        return found

    # -- what asyncio tells --

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.gone = True
        self.news.set()
        for future in self.waiting:
            if not future.done():
                future.set_exception(Gone())
                future.exception()  # nobody need look at it
        self.takers.clear()

    def data_received(self, data):
        data, at = self.rest + data if self.rest else data, 0
        while (end := data.find(b"\r\n", at)) >= 0:
            line = data[at:end]
            if line.startswith((b"MSG ", b"HMSG ")):
                words = line.split(b" ")
                size, next_at = int(words[-1]), end + 4 + int(words[-1])
                if len(data) < next_at:
                    break
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                body = data[end + 2:end + 2 + size]
                reply = words[3].decode() if len(words) == (6 if head else 5) else ""
                self._take(int(words[2]) or -int(words[1].rpartition(b".")[2]), Got(reply, body[:head], body[head:]))
                at = next_at
                continue
            if line == b"PING":
                self.transport.write(b"PONG\r\n")
            elif line == b"PONG":
                if not self.greeted.done():
                    self.greeted.set_result(None)
            elif line.startswith(b"-ERR"):
                self.error = line
            at = end + 2
        self.rest = data[at:]
        self.news.set()

    def _take(self, number, got):
        """number: a sid, or the negative number of a question."""
        taker = self.takers.get(number) if number > 0 else self.takers.pop(-number, None)
        if taker:
            with contextlib.suppress(Gone):  # said something back: too late
                taker(got)
