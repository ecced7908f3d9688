"""What an image must hold, may hold, and does hold.

A judge goes over the tape forwards, as the disk does, and keeps for each stream which records must be there, which
may be. Said before the cut: must be. Heard before it: may be. What was heard but not said can be either way, except
that sequences have no gaps of their own making: a record is there when a later one is.
"""
import struct

FACT = struct.Struct("<QIIIxxxx")
NEVER = 1 << 62


class Facts:
    """The file that powercut_open wrote."""

    def __init__(self, data):
        self.streams = {}
        at = 0
        while at < len(data):
            end = data.index(b"\n", at)
            word, _, name, *numbers = data[at:end].decode().split(" ")
            assert word == "stream", word
            self.msgs, self.first, self.last, self.holes, count, cursors, length = map(int, numbers)
            stream = self.streams[name] = Found(self.msgs, self.first, self.last, self.holes)
            at = end + 1
            stream.config = data[at:at + length]
            at += length
            stream.facts = [data[i:i + FACT.size] for i in range(at, at + count * FACT.size, FACT.size)]
            at += count * FACT.size
            for _ in range(cursors):
                end = data.index(b"\n", at)
                word, name, *numbers = data[at:end].decode().split(" ")
                assert word == "cursor", word
                delivered, floor, pending, given, length = map(int, numbers)
                at = end + 1
                config = data[at:at + length]
                at += length
                unsettled = struct.unpack_from(f"<{pending + given}Q", data, at)
                at += 8 * (pending + given)
                stream.cursors[name] = (config, delivered, floor, set(unsettled))


class Found:
    def __init__(self, msgs, first, last, holes):
        self.msgs, self.first, self.last, self.holes, self.cursors = msgs, first, last, holes, {}


def span(tape, marks, default=NEVER):
    """When the first of them was heard, when the first of them was answered."""
    return (min((tape.heard.get(m, NEVER) for m in marks), default=default),
            min((tape.said.get(m, NEVER) for m in marks), default=default))


class Life:
    """One stream that was made, and what is true of it at the place the judge has come to."""

    def __init__(self, tape, stream):
        self.stream = stream
        self.born = span(tape, [stream.made[0][0]])
        self.dead = span(tape, [stream.deleted] if stream.deleted else [])
        self.revisions = [(*span(tape, [mark]), text) for mark, text, _ in stream.made]
        self.configs = {text: config for _, text, config in stream.made}
        self.consumers = [(consumer, span(tape, [consumer.made[0][0]]),
                           span(tape, [consumer.deleted] if consumer.deleted else []),
                           [(*span(tape, [mark]), text) for mark, text, _ in consumer.made],
                           {seq: span(tape, marks) for seq, marks in consumer.acks.items()},
                           [(*span(tape, [mark]), until) for mark, until in consumer.pauses])
                          for consumer in stream.consumers]
        steps = []
        self.must, self.may, self.known = set(), set(), set()
        for record in stream.records:
            fact = FACT.pack(record.seq, record.mark, record.size, record.crc)
            heard, said = span(tape, [record.mark])
            taking, taken = span(tape, record.removers)
            steps += [(heard, self.may.add, fact), (heard, self.known.add, fact),
                      (taking, self.known.discard, fact), (taken, self.may.discard, fact),
                      (taking, self.must.discard, fact)]
            if said < taking:
                steps.append((said, self.must.add, fact))
        self.steps = sorted((s for s in steps if s[0] < NEVER), key=lambda s: s[0], reverse=True)

    def come_to(self, cut):
        while self.steps and self.steps[-1][0] < cut:
            _, what, fact = self.steps.pop()
            what(fact)


def revision_wrong(revisions, text, cut):
    """Older than what was answered, or newer than what was heard?"""
    place = next((i for i, one in enumerate(revisions) if one[2] == text), None)
    if place is None:
        return "unknown"
    if revisions[place][0] >= cut:
        return "never heard"
    return "taken back" if any(said < cut for _, said, _ in revisions[place + 1:]) else None


