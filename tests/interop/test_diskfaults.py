"""A disk that lies, fails or is full: scripts/diskfaults' instrument, in short."""
import json
import os
import subprocess
import sys

import pytest

from frondtest import FROND_BIN, ROOT, new_seed

pytestmark = [pytest.mark.release, pytest.mark.timeout(300)]
HERE = ROOT / "tests/fault/diskfaults"


@pytest.fixture
def diskfaults(tmp_path):
    """diskfaults(options…): the figures."""
    tools = [path / "tests/fault/libdiskfault.so" for path in (FROND_BIN.parent, ROOT / "build")]
    if not any(tool.exists() for tool in tools):
        if not FROND_BIN.exists():
            pytest.skip("neither build/frond nor the library is there")
        pytest.fail(f"{tools[0]} is not there")

    def run(*options):
        figures = tmp_path / "figures.json"
        command = [sys.executable, HERE, "--seed", new_seed(), "--json", figures, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
        print(done.stdout + done.stderr)
        assert done.returncode == 0
        return json.loads(figures.read_text())

    return run


def test_a_flipped_bit_is_found_or_harmless(diskfaults):
    figures = diskfaults("--flips", 100, "--seconds", 60)["flips"]
    assert figures["found"] > 5 and figures["held_most"] <= 1 and figures.get("stopped", 0) <= 3


def test_a_call_that_fails_is_survived_or_stops_the_server_honestly(diskfaults):
    table = diskfaults("--calls", "--step", 25, "--seconds", 60)["calls"]
    assert table["no space, until lifted"].get("survived", 0) + table["no space, once"].get("survived", 0) > 0
    assert table["EIO from a write"].get("stopped", 0) > 0


def test_a_page_that_cannot_be_read_stops_the_server_honestly(diskfaults):
    figures = diskfaults("--pages", 4)["pages"]
    assert figures["unreadable page"].get("stopped", 0) > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_is_survived_and_left_without_a_restart(diskfaults):
    figures = diskfaults("--disks")["disks"]
    if not figures:
        pytest.skip("no file system could be mounted")
    assert all(len(one["back_after_s"]) == 3 for one in figures.values())
