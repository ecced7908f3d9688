"""Fixtures of the interop tests; the tool box is frondtest/.

    make         make(kind="frond", name=…, …) → a running server, stopped and checked at the end
    any_server   a lone server, once as Frond and once as nats-server
    site_kind    "frond", then "nats-server": for tests that build their own scene
    pair         pair(site_kind) → hub (genuine), link (a Relay) and site, joined
    run          run(coroutine): asyncio for one test

Where build/frond (or FROND_BIN) does not exist, Frond's half is skipped; with FROND_BIN set it fails.
"""
import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from frondtest import FROND_BIN, Frond, NatsServer, Relay, leaf_remote  # noqa: E402
from frondtest.ports import ports_given_back  # noqa: E402

KINDS = {"frond": Frond, "nats-server": NatsServer}


def need(kind):
    if not KINDS[kind].binary.exists():
        if kind == "frond" and "FROND_BIN" not in os.environ:
            pytest.skip("build/frond is not there")
        pytest.fail(f"{KINDS[kind].binary} is not there")


def pytest_addoption(parser):
    parser.addoption("--frond-only", action="store_true",
                     help="leave out what the genuine server decides: alone, or beside Frond")


def pytest_collection_modifyitems(config, items):
    def genuine(item):
        params = item.callspec.params.values() if hasattr(item, "callspec") else ()
        return "nats-server" in params or item.get_closest_marker("harness") or item.get_closest_marker("oracle")

    if config.getoption("--frond-only"):
        left_out = [item for item in items if genuine(item)]
        items[:] = [item for item in items if not genuine(item)]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def ports():
    with ports_given_back():
        yield


@pytest.fixture
def make(tmp_path):
    """make(kind, name=…, start=True, …): see frondtest.server.Server for the rest."""
    servers = []

    def make_one(kind="nats-server", name=None, start=True, **options):
        need(kind)
        name = name or f"{kind}-{len(servers)}"
        server = KINDS[kind](tmp_path / name, name=name, **options)
        servers.append(server)
        return server.start() if start else server

    yield make_one
    for server in reversed(servers):
        server.stop()
    for server in servers:
        server.check()


@pytest.fixture
def make_relay():
    relays = []

    def make_one(port, **options):
        relays.append(Relay(port, **options))
        return relays[-1]

    yield make_one
    for relay in relays:
        relay.close()


@pytest.fixture(params=list(KINDS))
def site_kind(request):
    need(request.param)
    return request.param


@pytest.fixture
def any_server(make, site_kind):
    return make(site_kind, name="server", jetstream=True)


@pytest.fixture
def pair(make, make_relay):
    """pair(kind, hub={…}, site={…}): hub.domain is "hub", site.domain is "site"; linked on return."""

    def join(kind="frond", hub=None, site=None, remote=None):
        options = {"name": "hub", "domain": "hub", "jetstream": True, "leaf_listen": True}
        the_hub = make("nats-server", **{**options, **(hub or {})})
        link = make_relay(the_hub.leaf_port)
        options = {"name": "site", "domain": "site", "jetstream": True,
                   "remotes": [leaf_remote(link.port, **(remote or {}))]}
        the_site = make(kind, **{**options, **(site or {})})
        the_hub.wait_linked()
        the_site.wait_linked()
        return SimpleNamespace(hub=the_hub, link=link, site=the_site)

    return join


@pytest.fixture
def run():
    return asyncio.run
