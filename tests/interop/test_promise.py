"""No ack before the disk has it, as seen by a recorder between the server and the system."""
import asyncio
import random
import subprocess

import pytest

from frondtest import FROND_BIN, ROOT, new_seed
from frondtest.promise import RECORDER, Account, Marked, measure, p99, recorded
from frondtest.readback import request

pytestmark = pytest.mark.release
ACKS = 10_000


@pytest.fixture(autouse=True)
def recorder():
    if not RECORDER.exists():
        if not FROND_BIN.exists():
            pytest.skip("neither build/frond nor the recorder is there")
        pytest.fail(f"{RECORDER} is not there")


@pytest.fixture
def watched(make, tmp_path):
    """watched(delay_ms=0, …): a site under the recorder, with its stream ORDERS; its record."""
    def start(run, delay_ms=0, **options):
        log = tmp_path / f"record-{delay_ms}"
        server = make("frond", name=f"watched-{delay_ms}", jetstream=True,
                      env=recorded(log, delay_ms), **options)

        async def create():
            nc = await server.connect()
            await request(nc, "$JS.API.STREAM.CREATE.ORDERS", {
                "name": "ORDERS", "subjects": ["orders.>"], "storage": "file"}, timeout=30)
            await nc.close()

        run(create())
        return server, log

    return start


async def publish(server, publishers, acks, dice, windows):
    """acks messages through so many publishers at once."""
    marks = list(range(1, acks + 1))
    crew = [Marked(server.port, f"orders.{n}", marks[n::publishers], dice.choice(windows),
                   payload=dice.choice([16, 64, 900, 5000])) for n in range(publishers)]
    async with asyncio.timeout(300):
        await asyncio.gather(*(one.run() for one in crew))
    assert not [error for one in crew for error in one.refused.values()]
    seqs = sorted(seq for one in crew for seq in one.acked.values())
    assert seqs == list(range(1, acks + 1))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("publishers, windows", [(1, [1]), (1, [200]), (8, [1, 16, 100]),
                                                 (100, [1, 4, 32])])
def test_no_ack_is_written_before_its_commit_is_on_disk(watched, run, publishers, windows):
    dice = random.Random(new_seed())
    server, log = watched(run)
    run(publish(server, publishers, ACKS, dice, windows))
    server.stop()
    account = Account(log)
    print(f"{publishers} publishers, windows {windows}: {len(account.kept)} acks after the flush "
          f"and the meta write of their commit, {len(account.early)} before; "
          f"{account.commits} commits")
    assert len(account.kept) == ACKS and not account.early


@pytest.mark.timeout(300)
def test_the_recorder_notices_a_server_that_does_not_sync(watched, run):
    binary = ROOT / "build-nosync" / "frond"
    built = subprocess.run([str(ROOT / "scripts/build"), "nosync", "frond"], capture_output=True,
                           text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    server, log = watched(run, binary=binary)
    run(publish(server, 8, 1000, random.Random(1), [1, 16]))
    server.stop()
    account = Account(log)
    print(f"nosync: {len(account.kept)} acks after their commit, {len(account.early)} before")
    assert len(account.early) == 1000


@pytest.mark.timeout(300)
def test_a_slow_disk_delays_acks_and_nothing_else(watched, run):
    """Every flush takes 500 ms more: so does every ack; PING and core messages do not notice."""
    async def play(server, acks, every):
        marks = range(1, acks + 1)
        crew = [Marked(server.port, f"orders.{n}", list(marks)[n::8], 1, every) for n in range(8)]
        publishing = asyncio.gather(*(one.run() for one in crew))
        pings, cores = await measure(server.port, 8)
        await publishing
        return [took for one in crew for took in one.took.values()], pings, cores

    figures = {}
    for delay_ms in (0, 500):
        server, _ = watched(run, delay_ms)
        # about as many messages a second in both, so that only the disk differs
        figures[delay_ms] = run(play(server, 64 if delay_ms else 400, 0 if delay_ms else 0.1))
        server.stop(timeout=60)
    for delay_ms, (acks, pings, cores) in figures.items():
        print(f"flush + {delay_ms} ms: ack min {min(acks) * 1000:.1f} ms; p99 of {len(pings)} PINGs "
              f"{p99(pings) * 1000:.2f} ms, of core messages {p99(cores) * 1000:.2f} ms")
    fast, slow = figures[0], figures[500]
    assert min(slow[0]) >= 0.5 and min(fast[0]) < 0.5
    for quick, patient in zip(fast[1:], slow[1:]):
        assert p99(patient) <= 2 * p99(quick) + 0.005
