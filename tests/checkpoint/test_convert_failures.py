from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mistral7b.checkpoint.convert import convert
from mistral7b.errors import CheckpointError
from tests.checkpoint import made
from tests.checkpoint.folders import folder, hashes, load, names


def test_narrowing_refuses_what_does_not_fit_and_names_it(tmp_path: Path) -> None:
    weights = made.weights()
    weights["layers.1.feed_forward.w2.weight"][3, 4] = -70_000.0
    weights["output.weight"][0, 0] = float("inf")  # was infinite before: not the conversion's doing
    first = made.consolidated(folder(tmp_path, "first"), weights)
    with pytest.raises(CheckpointError, match=r"layers\.1\.feed_forward\.w2\.weight does not fit into float16: 1 weights"):
        convert(first, tmp_path / "second", to="hf", dtype="f16")
    assert names(tmp_path) == ["first"]
    convert(first, tmp_path / "second", to="hf", dtype="f32")
    assert load(tmp_path / "second" / "model.safetensors")["lm_head.weight"][0, 0].isinf()
    assert json.loads((tmp_path / "second" / "config.json").read_text())["torch_dtype"] == "float32"


_FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from mistral7b.checkpoint.convert import convert
from mistral7b.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for to in ("hf", "consolidated", "gguf"):
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), to=to)
    except CheckpointError as error:
        print(to, error)
"""


def test_a_disk_that_fills_up_half_way_leaves_nothing(tmp_path: Path) -> None:
    """A real limit of the operating system, met in the middle of the weights."""
    made.hf(folder(tmp_path, "first"), made.weights())
    ran = subprocess.run(
        [sys.executable, "-c", _FILL_THE_DISK, tmp_path / "first", tmp_path / "second.gguf"],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["hf", "consolidated", "gguf"]
    assert all("was not written" in line and "needs 16.0 MiB" in line for line in lines)
    assert names(tmp_path) == ["first"]


@pytest.mark.parametrize("to", ["hf", "consolidated"])
def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any) -> None:
    first = made.hf(folder(tmp_path, "first"), made.weights())
    told: list[int] = []

    def full(done: int, total: int) -> None:
        told.append(done)
        if done > total // 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CheckpointError, match=r"No space left on device.*iB free; nothing was left behind"):
        convert(first, tmp_path / "second", to=to, progress=full)
    assert len(told) > 3
    assert names(tmp_path) == ["first"]


def test_a_target_in_the_way(tmp_path: Path) -> None:
    first = made.hf(folder(tmp_path, "first"), made.weights())
    before = hashes(first)
    convert(first, tmp_path / "second", to="hf")
    with pytest.raises(CheckpointError, match="already exists"):
        convert(first, tmp_path / "second", to="consolidated")
    convert(first, tmp_path / "second", to="consolidated", force=True)
    assert names(tmp_path / "second") == ["consolidated.safetensors", "mistral7b.json", "params.json"]
    for target in (first, tmp_path, tmp_path / "second" / ".." / "first"):
        with pytest.raises(CheckpointError, match="is or holds the model to convert"):
            convert(first, target, to="consolidated", force=True)
    assert hashes(first) == before


@pytest.mark.parametrize(
    ("options", "target", "says"),
    [
        ({"to": "onnx"}, "x", "no format 'onnx'"),
        ({"to": "hf", "dtype": "int8"}, "x", "no type 'int8'"),
        ({"to": "gguf"}, "x.bin", "must end in .gguf"),
        ({"to": "hf"}, "no/where/x", "is not a folder"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, options: Any, target: str, says: str) -> None:
    first = made.hf(folder(tmp_path, "first"), made.weights())
    with pytest.raises(CheckpointError) as caught:
        convert(first, tmp_path / target, **options)
    assert says in str(caught.value)
    assert names(tmp_path) == ["first"]


def test_damaged_sources_leave_no_target(tmp_path: Path) -> None:
    first = made.hf_sharded(folder(tmp_path, "first"), made.weights())
    shard = sorted(first.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        convert(first, tmp_path / "second", to="consolidated")
    assert names(tmp_path) == ["first"]


def test_a_small_disk_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    first = made.hf(folder(tmp_path, "first"), made.weights())
    with pytest.raises(CheckpointError, match=r"needs 16\.0 MiB and its disk has 1\.0 MiB free"):
        convert(first, tmp_path / "second", to="consolidated")
    assert names(tmp_path) == ["first"]
