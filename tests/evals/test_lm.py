"""The LM of lm-eval: what it answers, that it answers nothing twice, and that others' scripts can use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mistral7b.api import LLM, SamplingParams
from mistral7b.errors import RequestError
from mistral7b.evals import lm as module
from mistral7b.evals.answers import Answers
from mistral7b.evals.lm import EngineLM
from mistral7b.evals.scorer import Scorer
from mistral7b.evals.writing import asked
from tests.evals.made import continuation, rolling, text

PAIRS = [("Once upon a time", " there was"), ("Once upon a time", " a dog"), ("", "The cat"), ("The dog\n", " sat down.")]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("tiny", dtype="float32", max_model_len=256)


@pytest.fixture(scope="module")
def plain(llm: LLM) -> EngineLM:
    return EngineLM(llm)


def test_a_score_is_that_of_the_logits(llm: LLM, plain: EngineLM) -> None:
    found = plain.loglikelihood([continuation(*pair) for pair in PAIRS], disable_tqdm=True)
    for (context, following), (logprob, _) in zip(PAIRS, found, strict=True):
        before, after = plain.words.pair(context, following)
        rows = llm.logits([*before, *after])[len(before) - 1 : -1].double().log_softmax(-1)
        assert logprob == pytest.approx(sum(float(row[id]) for row, id in zip(rows, after, strict=True)), abs=1e-4)


def test_a_rolling_score_counts_each_token_once(plain: EngineLM) -> None:
    short, long = "The cat sat on the mat.", "The cat sat on the mat. " * 80
    ids = plain.tok_encode(long, add_special_tokens=False)
    assert len(ids) > 2 * plain.max_length
    pieces, place = [], 0
    while place < len(ids):
        end = min(place + plain.max_length, len(ids))
        begin = max(0, end - plain.max_length)
        before = [1] if place == 0 else ids[begin - 1 : place]
        pieces.append((before, ids[place:end]))
        place = end
    expected = [plain.loglikelihood([continuation("", short)], disable_tqdm=True)[0][0]]
    expected.append(sum(score.logprob for score in plain.scorer.score(pieces)))
    assert plain.loglikelihood_rolling([rolling(short), rolling(long), rolling("")], disable_tqdm=True) == [*expected, 0.0]


def test_greedy_texts(llm: LLM, plain: EngineLM) -> None:
    """As `generate` writes them, up to the stop; a long question loses its beginning."""
    long = "The dog ran to the park. " * 60
    asks = [
        text("Once upon a time", max_gen_toks=12),
        text("Once upon", until=[","], max_gen_toks=20),
        text(long, max_gen_toks=20),
    ]
    found = plain.generate_until(asks, disable_tqdm=True)
    kept = [plain.tok_encode("Once upon a time"), plain.tok_encode("Once upon"), plain.tok_encode(long)[-(256 - 20) :]]
    greedy = [SamplingParams(temperature=0, max_tokens=most) for most in (12, 20, 20)]
    whole = [plain.words.tokenizer.decode(one.outputs[0].token_ids) for one in llm.generate(kept, greedy)]
    assert "," in whole[1]
    assert found == [whole[0], whole[1].partition(",")[0], whole[2]]


class Spelled:
    """A constraint that lets `ids` through, one after another, and nothing else."""

    def __init__(self, ids: list[int], vocab_size: int) -> None:
        self.ids, self.vocab_size = ids, vocab_size

    def mask(self) -> NDArray[np.bool_]:
        return np.arange(self.vocab_size) == self.ids[0]

    def forced(self) -> list[int]:
        return []

    def advance(self, id: int) -> None:
        assert self.ids.pop(0) == id

    @property
    def done(self) -> bool:
        return not self.ids


@pytest.mark.parametrize(
    ("prompt", "following", "found"),
    [
        ('def f(x):\n    """Twice."""\n', "    y = 2 * x\n    return y\n", "    y = 2 * x\n    return y\n"),
        ("Why?\n", " So", " So"),
        ("Question: Why?\nAnswer:", " So", "So"),
    ],
)
def test_a_space_is_dropped_only_where_it_parts_prompt_and_text(
    prompt: str, following: str, found: str, llm: LLM, plain: EngineLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole = plain.tok_encode(prompt), plain.tok_encode(prompt + following)
    assert whole[: len(before)] == before
    spelled = whole[len(before) :]
    said = partial(llm.prepare, constraint=lambda: Spelled(spelled, plain.words.tokenizer.vocab_size))
    monkeypatch.setattr(llm, "prepare", said)
    (text_written,) = plain.generate_until([text(prompt, max_gen_toks=len(spelled))], disable_tqdm=True)
    assert text_written == found


def test_samples_of_an_item_differ_and_come_again(llm: LLM, plain: EngineLM) -> None:
    sampled = {"temperature": 0.9, "max_gen_toks": 12}
    ask, other = text("Once upon a time", **sampled), text("Once upon a time", doc=1, **sampled)
    requests = [ask, ask, ask, other]
    found = plain.generate_until(requests, disable_tqdm=True)
    assert len(set(found)) == 4
    assert plain.generate_until([other, ask, ask, ask], disable_tqdm=True) == [found[3], *found[:3]]
    assert EngineLM(llm, seed=1).generate_until(requests, disable_tqdm=True) != found


def test_nothing_is_answered_twice(llm: LLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that breaks off after any number of answers goes on with the others, and gives what an unbroken one gives."""
    path = tmp_path / "answers.jsonl"
    scored = [continuation(*pair) for pair in PAIRS]
    sampled = text("Once upon a time", temperature=0.9, max_gen_toks=8)
    written = [sampled, text("The dog", max_gen_toks=8), sampled]

    def run(over: EngineLM) -> list[Any]:
        return [
            over.loglikelihood(scored, True),
            over.loglikelihood_rolling([rolling("A cat.")], True),
            over.generate_until(written, True),
        ]

    expected = run(EngineLM(llm))
    for stop in (2, 4):
        with Answers(path) as answers, pytest.raises(KeyboardInterrupt):
            run(EngineLM(llm, answers=answers, progress=_stop_after(stop)))
    assert len(path.read_bytes().splitlines()) == 6
    computed: list[int] = []
    with Answers(path) as answers:
        over = EngineLM(llm, answers=answers, progress=lambda done, total: computed.append(total - done))
        assert run(over) == expected
        assert len(computed) == 2, "the two that were missing"
        monkeypatch.setattr(Scorer, "stream", _never)
        monkeypatch.setattr(module, "write", _never)
        assert run(over) == expected
        assert len({json.loads(line)["key"] for line in path.read_bytes().splitlines()}) == 8
        with pytest.raises(AssertionError, match="computed"):
            EngineLM(LLM("tiny", dtype="bfloat16"), answers=answers).loglikelihood(scored, True)


