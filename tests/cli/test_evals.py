"""`eval bpb`: a number for people, an object for scripts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.made import CONTEXT


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"There were {i} birds in a tree. " * 3}) + "\n" for i in range(5)))
    return path


def test_bits_per_byte(run: Run, model: Path, texts: Path) -> None:
    ran = run("eval", "bpb", texts, "-m", model, "--json")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert told["bits_per_byte"] == pytest.approx(told["bits"] / told["bytes"])
    assert 3 < told["bits_per_byte"] < 8, "random weights"
    assert (told["documents"], told["context"], told["bad_lines"]) == (5, CONTEXT, 0)
    assert told["file_sha256"] == hashlib.sha256(texts.read_bytes()).hexdigest()
    shown = run("eval", "bpb", texts, "-m", model, "--context", 16)
    assert shown.status == 0
    assert shown.out.startswith("bits per byte  ")
    assert "5 documents" in shown.out
    assert "16 tokens" in shown.out


def test_tiny_knows_its_stories_better_than_noise(run: Run, tmp_path: Path) -> None:
    found = {}
    for name, text in (
        ("story", "Once upon a time, there was a little girl named Lily. She loved to play. "),
        ("noise", "q7#Zx"),
    ):
        (tmp_path / name).write_text(text * 3)
        found[name] = json.loads(run("eval", "bpb", tmp_path / name, "--json").out)["bits_per_byte"]
    assert found["story"] < 1.5 < found["noise"]


def test_bad_lines(run: Run, model: Path, texts: Path) -> None:
    texts.write_text(texts.read_text() + "{\n")
    run("eval", "bpb", texts, "-m", model).fails_with("texts.jsonl, line 6: not JSON")
    ran = run("eval", "bpb", texts, "-m", model, "--skip-bad-lines")
    assert ran.status == 0
    assert "line 6: not JSON; each line must be one object; left out" in ran.err
    assert "1 lines that are no documents" in ran.out


def test_what_cannot_be_measured(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    run("eval", "bpb", tmp_path / "empty.txt", "-m", model).fails_with("empty.txt holds no text")
    run("eval", "bpb", tmp_path / "gone.txt", "-m", model).fails_with("gone.txt cannot be read: No such file")
    run("eval", "bpb").fails_with("Missing argument 'FILE'")
