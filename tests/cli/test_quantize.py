"""`quantize`: what it makes answers, what it reports is JSON, what it refuses is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    told = (f"Once there were {i} trees by a river, and each tree had {i + 2} birds, who sang all day. " * 3 for i in range(16))
    path.write_text("\n".join(json.dumps({"text": text}) for text in told))
    return path


def test_a_quantised_model_answers(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("quantize", model, tmp_path / "made", "--format", "int8", "--head", "bf16")
    assert (ran.status, ran.err) == (0, "quality was not measured: no text to measure on: give --calibrate or --evaluate\n")
    assert "quantized.safetensors" in ran.out
    assert "bits a weight" in ran.out
    answer = run("generate", "Once upon a time", "-n", 12, "--greedy", "-m", tmp_path / "made")
    assert answer.status == 0
    assert answer.out.strip()
    assert "quantised: int8, head bfloat16" in answer.err


def test_calibrated_with_a_report(run: Run, model: Path, texts: Path, tmp_path: Path) -> None:
    ran = run("quantize", model, tmp_path / "made", "--calibrate", texts, "--samples", 8, "--tokens", 64, "--json")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "made").iterdir())
    assert told["report"]["size"]["matrix_bits"] > 4.25  # far more: matrices this small are mostly padding
    quality = told["report"]["quality"]
    assert quality["tokens"] == 2 * 64
    assert 0 < quality["kl"] < 0.1
    assert quality["perplexity_change"] == pytest.approx(quality["perplexity"] / quality["original_perplexity"] - 1)
    shown = run("quantize", model, tmp_path / "again", "--evaluate", texts, "--tokens", 64)
    assert "KL divergence" in shown.out
    assert json.loads((tmp_path / "again" / "mistral7b.json").read_text())["quantization"]["method"] == "nearest"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--format", "int3"), "'int3' is not one of 'int4', 'int8'"),
        (("--head", "int6"), "'int6' is not one of"),
        (("--calibrate", "nothing.jsonl"), "nothing.jsonl cannot be read"),
        (("--no-report", "--evaluate", "nothing.jsonl"), "leave out one of them"),
        (("--samples", "0"), "--samples"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, model: Path, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    run("quantize", model, tmp_path / "made", *args).fails_with(said)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_stays(run: Run, model: Path, tmp_path: Path) -> None:
    wanted = ("quantize", model, tmp_path / "made", "--no-report")
    assert run(*wanted).status == 0
    run(*wanted).fails_with("already exists", "--force")
    assert run(*wanted, "--force").status == 0
