"""Links between the repository's own pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(<?(?P<target>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", flags=re.DOTALL | re.MULTILINE)
PAGES = sorted([*ROOT.glob("*.md"), *(p for d in ("docs", "recipes", "src", "benchmarks") for p in (ROOT / d).rglob("*.md"))])


def anchors(page: Path) -> set[str]:
    """The fragments a Markdown viewer makes of a page's headings: lower case, punctuation gone, spaces to hyphens."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", CODE.sub(_words_of_code, page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _words_of_code(code: re.Match[str]) -> str:
    return "" if code[0].startswith("```") else code[0].strip("`")


def broken_links(page: Path) -> list[str]:
    broken = []
    for match in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, fragment = match["target"].partition("#")
        if re.match(r"[a-z][a-z0-9+.\-]*:", path):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(match["target"])
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` heading, twice\n[ok](page.md) [up](#a-b-heading-twice) [web](https://example.org/x) `[code](gone.md)`\n"
        "[gone](gone.md) [lost](page.md#nowhere)\n```\n[fenced](gone.md)\n```\n"
    )
    assert broken_links(page) == ["gone.md", "page.md#nowhere"]
