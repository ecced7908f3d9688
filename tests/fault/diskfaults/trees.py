"""Where LMDB's own words lie in a file: roots, headers of pages, places and heads of nodes, keys of branches.

    bits(data)    [(first byte, bytes, what)] of everything that says how to get somewhere, of all trees that live

What is stored (values, keys of leaves) and what is free is not in it.
"""
import struct

PAGE, HEAD, NODE = 4096, 16, 8
BRANCH, LEAF = 0x01, 0x02
BIG, TREE = 0x01, 0x02  # of a node: its value lies in pages of its own; is the root of a tree
META_DBS, DB = 24, 48  # in a meta page behind its header: the two trees; one of them
NOTHING = 2**64 - 1


def newest_meta(data):
    return max((0, 1), key=lambda page: struct.unpack_from("<Q", data, page * PAGE + HEAD + 128)[0])


def root_of(data, at):
    return struct.unpack_from("<Q", data, at + 40)[0]


def node(data, base, place):
    lo, hi, flags, key = struct.unpack_from("<HHHH", data, base + place)
    return lo, hi, flags, base + place + NODE, key


def words(data, page, name):
    """Of the tree whose root is `page`."""
    if page == NOTHING:
        return
    base = page * PAGE
    flags, lower = struct.unpack_from("<10xHH", data, base)
    places = struct.unpack_from(f"<{(lower - HEAD) // 2}H", data, base + HEAD)
    kind = "branch" if flags & BRANCH else "leaf"
    yield base, HEAD, f"{name} {kind} head"
    yield base + HEAD, 2 * len(places), f"{name} {kind} places"
    for place in places:
        lo, hi, flags, key, size = node(data, base, place)
        yield base + place, NODE, f"{name} {kind} node"
        if kind == "branch":
            yield key, size, f"{name} branch key"
            yield from words(data, lo | hi << 16 | flags << 32, name)
        elif flags & BIG:
            yield key + size, 8, f"{name} leaf big"
            yield struct.unpack_from("<Q", data, key + size)[0] * PAGE, HEAD, f"{name} big head"
        elif flags & TREE:
            yield key + size, DB, "root"
            yield from words(data, root_of(data, key + size), data[key:key + size].decode())


def bits(data):
    meta = newest_meta(data) * PAGE + HEAD
    out = [(page * PAGE, HEAD + META_DBS + 2 * DB + 16, "meta") for page in (0, 1)]
    for i, name in enumerate(("free", "main")):
        out += words(data, root_of(data, meta + META_DBS + i * DB), name)
    return out
