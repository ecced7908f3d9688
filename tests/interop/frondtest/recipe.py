"""Recipes: the code blocks of a page in docs/, run as they stand but for ports.

    page = Recipes("docs/demo.md")
    page["hub.conf"]                       # the block whose first line is "# hub.conf", that line aside
    class RecipeFrond(Recipe, Frond): ...  # a server whose configuration is such a block
"""
import re

from .paths import ROOT

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
