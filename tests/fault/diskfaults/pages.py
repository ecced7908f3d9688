"""A page of the mapped file that can't be read, or a file that is cut off under the server: a signal, not an error code.

    unhurt      nobody looked at the page: every answer is as from the sound store
    stopped     the process ended with the distinct status and one line, after right answers only; the file is as it was;
                the next start ends the same way or lives without JetStream, the one after that lives
    wrong       all else
"""
import os
import random
import shutil

from calls import Orders, Outcome
from flips import Flips, differences, digest
from scene import look
from server import STORE_FAILED
from wire import Gone, lives


class Pages(Flips):
    def __init__(self, directory, seed):
        super().__init__(directory, seed, clean=False, scale=0.3)
        self.victim.orders = Orders(directory / "orders")

    @property
    def count(self):
        return len(self.data) // 4096

    def ended(self, before):
        code = self.victim.ended(15)
        lines = [line for line in self.victim.complaints() if "[FTL]" in line]
        if code != STORE_FAILED or len(lines) != 1:
            return f"exit {code}, {len(lines)} lines: {self.victim.log[-600:]}"
        if before and digest(self.victim.data) != before:
            return f"the file is changed: {lines}"
        return None

    def once(self, before, cut=None):
        """"unhurt", "stopped", "refused", or what is wrong."""
        server = self.victim
        try:
            if not server.start():
                return self.ended(before) or "stopped"
            if "JetStream is refused" in server.log:
                return "refused" if lives(server.port) else "no echo"
            if cut is not None:
                os.truncate(server.data, cut)
            found, error = look(server.port, self.plan)
            wrong, _ = differences(found, self.truth, set(), False, "data.mdb can't be read (" in server.log)
            if wrong:
                return f"{wrong[0]}"
            if error:
                return self.ended(None) or "stopped"
            return "unhurt"
        except Gone:
            return self.ended(None) or "stopped"
        finally:
            server.end()

    def fresh(self):
        shutil.rmtree(self.victim.store)
        shutil.copytree(self.master, self.victim.store)

    def unreadable(self, page):
        self.fresh()
        self.victim.orders.give(hole=page + 1)
        first = self.once(digest(self.victim.data))
        if first == "unhurt":
            return Outcome("unhurt")
        if first != "stopped":
            return Outcome("wrong", f"page {page}: {first}")
        again = [self.once(None), self.once(None)]
        if again[1] != "refused" or again[0] not in ("stopped", "refused"):
            return Outcome("wrong", f"page {page}: then {again}")
        return Outcome("stopped")

    def cut_off(self, page):
        """While it runs; what was there is put back for the next start, as a disk that heals."""
        self.fresh()
        self.victim.orders.give()
        before = self.victim.data.read_bytes()
        first = self.once(None, cut=page * 4096)
        self.victim.data.write_bytes(before)
        second = self.once(None)
        if first not in ("stopped", "unhurt") or second != "unhurt":
            return Outcome("wrong", f"cut to {page} pages: {first}, then {second}")
        return Outcome(first)


def run(directory, seed, count):
    """[(what, Outcome)]: every page, or `count` of them; and a tenth as many cuts."""
    pages, dice = Pages(directory, seed), random.Random(f"{seed}/pages")
    which = range(pages.count) if count >= pages.count else sorted(dice.sample(range(pages.count), count))
    out = [("unreadable page", pages.unreadable(page)) for page in which]
    cuts = [dice.randrange(2, pages.count) for _ in range((len(which) + 9) // 10)]
    return out + [("cut off while it runs", pages.cut_off(page)) for page in cuts]
