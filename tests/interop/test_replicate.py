"""Our own mirrors and sources: a site's stream that copies from the hub, and from streams beside it.

Issue section 8, "we pull from the hub". Where behaviour is the reference's, the genuine server takes the same test.
"""
import asyncio
import json
import time

import pytest
from nats.errors import NoRespondersError

HUB_API = {"api": "$JS.hub.API", "deliver": ""}


class Api:
    """Requests of the JetStream API over one connection."""

    def __init__(self, nc):
        self.nc = nc

    async def __call__(self, verb, body=None, ok=True):
        answer = json.loads((await self.nc.request("$JS.API." + verb, json.dumps(body or {}).encode(), timeout=10)).data)
        if ok:
            assert "error" not in answer, answer
        return answer

    async def create(self, name, **config):
        return await self("STREAM.CREATE." + name, {"name": name, "storage": "file", **config})

    async def info(self, name):
        return await self("STREAM.INFO." + name)

    async def count(self, name):
        return (await self.info(name))["state"]["messages"]

    async def all(self, name):
        """Every message as (sequence, subject, headers, body), by direct MSG.GET."""
        state = (await self.info(name))["state"]
        js, out = self.nc.jetstream(), []
        for seq in range(state["first_seq"], state["last_seq"] + 1):
            try:
                m = await js.get_msg(name, seq)
            except Exception:
                continue
            out.append((m.seq, m.subject, m.headers or {}, m.data))
        return out


async def until(condition, timeout=30, what=""):
    end = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.03)


async def pour(nc, subject, first, count, window=200):
    """Publishes bodies first … first + count - 1, so many acks outstanding at a time."""
    js = nc.jetstream()
    for at in range(first, first + count, window):
        await asyncio.gather(*(js.publish(subject, b"%d" % n) for n in range(at, min(at + window, first + count))))


def bodies(messages):
    return [int(m[3]) for m in messages]


async def open_both(scene):
    hub, site = await scene.hub.connect(), await scene.site.connect()
    return hub, site, Api(hub), Api(site)


def test_mirror_keeps_numbers_gaps_and_times(pair, run, site_kind):
    scene = pair(site_kind)

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)
        await at_hub.create("S", subjects=["s.>"], first_seq=100)
        await pour(hub, "s.a", 0, 50)
        await at_hub("STREAM.MSG.DELETE.S", {"seq": 110})
        await at_site.create("M", mirror={"name": "S", "external": HUB_API})

        async def same():
            return (await at_site.info("M"))["state"]["last_seq"] == 149

        await until(same, what="the mirror has caught up")
        theirs, ours = await at_hub("STREAM.INFO.S"), await at_site.info("M")
        for key in ("messages", "first_seq", "last_seq", "first_ts", "last_ts"):
            assert ours["state"][key] == theirs["state"][key], key
        assert ours["state"]["num_deleted"] == 1
        assert ours["mirror"]["name"] == "S" and ours["mirror"]["lag"] == 0
        assert [m[0] for m in await at_site.all("M")] == [s for s in range(100, 150) if s != 110]
        await pour(hub, "s.b", 50, 10)

        async def more():
            return (await at_site.info("M"))["state"]["last_seq"] == 159

        await until(more, what="the mirror follows")
        await hub.close()
        await site.close()

    run(play())


def test_mirror_keeps_what_its_origin_gave_up(pair, run, site_kind):
    """Numbers that it never got are missing; what it has stays, and outlives another restart."""
    scene = pair(site_kind)

    async def play():
        hub = await scene.hub.connect()
        at_hub = Api(hub)
        await at_hub.create("S", subjects=["s.>"])
        await pour(hub, "s.a", 1, 10)
        site = await scene.site.connect()
        await Api(site).create("M", mirror={"name": "S", "external": HUB_API})
        await follows(site, 10, [*range(1, 11)])
        for first, below in ((11, 16), (21, 31)):
            await site.close()
            scene.site.stop()
            await pour(hub, "s.a", first, 10)
            await at_hub("STREAM.PURGE.S", {"seq": below})
            scene.site.start()
            site = await scene.site.connect()
            await follows(site, first + 9, [*range(1, 11), *range(16, min(first + 10, 21))])
        await site.close()
        scene.site.stop()
        scene.site.start()
        site = await scene.site.connect()
        await pour(hub, "s.a", 31, 1)
        await follows(site, 31, [*range(1, 11), *range(16, 21), 31])
        await hub.close()
        await site.close()

    async def follows(site, last, has):
        api = Api(site)

        async def there():
            return (await api.info("M"))["state"]["last_seq"] == last

        await until(there, timeout=120, what=f"the mirror is at {last}")  # nats-server may ask again after 40 s
        assert bodies(await api.all("M")) == has
        state = (await api.info("M"))["state"]
        assert (state["messages"], state["first_seq"]) == (len(has), 1)
        assert state.get("num_deleted", 0) == last - len(has)

    run(play())


