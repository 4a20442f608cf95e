"""A whole fine-tune: it learns, stops and goes on bit for bit, and leaves what loads; adapters, all weights, packed bases."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mistral7b
from mistral7b.checkpoint.adapters import read_adapter
from mistral7b.checkpoint.configs import own_facts
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.load import load_weights
from mistral7b.errors import DataError, MismatchError, RecipeError
from mistral7b.model.lora import put_adapter
from mistral7b.quantize.recipe import Recipe as Rounding
from mistral7b.quantize.run import quantize
from mistral7b.store.names import resolve
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.examples import read_examples
from mistral7b.train.finetune import finetune
from mistral7b.train.finetune_recipe import (
    Examples,
    Finetune,
    FinetuneData,
    FinetuneOptimizer,
    FinetuneSchedule,
    Lora,
    Preference,
)
from mistral7b.train.recipe import Evaluate, Keep
from tests.train import made, processes

ANSWERS = {"red": "a rose", "blue": "the sky", "green": "the grass", "white": "snow"}
QUESTION = "What is {}?"


def examples(folder: Path) -> tuple[Path, Path]:
    """Questions of a kind with short answers: 64 to train on, 8 held out."""
    files = folder / "train.jsonl", folder / "held-out.jsonl"
    for path, count in zip(files, (16, 2), strict=True):
        with path.open("w") as file:
            for _ in range(count):
                for colour, thing in ANSWERS.items():
                    said = [{"role": "user", "content": QUESTION.format(colour)}, {"role": "assistant", "content": thing}]
                    file.write(json.dumps({"messages": said}) + "\n")
    return files


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A small model folder."""
    run = tmp_path_factory.mktemp("base") / "run"
    made.pretrain(made.recipe(run, shards))
    return run / "model"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return examples(tmp_path_factory.mktemp("examples"))


def recipe(run: Path, base: Path | str, files: tuple[Path, Path], **changes: Any) -> Finetune:
    """Steps of 4 rows of at most 64 tokens, in fp32, with dropout."""
    given = Finetune(
        run=run, model=str(base), data=FinetuneData(train=(Examples(path=files[0], epochs=6.0),), held_out=files[1:], length=64),
        lora=Lora(rank=8, alpha=16.0, dropout=0.1), batch_rows=4, micro_batch_rows=2, precision="fp32",
        optimizer=FinetuneOptimizer(rate=1e-2), schedule=FinetuneSchedule(warmup=2), keep=Keep(every=5),
        evaluate=Evaluate(every=10, tokens=4 * 64, prompts=(QUESTION.format("red"),), sample_tokens=8), hang_seconds=60.0,
    )  # fmt: skip
    return replace(given, **changes)


