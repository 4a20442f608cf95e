"""What cpu_inference.py measures with: a virtual environment a peer, random weights, and every format made from the same weights.

Everything is made once: what is there already is left alone, and nothing is half there (made aside, then renamed).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cpu_work import HERE, System

from mistral7b.checkpoint.hf import hf_name
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.checkpoint.write import Row, write_json, write_shards
from mistral7b.variants import VARIANTS

TORCH = "torch==2.13.0"
_POSITIONS = 32_768
_STD = 0.02  # activations stay of order one through any number of layers
# llama.cpp compiled for this machine, with its own thread pool: OpenMP's threads spin when there is no work.
_LLAMA = {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DGGML_OPENMP=OFF", "FORCE_CMAKE": "1"}


@dataclass(frozen=True)
class Environment:
    """A peer's virtual environment: what pip installs into it, and the variables of a build from source."""

    packages: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()


ENVIRONMENTS = {
    "llama.cpp": Environment(("--no-binary", "llama-cpp-python", "llama-cpp-python"), tuple(_LLAMA.items())),
    "openvino": Environment((TORCH, "optimum-intel[openvino]", "openvino", "nncf")),
    "transformers": Environment((TORCH, "transformers==5.23.0", "safetensors")),
}


def prepare(envs: Path, models: Path, variant: str, layers: int, systems: Sequence[System]) -> None:
    """Make what `systems` lack. Raises subprocess.CalledProcessError for a step that fails."""
    for name in {system.environment for system in systems} - {""}:
        if not (envs / name / ".whole").is_file():
            _install(envs / name, ENVIRONMENTS[name])
    models.mkdir(parents=True, exist_ok=True)
    hf = models / "hf"
    _once(hf, lambda made: random_folder(made, variant, layers))
    for system in systems:
        _model(models, system, envs)


def _model(models: Path, system: System, envs: Path) -> None:
    """The model that `system` reads, from the Hugging Face folder beside it."""
    hf, bf16, target = models / "hf", models / "bf16.gguf", models / system.model
    ours = (sys.executable, "-m", "mistral7b")
    peer = (envs / system.environment / "bin" / "python", HERE / system.worker)
    if target.suffix == ".gguf":
        _once(bf16, lambda made: _run(*ours, "convert", hf, made, "--to", "gguf"))
        _once(target, lambda made: _run(*peer, "--quantize", target.stem, bf16, made))
    elif system.environment == "openvino":
        _once(target, lambda made: _run(*peer, "--export", hf, made))
    elif target != hf and importlib.util.find_spec("mistral7b.quantize") is None:
        print(f"this mistral7b cannot quantise yet: ours-bf16 can be measured, {system.name} cannot")
    else:
        _once(target, lambda made: _run(*ours, "quantize", hf, made, "--format", target.name))


def random_folder(folder: Path, variant: str, layers: int) -> None:
    """A Hugging Face folder of the first `layers` layers of `variant`, in bf16: normal numbers, and the real tokenizer."""
    config = replace(VARIANTS[variant].config, n_layers=layers)
    chance = torch.Generator().manual_seed(0)

    def numbers(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        if "norm" in name:
            return torch.ones(shape, dtype=torch.bfloat16)
        return torch.empty(shape, dtype=torch.bfloat16).normal_(std=_STD, generator=chance)

    rows = [
        Row(hf_name(name), torch.bfloat16, tuple(shape), lambda name=name, shape=tuple(shape): numbers(name, shape))
        for name, shape in expected_shapes(config).items()
    ]
    folder.mkdir()
    write_json(folder / "config.json", config.to_hf(max_position_embeddings=_POSITIONS, dtype="bfloat16"))
    write_shards(folder, rows, lambda _: None)
    shutil.copy(_tokenizer(), folder / "tokenizer.model")


def _tokenizer() -> Path:
    spec = importlib.util.find_spec("mistral_common")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "tokenizer.model.v1"


def _install(folder: Path, environment: Environment) -> None:
    print(f"making {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    variables = {**os.environ, **dict(environment.variables)}
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *environment.packages, variables=variables)
    if "optimum-intel[openvino]" in environment.packages:
        # It comes built for GPUs, does not match the torch named above, and transformers stumbles over it; nobody needs it here.
        _run(folder / "bin" / "python", "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision")
    (folder / ".whole").touch()


def _once(target: Path, make: Callable[[Path], None]) -> None:
    """Let `make` write `target` aside, and rename it when it is whole."""
    if target.exists():
        return
    print(f"making {target}", flush=True)
    aside = target.with_name(f"making-{target.name}")
    if aside.is_dir():
        shutil.rmtree(aside)
    aside.unlink(missing_ok=True)
    make(aside)
    aside.rename(target)


def _run(*command: str | Path, variables: dict[str, str] | None = None) -> None:
    words: Sequence[str] = [str(word) for word in command]
    subprocess.run(words, check=True, env=variables)
