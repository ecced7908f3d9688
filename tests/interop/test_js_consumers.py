"""Consumers with the official client, raw sockets and the stock CLI, the same for Frond and the genuine server."""
import asyncio
import json
import re

import pytest
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import (AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy, RetentionPolicy,
                         StorageType, StreamConfig)
from nats.js.errors import FetchTimeoutError, NotFoundError

BOTH = pytest.mark.parametrize("storage", [StorageType.FILE, StorageType.MEMORY], ids=["file", "memory"])


async def stream(nc, name="S", **options):
    js = nc.jetstream()
    options.setdefault("subjects", [name.lower() + ".>"])
    await js.add_stream(StreamConfig(name=name, **options))
    return js


async def fill(js, subject, count, size=0):
    for i in range(count):
        await js.publish(subject, str(i).encode().ljust(size, b"."))


# -- pull --


@BOTH
def test_pull_fetches_acks_and_keeps_the_rest(any_server, run, storage):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc, storage=storage)
        await fill(js, "s.a", 250)
        sub = await js.pull_subscribe("s.>", durable="C")
        seen = []
        for _ in range(25):
            for m in await sub.fetch(10, timeout=5):
                seen.append(m.metadata.sequence.stream)
                assert m.metadata.num_pending == 250 - len(seen)
                await m.ack()
        assert seen == list(range(1, 251))
        with pytest.raises((NatsTimeout, FetchTimeoutError)):
            await sub.fetch(1, timeout=0.3)
        await nc.flush()
        info = await js.consumer_info("S", "C")
        assert (info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq) == (0, 0, 250)
        await nc.close()

    run(play())


def test_two_workers_share_a_work_queue(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc, retention=RetentionPolicy.WORK_QUEUE)
        await fill(js, "s.a", 300)
        await js.add_consumer("S", ConsumerConfig(durable_name="C", ack_policy=AckPolicy.EXPLICIT))
        done = []

        async def work():
            sub = await js.pull_subscribe_bind("C", "S")
            while len(done) < 300:
                try:
                    for m in await sub.fetch(7, timeout=0.5):
                        await m.ack_sync()
                        done.append(m.metadata.sequence.stream)
                except (NatsTimeout, FetchTimeoutError):
                    pass

        await asyncio.gather(work(), work())
        assert sorted(done) == list(range(1, 301))
        assert (await js.stream_info("S")).state.messages == 0
        await nc.close()

    run(play())


