"""Prompts as they are asked, on items of our own in the layouts of the originals; names, shots, hashes and the hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from mistral7b.errors import DataError, RequestError
from mistral7b.evals.benchmarks import BENCHMARKS, BY_NAME, PRESETS
from mistral7b.evals.sources import hub
from mistral7b.evals.tasks import Built, build, expand, known
from tests.evals.items import PLACES, write_items


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_items(tmp_path_factory.mktemp("items"))


def one(name: str, items: Path, **options: Any) -> Built:
    (built,) = build([name], items, **options)
    return built


def asked(built: Built, place: int = 0) -> tuple[list[str], list[str]]:
    """Prompts of an item, and what is compared after each."""
    task = built.task
    doc = task.task_docs[place]
    context = task.fewshot_context(doc, num_fewshot=task.config.num_fewshot)
    found = task.construct_requests(doc, context, metadata=(task.task_name, place, task.config.repeats))
    requests = found if isinstance(found, list) else [found]
    choice = task.OUTPUT_TYPE == "multiple_choice"
    return [each.arguments[0] for each in requests], [each.arguments[1] for each in requests] if choice else []


WHOLE = {
    "hellaswag": (
        "Rowing: A man rows to Rotterdam. He waves. The crowd",
        [" sings 0.", " leaves at once.", " sleeps.", " sits."],
    ),
    "piqa": ("Question: reach Rotterdam\nAnswer:", [" take a train", " take a spoon"]),
    "arc_easy": ("Question: What is warm in Rotterdam?\nAnswer:", [" soup 0", " ice", " a stone"]),
    "arc_challenge": ("Question: What is cold in Rotterdam?\nAnswer:", [" soup 0", " ice", " a stone"]),
    "siqa": ("Q: Ann moved to Rotterdam. How is Ann?\nA:", [" new", " old", " ill"]),
    "openbookqa": ("A map of Rotterdam shows", [" roads", " a smell", " time", " a sound"]),
    "boolq": ("Rotterdam has 0 bridges.\nQuestion: is Rotterdam bridged?\nAnswer:", [" no", " yes"]),
    "commonsense_qa": (
        "Question: Where is Rotterdam?\nA. land a0\nB. land b0\nC. land c0\nD. land d0\nE. land e0\nAnswer:",
        [" A", " B", " C", " D", " E"],
    ),
    "humaneval": ('def add0(n):\n    """Adds 0."""\n', []),
    "quac": (
        "Title: Mina Vos\nSection: Life\nPassage: She was born in Ghent and painted boats. She died in 1890. CANNOTANSWER\n\n"
        "Q: Where was she born?\nA:",
        [],
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_item_without_examples(name: str, items: Path) -> None:
    prompt, choices = WHOLE[name]
    prompts, compared = asked(one(name, items))
    assert set(prompts) == {prompt}
    assert compared == choices


def test_winogrande_puts_each_option_in_the_prompt(items: Path) -> None:
    prompts, compared = asked(one("winogrande", items))
    assert prompts == [f"In Rotterdam the cup fit the bag as the {option}" for option in ("cup", "bag")]
    assert compared == [" was small.", " was small."]


LAST = {
    "mmlu_astronomy": (
        "Who, in astronomy, lives in Turku?\nA. one 0\nB. two\nC. three, or so\nD. four\nAnswer:", "\nAnswer:", 5,
        "The following are multiple choice questions (with answers) about astronomy.\n\nWho, in astronomy, lives in Rotterdam?\n"
        "A. one 0\nB. two\nC. three, or so\nD. four\nAnswer: A\n\nWho, in astronomy, lives in Bergen?\n",
    ),
    "nq_open": ("Q: who founded Rotterdam?\nA:", "\nA:", 5, "Answer these questions:\n\nQ: who founded "),
    "triviaqa": ("Question: Which river crosses town 0??\nAnswer:", "\nAnswer:", 5, "Question: Which river crosses town "),
    "mbpp": (
        "You are an expert Python programmer, and here is your task: Write a function to add 11. Your code should pass these "
        "tests:\n\nassert add(0) == 11\nassert add(1) == 12\nassert add(2) == 13\n[BEGIN]\n", "[BEGIN]", 3,
        "You are an expert Python programmer, and here is your task: Write a function to add 2. Your code should pass these "
        "tests:\n\nassert add(0) == 2\nassert add(1) == 3\nassert add(2) == 4\n[BEGIN]\ndef add(n):\n  return n + 2\n[DONE]\n\n",
    ),
    "math": ("Problem:\nHalve $1$.\n\nSolution:", "Problem:\n", 4, "Problem:\nFind the domain"),
    "math_maj4": ("Problem:\nHalve $1$.\n\nSolution:", "Problem:\n", 4, "Problem:\nFind the domain"),
    "gsm8k": ("Q: Rotterdam has 0 towers of 3 bells. How many bells?\nA:", "\nA:", 8, "Q: There are 15 trees"),
    "gsm8k_maj8": ("Q: Rotterdam has 0 towers of 3 bells. How many bells?\nA:", "\nA:", 8, "Q: There are 15 trees"),
    "bbh_word_sorting": (
        "Q: In Rotterdam, word_sorting?\nA: Let's think step by step.\n", "\nA: Let's", 3, "Sort a list of words.\n\nQ: ",
    ),
    "agieval_lsat_rc": (
        "A text about Rotterdam. Q: What is Rotterdam? Answer Choices: (A)a town (B)a hill\nA: Among A through B, the answer is",
        "\nA: Among", 3,
        "A text about Porto. Q: What is Porto? Answer Choices: (A)a town (B)a hill\nA: Among A through B, the answer is "
        "(A)a town\n\n",
    ),
    "agieval_sat_en_without_passage": (
        "Q: What is Rotterdam? Answer Choices: (A)a town (B)a hill\nA: Among A through B, the answer is", "\nA: Among", 3,
        "Q: What is Porto? Answer Choices:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAST)
def test_an_item_after_its_examples(name: str, items: Path) -> None:
    item, mark, shots, first = LAST[name]
    built = one(name, items)
    prompts, _ = asked(built)
    assert len(set(prompts)) == 1
    assert prompts[0].startswith(first)
    assert prompts[0].endswith(item)
    assert prompts[0].count(mark) == shots + 1
    assert built.task.config.num_fewshot == shots


def test_every_benchmark_has_a_golden_prompt() -> None:
    collections = {name.split("_")[0] for name in LAST}
    assert {*BY_NAME} == {*WHOLE, *LAST, "winogrande", *collections} & {*BY_NAME}


def test_an_example_of_triviaqa_gives_the_answer_and_not_an_alias(items: Path) -> None:
    (prompt,) = asked(one("triviaqa", items))[0]
    assert prompt.count("Answer: River ") == 5


def test_the_dialogue_so_far_is_in_the_prompt(items: Path) -> None:
    """The third question of the fixture is shown though its references do not agree, and not asked."""
    built = one("quac", items)
    assert len(built.task.task_docs) == 3
    (prompt,), _ = asked(built, 2)
    assert prompt.endswith(
        "Q: Where was she born?\nA: in the city of Ghent\nQ: Did she marry?\nA: in Ghent\n"
        "Q: What did she paint?\nA: the sea\nQ: When did she die?\nA:"
    )


@pytest.mark.parametrize(
    ("name", "shots"),
    [
        ("piqa", 3),
        ("arc_easy", 3),
        ("winogrande", 2),
        ("boolq", 7),
        ("siqa", 2),
        ("hellaswag", 3),
        ("nq_open", 5),
        ("mmlu_virology", 5),
    ],
)
def test_no_item_is_its_own_example(name: str, shots: int, items: Path) -> None:
    built = one(name, items, shots=shots)
    for at, doc in enumerate(built.task.task_docs):
        prompt = asked(built, at)[0][0]
        place = next(place for place in PLACES if place in str(doc))
        assert prompt.count(place) == (2 if name == "boolq" else 1)
        assert sum(prompt.count(other) for other in PLACES) == (shots + 1) * (2 if name == "boolq" else 1)


def test_examples_are_drawn_by_the_seed(items: Path) -> None:
    first, again, other = (asked(one("nq_open", items, seed=seed))[0] for seed in (1, 1, 2))
    assert first == again != other


def test_greedy_and_voted_answers_of_one_item(items: Path) -> None:
    for name, votes in (("gsm8k", 1), ("gsm8k_maj8", 8), ("math", 1), ("math_maj4", 4)):
        config = one(name, items).task.config
        assert config.repeats == BY_NAME[name].votes == votes
        assert config.generation_kwargs["do_sample"] == (votes > 1)
        assert config.generation_kwargs["temperature"] == (0.7 if votes > 1 else 0.0)
        assert config.generation_kwargs["until"]


def test_collections_are_whole(items: Path) -> None:
    counts = {name: len(build([name], items)) for name in ("mmlu", "bbh", "agieval")}
    assert counts == {"mmlu": 57, "bbh": 27, "agieval": 9}
    names = [built.task.task_name for built in build(["mmlu"], items)]
    assert names[0] == "mmlu_abstract_algebra"
    assert len(set(names)) == 57
    assert {built.benchmark.name for built in build(["bbh"], items)} == {"bbh"}
    assert one("bbh_navigate", items).benchmark.name == one("bbh_navigate", items).task.task_name == "bbh_navigate"


def test_presets_hold_what_the_paper_lists() -> None:
    held = {preset: {each.name for each in expand([preset])} for preset in PRESETS}
    common = {"hellaswag", "winogrande", "piqa", "arc_easy", "arc_challenge"}
    assert held["table2"] == common | {
        "mmlu", "nq_open", "triviaqa", "humaneval", "mbpp", "math", "math_maj4", "gsm8k", "gsm8k_maj8",
    }  # fmt: skip
    assert held["commonsense"] == common | {"siqa", "openbookqa", "commonsense_qa"}
    assert held["reading"] == {"boolq", "quac"}
    assert held["aggregate"] == {"bbh", "agieval"}


def test_names_are_expanded_once_and_in_order() -> None:
    assert [each.name for each in expand(["siqa", "commonsense", "siqa"])][:3] == ["siqa", "hellaswag", "winogrande"]
    assert len(expand(["siqa", "commonsense"])) == 8
    assert len(known()) == len(set(known())) == len(PRESETS) + len(BENCHMARKS) + 57 + 27 + 9
    assert [each.name for each in expand(known())][-1] == "agieval_sat_math"


def test_an_unknown_name_is_told_its_neighbour() -> None:
    with pytest.raises(RequestError, match="did you mean hellaswag"):
        expand(["helaswag"])
    with pytest.raises(RequestError, match="eval list"):
        expand(["zzzz"])


def test_files_are_hashed(items: Path) -> None:
    built = one("piqa", items)
    assert built.files == {
        name: hashlib.sha256((items / name).read_bytes()).hexdigest() for name in ("piqa/valid.jsonl", "piqa/valid-labels.lst")
    }


def test_more_shots_than_there_are_examples(items: Path) -> None:
    with pytest.raises(RequestError, match="MATH has 4 examples to show, not 5; give --shots 4"):
        one("math", items, shots=5)
    with pytest.raises(RequestError, match="PIQA has 7 examples"):
        one("piqa", items, shots=8)
    assert one("gsm8k", items, shots=2).task.config.num_fewshot == 2


def test_a_folder_with_too_few_examples_is_no_shorter_benchmark(items: Path, tmp_path: Path) -> None:
    for name, lines in (("NQ-open.dev.jsonl", 2), ("NQ-open.efficientqa.dev.1.1.jsonl", 3)):
        (tmp_path / "nq_open").mkdir(exist_ok=True)
        held = (items / "nq_open" / name).read_text().splitlines(keepends=True)
        (tmp_path / "nq_open" / name).write_text("".join(held[:lines]))
    with pytest.raises(DataError, match="asked with 5 examples, and its data has 3"):
        one("nq_open", tmp_path)


def test_without_a_folder_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, str | None]] = []

    def load(path: str, name: str | None) -> dict[str, Dataset]:
        called.append((path, name))
        row = {"problem": f"Find {name}.", "solution": "It is $\\boxed{1}$.", "level": "1", "type": "Algebra"}
        return {split: Dataset.from_list([row]) for split in ("train", "test")}

    monkeypatch.setattr(hub, "load_dataset", load)
    (built,) = build(["math"], None)
    assert len(built.task.task_docs) == 7 == len(called)
    assert called[0] == ("EleutherAI/hendrycks_math", "algebra")
    assert set(built.files) == {"hub:EleutherAI/hendrycks_math/train", "hub:EleutherAI/hendrycks_math/test"}
    assert asked(built, 6)[0][0].endswith("Problem:\nFind precalculus.\n\nSolution:")


def test_a_split_without_labels_that_nobody_asks_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"activity_label": "Rowing", "ctx_a": "A man rows.", "ctx_b": "he", "endings": [" a", " b", " c", " d"]}
    labels = {"train": "0", "validation": "1", "test": ""}
    splits = {split: Dataset.from_list([{**row, "label": label}]) for split, label in labels.items()}
    monkeypatch.setattr(hub, "load_dataset", lambda _path, _name: splits)
    (built,) = build(["hellaswag"], None, shots=1)
    prompt = asked(built)[0][0]
    assert prompt.count("Rowing: A man rows. He") == 2
    assert built.task.task_docs[0]["gold"] == 1


def test_a_hub_that_is_not_reached_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: str, name: str | None) -> dict[str, Dataset]:
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(hub, "load_dataset", load)
    with pytest.raises(DataError, match=r"^PIQA cannot be had from the hub \(no route\); give a folder with --data-dir$"):
        build(["piqa"], None)
    with pytest.raises(DataError, match="QuAC is not on the hub"):
        build(["quac"], None)
