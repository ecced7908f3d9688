"""The tills of a site, in a process of their own so that nobody disturbs their clock."""
import asyncio
import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "interop"))

from frondtest.till import Till, killed_servers_are_no_news, orders  # noqa: E402

WINDOW = 256  # orders of one till that may wait for their acks


def share(count, parts):
    """count in so many parts, as equal as can be."""
    return [count // parts + (n < count % parts) for n in range(parts)]


def sell(url, site, tills, count, rate, seed, sold, pipe):
    """In the child: sell count orders through so many tills, then send the ledger home."""

    def counted():
        sold.value += 1  # the only writer

    async def play():
        killed_servers_are_no_news()
        till_list = [
            Till(url, f"orders.{site}.{number}", orders(site, number, seed, part), WINDOW,
                 rate / tills, counted=counted)
            for number, part in enumerate(share(count, tills), 1)]
        await asyncio.gather(*(till.run() for till in till_list))
        pipe.send({"acks": [till.acked for till in till_list],
                   "errors": [error for till in till_list for error in till.errors]})

    asyncio.run(play())


class Shift:
    """The same from outside: start it, watch `sold`, fetch the ledger."""

    def __init__(self, site, tills, count, rate, seed):
        context = multiprocessing.get_context("spawn")
        self.count = count
        self._sold = context.Value("q", 0, lock=False)
        self._pipe, there = context.Pipe(duplex=False)
        self._process = context.Process(
            target=sell, daemon=True,
            args=(site.server.url, site.name, tills, count, rate, seed, self._sold, there))
        self._process.start()
        there.close()
        self.ledger = None

    @property
    def sold(self):
        return self._sold.value

    def over(self):
        """Has the last ack come? Then the ledger is here."""
        if self.ledger is None and self._pipe.poll():
            self.ledger = self._pipe.recv()
            self._process.join()
        if self.ledger is None and not self._process.is_alive() and not self._pipe.poll():
            raise RuntimeError("the tills of a site ended without their ledger")
        return self.ledger is not None

    def end(self):
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
