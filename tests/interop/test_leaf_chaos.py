"""Interest that changes while the link is cut at any byte: in the end each side knows exactly what the
other one wants (42, 44 - 46, 49, 50, 57 of the conformance checklist)."""
import random

from frondtest import leafs, new_seed, wait_for


def wanted(subs):
    """What /leafz shows for a set of (subject, queue): every key once."""
    return sorted(subject for subject, _ in subs)


def learned(server):
    links = leafs(server)
    return sorted(name for name in (links[0].get("subscriptions_list") or []) if name.startswith("c.")) if links else None


def test_interest_agrees_after_forty_cuts_at_random_bytes(pair):
    seed = new_seed()
    print("seed", seed)
    dice = random.Random(seed)
    scene = pair("frond", site={"reconnect": "50ms"})
    sides = []
    with scene.hub.raw() as h, scene.site.raw() as s:
        for client, away in ((h, scene.site), (s, scene.hub)):
            client.hello()
            client.send("SUB stir 99")
            sides.append((client, away, {}))
        for cut in range(40):
            cuts = scene.link.cuts
            scene.link.cut_after(dice.randrange(1, 1500), dice.choice(("up", "down")))
            for client, _, subs in sides:
                for _ in range(dice.randrange(60)):
                    sid = dice.randrange(1, 40)
                    if sid in subs:
                        client.send(f"UNSUB {sid}")
                        del subs[sid]
                    else:
                        subject = f"c.{dice.randrange(12)}.{dice.choice('*>ab')}"
                        queue = dice.choice(["", "", "g", "k"])
                        client.send(f"SUB {subject} {queue} {sid}")
                        subs[sid] = (subject, queue)
                client.send(f"PUB c.{dice.randrange(12)}.a 1", "x")
            wait_for(lambda: stir(sides) or scene.link.cuts > cuts, 15, f"cut {cut}, seed {seed}")
            if cut % 8 == 7:
                for client, away, subs in sides:
                    drain(client)
                    wait_for(lambda: learned(away) == wanted(set(subs.values())), 15,
                             f"{away.name} after cut {cut}, seed {seed}: {wanted(set(subs.values()))}")


def stir(sides):
    """Some bytes both ways, so that a planned cut is reached."""
    for client, _, _ in sides:
        client.send("PUB stir 64", "x" * 64)
        drain(client)


def drain(client):
    """Everything sent was read; messages that came meanwhile are thrown away."""
    client.send("PING")
    while True:
        line = client.line()
        if line == "PONG":
            return
        if line == "PING":
            client.send("PONG")
        elif line.startswith("MSG "):
            client.take(int(line.split(" ")[-1]) + 2)
