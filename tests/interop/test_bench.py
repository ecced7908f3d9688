"""The instrument itself: a quick run of scripts/bench tells figures for each of its rows. Never how large they are."""
import json
import math
import os
import subprocess
import sys

import pytest

from frondtest.paths import FROND_BIN, ROOT

pytestmark = [pytest.mark.release, pytest.mark.timeout(600)]


def bench(*args):
    return subprocess.run([sys.executable, ROOT / "scripts/bench", *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, "FROND_BIN": str(FROND_BIN)}, timeout=580)


def test_a_quick_run_has_figures_for_every_row(tmp_path):
    told = tmp_path / "bench.json"
    done = bench("--quick", "--rounds", 1, "--json", told)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(told.read_text())
    assert len(report["rows"]) >= 15
    for name, row in report["rows"].items():
        assert not row["troubles"], f"{name}: {row['troubles']}"
        for kind in ("frond", "nats"):
            for figure, value in row.get(kind, {}).items():
                if isinstance(value, dict) and not figure.startswith("over_"):
                    assert math.isfinite(value["median"]) and value["median"] > 0, f"{name}: {kind}: {figure}: {value}"
        assert "frond" in row, f"{name}: no figures"
        assert all(goal["is"] is not None for goal in row["goals"]), f"{name}: {row['goals']}"


def test_a_store_in_memory_is_refused():
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no tmpfs here")
    done = bench("--quick", "--only", "push", "--dir", f"/dev/shm/frond-bench-{os.getpid()}")
    os.rmdir(f"/dev/shm/frond-bench-{os.getpid()}")
    assert done.returncode != 0
    assert "tmpfs" in done.stderr, done.stderr
