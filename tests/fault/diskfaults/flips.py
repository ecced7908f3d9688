"""One flipped bit in a store at rest: what does the server make of it?

A store is built and looked at; then, for each flip, a copy gets one bit wrong, a server is started on it and everything
is looked at again. What each answer may be:

    equal           as from the sound store
    held back       an error or nothing, and the log names that message as damaged
    stopped         the process ended with the distinct status and a line, before any wrong answer (one that says 500 is not
                    wrong then); the file is as it was, and the second start lives without JetStream

All else is wrong. A flip counts as found when something was said about it (or the process stopped), as harmless when every
answer was equal and nothing was said: free space, the other root, rows that are not needed.
"""
import hashlib
import json
import random
import re
import shutil
import time
from dataclasses import dataclass

import trees
from scene import Plan, build, look
from server import STORE_FAILED, Server
from wire import Gone, Silent, lives

NAMES = re.compile(r"Stream '(\w+)': message (\d+) is damaged")


@dataclass
class Verdict:
    kind: str  # found, harmless, stopped, wrong
    text: str = ""
    held: int = 0  # messages held back
    at: str = ""  # where it stopped: start, look
    what: str = ""  # it hit, of LMDB's own words


def is_status(answer):
    """No message: a status header, or an API error."""
    if answer.startswith(b"NATS/1.0 ") and answer[9:12].isdigit():
        return True
    return answer.startswith(b"{") and b'"error"' in answer[:400]


def is_failure(answer):
    """Says that the store can't tell, which is not the same as that there is nothing."""
    return isinstance(answer, bytes) and (answer.startswith(b"NATS/1.0 50") or b'"code": 50' in answer[:400])


def held_back(key, damaged, truth):
    """Is this message known as damaged?"""
    if key[0] == "get":
        return (key[1], key[2]) in damaged
    number = re.search(rb"Nats-Sequence: (\d+)", truth[key])
    return bool(number) and (key[1], int(number[1])) in damaged


def is_earlier(key, answer, truth):
    """The newest but the damaged one, as it was written."""
    number, newest = (re.search(rb"Nats-Sequence: (\d+)", text) for text in (answer, truth[key]))
    return bool(number) and int(number[1]) < int(newest[1]) and answer == truth.get(("get", key[1], int(number[1])))


def reads_differ(key, answer, truth, damaged):
    """A consumer's messages may lack the damaged ones, and nothing else."""
    stream = key[1]
    def seq(message):
        return int(message[1][0])
    if any(len(m) != 3 for m in answer):
        return f"{key}: {answer}"
    want = [m for m in truth if (stream, seq(m)) not in damaged]
    got = [m for m in answer if (stream, seq(m)) not in damaged]
    if want == got:
        return None
    lost = sorted({seq(m) for m in want} - {seq(m) for m in got})
    return f"{key}: {len(got)} delivered instead of {len(want)}, lost {lost[:5]}, " \
           f"other {[seq(g) for g in got if g not in want][:5]}"


def differences(found, truth, damaged, recounted, failed):
    """What can't be explained. A store that has failed says so until the process has ended. A count of subjects lacks damaged messages, whose subject nobody knows."""
    wrong, held = [], set()
    for key, answer in found.items():
        want = truth[key]
        if answer == want or failed and is_failure(answer):
            continue
        if key[0] == "subjects" and (damaged or recounted) and subjects_less(answer, want):
            continue
        if key[0] == "consumer" and pending_less(key, answer, want, damaged):
            continue
        if key[0] == "read":
            wrong.append(reads_differ(key, answer, want, damaged))
        elif key[0] in ("get", "last") and held_back(key, damaged, truth) and (
                is_status(answer) or key[0] == "last" and is_earlier(key, answer, truth)):
            held.add(key[1:])
        else:
            wrong.append(f"{key}: {answer[:200]} instead of {want[:200]}")
    return [w for w in wrong if w], len({h for h in held if isinstance(h[1], int)})


def subjects_less(answer, want):
    """Only the counts of subjects differ, and none is larger."""
    answer, want = json.loads(answer), json.loads(want)
    some, all_ = answer[1].pop("subjects", {}), want[1].pop("subjects")
    return answer == want and all(count <= all_.get(subject, 0) for subject, count in some.items())


