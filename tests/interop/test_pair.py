"""A site and its hub: the same expectations of Frond and of the genuine server as the site."""
import pytest

from frondtest import wait_for


@pytest.fixture
def scene(pair, site_kind):
    return pair(site_kind)


def interested(server, subject):
    """Does server know a subscriber for subject (its own clients aside, over a link)?"""
    leafs = server.http("/leafz?subs=1").get("leafs") or []
    return any(subject in (leaf.get("subscriptions_list") or []) for leaf in leafs)


def test_messages_cross_the_link_both_ways(scene):
    with scene.hub.raw() as h, scene.site.raw() as s:
        h.hello()
        s.hello()
        h.send("SUB from.site 1")
        s.send("SUB from.hub 1")
        h.sync()
        s.sync()
        wait_for(lambda: interested(scene.hub, "from.hub"), 5, "the site's interest at the hub")
        h.send("PUB from.hub 2", "hi")
        assert s.message().payload == b"hi"
        wait_for(lambda: interested(scene.site, "from.site"), 5, "the hub's interest at the site")
        s.send("HPUB from.site R 12 14", "NATS/1.0\r\n\r\nyo")
        m = h.message()
        assert (m.subject, m.reply, m.payload) == ("from.site", "R", b"yo")


def test_a_local_subscriber_of_the_group_is_chosen_first(scene):
    with scene.hub.raw() as h, scene.site.raw() as s:
        h.hello()
        s.hello()
        h.send("SUB greet g 1")
        h.sync()
        wait_for(lambda: interested(scene.site, "greet"), 5, "the hub's group at the site")
        s.send("SUB greet g 1", *["PUB greet 1\r\nx"] * 20, "PING")
        for _ in range(20):
            assert s.message().payload == b"x"
        s.expect("PONG")
        s.send("UNSUB 1", "PUB greet 1", "y")
        assert h.message().payload == b"y"


def test_local_traffic_does_not_notice_a_lost_link(scene):
    with scene.site.raw() as s:
        s.hello()
        s.send("SUB a 1")
        with scene.link.down():
            s.send("PUB a 2", "hi")
            assert s.message(1).payload == b"hi"
            wait_for(lambda: scene.site.links() == 0, 10, "the site noticing the cut")
            s.send("PUB a 2", "ho")
            assert s.message(1).payload == b"ho"
        scene.site.wait_linked()


def test_the_hub_manages_the_sites_streams_through_its_domain(scene):
    scene.hub.cli("stream", "add", "ORDERS", "--subjects", "orders.>", "--defaults", domain="site")
    scene.site.cli("pub", "orders.new", "one")
    info = scene.hub.cli("stream", "info", "ORDERS", "--json", domain="site").json()
    assert info["state"]["messages"] == 1 and info["domain"] == "site"
    assert "ORDERS" not in scene.hub.cli("stream", "ls").out
    assert "ORDERS" in scene.site.cli("stream", "ls").out
