"""The n-th call that changes a file fails: what does the server make of it?

For every kind of fault and every n: a server is started under libdiskfault.so, a short scenario is played (streams,
publishes of several sizes, a work queue with confirmed acks, a delete, a purge, an update, a stream that comes and goes),
the fault is lifted, and what is stored is compared with what was answered; then the server is killed, started once more
without the library, and compared again.

    survived    every request was answered, and when the fault was over publishes were taken again, without a restart
    stopped     the process ended with the distinct status and a line; the next start has all that was acknowledged
    refused     at its start: it came up without JetStream, because it could not even note that it had failed
    wrong       acknowledged and not there, other bytes, an answer that never came, any other end
"""
import base64
import errno
import json
import mmap
import os
import random
import shutil
import struct
import time
from dataclasses import dataclass, field

from server import STORE_FAILED, Server
from wire import Gone, Silent, Wire, api, lives

WRITE, SYNC, SIZE, NAME, OPEN, READ = 1, 2, 4, 8, 16, 32
FOREVER = (1 << 64) - 1
PATIENCE = 20.0  # seconds without an answer


@dataclass(frozen=True)
class Fault:
    name: str
    kinds: int
    error: int
    lasting: bool = False
    half: bool = False
    full: bool = False
    may_stop: bool = False  # once it runs; at its start it may always


FAULTS = (
    Fault("no space, until lifted", WRITE | SIZE | OPEN, errno.ENOSPC, lasting=True, full=True),
    Fault("no space, once", WRITE | SIZE | OPEN, errno.ENOSPC),
    Fault("short write, then no space", WRITE, errno.ENOSPC, lasting=True, half=True, full=True),
    Fault("short write, once", WRITE, errno.EIO, half=True, may_stop=True),
    Fault("EIO from a write", WRITE, errno.EIO, may_stop=True),
    Fault("EIO from a flush", SYNC, errno.EIO, may_stop=True),
    Fault("EIO from truncate, rename, open", SIZE | NAME | OPEN, errno.EIO, may_stop=True),
    Fault("EIO from a read", READ, errno.EIO, may_stop=True),
    Fault("read-only, until lifted", WRITE | SIZE | NAME | OPEN, errno.EROFS, lasting=True, full=True, may_stop=True),
)


class Orders:
    """struct orders of diskfault.c."""
    FORM = struct.Struct("<IIQQQQIIQ")

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as it:
            it.write(bytes(self.FORM.size))
        with open(path, "r+b") as it:
            self.map = mmap.mmap(it.fileno(), self.FORM.size)

    def give(self, fault=None, n=0, hole=0):
        if fault is None:
            self.map[:] = self.FORM.pack(0, 0, 0, 0, 0, 0, 0, 0, hole)
            return
        to = FOREVER if fault.lasting else n
        self.map[:] = self.FORM.pack(fault.kinds, fault.error if n else 0, n, to, 0, 0, fault.half, fault.full, hole)

    def lift(self):
        self.map[4:8] = bytes(4)

    @property
    def seen(self):
        return self.FORM.unpack(self.map)[4]

    @property
    def failed(self):
        return self.FORM.unpack(self.map)[5]


# --- the scenario ------------------------------------------------------------------------------------------------------


@dataclass
class Truth:
    """What was answered. Bodies are unique, so a message is known by its body."""
    streams: set = field(default_factory=set)
    stored: dict = field(default_factory=dict)  # (stream, seq) -> body, acknowledged
    removed: set = field(default_factory=set)  # (stream, seq): an answer said so, or may have
    maybe: set = field(default_factory=set)  # bodies whose publish got an error, or no answer
    errors: list = field(default_factory=list)
    silent: int = 0

    def note(self, answer):
        """True: success."""
        if answer is None:
            self.silent += 1
            return False
        if answer.startswith(b"NATS/1.0 503"):  # nobody listens: no such stream
            return False
        got = json.loads(answer)
        if "error" in got:
            self.errors.append((got["error"]["code"], got["error"].get("err_code"), got["error"]["description"]))
        return "error" not in got


