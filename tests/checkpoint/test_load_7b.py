"""Loading at the real size: 14.5 GB of weights, in files that are holes, so that no disk is needed."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mistral7b.checkpoint.hf import hf_name
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.variants import V01

GIB = 2**30
# Peak resident memory of a process that has loaded the model and then read every weight.
PROBE = """
import sys
from mistral7b.loading import load
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
before = status("VmRSS")
model = load(sys.argv[1]).model
for weight in model.state_dict().values():
    weight.view(-1)[:: 2048].sum()
print(status("VmHWM") - before)
"""


def holes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A bf16 safetensors file whose data is a hole: zeros that take no disk."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("layout", ["consolidated", "hf"])
def test_peak_memory_is_the_weights_and_at_most_a_gibibyte(tmp_path: Path, layout: str) -> None:
    shapes = expected_shapes(V01)
    if layout == "hf":
        holes(tmp_path / "model.safetensors", {hf_name(name): shape for name, shape in shapes.items()})
        (tmp_path / "config.json").write_text(json.dumps(V01.to_hf(max_position_embeddings=32768, dtype="bfloat16")))
    else:
        holes(tmp_path / "consolidated.safetensors", shapes)
        (tmp_path / "params.json").write_text(json.dumps(V01.to_params()))
    ran = subprocess.run([sys.executable, "-c", PROBE, tmp_path], check=True, capture_output=True, text=True, timeout=280)
    weights = 2 * V01.n_params
    assert weights * 0.9 < int(ran.stdout) < weights + GIB
