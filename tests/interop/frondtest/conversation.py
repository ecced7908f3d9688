"""Conversations: what is said to a server, in short blocks of text; what it says is compared with another's.

tests/differential/*.txt hold them, many in a file. Nothing is recorded: test_differential.py plays each beside the
genuine server, and scripts/differ writes what it found in the same words. A line is

    # anything
    config LINE          configuration of the conversations that follow, up to the next such block ("config" alone:
                         none). Without one a conversation has an account with JetStream to itself.
    == TITLE             a conversation begins
    differs REASON       it is known to differ (docs/differences.md); it is wrong then when it does not

    > SUBJECT [BODY]     a request; its answers are heard, then it goes on
    h Name: value        a header of it
    b BODY               its payload, when it is long
    x 3                  so many answers are awaited (1 when absent; 0: publish without reply; -: silence is; *: as
                         many as were asked for, or until a status ends it; ~: what comes goes by unheard)
    ? TEXT               ask again until an answer has TEXT in it (each TEXT of several lines), or, as !TEXT, until none has;
                         only the last answer counts

    A> LINE              client A sends LINE and CR LF (\\r \\n \\t \\xNN are escapes; a last \\: no CR LF)
    A! LINE              the same, A not being introduced; A~ LINE: nor does it answer PING
    A-                   A hears all that was for it up to here (a PING and its PONG)
    A? 3                 A awaits three messages or lines
    A|                   the server closes A's connection
    A. LINE              A sends LINE and waits until the server has read it; what A hears meanwhile is for the next A? or A-

    GET /PATH            a page of the monitoring
    file NAME            a file; its lines follow, each after "| "
    restart              the server stops and starts again (with a config of its own)
    run ARGUMENTS        the program itself, in the directory of the files: its last words and its exit status

    @C.3 in a subject is where to acknowledge what consumer C delivered last of sequence 3. The n-th consumer without a
    name of its own is called E<n>.
"""
import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from .dialogue import MASKS
from .raw import Raw

HELLO = {"verbose": False, "pedantic": False, "lang": "raw", "version": "0", "protocol": 1, "headers": True,
         "no_responders": True, "echo": True}
PATIENCE = 15   # seconds for what must come
QUIET = 0.35    # seconds for what must not

MORE_MASKS = (
    (re.compile(r'"api":\{"level":(\d+),"total":\d+,"errors":\d+'), r'"api":{"level":\1'),  # looks are counted, too
    (re.compile(r'"num_deleted":1,"deleted":\[0\],'), ""),  # what the genuine server says of a fresh stream
    (re.compile(r'"feature_flags":\{[^}]*\},'), ""),
    (re.compile(r'"(seq)":\d+,"time":"'), r'"\1":0,"time":"'),
    (re.compile(r'"client":\{.*?"id":\d+'), '"client":{"id":0'),
    (re.compile(r"(?s)(^|\n)Usage: .*"), r"\1(the usage)"),
    (re.compile(r"(Nats-Stream-Source: [^|\r]*) \w{8}(?=[|\r])"), r"\1 I"),
    (re.compile(r"(Bad Request - (json|invalid character))[^|]*"), r"\1"),
    (re.compile(r"(\$JS\.ACK\.(?:[^. ]+\.)+)\d{19}\."), r"\1T."),
    (re.compile(r'"(pause_remaining|active|last_active|lag_time|uptime|now|start|idle|rtt)":("[^"]*"|\d+)'), r'"\1":"T"'),
    (re.compile(r'"(id|server_id|server)":"N[A-Z2-7]{55}"'), r'"\1":"N"'),
    (re.compile(r'"id":"[A-Za-z0-9]{22}"'), '"id":"I"'),
    (re.compile(r'"invalid JSON: [^"\\]*(\\.[^"\\]*)*"'), '"invalid JSON"'),
    (re.compile(r'"ack_time":\d+'), '"ack_time":1'),
    (re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "T"),
    (re.compile(r"Nats-Pending-Time: .*"), "T"),
)


