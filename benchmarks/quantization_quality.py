"""What fewer bits cost: perplexity and KL divergence of `tiny` in each format, beside llama.cpp's Q4_0 of the same weights.

    python benchmarks/quantization_quality.py corpus/*.jsonl.gz

Files are JSONL, perhaps gzipped, with a "text" a line, such as `recipes/tiny` trains on: documents that training never saw are
measured on, others are calibrated on. All is computed in fp32, so the figures are those of the weights alone.

Q4_0 is llama.cpp's quantiser (ggml-quants.c, quantize_row_q4_0_ref) for every matrix of the layers. Its files hold the head as
Q6_K; here that is the nearest of 6 bits under scales of 8 bits for 16 inputs and an fp16 for 256, without llama.cpp's search.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from mistral7b.checkpoint.folder import Checkpoint, open_source
from mistral7b.checkpoint.load import load_weights
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.loading import load
from mistral7b.model.transformer import Transformer
from mistral7b.quant.formats import FormatName
from mistral7b.quant.linear import insert
from mistral7b.quant.matrix import PackedMatrix, pack
from mistral7b.quant.nearest import nearest
from mistral7b.quantize.calibrate import calibrated
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.report import measure_quality
from mistral7b.quantize.texts import batches, sequences

Matrices = dict[str, PackedMatrix | Tensor]
_HEAD = "output.weight"
_Q6K_BITS = 6.5625


def q4_0(weight: Tensor) -> PackedMatrix:
    """d is the weight of largest magnitude over -8, rounded to fp16 only after the integers are found with it."""
    grouped = weight.float().unflatten(1, (-1, 32))
    largest = grouped.gather(2, grouped.abs().argmax(2, keepdim=True))
    d = largest / -8
    u = (grouped * torch.where(d != 0, 1 / d, 0.0) + 8.5).floor().clamp(0, 15)
    return pack("q4_0", (u - 8).to(torch.int8).flatten(1), d.half().squeeze(2), None)


def q6_k(weight: Tensor) -> Tensor:
    grouped = weight.float().unflatten(1, (-1, 16, 16))
    steps = grouped.abs().amax(3, keepdim=True) / 31
    unit = (steps.amax(2, keepdim=True) / 127).half().float()
    steps = (steps / unit).round().clamp(1, 127) * unit
    return ((grouped / steps).round().clamp(-32, 31) * steps).flatten(1)


def texts(files: list[Path], *, held_out: bool, each: int) -> list[str]:
    """The first `each` documents of every file on one side of the split of the first version of `tiny`, the files in turn."""
    found: list[list[str]] = []
    for path in files:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as lines:
            side = (text for line in lines if (text := json.loads(line)["text"].strip()) and _held_out(text) is held_out)
            found.append([text for text, _ in zip(side, range(each), strict=False)])
    return [part[i] for i in range(each) for part in found if i < len(part)]


def _held_out(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 50 == 0


def by_nearest(weights: dict[str, Tensor], layers: FormatName, head: FormatName) -> Matrices:
    return {name: nearest(weight, head if name == _HEAD else layers) for name, weight in _matrices(weights)}


def by_gptq(checkpoint: Checkpoint, recipe: Recipe, given: list[list[int]]) -> Matrices:
    with open_source(checkpoint, mapped=False) as source:
        made = calibrated(
            source, checkpoint.config, recipe.formats(checkpoint.config), batches(given), lambda held, name: held.get(name)
        )
        return {name: value for name, value in made if isinstance(value, PackedMatrix)}


def by_llama_cpp(weights: dict[str, Tensor]) -> Matrices:
    return {name: q6_k(weight) if name == _HEAD else q4_0(weight) for name, weight in _matrices(weights)}


def _matrices(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in weights.items() if weight.dim() == 2 and name != "tok_embeddings.weight")


def network(checkpoint: Checkpoint, weights: dict[str, Tensor], matrices: Matrices) -> Transformer:
    kernels = TorchKernels(row_tile=None)
    made = Transformer(checkpoint.config, kernels)
    made.load_state_dict(weights)
    for name, matrix in matrices.items():
        if isinstance(matrix, PackedMatrix):
            insert(made, {name: matrix}, kernels)
        else:
            made.get_submodule(name.removesuffix(".weight")).weight = nn.Parameter(matrix)
    return made.requires_grad_(False)


def bits(matrices: Matrices, weights: dict[str, Tensor]) -> float:
    """Bits a weight of the matrices, all scales included."""
    held = sum(8 * m.nbytes if isinstance(m, PackedMatrix) else _Q6K_BITS * m.numel() for m in matrices.values())
    return held / sum(weights[name].numel() for name in matrices) if matrices else 16.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--samples", type=int, default=128, help="sequences to calibrate on")
    parser.add_argument("--measured", type=int, default=64, help="sequences to measure on")
    parser.add_argument("--tokens", type=int, default=256, help="of each sequence")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the table here too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    opened = load("tiny", dtype="float32")
    assert opened.tokenizer is not None
    checkpoint, weights = opened.checkpoint, load_weights(opened.checkpoint, dtype=torch.float32)
    given = sequences(opened.tokenizer, texts(asked.files, held_out=False, each=asked.samples), asked.samples, asked.tokens)
    measured = sequences(opened.tokenizer, texts(asked.files, held_out=True, each=asked.measured), asked.measured, asked.tokens)
    print(f"calibrated on {sum(map(len, given)):,} tokens, measured on {sum(map(len, measured)):,}")
    rows: dict[str, Callable[[], Matrices]] = {
        "bf16": dict,
        "llama.cpp Q4_0, head Q6_K": lambda: by_llama_cpp(weights),
        "int4 nearest, head int5": lambda: by_nearest(weights, "int4", "int5"),
        "int4 GPTQ, head int5": lambda: by_gptq(checkpoint, Recipe("int4", "int5"), given),
        "int4 GPTQ, head int4": lambda: by_gptq(checkpoint, Recipe("int4", "int4"), given),
        "int8 nearest, head int8": lambda: by_nearest(weights, "int8", "int8"),
    }
    print("| weights | bits | perplexity | against bf16 | mean KL, nats | same best token |\n|---|---|---|---|---|---|")
    original, table = network(checkpoint, weights, {}), []
    for name, make in rows.items():
        matrices = make()
        found = measure_quality(original, network(checkpoint, weights, matrices), measured)
        width = bits(matrices, weights)
        print(
            f"| {name} | {width:.2f} | {found.perplexity:.3f} | {found.perplexity_change:+.2%} | {found.kl:.5f} "
            f"| {found.same_best:.2%} |", flush=True,
        )  # fmt: skip
        row = {"bits": width, "perplexity": found.perplexity, "change": found.perplexity_change, "kl": found.kl}
        table.append({"weights": name, "same_best": found.same_best, **row})
    if asked.json:
        asked.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
