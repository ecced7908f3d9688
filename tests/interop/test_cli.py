"""Every command of the stock CLI that a person who runs a site types, at the site and from its hub.

Two places: the CLI talks to the site itself, or to the hub with --js-domain site. Two sites: Frond and the genuine
server, so each figure expected here is one that the genuine server gives too.
"""
import functools
import re
from types import SimpleNamespace

import pytest

from frondtest import cli, cli_runs, wait_for, wait_knows

FIGURE = re.compile(r"([\d,]+) msgs/sec")


@pytest.fixture(params=["at the site", "from the hub"])
def place(request, pair, site_kind):
    """run(…) and beside(…) call the CLI at this place; home(…) always at the site."""
    scene = pair(site_kind)
    at_site = request.param == "at the site"
    server, domain = (scene.site, None) if at_site else (scene.hub, "site")
    return SimpleNamespace(run=functools.partial(cli, server=server, domain=domain),
                           beside=functools.partial(cli_runs, server=server, domain=domain),
                           home=functools.partial(cli, server=scene.site), at_site=at_site,
                           hub=scene.hub, here=server)


def heard(place, subject):
    """Wait until what is published at this place on subject reaches the site."""
    if not place.at_site:
        wait_knows(place.hub, subject, timeout=10)


def subscribed(place, subject):
    """Wait until the CLI's subscription has arrived; it speaks of it before."""
    def there():
        connections = place.here.http("/connz?subs=1")["connections"]
        return any(subject in (c.get("subscriptions_list") or []) for c in connections)

    wait_for(there, 10, f"a client's subscription to {subject}")


def orders(place, count=5):
    place.run("stream", "add", "ORDERS", "--subjects", "orders.>", "--defaults")
    heard(place, "orders.>")
    told = place.run("pub", "orders.new", "order {{Count}}", "--count", count, "--jetstream").text
    assert len(re.findall(r'Stored in Stream: ORDERS Sequence: \d+ Domain: "site"', told)) == count


def state(place, stream="ORDERS"):
    return place.run("stream", "info", stream, "--json").json()["state"]


def acked(place, stream, consumer):
    """The stream sequence up to which all is acknowledged."""
    return place.run("consumer", "info", stream, consumer, "--json").json()["ack_floor"]["stream_seq"]


def row(table, name):
    """The cells of the row that begins with name."""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("│").split("│")]
        if cells[0] == name:
            return cells
    raise AssertionError(f"no row {name} in\n{table}")


def test_stream_commands(place):
    run = place.run
    assert "Stream ORDERS was created" in run("stream", "add", "ORDERS", "--subjects", "orders.>", "--defaults").out
    heard(place, "orders.>")
    run("pub", "orders.new", "order {{Count}}", "--count", "5", "-H", "A: b", "--jetstream")
    run("pub", "orders.old", "old {{Count}}", "--count", "3", "--jetstream")

    assert run("stream", "ls", "-n").out.split() == ["ORDERS"]
    assert row(run("stream", "ls").out, "ORDERS")[3] == "8"
    info = run("stream", "info", "ORDERS", "--json").json()
    assert (info["domain"], info["config"]["subjects"]) == ("site", ["orders.>"])
    assert (info["state"]["messages"], info["state"]["first_seq"], info["state"]["last_seq"]) == (8, 1, 8)
    assert "Messages: 8" in run("stream", "info", "ORDERS").out
    assert row(run("stream", "report").out, "ORDERS")[1:5] == ["File", "", "0", "8"]
    assert "Number of Subjects: 2" in run("stream", "state", "ORDERS").out
    assert run("stream", "state", "ORDERS", "--json").json()["state"]["num_subjects"] == 2
    assert run("stream", "subjects", "ORDERS", "--json").json() == {"orders.new": 5, "orders.old": 3}

    got = run("stream", "get", "ORDERS", "2").out
    assert "order 2" in got and "A: b" in got
    assert "old 3" in run("stream", "get", "ORDERS", "-S", "orders.old").out
    run("stream", "edit", "ORDERS", "--description", "all of them", "--max-age", "1h", "-f")
    config = run("stream", "info", "ORDERS", "--json").json()["config"]
    assert (config["description"], config["max_age"]) == ("all of them", 3600 * 10**9)

    run("stream", "rmm", "ORDERS", "2", "-f")
    assert (state(place)["messages"], state(place)["num_deleted"]) == (7, 1)
    assert run("stream", "get", "ORDERS", "2", check=False).code != 0
    assert "Purged 3 messages" in run("stream", "purge", "ORDERS", "--subject", "orders.old", "-f").out
    assert "Purged 2 messages" in run("stream", "purge", "ORDERS", "--keep", "2", "-f").out
    assert (state(place)["messages"], state(place)["first_seq"]) == (2, 4)
    run("stream", "purge", "ORDERS", "-f")
    assert (state(place)["messages"], state(place)["first_seq"], state(place)["last_seq"]) == (0, 9, 8)

    assert place.home("stream", "ls", "-n").out.split() == ["ORDERS"]  # it lies at the site, wherever we asked
    run("stream", "rm", "ORDERS", "-f")
    assert run("stream", "ls", "-n").out.split() == []
    assert run("stream", "info", "ORDERS", check=False).code != 0