@dataclass
class Step:
    kind: str                  # ">" request, "GET", "file", "run", "restart", or a client's sign: > ! ~ - ? | .
    words: str = ""            # what follows
    who: str = ""              # the client
    headers: list = field(default_factory=list)
    body: str = ""
    count: int = 1             # answers awaited; "-": silence is; "*": what a pull gets; "~": unheard
    until: list = field(default_factory=list)
    lines: list = field(default_factory=list)  # of a file

    def text(self):
        """The step as it is written in a file."""
        if self.who:
            return f"{self.who}{self.kind} {self.words}".rstrip()
        if self.kind != ">":
            return "\n".join([f"{self.kind} {self.words}".rstrip(), *(f"| {line}" for line in self.lines)])
        long = len(self.words) + len(self.body) > 100
        out = [f"> {self.words}" + (f" {self.body}" if self.body and not long else "")]
        out += [f"h {h}" for h in self.headers]
        if self.body and long:
            out.append(f"b {self.body}")
        if self.count != 1:
            out.append(f"x {self.count}")
        return "\n".join(out + [f"? {u}" for u in self.until])


@dataclass
class Conversation:
    title: str
    config: str = ""
    differs: str = ""
    steps: list = field(default_factory=list)
    where: str = ""

    def text(self):
        head = [f"config {line}" for line in self.config.splitlines()] + [f"== {self.title}"]
        return "\n".join(head + [step.text() for step in self.steps]) + "\n"


def read(path):
    """The conversations of a file."""
    found, config, at_config = [], [], False
    for number, line in enumerate(path.read_text().split("\n"), 1):
        mark, _, rest = line.partition(" ")
        was_config, at_config = at_config, mark == "config"
        if not line.strip() or mark == "#":
            at_config = was_config
            continue
        if mark == "config":
            config = [*(config if was_config else []), *([rest] if rest else [])]
        elif mark == "==":
            found.append(Conversation(rest, "\n".join(config), where=f"{path.name}:{number}"))
        elif not found:
            raise ValueError(f"{path.name}:{number}: a conversation begins with '== TITLE'")
        else:
            _add(found[-1], mark, rest, f"{path.name}:{number}: {line!r}")
    return found


def _add(talk, mark, rest, where):
    """One more line of a conversation."""
    step = talk.steps[-1] if talk.steps else None
    if mark == "differs":
        talk.differs = rest
    elif mark == ">":
        subject, _, body = rest.partition(" ")
        talk.steps.append(Step(">", subject, body=body))
    elif mark in ("GET", "file", "run", "restart"):
        talk.steps.append(Step(mark, rest))
    elif mark == "|" and step and step.kind == "file":
        step.lines.append(rest)
    elif mark in ("h", "b", "x", "?") and step and step.kind == ">" and not step.who:
        if mark == "h":
            step.headers.append(rest)
        elif mark == "b":
            step.body = rest
        elif mark == "?":
            step.until.append(rest)
        else:
            step.count = rest if rest in "-*~" else int(rest)
    elif len(mark) == 2 and mark[0].isupper() and mark[1] in ">!~-?|.":
        talk.steps.append(Step(mark[1], rest, who=mark[0]))
    else:
        raise ValueError(where)


STATUS = re.compile(r"\|NATS/1\.0 (204|[45]\d\d)")
PUBLISH = re.compile(r"\s*h?pub\s", re.I)


def awaited(until, answers):
    return any(until.removeprefix("!") in answer for answer in answers) != until.startswith("!")


def unescape(text):
    return re.sub(rb"\\([rnt]|x[0-9a-f]{2})",
                  lambda m: {b"r": b"\r", b"n": b"\n", b"t": b"\t"}.get(m.group(1)) or bytes([int(m.group(1)[1:], 16)]),
                  text.encode())


class Ear(Raw):
    """A client that writes down what it hears."""

    silent = False  # does not answer PING

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.early = []  # heard, and not yet asked for

    def hear(self, patience):
        """The next message, or line that is not about the connection alone; None: closed. TimeoutError: nothing."""
        if self.early:
            return self.early.pop(0)
        try:
            while True:
                line = self.line(patience)
                if line.startswith(("MSG ", "HMSG ")):
                    sizes = line.split(" ")
                    return line + "|" + self.take(int(sizes[-1]) + 2, PATIENCE)[:-2].decode("utf-8", "backslashreplace")
                if not self._aside(line):
                    return line
        except (EOFError, ConnectionError):
            return None

    def _aside(self, line):
        if self.silent and line == "PING":
            return True
        return super()._aside(line)


