"""JetStream over a link: what its API is called on the other side, and what never crosses.
Numbers: see test_leaf_handshake.py; the truth table is 6.5 of the reference."""
import itertools
import json
import re

import pytest

from frondtest import FakeHub, leaf_remote, wait_for, wait_knows

NINE = ["INFO", "STREAM.>", "CONSUMER.>", "DIRECT.>", "META.>", "SERVER.>", "ACCOUNT.>", "$KV.>", "$OBJ.>"]
PLAIN = ["$JS.API.>", "$KV.>", "$OBJ.>"]


_numbers = itertools.count()


def announced(link, way):
    return {line.split(b" ")[1].decode() for line in link.lines(way) if line.startswith(b"LS+ ")}


def nine(domain):
    return {f"$JS.{domain}.API.{name}" for name in NINE}


def who_answers(client, subject, timeout=2.0):
    """The domain in the account info that comes back, "-" without a domain, None without responders,
    "silence" otherwise."""
    inbox = f"_INBOX.who.{next(_numbers)}"
    client.send(f"SUB {inbox} 77", f"PUB {subject} {inbox} 0", "")
    try:
        m = client.message(timeout)
    except TimeoutError:
        return "silence"
    finally:
        client.send("UNSUB 77")
    if m.headers.startswith(b"NATS/1.0 503"):
        return None
    answer = json.loads(m.payload)
    assert "error" not in answer, answer
    return answer.get("domain", "-")


# hub domain, site domain (None: no JetStream, "": none) → who answers what
TABLE = [
    # hub, site, hub: $JS.API, hub: $JS.<site>.API, site: $JS.API, site: $JS.<hub>.API
    ("", "", "-", None, "-", None),
    ("X", "X", "X", "X", "X", "X"),
    ("hub", "site", "hub", "site", "site", "hub"),
    ("hub", None, "hub", None, None, "hub"),
    (None, "site", None, "site", "site", None),
    ("", "site", "-", "site", "site", None),
    ("hub", "", "hub", None, "-", "hub"),
    (None, None, None, None, None, None),
]


@pytest.fixture
def scene(pair, site_kind):
    def build(hub, site, config=""):
        return pair(site_kind, hub={"jetstream": hub is not None, "domain": hub or None},
                    site={"jetstream": site is not None, "domain": site or None, "config": config})

    return build


@pytest.mark.parametrize("hub, site, hub_plain, hub_site, site_plain, site_hub", TABLE)
def test_the_truth_table(scene, hub, site, hub_plain, hub_site, site_plain, site_hub):
    """80, 81, 82: who answers which name on which side, and which names are told."""
    s = scene(hub, site)
    with s.hub.raw() as h, s.site.raw() as c:
        h.hello()
        c.hello()
        c.send("SUB end 1")
        wait_knows(s.hub, "end")
        h.send("SUB end 1")
        wait_knows(s.site, "end")
        up, down = announced(s.link, "up"), announced(s.link, "down")
        assert not {name for name in up if name.startswith(("$JS.API", "$KV", "$OBJ"))}
        assert {name for name in up if re.match(r"\$JS\.[^.]+\.API\.", name)} == (nine(site) if site else set())
        assert {name for name in down if re.match(r"\$JS\.[^.]+\.API\.", name)} == (nine(hub) if hub else set())
        assert who_answers(h, "$JS.API.INFO") == hub_plain
        assert who_answers(c, "$JS.API.INFO") == site_plain
        assert who_answers(h, f"$JS.{site or 'leaf'}.API.INFO") == hub_site
        assert who_answers(c, f"$JS.{hub or 'top'}.API.INFO") == site_hub
        assert not s.link.saw("up", rb"MSG \$JS\.API") and not s.link.saw("down", rb"MSG \$JS\.API")


def test_plain_names_never_cross(scene):
    """81: $JS.API, $KV and $OBJ stay at home in both directions, whatever interest there is."""
    s = scene("hub", "site")
    with s.hub.raw() as h, s.site.raw() as c:
        h.hello()
        c.hello()
        for here, there, to in ((h, c, s.hub), (c, h, s.site)):
            there.send("SUB $KV.b.> 1", "SUB $OBJ.> 2", "SUB $JS.API.X 3", "SUB > 4")
            wait_knows(to, ">")
            here.send("PUB $KV.b.k 1", "1", "PUB $OBJ.x 1", "2", "PUB $O.x 1", "3")
            while (m := there.message()).subject.startswith("_INBOX"):
                pass
            assert (m.subject, m.payload) == ("$O.x", b"3")
            there.send("UNSUB 1", "UNSUB 2", "UNSUB 3", "UNSUB 4")
            there.sync()


