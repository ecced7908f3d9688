"""How a link begins, and how it begins again. Numbers are items of the conformance checklist in the
leaf node protocol reference (section 11). Where it says site_kind, the genuine server passes too."""
import json
import re
import time

import pytest

from frondtest import FakeHub, free_port, leaf_remote, leafs, wait_for


def connect_of(link, connection=1):
    line = next(line for line in link.lines("up", connection) if line.startswith(b"CONNECT "))
    return json.loads(line[8:])


def infos_of(link, connection=1):
    return [json.loads(line[5:]) for line in link.lines("down", connection) if line.startswith(b"INFO ")]


@pytest.fixture
def fake():
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def dialling(make, fake, site_kind):
    """A site whose only remote is the fake hub."""
    def start(**options):
        remote = options.pop("remote", {})
        return make(site_kind, name="site", remotes=[leaf_remote(fake.port, **remote)], **options)

    return start


def test_fields_of_the_handshake(pair, site_kind):
    """1, 6, 7: INFO, CONNECT, INFO, then interest of both sides; what each of them says."""
    scene = pair(site_kind)
    first, second = infos_of(scene.link)[:2]
    assert first["client_id"] and first["nonce"] and first["info_on_connect"] and "leafnode_urls" in first
    assert second["connect_info"] and second["remote_account"] == "$G"
    connect = connect_of(scene.link)
    assert connect["name"] == "site" and connect["cluster"] == "site" and connect["domain"] == "site"
    assert connect["headers"] is True and connect["jetstream"] is True
    assert connect["version"] == "2.15.2" and connect["compress_mode"] == "off"
    assert connect["remote_account"] == "$G" and re.fullmatch(r"N[A-Z2-7]{55}", connect["server_id"])
    assert not {"user", "pass", "jwt", "sig", "nkey", "lang", "gateway", "is_hub"} & set(connect)
    up = scene.link.lines("up", 1)
    assert up[0].startswith(b"CONNECT ")
    connect_info_at = next(i for i, (_, number, way, data) in enumerate(scene.link.record)
                           if number == 1 and way == "down" and b"connect_info" in data)
    before = b"".join(data for _, number, way, data in scene.link.record[:connect_info_at]
                      if number == 1 and way == "up")
    assert b"LS+" not in before
    wait_for(lambda: scene.link.saw("up", rb"LS\+ \$LDS\.\w{22}\r\n"), 5, "the loop subject")


def test_tls_once_is_tls_for_ever(dialling, fake):
    """A hub that asked for TLS and says nothing of it the next time (it is another one, between us and the hub) gets
    a handshake, not our credentials."""
    dialling(remote={"user": "u", "password": "secret"})
    for tls_required in (True, None):
        link = fake.accept()
        link.send(link.info_line(tls_required=tls_required))
        assert link.take(2) == b"\x16\x03"
        link.close()


def test_permissions_may_change_while_the_link_is_up(dialling, fake):
    site = dialling()
    link = fake.accept()
    link.greet()
    link.take_in()
    link.send("LS+ secret", "LS+ fine")
    link.send(link.info_line(export={"deny": ["secret"]}))
    link.announced()
    with site.raw() as c:
        c.hello()
        c.send("PUB secret 1", "x", "PUB fine 1", "y")
        c.sync()
    assert link.leaf_message() == (["LMSG", "fine", "1"], b"y")


def test_weights_that_make_more_than_32_bits(dialling, fake):
    site = dialling()
    link = fake.accept()
    link.greet()
    link.take_in()
    link.send(*[f"LS+ {s} g 999999999" for s in ("q.*", "q.>", "*.a", ">")], "LS+ q.a g 294967300")
    link.announced()
    with site.raw() as c:
        c.hello()
        c.send("PUB q.a 1", "x")
        c.sync()
    assert link.leaf_message() == (["LMSG", "q.a", "|", "g", "1"], b"x")


