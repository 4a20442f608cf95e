"""The drift of a merge: figures by hand, and that a merge, requantised too, leaves the adapter's effect in the logits."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from mistral7b.checkpoint.merge import merge
from mistral7b.errors import MemoryFitError, TokenizerError
from mistral7b.evals.drift import compare, measure_drift
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.run import quantize
from tests.checkpoint import made
from tests.cli.made import TALKATIVE, adapter

WIDE = replace(TALKATIVE, dim=256, head_dim=32, n_heads=8, hidden_dim=384)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made.consolidated(tmp_path_factory.mktemp("wide"), made.weights(WIDE, torch.float32), WIDE)
    shutil.copyfile(str(files("mistral7b.models.tiny") / "tokenizer.model.v3"), folder / "tokenizer.model.v3")
    return folder


def test_figures_by_hand() -> None:
    base = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    applied = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    merged = torch.tensor([[1.0, 0.0], [1.0, 0.5]])
    found = compare(base, applied, merged)
    assert (found.tokens, found.largest, found.mean, found.same_best) == (2, 1.0, 0.375, 1.0)
    assert found.kept == pytest.approx(0.5)
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    first = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-0.5))
    assert found.kl == pytest.approx((first + p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / 2, rel=1e-5)
    assert compare(base, base, base).kept is None


def test_merged_in_fp32_it_is_the_adapter_applied(tmp_path: Path, model: Path) -> None:
    added = adapter(model, tmp_path / "adapter", strength=0.05)
    merge(model, added, tmp_path / "merged")
    found = measure_drift(model, added, tmp_path / "merged")
    assert found.largest < 1e-3
    assert abs(found.kl) < 1e-6
    assert found.same_best == 1.0
    assert found.kept == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("layers", ["int4", "int8"])
def test_a_requantised_merge_keeps_the_effect(tmp_path: Path, model: Path, layers: str) -> None:
    """Of a change a tenth of a step high, which rounding to nearest would lose (PAINS 46)."""
    quantize(model, tmp_path / "packed", Recipe(layers, "int8"))  # type: ignore[arg-type]
    added = adapter(tmp_path / "packed", tmp_path / "adapter", strength=0.01)
    merge(tmp_path / "packed", added, tmp_path / "merged")
    found = measure_drift(tmp_path / "packed", added, tmp_path / "merged")
    assert found.kept == pytest.approx(1, abs=0.15)
    merge(tmp_path / "packed", added, tmp_path / "dense", dtype="f32")
    assert measure_drift(tmp_path / "packed", added, tmp_path / "dense").kept == pytest.approx(1, abs=0.15)


def test_what_cannot_be_measured(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = adapter(model, tmp_path / "adapter")
    monkeypatch.setattr("mistral7b.evals.drift.available_bytes", lambda: 10**6)
    with pytest.raises(MemoryFitError, match="GB of memory, 0"):
        measure_drift(model, added, model)
    bare = made.consolidated(tmp_path, made.weights())
    with pytest.raises(TokenizerError, match="this model has none"):
        measure_drift(bare, added, bare)
