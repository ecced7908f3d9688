"""A link in trouble: thin, stalled, full. What stays up, what is said first, what it costs the others."""
import json
import time

import pytest

from frondtest import FakeHub, leaf_remote, wait_for, wait_knows

KB64 = "x" * 65536
THIN = 6250  # bytes per second: 50 kbit/s


def drain(client, count, timeout=30):
    return [client.message(timeout) for _ in range(count)]


def test_a_full_link_of_50_kbit_stays_up_and_drains(make, make_relay):
    """12, and "liveness judged by bytes": PINGs every second wait behind 64 KiB messages that take ten
    seconds each. The genuine server calls this stale and starts over."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port, buffer=8192)
    site = make("frond", name="site", config='ping_interval: "1s"', remotes=[leaf_remote(link.port)])
    site.wait_linked()
    with hub.raw() as h, site.raw() as s:
        h.hello()
        s.hello()
        h.send("SUB big 1")
        wait_knows(site, "big")
        with link.throttled(THIN):
            s.send(*[f"PUB big {len(KB64) + 4}\r\n{i:04d}{KB64}" for i in range(12)])
            s.sync()
            began, sent = time.monotonic(), link.count["up"]
            while time.monotonic() - began < 25:  # what must not happen can only be waited for
                assert link.accepted == 1 and site.links() == 1
                wait_for(lambda: link.count["up"] > sent, 10, "bytes that move")
                sent = link.count["up"]
                time.sleep(0.2)
            assert link.count["up"] < 6 * 65536
        assert [int(m.payload[:4]) for m in drain(h, 12)] == list(range(12))
        assert link.accepted == 1
        assert "Stale" not in site.log() and "Slow" not in site.log()


def test_a_dead_cable_is_noticed_and_the_link_comes_back(make, make_relay):
    """12: nothing moves any more: stale after ping_max PINGs, and a new link as soon as there is a way."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port)
    site = make("frond", name="site", config='ping_interval: "400ms"\nping_max: 2',
                remotes=[leaf_remote(link.port)])
    site.wait_linked()
    with link.stalled():
        wait_for(lambda: site.links() == 0, 10, "the site noticing")
        site.wait_log("Stale Connection")
    site.wait_linked()
    hub.wait_linked()


def test_a_stalled_link_costs_bounded_memory_and_nobody_at_home_notices(make, make_relay):
    """The live lane holds max_pending; then the link is a slow consumer and starts over."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port, buffer=65536)
    site = make("frond", name="site", config='max_pending: 8mb', remotes=[leaf_remote(link.port)])
    site.wait_linked()
    with hub.raw() as h, site.raw() as s, site.raw() as local:
        h.hello()
        s.hello()
        local.hello()
        h.send("SUB big 1")
        local.send("SUB big 1")
        local.sync()
        wait_knows(site, "big")
        with link.stalled():
            before, worst = site.rss_anon(), 0
            for i in range(300):
                s.send(f"PUB big {len(KB64)}", KB64)
                sent = time.monotonic()
                assert len(local.message(5).payload) == 65536
                worst = max(worst, time.monotonic() - sent)
            s.sync()
            site.wait_log("Slow Consumer Detected")
            assert worst < 2
            assert site.rss_anon() - before < 64 << 20  # a sanitizer keeps freed memory for a while
            assert site.http("/varz")["slow_consumers"] >= 1
        site.wait_linked()
        wait_knows(site, "big")
        s.send("PUB big 4", "back")
        while h.message().payload != b"back":
            pass


def test_a_burst_over_a_stalled_link_arrives_when_the_link_moves_again(make, make_relay):
    """16 MiB wait: twice what a lane of 8 MiB held, a quarter of the default."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port, buffer=65536)
    site = make("frond", name="site", remotes=[leaf_remote(link.port)])
    site.wait_linked()
    with hub.raw() as h, site.raw() as s:
        h.hello()
        s.hello()
        h.send("SUB big 1")
        wait_knows(site, "big")
        n = 256
        with link.stalled():
            for i in range(n):
                s.send(f"PUB big {len(KB64)}", f"{i:08}" + KB64[8:])
            s.sync()
        for i in range(n):
            assert h.message(30).payload[:8] == b"%08d" % i
    assert "Slow Consumer" not in site.log()


