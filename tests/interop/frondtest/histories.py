"""Random histories: requests and publishes that make sense now and then, the same to both servers.

A history is a list of steps in the words of conversation.py; a seed makes the same one for ever. After each step both
servers are asked for the state of every stream and consumer, and what they say is compared; what may take a moment gets
it. A history that differs is made shorter, step by step, as long as it still differs. author.py thinks of the steps.
"""
import json
import re
import time

from .author import CONSUMERS, COPIES, Author
from .conversation import Conversation, Player, Step

PATIENCE, SILENT = 4, 0.7  # seconds for an answer; where none came last, or none comes from the other
SILENCE = ["(silence)"]


class Pair:
    """The two players of a history, in an account of their own."""

    def __init__(self, servers, user):
        self.players = [Player(server, user) for server in servers]
        self.restarted = False
        self.refused = {}  # "P.3": the delivery that was refused
        self.owed = {}  # ("S", "P"): num_ack_pending
        self.mute = set()  # "s", "t": streams to which a publish was not answered last

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for player in self.players:
            player.close()

    def both(self, step):
        """What each says to it."""
        heard, place = [], step.words.split(".")[0]
        self.note_refused(step)
        for player in self.players:
            player.heard = []
            player.patience = SILENT if place in self.mute or heard == [SILENCE] else PATIENCE
            player.step(step)
            heard.append([player.mask(text) for _, text in player.heard])
        (self.mute.add if heard == [SILENCE] * 2 and place in ("s", "t") else self.mute.discard)(place)
        self.restarted |= step.kind == "restart"
        return [[comparable(step, text, self.restarted) for text in texts] for texts in heard]

    def note_refused(self, step):
        """Remembers a NAK, so that nothing hurries past it (docs/differences.md)."""
        if step.body.startswith("-NAK") and (ack := self.players[0].acks.get(step.words[1:])):
            self.refused[step.words[1:]] = ack

    def wait_for_again(self, step):
        """After a NAK with a delay of a millisecond, until the message is up again: the genuine server looks every 10 ms."""
        if step.body.startswith("-NAK") and "1000000}" in step.body:
            time.sleep(0.3)

    def still_refused(self, consumer):
        """Whether a message waits that was refused and not delivered again."""
        name, most = consumer["name"], consumer["config"].get("max_deliver", -1)
        return consumer["num_ack_pending"] > 0 and any(
            key.startswith(name + ".") and self.players[0].acks[key] == ack and int(ack.split(".")[4]) != most
            for key, ack in self.refused.items())

    def may_restart(self):
        """Not while a consumer begins where its stream has not come to, nor with a list of which nothing was delivered, nor
        with a NAK that no delivery has followed: the genuine server has other thoughts about them afterwards
        (docs/differences.md)."""
        (streams, *consumers), _ = zip(*map(self.both, LOOKS))
        last = {s["config"]["name"]: s["state"]["last_seq"] for s in listed(streams, "streams")}
        return not any(self.still_refused(c) or c["delivered"]["stream_seq"] > last[c["stream_name"]] or
                       c["config"]["deliver_policy"] == "last_per_subject" and not c["delivered"]["consumer_seq"]
                       for texts in consumers for c in listed(texts, "consumers"))

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
        self.wait_for_again(step)
        if heard[0] != heard[1] and not known(step, heard[0]):
            return step, *heard
        for look in looks:
            heard = self.settled(look, patience)
            if heard[0] != heard[1]:
                return look, *heard
            self.owed.update({(c["stream_name"], c["name"]): c["num_ack_pending"] for c in listed(heard[0], "consumers")})
        return None

    def raced(self, step, found):
        """Whether only floors differ, of consumers that lost several pending messages at once to a stream's limits or to a
        purge: the genuine server settles each in a thread of its own, and floors tell in which order (docs/differences.md)."""
        look, *heard = found
        if step.words.startswith("@") or ".CONSUMER.LIST." not in look.words:
            return False
        floors, rest = zip(*map(floors_of, heard))
        return rest[0] == rest[1] and all(floors[0][who] == floors[1][who] or self.owed.get(who, 0) - owed > 1
                                          for who, owed in rest[0][0].items())


