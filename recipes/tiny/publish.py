"""Put a finished run of recipes/tiny into the package: weights, configs, tokenizer, a model card with unedited samples, manifest.

    python recipes/tiny/publish.py --run runs/tiny --before old/tiny --out src/mistral7b/models/tiny

The card's bits per byte are `mistral7b eval bpb`'s, on documents that curation held out; --before is the model of which they are
told beside it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.manifest import write_manifest
from mistral7b.checkpoint.tokenizer_json import write_tokenizer_json
from mistral7b.evals.bits import bits_per_byte

PROMPTS = (
    "Once upon a time",
    "One day, a little girl named Lily",
    "The old king had three sons.",
    "The dog saw a big red ball and",
    "In the middle of the forest there was",
)
CARD = """\
---
license: apache-2.0
library_name: mistral7b
---
# tiny

A model of Mistral 7B's architecture, small enough to travel with the package: {layers} layers, dim 256, 8 query heads over
2 KV heads, hidden 896, a window of {window} tokens, vocabulary 8,192 in v3's layout, {params:,} parameters in bf16. It makes
every command runnable without a download. It continues children's stories in English. It knows no facts, follows no
instructions and has had no safety training; its text is for trying the software, not for use.

## Training

From random weights by `make tiny`, which is `mistral7b curate`, `tokenizer train`, `tokenizer encode` and `pretrain` with the
recipes in `recipes/tiny`: {tokens:,} tokens in {steps:,} steps, {seconds:,} seconds in {precision} ({device}). Muon for the
matrices inside the layers, AdamW for the rest; context {context:,} tokens. The shards' manifest has the sha256 `{shards}`, the
documents' `{data}`.

Bits per byte of the documents that a hash keeps out of training, read as in training; and by `mistral7b eval bpb` of the first
{documents} of each source, beside the first version's, of 4.7M tokens, which had seen some of them:

| source | held out | first version | this one | passes | licence |
|---|---|---|---|---|---|
{table}

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


DOCUMENTS = 16  # of each source, for the card


def held_out(documents: Path, source: str) -> list[str]:
    """The first texts of one source that training did not see."""
    texts = []
    for path in sorted((documents / "held-out" / source).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    return texts[:DOCUMENTS]


def bits(model: Path, documents: Path, sources: list[str]) -> dict[str, float]:
    """Bits per byte of each source, in fp32: not every processor multiplies bf16 quickly."""
    llm = LLM(model, dtype="float32")
    assert llm.tokenizer is not None
    context = llm.checkpoint.trained_context
    assert context is not None
    return {name: bits_per_byte(llm.model, llm.tokenizer, held_out(documents, name), context).per_byte for name in sources}


def passes(facts: dict[str, Any], source: str) -> float:
    """How often the run read the source, over all its stages."""
    return sum(float(stage["epochs"].get(source, 0)) for stage in facts["recipe"]["data"]["stages"])


def card(model: Path, before: Path, run: Path, facts: dict[str, Any], tokens: int = 100) -> str:
    """The model card's text."""
    sources = json.loads((run / "shards" / "manifest.json").read_text(encoding="utf-8"))["sources"]
    old, new = (bits(each, run / "documents", list(sources)) for each in (before, model))
    told = facts["held_out_bits_per_byte"]
    rows = [
        f"| {name} | {told[name]:.3f} | {old[name]:.3f} | {new[name]:.3f} | {passes(facts, name):g} | {source['licence']} |"
        for name, source in sources.items()
    ]
    llm = LLM(model)
    config = llm.model.config
    return CARD.format(
        layers=config.n_layers,
        window=config.sliding_window,
        params=config.n_params,
        tokens=facts["tokens"],
        steps=facts["steps"],
        seconds=facts["seconds"],
        precision=facts["recipe"]["precision"],
        device=facts["device"],
        context=llm.checkpoint.trained_context,
        shards=facts["shards_sha256"],
        data=facts["data_sha256"],
        documents=DOCUMENTS,
        table="\n".join(rows),
        sample_tokens=tokens,
        samples=samples(llm, tokens),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    made = args.run / "training" / "model"
    for path in made.iterdir():
        shutil.copyfile(path, args.out / path.name)
    facts = json.loads((args.out / "mistral7b.json").read_text(encoding="utf-8"))["training"]
    text = card(args.out, args.before, args.run, facts)
    (args.out / "README.md").write_text(text, encoding="utf-8")
    write_tokenizer_json(args.out / "tokenizer.model.v3", args.out, force=True)
    print(write_manifest(args.out))


if __name__ == "__main__":
    main()
