"""TLS for clients: upgrade after INFO, handshake first, optional, certificates asked for; Frond and nats-server alike."""
import asyncio
import hashlib
import shutil
import socket
import ssl
import subprocess
from types import SimpleNamespace

import nats
import pytest

from frondtest import Raw


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    """ca.pem and, signed by it, server and client; other.pem is nobody's."""
    if not shutil.which("openssl"):
        pytest.fail("the openssl command is not there; scripts/setup")
    d = tmp_path_factory.mktemp("certs")
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", cwd=d)
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        (d / "ext").write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=d)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "ext", "-out", f"{name}.pem", cwd=d)
    return SimpleNamespace(dir=d, **{x: str(d / f"{x}.pem") for x in ("ca", "other", "server", "client")},
                           server_key=str(d / "server.key"), client_key=str(d / "client.key"))


def trusting(certs, ca=None, client=False):
    context = ssl.create_default_context(cafile=ca or certs.ca)
    if client:
        context.load_cert_chain(certs.client, certs.client_key)
    return context


def block(certs, more=""):
    return (f'tls {{ cert_file: "{certs.server}", key_file: "{certs.server_key}", ca_file: "{certs.ca}", timeout: 1\n'
            f'{more} }}\n')


def test_info_is_plain_and_all_else_is_not(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs))
    with server.raw(tls=trusting(certs)) as c:
        assert c.info["tls_required"] and "tls_available" not in c.info
        c.hello()
        c.send("SUB a 1", f"PUB a {200000}", b"x" * 200000)
        assert c.message().payload == b"x" * 200000


def test_official_client_over_tls(make, site_kind, certs, run):
    server = make(site_kind, monitor=False, config=block(certs))

    async def play():
        nc = await nats.connect(f"tls://localhost:{server.port}", tls=trusting(certs))
        got = asyncio.get_running_loop().create_future()

        async def on_message(m):
            got.set_result(m.data)

        await nc.subscribe("a", cb=on_message)
        await nc.publish("a", b"hello")
        assert await asyncio.wait_for(got, 5) == b"hello"
        await nc.close()

    run(play())


def test_a_client_that_stays_plain_is_told_and_closed(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs))
    with server.raw() as c:
        c.expect_closed(10)  # after the handshake's time; the text is no use to who does not speak TLS
    with server.raw() as c:
        c.send("PING")
        c.expect_closed(10)
    with server.raw(tls=trusting(certs)) as c:
        c.hello()


def test_who_does_not_trust_us_hurts_nobody(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs))
    with server.raw(tls=trusting(certs)) as good:
        good.hello()
        with pytest.raises(ssl.SSLError):
            server.raw(tls=trusting(certs, ca=certs.other))
        good.sync()
    server.wait_log("TLS handshake error")


def test_certificates_are_asked_for(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs, "verify: true"))
    with server.raw(tls=trusting(certs, client=True)) as c:
        assert c.info["tls_verify"]
        c.hello()
    with pytest.raises((OSError, EOFError)):
        with server.raw(tls=trusting(certs)) as c:
            c.hello()


def test_plain_and_tls_on_one_port(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs) + "allow_non_tls: true")
    with server.raw() as plain, server.raw(tls=trusting(certs)) as safe:
        assert plain.info["tls_available"] and "tls_required" not in plain.info
        plain.hello()
        safe.hello()
        safe.send("SUB a 1")
        safe.sync()
        plain.send("PUB a 1", "x")
        assert safe.message().payload == b"x"


def key_id(certificate):
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True).stdout
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(key.decode().replace("PUBLIC KEY", "CERTIFICATE"))).hexdigest()


def test_pinned_keys(make, site_kind, certs):
    """An authority's signature is not enough where keys are listed."""
    for pinned, comes_in in ((certs.client, True), (certs.other, False)):
        server = make(site_kind, monitor=False, config=block(certs, f'verify: true\npinned_certs: ["{key_id(pinned)}"]'))
        if comes_in:
            with server.raw(tls=trusting(certs, client=True)) as c:
                c.hello()
        else:
            with pytest.raises((OSError, EOFError)):
                with server.raw(tls=trusting(certs, client=True)) as c:
                    c.hello()
            server.wait_log("TLS handshake error")


def test_pinned_keys_are_asked_of_who_shows_none(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs, f'pinned_certs: ["{key_id(certs.client)}"]'))
    with pytest.raises((OSError, EOFError)):
        with server.raw(tls=trusting(certs)) as c:
            c.hello()


def test_who_says_nothing_is_a_plain_client_where_tls_is_optional(make, site_kind, certs):
    """It is pinged, so a dead one is found out."""
    server = make(site_kind, monitor=False,
                  config=block(certs, "timeout: 1") + "allow_non_tls: true\nping_interval: 1s\nping_max: 1")
    with server.raw(timeout=30) as c:
        assert "PING" in c.expect_closed()


def test_who_says_nothing_has_to_say_its_name_where_tls_is_optional(make, site_kind, certs):
    server = make(site_kind, monitor=False,
                  config=block(certs, "timeout: 1") + "allow_non_tls: true\nauthorization { token: x, timeout: 1 }")
    with server.raw(timeout=30) as c:
        assert c.expect_closed() == ["-ERR 'Authentication Timeout'"]


def test_handshake_before_info(make, site_kind, certs):
    server = make(site_kind, monitor=False, config=block(certs, "handshake_first: true"))
    s = socket.create_connection(("127.0.0.1", server.port), 5)
    s = trusting(certs).wrap_socket(s, server_hostname="localhost")
    assert s.recv(4096).startswith(b"INFO {")
    s.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
    assert s.recv(4096).startswith(b"PONG\r\n")
    s.close()


@pytest.mark.parametrize("more", ["", "allow_non_tls: true"])
@pytest.mark.parametrize("wait", ["auto", "200ms"])
def test_who_does_not_begin_the_handshake_gets_info_after_a_moment(make, site_kind, certs, wait, more):
    server = make(site_kind, monitor=False, config=block(certs, f"handshake_first: {wait}") + more)
    with server.raw(tls=trusting(certs)) as c:
        c.hello()
    if more:
        with server.raw() as c:
            c.hello()


def test_nobody_is_plain_where_the_handshake_comes_first(make, site_kind, certs):
    """Not even with allow_non_tls."""
    server = make(site_kind, monitor=False, config=block(certs, "handshake_first: true") + "allow_non_tls: true")
    with server.raw(info=False) as c:
        c.send('CONNECT {"verbose":false}', "PING")
        assert "PONG" not in c.expect_closed()


def test_new_files_count_after_a_reload(make, site_kind, certs, tmp_path):
    files = {x: tmp_path / x for x in ("server.pem", "server.key")}
    shutil.copy(certs.server, files["server.pem"])
    shutil.copy(certs.server_key, files["server.key"])
    server = make(site_kind, monitor=False, config=f'tls {{ cert_file: "{files["server.pem"]}", key_file: "{files["server.key"]}" }}')
    with server.raw(tls=trusting(certs)) as old:
        old.hello()
        shutil.copy(certs.other, files["server.pem"])
        shutil.copy(certs.other.replace(".pem", ".key"), files["server.key"])
        server.reload()
        server.wait_log("Reloaded")
        old.sync()
        context = ssl.create_default_context(cafile=certs.other)
        context.check_hostname = False
        with server.raw(tls=context) as c:
            c.hello()
