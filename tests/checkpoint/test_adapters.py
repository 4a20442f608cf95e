"""Adapters on disk: what PEFT and mistral-finetune write is read, what we write they read, what is no plain LoRA is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.adapters import base_config, read_adapter, write_adapter
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import CheckpointError, Mistral7BError
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.lora import LoraSpec, put_adapter
from mistral7b.model.transformer import Transformer
from mistral7b.variants import V03
from tests.checkpoint import made

IDS = [1, 5, 9, 2, 33, 7, 60, 12]
BATCH = TokenBatch.pack([Span(IDS, logits="all")])
CONFIG = made.SMALL
Json = dict[str, Any]


def adapter(rank: int = 4, alpha: float = 8.0, targets: tuple[str, ...] = LoraSpec(1, 1.0).targets, seed: int = 0) -> Adapter:
    return made.adapter(CONFIG, LoraSpec(rank, alpha, targets=targets), seed=seed, strength=0.2)


def logits(added: Adapter) -> Tensor:
    """Of the base of these tests, fp32, with an adapter."""
    model = Transformer(CONFIG)
    model.load_state_dict(made.weights(dtype=torch.float32))
    put_adapter(model.requires_grad_(False).eval(), added.weights, added.scales)
    found: Tensor = model(BATCH)
    return found


def same(one: Adapter, two: Adapter) -> None:
    assert one.scales == two.scales
    assert one.weights.keys() == two.weights.keys()
    for name, weight in one.weights.items():
        assert weight.dtype == two.weights[name].dtype
        assert torch.equal(weight, two.weights[name]), name


@pytest.fixture(scope="module")
def transformers_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    from transformers import MistralForCausalLM

    folder = made.hf(tmp_path_factory.mktemp("base"), made.weights(dtype=torch.float32))
    return lambda: MistralForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def theirs(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(torch.tensor([IDS])).logits[0]
    return found


@pytest.mark.parametrize("targets", [("wq", "wv"), LoraSpec(1, 1.0).targets])
def test_peft_gives_an_adapter_of_ours_the_same_logits(
    tmp_path: Path, transformers_model: Callable[[], Any], targets: tuple[str, ...]
) -> None:
    from peft import PeftModel

    ours = adapter(targets=targets)
    files = write_adapter(ours, tmp_path / "made", "peft")
    assert [file.name for file in files] == ["adapter_config.json", "adapter_model.safetensors"]
    model = PeftModel.from_pretrained(transformers_model(), tmp_path / "made")
    assert (theirs(model) - theirs(transformers_model())).abs().max() > 0.01
    torch.testing.assert_close(logits(ours), theirs(model), atol=1e-5, rtol=1e-5)
    same(read_adapter(tmp_path / "made", CONFIG), ours)


@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 8},
        {"r": 3, "lora_alpha": 8, "use_rslora": True},
        {"r": 4, "lora_alpha": 6, "rank_pattern": {"q_proj": 2, "model.layers.1.mlp.up_proj": 7}},
        {"r": 4, "lora_alpha": 6, "alpha_pattern": {"self_attn.v_proj": 12, "^model.layers.0.mlp.down_proj": 1}},
        {"r": 4, "lora_alpha": 6, "layers_to_transform": [1]},
    ],
)
def test_an_adapter_of_peft_gives_us_the_same_logits(
    tmp_path: Path, transformers_model: Callable[[], Any], options: Json
) -> None:
    """And written again by us, PEFT has them too, and mistral-finetune's layout."""
    from peft import LoraConfig, PeftModel, get_peft_model

    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(transformers_model(), LoraConfig(task_type="CAUSAL_LM", target_modules=names, **options))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(tmp_path / "theirs")
    expected = theirs(model)
    read = read_adapter(tmp_path / "theirs", CONFIG)
    torch.testing.assert_close(logits(read), expected, atol=1e-5, rtol=1e-5)
    write_adapter(read, tmp_path / "again", "peft")
    again = PeftModel.from_pretrained(transformers_model(), tmp_path / "again")
    torch.testing.assert_close(theirs(again), expected, atol=1e-5, rtol=1e-5)
    write_adapter(read, tmp_path / "mistral", "mistral")
    torch.testing.assert_close(logits(read_adapter(tmp_path / "mistral", CONFIG)), expected, atol=1e-5, rtol=1e-5)


