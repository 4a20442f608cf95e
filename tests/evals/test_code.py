"""HumanEval and MBPP on items of our own in the layout of the originals: what program an output makes, and what it scores."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import SandboxError
from mistral7b.evals.code import (
    HUMANEVAL_STOPS,
    Scored,
    cut,
    humaneval_program,
    mbpp_program,
    pass_at_k,
    score_humaneval,
    score_mbpp,
)
from mistral7b.evals.sandbox.sandbox import Sandbox
from mistral7b.evals.sandbox.verdict import Outcome, Verdict

HUMANEVAL = {
    "task_id": "Made/0",
    "prompt": 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n'
    '    """ The sum of the even ones.\n    >>> total([1, 2])\n    2\n    """\n',
    "entry_point": "total",
    "canonical_solution": "    return sum(n for n in numbers if n % 2 == 0)\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1, 2, 4]) == 6\n    assert candidate([]) == 0\n",
}  # fmt: skip
MBPP = {
    "task_id": 2,
    "prompt": "Write a function to find the hypotenuse.",
    "code": "import math\r\ndef hypotenuse(a, b):\r\n  return math.sqrt(a * a + b * b)",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(hypotenuse(3, 4), 5)", "assert hypotenuse(0, 0) == 0"],
}


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox()
    except SandboxError as error:
        pytest.skip(str(error))


def test_humaneval(sandbox: Sandbox) -> None:
    right = HUMANEVAL["canonical_solution"]
    completions = [
        right,
        right + "\n\ndef other():\n    raise ValueError\n\nother()\n",  # what follows the function is cut off
        right + "\nprint(total(1))",
        "    raise NotImplementedError\n",
        "    return sum(numbers)\n",
        "    import os\n    os._exit(0)\n",
        "",
    ]
    scored = score_humaneval(HUMANEVAL, completions, sandbox)
    assert [verdict.passed for verdict in scored.verdicts] == [True, True, True, False, False, False, False]
    assert scored.verdicts[4].line == "AssertionError: assert candidate([1, 2, 4]) == 6"
    assert scored.passed == 3
    assert scored.pass_at(1) == pytest.approx(3 / 7)


def test_mbpp(sandbox: Sandbox) -> None:
    code = MBPP["code"]
    completions = [
        code,
        f"{code}\n[DONE]\nnonsense(",
        f"```python\n{code}\n```\nThis is it.",
        f"\n```\n{code}",
        "def hypotenuse(a, b):\n  raise",
        "",
    ]
    scored = score_mbpp(MBPP, completions, sandbox)
    assert [verdict.passed for verdict in scored.verdicts] == [True, True, True, True, False, False]


def test_older_mbpp_has_its_set_up_in_one_piece() -> None:
    doc = {"test_setup_code": "import math", "test_list": ["assert f() == math.pi"]}
    assert mbpp_program(doc, "def f(): return 3") == "def f(): return 3\nimport math\nassert f() == math.pi\n"


def test_a_program_is_prompt_body_tests_and_their_call() -> None:
    program = humaneval_program(HUMANEVAL, HUMANEVAL["canonical_solution"] + "\nclass X:\n    pass\n")
    assert program.startswith(HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"])
    assert "class X" not in program
    assert program.endswith("\ncheck(total)\n")


@given(st.text(alphabet="ab\n#", max_size=20))
def test_cut_at_the_first_stop(text: str) -> None:
    kept = cut(text, ["\n#", "ab"])
    assert text.startswith(kept)
    assert "\n#" not in kept
    assert "ab" not in kept
    assert kept == text or text[len(kept) :].startswith(("\n#", "ab"))


def test_an_indented_body_is_not_cut() -> None:
    body = "    # a comment\n    if x:\n        print(x)\n    def inner():\n        pass\n    return 1\n"
    assert cut(body, HUMANEVAL_STOPS) == body


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_pass(case: tuple[int, int, int]) -> None:
    n, c, k = case
    draws = sum(any(one < c for one in draw) for draw in combinations(range(n), k))
    assert pass_at_k(n, c, k) == pytest.approx(draws / comb(n, k))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)])
def test_pass_at_k_of_too_few(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, c, k)


def test_pass_at_k_counts_verdicts() -> None:
    verdicts = [Verdict(Outcome.PASSED, "", 0.1, ""), *[Verdict(Outcome.FAILED, "E", 0.1, "")] * 9]
    assert Scored(tuple(verdicts)).pass_at(1) == pytest.approx(0.1)
    assert Scored(tuple(verdicts)).pass_at(10) == 1
