from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoint import made
from tests.store.fake_hub import FakeHub, serving

REPO = "mistralai/Small-7B-v0.9"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """A repository with both formats, a tokenizer, a pickle and a folder, as Mistral's own are."""
    (tmp_path / "repo").mkdir()
    folder = made.consolidated(tmp_path / "repo", made.weights())
    made.hf_sharded(folder, made.weights())
    (folder / "tokenizer.model.v3").write_bytes(b"pieces" * 50)
    (folder / "README.md").write_text("what it is")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    with serving(FakeHub(REPO, files | {"onnx/model.safetensors": b"x", ".gitattributes": b"*"})) as running:
        yield running
