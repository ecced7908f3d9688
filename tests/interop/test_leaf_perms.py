"""What may cross a link. Numbers: see test_leaf_handshake.py."""
import re

import pytest

from frondtest import FakeHub, knows, leaf_remote, wait_for, wait_knows

USERS = """
accounts { A { users: [
  {user: all, password: p}
  {user: leaf, password: p, permissions: {
     publish: {allow: ["pub.>", "_INBOX.>"], deny: ["pub.no"]}
     subscribe: {allow: ["sub.>"], deny: ["sub.no"]} }}
] } }
"""


@pytest.fixture
def scene(make, make_relay, site_kind):
    """scene(user=…, remote options) → hub, link, site."""
    def build(user="all", **remote):
        hub = make("nats-server", name="hub", leaf_listen=True, config=USERS)
        link = make_relay(hub.leaf_port)
        site = make(site_kind, name="site",
                    remotes=[leaf_remote(link.port, user=user, password="p", **remote)])
        site.wait_linked()
        hub.wait_linked()
        return hub, link, site

    return build


def told(link):
    return {line[4:].decode() for line in link.lines("up") if line.startswith(b"LS+ ")}


def test_the_hub_users_permissions_hold_both_ways(scene):
    """72, 73, 75: import and export of the INFO; what is not permitted is neither asked for nor said."""
    hub, link, site = scene(user="leaf")
    with hub.raw() as h, site.raw() as s:
        h.hello(user="all", **{"pass": "p"})
        s.hello()
        s.send("SUB sub.yes 1", "SUB sub.no 2", "SUB other 3", "SUB sub.* 4", "SUB *.any 5", "SUB end 6",
               "SUB sub.end 7")
        wait_knows(hub, "sub.end")
        assert {"sub.yes", "sub.*", "*.any", "sub.end"} <= told(link)
        assert not {"sub.no", "other", "end"} & told(link)
        h.send("SUB > 1")
        wait_knows(site, ">")
        s.send("PUB pub.no 1", "1", "PUB elsewhere 1", "2", "PUB pub.yes 1", "3")
        assert h.message().payload == b"3"
        h.sync()
        assert not link.saw("up", rb"LMSG (pub.no|elsewhere)")
        h.send("UNSUB 1", "PUB sub.no 1", "4", "PUB sub.yes 1", "5")
        got = [s.message() for _ in range(2)]  # once for sub.yes, once for sub.*
        assert {(m.payload, m.sid) for m in got} == {(b"5", "1"), (b"5", "4")}
        assert site.links() == 1


def test_permissions_of_a_jwt(make, make_relay, site_kind, tmp_path):
    """72: the same in operator mode."""
    from frondtest.operator import Operator

    operator = Operator()
    account = operator.account("A")
    user = account.user("leaf", {"pub": {"allow": ["pub.>"]}, "sub": {"deny": ["sub.no"]}})
    everyone = account.user("all")
    creds = tmp_path / "leaf.creds"
    creds.write_text(user.creds)
    hub = make("nats-server", name="hub", leaf_listen=True, config=operator.config())
    link = make_relay(hub.leaf_port)
    site = make(site_kind, name="site", remotes=[leaf_remote(link.port, credentials=str(creds))])
    site.wait_linked()
    with hub.raw() as h, site.raw() as s:
        nonce = h.info["nonce"]
        sig = __import__("base64").urlsafe_b64encode(everyone.key.sign(nonce.encode())).rstrip(b"=")
        h.hello(jwt=everyone.jwt, sig=sig.decode())
        s.hello()
        s.send("SUB sub.no 1", "SUB sub.yes 2")
        wait_knows(hub, "sub.yes")
        assert "sub.no" not in told(link)
        h.send("SUB > 1")
        wait_knows(site, ">")
        s.send("PUB elsewhere 1", "1", "PUB pub.x 1", "2")
        assert h.message().payload == b"2"


