"""What went wrong in nats-server once must not go wrong here: one test for each published advisory that applies.

docs/advisories.md lists them all, with the test or the reason why there is none. Where the genuine server can play
the same scene it does: it has the repairs, so a test it fails asks for too much.
"""
import json
import re
import socket
import ssl
import urllib.error
import urllib.request

import pytest

from frondtest import FakeHub, leaf_remote, wait_for
from frondtest.pki import Pki

HUGE = 9223372036854775807
INBOX = "_INBOX.advisory"


def ask(client, subject, body=b"", inbox=INBOX):
    """A request of a raw client; the payload of its answer, None when nobody is there."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    client.send(f"SUB {inbox} 77", f"PUB {subject} {inbox} {len(body)}", body)
    answer = client.message()
    client.send("UNSUB 77")
    return None if answer.headers.startswith(b"NATS/1.0 503") else answer.payload


def ask_json(client, subject, body=b""):
    answer = ask(client, subject, body)
    return None if answer is None else json.loads(answer)


def alive(server):
    with server.raw() as c:
        c.hello()


def heard(client, *subjects):
    """Publishes one after the other to these subjects and returns which of them the client was told."""
    client.send(*[line for s in subjects for line in (f"PUB {s} 1", "x")], "PUB the.end 1", "x", "SUB the.end 99")
    client.send("PUB the.end 1", "x")
    got = []
    while (m := client.message()).sid != "99":
        got.append(m.subject)
    client.send("UNSUB 99")
    return got


def users(*which):
    return "authorization { users: [\n" + "\n".join(which) + "\n] }\n"


# --- numbers that are too large -------------------------------------------------------------------


@pytest.mark.parametrize("line", [
    "PUB a 9223372036854775808", "PUB a 18446744073709551615", "PUB a 4294967296", "PUB a -1",
    "PUB a 99999999999999999999999999", "HPUB a 9223372036854775807 12", "HPUB a 12 9223372036854775808",
    "HPUB a -1 -1", "HPUB a 4294967297 4294967298"])
def test_cve_2019_13126_sizes_do_not_wrap_around(any_server, line):
    with any_server.raw() as c:
        c.hello()
        c.send(line, "x" * 100)
        c.expect_closed()
    alive(any_server)


@pytest.mark.parametrize("path", ["/connz", "/subsz?subs=1", "/jsz?streams=1", "/leafz", "/accountz", "/accstatz"])
@pytest.mark.parametrize("offset, limit", [(HUGE, HUGE), (HUGE, 1), (1, HUGE), (-HUGE - 1, HUGE), (HUGE - 1, 2)])
def test_secnote_2026_28_pages_of_monitoring_do_not_wrap_around(make, path, offset, limit):
    server = make("frond", jetstream=True)
    with server.raw() as c:
        c.hello()
        c.send("SUB a 1")
        c.sync()
        at = path + ("&" if "?" in path else "?") + f"offset={offset}&limit={limit}"
        assert isinstance(server.http(at), dict)
        c.sync()


def test_secnote_2026_28_pages_of_the_api_do_not_wrap_around(any_server):
    with any_server.raw() as c:
        c.hello()
        ask(c, "$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        ask(c, "s.a")
        for verb in ("STREAM.NAMES", "STREAM.LIST", "CONSUMER.NAMES.S", "CONSUMER.LIST.S", "STREAM.INFO.S"):
            for offset in (HUGE, HUGE - 1, -HUGE, -1):
                body = {"offset": offset, "subjects_filter": ">"} if "INFO" in verb else {"offset": offset}
                assert "type" in ask_json(c, f"$JS.API.{verb}", body)
        answer = ask(c, "$SYS.REQ.ACCOUNT.PING.CONNZ", {"offset": HUGE, "limit": HUGE})
        assert answer is None or json.loads(answer)
    alive(any_server)


@pytest.mark.parametrize("replicas", [-1, 0, 2, 5, 6, 1000000, HUGE])
def test_cve_2022_42708_odd_replica_counts_are_answered(any_server, replicas):
    with any_server.raw() as c:
        c.hello()
        name = f"R{abs(replicas)}"
        made = ask_json(c, f"$JS.API.STREAM.CREATE.{name}",
                        {"name": name, "subjects": [f"{name}.>"], "num_replicas": replicas})
        assert ("error" in made) == (replicas not in (0, -1)) or made["error"]["err_code"]
        ask(c, "$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        made = ask_json(c, "$JS.API.CONSUMER.CREATE.S.C", {
            "stream_name": "S", "config": {"name": "C", "ack_policy": "explicit", "num_replicas": replicas}})
        assert "type" in made
    alive(any_server)


# --- accounts and who is in them ------------------------------------------------------------------

TWO = """
accounts {
  A { jetstream: enabled, users: [{user: a, password: a}] }
  B { jetstream: enabled, users: [{user: b, password: b}] }
}
"""


@pytest.mark.parametrize("claim", [{"account": "B"}, {"account": "$SYS"}, {"account": "NEW", "new_account": True},
                                   {"account": "B", "new_account": True}, {"new_account": True, "account": "$G"}])
def test_cve_2022_24450_a_client_does_not_choose_its_account(make, site_kind, claim):
    server = make(site_kind, config=TWO)
    with server.raw() as b, server.raw() as c:
        b.hello(user="b", **{"pass": "b"})
        b.send("SUB > 1")
        b.sync()
        c.send("CONNECT " + json.dumps({"user": "a", "pass": "a", "verbose": False, **claim}), "PUB theirs 1", "x")
        assert "-ERR 'Authorization Violation'" in c.expect_closed()
        b.nothing()


def test_cve_2022_24450_nor_on_an_open_server(make, site_kind):
    server = make(site_kind)
    with server.raw() as c:
        c.send("CONNECT " + json.dumps({"account": "NEW", "new_account": True, "verbose": False}), "PING")
        lines = c.expect_closed()
        assert "PONG" not in lines


def test_cve_2023_47090_a_user_for_the_system_account_opens_no_door(make, site_kind):
    server = make(site_kind, monitor=False, config=users("{user: u, password: p}") +
                  "accounts { SYS { users: [{user: admin, password: secret}] } }\nsystem_account: SYS\n")
    for first in ("PING", 'CONNECT {"verbose":false}', 'CONNECT {"user":"","pass":"","verbose":false}'):
        with server.raw() as c:
            assert c.info.get("auth_required")
            c.send(first, "SUB > 1", "PING")
            assert "PONG" not in c.expect_closed()
    with server.raw() as c:
        c.hello(user="u", **{"pass": "p"})


def test_cve_2025_30215_administration_ends_at_the_account(make, site_kind):
    server = make(site_kind, jetstream=True, config=TWO)
    with server.raw() as a, server.raw() as b:
        a.hello(user="a", **{"pass": "a"})
        b.hello(user="b", **{"pass": "b"})
        ask(b, "$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        ask(b, "$JS.API.CONSUMER.CREATE.S.C", {"stream_name": "S", "config": {"durable_name": "C"}})
        assert json.loads(ask(b, "s.a", b"kept"))["seq"] == 1
        for verb in ("STREAM.DELETE.S", "STREAM.PURGE.S", "CONSUMER.DELETE.S.C", "STREAM.LEADER.STEPDOWN.S",
                     "CONSUMER.LEADER.STEPDOWN.S.C", "STREAM.PEER.REMOVE.S", "ACCOUNT.PURGE.B", "ACCOUNT.PURGE.$G",
                     "ACCOUNT.STREAM.MOVE.B.S", "ACCOUNT.STREAM.CANCEL_MOVE.B.S", "META.LEADER.STEPDOWN",
                     "SERVER.REMOVE", "STREAM.CANCEL_MOVE.S", "STREAM.EVACUATE.S"):
            a.send(f"PUB $JS.API.{verb} answers.a 0", "")
        ask(a, "$JS.API.INFO")  # all of them were read, and what they began goes before this
        info = ask_json(b, "$JS.API.STREAM.INFO.S")
        assert info["state"]["messages"] == 1 and info["state"]["consumer_count"] == 1
        assert ask_json(a, "$JS.API.STREAM.NAMES")["total"] == 0


# --- permissions ----------------------------------------------------------------------------------


def test_cve_2022_29946_a_queue_on_a_wildcard_does_not_hear_what_is_denied(make, site_kind):
    server = make(site_kind, monitor=False, config=users(
        "{user: all, password: p}", "{user: u, password: p, permissions: {subscribe: {allow: [\">\"], deny: [\"foo.no\"]}}}"))
    with server.raw() as c:
        c.hello(user="u", **{"pass": "p"})
        c.send("SUB foo.* q 1", "SUB foo.> 2", "SUB > q 3")
        c.sync()
        assert "foo.no" not in heard(c, "foo.no", "foo.yes", "foo.no")


def test_secnote_2026_17_a_wildcard_that_overlaps_a_denied_wildcard_is_filtered(make, site_kind):
    server = make(site_kind, monitor=False, config=users(
        "{user: u, password: p, permissions: {subscribe: {allow: [\">\"], deny: [\"a.*.no\", \"b.no.>\", \"*.c.no\"]}}}"))
    with server.raw() as c:
        c.hello(user="u", **{"pass": "p"})
        c.send("SUB a.x.* 1", "SUB a.x.> q 2", "SUB b.*.x 3", "SUB b.*.> q 4", "SUB *.*.no 5", "SUB z.*.> q 6")
        c.sync()
        got = heard(c, "a.x.no", "a.x.yes", "b.no.x", "b.yes.x", "z.c.no", "z.d.no", "a.x.no", "b.no.x", "z.c.no")
        assert set(got) == {"a.x.yes", "b.yes.x", "z.d.no"}


def test_secnote_2026_18_a_queue_name_that_is_not_denied_does_not_lift_the_subjects_denial(make, site_kind):
    server = make(site_kind, monitor=False, config=users(
        "{user: u, password: p, permissions: {subscribe: {allow: [\">\"], deny: [\"secret\", \"secret bad\", \"other worse\"]}}}"))
    with server.raw() as c:
        c.hello(user="u", **{"pass": "p"})
        for sub in ("secret 1", "secret good 2", "secret bad 3", "other worse 4"):
            c.send(f"SUB {sub}")
            c.expect(re.compile("-ERR 'Permissions Violation for Subscription"))
        c.send("SUB other 5", "SUB other good 6")
        assert set(heard(c, "secret", "other")) == {"other"}


def test_secnote_2026_24_the_default_user_is_bound_to_its_connection_types(make, site_kind):
    server = make(site_kind, monitor=False, config=users(
        "{user: web, password: p, allowed_connection_types: [\"WEBSOCKET\"]}", "{user: u, password: p}")
        + "no_auth_user: web\n")
    for first in ("PING", "SUB > 1", "PUB a 1\r\nx", 'CONNECT {"verbose":false}'):
        with server.raw() as c:
            c.send(first, "PING")
            assert "PONG" not in c.expect_closed()
    with server.raw() as c:
        c.hello(user="u", **{"pass": "p"})


def test_cve_2026_33249_a_trace_header_sends_nothing_anywhere(make):
    server = make("frond", config=users(
        "{user: all, password: p}", "{user: u, password: p, permissions: {publish: {allow: [\"ok\"]}}}"))
    with server.raw() as a, server.raw() as c:
        a.hello(user="all", **{"pass": "p"})
        a.send("SUB > 1")
        a.sync()
        c.hello(user="u", **{"pass": "p"})
        head = "NATS/1.0\r\nNats-Trace-Dest: forbidden\r\nNats-Trace-Only: true\r\n\r\n"
        c.send(f"HPUB ok {len(head)} {len(head) + 1}", head + "x")
        c.sync()
        assert a.message().subject == "ok"
        a.nothing()


def test_cve_2026_33249_nor_does_one_from_the_other_side_of_a_link(make):
    with FakeHub() as hub:
        site = make("frond", jetstream=True, remotes=[leaf_remote(hub.port)])
        link = hub.accept()
        link.greet()
        with site.raw() as c:
            c.hello()
            ask(c, "$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
            c.send("SUB > 1")
            c.sync()
            link.take_in()
            head = "NATS/1.0\r\nNats-Trace-Dest: forbidden\r\nNats-Trace-Only: true\r\n\r\n"
            link.send(f"HMSG s.a {len(head)} {len(head) + 1}", head + "x")
            subjects = []
            while "s.a" not in subjects:
                subjects.append(c.message().subject)
            assert "forbidden" not in subjects
            c.send("UNSUB 1")
            wait_for(lambda: ask_json(c, "$JS.API.STREAM.INFO.S")["state"]["messages"] == 1, 10, "it was stored")


# --- JetStream and files --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "a\\b", "/etc/x", "x\x00y", "a b", "*", ">"])
def test_cve_2022_26652_a_name_is_no_path(make, name):
    server = make("frond", jetstream=True)
    before = {p.name for p in server.directory.rglob("*")}
    with server.raw() as c:
        c.hello()
        made = ask_json(c, "$JS.API.STREAM.CREATE.X", {"name": name, "subjects": ["x.>"]})
        assert "error" in made
        ask(c, "$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        made = ask_json(c, "$JS.API.CONSUMER.CREATE.S", {"stream_name": "S", "config": {"durable_name": name}})
        assert "error" in made
    assert {p.name for p in server.directory.rglob("*")} - before <= {"data.mdb", "lock.mdb", "ballast"}


def test_cve_2026_33222_restore_makes_no_stream_under_any_name(make):
    server = make("frond", jetstream=True)
    with server.raw() as c:
        c.hello()
        ask(c, "$JS.API.STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["o.>"]})
        ask(c, "o.a", b"kept")
        answer = ask_json(c, "$JS.API.STREAM.RESTORE.MINE", {
            "config": {"name": "OTHER", "subjects": ["o.>"]}, "state": {"messages": 0}})
        assert "error" in answer
        assert ask_json(c, "$JS.API.STREAM.NAMES")["streams"] == ["OTHER"]
        assert ask_json(c, "$JS.API.STREAM.INFO.OTHER")["state"]["messages"] == 1


# --- before anybody is known ----------------------------------------------------------------------

TRUNCATED = ["U", "UA", "UAAAAAAA", "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF", "A" * 56, "U" + "=" * 55]


@pytest.mark.parametrize("key", TRUNCATED)
def test_secnote_2026_23_a_key_that_is_cut_short_is_refused(make, site_kind, key):
    user = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    server = make(site_kind, monitor=False, config=users("{nkey: %s}" % user))
    for claim in ({"nkey": key, "sig": "AAAA"}, {"nkey": user, "sig": key}, {"nkey": user, "sig": "A" * 86},
                  {"jwt": f"e30.{key}.{key}", "sig": "AAAA"}, {"jwt": key, "nkey": key}):
        with server.raw() as c:
            c.send("CONNECT " + json.dumps({"verbose": False, **claim}), "PING")
            assert "PONG" not in c.expect_closed()
    with server.raw():
        pass


EARLY = {
    "double INFO": lambda link: link.send(link.info_line(compression="s2_fast"), link.info_line(compression="s2_fast")),
    "INFO upon INFO": lambda link: [link.send(link.info_line(), link.info_line(connect_info=True, compression="off"),
                                              link.info_line(connect_info=True)) for _ in range(3)],
    "interest first": lambda link: link.send("LS+ foo", "LS+ bar q 3", "LS- foo"),
    "a message first": lambda link: link.send("LMSG foo 3", "abc", "HMSG foo 12 12", "NATS/1.0\r\n\r\n"),
    "a loop before all": lambda link: link.send("-ERR 'Loop detected'"),
    "a version before all": lambda link: link.send("-ERR 'minimum version required'"),
    "PING and PONG": lambda link: link.send("PONG", "PING", "PONG", "+OK"),
    "not JSON": lambda link: link.send("INFO {", "INFO []", "INFO null"),
    "a client's words": lambda link: link.send("CONNECT {}", "SUB a 1", "PUB a 1", "x"),
    "an empty account": lambda link: link.send(link.info_line(connect_info=True, remote_account="", nonce=None)),
}


@pytest.mark.parametrize("what", EARLY)
def test_cve_2026_29785_and_33218_words_before_the_handshake_harm_nobody(make, what):
    """Also secnote 2026-19. There the listener crashed; we dial, so the stranger is who we dialled."""
    with FakeHub() as hub:
        site = make("frond", remotes=[leaf_remote(hub.port)])
        with site.raw() as c:
            c.hello()
            link = hub.accept()
            EARLY[what](link)
            c.sync()
            link.close()
            if "loop" not in what:  # which is met with a long rest
                hub.join()  # it dials again and a proper handshake works
                site.wait_linked()
            c.sync()


# --- what is shown, and over which cipher ---------------------------------------------------------


def test_cve_2026_33247_credentials_of_the_command_line_are_not_shown(make):
    server = make("frond", jetstream=True, flags=["--user", "someone", "--pass", "hunter2hunter2"])
    with server.raw() as c:
        c.hello(user="someone", **{"pass": "hunter2hunter2"})
        for path in ("/varz", "/connz?subs=1&auth=1", "/accountz?acc=$G", "/jsz?config=1", "/debug/vars", "/debug/pprof/cmdline",
                     "/stacksz", "/", "/subsz?subs=1", "/healthz?details=1"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=5) as page:
                    said = page.read()
            except urllib.error.HTTPError as e:
                said = e.read()
            assert b"hunter2" not in said, path
    with open(f"/proc/{server.pid}/cmdline", "rb") as f:
        assert b"hunter2" not in f.read()
    assert "hunter2" not in server.log()


def test_cve_2026_33248_certificates_that_would_be_users_are_not_taken_for_doors(make, tmp_path):
    """verify_and_map is not there: a user without a password must not be anybody's who has some certificate."""
    pki = Pki(tmp_path / "pki")
    cert, key = pki.cert("server")
    server = make("frond", start=False, monitor=False, config=(
        f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{pki.ca}", verify_and_map: true }}\n'
        + users('{user: "CN=alice"}')))
    server.start(wait=False)
    wait_for(lambda: not server.running, 30, "it refuses to start")
    assert "verify_and_map" in server.log() and server.process.returncode == 1


def takes(server, pki, cipher):
    """Does it speak TLS 1.2 with that cipher?"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher + ":@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        assert sock.recv(4096).startswith(b"INFO ")
        try:
            with context.wrap_socket(sock, server_hostname="localhost"):
                return True
        except (ssl.SSLError, ConnectionError):
            return False


def test_cve_2021_32026_tls_of_the_command_line_takes_no_other_ciphers(make, site_kind, tmp_path):
    pki = Pki(tmp_path / "pki")
    cert, key = pki.cert("server")
    by_file = make(site_kind, monitor=False, config=f'tls {{ cert_file: "{cert}", key_file: "{key}" }}\n')
    by_flags = make(site_kind, monitor=False, flags=["--tls", "--tlscert", str(cert), "--tlskey", str(key)])
    for cipher in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-CAMELLIA128-SHA256", "AES128-SHA"):
        assert takes(by_flags, pki, cipher) == takes(by_file, pki, cipher), cipher
    assert takes(by_flags, pki, "ECDHE-ECDSA-AES128-GCM-SHA256")
    for cipher in ("ECDHE-ECDSA-NULL-SHA", "ADH-AES128-SHA256"):
        assert not takes(by_flags, pki, cipher), cipher
