"""The n-th commit fails: everybody who waits hears of it, and the server goes on as if it had not been.

Wants a server built with fault points (scripts/build asan, tsan); skipped with any other.
"""
import asyncio
import random
import time

import pytest

from frondtest import FROND_BIN, new_seed
from frondtest.promise import Marked
from frondtest.readback import read_stream, request, state

PUBLISHERS = 8


@pytest.fixture
def site(make):
    if FROND_BIN.exists() and b"FROND_FAULT" not in FROND_BIN.read_bytes():
        pytest.skip("this server has no fault points")
    return make("frond", name="site", jetstream=True)


async def publish(server, first, each, windows, dice):
    """PUBLISHERS at once, each with `each` messages; everyone must get an answer to each."""
    crew = [Marked(server.port, f"orders.{n}",
                   range(first + n * each, first + (n + 1) * each), dice.choice(windows),
                   payload=dice.choice([16, 300, 9000])) for n in range(PUBLISHERS)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.run() for one in crew))
    acked, refused = {}, {}
    for one in crew:
        assert len(one.acked) + len(one.refused) == each
        acked.update(one.acked)
        refused.update(one.refused)
    return acked, refused


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point, last, patience", [
    ("commit", 50, 0),  # at once as if nothing had been
    ("commit-space", 5, 10),  # refused until there is space again
])
def test_the_failure_of_any_commit_is_heard_and_survived(site, run, point, last, patience):
    dice = random.Random(new_seed())

    async def create():
        nc = await site.connect()
        await request(nc, "$JS.API.STREAM.CREATE.ORDERS", {
            "name": "ORDERS", "subjects": ["orders.>"], "storage": "file"})
        await nc.close()

    async def play(number, first):
        # each publisher waits for its answers: more rounds than n, so more commits than n
        each = (number + 10) * 2
        acked, refused = await publish(site, first, each, [1, 2], dice)
        assert refused, f"the commit {number} did not fail"
        assert all(error["code"] in (500, 503) for error in refused.values()), refused
        first += PUBLISHERS * each
        end = time.monotonic() + patience
        while True:
            later, errors = await publish(site, first, 3, [1, 3], dice)
            first += PUBLISHERS * 3
            acked.update(later)
            if not errors:
                return acked, len(refused), first
            assert time.monotonic() < end, f"still refused after commit {number}: {errors}"
            await asyncio.sleep(0.1)

    async def compare(acked):
        nc = await site.connect()
        stored = await read_stream(nc, "ORDERS", name=lambda data: int(data[2:10]))
        assert (await state(nc, "ORDERS"))["messages"] == len(acked)
        await nc.close()
        assert {message.id: message.seq for message in stored} == acked
        assert len(stored) == len(acked)

    run(create())
    acked, refused, first = {}, 0, 1
    for number in range(1, last + 1):
        site.stop()
        site.env = {"FROND_FAULT": f"{point}:{number}"}
        site.start()
        new, errors, first = run(play(number, first))
        acked.update(new)
        refused += errors
        if number % 10 == 0:
            run(compare(acked))
    site.env = {}
    site.restart(kill=True)
    run(compare(acked))
    print(f"{last} failed commits: {refused} publishes heard an error, {len(acked)} acknowledged "
          "ones are the stream")
