"""landed: the blocks that were written, and no other, wherever files begin and end."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from mistral7b.release.landed import BLOCK, Extent, bytes_by_file, landed


@given(
    sizes=st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=5),
    blocks_a_piece=st.integers(1, 4),
    data=st.data(),
)  # fmt: skip
def test_what_was_written_is_found(sizes: list[int], blocks_a_piece: int, data: st.DataObject) -> None:
    total, length = sum(sizes), blocks_a_piece * BLOCK
    n_blocks = -(-total // BLOCK)
    written = data.draw(st.lists(st.booleans(), min_size=n_blocks, max_size=n_blocks))
    stream = b"".join(bytes([1 if there else 0]) * BLOCK for there in written)[:total]
    with TemporaryDirectory() as folder:
        extents, at = [], 0
        for index, size in enumerate(sizes):
            path = Path(folder) / str(index)
            path.write_bytes(stream[at : at + size])
            extents.append(Extent(path, at, size))
            at += size
        found = landed(extents, length)
    for piece in range(-(-total // length)):
        expected = written[piece * blocks_a_piece : (piece + 1) * blocks_a_piece]
        assert found.get(piece, [False] * len(expected)) == expected
        assert any(expected) == (piece in found)


def test_padding_is_nowhere_and_a_file_cut_short_has_less(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * (BLOCK + 5))
    extents = [Extent(path, 0, 2 * BLOCK), Extent(None, 2 * BLOCK, BLOCK), Extent(tmp_path / "missing", 3 * BLOCK, BLOCK)]
    assert landed(extents, 4 * BLOCK) == {0: [True, False, False, False]}
    path.unlink()
    assert landed(extents, 4 * BLOCK) == {}


@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=5), length=st.integers(1, 8), data=st.data())
def test_bytes_are_counted_where_they_lie(sizes: list[int], length: int, data: st.DataObject) -> None:
    """A stream written out, each byte as the number of its file; the second of two files is padding."""
    stream = [index for index, size in enumerate(sizes) for _ in range(size)]
    pieces = data.draw(st.sets(st.integers(0, max(0, len(stream) - 1) // length)))
    extents = [Extent(None if n % 2 else Path(str(n)), sum(sizes[:n]), size) for n, size in enumerate(sizes)]
    within = [index for at, index in enumerate(stream) if at // length in pieces and index % 2 == 0]
    assert bytes_by_file(extents, sorted(pieces), length) == {str(index): within.count(index) for index in set(within)}
