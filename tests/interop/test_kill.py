"""kill -9 under load: nothing acknowledged is lost, nothing is doubled.

The first test uses the official client; the others are scripts/kills, proved and used.
"""
import asyncio
import json
import random
import subprocess
import sys
import time

import pytest

from frondtest import FROND_BIN, ROOT, new_seed
from frondtest.readback import check_stream, read_stream, request
from frondtest.till import Till, orders

PUBLISHERS, KILLS = 8, 16


@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [0, 6000])
def test_nothing_acknowledged_is_lost_by_sigkill(make, run, size):
    seed = new_seed()
    dice = random.Random(seed)
    server = make("frond", name="site", jetstream=True)
    kills = KILLS if size == 0 else KILLS // 4

    async def play():
        nc = await server.connect()
        await request(nc, "$JS.API.STREAM.CREATE.ORDERS", {
            "name": "ORDERS", "subjects": ["orders.>"], "storage": "file",
            "duplicate_window": 600 * 10**9})
        tills = [Till(server.url, f"orders.site.{n}", orders("site", n, seed, 1 << 40, size=size),
                      window=64) for n in range(PUBLISHERS)]
        selling = [asyncio.create_task(till.run()) for till in tills]
        at_kill = []
        for _ in range(kills):
            before = sum(len(till.acked) for till in tills)
            await asyncio.sleep(dice.uniform(0.01, 0.4))  # the moment of a kill is any moment
            server.kill()
            at_kill.append(sum(len(till.acked) for till in tills) - before)
            server.start()
            await first_ack_after(tills, time.monotonic())
        for till in tills:
            till.stop()
        await asyncio.gather(*selling)
        assert not [error for till in tills for error in till.errors]

        messages = await read_stream(nc, "ORDERS")
        await nc.close()
        return tills, messages, at_kill

    async def first_ack_after(tills, moment, patience=30):
        while not any(till.acked and till.acked[-1].at > moment for till in tills):
            assert time.monotonic() < moment + patience, "no ack after a restart"
            await asyncio.sleep(0.005)

    tills, messages, at_kill = run(play())
    acks = [ack for till in tills for ack in till.acked]
    print(f"{kills} kills, {len(acks)} acknowledged, "
          f"{sum(ack.duplicate for ack in acks)} stored although their ack was lost, "
          f"{sum(1 for count in at_kill if count)} kills amid acks")
    assert len(acks) == len({ack.id for ack in acks})
    check_stream(acks, messages)
    for till in tills:  # each publisher's own order survives, too
        seqs = [ack.seq for ack in sorted(till.acked, key=lambda ack: ack.id)]
        assert seqs == sorted(seqs)
    assert any(at_kill), "the kills met no traffic"


@pytest.fixture
def kills(tmp_path):
    """kills(cycles, …): the figures of one run of the instrument."""
    if not FROND_BIN.exists():
        pytest.skip("build/frond is not there")

    def play(cycles, *options):
        figures = tmp_path / "figures.json"
        command = [sys.executable, ROOT / "tests/fault/kills", "--cycles", cycles, "--seed", new_seed(),
                   "--dir", tmp_path, "--json", figures, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
        print(done.stdout + done.stderr)
        return json.loads(figures.read_text())

    return play


@pytest.mark.timeout(300)
def test_a_store_that_goes_back_in_time_is_found(kills):
    assert kills(12, "--rollback")["failures"]


@pytest.mark.timeout(300)
def test_what_was_answered_stays_through_thirty_kills(kills):
    figures = kills(30)
    assert not figures["failures"]
    assert figures["kills"] >= 30 and figures["acknowledged"] > 300 and figures["orders"] > 30
