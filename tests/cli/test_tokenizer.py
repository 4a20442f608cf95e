"""`tokenizer`: trained from a recipe or without one, and used on documents."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mistral7b.data.shards import Shards
from tests.cli.conftest import Run
from tests.data import made


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given") / "documents"
    return made.documents(folder, {"stories": made.prose(1, 400)}, {"stories": made.prose(2, 10)})


def test_from_documents_to_shards(run: Run, documents: Path, tmp_path: Path) -> None:
    recipe, tokenizer, shards = tmp_path / "recipe.yaml", tmp_path / "tokenizer", tmp_path / "shards"
    recipe.write_text("documents: ${DATA}\nsources: {stories: 50_000}\nvocab_size: 1200\n")
    ran = run("tokenizer", "train", recipe, "--set", f"DATA={documents}", "--out", tokenizer, "--json")
    assert (ran.status, ran.err) == (0, "training 1,200 pieces\n")
    told = json.loads(ran.out)
    assert (told["path"], told["vocab_size"]) == (str(tokenizer / "tokenizer.model.v3"), 1200)
    assert told["bytes_per_token"]["stories"] > 2
    wanted = ("tokenizer", "encode", documents, shards, "--tokenizer", tokenizer / "tokenizer.model.v3", "--shard-tokens", 5000)
    ran = run(*wanted, "--workers", 2)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0].split() == ["source", "split", "documents", "tokens", "bytes", "a", "token"]
    held = Shards.open(shards, tokenizer / "tokenizer.model.v3")
    counts = held.sources["stories"].splits
    assert ran.out.splitlines()[-1] == f"{shards}: {counts['train'].tokens + counts['held-out'].tokens:,} tokens"
    told = json.loads(run(*wanted, "--json").out)
    assert told["sources"]["stories"]["train"] == {
        "documents": 400,
        "tokens": counts["train"].tokens,
        "bytes": counts["train"].bytes,
    }
    assert told["kept_shards"] == len(list(shards.glob("*/*/*.tokens.npy")))


def test_without_a_recipe(run: Run, documents: Path, tmp_path: Path) -> None:
    wanted = ("tokenizer", "train", "--documents", documents, "--vocab-size", 1100, "--out", tmp_path / "tokenizer")
    assert "1,100 pieces, learned from" in run(*wanted).out
    again = run(*wanted)
    assert (again.status, again.err.count("error:")) == (2, 1)
    assert "already exists" in again.err
    assert run(*wanted, "--force").status == 0
    run(*wanted[:5], 1000, *wanted[6:]).fails_with("--vocab-size: vocab_size must be above 1,027")


def test_a_bad_line_is_refused_or_counted(run: Run, documents: Path, tmp_path: Path) -> None:
    from mistral7b.tokens.tokenizer import Tokenizer

    bad, name = Path(shutil.copytree(documents, tmp_path / "bad")), "train/stories/00000.jsonl.gz"
    made.put(bad / name, b'{"text": "a"}\nnothing\n')
    made.restate(bad, name)
    wanted = ("tokenizer", "encode", bad, tmp_path / "out", "--tokenizer", Tokenizer.published("v3").path)
    run(*wanted).fails_with("00000.jsonl.gz, line 2: not JSON")
    shutil.rmtree(tmp_path / "out")
    ran = run(*wanted, "--skip-bad-lines")
    assert ran.status == 0
    assert ran.err == f"note: {bad / name}, line 2: not JSON; each line must be one object; left out\n"
    assert "tokens, 1 lines left out" in ran.out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--out", "x"), "give a recipe or --documents"),
        (("r.yaml", "--documents", "d", "--out", "x"), "one of them"),
        (("r.yaml",), "Missing option '--out'"),
        (("r.yaml", "--out", "x", "--vocab-size", "9"), "a recipe states its own"),
        (("--documents", "d", "--set", "A=1", "--out", "x"), "--set is for a recipe"),
        (("r.yaml", "--out", "x"), "r.yaml: the recipe cannot be read"),
        (("r.yaml", "--out", "x", "--set", "A"), "write NAME=VALUE"),
        (("--documents", "gone", "--out", "x"), "gone has no manifest.json"),
    ],
)
def test_what_makes_no_sense(run: Run, args: tuple[str, ...], said: str) -> None:
    run("tokenizer", "train", *args).fails_with(said)


def test_a_typo_in_a_recipe(run: Run, documents: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"documents: {documents}\nsources: {{stories: 5}}\nvocab_sise: 1200\n")
    run("tokenizer", "train", tmp_path / "r.yaml", "--out", tmp_path / "x").fails_with(
        "r.yaml: vocab_sise is not known; did you mean vocab_size?"
    )
