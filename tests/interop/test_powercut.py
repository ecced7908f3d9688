"""What was acknowledged is there after a power cut: scripts/powercut's instrument, proved and used."""
import json
import subprocess
import sys

import pytest

from frondtest import FROND_BIN, ROOT, new_seed

pytestmark = [pytest.mark.release, pytest.mark.timeout(300)]
HERE = ROOT / "tests/fault/powercut"


@pytest.fixture
def powercut(tmp_path):
    """powercut(images, …): the figures, and what was printed."""
    tools = [path / "tests/fault/powercut_open" for path in (FROND_BIN.parent, ROOT / "build")]
    if not any(tool.exists() for tool in tools):
        if not FROND_BIN.exists():
            pytest.skip("neither build/frond nor the recorder is there")
        pytest.fail(f"{tools[0]} is not there")

    def run(images, *options):
        figures = tmp_path / "figures.json"
        command = [sys.executable, HERE, "--images", images, "--seed", new_seed(), "--json", figures, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
        print(done.stdout + done.stderr)
        return json.loads(figures.read_text()) if figures.exists() else None

    return run


@pytest.fixture
def nosync():
    built = subprocess.run([str(ROOT / "scripts/build"), "nosync", "frond"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return ROOT / "build-nosync" / "frond"


def test_a_server_that_does_not_sync_is_found(powercut, nosync):
    figures = powercut(200, "--steps", 200, "--binary", nosync)
    assert figures["images"] == 200 and figures["kinds"]["lost"] > 0 and figures["wrong"] > 20


@pytest.mark.parametrize("barrier", ["data", "meta", "names"])
def test_a_disk_that_ignores_a_barrier_is_found(powercut, barrier):
    figures = powercut(200, "--steps", 200, "--without", barrier)
    assert figures["images"] == 200 and figures["wrong"] > 10


def test_nothing_acknowledged_is_lost(powercut):
    figures = powercut(2000, "--seconds", 90)
    assert figures["images"] >= 300 and not figures["wrong"]