class Player:
    """Plays conversations with one server; what was heard is in .heard, one text an event."""

    def __init__(self, server, user=None, directory=None, patience=PATIENCE):
        self.server, self.user, self.directory, self.patience = server, user, directory, patience
        self.heard = []     # (number of the step, text)
        self.at = 0
        self.clients = {}
        self.asker = None   # who makes the requests
        self.asked = 0
        self.acks = {}      # "C.3": where to acknowledge
        self.names = {}     # what the server called a consumer: E1
        self.held = b""     # lines that go with the next one

    def play(self, talk):
        try:
            for self.at, (step, after) in enumerate(zip(talk.steps, [*talk.steps[1:], None])):
                self.step(step, after)
        finally:
            self.close()
        return [(at, self.mask(text)) for at, text in self.heard]

    def close(self):
        for c in [*self.clients.values(), *([self.asker] if self.asker else [])]:
            c.close()
        self.clients, self.asker = {}, None

    def note(self, text):
        self.heard.append((self.at, text))

    def step(self, step, after=None):
        if step.who:
            self.client_step(step, after)
        elif step.kind == ">":
            self.request(step)
        elif step.kind == "restart":
            self.close()
            self.server.restart()
        elif step.kind == "GET":
            self.note(self.page(step.words))
        elif step.kind == "file":
            (self.directory / step.words).write_text("\n".join(step.lines) + "\n")
        else:
            self.note(self.run(step.words))

    # -- requests --

    def request(self, step):
        end = time.monotonic() + self.patience
        while True:
            answers = self.ask(step)
            if self.server.kind != "frond" and any("error creating store" in a for a in answers):
                continue  # now and then, right after it deleted one of that name
            if all(awaited(u, answers) for u in step.until) or time.monotonic() > end:
                break
            time.sleep(0.02)
        for answer in answers:
            self.note(answer)

    def ask(self, step):
        """Send it, return the answers."""
        if self.asker is None:
            self.asker = Ear(self.server.port, timeout=PATIENCE)
            self.asker.hello(**(self.user or {}))
            self.asker.send("SUB answer.* 1")
            self.asker.send("SUB later.* 2")
        self.asked += 1
        name = f"{'later' if step.count == '~' else 'answer'}.{self.asked}"
        subject, body = self.resolve(step.words), unescape(self.resolve(step.body))
        line = f"{subject} {name}" if step.count != 0 else subject
        if step.headers:
            head = b"NATS/1.0\r\n" + b"".join(unescape(h) + b"\r\n" for h in step.headers) + b"\r\n"
            self.asker.send(f"HPUB {line} {len(head)} {len(head) + len(body)}", head + body)
        else:
            self.asker.send(f"PUB {line} {len(body)}", body)
        if step.count in (0, "~"):
            self.asker.send("PING")
            while (text := self.asker.hear(self.patience)) not in ("PONG", None):
                self.remember((text.partition("|")[0].split(" ") + [""] * 4)[3])
        answers, wanted = [], {"-": 1, "~": 0}.get(step.count, step.count)
        if wanted == "*":
            wanted = self.wanted(step)
        while len(answers) < wanted:
            try:
                text = self.asker.hear(QUIET if step.count == "-" else self.patience)
            except TimeoutError:
                answers.append("(silence)")
                break
            if text is None:
                answers.append("(closed)")
                self.asker.close()
                self.asker = None
                break
            if not text.startswith(("MSG ", "HMSG ")):
                answers.append(text)
            elif text.split(" ", 3)[2] == "2":  # for a pull that still waits, or from a push consumer
                self.remember(text.partition("|")[0].split(" ")[3])
            elif text.split(" ", 2)[1] == name or not text.split(" ", 2)[1].startswith("answer."):
                answers.append(self.answer(text, name, step))
                if "|NATS/1.0 503" in answers[-1] or (step.count == "*" and STATUS.match(answers[-1])):
                    break
        return answers

    @staticmethod
    def wanted(step):
        """How many may come when a status ends it."""
        if step.words.startswith("$JS.API.DIRECT.GET"):
            return 1000  # one with status 204 comes at the end
        return int(re.search(r'"batch":(\d+)', step.body).group(1))

    def answer(self, text, name, step):
        """What came to the inbox, in our words."""
        line, _, content = text.partition("|")
        words = line.split(" ")
        sizes = 2 if words[0] == "HMSG" else 1
        reply = words[3] if len(words) == 4 + sizes else ""
        self.remember(reply)
        content = content.replace("\r\n", "|")
        if '"io.nats.jetstream.api.v1.consumer_create_response"' in content and re.match(
                r"\$JS\.API\.CONSUMER\.CREATE\.[^.]*$", step.words) and '"name":' not in step.body:
            self.learn(content)
        shown = "" if words[1] == name else words[1] + " "
        return f"{shown}{reply + ' ' if reply else ''}|{content}"

    def learn(self, content):
        try:
            name = json.loads(content)["name"]
        except (ValueError, KeyError):
            return
        self.names.setdefault(name, f"E{len(self.names) + 1}")

    def remember(self, reply):
        words = reply.split(".")
        if reply.startswith("$JS.ACK.") and len(words) >= 9:
            stream, consumer, _, sequence = words[2:6]
            self.acks[f"{consumer}.{sequence}"] = reply
            self.acks[f"{self.names.get(consumer, consumer)}.{sequence}"] = reply

    def resolve(self, subject):
        """@C.3 and E1 become what the server calls them."""
        if subject.startswith("@"):
            return self.acks.get(subject[1:], "no.such.ack")
        for name, ours in self.names.items():
            subject = re.sub(rf"\b{ours}\b", name, subject)
        return subject

    # -- clients --

    def client(self, step):
        if step.who not in self.clients:
            c = self.clients[step.who] = Ear(self.server.port, timeout=PATIENCE)
            c.silent = step.kind == "~"
            if step.kind not in "!~|" and not re.match(r"\s*connect", step.words, re.I):
                c.send("CONNECT " + json.dumps({**HELLO, **(self.user or {})}))
        return self.clients[step.who]

    def client_step(self, step, after):
        c = self.client(step)
        if step.kind in ">!~.":
            words = self.resolve_line(step.words)
            data = unescape(words[:-1]) if words.endswith("\\") else unescape(words) + b"\r\n"
            if PUBLISH.match(words) and after and (after.who, after.kind) == (step.who, ">"):
                # With its payload: the genuine server reads the line again when that comes in another read, and says
                # what is wrong with it twice.
                self.held += data
                return
            data, self.held = self.held + data, b""
            try:
                c.send_bytes(data)
            except ConnectionError:
                pass  # closed already: what is heard next says so
        if step.kind in "-.":
            try:
                c.send_bytes(b"PING\r\n")
            except ConnectionError:
                pass
        if step.kind == "-":
            self.hear(step, c, until="PONG")
        elif step.kind == ".":
            while c.early[-1:] not in (["PONG"], [None]):
                early, c.early = c.early, []
                c.early = early + [c.hear(self.patience)]
            if c.early[-1] == "PONG":
                c.early.pop()
        elif step.kind == "?":
            self.hear(step, c, count=int(step.words))
        elif step.kind == "|":
            self.hear(step, c, until=None)

    def resolve_line(self, line):
        return " ".join(self.resolve(word) if word.startswith("@") else word for word in line.split(" "))

    def hear(self, step, c, count=None, until=False):
        heard = 0
        while count is None or heard < count:
            try:
                text = c.hear(self.patience)
            except TimeoutError:
                self.note(f"{step.who}< (silence)")
                return
            if text is None:
                self.note(f"{step.who}| closed")
                return
            if text == until:
                return
            heard += 1
            if text.startswith(("MSG ", "HMSG ")):
                for word in text.partition("|")[0].split(" ")[3:4]:
                    self.remember(word)
            self.note(f"{step.who}< " + text.replace("\r\n", "|"))

    # -- the rest --

    def page(self, path):
        url = f"http://127.0.0.1:{self.server.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as r:
                status, kind, body = r.status, r.headers["Content-Type"], r.read().decode()
        except urllib.error.HTTPError as e:
            status, kind, body = e.code, e.headers["Content-Type"], e.read().decode()
        try:
            body = "\n".join(flat(comparable(json.loads(body))))
        except ValueError:
            pass
        return f"{status} {kind}\n{body}"

    def run(self, arguments):
        """Its last words, places and times aside, and its status."""
        done = subprocess.run([str(self.server.binary), *arguments.split()], cwd=self.directory, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True)
        said = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
        said = said.replace(str(self.server.binary), "PROGRAM").replace(str(self.directory) + "/", "")
        said = re.sub(r"(?m)^(nats-server|frond): ", "PROGRAM: ", said)
        said = re.sub(r"(?m)^\[\d+\] \S+ \S+ ", "", said)
        return f"status {done.returncode}\n{said}".rstrip()

    def mask(self, text):
        for name, ours in self.names.items():
            text = text.replace(name, ours)
        text = re.sub(r'"sources":(\[\{.*?\}\])(?=,"(compression|ts|did|mirror|cluster))', in_order, text)
        masked = re.sub(r'"hdrs":"([A-Za-z0-9+/=]*)"', headers_shown, text)
        for pattern, to in (*MASKS, *MORE_MASKS):
            masked = pattern.sub(to, masked)
        if masked != text:  # the size is a matter of chance, too
            masked = re.sub(r"(?m)^(. ?<? ?H?MSG [^|]*?)( \d+)+\|", r"\1 n|", masked)
        return masked