def test_source_filters_transforms_and_stamps(pair, run, site_kind):
    scene = pair(site_kind)

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)
        await at_hub.create("S", subjects=["s.*.*"])
        for n in range(30):
            await hub.jetstream().publish(f"s.{'ab'[n % 2]}.{n}", b"%d" % n, headers={"Nats-Expected-Stream": "S", "X": str(n)})
        await at_site.create("ONE", sources=[{"name": "S", "external": HUB_API, "filter_subject": "s.a.*", "opt_start_seq": 11}])
        await at_site.create("TWO", sources=[{"name": "S", "external": HUB_API, "subject_transforms": [
            {"src": "s.a.*", "dest": "alpha.{{wildcard(1)}}"}, {"src": "s.b.*", "dest": "beta.$1"}]}])

        async def there():
            return await at_site.count("ONE") == 10 and await at_site.count("TWO") == 30

        await until(there, what="both have what they want")
        one, two = await at_site.all("ONE"), await at_site.all("TWO")
        assert bodies(one) == list(range(10, 30, 2))
        assert {m[1] for m in one} == {f"s.a.{n}" for n in range(10, 30, 2)}
        assert [m[1] for m in two] == [f"{'alpha' if n % 2 == 0 else 'beta'}.{n}" for n in range(30)]
        for m in one + two:
            assert "Nats-Expected-Stream" not in m[2] and m[2]["X"] == m[3].decode()
        words = one[0][2]["Nats-Stream-Source"].split(" ")
        assert words[0].startswith("S:") and words[1:5] == ["11", "s.a.*", ">", "s.a.10"] and len(words) == 6
        info = await at_site.info("ONE")
        assert info["sources"][0]["name"] == "S" and info["sources"][0]["lag"] == 0
        await hub.close()
        await site.close()

    run(play())


def test_several_consumers_of_one_origin_are_several_sources(pair, run, site_kind):
    """Each has its own place: what one has copied says nothing of what the other has."""
    scene = pair(site_kind)

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)
        await at_hub.create("S", subjects=["s.>"], retention="workqueue")
        for name in "ABC":
            await at_hub(f"CONSUMER.CREATE.S.{name}.s.{name}", {"stream_name": "S", "config": {
                "name": name, "durable_name": name, "deliver_subject": f"to.{name}", "ack_policy": "flow_control",
                "flow_control": True, "idle_heartbeat": 1_000_000_000, "filter_subject": f"s.{name}"}})

        def source(name):
            return {"name": "S", "external": HUB_API, "consumer": {"name": name, "deliver_subject": f"to.{name}"}}

        copy = {"name": "COPY", "storage": "file", "sources": [source("A"), source("B")]}
        await at_site("STREAM.CREATE.COPY", copy)
        await pour(hub, "s.C", 0, 10)
        await pour(hub, "s.A", 10, 10)
        await pour(hub, "s.B", 20, 10)
        await until(lambda: has(at_site, "COPY", 20), 60, "two are copied")
        await at_site("STREAM.UPDATE.COPY", {**copy, "sources": [source("B"), source("C")]})
        await pour(hub, "s.B", 30, 10)
        await until(lambda: has(at_site, "COPY", 40), 60, "the third one is copied from its start")
        messages = await at_site.all("COPY")
        for name, first in (("A", [10]), ("B", [20, 30]), ("C", [0])):
            of_it = [m for m in messages if m[1] == f"s.{name}"]
            assert bodies(of_it) == [n for f in first for n in range(f, f + 10)]
            stamp = of_it[0][2]["Nats-Stream-Source"].split(" ")
            assert stamp[0].split(":")[2].startswith("C=") and stamp[2:4] == [">", ">"]
        assert len({m[2]["Nats-Stream-Source"].split(" ")[0] for m in messages}) == 3
        await hub.close()
        await site.close()

    run(play())


