"""Streams through the JetStream API: the dialogues of tests/dialogue, with Frond and with the genuine server."""
import os
from pathlib import Path

import pytest

from frondtest import cli, dialogue

FILES = sorted((Path(__file__).parent.parent / "dialogue").glob("*.txt"))


def play(make, kind, steps):
    """On a fresh server; the genuine one now and then fails to create a stream right after it deleted one."""
    for attempt in range(5):
        server = make(kind, name=f"server-{attempt}", jetstream=True)
        heard = dialogue.play(server, steps)
        if kind == "frond" or not any("error creating store" in body for answers in heard
                                      for _, body in answers):
            break
    return heard


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_dialogue(file, make, site_kind):
    steps = dialogue.read(file)
    heard = play(make, site_kind, steps)
    if site_kind == "nats-server" and "FROND_RECORD" in os.environ:
        for step, answers in zip(steps, heard):
            step.answers = answers
        dialogue.write(file, steps)
        return
    wrong = [dialogue.story(step, answers) for step, answers in zip(steps, heard)
             if answers != ((step.ours if site_kind == "frond" else None) or step.answers)]
    assert not wrong, f"{len(wrong)} of {len(steps)} differ\n\n" + "\n\n".join(wrong)


def test_cli_manages_streams(any_server, tmp_path):
    def run(*args, **options):
        return cli(*args, server=any_server, **options)

    run("stream", "add", "ORDERS", "--subjects", "orders.>", "--defaults")
    run("stream", "add", "MEM", "--subjects", "mem.*", "--storage", "memory", "--max-msgs", "10",
        "--discard", "new", "--allow-direct", "--defaults")
    run("pub", "orders.new", "hello", "--count", "5", "-H", "A: b", "--jetstream")
    run("pub", "orders.old", "{{Count}}", "--count", "3", "--jetstream")
    assert run("stream", "ls", "-n").out.split() == ["MEM", "ORDERS"]
    state = run("stream", "info", "ORDERS", "--json").json()["state"]
    assert (state["messages"], state["last_seq"], state["num_subjects"]) == (8, 8, 2)
    assert "ORDERS" in run("stream", "report").out
    assert "Messages: 8" in run("stream", "state", "ORDERS").out
    subjects = run("stream", "subjects", "ORDERS", "--json").json()
    assert subjects == {"orders.new": 5, "orders.old": 3}
    assert "hello" in run("stream", "get", "ORDERS", "1").out
    assert "orders.old" in run("stream", "get", "ORDERS", "-S", "orders.old").out
    run("stream", "rmm", "ORDERS", "2", "-f")
    assert run("stream", "info", "ORDERS", "--json").json()["state"]["num_deleted"] == 1
    run("stream", "gaps", "ORDERS", "-f")
    run("stream", "edit", "ORDERS", "--description", "all orders", "--max-age", "1h", "-f")
    config = run("stream", "info", "ORDERS", "--json").json()["config"]
    assert (config["description"], config["max_age"]) == ("all orders", 3600 * 10**9)
    assert "ORDERS" in run("stream", "find", "--subject", "orders.>").out
    run("stream", "copy", "ORDERS", "COPY", "--subjects", "copy.>")
    run("stream", "seal", "COPY", "-f")
    assert run("pub", "copy.x", "no", "--jetstream", check=False).code != 0
    run("stream", "purge", "ORDERS", "--subject", "orders.old", "-f")
    assert run("stream", "info", "ORDERS", "--json").json()["state"]["messages"] == 4
    run("stream", "purge", "ORDERS", "--keep", "2", "-f")
    assert run("stream", "info", "ORDERS", "--json").json()["state"]["messages"] == 2
    run("stream", "purge", "ORDERS", "-f")
    run("stream", "rm", "COPY", "-f")
    run("stream", "rm", "ORDERS", "-f")
    assert run("stream", "ls", "-n").out.split() == ["MEM"]
    info = run("account", "info").out
    assert "JetStream Account Information" in info and "Streams: 1" in info


def test_cli_keeps_keys_and_objects(any_server, tmp_path):
    def run(*args, **options):
        return cli(*args, server=any_server, **options)

    run("kv", "add", "B", "--history", "3")
    run("kv", "put", "B", "k1", "v1")
    run("kv", "put", "B", "k1", "v2")
    assert run("kv", "get", "B", "k1", "--raw").out == "v2"
    assert run("kv", "create", "B", "k1", "x", check=False).code != 0
    run("kv", "create", "B", "k2", "y")
    run("kv", "update", "B", "k1", "v3", "2")
    assert "wrong last sequence: 4" in run("kv", "update", "B", "k1", "v4", "1", check=False).text
    history = run("kv", "history", "B", "k1").out
    assert all(value in history for value in ("v1", "v2", "v3"))
    assert sorted(run("kv", "ls", "B").out.split()) == ["k1", "k2"]
    run("kv", "del", "B", "k2", "-f")
    assert run("kv", "get", "B", "k2", check=False).code != 0
    run("kv", "purge", "B", "k1", "-f")
    run("kv", "compact", "B", "-f")
    assert "B" in run("kv", "info", "B").out
    run("kv", "rm", "B", "-f")

    file = tmp_path / "file.bin"
    file.write_bytes(bytes(range(256)) * 2000)
    run("object", "add", "OB")
    run("object", "put", "OB", file, "--name", "file", "-f")
    assert "file" in run("object", "ls", "OB").out
    run("object", "get", "OB", "file", "-f", "-O", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == file.read_bytes()
    run("object", "put", "OB", file, "--name", "file", "-f")
    run("object", "rm", "OB", "file", "-f")
    run("object", "seal", "OB", "-f")
    run("object", "rm", "OB", "-f")


def test_cli_benches_publishers(any_server):
    for kind, count in (("sync", 50), ("async", 5000)):
        cli("bench", "js", "pub", kind, "--msgs", count, "--create", "--purge", "--no-progress",
            f"bench{kind}", "--stream", f"B{kind}", server=any_server)
        info = cli("stream", "info", f"B{kind}", "--json", server=any_server).json()
        assert info["state"]["messages"] == count
