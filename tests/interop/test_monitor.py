"""Monitoring: the same questions to Frond and to the genuine server, after the same conversation.

Answers must have the same members, in the same order, of the same types; where a value does not depend
on chance it must be the same, too. What Frond leaves out or adds is listed here, with its reason.
"""
import urllib.error
import urllib.request

import pytest

from frondtest import wait_for, wait_knows

# path of a member: why it may be missing on one side
ALLOWED = {
    "/varz": {"feature_flags": "options of the reference's own code", "frond": "ours"},
    "/leafz": {"leafs[].rtt": "known with the first PONG"},
    "/leafz?subs=1": {"leafs[].rtt": "known with the first PONG"},
    **{q: {"connections[].rtt": "of a link: known with the first PONG"} for q in
       ("/connz", "/connz?auth=1&subs=1", "/connz?subs=detail&sort=cid")},
    "/accountz?acc=$G": {"account_detail.mappings": "not listed", "account_detail.imports": "system services"},
}
QUESTIONS = ["/varz", "/connz", "/connz?auth=1&subs=1", "/connz?subs=detail&sort=cid", "/connz?state=closed&sort=stop",
             "/leafz", "/leafz?subs=1", "/subsz", "/subsz?subs=1&test=orders.new", "/accountz", "/accountz?acc=$G",
             "/accstatz", "/accstatz?unused=1", "/jsz", "/jsz?accounts=1", "/jsz?streams=1",
             "/jsz?streams=1&consumers=1&config=1", "/healthz", "/healthz?details=1", "/routez", "/gatewayz"]
COMPLAINTS = ["/connz?subs=abc", "/connz?limit=x", "/connz?cid=x", "/connz?sort=foo", "/connz?sort=stop",
              "/connz?state=foo", "/accountz?acc=zz", "/subsz?test=foo.*", "/nowhere", "/healthz?stream=x",
              "/healthz?account=$G&stream=x", "/healthz?account=$G&stream=x&details=1",
              "/healthz?account=zz&stream=x", "/healthz?account=$G&stream=ORDERS&consumer=x",
              "/healthz?consumer=x&account=$G"]
SAME = {"version", "proto", "kind", "type", "num_connections", "offset", "limit", "is_spoke",
        "account", "streams", "consumers", "messages", "status", "ping_interval", "ping_max", "max_payload",
        "max_control_line", "max_pending", "max_connections", "write_deadline", "tls_timeout", "auth_timeout",
        "qgroup", "lang", "reason", "connections", "jetstream_enabled", "client_connections",
        "leafnode_connections", "num_routes", "expired", "complete", "retention", "ack_policy", "num_pending",
        "in_client_msgs", "in_client_bytes", "stream_name", "routes", "remotes", "slow_consumers"}


def ask(server, path):
    """status, content type, body"""
    url = f"http://127.0.0.1:{server.http_port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as r:
            return r.status, r.headers["Content-Type"], r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers["Content-Type"], e.read().decode()


def converse(scene):
    """The same traffic, so that there is something to look at."""
    with scene.hub.raw() as h:
        h.hello()
        h.send("SUB far.away 1")
        h.sync()
        wait_for(lambda: "far.away" in ask(scene.site, "/leafz?subs=1")[2], 5, "the hub's interest")
        with scene.site.raw() as gone:
            gone.hello()
            gone.sync()
        js = scene.site.raw()
        js.hello(headers=True, name="till", lang="C", version="9")
        js.send("SUB orders.* q 7")
        js.send("SUB R.* 8")
        for subject, body in [("$JS.API.STREAM.CREATE.ORDERS", '{"name":"ORDERS","subjects":["orders.>"]}'),
                              ("$JS.API.CONSUMER.CREATE.ORDERS.c1",
                               '{"stream_name":"ORDERS","config":{"name":"c1","durable_name":"c1","ack_policy":"explicit"}}'),
                              ("orders.1", "hello")]:
            js.send(f"PUB {subject} R.1 {len(body)}", body)
            wanted = {"7", "8"} if subject == "orders.1" else {"8"}  # its own "orders.1", before or after the ack
            while wanted:
                wanted.discard(js.message().sid)
        js.sync()
        wait_for(lambda: '"Client Closed"' in ask(scene.site, "/connz?state=closed")[2], 5, "the closed one")
        return js


