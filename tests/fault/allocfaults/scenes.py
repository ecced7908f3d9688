"""What the server does while an allocation is refused: one class per row of the table.

    prepare(site)    the server is up, nothing is refused yet
    act(site)        one allocation in here is refused; a Refused or a closed connection may come of it
    promised         what act() got an answer for; checked on the server that lives, and on the next one

A promise is a function of a Client; it asserts. Whatever act() was promised goes into self.promised as soon as the
answer is there.
"""
import base64
import json
import os
import signal
import ssl

from frondtest import FakeHub, wait_for
from frondtest.pki import Pki

from server import PATIENCE, Client, Refused, http

ACK_PATIENCE = 3
CORE = 'listen: "127.0.0.1:@PORT"\nhttp: "127.0.0.1:@HTTP"\nserver_name: site\n'
JETSTREAM = CORE + 'jetstream: {store_dir: "@DIR/store"}\n'
BCRYPT = "$2b$04$K7gTeCB2/eo4D/SOvtxFw..j7K5MBBBTFdtGha7ynpIHexeBH9SZS"  # of "secret", 2^4 rounds


def stream_holds(stream, subject, payload):
    def check(c):
        m = c.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})["message"]
        got = base64.b64decode(m.get("data", ""))
        assert got == payload, f"{stream} holds {len(got)} bytes on {subject}, not {len(payload)}"
    return check


def stream_has(stream, messages):
    def check(c):
        found = c.api(f"STREAM.INFO.{stream}")["state"]["messages"]
        assert found == messages, f"{stream} has {found} messages, not {messages}"
    return check


def stream_gets(stream, messages):
    def check(c):
        wait_for(lambda: stream_has(stream, messages)(c) or True, PATIENCE, f"{messages} messages in {stream}")
    return check


def gone(verb):
    def check(c):
        answer = json.loads(c.request(f"$JS.API.{verb}").payload)
        assert answer.get("error", {}).get("code") == 404, f"{verb}: {answer}"
    return check


def acked_up_to(stream, consumer, floor):
    def check(c):
        found = c.api(f"CONSUMER.INFO.{stream}.{consumer}")["ack_floor"]["stream_seq"]
        assert found >= floor, f"{stream}/{consumer}: ack floor {found}, not {floor}"
    return check


class Scene:
    config = JETSTREAM
    whole_start = False  # armed before the program begins
    flags = ()

    def __init__(self):
        self.promised = []
        self.client = None

    def write(self, site):
        site.write(self.config)

    def prepare(self, site):
        self.client = site.client()

    def act(self, site):
        raise NotImplementedError

    def newcomer(self, site):
        """Somebody else, afterwards."""
        return site.client()

    def close(self):
        if self.client:
            self.client.close()

    # words that several scenes say

    def stream(self, name, subjects, **config):
        c = self.client
        c.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, **config})

    def publish(self, stream, subject, payload, headers=b""):
        answer = self.client.ask(subject, payload, headers)
        assert answer["stream"] == stream, answer
        if not answer.get("duplicate"):
            self.promised.append(stream_holds(stream, subject, payload))
        return answer


class Start(Scene):
    """from the first instruction to a clean end"""
    whole_start = True
    config = JETSTREAM + """
accounts { A: {users: [{user: a, password: secret, permissions: {publish: ["a.>"], subscribe: {deny: "b"}}}], jetstream: on}
           $SYS: {users: [{user: sys, password: secret}]} }
no_auth_user: a
pid_file: "@DIR/pid"
ports_file_dir: "@DIR"
lame_duck_duration: 30s
leafnodes { remotes: [ {url: "nats-leaf://127.0.0.1:1", account: A} ] }
"""

    def before(self, site):
        """What the start finds."""


class Recover(Start):
    """the same over a store with streams, consumers and a journal that a SIGKILL left"""
    config = JETSTREAM

    def before(self, site):
        site.launch()
        site.wait_ready()
        self.prepare(site)
        self.fill()
        site.kill()

    def fill(self):
        self.stream("S", ["s.>"], duplicate_window=60_000_000_000)
        self.stream("W", ["w.>"], retention="workqueue")
        self.client.api("CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": {
            "durable_name": "c", "ack_policy": "explicit", "filter_subject": "s.1"}})
        for i in range(20):
            self.publish("S", f"s.{i}", b"x" * (i * 500), f"NATS/1.0\r\nNats-Msg-Id: {i}\r\n\r\n".encode())
            self.publish("W", f"w.{i}", b"y")


