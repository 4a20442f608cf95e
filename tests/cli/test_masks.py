"""Masks on the terminal: what is learned told apart with colour and without, control tokens by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mistral7b.cli.masks import show_masks
from mistral7b.data.instruct.samples import Samples
from mistral7b.tokens.tokenizer import Tokenizer

V3 = Tokenizer.published("v3")


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    path = tmp_path / "a.jsonl"
    talks = [[{"role": "user", "content": asked}, {"role": "assistant", "content": "é日\n\x1b[2J"}] for asked in ("one", "two")]
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    return Samples.read([path], V3, length=64)


def test_without_colour_in_brackets(samples: Samples, capsys: pytest.CaptureFixture[str]) -> None:
    show_masks(samples, V3, 5)
    out = capsys.readouterr().out
    assert "<s>[INST] one[/INST][+ é日\n␛[2J</s>+]\n" in out
    assert "<s>[INST] two[/INST][+" in out
    assert out.startswith("learned: [+like this+]   only read: like this\n")
    learned, tokens = int(samples.trained[: samples.borders[1]].sum()), samples.borders[1]
    assert f"sample 1 of 2: {tokens} tokens, {learned} learned" in out


def test_with_colour(samples: Samples, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    show_masks(samples, V3, 1)
    out = capsys.readouterr().out
    assert "<s>[INST] one[/INST]\x1b[32;1m é日\n␛[2J</s>\x1b[0m\n" in out
    assert "\x1b[32;1mlike this\x1b[0m" in out
    assert "two" not in out
    monkeypatch.setenv("NO_COLOR", "1")
    show_masks(samples, V3, 1)
    assert "\x1b" not in capsys.readouterr().out
