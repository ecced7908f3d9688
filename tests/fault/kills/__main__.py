"""kills [--cycles N] [--seed N] …    scripts/kills says them all

Starts the server, lets it be used by everybody at once, ends it with SIGKILL at any moment (also while it starts; now
and then with SIGTERM instead), and starts it again; after each start everybody looks whether all that was answered is so. In the end everything is read
back. Exit status 1 when anything was lost, doubled, invented, came back, or when the server did not come back.
"""
import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/interop"))

from crew import KeyValue, Ledger, Publisher, Worker  # noqa: E402
from frondtest import FROND_BIN, Frond, NatsServer  # noqa: E402
from frondtest.server import READY  # noqa: E402
from frondtest.wire import Gone, Wire  # noqa: E402
from life import StreamLife  # noqa: E402

PATIENCE = 60  # seconds until a server that does not settle is called wedged
IN_START = 0.12  # so many of the kills hit the start itself
STOPS = 0.1  # so many are no kills: SIGTERM, amid all the traffic
WORK = 0.15  # seconds of work before a kill, at most


class Scene:
    def __init__(self, server, seed, large):
        self.large = large
        self.server, self.seed, self.dice = server, seed, random.Random(f"{seed}/kills")
        self.starts, self.kills, self.stops, self.over = 0, 0, 0, False
        self.failures, self.news = [], asyncio.Event()
        self.longest = 0.0  # from start to all settled

    def fail(self, text):
        self.failures.append(f"after {self.kills} kills: {text}")
        self.news.set()

    async def until(self, condition, what, patience=PATIENCE):
        end = time.monotonic() + patience
        while not await condition():
            if time.monotonic() > end:
                self.fail(f"wedged: not within {patience} s: {what}")
                return
            await asyncio.sleep(0.02)

    def cast(self):
        """Everybody, those who prepare the ground first."""
        queue, both = (Publisher(self, name, f"{name}.new", 32) for name in ("WQ", "INT"))
        orders = [Publisher(self, "sync", "ORDERS.sync", 1), Publisher(self, "async", "ORDERS.async", 64),
                  Publisher(self, "bulk", "ORDERS.bulk", 200)]
        bare = [Publisher(self, "bare1", "BARE.sync", 1, ids=False), Publisher(self, "bare2", "BARE.async", 32, ids=False)]
        self.workers = [Worker(self, "WQ", "worker", queue), Worker(self, "INT", "one", both), Worker(self, "INT", "two", both)]
        self.ledgers = [Ledger(self, "ORDERS", orders, "COPY", False), Ledger(self, "BARE", bare, "MIRROR", True)]
        self.bucket = KeyValue(self)
        self.lives = [StreamLife(self, n) for n in (1, 2, 3)]
        if self.large:
            self.lives.append(StreamLife(self, 4, large=True))
        self.publishers = [queue, both, *orders, *bare]
        return [*self.ledgers, *self.workers, self.bucket, *self.lives, *self.publishers]

    async def prepare(self):
        wire = await Wire.to(self.server.port)
        for name, retention in (("WQ", "workqueue"), ("INT", "interest")):
            await wire.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"], "retention": retention})
        for role in (*self.ledgers, *self.workers, self.bucket):
            await role.open(wire)
        wire.close()

    def start(self):
        self.starts += 1
        self.server.start(wait=False)

    async def all_settled(self, roles):
        """Everybody is connected again, and content with what was found."""
        began = time.monotonic()
        while not self.failures and any(role.settled < self.starts for role in roles):
            self.news.clear()
            if not self.server.running:
                self.fail(f"the server ended by itself: {self.server.tail(10)}")
            left = began + PATIENCE - time.monotonic()
            if left <= 0:
                late = [role.name for role in roles if role.settled < self.starts]
                self.fail(f"wedged: not settled within {PATIENCE} s: {late}\n{self.server.tail(20)}")
            try:
                await asyncio.wait_for(self.news.wait(), min(max(left, 0.01), 1))
            except asyncio.TimeoutError:
                pass
        self.longest = max(self.longest, time.monotonic() - began)

    def roll_back(self):
        """A disk that forgets: the store of some kills ago comes back."""
        old = self.server.directory / "old"
        if self.kills % 4 == 2 and not old.exists():  # a stop is no kill: it may be the same number again
            shutil.copytree(self.server.store_dir, old)
        elif old.exists() and self.kills % 4 == 0:
            shutil.rmtree(self.server.store_dir)
            old.rename(self.server.store_dir)

    async def play(self, cycles, seconds, rolls_back):
        roles = self.cast()
        self.starts += 1
        self.server.start()
        await self.prepare()
        lives = [asyncio.create_task(role.life()) for role in roles]
        end = time.monotonic() + seconds
        try:
            while self.kills < cycles and not self.failures and time.monotonic() < end:
                if self.dice.random() < IN_START:
                    await asyncio.sleep(self.dice.uniform(0, 0.04))
                else:
                    await self.all_settled(roles)
                    await asyncio.sleep(self.dice.uniform(0, WORK))
                for task in lives:
                    if task.done():
                        task.result()
                if not self.server.running:
                    self.fail(f"the server ended by itself: {self.server.tail(10)}")
                    break
                if self.dice.random() < STOPS and READY in self.server.log():
                    self.server.stop()
                    self.stops += 1
                else:
                    self.server.kill()
                    self.kills += 1
                if self.server.troubles:
                    self.fail("an orderly stop went wrong")
                if rolls_back:
                    self.roll_back()
                self.start()
            await self.all_settled(roles)
            self.over = True
            if not self.failures:
                await asyncio.wait_for(asyncio.gather(*lives), 2 * PATIENCE)
                await self.accounts(roles)
        finally:
            pending = set(lives)
            while pending:  # wait_for() may swallow a cancellation that comes together with what it waits for
                for task in pending:
                    task.cancel()
                _, pending = await asyncio.wait(pending, timeout=1)
            await asyncio.gather(*lives, return_exceptions=True)

    async def accounts(self, roles):
        """Once as it is, and once more behind one more kill."""
        for again in range(2):
            wire = await Wire.to(self.server.port)
            for role in roles:
                await role.account(wire)
            wire.close()
            if not again:
                self.server.kill()
                self.kills += 1
                self.starts += 1
                self.server.start()

    def figures(self):
        publishers, workers = self.publishers, self.workers
        return {
            "seed": self.seed, "kills": self.kills, "stops": self.stops, "starts": self.starts,
            "acknowledged": sum(len(p.acked) for p in publishers),
            "duplicates_told": sum(p.duplicates for p in publishers),
            "copied": sum(ledger.seen for ledger in self.ledgers),
            "acks_answered": sum(len(w.done) for w in workers),
            "redelivered": sum(w.again for w in workers),
            "key_changes": self.bucket.changes, "orders": sum(life.orders for life in self.lives),
            "in_doubt": sum(life.in_doubt for life in self.lives) + self.bucket.found_stored,
            "longest_settling": round(self.longest, 2), "failures": self.failures,
        }


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/kills")
    parser.add_argument("--cycles", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument("--seconds", type=float, default=1e9, metavar="N", help="no new kill after so long")
    parser.add_argument("--dir", metavar="DIR", help="where the store lies; left there when something is wrong")
    parser.add_argument("--rollback", action="store_true", help="the store goes back in time: losses must be found")
    parser.add_argument("--large", action="store_true", help="and a stream of thousands, purged in portions")
    parser.add_argument("--genuine", action="store_true", help="kill the genuine nats-server instead, for comparison")
    parser.add_argument("--json", metavar="FILE", help="the figures")
    return parser.parse_args()


def main():
    args = arguments()
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    work = Path(tempfile.mkdtemp(prefix="frond-kills-", dir=args.dir))
    server = (NatsServer if args.genuine else Frond)(
        work, name="killed", jetstream=True, monitor=False, binary=None if args.genuine else FROND_BIN)
    began = time.monotonic()

    async def run():
        scene = Scene(server, seed, args.large)
        try:
            await scene.play(args.cycles, args.seconds, args.rollback)
        except (AssertionError, Gone, asyncio.TimeoutError, OSError) as error:
            scene.fail(f"{type(error).__name__}: {error}")
        return scene.figures()

    figures = asyncio.run(run())
    try:
        server.wait_ready()
        server.stop()
        server.check()
    except AssertionError as error:
        figures["failures"].append(str(error))
    figures["seconds"] = round(time.monotonic() - began, 1)
    if args.json:
        Path(args.json).write_text(json.dumps(figures))
    for failure in figures["failures"][:20]:
        print(failure)
    print("kills: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items() if key != "failures"))
    print(f"kills: {len(figures['failures'])} wrong", flush=True)
    if not figures["failures"] or not args.dir:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if figures["failures"] else 0)


if __name__ == "__main__":
    main()
