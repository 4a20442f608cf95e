"""The recipe of `tiny`, whole, on a corpus of generated sentences: trains, goes on after a stop, and publishes a model."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.verify import verify

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "tiny"
TOKENIZER = ROOT / "src" / "mistral7b" / "models" / "tiny" / "tokenizer.model.v3"
SOURCES = ("tinystories_excerpt", "storybooks_ccby", "gutenberg_children", "lcats_short_stories", "classics_simple")
WORDS = {
    "who": ["The cat", "A dog", "Tom", "The old king", "Lily"],
    "did": ["saw", "found", "lost", "loved", "hid"],
    "what": ["a red ball.", "the big tree.", "a small boat.", "some bread.", "the moon."],
}


def corpus(folder: Path, documents: int = 150) -> Path:
    chance = random.Random(4)
    folder.mkdir()
    for source in SOURCES:
        with gzip.open(folder / f"{source}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for _ in range(documents):
                text = " ".join(chance.choice(WORDS[part]) for _ in range(chance.randint(5, 40)) for part in WORDS)
                lines.write(json.dumps({"text": text}) + "\n")
    return folder


def script(name: str, *args: object) -> str:
    command = [sys.executable, str(RECIPE / name), *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=1500).stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a processor without instructions for bf16 trains several times more slowly
def test_from_a_corpus_to_a_model(tmp_path: Path) -> None:
    data, run, out = corpus(tmp_path / "corpus"), tmp_path / "run", tmp_path / "out"
    given = ("--data", data, "--tokenizer", TOKENIZER, "--run", run)
    assert "from step 0" in script("pretrain.py", *given, "--tokens", 12_500)
    assert "from step 3" in script("pretrain.py", *given, "--tokens", 37_000)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    out.mkdir()
    shutil.copy(TOKENIZER, out)
    script("publish.py", "--run", run, "--out", out)
    report = verify(out)
    assert report.ok
    assert report.training is not None
    assert report.training["steps"] == 9
    assert len(LLM(out).generate("The cat", SamplingParams(max_tokens=5, ignore_eos=True))[0].outputs[0].token_ids) == 5
    assert "36,864 tokens in 9 steps" in (out / "README.md").read_text()