@pytest.fixture
def deaf_hub():
    with FakeHub(receive_buffer=16384) as hub:
        yield hub


def test_pong_overtakes_what_waits(make, deaf_hub):
    """12: PING and PONG go out before every message not yet begun."""
    site = make("frond", name="site", remotes=[leaf_remote(deaf_hub.port)])
    link = deaf_hub.join()
    link.send("LS+ big")
    link.announced()
    with site.raw() as s:
        s.hello()
        s.send("SUB sync 1")
        s.sync()
        link.expect("LS+ sync")
        s.send(*[f"PUB big {len(KB64)}\r\n{KB64}" for _ in range(60)])
        s.sync()
        link.send("PING", "LMSG sync 1", "x")
        s.message()  # the site has read the PING; only now we read
    data = bytearray()
    while b"PONG\r\n" not in data:
        data += link.take(1)
        data += link.buffer
        link.buffer = b""
        assert len(data) < 60 * 65536
    assert data.index(b"PONG\r\n") < 6 * 65536, data.index(b"PONG\r\n")


def test_live_traffic_overtakes_a_jetstream_backlog(make, make_relay):
    """Two lanes: a request is answered while megabytes of deliveries wait for a thin link."""
    hub = make("nats-server", name="hub", jetstream=True, domain="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port, buffer=16384)
    site = make("frond", name="site", jetstream=True, domain="site", remotes=[leaf_remote(link.port)])
    site.wait_linked()
    site.cli("stream", "add", "S", "--subjects", "s.>", "--defaults")
    with hub.raw() as h, site.raw() as s, hub.raw() as pull:
        h.hello()
        s.hello()
        pull.hello()
        s.send("SUB R.* 1", "SUB svc 2")
        for i in range(40):
            s.send(f"PUB s.{i} R.{i} {len(KB64)}", KB64)
        drain(s, 40)
        config = json.dumps({"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "none"}})
        h.send("SUB A.* 1", f"PUB $JS.site.API.CONSUMER.DURABLE.CREATE.S.C A.1 {len(config)}", config)
        assert "error" not in json.loads(h.message().payload)
        pull.send("SUB box 1")
        wait_knows(site, "box", "A.*")
        wait_knows(hub, "svc")
        with link.throttled(200_000, "up"):
            pull.send("PUB $JS.site.API.CONSUMER.MSG.NEXT.S.C box 12", '{"batch":40}')
            pull.message(20)
            h.send("PUB svc A.2 1", "?")
            request = s.message()
            s.send(f"PUB {request.reply} 1", "!")
            assert h.message(20).payload == b"!"
            got = sum(1 for line in link.lines("up") if line.startswith(b"LMSG box "))
            assert got < 20, got
        rest = drain(pull, 39)
        assert [m.subject for m in rest] == [f"s.{i}" for i in range(1, 40)]


def test_much_interest_of_the_last_link_is_taken_out_before_the_next(make):
    """In portions, however soon the hub is back: no turn of the loop is a large part of it (it was more than half)."""
    with FakeHub() as hub:
        site = make("frond", remotes=[leaf_remote(hub.port)], reconnect="100ms")
        link = hub.accept()
        link.timeout = 60
        link.greet()
        link.take_in()
        for start in range(0, 100_000, 1000):
            link.send(*[f"LS+ i.{i}.x" for i in range(start, start + 1000)])
        link.announced()
        site.http("/varz?turns=reset")
        began = time.monotonic()
        link.close()
        link = hub.accept(timeout=60)
        link.timeout = 60
        link.greet()
        link.take_in()
        took = time.monotonic() - began
        varz = site.http("/varz")
        assert varz["frond"]["loop"]["turn_cpu_max_ns"] < took * 1e9 / 5, varz["frond"]["loop"]
        assert varz["subscriptions"] < 1000