def in_order(found):
    """The sources of a stream: the genuine server tells them in any order."""
    try:
        return '"sources":' + json.dumps(sorted(json.loads(found.group(1)), key=json.dumps), separators=(",", ":"))
    except ValueError:
        return found.group()


def headers_shown(found):
    """A header block in base64 as text; the identity of a stream's source aside."""
    text = base64.b64decode(found.group(1)).decode("utf-8", "backslashreplace")
    text = re.sub(r"(Nats-Stream-Source: [^\r]*) \w{8}(?=\r)", r"\1 I", text)
    return f'"hdrs":{json.dumps(text)}'


VOLATILE = re.compile(  # members of monitoring pages whose values are a matter of chance, of the machine or the build
    r"(^|\.)(server_id|id|server_name|now|start|uptime|last_activity|idle|rtt|cpu|mem|cores|gomaxprocs|gomemlimit|version|"
    r"git_commit|go|port|host|addr|ip|cid|pid|config_load_time|config_digest|cluster_port|http_port|https_port|stop|"
    r"created|first_ts|last_ts|ts|last_active|xkey|jwt|store_dir|max_memory|max_storage|reserved_\w+|memory|storage|"
    r"connect_urls|monitor|in_bytes|out_bytes|lang_version|pending_bytes|bytes|api\.\w+|leader|"
    r"num_subscriptions|subscriptions|total|seq|system_account|tls_cert_not_after|stalled_clients|raft_group|cache_hit_rate|num_cache|max_fanout|avg_fanout|"
    r"num_matches|num_inserts|num_removes|http_req_stats.*|slow_consumer_stats.*|limits\.\w+)(\[\d*\])?$")


