from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mistral7b.errors import ReleaseError
from mistral7b.release.facts import Facts, base_of, created_at, facts_of, stated_licence


def facts(**changes: Any) -> Facts:
    return Facts(**({"name": "story", "licence": "Apache-2.0", "created": 0} | changes))


@pytest.mark.parametrize("name", ["story", "Mistral-7B-v0.1", "a", "a" * 100, "com10", "console"])
def test_names(name: str) -> None:
    assert facts(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".story", "story.", "-x", "a/b", "a\\b", "a b", "a\n", "é", "a" * 101, "CON", "nul", "Aux.v1", "com1"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ReleaseError, match="is no name for a release") as caught:
        facts(name=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "x" * 201, "\x1b[2J"])
def test_what_is_no_line_of_text(text: str) -> None:
    with pytest.raises(ReleaseError, match=r"the licence .* is not one short line"):
        facts(licence=text)
    with pytest.raises(ReleaseError, match=r"the base model .* is not one short line"):
        facts(base_model=text)


@pytest.mark.parametrize(
    ("date", "epoch", "seconds"),
    [
        ("2023-09-27", "", 1_695_772_800),
        ("2023-09-27T12:00:00Z", "", 1_695_816_000),
        ("2023-09-27T12:00:00+02:00", "", 1_695_808_800),
        ("2023-09-27", "5", 1_695_772_800),
        (None, "1695772800", 1_695_772_800),
    ],
)
def test_when(date: str | None, epoch: str, seconds: int) -> None:
    assert created_at(date, {"SOURCE_DATE_EPOCH": epoch}) == seconds


def test_now_where_nothing_is_said() -> None:
    before = int(time.time())
    assert before <= created_at(None, {}) <= time.time()


def test_what_is_no_date() -> None:
    with pytest.raises(ReleaseError, match="'yesterday' is no date; write it as 2023-09-27"):
        created_at("yesterday", {})
    for epoch in ("now", "-1", "1.5", "9" * 40):
        with pytest.raises(ReleaseError, match="SOURCE_DATE_EPOCH is"):
            created_at(None, {"SOURCE_DATE_EPOCH": epoch})
    with pytest.raises(ReleaseError, match="not one between 1970 and 2106"):
        facts(created=created_at("1969-12-31", {}))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Model\n", "apache-2.0"),
        ("---\ntags: [a]\nlicense: 'mit'  \n---\n", "mit"),
        ('---\nlicence: "cc-by-4.0"\n---\n', "cc-by-4.0"),
        ("---\ntags: [a]\n---\nlicense: mit\n", None),
        ("# Model\nlicense: mit\n", None),
        ("---\nlicense:\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_at_the_head_of_a_card(tmp_path: Path, card: str, licence: str | None) -> None:
    assert stated_licence(tmp_path) is None
    (tmp_path / "README.md").write_text(card)
    assert stated_licence(tmp_path) == licence


def test_said_before_found(tmp_path: Path) -> None:
    folder = tmp_path / "story"
    folder.mkdir()
    asked = {"name": None, "licence": None, "base_model": None, "date": "2023-09-27"}
    assert facts_of(folder, {}, **asked).licence is None
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert facts_of(folder, {}, **asked) == Facts(name="story", licence="mit", created=1_695_772_800)
    said = facts_of(folder, {}, name="tale", licence="Apache-2.0", base_model="v0.1", date="2023-09-27")
    assert (said.name, said.licence, said.base_model) == ("tale", "Apache-2.0", "v0.1")


def test_a_model_in_the_hubs_cache_has_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "models--mistralai--Mistral-7B-v0.1" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    assert facts_of(folder, {}, name=None, licence="x", base_model=None, date="2023-09-27").name == "Mistral-7B-v0.1"


@pytest.mark.parametrize(
    ("training", "base"),
    [
        (None, None), ({}, None), ({"base": None}, None), ({"base": "v0.1"}, "v0.1"), ({"base": "a\nb"}, None),
        ({"base": "mistralai/Mistral-7B-v0.1"}, "mistralai/Mistral-7B-v0.1"),
        ({"base": "/home/me/Mistral-7B-v0.1"}, "Mistral-7B-v0.1"), ({"base": "../models/Mistral-7B-v0.1/"}, "Mistral-7B-v0.1"),
        ({"base": "~/mine"}, "mine"), ({"base": "C:\\models\\mine"}, "mine"), ({"base": "a/b/c"}, "c"), ({"base": "/"}, None),
    ],
)  # fmt: skip
def test_of_a_base_only_its_name_is_published(training: dict[str, Any] | None, base: str | None) -> None:
    assert base_of(training) == base
