"""One server, Frond or nats-server, with the same configuration for both.

    with Server("frond", base, jetstream="sync_interval: always") as server:
        server.api("$JS.API.STREAM.CREATE.S", {...})
        figures = server.load("publish", "--msgs", "1000")

CPU is the process's own clock (user + system, all threads, those that ended too), read by its pid.
"""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from . import world
from .world import Failed
from ports import free_port

READY = b"Server is ready"
LOAD_SECONDS = 150  # no round takes so long


class Client:
    """Enough of a client to ask: one connection, one question at a time."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.sock.makefile("rb")
        self.file.readline()  # INFO
        self.sock.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB _INBOX.y 1\r\n')

    def request(self, subject, data=b"", header=b""):
        if header:
            block = b"NATS/1.0\r\n" + header + b"\r\n\r\n"
            line = f"HPUB {subject} _INBOX.y {len(block)} {len(block) + len(data)}\r\n".encode() + block
        else:
            line = f"PUB {subject} _INBOX.y {len(data)}\r\n".encode()
        self.sock.sendall(line + data + b"\r\n")
        while True:
            line = self.file.readline()
            if not line:
                raise Failed(f"{subject}: the server closed the connection")
            words = line.split()
            if words[0] in (b"MSG", b"HMSG"):
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                body = self.file.read(int(words[-1]) + 2)
                return body[head:-2] if not body[:head].startswith(b"NATS/1.0 503") else None
            if words[0] == b"PING":
                self.sock.sendall(b"PONG\r\n")
            elif words[0] == b"-ERR":
                raise Failed(f"{subject}: {line.decode().strip()}")

    def close(self):
        self.file.close()
        self.sock.close()


class Server:
    watch = contextlib.nullcontext  # watch(server): what goes on around a load; scripts/profile puts perf there

    def __init__(self, kind, base, name="bench", jetstream="", more="", tls=False, start=True):
        self.kind, self.dir = kind, pathlib.Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base))
        self.store, self.port, self.process, self.client = self.dir / "js", free_port(), None, None
        if tls:
            from pki import Pki

            cert, key = Pki(self.dir / "pki").cert("server")
            more += f'\ntls {{ cert_file: "{cert}", key_file: "{key}" }}'
        self.conf, self.log = self.dir / "server.conf", self.dir / "log"
        self.conf.write_text(f'listen: "127.0.0.1:{self.port}"\nserver_name: "{name}"\n'
                             f'jetstream {{ store_dir: "{self.store}"\n{jetstream}\n}}\n{more}\n')
        if start:
            world.flush_all()
            try:
                self.start()
            except BaseException:
                self.stop()
                raise

    def start(self, timeout=60):
        """Milliseconds from the spawn to the line "Server is ready"."""
        binary = world.FROND if self.kind == "frond" else world.NATS_SERVER
        log = open(self.log, "ab")
        seen, out = b"", None
        began = time.monotonic()
        self.process = subprocess.Popen([binary, "-c", str(self.conf)], stdout=log, stderr=subprocess.PIPE,
                                        close_fds=False)
        out = self.process.stderr
        while READY not in seen:
            some = os.read(out.fileno(), 65536)
            if not some or time.monotonic() - began > timeout:
                raise Failed(f"{self.kind} did not start: {seen[-600:].decode(errors='replace')}")
            seen += some
        took = (time.monotonic() - began) * 1000
        # What it says later goes to the log; a pipe nobody reads would stop it.
        subprocess.Popen(["cat"], stdin=out, stdout=log, close_fds=True)
        out.close()
        log.write(seen)
        log.close()
        return took

    def kill(self):
        if self.client:
            self.client.close()
            self.client = None
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # -- asking it --

    def ask(self, subject, body=None):
        if not self.client:
            self.client = Client(self.port)
        answer = self.client.request(subject, json.dumps(body).encode() if body is not None else b"")
        return json.loads(answer) if answer else {"error": {"description": "no responders"}}

    def api(self, subject, body=None):
        answer = self.ask(subject, body)
        if "error" in answer:
            raise Failed(f"{self.kind}: {subject}: {answer['error']}")
        return answer

    def stream(self, name="BENCH", subjects=("bench.js",), **more):
        config = {"name": name, "subjects": list(subjects), "storage": "file", "allow_direct": True, **more}
        return self.api(f"$JS.API.STREAM.CREATE.{name}", config)

    # -- looking at it --

    def cpu(self):
        """Seconds of processor time so far."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # CPUCLOCK_SCHED of that process

    def memory(self):
        """{"RssAnon": MB, "RssFile": MB, "VmHWM": MB, …}"""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        parts = (line.split(":", 1) for line in lines if line.startswith(("Rss", "VmHWM", "VmRSS")))
        return {name: int(value.split()[0]) / 1024 for name, value in parts}

    def written(self):
        """Bytes it made the kernel write so far."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/io").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])

    def file_bytes(self):
        """Bytes its files occupy on disk."""
        return sum(p.stat().st_blocks * 512 for p in self.store.rglob("*") if p.is_file())

    # -- loading it --

    def start_load(self, mode, *args):
        return subprocess.Popen([world.LOAD, mode, str(self.port), *map(str, args)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, preexec_fn=world.die_with_parent)

    def end_load(self, load):
        try:
            out, err = load.communicate(timeout=LOAD_SECONDS)
        except subprocess.TimeoutExpired:
            load.kill()
            load.communicate()
            raise Failed(f"{self.kind}: load {load.args[1]} took more than {LOAD_SECONDS} s") from None
        if load.returncode:
            raise Failed(f"{self.kind}: load {' '.join(map(str, load.args[1:]))}: status {load.returncode}: {err}{out}")
        return json.loads(out)

    def load(self, mode, *args):
        """Run the generator; its result with what the server spent on it."""
        cpu, written = self.cpu(), self.written()
        with type(self).watch(self):
            result = self.end_load(self.start_load(mode, *args))
        result["server_cpu"] = self.cpu() - cpu
        result["written"] = self.written() - written
        result["memory"] = self.memory()
        return result