def test_a_pull_through_kills_and_cuts_is_exact(pair, run):
    scene = pair("frond")
    total, seed_cuts = 6000, 6

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)
        await at_hub.create("S", subjects=["s.>"])
        await at_site.create("COPY", sources=[{"name": "S", "external": HUB_API}])
        await at_site.create("MIRROR", mirror={"name": "S", "external": HUB_API})
        writer = asyncio.create_task(pour(hub, "s.a", 0, total, window=50))
        for turn in range(seed_cuts):
            want = total * (turn + 1) // (seed_cuts + 2)

            async def some():
                return await at_hub.count("S") >= want

            await until(some, what="the hub goes on")
            if turn % 2:
                await site.close()
                scene.site.kill()
                scene.site.start()
                site = await scene.site.connect()
                at_site = Api(site)
            else:
                scene.link.cut_after(1000 * turn + 17, "down")
        await writer

        async def there():
            return await at_site.count("COPY") >= total and await at_site.count("MIRROR") >= total

        await until(there, 60, "everything is copied")
        assert bodies(await at_site.all("COPY")) == list(range(total))
        assert bodies(await at_site.all("MIRROR")) == list(range(total))
        await hub.close()
        await site.close()

    run(play())


def test_positions_survive_purge_and_restart(pair, run):
    scene = pair("frond")

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)
        await at_hub.create("S", subjects=["s.>"])
        await at_site.create("COPY", sources=[{"name": "S", "external": HUB_API}])
        await pour(hub, "s.a", 0, 100)
        await until(lambda: has(at_site, "COPY", 100))
        await at_site("STREAM.PURGE.COPY")
        await site.close()
        scene.site.kill()
        scene.site.start()
        site = await scene.site.connect()
        at_site = Api(site)
        scene.site.wait_linked()
        await pour(hub, "s.a", 100, 10)
        await until(lambda: has(at_site, "COPY", 10), what="only the new ones come")
        assert bodies(await at_site.all("COPY")) == list(range(100, 110))
        assert (await at_site.info("COPY"))["sources"][0]["seq"] == 110
        await hub.close()
        await site.close()

    run(play())


async def has(api, name, count):
    return await api.count(name) == count


def test_local_sources_into_a_work_queue_skip_nothing(make, run):
    site = make("frond", name="site", jetstream=True, domain="site")
    total = 3000

    async def play():
        nc = await site.connect()
        api = Api(nc)
        for name in "ABC":
            await api.create(name, subjects=[f"{name.lower()}.>"])
        await api.create("JOBS", retention="workqueue", subjects=[], sources=[
            {"name": name, "subject_transforms": [{"src": f"{name.lower()}.>", "dest": f"jobs.{name.lower()}.>"}]}
            for name in "ABC"])
        await asyncio.gather(*(pour(nc, f"{name}.x", 0, total, window=100) for name in "abc"))
        await until(lambda: has(api, "JOBS", 3 * total), 60, "all jobs are there")
        messages = await api.all("JOBS")
        for name in "abc":
            assert [int(m[3]) for m in messages if m[1] == f"jobs.{name}.x"] == list(range(total)), name
        await nc.close()

    run(play())


def test_a_missing_origin_shows_and_is_found_later(pair, run, site_kind):
    scene = pair(site_kind)

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)
        await at_site.create("COPY", sources=[{"name": "LATER", "external": HUB_API}])

        async def complains():
            source = (await at_site.info("COPY"))["sources"][0]
            return source.get("error", {}).get("err_code") == 10059

        await until(complains, what="the error shows in stream info")
        await at_hub.create("LATER", subjects=["later.>"])
        await pour(hub, "later.a", 0, 5)
        await until(lambda: has(at_site, "COPY", 5), 40, "it is found")
        assert "error" not in (await at_site.info("COPY"))["sources"][0]
        await hub.close()
        await site.close()

    run(play())


