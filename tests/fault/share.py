"""Work for several processes: each piece is done by a child of its own, which sends back what it found."""
import os
import pickle
import sys


def share(jobs, work, each):
    """each(item) for every item, so many children at a time; the results, in the order of the work."""
    running, waiting, out = [], list(work), []
    while running or waiting:
        while waiting and len(running) < jobs:
            running.append(begin(each, waiting.pop(0)))
        out.append(end(*running.pop(0)))
    return out


def begin(each, item):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            result = each(item)
            with os.fdopen(writing, "wb") as to:
                pickle.dump(result, to)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(writing)
    return child, reading


def end(child, reading):
    with os.fdopen(reading, "rb") as it:
        data = it.read()
    _, status = os.waitpid(child, 0)
    if status or not data:
        raise SystemExit("a process of ours ended badly")
    return pickle.loads(data)
