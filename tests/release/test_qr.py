from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import ReleaseError
from mistral7b.release.qr import blocks, write_qr

ROWS = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}


@given(link=st.text("abcdef0123456789&=:?.", min_size=1, max_size=300), dark=st.booleans())
def test_blocks_are_the_code_with_its_quiet_zone(link: str, dark: bool) -> None:
    lines = blocks(link, dark_on_light=dark)
    upper_lower = [[ROWS[char] for char in line] for line in lines]
    rows = [[pair[half] == dark for pair in line] for line in upper_lower for half in (0, 1)]
    code = [[bool(module) for module in row] for row in segno.make_qr(link, error="l", boost_error=False).matrix]
    size = len(code)
    assert [row[4:-4] for row in rows[4 : 4 + size]] == code
    quiet = [*rows[:4], *rows[4 + size :], *(row[:4] + row[-4:] for row in rows)]
    assert len(rows) - size in (8, 9)
    assert not any(any(row) for row in quiet)


def test_pictures(tmp_path: Path) -> None:
    write_qr("magnet:?xt=urn:btih:0", tmp_path / "link.svg")
    root = ET.parse(tmp_path / "link.svg").getroot()
    assert root.tag.endswith("svg")
    write_qr("magnet:?xt=urn:btih:0", tmp_path / "link.png")
    assert (tmp_path / "link.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "link.svg").read_bytes()
    write_qr("magnet:?xt=urn:btih:0", tmp_path / "link.svg")
    assert (tmp_path / "link.svg").read_bytes() == before


def test_a_link_that_fits_no_code(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="a link of 3,000 characters is too long for a QR code"):
        blocks("x" * 3000, dark_on_light=True)