def test_sources_may_change_and_come_back(make, run):
    site = make("frond", name="site", jetstream=True)

    async def play():
        nc = await site.connect()
        api = Api(nc)
        for name in "AB":
            await api.create(name, subjects=[f"{name.lower()}.>"])
        await api.create("COPY", sources=[{"name": "A"}])
        await pour(nc, "a.x", 0, 20)
        await until(lambda: has(api, "COPY", 20))
        await api("STREAM.UPDATE.COPY", {"name": "COPY", "storage": "file", "sources": [{"name": "B"}]})
        await pour(nc, "a.x", 20, 5)
        await pour(nc, "b.x", 100, 5)
        await until(lambda: has(api, "COPY", 25))
        await api("STREAM.UPDATE.COPY", {"name": "COPY", "storage": "file", "sources": [{"name": "A"}, {"name": "B"}]})
        await until(lambda: has(api, "COPY", 30))
        assert bodies(await api.all("COPY")) == [*range(20), *range(100, 105), *range(20, 25)]
        answer = await api("CONSUMER.LIST.A")
        assert answer["total"] == 0, "the hidden consumers do not show"
        await nc.close()

    run(play())


def test_a_full_destination_loses_and_doubles_nothing(make, run):
    site = make("frond", name="site", jetstream=True)

    async def play():
        nc = await site.connect()
        api = Api(nc)
        await api.create("A", subjects=["a.>"])
        full = {"name": "COPY", "storage": "file", "sources": [{"name": "A"}], "max_msgs": 50, "discard": "new"}
        await api("STREAM.CREATE.COPY", full)
        await pour(nc, "a.x", 0, 120)
        await until(lambda: has(api, "COPY", 50))

        async def complains():
            return "error" in (await api.info("COPY"))["sources"][0]

        await until(complains, what="the reason shows in stream info")
        await api("STREAM.UPDATE.COPY", {**full, "max_msgs": 1000})
        await until(lambda: has(api, "COPY", 120), 90, "it goes on when there is room")
        assert bodies(await api.all("COPY")) == list(range(120))
        await nc.close()

    run(play())


def test_a_mirror_that_was_purged_ahead_goes_on_there(make, run):
    site = make("frond", name="site", jetstream=True)

    async def play():
        nc = await site.connect()
        api = Api(nc)
        await api.create("S", subjects=["s.>"])
        await api.create("M", mirror={"name": "S"})
        await pour(nc, "s.a", 1, 10)
        await until(lambda: has(api, "M", 10))
        await api("STREAM.PURGE.M", {"seq": 21})
        await pour(nc, "s.a", 11, 20)
        await until(lambda: has(api, "M", 10), 60, "what comes behind the purge is there")
        assert bodies(await api.all("M")) == list(range(21, 31))
        await nc.close()

    run(play())


def test_a_sealed_copy_takes_nothing(any_server, run):
    async def play():
        nc = await any_server.connect()
        api = Api(nc)
        await api.create("S", subjects=["s.>"])
        copies = {"COPY": {"sources": [{"name": "S"}]}, "MIRROR": {"mirror": {"name": "S"}}}
        for name, config in copies.items():
            await api.create(name, **config)
        await pour(nc, "s.a", 0, 10)
        for name, config in copies.items():
            await until(lambda: has(api, name, 10))
            await api("STREAM.UPDATE." + name, {"name": name, "storage": "file", "sealed": True, **config})
        await api.create("OPEN", sources=[{"name": "S"}])
        await pour(nc, "s.a", 10, 10)
        await until(lambda: has(api, "OPEN", 20), what="another one has it all")
        for name in copies:
            assert await api.count(name) == 10
        await nc.close()

    run(play())


def test_a_copy_stays_within_the_limits_of_its_account(make, run):
    site = make("frond", name="site", jetstream=True, config="""
        accounts {
          SITE: { jetstream: { max_file: 100000 }, users: [ { user: site, password: p } ] }
          SYS: { users: [ { user: sys, password: p } ] }
        }
        system_account: SYS""")
    total = 150

    async def play():
        nc = await site.connect(user="site", password="p")
        api = Api(nc)
        await api.create("S", subjects=["s.>"], storage="memory")
        await api.create("COPY", sources=[{"name": "S"}])
        js = nc.jetstream()
        for n in range(total):
            await js.publish("s.a", b"%d" % n, headers={"Fill": "x" * 1000})

        async def full():
            info = await api.info("COPY")
            return "error" in info["sources"][0] and info["state"]["bytes"] >= 100_000

        await until(full, what="all the room is taken, and the reason shows in stream info")
        first = await api.all("COPY")
        assert (await api.info("COPY"))["state"]["bytes"] < 103_000 and len(first) < total
        await api("STREAM.PURGE.COPY")
        await until(lambda: has(api, "COPY", total - len(first)), 60, "it goes on when there is room")
        assert bodies(first) + bodies(await api.all("COPY")) == list(range(total))
        await nc.close()

    run(play())


