"""A storm of clients that say anything, half of it broken, cut and reset at any byte, while the file is reloaded."""
import random
import socket
import struct
import threading
import time

import pytest

from frondtest import wait_for

GOOD = [b"PUB a.b 5\r\nhello\r\n", b"PUB a.b R.1 5\r\nhello\r\n", b"SUB a.* %d\r\n", b"SUB a.> q %d\r\n", b"UNSUB %d\r\n",
        b"UNSUB %d 3\r\n", b"PING\r\n", b"PONG\r\n", b"SUB R.* %d\r\n", b"HPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"protocol":1}\r\n', b"CONNECT {}\r\n",
        b"PUB big 40000\r\n" + b"x" * 40000 + b"\r\n", b"SUB big %d\r\n", b"PUB $JS.API.INFO R.1 0\r\n\r\n",
        b"PUB $SYS.REQ.USER.INFO R.2 0\r\n\r\n", b"SUB > %d\r\n", b"PUB stored R.9 3\r\nabc\r\n", b"PUB nobody R.3 0\r\n\r\n"]
BAD = [b"XX\r\n", b"PUB a\r\n", b"SUB a..b 1\r\n", b"PUB a 3\r\nabcd\r\n", bytes(range(128, 178)), b"PUB a 99999999\r\n"]


def blow(port, dice, end):
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port)) as c:
                c.settimeout(0.001)
                c.sendall(GOOD[10])
                for _ in range(dice.randrange(1, 200)):
                    words = dice.choice(GOOD) if dice.random() < 0.995 else dice.choice(BAD)
                    if b"%d" in words:
                        words %= dice.randrange(1, 12)
                    for _ in range(dice.choice([1, 1, 1, 50])):
                        cut = dice.randrange(len(words)) if dice.random() < 0.1 else 0
                        c.sendall(words[:cut])
                        c.sendall(words[cut:])
                    if dice.random() < 0.3:
                        try:
                            c.recv(1 << 20)
                        except TimeoutError:
                            pass
                if dice.random() < 0.3:  # RST instead of FIN
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_passes_over(make, seed):
    server = make("frond", jetstream=True)
    server.cli("stream", "add", "S", "--subjects", "stored", "--defaults")
    end = time.monotonic() + 6
    threads = [threading.Thread(target=blow, args=(server.port, random.Random(seed * 100 + i), end)) for i in range(10)]
    for t in threads:
        t.start()
    while time.monotonic() < end:
        server.reload()
        time.sleep(0.5)  # the storm's rhythm, no condition
    for t in threads:
        t.join()
    with server.raw(timeout=60) as c:  # ThreadSanitizer is slow with what the storm left
        c.hello()
        c.send("SUB x 1", "PUB x 2", "ok")
        assert c.message(60).payload == b"ok"
        wait_for(lambda: server.http("/varz")["connections"] == 1, 60, "the others gone")
        wait_for(lambda: server.http("/subsz")["num_subscriptions"] < 60, 60, "their subscriptions gone")


def test_a_client_with_many_subscriptions_leaves(make):
    """They leave in portions; nobody hears for it meanwhile, and all of them go."""
    server = make("frond")
    many = 50_000
    with server.raw(timeout=60) as asker, server.raw(timeout=60) as c:
        asker.hello()
        asker.send("SUB R 1")
        asker.sync()
        before = server.http("/subsz")["num_subscriptions"]
        c.hello()
        c.sock.sendall(b"".join(b"SUB leave.%d.x %d\r\n" % (i, i) for i in range(many)))
        c.sync()
        assert server.http("/subsz")["num_subscriptions"] == before + many
        asker.send(f"PUB leave.{many - 1}.x R 2", "hi")
        asker.sync()
        assert c.message(60).payload == b"hi"
        c.close()
        wait_for(lambda: server.http("/varz")["connections"] == 1, 60, "the client gone")
        for i in range(0, many, many // 50):
            asker.send(f"PUB leave.{i}.x R 2", "hi")
            assert asker.message(60).headers.startswith(b"NATS/1.0 503")
        wait_for(lambda: server.http("/subsz")["num_subscriptions"] == before, 60, "its subscriptions gone")
