"""The door of the package: public names are found late, nothing else is, and the version is the installed one."""

from __future__ import annotations

from importlib import metadata

import pytest

import mistral7b
import mistral7b.api


def test_public_names_are_those_of_the_api() -> None:
    for name in ("LLM", "SamplingParams", "StructuredOutput", "load"):
        assert getattr(mistral7b, name) is getattr(mistral7b.api, name)


def test_all_names_can_be_listed_and_found() -> None:
    assert set(mistral7b.__all__) <= set(dir(mistral7b))
    assert all(hasattr(mistral7b, name) for name in mistral7b.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'mistral7b' has no attribute 'Model'"):
        _ = mistral7b.Model  # type: ignore[attr-defined]


def test_the_version_is_the_installed_one() -> None:
    assert metadata.version("mistral7b") == mistral7b.__version__
