"""What a case is, and how it is measured.

A case's run(kind, ctx) plays one round against a fresh server of that kind and returns {figure: number}. measure()
alternates the kinds, changes who goes first, and keeps median, minimum and maximum of each figure, and the ratio
of the medians, ours to theirs. A round that fails is told and counts for nothing; a case without a good round of a
kind is a failed case, and the run goes on.
"""
import dataclasses
import math
import pathlib
import statistics
import time
import typing

from . import goals
from .world import Failed
from ports import ports_given_back

KINDS = ("frond", "nats")
SECONDS = 60  # a row that takes longer gets no further round
LIMIT = 0.9  # more than so much of a core: the generator is the limit


@dataclasses.dataclass
class Context:
    base: pathlib.Path
    quick: bool = False
    disk: dict = dataclasses.field(default_factory=dict)

    def count(self, number):
        """So many messages in this run: a quick one takes fewer."""
        return max(200, number // 5) if self.quick else number


@dataclasses.dataclass
class Case:
    name: str
    group: str
    run: typing.Callable  # run(kind, ctx) -> {figure: number}
    kinds: tuple = KINDS
    rounds: int = 99  # at most
    quick: bool = False  # is one of --quick's
    extra: bool = False  # takes long: only for --all, or by name
    note: str = ""


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(case, rounds, troubles):
    out = {"group": case.group, "note": case.note, "troubles": troubles}
    for kind in case.kinds:
        out[kind] = {figure: spread([r[figure] for r in rounds[kind]]) for figure in rounds[kind][0]}
        out[kind]["rounds"] = len(rounds[kind])
    out["marked"] = any(r.get("generator", 0) > LIMIT for kind in case.kinds for r in rounds[kind])
    if set(case.kinds) == set(KINDS):
        ours, theirs = out["frond"], out["nats"]
        out["ratio"] = {f: ours[f]["median"] / theirs[f]["median"] for f in ours
                        if isinstance(ours[f], dict) and f in theirs and theirs[f]["median"]}
    out["goals"] = goals.judge(case.name, out)
    return out


def measure(case, ctx, rounds):
    """The case's entry of the report; {"failed": why} when there is nothing to tell."""
    results, troubles = {kind: [] for kind in case.kinds}, []
    began = time.monotonic()
    for i in range(min(rounds, case.rounds)):
        if time.monotonic() - began > SECONDS and all(results.values()):
            break
        for kind in case.kinds if i % 2 == 0 else case.kinds[::-1]:
            try:
                with ports_given_back():
                    figures = case.run(kind, ctx)
                if not all(math.isfinite(v) for v in figures.values()):
                    raise Failed(f"{kind}: not a number: {figures}")
                results[kind].append(figures)
            except Exception as trouble:  # noqa: BLE001 - told, and the run goes on
                troubles.append(f"{type(trouble).__name__}: {trouble}"[:600])
    if not all(results.values()):
        return {"group": case.group, "failed": troubles or ["no round"], "goals": goals.judge(case.name, {}),
                "seconds": time.monotonic() - began}
    return {**summary(case, results, troubles), "seconds": time.monotonic() - began}
