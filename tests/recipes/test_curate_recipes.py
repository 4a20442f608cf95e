"""The recipes of curation that the repository ships: they are read, and the example names every setting there is."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from mistral7b.data.curate.recipe import Code, CurateRecipe
from mistral7b.data.curate.run import curate
from mistral7b.recipe import read_recipe
from tests.data.curate.made import documents, lines, stories

RECIPES = Path(__file__).parents[2] / "recipes"


def names(kind: Any) -> set[str]:
    """The fields of a dataclass and of those within it."""
    found: set[str] = set()
    for field, hint in typing.get_type_hints(kind).items():
        found.add(field)
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner):
                found |= names(inner)
    return found


def test_the_example_is_read_and_names_every_setting() -> None:
    path = RECIPES / "curate-example.yaml"
    made = read_recipe(path, CurateRecipe, {"DATA": "/data"})
    assert {source.reader for source in made.sources.values()} == {"jsonl", "parquet", "text", "warc", "latex", "code"}
    text = path.read_text(encoding="utf-8")
    # Settings of rules that stand for themselves in a published table, and of schedulers, are left to the dataclass.
    left_out = {
        "remove_citations", "max_word_length", "filter_lorem_ipsum", "line_punct_exclude_zero", "window", "buckets", "passes",
        "seed", "qos", "env_command", "sbatch_args", "min_left",
    }  # fmt: skip
    assert {name for name in names(CurateRecipe) if f"{name}:" not in text} - left_out == set()


def test_defaults_shown_in_the_example_are_the_defaults() -> None:
    made = read_recipe(RECIPES / "curate-example.yaml", CurateRecipe, {"DATA": "/data"})
    english = made.steps.quality["english"]
    for shown in (made.steps.normalise, english.gopher, english.repetition, made.steps.personal_data, made.steps.split_long):
        assert shown == type(shown)()
    code = made.steps.code
    assert code is not None
    assert code == Code(licences=code.licences)


def test_tiny_keeps_short_stories_and_finds_what_it_should(tmp_path: Path) -> None:
    """The thresholds of recipes/tiny on its own kind of text: short, in short lines, with refrains."""
    path = RECIPES / "tiny/curate.yaml"
    tiny = read_recipe(path, CurateRecipe, {"DATA": str(tmp_path)})
    held = list(stories(40))
    short = ["\n".join(text.split(". ")[:4]) for text in stories(20, 3)]
    storybook = []
    for text, other in zip(stories(10, 5), stories(10, 6), strict=True):
        refrain = other[:100]
        storybook.append(f"{refrain}.\n{text[:200]}.\n{refrain}.")
    for name, one in tiny.sources.items():
        lines(one.paths[0], [*held, *short, *storybook] if name == "tinystories" else stories(3, sum(name.encode())))
    lines(tmp_path / "eval/questions.jsonl", [{"question": " ".join(stories(1, 99)[0].split()[:20])}])
    report = curate(path, tmp_path / "out", workers=1, variables={"DATA": str(tmp_path)})
    assert report is not None
    quality = next(step for step in report["steps"] if step["step"] == "quality-stories")
    assert quality["dropped"] == {}, quality["samples"]["dropped"]
    assert report["sources"]["tinystories"]["epochs"] == 8
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for name, one in tiny.sources.items():
        assert manifest["sources"][name]["epochs"] == one.epochs
    assert len(documents(tmp_path / "out")) + len(documents(tmp_path / "out", "held-out")) >= 78
