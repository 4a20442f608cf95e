"""Every reader on a small fixture, made here; what is read is what was written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from mistral7b.data.curate.plan import plan
from mistral7b.data.curate.readers.code import named, nearest
from mistral7b.data.curate.readers.latex import to_text
from mistral7b.data.curate.readers.raw import opened
from mistral7b.data.curate.recipe import CurateRecipe, Source
from mistral7b.errors import DataError
from tests.data.curate.made import documents, dropped, lines, run, source, stories

TEXTS = stories(7)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
def test_json_lines_plain_and_compressed(tmp_path: Path, name: str) -> None:
    import bz2

    held = "".join(json.dumps({"body": text, "title": f"t{i}", "other": 1}) + "\n\n" for i, text in enumerate(TEXTS)).encode()
    pack = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress}.get(name.rsplit(".", 1)[-1], bytes)
    (tmp_path / name).write_bytes(pack(held))
    run(tmp_path, {"s": source(tmp_path / name, text_key="body")})
    found = documents(tmp_path / "out")
    assert [one["text"] for one in found] == TEXTS
    assert found[2] == {
        "id": f"s/{name}:5", "text": TEXTS[2], "source": "s", "kind": "prose", "language": "", "licence": "CC0-1.0",
        "title": "t2",
    }  # fmt: skip


def test_zstd_frames_in_a_row_and_one_cut_off(tmp_path: Path) -> None:
    whole = b"".join(zstandard.compress(part * 5000) for part in (b"one\n", b"two\n"))
    (tmp_path / "a.zst").write_bytes(whole)
    with opened(tmp_path / "a.zst") as file:
        assert file.read() == b"one\n" * 5000 + b"two\n" * 5000
    (tmp_path / "b.zst").write_bytes(whole[:-4])
    with pytest.raises(DataError, match=r"b\.zst: the compressed file is cut off or damaged"), opened(tmp_path / "b.zst") as file:
        file.read()
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    with pytest.raises(DataError, match=r"c\.gz: the compressed file is cut off"), opened(tmp_path / "c.gz") as file:
        file.read()


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": TEXTS, "title": [f"t{i}" for i in range(7)], "unused": list(range(7))})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    run(tmp_path, {"s": source(tmp_path, reader="parquet")})
    assert [(one["text"], one["title"], one["id"]) for one in documents(tmp_path / "out")] == [
        (text, f"t{i}", f"s/a.parquet:{i + 1}") for i, text in enumerate(TEXTS)
    ]
    with pytest.raises(DataError, match="no column 'body'; set text_key to one of text, title, unused"):
        run(tmp_path, {"s": source(tmp_path, reader="parquet", text_key="body")}, out="other")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match="not a whole Parquet file"):
        run(tmp_path, {"s": source(tmp_path, reader="parquet")}, out="third")


def test_parts_of_one_file_are_the_file(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", TEXTS)
    parquet.write_table(pa.table({"text": TEXTS}), tmp_path / "b.parquet")
    for name, reader in (("a.jsonl", "jsonl"), ("b.parquet", "parquet")):
        size = (tmp_path / name).stat().st_size
        run(tmp_path, {"s": source(tmp_path / name, reader=reader)}, shard_megabytes=(size / 3 + 1) / 1e6, out=reader)
        assert len(list((tmp_path / reader).glob("train/s/*"))) == 3
        found = sorted(documents(tmp_path / reader), key=lambda one: int(one["id"].rsplit(":", 1)[1]))
        assert [one["text"] for one in found] == TEXTS


def test_text_folders(tmp_path: Path) -> None:
    (tmp_path / "books/deep").mkdir(parents=True)
    (tmp_path / "books/deep/b.txt").write_text(TEXTS[1])
    (tmp_path / "books/a.txt.gz").write_bytes(gzip.compress(TEXTS[0].encode()))
    (tmp_path / "books/c.md").write_bytes(b"\xef\xbb\xbf" + TEXTS[2].encode())
    (tmp_path / "books/d.png").write_bytes(b"\x89PNG")
    (tmp_path / "books/node_modules").mkdir()
    (tmp_path / "books/node_modules/e.txt").write_text("left out")
    run(tmp_path, {"s": source(tmp_path / "books", reader="text", language="en")})
    assert [(one["id"], one["text"], one["language"]) for one in documents(tmp_path / "out")] == [
        ("s/a.txt.gz", TEXTS[0], "en"), ("s/c.md", TEXTS[2], "en"), ("s/deep/b.txt", TEXTS[1], "en"),
    ]  # fmt: skip


def page(body: str) -> bytes:
    head = "<html><head><title>A page</title><script>var tracking = 1;</script></head><body><nav>Home | About | Login</nav>"
    return f"{head}<article>{body}</article><footer>Copyright, cookies, terms of use</footer></body></html>".encode()


def warc(path: Path, pages: list[tuple[str, bytes, str]]) -> None:
    """Response records; each a gzip member of its own in a .gz, as archives have them."""
    records = []
    for i, (url, payload, kind) in enumerate(pages):
        answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + payload
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{i:032x}>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
            f"WARC-Target-URI: {url}\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
        )
        records.append(head.encode() + answer + b"\r\n\r\n")
    path.write_bytes(b"".join(gzip.compress(record) if path.suffix == ".gz" else record for record in records))


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_web_archives_give_the_main_text_of_their_pages(tmp_path: Path, name: str) -> None:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in TEXTS[0].split("\n\n"))
    latin = f"<p>{'Le vieux château était fermé, et le garçon attendait près de la forêt. ' * 6}</p>"
    pages = [
        ("http://example.org/a", page(body), "text/html; charset=utf-8"),
        ("http://example.org/logo", b"\x89PNG", "image/png"),
        ("http://example.org/b", page(latin).decode().encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ("http://example.org/c", b"plain words", "text/plain"),
        ("http://example.org/d", b"<html><body></body></html>", "text/html"),
    ]
    warc(tmp_path / name, pages)
    report = run(tmp_path, {"s": source(tmp_path / name, reader="warc", kind="web")}, on_bad_line="skip")
    found = {one["url"][-1]: one["text"] for one in documents(tmp_path / "out")}
    assert set(found) == {"a", "b", "c"}
    assert all(paragraph in found["a"] for paragraph in TEXTS[0].split("\n\n"))
    assert not any(word in found["a"] for word in ("Login", "cookies", "tracking"))
    assert "château était fermé" in found["b"]
    assert found["c"] == "plain words"
    assert dropped(report, "read") == {"bad line: a page without a main text": 1}


LATEX = r"""
\documentclass{article}
\newcommand{\x}{y}
\title{On \emph{Rings}}
\begin{document}
\maketitle % a comment
\section{Introduction}
We show that $a^2 + b^2 = c^2$ holds \textbf{always}, as in \cite{Euclid} and Section~\ref{sec:two}.
\begin{figure}\includegraphics{a.png}\caption{Gone}\end{figure}
\begin{itemize}\item first \item second\end{itemize}
\begin{equation}\label{e}\int_0^1 x\,dx = \frac12\end{equation}
Caf\'e, na\"ive --- done.
\begin{thebibliography}{9}\bibitem{Euclid} Elements\end{thebibliography}
\end{document}
"""


def test_latex_becomes_text_and_keeps_its_mathematics(tmp_path: Path) -> None:
    text = to_text(LATEX)
    for kept in ("## Introduction", "$a^2 + b^2 = c^2$", "holds always", r"\int_0^1 x\,dx = \frac12", "first", "Café, naïve"):
        assert kept in text, (kept, text)
    for gone in ("documentclass", "a comment", "Gone", "Euclid", "textbf", "itemize", "sec:two", "newcommand"):
        assert gone not in text, (gone, text)
    (tmp_path / "paper.tex").write_text(LATEX)
    run(tmp_path, {"s": source(tmp_path / "paper.tex", reader="latex", kind="science")})
    (one,) = documents(tmp_path / "out")
    assert (one["title"], one["kind"], one["text"]) == ("On Rings", "science", text)


MIT = "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\nof this software ..."
APACHE = "                                 Apache License\n                           Version 2.0, January 2004\n"
GPL3 = "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n ... 13. Use with the GNU Affero General Public License.\n"
GPL2 = "GNU GENERAL PUBLIC LICENSE\n   Version 2, June 1991\n use the GNU Lesser General Public License instead of this License."
MPL = "Mozilla Public License Version 2.0\n ... means either the GNU General Public License, Version 2.0, the GNU Lesser ..."


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (MIT, "MIT"),
        (APACHE, "Apache-2.0"),
        (GPL3, "GPL-3.0"),
        (GPL2, "GPL-2.0"),
        (MPL, "MPL-2.0"),
        ("All rights reserved", "unknown"),
    ],
)
def test_licences_by_their_text(text: str, name: str) -> None:
    assert named(text) == name


def test_source_trees_give_language_and_licence(tmp_path: Path) -> None:
    tree = tmp_path / "code"
    for name, text in {
        "one/LICENSE": MIT, "one/src/a.py": "print(1)\n", "one/.git/b.py": "no\n", "one/README.md": "no\n",
        "two/COPYING": GPL3, "two/main.rs": "fn main() {}\n", "two/lib.c": "/* SPDX-License-Identifier: ISC */\nint x;\n",
        "three/run.sh": "echo\n",
    }.items():  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    run(tmp_path, {"s": source(tree, reader="code", kind="code", licence="unknown")})
    nearest.cache_clear()
    assert [(one["id"], one["language"], one["licence"]) for one in documents(tmp_path / "out")] == [
        ("s/one/src/a.py", "python", "MIT"), ("s/three/run.sh", "shell", "unknown"), ("s/two/lib.c", "c", "ISC"),
        ("s/two/main.rs", "rust", "GPL-3.0"),
    ]  # fmt: skip


def test_a_licence_above_the_tree_is_not_the_trees(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a.py").write_text("x = 1\n")
    run(tmp_path, {"s": source(tmp_path / "tree", reader="code", kind="code", licence="unknown")})
    assert documents(tmp_path / "out")[0]["licence"] == "unknown"


def test_units_are_of_the_size_asked_for_and_names_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for i in range(5):
            (tmp_path / folder / f"{i}.txt").write_text("a" * 100)
    held = Source("text", "prose", [tmp_path / "x", tmp_path / "y"], "none")
    units = plan(CurateRecipe({"s": held}, shard_megabytes=300e-6))
    assert [sum(one.bytes for one in unit.inputs) for unit in units] == [300, 300, 300, 100]
    assert [unit.number for unit in units] == [0, 1, 2, 3]
    names = [one.name for unit in units for one in unit.inputs]
    assert len(set(names)) == 10
    pattern = Source("text", "prose", [tmp_path / "*" / "[01].txt"], "none")
    assert len([one for unit in plan(CurateRecipe({"s": pattern})) for one in unit.inputs]) == 4
