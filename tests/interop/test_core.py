"""Core messaging with raw and official clients, the same for Frond and the genuine server."""
import asyncio
import ctypes
import time

import pytest


def test_one_byte_at_a_time(any_server):
    with any_server.raw() as c:
        c.hello()
        for byte in b"SUB a 1\r\nPUB a 5\r\nhello\r\nPING\r\n":
            c.send_bytes(bytes([byte]))
        assert c.message().payload == b"hello"
        c.expect("PONG")


def test_auto_unsubscribe_is_exact(any_server):
    with any_server.raw() as c:
        c.hello()
        c.send("SUB a 1", "UNSUB 1 3", *["PUB a 1\r\nx"] * 5, "PING")
        for _ in range(3):
            c.message()
        c.expect("PONG")


def test_each_message_goes_to_one_member_of_a_group(any_server):
    with any_server.raw() as c:
        c.hello()
        c.send("SUB q.> g 1", "SUB q.* g 2", "SUB q.a 3", *["PUB q.a 1\r\nx"] * 50, "PING")
        seen = [c.message().sid for _ in range(100)]
        c.expect("PONG")
        assert seen.count("3") == 50 and {"1", "2"} < set(seen)


def test_no_responders_are_told_with_503(any_server):
    with any_server.raw() as c:
        c.hello()
        c.send("SUB R 1", "PUB nobody R 0", "")
        m = c.message()
        assert m.subject == "R" and m.headers.startswith(b"NATS/1.0 503") and m.payload == b""


def test_who_has_many_subscriptions_is_told_as_fast_that_nobody_is_there(any_server):
    """The one that hears the answer is found by the subject, not one by one: all others would wait meanwhile."""
    def seconds(c):
        took = []
        for _ in range(3):
            began = time.monotonic()
            c.send(*["PUB nobody R.7 0\r\n"] * 300)
            assert {c.message().sid for _ in range(300)} == {"7"}
            took.append(time.monotonic() - began)
        return min(took)

    with any_server.raw(timeout=60) as few, any_server.raw(timeout=60) as many:
        few.hello()
        few.send("SUB R.7 7")
        many.hello()
        many.send(*[f"SUB R.{i} {i}" for i in range(50_000)])
        many.sync()
        alone = seconds(few)
        assert seconds(many) < 30 * alone


def test_own_messages_are_not_echoed_when_unwanted(any_server):
    with any_server.raw() as c:
        c.hello(echo=False)
        c.send("SUB a 1", "PUB a 1", "x")
        c.sync()


def test_verbose_says_ok(any_server):
    with any_server.raw() as c:
        c.send('CONNECT {"verbose":true}')
        c.expect("+OK")
        c.send("SUB a 1")
        c.expect("+OK")


@pytest.mark.parametrize("line, complaint", [
    ("PUB a 1048577", "-ERR 'Maximum Payload Violation'"),
    ("FOO bar", "-ERR 'Unknown Protocol Operation'"),
    ("X" * 5000, "-ERR 'Unknown Protocol Operation'"),
    ("SUB " + "x" * 5000 + " 1", "-ERR 'maximum control line exceeded'"),
])
def test_a_bad_line_closes_only_its_own_connection(any_server, line, complaint):
    with any_server.raw() as good, any_server.raw() as bad:
        good.hello()
        bad.hello()
        bad.send(line)
        assert complaint in bad.expect_closed()
        good.sync()


def test_official_client_requests_and_replies(any_server, run):
    async def play():
        async with asyncio.timeout(20):
            one, two = await any_server.connect(), await any_server.connect()

            async def answer(message):
                await message.respond(message.data[::-1])

            await one.subscribe("echo.*", cb=answer)
            await one.flush()
            answers = await asyncio.gather(
                *(two.request("echo.x", b"%04d" % n, timeout=5) for n in range(500)))
            assert [a.data for a in answers] == [(b"%04d" % n)[::-1] for n in range(500)]
            await one.close()
            await two.close()

    run(play())


def bcrypt(password, salt):
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return crypt(password.encode(), salt.encode()).decode()


def test_a_fleet_with_hashed_passwords_comes_in(make, site_kind):
    """All at once after a restart, when no password is known yet: nobody is refused, nobody who waits keeps a server
    from ending."""
    fleet = [(f"u{i}", f"p{i}", bcrypt(f"p{i}", f"$2b$07$abcdefghijklmnopqrs{i:02}u")) for i in range(90)]
    users = "\n".join(f'{{user: {user}, password: "{stored}"}}' for user, _, stored in fleet)
    server = make(site_kind, config=f"authorization {{ timeout: 60, users: [\n{users}\n] }}")
    for ends in (False, True):
        clients = [server.raw(timeout=60) for _ in fleet]
        for c, (user, password, _) in zip(clients, fleet):
            c.send(f'CONNECT {{"verbose": false, "user": "{user}", "pass": "{password}"}}', "PING")
        if ends:
            server.restart()
        for c in clients:
            c.expect_closed() if ends else c.expect("PONG")
            c.close()
        server.restart()
