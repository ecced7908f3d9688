"""The promise seen from outside: marked messages, and what tests/fault/recorder.c wrote down of them.

Each message carries its mark, "@@" and eight digits, in its payload and in its reply subject. So the
record tells when it went to the store, when that was flushed, and when its ack was given to a socket.
"""
import asyncio
import json
import time

from .paths import FROND_BIN, ROOT

# Beside the binary where that has one; the recorder itself is the same in all builds.
RECORDER = next((path for path in (FROND_BIN.parent / "tests/fault/librecorder.so",
                                   ROOT / "build/tests/fault/librecorder.so") if path.exists()),
                ROOT / "build/tests/fault/librecorder.so")


def recorded(log, delay_ms=0):
    """The environment of a server that is watched."""
    return {"LD_PRELOAD": str(RECORDER), "RECORDER_LOG": str(log),
            "RECORDER_DELAY_MS": str(delay_ms)}


def read_record(log):
    """(what, began, ended, descriptor, marks) of each line."""
    with open(log, "rb") as file:
        for line in file:
            if line.startswith(b"\0"):
                return
            what, began, ended, fd, *marks = line.split()
            yield what.decode(), int(began), int(ended), int(fd), [int(mark) for mark in marks]


class Account:
    """What a record says: acks that were kept back for the disk, and acks that ran ahead of it."""

    def __init__(self, log):
        self.kept, self.early = {}, []  # mark -> ns between the end of its commit and its ack
        self.commits = 0
        written, flushed, durable = {}, {}, {}  # mark -> when that was over
        for what, began, ended, _, marks in read_record(log):
            if what == "D":
                for mark in marks:
                    if mark not in flushed and mark not in durable:
                        written.setdefault(mark, ended)
            elif what == "F":
                for mark in [mark for mark, over in written.items() if over <= began]:
                    flushed[mark] = ended
                    del written[mark]
            elif what == "M":
                self.commits += 1
                for mark in [mark for mark, over in flushed.items() if over <= began]:
                    durable[mark] = ended
                    del flushed[mark]
            elif what == "S":
                for mark in marks:
                    if mark in self.kept or mark in self.early:
                        continue
                    if mark in durable and durable[mark] <= began:
                        self.kept[mark] = began - durable[mark]
                    else:
                        self.early.append(mark)


class Marked:
    """A raw publisher of marked messages: at most `window` wait for their acks."""

    def __init__(self, port, subject, marks, window=1, every=0.0, payload=64):
        self.port, self.subject, self.marks = port, subject.encode(), list(marks)
        self.window, self.every, self.payload = window, every, payload
        self.sent, self.took = {}, {}  # mark -> seconds
        self.acked = {}  # mark -> sequence
        self.refused = {}  # mark -> JetStream's error

    async def run(self):
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        await reader.readline()
        self.writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                          b"SUB R.%s.* 1\r\nPING\r\n" % self.subject)
        left = iter(self.marks)
        ready = False
        while len(self.took) < len(self.marks):
            line = await reader.readline()
            if not line:
                raise EOFError("closed by the server")
            if line.startswith(b"MSG "):
                words = line.split()
                body = (await reader.readexactly(int(words[-1]) + 2))[:-2]
                self._answered(int(words[1].rpartition(b"@")[2]), body)
                if self.every:
                    await asyncio.sleep(self.every)
            elif line.startswith(b"PONG"):
                ready = True
            elif line.startswith(b"PING"):
                self.writer.write(b"PONG\r\n")
            elif line.startswith(b"HMSG") or line.startswith(b"-ERR"):
                raise AssertionError(line)
            while ready and len(self.sent) - len(self.took) < self.window:
                mark = next(left, None)
                if mark is None:
                    break
                self._publish(mark)
        self.writer.close()

    def _publish(self, mark):
        body = b"@@%08d" % mark
        body += b"." * (self.payload - len(body))
        self.sent[mark] = time.monotonic()
        self.writer.write(b"PUB %s R.%s.@@%08d %d\r\n%s\r\n"
                          % (self.subject, self.subject, mark, len(body), body))

    def _answered(self, mark, body):
        assert mark not in self.took, f"{mark} answered twice"
        self.took[mark] = time.monotonic() - self.sent[mark]
        answer = json.loads(body)
        if "error" in answer:
            self.refused[mark] = answer["error"]
        else:
            self.acked[mark] = answer["seq"]


async def measure(port, seconds):
    """Round trips of PING, and of a core message from one connection to another: two lists of seconds."""
    async def connect(*lines):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"CONNECT {}\r\n" + b"".join(line + b"\r\n" for line in lines) + b"PING\r\n")
        while await reader.readline() != b"PONG\r\n":
            pass
        return reader, writer

    pings, cores = [], []
    one_reader, one = await connect()
    two_reader, two = await connect(b"SUB core.x 1")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        one.write(b"PING\r\n")
        while await one_reader.readline() != b"PONG\r\n":
            pass
        pings.append(time.monotonic() - began)
        began = time.monotonic()
        one.write(b"PUB core.x 5\r\nhello\r\n")
        while not (await two_reader.readline()).startswith(b"hello"):
            pass
        cores.append(time.monotonic() - began)
        await asyncio.sleep(0.003)
    one.close()
    two.close()
    return pings, cores


def p99(values):
    return sorted(values)[int(len(values) * 0.99)]
