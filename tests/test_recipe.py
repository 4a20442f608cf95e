"""Recipes: what a dataclass says is what a file may hold, and a wrong file is told in one line with file and key."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import RecipeError
from mistral7b.recipe import as_json, read_raw, read_recipe, settings


@dataclass(frozen=True, slots=True)
class MinHash:
    threshold: float
    bands: int = 14

    def __post_init__(self) -> None:
        if self.bands < 1:
            raise ValueError("there must be at least one band")


@dataclass(frozen=True, slots=True)
class Dedup:
    exact: bool = True
    minhash: MinHash | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    name: str
    data: Path
    steps: int = 10
    rate: float = 1e-4
    kind: Literal["prose", "code", 3] = "prose"
    dedup: Dedup = field(default_factory=Dedup)
    epochs: dict[str, float] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    betas: tuple[float, float] = (0.9, 0.95)
    tags: tuple[str, ...] = ()
    every: int | Literal["never"] | None = None
    extra: Any = None


SMALLEST = "name: a\ndata: corpus\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    def write(text: str | bytes, kind: type[Any] = Whole, /, **variables: str) -> Any:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_recipe(path, kind, variables)

    return write


def test_everything_that_is_understood(recipe: Any, tmp_path: Path) -> None:
    found = recipe(
        """
        name: "7"
        data: ../corpus
        steps: 1_000
        rate: 6e-3
        kind: 3
        dedup: {exact: false, minhash: {threshold: 1}}
        epochs: {stories: 8, books: 2.5e-1}
        files: [a.txt, /b.txt]
        betas: [0.9, 0.99]
        tags: [x, y, z]
        every: never
        extra: {a: [1]}
        """.replace("\n        ", "\n")
    )
    assert found == Whole(
        name="7",
        data=tmp_path / "../corpus",
        steps=1000,
        rate=0.006,
        kind=3,
        dedup=Dedup(exact=False, minhash=MinHash(1.0)),
        epochs={"stories": 8.0, "books": 0.25},
        files=[tmp_path / "a.txt", Path("/b.txt")],
        betas=(0.9, 0.99),
        tags=("x", "y", "z"),
        every="never",
        extra={"a": [1]},
    )
    assert isinstance(found.epochs["stories"], float)


def test_what_is_left_out_is_the_dataclass_own(recipe: Any, tmp_path: Path) -> None:
    assert recipe(SMALLEST) == Whole("a", tmp_path / "corpus")
    assert recipe(SMALLEST + "dedup:\n  minhash: null\n").dedup == Dedup()
    assert recipe(SMALLEST + "every: 5").every == 5


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("setps: 3", "setps is not known; did you mean steps?"),
        ("dedup: {minhash: {threshold: 1, bnads: 2}}", "dedup.minhash.bnads is not known; did you mean bands?"),
        ("zzz: 3", "zzz is not known; known here: name, data, steps,"),
        ("dedup: {minhash: {}}", "dedup.minhash.threshold is missing"),
        ("dedup: {minhash: 3}", "dedup.minhash must be a block of `key: value` lines, not 3"),
        ("dedup: {minhash: {threshold: 1, bands: 0}}", "dedup.minhash: there must be at least one band"),
        ("steps: 1.5", "steps must be an integer, not 1.5"),
        ("steps: true", "steps must be an integer, not true"),
        ("steps: '3'", "steps must be an integer, not '3'"),
        ("steps:", "steps must be an integer, not null"),
        ("rate: fast", "rate must be a number, not 'fast'"),
        ("rate: .inf", "rate must be a number, not inf"),
        ("rate: false", "rate must be a number, not false"),
        ("dedup: {exact: 1}", "dedup.exact must be true or false, not 1"),
        ("dedup: [1]", "dedup must be a block of `key: value` lines, not a list"),
        ("kind: cod", "kind must be prose or code or 3, not 'cod'"),
        ("kind: '3'", "kind must be prose or code or 3, not '3'"),
        ("epochs: {stories: many}", "epochs.stories must be a number, not 'many'"),
        ("epochs: {no: 1}", "epochs has the key false, which YAML does not read as text; put it in quotes"),
        ("files: a.txt", "files must be a list, not 'a.txt'"),
        ("files: [a.txt, '']", "files.1 must be a path, not ''"),
        ("betas: [0.9]", "betas must be a list of 2, not of 1"),
        ("tags: [a, 2026-01-01]", "tags.1 must be text, not datetime.date(2026, 1, 1)"),
        ("every: often", "every must be an integer or never or null, not 'often'"),
        ("steps: 3\nsteps: 4", "recipe.yaml, line 4: steps is there twice"),
        ("dedup:\n  exact: true\n  exact: false", "recipe.yaml, line 5: exact is there twice"),
        ("steps: [1", "recipe.yaml, line 4: expected"),
        ("extra: !!python/object/apply:os.getcwd []", "recipe.yaml, line 3: could not determine a constructor"),
        ("extra: 2026-02-31", "not a recipe"),
        ("extra: ${DATA}", "extra needs a value for ${DATA}; give it with --set DATA=..."),
        ("tags: [a, 'x${DATA}']", "tags.1 needs a value for ${DATA}"),
    ],
)
def test_what_is_refused(recipe: Any, lines: str, said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        recipe(SMALLEST + lines + "\n")
    message = str(refused.value)
    assert said in message
    assert "recipe.yaml" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "name is missing"), ("- a\n", "not a list"), ("just words", "not 'just words'"), (b"a: \xff", "not UTF-8")],
)
def test_a_file_that_is_no_recipe(recipe: Any, text: str | bytes, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml: the recipe cannot be read \(No such file"):
        read_recipe(tmp_path / "gone.yaml", Whole)
    with pytest.raises(RecipeError, match="Is a directory"):
        read_recipe(tmp_path, Whole)


def test_variables(recipe: Any, tmp_path: Path) -> None:
    text = "name: v${N}\ndata: ${DATA}/corpus\nfiles: ['kept/${N}', '/x/${N}']\nsteps: ${N}\nrate: ${RATE}\ntags: ['${N}']\n"
    found = recipe(text, DATA="../shared", N="3", RATE="1e-3")
    assert found.data == Path("../shared/corpus"), "the runner's path counts from where it runs"
    assert found.files == [tmp_path / "kept/3", Path("/x/3")]
    assert (found.name, found.steps, found.rate, found.tags) == ("v3", 3, 0.001, ("3",))
    assert type(found.name) is type(found.tags[0]) is str
    with pytest.raises(RecipeError, match="steps must be an integer, not 'three'"):
        recipe(text, DATA="d", N="three", RATE="1")
    with pytest.raises(
        RecipeError, match=r"--set DTAA=... changes nothing: it is no key of it and \$\{DTAA\} stands nowhere in it"
    ):
        recipe(SMALLEST, DTAA="d")


def test_keys_given_beside_the_file(recipe: Any) -> None:
    text = SMALLEST + "betas: [0.9, 0.99]\nextra: &a {threshold: 0.5}\ndedup: {minhash: *a}\nsteps: ${steps}\n"
    keys = {"steps": "7", "kind": "code", "data": "else", "dedup.exact": "false", "dedup.minhash.bands": "3", "every": "never"}
    found = recipe(text, **keys)
    assert (found.steps, found.kind, found.every, found.betas) == (7, "code", "never", (0.9, 0.99))
    assert found.data == Path("else"), "counts from where the program runs"
    assert (found.dedup, found.extra) == (Dedup(False, MinHash(0.5, 3)), {"threshold": 0.5})
    assert recipe(SMALLEST, **{"dedup.minhash.threshold": "0.25"}).dedup.minhash == MinHash(0.25)
    found = recipe(SMALLEST + "every: 3\n", betas="[0.8, 0.9]", tags="[a, b]", files="[x]", every="null")
    assert (found.betas, found.tags, found.files, found.every) == ((0.8, 0.9), ("a", "b"), [Path("x")], None)
    with pytest.raises(RecipeError, match=r"--set dedup=\.\.\. and --set dedup.exact=\.\.\. speak of one value"):
        recipe(SMALLEST, **{"dedup.exact": "false", "dedup": "null"})
    with pytest.raises(RecipeError, match=r"--set A=\.\.\. changes nothing: what it stands in is given too"):
        recipe("name: ${A}\ndata: d\n", A="1", name="b")
    for key, value, said in (
        ("kind", "verse", "kind must be prose or code or 3, not 'verse'"),
        ("dedup.exakt", "true", "dedup.exakt is not known; did you mean exact"),
        ("steps.of", "1", "steps must be a block of `key: value` lines, not 10"),
        ("steps", "many", "steps must be an integer, not 'many'"),
    ):
        with pytest.raises(RecipeError, match=said):
            recipe(SMALLEST + "steps: 10\n", **{key: value})


def test_settings() -> None:
    assert settings(["DATA=../a=b", "N=", "a.b_c.d=1"]) == {"DATA": "../a=b", "N": "", "a.b_c.d": "1"}
    for pairs, said in ((["DATA"], "write NAME=VALUE"), (["=x"], "NAME=VALUE"), (["A=1", "A=1"], "given twice")):
        with pytest.raises(RecipeError, match=said):
            settings(pairs)


def test_merge_keys_and_anchors_are_yaml_as_ever(recipe: Any) -> None:
    text = SMALLEST + "extra: &base {a: 1, b: 2}\ndedup:\n  minhash: {<<: {threshold: 0.5, bands: 3}, bands: 4}\n"
    assert recipe(text).dedup.minhash == MinHash(0.5, 4)


def test_as_written_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\ndata: ${DATA}\ndedup: {minhash: {threshold: 1e-1}}\n")
    assert read_raw(path) == {"name": "a", "data": "${DATA}", "dedup": {"minhash": {"threshold": "1e-1"}}}
    given = {"DATA": "/here", "dedup.minhash.bands": "3", "steps": "5"}
    changed = {"name": "a", "data": "${DATA}", "dedup": {"minhash": {"threshold": "1e-1", "bands": 3}}, "steps": 5}
    assert read_raw(path, Whole, given) == changed
    told = as_json(read_recipe(path, Whole, {"DATA": "d"}))
    assert (told["data"], told["dedup"]["minhash"], told["betas"]) == ("d", {"threshold": 0.1, "bands": 14}, [0.9, 0.95])


@dataclass(frozen=True)
class Number:
    x: float


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_python_writes_it(tmp_path_factory: pytest.TempPathFactory, number: float) -> None:
    path = tmp_path_factory.mktemp("n") / "r.yaml"
    path.write_text(f"x: {number!r}\n")
    found = read_recipe(path, Number).x
    assert found == number
    assert math.copysign(1, found) == math.copysign(1, number)
