"""What the world sees of the process: flags, files, signals, log; the same for Frond and nats-server."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from frondtest import FROND_BIN, Raw, free_port, leaf_remote, wait_for, wait_knows


def gone(server, timeout=10):
    wait_for(lambda: not server.running, timeout, f"{server.name} ending")
    return server.process.returncode


def said(lines):
    return [x for x in lines if not x.startswith("INFO ") and x != "PING"]


def test_version_depends_on_the_name(tmp_path):
    if not FROND_BIN.exists():
        pytest.skip("build/frond is not there")
    alias = tmp_path / "nats-server"
    alias.symlink_to(FROND_BIN)
    for flag in ("-v", "--version"):
        assert subprocess.run([alias, flag], capture_output=True, text=True, check=True).stdout == "nats-server: v2.15.2\n"
    own = subprocess.run([FROND_BIN, "-v"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"frond.* v?\d+\.\d+\.\d+", own) and "2.15.2" in own


def test_term_and_int_end_with_status_0(make, site_kind):
    server = make(site_kind, monitor=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        with server.raw() as c:
            c.hello()
            server.signal(number)
            assert gone(server) == 0
            c.expect_closed()
        assert "Initiating Shutdown..." in server.log() and "Server Exiting.." in server.log()
        server.start()


def test_pid_file_stays_and_ports_file_goes(make, site_kind, tmp_path):
    pid, ports = tmp_path / "pid", tmp_path / "ports"
    ports.mkdir()
    server = make(site_kind, flags=["-P", str(pid), "--ports_file_dir", str(ports), "-p", "-1", "-m", "-1"])
    assert pid.read_text() == str(server.pid)
    files = wait_for(lambda: [p for p in ports.iterdir() if p.suffix == ".ports"], 10, "ports file")
    assert files[0].name == f"{server.binary.name}_{server.pid}.ports"
    told = json.loads(files[0].read_text())
    assert re.fullmatch(r"nats://127\.0\.0\.1:\d+", told["nats"][0])
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", told["monitoring"][0])
    with Raw(int(told["nats"][0].rsplit(":", 1)[1])) as c:
        c.hello()
    assert server.stop() == 0
    assert list(ports.iterdir()) == [] and pid.exists()


def test_start_lines_stand_in_their_order(make, site_kind):
    server = make(site_kind)
    lines = [re.sub(r"^\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} ", "", x) for x in server.log().splitlines()]
    assert all(re.match(r"\[(INF|WRN)\] ", x) for x in lines), lines
    wanted = [r"\[INF\] Starting (frond|nats-server)", r"\[INF\]   Version: ", r"\[INF\]   Git: ", r"\[INF\]   Name: ",
              r"\[INF\]   ID:       N[A-Z2-7]{55}$", r"\[INF\] Using configuration file: .* \(sha256:[0-9a-f]{64}\)",
              r"\[INF\] Starting http monitor on 127\.0\.0\.1:\d+",
              rf"\[INF\] Listening for client connections on 127\.0\.0\.1:{server.port}$", r"\[INF\] Server is ready$"]
    at = 0
    for pattern in wanted:
        at = next((i + 1 for i, x in enumerate(lines[at:], at) if re.match(pattern, x)), None)
        assert at, f"{pattern} missing or out of order in {lines}"
    assert at == len(lines)


def test_a_port_in_use_is_fatal(make, site_kind):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        server = make(site_kind, start=False, flags=["-p", str(port)], monitor=False)
        server.start(wait=False)
        assert gone(server) == 1
        assert re.search(rf"\[FTL\] Error listening on port: 127\.0\.0\.1:{port}, .*address already in use", server.log())


def test_hup_reloads_log_level_and_users(make, site_kind):
    server = make(site_kind, monitor=False, config="authorization { users: [ {user: a, password: a}, {user: b, password: b} ] }")
    with server.raw() as a, server.raw() as b:
        a.hello(user="a", **{"pass": "a"})
        b.hello(user="b", **{"pass": "b"})
        server.extra = ('debug: true\nauthorization { users: [ {user: a, password: a}, '
                        '{user: c, password: c, permissions: {publish: "x"}} ] }')
        server.write_config()
        server.reload()
        server.wait_log("Reloaded server configuration")
        assert said(b.expect_closed()) in ([], ["-ERR 'Authorization Violation'"])  # the reference says nothing
        a.sync()
        with server.raw() as c:
            c.hello(user="c", **{"pass": "c"})
            c.send("PUB y 0", "")
            c.expect("-ERR 'Permissions Violation for Publish to \"y\"'")
        server.wait_log(r"\[DBG\] .*Client connection created")


def test_a_broken_file_leaves_everything_as_it_was(make, site_kind):
    server = make(site_kind, monitor=False)
    server.extra = "nonsense: {"
    server.write_config()
    server.reload()
    server.wait_log(r"\[ERR\] Failed to reload server configuration: ")
    with server.raw() as c:
        c.hello()


def test_a_change_that_needs_a_restart_is_refused_as_a_whole(make, site_kind):
    server = make(site_kind, monitor=False)
    server.extra = "max_pending: 1048576\nmax_payload: 1000"
    server.write_config()
    server.reload()
    server.wait_log(r"config reload not supported for MaxPending: old=67108864, new=1048576")
    with server.raw() as c:
        assert c.info["max_payload"] == 1048576


def test_a_smaller_number_of_connections_counts_at_once(make, site_kind):
    server = make(site_kind, monitor=False)
    clients = [server.raw().hello() for _ in range(3)]
    server.extra = "max_connections: 0"
    server.write_config()
    server.reload()
    server.wait_log("Closed 3 connections to fall within max_connections")
    for c in clients:
        assert "-ERR 'maximum connections exceeded'" in c.expect_closed()
        c.close()
    server.wait_log("Reloaded server configuration")
    with server.raw() as c:
        assert said(c.expect_closed()) == ["-ERR 'maximum connections exceeded'"]
    server.extra = "max_connections: 5"
    server.write_config()
    server.reload()
    server.wait_log("Reloaded: max_connections = 5")
    with server.raw() as c:
        c.hello()


def test_times_without_end(make):
    """The longest durations there are don't overflow when the time of day, or a jitter, is added."""
    ever = "2562047h47m16s"
    server = make("frond", jetstream=True, domain="site", reconnect=ever,
                  remotes=[leaf_remote(free_port(), first_info_timeout=ever)],
                  config=f"ping_interval: {ever}\nwrite_deadline: {ever}\nlame_duck_duration: {ever}")
    with server.raw() as c:
        c.hello()
        c.send("SUB a 1", "PUB a 1", "x")
        assert c.message().payload == b"x"


