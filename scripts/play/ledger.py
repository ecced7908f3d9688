"""What was acknowledged against what the hub's stream holds, and numbers for the table. Pure."""
import json
import random
from collections import Counter
from typing import NamedTuple

BREAKS = ("drop", "dup", "swap")


class Found(NamedTuple):
    """A message of the hub's stream, as read back."""
    id: str
    site: str
    till: int
    number: int
    digest: bytes


def found(body, digest):
    order = json.loads(body)
    return Found(order["id"], order["site"], order["till"], order["number"], digest)


class Verdict(NamedTuple):
    acknowledged: int
    present: int  # messages of this site in the hub's stream
    missing: int  # acknowledged, and not there with the body that was sold
    twice: int  # copies too many
    disorder: int  # behind one that the site stored, or its till sold, later
    strange: int  # never acknowledged

    @property
    def good(self):
        return not (self.missing or self.twice or self.disorder or self.strange)


def damage(messages, how, seed):
    """Damage what was read back, to prove that judge() notices."""
    at = random.Random(seed).randrange(len(messages) - 1)
    if how == "drop":
        del messages[at]
    elif how == "dup":
        messages.insert(at, messages[at])
    elif how == "swap":
        site = messages[at].site
        places = [n for n, message in enumerate(messages) if message.site == site]
        here = min(places.index(at), len(places) - 2)
        one, two = places[here], places[here + 1]
        messages[one], messages[two] = messages[two], messages[one]


def judge(site, acks, messages):
    """acks: all of this site; messages: the hub's stream in its order, all sites."""
    stored = {ack.id: ack for ack in acks}
    mine = [message for message in messages if message.site == site]
    copies = Counter(message.id for message in mine)
    whole, newest_seq, newest_number, disorder = set(), 0, {}, 0
    for message in mine:
        ack = stored.get(message.id)
        if not ack or message.id in whole:
            continue
        if ack.digest == message.digest:
            whole.add(message.id)
        if ack.seq < newest_seq or message.number < newest_number.get(message.till, 0):
            disorder += 1
        newest_seq = max(newest_seq, ack.seq)
        newest_number[message.till] = max(newest_number.get(message.till, 0), message.number)
    return Verdict(
        acknowledged=len(stored), present=len(mine), missing=len(stored) - len(whole),
        twice=sum(copies.values()) - len(copies), disorder=disorder,
        strange=sum(1 for name in copies if name not in stored))


def total(verdicts):
    return Verdict(*(sum(column) for column in zip(*verdicts)))


def percentile(values, part):
    if not values:
        return None
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


def phases(acks, down):
    """Ack latencies in seconds: before the first outage, while the link was down, after it."""
    first = down[0][0] if down else float("inf")
    parts = {"before": [], "during": [], "after": []}
    for ack in acks:
        if ack.at < first:
            name = "before"
        elif any(cut <= ack.at < back for cut, back in down):
            name = "during"
        else:
            name = "after"
        parts[name].append(ack.at - ack.sent)
    return parts
