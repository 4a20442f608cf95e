"""The recipes of `tiny`, whole, on generated stories: documents, shards, a run stopped and gone on with, a model and its card."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.verify import verify
from mistral7b.store.names import resolve
from tests.data.curate.made import stories

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny"
SOURCES = ("tinystories_excerpt", "storybooks_ccby", "gutenberg_children", "lcats_short_stories", "classics_simple")
NAMES = ("tinystories", "storybooks", "gutenberg_children", "lcats_short_stories", "classics_simple")


def corpus(folder: Path) -> Path:
    """The five files, and a benchmark to stay clear of."""
    (folder / "corpus").mkdir(parents=True)
    (folder / "eval").mkdir()
    (folder / "eval" / "questions.jsonl").write_text(json.dumps({"question": "How many apples are left on the tree in the end?"}))
    for number, source in enumerate(SOURCES):
        with gzip.open(folder / "corpus" / f"{source}.jsonl.gz", "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"text": text}) + "\n" for text in stories(100, 10 * number))
    return folder


def altered(name: str, folder: Path, **changes: Any) -> Path:
    """A recipe of tiny with other keys at its top."""
    held = yaml.safe_load((RECIPE / name).read_text(encoding="utf-8"))
    path = folder / name
    path.write_text(yaml.safe_dump(held | changes))
    return path


def run(*args: object) -> str:
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=1500).stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_from_a_corpus_to_a_model(tmp_path: Path) -> None:
    data, made, out = corpus(tmp_path / "data"), tmp_path / "run", tmp_path / "out"
    curation = altered("curate.yaml", tmp_path, held_out=0.2)
    verb = ("-m", "mistral7b")
    run(*verb, "curate", curation, "--set", f"DATA={data}", "--out", made / "documents")
    tokenizer = resolve("tiny") / "tokenizer.model.v3"
    run(*verb, "tokenizer", "encode", made / "documents", made / "shards", "--tokenizer", tokenizer)
    length = 256
    training = altered(
        "pretrain.yaml", tmp_path, batch_tokens=4 * length,
        data={"shards": str(made / "shards"), "length": length, "stages": [{"epochs": dict.fromkeys(NAMES, 0.2)}]},
    )  # fmt: skip
    command = (*verb, "pretrain", training, "--set", f"RUN={made}", "--json")
    first = json.loads(run(*command, "--until", 3))
    assert first["step"] == 3
    assert first["steps"] > 5
    told = json.loads(run(*command))
    assert told["step"] == told["steps"] == first["steps"]
    lines = [json.loads(line) for line in (made / "training" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == told["steps"]
    assert losses[-1] < losses[0] - 0.5
    out.mkdir()
    run(RECIPE / "publish.py", "--run", made, "--before", resolve("tiny"), "--out", out)
    report = verify(out)
    assert report.ok
    assert report.training is not None
    assert report.training["steps"] == told["steps"]
    assert set(report.training["held_out_bits_per_byte"]) == set(NAMES)
    assert len(LLM(out).generate("The cat", SamplingParams(max_tokens=5, ignore_eos=True))[0].outputs[0].token_ids) == 5
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{report.training['tokens']:,} tokens in {told['steps']:,} steps" in card
    assert "| storybooks | " in card
    assert (out / "tokenizer.json").is_file()
