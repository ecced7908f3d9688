"""The genuine `nats` CLI, in a home of its own so that nobody's contexts get in."""
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass

from .paths import NATS_BIN

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


def cli(*args, server, domain=None, input=None, timeout=30, check=True, user=None, password=None):
    """Run `nats -s SERVER ARGS` (server: a Server or a URL); with check, a bad exit raises."""
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
    done = subprocess.run(command, input=input if input is not None else "", text=True, env=env,
                          capture_output=True, timeout=timeout)
    result = CliResult(command[1:], done.returncode, done.stdout, done.stderr)
    if check and result.code != 0:
        raise AssertionError(
            f"nats {' '.join(command[1:])}: exit {result.code}\n{result.out}{result.err}")
    return result
