from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mistral7b.api import LLM
from mistral7b.checkpoint.verify import verify
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import ConfigError, RequestError
from mistral7b.oracles import (
    OracleResult,
    Tolerance,
    check_oracles,
    oracle_report,
    perplexity,
    read_oracles,
    write_report,
)
from mistral7b.oracles.table import published_oracles
from mistral7b.outputs import CompletionOutput, RequestOutput, Timing
from mistral7b.tokens.tokenizer import Tokenizer
from tests.checkpoint import made

IDS = [1, 17, 42, 5, 60, 33, 2, 9]


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(A model folder that transformers wrote, oracles that transformers computed from it): window 16, 4 of them past it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own imports
        from transformers import MistralConfig, MistralForCausalLM
    folder = tmp_path_factory.mktemp("oracles")
    torch.manual_seed(3)
    theirs = MistralForCausalLM(MistralConfig(**made.SMALL.to_hf(max_position_embeddings=256, dtype="float32"))).eval()
    for name, parameter in theirs.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
    theirs.save_pretrained(folder / "model")
    long = [1] + [30, 33] * 20
    with torch.no_grad():
        logits = theirs(torch.tensor([IDS])).logits[0]
        prompt = torch.tensor([long])
        new = theirs.generate(prompt, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=63)[0, len(long) :]
    assert len(new) == 6
    oracles = [
        {"kind": "mean_logits", "ids": IDS, "expected": logits.mean(-1).tolist(), "atol": 1e-4, "source": "transformers"},
        {"kind": "logits", "ids": IDS, "row": 3, "expected": logits[3, :10].tolist(), "atol": 1e-4, "rtol": 1e-4},
        {"name": "long", "kind": "greedy_ids", "ids": [1], "repeat": [30, 33], "times": 20, "expected": new.tolist()},
        {"name": "tail", "kind": "greedy_ids", "ids": long, "after": 4, "expected": new[4:].tolist()},
    ]
    file = folder / "oracles.json"
    file.write_text(json.dumps({"oracles": oracles}))
    return folder / "model", file


def statuses(results: list[OracleResult]) -> list[str]:
    return [result.status for result in results]


def test_a_sound_model_passes_what_transformers_computed(accepted: tuple[Path, Path]) -> None:
    folder, file = accepted
    results = check_oracles(LLM(folder, device="cpu", max_model_len=128), None, file)
    assert statuses(results) == ["pass"] * 4, results
    assert [result.name for result in results] == ["mean_logits", "logits", "long", "tail"]
    assert results[0].tolerance == Tolerance(1e-4, 0.0)
    assert results[0].found == pytest.approx(results[0].expected, abs=1e-4)