def test_deny_imports_and_deny_exports(scene):
    """75: literal and wildcard; the hub is told (deny_pub) and keeps to it, and so do we."""
    hub, link, site = scene(deny_imports=["imp.no", "impw.>"], deny_exports=["exp.no", "expw.>"])
    assert link.saw("up", rb'"deny_pub":\["imp.no","impw.(>|\\u003e)"\]')
    with hub.raw() as h, site.raw() as s:
        h.hello(user="all", **{"pass": "p"})
        s.hello()
        s.send("SUB imp.no 1", "SUB impw.a 2", "SUB impw.> 3", "SUB imp.* 4", "SUB * 5", "SUB end 6")
        wait_knows(hub, "end")
        assert {"imp.*", "*", "end"} <= told(link)
        assert not {"imp.no", "impw.a", "impw.>"} & told(link)
        h.send("SUB exp.* 1", "SUB expw.> 2", "SUB > 3")
        wait_knows(site, "exp.*", "expw.>", ">")
        h.send("UNSUB 3")
        h.sync()
        h.send("PUB imp.no 1", "1", "PUB imp.yes 1", "2")
        assert s.message().payload == b"2"
        s.send("PUB exp.no 1", "3", "PUB expw.a 1", "4", "PUB exp.yes 1", "5")
        assert h.message().payload == b"5"
        h.sync()
        s.sync()
        assert not link.saw("up", rb"LMSG (exp.no|expw)") and not link.saw("down", rb"LMSG imp.no")


def test_what_a_hub_says_against_our_denies_is_dropped(make, site_kind):
    """76, 74: checked by the subject on the wire; service replies and acks pass; the link lives."""
    with FakeHub() as hub:
        site = make(site_kind, name="site", remotes=[leaf_remote(hub.port, deny_imports=["no.>", "_R_.>"])])
        link = hub.join()
        with site.raw() as s:
            s.hello()
            s.send("SUB > 1")
            s.sync()
            link.announced()
            link.send("LMSG no.x 1", "1", "LMSG _R_.a.b 1", "2", "LMSG yes 1", "3")
            assert [s.message().payload for _ in range(2)] == [b"2", b"3"]
            assert site.links() == 1


def test_a_well_behaved_site_keeps_the_link_at_a_strict_hub(scene):
    """73: literals the leaf may not have would close the link; queue groups as well."""
    hub, link, site = scene(user="leaf")
    with site.raw() as s:
        s.hello()
        s.send(*[f"SUB lit.{i} {i}" for i in range(50)], "SUB lit.q g 60", "SUB sub.q g 61")
        wait_knows(hub, "sub.q")
        assert link.accepted == 1 and not knows(hub, "lit.1")
        assert "Violation" not in hub.log()


def test_a_site_that_is_the_hub_closes_on_a_violation(make, site_kind):
    """52, 75: hub: true; a literal the leaf may not receive."""
    with FakeHub() as hub:
        site = make(site_kind, name="site", remotes=[leaf_remote(hub.port, hub=True, deny_exports=["secret.x"])])
        link = hub.accept()
        link.greet()
        assert link.connect["is_hub"] is True
        link.take_in()
        link.send("LS+ secret.*", "LS+ secret.x")
        said = link.expect_closed()
        assert any(re.match("-ERR 'Permissions Violation for Subscription to \"secret.x\"'", line)
                   for line in said), said
        wait_for(lambda: site.links() == 0, 5, "the end of the link")


def test_a_literal_that_may_not_leave_counts_for_nobody(make, site_kind):
    """75: two hubs and a queue group of both; what one may not have goes to the other, always, and nobody behind the
    site hears that the first one wants it."""
    with FakeHub() as hub, FakeHub() as free, FakeHub() as below:
        site = make(site_kind, name="site", remotes=[leaf_remote(hub.port, deny_exports=["held.>"]), leaf_remote(free.port),
                                                     leaf_remote(below.port, hub=True)])
        strict, other, leaf = hub.join(), free.join(), below.join()
        strict.send("LS+ held.work group 1000", "LS+ held.plain", "LS+ held.only group 1", "LS+ seen")
        wait_knows(site, "seen")
        other.send("LS+ held.work group 1")
        wait_knows(site, "held.work")
        lines = leaf.announced()
        assert "LS+ seen" in lines and not [l for l in lines if "held.plain" in l or "held.only" in l], lines
        with site.raw() as s:
            s.hello()
            for i in range(20):
                s.send("PUB held.work 1", "x")
            s.sync()
            for i in range(20):
                words, body = other.leaf_message()
                assert words[:2] == ["LMSG", "held.work"]
