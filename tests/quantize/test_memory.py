"""Memory at a 7B's width, in files that are holes, so that no disk is needed for the original."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mistral7b.checkpoint.quantized import LAYOUT, LAYOUT_KEY
from mistral7b.checkpoint.quantized_write import places
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.checkpoint.write import safetensors_header
from mistral7b.quantize.recipe import Recipe
from mistral7b.variants import V01
from tests.checkpoint.test_load_7b import GIB, holes

STATUS = """
import sys
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
"""
QUANTISE = (
    STATUS
    + """
from pathlib import Path
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.run import quantize
given = [list(range(3, 515))] * int(sys.argv[3])
quantize(Path(sys.argv[1]), Path(sys.argv[2]), Recipe(), calibration=given)
print(status("VmHWM"))
"""
)
LOAD = (
    STATUS
    + """
from mistral7b.loading import load
load(sys.argv[1])
print(status("VmHWM"))
"""
)


def run(code: str, *args: object) -> list[float]:
    ran = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=2400)
    assert ran.returncode == 0, ran.stderr
    return [float(word) for word in ran.stdout.split()]


@pytest.mark.slow
@pytest.mark.timeout(2500)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("sequences", [0, 1])
def test_quantising_takes_less_than_4_gib_at_a_7bs_width(tmp_path: Path, sequences: int) -> None:
    """One layer with embeddings and head: the rest of a 7B is more of the same, one after the other."""
    config = replace(V01, n_layers=1, vocab_size=32_064)  # no published architecture: its files are held against nothing
    (tmp_path / "m").mkdir()
    holes(tmp_path / "m" / "consolidated.safetensors", expected_shapes(config))
    (tmp_path / "m" / "params.json").write_text(json.dumps(config.to_params()))
    (peak,) = run(QUANTISE, tmp_path / "m", tmp_path / "out", sequences)
    states = (128 - sequences) * 512 * config.dim * 4  # what the verb's 128 sequences would take beyond these
    assert peak + (states if sequences else 0) < 4 * GIB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_a_quantised_7b_is_mapped_and_not_read(tmp_path: Path) -> None:
    formats = Recipe().formats(V01)
    with (tmp_path / "quantized.safetensors").open("wb") as file:
        file.write(safetensors_header(held := places(V01, formats), {LAYOUT_KEY: LAYOUT}, alignment=64))
        file.truncate(file.tell() + sum(place.n_bytes for place in held))
    (tmp_path / "config.json").write_text(json.dumps(V01.to_hf(max_position_embeddings=32_768, dtype="bfloat16")))
    (peak,) = run(LOAD, tmp_path)
    assert peak < GIB
