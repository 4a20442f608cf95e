"""Documents to shards: the same bytes however it runs, whatever stopped it, and every bad line named."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.encode import encode
from mistral7b.data.shards import Shards
from mistral7b.errors import CheckpointError, DataError
from mistral7b.tokens.tokenizer import Tokenizer
from tests.data import made

TOKENIZER = Path(str(files("mistral7b.models.tiny") / "tokenizer.model.v3"))
TEXTS = {"stories": made.prose(1, 300), "books": [*made.prose(2, 40), ""]}
HELD_OUT = {"stories": made.prose(3, 20)}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.documents(tmp_path_factory.mktemp("given") / "documents", TEXTS, HELD_OUT)


@pytest.fixture(scope="module")
def whole(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run with one worker makes."""
    out = tmp_path_factory.mktemp("whole") / "shards"
    encode(documents, out, TOKENIZER, shard_tokens=1500)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_document_between_bos_and_eos(documents: Path, whole: Path) -> None:
    shards, tokenizer = Shards.open(whole, TOKENIZER), Tokenizer.load(TOKENIZER)
    shards.verify()
    for split, given in (("train", TEXTS), ("held-out", HELD_OUT)):
        for source, texts in given.items():
            stream = shards.stream(split, source)  # type: ignore[arg-type]
            borders = [0, *stream.borders(0, stream.length).tolist()]
            assert len(borders) == len(texts) + 1
            for text, start, end in zip(texts, borders, borders[1:], strict=False):
                assert stream.ids(start, end - start).tolist() == [1, *tokenizer.encode(text), 2]
    counts = shards.sources["stories"].splits["train"]
    assert (counts.documents, counts.bytes) == (300, sum(len(text.encode()) for text in TEXTS["stories"]))
    assert (shards.sources["books"].epochs, shards.sources["books"].licence) == (2.0, "CC0-1.0")
    assert shards.sources["books"].splits["held-out"].tokens == 0
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["documents_sha256"] == sha256_of(documents / "manifest.json")
    assert manifest["tokenizer"] == {"sha256": sha256_of(TOKENIZER), "vocab_size": 8192, "version": "v3"}
    assert shards.tokenizer.read_bytes() == TOKENIZER.read_bytes()


def test_a_shard_ends_with_the_document_that_fills_it(whole: Path) -> None:
    sizes = [np.load(path)[[-2, -1]] for path in sorted((whole / "train/stories").glob("*.borders.npy"))]
    assert len(sizes) > 3
    assert all(before < 1500 <= end for before, end in sizes[:-1])
    assert not list(whole.glob("encoding.json"))


@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_workers_gives_the_same_bytes(documents: Path, whole: Path, tmp_path: Path, workers: int) -> None:
    told: list[tuple[int, int, str]] = []
    encode(documents, tmp_path / "out", TOKENIZER, workers=workers, shard_tokens=1500, progress=lambda *all: told.append(all))
    assert contents(tmp_path / "out") == contents(whole)
    assert told[-1][0] == told[-1][1]
    assert told[-1][2] == "train/stories" or told[-1][2] == "held-out/stories"


