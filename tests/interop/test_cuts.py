"""A copy over a bad link holds what was acknowledged, once, in order: scripts/cuts, both directions, all that is kept."""
import json
import subprocess
import sys

import pytest

from frondtest import FROND_BIN, ROOT, new_seed
from frondtest.readback import Stored
from frondtest.till import Ack

sys.path.append(str(ROOT / "tests/fault/cuts"))
from scene import acknowledged, differences  # noqa: E402

CUTS = 28  # per direction


def test_what_is_lost_doubled_changed_invented_or_mixed_up_is_found():
    names = [f"origin-1-{number:06d}" for number in range(1, 5)]
    sold = [Ack(name, name.encode(), number, 0, 0, False) for number, name in enumerate(names, 1)]
    good = [Stored(number, name, name.encode(), b"") for number, name in enumerate(names, 1)]
    assert differences(sold, good) == []
    for bad, word in ((good[1:], "lost"), ([*good, good[3]], "doubled"), ([good[0]._replace(digest=b"x"), *good[1:]], "changed"),
                      ([*good, good[3]._replace(id="origin-1-000009")], "never"), (good[::-1], "out of order")):
        assert any(word in text for text in differences(sold, bad)), word


def test_only_what_the_origin_says_is_acknowledged_may_stay_in_its_queue():
    def floors(*numbers):
        return [{"ack_floor": {"stream_seq": number}} for number in numbers]

    assert acknowledged({"last_seq": 9}, floors(9))
    for consumers in ((), floors(8), floors(9, 8)):
        assert not acknowledged({"last_seq": 9}, consumers), consumers


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pulls", ["hub", "site"])
def test_cuts_stalls_and_kills_lose_double_and_mix_up_nothing(tmp_path, pulls):
    if not FROND_BIN.exists():
        pytest.skip("build/frond is not there")
    figures = tmp_path / "figures.json"
    scenes = ",".join(f"{pulls}-{kept}" for kept in ("limits", "mirror", "workqueue", "interest"))
    command = [sys.executable, ROOT / "tests/fault/cuts", "--cuts", CUTS, "--scenes", scenes, "--seed", new_seed(),
               "--seconds", 240, "--dir", tmp_path, "--json", figures]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=580)
    print(done.stdout + done.stderr)
    result = json.loads(figures.read_text())
    assert not result["wrong"]
    assert result["cuts"] >= 8 and result["sold"] > 100
