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

_WHO = "fox bear girl boy farmer rabbit sister teacher baker king queen sailor mouse owl duck horse giant witch miller uncle".split()
_HOW = "small brave tired old happy quiet clever lonely hungry gentle proud careful silly sleepy angry kind shy lucky".split()
_WHERE = "forest garden river kitchen village mountain school castle market harbour field bridge cave island tower meadow".split()
_WHAT = "lantern basket apple letter ribbon kettle drum boat blanket key candle hat coin mirror bell ladder wagon feather".split()
_DID = "carried found lost painted mended borrowed hid bought washed shared dropped polished counted forgot opened stole".split()
_LE = "renard ours garçon fermier lapin boulanger roi marin hibou canard cheval géant meunier oncle chat loup".split()
_LIEU = "forêt rivière cuisine montagne école maison tour prairie grotte plage vallée ferme place gare".split()
_QUOI = "panier pomme lettre ruban tambour bateau couverture clé bougie chapeau pièce miroir cloche plume".split()


def story(dice: random.Random, sentences: int = 14) -> str:
    """An English story in short paragraphs, hardly like any other."""
    said = [
        f"The {dice.choice(_HOW)} {dice.choice(_WHO)} {dice.choice(_DID)} the {dice.choice(_WHAT)} near the {dice.choice(_WHERE)}, "
        f"and then {dice.choice(('she', 'he', 'it'))} {dice.choice(_DID)} a {dice.choice(_HOW)} {dice.choice(_WHAT)} "
        f"for the {dice.choice(_WHO)} who had {dice.choice(_DID)} it with the {dice.choice(_WHO)}."
        for _ in range(sentences)
    ]
    return "\n\n".join(" ".join(said[i : i + 4]) for i in range(0, sentences, 4))


def histoire(dice: random.Random, phrases: int = 12) -> str:
    """A French one."""
    said = [
        f"Le {dice.choice(_LE)} a trouvé une {dice.choice(_QUOI)} près de la {dice.choice(_LIEU)}, et il est parti avec le "
        f"{dice.choice(_LE)} pour chercher la {dice.choice(_QUOI)} que le vieux {dice.choice(_LE)} avait perdue dans la {dice.choice(_LIEU)}."
        for _ in range(phrases)
    ]
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
