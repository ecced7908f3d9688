"""Random histories: requests and publishes that make sense now and then, the same to both servers.

A history is a list of steps in the words of conversation.py; a seed makes the same one for ever. After each step both
servers are asked for the state of every stream and consumer, and what they say is compared; what may take a moment gets
it. A history that differs is made shorter, step by step, as long as it still differs.
"""
import json
import random
import time

from .conversation import Conversation, Player, Step

CONSUMERS = {"S": ("P", "Q", "R"), "T": ("U", "V", "W")}  # streams, and the names of their consumers
COPIES = {"M": {"KV_B"}, "C": {"KV_B", "OBJ_O"}}  # streams that copy others, and which
HOUR = 3600 * 10**9
TOKENS = ("a", "b", "c")


class Author:
    """Writes the steps of a history; knows roughly what there is, so that most requests make sense."""

    def __init__(self, seed):
        self.rnd = random.Random(seed)
        self.streams = {}   # name: {"retention": …, "consumers": {name: {…}}}
        self.sent = 0
        self.filters = {}   # of the consumers, by name
        self.others = set() # streams beside S and T
        self.listed = set() # consumers that may deliver a list, the last of each subject
        self.acks = {}      # where something can be acknowledged, as the player heard it: "P.3"

    def step(self):
        r = self.rnd
        if not self.streams or r.random() < 0.04:
            return self.create_stream()
        makers = ((self.publish, 30), (self.pull, 22), (self.ack, 24), (self.create_consumer, 7), (self.get, 5),
                  (self.delete_message, 4), (self.purge, 2), (self.update_stream, 3), (self.delete_consumer, 2),
                  (self.reset, 1), (self.delete_stream, 0.6), (self.direct, 3), (self.lists, 1), (self.pause, 0.7),
                  (self.other_stream, 1.5), (self.other_publish, 5), (self.other_request, 1.5))
        return r.choices([m for m, _ in makers], [w for _, w in makers])[0]()

    def stream(self):
        return self.rnd.choice(list(self.streams)) if self.rnd.random() < 0.97 else self.rnd.choice(list(CONSUMERS))

    def subject(self, stream, wild=False):
        r = self.rnd
        last = r.choice(TOKENS + ("*",)) if wild else r.choice(TOKENS)
        return f"{stream.lower()}.{r.choice(TOKENS)}.{last}" if r.random() < 0.9 else f"{stream.lower()}.{'>' if wild else 'x'}"

    def request(self, subject, body=None, **more):
        text = "" if body is None else json.dumps(body, separators=(",", ":"))
        return Step(">", subject, body=text, **more)

    # -- streams --

    def config(self, name):
        r, c = self.rnd, {"name": name, "subjects": [f"{name.lower()}.>"], "duplicate_window": HOUR}
        old = self.streams.get(name)
        c["retention"] = old["retention"] if old and r.random() < 0.95 else r.choice(("limits", "limits", "workqueue", "interest"))
        c["storage"] = old["storage"] if old else r.choice(("file", "memory"))
        for key, low, high, chance in (("max_msgs", 3, 30, 0.3), ("max_msgs_per_subject", 1, 5, 0.3),
                                       ("max_bytes", 200, 2000, 0.2), ("max_msg_size", 10, 60, 0.1)):
            if r.random() < chance:
                c[key] = r.randint(low, high)
        if r.random() < 0.25:
            c["discard"] = "new"
            if c.get("max_msgs_per_subject") and r.random() < 0.5:
                c["discard_new_per_subject"] = True
        if r.random() < 0.4:
            c["allow_direct"] = True
        if r.random() < 0.3:
            c["allow_rollup_hdrs"] = True
        if r.random() < 0.05:
            c["deny_purge"] = True
        if not old and r.random() < 0.1:
            c["first_seq"] = r.randint(2, 50)
        for key, value, chance in (("no_ack", True, 0.03), ("deny_delete", True, 0.05), ("compression", "s2", 0.1),
                                   ("max_consumers", r.randint(1, 3), 0.1 if not old else 0),
                                   ("description", "d", 0.1), ("metadata", {"a": "b"}, 0.1), ("sealed", True, 0.005),
                                   ("republish", {"src": f"{name.lower()}.a.>", "dest": "again.>"}, 0.1),
                                   ("consumer_limits", {"max_ack_pending": r.randint(3, 9)}, 0 if old else 0.05)):
            if r.random() < chance:
                c[key] = value
        return c

    # Streams of other shapes stand beside S and T; nobody consumes them. A key-value bucket, an object store, a mirror
    # and a stream that collects: what clients make.
    def other_stream(self):
        r = self.rnd
        c = r.choice((
            {"name": "KV_B", "subjects": ["$KV.B.>"], "max_msgs_per_subject": r.randint(1, 5), "discard": "new",
             "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True},
            {"name": "OBJ_O", "subjects": ["$O.O.C.>", "$O.O.M.>"], "discard": "new", "allow_rollup_hdrs": True,
             "allow_direct": True},
            {"name": "M", "mirror": {"name": "KV_B"}},
            {"name": "C", "subjects": ["c.>"], "sources": [{"name": "OBJ_O", "filter_subject": "$O.O.C.>"}, {"name": "KV_B"}]}))
        if not COPIES.get(c["name"], set()) <= self.others and r.random() < 0.9:
            return self.other_stream()  # only now and then: the genuine server lets an early copy wait for 12 s and more
        self.others.add(c["name"])
        return self.request(f"$JS.API.STREAM.CREATE.{c['name']}", {**c, "duplicate_window": 60 * 10**9 if "mirror" not in c else 0,
                                                                 "storage": r.choice(("file", "memory"))})

    def other_publish(self):
        r = self.rnd
        if r.random() < 0.7:
            headers = r.choice(([], [], [], ["KV-Operation: DEL"], ["KV-Operation: PURGE", "Nats-Rollup: sub"],
                                ["Nats-Expected-Last-Subject-Sequence: 0"],
                                [f"Nats-Expected-Last-Subject-Sequence: {r.randint(1, self.sent + 1)}"]))
            return Step(">", f"$KV.B.{r.choice(TOKENS)}", body="v" * r.choice((0, 3, 30)), headers=headers)
        if r.random() < 0.5:
            return Step(">", f"$O.O.C.{r.choice(TOKENS)}", body="chunk" * r.randint(1, 30))
        return Step(">", f"$O.O.M.{r.choice(TOKENS)}", body='{"name":"x"}', headers=["Nats-Rollup: sub"])

    def other_request(self):
        r, name = self.rnd, self.rnd.choice(sorted(self.others) or ["KV_B"])
        own = "M" if name == "KV_B" and "M" in self.others else name  # of KV_B either may answer then, as chance has it
        return r.choice((
            lambda: self.request(f"$JS.API.STREAM.PURGE.{name}", r.choice(({}, {"keep": 2}, {"filter": "$KV.B.a"}))),
            lambda: self.request(f"$JS.API.DIRECT.GET.{own}.$KV.B.{r.choice(TOKENS)}"),
            lambda: self.request(f"$JS.API.STREAM.MSG.GET.{name}", {"last_by_subj": f"$KV.B.{r.choice(TOKENS)}"}),
            lambda: self.request(f"$JS.API.STREAM.MSG.GET.{name}", {"seq": r.randint(1, 9)}),
            lambda: self.request(f"$JS.API.STREAM.DELETE.{name}")))()

    def create_stream(self):
        name = self.rnd.choice(list(CONSUMERS))
        c = self.config(name)
        self.streams.setdefault(name, {"retention": c["retention"], "storage": c["storage"], "consumers": set()})
        return self.request(f"$JS.API.STREAM.CREATE.{name}", c)

    def update_stream(self):
        name = self.stream()
        return self.request(f"$JS.API.STREAM.UPDATE.{name}", self.config(name))

    def delete_stream(self):
        name = self.stream()
        self.streams.pop(name, None)
        return self.request(f"$JS.API.STREAM.DELETE.{name}")

    def purge(self):
        r, name, body = self.rnd, self.stream(), {}
        if r.random() < 0.5:
            body["filter"] = self.subject(name, wild=True)
        if r.random() < 0.4:
            body["seq"] = r.randint(1, self.sent + 2)
        elif r.random() < 0.5:
            body["keep"] = r.randint(1, 5)
        return self.request(f"$JS.API.STREAM.PURGE.{name}", body)

    def get(self):
        return self.request(f"$JS.API.STREAM.MSG.GET.{(name := self.stream())}", self.which(name))

    def direct(self):
        return self.request(f"$JS.API.DIRECT.GET.{(name := self.stream())}", self.which(name))

    def which(self, name):
        r = self.rnd
        kind = r.randrange(4)
        if kind == 0:
            return {"last_by_subj": self.subject(name, wild=r.random() < 0.3)}
        if kind == 1:
            return {"seq": r.randint(1, self.sent + 2), "next_by_subj": self.subject(name, wild=True)}
        return {"seq": r.randint(1, self.sent + 2)}

    def delete_message(self):
        return self.request(f"$JS.API.STREAM.MSG.DELETE.{self.stream()}", {"seq": self.rnd.randint(1, self.sent + 2)})

    def lists(self):
        return self.request(self.rnd.choice(("$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.INFO",
                                             f"$JS.API.CONSUMER.NAMES.{self.stream()}")))

    # -- publishing --

    def publish(self):
        r, name = self.rnd, self.stream()
        self.sent += 1
        headers = []
        if r.random() < 0.15:
            headers.append(f"Nats-Msg-Id: {r.randint(1, 12)}")
        if r.random() < 0.06:
            headers.append(f"Nats-Expected-Last-Sequence: {r.randint(max(0, self.sent - 4), self.sent)}")
        if r.random() < 0.08:
            headers.append(f"Nats-Expected-Last-Subject-Sequence: {r.choice((0, r.randint(0, self.sent)))}")
        if r.random() < 0.03:
            headers.append(f"Nats-Expected-Last-Msg-Id: {r.randint(1, 12)}")
        if r.random() < 0.04:
            headers.append(f"Nats-Rollup: {r.choice(('sub', 'all'))}")
        if r.random() < 0.04:
            headers.append(r.choice(("Nats-Expected-Stream: S", "Nats-Rollup: SUB", "Nats-TTL: 1h", "Nats-Incr: 1",
                                     "Nats-Schedule: @every 1m", "Nats-Expected-Last-Sequence: x", "A: b",
                                     "Nats-Expected-Last-Subject-Sequence-Subject: s.a.a",
                                     "Nats-Expected-Last-Subject-Sequence: 1\\r\\nNats-Expected-Last-Subject-Sequence-Subject: s.*.a")))
        return Step(">", self.subject(name), body="x" * r.choice((0, 1, 5, 20, 70)), headers=headers)

    # -- consumers --

    def consumer(self):
        stream = self.stream()
        known = self.streams.get(stream, {}).get("consumers") or CONSUMERS[stream]
        return stream, self.rnd.choice(sorted(known))

    def create_consumer(self):
        r, stream = self.rnd, self.stream()
        name = self.rnd.choice(CONSUMERS[stream])
        c = {"name": name, "durable_name": name, "ack_policy": r.choice(("explicit", "explicit", "explicit", "all", "none"))}
        if r.random() < 0.3:
            c["deliver_policy"] = r.choice(("all", "new", "last", "last_per_subject", "by_start_sequence"))
            if c["deliver_policy"] == "last_per_subject":
                self.listed.add(name)
            if c["deliver_policy"] == "by_start_sequence":
                c["opt_start_seq"] = r.randint(1, self.sent + 2)
        filters = {}
        if r.random() < 0.4 or c.get("deliver_policy") == "last_per_subject":
            filters["filter_subject"] = self.subject(stream, wild=True)
        elif r.random() < 0.2:
            filters["filter_subjects"] = sorted({self.subject(stream, wild=True) for _ in range(2)})
        c.update(self.filters.setdefault(name, filters))  # a change of filters is told differently (docs/differences.md)
        for key, low, high, chance in (("max_deliver", 1, 4, 0.2), ("max_ack_pending", 1, 6, 0.3)):
            if r.random() < chance:
                c[key] = r.randint(low, high)
        if c["ack_policy"] != "none":
            c["ack_wait"] = HOUR
        for key, value, chance in (("headers_only", True, 0.1), ("max_batch", r.randint(1, 9), 0.1), ("description", "d", 0.1),
                                   ("max_bytes", r.randint(50, 500), 0.05), ("mem_storage", True, 0.1),
                                   ("max_waiting", r.randint(1, 3), 0.05), ("sample_freq", "100", 0.05)):
            if r.random() < chance:
                c[key] = value
        if stream in self.streams:
            self.streams[stream]["consumers"].add(name)
        return self.request(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": c})

    def delete_consumer(self):
        stream, name = self.consumer()
        if stream in self.streams:
            self.streams[stream]["consumers"].discard(name)
        return self.request(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")

    def pull(self):
        stream, name = self.consumer()
        body = {"batch": self.rnd.choice((1, 1, 2, 5, 20)), "no_wait": True, "expires": 20_000_000}
        if self.rnd.random() < 0.1:
            body["max_bytes"] = self.rnd.randint(20, 300)
            if name in self.listed:  # the genuine server loses what is too big then (docs/differences.md)
                del body["max_bytes"]
        return self.request(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", body, count="*")

    def ack(self):
        r, (_, name) = self.rnd, self.consumer()
        heard = [ack for ack in self.acks if ack.startswith(name + ".")]
        word = r.choices(("", "+ACK", "-NAK", "+TERM", "+WPI", '-NAK {"delay": 3600000000000}'), (8, 4, 3, 2, 1, 1))[0]
        to = r.choice(heard[-12:]) if heard else f"{name}.1"
        return Step(">", "@" + to, body=word)

    def reset(self):
        stream, name = self.consumer()
        return self.request(f"$JS.API.CONSUMER.RESET.{stream}.{name}", {"seq": self.rnd.randint(1, self.sent + 1)})

    def pause(self):
        stream, name = self.consumer()
        return self.request(f"$JS.API.CONSUMER.PAUSE.{stream}.{name}",
                            {"pause_until": self.rnd.choice(("2090-01-01T00:00:00Z", "2020-01-01T00:00:00Z"))})


class Pair:
    """The two players of a history, in an account of their own."""

    def __init__(self, servers, user):
        self.players = [Player(server, user, patience=4) for server in servers]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for player in self.players:
            player.close()

    def both(self, step):
        """What each says to it."""
        heard = []
        for player in self.players:
            player.heard = []
            player.step(step)
            heard.append([player.mask(text) for _, text in player.heard])
        return heard

    def settled(self, step, patience):
        """The same, until they agree or time is up."""
        end, wait = time.monotonic() + patience, 0.002
        while True:
            heard = self.both(step)
            if heard[0] == heard[1] or time.monotonic() > end:
                return heard
            time.sleep(wait)
            wait = min(wait * 2, 0.2)

    def differs(self, step, looks, patience=5):
        """Plays a step; (step, theirs, ours) of the first thing the two do not agree on: its answers, or a look."""
        heard = self.settled(step, patience) if step.words.startswith(HARMLESS) else self.both(step)
        if heard[0] != heard[1]:
            return step, *heard
        for look in looks:
            heard = self.settled(look, patience)
            if heard[0] != heard[1]:
                return look, *heard
        return None


HARMLESS = tuple(f"$JS.API.{words}" for words in ("INFO", "STREAM.LIST", "STREAM.NAMES", "CONSUMER.NAMES"))
LOOKS = [Step(">", "$JS.API.STREAM.LIST"), *(Step(">", f"$JS.API.CONSUMER.LIST.{name}") for name in CONSUMERS)]
CLOSE_LOOKS = LOOKS + [Step(">", f"$JS.API.STREAM.INFO.{name}", body='{"subjects_filter":">","deleted_details":true}')
                       for name in CONSUMERS]


def copies(step):
    return step.words.startswith(tuple(f"$JS.API.STREAM.CREATE.{name}" for name in COPIES))


def patience_with(steps, least=5):
    """Seconds. A copy that lost its origin, or never had it, tries again when its server sees fit: the genuine one 12 s
    after the first try, 22 s after the second, 32 s after the third, and it notices a loss after 10 to 20 s."""
    return 75 if any(map(copies, steps)) else least


def replay(steps, servers, user):
    """The first difference in a written history: (how many steps it took, what differs), or None."""
    patience = patience_with(steps, 0.7)
    with Pair(servers, user) as pair:
        for n, step in enumerate(steps, 1):
            found = pair.differs(step, CLOSE_LOOKS, patience)
            if found:
                return n, found
    return None


def improvise(seed, count, servers, user):
    """A history of count steps while it is played: (the steps, the first difference or None)."""
    author, steps = Author(seed), []
    with Pair(servers, user) as pair:
        for n in range(count):
            author.acks = pair.players[0].acks
            steps.append(author.step())
            found = pair.differs(steps[-1], CLOSE_LOOKS if n % 8 == 7 else LOOKS, patience_with(steps))
            if found:
                return steps, found
    return steps, None


def shorten(steps, fails, tries=120):
    """Fewer steps that still fail, by leaving out ever smaller parts. fails(steps): how many of them it took, or None."""
    size = max(1, len(steps) // 2)
    while size and tries > 0:
        at, shorter = 0, False
        while at < len(steps) and tries > 0:
            tries -= 1
            rest = steps[:at] + steps[at + size:]
            took = fails(rest)
            if took:
                steps, shorter = rest[:took], True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = size // 2 if size > 1 else 1
    return steps


def script(title, steps, look):
    """The history as a conversation that can stand in a table."""
    return Conversation(title, steps=[*steps, *([look] if look is not steps[-1] else [])]).text()
