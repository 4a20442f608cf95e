"""The forest of inputs: every input is a path, what is common stands once, and no path is longer than there is room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.forest import Node, Read, grow, mark, settle, shared

inputs = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


def path(leaf: Node) -> list[Node]:
    return [*(path(leaf.parent) if leaf.parent else []), leaf]


def test_by_hand() -> None:
    roots, leaves = grow([[1, 2, 3], [1, 2], [1, 4], [5]])
    assert [(root.start, root.end) for root in roots] == [(0, 1), (0, 1)]
    assert [[(node.start, node.end) for node in path(leaf)] for leaf in leaves] == [
        [(0, 1), (1, 3)], [(0, 1), (1, 3)], [(0, 1), (1, 2)], [(0, 1)],
    ]  # fmt: skip


@given(inputs)
def test_every_input_lies_on_its_path_and_no_prefix_stands_twice(given: list[list[int]]) -> None:
    roots, leaves = grow(given)
    nodes = settle(roots, 2, 100, 100)
    for ids, leaf in zip(given, leaves, strict=True):
        steps = path(leaf)
        assert [node.start for node in steps] == [0, *(node.end for node in steps[:-1])]
        assert [id for node in steps for id in node.ids[node.start : node.end]][: len(ids)] == ids
        assert leaf.start < len(ids) or len(steps) > 1
    assert sum(node.end - node.start for node in nodes) == len({tuple(ids[:n]) for ids in given for n in range(1, len(ids) + 1)})
    assert [node.order for node in nodes] == list(range(len(nodes)))
    assert all(node.order < child.order for node in nodes for child in node.children)


@given(inputs, st.integers(1, 3), st.integers(3, 6))
def test_a_path_takes_no_more_pages_than_there_are(given: list[list[int]], page_tokens: int, most: int) -> None:
    roots, leaves = grow(given)
    nodes = settle(roots, page_tokens, 3, most)
    assert all(node.path <= most for node in nodes)
    for node in nodes:
        assert node.start == (node.parent.end if node.parent else 0)
        assert node.parent is None or node in node.parent.children
        assert node.waiting == len(node.children)
    for ids, leaf in zip(given, leaves, strict=True):
        assert [id for node in path(leaf) for id in node.ids[node.start : node.end]][: len(ids)] == ids
    for node in nodes:
        below = [other.order for other in nodes if node in path(other)]
        assert below == list(range(node.order, node.order + len(below))), "all below a node comes before the next"


@given(inputs, st.data())
def test_a_read_stands_at_every_node_that_has_a_part_of_it(given: list[list[int]], data: st.DataObject) -> None:
    _, leaves = grow(given)
    which = data.draw(st.integers(0, len(given) - 1))
    begin = data.draw(st.integers(0, len(given[which]) - 1))
    mark(leaves[which], Read(which, begin, len(given[which])))
    held = [p for node in path(leaves[which]) if node.reads for p in range(node.start, node.end)]
    assert set(range(begin, len(given[which]))) <= set(held)
    assert all(node.end > begin and node.start < len(given[which]) for node in path(leaves[which]) if node.reads)


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_shared(a: list[int], b: list[int]) -> None:
    n = shared(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]
