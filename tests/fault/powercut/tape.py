"""A tape of tests/fault/powercut_tape.c, played: what a disk may hold after a power cut at any of its events.

    disk = Disk(Tape(path), work)          work: a directory where files can be made cheaply
    disk.play(event)                       up to that event, exclusive; only forwards
    disk.image(directory, dice)            one of the many states a power cut may leave

Kept is what a flush covered: writes that had returned before it began; what went through an O_DSYNC descriptor when
that write returned; names when their directory was flushed. Everything else may have reached the disk or not, each
write for itself, torn between any two sectors; a file may have grown without its bytes; a name may be there
without the one made before it. A sector and a rename are whole or not at all.
"""
import mmap
import os
import shutil
import struct
from bisect import bisect_left
from pathlib import Path

MADE, MOVED, GONE, WRITE, WRITTEN, SIZE, SYNCED, HEARD, SAID = range(1, 10)
DIRECTORY, DSYNC = 1, 2
SECTOR = 512
HEAD = struct.Struct("<IIQQQQ")  # struct event
WRITEBACK = 600  # the kernel writes by itself when so many writes wait: the oldest half


class Tape:
    """events: (kind, flags, a, b, length, where its bytes begin, how many)."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.events, self.heard, self.said = [], {}, {}
        at, end = 0, len(self.bytes)
        while at < end:
            kind, flags, a, b, length, n = HEAD.unpack_from(self.bytes, at)
            at += HEAD.size
            if at + n > end:
                break
            if kind == HEARD:
                self.heard.setdefault(a, len(self.events))
            elif kind == SAID:
                self.said.setdefault(a, len(self.events))
            self.events.append((kind, flags, a, b, length, at, n))
            at += n

    def text(self, event):
        return self.bytes[event[5]:event[5] + event[6]].decode()


class Write:
    """One write that may or may not be on the disk."""

    def __init__(self, number, event):
        self.number, self.returned = number, None
        _, self.flags, self.ino, self.at, self.length, self.data, self.n = event

    def put(self, fd, tape, first=0, end=None):
        end = self.length if end is None else end
        if self.n:
            data = tape.bytes[self.data + first:self.data + end]
        else:
            size = os.fstat(fd).st_size
            if self.at + first >= size:  # NULs beyond the end: no need to write them
                return os.ftruncate(fd, self.at + end)
            data = bytes(end - first)
        os.pwrite(fd, data, self.at + first)

    def sectors(self):
        """(first, end) of its parts, cut where sectors end."""
        at = 0
        while at < self.length:
            end = min(self.length, at + SECTOR - (self.at + at) % SECTOR)
            yield at, end
            at = end


class File:
    """What is certainly on the disk, in a file of ours, what may be, and a copy that images are made of."""

    def __init__(self, path):
        self.path, self.fd = path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.waiting = []  # of Write and of (number, size)
        self.copy = f"{path}-copy"
        self.copy_fd, self.stale = None, []  # where the copy is not what path says: (first, end)

    def fresh_copy(self):
        """Only what changed is copied, unless somebody else wrote to the copy."""
        if self.copy_fd is None or os.fstat(self.copy_fd).st_mtime_ns or len(self.stale) > WRITEBACK:
            if self.copy_fd is None:
                self.copy_fd = os.open(self.copy, os.O_RDWR | os.O_CREAT, 0o600)
            shutil.copyfile(self.path, self.copy)
        else:
            os.ftruncate(self.copy_fd, os.fstat(self.fd).st_size)
            for first, end in self.stale:
                os.pwrite(self.copy_fd, os.pread(self.fd, end - first, first), first)
        self.stale = []
        return self.copy_fd


class Disk:
    def __init__(self, tape, work, without=None):
        """without: a barrier this disk does not know: "data", "meta" (O_DSYNC) or "names"."""
        self.tape, self.work, self.at, self.without = tape, Path(work), 0, without
        self.files = {}  # inode -> File
        self.names = {}  # directory's inode -> {name: inode}, on the disk
        self.seen = {}  # the same, as the program sees it
        self.unsynced = {}  # directory's inode -> [(number, {name: inode or None})]
        self.root = None
        self.writes = {}  # event -> Write that has not returned

    # -- forwards --

    def play(self, to):
        for number in range(self.at, to):
            event = self.tape.events[number]
            step = self.STEPS.get(event[0])
            if step:
                step(self, number, event)
        self.at = max(self.at, to)

    def _find(self, path):
        *parents, name = path.split("/")
        ino = self.root
        for parent in parents:
            ino = self.seen[ino][parent]
        return ino, name

    def _rename(self, number, directory, change):
        for name, ino in change.items():
            if ino is None:
                self.seen[directory].pop(name, None)
            else:
                self.seen[directory][name] = ino
        self.unsynced[directory].append((number, change))

    def _made(self, number, event):
        ino = event[2]
        if event[1] & DIRECTORY:
            self.names[ino], self.seen[ino], self.unsynced[ino] = {}, {}, []
        else:
            self.files[ino] = File(self.work / f"{ino}-{number}")
        if self.root is None:
            self.root = ino
        else:
            directory, name = self._find(self.tape.text(event))
            self._rename(number, directory, {name: ino})

    def _moved(self, number, event):
        (one, old), (two, new) = map(self._find, self.tape.text(event).split("\0"))
        assert one == two, "a rename from one directory to another"
        self._rename(number, one, {old: None, new: self.seen[one][old]})

    def _gone(self, number, event):
        directory, name = self._find(self.tape.text(event))
        self._rename(number, directory, {name: None})

    def _write(self, number, event):
        write = self.writes[number] = Write(number, event)
        waiting = self.files[write.ino].waiting
        waiting.append(write)
        if len(waiting) > WRITEBACK:
            self._keep(self.files[write.ino], waiting[:WRITEBACK // 2])

    def _written(self, number, event):
        write = self.writes.pop(event[2])
        write.returned = number
        if write.flags & DSYNC and self.without != "meta":
            file = self.files[write.ino]
            if write not in file.waiting:
                return
            end = write.at + write.length
            before = [w for w in file.waiting if isinstance(w, Write) and w.number < write.number
                      and w.at < end and write.at < w.at + w.length]
            self._keep(file, [*before, write])

    def _size(self, number, event):
        self.files[event[2]].waiting.append((number, event[3]))

    def _synced(self, number, event):
        ino, began = event[2], event[3]
        if self.without == ("data" if ino in self.files else "names"):
            return
        if ino in self.files:
            file = self.files[ino]
            self._keep(file, [w for w in file.waiting
                              if (w[0] < began if isinstance(w, tuple) else w.returned and w.returned < began)])
        else:
            for when, change in self.unsynced[ino]:
                if when < began:
                    self._settle(self.names[ino], change)
            self.unsynced[ino] = [one for one in self.unsynced[ino] if one[0] >= began]

    STEPS = {MADE: _made, MOVED: _moved, GONE: _gone, WRITE: _write, WRITTEN: _written, SIZE: _size, SYNCED: _synced}

    @staticmethod
    def _settle(names, change):
        for name, ino in change.items():
            if ino is None:
                names.pop(name, None)
            else:
                names[name] = ino

    def _keep(self, file, writes):
        for write in writes:
            if isinstance(write, tuple):
                os.ftruncate(file.fd, write[1])
            else:
                write.put(file.fd, self.tape)
                file.stale.append((write.at, write.at + write.length))
        kept = set(map(id, writes))
        file.waiting = [w for w in file.waiting if id(w) not in kept]

    # -- images --

    def image(self, directory, dice):
        """How it was made, in a word, and how much of what waited is in it."""
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        manner = dice.choices(["nothing", "all", "some", "first", "torn"], [10, 8, 27, 10, 45])[0]
        share = dice.choice([0.1, 0.5, 0.5, 0.9])
        waited = self._grow(directory, self.root, manner, share, dice)
        return f"{manner} ({share}) of {waited} that waited"

    def _lucky(self, count, manner, share, dice):
        """Which of so many changes reached the disk."""
        if manner == "first":
            n = dice.randint(0, count)
            return [i < n for i in range(count)]
        return [manner == "all" or manner != "nothing" and dice.random() < share for _ in range(count)]

    def _grow(self, path, ino, manner, share, dice):
        names = dict(self.names[ino])
        changes = [change for _, change in self.unsynced[ino]]
        for change, lucky in zip(changes, self._lucky(len(changes), manner, share, dice)):
            if lucky:
                self._settle(names, change)
        waited = len(changes)
        for name, child in names.items():
            if child in self.files:
                waited += self._pour(os.path.join(path, name), self.files[child], manner, share, dice)
            else:
                os.mkdir(os.path.join(path, name))
                waited += self._grow(os.path.join(path, name), child, manner, share, dice)
        return waited

    def _pour(self, path, file, manner, share, dice):
        if os.path.basename(path) == "ballast":  # NULs, and nobody reads them
            open(path, "w").close()
            return 0
        fd = file.fresh_copy()
        whole = os.fstat(fd).st_size
        for write, lucky in zip(file.waiting, self._lucky(len(file.waiting), manner, share, dice)):
            if isinstance(write, tuple):
                if lucky:
                    os.ftruncate(fd, write[1])
                continue
            whole = max(whole, write.at + write.length)
            file.stale.append((write.at, write.at + write.length))
            if lucky:
                write.put(fd, self.tape)
            elif manner == "torn":
                self._tear(fd, write, dice)
        if dice.random() < 0.5 and os.fstat(fd).st_size < whole:
            os.ftruncate(fd, whole)  # grown, but the bytes did not come
        os.utime(fd, ns=(0, 0))  # so that a change by another hand is seen
        try:
            os.link(file.copy, path)
        except OSError:  # another file system
            shutil.copyfile(file.copy, path)
        return len(file.waiting)

    def _tear(self, fd, write, dice):
        """Some of its sectors: a run from the front, all but one, or any."""
        sectors = list(write.sectors())
        how = dice.random()
        if how < 0.3:
            write.put(fd, self.tape, 0, dice.choice(sectors)[0])
        elif how < 0.5:
            spared = dice.choice(sectors)
            write.put(fd, self.tape, 0, spared[0])
            write.put(fd, self.tape, spared[1])
        elif how < 0.8:
            for first, end in sectors:
                if dice.random() < 0.5:
                    write.put(fd, self.tape, first, end)

    def interesting(self, dice, count):
        """count events to cut the power at, ascending: most of them anywhere, some while the store is being made,
        some right behind an answer."""
        events = len(self.tape.events)
        first = next((i for i, e in enumerate(self.tape.events) if e[0] == HEARD), events)
        said = sorted(self.tape.said.values())
        syncs = [i for i, e in enumerate(self.tape.events) if e[0] in (SYNCED, WRITTEN)]
        cuts = []
        for _ in range(count):
            where = dice.random()
            if where < 0.08:
                cuts.append(dice.randint(1, first))
            elif where < 0.25 and said:
                cuts.append(dice.choice(said) + 1)
            elif where < 0.4 and syncs:
                cuts.append(syncs[bisect_left(syncs, dice.randint(0, events)) - 1])
            else:
                cuts.append(dice.randint(1, events))
        return sorted(cuts)