def run_here(given: Finetune, until: int | None = None) -> made.Silent:
    """The run in this process on one thread, as the tests' ranks compute; what it told."""
    watcher, threads = made.Silent(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        finetune(given, watcher, until=until)
    finally:
        torch.set_num_threads(threads)
    return watcher


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path]) -> tuple[Path, made.Silent]:
    """A run that nothing stopped, from the embedded model, which knows some words."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, run_here(recipe(run, "tiny", files))


def _weights(folder: Path, base: Path) -> dict[str, torch.Tensor]:
    return dict(read_adapter(folder, open_checkpoint(base).config).weights)


def _adapted(run: Path) -> mistral7b.LLM:
    """The embedded model with the adapter that a run left."""
    llm = mistral7b.LLM("tiny", dtype="float32", kernels="torch")
    adapter = read_adapter(run / "adapter", llm.model.config)
    put_adapter(llm.model, adapter.weights, adapter.scales)
    return llm


def test_stages_follow_one_another(base: Path, files: tuple[Path, Path]) -> None:
    """The rows of a stage are those that its files would give alone, behind those of the stages before, whatever the order."""
    tokenizer = Tokenizer.load(base / "tokenizer.model.v3")
    each = [FinetuneData(train=(Examples(path=path, epochs=2.0),), length=64) for path in files]
    alone = [read_examples(recipe(base, base, files, data=data), tokenizer) for data in each]
    both = FinetuneData(train=(Examples(path=files[1], epochs=2.0, stage=7), Examples(path=files[0], epochs=2.0)), length=64)
    rows = read_examples(recipe(base, base, files, data=both), tokenizer).train
    expected = [found.train.row(i).ids.tolist() for found in alone for i in range(found.train.rows)]
    assert sorted(rows.row(i).ids.tolist() for i in range(rows.rows)) == sorted(expected)
    first = alone[0].train.rows
    assert sorted(rows.row(i).ids.tolist() for i in range(first)) == sorted(expected[:first])


def test_it_learns_to_answer_and_to_stop(whole: tuple[Path, made.Silent]) -> None:
    run, watcher = whole
    losses = [line["loss"] for line in watcher.lines]
    assert losses[-1] < losses[0] / 4
    assert watcher.evaluations[-1][1]["held-out.jsonl"] < 0.5
    assert watcher.evaluations[-1][2] == {QUESTION.format("red"): " a rose"}
    llm = _adapted(run)
    for colour, thing in ANSWERS.items():
        (answer,) = llm.chat(
            [{"role": "user", "content": QUESTION.format(colour)}], mistral7b.SamplingParams(temperature=0, max_tokens=20)
        )
        assert answer.outputs[0].text == thing
        assert answer.outputs[0].finish_reason == "stop"
    facts = json.loads((run / "adapter" / "mistral7b.json").read_text())["training"]
    assert facts["steps"] == len(losses)
    assert facts["base_training"] == own_facts(resolve("tiny"))["training"]
    assert facts["held_out_loss"]["held-out.jsonl"] < 0.5


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    run_here(recipe(tmp_path / "whole", base, files))
    for stop in (1, 5, 12, None):
        run_here(recipe(tmp_path / "run", base, files), until=stop)
    assert processes.curve(tmp_path / "run") == processes.curve(tmp_path / "whole")
    ours, theirs = (_weights(tmp_path / name / "adapter", base) for name in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("name", ["adamw8bit", pytest.param("paged_adamw8bit", marks=pytest.mark.slow)])
def test_moments_of_eight_bits_learn_and_resume(tmp_path: Path, base: Path, files: tuple[Path, Path], name: Any) -> None:
    given = recipe(tmp_path / "run", base, files, optimizer=FinetuneOptimizer(name=name, rate=1e-2))
    lines = run_here(replace(given, run=tmp_path / "whole"), until=12).lines
    run_here(given, until=5)
    run_here(given, until=12)
    assert processes.curve(tmp_path / "run") == processes.curve(tmp_path / "whole")
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.05


@pytest.mark.parametrize("form", ["int4", pytest.param("int8", marks=pytest.mark.slow), "nf4"])
def test_an_adapter_beside_packed_weights_learns(tmp_path: Path, base: Path, files: tuple[Path, Path], form: Any) -> None:
    lines = run_here(recipe(tmp_path / "run", base, files, quantize=form), until=12).lines
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.05


def test_all_weights_are_trained_and_leave_a_model(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    given = recipe(tmp_path / "run", base, files, method="full", lora=Lora())
    run_here(given, until=7)
    lines = run_here(given).lines
    assert lines[-1]["loss"] < 6
    before, after = load_weights(open_checkpoint(base)), load_weights(open_checkpoint(tmp_path / "run" / "model"))
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert mistral7b.LLM(tmp_path / "run" / "model").checkpoint.trained_context == made.LENGTH


def test_an_adapter_can_be_gone_on_with(tmp_path: Path, files: tuple[Path, Path], whole: tuple[Path, made.Silent]) -> None:
    lora = Lora(dropout=0.1, adapter=whole[0] / "adapter")
    first = run_here(recipe(tmp_path / "run", "tiny", files, lora=lora), until=1).lines[0]
    assert first["loss"] < 0.5


def test_preferences_are_learned_by_pairs(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """Of two answers the planted one becomes likelier, on questions never seen too; and the run resumes."""
    pairs = tmp_path / "pairs.jsonl", tmp_path / "held-out.jsonl"
    for path, colours in zip(pairs, (("red", "blue", "green", "white", "grey", "pink"), ("black", "brown")), strict=True):
        lines = [
            {"prompt": QUESTION.format(colour), "chosen": f"A {thing} is.", "rejected": f"No {thing} is."}
            for colour in colours for thing in ("house", "dog", "boat", "tree")
        ]  # fmt: skip
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = recipe(tmp_path / "run", "tiny", files, objective="dpo", dpo=Preference(beta=0.3), lora=Lora(rank=4, alpha=8.0))
    data = FinetuneData(train=(Examples(path=pairs[0], epochs=2.0),), held_out=pairs[1:], length=64)
    given = replace(given, data=data, optimizer=FinetuneOptimizer(rate=4e-3))
    run_here(given, until=3)
    watcher = run_here(given)
    losses = [loss for _, loss, _ in processes.curve(tmp_path / "run")]
    assert len(losses) == 12
    assert abs(losses[0] - 0.6931) < 1e-3
    assert losses[-1] < 0.4
    figures = watcher.evaluations[-1][1]
    assert figures["held-out.jsonl: preferred"] == 1.0
    assert figures["held-out.jsonl: margin"] > 3
    assert 0 < figures["held-out.jsonl: KL a token"] < 3
    told = json.loads((tmp_path / "run" / "adapter" / "mistral7b.json").read_text())["training"]
    assert told["held_out_preferences"] == figures
    data = told["recipe"]["data"]
    assert [data["train"][0]["path"], *data["held_out"]] == ["pairs.jsonl", "held-out.jsonl"], "no folder of this machine"


def test_a_run_goes_on_only_as_it_began(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    given = recipe(tmp_path / "run", base, files)
    run_here(given, until=1)
    with pytest.raises(MismatchError, match="begun with lora "):
        run_here(replace(given, lora=Lora(rank=4)))
    with pytest.raises(MismatchError, match="other examples"):
        run_here(replace(given, data=replace(given.data, seed=2)))
    assert "optimizer is not as it was" in " ".join(
        run_here(replace(given, optimizer=FinetuneOptimizer(rate=1e-3)), until=2).notes
    )  # fmt: skip


def test_a_faulty_example_is_named_by_file_and_line(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(files[0].read_text() + '{"messages": [{"role": "user", "content": "a"}]}\n')
    given = recipe(tmp_path / "run", base, (bad, files[1]))
    with pytest.raises(DataError, match=r"bad\.jsonl, line 65: "):
        run_here(given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "full"}, "lora and quantize are for method: lora"),
        ({"method": "full", "lora": Lora(), "objective": "dpo"}, "objective: dpo needs method: lora"),
        ({"optimizer": FinetuneOptimizer(name="muon")}, "muon is for whole matrices"),
        ({"batch_rows": 0}, "above 0"),
        ({"lora": Lora(rank=4, adapter=Path("a"))}, "goes on with its own rank"),
        ({"optimizer": FinetuneOptimizer(scales={"head": 0.5})}, "optimizer.scales are for method: full"),
        ({"objective": "dpo", "data": FinetuneData(train=(Examples(path=Path("a")),), packing=False)}, "are for objective: sft"),
    ],
)
def test_recipes_that_make_no_run(
    tmp_path: Path, base: Path, files: tuple[Path, Path], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        recipe(tmp_path, base, files, **changes)


def test_what_the_base_is_configured_for_stays(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    shutil.copytree(base, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512, "eos_token_id": [2, 7]}))
    own = json.loads((tmp_path / "base" / "mistral7b.json").read_text())
    (tmp_path / "base" / "mistral7b.json").write_text(json.dumps(own | {"extended_from": 7424}))
    run_here(recipe(tmp_path / "run", tmp_path / "base", files, method="full", lora=Lora()))
    made_of = open_checkpoint(tmp_path / "run" / "model")
    assert (made_of.max_positions, made_of.trained_context) == (512, made.LENGTH)
    assert made_of.eos_ids == (2, 7)
    assert made_of.extended_from == 7424


def test_a_base_that_is_packed_is_not_rounded_again(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    quantize(base, tmp_path / "packed", Rounding("int8"))
    with pytest.raises(RecipeError, match="packed already"):
        run_here(recipe(tmp_path / "run", tmp_path / "packed", files, quantize="int4"))
    run_here(recipe(tmp_path / "run", tmp_path / "packed", files), until=1)


def test_files_of_one_name_are_measured_apart(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    (tmp_path / "other").mkdir()
    other = shutil.copyfile(files[1], tmp_path / "other" / files[1].name)
    given = recipe(tmp_path / "run", base, files)
    watcher = run_here(replace(given, data=replace(given.data, held_out=(files[1], other)), seed=10**12))
    assert set(watcher.evaluations[-1][1]) == {str(files[1]), str(other)}


def test_too_few_examples_for_a_step(tmp_path: Path, base: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(RecipeError, match="lower batch_rows"):
        run_here(recipe(tmp_path / "run", base, files, batch_rows=1000))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_ranks_equal_one(tmp_path: Path, base: Path, files: tuple[Path, Path], method: Any) -> None:
    """Without dropout, whose numbers are each rank's own."""
    lora = Lora(rank=8, alpha=16.0) if method == "lora" else Lora()
    given = recipe(tmp_path / "one", base, files, method=method, lora=lora, optimizer=FinetuneOptimizer(rate=2e-3))
    run_here(given, until=8)
    processes.run(replace(given, run=tmp_path / "two"), 2, "--until", 8)
    loss, norm = processes.apart(tmp_path / "two", tmp_path / "one")
    assert loss < 1e-5
    assert norm < 1e-4
