"""QuAC: a dialogue of questions about a section of an article, answered by spans of it. lm-eval has no task for it.

A prompt has the section and, with the answers that were given, the questions so far. The original text ends in CANNOTANSWER,
which is the answer where the section has none. Scored as the authors' scorer does: F1 of words without case, punctuation and
articles, against the best of all references but one, averaged over which is left out; what most references call unanswerable
has that as its only answer; questions on which the references agree with an F1 below 0.4 are not asked.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mistral7b.errors import DataError
from mistral7b.evals.benchmarks import Benchmark
from mistral7b.evals.sources.family import MEAN
from mistral7b.evals.sources.files import Folder, Row, Splits, fields

T = TypeVar("T")

_FILE = "quac/val_v0.2.json"
_NO_ANSWER = "CANNOTANSWER"
_LEAST_AGREEMENT = 0.4
_NOT_PLAIN = re.compile(r"\b(?:a|an|the)\b")
_PROMPT = (
    "Title: {{title}}\nSection: {{section}}\nPassage: {{passage}}\n\n"
    "{% for turn in history %}Q: {{turn.question}}\nA: {{turn.answer}}\n{% endfor %}Q: {{question}}\nA:"
)


def changes(_: Benchmark) -> Mapping[str, Any]:
    return {
        "output_type": "generate_until",
        "test_split": "validation",
        "doc_to_text": _PROMPT,
        "doc_to_target": "{{answers}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 100, "do_sample": False, "temperature": 0.0},
        "process_results": lambda doc, results: {"f1": f1(results[0].strip(), doc["answers"])},
        "metric_list": [{"metric": "f1", **MEAN}],
    }


def read(folder: Folder, _: str) -> Splits:
    held = folder.json(_FILE)
    if not isinstance(held, dict) or not isinstance(held.get("data"), list):
        raise DataError(f'{folder.path / _FILE} has no list "data"; docs/evaluation-data.md says what to put there')
    articles = folder.rows(_FILE, held["data"], lambda article: {"rows": _article(article)})
    rows = [row for article in articles for row in article["rows"]]
    if not rows:
        raise DataError(f"{folder.path / _FILE} holds no question whose references agree; fetch it again")
    return {"validation": rows}


def _article(held: Any) -> list[Row]:
    title, section, paragraphs = fields(held, "title", "section_title", "paragraphs")
    rows: list[Row] = []
    for paragraph in paragraphs:
        history: list[Row] = []
        passage, asked = fields(paragraph, "context", "qas")
        for each in asked:
            question, answers, given = fields(each, "question", "answers", "orig_answer")
            references = answerable([answer["text"] for answer in answers])
            about = {"title": title, "section": section, "passage": passage, "history": list(history)}
            if agreement(references) >= _LEAST_AGREEMENT:
                rows.append({**about, "question": question, "answers": references})
            history.append({"question": question, "answer": given["text"]})
    return rows


def answerable(references: Sequence[str]) -> list[str]:
    """The references that count: only CANNOTANSWER if at least half say so, else those that do not."""
    spans = [text for text in references if text != _NO_ANSWER]
    return [_NO_ANSWER] if len(references) >= 2 * len(spans) else spans


def agreement(references: Sequence[str]) -> float:
    """Mean over the references of each one's best F1 against another; 1 for a single one."""
    if len(references) == 1:
        return 1.0
    best = [max(_overlap(one, other) for other in _others(references, at)) for at, one in enumerate(references)]
    return sum(best) / len(best)


def f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 against a reference: where there are several, the mean of the best over each choice of one to leave out."""
    scores = [float(answer == _NO_ANSWER) if text == _NO_ANSWER else _overlap(answer, text) for text in references]
    if len(scores) == 1:
        return scores[0]
    return sum(max(_others(scores, at)) for at in range(len(scores))) / len(scores)


def _others(values: Sequence[T], at: int) -> list[T]:
    return [*values[:at], *values[at + 1 :]]


def _overlap(one: str, other: str) -> float:
    """F1 of the words that two texts share, each as often as both have it."""
    first, second = _words(one), _words(other)
    shared = (Counter(first) & Counter(second)).total()
    return 2 * shared / (len(first) + len(second)) if shared else 0.0


def _words(text: str) -> list[str]:
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return _NOT_PLAIN.sub(" ", plain).split()
