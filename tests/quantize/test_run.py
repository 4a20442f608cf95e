"""A model in, a quantised folder out: whole or not at all, the same as by hand, and better when calibrated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mistral7b.checkpoint.configs import read_object
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import load_packed, load_weights
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError, RequestError
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.quant.linear import insert
from mistral7b.quant.nearest import nearest
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.report import measure_quality, measure_size
from mistral7b.quantize.run import quantize
from tests.checkpoint import made, made_gguf

CONFIG = ModelConfig(
    dim=64, n_layers=2, head_dim=16, hidden_dim=160, n_heads=4, n_kv_heads=2, norm_eps=1e-5,
    vocab_size=128, rope_theta=10_000.0, sliding_window=16,
)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return made.hf(tmp_path / "model", made.weights(CONFIG), CONFIG)


def ids(count: int, length: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, CONFIG.vocab_size, (length,), generator=generator).tolist() for _ in range(count)]


def network(folder: Path) -> Transformer:
    """In fp32, with packed matrices where the folder has them."""
    weights, kernels = load_packed(open_checkpoint(folder), dtype=torch.float32), TorchKernels()
    found = Transformer(open_checkpoint(folder).config, kernels)
    found.load_state_dict(weights.plain | insert(found, weights.packed, kernels), assign=True)
    return found.requires_grad_(False)


def test_without_text_every_matrix_is_the_nearest(model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    written = quantize(model, tmp_path / "out", Recipe("int4", "int8"), progress=lambda *at: seen.append(at))
    assert {path.name for path in written} == {"config.json", "mistral7b.json", "quantized.safetensors"}
    loaded, stored = load_packed(open_checkpoint(tmp_path / "out"), dtype=torch.bfloat16), load_weights(open_checkpoint(model))
    for name, matrix in loaded.packed.items():
        expected = nearest(stored[name], "int8" if name == "output.weight" else "int4")
        assert matrix.format == expected.format
        assert torch.equal(matrix.blocks, expected.blocks), name
    for name, tensor in loaded.plain.items():
        assert torch.equal(tensor, stored[name])
    assert (seen[0], seen[-1][1:]) == ((0, CONFIG.n_params, "tok_embeddings"), (CONFIG.n_params, "output"))
    assert read_object(tmp_path / "out" / "mistral7b.json")["quantization"] == {
        "layers": "int4", "head": "int8", "method": "nearest", "calibration_tokens": 0,
    }  # fmt: skip


def test_calibrated_on_its_inputs_it_stays_closer_to_the_original(model: Path, tmp_path: Path) -> None:
    given, measured = ids(60, 40, 0), ids(10, 40, 1)
    quantize(model, tmp_path / "plain", Recipe())
    quantize(model, tmp_path / "gptq", Recipe(), calibration=given)
    original = network(model)
    plain, ours = (measure_quality(original, network(tmp_path / name), measured) for name in ("plain", "gptq"))
    assert 0 < ours.kl < 0.8 * plain.kl
    assert measure_size(model, tmp_path / "gptq") == measure_size(model, tmp_path / "plain")


def test_the_walk_ends_where_the_quantised_network_does(model: Path, tmp_path: Path) -> None:
    """The head's Hessian is made of the states that the quantised layers give: the folder's own final states."""
    from mistral7b.quantize import calibrate

    given, seen = ids(3, 30, 2), []

    class Watched(calibrate.Hessian):
        def add(self, x: torch.Tensor) -> None:
            seen.append(x.clone())
            super().add(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "Hessian", Watched)
        quantize(model, tmp_path / "out", Recipe("int8", "int8"), calibration=given)
    batch = TokenBatch.pack([Span(each, 0, None, "all") for each in given])
    torch.testing.assert_close(seen[-1], network(tmp_path / "out").hidden(batch), rtol=1e-4, atol=1e-4)


def test_a_model_measured_against_itself_costs_nothing(model: Path) -> None:
    original, measured = network(model), ids(2, 20, 3)
    found = measure_quality(original, original, measured)
    assert (found.kl, found.perplexity_change, found.same_best, found.tokens) == (0, 0, 1, 40)
    losses = [
        torch.nn.functional.cross_entropy(original(TokenBatch.pack([Span(each, 0, None, "all")]))[:-1], torch.tensor(each[1:]))
        for each in measured
    ]
    assert found.perplexity == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5)


def test_a_gguf_is_quantised_too(tmp_path: Path) -> None:
    path = made_gguf.small(tmp_path / "m.gguf")
    quantize(path, tmp_path / "out", Recipe("int8", "bf16"))
    loaded = load_packed(open_checkpoint(tmp_path / "out"), dtype=torch.bfloat16)
    assert "output.weight" in loaded.plain
    assert {matrix.format for matrix in loaded.packed.values()} == {"int8"}


def test_what_goes_wrong_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    weights = made.weights(CONFIG)
    weights["layers.1.feed_forward.w2.weight"][3, 4] = float("nan")
    made.hf(model, weights, CONFIG)
    for calibration in ([], ids(2, 20, 0)):
        with pytest.raises(CheckpointError, match=r"layers.1.feed_forward.w2.weight holds weights that are not finite"):
            quantize(model, tmp_path / "out", Recipe(), calibration=calibration)
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(CheckpointError, match="is or holds the model to quantise"):
        quantize(model, model, Recipe())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="already exists"):
        quantize(model, tmp_path / "out", Recipe())
    with pytest.raises(RequestError, match="there is no format 'int3' for the layers"):
        Recipe("int3")  # type: ignore[arg-type]