def test_default_js_domain_makes_plain_names_the_hubs(scene):
    """83: a site without JetStream in that account; plain clients reach the hub's."""
    s = scene("hub", None, config="default_js_domain { $G: hub }")
    with s.site.raw() as c:
        c.hello()
        wait_knows(s.site, "$JS.hub.API.INFO")
        assert who_answers(c, "$JS.API.INFO") == "hub"
    s.site.cli("stream", "add", "S", "--subjects", "s.>", "--defaults")
    assert "S" in s.hub.cli("stream", "ls", "-n").out
    s.site.cli("kv", "add", "b")
    s.site.cli("kv", "put", "b", "k", "v")
    assert s.site.cli("kv", "get", "b", "k", "--raw").out.strip() == "v"


def test_a_name_is_renamed_once(make, site_kind):
    """What a client says to the site's own domain does not become the hub's, where the plain names are the hub's."""
    with FakeHub() as fake:
        site = make(site_kind, name="site", jetstream=True, domain="site", remotes=[leaf_remote(fake.port, account="A")],
                    config="""accounts { A { users: [{user: a, password: a}] },
                                         B { jetstream: enabled, users: [{user: b, password: b}] } }
                              no_auth_user: a
                              default_js_domain { A: hub }""")
        link = fake.accept()
        link.greet()
        link.take_in()
        link.send("LS+ $JS.hub.API.>")
        link.announced()
        with site.raw() as c:
            c.hello()
            c.send("SUB > 1")
            c.sync()
            for there, here in (("site.API.STREAM.INFO.A_LONG_NAME_OF_A_STREAM", "API.STREAM.INFO.A_LONG_NAME_OF_A_STREAM"),
                                ("API.STREAM.INFO.S", "hub.API.STREAM.INFO.S")):
                c.send(f"PUB $JS.{there} 1", "x")
                assert c.message().subject == "$JS." + here
        assert link.leaf_message()[0][1] == "$JS.hub.API.STREAM.INFO.S"


def test_default_js_domain_empty_removes_the_denies(scene):
    """83: for hubs without a domain."""
    s = scene("", None, config='default_js_domain { $G: "" }')
    with s.site.raw() as c:
        c.hello()
        wait_knows(s.site, "$JS.API.>")
        assert who_answers(c, "$JS.API.INFO") == "-"


def test_puback_over_the_link_names_the_domain(scene):
    """84, and 6.4: a hub client publishes into the site's stream; KV through the domain; direct get."""
    s = scene("hub", "site")
    s.hub.cli("stream", "add", "S1", "--subjects", "s1.>", "--defaults", "--allow-direct", domain="site")
    wait_knows(s.hub, "s1.>")
    with s.hub.raw() as h, s.site.raw() as c:
        h.hello()
        c.hello()
        h.send("SUB R.* 1", "PUB s1.x R.1 4", "body")
        ack = json.loads(h.message().payload)
        assert (ack["stream"], ack["domain"], ack["seq"]) == ("S1", "site", 1)
        h.send("PUB $JS.site.API.DIRECT.GET.S1.s1.x R.2 0", "")
        m = h.message()
        assert m.payload == b"body" and b"Nats-Stream: S1\r\n" in m.headers and b"Nats-Subject: s1.x\r\n" in m.headers
        h.send("PUB nobody.here R.3 0", "")
        assert h.message().headers.startswith(b"NATS/1.0 503")


def test_a_pull_over_the_link_with_acks(scene):
    """70, 86: the delivery carries "ack@subject", the client sees its subject, the ack finds home."""
    s = scene("hub", "site")
    s.site.cli("stream", "add", "S1", "--subjects", "s1.>", "--defaults")
    s.site.cli("consumer", "add", "S1", "C1", "--pull", "--defaults", "--ack", "explicit")
    for i in range(3):
        s.site.cli("pub", "--jetstream", f"s1.{i}", f"m{i}")  # returns after the ack
    with s.hub.raw() as h:
        h.hello()
        h.send("SUB my.inbox 1")
        wait_knows(s.site, "my.inbox")
        h.send('PUB $JS.site.API.CONSUMER.MSG.NEXT.S1.C1 my.inbox 11', '{"batch":3}')
        got = [h.message() for _ in range(3)]
        assert [(m.subject, m.payload) for m in got] == [(f"s1.{i}", b"m%d" % i) for i in range(3)]
        assert all(re.fullmatch(r"\$JS\.ACK\.S1\.C1(\.\d+){5}", m.reply) for m in got)
        on_wire = [line.decode() for line in s.link.lines("up") if b"MSG my.inbox" in line]
        assert re.fullmatch(r"LMSG my\.inbox \$JS\.ACK\.S1\.C1\.1\.1\.1\.\d+\.2@s1\.0 2", on_wire[0]), on_wire
        for m in got:
            h.send(f"PUB {m.reply} 4", "+ACK")
    wait_for(lambda: s.site.cli("consumer", "info", "S1", "C1", "--json").json()["num_ack_pending"] == 0,
             5, "all acked")


