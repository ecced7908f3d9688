"""The interop tests' tool box: servers, links, the genuine CLI and a raw client.

    ports.py    ports nobody else will take
    wait.py     wait for a condition, never for a while
    server.py   Frond and the genuine nats-server behind one interface
    relay.py    a link we can cut, stall, throttle and read
    raw.py      the client protocol, byte by byte
    fakehub.py  the other end of a link, byte by byte
    leafs.py    what a link learned, from /leafz
    pki.py      certificates; operator.py: operator, accounts and users as JWTs
    cli.py      the genuine `nats` CLI
    till.py     a publisher that counts only what was acknowledged
    readback.py what a stream holds against what was acknowledged
    recipe.py   servers and commands from the pages in docs/
"""
from .cli import CliResult, cli, cli_runs
from .fakehub import FakeHub
from .leafs import knows, leafs, wait_forgot, wait_knows
from .paths import FROND_BIN, NATS_BIN, NATS_SERVER_BIN, ROOT
from .ports import free_port
from .raw import Raw
from .relay import Relay
from .server import Frond, NatsServer, Server, ServerDied, leaf_remote
from .till import new_seed
from .wait import wait_for

__all__ = [
    "CliResult", "cli", "cli_runs", "FakeHub", "knows", "leafs", "wait_forgot", "wait_knows",
    "FROND_BIN", "NATS_BIN", "NATS_SERVER_BIN", "ROOT", "free_port", "Raw",
    "Relay", "Frond", "NatsServer", "Server", "ServerDied", "leaf_remote", "new_seed", "wait_for",
]
