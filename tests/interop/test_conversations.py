"""Conversations in the client protocol, word by word, the same with Frond and with the genuine server.

    A> line      A sends the line and CR LF (\\r \\n \\t and \\xNN are escapes; a line that ends in \\ gets no CR LF)
    A< line      the next line A gets is exactly this (INFO and PING aside)
    A- nothing   A gets nothing more: a PING of its own is answered by PONG next
    A| closed    A's connection is closed, and nothing comes before

A client that speaks first with CONNECT says its own; others are introduced with headers, echo and no_responders.
"""
import re

import pytest

from frondtest import Raw

LONG = "s" * 4090

CONVERSATIONS = {
    "plain publish and subscribe": ("", """
        A> SUB foo 1
        B> SUB > x7
        B- nothing
        A- nothing
        A> PUB foo 5
        A> hello
        A< MSG foo 1 5
        A< hello
        B< MSG foo x7 5
        B< hello
        A> PUB foo _INBOX.1 0
        A>
        A< MSG foo 1 _INBOX.1 0
        A<
        B< MSG foo x7 _INBOX.1 0
        B<
    """),
    "verbs in any case, blanks and tabs, bare line feeds": ("", """
        A> sUb \\t foo \\t 1  \\n\\
        A> pub  foo\\t2 \\r\\nhi
        A< MSG foo 1 2
        A< hi
        A> pingxyz
        A< PONG
    """),
    "verbose says OK before it delivers": ("", """
        A> CONNECT {"verbose":true,"pedantic":false}
        A< +OK
        A> SUB foo 1
        A< +OK
        A> SUB foo 1
        A< +OK
        A> PUB foo 1
        A> x
        A< +OK
        A< MSG foo 1 1
        A< x
        A> UNSUB 1
        A< +OK
        A> UNSUB nope
        A< +OK
        A> PING
        A< PONG
    """),
    "connect without words leaves verbose and pedantic on": ("", """
        A> CONNECT {}
        A< +OK
        A> PUB foo.* 0\\r\\n
        A< -ERR 'Invalid Publish Subject'
        A< +OK
    """),
    "wildcards in a published subject are text": ("", """
        A> SUB foo.* 1
        A> SUB foo.bar 2
        A> SUB foo.> 3
        A- nothing
        A> UNSUB 3
        A> PUB foo.* 1
        A> x
        A< MSG foo.* 1 1
        A< x
        A> PUB foo..bar 1
        A> x
        A- nothing
    """),
    "a second connect drops the subscriptions": ("", """
        A> SUB foo 1
        A> CONNECT {"verbose":false,"pedantic":false}
        A> PUB foo 1
        A> x
        A- nothing
    """),
    "unsub after a maximum counts from the creation": ("", """
        A> SUB foo 1
        A> PUB foo 1
        A> 1
        A< MSG foo 1 1
        A< 1
        A> UNSUB 1 2
        A> PUB foo 1
        A> 2
        A> PUB foo 1
        A> 3
        A< MSG foo 1 1
        A< 2
        A- nothing
        A> SUB foo 2
        A> PUB foo 1
        A> 4
        A< MSG foo 2 1
        A< 4
        A> UNSUB 2 1
        A> PUB foo 1
        A> 5
        A- nothing
    """),
    "echo off: own messages stay away, others come": ("", """
        A> CONNECT {"verbose":false,"pedantic":false,"echo":false}
        A> SUB foo 1
        A> PUB foo 1
        A> x
        A- nothing
        B> PUB foo 1
        B> y
        A< MSG foo 1 1
        A< y
    """),
    "header blocks arrive byte by byte": ("", """
        A> SUB foo 1
        A- nothing
        B> CONNECT {"verbose":false,"pedantic":false}
        B> SUB foo 1
        B- nothing
        A> HPUB foo re 20 22
        A> NATS/1.0
        A> a:   b
        A>
        A> hi
        A< HMSG foo 1 re 20 22
        A< NATS/1.0
        A< a:   b
        A<
        A< hi
        B< MSG foo 1 re 2
        B< hi
    """),
    "headers without support close": ("", """
        A> CONNECT {"verbose":false}
        A> HPUB foo 12 12
        A> NATS/1.0
        A>
        A>
        A| closed
    """),
    "no responders": ("", """
        A> SUB R.* 9
        A> PUB nobody.here R.1 2
        A> hi
        A< HMSG R.1 9 43 43
        A< NATS/1.0 503
        A< Nats-Subject: nobody.here
        A<
        A<
        A> UNSUB 9
        A> SUB R.* g 10
        A> PUB nobody.here R.1 0
        A>
        A- nothing
    """),
    "no responders needs headers": ("", """
        A> CONNECT {"verbose":false,"no_responders":true}
        A< -ERR 'no responders requires headers support'
        A| closed
    """),
    "unknown protocol numbers": ("", """
        A> CONNECT {"verbose":false,"protocol":2}
        A< -ERR 'invalid client protocol'
        A| closed
    """),
    "connect with a value of the wrong type": ("", """
        A> CONNECT {"verbose":"yes"}
        A| closed
    """),
    "unknown words": ("", """
        A> NOPE
        A< -ERR 'Unknown Protocol Operation'
        A| closed
    """),
    "blank lines": ("", """
        A> \\
        A>
        A< -ERR 'Unknown Protocol Operation'
        A| closed
    """),
    "server words from a client": ("", """
        A> MSG foo 1 1
        A< -ERR 'Unknown Protocol Operation'
        A| closed
    """),
    "a payload must end with CR LF": ("", """
        A> PUB foo 2
        A> hello
        A< -ERR 'Unknown Protocol Operation'
        A| closed
    """),
    "wrong numbers of arguments close in silence": ("", """
        A> PUB foo
        A| closed
        B> SUB foo
        B| closed
        C> UNSUB
        C< -ERR 'Unknown Protocol Operation'
        C| closed
    """),
    "wrong sizes close in silence": ("", """
        A> PUB foo -1
        A| closed
        B> PUB foo 12345678901
        B| closed
        C> HPUB foo 20 10
        C| closed
    """),
    "invalid subjects": ("", """
        A> SUB foo..bar 1
        A< -ERR 'Invalid Subject'
        A> SUB foo.>.bar 1
        A< -ERR 'Invalid Subject'
        A> SUB .foo 1
        A< -ERR 'Invalid Subject'
        A> SUB foo* 1
        A> PUB foo* 0
        A>
        A< MSG foo* 1 0
        A<
    """),
    "the reserved queue name": ("", """
        A> SUB foo _sys_ 1
        A< -ERR 'Permissions Violation for Subscription to "foo" using queue "_sys_"'
        A- nothing
    """),
    "replies in reserved spaces": ("", """
        A> PUB foo _R_.1 0
        A>
        A< -ERR 'Permissions Violation for Publish with Reply of "_R_.1"'
        A> PUB foo $JS.ACK.x 0
        A>
        A< -ERR 'Permissions Violation for Publish with Reply of "$JS.ACK.x"'
        A> PUB $NRG.x 0
        A>
        A< -ERR 'Permissions Violation for Publish to "$NRG.x"'
        A- nothing
    """),
    "control lines have a limit": ("", f"""
        A> SUB {LONG} 1234
        A- nothing
        A> SUB {LONG} 123456
        A< -ERR 'maximum control line exceeded'
        A| closed
        B> SUB {LONG}{LONG}\\
        B< -ERR 'maximum control line exceeded'
        B| closed
    """),
    "payloads have a limit": ("max_payload: 8", """
        A> PUB foo 8
        A> 12345678
        A> PUB foo 9
        A< -ERR 'Maximum Payload Violation'
        A| closed
    """),
    "subscriptions have a limit": ("max_subscriptions: 2", """
        A> SUB foo 1
        A> SUB bar 2
        A> SUB baz 3
        A< -ERR 'maximum subscriptions exceeded'
        A- nothing
    """),
    "connections have a limit": ("max_connections: 1", """
        A- nothing
        B> PING
        B< -ERR 'maximum connections exceeded'
        B| closed
    """),
    "too many tokens": ("max_subscription_tokens: 3", """
        A> SUB a.b.c 1
        A> SUB a.b.c.d 2
        A< -ERR 'Permissions Violation for Subscription to "a.b.c.d", too many tokens'
        A- nothing
    """),
    "nothing before connect where a user is asked for": ("authorization { user: u, password: p }", """
        A! PING
        A< -ERR 'Authorization Violation'
        A| closed
    """),
    "user and password": ("authorization { user: u, password: p }", """
        A> CONNECT {"verbose":false,"user":"u","pass":"p"}
        A- nothing
        B> CONNECT {"verbose":false,"user":"u","pass":"x"}
        B< -ERR 'Authorization Violation'
        B| closed
        C> CONNECT {"verbose":false,"user":"x","pass":"p"}
        C< -ERR 'Authorization Violation'
        C| closed
        D> CONNECT {"verbose":false}
        D< -ERR 'Authorization Violation'
        D| closed
    """),
    "token": ("authorization { token: t0k3n }", """
        A> CONNECT {"verbose":false,"auth_token":"t0k3n"}
        A- nothing
        B> CONNECT {"verbose":false,"auth_token":"t"}
        B< -ERR 'Authorization Violation'
        B| closed
    """),
    "a bcrypt password": (
        'authorization { user: u, password: "$2a$04$jfHY7IOkS61SU2RJUC4IEeecSaTc9PUk8DO2ogyDBYL4RrgNuh1wi" }', """
        A> CONNECT {"verbose":false,"user":"u","pass":"wrong"}
        A< -ERR 'Authorization Violation'
        A| closed
    """),
    "the account key": ("", """
        A> CONNECT {"verbose":false,"account":"x"}
        A< -ERR 'Authorization Violation'
        A| closed
    """),
    "permissions to publish and to subscribe": ("""
        authorization { users: [ { user: u, password: p, permissions: {
            publish: { allow: ["a.>", "_INBOX.>"], deny: "a.no" }, subscribe: { allow: ["a.>", "q g"], deny: "a.not" } } } ] }""", """
        A> CONNECT {"verbose":false,"user":"u","pass":"p","pedantic":false}
        A> SUB b 1
        A< -ERR 'Permissions Violation for Subscription to "b"'
        A> SUB q 2
        A< -ERR 'Permissions Violation for Subscription to "q"'
        A> SUB q g 3
        A> SUB q h 4
        A< -ERR 'Permissions Violation for Subscription to "q" using queue "h"'
        A> PUB b 0
        A>
        A< -ERR 'Permissions Violation for Publish to "b"'
        A> PUB a.no 0
        A>
        A< -ERR 'Permissions Violation for Publish to "a.no"'
        A> SUB a.* 5
        A> PUB a.yes 0
        A>
        A< MSG a.yes 5 0
        A<
        A- nothing
    """),
    "a wildcard that overlaps a denied subject is filtered": ("""
        authorization { users: [ { user: u, password: p, permissions: { subscribe: { deny: "a.secret" } } },
                                 { user: v, password: p } ] }""", """
        A> CONNECT {"verbose":false,"user":"u","pass":"p"}
        A> SUB a.* 1
        A> SUB a.secret 2
        A< -ERR 'Permissions Violation for Subscription to "a.secret"'
        A- nothing
        B> CONNECT {"verbose":false,"user":"v","pass":"p"}
        B> PUB a.secret 0
        B>
        B> PUB a.b 0
        B>
        A< MSG a.b 1 0
        A<
        A- nothing
    """),
    "responses are allowed as often as said": ("""
        authorization { users: [ { user: u, password: p, permissions: { publish: { allow: "none" }, subscribe: ">",
                                   allow_responses: { max: 2, expires: "1m" } } }, { user: v, password: p } ] }""", """
        A> CONNECT {"verbose":false,"user":"u","pass":"p"}
        A> SUB svc 1
        A- nothing
        B> CONNECT {"verbose":false,"user":"v","pass":"p"}
        B> SUB r.1 1
        B> PUB svc r.1 0
        B>
        A< MSG svc 1 r.1 0
        A<
        A> PUB r.1 1
        A> 1
        A> PUB r.1 1
        A> 2
        A> PUB r.1 1
        A> 3
        A< -ERR 'Permissions Violation for Publish to "r.1"'
        A> PUB r.2 1
        A> 3
        A< -ERR 'Permissions Violation for Publish to "r.2"'
        B< MSG r.1 1 1
        B< 1
        B< MSG r.1 1 1
        B< 2
        B- nothing
    """),
    "accounts keep apart": ("""
        accounts { X: { users: [ { user: x, password: p } ] }, Y: { users: [ { user: y, password: p } ] } }""", """
        A> CONNECT {"verbose":false,"user":"x","pass":"p"}
        A> SUB > 1
        A- nothing
        B> CONNECT {"verbose":false,"user":"y","pass":"p"}
        B> PUB foo 0
        B>
        B- nothing
        A- nothing
    """),
    "no_auth_user comes in without a word": ("""
        authorization { users: [ { user: guest, password: p, permissions: { publish: "ok" } }, { user: u, password: p } ] }
        no_auth_user: guest""", """
        A! PING
        A< PONG
        A> PUB ok 0
        A>
        A< +OK
        A> PUB no 0
        A>
        A< -ERR 'Permissions Violation for Publish to "no"'
        B> CONNECT {"verbose":false,"user":"u","pass":"wrong"}
        B< -ERR 'Authorization Violation'
        B| closed
    """),
    "authentication has a time": ("authorization { user: u, password: p, timeout: 0.2 }", """
        A! \\
        A< -ERR 'Authentication Timeout'
        A| closed
    """),
    "a silent client is stale": ("ping_interval: \"100ms\"\nping_max: 2", """
        A~ silent
        A< -ERR 'Stale Connection'
        A| closed
    """),
}