def test_a_smaller_max_payload_counts_at_once(make, site_kind):
    server = make(site_kind, monitor=False)
    with server.raw() as c:
        c.hello()
        c.sync()
        server.extra = "max_payload: 1000"
        server.write_config()
        server.reload()
        server.wait_log("Reloaded server configuration")

        c.send("PUB a 1001")
        assert said(c.expect_closed()) == ["-ERR 'Maximum Payload Violation'"]


def test_a_larger_max_payload_counts_on_a_link_at_once(make, site_kind):
    """What the hub sends above the old one does not cost the link any more."""
    hub = make("nats-server", name="hub", leaf_listen=True, config="max_payload: 4MB")
    site = make(site_kind, name="site", remotes=[leaf_remote(hub.leaf_port)])
    site.wait_linked()
    site.extra = "max_payload: 4MB"
    site.write_config()
    site.reload()
    site.wait_log("Reloaded server configuration")
    if site_kind == "nats-server":  # there the next connection has it
        hub.restart()
        site.wait_linked()
    with hub.raw() as h, site.raw() as s:
        h.hello()
        s.hello()
        s.send("SUB big 1")
        wait_knows(hub, "big")
        h.send(f"PUB big {2 << 20}", "x" * (2 << 20))
        assert len(s.message(timeout=20).payload) == 2 << 20
        assert "Violation" not in site.log()


