"""The page that tests/fault/allocfail.c and we both map: counters one way, what to refuse the other.

    page = Page(path)
    Popen(..., env=page.env)
    page.arm(17)              # the 17th allocation from now on is refused (how many: count)
    page.disarm()
    page.refused, page.blocks, page.stack()
"""
import mmap
import os
import struct
import subprocess

FIELDS = ("counted", "first", "end", "refused", "blocks", "depth", "base")
STACK = 8 * len(FIELDS)
FOR_EVER = 2**63


class Page:
    def __init__(self, path, library):
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 4096)
        self.env = {**os.environ, "ALLOCFAIL": str(path), "LD_PRELOAD": str(library)}

    def __getattr__(self, name):
        return struct.unpack_from("<Q", self.map, 8 * FIELDS.index(name))[0]

    def _set(self, name, value):
        struct.pack_into("<Q", self.map, 8 * FIELDS.index(name), value)

    def clear(self):
        """For the next process."""
        self.map[:] = bytes(4096)

    def arm(self, nth, count=1):
        """Refuse the nth allocation from now on, and count - 1 after it."""
        first = self.counted + nth
        self._set("first", first)
        self._set("end", first + count)

    def disarm(self):
        self._set("end", 0)

    def stack(self, binary):
        """Who asked for the first one that was refused: function names of the program, innermost first."""
        base = self.base
        at = struct.unpack_from(f"<{self.depth}Q", self.map, STACK)
        ours = [hex(a - base - 1) for a in at if 0 <= a - base < 1 << 28]
        if not ours:
            return []
        done = subprocess.run(["addr2line", "-f", "-e", str(binary), *ours], capture_output=True, text=True)
        return [line for line in done.stdout.splitlines()[::2] if line not in ("_start", "??")]
