"""What a test wants to know of a link, asked of /leafz of either kind of server."""
from .wait import wait_for


def leafs(server):
    """All links of a server as /leafz tells them, with what they learned."""
    return server.http("/leafz?subs=1").get("leafs") or []


def knows(server, subject, queue=None):
    """Did server learn over a link that somebody wants subject?"""
    return any(subject in (leaf.get("subscriptions_list") or []) for leaf in leafs(server))


def wait_knows(server, *subjects, timeout=5):
    for subject in subjects:
        wait_for(lambda: knows(server, subject), timeout, f"{server.name}: interest in {subject}")


def wait_forgot(server, *subjects, timeout=5):
    for subject in subjects:
        wait_for(lambda: not knows(server, subject), timeout, f"{server.name}: no interest in {subject}")
