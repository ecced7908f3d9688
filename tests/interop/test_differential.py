"""The genuine server as oracle: the conversations of tests/differential, played beside it (frondtest/conversation.py)."""
from pathlib import Path

import pytest

from conftest import need
from frondtest.beside import Beside
from frondtest.conversation import read

FILES = sorted((Path(__file__).parent.parent / "differential").glob("*.txt"))


@pytest.mark.oracle
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_frond_answers_as_the_genuine_server_does(file, tmp_path):
    need("frond")
    with Beside(tmp_path) as beside:
        wrong = beside.judge(read(file))
    assert not wrong, f"{len(wrong)} differ\n\n" + "\n\n".join(wrong)
