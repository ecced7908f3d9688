"""Who we say we are on a link, and how it is hidden. Numbers: see test_leaf_handshake.py."""
import json

import pytest

from frondtest import leaf_remote, leafs, wait_for
from frondtest.operator import Operator, nkey_user
from frondtest.pki import Pki

ACCOUNTS = """
accounts {
  A { users: [{user: a, password: pa}] }
  B { users: [{user: b, password: "p b%"}] }
}
"""


def the_connect(link, connection=1):
    wait_for(lambda: link.saw("up", rb"CONNECT \{"), 5, "a CONNECT")
    line = next(line for line in link.lines("up", connection) if line.startswith(b"CONNECT "))
    return json.loads(line[8:])


@pytest.fixture
def scene(make, make_relay, site_kind):
    """scene(hub={…}, remote={…}) → hub, relay, site."""
    def build(hub=None, remote=None, site=None):
        the_hub = make("nats-server", name="hub", leaf_listen=True, **(hub or {}))
        link = make_relay(the_hub.leaf_port)
        the_site = make(site_kind, name="site", remotes=[leaf_remote(link.port, **(remote or {}))],
                        **(site or {}))
        return the_hub, link, the_site

    return build


def refused(site, link):
    site.wait_log("Authorization Violation")
    wait_for(lambda: link.accepted >= 2, 10, "another try")
    assert site.links() == 0


def test_user_and_password_choose_the_account(scene):
    """16"""
    hub, link, site = scene({"config": ACCOUNTS}, {"user": "b", "password": "p%20b%25"})
    site.wait_linked()
    connect = the_connect(link)
    assert (connect["user"], connect["pass"]) == ("b", "p b%") and "auth_token" not in connect
    assert leafs(hub)[0]["account"] == "B"


def test_a_wrong_password_is_refused_and_tried_again(scene):
    """16"""
    _, link, site = scene({"config": ACCOUNTS}, {"user": "b", "password": "wrong"})
    refused(site, link)


def test_an_anonymous_site_is_refused_where_users_are_needed(scene):
    """16"""
    _, link, site = scene({"config": ACCOUNTS})
    refused(site, link)


def test_a_token(scene):
    """18"""
    hub, link, site = scene({"config": "authorization { token: s3cr3t }"})
    site.stop()
    site.remotes[0]["url"] = f"nats-leaf://s3cr3t@127.0.0.1:{link.port}"
    site.start()
    site.wait_linked()
    connect = the_connect(link, connection=link.accepted)
    assert connect["user"] == connect["auth_token"] == "s3cr3t" and "pass" not in connect


def test_an_nkey(scene):
    """18, 19: the nonce, signed."""
    public, seed = nkey_user()
    _, link, site = scene({"config": "accounts { A { users: [{nkey: %s}] } }" % public}, {"nkey": seed})
    site.wait_linked()
    connect = the_connect(link)
    assert connect["nkey"] == public and len(connect["sig"]) == 86 and "jwt" not in connect


def test_a_wrong_nkey_is_refused(scene):
    """18"""
    public, _ = nkey_user()
    _, link, site = scene({"config": "accounts { A { users: [{nkey: %s}] } }" % public},
                          {"nkey": nkey_user()[1]})
    refused(site, link)


@pytest.mark.parametrize("shape", ["plain", "crlf", "bare"])
def test_creds_at_a_hub_in_operator_mode(scene, tmp_path, shape):
    """18: JWT and signature from a credentials file, in several spellings."""
    operator = Operator()
    account = operator.account("A")
    user = account.user("leaf")
    text = {"plain": user.creds, "crlf": user.creds.replace("\n", "\r\n"),
            "bare": f"---a---\n{user.jwt}\n---b---\n---c---\n{user.seed}\n---d---\n"}[shape]
    creds = tmp_path / "leaf.creds"
    creds.write_bytes(text.encode())
    hub, link, site = scene({"config": operator.config()}, {"credentials": str(creds)})
    site.wait_linked()
    connect = the_connect(link)
    assert connect["jwt"] == user.jwt and "nkey" not in connect and "user" not in connect
    assert leafs(hub)[0]["account"] == account.id
    with site.raw() as c:
        c.hello()
        c.send("SUB x 1")
        c.sync()
        wait_for(lambda: "x" in leafs(hub)[0]["subscriptions_list"], 5, "interest")


def test_creds_are_read_at_every_connect(scene, tmp_path):
    """18: a file that is put right lets us in without a restart."""
    operator = Operator()
    user = operator.account("A").user("leaf")
    stranger = Operator().account("A").user("leaf")
    creds = tmp_path / "leaf.creds"
    creds.write_text(stranger.creds)
    _, link, site = scene({"config": operator.config()}, {"credentials": str(creds)})
    refused(site, link)
    creds.write_text(user.creds)
    site.wait_linked()


def test_an_account_that_is_not_there(make, site_kind):
    """35: a static configuration that names no such account is refused at the start."""
    site = make(site_kind, name="site", start=False, remotes=[leaf_remote(1, account="NOWHERE")])
    site.start(wait=False)
    wait_for(lambda: not site.running, 10, "the end")
    assert site.process.returncode == 1 and "NOWHERE" in site.log()


# -- TLS --

@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


def tls(cert_key, *more):
    cert, key = cert_key
    return "tls {\n" + f'cert_file: "{cert}"\nkey_file: "{key}"\n' + "\n".join(more) + "\n}"


