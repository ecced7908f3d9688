"""One Frond, started fast and often; its log is a file that can be read while it runs."""
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/interop"))

from frondtest import FROND_BIN, free_port  # noqa: E402

TOOLS = next((path for path in (FROND_BIN.parent / "tests/fault", ROOT / "build/tests/fault")
              if (path / "libdiskfault.so").exists()), ROOT / "build/tests/fault")
STORE_FAILED = 74
READY = b"Server is ready"


class Server:
    """Its store is <directory>/store; everything else is beside it."""

    def __init__(self, directory, orders=None, quota=1 << 28, root=None, store=None):
        self.directory = Path(directory)
        self.store = store or self.directory / "store"
        self.store.mkdir(parents=True, exist_ok=True)
        self.port, self.orders, self.process = free_port(), orders, None
        self.root = root or self.store
        self.config, self.log_file = self.directory / "frond.conf", self.directory / "frond.log"
        self.config.write_text(
            f'server_name: disk\nlisten: "127.0.0.1:{self.port}"\n'
            f'jetstream: {{store_dir: "{self.store}", max_file_store: {quota}}}\n')

    @property
    def data(self):
        return self.store / "jetstream/frond/data.mdb"

    def start(self, patience=30.0):
        """True: it is ready; False: it has ended."""
        env = dict(os.environ)
        if self.orders:
            env.update(LD_PRELOAD=str(TOOLS / "libdiskfault.so"), DISKFAULT_ROOT=str(self.root),
                       DISKFAULT_ORDERS=str(self.orders.path))
        self.said = b""
        self.process = subprocess.Popen([str(FROND_BIN), "-c", str(self.config)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
        os.set_blocking(self.process.stderr.fileno(), False)
        deadline = time.monotonic() + patience
        while READY not in self.said:
            if not self._hear(1.0) and self.process.poll() is not None:
                self._hear(0)
                return False
            if time.monotonic() > deadline:
                raise AssertionError(f"neither ready nor ended: {self.log}")
        return True

    def _hear(self, seconds):
        """Reads what it said; False at the end."""
        pipe = self.process.stderr
        if pipe.closed or not select.select([pipe], [], [], seconds)[0]:
            return True
        data = pipe.read()
        if data == b"":
            self.process.wait(30)
            return False
        self.said += data or b""
        return True

    @property
    def log(self):
        """All that this start has said so far."""
        if self.process and not self.process.stderr.closed:
            while select.select([self.process.stderr], [], [], 0)[0] and self._hear(0):
                pass
        return self.said.decode(errors="replace")

    def ended(self, seconds):
        """The exit status, None while it runs."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self._hear(0.05)
        return self.process.poll()

    def end(self, how="kill"):
        """kill or terminate; the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            getattr(self.process, how)()
            while self.process.poll() is None:
                self._hear(0.02)
        text = self.log
        self.process.stderr.close()
        self.said = text.encode()
        return self.process.returncode

    def complaints(self):
        """Lines of the log that name trouble."""
        return [line for line in self.log.splitlines()
                if re.search(r"\[(ERR|FTL|WRN)\]", line) and "turn of the loop" not in line]