class Words(Scene):
    """connect, subscribe, publish, request, a queue, headers, 300 KB"""
    config = CORE

    def prepare(self, site):
        pass

    def act(self, site):
        with Client(site) as a, Client(site) as b:
            a.hello(name="a")
            b.hello()
            a.send("SUB x.> 1", "SUB x.* q 2", "SUB deep.er.and.deeper 3", "UNSUB 3 1", "SUB big 4")
            a.sync()
            b.put("x.y", "hello", "reply.to", b"NATS/1.0\r\nA: b\r\n\r\n")
            assert {a.message().sid, a.message().sid} == {"1", "2"}
            b.put("big", b"z" * 300_000)
            b.sync()  # closed, when it is b's own room that is refused
            assert len(a.message().payload) == 300_000
            try:
                b.request("nobody", b"?")
            except Refused as e:
                if "503" not in str(e):
                    raise
            b.sync()


class Passwords(Scene):
    """users, permissions, a bcrypt password on the helper thread"""
    config = CORE + f"""authorization {{ users: [ {{user: b, password: "{BCRYPT}",
        permissions: {{publish: ["ok.*", "_R.>"], subscribe: {{allow: ["ok.>", "_R.>"], deny: "ok.no"}}}}}} ] }}"""

    def prepare(self, site):
        pass

    def newcomer(self, site):
        return site.client(user="b", **{"pass": "secret"})

    def act(self, site):
        with self.newcomer(site) as c:
            c.send("SUB ok.* 1")
            c.put("ok.1", "yes")
            assert c.message().payload == b"yes"


class Tls(Scene):
    """a TLS handshake and words inside it"""
    pki = None

    def write(self, site):
        if not Tls.pki:
            Tls.pki = Pki(site.dir.parent / f"pki-{os.getpid()}")  # scenes run in several processes
            Tls.files = Tls.pki.cert("server")
        cert, key = Tls.files
        site.write(CORE + f'tls {{ cert_file: "{cert}", key_file: "{key}" }}')

    def prepare(self, site):
        pass

    def newcomer(self, site):
        return Client(site, tls=ssl.create_default_context(cafile=str(Tls.pki.ca))).hello()

    def act(self, site):
        with self.newcomer(site) as c:
            c.send("SUB x 1")
            c.put("x", b"y" * 40_000)
            assert len(c.message().payload) == 40_000


class StreamVerbs(Scene):
    """stream create, update, info, names, list, message get and delete, purge, delete; account info"""

    def act(self, site):
        c = self.client
        self.stream("S", ["s.>"], allow_direct=True, description="d", metadata={"k": "v"}, subject_transform={"src": "s.>", "dest": "t.>"})
        self.promised.append(stream_has("S", 0))
        c.api("STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>", "u.*"], "max_msgs": 50, "allow_direct": True,
                                 "subject_transform": {"src": "s.>", "dest": "t.>"}})
        self.promised[:] = [lambda c: c.api("STREAM.INFO.S")]
        for i in range(3):
            c.ask("s.1", b"m%d" % i)
        self.promised[:] = [stream_has("S", 3)]
        c.api("STREAM.INFO.S", {"subjects_filter": ">", "deleted_details": True})
        assert c.api("STREAM.NAMES")["streams"] == ["S"]
        c.api("STREAM.LIST")
        c.api("INFO")
        c.api("STREAM.MSG.GET.S", {"seq": 2})
        c.request("$JS.API.DIRECT.GET.S", b'{"last_by_subj": "t.1"}')
        self.promised.clear()
        c.api("STREAM.MSG.DELETE.S", {"seq": 2})
        self.promised[:] = [stream_has("S", 2)]
        self.promised.clear()
        c.api("STREAM.PURGE.S", {"filter": "t.1", "keep": 1})
        self.promised[:] = [stream_has("S", 1)]
        self.promised.clear()
        c.api("STREAM.DELETE.S")
        self.promised[:] = [gone("STREAM.INFO.S")]


