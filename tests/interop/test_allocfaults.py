"""Memory that is refused: a sample of scripts/allocfaults, and the end that it names."""
import json
import subprocess
import sys

import pytest

from frondtest import FROND_BIN, ROOT

pytestmark = [pytest.mark.release, pytest.mark.timeout(300)]
HERE = ROOT / "tests/fault/allocfaults"


@pytest.fixture
def allocfaults(tmp_path):
    """allocfaults(options…): the figures, and what was printed."""
    places = [path / "tests/fault/liballocfail.so" for path in (FROND_BIN.parent, ROOT / "build")]
    if not any(path.exists() for path in places):
        if not FROND_BIN.exists():
            pytest.skip("neither build/frond nor the library is there")
        pytest.fail(f"{places[0]} is not there")

    def run(*options):
        figures = tmp_path / "figures.json"
        command = [sys.executable, HERE, "--json", figures, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
        print(done.stdout + done.stderr)
        return json.loads(figures.read_text())

    return run


def test_refused_memory_is_answered_or_ends_the_server_by_name(allocfaults):
    figures = allocfaults("--every", 61)
    assert not figures["wrong"]
    for row in figures["rows"]:
        assert row["stop"] > 0 and row["tried"] >= row["due"] > 5, row  # due: of what the shortest run asked for


def test_a_large_request_is_refused_alone(allocfaults):
    """What a peer made large is that peer's loss: its connection is closed, or it hears an error."""
    figures = allocfaults("--only", "publish")  # each of them: how many concern that peer depends on how its bytes arrive
    assert not figures["wrong"]
    (row,) = figures["rows"]
    assert row["error"] + row["closed"] > 0 and row["stop"] > 0