def test_two_links_of_one_account_say_the_same_loop_subject(make, site_kind):
    """39, 42: one $LDS subject per account, on every link and after every reconnect."""
    with FakeHub() as one, FakeHub() as two:
        make(site_kind, name="site", remotes=[leaf_remote(one.port), leaf_remote(two.port)])
        seen = set()
        for hub in (one, two, one):
            link = hub.accept()
            link.greet(cluster=f"c{hub.port}", server_name=f"h{hub.port}")
            seen |= {line for line in link.take_in() if line.startswith("LS+ $LDS.")}
            if hub is one:
                link.close()
        assert len(seen) == 1


def test_a_wrong_port_is_left_in_silence_and_tried_again(make, site_kind):
    """2: INFO of a client port: no word from the dialler, another try."""
    hub = make("nats-server", name="hub")
    site = make(site_kind, name="site", remotes=[leaf_remote(hub.port)])
    site.wait_log("(?i)wrong port")
    wait_for(lambda: len(re.findall("(?i)wrong port", site.log())) >= 2, 10, "another try")


@pytest.mark.parametrize("fields", [
    {"client_id": 0}, {"client_id": None}, {"leafnode_urls": None, "info_on_connect": None},
])
def test_a_greeting_that_lacks_something_is_left_in_silence(fake, dialling, fields):
    """2"""
    dialling()
    for _ in range(2):
        link = fake.accept()
        link.send(link.info_line(**fields))
        assert link.expect_closed() == []


def test_a_hub_that_does_not_advertise_is_fine(make, make_relay, site_kind):
    """1, 2: 2.15 leaves leafnode_urls out with no_advertise."""
    hub = make("nats-server", name="hub", leaf_listen=True, leaf="no_advertise: true")
    link = make_relay(hub.leaf_port)
    site = make(site_kind, name="site", remotes=[leaf_remote(link.port, ignore_discovered_servers=False)])
    site.wait_linked()
    assert "leafnode_urls" not in infos_of(link)[0]


def test_no_answer_to_connect_is_stale(fake, dialling):
    """8: two seconds, then -ERR and good-bye."""
    dialling()
    link = fake.accept()
    link.greet()
    asked = time.monotonic()
    assert "-ERR 'Stale Leaf Node Connection - Closing'" in link.expect_closed(timeout=5)
    assert 1.5 < time.monotonic() - asked < 4
    fake.accept()


def test_a_hub_without_info_on_connect_hears_interest_at_once(fake, dialling):
    """9"""
    dialling()
    link = fake.accept()
    link.greet(info_on_connect=None)
    assert any(line.startswith("LS+ $LDS.") for line in link.announced())


def test_a_slow_first_info_is_waited_for(fake, dialling):
    """10: first_info_timeout; the default is a second."""
    site = dialling(remote={"first_info_timeout": "4s"})
    link = fake.accept()
    link.nothing(quiet=2)
    link.greet()
    link.take_in()
    site.wait_linked()
    link.close()
    assert fake.accept()


def test_no_ping_before_connect_and_the_first_one_a_second_after(fake, dialling):
    """11"""
    dialling(config='ping_interval: "30s"')
    link = fake.accept()
    link.greet()
    link.send(link.info_line(connect_info=True, remote_account="$G"))
    up = time.monotonic()
    while link.line(timeout=5) != "PING":
        pass
    assert 0.8 < time.monotonic() - up < 2.5


def test_unanswered_pings_end_the_link(fake, dialling):
    """12: ping_max 1 and no PONG: stale."""
    site = dialling(config='ping_interval: "500ms"\nping_max: 1')
    link = fake.accept()
    link.greet()
    link.send(link.info_line(connect_info=True, remote_account="$G"))
    said = link.expect_closed(timeout=20)
    assert "PING" in said and "-ERR 'Stale Connection'" in said
    fake.accept()
    site.wait_log("Stale Connection")


def test_cluster_names_that_are_refused(fake, dialling):
    """38: spaces, and the reserved "_"."""
    dialling()
    link = fake.accept()
    link.send(link.info_line(cluster="a b"))
    assert "-ERR 'cluster name cannot contain spaces'" in link.expect_closed()
    link = fake.accept()
    link.send(link.info_line(cluster="_"))
    assert "-ERR 'cluster name is reserved'" in link.expect_closed()