def test_one_corrupted_weight_fails_and_says_where(accepted: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = accepted
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.down_proj.weight"][3, 4] += 100
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert verify(tmp_path).ok, "nothing but an oracle can see it"
    results = check_oracles(LLM(tmp_path, device="cpu", max_model_len=128), None, file)
    assert statuses(results)[:2] == ["fail", "fail"]
    assert "of 8 differ, first number" in results[0].detail


def test_what_the_model_refuses_fails_in_one_line(accepted: tuple[Path, Path]) -> None:
    folder, file = accepted
    results = check_oracles(LLM(folder, device="cpu", max_model_len=20), None, file)
    assert statuses(results) == ["pass", "pass", "fail", "fail"]
    assert results[2].detail.startswith("the model refuses it: ")


def test_the_result_can_be_shared(accepted: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = accepted
    llm = LLM(folder, device="cpu", max_model_len=128)
    checked = verify(folder)
    report = oracle_report(
        check_oracles(llm, None, file), config=llm.model.config, variant=None, dtype=llm.model.dtype, files=checked.files
    )
    write_report(tmp_path / "report.json", report)
    text = (tmp_path / "report.json").read_text()
    read = json.loads(text)
    assert (read["ok"], read["dtype"], read["device"]) == (True, "float32", "cpu")
    assert read["files"]["model.safetensors"]["sha256"] == checked.files["model.safetensors"].sha256
    assert [entry["status"] for entry in read["results"]] == ["pass"] * 4
    assert read["results"][0]["tolerance"] == {"absolute": 1e-4, "relative": 0.0}
    assert read["versions"]["torch"] == torch.__version__
    assert str(tmp_path.parent) not in text
    assert "/" not in "".join(read["files"])
    skipped = OracleResult("x", "skip", None, None, None, "")
    assert not oracle_report([skipped], config=made.SMALL, variant=None, dtype=torch.float32)["ok"], "nothing passed"


# ── a model whose answers are known ───────────────────────────────────────────────────────────────────────────────────
@dataclass
class Parrot:
    """Gives the id that truly follows `sure` of the probability, from `from_row` of every window on, and else the worst."""

    tokenizer: Tokenizer | None = None
    sure: float = 0.5
    from_row: int = 0
    text: str = ""
    vocab: int = 50
    truth: list[int] = field(default_factory=list)
    windows: list[list[int]] = field(default_factory=list)
    asked: list[str | list[int]] = field(default_factory=list)

    def logits(self, ids: Sequence[int]) -> Tensor:
        self.windows.append(list(ids))
        rest = math.log((1 - self.sure) / (self.vocab - 1))
        rows = torch.full((len(ids), self.vocab), rest)
        for row, follows in enumerate(ids[1:]):
            rows[row, follows] = math.log(self.sure) if row >= self.from_row else -50.0
        return rows + 3.0  # logits are known up to a constant

    def generate(self, prompts: str | Sequence[int], params: SamplingParams) -> list[RequestOutput]:
        self.asked.append(prompts if isinstance(prompts, str) else list(prompts))
        assert params.temperature == 0
        assert params.max_tokens is not None
        output = CompletionOutput(0, self.text, self.truth[: params.max_tokens])
        return [RequestOutput(None, [], [output], True, Timing(0.0, 0.0))]


def test_perplexity_is_that_of_the_second_half_of_each_chunk() -> None:
    ids = [1] + [int(i) for i in torch.randint(3, 50, (99,), generator=torch.Generator().manual_seed(0))]
    parrot = Parrot(sure=0.25, from_row=8)
    found = perplexity(parrot, ids, context=16)
    assert found.value == pytest.approx(4.0, rel=1e-5)
    assert found.error == pytest.approx(0.0, abs=1e-3)
    assert (found.chunks, found.scored) == (6, 6 * 7)
    assert all(window[0] == 1 and window[1:] == ids[i * 16 + 1 : i * 16 + 16] for i, window in enumerate(parrot.windows))
    # One row later, and one prediction a chunk is that of a bad guesser: rows 8 to 14 are scored, no others.
    assert perplexity(Parrot(sure=0.25, from_row=9), ids, context=16).value > 100
    assert perplexity(Parrot(sure=1 / 50), ids, context=16).value == pytest.approx(50.0, rel=1e-5)


def test_the_standard_error_of_perplexity() -> None:
    """Losses alternate between ln 2 and ln 8: mean ln 4, deviation ln 2; delta method: 4 ln 2 / sqrt(n - 1)."""

    class TwoFaced(Parrot):
        def logits(self, ids: Sequence[int]) -> Tensor:
            rows = torch.stack([Parrot(sure=p).logits(ids) for p in (0.5, 0.125)])
            return torch.stack([rows[row % 2, row] for row in range(len(ids))])

    found = perplexity(TwoFaced(), [1] + [5] * 4 * 18, context=18)
    assert found.scored == 4 * 8
    assert found.value == pytest.approx(4.0, rel=1e-5)
    assert found.error == pytest.approx(4 * math.log(2) / math.sqrt(31), rel=1e-4)


def test_perplexity_needs_a_chunk() -> None:
    with pytest.raises(RequestError, match="the text has 15"):
        perplexity(Parrot(), [1] * 15, context=16)
    seen: list[tuple[int, int]] = []
    perplexity(Parrot(), [1] * 40, context=16, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_perplexity_of_a_text_against_what_is_stated(tmp_path: Path) -> None:
    (tmp_path / "text.raw").write_text("Once upon a time there was a fox.\n" * 20, encoding="utf-8")
    oracle = {"kind": "perplexity", "context": 32, "expected": 4.0, "atol": 0.03}
    (tmp_path / "o.json").write_text(json.dumps({"oracles": [oracle, oracle | {"expected": 4.1}]}))
    parrot = Parrot(Tokenizer.published("v1"), sure=0.25, vocab=32000)
    good, bad = check_oracles(parrot, None, tmp_path / "o.json", tmp_path / "text.raw")
    assert (good.status, bad.status) == ("pass", "fail")
    assert good.found == pytest.approx(4.0, rel=1e-5)
    assert "4.0000 ± " in bad.detail
    assert bad.detail.endswith("stated 4.1")
    assert parrot.windows[0][0] == 1
    assert check_oracles(parrot, None, tmp_path / "o.json")[0].detail == "no text was given to measure it on"
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        check_oracles(parrot, None, tmp_path / "o.json", tmp_path / "none.raw")


def test_greedy_text_is_a_beginning(tmp_path: Path) -> None:
    oracle = {"kind": "greedy_text", "prompt": "My", "expected": "100% ketchup", "max_tokens": 9}
    (tmp_path / "o.json").write_text(json.dumps({"oracles": [oracle]}))
    for text, status, words in (
        ("100% ketchup. And", "pass", "12 characters are as stated"),
        ("100% mustard", "fail", "part at character 5"),
        ("100%", "fail", "part at character 4"),
    ):
        parrot = Parrot(Tokenizer.published("v1"), text=text)
        (result,) = check_oracles(parrot, None, tmp_path / "o.json")
        assert (result.status, result.found, parrot.asked) == (status, text, ["My"])
        assert words in result.detail
    (result,) = check_oracles(Parrot(), None, tmp_path / "o.json")
    assert (result.status, result.detail) == ("skip", "the model has no tokenizer")


def test_greedy_ids_that_part_or_end_early(tmp_path: Path) -> None:
    oracle = {"kind": "greedy_ids", "ids": [1], "after": 2, "expected": [30, 33]}
    (tmp_path / "o.json").write_text(json.dumps({"oracles": [oracle]}))
    for truth, status, words in (
        ([7, 8, 30, 33, 9], "pass", "2 ids"),
        ([7, 8, 30, 34], "fail", "part at new token 3"),
        ([7, 8, 30], "fail", "part at new token 3"),
        ([7], "fail", "part at new token 2"),
    ):
        parrot = Parrot(truth=truth)
        (result,) = check_oracles(parrot, None, tmp_path / "o.json")
        assert (result.status, parrot.asked) == (status, [[1]])
        assert words in result.detail


def test_a_nan_is_no_agreement() -> None:
    assert not Tolerance(1.0, 1.0).holds(math.nan, 1.0)
    assert Tolerance(0.1, 0.01).holds(-10.19, -10.0)
    assert not Tolerance(0.1, 0.01).holds(-10.21, -10.0)


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_published_oracles_are_those_of_facts() -> None:
    means, first, ketchup, emergency, long, ppl = published_oracles("v0.1")
    assert means.ids == first.ids == (1, 306, 4658, 278, 6593, 310, 2834, 338)
    assert means.expected == [-2.5548, -2.5737, -3.06, -2.5906, -2.8478, -2.8118, -2.9325, -2.7694]
    assert first.expected[:4] == [-5.8711, -5.8555, -0.105, -4.7148]
    assert ketchup.expected == "100% ketchup. I love it on everything. I’m not a big"
    assert emergency.expected.startswith(" of the emergency broadcast system.")
    assert (long.ids, long.expected, len(long.ids)) == ((1, *[306, 338] * 2048), [306, 338], 4097)
    assert (ppl.expected, ppl.context, ppl.tolerance) == (5.6918, 512, Tolerance(0.0319, 0.0))
    assert all(oracle.source for oracle in (means, first, ketchup, emergency, long, ppl))
    v1 = Tokenizer.published("v1")
    for oracle in (ketchup, emergency):
        whole = v1.encode(oracle.prompt + oracle.expected)
        assert whole[: len(v1.encode(oracle.prompt))] == v1.encode(oracle.prompt), "the prompt ends at a token's border"
        assert len(whole) - len(v1.encode(oracle.prompt)) <= oracle.max_tokens, "there is room for the whole answer"


def test_a_model_nobody_published_oracles_for() -> None:
    for name in ("v0.2", None):
        (result,) = check_oracles(Parrot(), name)
        assert (result.status, result.name) == ("skip", "oracles")
        assert "only for v0.1" in result.detail


GOOD: dict[str, Any] = {"kind": "logits", "ids": [1, 2], "expected": [0.5], "atol": 0.1}
BAD: list[Any] = [
    3,
    GOOD | {"kind": "logit"},
    {"kind": ["logits"]},
    GOOD | {"row": 2},
    GOOD | {"rows": 1},
    GOOD | {"ids": []},
    GOOD | {"ids": [1.5]},
    GOOD | {"ids": [-1]},
    GOOD | {"atol": -1},
    GOOD | {"expected": "x"},
    {key: value for key, value in GOOD.items() if key != "expected"},
    {"kind": "greedy_text", "prompt": 3, "expected": "", "max_tokens": 1},
    {"kind": "greedy_ids", "ids": [1], "expected": [True]},
    {"kind": "perplexity", "context": 0, "expected": 5.0, "atol": 0.1},
]


@pytest.mark.parametrize("entry", BAD)
def test_what_is_no_oracle_is_refused_in_one_line(tmp_path: Path, entry: Any) -> None:
    file = tmp_path / "o.json"
    file.write_text(json.dumps({"oracles": [GOOD]}))
    assert len(read_oracles(file)) == 1
    file.write_text(json.dumps({"oracles": [GOOD, entry]}))
    with pytest.raises(ConfigError, match=r"o.json, oracle 2") as caught:
        read_oracles(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"oracles": []}', '{"oracles": 3}'])
def test_what_is_no_file_of_oracles(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(ConfigError, match=r"o.json"):
        read_oracles(tmp_path / "o.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_oracles(tmp_path / "none.json")
