"""The genuine server as oracle: the conversations of tests/differential, played beside it (frondtest/conversation.py)."""
from pathlib import Path

import pytest

from conftest import need
from frondtest.beside import Beside
from frondtest.conversation import read
from frondtest.differ import random_steps

FILES = sorted((Path(__file__).parent.parent / "differential").glob("*.txt"))


@pytest.mark.oracle
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_frond_answers_as_the_genuine_server_does(file, tmp_path):
    need("frond")
    with Beside(tmp_path) as beside:
        wrong = beside.judge(read(file))
    assert not wrong, f"{len(wrong)} differ\n\n" + "\n\n".join(wrong)


@pytest.mark.oracle
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", (3, 5))  # histories that do not wait for a lost origin
def test_random_steps_lead_to_the_same_state(seed, tmp_path):
    need("frond")
    wrong = random_steps(120, seed, tmp_path, enough=1)
    assert not wrong, "\n\n".join(wrong)
