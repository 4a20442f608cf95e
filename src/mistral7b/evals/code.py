"""HumanEval and MBPP: which program an output makes, and how many of several outputs pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from mistral7b.evals.sandbox.sandbox import Sandbox
from mistral7b.evals.sandbox.verdict import Verdict

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@", "\n```", "\nassert")
MBPP_STOPS = ("[DONE]", "\n```", "[BEGIN]", "\nYou are an expert")
_FENCE = re.compile(r"\s*```(?:[Pp]ython3?|py)?[ \t]*\n(?P<code>.*?)(?:\n```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scored:
    """The verdicts on the programs that the outputs for one item make, in their order."""

    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> int:
        return sum(verdict.passed for verdict in self.verdicts)

    def pass_at(self, k: int) -> float:
        return pass_at_k(len(self.verdicts), self.passed, k)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that one of `k` outputs drawn without replacement from `n`, of which `c` pass, passes: 1 - C(n-c, k)/C(n, k).
    Unbiased for one drawn anew (Chen et al. 2021, arXiv 2107.03374). 10 outputs of which 3 pass: pass@1 is 0.3, pass@8 is 1.

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} outputs, {c} of them passing, is not defined: k is between 1 and the outputs")
    return 1 - comb(n - c, k) / comb(n, k)


def cut(completion: str, stops: Sequence[str]) -> str:
    """What stands before the first of the stop sequences."""
    return completion[: min((at for stop in stops if (at := completion.find(stop)) >= 0), default=len(completion))]


def humaneval_program(doc: Mapping[str, Any], completion: str) -> str:
    """The prompt, the body that continues it, the tests, and their call. `doc` has prompt, test and entry_point."""
    return f"{doc['prompt']}{cut(completion, HUMANEVAL_STOPS)}\n{doc['test']}\ncheck({doc['entry_point']})\n"


def mbpp_program(doc: Mapping[str, Any], completion: str) -> str:
    """The functions, then the set-up of the tests and the asserts. `doc` has test_list and, in the hand-verified subset,
    test_imports, else perhaps test_setup_code. Of an output in a Markdown fence, what is in the fence."""
    fence = _FENCE.match(completion)
    code = fence["code"] if fence else cut(completion, MBPP_STOPS)
    return "\n".join([code, *doc.get("test_imports", ()), doc.get("test_setup_code") or "", *doc["test_list"], ""])


def score_humaneval(doc: Mapping[str, Any], completions: Sequence[str], sandbox: Sandbox) -> Scored:
    """Runs every output for one item of HumanEval. Raises SandboxError if it cannot be run contained."""
    return Scored(sandbox.run_many([humaneval_program(doc, completion) for completion in completions]))


def score_mbpp(doc: Mapping[str, Any], completions: Sequence[str], sandbox: Sandbox) -> Scored:
    """Runs every output for one item of MBPP. Raises SandboxError if it cannot be run contained."""
    return Scored(sandbox.run_many([mbpp_program(doc, completion) for completion in completions]))