OWN = {"feature_flags", "frond", "imports", "exports", "mappings", "/"}  # members that tell of a server's own services


def comparable(value):
    """A monitoring page without what servers have for themselves; lists that come in any order are sorted."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in OWN}
    if not isinstance(value, list):
        return value
    value = [comparable(v) for v in value]
    if value and isinstance(value[0], str):
        return sorted(value)
    if value and isinstance(value[0], dict) and "subject" in value[0]:
        return sorted((v for v in value if not v["subject"].startswith("$")), key=lambda v: v["subject"])
    if value and isinstance(value[0], dict) and "name" in value[0]:
        return sorted(value, key=lambda v: v["name"])
    return value


def flat(value, path=""):
    """A JSON value as lines, "path: value"; what is a matter of chance as its type."""
    if isinstance(value, dict):
        yield f"{path}: {{{' '.join(value)}}}"
        for k, v in value.items():
            yield from flat(v, f"{path}.{k}".lstrip("."))
    elif isinstance(value, list):
        yield f"{path}: [{len(value)}]"
        for v in value:
            yield from flat(v, path + "[]")
    elif VOLATILE.search(path):
        yield f"{path}: a {'number' if isinstance(value, (int, float)) else type(value).__name__}"
    else:
        yield f"{path}: {json.dumps(value)}"