def pending_less(key, answer, want, damaged):
    """Only num_pending differs, and by no more than messages are held back."""
    try:
        answer, want = json.loads(answer), json.loads(want)
        lacking = want[0].pop(2) - answer[0].pop(2)
    except (ValueError, TypeError, LookupError, AttributeError):
        return False
    return answer == want and 0 <= lacking <= sum(stream == key[1] for stream, _ in damaged)


def digest(path):
    return hashlib.md5(path.read_bytes()).digest()


class Flips:
    """One worker's share."""

    def __init__(self, directory, seed, clean, scale=1.0):
        self.directory, self.seed = directory, seed
        self.server = Server(directory / "sound")
        self.clean = clean
        assert self.server.start(), self.server.log
        build(self.server.port, seed, scale)
        self.server.end("terminate" if clean else "kill")
        self.master = directory / "master"
        shutil.copytree(self.server.store, self.master)
        self.data = (self.master / "jetstream/frond/data.mdb").read_bytes()
        assert self.server.start(), self.server.log
        self.plan = Plan(self.server.port)
        self.truth, error = look(self.server.port, self.plan)
        assert not error, error
        self.server.end()
        self.victim = Server(directory / "victim")

    @property
    def bits(self):
        return len(self.data) * 8

    def prepare(self, bit):
        shutil.rmtree(self.victim.store)
        shutil.copytree(self.master, self.victim.store)
        byte = self.data[bit // 8] ^ (1 << bit % 8)
        with open(self.victim.data, "r+b") as it:
            it.seek(bit // 8)
            it.write(bytes([byte]))

    def try_bit(self, bit):
        self.prepare(bit)
        server = self.victim
        before = digest(server.data)
        try:
            if not server.start():
                return self.stopped("start", before)
            found, error = look(server.port, self.plan)
            if isinstance(error, Silent):
                return Verdict("wrong", f"no answer after {len(found)} answers: {server.complaints()[-3:]}")
            damaged = {(s, int(n)) for s, n in NAMES.findall(server.log)}
            wrong, held = differences(found, self.truth, damaged, "index row of" in server.log,
                                      "data.mdb can't be read (" in server.log)
            if wrong:
                return Verdict("wrong", f"{len(wrong)} wrong: {wrong[0]} {server.complaints()[:3]}")
            if error or server.ended(0) is not None:
                return self.stopped("look", None)
            said = [line for line in server.complaints()]
            return Verdict("found" if said else "harmless", said[0] if said else "", held or len(damaged))
        except Gone as error:
            return Verdict("wrong", f"{error}: {server.log[-400:]}")
        finally:
            server.end()

    def stopped(self, where, before):
        server = self.victim
        code = server.ended(15)
        lines = server.complaints()
        if code != STORE_FAILED or not lines:
            return Verdict("wrong", f"ended at {where} with {code}: {server.log[-600:]}")
        if before and digest(server.data) != before:
            return Verdict("wrong", f"ended at {where} and changed the file: {lines}")
        server.end()
        text = lines[0]
        if where == "look":
            server.start()
            _, error = look(server.port, self.plan)
            if server.ended(1) is None and error is None:
                return Verdict("stopped", text, at="look, not again")
            server.end()
        if not server.start():
            return Verdict("wrong", f"the second start ended as well, after {where}: {server.log[-600:]}")
        if not lives(server.port):
            return Verdict("wrong", f"no echo after {where}")
        return Verdict("stopped", text, at=where)


def choose(data, dice, total, aim):
    """[(bit, what)]: any, or with `aim` those of LMDB's own words whose names hold it: all kinds of them alike."""
    if aim is None:
        return [(dice.randrange(len(data) * 8), "") for _ in range(total)]
    kinds = {}
    for at, n, what in trees.bits(data):
        if n and aim in what:
            kinds.setdefault(what, []).append((at, n))
    out = []
    for _ in range(total if kinds else 0):
        what = dice.choice(sorted(kinds))
        at, n = dice.choice(kinds[what])
        out.append((at * 8 + dice.randrange(n * 8), what))
    return out


def run(directory, seed, numbers, total, clean, deadline, scale=1.0, aim=None):
    """The size of the file, and [(bit, Verdict)] of the flips with these numbers out of `total`."""
    flips = Flips(directory, seed, clean, scale)
    bits = choose(flips.data, random.Random(f"{seed}/bits"), total, aim)
    out = []
    for number in numbers[:len(bits)]:
        if time.monotonic() > deadline:
            break
        bit, what = bits[number]
        verdict = flips.try_bit(bit)
        verdict.what = what
        out.append((bit, verdict))
    return len(flips.data), out