def test_mistral_finetunes_layout_round_trips(tmp_path: Path) -> None:
    """Keys, rows and facts as its checkpointing.py writes them; through PEFT's layout and back to the same bits."""
    ours = adapter(rank=8, alpha=16.0)
    save_file(dict(ours.weights), tmp_path / "lora.safetensors")
    params = CONFIG.to_params() | {"lora": {"enable": True, "rank": 8, "dropout": 0.1, "scaling": 2.0}, "moe": None}
    (tmp_path / "params.json").write_text(json.dumps(params))
    read = read_adapter(tmp_path, base_config(tmp_path))
    same(read, ours)
    assert (read.config, read.dropout) == (CONFIG, 0.1)
    same(read_adapter(tmp_path / "lora.safetensors", CONFIG), ours)
    write_adapter(read, tmp_path / "peft", "peft")
    write_adapter(read_adapter(tmp_path / "peft", CONFIG), tmp_path / "back", "mistral")
    back = load_file(tmp_path / "back" / "lora.safetensors")
    assert back.keys() == ours.weights.keys()
    assert all(torch.equal(back[name], weight) for name, weight in ours.weights.items())
    assert json.loads((tmp_path / "back" / "params.json").read_text())["lora"] == params["lora"]


def test_query_and_key_rows_are_reordered_for_peft_and_no_others(tmp_path: Path) -> None:
    ours = adapter()
    write_adapter(ours, tmp_path / "made", "peft")
    held = load_file(tmp_path / "made" / "adapter_model.safetensors")
    for letter in "qkvo":
        a, b = (held[f"base_model.model.model.layers.1.self_attn.{letter}_proj.lora_{half}.weight"] for half in "AB")
        assert torch.equal(a, ours.a(f"layers.1.attention.w{letter}"))
        assert torch.equal(b, ours.b(f"layers.1.attention.w{letter}")) == (letter in "vo")


@pytest.mark.parametrize("layout", ["peft", "mistral"])
def test_another_type(tmp_path: Path, layout: Any) -> None:
    write_adapter(adapter(), tmp_path / "made", layout, dtype=torch.bfloat16)
    read = read_adapter(tmp_path / "made", CONFIG)
    assert {weight.dtype for weight in read.weights.values()} == {torch.bfloat16}


def test_a_target_in_the_way(tmp_path: Path) -> None:
    write_adapter(adapter(), tmp_path / "made", "peft")
    with pytest.raises(CheckpointError, match="already exists"):
        write_adapter(adapter(), tmp_path / "made", "mistral")
    write_adapter(adapter(), tmp_path / "made", "mistral", force=True)
    assert sorted(file.name for file in (tmp_path / "made").iterdir()) == ["lora.safetensors", "params.json"]
    with pytest.raises(CheckpointError, match="no layout 'x'"):
        write_adapter(adapter(), tmp_path / "other", "x")  # type: ignore[arg-type]


def refused(path: Path, said: str) -> None:
    with pytest.raises(Mistral7BError, match=said) as caught:
        read_adapter(path, CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "LOHA"}, "peft_type 'LOHA'; only LORA"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "lora_only"}, "bias to 'lora_only'"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"trainable_token_indices": [5]}, "embeddings of tokens"),
        ({"fan_in_fan_out": True}, "input first"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base too"),
        ({"layer_replication": [[0, 2]]}, "'layer_replication'"),
        ({"something_new": {"on": True}}, "'something_new'"),
        ({"lora_alpha": "16"}, "lora_alpha of model.layers.0.* must be a positive number, not '16'"),
        ({"lora_alpha": 0}, "must be a positive number"),
        ({"lora_alpha": float("inf")}, "must be a positive number"),
        ({"r": None}, "r of model.layers.0"),
        ({"r": 4.5}, r"ask for \[4.5, 32\]"),
        ({"r": 9}, r"has shape \[4, 32\] where this model and rank ask for \[9, 32\]"),
        ({"alpha_pattern": {"(a+)+b": 3}}, "plain names"),
        ({"rank_pattern": [1]}, "plain names"),
    ],
)
def test_a_config_of_peft_that_is_refused(tmp_path: Path, changes: Json, said: str) -> None:
    write_adapter(adapter(), tmp_path / "made", "peft")
    path = tmp_path / "made" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    refused(tmp_path / "made", said)


