"""Text, recipes and runs for the tests of curation: everything is made here, by a seed."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mistral7b.data.curate.run import curate


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WHO = _words("fox bear girl boy farmer rabbit sister teacher baker king queen sailor mouse owl duck horse giant miller uncle")
_HOW = _words("small brave tired old happy quiet clever lonely hungry gentle proud careful silly sleepy kind shy lucky")
_WHERE = _words("forest garden river kitchen village mountain school castle market harbour field bridge cave island tower")
_WHAT = _words("lantern basket apple letter ribbon kettle drum boat blanket key candle hat coin mirror bell ladder feather")
_DID = _words("carried found lost painted mended borrowed hid bought washed shared dropped polished counted forgot opened")
_LE = _words("renard garçon fermier lapin boulanger roi marin hibou canard cheval géant meunier oncle chat loup")
_LIEU = _words("forêt rivière cuisine montagne école maison tour prairie grotte plage vallée ferme place gare")
_QUOI = _words("panier pomme lettre ruban tambour bateau couverture clé bougie chapeau pièce miroir cloche plume")
_FORMS = (
    "The {0} {1} {2} the {3} near the {4}, and that was the {0} {3} of the {1}.",
    "When the {1} came to the {4}, they {2} every {3} with a {0} {1}.",
    "A {0} {1} had {2} it, but nobody in the {4} knew who {2} the {3}.",
    "'Be {0},' said the {1}, 'or the {3} will be {2} by a {1} of the {4}!'",
    "So they {2} and {2} until the {0} {4} was full of {0} things: a {3}, a {3}, one {0} {3}.",
    "Have you seen my {3}? It was {2} to the {4} this {0} morning, and I would be {0} without it.",
)


_FORMES = (
    "Le {0} a trouvé une {1} près de la {2}, et il est reparti avec le {0}.",
    "Quand le {0} arriva dans la {2}, il cherchait déjà sa {1} et son vieux {0}.",
    "« Où est donc ma {1} ? » demanda le {0} à la porte de la {2}.",
    "Personne ne savait que le petit {0} avait perdu sa {1}, ni pourquoi.",
    "Le lendemain, ils ont vu un {0}, un {0} et même un {0} derrière la {2}, qui jouaient ensemble.",
    "Elle aimait beaucoup la {2}, parce que son {0} y gardait une belle {1} depuis toujours.",
)


class _Word:
    """Another word of a list each time it is printed."""

    def __init__(self, dice: random.Random, words: Sequence[str]) -> None:
        self.dice, self.words = dice, words

    def __format__(self, spec: str) -> str:
        return self.dice.choice(self.words)


def story(dice: random.Random, sentences: int = 14) -> str:
    """An English story in short paragraphs, hardly like any other."""
    words = [_Word(dice, of) for of in (_HOW, _WHO, _DID, _WHAT, _WHERE)]
    said = [dice.choice(_FORMS).format(*words) for _ in range(sentences)]
    return "\n\n".join(" ".join(said[i : i + 4]) for i in range(0, sentences, 4))


def histoire(dice: random.Random, phrases: int = 6) -> str:
    """A French one."""
    said = [_FORMES[i % len(_FORMES)].format(_Word(dice, _LE), _Word(dice, _QUOI), _Word(dice, _LIEU)) for i in range(phrases)]
    return "\n\n".join(" ".join(said[i : i + 4]) for i in range(0, phrases, 4))


def program(dice: random.Random, functions: int = 5) -> str:
    """A Python file."""
    parts = ['"""Things that are counted."""\n\nfrom __future__ import annotations\n']
    for _ in range(functions):
        a, b = dice.choice(_WHAT), dice.choice(_WHERE)
        parts.append(
            f"\ndef {dice.choice(_DID)}_{a}({b}: list[int], limit: int = {dice.randint(2, 99)}) -> dict[str, int]:\n"
            f"    total = sum({b}[:limit])\n    if total > {dice.randint(100, 999)}:\n        raise ValueError('{a}')\n"
            f"    return {{'{a}': total, '{b}': len({b})}}\n"
        )
    return "".join(parts)


def lines(path: Path, texts: Iterable[str | dict[str, Any]]) -> Path:
    """A JSONL file (.gz too) of texts, or of whole objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = "".join(json.dumps({"text": one} if isinstance(one, str) else one) + "\n" for one in texts).encode()
    path.write_bytes(gzip.compress(held, mtime=0) if path.suffix == ".gz" else held)
    return path


def source(*paths: Path | str, **more: Any) -> dict[str, Any]:
    return {"reader": "jsonl", "kind": "prose", "paths": [str(path) for path in paths], "licence": "CC0-1.0", **more}


def recipe(folder: Path, sources: dict[str, Any], **more: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"sources": sources, "held_out": 0, **more}, sort_keys=False), encoding="utf-8")
    return path


def run(folder: Path, sources: dict[str, Any], *, workers: int = 1, out: str = "out", **more: Any) -> dict[str, Any]:
    """Curates into folder/out and returns the report."""
    report = curate(recipe(folder, sources, **more), folder / out, workers=workers)
    assert report is not None
    return report


def documents(out: Path, split: str = "train") -> list[dict[str, Any]]:
    """All of a split, in the order of the files."""
    found = []
    for path in sorted(out.glob(f"{split}/*/*.jsonl.gz")):
        found += [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return found


def texts(out: Path, split: str = "train") -> list[str]:
    return [document["text"] for document in documents(out, split)]


def dropped(report: dict[str, Any], step: str) -> dict[str, int]:
    """Documents by reason."""
    found = next(one for one in report["steps"] if one["step"] == step)
    return {reason: tally["documents"] for reason, tally in found["dropped"].items()}


def everything(folder: Path) -> dict[str, bytes]:
    """The bytes of all files of a folder of documents, the hidden work aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def stories(n: int, seed: int = 0) -> Sequence[str]:
    dice = random.Random(seed)
    return [story(dice) for _ in range(n)]