class Player:
    def __init__(self, port, truth, seed):
        self.wire, self.truth, self.dice = Wire(port, PATIENCE), truth, random.Random(seed)
        self.worker = False

    def ask(self, questions):
        """The answers; a server that goes away leaves the rest without one."""
        try:
            return self.wire.ask(questions)
        except Gone as gone:
            self.answers = gone.answers
            if not isinstance(gone, Silent):
                self.truth.silent -= sum(a is None for a in gone.answers)  # it died: nobody can be answered
            raise

    def api(self, verb, request=None):
        return self.truth.note(self.ask([api(verb, request)])[0])

    def create(self, name, **config):
        if self.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [name.lower() + ".>"], **config}):
            self.truth.streams.add(name)

    def publish(self, stream, *sizes):
        bodies = [b"%016x" % self.dice.getrandbits(64) + self.dice.randbytes(size) for size in sizes]
        questions = [(f"{stream.lower()}.{self.dice.randint(1, 3)}", body) for body in bodies]
        self.truth.maybe.update(bodies)
        try:
            answers = self.ask(questions)
        except Gone as gone:
            answers, raised = gone.answers, gone
        else:
            raised = None
        for body, answer in zip(bodies, answers):
            if answer is not None and self.truth.note(answer):
                self.truth.stored[stream, json.loads(answer)["seq"]] = body
        if raised:
            raise raised

    def remove(self, stream, seqs, verb, request):
        """Whatever is said, they may be gone; when success was said they are."""
        for seq in seqs:
            self.truth.removed.add((stream, seq))
        return self.api(f"{verb}.{stream}", request)

    def work(self):
        """An ack that can't be stored is not answered, so nobody waits long for one."""
        if "WQ" not in self.truth.streams or not self.worker:
            return
        self.wire.patience = 1.0
        try:
            for _, reply, _ in self.wire.pull("WQ", "worker", 4):
                self.truth.removed.add(("WQ", int(reply.split(".")[5])))
                self.wire.ask([(reply, b"+ACK")])
        except Silent:
            pass
        self.wire.patience = PATIENCE

    def play(self):
        self.create("LIM")
        self.create("WQ", retention="workqueue")
        self.worker = self.api("CONSUMER.DURABLE.CREATE.WQ.worker", {"stream_name": "WQ", "config": {
            "durable_name": "worker", "ack_policy": "explicit"}})
        self.publish("LIM", 10)
        self.publish("WQ", 20, 300, 2000, 10, 10)
        self.publish("LIM", 3000, 20, 40_000, 10)
        self.work()
        self.publish("LIM", 150_000)
        self.remove("LIM", [2], "STREAM.MSG.DELETE", {"seq": 2})
        self.create("TMP")
        self.publish("TMP", 10, 5000)
        self.api("STREAM.UPDATE.LIM", {"name": "LIM", "subjects": ["lim.>"], "max_msg_size": 1_000_000})
        if self.api("STREAM.DELETE.TMP"):
            self.truth.streams.discard("TMP")
        self.publish("LIM", *[100] * 30)
        self.publish("LIM", *[30_000] * 6)
        known = sorted(seq for stream, seq in self.truth.stored if stream == "LIM")
        if len(known) > 6:
            self.remove("LIM", known[:4], "STREAM.PURGE", {"seq": known[4]})
        self.work()
        self.publish("LIM", 10)


# --- what is stored ----------------------------------------------------------------------------------------------------


def stored(port, stream):
    """{seq: body}, None when there is no such stream."""
    with Wire(port) as wire:
        info = json.loads(wire.ask([api(f"STREAM.INFO.{stream}")])[0])
        if "error" in info:
            return None
        state = info["state"]
        seqs = range(max(1, state["first_seq"]), state["last_seq"] + 1)
        out = {}
        for seq, answer in zip(seqs, wire.ask([api(f"STREAM.MSG.GET.{stream}", {"seq": seq}) for seq in seqs])):
            got = json.loads(answer)
            if "message" in got:
                out[seq] = base64.b64decode(got["message"]["data"])
            elif got["error"]["err_code"] != 10037:
                raise AssertionError(f"{stream} {seq}: {got}")
        if len(out) != state["messages"]:
            raise AssertionError(f"{stream}: {len(out)} messages are there, state says {state['messages']}")
        return out


def compare(port, truth):
    """What is not as it was answered."""
    for stream in truth.streams:
        here = stored(port, stream)
        if here is None:
            return f"stream {stream} is not there"
        for (of, seq), body in truth.stored.items():
            if of == stream and here.get(seq) != body and ((of, seq) not in truth.removed or seq in here):
                return f"{stream} {seq}: acknowledged, and {'other bytes' if seq in here else 'not there'}"
        strange = set(here.values()) - truth.maybe
        if strange:
            return f"{stream}: never published: {strange.pop()[:40]}"
        if len(set(here.values())) != len(here):
            return f"{stream}: a message is there twice"
    return None


