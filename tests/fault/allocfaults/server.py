"""The server under test: started under the library, asked, stopped, started again without it."""
import json
import re
import subprocess
import time

from frondtest import wait_for
from frondtest.ports import free_port
from frondtest.raw import Raw

READY = "Server is ready"
PATIENCE = 20  # seconds until we say that it hangs; only a hang costs them


class Refused(Exception):
    """An honest error was the answer."""


class Site:
    def __init__(self, binary, directory):
        self.binary, self.dir = binary, directory
        self.port, self.http_port = free_port(), free_port()
        self.log_file = directory / "log"
        self.config = directory / "site.conf"
        self.process = None

    def write(self, text):
        for word, value in (("PORT", self.port), ("HTTP", self.http_port), ("DIR", self.dir)):
            text = text.replace(f"@{word}", str(value))
        self.config.write_text(text)

    def launch(self, env=None, flags=()):
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([str(self.binary), "-c", str(self.config), *flags],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def wait_ready(self):
        """Is it? Otherwise it ended."""
        wait_for(lambda: READY in self.log() or not self.running, PATIENCE, "the start", every=0.001, every_max=0.01)
        return READY in self.log()

    @property
    def running(self):
        return self.process.poll() is None

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_end(self):
        """The exit status."""
        return self.process.wait(PATIENCE)

    def stop(self):
        self.process.terminate()
        return self.wait_end()

    def ends_soon(self):
        """A connection was closed: by the end of the process? The kernel closes the sockets just before."""
        try:
            self.process.wait(0.1)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        if self.process and self.running:
            self.process.kill()
            self.process.wait()

    def raw(self, **options):
        return Raw(self.port, timeout=PATIENCE, **options)

    def client(self, **connect):
        return Client(self).hello(**connect)


class Client(Raw):
    """A raw client that asks the API."""

    def __init__(self, site, **options):
        super().__init__(site.port, timeout=PATIENCE, **options)
        self.asked = 0

    def hello(self, **options):
        super().hello(**options)
        self.send("SUB _R.> 99")
        self.sync()
        return self

    def expect(self, wanted, timeout=None):
        try:
            return super().expect(wanted, timeout)
        except AssertionError as e:
            found = re.search(r"got \"?'?(-ERR [^\n]*)", str(e))
            if found:
                raise Refused(found.group(1).strip("'\" ")) from e
            raise

    def put(self, subject, payload=b"", reply="", headers=b""):
        payload = payload.encode() if isinstance(payload, str) else payload
        to = f"{subject} {reply}" if reply else subject
        if headers:
            head = f"HPUB {to} {len(headers)} {len(headers) + len(payload)}\r\n"
        else:
            head = f"PUB {to} {len(payload)}\r\n"
        self.send_bytes(head.encode() + headers + payload + b"\r\n")

    def request(self, subject, payload=b"", headers=b""):
        """The one answer, a Message."""
        self.asked += 1
        reply = f"_R.{self.asked}"
        self.put(subject, payload, reply, headers)
        while True:
            m = self.message()
            if m.subject == reply:
                if m.headers.startswith(b"NATS/1.0 503"):
                    raise Refused("503 no responders")
                return m

    def ask(self, subject, body=None, headers=b"", quiet=False):
        """The answer's JSON; Refused when it is an error (quiet: an answer all the same)."""
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = json.loads(self.request(subject, payload, headers).payload)
        if "error" in answer and not quiet:
            raise Refused(answer["error"]["description"])
        return answer

    def api(self, verb, body=None):
        return self.ask(f"$JS.API.{verb}", body)


def http(site, path):
    """A monitoring page: status and body."""
    with Raw(site.http_port, timeout=PATIENCE, info=False) as c:
        c.send(f"GET {path} HTTP/1.1", "Host: site", "Connection: close", "")
        data = b""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if not c._readable(PATIENCE):
                raise TimeoutError(path)
            got = c.sock.recv(1 << 16)
            if not got:
                break
            data += got
    if not data:
        raise EOFError("the page's connection was closed")
    status = int(data.split(b" ", 2)[1])
    if status != 200:
        raise Refused(f"HTTP {status}")
    return data.split(b"\r\n\r\n", 1)[1]
