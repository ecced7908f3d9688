"""A real file system that is full: a small one in memory, or ext4 on a loop device. Wants root.

The server fills it until publishes are refused, and must go on with everything else: reads, confirmed acks, deletes, a
restart. When a filler file goes, publishes must be taken again without a restart. Three times over.
"""
import os
import subprocess
import time

from calls import Player, Truth, Wrong, compare
from server import Server

SIZE = 128 << 20  # room for what three rounds leave stored


class Disk:
    """A file system of its own, mounted at <directory>/disk."""

    def __init__(self, directory, kind):
        self.at, image = directory / "disk", directory / "image"
        self.at.mkdir()
        if kind == "tmpfs":
            self._run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.at)
            return
        with open(image, "wb") as it:
            it.truncate(SIZE)
        self._run("mkfs.ext4", "-q", image)
        self._run("mount", "-o", "loop", image, self.at)

    @staticmethod
    def _run(*command):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{command[0]}: {done.stderr.strip()}")

    def close(self):
        self._run("umount", self.at)

    @property
    def free(self):
        it = os.statvfs(self.at)
        return it.f_bavail * it.f_frsize

    def fill(self, name, leave):
        with open(self.at / name, "wb") as it:
            while self.free > leave:
                it.write(bytes(min(1 << 18, self.free - leave)))
                it.flush()

    def eat(self, name):
        """All that is left, to the last block."""
        try:
            with open(self.at / name, "wb", buffering=0) as it:
                while it.write(bytes(4096)):
                    pass
        except OSError:
            pass


def publish_until_refused(player):
    for _ in range(3000):
        before = len(player.truth.stored)
        player.publish("LIM", *[20_000] * 20)
        if len(player.truth.stored) == before:
            return
    raise Wrong("the disk never became full")


def goes_on(player):
    """In full mode: consumer acks and a delete are stored, reads are answered."""
    worker = [reply for _, reply, _ in player.wire.pull("WQ", "worker", 2)]
    for reply in worker:
        player.truth.removed.add(("WQ", int(reply.split(".")[5])))
    player.wire.patience = 10
    player.wire.ask([(reply, b"+ACK") for reply in worker])
    seq = min(s for of, s in player.truth.stored if of == "LIM" and (of, s) not in player.truth.removed)
    if not player.remove("LIM", [seq], "STREAM.MSG.DELETE", {"seq": seq, "no_erase": True}):
        raise Wrong(f"a delete is refused: {player.truth.errors[-1]}")


def play(directory, kind):
    """Seconds until publishes were taken again, each time; and what publishers were told."""
    disk, waits, truth = Disk(directory, kind), [], Truth()
    server = Server(directory, root=disk.at, store=disk.at / "store")
    try:
        if not server.start():
            raise Wrong(f"it did not start: {server.log[-500:]}")
        player = Player(server.port, truth, 1)
        player.create("LIM")
        player.create("WQ", retention="workqueue")
        player.worker = player.api("CONSUMER.DURABLE.CREATE.WQ.worker", {"stream_name": "WQ", "config": {
            "durable_name": "worker", "ack_policy": "explicit"}})
        player.publish("WQ", *[100] * 20)
        for number in range(3):
            disk.fill("filler", 12 << 20)
            publish_until_refused(player)
            goes_on(player)
            if number == 1:
                disk.eat("rest")  # not a block is left
                player.publish("LIM", 100)
            if number == 2:
                server.end()
                if not server.start():
                    raise Wrong(f"it does not start on a full disk: {server.log[-500:]}")
                player = Player(server.port, truth, number)
            wrong = compare(server.port, truth)
            if wrong:
                raise Wrong(wrong)
            for name in ("filler", "rest"):
                if (disk.at / name).exists():
                    (disk.at / name).unlink()
            waits.append(until_taken(player))
        if server.ended(0) is not None:
            raise Wrong(f"it ended: {server.log[-500:]}")
        return waits, sorted(set(truth.errors)), len(truth.stored)
    finally:
        server.end()
        disk.close()


def until_taken(player):
    began = time.monotonic()
    while time.monotonic() < began + 30:
        before = len(player.truth.stored)
        player.publish("LIM", 100)
        if len(player.truth.stored) > before:
            return round(time.monotonic() - began, 1)
        time.sleep(0.1)
    raise Wrong("publishes are still refused after space has returned")

