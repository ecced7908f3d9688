"""Two servers side by side: the genuine one and Frond, asked the same.

    with Beside(directory) as beside:
        wrong = beside.judge(conversations)    # a story for each that differs, or that should and does not
"""
import difflib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .conversation import Player
from .server import Frond, NatsServer

TOGETHER = 6  # conversations at a time
TRIES = 3     # a difference must show so often: the genuine server's threads race now and then (num_pending, above all)


def accounts(count):
    """Configuration: so many accounts with JetStream, a user each, and one for the system."""
    lines = ["accounts {", '  SYS: { users: [ { user: sys, password: p } ] }']
    lines += [f"  A{n}: {{ jetstream: enabled, users: [ {{ user: a{n}, password: p }} ] }}" for n in range(count)]
    return "\n".join([*lines, "}", "system_account: SYS"])


class Beside:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.pairs = 0
        self.verbose = False
        self.troubles = []

    def __enter__(self):
        self.workers = ThreadPoolExecutor(2 * TOGETHER)
        return self

    def __exit__(self, *_):
        self.workers.shutdown()

    def start(self, config, **options):
        """(genuine, Frond), running."""
        self.pairs += 1
        servers = [kind(self.directory / f"{kind.kind}-{self.pairs}", name="server", config=config, **options)
                   for kind in (NatsServer, Frond)]
        for server in servers:
            if "jetstream" in config and not options.get("jetstream"):
                server.extra = f'store_dir: "{server.store_dir}"\n' + config
            server.start(wait=False)
        for server in servers:
            server.wait_ready()
        return servers

    def stop(self, servers):
        """Frond's troubles (what a sanitizer said, a bad end) are remembered."""
        for server in servers:
            server.stop()
        try:
            servers[1].check()
        except AssertionError as trouble:
            self.troubles.append(str(trouble))

    def play(self, talk, servers, user=None):
        """What each heard: [(step, text)] twice."""
        runs = []
        for server in servers:
            place = Path(tempfile.mkdtemp(dir=server.directory))
            runs.append(self.workers.submit(Player(server, user, place).play, talk))
        return [run.result() for run in runs]

    def judge(self, talks):
        """Stories of those that are wrong, in the order of talks."""
        stories = []
        groups = {}
        for talk in talks:
            groups.setdefault(talk.config, []).append(talk)
        for config, group in groups.items():
            servers = self.start(config) if config else self.start(accounts(TRIES * len(group)), jetstream=True)
            try:
                stories += self.judge_group(group, servers, alone=bool(config))
            finally:
                self.stop(servers)
        return stories + self.troubles

    def judge_group(self, group, servers, alone):
        def one(n, talk):
            for attempt in range(1 if alone and "jetstream" in talk.config else TRIES):
                user = None if alone else {"user": f"a{n + attempt * len(group)}", "pass": "p"}
                heard = self.play(talk, servers, user)
                if self.verbose:
                    print(transcript(talk, *heard))
                wrong = verdict(talk, *heard)
                if not wrong:
                    return None
            return wrong

        if alone:
            found = [one(n, talk) for n, talk in enumerate(group)]
        else:
            with ThreadPoolExecutor(TOGETHER) as callers:
                found = list(callers.map(one, range(len(group)), group))
        return [story for story in found if story]


def verdict(talk, theirs, ours):
    """None, or what is wrong."""
    if talk.differs:
        return None if theirs != ours else f"{talk.where}: {talk.title}: does not differ any more, though marked so"
    if theirs == ours:
        return None
    out = [f"{talk.where}: {talk.title}"]
    for at, step in enumerate(talk.steps):
        said = [[text for n, text in heard if n == at] for heard in (theirs, ours)]
        if said[0] != said[1]:
            out.append("  " + step.text().replace("\n", "\n  "))
            out += [f"    {line}" for line in compared(*said)]
    return "\n".join(out)


def transcript(talk, *runs):
    out = [f"== {talk.title}"]
    for at, step in enumerate(talk.steps):
        out.append(step.text())
        for mark, heard in zip("-+", runs):
            out += [f"   {mark} {text}" for n, text in heard if n == at]
    return "\n".join(out)


def compared(theirs, ours):
    """Lines that tell the difference: - genuine, + Frond; of JSON only the members that differ."""
    split = [[line for text in said for line in text.split("\n")] for said in (theirs, ours)]
    match = difflib.SequenceMatcher(a=split[0], b=split[1], autojunk=False)
    for kind, i, j, k, m in match.get_opcodes():
        if kind == "equal":
            continue
        gone, come = split[0][i:j], split[1][k:m]
        while gone and come and parts(gone[0]) and parts(come[0]) and parts(gone[0])[0] == parts(come[0])[0]:
            yield from pieces(gone.pop(0), come.pop(0))
        yield from (f"- {line[:2000]}" for line in gone)
        yield from (f"+ {line[:2000]}" for line in come)


def parts(line):
    """(what stands before a JSON object, its members)"""
    head, brace, rest = line.partition("{")
    try:
        return head, dict(members(json.loads(brace + rest)))
    except ValueError:
        return None


def pieces(theirs, ours):
    (head, a), (_, b) = parts(theirs), parts(ours)
    found = [f"  {path[1:]}: {a.get(path, '(absent)')} / {b.get(path, '(absent)')}"
             for path in [*a, *(p for p in b if p not in a)] if a.get(path, "(absent)") != b.get(path, "(absent)")]
    yield f"{head}{{}}: genuine / Frond" if found else f"- {theirs}\n    + {ours}"
    yield from found[:8]
    if len(found) > 8:
        yield f"  … and {len(found) - 8} more"


def members(value, path=""):
    """(path, value) of each leaf."""
    if isinstance(value, (dict, list)) and value:
        for k, v in value.items() if isinstance(value, dict) else enumerate(value):
            yield from members(v, f"{path}.{k}")
    else:
        yield path, json.dumps(value)
