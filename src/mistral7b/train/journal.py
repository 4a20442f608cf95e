"""What a run leaves to look at: metrics.jsonl, TensorBoard events and a picture of its curves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import written

METRICS, PICTURE, EVENTS = "metrics.jsonl", "loss.png", "tensorboard"
_SMOOTH = 0.95


class Journal:
    """The files of `run`, as of `step`: lines of later steps, which a kill left behind, are taken away, so that a resumed
    run's curve has each step once. `measures` is the title of an evaluation's figures. `ended`: all steps are done, and the
    last evaluation is made anew."""

    def __init__(self, run: Path, step: int, measures: str, *, ended: bool = False) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.run, self.measures = run, measures
        self.path = run / METRICS
        _cut(self.path, step, ended)
        self._file = self.path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(run / EVENTS), purge_step=step + 1)

    def step(self, line: dict[str, Any]) -> None:
        """One step's numbers; `line` has "step"."""
        self._write(line)
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                self._events.add_scalar(f"train/{name}", value, line["step"])

    def evaluation(self, step: int, figures: dict[str, float], samples: dict[str, str]) -> None:
        """Figures by name, continuations by prompt; the picture is drawn anew."""
        self._write({"step": step, key_of(self.measures): figures, "samples": samples})
        for name, value in figures.items():
            self._events.add_scalar(f"{self.measures}/{name}", value, step)
        for prompt, text in samples.items():
            self._events.add_text(prompt, f"**{prompt}**{text}", step)
        draw(self.path, self.run / PICTURE, self.measures)

    def keep(self) -> None:
        """Until what was written is on the disk: before a checkpoint is, which begins behind these lines."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        self._events.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last one that a kill cut short is left out."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and "step" in found:
                yield found


def key_of(measures: str) -> str:
    """The key of an evaluation's figures in a line: "held_out_bits_per_byte"."""
    return measures.replace(" ", "_").replace("-", "_")


def draw(metrics: Path, picture: Path, measures: str) -> None:
    """Loss by step with its running mean, and what was measured, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = list(read(metrics))
    steps = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    key = key_of(measures)
    held = [(line["step"], line[key]) for line in lines if key in line]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    loss, bits = figure.subplots(1, 2)
    loss.plot([s for s, _ in steps], [v for _, v in steps], linewidth=0.5, alpha=0.4, color="tab:blue", label="each step")
    loss.plot([s for s, _ in steps], _smooth([v for _, v in steps]), color="tab:blue", label="running mean")
    loss.set(title="Loss", xlabel="step")
    loss.legend()
    for source in sorted({name for _, each in held for name in each}):
        points = [(step, each[source]) for step, each in held if source in each]
        bits.plot(*zip(*points, strict=True), marker="o", markersize=3, label=source)
    bits.set(title=measures.capitalize(), xlabel="step")
    if any(each for _, each in held):
        bits.legend(fontsize="small")
    for axes in (loss, bits):
        axes.grid(alpha=0.3)
    aside = picture.with_suffix(".partial.png")
    figure.savefig(aside, dpi=110)
    aside.rename(picture)


def _smooth(values: list[float]) -> list[float]:
    """An exponential mean that begins unbiased."""
    found, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = _SMOOTH * total + value, _SMOOTH * weight + 1
        found.append(total / weight)
    return found


def _cut(path: Path, step: int, ended: bool) -> None:
    kept = [
        json.dumps(line) for line in read(path) if line["step"] < step or (line["step"] == step and ("loss" in line or not ended))
    ]
    with written(path) as file:
        file.writelines(f"{line}\n".encode() for line in kept)
