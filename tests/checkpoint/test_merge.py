"""An adapter merged is the adapter applied, in every format, one tensor at a time, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistral7b.checkpoint.adapters import read_adapter, write_adapter
from mistral7b.checkpoint.companions import open_card
from mistral7b.checkpoint.convert import convert
from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.checkpoint.merge import merge
from mistral7b.errors import CheckpointError
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.run import quantize
from tests.checkpoint import made
from tests.checkpoint.test_adapters import adapter

ADAPTER = adapter(targets=("wq", "wk", "w2"))


@pytest.fixture
def added(tmp_path: Path) -> Path:
    write_adapter(ADAPTER, tmp_path / "adapter", "peft")
    return tmp_path / "adapter"


def weights_of(path: Path) -> dict[str, Tensor]:
    with open_source(open_checkpoint(path), mapped=False) as source:
        return {name: source.get(name) for name in source.names()}


def expected(base: dict[str, Tensor]) -> dict[str, Tensor]:
    """In fp32, by the definition."""
    merged = {name: weight.float().clone() for name, weight in base.items()}
    for place, scale in ADAPTER.scales.items():
        merged[f"{place}.weight"] += scale * ADAPTER.b(place) @ ADAPTER.a(place)
    return merged


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["hf", "hf_sharded", "consolidated", "pth", "gguf"])
def test_every_format_stays_what_it_is(tmp_path: Path, added: Path, kind: str, dtype: torch.dtype) -> None:
    base, model = made.weights(dtype=dtype), tmp_path / "model"
    model.mkdir()
    if kind == "gguf":
        made.consolidated(model, base)
        convert(model, tmp_path / "model.gguf", to="gguf")
        model = tmp_path / "model.gguf"
    else:
        getattr(made, kind)(model, base)
    target, told = tmp_path / ("out.gguf" if kind == "gguf" else "out"), list[tuple[int, int]]()
    files = merge(model, added, target, progress=lambda *at: told.append(at))
    assert files
    assert all(file.is_file() for file in files)
    opened = open_checkpoint(target)
    assert opened.format == {"hf_sharded": "hf", "pth": "consolidated"}.get(kind, kind)
    assert told[-1][0] == told[-1][1]
    found, exact = weights_of(target), expected(base)
    for name, weight in found.items():
        assert weight.dtype == (torch.float32 if kind == "gguf" and weight.dim() == 1 else dtype)
        torch.testing.assert_close(weight, exact[name].to(weight.dtype), atol=1e-6 if dtype == torch.float32 else 0, rtol=0)
    for name, weight in base.items():
        assert torch.equal(found[name].to(dtype), weight) == (name.removesuffix(".weight") not in ADAPTER.scales)


def test_another_type_is_rounded_to_once(tmp_path: Path, added: Path) -> None:
    """From fp32 sums: through bf16 first, fp16 would get other bits."""
    base = made.weights()
    model = made.consolidated(tmp_path, base)
    merge(model, added, tmp_path / "out", dtype="f16")
    for name, weight in weights_of(tmp_path / "out").items():
        assert torch.equal(weight, expected(base)[name].half()), name


@pytest.mark.parametrize("layers", ["int4", "int8"])
def test_a_packed_model_stays_packed_or_is_decoded(tmp_path: Path, added: Path, layers: Any) -> None:
    model = made.consolidated(tmp_path, made.weights())
    quantize(model, tmp_path / "packed", Recipe(layers))
    base = weights_of(tmp_path / "packed")
    merge(tmp_path / "packed", added, tmp_path / "out")
    with (
        open_source(open_checkpoint(tmp_path / "packed")) as before,
        open_source(open_checkpoint(tmp_path / "out")) as after,
    ):
        assert [before.packed_format(name) for name in base] == [after.packed_format(name) for name in base]
        for name, weight in base.items():
            assert torch.equal(after.get(name), weight) == (name.removesuffix(".weight") not in ADAPTER.scales)
    merge(tmp_path / "packed", added, tmp_path / "dense", dtype="f32")
    assert open_checkpoint(tmp_path / "dense").format == "hf"
    for name, weight in weights_of(tmp_path / "dense").items():
        torch.testing.assert_close(weight, expected(base)[name], atol=1e-6, rtol=0)


def test_nothing_is_left_of_a_merge_that_fails(tmp_path: Path, added: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    base = made.weights(dtype=torch.float32)
    base["layers.1.feed_forward.w2.weight"].fill_(70_000)
    made.consolidated(model, base)
    for target, said in ((tmp_path / "out", "does not fit into float16"), (model, "choose another target")):
        with pytest.raises(CheckpointError, match=said):
            merge(model, added, target, dtype="f16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "model"]


def test_mistral_finetunes_layout_is_merged_alike(tmp_path: Path, added: Path) -> None:
    write_adapter(read_adapter(added, made.SMALL), tmp_path / "mistral", "mistral")
    model = made.consolidated(tmp_path, made.weights(dtype=torch.float32))
    for name in ("adapter", "mistral"):
        merge(model, tmp_path / name, tmp_path / f"out-{name}")
    one, two = weights_of(tmp_path / "out-adapter"), weights_of(tmp_path / "out-mistral")
    assert all(torch.equal(two[name], weight) for name, weight in one.items())


def test_a_merged_model_tells_of_its_adapter(tmp_path: Path) -> None:
    """In its facts and at the head of its card; a packed one and one rewritten alike."""
    facts = {"training": {"tokens": 12}}
    write_adapter(ADAPTER, tmp_path / "mine", "peft", facts=facts)
    model = tmp_path / "model"
    model.mkdir()
    made.hf(model, made.weights(dtype=torch.bfloat16))
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Base\n", encoding="utf-8")
    quantize(model, tmp_path / "packed", Recipe("int8", "int8"))
    for source, target in ((model, tmp_path / "out"), (tmp_path / "packed", tmp_path / "repacked")):
        merge(source, tmp_path / "mine", target)
        card = (target / "README.md").read_text(encoding="utf-8")
        assert card.startswith("---\nlicense: mit\n---\n> The adapter mine is merged into these weights")
        assert card.endswith("# Base\n")
        assert told(target)["merged"] == [{"adapter": "mine", **facts}]
    assert "were quantised to int8" in card
    assert "quantization" in told(target)
    merge(target, added_twice := write_adapter(ADAPTER, tmp_path / "more", "peft")[0].parent, tmp_path / "twice", dtype="bf16")
    assert told(tmp_path / "twice")["merged"] == [{"adapter": "mine", **facts}, {"adapter": added_twice.name}]
    assert "quantization" not in told(tmp_path / "twice")
    assert told(tmp_path / "twice")["unpacked_from"]["layers"] == "int8"


def told(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "mistral7b.json").read_text(encoding="utf-8"))
    return facts


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (b"# Base\n", b"> Said.\n\n# Base\n"),
        (b"---\na: b\n---\n# Base\n---\n", b"---\na: b\n---\n> Said.\n\n# Base\n---\n"),
        (b"---\r\na: b\r\n--- \r\n# Base", b"---\r\na: b\r\n--- \r\n> Said.\n\n# Base"),
        (b"\xef\xbb\xbf---\na: b\n---", b"\xef\xbb\xbf---\na: b\n---\n> Said.\n\n"),
        (b"---\nno end", b"> Said.\n\n---\nno end"),
        (b"", b"> Said.\n\n"),
        ("# Base".encode("utf-16"), "# Base".encode("utf-16")),
    ],
)
def test_a_sentence_opens_a_card_after_its_front_matter(tmp_path: Path, card: bytes, expected: bytes) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(card)
    open_card(path, "Said.")
    assert path.read_bytes() == expected