def test_again_is_nothing_to_do(documents: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")}
    again = encode(documents, tmp_path / "out", TOKENIZER, shard_tokens=1500)
    assert again.kept_shards == len(times) // 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")} == times
    assert contents(tmp_path / "out") == contents(whole)


def test_a_kill_loses_no_finished_shard(documents: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom mistral7b.data import encode\nsaved = encode.save_shard\n"
        "def slow(*args):\n    saved(*args)\n    time.sleep(0.05)\n"
        "encode.save_shard = slow\n"
        "encode.encode(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), shard_tokens=1500)\n"
    )
    for wanted in (2, 4):
        running = subprocess.Popen([sys.executable, "-c", code, documents, out, TOKENIZER])
        until = time.monotonic() + 60
        while len(list(out.glob("*/*/*.tokens.npy"))) < wanted and time.monotonic() < until:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    with pytest.raises(DataError, match="did not finish"):
        Shards.open(out)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/*/*.tokens.npy")}
    (out / "train" / "books" / ".00007.tokens.npy.x.partial").mkdir(parents=True, exist_ok=True)
    done = encode(documents, out, TOKENIZER, workers=2, shard_tokens=1500)
    assert done.kept_shards == len(kept) >= 4
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(out) == contents(whole)


def test_a_full_disk_keeps_what_is_done(documents: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, calls = tmp_path / "out", []

    def full(*args: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saved(*args, **named)

    saved = np.save
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CheckpointError, match="was not written \\(No space left on device\\)"):
        encode(documents, out, TOKENIZER, shard_tokens=1500)
    monkeypatch.undo()
    assert len(list(out.glob("*/*/*.tokens.npy"))) == 2
    assert not list(out.rglob("*.partial"))
    assert encode(documents, out, TOKENIZER, shard_tokens=1500).kept_shards == 2
    assert contents(out) == contents(whole)


def spoiled(documents: Path, to: Path) -> Path:
    """A copy with four lines that are no documents in its second file of stories."""
    shutil.copytree(documents, to)
    name = "train/stories/00001.jsonl.gz"
    lines = gzip.decompress((to / name).read_bytes()).splitlines(keepends=True)
    lines[3:3] = [b'{"text": "cut\n', b"\n", b'{"txet": "x"}\n', b'{"text": "\\ud800"}\n', b'{"text": "\xff"}\n']
    made.put(to / name, b"".join(lines))
    made.restate(to, name)
    return to


def test_a_bad_line_is_named_or_left_out(documents: Path, whole: Path, tmp_path: Path) -> None:
    bad, told = spoiled(documents, tmp_path / "bad"), []
    with pytest.raises(DataError, match=r"train/stories/00001\.jsonl\.gz, line 4: not JSON"):
        encode(bad, tmp_path / "refused", TOKENIZER)
    done = encode(bad, tmp_path / "out", TOKENIZER, shard_tokens=1500, skip_bad_lines=True, on_bad_line=told.append)
    assert done.bad_lines == 4
    assert [str(error).split("gz, ")[1] for error in told] == [
        "line 4: not JSON; each line must be one object",
        'line 6: not an object with a "text"',
        "line 7: its text holds a lone surrogate, which is not Unicode text",
        "line 8: not UTF-8",
    ]
    found, expected = contents(tmp_path / "out"), contents(whole)
    assert json.loads(found.pop("manifest.json"))["bad_lines"] == 4
    del expected["manifest.json"]
    assert found == expected


def test_what_is_refused(documents: Path, whole: Path, tmp_path: Path) -> None:
    empty = made.documents(tmp_path / "empty", {"stories": ["a"], "nothing": []})
    with pytest.raises(DataError, match="the source nothing has no documents to train on; leave it out"):
        encode(empty, tmp_path / "out", TOKENIZER)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="not 'mistral7b-shards-1'; give a folder of mistral7b tokenizer encode"):
        encode(documents, documents, TOKENIZER)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(DataError, match="holds something that is no shards"):
        encode(documents, tmp_path / "mine", TOKENIZER)
    with pytest.raises(DataError, match="holds something that is no shards"):
        encode(documents, documents / "manifest.json", TOKENIZER)
    with pytest.raises(DataError, match="other documents or options"):
        encode(documents, whole, TOKENIZER, shard_tokens=99)
    with pytest.raises(DataError, match="another tokenizer"):
        encode(documents, whole, Tokenizer.published("v3").path, shard_tokens=1500)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "encoding.json").write_text("{}")
    with pytest.raises(DataError, match="other options, unfinished"):
        encode(documents, tmp_path / "out", TOKENIZER)
    with pytest.raises(DataError, match=r"has no manifest\.json: it is not what mistral7b curate makes"):
        encode(tmp_path, tmp_path / "out", TOKENIZER)


def test_documents_that_were_changed_are_refused(documents: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(documents, tmp_path / "changed"))
    path = changed / "train/stories/00000.jsonl.gz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"00000\.jsonl\.gz was changed since it was written"):
        encode(changed, tmp_path / "out", TOKENIZER)
    made.restate(changed, "train/stories/00000.jsonl.gz")
    with pytest.raises(DataError, match=r"00000\.jsonl\.gz(, line \d+: not JSON| cannot be read)"):
        encode(changed, tmp_path / "more", TOKENIZER)


def test_a_damaged_finished_folder_is_not_blessed(documents: Path, whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    path = out / "train/stories/00001.tokens.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"00001\.tokens\.npy was changed"):
        encode(documents, out, TOKENIZER, shard_tokens=1500)


def test_wide_ids_where_the_vocabulary_needs_them(documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Tokenizer.load

    def wide(path: Path) -> Tokenizer:
        tokenizer = load(path)
        tokenizer.vocab_size = 1 << 17
        return tokenizer

    monkeypatch.setattr("mistral7b.data.encode.Tokenizer.load", wide)
    encode(documents, tmp_path / "out", TOKENIZER)
    shards = Shards.open(tmp_path / "out")
    assert shards.dtype == np.uint32
    assert shards.stream("train", "stories").ids(0, 1).tolist() == [1]
