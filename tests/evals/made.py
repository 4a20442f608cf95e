"""Requests as lm-eval makes them."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what lm-eval's own imports warn of
    from lm_eval.api.instance import Instance


def continuation(context: str, following: str, doc: int = 0) -> Instance:
    return Instance("loglikelihood", {}, (context, following), 0, ("task", doc, 1))


def rolling(whole: str) -> Instance:
    return Instance("loglikelihood_rolling", {}, (whole,), 0, ("task", 0, 1))


def text(context: str, *, doc: int = 0, **settings: Any) -> Instance:
    return Instance("generate_until", {}, (context, settings), 0, ("task", doc, 1))
