"""Put a finished run of pretrain.py into the package: weights, config, model card with unedited samples, manifest.

python recipes/tiny/publish.py --run runs/tiny --out src/mistral7b/models/tiny
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.manifest import write_manifest

PROMPTS = (
    "Once upon a time",
    "One day, a little girl named Lily",
    "The old king had three sons.",
    "The dog saw a big red ball and",
    "In the middle of the forest there was",
)
CARD = """\
# tiny

A model of Mistral 7B's architecture, small enough to travel with the package: {layers} layers, dim 256, 8 query heads over
2 KV heads, hidden 896, a window of {window} tokens, vocabulary 8,192 in v3's layout, {params:,} parameters in bf16. It makes
every command runnable without a download. It continues children's stories in English. It knows no facts, follows no
instructions and has had no safety training; its text is for trying the software, not for use.

## Training

First version, made by `recipes/tiny/pretrain.py` from random weights: {tokens:,} tokens in {steps:,} steps, on CPU cores.
Bits per byte on the documents whose hash keeps them out of training:

| source | held-out bits per byte | passes (relative) |
|---|---|---|
{table}

Muon for the matrices inside the layers, AdamW for embeddings, head and norms; the run was stopped and resumed several times,
and its length changed on the way, so it repeats only in kind, not bit for bit. Context while training: {context:,} tokens.

## Data and licences

The corpus is listed file by file, with commits and hashes, in `recipes/tiny/SOURCES.md`: TinyStories (CDLA-Sharing-1.0),
African Storybook and Pratham Books (CC-BY, authors named in the data), and books and stories in the public domain in the USA.
The tokenizer was trained on the same stories and on instruction data under Apache-2.0, CC BY-SA 3.0 (Dolly) and CC BY-SA 4.0
(Schema-Guided Dialogue), for its vocabulary only. The weights are released under Apache-2.0.

## Samples

The first {sample_tokens} tokens after each prompt, unedited; at temperature 0, then at 0.8 with seed 0.

{samples}
"""


def samples(llm: LLM, tokens: int) -> str:
    """Each prompt's two continuations, as quoted Markdown."""
    blocks = []
    for temperature in (0.0, 0.8):
        params = SamplingParams(temperature=temperature, seed=0, max_tokens=tokens)
        for output in llm.generate(list(PROMPTS), params):
            text = f"**{output.prompt}**{output.outputs[0].text}".replace("\n", "\n> ")
            blocks.append(f"Temperature {temperature:g}:\n\n> {text}\n")
    return "\n".join(blocks)


def card(llm: LLM, facts: dict[str, Any], tokens: int = 100) -> str:
    """The model card's text."""
    bits = facts["held_out_bits_per_byte"]
    config = llm.model.config
    return CARD.format(
        layers=config.n_layers,
        window=config.sliding_window,
        params=config.n_params,
        tokens=facts["tokens"],
        steps=facts["steps"],
        context=llm.checkpoint.trained_context,
        table="\n".join(f"| {source} | {bits[source]:.3f} | {passes} |" for source, passes in facts["epochs"].items()),
        sample_tokens=tokens,
        samples=samples(llm, tokens),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for name in ("model.safetensors", "config.json", "mistral7b.json"):
        shutil.copyfile(args.run / "model" / name, args.out / name)
    facts = json.loads((args.out / "mistral7b.json").read_text())["training"]
    (args.out / "README.md").write_text(card(LLM(args.out), facts), encoding="utf-8")
    print(write_manifest(args.out))


if __name__ == "__main__":
    main()
