"""docs/demo.md as it stands, the check of scripts/demo, and its story in small."""
import re
import subprocess
import sys

import pytest

from frondtest import ROOT, Frond, NatsServer, wait_for
from frondtest.recipe import Page, Recipes, recipe_server
from frondtest.till import Ack

sys.path.insert(0, str(ROOT / "scripts" / "play"))
import ledger  # noqa: E402


# -- the page --


@pytest.fixture
def page(tmp_path, site_kind):
    """The page's commands, its servers running."""
    recipes = Recipes("docs/demo.md")
    site_class = {"frond": Frond, "nats-server": NatsServer}[site_kind]
    hub = recipe_server(NatsServer, tmp_path / "hub", "hub", recipes["hub.conf"], leaf_listen=True)
    sites = [recipe_server(site_class, tmp_path / name, name, recipes[f"{name}.conf"]) for name in ("north", "south")]
    ports = {4222: hub.port, 8222: hub.http_port, 7422: hub.leaf_port}
    for number, site in enumerate(sites, 1):
        ports.update({4300 + number: site.port, 8300 + number: site.http_port})
    for server in [hub, *sites]:
        server.ports = ports
    for name, text in recipes.items():
        if name.endswith(".json"):
            (tmp_path / name).write_text(text)
    page = Page(recipes, ports, tmp_path)
    page.hub = hub
    try:
        for server in [hub, *sites]:
            server.start()
        hub.wait_linked(2)
        yield page
    finally:
        page.close()
        for server in [*sites, hub]:
            server.stop()
    for server in [hub, *sites]:
        server.check()


def test_the_hub_collects_as_the_page_says(page):
    page("create the streams")
    page("sell")

    def collected():
        info = page.hub.cli("stream", "info", "ORDERS-ALL", "--json").json()
        return info["state"]["messages"] == 2

    wait_for(collected, 45, "both orders at the hub", every=0.2)
    text = page("look")
    assert "three candles" in text and "a rope" in text
    assert re.search(r"Subjects: *orders\.north\.>", text), text


def test_the_price_comes_from_the_nearest_shelf(page):
    page.service("at the hub")
    wait_for(lambda: "from the hub" in page("ask"), 15, "the hub's answer", every=0.2)
    local = page.service("at a site")
    wait_for(lambda: "from north" in page("ask"), 15, "the site's own answer", every=0.2)
    for _ in range(5):
        assert "from north" in page("ask")
    page.end(local)
    wait_for(lambda: "from the hub" in page("ask"), 15, "the hub's answer again", every=0.2)


# -- the check --


def perfect(count=60):
    """Two sites' acks and the hub's stream as it should be."""
    acks, messages = {"north": [], "south": []}, []
    for number in range(1, count + 1):
        for site in acks:
            name, body = f"{site}-1-{number:06d}", bytes([number])
            acks[site].append(Ack(name, body, number, 0.0, 0.0, False))
            messages.append(ledger.Found(name, site, 1, number, body))
    return acks, messages


def verdict(acks, messages):
    return ledger.total(ledger.judge(site, mine, messages) for site, mine in acks.items())


def test_the_check_is_content_with_a_perfect_stream():
    assert verdict(*perfect()).good


@pytest.mark.parametrize("how, field", [("drop", "missing"), ("dup", "twice"),
                                        ("swap", "disorder")])
def test_the_check_notices_every_damage(how, field):
    for seed in range(200):
        acks, messages = perfect(3 + seed % 50)
        ledger.damage(messages, how, seed)
        found = verdict(acks, messages)
        assert not found.good and getattr(found, field) == 1, (seed, found)
        others = {"missing", "twice", "disorder", "strange"} - {field}
        assert all(getattr(found, other) == 0 for other in others), (seed, found)


def test_the_check_compares_bodies_and_knows_what_was_never_acknowledged():
    acks, messages = perfect()
    messages[7] = messages[7]._replace(digest=b"other")
    assert verdict(acks, messages).missing == 1
    acks, messages = perfect()
    messages.append(messages[-1]._replace(id="nobody sold this", number=10**6))
    assert verdict(acks, messages).strange == 1


# -- the story --


@pytest.mark.parametrize("options, status", [((), 0), (("--break", "drop"), 1)])
def test_the_story_in_small(options, status, tmp_path):
    if not Frond.binary.exists():
        pytest.skip("build/frond is not there")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "play"), "--orders", "2000", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=115)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("once, in order" in done.stdout) == (status == 0)
