"""Interest and messages over a link, both ways. Numbers: see test_leaf_handshake.py."""
import re
from collections import Counter

import pytest

from frondtest import FakeHub, knows, leaf_remote, leafs, wait_forgot, wait_for, wait_knows


@pytest.fixture
def scene(pair, site_kind):
    return pair(site_kind, hub={"jetstream": False, "domain": None}, site={"jetstream": False, "domain": None})


@pytest.fixture
def talk(scene):
    """(hub client, site client), both greeted."""
    with scene.hub.raw() as h, scene.site.raw() as s:
        yield h.hello(), s.hello()


def told(link, pattern):
    """The interest lines of the site that match, in order."""
    return [line.decode() for line in link.lines("up") if re.match(rb"LS[+-] " + pattern, line)]


def test_plain_interest_is_told_once_and_withdrawn_once(scene, talk):
    """44"""
    h, s = talk
    s.send("SUB foo.bar 1", "SUB foo.bar 2")
    s.sync()
    wait_knows(scene.hub, "foo.bar")
    s.send("UNSUB 1")
    s.sync()
    s.send("UNSUB 2", "SUB end 3")
    wait_knows(scene.hub, "end")
    wait_forgot(scene.hub, "foo.bar")
    assert told(scene.link, b"foo") == ["LS+ foo.bar", "LS- foo.bar"]


def test_queue_interest_carries_totals(scene, talk):
    """45"""
    h, s = talk
    for sid in (1, 2):
        s.send(f"SUB q.sub workers {sid}")
        s.sync()
    wait_for(lambda: "LS+ q.sub workers 2" in told(scene.link, b"q"), 5, "two members")
    for sid in (1, 2):
        s.send(f"UNSUB {sid}")
        s.sync()
    wait_forgot(scene.hub, "q.sub")
    assert told(scene.link, b"q") == ["LS+ q.sub workers 1", "LS+ q.sub workers 2",
                                      "LS+ q.sub workers 1", "LS- q.sub workers"]


def test_interest_that_was_there_before_the_link(scene, talk):
    """46, 49, 50: after a cut everything is told anew, weights included, and what went meanwhile is gone."""
    h, s = talk
    s.send("SUB stays 1", "SUB goes 2", "SUB q g 3", "SUB q g 4")
    s.sync()
    h.send("SUB hub.stays 1", "SUB hub.goes 2")
    wait_knows(scene.site, "hub.stays", "hub.goes")
    wait_knows(scene.hub, "stays", "goes", "q")
    with scene.link.down():
        wait_for(lambda: scene.site.links() == 0, 5, "the cut")
        s.send("UNSUB 2", "SUB q g 5")
        h.send("UNSUB 2")
        s.sync()
        h.sync()
    scene.hub.wait_linked()
    wait_knows(scene.hub, "stays", "q")
    wait_knows(scene.site, "hub.stays")
    assert not knows(scene.hub, "goes") and not knows(scene.site, "hub.goes")
    again = [line for line in scene.link.lines("up", scene.link.accepted) if line.startswith(b"LS+ q ")]
    assert again == [b"LS+ q g 3"]


def test_an_inbox_is_known_before_the_request_that_names_it(scene, talk):
    """44: interest goes out before the next message."""
    h, s = talk
    h.send("SUB svc 1")
    wait_knows(scene.site, "svc")
    for i in range(50):
        s.send(f"SUB in.{i} {i + 10}", f"PUB svc in.{i} 1", "?")
        request = h.message()
        h.send(f"PUB {request.reply} 1", "!")
        assert s.message().payload == b"!"


def test_interest_of_a_third_through_the_hub(scene, talk, make):
    """47: two sites of one hub know each other's interest and messages."""
    h, s = talk
    other = make("nats-server", name="other", remotes=[leaf_remote(scene.hub.leaf_port)])
    other.wait_linked()
    with other.raw() as o:
        o.hello()
        o.send("SUB from.site 1")
        s.send("SUB from.other 1")
        o.sync()
        s.sync()
        wait_knows(scene.site, "from.site")
        wait_knows(other, "from.other")
        s.send("PUB from.site 1", "a")
        o.send("PUB from.other 1", "b")
        assert o.message().payload == b"a" and s.message().payload == b"b"


