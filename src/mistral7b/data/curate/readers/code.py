"""Source trees: every file of a known language, with the licence found for it.

A file's own SPDX line counts first, then the licence file of the nearest folder above it, then what the recipe states.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from mistral7b.data.curate.readers.raw import Bad, Found, Raw
from mistral7b.data.curate.readers.text import utf8
from mistral7b.data.curate.recipe import Source

_BY_LANGUAGE = {
    "ada": "adb ads", "assembly": "asm s", "c": "c h", "clojure": "clj", "cmake": "cmake", "cpp": "cc cpp cxx hh hpp hxx",
    "csharp": "cs", "css": "css", "cuda": "cu cuh", "dart": "dart", "elixir": "ex exs", "erlang": "erl hrl",
    "fortran": "f90 f95 f03 f", "go": "go", "haskell": "hs", "html": "html htm", "java": "java", "javascript": "js jsx mjs",
    "julia": "jl", "kotlin": "kt kts", "lisp": "lisp el", "lua": "lua", "make": "mk", "ocaml": "ml mli", "perl": "pl pm",
    "php": "php", "powershell": "ps1", "python": "py pyi", "r": "r", "ruby": "rb", "rust": "rs", "scala": "scala",
    "scheme": "scm", "shell": "sh bash zsh", "sql": "sql", "swift": "swift", "tcl": "tcl", "typescript": "ts tsx",
    "verilog": "v sv", "vhdl": "vhd vhdl", "zig": "zig",
}  # fmt: skip
LANGUAGES = {f".{suffix}": language for language, suffixes in _BY_LANGUAGE.items() for suffix in suffixes.split()}
EXTENSIONS = sorted(LANGUAGES)

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([\w.+\-]+(?: (?:OR|AND|WITH) [\w.+\-]+)*)")
_LICENCE_FILES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE")
# The first whose phrase (without commas) stands in a licence file names it; those whose text speaks of others come first.
_PHRASES = (
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("EPL-2.0", "eclipse public license - v 2.0"),
    ("AGPL-3.0", "gnu affero general public license version 3"),
    ("LGPL-3.0", "gnu lesser general public license version 3"),
    ("LGPL-2.1", "gnu lesser general public license version 2.1"),
    ("GPL-3.0", "gnu general public license version 3"),
    ("GPL-2.0", "gnu general public license version 2"),
    ("Apache-2.0", "apache license version 2.0"),
    ("BSD-3-Clause", "neither the name of"),
    ("BSD-2-Clause", "redistributions in binary form must reproduce"),
    ("ISC", "for any purpose with or without fee is hereby granted provided"),
    ("0BSD", "for any purpose with or without fee is hereby granted."),
    ("MIT", "permission is hereby granted free of charge to any person obtaining a copy"),
    ("CC0-1.0", "cc0 1.0 universal"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("BSL-1.0", "boost software license - version 1.0"),
    ("Zlib", "this software is provided 'as-is' without any express or implied warranty"),
)  # fmt: skip


def read(path: Path, name: str, source: Source, part: int, parts: int) -> Found:  # noqa: ARG001 all readers are called alike
    """The one text of the file, with its language; its licence where one was found."""
    text = utf8(path)
    if text is None or "\0" in text:
        yield Bad(name, "not UTF-8 text")
        return
    extra = {"language": LANGUAGES.get(path.suffix.lower(), path.suffix.lower().removeprefix("."))}
    depth = len(Path(name).parts)  # how far up the tree goes
    if found := spdx(text) or nearest(path.parent, depth):
        extra["licence"] = found
    yield Raw(text, name, extra)


def spdx(text: str) -> str | None:
    """What a file's first 30 lines state."""
    found = _SPDX.search("\n".join(text.splitlines()[:30]))
    return found[1] if found else None


@lru_cache(maxsize=4096)
def nearest(folder: Path, depth: int) -> str | None:
    """The licence of the first of `depth` folders, from `folder` upwards, that has a licence file."""
    held = sorted(path for path in folder.iterdir() if path.is_file() and path.stem.upper() in _LICENCE_FILES)
    for path in held:
        return spdx(text := utf8(path) or "") or named(text)
    return nearest(folder.parent, depth - 1) if depth > 1 else None


def named(licence: str) -> str:
    """The SPDX name of a licence's text; `unknown` if it is none of those known here."""
    words = " ".join(licence.lower().replace(",", "").split())
    return next((name for name, phrase in _PHRASES if phrase in words), "unknown")