class Judge:
    def __init__(self, tape, truth, decode):
        self.lives, self.decode = [Life(tape, stream) for stream in truth], decode

    def judge(self, cut, facts):
        """A list of (kind, text): empty when all is well."""
        wrong = []
        for life in self.lives:
            life.come_to(cut)
        alive = [life for life in self.lives if life.born[0] < cut and life.dead[1] >= cut]
        for life in alive:
            if life.born[1] < cut and life.dead[0] >= cut and life.stream.name not in facts.streams:
                wrong.append(("lost", f"stream {life.stream.name}"))
        for name, found in facts.streams.items():
            config = self.decode(found.config)
            text = config.get("description")
            life = next((one for one in alive if text in one.configs), None)
            if life is None:
                gone = any(text in one.configs and one.dead[1] < cut for one in self.lives)
                wrong.append(("back" if gone else "invented", f"stream {name}: {text}"))
                continue
            wrong += [(kind, f"{name}: {what}") for kind, what in self._stream(cut, life, found, config, text)]
        return wrong + self.collected(facts)

    def collected(self, facts):
        """What a work queue held is there, or where it is collected."""
        wrong = []
        for life in self.lives:
            if life.stream.goes_to and life.stream.name in facts.streams:
                there = facts.streams.get(life.stream.goes_to.name)
                wrong += collected(life, facts.streams[life.stream.name], there.facts if there else [])
        return wrong

    def _stream(self, cut, life, found, config, text):
        trouble = revision_wrong(life.revisions, text, cut)
        if trouble:
            yield "config", f"{text}: {trouble}"
        yield from differences(config, life.configs[text], text)
        facts, elsewhere = set(found.facts), life.stream.goes_to or life.stream.comes_from
        seqs = [FACT.unpack(fact)[0] for fact in found.facts]
        lost = sorted(life.must - facts)
        if lost and not elsewhere:
            yield "lost", f"{len(lost)} acknowledged, the first {FACT.unpack(lost[0])}"
        strange = sorted(facts - life.may)
        if strange and not life.stream.comes_from:
            known = {record.mark for record in life.stream.records}
            first = FACT.unpack(strange[0])
            yield "back" if first[1] in known else "invented", f"{len(strange)} records, the first {first}"
        gaps = [fact for fact in life.known - facts if FACT.unpack(fact)[0] <= found.last]
        if gaps and not elsewhere:
            yield "gap", f"{len(gaps)} below the last number, the first {FACT.unpack(min(gaps))}"
        if seqs != sorted(set(seqs)) or len(seqs) != found.msgs:
            yield "numbers", f"{len(seqs)} records, {found.msgs} messages"
        highest = max((FACT.unpack(fact)[0] for fact in life.must), default=0)
        if found.last < max(seqs[-1:] + [highest]) or seqs and found.first != seqs[0]:
            yield "numbers", f"first {found.first}, last {found.last}; records {seqs[:1]} to {seqs[-1:]}"
        if found.msgs and found.last - found.first + 1 != found.msgs + found.holes:
            yield "numbers", f"{found.first} to {found.last}: {found.msgs} messages, {found.holes} holes"
        if not elsewhere:
            yield from self._consumers(cut, life, found, set(seqs))

    def _consumers(self, cut, life, found, seqs):
        alive = [one for one in life.consumers if one[1][0] < cut and one[2][1] >= cut]
        for consumer, born, dead, *_ in alive:
            if born[1] < cut and dead[0] >= cut and consumer.name not in found.cursors:
                yield "lost", f"consumer {consumer.name}"
        for name, (config, delivered, floor, unsettled) in found.cursors.items():
            text = self.decode(config).get("description")
            one = next((one for one in alive if one[0].name == name), None)
            if one is None:
                yield "back", f"consumer {name}"
                continue
            consumer, born, dead, revisions, acks, pauses = one
            trouble = revision_wrong(revisions, text, cut)
            if trouble:
                yield "config", f"consumer {text}: {trouble}"
            else:
                yield from differences(self.decode(config), next(c for _, t, c in consumer.made if t == text), text)
            until = self.decode(config).get("pause_until")
            if not any(heard < cut and value == until and not any(said < cut for _, said, _ in pauses[place + 1:])
                       for place, (heard, _, value) in enumerate(pauses)):
                yield "config", f"consumer {name}: paused until {until}"
            settled = {seq for seq in seqs if seq <= delivered and seq not in unsettled}
            forgotten = [seq for seq, (_, said) in acks.items() if said < cut and (seq > delivered or seq in unsettled)]
            if forgotten:
                yield "ack", f"consumer {name}: {len(forgotten)} answered acks forgotten: {forgotten[:5]}"
            early = [seq for seq in settled if acks.get(seq, (NEVER,))[0] >= cut]
            if early:
                yield "ack", f"consumer {name}: settled without an ack: {sorted(early)[:5]} (delivered {delivered})"


def collected(life, here, there):
    """A work queue and the stream that collects it: what was acknowledged is in one of both, there once and in order."""
    name, marks = life.stream.name, [FACT.unpack(fact)[1] for fact in there]
    known = {record.mark: record.seq for record in life.stream.records}
    lost = {FACT.unpack(fact)[1] for fact in life.must - set(here.facts)} - set(marks)
    if lost:
        yield "lost", f"{name}: {len(lost)} acknowledged and collected by nobody, the first {min(lost)}"
    invented = set(marks) - {FACT.unpack(fact)[1] for fact in life.may}
    if invented:
        yield "invented", f"{name}: {len(invented)} collected that nobody sent, the first {min(invented)}"
    numbers = [known.get(mark, 0) for mark in marks]
    if numbers != sorted(set(numbers)):
        yield "order", f"{name}: collected twice or out of order: {len(marks)} records, {len(set(marks))} different"


def differences(stored, answered, name):
    """Stored and answered may each say more than the other, but not something else."""
    if answered is None:
        return
    for key, value in stored.items():
        if key in answered and key not in ("metadata", "pause_until") and answered[key] != value:
            yield "config", f"{name}: {key} is {value!r}, answered was {answered[key]!r}"
