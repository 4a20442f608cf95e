"""Checkpoints: whole or not at all, found again, and never trusted when a byte is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mistral7b.errors import CheckpointError
from mistral7b.train.checkpoints import FACTS, Checkpoints
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Keep

ALONE = Ranks(0, 1, torch.device("cpu"))


class _Run:
    """A small network whose weights tell the step."""

    def __init__(self, folder: Path, **keep: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 3)
        self.optims = [torch.optim.AdamW(self.model.parameters(), lr=0.1)]
        self.checkpoints = Checkpoints(folder, Keep(**keep), ALONE)

    def step(self, number: int) -> None:
        self.model(torch.ones(1, 4)).sum().backward()
        self.optims[0].step()
        self.optims[0].zero_grad()
        self.checkpoints.save(number, self.model, self.optims, {"step": number})

    def state(self) -> dict[str, Any]:
        held = self.optims[0].state_dict()["state"]
        return {"model": self.model.state_dict(), "moments": {i: dict(each) for i, each in held.items()}}


def _same(a: object, b: object) -> None:
    torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_a_new_run_has_none(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    assert run.checkpoints.load_newest(run.model, run.optims) is None


def test_weights_moments_and_random_numbers_come_back(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    for number in (1, 2):
        run.step(number)
    run.checkpoints.wait()
    drawn = torch.rand(3)
    other = _Run(tmp_path)
    assert other.checkpoints.load_newest(other.model, other.optims)["step"] == 2  # type: ignore[index]
    _same(other.state(), run.state())
    _same(torch.rand(3), drawn)
    for each in (run, other):
        each.step(3)
    _same(other.state(), run.state())


def test_groups_and_rates_are_those_of_the_optimizer_that_loads(tmp_path: Path) -> None:
    """One group wrote, two read: a layout has as many as it has device meshes."""
    run = _Run(tmp_path)
    run.step(1)
    run.checkpoints.wait()
    other = _Run(tmp_path)
    groups = [{"params": [weight], "lr": rate} for weight, rate in zip(other.model.parameters(), (0.3, 0.2), strict=True)]
    other.optims = [torch.optim.AdamW(groups)]
    other.checkpoints.load_newest(other.model, other.optims)
    _same(other.state(), run.state())
    assert [group["lr"] for group in other.optims[0].param_groups] == [0.3, 0.2]


def test_the_copy_is_taken_before_the_next_step(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    run.step(1)
    then = run.model.weight.detach().clone()
    with torch.no_grad():
        run.model.weight.zero_()
    run.checkpoints.wait()
    other = _Run(tmp_path)
    other.checkpoints.load_newest(other.model, other.optims)
    _same(other.model.weight.detach(), then)


def test_the_newest_stay_and_every_so_many_for_ever(tmp_path: Path) -> None:
    run = _Run(tmp_path, newest=2, forever=4)
    for number in range(1, 11):
        run.step(number)
    run.checkpoints.wait()
    assert run.checkpoints.steps() == [10, 9, 8, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{n:08d}" for n in (4, 8, 9, 10)]


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: _flip(folder / "__0_0.distcp"), "__0_0.distcp is changed"),
        (lambda folder: _flip(folder / ".metadata"), ".metadata is changed"),
        (lambda folder: (folder / ".metadata").unlink(), ".metadata is missing"),
        (lambda folder: (folder / "__0_0.distcp").write_bytes(b""), "__0_0.distcp is changed"),
        (lambda folder: (folder / FACTS).write_text("[]"), "no object"),
        (lambda folder: (folder / FACTS).write_text("{"), "is damaged"),
    ],
)
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path: Path, harm: Any, said: str) -> None:
    run = _Run(tmp_path)
    for number in (1, 2):
        run.step(number)
    run.checkpoints.wait()
    harm(tmp_path / "step-00000002")
    other = _Run(tmp_path)
    with pytest.warns(UserWarning, match=said):
        facts = other.checkpoints.load_newest(other.model, other.optims)
    assert facts is not None
    assert facts["step"] == 1


def test_none_that_is_sound_is_an_error(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    run.step(1)
    run.checkpoints.wait()
    _flip(tmp_path / "step-00000001" / "__0_0.distcp")
    with pytest.warns(UserWarning, match="is changed"), pytest.raises(CheckpointError, match="none of 1 checkpoints is sound"):
        run.checkpoints.load_newest(run.model, run.optims)


def test_what_a_kill_left_half_written_is_cleared_and_not_loaded(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    run.step(1)
    run.checkpoints.wait()
    left = tmp_path / "step-00000002.partial"
    left.mkdir()
    (left / "__0_0.distcp").write_bytes(b"half")
    other = _Run(tmp_path)
    assert not left.exists()
    assert other.checkpoints.steps() == [1]


def test_a_full_disk_stops_with_one_line_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _Run(tmp_path)
    run.step(1)
    run.checkpoints.wait()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.FileSystemWriter.write_data", full)
    run.step(2)
    with pytest.raises(CheckpointError, match=r"not written \(No space left on device\); those before it are whole"):
        run.checkpoints.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert json.loads((tmp_path / "step-00000001" / FACTS).read_text())["step"] == 1
