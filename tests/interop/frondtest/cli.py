"""The genuine `nats` CLI, in a home of its own so that nobody's contexts get in.

    cli("stream", "ls", server=site)                     runs it, raises when it exits badly
    with cli_runs("sub", "a", server=site) as it:        runs it beside us
        it.wait_says("Subscribing")
        it.finish()                                      → the same result as cli()
"""
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .paths import NATS_BIN
from .wait import wait_for

_home = None


@dataclass
class CliResult:
    args: list
    code: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err

    def json(self):
        return json.loads(self.out)


def _call(args, server, domain, user, password):
    """The command line and its environment."""
    global _home
    if _home is None:
        _home = tempfile.TemporaryDirectory(prefix="frond-cli-")
    command = [str(NATS_BIN), "-s", server if isinstance(server, str) else server.url]
    if domain:
        command += ["--js-domain", domain]
    if user:
        command += ["--user", user, "--password", password or ""]
    command += [str(arg) for arg in args]
    env = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
    env.update(HOME=_home.name, XDG_CONFIG_HOME=_home.name, XDG_DATA_HOME=_home.name,
               NO_COLOR="1", COLUMNS="160", TERM="dumb")
    return command, env


def _judged(result, check):
    if check and result.code != 0:
        raise AssertionError(f"nats {' '.join(result.args)}: exit {result.code}\n{result.out}{result.err}")
    return result


def cli(*args, server, domain=None, input=None, timeout=30, check=True, user=None, password=None):
    """Run `nats -s SERVER ARGS` (server: a Server or a URL); with check, a bad exit raises."""
    command, env = _call(args, server, domain, user, password)
    done = subprocess.run(command, input=input if input is not None else "", text=True, env=env,
                          capture_output=True, timeout=timeout)
    return _judged(CliResult(command[1:], done.returncode, done.stdout, done.stderr), check)


class Running:
    """A command that goes on while the test does."""

    def __init__(self, command, env, directory):
        self.command = command
        self.out, self.err = Path(directory) / "out", Path(directory) / "err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def text(self):
        return self.out.read_text() + self.err.read_text()

    def wait_says(self, words, timeout=15):
        wait_for(lambda: words in self.text() or self.process.poll() is not None, timeout, f"{words!r} from the CLI")
        assert words in self.text(), self.text()

    def finish(self, timeout=30, check=True):
        """Wait for its end."""
        self.process.wait(timeout)
        result = CliResult(self.command[1:], self.process.returncode, self.out.read_text(), self.err.read_text())
        return _judged(result, check)

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def cli_runs(*args, server, domain=None, user=None, password=None):
    command, env = _call(args, server, domain, user, password)
    with tempfile.TemporaryDirectory(prefix="frond-cli-run-") as directory:
        running = Running(command, env, directory)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait()
