"""check_oracles: asks a loaded model what is published about it, and says where the answers differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from mistral7b.engine.params import SamplingParams
from mistral7b.errors import ConfigError, Mistral7BError
from mistral7b.oracles.perplexity import perplexity
from mistral7b.oracles.table import PUBLISHED, Oracle, Tolerance, published_oracles, read_oracles
from mistral7b.outputs import RequestOutput
from mistral7b.tokens.tokenizer import Tokenizer

Progress = Callable[[str, int, int], None]  # (oracle, parts done, parts in all)


class Answering(Protocol):
    """What of `api.LLM` is needed here."""

    @property
    def tokenizer(self) -> Tokenizer | None: ...

    def logits(self, ids: Sequence[int]) -> Tensor: ...

    def generate(self, prompts: str | Sequence[int], params: SamplingParams) -> Sequence[RequestOutput]: ...


@dataclass(frozen=True, slots=True)
class OracleResult:
    """One oracle's verdict; `detail` is one line. `expected` and `found` are what JSON can hold."""

    name: str
    status: Literal["pass", "fail", "skip"]
    expected: Any
    found: Any
    tolerance: Tolerance | None
    detail: str


def check_oracles(
    llm: Answering,
    variant_name: str | None,
    oracle_file: Path | None = None,
    ppl_file: Path | None = None,
    *,
    progress: Progress | None = None,
) -> list[OracleResult]:
    """One result an oracle: those of `oracle_file`, or the published ones of `variant_name` (FACTS 3.8).

    `ppl_file` is the UTF-8 text whose perplexity is stated, for the published ones wikitext-2-raw's wiki.test.raw. What
    cannot be asked (no text, no tokenizer) is skipped; what the model refuses fails. Raises ConfigError for an oracle or
    text file that cannot be read.
    """
    oracles = read_oracles(oracle_file) if oracle_file is not None else published_oracles(variant_name or "")
    if not oracles:
        known = ", ".join(PUBLISHED)
        why = f"none are published for {variant_name or 'an own model'} (only for {known}); give a file of oracles"
        return [OracleResult("oracles", "skip", None, None, None, why)]
    text = None if ppl_file is None else _read(ppl_file)
    results = []
    for i, oracle in enumerate(oracles):
        if progress is not None:
            progress(oracle.name, i, len(oracles))
        results.append(_ask(llm, oracle, text, progress))
    return results


def _ask(llm: Answering, oracle: Oracle, text: str | None, progress: Progress | None) -> OracleResult:
    if oracle.kind in ("greedy_text", "perplexity") and llm.tokenizer is None:
        return _result(oracle, "skip", None, "the model has no tokenizer")
    if oracle.kind == "perplexity" and text is None:
        return _result(oracle, "skip", None, "no text was given to measure it on")
    try:
        match oracle.kind:
            case "mean_logits":
                return _numbers(oracle, llm.logits(oracle.ids).mean(dim=-1).tolist())
            case "logits":
                return _numbers(oracle, llm.logits(oracle.ids)[oracle.row, : len(oracle.expected)].tolist())
            case "greedy_ids":
                return _ids(oracle, llm)
            case "greedy_text":
                return _text(oracle, llm)
            case "perplexity":
                return _perplexity(oracle, llm, text or "", progress)
    except Mistral7BError as error:
        return _result(oracle, "fail", None, f"the model refuses it: {error}")


def _numbers(oracle: Oracle, found: list[float]) -> OracleResult:
    assert oracle.tolerance is not None
    rounded = [round(value, 6) for value in found]
    if len(found) != len(oracle.expected):
        return _result(oracle, "fail", rounded, f"{len(oracle.expected)} numbers are stated, the model has {len(found)}")
    pairs = list(zip(found, oracle.expected, strict=True))
    wrong = [i for i, (ours, theirs) in enumerate(pairs) if not oracle.tolerance.holds(ours, theirs)]
    if wrong:
        ours, theirs = pairs[wrong[0]]
        return _result(
            oracle, "fail", rounded, f"{len(wrong)} of {len(found)} differ, first number {wrong[0]}: {ours:.4f} for {theirs:.4f}"
        )
    furthest = max(abs(ours - theirs) for ours, theirs in pairs)
    return _result(oracle, "pass", rounded, f"{len(found)} numbers, largest difference {furthest:.5f}")


def _ids(oracle: Oracle, llm: Answering) -> OracleResult:
    params = SamplingParams(temperature=0, max_tokens=oracle.after + len(oracle.expected))
    new = list(llm.generate(list(oracle.ids), params)[0].outputs[0].token_ids)
    found = new[oracle.after :]
    if found == oracle.expected:
        return _result(oracle, "pass", found, f"{len(found)} ids after a prompt of {len(oracle.ids):,}")
    at = next((i for i, (ours, theirs) in enumerate(zip(found, oracle.expected, strict=False)) if ours != theirs), len(found))
    return _result(oracle, "fail", found, f"the greedy ids part at new token {oracle.after + at}")


def _text(oracle: Oracle, llm: Answering) -> OracleResult:
    params = SamplingParams(temperature=0, max_tokens=oracle.max_tokens)
    found = llm.generate(oracle.prompt, params)[0].outputs[0].text
    if found.startswith(oracle.expected):
        return _result(oracle, "pass", found, f"{len(oracle.expected)} characters are as stated")
    at = next((i for i, (ours, theirs) in enumerate(zip(found, oracle.expected, strict=False)) if ours != theirs), len(found))
    return _result(oracle, "fail", found, f"the greedy texts part at character {at}")


def _perplexity(oracle: Oracle, llm: Answering, text: str, progress: Progress | None) -> OracleResult:
    assert oracle.tolerance is not None
    assert llm.tokenizer is not None

    def done(chunk: int, chunks: int) -> None:
        if progress is not None:
            progress(oracle.name, chunk, chunks)

    found = perplexity(llm, llm.tokenizer.encode(text, bos=True), oracle.context, progress=done)
    status: Literal["pass", "fail"] = "pass" if oracle.tolerance.holds(found.value, oracle.expected) else "fail"
    how = (
        f"{found.value:.4f} ± {found.error:.4f} over {found.chunks:,} chunks of {oracle.context} tokens, stated {oracle.expected}"
    )
    return _result(oracle, status, round(found.value, 6), how)


def _result(oracle: Oracle, status: Literal["pass", "fail", "skip"], found: Any, detail: str) -> OracleResult:
    return OracleResult(oracle.name, status, oracle.expected, found, oracle.tolerance, detail)


def _read(path: Path) -> str:
    try:
        # llama.cpp drops one line end at the end of the file before it encodes it.
        return path.read_bytes().decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from None
