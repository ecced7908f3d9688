"""Streams through the JetStream API: the dialogues of tests/dialogue, with Frond and with the genuine server."""
import os
from pathlib import Path

import pytest

from frondtest import dialogue

FILES = sorted((Path(__file__).parent.parent / "dialogue").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_dialogue(file, make, site_kind):
    steps = dialogue.read(file)
    server = make(site_kind, name="server", jetstream=True)
    heard = dialogue.play(server, steps)
    if site_kind == "nats-server" and "FROND_RECORD" in os.environ:
        for step, answers in zip(steps, heard):
            step.answers = answers
        dialogue.write(file, steps)
        return
    wrong = [dialogue.story(step, answers) for step, answers in zip(steps, heard)
             if answers != ((step.ours if site_kind == "frond" else None) or step.answers)]
    assert not wrong, f"{len(wrong)} of {len(steps)} differ\n\n" + "\n\n".join(wrong)
