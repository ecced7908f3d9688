"""docs/branch-office.md as it stands."""
import os
import subprocess

import pytest

from frondtest import NATS_BIN, Frond, NatsServer, wait_for, wait_knows
from frondtest.recipe import Recipe, Recipes, with_ports


class RecipeFrond(Recipe, Frond):
    pass


class RecipeNatsServer(Recipe, NatsServer):
    pass


@pytest.fixture
def page(make, tmp_path, site_kind):
    """(hub, branch, run(block) → output, service(block) → process); the servers run."""
    recipes = Recipes("docs/branch-office.md")
    hub = RecipeNatsServer(tmp_path / "hub", name="hub", leaf_listen=True)
    branch = {"frond": RecipeFrond, "nats-server": RecipeNatsServer}[site_kind](tmp_path / "branch", name="branch")
    ports = {4222: hub.port, 8222: hub.http_port, 7422: hub.leaf_port,
             4111: branch.port, 8111: branch.http_port}
    for server in (hub, branch):
        server.recipe, server.ports = recipes[f"{server.name}.conf"], ports
    environment = {**os.environ, "PATH": f"{NATS_BIN.parent}:{os.environ['PATH']}",
                   "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "NO_COLOR": "1"}
    services = []

    def command(block):
        lines = with_ports(recipes[block], ports)
        return dict(args=["bash", "-ec", lines], cwd=tmp_path, env=environment, text=True,
                    stdin=subprocess.DEVNULL)

    def run(block):
        done = subprocess.run(**command(block), capture_output=True, timeout=60)
        assert done.returncode == 0, f"{block}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def service(block):
        words = command(block)
        words["args"][2] = "exec " + words["args"][2].strip()
        services.append(subprocess.Popen(**words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return services[-1]

    branch.start()  # before the hub: it dials until somebody is there
    hub.start()
    hub.wait_linked()
    branch.wait_linked()
    yield hub, branch, run, service
    for process in services:
        process.kill()
        process.wait(10)
    for server in (branch, hub):
        server.stop()
        server.check()


def stop(process):
    process.terminate()
    process.wait(10)


def test_the_page(page):
    hub, branch, run, service = page
    service("at the hub")
    wait_knows(branch, "greet")
    assert run("ask at the branch").strip() == "hello from the hub"
    nearby = service("at the branch")
    wait_knows(hub, "greet")
    crossed = branch.http("/leafz")["leafs"][0]["out_msgs"]
    for _ in range(5):
        assert run("ask at the branch").strip() == "hello from the branch"
    assert branch.http("/leafz")["leafs"][0]["out_msgs"] == crossed
    assert run("ask at the hub").strip() == "hello from the hub"
    assert hub.http("/leafz")["leafs"][0]["account"] == "OFFICE"
    assert branch.http("/leafz")["leafs"][0]["name"] == "hub"
    stop(nearby)
    wait_for(lambda: run("ask at the branch").strip() == "hello from the hub", 10, "the hub's answer again")
    hub.stop()
    wait_for(lambda: branch.links() == 0, 10, "the lost link")
    told = branch.cli("request", "greet", "", check=False)
    assert "no responders" in told.text.lower()
    service("at the branch")
    wait_for(lambda: run("ask at the branch").strip() == "hello from the branch", 10, "the branch by itself")
    hub.start()
    branch.wait_linked()