def test_a_mirror_answers_direct_gets_of_its_origin(pair, run, site_kind):
    """mirror_direct: a site reads the hub's stream by the hub's name, also while the link is down."""
    scene = pair(site_kind)

    async def play():
        hub, site, at_hub, at_site = await open_both(scene)

        async def newest(subject, name="S"):
            answer = await site.request(f"$JS.API.DIRECT.GET.{name}.{subject}", timeout=5)
            return answer.headers.get("Nats-Stream"), answer.headers.get("Nats-Sequence"), answer.data

        async def follows():
            return (await at_site.info("M"))["state"]["last_seq"] == 20

        await at_hub.create("S", subjects=["s.>"], allow_direct=True)
        await pour(hub, "s.a", 0, 19)
        await at_site.create("M", mirror={"name": "S", "external": HUB_API}, mirror_direct=True, allow_direct=True)
        await pour(hub, "s.b", 19, 1)
        await until(follows, what="the mirror has caught up")
        with scene.link.down():
            assert await newest("s.b") == ("M", "20", b"19")
            assert await newest("s.b", "M") == ("M", "20", b"19")
            by_number = await site.request("$JS.API.DIRECT.GET.S", b'{"seq":3}', timeout=5)
            assert by_number.data == b"2"
        # off again: nobody here answers for S
        config = (await at_site.info("M"))["config"]
        await at_site("STREAM.UPDATE.M", {**config, "mirror_direct": False})
        with pytest.raises(NoRespondersError):
            await newest("s.b")
        await hub.close()
        await site.close()

    run(play())


def test_origin_and_mirror_share_direct_gets(any_server, run):
    async def play():
        nc = await any_server.connect()
        api = Api(nc)
        await api.create("S", subjects=["s.>"], allow_direct=True)
        await api.create("M", mirror={"name": "S"}, mirror_direct=True)
        await pour(nc, "s.a", 0, 3)
        heard = set()

        async def both():
            sub = await nc.subscribe(nc.new_inbox())
            await nc.publish("$JS.API.DIRECT.GET.S.s.a", b"", reply=sub.subject)
            await nc.flush()
            heard.add((await sub.next_msg(timeout=5)).headers["Nats-Stream"])
            await nc.flush()
            assert sub.pending_msgs == 0, "one of the group answers"
            await sub.unsubscribe()
            return heard == {"S", "M"}

        await until(both, what="each of them has answered")
        await nc.close()

    run(play())


def test_a_source_of_very_many_transforms_goes_on_where_it_was(make, run):
    site = make("frond", name="site", jetstream=True)
    names = [f"{n:04d}-{'x' * 36}" for n in range(900)]

    async def play():
        nc = await site.connect()
        api = Api(nc)
        await api.create("S", subjects=["s.>"])
        await api.create("COPY", sources=[{"name": "S", "subject_transforms": [
            {"src": f"s.{name}", "dest": f"t.{name}"} for name in names]}])
        await pour(nc, f"s.{names[0]}", 0, 5)
        await until(lambda: has(api, "COPY", 5))
        await nc.close()
        site.restart(kill=True)
        nc = await site.connect()
        api = Api(nc)
        await pour(nc, f"s.{names[1]}", 5, 5)
        await until(lambda: has(api, "COPY", 10), 30, "the new ones, and none again")
        assert (await api.info("COPY"))["sources"][0]["seq"] == 10
        await nc.close()

    run(play())


def test_an_origin_with_a_very_long_name_is_emptied(make, run):
    site = make("frond", name="site", jetstream=True)
    name = "S" * 250

    async def play():
        nc = await site.connect()
        api = Api(nc)
        await api.create(name, subjects=["s.>"], retention="workqueue")
        await api.create("COPY", sources=[{"name": name}])
        await pour(nc, "s.a", 0, 100)
        await until(lambda: has(api, "COPY", 100))
        await until(lambda: has(api, name, 0), what="what was copied is acknowledged")
        await nc.close()

    run(play())
