"""The report on a folder just written: which text it is measured on, and whether memory has room for both models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import weights_bytes
from mistral7b.checkpoint.memory import available_bytes
from mistral7b.loading import load, pick_dtype
from mistral7b.quantize.report import CostReport, measure_quality, measure_size

_WORK = 1 << 30  # bytes beside the weights: two models' logits of one sequence, and what a layer computes on the way


def assess(
    original: Path,
    quantised: Path,
    sequences: Sequence[Sequence[int]],
    *,
    force: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> CostReport:
    """Both models as they would answer, on `sequences` of token ids; without any, or without memory for both, the size only."""
    size = measure_size(original, quantised, force=force)
    if not sequences:
        return CostReport(size, None, "no text to measure on: give --calibrate or --evaluate")
    needed, there = _WORK, available_bytes()
    for path in (original, quantised):
        checkpoint = open_checkpoint(path, force=force)
        needed += weights_bytes(checkpoint, pick_dtype("auto", checkpoint), packed=True)
    if there is not None and needed > there:
        return CostReport(size, None, f"both models need {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB are free")
    before, after = (load(path, device="cpu", force=force).model for path in (original, quantised))
    return CostReport(size, measure_quality(before, after, sequences, progress))