def test_usr1_opens_the_log_file_anew(make, site_kind, tmp_path):
    log = tmp_path / "the.log"
    server = make(site_kind, start=False, flags=["-l", str(log)], monitor=False)
    server.start(wait=False)
    wait_for(lambda: log.exists() and "Server is ready" in log.read_text(), 10, "start")
    shutil.move(log, tmp_path / "old.log")
    server.signal(signal.SIGUSR1)
    wait_for(lambda: log.exists() and "File log re-opened" in log.read_text(), 10, "a new file")
    assert "File log re-opened" not in (tmp_path / "old.log").read_text()


def test_usr2_leaves_without_a_jolt(make, site_kind):
    server = make(site_kind, monitor=False, config='lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"')
    with server.raw() as a, server.raw() as b:
        a.hello()
        b.hello()
        a.sync()
        server.signal(signal.SIGUSR2)
        wait_for(lambda: (a.sync(), a.info.get("ldm"))[1], 5, "INFO with ldm")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), 2)
        server.signal(signal.SIGTERM)  # ignored now
        a.sync()
        a.timeout = b.timeout = 10
        a.expect_closed()
        b.expect_closed()
    assert gone(server, 20) == 0


@pytest.mark.parametrize("number, line", [(signal.SIGTERM, "Initiating Shutdown"), (signal.SIGUSR2, "Closing existing clients")])
def test_what_waits_for_a_client_is_sent_before_the_end(make, site_kind, number, line):
    """More than the kernel takes; the client begins to read when it is closed."""
    server = make(site_kind, monitor=False, config='lame_duck_duration: "30s"\nlame_duck_grace_period: "10ms"')
    messages, one = 7000, b"PUB much 1000\r\n" + b"x" * 1000 + b"\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.connect(("127.0.0.1", server.port))
        slow.settimeout(30)
        slow.sendall(b'CONNECT {"verbose":false}\r\nSUB much 1\r\nPING\r\n')
        heard = b""
        while b"PONG" not in heard:
            heard += slow.recv(65536)
        with server.raw(timeout=30) as speaker:
            speaker.hello()
            for _ in range(messages // 50):
                speaker.send_bytes(one * 50)
            speaker.sync()
        server.signal(number)
        server.wait_log(line)
        got = bytearray()
        while chunk := slow.recv(1 << 20):
            got += chunk
        assert got.count(b"MSG much 1 1000\r\n") == messages
    assert gone(server, 40) == 0


def test_who_asks_faster_than_answers_leave_rests(make):
    """A user's permissions are long, a question is short: the answers of one read would be hundreds of megabytes."""
    allow = ["$SYS.>"] + [f"plant.hall-{i}.machine.temperature.>" for i in range(500)]
    users = [{"user": "a", "password": "p", "permissions": {"publish": {"allow": allow}}}]
    server = make("frond", config=f"authorization {{ users: {json.dumps(users)} }}")
    with server.raw(timeout=60) as c:
        c.hello(user="a", **{"pass": "p"})
        c.send("SUB me 1")
        c.send_bytes(b"PUB $SYS.REQ.USER.INFO me 0\r\n\r\n" * 500)
        for _ in range(500):
            assert len(json.loads(c.message(60).payload)["data"]["permissions"]["publish"]["allow"]) == 501
    assert server.http("/varz")["stalled_clients"] > 0


def test_a_receiver_that_does_not_read_is_closed_and_hurts_nobody(make, site_kind):
    server = make(site_kind, config="max_pending: 8mb\nwrite_deadline: \"60s\"")
    with server.raw() as slow, server.raw() as good, server.raw(timeout=30) as speaker:
        slow.hello()
        good.hello()
        speaker.hello()
        slow.send("SUB flood 1")
        slow.sync()
        good.send("SUB quick 1")
        good.sync()
        chunk = (b"PUB flood 65536\r\n" + b"x" * 65536 + b"\r\n") * 4
        end = time.monotonic() + 30
        while "Slow Consumer Detected: MaxPending" not in server.log() and time.monotonic() < end:
            speaker.send_bytes(chunk)
        server.wait_log("Slow Consumer Detected: MaxPending of 8388608 Exceeded")
        speaker.send("PUB quick 2", "hi")
        assert good.message(30).payload == b"hi"
        speaker.sync()
        assert server.http("/varz")["slow_consumers"] == 1


def test_garbage_and_floods_of_it_hurt_nobody(make, site_kind):
    server = make(site_kind, monitor=False)
    with server.raw() as good:
        good.hello()
        for junk in (b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\n\r\n", b"PUB " + b"a" * 100000,
                     os.urandom(4096), b"PUB a 99999999999999999999\r\n", b"SUB\r\n" * 100):
            c = socket.create_connection(("127.0.0.1", server.port))
            try:
                c.sendall(junk)
                c.shutdown(socket.SHUT_WR)
                while c.recv(65536):
                    pass
            except OSError:
                pass  # closed before we were through
            c.close()
        good.sync()


def test_the_signal_flag_reaches_a_server_by_pid_and_by_file(make, site_kind, tmp_path):
    server = make(site_kind, monitor=False, flags=["-P", str(tmp_path / "pid")])

    def tell(word):
        return subprocess.run([server.binary, "--signal", word], capture_output=True, text=True)

    for word in ("reload=a=b", "reload=/nonexistent", "ldm=99999999"):
        said = tell(word)
        assert said.returncode == 1 and said.stdout == "" and said.stderr.startswith("nats-server: "), word
    assert tell(f"foo={server.pid}").stderr == 'nats-server: unknown signal "foo"\n'
    assert tell("reload=/nonexistent").stderr == "nats-server: invalid pid: /nonexistent\n"
    assert tell("reload=99999999").stderr == 'nats-server: \nsignal "reload" 99999999: no such process\n'
    assert tell(f"reload={tmp_path / 'pid'}").returncode == 0
    server.wait_log("Reloaded server configuration")
    assert tell(f"term={server.pid}").returncode == 0
    assert gone(server) == 0


def test_who_am_i_is_answered_in_every_account(make, site_kind):
    server = make(site_kind, monitor=False, config="""
        accounts { A: { users: [ { user: a, password: p, permissions: { publish: { allow: [">"], deny: "secret" } } } ] } }""")
    with server.raw() as c:
        c.hello(user="a", **{"pass": "p"})
        c.send("SUB r 1", "PUB $SYS.REQ.USER.INFO r 0", "")
        told = json.loads(c.message().payload)
    assert told["data"]["user"] == "a" and told["data"]["account"] == "A"
    assert told["data"]["permissions"]["publish"] == {"allow": [">"], "deny": ["secret"]}
    assert told["server"]["ver"] == "2.15.2" and len(told["server"]["id"]) == 56


def test_figures_of_a_conversation_are_true(make, site_kind):
    server = make(site_kind)
    with server.raw() as a, server.raw() as b:
        a.hello(name="alice")
        b.hello()
        a.send("SUB x 1", "SUB y q 2")
        a.sync()
        b.send("PUB x 5", "hello", "PUB y 3", "abc", "PUB z 1", "-")
        b.sync()
        a.message()
        a.message()
        a.sync()
        page = server.http("/connz?subs=1&sort=cid")
        alice, bob = page["connections"][-2:]
        if alice.get("name") != "alice":
            alice, bob = bob, alice
        assert (alice["out_msgs"], alice["out_bytes"], alice["subscriptions"]) == (2, 8, 2)
        assert sorted(alice["subscriptions_list"]) == ["x", "y"] and alice["lang"] == "raw"
        assert (bob["in_msgs"], bob["in_bytes"], bob["out_msgs"]) == (3, 9, 0)
        varz = server.http("/varz")
        assert (varz["connections"], varz["in_msgs"], varz["out_msgs"], varz["in_bytes"]) == (2, 3, 2, 9)


def test_a_stop_while_last_words_wait_leaves_nothing_behind(make, site_kind):
    server = make(site_kind, monitor=False)
    with server.raw() as deaf, server.raw(timeout=30) as b:
        deaf.hello()
        deaf.send("SUB x 1")
        deaf.sync()
        b.hello()
        for _ in range(30):
            b.send_bytes(b"PUB x 500000\r\n" + b"y" * 500000 + b"\r\n")
        b.sync()
        deaf.send("NOPE")  # its -ERR waits behind 15 MB that nobody reads
        server.wait_log("arser ERROR")
        assert server.stop() == 0  # and the leak checker looks