def test_everything_may_come_one_byte_at_a_time(fake, dialling):
    """59: INFO, interest and messages cut at every byte."""
    site = dialling()
    link = fake.accept()
    for byte in (link.info_line() + "\r\n").encode():
        link.send_bytes(bytes([byte]))
    link.expect(re.compile("CONNECT .*"))
    with site.raw() as c:
        c.hello()
        c.send("SUB a.* 1")
        c.sync()
        text = link.info_line(connect_info=True, remote_account="$G") + "\r\nLS+ x\r\n"
        text += "LMSG a.1 2\r\nhi\r\nLMSG a.2 + r g h 0\r\n\r\nHMSG a.3 r 12 13\r\nNATS/1.0\r\n\r\n!\r\n"
        for byte in text.encode():
            link.send_bytes(bytes([byte]))
        assert c.message().payload == b"hi"
        assert c.message().reply == "r"
        last = c.message()
        assert last.headers == b"NATS/1.0\r\n\r\n" and last.payload == b"!"
        site.wait_linked()


@pytest.mark.parametrize("text, answer", [
    ("GARBAGE", "Unknown Protocol Operation"),
    ("LMSG a 1\r\nxyz", "Unknown Protocol Operation"),
    ("LMSG a 2000000", "Maximum Payload Violation"),
    ("LS+ " + "x" * 70000, "maximum control line exceeded"),
    ("LMSG a b", None),
    ("HMSG a 5 4", None),
    ("LMSG a x b c 1", None),
    ("LS+ a b", None),
])
def test_rubbish_ends_the_link_and_nothing_else(fake, dialling, text, answer):
    """60, 69: the reference's words, its silence where it is silent; local clients go on."""
    site = dialling()
    link = fake.join()
    with site.raw() as c:
        c.hello()
        link.send(text)
        said = link.expect_closed()
        errors = [line for line in said if line.startswith("-ERR")]
        assert (answer is None and not errors) or (answer and answer.lower() in errors[0].lower()), said
        c.sync()
    fake.join()
    site.wait_linked()


def test_a_malformed_subject_is_answered_and_the_link_lives(fake, dialling):
    """69"""
    dialling()
    link = fake.join()
    link.send("LS+ a..b")
    assert "-ERR 'Invalid Subscription'" in link.announced()


def test_errors_that_are_only_logged(fake, dialling):
    """A dialler never closes because of an -ERR, except for a loop."""
    site = dialling()
    link = fake.join()
    link.send("-ERR 'Something Strange'")
    link.announced()
    site.wait_log("Something Strange")
    assert site.links() == 1


# -- again --

def test_refused_dials_are_repeated_with_jitter(make, make_relay, site_kind):
    """Reconnect time plus a random part of it, for ever."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port)
    link.cut()
    site = make(site_kind, name="site", reconnect="100ms", remotes=[leaf_remote(link.port)])
    wait_for(lambda: link.refused >= 12, 20, "twelve tries")
    link.resume()
    site.wait_linked()


def test_fail_over_to_the_next_url(make, make_relay, site_kind):
    """34: several URLs in one remote; the next one takes over, and the interest goes with it."""
    hubs = [make("nats-server", name=f"hub{i}", leaf_listen=True) for i in range(2)]
    relays = [make_relay(hub.leaf_port) for hub in hubs]
    remote = leaf_remote(relays[0].port, no_randomize=True)
    remote.pop("url")
    remote["urls"] = [f"nats-leaf://127.0.0.1:{relay.port}" for relay in relays]
    site = make(site_kind, name="site", remotes=[remote])
    with site.raw() as c:
        c.hello()
        c.send("SUB mine 1")
        c.sync()
        hubs[0].wait_linked()
        relays[0].cut()
        hubs[1].wait_linked()
        wait_for(lambda: relays[1].saw("up", rb"LS\+ mine\r\n"), 5, "interest at the second hub")
        relays[0].resume()
        relays[1].cut()
        hubs[0].wait_linked()


def test_gossip_is_followed_with_the_configured_credentials(make, make_relay, site_kind):
    """17, 32, 33: the advertised address comes first; a remote that ignores it stays with its own."""
    hub = make("nats-server", name="hub", leaf_listen=True,
               leaf="authorization { user: u, password: p }")
    link = make_relay(hub.leaf_port)
    site = make(site_kind, name="site",
                remotes=[leaf_remote(link.port, user="u", password="p", ignore_discovered_servers=False)])
    site.wait_linked()
    link.cut()  # and refuses from now on: only the gossiped address is left
    wait_for(lambda: hub.links() == 0, 5, "the cut")
    site.wait_linked()
    hub.wait_linked()
    assert link.connections == 0


def test_gossip_may_be_ignored(make, make_relay, site_kind):
    """33"""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port)
    site = make(site_kind, name="site", remotes=[leaf_remote(link.port)])
    site.wait_linked()
    link.cut()
    wait_for(lambda: link.refused >= 3, 10, "tries at the configured address only")
    assert hub.links() == 0
    link.resume()
    hub.wait_linked()


def test_a_name_is_resolved(make, site_kind):
    """31: host names; 7422 where no port is given shows in the log of a dial that nobody answers."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    remote = leaf_remote(hub.leaf_port)
    remote["url"] = f"nats-leaf://localhost:{hub.leaf_port}"
    site = make(site_kind, name="site",
                remotes=[remote, {"url": "nats-leaf://127.0.0.9", "account": "B"}],
                config="accounts { B { users: [{user: b, password: b}] } }")
    hub.wait_linked()
    site.wait_log(r"127\.0\.0\.9:7422")