def test_two_hubs_are_not_bridged_unless_we_are_the_hub_of_one(make, site_kind):
    """52, and 53: hub: true turns the roles round."""
    one, two = (make("nats-server", name=f"hub{i}", leaf_listen=True) for i in range(2))
    site = make(site_kind, name="site", remotes=[leaf_remote(one.leaf_port), leaf_remote(two.leaf_port)])
    site.wait_linked(2)
    with one.raw() as a, two.raw() as b, site.raw() as s:
        a.hello()
        b.hello()
        s.hello()
        a.send("SUB x 1")
        wait_knows(site, "x")
        s.send("SUB y 1")
        wait_knows(two, "y")
        assert not knows(two, "x")
    site.stop()
    site.remotes[1]["hub"] = True
    site.start()
    site.wait_linked(2)
    assert sorted(leaf["is_spoke"] for leaf in leafs(site)) == [False, True]
    with one.raw() as a, two.raw() as b:
        a.hello()
        b.hello()
        a.send("SUB x 1")
        wait_knows(two, "x")
        b.send("SUB z 1")
        wait_knows(one, "z")
        b.send("PUB x 1", "!")
        assert a.message().payload == b"!"
        a.send("PUB z 1", "?")
        assert b.message().payload == b"?"


# -- messages --

def test_messages_with_and_without_reply_headers_and_payload(scene, talk):
    """58, 61"""
    h, s = talk
    for here, there, to in ((s, h, scene.site), (h, s, scene.hub)):
        there.send("SUB m.> 9")
        wait_knows(to, "m.>")
        here.send("PUB m.1 0", "", "PUB m.2 r.b 2", "hi", "HPUB m.3 18 20", "NATS/1.0\r\nX: y\r\n\r\nyo",
                  "HPUB m.4 r 12 12", "NATS/1.0\r\n\r\n")
        one, two, three, four = (there.message() for _ in range(4))
        assert (one.reply, one.payload) == ("", b"")
        assert (two.reply, two.payload) == ("r.b", b"hi")
        assert three.headers == b"NATS/1.0\r\nX: y\r\n\r\n" and three.payload == b"yo" and not three.reply
        assert four.headers == b"NATS/1.0\r\n\r\n" and four.payload == b"" and four.reply == "r"
        there.send("UNSUB 9")
        there.sync()
        wait_forgot(to, "m.>")


def test_headers_are_stripped_for_a_hub_without_them(make, make_relay, site_kind):
    """61"""
    hub = make("nats-server", name="hub", leaf_listen=True, config="no_header_support: true")
    link = make_relay(hub.leaf_port)
    site = make(site_kind, name="site", remotes=[leaf_remote(link.port)])
    site.wait_linked()
    with hub.raw() as h, site.raw() as s:
        h.hello(headers=False, no_responders=False)
        s.hello()
        h.send("SUB a 1")
        wait_knows(site, "a")
        s.send("HPUB a 18 20", "NATS/1.0\r\nX: y\r\n\r\nyo")
        m = h.message()
        assert m.headers == b"" and m.payload == b"yo"
        assert not link.saw("up", b"HMSG")


def test_nothing_is_echoed_into_the_same_link(scene, talk):
    """63"""
    h, s = talk
    h.send("SUB a 1")
    s.send("SUB a 1")
    s.sync()
    wait_knows(scene.hub, "a")
    wait_knows(scene.site, "a")
    h.send("PUB a 1", "x")
    assert s.message().payload == b"x" and h.message().payload == b"x"
    s.send("PUB a 1", "y")
    assert s.message().payload == b"y" and h.message().payload == b"y"
    s.sync()
    h.sync()
    assert not scene.link.saw("up", rb"LMSG a 1\r\nx")


def test_one_copy_for_plain_and_queue(scene, talk):
    """64: one LMSG names the groups it is for."""
    h, s = talk
    h.send("SUB a 1", "SUB a g 2", "SUB a k 3")
    wait_knows(scene.site, "a")
    h.sync()
    wait_for(lambda: scene.link.saw("down", rb"LS\+ a k 1"), 5, "all interest on the wire")
    s.sync()
    wait_for(lambda: leafs(scene.site)[0]["subscriptions_list"].count("a") == 3, 5, "three of them")
    s.send("PUB a 1", "x")
    assert sorted(h.message().sid for _ in range(3)) == ["1", "2", "3"]
    h.sync()
    lines = [line for line in scene.link.lines("up") if line.startswith(b"LMSG a ")]
    assert lines in ([b"LMSG a | g k 1"], [b"LMSG a | k g 1"])


def test_a_local_member_of_the_group_is_chosen_first_and_the_hubs_after(scene, talk):
    """65, both directions."""
    h, s = talk
    h.send("SUB a g 1")
    wait_knows(scene.site, "a")
    s.send("SUB a g 1")
    wait_knows(scene.hub, "a")
    for here in (s, h):
        here.send(*["PUB a 1\r\nx"] * 20)
        for _ in range(20):
            here.message()
        here.sync()
    s.send("UNSUB 1", "PUB a 1", "y")
    assert h.message().payload == b"y"


