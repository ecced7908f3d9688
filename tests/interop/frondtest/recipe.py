"""Recipes: the code blocks of a page in docs/, run as they stand but for ports.

    recipes = Recipes("docs/demo.md")
    recipes["hub.conf"]                    # the block whose first line is "# hub.conf", that line aside
    recipe_server(Frond, folder, "hub", recipes["hub.conf"])   # a server whose configuration is such a block
    page = Page(recipes, ports, folder)    # runs its commands: page("look"), page.service("at the hub")
"""
import os
import re
import signal
import subprocess

from .paths import NATS_BIN, ROOT

BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)


class Recipes(dict):
    def __init__(self, page):
        super().__init__()
        for match in BLOCK.finditer((ROOT / page).read_text()):
            first, _, rest = match.group(1).partition("\n")
            if first.startswith("# "):
                assert first[2:] not in self, f"{page} has two blocks {first[2:]!r}"
                self[first[2:]] = rest


def with_ports(text, ports):
    """The text with other port numbers: ports maps those of the page to ours."""
    return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda m: str(ports.get(int(m.group()), m.group())),
                  text)


class Recipe:
    """Mixed in before a Server: its configuration is text, ports moved as ports() says."""

    recipe = None
    ports = {}

    def config_text(self):
        return with_ports(self.recipe, self.ports)


def recipe_server(kind, directory, name, recipe, **options):
    """A server of this kind (Frond, NatsServer) whose configuration is the recipe."""
    server = type(kind.__name__ + "Recipe", (Recipe, kind), {})(directory, name=name, **options)
    server.recipe = recipe
    return server


class Page:
    """The commands of a page, in a folder of their own, the genuine CLI first in the PATH."""

    def __init__(self, recipes, ports, folder):
        self.recipes, self.ports, self.folder = recipes, ports, folder
        self.services = []
        self.environment = {**os.environ, "PATH": f"{NATS_BIN.parent}:{os.environ['PATH']}", "HOME": str(folder),
                            "XDG_CONFIG_HOME": str(folder), "NO_COLOR": "1"}

    def _command(self, block):
        return dict(args=["bash", "-ec", with_ports(self.recipes[block], self.ports)], cwd=self.folder,
                    env=self.environment, text=True, stdin=subprocess.DEVNULL)

    def __call__(self, block):
        """Run a block to its end; its output."""
        done = subprocess.run(**self._command(block), capture_output=True, timeout=60)
        assert done.returncode == 0, f"{block}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def service(self, block):
        """Start a block that goes on until end()."""
        self.services.append(subprocess.Popen(**self._command(block), stdout=subprocess.DEVNULL,
                                              stderr=subprocess.DEVNULL, start_new_session=True))
        return self.services[-1]

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # the shell we started and the CLI in it
            process.wait(10)

    def close(self):
        for process in self.services:
            self.end(process)