def _stop_after(answers: int) -> Callable[[int, int], None]:
    told = 0

    def stop(_done: int, _total: int) -> None:
        nonlocal told
        told += 1
        if told == answers:
            raise KeyboardInterrupt

    return stop


def _never(*_args: Any, **_options: Any) -> Any:
    raise AssertionError("computed")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beams": 3}, "'beams' is not known"),
        ({"num_beams": 2}, "'num_beams' is not known"),
        ({"do_sample": True}, "asks for a temperature"),
    ],
)
def test_arguments_that_would_be_ignored_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        asked(settings, eos="</s>", default_most=1, seed=0)


def test_arguments() -> None:
    params = asked({"until": "\n", "max_new_tokens": 7, "temperature": 0.7, "top_p": 0.9}, eos="</s>", default_most=1, seed=5)
    assert (params.stop, params.max_tokens, params.temperature, params.top_p, params.seed) == (("\n", "</s>"), 7, 0.7, 0.9, 5)
    greedy = asked({"do_sample": False, "temperature": 0.7, "top_p": 0.9}, eos="</s>", default_most=9, seed=5)
    assert (greedy.temperature, greedy.top_p, greedy.max_tokens) == (0.0, 1.0, 9)


def test_an_answer_longer_than_the_context(plain: EngineLM) -> None:
    with pytest.raises(RequestError, match="leaves no room for a question within 256"):
        plain.generate_until([text("a", max_gen_toks=256)], disable_tqdm=True)


def test_others_scripts() -> None:
    """`lm_eval.simple_evaluate` with a task of one's own, shots and a chat template."""
    import lm_eval
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

    rows = [{"q": f"How many legs has a {animal}?", "a": n} for animal, n in (("cat", 1), ("bird", 0), ("dog", 1), ("hen", 0))]
    config = {
        "task": "legs", "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)}, "test_split": "test",
        "fewshot_split": "test", "num_fewshot": 2, "output_type": "multiple_choice",
        "doc_to_text": "{{q}}", "doc_to_target": "a", "doc_to_choice": ["two", "four"],
    }  # fmt: skip
    over = EngineLM.create_from_arg_string("model=tiny,dtype=float32,max_model_len=512", {"batch_size": 1, "device": "cpu"})
    assert (over.max_length, over.max_gen_toks, over.prefix_token_id, over.eot_token_id) == (512, 256, 1, 2)
    results = lm_eval.simple_evaluate(
        model=over, tasks=[ConfigurableTask(config=config)], task_manager=TaskManager(include_defaults=False),
        apply_chat_template=True, bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    samples = results["samples"]["legs"]
    assert len(samples) == 4
    assert samples[0]["arguments"][0][0].startswith("<s>[INST]How many legs")
    assert results["config"]["batch_sizes"] == []
    with pytest.raises(RequestError, match="arguments are those of"):
        EngineLM.create_from_arg_string("model=tiny,pretrained=x")
