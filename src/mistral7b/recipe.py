"""Recipes: a YAML file in, a frozen dataclass out, and one line that says where a file is wrong.

The dataclass is the schema: its fields are the keys, their types what is accepted, their defaults the only defaults.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from mistral7b.errors import Mistral7BError, RecipeError

T = TypeVar("T")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false", Path: "a path", types.NoneType: "null"}


def read_recipe(path: Path, kind: type[T], variables: Mapping[str, str] | None = None) -> T:
    """The recipe in `path` as the dataclass `kind`.

    Understood: nested dataclasses, `list[X]`, `tuple[X, ...]`, `dict[str, X]`, `X | None` and other unions, `Literal`, `Path`,
    `int`, `float` (also `1e-4`, which YAML 1.1 reads as text), `bool`, `str`, `Any`. `${NAME}` in a value is replaced from
    `variables`; one of them that is a dotted key instead (`optimizer.rate`) stands in place of what the file says there. A
    relative path counts from the recipe's folder; one that begins with a variable, or is one, was given by whoever runs the
    program, and counts from where it runs.

    Raises RecipeError, naming file and dotted key, for a file that is not YAML, a key that is unknown, missing or there
    twice, a value of another type, a variable without a value or a value without a variable, and for what a dataclass' own
    `__post_init__` refuses (ValueError or an error of ours).
    """
    path, given = Path(path), dict(variables or {})
    raw = _parsed(path)
    stands = set(_VARIABLE.findall(str(raw)))
    used = set(_keys(path, kind, stands, given))
    for name in used:
        _override(raw, name.split("."), _given(given[name]), _Place(path))
    found = _Reader(path.parent).value(kind, _replaced(raw, given, used, path, ""), _Place(path))
    if spare := sorted(given.keys() - used):
        name = spare[0]
        why = "what it stands in is given too" if name in stands else f"it is no key of it and ${{{name}}} stands nowhere in it"
        raise RecipeError(f"{path}: --set {name}=... changes nothing: {why}")
    return found  # type: ignore[no-any-return] # of type `kind`, which a reader by type hints cannot tell mypy


def read_raw(path: Path, kind: type[Any] | None = None, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The recipe as written, before variables and types, which a manifest keeps: it names no folder of one machine. With a `kind`
    those of `variables` that are its keys are in their places."""
    raw = _parsed(path)
    if kind is not None:
        for name in _keys(path, kind, set(_VARIABLE.findall(str(raw))), variables or {}):
            _override(raw, name.split("."), _resolved((variables or {})[name]), _Place(path))
    return raw


def _keys(path: Path, kind: Any, stands: set[str], given: Mapping[str, str]) -> list[str]:
    """Those of the names `given` that are keys of the dataclass `kind`, and no variable that `stands` in the file."""
    fields = {field.name for field in dataclasses.fields(kind)}
    found = [name for name in given if name not in stands and name.split(".")[0] in fields]
    for name in found:
        if within := [other for other in found if other.startswith(f"{name}.")]:
            raise RecipeError(f"{path}: --set {name}=... and --set {within[0]}=... speak of one value; give one of them")
    return found


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: the recipe is not UTF-8 text") from None
    try:
        found = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = "" if mark is None else f", line {mark.line + 1}"
        raise RecipeError(f"{path}{where}: {' '.join(problem.split())}") from None
    except (ValueError, RecursionError) as error:  # 2026-02-31, integers of 5,000 digits, lists in lists in lists
        raise RecipeError(f"{path}: not a recipe ({error})") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RecipeError(f"{path}: a recipe is a list of `key: value` lines, not {_said(found)}")
    return found


def settings(pairs: Iterable[str]) -> dict[str, str]:
    """`--set NAME=VALUE` options by name; raises RecipeError for one that is no such pair or names one again."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise RecipeError(f"--set {pair}: write NAME=VALUE, such as --set DATA=../data or --set optimizer.rate=1e-4")
        if name in found:
            raise RecipeError(f"--set {name} is given twice")
        found[name] = value
    return found


def as_json(value: Any) -> Any:
    """A recipe, or a part of one, as JSON holds it: dataclasses as objects, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(held) for held in value]
    return value.as_posix() if isinstance(value, Path) else value


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # published without types
    """safe_load that refuses a key written twice, of which YAML's own reader keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


class _Set(str):
    """Text made from a variable. `leads`: the variable stands at its beginning."""

    __slots__ = ("leads",)
    leads: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where in the file a value stands."""

    file: Path
    key: str = ""

    def at(self, name: object) -> _Place:
        return _Place(self.file, f"{self.key}.{name}" if self.key else str(name))

    def wrong(self, why: str) -> RecipeError:
        return RecipeError(f"{self.file}: {self.key} {why}" if self.key else f"{self.file}: {why}")


def _override(raw: dict[str, Any], keys: Sequence[str], value: Any, place: _Place) -> None:
    """Puts `value` at a key within blocks; blocks that are not there are made."""
    for key in keys[:-1]:
        place = place.at(key)
        held = raw.get(key)
        raw[key] = raw = dict(_mapping({} if held is None else held, place))  # a copy: an anchor may stand in two places
    raw[keys[-1]] = value


def _given(text: str) -> _Set:
    made = _Set(text)
    made.leads = True
    return made