def test_distribution_follows_the_weights(scene, talk, make):
    """45, 50, 66: four members at our site, one at another: about 80 : 20 from the hub."""
    h, s = talk
    other = make("nats-server", name="other", remotes=[leaf_remote(scene.hub.leaf_port)])
    other.wait_linked()
    with other.raw() as o:
        o.hello()
        s.send(*[f"SUB a g {i}" for i in range(4)])
        o.send("SUB a g 1")
        wait_for(lambda: sum(knows_a.count("a") for knows_a in
                             ((leaf.get("subscriptions_list") or []) for leaf in leafs(scene.hub))) == 2,
                 5, "both groups")
        wait_for(lambda: scene.link.saw("up", rb"LS\+ a g 4\r\n"), 5, "the weight")
        h.sync()
        h.send(*["PUB a 1\r\nx"] * 500)
        h.sync()
        wait_for(lambda: scene.hub.http("/varz")["out_msgs"] >= 500, 5, "all of them sent")
        s.sync_count = 0
        got = 0
        try:
            while True:
                s.message(timeout=0.5)
                got += 1
        except TimeoutError:
            pass
        assert 300 < got < 480, got


def test_our_own_choice_follows_the_weights(make, site_kind):
    """66: two links, five members at one hub, one at the other."""
    with FakeHub() as one, FakeHub() as two:
        site = make(site_kind, name="site", remotes=[leaf_remote(one.port), leaf_remote(two.port)])
        a, b = one.join(cluster="c1", server_name="h1"), two.join(cluster="c2", server_name="h2")
        a.send("LS+ w g 5")
        b.send("LS+ w g 1")
        a.announced()
        b.announced()
        with site.raw() as s:
            s.hello()
            s.send(*["PUB w 1\r\nx"] * 600)
            s.sync()
        counts = Counter()
        for link in (a, b):
            try:
                while True:
                    words, _ = link.leaf_message(timeout=0.5)
                    assert words[2:4] == ["|", "g"]
                    counts[link] += 1
            except TimeoutError:
                pass
        assert counts[a] + counts[b] == 600 and 420 < counts[a] < 570, counts


def test_queue_members_hear_only_what_names_their_group(make, site_kind):
    """62, 67, 68: no list, no group; "|" without a group is the reply; never back up."""
    with FakeHub() as hub:
        site = make(site_kind, name="site", remotes=[leaf_remote(hub.port)])
        link = hub.join(cluster="HC")
        with site.raw() as s:
            s.hello()
            s.send("SUB s 1", "SUB s g 2")
            s.sync()
            link.announced()
            link.send("LS+ s g 1", "LMSG s 1", "1", "LMSG s | g 1", "2", "LMSG s | other 1", "3",
                      "LMSG s + r other g 1", "4", "LMSG s | 1", "5")
            seen = [s.message() for _ in range(7)]
            assert Counter((m.payload, m.sid) for m in seen) == Counter(
                {(b"1", "1"): 1, (b"2", "1"): 1, (b"2", "2"): 1, (b"3", "1"): 1, (b"4", "1"): 1,
                 (b"4", "2"): 1, (b"5", "1"): 1})
            assert [m.reply for m in seen if m.payload == b"5"] == ["|"]
            s.send("UNSUB 2")
            s.sync()
            link.send("LMSG s | g 1", "6")
            assert s.message().payload == b"6"
            assert not [line for line in link.announced() if line.startswith("LMSG")]


def test_leafz_tells_the_link_on_both_sides(scene, talk):
    """96"""
    h, s = talk
    s.send("SUB a 1")
    wait_knows(scene.hub, "a")
    h.send("PUB a 5", "hello")
    s.message()
    h.send("SUB b 1")
    wait_knows(scene.site, "b")
    s.send("PUB b 2", "yo")
    h.message()
    wait_for(lambda: leafs(scene.site)[0].get("rtt", "0s") != "0s", 5, "a round trip")
    mine, theirs = leafs(scene.site)[0], leafs(scene.hub)[0]
    assert mine["name"] == "hub" and theirs["name"] == "site"
    assert mine["account"] == "$G" and mine["is_spoke"] and not theirs.get("is_spoke")
    assert mine["ip"] == "127.0.0.1" and mine["port"] == scene.link.port
    assert (mine["in_msgs"], mine["out_msgs"]) == (theirs["out_msgs"], theirs["in_msgs"])
    assert (mine["in_bytes"], mine["out_bytes"]) == (5, 2)
    assert mine["compression"] in ("off", "not supported")
    assert mine["subscriptions"] == len(mine["subscriptions_list"]) and "b" in mine["subscriptions_list"]
    assert mine["id"] > 0
    assert scene.site.http("/leafz")["leafnodes"] == 1
    assert "subscriptions_list" not in scene.site.http("/leafz")["leafs"][0]
    assert scene.site.http("/leafz?acc=NOBODY")["leafnodes"] in (0, 1)
    assert scene.site.http("/varz")["leafnodes"] == 1
