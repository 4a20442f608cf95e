"""A forest of inputs: what several sequences begin with stands in it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mistral7b.model.pages import PageRing


@dataclass(frozen=True, slots=True)
class Read:
    """What input `pair` wants of a node: the predictions at positions `begin` up to `end` of its path."""

    pair: int
    begin: int
    end: int


@dataclass(eq=False, slots=True)
class Node:
    """Positions `start` up to `end` of the sequence `ids`, which go on where those of `parent` end.

    `order` is its place in the forest, a parent before its children, a child with all below it before the next. `pages` is
    the most pages it takes beside those it shares, `path` the sum of it and of its ancestors. `done` positions are computed.
    """

    ids: list[int]
    start: int
    end: int
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    order: int = 0
    pages: int = 0
    path: int = 0
    ring: PageRing | None = None
    done: int = 0
    waiting: int = 0  # children that are not computed


def grow(inputs: Sequence[list[int]]) -> tuple[list[Node], list[Node]]:
    """(the roots, in order; for each input the last node of its path).

    An input that others begin with ends inside the path of one of them: `[1, 2]` and `[1, 2, 3]` are one node, `[1, 2]` and
    `[1, 3]` three. None is empty.
    """
    roots: list[Node] = []
    leaves: list[Node | None] = [None] * len(inputs)
    path: list[Node] = []
    ranked = sorted(range(len(inputs)), key=lambda which: inputs[which])
    for place, which in enumerate(ranked):
        ids = inputs[which]
        if place + 1 < len(ranked) and inputs[ranked[place + 1]][: len(ids)] == ids:
            continue  # the next one holds it whole
        common = shared(path[-1].ids, ids) if path else 0
        while path and path[-1].start >= common:
            path.pop()
        if path and path[-1].end > common:
            path[-1] = _split(path[-1], common, roots)
        leaf = Node(ids, path[-1].end if path else 0, len(ids), path[-1] if path else None)
        (path[-1].children if path else roots).append(leaf)
        path.append(leaf)
        back = place
        while back >= 0 and leaves[ranked[back]] is None:
            leaves[ranked[back]] = leaf
            back -= 1
    return roots, [leaf for leaf in leaves if leaf is not None]


def _split(node: Node, at: int, roots: list[Node]) -> Node:
    """The upper part of `node`, which takes its place and has the rest of it as a child."""
    upper = Node(node.ids, node.start, at, node.parent, [node])
    siblings = node.parent.children if node.parent else roots
    assert siblings[-1] is node, "inputs come in order"
    siblings[-1] = upper
    node.start, node.parent = at, upper
    return upper


def settle(roots: Sequence[Node], page_tokens: int, ring: int, most: int) -> list[Node]:
    """The nodes in order, with `order`, `pages` and `path` filled in.

    A node takes no more pages than the slots of a `ring`. One whose path would take more than `most`, at least as many, becomes
    a root that is computed from its first position on, behind the others.
    """
    assert most >= ring, "a sequence alone must have room"
    nodes: list[Node] = []
    begin = list(roots)
    while begin:
        left, begin = begin[::-1], []
        while left:
            node = left.pop()
            node.pages = min(ring, -(-node.end // page_tokens) - node.start // page_tokens)
            node.path = node.pages + (node.parent.path if node.parent else 0)
            if node.path > most:
                assert node.parent is not None
                node.parent.children.remove(node)
                node.parent, node.start = None, 0
                begin.append(node)
                continue
            node.order, node.done = len(nodes), node.start
            nodes.append(node)
            left += node.children[::-1]
    for node in nodes:
        node.waiting = len(node.children)
    return nodes


def mark(leaf: Node, read: Read) -> None:
    """Note a read at the nodes of the path of `leaf` that hold its positions."""
    node: Node | None = leaf
    while node is not None and node.end > read.begin:
        if node.start < read.end:
            node.reads.append(read)
        node = node.parent


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids the two begin with in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
