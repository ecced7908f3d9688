"""A store with everything in it, and what a server says about each piece of it.

    build(port, seed)     streams, consumers, deletes, ids, a large message
    look(port)            every answer there is: {key: bytes}, keys ("get", stream, seq), ("last", stream, subject),
                          ("state", stream), ("consumer", stream, name), ("read", stream)

Two looks at the same store are equal, so what a flipped bit changes is what differs.
"""
import json
import random

from wire import Gone, Wire, api

DIRECT = {"storage": "file", "allow_direct": True}


def size_of(dice):
    kind = dice.random()
    if kind < 0.55:
        return dice.randint(10, 300)
    return dice.randint(300, 3000) if kind < 0.95 else dice.randint(3000, 60_000)


def good(answers):
    for answer in answers:
        got = json.loads(answer)
        if "error" in got:
            raise AssertionError(got["error"])
    return answers


def publishes(dice, count, subject):
    return [(subject(), dice.randbytes(size_of(dice))) for _ in range(count)]


def acks(wire, stream, consumer, batch, keep):
    """Pulls batch and acknowledges all but the last `keep`."""
    replies = [reply for _, reply, _ in wire.pull(stream, consumer, batch)]
    assert len(replies) == batch
    wire.ask([(reply, b"+ACK") for reply in replies[:batch - keep]])


def build(port, seed, scale=1.0):
    dice = random.Random(seed)
    n = lambda count: max(20, int(count * scale))  # noqa: E731
    with Wire(port) as wire:
        good(wire.ask([
            api("STREAM.CREATE.LIM", {"name": "LIM", "subjects": ["lim.>"], **DIRECT}),
            api("STREAM.CREATE.KV", {"name": "KV", "subjects": ["kv.>"], "max_msgs_per_subject": 1, **DIRECT}),
            api("STREAM.CREATE.WQ", {"name": "WQ", "subjects": ["wq.>"], "retention": "workqueue", **DIRECT}),
            api("STREAM.CREATE.BIG", {"name": "BIG", "subjects": ["big"], **DIRECT}),
            api("STREAM.CREATE.NONE", {"name": "NONE", "subjects": ["none"], **DIRECT}),
            api("CONSUMER.DURABLE.CREATE.LIM.reader", {"stream_name": "LIM", "config": {
                "durable_name": "reader", "ack_policy": "explicit", "ack_wait": 3600_000_000_000}}),
            api("CONSUMER.DURABLE.CREATE.LIM.some", {"stream_name": "LIM", "config": {
                "durable_name": "some", "ack_policy": "explicit", "filter_subject": "lim.3"}}),
            api("CONSUMER.DURABLE.CREATE.WQ.worker", {"stream_name": "WQ", "config": {
                "durable_name": "worker", "ack_policy": "explicit", "ack_wait": 3600_000_000_000}}),
        ]))
        for burst in range(10):
            good(wire.ask(publishes(dice, n(120), lambda: f"lim.{dice.randint(1, 9)}")))
            good(wire.ask(publishes(dice, n(80), lambda: f"kv.{dice.randint(1, n(150))}")))
            good(wire.ask(publishes(dice, n(30), lambda: f"wq.{dice.randint(1, 3)}")))
        good(wire.ask([("big", dice.randbytes(200_000)), ("big", dice.randbytes(70_000)), ("big", b"small")]))
        dead = dice.sample(range(1, n(120) * 10), n(40))
        good(wire.ask([api("STREAM.MSG.DELETE.LIM", {"seq": seq, "no_erase": i % 3 > 0})
                       for i, seq in enumerate(dead)]))
        acks(wire, "LIM", "reader", n(60), 5)
        acks(wire, "WQ", "worker", n(100), 7)
        good(wire.ask(publishes(dice, n(60), lambda: f"lim.{dice.randint(1, 9)}")))


def state_of(answer):
    got = json.loads(answer)
    return json.dumps([got["config"], got["state"]] if "state" in got else got, sort_keys=True).encode()


def consumer_of(answer):
    got = json.loads(answer)
    if "config" not in got:
        return answer
    keep = ("config", "num_ack_pending", "num_pending", "num_redelivered")
    floor = [got[key][part] for key in ("delivered", "ack_floor") for part in ("stream_seq", "consumer_seq")]
    return json.dumps([[got[key] for key in keep], floor], sort_keys=True).encode()


STREAMS = ("BIG", "KV", "LIM", "NONE", "WQ")
CONSUMERS = (("LIM", "reader"), ("LIM", "some"), ("WQ", "worker"))


class Plan:
    """What is asked; made once, of the sound store."""

    def __init__(self, port):
        self.gets, self.lasts = [], []
        with Wire(port) as wire:
            for stream in STREAMS:
                got = json.loads(wire.ask([api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})])[0])
                last, subjects = got["state"]["last_seq"], sorted(got["state"].get("subjects") or {})
                self.gets += [("get", stream, seq) for seq in range(1, last + 1)]
                self.lasts += [("last", stream, subject) for subject in subjects]

    def questions(self):
        out = {("state", s): api(f"STREAM.INFO.{s}") for s in STREAMS}
        out |= {("consumer", *c): api("CONSUMER.INFO.%s.%s" % c) for c in CONSUMERS}
        out |= {key: api(f"DIRECT.GET.{key[1]}", {"seq": key[2]}) for key in self.gets}
        out |= {key: api(f"DIRECT.GET.{key[1]}", {"last_by_subj": key[2]}) for key in self.lasts}
        out[("subjects", "LIM")] = api("STREAM.INFO.LIM", {"subjects_filter": ">", "deleted_details": True})
        return out


def normal(key, answer):
    if answer is None or answer.startswith(b"NATS/1.0 "):
        return answer
    if key[0] in ("state", "subjects"):
        return state_of(answer)
    return consumer_of(answer) if key[0] == "consumer" else answer


def read(wire, stream, filters):
    """Everything a new consumer gets."""
    name = f"all{len(filters)}"
    config = {"name": name, "ack_policy": "none", "mem_storage": True, "filter_subjects": filters}
    answer = wire.ask([api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})])[0]
    if "error" in json.loads(answer):
        return [answer]
    return [(subject, reply.split(".", 4)[4].split(".")[1:4:2], body)
            for subject, reply, body in wire.pull(stream, name, 100_000)]


def look(port, plan):
    """{key: answer}, and None, or why it ended early."""
    out, questions = {}, plan.questions()
    try:
        wire = Wire(port)
    except Gone as error:  # it ended between its start and the first question
        return out, error
    with wire:
        keys = list(questions)
        try:
            answers = wire.ask(list(questions.values()))
        except Exception as error:
            out.update({k: normal(k, a) for k, a in zip(keys, getattr(error, "answers", [])) if a is not None})
            return out, error
        out.update({k: normal(k, a) for k, a in zip(keys, answers)})
        for stream, filters in (("LIM", []), ("LIM", ["lim.1", "lim.2"]), ("KV", [])):
            try:
                out[("read", stream, len(filters))] = read(wire, stream, filters)
            except Exception as error:
                return out, error
    return out, None
