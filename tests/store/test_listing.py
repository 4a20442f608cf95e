from __future__ import annotations

import pytest

from mistral7b.errors import StoreError
from mistral7b.store.listing import RemoteFile, choose

# As the hub lists v0.3 instruct (FACTS 3.6), with what other uploads add.
V03 = [
    "params.json", "config.json", "generation_config.json", "consolidated.safetensors", "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json",
    "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "tokenizer_config.json", "README.md",
    "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.Q4_K_M.gguf", ".gitattributes", "training_args.bin",
]  # fmt: skip
SMALL = {
    "params.json", "config.json", "generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer.model.v3", "tokenizer_config.json", "README.md",
}  # fmt: skip
SHARDS = {f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)} | {"model.safetensors.index.json"}


def remote(*names: str) -> list[RemoteFile]:
    return [RemoteFile(name, 10**9 if name.endswith("safetensors") else 10, None, "0" * 40) for name in names]


def chosen(names: list[str], have: set[str] | None = None) -> set[str]:
    return {file.name for file in choose("org/name", remote(*names), have or set())}


def test_consolidated_before_shards() -> None:
    assert chosen(V03) == SMALL | {"consolidated.safetensors"}
    without = [name for name in V03 if name != "consolidated.safetensors"]
    assert chosen(without) == SMALL | SHARDS
    assert chosen([name for name in V03 if name != "params.json"]) == SMALL - {"params.json"} | SHARDS


def test_what_is_here_decides() -> None:
    assert chosen(V03, SHARDS) == SMALL | SHARDS
    assert chosen(V03, SHARDS - {"model-00002-of-00003.safetensors"}) == SMALL | {"consolidated.safetensors"}


def test_one_whole_file_before_shards() -> None:
    assert chosen(["config.json", "model.safetensors", *SHARDS]) == {"config.json", "model.safetensors"}


def test_what_was_quantised_comes_after_its_original() -> None:
    assert chosen([*V03, "quantized.safetensors"]) == SMALL | {"consolidated.safetensors"}
    assert chosen(["config.json", "quantized.safetensors"]) == {"config.json", "quantized.safetensors"}
    assert chosen([*V03, "quantized.safetensors"], {"quantized.safetensors"}) == SMALL | {"quantized.safetensors"}


def test_small_files_come_first() -> None:
    names = [file.name for file in choose("org/name", remote(*V03))]
    assert names[-1] == "consolidated.safetensors"
    assert names[:-1] == sorted(names[:-1])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["config.json", "pytorch_model.bin"], "pickles only, which are not fetched"),
        (["params.json", "consolidated.00.pth"], "pickles only"),
        (["b.gguf", "a.gguf", "config.json"], r"holds GGUF files .a.gguf. and no"),
        (["model.safetensors"], "no Mistral 7B that can be read"),
        (["config.json", *sorted(SHARDS - {"model-00002-of-00003.safetensors"})], "upload is incomplete"),
        (["config.json", *sorted(SHARDS - {"model.safetensors.index.json"})], "upload is incomplete"),
        (["config.json", "model-00001-of-00000.safetensors", "model.safetensors.index.json"], "upload is incomplete"),
        ([], "no Mistral 7B that can be read"),
    ],
)
def test_repositories_with_nothing_to_read(names: list[str], words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        chosen(names)
    assert "\n" not in str(caught.value)