def test_a_push_over_the_link_the_other_way(scene):
    """70: a site client on the hub's push consumer."""
    s = scene("hub", "site")
    s.hub.cli("stream", "add", "H1", "--subjects", "h1.>", "--defaults")
    with s.site.raw() as c:
        c.hello()
        c.send("SUB dlv 1", "SUB R.* 2")
        wait_knows(s.hub, "dlv")
        config = {"stream_name": "H1", "config": {"durable_name": "P", "deliver_subject": "dlv",
                                                  "ack_policy": "explicit", "ack_wait": 30000000000}}
        body = json.dumps(config)
        c.send(f"PUB $JS.hub.API.CONSUMER.DURABLE.CREATE.H1.P R.1 {len(body)}", body)
        answer = json.loads(c.message().payload)
        assert "error" not in answer, answer
        s.hub.cli("pub", "h1.a", "body")
        m = c.message()
        assert (m.subject, m.sid, m.payload) == ("h1.a", "1", b"body") and m.reply.startswith("$JS.ACK.H1.P.1.1.1.")
        c.send(f"PUB {m.reply} R.9 4", "+ACK")
        assert c.message().payload == b""  # the double ack
    info = s.hub.cli("consumer", "info", "H1", "P", "--json").json()
    assert info["num_ack_pending"] == 0 and info["ack_floor"]["stream_seq"] == 1


def test_two_sites_of_the_same_domain_both_answer(scene, make, site_kind):
    """82: the hub's request reaches both; at home each serves itself."""
    s = scene("hub", "site")
    twin = make(site_kind, name="twin", jetstream=True, domain="site", remotes=[leaf_remote(s.hub.leaf_port)])
    twin.wait_linked()
    s.hub.wait_linked(2)
    with s.hub.raw() as h, s.site.raw() as c:
        h.hello()
        c.hello()
        h.send("SUB R 1", "PUB $JS.site.API.INFO R 0", "")
        assert len({h.message().payload and i for i in range(2)}) == 2
        c.send("SUB R2 1", "PUB $JS.site.API.INFO R2 0", "")
        c.message()
        c.nothing(0.3)


def test_system_accounts_linked(make, make_relay, site_kind):
    """85: different domains: all of JetStream's insides are denied, one second name is told."""
    accounts = ("accounts { $SYS { users: [{user: sys, password: p}] }, "
                "A { jetstream: enabled, users: [{user: a, password: p}] } }")
    hub = make("nats-server", name="hub", domain="hub", jetstream=True, leaf_listen=True, config=accounts)
    links = [make_relay(hub.leaf_port) for _ in range(2)]
    site = make(site_kind, name="site", domain="site", jetstream=True, config=accounts, remotes=[
        leaf_remote(links[0].port, user="sys", password="p", account="$SYS"),
        leaf_remote(links[1].port, user="a", password="p", account="A")])
    site.wait_linked(2)
    hub.wait_linked(2)
    wait_for(lambda: "$JS.site.API.>" in announced(links[0], "up"), 5, "the single second name")
    assert nine("site") <= announced(links[1], "up")
    with hub.raw() as h:
        h.hello(user="a", **{"pass": "p"})
        assert who_answers(h, "$JS.site.API.INFO") == "site" and who_answers(h, "$JS.API.INFO") == "hub"
    assert not links[0].saw("up", rb"LS\+ \$(JSC|NRG|JS\.API|KV)")
    with hub.raw() as h:  # what `nats server list` asks
        h.hello(user="sys", **{"pass": "p"})
        h.send("SUB names 1", "PUB $SYS.REQ.SERVER.PING names 0", "")
        answers = [json.loads(h.message().payload) for _ in range(2)]
        assert {(a["server"]["name"], a["server"].get("cluster")) for a in answers} == {("hub", None), ("site", "site")}
        assert all(a["statsz"]["mem"] > 0 and a["statsz"]["cores"] > 0 and "cpu" in a["statsz"] for a in answers)