# -- loops and doubles --

def test_the_same_cluster_name_costs_half_a_minute(make, make_relay, site_kind):
    """37"""
    hub = make("nats-server", name="hub", leaf_listen=True,
               config=f'cluster {{ name: site, listen: "127.0.0.1:{free_port()}" }}')
    link = make_relay(hub.leaf_port)
    site = make(site_kind, name="site", remotes=[leaf_remote(link.port)])
    wait_for(lambda: "same cluster name" in site.log() or "loop" in site.log(), 10, "a refusal")
    tries = link.accepted
    time.sleep(1.5)  # six reconnect times: the absence of a try can only be seen by waiting
    assert link.accepted == tries


def test_a_loop_is_detected_and_costs_half_a_minute(fake, dialling):
    """39: our own $LDS subject comes back."""
    site = dialling()
    link = fake.accept()
    link.greet()
    lds = next(line for line in link.take_in() if line.startswith("LS+ $LDS."))
    link.send(lds)
    said = link.expect_closed()
    assert any("Loop detected for leafnode account=\"$G\". Delaying attempt to reconnect for 30s" in line
               for line in said)
    site.wait_log("Loop detected")
    with pytest.raises(TimeoutError):
        fake.accept(timeout=1.5)


def test_a_real_loop_of_three_is_detected(make, site_kind):
    """39: hub <- middle <- site, and the site dials the hub as well."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    middle = make("nats-server", name="middle", leaf_listen=True, remotes=[leaf_remote(hub.leaf_port)])
    middle.wait_linked()
    site = make(site_kind, name="site",
                remotes=[leaf_remote(middle.leaf_port), leaf_remote(hub.leaf_port)])
    wait_for(lambda: "Loop detected" in site.log() + middle.log() + hub.log(), 15, "a loop found by somebody")


def test_a_double_evicts_the_first(make, make_relay, site_kind):
    """36: two sites of one name at one hub account; two accounts of one site are no doubles."""
    hub = make("nats-server", name="hub", leaf_listen=True)
    link = make_relay(hub.leaf_port)
    two = "accounts { A { users: [{user: a, password: a}] }, B { users: [{user: b, password: b}] } }"
    site = make(site_kind, name="site", config=two,
                remotes=[leaf_remote(link.port, account="A"), leaf_remote(link.port, account="B")])
    hub.wait_linked(2)
    site.wait_linked(2)
    assert sorted(leaf["account"] for leaf in leafs(site)) == ["A", "B"]
    double = make(site_kind, name="double", config="server_name: site\n" + two, reconnect="60s",
                  remotes=[leaf_remote(hub.leaf_port, account="A")], start=False)
    double.write_config()
    text = double.config_text().replace("server_name: double\n", "", 1)
    double.config_text = lambda: text
    double.start()
    site.wait_log("Duplicate Remote LeafNode Connection")
