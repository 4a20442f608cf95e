"""Scientific text: LaTeX as readable text, by pylatexenc. Commands and environments become words and headings; mathematics stays
as it is written, between its dollars, since that is how a model should write it too."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from mistral7b.data.curate.readers.raw import Bad, Found, Raw
from mistral7b.data.curate.readers.text import utf8
from mistral7b.data.curate.recipe import Source

EXTENSIONS = [".tex"]
_BODY = re.compile(r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", re.DOTALL)
_HEADINGS = ("chapter", "section", "subsection", "subsubsection")
# What leads elsewhere, and the title with its date of today.
_GONE = ("maketitle", "label", "ref", "eqref", "cite", "citep", "citet", "footnote", "input", "include")
_TITLE = re.compile(r"\\title(?:\[[^\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}")
_LEFT_OUT = re.compile(
    r"\\begin\{(figure|table|tikzpicture|thebibliography|filecontents|comment|lstlisting)(\*?)\}.*?\\end\{\1\2\}", re.DOTALL
)


def read(path: Path, name: str, source: Source, part: int, parts: int) -> Found:  # noqa: ARG001 all readers are called alike
    """The one text of the file. Files without a body of their own (macros, styles) are text as well, and filters judge them."""
    held = utf8(path)
    if held is None:
        yield Bad(name, "not UTF-8 text")
        return
    text = to_text(held)
    title = _TITLE.search(held)
    yield Raw(text, name, {"title": _converter().latex_to_text(title[1]).strip()} if title else {})


def to_text(latex: str) -> str:
    """The body of a LaTeX document as text: no preamble, comments, figures, tables or bibliography."""
    body = _BODY.search(latex)
    cut = _LEFT_OUT.sub("\n", body[1] if body else latex)
    text: str = _converter().latex_to_text(cut)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def _heading(marks: str) -> Callable[[Any, Any], str]:
    """A heading's last argument (after a star and a short title) behind its marks."""

    def put(node: Any, l2tobj: Any) -> str:
        return f"\n\n{marks} {l2tobj.nodelist_to_text([node.nodeargd.argnlist[-1]]).strip()}\n\n"

    return put


@lru_cache(maxsize=1)
def _converter() -> Any:
    from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

    known = get_default_latex_context_db()
    macros = [MacroTextSpec(name, _heading("#" * depth)) for depth, name in enumerate(_HEADINGS, start=1)]
    gone = [MacroTextSpec(name, "") for name in _GONE]
    known.add_context_category("readable", macros=[*macros, *gone], prepend=True)
    return LatexNodes2Text(known, math_mode="verbatim", keep_comments=False, strict_latex_spaces="macros")
