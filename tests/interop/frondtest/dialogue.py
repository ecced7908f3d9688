"""Dialogues: requests and the answers of the genuine server, one text for three players.

tests/dialogue/*.txt is played by tests/unit/jsapi/test_dialogue.c (no server, a fake host), by Frond and by the
genuine server. A step is a few lines, an empty line ends it:

    # anything
    > SUBJECT            request
    h Name: value        a header of it
    b BODY               its payload
    x 3                  so many answers are awaited (1 when absent, 0: publish without reply)
    <h NATS/1.0 404 …    headers of an answer, CR LF written as |
    < BODY               an answer, moments masked; "(no responders)", "(silence)"
    = BODY               what Frond says where it differs on purpose

FROND_RECORD=1 writes the genuine server's answers into the file.
"""
import json
import re
import time
from dataclasses import dataclass, field

from .raw import Raw

MASKS = (
    (re.compile(r'"(created|ts|first_ts|last_ts|time|timestamp|last_active)":"2[^"]*"'), r'"\1":"T"'),
    (re.compile(r'invalid JSON: (?!json: |can not )[^"\\]*(\\.[^"\\]*)*'), 'invalid JSON: …'),
    (re.compile(r'"leader":"[^"]*"'), '"leader":"L"'),
    (re.compile(r'Nats-Time-Stamp: [^|]*'), 'Nats-Time-Stamp: T'),
    (re.compile(r'Nats-Stream-Identity: [^|]*'), 'Nats-Stream-Identity: I'),
)


def mask(text):
    for pattern, to in MASKS:
        text = pattern.sub(to, text)
    return text


@dataclass
class Step:
    subject: str
    headers: list = field(default_factory=list)
    body: str = ""
    count: int = 1
    answers: list = field(default_factory=list)  # of the genuine server: (headers, body)
    ours: list = field(default_factory=list)     # where Frond differs on purpose
    before: list = field(default_factory=list)   # comments in front


def read(path):
    steps, step, comments = [], None, []
    head = ""
    for line in path.read_text().split("\n"):
        mark, _, rest = line.partition(" ")
        if not line:
            step = None
        elif mark == "#":
            comments.append(line)
        elif mark == ">":
            step = Step(rest, before=comments)
            comments = []
            steps.append(step)
        elif mark == "h":
            step.headers.append(rest)
        elif mark == "b":
            step.body = rest
        elif mark == "x":
            step.count = int(rest)
        elif mark == "<h":
            head = rest
        elif mark == "<":
            step.answers.append((head, rest))
            head = ""
        elif mark == "=":
            step.ours.append((head, rest))
            head = ""
        else:
            raise ValueError(f"{path}: {line!r}")
    return steps


def write(path, steps):
    out = []
    for step in steps:
        out += step.before
        out.append(f"> {step.subject}")
        out += [f"h {h}" for h in step.headers]
        if step.body:
            out.append(f"b {step.body}")
        if step.count != 1:
            out.append(f"x {step.count}")
        for mark, answers in (("<", step.answers), ("=", step.ours)):
            for head, body in answers:
                if head:
                    out.append(f"<h {head}")
                out.append(f"{mark} {body}")
        out.append("")
    path.write_text("\n".join(out))


def speaks(step, at):
    """Is another answer known to come?"""
    wanted = step.ours or step.answers
    return at < len(wanted) and wanted[at][1] != "(silence)"


def play(server, steps, quiet=0.5, patience=5):
    """Each step's answers, masked: a list of lists of (headers, body)."""
    heard = []
    with Raw(server.port) as c:
        c.hello()
        c.send("SUB answer.* 1")
        c.sync()
        for at, step in enumerate(steps):
            reply = f" answer.{at}" if step.count else ""
            body = step.body.encode()
            if step.headers:
                head = ("NATS/1.0\r\n" + "".join(h + "\r\n" for h in step.headers) + "\r\n").encode()
                c.send(f"HPUB {step.subject}{reply} {len(head)} {len(head) + len(body)}", head + body)
            else:
                c.send(f"PUB {step.subject}{reply} {len(body)}", body)
            answers = []
            while len(answers) < step.count:
                try:
                    m = c.message(timeout=patience if speaks(step, len(answers)) else quiet)
                except TimeoutError:
                    answers.append(("", "(silence)"))
                    break
                if m.subject != f"answer.{at}":
                    continue
                head = mask(m.headers.decode().replace("\r\n", "|"))
                if head.startswith("NATS/1.0 503"):
                    answers.append(("", "(no responders)"))
                    break
                answers.append((head, mask(m.payload.decode())))
            if not step.count:
                c.sync()
            heard.append(answers)
    return heard


def story(step, heard):
    """For a failed assertion."""
    wanted = step.ours or step.answers
    lines = [f"> {step.subject}"] + [f"h {h}" for h in step.headers] + [f"b {step.body}"]
    lines += [f"wanted {h} {b}" for h, b in wanted] + [f"heard  {h} {b}" for h, b in heard]
    return "\n".join(lines)
