"""A plain client: many questions at once, the answers in the order of the questions.

    with Wire(port) as wire:
        bodies = wire.ask([(subject, body), …])            # headers and payload, as they came
        messages = wire.pull("ORDERS", "worker", 1000)     # (subject, reply, body) each

Answers are found by their reply subject, so they may come in any order. When the server goes away meanwhile,
Gone tells with the answers that came before.
"""
import json
import select
import socket
import time


class Gone(Exception):
    """The server closed the connection; .answers is what came before."""

    def __init__(self, why, answers):
        super().__init__(why)
        self.answers = answers


class Silent(Gone):
    """Nothing came for too long."""


class Wire:
    def __init__(self, port, patience=30.0):
        self.patience, self.buffer, self.asked = patience, bytearray(), 0
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), patience)
        except OSError as error:
            raise Gone(str(error), []) from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.out = bytearray(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                             b"SUB I.> 1\r\nSUB P.> 2\r\n")
        self.sock.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def tell(self, subject, body=b"", reply=""):
        self.out += b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(body), body)

    def ask(self, questions):
        if not questions:
            return []
        base, answers = self.asked, [None] * len(questions)
        self.asked += len(questions)
        for i, (subject, body) in enumerate(questions):
            self.tell(subject, body, f"I.{base + i}")
        missing = len(answers)
        for words, body in self._hear(answers):
            number = int(words[1][2:]) - base if words[2] == b"1" else -1
            if number >= 0 and answers[number] is None:
                answers[number], missing = body, missing - 1
            if not missing:
                break
        return answers

    def pull(self, stream, consumer, batch):
        """What there is, at most batch; without waiting for more."""
        mark, messages = f"P.{self.asked}", []
        self.asked += 1
        self.tell(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
                  json.dumps({"batch": batch, "no_wait": True}).encode(), mark)
        for words, body in self._hear(messages):
            if words[2] != b"2":
                continue
            if words[1] == mark.encode():  # a status: the end
                break
            reply = words[3].decode()
            messages.append((words[1].decode(), reply, body))
            if len(messages) == batch:
                break
        return messages

    def _hear(self, so_far):
        """Each message: (words of its line, body); ends with Gone."""
        deadline = time.monotonic() + self.patience
        while True:
            for message in self._parse():
                deadline = time.monotonic() + self.patience
                yield message
            if time.monotonic() > deadline:
                raise Silent("no answer", so_far)
            try:
                reading, writing, _ = select.select([self.sock], [self.sock] if self.out else [], [], 1.0)
                if writing:
                    del self.out[:self.sock.send(self.out[:1 << 18])]
                data = self.sock.recv(1 << 20) if reading else None
            except (ConnectionError, BrokenPipeError) as error:
                raise Gone(str(error), so_far) from None
            if data == b"":
                raise Gone("closed", so_far)
            self.buffer += data or b""

    def _parse(self):
        buffer, at = self.buffer, 0
        got = []
        while (end := buffer.find(b"\r\n", at)) >= 0:
            line = bytes(buffer[at:end])
            if line.startswith((b"MSG ", b"HMSG ")):
                words = line.split(b" ")
                size = int(words[-1])
                if len(buffer) < end + 4 + size:
                    break
                got.append((words, bytes(buffer[end + 2:end + 2 + size])))
                end += 2 + size
            elif line == b"PING":
                self.out += b"PONG\r\n"
            at = end + 2
        del buffer[:at]
        return got


def api(verb, request=None):
    return "$JS.API." + verb, json.dumps(request).encode() if request is not None else b""


def lives(port):
    """Core NATS answers."""
    with Wire(port, patience=10) as wire:
        wire.out += b"SUB echo 3\r\n"
        wire.tell("echo", b"hello")
        return next(body for words, body in wire._hear([]) if words[2] == b"3") == b"hello"
