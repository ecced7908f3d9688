"""docs/branch-office.md as it stands."""
import pytest

from frondtest import Frond, NatsServer, wait_for, wait_knows
from frondtest.recipe import Page, Recipes, recipe_server


@pytest.fixture
def page(tmp_path, site_kind):
    """The page's commands, with .hub and .branch running."""
    recipes = Recipes("docs/branch-office.md")
    hub = recipe_server(NatsServer, tmp_path / "hub", "hub", recipes["hub.conf"], leaf_listen=True)
    branch_class = {"frond": Frond, "nats-server": NatsServer}[site_kind]
    branch = recipe_server(branch_class, tmp_path / "branch", "branch", recipes["branch.conf"])
    ports = {4222: hub.port, 8222: hub.http_port, 7422: hub.leaf_port,
             4111: branch.port, 8111: branch.http_port}
    hub.ports = branch.ports = ports
    page = Page(recipes, ports, tmp_path)
    page.hub, page.branch = hub, branch
    try:
        branch.start()  # before the hub: it dials until somebody is there
        hub.start()
        hub.wait_linked()
        branch.wait_linked()
        yield page
    finally:
        page.close()
        for server in (branch, hub):
            server.stop()
    for server in (branch, hub):
        server.check()


def test_the_page(page):
    hub, branch = page.hub, page.branch
    page.service("at the hub")
    wait_knows(branch, "greet")
    assert page("ask at the branch").strip() == "hello from the hub"
    nearby = page.service("at the branch")
    wait_knows(hub, "greet")
    crossed = branch.http("/leafz")["leafs"][0]["out_msgs"]
    for _ in range(5):
        assert page("ask at the branch").strip() == "hello from the branch"
    assert branch.http("/leafz")["leafs"][0]["out_msgs"] == crossed
    assert page("ask at the hub").strip() == "hello from the hub"
    assert hub.http("/leafz")["leafs"][0]["account"] == "OFFICE"
    assert branch.http("/leafz")["leafs"][0]["name"] == "hub"
    page.end(nearby)
    wait_for(lambda: page("ask at the branch").strip() == "hello from the hub", 10, "the hub's answer again")
    hub.stop()
    wait_for(lambda: branch.links() == 0, 10, "the lost link")
    told = branch.cli("request", "greet", "", check=False)
    assert "no responders" in told.text.lower()
    page.service("at the branch")
    wait_for(lambda: page("ask at the branch").strip() == "hello from the branch", 10, "the branch by itself")
    hub.start()
    branch.wait_linked()
