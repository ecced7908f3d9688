"""A link we can cut, stall, throttle and read: a TCP relay on a thread of its own.

    relay = Relay(target_port)           # listens on relay.port at once
    with relay.down(): ...               # connections cut, new ones refused
    with relay.stalled(): ...            # everything stays open, nothing moves
    with relay.throttled(6250): ...      # bytes per second, each direction for itself
    relay.cut_after(1234, "up")          # let exactly so many bytes more pass, then cut once
    relay.half_cut("near"); …; relay.bury()   # the dialler hears of the loss, the target only later

"up" is what the dialler sends, "down" is what it receives. Both are recorded: relay.bytes("up"),
relay.lines("down"), relay.count["up"] (which counts on when the record is full).
"""
import asyncio
import contextlib
import re
import socket
import struct
import threading
import time

from .ports import free_port
from .wait import wait_for

UP, DOWN = "up", "down"
CHUNK = 64 * 1024


class _Pair:
    """One relayed connection: two sockets, two pumps."""

    def __init__(self, number, near, far):
        self.number, self.near, self.far = number, near, far
        self.pumps = []
        self.deaf = False  # one end is closed, the other one does not know


class Relay:
    def __init__(self, target_port, target_host="127.0.0.1", port=None, record_max=64 << 20,
                 buffer=None):
        """buffer: about so many bytes fit into our receive buffers; a thin link has no megabytes."""
        self.target = (target_host, target_port)
        self.port = port or free_port()
        self.record_max = record_max
        self.buffer = buffer
        self.record = []  # (time, connection number, direction, bytes)
        self.recorded = 0
        self.count = {UP: 0, DOWN: 0}  # bytes forwarded
        self.accepted = 0  # connections that reached the target
        self.refused = 0
        self.cuts = 0
        self.rate = {UP: None, DOWN: None}
        self._budget = {UP: None, DOWN: None}  # bytes left until the planned cut
        self._cut_refuses = False
        self._refusing = False
        self._pairs = set()
        self._loop = asyncio.new_event_loop()
        self._moving = None  # asyncio.Event: clear while stalled
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    # -- what a test does with it --

    def cut(self, refuse=True, rst=False):
        """Close every connection; refuse new ones until resume(), unless refuse=False."""
        self._call(self._cut, refuse, rst)

    def stall(self):
        """Nothing moves any more, and nobody is told: a dead cable."""
        self._call(self._moving.clear)

    def throttle(self, rate, direction=None):
        """So many bytes per second in direction (None: each); None: as fast as it goes."""
        for name in (direction,) if direction else (UP, DOWN):
            self.rate[name] = rate

    def cut_after(self, count, direction=UP, refuse=False):
        """Cut once, when exactly count more bytes have passed in direction."""
        self._call(self._plan, count, direction, refuse)

    def half_cut(self, end):
        """Close one end of every connection: "near", the dialler's, or "far". The other one hears nothing until bury()."""
        self._call(self._half_cut, end)

    def bury(self):
        """The other ends of what half_cut() left."""
        self._call(self._bury)

    def resume(self):
        """End of all trouble."""
        self._call(self._resume)

    @contextlib.contextmanager
    def down(self, rst=False):
        self.cut(rst=rst)
        try:
            yield self
        finally:
            self.resume()

    @contextlib.contextmanager
    def stalled(self):
        self.stall()
        try:
            yield self
        finally:
            self.resume()

    @contextlib.contextmanager
    def throttled(self, rate, direction=None):
        self.throttle(rate, direction)
        try:
            yield self
        finally:
            self.throttle(None, direction)

    @property
    def connections(self):
        """How many connections are open through us now."""
        return len(self._pairs)

    def wait_connected(self, timeout=10):
        wait_for(lambda: self.connections > 0, timeout, "a connection through the relay")

    def wait_quiet(self, quiet=0.2, timeout=30):
        """Wait until no byte has moved for quiet seconds."""
        seen = [dict(self.count), time.monotonic()]

        def still():
            now = time.monotonic()
            if self.count != seen[0]:
                seen[:] = [dict(self.count), now]
            return now - seen[1] >= quiet

        wait_for(still, timeout, "a quiet relay")

    def bytes(self, direction, connection=None):
        """What passed in direction, all connections or the one with this number (from 1)."""
        return b"".join(
            data for _, number, way, data in list(self.record)
            if way == direction and connection in (None, number))

    def lines(self, direction, connection=None):
        return self.bytes(direction, connection).split(b"\r\n")

    def saw(self, direction, pattern):
        """The first match of a bytes pattern in what passed in direction, or None."""
        return re.search(pattern, self.bytes(direction))

    def forget(self):
        """Empty the record (the counters go on)."""
        self.record, self.recorded = [], 0

    def close(self):
        if self._loop.is_closed():
            return
        self._call(self._cut, True, False)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- the thread --

    def _run(self, started):
        asyncio.set_event_loop(self._loop)
        self._moving = asyncio.Event()
        self._moving.set()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        listener.setblocking(False)
        accepting = self._loop.create_task(self._accept(listener))
        started.set()
        self._loop.run_forever()
        accepting.cancel()
        self._loop.run_until_complete(asyncio.gather(accepting, return_exceptions=True))
        listener.close()
        self._loop.close()

    def _call(self, function, *args):
        """Run function on the thread and wait for it."""
        async def run():
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _accept(self, listener):
        while True:
            near, _ = await self._loop.sock_accept(listener)
            self._loop.create_task(self._serve(near))

    async def _serve(self, near):
        await self._moving.wait()
        if self._refusing:
            self.refused += 1
            near.close()
            return
        far = socket.socket()
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.buffer:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        try:
            await self._loop.sock_connect(far, self.target)
        except OSError:
            near.close()
            far.close()
            return
        if self._refusing:
            near.close()
            far.close()
            return
        self.accepted += 1
        pair = _Pair(self.accepted, near, far)
        self._pairs.add(pair)
        pair.pumps = [
            self._loop.create_task(self._pump(pair, UP, near, far)),
            self._loop.create_task(self._pump(pair, DOWN, far, near)),
        ]

    async def _pump(self, pair, direction, source, sink):
        try:
            while data := await self._loop.sock_recv(source, CHUNK):
                while data:
                    await self._moving.wait()
                    rate = self.rate[direction]
                    piece = data[:max(1, int(rate / 20))] if rate else data
                    data = data[len(piece):]
                    if not await self._forward(pair, direction, sink, piece):
                        return
                    if rate:
                        await asyncio.sleep(len(piece) / rate)
            await self._moving.wait()
        except OSError:
            pass
        self._end(pair)

    async def _forward(self, pair, direction, sink, piece):
        """Pass piece on, or what is left of it before a planned cut; false after that cut."""
        budget = self._budget[direction]
        if budget is not None:
            piece = piece[:budget]
            self._budget[direction] = budget - len(piece)
        self._note(pair, direction, piece)  # first, so that who has it finds it in the record
        await self._loop.sock_sendall(sink, piece)
        if self._budget[direction] != 0:
            return True
        self._budget = {UP: None, DOWN: None}
        self._cut(self._cut_refuses, False)
        return False

    def _note(self, pair, direction, data):
        self.count[direction] += len(data)
        if self.recorded < self.record_max:
            self.record.append((time.monotonic(), pair.number, direction, data))
            self.recorded += len(data)

    def _plan(self, count, direction, refuse):
        self._cut_refuses = refuse
        self._budget[direction] = count
        if count == 0:
            self._budget = {UP: None, DOWN: None}
            self._cut(refuse, False)

    def _cut(self, refuse, rst):
        self._refusing = refuse
        if self._pairs:
            self.cuts += 1
        for pair in list(self._pairs):
            self._end(pair, rst)
        if refuse:
            self._moving.set()  # those who wait at a stalled door hear the refusal

    def _half_cut(self, end):
        if self._pairs:
            self.cuts += 1
        for pair in [pair for pair in self._pairs if not pair.deaf]:
            pair.deaf = True
            for pump in pair.pumps:
                pump.cancel()
            sock = pair.near if end == "near" else pair.far
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _bury(self):
        for pair in [pair for pair in self._pairs if pair.deaf]:
            self._end(pair)

    def _end(self, pair, rst=False):
        if pair not in self._pairs:
            return
        self._pairs.discard(pair)
        current = asyncio.current_task()
        for pump in pair.pumps:
            if pump is not current:
                pump.cancel()
        for sock in (pair.near, pair.far):
            if rst:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()

    def _resume(self):
        self._refusing = False
        self.rate = {UP: None, DOWN: None}
        self._budget = {UP: None, DOWN: None}
        self._moving.set()
