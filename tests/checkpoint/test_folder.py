from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mistral7b.checkpoint.folder import open_checkpoint, open_source, resolve_variant
from mistral7b.errors import CheckpointError, ConfigError, MismatchError
from mistral7b.variants import V01, V02, V03, VARIANTS
from tests.checkpoint import made

WRITERS = {"consolidated": made.consolidated, "pth": made.pth, "hf": made.hf}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_model(tmp_path: Path, kind: str) -> None:
    whole = made.weights()
    checkpoint = open_checkpoint(WRITERS[kind](tmp_path, whole))
    assert (checkpoint.format, checkpoint.config, checkpoint.path) == (kind, made.SMALL, tmp_path)
    assert (checkpoint.variant, checkpoint.tokenizer, checkpoint.trained_context) == (None, None, None)
    assert checkpoint.max_positions == (512 if kind == "hf" else None)
    assert any("10,000" in note and "sliding_window 16" in note for note in checkpoint.notes)
    with open_source(checkpoint) as source:
        assert all(torch.equal(source.get(name), tensor) for name, tensor in whole.items())


def test_of_two_formats_one_is_read_and_it_says_which(tmp_path: Path) -> None:
    made.hf(tmp_path, made.weights(seed=1))
    made.pth(tmp_path, made.weights(seed=2))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.format == "hf"
    assert "the folder holds 2 formats: model.safetensors is read, consolidated.00.pth is not" in checkpoint.notes
    made.consolidated(tmp_path, made.weights(seed=3))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.format == "consolidated"
    assert checkpoint.max_positions == 512, "config.json is read for what params.json does not say"
    with open_source(checkpoint) as source:
        assert torch.equal(source.get("output.weight"), made.weights(seed=3)["output.weight"])
    (tmp_path / "params.json").unlink()
    assert open_checkpoint(tmp_path).format == "hf", "the format whose own config stands there"


def test_weights_beside_the_other_formats_config(tmp_path: Path) -> None:
    made.consolidated(tmp_path, made.weights())
    (tmp_path / "params.json").unlink()
    made.write_config(tmp_path)
    assert open_checkpoint(tmp_path).config == made.SMALL


def test_the_tokenizer_is_found(tmp_path: Path) -> None:
    made.consolidated(tmp_path, made.weights())
    for name in ("tokenizer.model", "tokenizer.model.v3"):
        (tmp_path / name).touch()
        assert open_checkpoint(tmp_path).tokenizer == tmp_path / name


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda f: None, CheckpointError, "is not a model: a model folder has config.json beside"),
        (made.write_params, CheckpointError, "has a config but no weights"),
        (lambda f: save_file(made.weights(), f / "consolidated.safetensors"), ConfigError, "neither params.json nor config.json"),
        (lambda f: (f / "pytorch_model.bin").touch(), CheckpointError, "a pickle that is not opened"),
        (lambda f: (f / "model-00001-of-00002.safetensors").touch(), CheckpointError, "no model.safetensors.index.json"),
        (lambda f: [made.consolidated(f, made.weights()), (f / "consolidated.safetensors").write_bytes(b"")],
         CheckpointError, "truncated or damaged"),
    ],
)  # fmt: skip
def test_folders_that_are_no_model(tmp_path: Path, write: Callable[[Path], object], error: type[Exception], words: str) -> None:
    write(tmp_path)
    with pytest.raises(error, match=words) as caught:
        open_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_checkpoint(tmp_path / "nowhere")
    made.consolidated(tmp_path, made.weights())
    with pytest.raises(CheckpointError, match="is a file; give the model folder"):
        open_checkpoint(tmp_path / "consolidated.safetensors")


@pytest.mark.parametrize("kind", WRITERS)
def test_missing_and_misshapen_tensors_are_refused_on_opening_the_source(tmp_path: Path, kind: str) -> None:
    whole = made.weights()
    name = "layers.1.feed_forward.w2.weight"
    for change, words in (({}, f"lack {name}"), ({name: torch.ones(48, 32)}, f"{name} has shape")):
        WRITERS[kind](tmp_path, {n: t for n, t in whole.items() if n != name} | change)
        with pytest.raises(CheckpointError, match=words):
            open_source(open_checkpoint(tmp_path))


@pytest.mark.parametrize("kind", WRITERS)
def test_embedding_rows_against_the_config(tmp_path: Path, kind: str) -> None:
    more = torch.ones(66, 32, dtype=torch.bfloat16)
    WRITERS[kind](tmp_path, made.weights() | {"tok_embeddings.weight": more, "output.weight": more.clone()})
    with pytest.raises(MismatchError, match="the config says vocabulary 64, the weights hold 66"):
        open_checkpoint(tmp_path)
    forced = open_checkpoint(tmp_path, force=True)
    assert forced.config.vocab_size == 66
    assert any(note.startswith("forced:") for note in forced.notes)
    with open_source(forced) as source:
        assert source.shape("output.weight") == (66, 32)


def test_a_near_miss_of_a_published_model_is_refused_before_any_weight_is_read(tmp_path: Path) -> None:
    made.write_params(tmp_path, made.like_7b(rope_theta=1e6))
    save_file({"norm.weight": torch.ones(4096)}, tmp_path / "consolidated.safetensors")
    with pytest.raises(MismatchError, match=r"v0\.1 but for rope_theta"):
        open_checkpoint(tmp_path)
    assert open_checkpoint(tmp_path, force=True).variant is None


@pytest.mark.parametrize(
    ("folder", "hub_name", "name"),
    [
        ("Mistral-7B-Instruct-v0.3", None, "v0.3-instruct"),
        ("models--mistralai--Mistral-7B-Instruct-v0.3/snapshots/c170c708", None, "v0.3-instruct"),
        ("instruct/mistral-7B-v0.3", None, "v0.3"),
        ("weights", "mistralai/Mistral-7B-Instruct-v0.3", "v0.3-instruct"),
        ("weights", "mistralai/Mistral-7B-v0.3", "v0.3"),
        ("weights", None, "v0.3"),
    ],
)
def test_base_or_instruct_by_name(tmp_path: Path, folder: str, hub_name: str | None, name: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    variant, candidates = resolve_variant(V03, tmp_path / folder, hub_name)
    assert variant is not None
    assert variant.name == name
    assert [v.name for v in candidates] == ["v0.3", "v0.3-instruct"]


def test_base_or_instruct_by_chat_template(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for settings, names in ({"chat_template": "..."}, ["v0.1-instruct", "v0.2-instruct"]), ({}, ["v0.1", "v0.2"]):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        found = [resolve_variant(config, folder, None)[0] for config in (V01, V02)]
        assert [variant.name for variant in found if variant] == names
    (folder / "chat_template.jinja").touch()
    assert resolve_variant(V01, folder, None)[0] == VARIANTS["v0.1-instruct"]
    assert resolve_variant(made.SMALL, folder, None) == (None, [])


def test_a_published_model_brings_its_contexts(tmp_path: Path) -> None:
    made.write_params(tmp_path, V01)
    save_file({"norm.weight": torch.ones(4096)}, tmp_path / "consolidated.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.variant is not None
    assert (checkpoint.trained_context, checkpoint.max_positions) == (8192, 32768)
    assert checkpoint.variant.theoretical_context == 131_072
    assert any("architecture of v0.1 (shared with v0.1-instruct" in note for note in checkpoint.notes)
    with pytest.raises(CheckpointError, match=r"lack tok_embeddings\.weight"):
        open_source(checkpoint)
