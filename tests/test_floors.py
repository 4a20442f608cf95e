"""The import floors of pyproject.toml hold, and notice when they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
# An editable installation answers for its own tree before PYTHONPATH is asked.
LINT = (
    "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__name__.startswith('ScikitBuild')]; "
    "from importlinter.cli import lint_imports_command; lint_imports_command()"
)


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository's Python files and contracts, free to be spoiled."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=lambda _, names: [n for n in names if n.endswith(".safetensors")])
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_room_imports_only_lower_ones() -> None:
    linted = lint_imports(ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    ("room", "line", "broken"),
    [
        ("kernels", "from mistral7b import engine", "mistral7b.kernels is not allowed to import mistral7b.engine"),
        ("model", "from mistral7b.checkpoint import verify", "mistral7b.model is not allowed to import mistral7b.checkpoint"),
        ("tokens", "import torch.nn", "mistral7b.tokens is not allowed to import torch"),
        ("model", "import socket", "mistral7b.model is not allowed to import socket"),
        ("data", "import torch", "mistral7b.data is not allowed to import torch"),
        ("data", "from mistral7b.checkpoint import load", "mistral7b.data is not allowed to import torch"),
        ("store", "import transformers", "mistral7b is not allowed to import transformers"),
    ],
)
def test_an_import_inside_a_function_is_caught(copy: Path, room: str, line: str, broken: str) -> None:
    (copy / "src/mistral7b" / room / "planted.py").write_text(f"def late() -> None:\n    {line}\n")
    linted = lint_imports(copy)
    assert linted.returncode == 1
    assert broken in linted.stdout


def test_a_room_without_a_floor_is_caught(copy: Path) -> None:
    (copy / "src/mistral7b/attic.py").touch()
    linted = lint_imports(copy)
    assert linted.returncode == 1
    assert "mistral7b.attic" in linted.stdout


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("import torch.distributed", "TID251"),
        ("from torch import distributed", "TID251"),
        ("import pickle\n\npickle.loads(b'')", "S301"),
        ("print('hello')", "T201"),
        ("from . import batch", "TID252"),
    ],
)
def test_the_style_bans_what_an_import_graph_cannot_see(line: str, code: str) -> None:
    command = [str(BIN / "ruff"), "check", "--output-format=concise", "--stdin-filename=src/mistral7b/model/planted.py", "-"]
    checked = subprocess.run(command, cwd=ROOT, input=line + "\n", capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert f" {code} " in checked.stdout


def floor_zero() -> list[str]:
    """`mistral7b` itself and every module of floor 0."""
    tokens = sorted(path.stem for path in (ROOT / "src/mistral7b/tokens").glob("*.py") if path.stem != "__init__")
    return [
        "mistral7b",
        "mistral7b.errors",
        "mistral7b.config",
        "mistral7b.recipe",
        "mistral7b.variants",
        *(f"mistral7b.tokens.{t}" for t in tokens),
    ]


def release() -> list[str]:
    """Every module of the release room but those of `mistral7b release`, which verifies the weights themselves."""
    verifying = {"__init__", "candidate", "make", "manifest"}
    paths = sorted((ROOT / "src/mistral7b/release").glob("*.py"))
    return [f"mistral7b.release.{path.stem}" for path in paths if path.stem not in verifying]


LOADER = ["mistral7b.data.pack", "mistral7b.data.encode", "mistral7b.data.train_tokenizer"]


@pytest.mark.parametrize("modules", [floor_zero(), LOADER, release()], ids=["floor 0", "data", "release"])
def test_words_numbers_data_and_downloads_load_no_torch(modules: list[str]) -> None:
    """Not even through a third-party library, where import-linter does not look. One process, module by module."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers'} & sys.modules.keys()\n"
        "    assert not heavy, f'{name} loads {heavy}'\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *modules],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
