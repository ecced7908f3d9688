"""The tool box proved with genuine peers alone: two nats-servers, a relay between them, the CLI."""
import asyncio
import re
import signal
import time

import pytest

from frondtest import Raw, ServerDied, free_port, wait_for

pytestmark = pytest.mark.harness

SOURCED = {
    "name": "ALL", "subjects": [], "sources": [
        {"name": "ORDERS", "external": {"api": "$JS.site.API", "deliver": ""}}],
}


async def request(nc, subject, body):
    import json

    answer = await nc.request(subject, json.dumps(body).encode(), timeout=5)
    answer = json.loads(answer.data)
    assert "error" not in answer, answer
    return answer


async def messages_at_hub(hub_nc, name="ALL"):
    info = await request(hub_nc, f"$JS.API.STREAM.INFO.{name}", {})
    return info["state"]["messages"]


async def until(condition, timeout=30):
    end = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.05)


def test_hub_sources_a_site_through_cuts(pair, run):
    scene = pair("nats-server")

    async def play():
        hub, site = await scene.hub.connect(), await scene.site.connect()
        await request(site, "$JS.API.STREAM.CREATE.ORDERS",
                      {"name": "ORDERS", "subjects": ["orders.>"], "storage": "file"})
        await request(hub, "$JS.API.STREAM.CREATE.ALL", SOURCED)
        js = site.jetstream()

        async def sell(first, count):
            for number in range(first, first + count):
                await js.publish("orders.new", b"%d" % number)

        async def arrived(count):
            return await messages_at_hub(hub) == count

        await sell(0, 100)
        await until(lambda: arrived(100))
        with scene.link.down():
            await sell(100, 100)
            assert scene.link.connections == 0
            assert await messages_at_hub(hub) == 100
        scene.link.wait_connected()
        await until(lambda: arrived(200))

        bodies = []
        for sequence in range(1, 201):
            answer = await hub.jetstream().get_msg("ALL", sequence)
            bodies.append(int(answer.data))
        assert bodies == list(range(200))
        await hub.close()
        await site.close()

    run(play())
    assert scene.link.saw("up", rb"CONNECT .*\"domain\":\"site\"")
    assert scene.link.saw("down", rb"HMSG \$JS\.site\.API\.CONSUMER\.CREATE\.ORDERS")
    assert scene.link.accepted >= 2 and scene.link.cuts == 1


def test_relay_stalls_and_lets_go(make, make_relay):
    server = make()
    relay = make_relay(server.port)
    with Raw(relay.port) as c:
        c.hello()
        with relay.stalled():
            c.send("PING")
            c.nothing()
        c.expect("PONG")
    assert relay.saw("up", rb"CONNECT .*\r\nPING\r\n")
    assert relay.lines("down")[-2] == b"PONG"
    assert relay.lines("up", 1)[-2] == b"PING"


def test_relay_throttles(make, make_relay):
    server = make()
    relay = make_relay(server.port)
    with Raw(relay.port) as c:
        c.hello()
        with relay.throttled(50_000, "up"):
            began = time.monotonic()
            c.send("PUB a 20000", b"x" * 20000)
            c.sync()
            took = time.monotonic() - began
        assert 0.3 < took < 3, took


@pytest.mark.parametrize("count", [0, 1, 17, 4000])
def test_relay_cuts_at_the_byte(make, make_relay, count):
    server = make()
    relay = make_relay(server.port)
    c = Raw(relay.port).hello()
    relay.wait_quiet(0.05)
    before = relay.count["up"]
    relay.cut_after(count, "up")
    try:
        c.send("PUB a 5000", b"x" * 5000)
        c.expect_closed(5)
    except ConnectionError:
        pass
    c.close()
    assert relay.count["up"] - before == count
    with Raw(relay.port) as again:  # one cut, not a state
        again.hello()


def test_relay_refuses_while_it_is_down(make, make_relay):
    server = make()
    relay = make_relay(server.port)
    with relay.down():
        with pytest.raises((EOFError, ConnectionError)):
            Raw(relay.port)
    Raw(relay.port).close()
    assert relay.refused == 1


def test_server_survives_being_killed(make):
    server = make(jetstream=True)
    server.cli("stream", "add", "S", "--subjects", "s.>", "--defaults")
    server.cli("pub", "s.a", "hello")
    first = server.pid
    server.kill()
    assert server.process.returncode == -signal.SIGKILL
    server.start()
    assert server.pid != first and server.ready_after < 20
    state = server.cli("stream", "info", "S", "--json").json()["state"]
    assert state["messages"] == 1


def test_bad_configuration_is_told_with_the_log(make):
    server = make(start=False, config="nonsense_option: 1")
    with pytest.raises(ServerDied, match="nonsense_option"):
        server.start()


def test_paused_server_answers_later(make):
    server = make()
    with server.raw() as c:
        c.hello()
        server.pause()
        c.send("PING")
        c.nothing()
        server.resume()
        c.expect("PONG")


def test_raw_client_reads_messages(make):
    server = make()
    with server.raw() as c:
        assert c.info["version"] == "2.15.2"
        c.hello()
        c.send("SUB a.* 7", "PUB a.b R 5", "hello", "HPUB a.c 12 14", "NATS/1.0\r\n\r\nhi")
        m = c.message()
        assert (m.subject, m.sid, m.reply, m.payload) == ("a.b", "7", "R", b"hello")
        m = c.message()
        assert (m.subject, m.headers, m.payload) == ("a.c", b"NATS/1.0\r\n\r\n", b"hi")
        c.send("FOO")
        c.expect(re.compile("^-ERR 'Unknown Protocol"))
        c.expect_closed()


def test_cli_tells_its_exit_status(make):
    server = make()
    assert re.search(r"nats://127.0.0.1:\d+: [\d.]+.?s", server.cli("rtt").out)
    assert server.cli("stream", "ls", check=False).code != 0
    with pytest.raises(AssertionError):
        server.cli("no-such-command")


def test_ports_are_given_once():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_waiting_tells_what_was_missing():
    with pytest.raises(AssertionError, match="the moon; last answer 'half'|the moon.*0"):
        wait_for(lambda: 0, 0.05, "the moon")


def test_both_kinds_take_the_same_configuration(any_server):
    with any_server.raw() as c:
        c.hello()
        c.sync()
    assert any_server.http("/varz")["version"] == "2.15.2"
