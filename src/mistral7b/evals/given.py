"""An lm-eval task on rows that are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from mistral7b.evals.sources.files import Row


class Rows(list[Row]):
    """The rows of a split, with what lm-eval asks of a data set."""

    @property
    def features(self) -> Row:
        return self[0]

    def map(self, change: Callable[[Row], Row]) -> Rows:
        return Rows({**row, **change(row)} for row in self)


Data = Mapping[str, Rows | Dataset]
"""Rows by the name of their split."""


class GivenTask(ConfigurableTask):  # type: ignore[misc]
    """lm-eval's task of a configuration, its splits given instead of fetched."""

    def __init__(self, splits: Data, config: dict[str, Any]) -> None:
        self.given = splits
        super().__init__(config=config)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        self.dataset = self.given

    @staticmethod
    def resolve_field(doc: Row, field: str | None = None) -> str | None:
        """A description without a template is itself: lm-eval would compile it for every item."""
        if field and "{" not in field and field not in doc:
            return field
        resolved: str | None = ConfigurableTask.resolve_field(doc, field)
        return resolved
