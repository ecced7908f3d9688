"""Ports nobody else will take.

A port is ours from free_port() until this process ends, also while the server that uses it is
down: a lock file per port keeps other test processes away, and the range lies below the one
from which the system picks client ports.
"""
import fcntl
import os
import random
import socket
import tempfile

FIRST, LAST = 10240, 31999
_held = []  # open lock files
_random = random.Random(os.urandom(8))


def free_port():
    """A TCP port on 127.0.0.1 that stays ours until this process ends."""
    directory = os.path.join(tempfile.gettempdir(), f"frond-ports-{os.getuid()}")
    os.makedirs(directory, exist_ok=True)
    for _ in range(500):
        port = _random.randint(FIRST, LAST)
        lock = open(os.path.join(directory, str(port)), "w")  # noqa: SIM115 - kept open
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _held.append(lock)
        return port
    raise RuntimeError("no free port found")