class Publish(Scene):
    """publishes with ids, expectations, a duplicate; 100 at once; one of 700 KB"""

    def prepare(self, site):
        super().prepare(site)
        self.stream("S", ["s.>"])

    def act(self, site):
        self.publish("S", "s.1", b"one", b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n")
        again = self.publish("S", "s.1", b"one", b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n")
        assert again.get("duplicate"), again
        self.publish("S", "s.2", b"two", b"NATS/1.0\r\nNats-Expected-Last-Sequence: 1\r\n\r\n")
        c = self.client
        for i in range(100):
            c.put(f"s.many.{i}", b"p" * 200, f"_R.m.{i}")
        for _ in range(100):
            m = c.message()
            answer = json.loads(m.payload)
            if "error" in answer:
                raise Refused(answer["error"]["description"])
            self.promised.append(stream_holds("S", "s.many." + m.subject.split(".")[-1], b"p" * 200))
        self.publish("S", "s.big", b"b" * 700_000)


class Consume(Scene):
    """consumer create, info, names, pull, ack, nak, terminate, push, delete"""

    def prepare(self, site):
        super().prepare(site)
        self.stream("S", ["s.>"])
        for i in range(6):
            self.publish("S", f"s.{i}", b"%d" % i)

    def act(self, site):
        c = self.client
        c.api("CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": {
            "durable_name": "c", "ack_policy": "explicit", "filter_subjects": ["s.0", "s.1", "s.2", "s.3"],
            "backoff": [30_000_000_000, 60_000_000_000], "max_deliver": 5, "metadata": {"a": "b"}}})
        self.promised.append(lambda c: c.api("CONSUMER.INFO.S.c"))
        c.api("CONSUMER.NAMES.S")
        c.api("CONSUMER.LIST.S")
        c.put("$JS.API.CONSUMER.MSG.NEXT.S.c", '{"batch": 4, "expires": 30000000000}', "_R.pull")
        got = [c.message() for _ in range(4)]
        for m in got:
            if m.headers:
                raise Refused(m.headers.split(b"\r\n")[0].decode())
        c.put(got[3].reply, "-NAK")
        c.put(got[2].reply, "+WPI")
        for i in (0, 1):
            self.ack(got[i])
            self.promised.append(acked_up_to("S", "c", i + 1))
        c.put(got[2].reply, "+TERM no")
        c.api("CONSUMER.INFO.S.c")
        c.send("SUB deliver 7")
        c.api("CONSUMER.CREATE.S", {"stream_name": "S", "config": {
            "deliver_subject": "deliver", "ack_policy": "none", "idle_heartbeat": 5_000_000_000, "flow_control": True}})
        for i in range(6):
            m = c.message()
            while m.subject != "s.%d" % i:
                m = c.message()
        del self.promised[-3:]
        c.api("CONSUMER.DELETE.S.c")
        self.promised.append(gone("CONSUMER.INFO.S.c"))


    def ack(self, m):
        """The protocol knows no refusal: an ack that could not be stored is not answered, the message comes again."""
        self.client.timeout = ACK_PATIENCE
        try:
            assert self.client.request(m.reply, "+ACK").payload == b""
        except TimeoutError as e:
            raise Refused("an ack is not answered") from e
        finally:
            self.client.timeout = PATIENCE


class KeyValue(Scene):
    """what a client says for a KV bucket: create, put, get, update, watch, delete, keys"""

    def act(self, site):
        c = self.client
        c.api("STREAM.CREATE.KV_b", {"name": "KV_b", "subjects": ["$KV.b.>"], "max_msgs_per_subject": 3,
                                     "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True,
                                     "discard": "new"})
        seq = self.publish("KV_b", "$KV.b.k", b"v1")["seq"]
        self.promised.clear()
        self.publish("KV_b", "$KV.b.k", b"v2",
                     f"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {seq}\r\n\r\n".encode())
        assert c.request("$JS.API.DIRECT.GET.KV_b.$KV.b.k").payload == b"v2"
        c.send("SUB watch 8")
        c.api("CONSUMER.CREATE.KV_b", {"stream_name": "KV_b", "config": {
            "deliver_subject": "watch", "deliver_policy": "last_per_subject", "ack_policy": "none",
            "filter_subject": "$KV.b.>", "headers_only": False}})
        assert c.message().payload == b"v2"
        self.promised.clear()
        self.publish("KV_b", "$KV.b.k", b"", b"NATS/1.0\r\nKV-Operation: PURGE\r\nNats-Rollup: sub\r\n\r\n")
        c.api("STREAM.INFO.KV_b", {"subjects_filter": "$KV.b.>"})


class Link(Scene):
    """a leaf link: dialled, joined, interest both ways, messages both ways"""
    config = JETSTREAM.replace("store_dir", "domain: site, store_dir") + """
leafnodes { reconnect: 1h, remotes: [ {url: "nats-leaf://127.0.0.1:@HUB", compression: off} ] }
"""

    def write(self, site):
        self.hub = FakeHub()
        self.link = None
        site.write(self.config.replace("@HUB", str(self.hub.port)))

    def prepare(self, site):
        self.link = self.hub.accept()
        self.link.timeout = PATIENCE
        super().prepare(site)

    def act(self, site):
        link, c = self.link, self.client
        link.greet()
        link.take_in()
        link.send("LS+ up.>", "LS+ q work 1")
        c.send("SUB down.* 5")
        link.expect("LS+ down.*")
        link.announced()  # its PONG: the LS+ lines have been read
        c.put("up.1", "going up")
        words, body = link.leaf_message()
        assert words[1] == "up.1" and body == b"going up", (words, body)
        link.send("LMSG down.1 4", "down")
        assert c.message().payload == b"down"
        c.send("UNSUB 5")
        link.expect("LS- down.*")

    def close(self):
        super().close()
        self.hub.close()


class Pages(Scene):
    """every monitoring page"""

    def prepare(self, site):
        super().prepare(site)
        self.stream("S", ["s.>"])
        self.client.send("SUB a.b 1")
        self.client.sync()

    def act(self, site):
        for path in ("/varz", "/connz?subs=1", "/subsz?subs=1", "/routez", "/leafz", "/accountz", "/accstatz",
                     "/jsz?streams=1&consumers=1&config=1", "/healthz", "/"):
            http(site, path)


class Reload(Scene):
    """SIGHUP with users, limits and log words that are new"""
    config = CORE
    user = {}

    def newcomer(self, site):
        return site.client(**self.user)

    def act(self, site):
        site.write(CORE + "ping_interval: 30s\nmax_payload: 100000\ndebug: true\n"
                   "authorization { users: [ {user: u, password: p, permissions: {publish: [ok.*]}}, {user: v, password: w} ] }\n")
        site.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "Reloaded" in site.log() or "reload" in site.log() or not site.running, PATIENCE, "the reload")
        if not site.running:
            return
        if "Reloaded server configuration" not in site.log():
            raise Refused("the old configuration stays")
        self.user = {"user": "u", "pass": "p"}


class Source(Scene):
    """a stream that is sourced from another one, within the site"""

    def prepare(self, site):
        super().prepare(site)
        self.stream("A", ["a.>"])
        self.client.ask("a.1", b"first")

    def act(self, site):
        c = self.client
        c.api("STREAM.CREATE.B", {"name": "B", "sources": [{"name": "A", "filter_subject": "a.*"}]})
        self.publish("A", "a.2", b"second")
        self.promised.append(stream_gets("B", 2))
        wait_for(lambda: not site.running or c.api("STREAM.INFO.B")["state"]["messages"] == 2, PATIENCE, "both copied")


class CommandLine(Scene):
    """frond -t: the configuration read, said sound, and the end"""
    whole_start = True
    flags = ("-t",)
    config = Start.config

    def before(self, site):
        pass


SCENES = {"command line": CommandLine, "start": Start, "start over a store": Recover, "client words": Words,
          "passwords": Passwords, "TLS": Tls, "stream verbs": StreamVerbs, "publish": Publish, "consume": Consume,
          "key-value": KeyValue, "source": Source, "leaf link": Link, "monitoring": Pages, "reload": Reload}