def test_what_is_not_acked_comes_again(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        await fill(js, "s.a", 3)
        sub = await js.pull_subscribe("s.>", durable="C", config=ConsumerConfig(ack_wait=0.5, max_deliver=2))
        first = await sub.fetch(3, timeout=5)
        await first[1].ack()
        await first[2].nak()
        again = await sub.fetch(1, timeout=5)
        assert again[0].metadata.sequence.stream == 3 and again[0].metadata.num_delivered == 2
        await again[0].ack()
        late = await sub.fetch(1, timeout=5)
        assert late[0].metadata.sequence.stream == 1 and late[0].metadata.num_delivered == 2
        await late[0].term()
        while True:  # acks have no answer; the test's time-out is the limit
            info = await js.consumer_info("S", "C")
            if info.num_ack_pending == 0:
                break
            await asyncio.sleep(0.02)
        assert info.ack_floor.stream_seq == 3
        await nc.close()

    run(play())


def test_nak_with_delay_and_progress(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        await fill(js, "s.a", 2)
        sub = await js.pull_subscribe("s.>", durable="C", config=ConsumerConfig(ack_wait=1))
        a, b = await sub.fetch(2, timeout=5)
        start = asyncio.get_running_loop().time()
        await a.nak(delay=0.4)
        (a,) = await sub.fetch(1, timeout=5)
        assert 0.3 < asyncio.get_running_loop().time() - start < 0.95
        await a.ack()
        for _ in range(4):  # keeps it away for longer than ack_wait
            await b.in_progress()
            await asyncio.sleep(0.4)
        await b.ack()
        with pytest.raises((NatsTimeout, FetchTimeoutError)):
            await sub.fetch(1, timeout=0.3)
        await nc.close()

    run(play())


def test_backoff_spaces_the_tries(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        await fill(js, "s.a", 1)
        advice = await nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>")
        sub = await js.pull_subscribe("s.>", durable="C", config=ConsumerConfig(backoff=[0.2, 0.6], max_deliver=3))
        times = []
        for _ in range(3):
            await sub.fetch(1, timeout=5)
            times.append(asyncio.get_running_loop().time())
        assert 0.15 < times[1] - times[0] < 0.5 and 0.5 < times[2] - times[1] < 1.1
        with pytest.raises((NatsTimeout, FetchTimeoutError)):
            await sub.fetch(1, timeout=1)
        told = json.loads((await advice.next_msg(timeout=5)).data)
        assert (told["stream_seq"], told["deliveries"], told["consumer"]) == (1, 3, "C")
        await nc.close()

    run(play())


def test_a_window_of_acks(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        await fill(js, "s.a", 10)
        sub = await js.pull_subscribe("s.>", durable="C", config=ConsumerConfig(max_ack_pending=4))
        first = await sub.fetch(10, timeout=0.5)
        assert len(first) == 4
        for m in first:
            await m.ack()
        assert [m.metadata.sequence.stream for m in await sub.fetch(4, timeout=2)] == [5, 6, 7, 8]
        await nc.close()

    run(play())


# -- push --


@BOTH
def test_push_in_order_to_a_group(any_server, run, storage):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc, storage=storage)
        await fill(js, "s.a", 200)
        seen = []

        async def take(m):
            seen.append(m.metadata.sequence.stream)
            await m.ack()

        for _ in range(3):
            await js.subscribe("s.>", queue="workers", durable="workers", cb=take)
        for _ in range(100):
            if len(seen) == 200:
                break
            await asyncio.sleep(0.05)
        assert sorted(seen) == list(range(1, 201))
        info = await js.consumer_info("S", "workers")
        assert info.push_bound and info.config.deliver_group == "workers"
        await nc.close()

    run(play())


def test_flow_control_lets_everything_through(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc, storage=StorageType.MEMORY)
        await fill(js, "s.a", 600, size=20000)
        sub = await js.subscribe("s.>", ordered_consumer=True)
        for i in range(600):
            m = await sub.next_msg(timeout=10)
            assert m.metadata.sequence.stream == i + 1 and m.metadata.sequence.consumer == i + 1
        await nc.close()

    run(play())


def test_a_durable_push_goes_on_where_it_was(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        await fill(js, "s.a", 5)
        sub = await js.subscribe("s.>", durable="D", manual_ack=True)
        for _ in range(3):
            await (await sub.next_msg(timeout=5)).ack_sync()
        await nc.close()
        nc = await any_server.connect()
        js = nc.jetstream()
        assert not (await js.consumer_info("S", "D")).push_bound
        sub = await js.subscribe("s.>", durable="D", manual_ack=True)
        await asyncio.sleep(0)
        await fill(js, "s.a", 1)
        got = set()
        while got != {4, 5, 6}:
            m = await sub.next_msg(timeout=35)
            got.add(m.metadata.sequence.stream)
            assert m.metadata.sequence.stream > 3
            if m.metadata.sequence.stream == 6:
                break
        await nc.close()

    run(play())


# -- where to start --


@pytest.mark.parametrize("options, first, pending", [
    ({}, 1, 6),
    ({"deliver_policy": DeliverPolicy.LAST}, 6, 1),
    ({"deliver_policy": DeliverPolicy.NEW}, None, 0),
    ({"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": 4}, 4, 3),
    ({"deliver_policy": DeliverPolicy.LAST_PER_SUBJECT, "filter_subject": "s.>"}, 4, 3),
    ({"filter_subject": "s.b"}, 2, 2),
    ({"filter_subjects": ["s.c", "s.b"]}, 2, 4),
    ({"deliver_policy": DeliverPolicy.LAST, "filter_subject": "s.a"}, 4, 1),
])
def test_each_starts_where_it_says(any_server, run, options, first, pending):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        for token in "abcabc":
            await js.publish("s." + token, b"x")
        info = await js.add_consumer("S", ConsumerConfig(durable_name="C", ack_policy=AckPolicy.EXPLICIT, **options))
        assert info.num_pending == pending
        sub = await js.pull_subscribe_bind("C", "S")
        try:
            got = (await sub.fetch(1, timeout=0.5))[0].metadata
            assert (got.sequence.stream, got.num_pending) == (first, pending - 1)
        except (NatsTimeout, FetchTimeoutError):
            assert first is None
        await nc.close()

    run(play())


def test_replay_as_recorded(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)
        for _ in range(4):
            await js.publish("s.a", b"x")
            await asyncio.sleep(0.2)
        sub = await js.subscribe("s.>", config=ConsumerConfig(replay_policy=ReplayPolicy.ORIGINAL))
        start = asyncio.get_running_loop().time()
        for _ in range(4):
            await sub.next_msg(timeout=5)
        assert 0.5 < asyncio.get_running_loop().time() - start < 1.5
        await nc.close()

    run(play())


# -- interest --


def test_interest_keeps_for_those_who_want(any_server, run):
    async def play():
        nc = await any_server.connect()
        js = await stream(nc, retention=RetentionPolicy.INTEREST)
        await fill(js, "s.a", 2)
        assert (await js.stream_info("S")).state.messages == 0
        await js.add_consumer("S", ConsumerConfig(durable_name="A", ack_policy=AckPolicy.EXPLICIT))
        await js.add_consumer("S", ConsumerConfig(durable_name="B", ack_policy=AckPolicy.EXPLICIT, filter_subject="s.b"))
        await fill(js, "s.a", 2)
        await fill(js, "s.b", 2)
        assert (await js.stream_info("S")).state.messages == 4
        sub = await js.pull_subscribe_bind("A", "S")
        for m in await sub.fetch(4, timeout=5):
            await m.ack_sync()
        assert (await js.stream_info("S")).state.messages == 2
        await js.delete_consumer("S", "B")
        for _ in range(50):
            if (await js.stream_info("S")).state.messages == 0:
                break
            await asyncio.sleep(0.05)
        state = (await js.stream_info("S")).state
        assert (state.messages, state.last_seq) == (0, 6)
        await nc.close()

    run(play())


# -- restarts --


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_progress_survives(any_server, run, kill):
    if kill and any_server.kind == "nats-server":
        pytest.skip("the genuine server forgets acknowledged acks when it is killed")

    async def before():
        nc = await any_server.connect()
        js = await stream(nc)
        await fill(js, "s.a", 50)
        await js.add_consumer("S", ConsumerConfig(durable_name="M", mem_storage=True, ack_policy=AckPolicy.EXPLICIT))
        sub = await js.pull_subscribe("s.>", durable="C", config=ConsumerConfig(ack_wait=60))
        for m in await sub.fetch(20, timeout=5):
            if m.metadata.sequence.stream != 7:
                await m.ack_sync()
        await nc.close()

    async def after():
        nc = await any_server.connect()
        js = nc.jetstream()
        info = await js.consumer_info("S", "C")
        assert info.ack_floor.stream_seq == 6 and info.num_ack_pending == 1
        assert info.num_pending == 30 and info.delivered.stream_seq == 20
        with pytest.raises(NotFoundError):
            await js.consumer_info("S", "M")
        sub = await js.pull_subscribe_bind("C", "S")
        got = [m.metadata.sequence.stream for m in await sub.fetch(30, timeout=5)]
        assert got == list(range(21, 51))
        await nc.close()

    run(before())
    any_server.restart(kill=kill)
    run(after())


# -- raw --


def ask(c, subject, body="", reply="R", aside=None):
    """The answer; what comes before it goes to the list `aside`."""
    c.send(f"PUB {subject} {reply} {len(body)}", body)
    while True:
        m = c.message(timeout=5)
        if m.subject == reply:
            return m
        if aside is not None:
            aside.append(m)


def test_the_wire_of_a_push_consumer(any_server):
    with any_server.raw() as c:
        c.hello(headers=True)
        c.send("SUB R 1", "SUB d 2")
        ask(c, "$JS.API.STREAM.CREATE.S", '{"name":"S","subjects":["s.>"]}')
        ask(c, "s.a", "one")
        body = ('{"stream_name":"S","config":{"durable_name":"C","deliver_subject":"d","idle_heartbeat":200000000,'
                '"flow_control":true,"headers_only":true}}')
        early = []  # on a busy machine the first message may overtake the answer
        made = json.loads(ask(c, "$JS.API.CONSUMER.CREATE.S.C", body, aside=early).payload)
        if not early:
            assert made["num_pending"] == 1 and made["delivered"] == {"consumer_seq": 0, "stream_seq": 0}
        m = early.pop(0) if early else c.message(timeout=5)
        assert m.subject == "s.a" and m.sid == "2" and m.payload == b""
        assert re.fullmatch(r"\$JS\.ACK\.S\.C\.1\.1\.1\.\d{19}\.0", m.reply)
        assert m.headers == b"NATS/1.0\r\nNats-Msg-Size: 3\r\n\r\n"
        beat = early.pop(0) if early else c.message(timeout=5)
        assert beat.subject == "d" and not beat.reply
        assert beat.headers == b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n"


def test_a_deleted_consumer_tells_its_pullers(any_server):
    with any_server.raw() as c, any_server.raw() as other:
        c.hello(headers=True)
        other.hello(headers=True)
        c.send("SUB R 1", "SUB I 2")
        ask(c, "$JS.API.STREAM.CREATE.S", '{"name":"S","subjects":["s.>"]}')
        ask(c, "$JS.API.CONSUMER.CREATE.S.C", '{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}')
        c.send('PUB $JS.API.CONSUMER.MSG.NEXT.S.C I 11', '{"batch":5}')
        c.sync()
        other.send("SUB R2 1")
        ask(other, "$JS.API.CONSUMER.DELETE.S.C", reply="R2")
        assert c.message(timeout=5).headers == b"NATS/1.0 409 Consumer Deleted\r\n\r\n"
        c.send('PUB $JS.API.CONSUMER.MSG.NEXT.S.C I 1', '5')
        assert c.message(timeout=5).headers.startswith(b"NATS/1.0 503")


# -- the stock CLI --


def test_the_cli_manages_consumers(any_server):
    cli = any_server.cli
    cli("stream", "add", "ORDERS", "--subjects", "orders.>", "--defaults")
    for i in range(5):
        cli("pub", f"orders.{i}", f"order {i}")
    cli("consumer", "add", "ORDERS", "P", "--pull", "--ack", "explicit", "--deliver", "all", "--filter", "", "--defaults")
    cli("consumer", "add", "ORDERS", "Q", "--target", "deliver.q", "--ack", "none", "--deliver", "last", "--filter",
        "orders.3", "--defaults")
    assert set(cli("consumer", "ls", "ORDERS", "--names").out.split()) == {"P", "Q"}
    info = cli("consumer", "info", "ORDERS", "P", "--json").json()
    assert info["num_pending"] == 5 and info["config"]["ack_policy"] == "explicit"
    assert "State" in cli("consumer", "info", "ORDERS", "P").text
    text = cli("consumer", "next", "ORDERS", "P", "--count", "2", "--ack").text
    assert "order 0" in text and "order 1" in text
    assert "P" in cli("consumer", "report", "ORDERS").text
    cli("consumer", "edit", "ORDERS", "P", "--description", "for the till", "--force")
    assert cli("consumer", "info", "ORDERS", "P", "--json").json()["config"]["description"] == "for the till"
    cli("consumer", "pause", "ORDERS", "P", "1h", "--force")
    assert cli("consumer", "info", "ORDERS", "P", "--json").json()["paused"]
    cli("consumer", "resume", "ORDERS", "P", "--force")
    cli("consumer", "rm", "ORDERS", "P", "--force")
    assert cli("consumer", "ls", "ORDERS", "--names").out.split() == ["Q"]


@BOTH
def test_the_last_of_a_filter_lies_far_back(any_server, run, storage):
    """Behind more messages than are looked at in one go."""
    async def play():
        nc = await any_server.connect()
        js = await stream(nc, storage=storage, allow_direct=True)
        await fill(js, "s.a.1", 2)
        for i in range(20000):
            await nc.publish("s.b", b"x")
        await nc.flush()
        await fill(js, "s.b", 1)
        config = ConsumerConfig(durable_name="C", deliver_policy=DeliverPolicy.LAST, filter_subject="s.a.*",
                                ack_policy=AckPolicy.EXPLICIT)
        assert (await js.add_consumer("S", config)).num_pending == 1
        await fill(js, "s.a.2", 1)
        sub = await js.pull_subscribe_bind("C", "S")
        seen = []
        while len(seen) < 2:
            for m in await sub.fetch(2 - len(seen), timeout=10):
                seen.append((m.metadata.sequence.stream, m.metadata.num_pending))
                await m.ack()
        assert seen == [(2, 1), (20004, 0)]
        assert (await js.get_last_msg("S", "*.a.1", direct=True)).seq == 2
        with pytest.raises(NotFoundError):
            await js.get_last_msg("S", "s.c.*", direct=True)
        await nc.close()

    run(play())


def test_a_member_of_a_push_group_dies_with_much_waiting(any_server, run):
    """Delivery may rest for its sake; then the others get what is left."""
    async def play():
        nc = await any_server.connect()
        js = await stream(nc)

        async def take(_):
            pass

        await nc.subscribe("out", "g", cb=take)
        await nc.flush()
        with any_server.raw() as dead:
            dead.hello()
            dead.send("SUB out g 1")
            dead.sync()
            config = ConsumerConfig(durable_name="C", deliver_subject="out", deliver_group="g", ack_policy=AckPolicy.NONE)
            await js.add_consumer("S", config)
            for _ in range(1500):
                await nc.publish("s.a", b"x" * 20000)
            await fill(js, "s.a", 1)
            while not any(c["pending_bytes"] > 1 << 20 for c in any_server.http("/connz")["connections"]):
                await asyncio.sleep(0.05)
        while (await js.consumer_info("S", "C")).num_pending:
            await asyncio.sleep(0.05)
        await nc.close()

    run(asyncio.wait_for(play(), 60))
