"""The client protocol, byte by byte.

    with Raw(server.port) as c:
        c.hello()                          # INFO, CONNECT, PING, PONG
        c.send("SUB a 1", "PUB a 2", "hi")  # lines; CR LF is added to each
        assert c.message().payload == b"hi"
        c.expect("PONG")                   # the next line; PING and INFO are dealt with
"""
import json
import re
import select
import socket
import time
from dataclasses import dataclass


@dataclass
class Message:
    subject: str
    sid: str
    reply: str
    headers: bytes
    payload: bytes


class Raw:
    def __init__(self, port, host="127.0.0.1", timeout=5.0, tls=None, info=True):
        """Connect; read INFO into self.info, then go over to TLS when tls (an SSLContext) is given."""
        self.timeout = timeout
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.info = None
        if info:
            line = self.line()
            if not line.startswith("INFO "):
                raise AssertionError(f"no INFO but {line!r}")
            self.info = json.loads(line[5:])
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=host)

    def hello(self, **options):
        """CONNECT with options, then PING and PONG: the server has taken us in."""
        connect = {"verbose": False, "pedantic": False, "lang": "raw", "version": "0",
                   "protocol": 1, "headers": True, "no_responders": True, "echo": True}
        connect.update(options)
        self.send("CONNECT " + json.dumps(connect), "PING")
        self.expect("PONG")
        return self

    def send_bytes(self, data):
        self.sock.sendall(data)

    def send(self, *lines):
        """Send lines (str or bytes), each with CR LF."""
        self.sock.sendall(b"".join(
            (line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines))

    def sync(self):
        """PING and PONG: everything sent before has been read."""
        self.send("PING")
        self.expect("PONG")

    def line(self, timeout=None):
        """The next line without its CR LF; '' never comes, the end of the stream raises EOFError."""
        self._fill(lambda: b"\r\n" in self.buffer, timeout)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "backslashreplace")

    def take(self, count, timeout=None):
        """Exactly count bytes."""
        self._fill(lambda: len(self.buffer) >= count, timeout)
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def expect(self, wanted, timeout=None):
        """The next line must be wanted (str), or match it (a compiled pattern).

        What a server may say at any time is dealt with on the way: PING is answered, INFO kept.
        """
        pattern = wanted if isinstance(wanted, re.Pattern) else re.compile(re.escape(wanted) + "$")
        while True:
            line = self.line(timeout)
            match = pattern.match(line)
            if match:
                return match
            if not self._aside(line):
                raise AssertionError(f"wanted {pattern.pattern!r}, got {line!r}")

    def message(self, timeout=None):
        """The next MSG or HMSG."""
        words = self.expect(re.compile(r"H?MSG .*"), timeout).group(0).split(" ")
        sizes = 2 if words[0] == "HMSG" else 1
        total = int(words[-1])
        head = int(words[-2]) if sizes == 2 else 0
        body = self.take(total + 2, timeout)
        if body[-2:] != b"\r\n":
            raise AssertionError(f"payload ends with {body[-2:]!r}")
        reply = words[3] if len(words) == 4 + sizes else ""
        return Message(words[1], words[2], reply, body[:head], body[head:total])

    def nothing(self, quiet=0.2):
        """Nothing comes for quiet seconds (PING and INFO aside)."""
        while True:
            try:
                line = self.line(quiet)
            except TimeoutError:
                return
            if not self._aside(line):
                raise AssertionError(f"wanted nothing, got {line!r}")

    def expect_closed(self, timeout=None):
        """The server closes; lines that come before are returned."""
        lines = []
        try:
            while True:
                lines.append(self.line(timeout))
        except (EOFError, ConnectionError):
            return lines

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _aside(self, line):
        """Is this line one that may come at any time?"""
        if line == "PING":
            self.send("PONG")
        elif line.startswith("INFO "):
            self.info = json.loads(line[5:])
        else:
            return False
        return True

    def _fill(self, enough, timeout):
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not enough():
            left = end - time.monotonic()
            pending = getattr(self.sock, "pending", lambda: 0)()
            if not pending and (left <= 0 or not self._readable(left)):
                raise TimeoutError(f"nothing more in time; so far {self.buffer[:200]!r}")
            data = self.sock.recv(256 * 1024)
            if not data:
                raise EOFError(f"closed by the server; so far {self.buffer[:200]!r}")
            self.buffer += data

    def _readable(self, seconds):
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self.sock, select.POLLIN)
        return poll.poll(seconds * 1000)