def _replaced(value: Any, given: Mapping[str, str], used: set[str], file: Path, key: str) -> Any:
    """`value` with the variables in its texts replaced; the names that were are added to `used`."""
    if isinstance(value, dict):
        return {k: _replaced(v, given, used, file, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(v, given, used, file, f"{key}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str) or not (names := _VARIABLE.findall(value)):
        return value
    for name in names:
        if name not in given:
            raise RecipeError(f"{file}: {key} needs a value for ${{{name}}}; give it with --set {name}=...")
    used.update(names)
    made = _Set(_VARIABLE.sub(lambda match: given[match[1]], value))
    made.leads = value.startswith("${") or getattr(value, "leads", False)
    return made


class _Reader:
    """Values by type; `folder` is where relative paths begin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def value(self, kind: Any, given: Any, place: _Place) -> Any:
        origin, args = get_origin(kind), get_args(kind)
        if kind is Any:
            return given
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, given, place)
        if origin in (Union, types.UnionType):
            return self._union(args, given, place)
        if origin is Literal:
            return _choice(args, given, place)
        if origin in (list, tuple):
            return self._many(kind, given, place)
        if origin in (dict, Mapping):
            held = _mapping(given, place)
            return {key: self.value(args[1], item, place.at(key)) for key, item in held.items()}
        if kind is Path and isinstance(given, str) and given:
            return Path(given) if isinstance(given, _Set) and given.leads else self.folder / given
        return _scalar(kind, given, place)

    def _dataclass(self, kind: Any, given: Any, place: _Place) -> Any:
        given = _mapping(given, place)
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        for key in given:
            if key not in fields:
                raise place.at(key).wrong(f"is not known; {_nearest(key, fields)}")
        for name, field in fields.items():
            wanted = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if wanted and name not in given:
                raise place.at(name).wrong("is missing; add it")
        hints = get_type_hints(kind)
        values = {name: self.value(hints[name], item, place.at(name)) for name, item in given.items()}
        try:
            return kind(**values)
        except (ValueError, Mistral7BError) as error:
            raise _Place(place.file, f"{place.key}:" if place.key else "").wrong(str(error)) from None

    def _union(self, kinds: tuple[Any, ...], given: Any, place: _Place) -> Any:
        """The first kind that takes it; where only one is left beside null, its own complaint is the clearer one."""
        if types.NoneType in kinds and (given is None or (isinstance(given, _Set) and given == "null")):
            return None
        others = [kind for kind in kinds if kind is not types.NoneType]
        if len(others) == 1:
            return self.value(others[0], given, place)
        exact = [kind for kind in others if type(given) is kind]
        for kind in [*exact, *others]:
            try:
                return self.value(kind, given, place)
            except RecipeError:
                continue
        raise place.wrong(f"must be {' or '.join(_word(kind) for kind in kinds)}, not {_said(given)}")

    def _many(self, kind: Any, given: Any, place: _Place) -> Any:
        args = get_args(kind)
        if isinstance(given, _Set) and isinstance(listed := _resolved(given), list):
            given = [_given(item) if isinstance(item, str) else item for item in listed]
        if not isinstance(given, list):
            raise place.wrong(f"must be a list, not {_said(given)}")
        if get_origin(kind) is list or args[-1] is Ellipsis:
            items: Iterator[Any] = (self.value(args[0], item, place.at(i)) for i, item in enumerate(given))
            return list(items) if get_origin(kind) is list else tuple(items)
        if len(given) != len(args):
            raise place.wrong(f"must be a list of {len(args)}, not of {len(given)}")
        return tuple(self.value(one, item, place.at(i)) for i, (one, item) in enumerate(zip(args, given, strict=True)))


def _scalar(kind: Any, given: Any, place: _Place) -> Any:
    if isinstance(given, _Set) and kind in (int, float, bool):
        given = _resolved(given)
    if kind is float and not isinstance(given, bool):
        try:
            number = float(given) if isinstance(given, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif kind is str and isinstance(given, str):
        return str(given)
    elif kind in (int, bool, types.NoneType) and type(given) is kind:
        return given
    raise place.wrong(f"must be {_word(kind)}, not {_said(given)}")


def _resolved(text: str) -> Any:
    """What YAML would have read in the place of a variable."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _choice(choices: tuple[Any, ...], given: Any, place: _Place) -> Any:
    for choice in choices:
        if given == choice and isinstance(given, type(choice)) and isinstance(given, bool) == isinstance(choice, bool):
            return choice
    raise place.wrong(f"must be {' or '.join(str(choice) for choice in choices)}, not {_said(given)}")


def _mapping(given: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise place.wrong(f"must be a block of `key: value` lines, not {_said(given)}")
    for key in given:
        if not isinstance(key, str):
            raise place.wrong(f"has the key {_said(key)}, which YAML does not read as text; put it in quotes")
    return given


def _nearest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(key.replace("-", "_"), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known) or 'nothing'}"


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    return _WORDS.get(kind) or ("a list" if get_origin(kind) in (list, tuple) else str(getattr(kind, "__name__", kind)))


def _said(value: Any) -> str:
    """A value from the file in a few words on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a block of lines" if isinstance(value, dict) else "a list"
    try:
        text = repr(str(value) if isinstance(value, str) else value)
    except ValueError:  # an integer of over 4,300 digits
        return "a value too large to print"
    return text if len(text) <= 60 else f"{text[:57]}..."