HELLO = ('CONNECT {"verbose":false,"pedantic":false,"lang":"raw","version":"0","protocol":1,"headers":true,'
         '"no_responders":true,"echo":true}')


def unescape(text):
    return re.sub(rb"\\([rnt]|x[0-9a-f]{2})", lambda m: {b"r": b"\r", b"n": b"\n", b"t": b"\t"}.get(m.group(1)) or bytes(
        [int(m.group(1)[1:], 16)]), text.encode())


class Silent(Raw):
    """Never answers PING."""

    def _aside(self, line):
        return line == "PING" or line.startswith("INFO ")


def play(server, script):
    clients = {}
    for number, line in enumerate(script.strip().splitlines()):
        line = line.strip()
        who, kind, words = line[0], line[1], line[3:] if len(line) > 3 else ""
        where = f"line {number}: {line[:80]}"
        if who not in clients:
            clients[who] = Silent(server.port) if kind == "~" else Raw(server.port)
            if kind == "~" or (kind != "!" and not words.startswith("CONNECT")):
                clients[who].send_bytes((HELLO + "\r\n").encode())
        c = clients[who]
        if kind in ">!":
            data = unescape(words[:-1]) if words.endswith("\\") else unescape(words) + b"\r\n"
            try:
                c.send_bytes(data)
            except ConnectionError:
                pass  # closed already: what comes next says whether that is right
        elif kind == "<":
            assert next_line(c, where) == words, where
        elif kind == "-":
            c.send_bytes(b"PING\r\n")
            assert next_line(c, where) == "PONG", where
        elif kind == "|":
            rest = [x for x in c.expect_closed() if not x.startswith("INFO ") and x != "PING"]
            assert rest == [], where
    for c in clients.values():
        c.close()


def next_line(c, where):
    while True:
        try:
            line = c.line(3)
        except (TimeoutError, EOFError, ConnectionError) as e:
            raise AssertionError(f"{where}: {e}") from e
        if not c._aside(line):
            return line


@pytest.mark.parametrize("title", CONVERSATIONS)
def test_conversation(make, site_kind, title):
    config, script = CONVERSATIONS[title]
    play(make(site_kind, config=config, monitor=False), script)
