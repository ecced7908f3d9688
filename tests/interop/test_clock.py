"""The wall clock is set while the server runs, by years, forwards and backwards: nothing is lost without a word, nothing
spins, ids are known as long as the window says. The real clock of the real binary, through tests/fault/clock.c."""
import json
import os
import re
import struct
import time

import pytest

from frondtest import FROND_BIN, ROOT, wait_for

pytestmark = pytest.mark.release
YEAR = 365 * 24 * 3600
SECOND = 1_000_000_000


class Clock:
    """seconds by which the server's wall clock is wrong."""

    def __init__(self, path):
        self.path = path
        self.set(0)

    def set(self, seconds):
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            file.write(struct.pack("<q", seconds))

    def environment(self):
        library = next((path for path in (FROND_BIN.parent / "tests/fault/libwrong_clock.so",
                                          ROOT / "build/tests/fault/libwrong_clock.so") if path.exists()), None)
        if library is None:
            pytest.skip("the clock is not built")
        return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self.path)}


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock")


@pytest.fixture
def site(make, clock):
    return make("frond", name="site", jetstream=True, env=clock.environment())


def ask(client, subject, body="", headers=""):
    """A request's answer as JSON."""
    client.send("SUB _R 77", "UNSUB 77 1")
    if headers:
        head = "NATS/1.0\r\n" + headers + "\r\n\r\n"
        client.send(f"HPUB {subject} _R {len(head)} {len(head) + len(body)}", head + body)
    else:
        client.send(f"PUB {subject} _R {len(body)}", body)
    answer = json.loads(client.message(30).payload)
    assert "error" not in answer, (subject, answer)
    return answer


def make_stream(client, name, **config):
    ask(client, f"$JS.API.STREAM.CREATE.{name}",
        json.dumps({"name": name, "subjects": [f"{name}.>"], "storage": "file", **config}))


def messages(client, name):
    return ask(client, f"$JS.API.STREAM.INFO.{name}")["state"]["messages"]


def publish(client, subject, name):
    return ask(client, subject, "x", f"Nats-Msg-Id: {name}").get("duplicate", False)


def busy(server):
    """Seconds of CPU time so far."""
    fields = open(f"/proc/{server.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rests(server):
    """Left alone it sleeps: in half a second of peace it needs next to none."""
    def quiet():
        before = busy(server)
        time.sleep(0.5)
        return busy(server) - before < 0.1

    wait_for(quiet, 20, "a server at rest")


def test_years_forwards_and_backwards(site, clock):
    with site.raw() as client:
        client.hello()
        make_stream(client, "AGED", max_age=3600 * SECOND)
        make_stream(client, "KEPT", duplicate_window=120 * SECOND)
        assert not publish(client, "AGED.a", "1")
        assert not publish(client, "KEPT.a", "1")
        clock.set(10 * YEAR)
        site.wait_log(r"The clock moved forward by \d{5}h")
        site.wait_log("AGED': max_age is over for messages that were not so old before")
        wait_for(lambda: messages(client, "AGED") == 0, 20, "what is ten years old is gone")
        assert messages(client, "KEPT") == 1
        assert publish(client, "KEPT.a", "1"), "the id was forgotten"
        assert not publish(client, "AGED.a", "2")
        rests(site)
        clock.set(-10 * YEAR)
        site.wait_log(r"The clock moved back by \d{6}h")
        assert publish(client, "KEPT.a", "1"), "the id was forgotten"
        for n in range(3, 6):
            assert not publish(client, "AGED.a", n)
            assert not publish(client, "KEPT.a", n)
        assert messages(client, "AGED") == 4 and messages(client, "KEPT") == 4
        rests(site)
        clock.set(0)
        site.wait_log(r"The clock moved back by(.*\n)*.*The clock moved forward by")
        assert messages(client, "KEPT") == 4
        rests(site)


def test_a_restart_without_a_battery(site, clock):
    """1970 until somebody tells the time: neither lost nor doubled."""
    with site.raw() as client:
        client.hello()
        make_stream(client, "AGED", max_age=3600 * SECOND, duplicate_window=120 * SECOND)
        assert not publish(client, "AGED.a", "before")
    site.kill()
    clock.set(-int(time.time()) + 60)
    site.start()
    assert re.search(r"AGED': its newest message is from .* ahead of the clock", site.log())
    with site.raw() as client:
        client.hello()
        assert publish(client, "AGED.a", "before"), "the id was forgotten"
        assert not publish(client, "AGED.a", "in 1970")
        rests(site)
        clock.set(0)
        site.wait_log("The clock moved forward by")
        assert publish(client, "AGED.a", "in 1970")
        assert messages(client, "AGED") == 2
        got = ask(client, "$JS.API.STREAM.MSG.GET.AGED", json.dumps({"seq": 2}))
        assert not got["message"]["time"].startswith("1970")
