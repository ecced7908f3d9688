"""Wait for a condition, never for a while."""
import time


def wait_for(condition, timeout=10.0, what=None, every=0.01, every_max=0.1):
    """Ask condition() until it answers something true, and return that.

    An exception of condition() counts as "not yet"; the last one is told when time is up.
    """
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last = repr(answer)
        except Exception as trouble:  # noqa: BLE001 - told below
            last = f"{type(trouble).__name__}: {trouble}"
        if time.monotonic() >= end:
            name = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {timeout:g} s: {name}; last answer {last}")
        time.sleep(every)
        every = min(every * 1.5, every_max)
