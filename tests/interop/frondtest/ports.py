"""Ports nobody else will take.

A port is ours from free_port() until this process ends, also while the server that uses it is
down: a lock file per port keeps other test processes away, and the range lies below the one
from which the system picks client ports. Inside `with ports_given_back():` ports are ours until
its end only; each test runs in one, so that many tests do not run out of descriptors.
"""
import contextlib
import fcntl
import os
import random
import socket
import tempfile

FIRST, LAST = 10240, 31999
_held = []  # open lock files
_random = random.Random(os.urandom(8))


@contextlib.contextmanager
def ports_given_back():
    """What free_port() gives inside is free again at the end."""
    before = len(_held)
    try:
        yield
    finally:
        for lock in _held[before:]:
            lock.close()
        del _held[before:]


def free_port():
    """A TCP port on 127.0.0.1 that stays ours until this process ends, or until ports_given_back()."""
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