def listed(texts, what):
    """The streams or consumers of a list that was heard; none where there is no such stream."""
    return json.loads(texts[0].partition("|")[2] or "{}").get(what) or []


def floors_of(texts):
    """Of a list of consumers: {who: its floor}, and the rest ({who: num_ack_pending}, the list without floors)."""
    consumers = listed(texts, "consumers")
    floors = {(c["stream_name"], c["name"]): c.pop("ack_floor") for c in consumers}
    return floors, ({(c["stream_name"], c["name"]): c["num_ack_pending"] for c in consumers}, consumers)


FILTER = re.compile(r'("mirror":\{"name":"[^"]*","lag":\d+,"active":[^,}]*),"(filter_subject":"[^"]*"|subject_transforms":\[[^]]*\])')


def comparable(step, text, restarted):
    """What was heard, without what the genuine server says early or late (docs/differences.md)."""
    if copies(step):  # it tells of the filter when it has asked for a consumer; the looks will see it
        text = FILTER.sub(r"\1", text)
    if restarted:
        text = re.sub('"mirror_direct":(true|false)', '"mirror_direct":null', text)
        if step.words.startswith(("$JS.API.CONSUMER.CREATE", "$JS.API.CONSUMER.DURABLE.CREATE")) and '"config":' in text:
            return "made"  # told as it was at the start
    return text


def known(step, theirs):
    """The genuine server finds nothing in a file up to a number that it has not reached."""
    return '"up_to_seq"' in step.body and theirs == ["|NATS/1.0 404 No Results||"]


HARMLESS = tuple(f"$JS.API.{words}" for words in ("INFO", "STREAM.LIST", "STREAM.NAMES", "STREAM.INFO", "CONSUMER.NAMES",
                                                  "CONSUMER.LIST", "CONSUMER.INFO"))
LOOKS = [Step(">", "$JS.API.STREAM.LIST"), *(Step(">", f"$JS.API.CONSUMER.LIST.{name}") for name in CONSUMERS)]
CLOSE_LOOKS = LOOKS + [Step(">", f"$JS.API.STREAM.INFO.{name}", body='{"subjects_filter":">","deleted_details":true}')
                       for name in (*CONSUMERS, "KV_B", "OBJ_O", *COPIES)]


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


def improvise(seed, count, servers, user, wide=False):
    """A history of count steps while it is played: (the steps, the first difference or None)."""
    author, steps = Author(seed, wide), []
    with Pair(servers, user) as pair:
        for n in range(count):
            author.acks = [ack for ack in pair.players[0].acks if ack in pair.players[1].acks]
            step = author.step()
            while step.kind == "restart" and not pair.may_restart():
                step = author.step()
            steps.append(step)
            found = pair.differs(steps[-1], CLOSE_LOOKS if n % 8 == 7 else LOOKS, patience_with(steps))
            if found:
                return steps, None if stalled(found, author) or held(step, found) or pair.raced(step, found) else found
    return steps, None


def stalled(found, author):
    """The genuine server waits for the next nudge when the list of a consumer names a message that has gone meanwhile;
    there a history ends (docs/differences.md)."""
    step, theirs, _ = found
    return ".MSG.NEXT." in step.words and step.words.split(".")[-1] in author.listed and any("|NATS/1.0 40" in text for text in theirs)


def held(step, found):
    """A purge freed a full window: the genuine server serves who waits there when something else wakes the consumer;
    there a history ends, too."""
    look, *heard = found
    if ".STREAM.PURGE." not in step.words or ".CONSUMER.LIST." not in look.words:
        return False
    theirs, ours = ({c["name"]: c for c in listed(texts, "consumers")} for texts in heard)
    return theirs.keys() == ours.keys() and all(
        one == ours[name] or one["num_waiting"] and one["delivered"]["consumer_seq"] < ours[name]["delivered"]["consumer_seq"]
        for name, one in theirs.items())


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