def test_consumer_commands(place):
    run = place.run
    orders(place)
    run("consumer", "add", "ORDERS", "P", "--pull", "--ack", "explicit", "--deliver", "all", "--filter", "", "--defaults")
    run("consumer", "add", "ORDERS", "Q", "--target", "deliver.q", "--ack", "none", "--deliver", "all", "--filter", "",
        "--defaults")
    assert sorted(run("consumer", "ls", "ORDERS", "-n").out.split()) == ["P", "Q"]
    info = run("consumer", "info", "ORDERS", "P", "--json").json()
    assert (info["num_pending"], info["num_ack_pending"], info["config"]["ack_policy"]) == (5, 0, "explicit")
    assert "Unprocessed Messages: 5" in run("consumer", "info", "ORDERS", "P").out

    text = run("consumer", "next", "ORDERS", "P", "--count", "2", "--ack").out
    assert "order 1" in text and "order 2" in text and text.count("Acknowledged message") == 2
    wait_for(lambda: acked(place, "ORDERS", "P") == 2, 10, "acks")
    assert run("consumer", "next", "ORDERS", "P", "--raw", "--no-ack").out.strip() == "order 3"
    info = run("consumer", "info", "ORDERS", "P", "--json").json()
    assert (info["num_pending"], info["num_ack_pending"], info["delivered"]["stream_seq"]) == (2, 1, 3)

    with place.beside("consumer", "sub", "ORDERS", "Q", "--raw") as sub:
        sub.wait_says("order 5")
        assert re.findall(r"order \d", sub.text()) == [f"order {i}" for i in range(1, 6)]

    report = run("consumer", "report", "ORDERS").out
    assert row(report, "P")[1:3] == ["Pull", "Explicit"] and row(report, "P")[4] == "1"
    assert row(report, "Q")[1:3] == ["Push", "None"]
    run("consumer", "rm", "ORDERS", "P", "-f")
    assert run("consumer", "ls", "ORDERS", "-n").out.split() == ["Q"]
    assert run("consumer", "info", "ORDERS", "P", check=False).code != 0


def test_pub_sub_req_reply_rtt(place):
    run = place.run
    with place.beside("sub", "news.>", "--count", "2") as sub:
        sub.wait_says("Subscribing on news.>")
        subscribed(place, "news.>")
        assert run("pub", "news.one", "first", "-H", "A: b").text.count("Published 5 bytes") == 1
        run("pub", "news.two", "second")
        text = sub.finish().text
        assert "[#1]" in text and "A: b" in text and "first" in text and "second" in text

    with place.beside("reply", "greet", "hi from here") as reply:
        reply.wait_says('Listening on "greet"')
        wait_for(lambda: "hi from here" in run("req", "greet", "x", "--timeout", "2s", check=False).out, 10, "an answer")
        assert run("req", "greet", "x", "--raw").out.strip() == "hi from here"
        reply.interrupt()
    assert "No responders are available" in run("req", "nobody", "x").text

    (told,) = run("rtt", "--json").json()
    assert told["results"] and all(0 < r["rtt"] < 10**9 for r in told["results"])


def test_account_info(place):
    orders(place)
    text = place.run("account", "info").text
    for line in ("JetStream Account Information for domain site", "Headers Supported: true", "Streams: 1", "Consumers: 0",
                 r"Connected Server Version: 2\.15\.2", "Maximum Payload: 1.0 MiB"):
        assert re.search(line, text), f"{line} is missing in\n{text}"


def test_bench_core(place):
    with place.beside("bench", "sub", "bench.core", "--msgs", "20000", "--no-progress") as sub:
        sub.wait_says("expecting 20,000 messages")
        subscribed(place, "bench.core")
        published = place.run("bench", "pub", "bench.core", "--msgs", "20000", "--no-progress")
        assert figure(published, "Core NATS publisher") > 0
        assert figure(sub.finish(), "Core NATS subscriber") > 0


def test_bench_jetstream(place):
    run = place.run
    # not bench's --create: with --js-domain the CLI creates the stream in its own server's domain and then misses it
    run("stream", "add", "benchstream", "--subjects", "bench.js", "--defaults")
    heard(place, "bench.js")
    told = run("bench", "js", "pub", "sync", "bench.js", "--msgs", "50", "--no-progress", timeout=60)
    assert figure(told, "JetStream synchronous publisher") > 0
    told = run("bench", "js", "pub", "async", "bench.js", "--msgs", "5000", "--no-progress", timeout=60)
    assert figure(told, "JetStream asynchronous publisher") > 0
    assert state(place, "benchstream")["messages"] == 5050
    for how, words, so_far in (("consume", "(callback)", 2000), ("fetch", "(fetch)", 4000)):
        told = run("bench", "js", how, "--msgs", "2000", "--no-progress", timeout=60)
        assert figure(told, words) > 0
        wait_for(lambda: acked(place, "benchstream", "nats-bench") == so_far, 10, f"{so_far} acks")


def figure(result, who):
    """Messages a second, from the line of who."""
    (line,) = [x for x in result.text.splitlines() if who in x and "stats:" in x]
    return int(FIGURE.search(line).group(1).replace(",", ""))
