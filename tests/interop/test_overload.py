"""Too much of everything: the rows of scripts/overload in small. Memory has bounds; times are not asserted."""
import json
import subprocess
import sys

import pytest

from frondtest import FROND_BIN, ROOT

pytestmark = [pytest.mark.release, pytest.mark.timeout(300)]
HERE = ROOT / "tests/fault/overload"


@pytest.mark.parametrize("rows", [
    ("slow", "slow-large", "slow-tenth"), ("connects", "half-open", "bcrypt"), ("subs", "subs-spread", "subjects"),
    ("publishers", "publishers-128"), ("pulls", "api"), ("deaf-leaf", "headers")], ids=lambda rows: rows[0])
def test_memory_keeps_its_bound(tmp_path, rows):
    if not FROND_BIN.exists():
        pytest.skip("build/frond is not there")
    figures = tmp_path / "figures.json"
    only = [word for row in rows for word in ("--only", row)]
    command = [sys.executable, HERE, "--small", "--ours", "--seconds", 1.5, "--json", figures, *only]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    print(done.stdout + done.stderr)
    found = json.loads(figures.read_text())
    assert [row["row"] for row in found] == list(rows)
    for row in found:
        assert row["idle_rss"] < row["peak"] <= row["bound"], row
        assert row["rounds"] > 0, "nobody else was served"
