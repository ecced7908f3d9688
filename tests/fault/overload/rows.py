"""Too much of one kind: one class per row.

    options()           what the server is started with
    prepare(server)     before anybody looks
    load(server, end)   until time.monotonic() is end, or until all of it was done
    bound()             bytes of RssAnon that Frond may take
    did()               what the load was, in words

small: a size for the tests. The bounds are sums of what the house says about its queues (docs/faults.md), and BASE:
what an idle server has, with room for the allocator.
"""
import json
import resource
import socket
import ssl
import threading
import time

from frondtest import FakeHub, Raw, leaf_remote
from frondtest.pki import Pki

KB, MB = 1024, 1024 * 1024
BASE = 12 * MB
BCRYPT = "$2b$04$K7gTeCB2/eo4D/SOvtxFw..j7K5MBBBTFdtGha7ynpIHexeBH9SZS"  # of "secret", 2^4 rounds
HELLO = b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'


def flood(server, block, end, connect=None, count=None):
    """Blocks of bytes, as fast as they are taken, until end (or count of them); how many. A stalled server waits us."""
    c = Raw(server.port, timeout=120).hello(**(connect or {}))
    c.sock.settimeout(0.5)
    sent = 0
    view = memoryview(block)
    try:
        while time.monotonic() < end and (count is None or sent < count):
            at = 0
            while at < len(block) and time.monotonic() < end:
                try:
                    at += c.sock.send(view[at:])
                except TimeoutError:
                    if time.monotonic() > end:
                        break
            sent += at / len(block)
            while c._readable(0):  # acks and PINGs are not our business, but a full socket would be
                if not c.sock.recv(1 << 16):
                    return sent
    except OSError:
        pass
    finally:
        c.close()
    return sent


def pub(subject, payload, reply=""):
    to = f"{subject} {reply}" if reply else subject
    return f"PUB {to} {len(payload)}\r\n".encode() + payload + b"\r\n"


def together(works):
    threads = [threading.Thread(target=work) for work in works]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


class Row:
    slow_disk_ms = 0
    connect = {}
    tls = None

    def __init__(self, name, small):
        self.name, self.small = name, small
        self.socks, self.done = [], 0
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def options(self):
        return {"monitor": False}

    def prepare(self, server):
        pass

    def rest(self, server):
        """The load is over; what it left may drain."""

    def did(self):
        return ""

    def close(self):
        for s in self.socks:
            s.close()
        self.socks.clear()

    def open(self, server, lines=b""):
        """A connection that has said its hello and reads nothing any more."""
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        s.sendall(HELLO + lines)
        self.socks.append(s)
        return s


