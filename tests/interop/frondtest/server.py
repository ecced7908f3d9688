"""Frond and the genuine nats-server behind one interface.

    site = Frond(directory, name="site", jetstream=True, domain="site",
                 remotes=[leaf_remote(relay.port)], config="debug: true")
    site.start()                    # returns when the log says "Server is ready"
    site.kill(); site.start()       # same ports, same store
    site.stop()

The same arguments give the same configuration file for both, so a test can run against either.
Every signal goes to the one process we started, by its pid.
"""
import ctypes
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from .paths import FROND_BIN, NATS_SERVER_BIN
from .ports import free_port
from .wait import wait_for

READY = "Server is ready"
SANITIZERS = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error: |ASSERT(ION)? .*failed")


class ServerDied(AssertionError):
    pass


def leaf_remote(port, **options):
    """One entry for remotes=: dial 127.0.0.1:port and go nowhere else."""
    user = options.pop("user", None)
    at = f"{user}:{options.pop('password', '')}@" if user else ""
    remote = {"url": f"nats-leaf://{at}127.0.0.1:{port}", "ignore_discovered_servers": True,
              "compression": "off"}
    remote.update(options)
    return remote


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Server:
    kind = None
    binary = None
    stop_codes = (0,)

    def __init__(self, directory, name="server", jetstream=False, domain=None, leaf_listen=False,
                 remotes=(), reconnect="250ms", monitor=True, config="", leaf="", flags=(), env=None,
                 binary=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.name, self.domain = name, domain
        self.binary = Path(binary or self.binary)
        self.port = free_port()
        self.leaf_port = free_port() if leaf_listen else None
        self.http_port = free_port() if monitor else None
        self.jetstream, self.remotes, self.reconnect = jetstream, list(remotes), reconnect
        self.leaf = leaf  # more lines of the leafnodes block
        self.extra, self.flags, self.env = config, list(flags), dict(env or {})
        self.store_dir = self.directory / "store"
        self.config_file = self.directory / f"{name}.conf"
        self.log_file = self.directory / f"{name}.log"
        self.process = None
        self.starts = 0
        self.ready_after = None  # seconds the last start took until "Server is ready"
        self.troubles = []  # what a teardown must not keep silent about

    # -- configuration --

    def config_text(self):
        """What the server reads; plain enough for either."""
        lines = [f"server_name: {self.name}", f'listen: "127.0.0.1:{self.port}"']
        if self.http_port:
            lines.append(f'http: "127.0.0.1:{self.http_port}"')
        if self.jetstream:
            options = {"store_dir": str(self.store_dir)}
            if self.domain:
                options["domain"] = self.domain
            if isinstance(self.jetstream, dict):
                options.update(self.jetstream)
            lines.append("jetstream: " + json.dumps(options))
        if self.leaf_port or self.remotes:
            lines.append("leafnodes {")
            if self.leaf_port:
                lines.append(f'  listen: "127.0.0.1:{self.leaf_port}"')
            if self.remotes:
                lines.append(f'  reconnect: "{self.reconnect}"')
                lines.append("  remotes: [")
                lines += [f"    {json.dumps(remote)}" for remote in self.remotes]
                lines.append("  ]")
            lines += [f"  {line}" for line in self.leaf.splitlines()]
            lines.append("}")
        return "\n".join(lines) + "\n" + self.extra + "\n"

    def write_config(self):
        self.config_file.write_text(self.config_text())

    # -- life --

    def start(self, timeout=30, wait=True):
        assert not self.running, f"{self.name} runs already"
        self.write_config()
        self._log_from = self.log_file.stat().st_size if self.log_file.exists() else 0
        flags = list(self.flags)
        if os.environ.get("FROND_TRACE"):
            flags.append("-DV")
        began = time.monotonic()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "-c", str(self.config_file), *flags], cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env},
                preexec_fn=_die_with_parent
                if threading.current_thread() is threading.main_thread() else None)
        self.starts += 1
        if wait:
            self.wait_ready(timeout)
            self.ready_after = time.monotonic() - began
        return self

    def wait_ready(self, timeout=30):
        def ready():
            return READY in self.log() or not self.running

        wait_for(ready, timeout, f"{self.name}: '{READY}'", every=0.002, every_max=0.02)
        if READY not in self.log():
            raise ServerDied(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def stop(self, timeout=15):
        """SIGTERM; the exit status. What is wrong with the end is noted in troubles."""
        if not self.running:
            return self._ended()
        self.signal(signal.SIGCONT)  # a paused one hears it too; first, for LeakSanitizer's tracer spins on a late one
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.troubles.append(f"{self.name} did not stop within {timeout} s of SIGTERM")
            return self.kill()
        code = self._ended()
        if code not in self.stop_codes:
            self.troubles.append(f"{self.name} ended with {code} after SIGTERM:\n{self.tail()}")
        return code

    def kill(self):
        """SIGKILL, and wait until the process is gone."""
        if self.running:
            self.signal(signal.SIGKILL)
            self.process.wait(15)
        return self._ended()

    def restart(self, kill=False, **options):
        self.kill() if kill else self.stop()
        return self.start(**options)

    def signal(self, number):
        assert self.running, f"{self.name} does not run"
        self.process.send_signal(number)

    def reload(self):
        self.signal(signal.SIGHUP)

    def pause(self):
        """SIGSTOP, and wait until it stands still."""
        self.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        wait_for(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", 5,
                 f"{self.name} standing still", every=0.001)

    def resume(self):
        self.signal(signal.SIGCONT)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def _ended(self):
        return None if self.process is None else self.process.returncode

    def check(self):
        """Raise when the server ended badly or a sanitizer spoke. Called at every teardown."""
        if self.process is not None and not self.running:
            code = self.process.returncode
            if code < 0 and code not in (-signal.SIGKILL, -signal.SIGTERM):
                self.troubles.append(f"{self.name} died of signal {-code}:\n{self.tail()}")
        if self.log_file.exists():
            text = self.log_file.read_text(errors="replace")
            found = SANITIZERS.search(text)
            if found:
                self.troubles.append(f"{self.name}: {text[found.start():found.start() + 6000]}")
        troubles, self.troubles = self.troubles, []
        assert not troubles, "\n".join(troubles)

    # -- looking at it --

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def log(self, all_starts=False):
        """The log since the last start (or of all starts)."""
        if not self.log_file.exists():
            return ""
        with open(self.log_file, "rb") as log:
            log.seek(0 if all_starts else self._log_from)
            return log.read().decode(errors="replace")

    def tail(self, count=40):
        return "\n".join(self.log().splitlines()[-count:])

    def wait_log(self, pattern, timeout=10):
        return wait_for(lambda: re.search(pattern, self.log()), timeout,
                        f"{self.name}: {pattern!r} in the log")

    def http(self, path):
        """A monitoring page, as the object its JSON says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as page:
            return json.loads(page.read())

    def links(self):
        """How many leaf links are up."""
        return self.http("/leafz").get("leafnodes", 0)

    def wait_linked(self, count=1, timeout=15):
        wait_for(lambda: self.links() == count, timeout, f"{self.name}: {count} leaf link(s)")

    def rss_anon(self):
        """Resident anonymous memory in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) * 1024

    async def connect(self, **options):
        """A nats-py connection."""
        import nats

        options.setdefault("connect_timeout", 5)
        options.setdefault("max_reconnect_attempts", -1)
        options.setdefault("reconnect_time_wait", 0.1)
        return await nats.connect(self.url, **options)

    def raw(self, **options):
        from .raw import Raw

        return Raw(self.port, **options)

    def cli(self, *args, **options):
        from .cli import cli

        return cli(*args, server=self, **options)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.check()


class Frond(Server):
    kind = "frond"
    binary = FROND_BIN
    stop_codes = (0, 1)  # 1: the genuine server's status after SIGTERM


class NatsServer(Server):
    kind = "nats-server"
    binary = NATS_SERVER_BIN
    stop_codes = (0, 1)
