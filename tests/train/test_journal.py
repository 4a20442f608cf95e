"""What a run leaves to look at."""

from __future__ import annotations

from pathlib import Path

from mistral7b.train import journal
from mistral7b.train.journal import METRICS, PICTURE, Journal


def _steps(run: Path) -> list[int]:
    return [line["step"] for line in journal.read(run / METRICS)]


def test_lines_of_later_steps_and_a_line_cut_short_are_taken_away(tmp_path: Path) -> None:
    first = Journal(tmp_path, 0, "held-out bits per byte")
    for step in range(1, 6):
        first.step({"step": step, "loss": 1.0 / step})
    first.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 6, "lo')
    second = Journal(tmp_path, 3, "held-out bits per byte")
    second.step({"step": 4, "loss": 0.5})
    second.close()
    assert _steps(tmp_path) == [1, 2, 3, 4]


def test_an_evaluation_is_kept_and_drawn(tmp_path: Path) -> None:
    made = Journal(tmp_path, 0, "held-out bits per byte")
    made.step({"step": 1, "loss": 2.0, "norm": 1.0})
    made.evaluation(1, {"stories": 1.5, "books": 2.5}, {"Once": " upon"})
    made.close()
    held = [line for line in journal.read(tmp_path / METRICS) if "samples" in line]
    assert held == [{"step": 1, "held_out_bits_per_byte": {"stories": 1.5, "books": 2.5}, "samples": {"Once": " upon"}}]
    assert (tmp_path / PICTURE).stat().st_size > 5_000
    assert not (tmp_path / PICTURE).with_suffix(".partial.png").exists()


def test_a_picture_of_nothing_can_be_drawn(tmp_path: Path) -> None:
    journal.draw(tmp_path / METRICS, tmp_path / PICTURE, "held-out bits per byte")
    assert (tmp_path / PICTURE).is_file()


def test_the_running_mean_begins_unbiased() -> None:
    assert journal._smooth([3.0, 3.0]) == [3.0, 3.0]
    assert 1.0 < journal._smooth([1.0, 2.0])[1] < 2.0
