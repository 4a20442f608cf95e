"""The README's map of the tree is the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENTRY = re.compile(r"(?P<indent>(?:  )*)(?P<path>[\w.\-/]+)(?:\s{2,}\S.*)?")


def mapped_paths(readme: str) -> list[str]:
    """Every path the map names, from the root: two spaces of indent a level, a path, then two spaces and what it is."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", readme, flags=re.DOTALL | re.MULTILINE)
    tree = next(block for block in blocks if re.search(r"^src/mistral7b/", block, flags=re.MULTILINE))
    paths: list[str] = []
    above: list[str] = []
    for line in filter(str.strip, tree.splitlines()):
        entry = ENTRY.fullmatch(line.rstrip())
        assert entry, f"not an entry of the map: {line!r}"
        depth = len(entry["indent"]) // 2
        assert depth <= len(above), f"indented under nothing: {line!r}"
        above = [*above[:depth], entry["path"]]
        paths.append("".join(above))
    return paths


def holds_files(folder: Path) -> bool:
    return any(path.is_file() and "__pycache__" not in path.parts for path in folder.rglob("*"))


def rooms() -> set[str]:
    """Modules and folders directly under src/mistral7b, as the map writes them."""
    package = ROOT / "src/mistral7b"
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("_")}
    folders = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and holds_files(path)}
    return {f"src/mistral7b/{name}" for name in modules | folders}


def test_every_named_path_exists() -> None:
    for path in mapped_paths((ROOT / "README.md").read_text(encoding="utf-8")):
        there = ROOT / path
        assert holds_files(there) if path.endswith("/") else there.is_file(), f"README names {path}, which is not there"


def test_every_room_is_named() -> None:
    named = set(mapped_paths((ROOT / "README.md").read_text(encoding="utf-8")))
    assert rooms() - named == set()


def test_the_map_is_read_as_drawn() -> None:
    drawn = "text\n```\nMakefile    make\nsrc/mistral7b/   rooms\n  a.py     words\n  b/\n    c.py  in b\ntests/\n```\n"
    assert mapped_paths(drawn) == [
        "Makefile",
        "src/mistral7b/",
        "src/mistral7b/a.py",
        "src/mistral7b/b/",
        "src/mistral7b/b/c.py",
        "tests/",
    ]
    with pytest.raises(AssertionError, match="under nothing"):
        mapped_paths("```\nsrc/mistral7b/\n    a.py  too deep\n```\n")
