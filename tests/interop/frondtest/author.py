"""Who writes the steps of a random history (histories.py): requests and publishes that make sense now and then."""
import json
import random

from .conversation import Step

CONSUMERS = {"S": ("P", "Q", "R"), "T": ("U", "V", "W")}  # streams, and the names of their consumers
COPIES = ("M", "C")  # streams that copy others
HOUR = 3600 * 10**9
TIMES = ("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z")
TOKENS = ("a", "b", "c")


def origins(config):
    """The streams that this one would copy."""
    return {source["name"] for source in [*config.get("sources", []), *([config["mirror"]] if "mirror" in config else [])]}


class Author:
    """Writes the steps of a history; knows roughly what there is, so that most requests make sense."""

    def __init__(self, seed, wide=False):
        self.rnd = random.Random(seed)
        self.wide = wide    # more kinds of requests; without, a seed makes the histories it made before there were these
        self.passing = {}   # of the consumers, by name: whether they have no durable_name
        self.streams = {}   # name: {"retention": …, "storage": …, "consumers": {names}, "turned": it may be of
                            # interest now and then, "unacked": had a consumer without acks}
        self.sent = 0
        self.filters = {}   # of the consumers, by name
        self.pushed = {}    # whether they are push consumers
        self.others = set() # streams beside S and T
        self.listed = set() # consumers that may deliver a list, the last of each subject
        self.acks = {}      # where something can be acknowledged, as the player heard it: "P.3"

    def chance(self, of):
        """Whether one of the newer kinds comes now."""
        return self.wide and self.rnd.random() < of

    def step(self):
        r = self.rnd
        if not self.streams or r.random() < 0.04:
            return self.create_stream()
        makers = ((self.publish, 30), (self.pull, 22), (self.ack, 24), (self.create_consumer, 7), (self.get, 5),
                  (self.delete_message, 4), (self.purge, 2), (self.update_stream, 3), (self.delete_consumer, 2),
                  (self.reset, 1), (self.delete_stream, 0.6), (self.direct, 3), (self.lists, 1), (self.pause, 0.7),
                  (self.other_stream, 1.5), (self.other_publish, 5), (self.other_request, 1.5), (self.wait_for_more, 0.7),
                  (self.next, 2), (self.restart, 0.5))
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

    def restart(self):
        self.streams = {name: stream for name, stream in self.streams.items() if stream["storage"] == "file"}
        return Step("restart")

    # -- streams --

    def config(self, name):
        r, c = self.rnd, {"name": name, "subjects": [f"{name.lower()}.>"], "duplicate_window": HOUR}
        old = self.streams.get(name)
        c["retention"] = old["retention"] if old and r.random() < 0.95 else r.choice(("limits", "limits", "workqueue", "interest"))
        if old and old["retention"] != c["retention"]:  # docs/differences.md, about consumers without acks
            if old["unacked"]:
                c["retention"] = old["retention"]
            else:
                old["turned"] = True
        c["storage"] = old["storage"] if old else r.choice(("file", "memory"))
        for key, low, high, chance in (("max_msgs", 3, 30, 0.3), ("max_msgs_per_subject", 1, 5, 0.3),
                                       ("max_bytes", 200, 2000, 0.2), ("max_msg_size", 10, 60, 0.1)):
            if r.random() < chance:
                c[key] = r.randint(low, high)
        if old and old["retention"] != c["retention"]:  # what goes first then, the settled or the old: docs/differences.md
            for key in ("max_msgs", "max_msgs_per_subject", "max_bytes"):
                c.pop(key, None)
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
                                   ("republish", {"src": ">", "dest": "again.>", "headers_only": True}, 0.03),
                                   ("subject_transform", self.transform(name), 0.08),
                                   ("subjects", [f"{name.lower()}.a.>", f"{name.lower()}.b.*"], 0.04),
                                   ("max_age", HOUR, 0.1),
                                   ("consumer_limits", {"max_ack_pending": r.randint(3, 9)}, 0 if old else 0.05)):
            if r.random() < chance:
                c[key] = value
        if self.chance(0.05):
            c["subjects"] = r.choice((["s.>", "t.>"], [f"{name.lower()}.>", "more.*", "x.>"]))
        return c

    def transform(self, name):
        own = name.lower()
        return self.rnd.choice(({"src": f"{own}.a.>", "dest": f"{own}.b.>"}, {"src": f"{own}.*.*", "dest": f"{own}.{{{{wildcard(2)}}}}.a"},
                                {"src": f"{own}.*.*", "dest": f"{own}.$2.$1"}, {"src": f"{own}.c.*", "dest": "away.$1"},
                                {"src": f"{own}.*.>", "dest": f"{own}.{{{{partition(3,1)}}}}.>"}, {"src": "other.>", "dest": "x.>"}))

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
            {"name": "M", "mirror": r.choice((
                {"name": "KV_B", "filter_subject": "$KV.B.a"}, {"name": "KV_B", "opt_start_seq": r.randint(1, 9)},
                {"name": "KV_B", "subject_transforms": [{"src": "$KV.B.>", "dest": "$KV.D.>"}]}))},
            {"name": "C", "subjects": ["c.>"], "sources": [{"name": "OBJ_O", "filter_subject": "$O.O.C.>"}, {"name": "KV_B"}]},
            {"name": "C", "sources": [{"name": "KV_B", "subject_transforms": [{"src": "$KV.B.a", "dest": "a"}, {"src": "$KV.B.b", "dest": "b"}]},
                                      {"name": "OBJ_O", "opt_start_seq": r.randint(1, 5)}], "max_msgs_per_subject": r.randint(1, 9)}))
        if not origins(c) <= self.others and r.random() < 0.9:
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
        if r.random() < 0.6:
            return Step(">", f"$O.O.C.{r.choice(TOKENS)}", body="chunk" * r.choice((1, 7, 30, 800)))
        return Step(">", f"$O.O.M.{r.choice(TOKENS)}", body='{"name":"x"}', headers=["Nats-Rollup: sub"])

    def other_request(self):
        r, name = self.rnd, self.rnd.choice(sorted(self.others) or ["KV_B"])
        own = "M" if name == "KV_B" and "M" in self.others else name  # of KV_B either may answer then, as chance has it
        return r.choice((
            lambda: self.request(f"$JS.API.STREAM.PURGE.{name}", r.choice(({}, {"keep": 2}, {"filter": "$KV.B.a"}))),
            lambda: self.request(f"$JS.API.DIRECT.GET.{own}.$KV.B.{r.choice(TOKENS)}"),
            lambda: self.request(f"$JS.API.STREAM.MSG.GET.{name}", {"last_by_subj": f"$KV.B.{r.choice(TOKENS)}"}),
            lambda: self.request(f"$JS.API.STREAM.MSG.GET.{name}", {"seq": r.randint(1, 9)}),
            lambda: self.request("$JS.API.STREAM.PURGE.OBJ_O", {"filter": f"$O.O.C.{r.choice(TOKENS)}"}),
            lambda: self.request(f"$JS.API.DIRECT.GET.{own}", {"multi_last": [r.choice(("$KV.B.>", "$O.O.M.*"))]}, count="*"),
            lambda: self.request(f"$JS.API.STREAM.DELETE.{name}")))()

    def create_stream(self):
        name = self.rnd.choice(list(CONSUMERS))
        c = self.config(name)
        self.streams.setdefault(name, {"retention": c["retention"], "storage": c["storage"], "consumers": set(),
                                       "turned": False, "unacked": False})
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
        elif body and r.random() < 0.5:  # of the whole stream: the genuine server may count wrong (docs/differences.md)
            body["keep"] = r.randint(1, 5)
        return self.request(f"$JS.API.STREAM.PURGE.{name}", body)

    def get(self):
        return self.request(f"$JS.API.STREAM.MSG.GET.{(name := self.stream())}", self.which(name))

    def direct(self):
        r, name = self.rnd, self.stream()
        kind = r.randrange(5)
        if kind == 0:
            return self.request(f"$JS.API.DIRECT.GET.{name}.{self.subject(name)}")
        if kind > 2:
            return self.request(f"$JS.API.DIRECT.GET.{name}", self.which(name))
        if kind == 1:
            body = {"batch": r.randint(1, 5), "next_by_subj": self.subject(name, wild=True)}
            if r.random() < 0.8:
                body["seq"] = r.randint(1, self.sent + 2)
            elif self.chance(0.5):
                body["start_time"] = r.choice(TIMES)
        else:
            body = {"multi_last": sorted({self.subject(name, wild=True) for _ in range(r.randint(1, 3))})}
            if self.chance(0.2):
                body["up_to_time"] = TIMES[1]
            elif r.random() < 0.4:
                body["up_to_seq"] = r.randint(1, self.sent + 2)
            if r.random() < 0.3:
                body["batch"] = r.randint(1, 4)
        if r.random() < 0.2:
            body["max_bytes"] = r.randint(20, 300)
        return self.request(f"$JS.API.DIRECT.GET.{name}", body, count="*")

    def which(self, name):
        r = self.rnd
        if self.chance(0.2):
            return r.choice(({"start_time": r.choice(TIMES)}, {"start_time": r.choice(TIMES), "next_by_subj": self.subject(name, wild=True)},
                             {"next_by_subj": self.subject(name, wild=True)}, {"seq": 1, "last_by_subj": self.subject(name)}, {"seq": 0}, {}))
        kind = r.randrange(4)
        if kind == 0:
            return {"last_by_subj": self.subject(name, wild=r.random() < 0.3)}
        if kind == 1:
            return {"seq": r.randint(1, self.sent + 2), "next_by_subj": self.subject(name, wild=True)}
        return {"seq": r.randint(1, self.sent + 2)}

    def delete_message(self):
        body = {"no_erase": True} if self.chance(0.3) else {}
        return self.request(f"$JS.API.STREAM.MSG.DELETE.{self.stream()}", {"seq": self.rnd.randint(1, self.sent + 2), **body})

    def lists(self):
        name = self.stream()
        if self.chance(0.5):
            return self.request(*self.rnd.choice((
                ("$JS.API.CONSUMER.INFO." + ".".join(self.consumer()),), (f"$JS.API.CONSUMER.NAMES.{name}", {"offset": 1}),
                (f"$JS.API.CONSUMER.LIST.{name}", {"offset": 1}), ("$JS.API.STREAM.NAMES", {"offset": 1}),
                (f"$JS.API.STREAM.INFO.{name}",), (f"$JS.API.STREAM.INFO.{name}", {"subjects_filter": ">", "offset": 1}))))
        return self.request(*self.rnd.choice((
            ("$JS.API.STREAM.LIST",), ("$JS.API.STREAM.NAMES",), ("$JS.API.INFO",), (f"$JS.API.CONSUMER.NAMES.{name}",),
            ("$JS.API.STREAM.NAMES", {"subject": self.subject(name, wild=True)}), ("$JS.API.STREAM.LIST", {"offset": 1}),
            (f"$JS.API.STREAM.INFO.{name}", {"subjects_filter": self.subject(name, wild=True)}),
            (f"$JS.API.STREAM.INFO.{name}", {"deleted_details": True}))))

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
        subject = self.subject(name)
        size = 3000 if self.chance(0.02) else r.choice((0, 1, 5, 20, 70))
        return Step(">", subject, body="x" * size, headers=headers,
                    count=0 if r.random() < 0.03 else 1)

    # -- consumers --

    def consumer(self):
        stream = self.stream()
        known = self.streams.get(stream, {}).get("consumers") or CONSUMERS[stream]
        return stream, self.rnd.choice(sorted(known))

    def create_consumer(self):
        r, stream = self.rnd, self.stream()
        name = self.rnd.choice(CONSUMERS[stream])
        c = {"name": name, "durable_name": name, "ack_policy": r.choice(("explicit", "explicit", "explicit", "all", "none"))}
        if (known := self.streams.get(stream)) and c["ack_policy"] == "none":
            c["ack_policy"] = "explicit" if known["turned"] else "none"
            known["unacked"] |= not known["turned"]
        if r.random() < 0.3:
            c["deliver_policy"] = r.choice(("all", "new", "last", "last_per_subject", "by_start_sequence", "by_start_time"))
            if c["deliver_policy"] == "by_start_time":
                c["opt_start_time"] = r.choice(("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"))
            if c["deliver_policy"] == "last_per_subject":
                self.listed.add(name)
            if c["deliver_policy"] == "by_start_sequence":
                c["opt_start_seq"] = r.randint(1, 5)
        filters = {}
        if r.random() < 0.4 or c.get("deliver_policy") == "last_per_subject":
            filters["filter_subject"] = self.subject(stream, wild=True)
        elif r.random() < 0.2:
            filters["filter_subjects"] = sorted({self.subject(stream, wild=True) for _ in range(2)})
        c.update(self.filters.setdefault(name, filters))  # a change of filters is told differently (docs/differences.md)
        if "opt_start_time" in c and any(key.startswith("filter") for key in c):
            c["opt_start_time"] = "2090-01-01T00:00:00Z"  # of the past: the genuine server may leave something out (there, too)
        for key, low, high, chance in (("max_deliver", 1, 4, 0.2), ("max_ack_pending", 1, 6, 0.3)):
            if r.random() < chance:
                c[key] = r.randint(low, high)
        if c["ack_policy"] != "none":
            c["ack_wait"] = HOUR
        for key, value, chance in (("headers_only", True, 0.1), ("max_batch", r.randint(1, 9), 0.1), ("description", "d", 0.1),
                                   ("max_bytes", r.randint(50, 500), 0.05), ("mem_storage", True, 0.1),
                                   ("max_waiting", r.randint(1, 3), 0.05), ("sample_freq", "100", 0.05),
                                   ("backoff", [HOUR, 2 * HOUR], 0.05), ("inactive_threshold", HOUR, 0.05),
                                   ("max_expires", 60 * 10**9, 0.03), ("pause_until", "2090-01-01T00:00:00Z", 0.02)):
            if r.random() < chance:
                c[key] = value
        pushed = self.pushed.setdefault(name, r.random() < 0.15)
        if pushed and r.random() < 0.95:
            c["deliver_subject"] = r.choice(("later.push", "later.push", "nobody.hears"))
            if self.chance(0.2):
                c.update(r.choice(({"idle_heartbeat": HOUR}, {"deliver_group": "g"})))
            c = {key: value for key, value in c.items() if key not in ("max_batch", "max_bytes", "max_waiting", "max_expires")}
        if stream in self.streams:
            self.streams[stream]["consumers"].add(name)
        action = r.choices(({}, {"action": "create"}, {"action": "update"}), (90, 5, 5))[0]
        where = f"CREATE.{stream}.{name}"
        if self.chance(0.1):
            where = f"DURABLE.{where}"
        elif "filter_subject" in c and self.chance(0.2):
            where += f".{c['filter_subject']}"
        if name not in self.passing:
            self.passing[name] = self.chance(0.1)
        if self.passing[name]:
            where = where.removeprefix("DURABLE.")
            c["inactive_threshold"] = HOUR
            del c["durable_name"]
        return self.request(f"$JS.API.CONSUMER.{where}", {"stream_name": stream, "config": c, **action})

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
        if self.rnd.random() < 0.1:
            body.update(self.rnd.choice(({"idle_heartbeat": 15_000_000}, {"min_pending": 1}, {"no_wait": False})))
        return self.request(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", body, count="*")

    def wait_for_more(self):
        """A pull that stays: what comes later goes to it."""
        r, (stream, name) = self.rnd, self.consumer()
        body = {"batch": r.randint(1, 4)}
        if r.random() < 0.5:
            body.update({"expires": HOUR, "idle_heartbeat": HOUR // 4})
        if r.random() < 0.2 and name not in self.listed:
            body["max_bytes"] = r.randint(50, 500)
        return self.request(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", body, count="~")

    def heard(self, name):
        """Where to acknowledge something of this consumer."""
        acks = [ack for ack in self.acks if ack.startswith(name + ".")]
        return "@" + (self.rnd.choice(acks[-12:]) if acks else f"{name}.1")

    def ack(self):
        _, name = self.consumer()
        word = self.rnd.choices(("", "+ACK", "-NAK", "+TERM", "+WPI", '-NAK {"delay": 3600000000000}', "+TERM no use",
                                 '-NAK {"delay": 1000000}', "-NAK 1h", "nonsense"), (16, 8, 6, 4, 2, 2, 1, 1, 0.5, 0.3))[0]
        return Step(">", self.heard(name), body=word)

    def next(self):
        """An ack that asks for more."""
        _, name = self.consumer()
        if self.pushed.get(name):  # is not answered
            return Step(">", self.heard(name), body="+NXT", count=0)
        return Step(">", self.heard(name), body='+NXT {"batch":%d,"no_wait":true,"expires":20000000}' % self.rnd.randint(1, 3), count="*")

    def reset(self):
        stream, name = self.consumer()
        if self.chance(0.3):
            return self.request(f"$JS.API.CONSUMER.RESET.{stream}.{name}", self.rnd.choice((None, {}, {"seq": 0})))
        return self.request(f"$JS.API.CONSUMER.RESET.{stream}.{name}", {"seq": self.rnd.randint(1, self.sent + 1)})

    def pause(self):
        stream, name = self.consumer()
        if self.chance(0.3):
            return self.request(f"$JS.API.CONSUMER.PAUSE.{stream}.{name}", self.rnd.choice((None, {})))
        return self.request(f"$JS.API.CONSUMER.PAUSE.{stream}.{name}",
                            {"pause_until": self.rnd.choice(("2090-01-01T00:00:00Z", "2020-01-01T00:00:00Z"))})