class SlowConsumers(Row):
    """Subscribers that never read, while a publisher floods."""
    pending = 8 * MB
    payload = 1 * KB

    def options(self):
        return {"monitor": False, "config": f"max_pending: {self.pending}\nwrite_deadline: 60s"}

    def count(self):
        return 4 if self.small else 100

    def prepare(self, server):
        for _ in range(self.count()):
            self.open(server, b"SUB flood 1\r\n")

    def load(self, server, end):
        block = pub("flood", b"x" * self.payload) * max(1, 256 * KB // self.payload)
        self.done = flood(server, block, end) * max(1, 256 * KB // self.payload)

    def bound(self):
        return BASE + int(self.count() * self.pending * 1.1)

    def did(self):
        return f"{self.count()} subscribers that don't read, {self.done:.0f} messages of {self.payload} B"


class SlowLarge(SlowConsumers):
    """The same with payloads of 256 KB: kept once for all of them."""
    payload = 256 * KB

    def bound(self):
        return BASE + 3 * self.pending


class TenTimesSlow(SlowConsumers):
    """Subscribers that read a tenth of what comes."""

    def load(self, server, end):
        def sip():
            while time.monotonic() < end:
                for s in self.socks:
                    s.setblocking(False)
                    try:
                        s.recv(4096)
                    except OSError:
                        pass
                time.sleep(0.005)
        together([sip, lambda: super(TenTimesSlow, self).load(server, end)])

    def did(self):
        return super().did().replace("don't read", "read slowly")


class Connects(Row):
    """A thousand connects per second, each says hello, hears PONG and goes."""
    per_second = 1000

    def load(self, server, end):
        began = time.monotonic()

        def come_and_go(share):
            n = 0
            while time.monotonic() < end:
                due = began + n * share / self.per_second
                if due > time.monotonic():
                    time.sleep(due - time.monotonic())
                try:
                    self.one(server)
                    self.done += 1
                except OSError:
                    self.refused = getattr(self, "refused", 0) + 1
                n += 1
        together([lambda: come_and_go(4)] * 4)
        self.rate = self.done / (time.monotonic() - began)

    def one(self, server):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.sendall(HELLO + b"PING\r\n")
            while b"PONG" not in s.recv(4096):
                pass

    def bound(self):
        return BASE

    def did(self):
        return f"{self.done} connects, {self.rate:.0f} per second"


class HalfOpen(Row):
    """Connections that never say a word."""

    def count(self):
        return 200 if self.small else 5000

    def options(self):
        return {"monitor": False, "config": "max_connections: 20000\nauthorization { user: u, password: p, timeout: 60 }"}

    connect = {"user": "u", "pass": "p"}

    def load(self, server, end):
        for _ in range(self.count()):
            self.socks.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            self.socks[-1].recv(1)
        while time.monotonic() < end:
            time.sleep(0.05)

    def bound(self):
        return BASE + self.count() * 6 * KB

    def did(self):
        return f"{self.count()} connections that say nothing"


class TlsConnects(Connects):
    """TLS handshakes as fast as they go."""

    def options(self):
        self.pki = Pki(self.directory / "pki")
        cert, key = self.pki.cert("server")
        return {"monitor": False, "config": f'tls {{ cert_file: "{cert}", key_file: "{key}" }}'}

    def tls(self):
        return ssl.create_default_context(cafile=str(self.pki.ca))

    def one(self, server):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            data = s.recv(4096)
            while b"\r\n" not in data:
                data += s.recv(4096)
            with self.context.wrap_socket(s, server_hostname="127.0.0.1") as t:
                t.sendall(HELLO + b"PING\r\n")
                while b"PONG" not in t.recv(4096):
                    pass

    def load(self, server, end):
        self.context = self.tls()
        super().load(server, end)

    def bound(self):
        return BASE + 8 * MB


class BcryptConnects(Connects):
    """Every other password is wrong; each costs the server a bcrypt."""

    def options(self):
        return {"monitor": False, "config": f'authorization {{ users: [ {{user: u, password: "{BCRYPT}"}} ] }}'}

    connect = {"user": "u", "pass": "secret"}
    refused = 0

    def one(self, server):
        word = "secret" if self.done % 2 else f"wrong{self.done}"
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.sendall(HELLO.replace(b"{", f'{{"user":"u","pass":"{word}",'.encode()) + b"PING\r\n")
            data = b""
            while b"PONG" not in data and b"-ERR" not in data:
                got = s.recv(4096)
                if not got:
                    raise OSError
                data += got
            self.refused += b"-ERR" in data

    def did(self):
        return super().did() + f", {self.refused} refused"


class Subscriptions(Row):
    """A million subscriptions of one client."""
    clients = 1

    def count(self):
        return 20_000 if self.small else 1_000_000

    def load(self, server, end):
        each = self.count() // self.clients
        for c in range(self.clients):
            r = Raw(server.port, timeout=120).hello()
            self.socks.append(r)
            for at in range(0, each, 1000):
                r.send_bytes(b"".join(b"SUB s.%d.%d.%d %d\r\n" % (c, i // 1000, i % 1000, i + 1)
                                      for i in range(at, min(at + 1000, each))))
            r.sync()

    def bound(self):
        return BASE + self.count() * 512

    def did(self):
        return f"{self.count()} subscriptions of {self.clients} client{'s' * (self.clients > 1)}"


class SpreadSubscriptions(Subscriptions):
    """The same, of a thousand clients."""

    clients = 100

    def bound(self):
        return super().bound() + self.clients * 8 * KB


class Publishers(Row):
    """Publishers that wait for no ack, and a disk whose flush takes 50 ms more."""
    slow_disk_ms = 50
    payload = 1 * MB - 1024
    clients = 20

    def options(self):
        return {"monitor": False, "jetstream": {"max_file_store": 1 << 36}}

    def prepare(self, server):
        with Raw(server.port, timeout=60).hello() as c:
            c.send("SUB r 1", *pub("$JS.API.STREAM.CREATE.S", json.dumps(
                {"name": "S", "subjects": ["s.>"], "storage": "file", "max_bytes": 512 * MB}).encode(), "r")
                .decode().rstrip("\r\n").split("\r\n"))
            assert b"error" not in c.message().payload

    def load(self, server, end):
        n = max(1, 256 * KB // self.payload)
        block = pub("s.1", b"x" * self.payload, "acks.here") * n

        def one():
            self.done += flood(server, block, end) * n
        together([one] * (4 if self.small else self.clients))

    def bound(self):
        # what waits for the disk (96 MB, and the 64 MB of a commit under way), and one message per publisher
        return BASE + 160 * MB + self.clients * 2 * MB

    def did(self):
        return f"{self.clients} publishers, {self.done:.0f} messages of {self.payload // KB or self.payload} {'KB' if self.payload >= KB else 'B'} offered"


class SmallPublishers(Publishers):
    """The same with 128 bytes."""
    payload = 128


class Pulls(Row):
    """Pull requests that nothing answers."""

    def options(self):
        return {"monitor": False, "jetstream": True}

    def consumers(self):
        return 2 if self.small else 20

    def ask(self, c, verb, body):
        c.send_bytes(pub(f"$JS.API.{verb}", json.dumps(body).encode(), "r"))
        assert b'"error"' not in c.message().payload

    def prepare(self, server):
        with Raw(server.port, timeout=60).hello() as c:
            c.send("SUB r 1")
            self.ask(c, "STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
            for i in range(self.consumers()):
                self.ask(c, f"CONSUMER.DURABLE.CREATE.S.c{i}", {"stream_name": "S", "config": {
                    "durable_name": f"c{i}", "ack_policy": "explicit", "max_waiting": 5000}})

    def load(self, server, end):
        r = Raw(server.port, timeout=120).hello()
        self.socks.append(r)
        r.send("SUB got.> 9")
        for i in range(self.consumers()):
            for at in range(0, 5000, 500):
                r.send_bytes(b"".join(pub(f"$JS.API.CONSUMER.MSG.NEXT.S.c{i}", b'{"expires":60000000000,"batch":10}',
                                          f"got.{i}.{k}") for k in range(at, at + 500)))
        r.sync()
        while time.monotonic() < end:
            time.sleep(0.05)

    def bound(self):
        return BASE + self.consumers() * 5000 * 512

    def did(self):
        return f"{self.consumers() * 5000} pull requests that wait"


class Requests(Row):
    """Ten thousand API requests at once, again and again."""

    def options(self):
        return {"monitor": False, "jetstream": True}

    def prepare(self, server):
        Pulls.prepare(self, server)

    consumers = Pulls.consumers
    ask = Pulls.ask

    def load(self, server, end):
        r = Raw(server.port, timeout=120).hello()
        self.socks.append(r)
        r.send("SUB got.> 9")
        verbs = ["STREAM.INFO.S", "STREAM.LIST", "CONSUMER.INFO.S.c0", "CONSUMER.LIST.S", "STREAM.NAMES"]
        block = b"".join(pub(f"$JS.API.{verbs[i % len(verbs)]}", b"", f"got.{i}") for i in range(10_000))
        while time.monotonic() < end:
            asking = threading.Thread(target=r.send_bytes, args=(block,))
            asking.start()
            self.done += 10_000
            while r._readable(0.5):
                r.sock.recv(1 << 20)
            asking.join()

    def bound(self):
        # 10,000 requests of a 4 KB arena, and their answers on the way out
        return BASE + 10_000 * 8 * KB + 64 * MB

    def did(self):
        return f"{self.done} API requests"


class DeafLeaf(Row):
    """A hub that wants everything and reads nothing."""

    def options(self):
        self.hub = FakeHub(receive_buffer=4096)
        return {"monitor": False, "remotes": [leaf_remote(self.hub.port)], "config": "max_pending: 16MB"}

    def prepare(self, server):
        link = self.hub.accept()
        link.timeout = 60
        link.greet()
        link.take_in()
        link.send("LS+ >")

    def load(self, server, end):
        block = pub("up", b"x" * KB) * 256
        self.done = flood(server, block, end) * 256

    def close(self):
        super().close()
        self.hub.close()

    def bound(self):
        return BASE + 2 * 16 * MB

    def did(self):
        return f"{self.done:.0f} messages of 1 KB for a hub that doesn't read"


class Headers(Row):
    """Header blocks of a megabyte."""

    def load(self, server, end):
        head = b"NATS/1.0\r\n" + b"".join(b"H-%d: %s\r\n" % (i, b"v" * 50) for i in range(15_000)) + b"\r\n"
        block = b"HPUB innocent.not %d %d\r\n" % (len(head), len(head)) + head + b"\r\n"
        s = Raw(server.port, timeout=60).hello()
        s.send("SUB innocent.not 1")
        self.socks.append(s)

        def read():
            while time.monotonic() < end:
                while s._readable(0.1):
                    if not s.sock.recv(1 << 20):
                        return

        def one():
            self.done += flood(server, block, end)
        together([read] + [one] * 8)

    def bound(self):
        return BASE + 8 * 2 * MB + 64 * MB  # a message per publisher, max_pending of the reader

    def did(self):
        return f"{self.done:.0f} header blocks of 900 KB from 8 clients"


class Subjects(Row):
    """Every message has a subject of its own."""

    def load(self, server, end):
        s = Raw(server.port, timeout=60).hello()
        s.send("SUB many.> 1")
        s.sync()
        self.socks.append(s)
        total = 20_000 if self.small else 1_000_000

        def read():
            while time.monotonic() < end:
                while s._readable(0.1):
                    s.sock.recv(1 << 20)

        def one():
            c = Raw(server.port, timeout=120).hello()
            for at in range(0, total, 1000):
                c.send_bytes(b"".join(b"PUB many.%d.x 0\r\n\r\n" % i for i in range(at, at + 1000)))
                self.done += 1000
            c.sync()
            c.close()
        together([read, one])

    def bound(self):
        return BASE + 16 * MB

    def did(self):
        return f"{self.done} subjects"


ROWS = {"slow": SlowConsumers, "slow-large": SlowLarge, "slow-tenth": TenTimesSlow, "connects": Connects,
        "half-open": HalfOpen, "tls": TlsConnects, "bcrypt": BcryptConnects, "subs": Subscriptions,
        "subs-spread": SpreadSubscriptions, "publishers": Publishers, "publishers-128": SmallPublishers, "pulls": Pulls,
        "api": Requests, "deaf-leaf": DeafLeaf, "headers": Headers, "subjects": Subjects}