@pytest.mark.parametrize(
    ("renamed", "said"),
    [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embeddings or the head"),
        ("base_model.model.lm_head.lora_A.weight", "embeddings or the head"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "no LoRA of a projection"),
        ("base_model.model.model.layers.0.block_sparse_moe.gate.lora_A.weight", "does not have"),
        ("base_model.model.model.layers.0.input_layernorm.lora_A.weight", "no projection in a layer"),
        ("base_model.model.model.layers.7.mlp.up_proj.lora_A.weight", "no projection in a layer of this model"),
    ],
)
def test_weights_of_peft_that_are_refused(tmp_path: Path, renamed: str, said: str) -> None:
    write_adapter(adapter(), tmp_path / "made", "peft")
    path = tmp_path / "made" / "adapter_model.safetensors"
    held = load_file(path)
    held[renamed] = held.pop("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")
    save_file(held, path)
    refused(tmp_path / "made", said)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda held: held.pop("layers.0.attention.wq.lora_B.weight"), "lacks lora_B of layers.0.attention.wq"),
        (lambda held: held.update({"norm.weight": torch.ones(32)}), "norm.weight, which is no LoRA"),
        (lambda held: held.update({"layers.0.attention.wq.lora_A.weight": torch.ones(4, 16)}), r"shape \[4, 16\]"),
        (lambda held: held["layers.1.feed_forward.w2.lora_B.weight"].fill_(float("nan")), "not finite"),
        (lambda held: held.update({"layers.0.attention.wq.lora_A.weight": torch.ones(4, 32, dtype=torch.uint8)}), "uint8"),
        (lambda held: held.update({"layers.0.attention.wq.lora_A.weight": torch.ones(4, 32, dtype=torch.int64)}), "int64"),
        (lambda held: held.clear(), "holds no weights"),
    ],
)
def test_weights_of_mistral_finetune_that_are_refused(tmp_path: Path, spoil: Callable[[Any], object], said: str) -> None:
    write_adapter(adapter(), tmp_path / "made", "mistral")
    path = tmp_path / "made" / "lora.safetensors"
    held = load_file(path)
    spoil(held)
    save_file(held, path)
    refused(tmp_path / "made", said)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (None, "must say how the adapter is scaled"),
        ({"rank": 4}, "lora.scaling must be a positive number, not None"),
        ({"rank": 4, "scaling": -1}, "lora.scaling must be"),
        ({"rank": 5, "scaling": 2.0}, r"ask for \[5, 32\]"),
    ],
)
def test_params_that_are_refused(tmp_path: Path, lora: object, said: str) -> None:
    write_adapter(adapter(), tmp_path / "made", "mistral")
    (tmp_path / "made" / "params.json").write_text(json.dumps(CONFIG.to_params() | {"lora": lora}))
    refused(tmp_path / "made", said)
    (tmp_path / "made" / "params.json").unlink()
    refused(tmp_path / "made", "must say how the adapter is scaled")


def test_files_that_are_no_adapter(tmp_path: Path) -> None:
    refused(tmp_path, "is no adapter: give a folder with adapter_model.safetensors or lora.safetensors")
    refused(tmp_path / "nowhere", "is no adapter")
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x02")
    refused(tmp_path / "adapter_model.bin", "is a pickle")
    refused(tmp_path, "no adapter_config.json")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(tmp_path, "adapter_model.bin, a pickle that is not opened")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"12345")
    refused(tmp_path, "truncated or damaged")
    (tmp_path / "adapter_config.json").write_text("{")
    refused(tmp_path, "not valid JSON")


def test_an_adapter_taken_for_a_model(tmp_path: Path) -> None:
    write_adapter(adapter(), tmp_path / "made", "peft")
    with pytest.raises(CheckpointError, match="is an adapter, not a model"):
        open_checkpoint(tmp_path / "made")


def test_the_base_that_an_adapter_names(tmp_path: Path) -> None:
    ours = adapter()
    base = made.hf(tmp_path, made.weights())
    for name, config in ((None, None), ("mistralai/Mistral-7B-v0.3", V03), (str(base), CONFIG), ("no/where", None)):
        write_adapter(Adapter(CONFIG, ours.weights, ours.scales, base=name), tmp_path / "made", "peft", force=True)
        if config is None:
            with pytest.raises(CheckpointError, match="name it with --base"):
                base_config(tmp_path / "made")
        else:
            assert base_config(tmp_path / "made") == config
        assert base_config(tmp_path / "made", base) == CONFIG
    write_adapter(ours, tmp_path / "mistral", "mistral")
    assert base_config(tmp_path / "mistral") == CONFIG