# --- one run -----------------------------------------------------------------------------------------------------------


class Wrong(Exception):
    pass


@dataclass
class Outcome:
    kind: str  # survived, stopped, refused, wrong, unhurt (the call never came)
    text: str = ""
    errors: list = field(default_factory=list)
    recovered: float = 0.0  # seconds until a publish was taken after the fault was over
    lines: int = 0  # of trouble in the log


class Run:
    def __init__(self, directory, fault, n, seed=1):
        self.directory, self.fault, self.n, self.seed = directory, fault, n, seed
        self.orders = Orders(directory / "orders")
        self.server = Server(directory, orders=self.orders, root=directory / "store")
        self.truth = Truth()

    def ended(self, at):
        """The process is gone: was that the honest end?"""
        code = self.server.ended(20)
        lines = [line for line in self.server.complaints() if "[FTL]" in line]
        if code != STORE_FAILED or len(lines) != 1:
            raise Wrong(f"{at}: exit {code}, {len(lines)} lines: {self.server.log[-1200:]}")
        if at != "start" and not self.fault.may_stop:
            raise Wrong(f"ended at {at}: {lines}")
        return Outcome("stopped", f"{at}: {lines[0]}")

    def recover(self, player):
        """The fault is over: how long until a publish is taken?"""
        began, deadline = time.monotonic(), time.monotonic() + 30
        while True:
            before = len(self.truth.stored)
            if not {"LIM", "WQ"} <= self.truth.streams:
                player.create("LIM")
                player.create("WQ", retention="workqueue")
            player.publish("LIM", 10)
            if len(self.truth.stored) > before:
                return time.monotonic() - began
            if time.monotonic() > deadline:
                raise Wrong(f"no publish is taken after the fault: {self.truth.errors[-1:]}")
            time.sleep(0.1)

    def play(self):
        if not self.server.start():
            return self.ended("start")
        if "JetStream is refused" in self.server.log:
            if not lives(self.server.port):
                raise Wrong("no echo")
            if self.fault.error == errno.ENOSPC and "start the server again" not in self.server.log:
                raise Wrong(f"refused, and not a word what to do: {self.server.complaints()}")
            return Outcome("refused", self.server.complaints()[0])
        try:
            player = Player(self.server.port, self.truth, self.seed)
            player.play()
            lines = len(self.server.complaints())
            self.orders.lift()
            recovered = self.recover(player)
        except Silent:
            raise Wrong(f"no answer: {self.server.complaints()[-3:]}") from None
        except Gone:
            return self.ended("work")
        if self.server.ended(0) is not None:
            return self.ended("work")
        if self.truth.silent:
            raise Wrong(f"{self.truth.silent} requests were never answered")
        if not self.orders.failed and self.n:
            return Outcome("unhurt")
        wrong = compare(self.server.port, self.truth)
        if wrong:
            raise Wrong(f"while it lives: {wrong}")
        return Outcome("survived", "", sorted(set(self.truth.errors)), recovered, lines)

    def go(self):
        self.orders.give(self.fault, self.n)
        try:
            outcome = self.play()
            self.orders.lift()
            self.server.end()
            if self.fault and self.n == 0:
                return outcome
            self.server.orders = None
            if outcome.kind == "stopped" and outcome.text.startswith("start"):
                marks = self.server.store / "jetstream/frond.failed"
                if marks.exists():
                    marks.unlink()  # as if a minute had passed
            if not self.server.start():
                raise Wrong(f"the next start ended: {self.server.log[-800:]}")
            wrong = compare(self.server.port, self.truth)
            if wrong:
                raise Wrong(f"after a restart: {wrong}")
            return outcome
        except (Wrong, AssertionError, Gone) as error:
            return Outcome("wrong", f"{type(error).__name__}: {error}")
        finally:
            self.server.end()


def run(place, fault, n):
    place.mkdir()
    try:
        return Run(place, fault, n).go()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def how_many(place, fault):
    """Calls of these kinds in a run without a fault."""
    place.mkdir()
    one = Run(place, fault, 0)
    outcome = one.go()
    assert outcome.kind == "survived", outcome
    seen = one.orders.seen
    shutil.rmtree(place, ignore_errors=True)
    return seen


__all__ = ["FAULTS", "Fault", "Orders", "Outcome", "Run", "how_many", "os", "run"]
