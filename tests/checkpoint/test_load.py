from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import load_weights
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError
from tests.checkpoint import made

WRITERS = {"consolidated": made.consolidated, "pth": made.pth, "hf": made.hf, "hf_sharded": made.hf_sharded}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float32])
def test_same_weights_from_every_format(tmp_path: Path, kind: str, dtype: torch.dtype | None) -> None:
    whole = made.weights()
    loaded = load_weights(open_checkpoint(WRITERS[kind](tmp_path, whole)), dtype=dtype)
    assert list(loaded) == list(expected_shapes(made.SMALL))
    for name, tensor in whole.items():
        assert loaded[name].dtype == (dtype or torch.bfloat16)
        assert torch.equal(loaded[name], tensor.to(dtype or torch.bfloat16)), name


def test_progress_counts_the_bytes_of_the_result(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made.consolidated(tmp_path, made.weights()))
    seen: list[tuple[int, int]] = []
    load_weights(checkpoint, dtype=torch.float32, progress=lambda done, total: seen.append((done, total)))
    total = 4 * made.SMALL.n_params
    assert seen[-1] == (total, total)
    assert len(seen) == len(expected_shapes(made.SMALL))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_mixed_dtypes_become_one_or_stay_as_they_are(tmp_path: Path) -> None:
    whole = made.weights()
    mixed = {name: tensor.float() if "norm" in name else tensor for name, tensor in whole.items()}
    checkpoint = open_checkpoint(made.consolidated(tmp_path, mixed))
    assert {t.dtype for t in load_weights(checkpoint).values()} == {torch.bfloat16, torch.float32}
    one = load_weights(checkpoint, dtype=torch.bfloat16)
    assert all(torch.equal(one[name], tensor) for name, tensor in whole.items())


def test_float16_warns_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    whole = made.weights()
    checkpoint = open_checkpoint(made.consolidated(tmp_path, whole))
    with pytest.warns(UserWarning, match="float16 has a smaller range"):
        loaded = load_weights(checkpoint, dtype=torch.float16)
    assert all(torch.equal(loaded[name], tensor.half()) for name, tensor in whole.items())
    whole["output.weight"][3, 5] = 70_000
    made.consolidated(tmp_path, whole)
    with pytest.warns(UserWarning, match="float16"), pytest.raises(CheckpointError, match=r"output\.weight holds values"):
        load_weights(checkpoint, dtype=torch.float16)


def test_float16_as_stored_is_silent(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made.consolidated(tmp_path, made.weights(dtype=torch.float16)))
    assert load_weights(checkpoint, dtype=torch.float16)["norm.weight"].dtype == torch.float16


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────────────
# 134 MiB of bfloat16, 36 MiB of them wq and wk; the largest tensor is 6 MiB.
WIDE = ModelConfig(
    dim=1536, n_layers=4, head_dim=96, hidden_dim=1536, n_heads=16, n_kv_heads=16, norm_eps=1e-5,
    vocab_size=2048, rope_theta=1e4, sliding_window=64,
)  # fmt: skip
MIB = 2**20
# Touches every page of the result and prints how far resident memory rose at its peak, above the start and the result.
MEASURE = """
import sys, threading, torch
from pathlib import Path
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import load_weights

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

checkpoint = open_checkpoint(Path(sys.argv[1]))
dtype = getattr(torch, sys.argv[2])
torch.zeros(1 << 20).to(torch.bfloat16).sum()
before = status("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")
weights = load_weights(checkpoint, dtype=dtype)
sum(float(tensor.view(torch.int16).flatten()[::512].sum()) for tensor in weights.values())
print(status("VmHWM:") - before, sum(tensor.nbytes for tensor in weights.values()))
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    whole = {name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in expected_shapes(WIDE).items()}
    return {kind: WRITERS[kind](tmp_path_factory.mktemp(kind), whole, WIDE) for kind in ("consolidated", "pth", "hf")}


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is measured through Linux's /proc")
@pytest.mark.parametrize(
    ("kind", "dtype"), [("consolidated", "float32"), ("pth", "float32"), ("hf", "bfloat16"), ("hf", "float32")]
)
def test_peak_memory_is_the_weights_and_one_tensor(wide: dict[str, Path], kind: str, dtype: str) -> None:
    """A loader that kept the file's pages beside its copies would rise by 36 MiB (wq, wk) or 134 MiB (conversion)."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(wide[kind]), dtype], capture_output=True, text=True, check=True, timeout=60
    )
    rise, weights = map(int, result.stdout.split())
    assert weights == WIDE.n_params * (2 if dtype == "bfloat16" else 4)
    assert rise >= weights - 2 * MIB, "the measure sees the weights"
    assert rise - weights < 20 * MIB
