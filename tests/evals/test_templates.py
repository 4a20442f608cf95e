"""Templates compiled once give what lm-eval gives, which compiles them each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask

from mistral7b.evals.benchmarks import BENCHMARKS
from mistral7b.evals.tasks import build
from mistral7b.evals.templates import Template, compiled
from tests.evals.items import write_items


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_items(tmp_path_factory.mktemp("items"))


@pytest.mark.parametrize("name", [f"{each.name}_{each.members[0]}" if each.members else each.name for each in BENCHMARKS])
def test_every_item_is_put_as_lm_eval_puts_it(name: str, items: Path) -> None:
    task: Any = build([name], items)[0].task
    compared = 0
    for field in ("doc_to_text", "doc_to_target", "doc_to_choice"):
        for config, docs in (
            (task.config, task.task_docs),
            (task.fewshot_cfg, task.sampler.df if task.config.num_fewshot else []),
        ):
            template = getattr(config, field)
            if not isinstance(template, Template):
                continue
            for doc in docs:
                compared += 1
                assert getattr(task, field)(doc, template) == getattr(ConfigurableTask, field)(task, doc, template.source)
    assert compared or name == "winogrande"
    for doc in task.task_docs:
        assert task.resolve_field(doc, task.config.description) == ConfigurableTask.resolve_field(doc, task.config.description)


def test_lists_places_and_texts_are_told_apart() -> None:
    made = compiled({"doc_to_text": "{{a}}", "doc_to_target": "{{a}}", "doc_to_choice": "{{b}}"}, ["a", "b"])
    assert [made["doc_to_target"]({"a": a}) for a in ("2", "[1, 'x']", "[2,5)", "[x]", "2.", "²")] == [
        2,
        [1, "x"],
        "[2,5)",
        "[x]",
        "2.",
        "²",
    ]
    assert [made["doc_to_text"]({"a": a}) for a in ("1", "²")] == [1, "²"]
    assert made["doc_to_choice"]({"b": ["it's", 'a "b"']}) == ["it's", 'a "b"']
    assert compiled({"doc_to_text": "{{a}}", "doc_to_target": "a"}, ["a"])["doc_to_target"] == "a"
    assert compiled({"doc_to_text": "{{a}}", "doc_to_target": "a"}, ["a"])["doc_to_text"]({"a": "1"}) == "1"