def shape(frond, genuine, path, allowed, trouble):
    """Collects what differs."""
    if type(frond) is not type(genuine) and not {type(frond), type(genuine)} <= {int, float}:
        trouble.append(f"{path}: {frond!r} instead of {genuine!r}")
    elif isinstance(genuine, dict):
        mine = [k for k in frond if f"{path}.{k}".lstrip(".") not in allowed]
        theirs = [k for k in genuine if f"{path}.{k}".lstrip(".") not in allowed]
        if mine != theirs:
            lacks, adds = [k for k in theirs if k not in mine], [k for k in mine if k not in theirs]
            trouble.append(f"{path}: lacks {lacks}, adds {adds}" if lacks or adds else f"{path}: order {mine} {theirs}")
        for k in theirs:
            if k in frond:
                shape(frond[k], genuine[k], f"{path}.{k}".lstrip("."), allowed, trouble)
    elif isinstance(genuine, list):
        if genuine and frond:
            shape(frond[0], genuine[0], path + "[]", allowed, trouble)
        elif bool(genuine) != bool(frond):
            trouble.append(f"{path}: {len(frond)} instead of {len(genuine)} elements")
    elif path.split(".")[-1].rstrip("[]") in SAME and frond != genuine:
        trouble.append(f"{path}: {frond!r} instead of {genuine!r}")


@pytest.fixture
def both(pair):
    scenes = [pair("frond", hub={"name": "hub-f"}, site={"name": "site-f"}),
              pair("nats-server", hub={"name": "hub-n"}, site={"name": "site-n"})]
    raws = [converse(scene) for scene in scenes]
    yield scenes
    for raw in raws:
        raw.close()


def test_answers_have_the_members_of_the_genuine_ones(both):
    trouble = []
    for path in QUESTIONS:
        allowed = ALLOWED.get(path, {})
        answers = [scene.site.http(path) for scene in both]
        found = []
        shape(*answers, "", allowed, found)
        trouble += [f"{path} {line}" for line in found]
    assert not trouble, "\n".join(trouble)


def test_complaints_are_the_genuine_ones(both):
    trouble = []
    for path in COMPLAINTS:
        mine, theirs = (ask(scene.site, path) for scene in both)
        if mine != theirs:
            trouble.append(f"{path}\n  {mine}\n  {theirs}")
    assert not trouble, "\n".join(trouble)


def flow(server):
    """varz: in and out, of all and of clients; accstatz: of links."""
    varz = server.http("/varz")
    (account,) = [a for a in server.http("/accstatz")["account_statz"] if a["acc"] == "$G"]
    return ([varz[k] for k in ("in_msgs", "out_msgs", "in_client_msgs", "out_client_msgs")] +
            [account[k]["leafs"]["msgs"] for k in ("received", "sent")])


def test_what_a_link_carries_is_counted_once_and_stays_counted(pair, site_kind):
    """Whoever draws a curve of these sees no step when the link comes back."""
    plain = {"jetstream": False, "domain": None}
    scene = pair(site_kind, hub=plain, site=plain)
    wanted = [13, 13, 3, 10, 10, 3]
    with scene.site.raw() as s:
        s.hello()
        s.send("SUB a 1")
        s.sync()
        with scene.hub.raw() as h:
            h.hello()
            h.send("SUB b 1")
            h.sync()
            wait_knows(scene.hub, "a")
            wait_knows(scene.site, "b")
            h.send(*["PUB a 1\r\nx"] * 10)
            s.send(*["PUB b 1\r\nx"] * 3)
            wait_for(lambda: flow(scene.site) == wanted, 10, "the messages, counted")
        scene.hub.restart()
        scene.site.wait_linked()
        assert flow(scene.site) == wanted