def encrypted(link):
    """Nothing but INFO is readable on the wire."""
    assert not link.saw("up", rb"CONNECT") and not link.saw("down", rb"LS\+")
    assert link.bytes("up", link.accepted)[:1] == b"\x16"


def test_tls_with_an_authority(scene, pki):
    """20: the hub's certificate against a CA."""
    hub, link, site = scene({"leaf": tls(pki.cert("hub"))}, {"tls": {"ca_file": str(pki.ca)}})
    site.wait_linked()
    hub.wait_linked()
    encrypted(link)
    with site.raw() as c, hub.raw() as h:
        c.hello()
        h.hello()
        c.send("SUB big 1")
        c.sync()
        wait_for(lambda: "big" in leafs(hub)[0]["subscriptions_list"], 5, "interest")
        h.send("PUB big 300000", "x" * 300000)
        assert c.message().payload == b"x" * 300000


def test_tls_before_info(scene, pki):
    """handshake_first on both sides."""
    hub, link, site = scene({"leaf": tls(pki.cert("hub"), "handshake_first: true")},
                            {"tls": {"ca_file": str(pki.ca), "handshake_first": True}})
    site.wait_linked()
    hub.wait_linked()
    assert link.bytes("up", link.accepted)[:1] == b"\x16" == link.bytes("down", link.accepted)[:1]


def test_tls_with_a_client_certificate(scene, pki):
    """20"""
    cert, key = pki.cert("site")
    hub, link, site = scene(
        {"leaf": tls(pki.cert("hub"), f'ca_file: "{pki.ca}"', "verify: true")},
        {"tls": {"ca_file": str(pki.ca), "cert_file": str(cert), "key_file": str(key)}})
    hub.wait_linked()
    site.wait_linked()
    encrypted(link)


def test_a_renewed_client_certificate_is_taken_at_a_reload(scene, pki, tmp_path):
    """The files of a remote's tls block are read again, too."""
    old = Pki(tmp_path / "old").cert("site")  # nobody knows that authority
    hub, link, site = scene(
        {"leaf": tls(pki.cert("hub"), f'ca_file: "{pki.ca}"', "verify: true")},
        {"tls": {"ca_file": str(pki.ca), "cert_file": str(old[0]), "key_file": str(old[1])}})
    wait_for(lambda: link.accepted >= 2, 10, "another try")
    assert hub.links() == 0
    for ours, renewed in zip(old, pki.cert("site")):
        ours.write_bytes(renewed.read_bytes())
    site.reload()
    hub.wait_linked()
    site.wait_linked()


def test_tls_without_the_client_certificate_that_is_asked_for(scene, pki):
    """20: refused, tried again."""
    hub, link, site = scene(
        {"leaf": tls(pki.cert("hub"), f'ca_file: "{pki.ca}"', "verify: true")},
        {"tls": {"ca_file": str(pki.ca)}})
    wait_for(lambda: link.accepted >= 3, 10, "more tries")
    assert hub.links() == 0


def test_a_certificate_of_somebody_else_is_refused(scene, pki, tmp_path):
    """20: another authority."""
    other = Pki(tmp_path / "other")
    hub, link, site = scene({"leaf": tls(pki.cert("hub"))}, {"tls": {"ca_file": str(other.ca)}})
    wait_for(lambda: link.accepted >= 3, 10, "more tries")
    site.wait_log("(?i)certificate")
    assert hub.links() == 0 and site.links() == 0


def test_a_certificate_for_another_name_is_refused(scene, pki):
    """20, 21: the address is checked."""
    hub, link, site = scene({"leaf": tls(pki.cert("hub", alt="DNS:elsewhere.example"))},
                            {"tls": {"ca_file": str(pki.ca)}})
    wait_for(lambda: link.accepted >= 3, 10, "more tries")
    assert hub.links() == 0


def test_insecure_takes_any_certificate(scene, pki):
    """20"""
    hub, _, site = scene({"leaf": tls(pki.cert("hub", alt="DNS:elsewhere.example"))},
                         {"tls": {"insecure": True}})
    hub.wait_linked()


def test_a_remote_without_a_tls_block_still_goes_over_to_tls(scene, pki):
    """20: with the system's roots; SSL_CERT_FILE names ours."""
    hub, link, site = scene({"leaf": tls(pki.cert("hub"))}, site={"env": {"SSL_CERT_FILE": str(pki.ca)}})
    hub.wait_linked()
    site.wait_linked()
    encrypted(link)


def test_a_gossiped_address_is_checked_against_the_name(make, make_relay, site_kind, pki):
    """21: the URL has a name, gossip has a bare address, the certificate has only the name."""
    hub = make("nats-server", name="hub", leaf_listen=True,
               leaf=tls(pki.cert("hub", alt="DNS:localhost")))
    link = make_relay(hub.leaf_port)
    remote = leaf_remote(link.port, ignore_discovered_servers=False, tls={"ca_file": str(pki.ca)})
    remote["url"] = f"tls://localhost:{link.port}"
    site = make(site_kind, name="site", remotes=[remote])
    hub.wait_linked()
    link.cut()
    wait_for(lambda: hub.links() == 0, 5, "the cut")
    hub.wait_linked()
    site.wait_linked()
    assert link.connections == 0
