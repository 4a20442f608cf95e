"""What each step of a curation finds: texts planted into a sample of the corpus, run through the recipe, counted.

    python benchmarks/curation_recall.py --data ../shared/data --documents 600 --each 100 --json recall.json

Recall is the share of a kind of plant that the step meant for it (or one before it) dropped; of benchmark questions, those whose
words are in no document that came out. False positives are documents of the corpus: for duplicates those dropped although
fewer than a tenth of their 3-grams are shared with the document they were dropped for, for the other steps all that they
dropped, each with its share. The corpus has no labels, so some of those are right: read them with --show.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.curation_plants import Plant, plants

from mistral7b.data.curate.prompts import read_prompts
from mistral7b.data.curate.recipe import CurateRecipe, Toxicity
from mistral7b.data.curate.run import curate
from mistral7b.data.curate.toxicity import word_lists
from mistral7b.data.curate.words import plain_words
from mistral7b.recipe import read_recipe

_ROOT = Path(__file__).parent.parent
_PLANT = "plant"
_WHERE = re.compile(r"of (\S+), similarity")
_FRENCH = (
    "Il était une fois une petite fille qui vivait avec sa grand-mère au bord de la forêt. Chaque matin, elle partait chercher "
    "de l'eau à la fontaine. Un jour, elle rencontra un renard qui avait perdu son chemin. « Je ne sais plus où est ma maison », "
    "dit-il. La petite fille lui donna du pain et le conduisit jusqu'à la rivière. Depuis, ils sont les meilleurs amis du monde."
)


def sample(path: Path, documents: int, dice: random.Random) -> list[dict[str, Any]]:
    """So many lines of a corpus file, in their order; fewer if it has fewer."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    return [json.loads(lines[i]) for i in sorted(dice.sample(range(len(lines)), min(documents, len(lines))))]


def prepare(data: Path, folder: Path, documents: int, each: int, seed: int) -> tuple[list[Plant], dict[str, list[str]]]:
    """A corpus of the same files in `folder`, with plants at the end of the last: (the plants, texts by file name)."""
    dice = random.Random(seed)
    files = sorted((data / "corpus").glob("*.jsonl.gz"), key=lambda path: path.name.startswith("classics"))
    held = {path.name: [{"text": line["text"]} for line in sample(path, documents, dice)] for path in files}
    texts = [line["text"] for lines in held.values() for line in lines]
    read = read_prompts([data / "eval"], None, ["README*", "SOURCE*"])
    prompts = [prompt.text for prompt in read if 13 <= len(plain_words(prompt.text)) <= 60]
    others = {"French": [_FRENCH], "code": [path.read_text() for path in sorted((_ROOT / "src/mistral7b/engine").glob("*.py"))]}
    made = list(plants(texts, sorted(set(prompts)), sorted(word_lists(Toxicity())["en"]), others, each=each, seed=seed))
    held[files[-1].name] += [{"text": plant.text, "title": f"{_PLANT}:{i}"} for i, plant in enumerate(made)]
    (folder / "corpus").mkdir(parents=True)
    for name, lines in held.items():
        with gzip.open(folder / "corpus" / name, "wt", encoding="utf-8", compresslevel=1) as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    (folder / "eval").symlink_to((data / "eval").resolve())
    return made, {name.split(".")[0]: [line["text"] for line in lines] for name, lines in held.items()}


def measured(recipe: Path, folder: Path, made: list[Plant], texts: dict[str, list[str]], workers: int | None) -> dict[str, Any]:
    """Runs the recipe and counts."""
    settings = read_recipe(recipe, CurateRecipe, {"DATA": str(folder)})
    named = {name: source.paths[0].name.split(".")[0] for name, source in settings.sources.items()}
    last = next(name for name, file in named.items() if file == list(texts)[-1])
    first = len(texts[named[last]]) - len(made)
    every = folder / "every.yaml"  # the same recipe, with every dropped document as an example, so that it can be counted
    every.write_text(recipe.read_text(encoding="utf-8") + "\nsamples: 1000000\n", encoding="utf-8")
    report = curate(every, folder / "out", workers=workers, variables={"DATA": str(folder)})
    assert report is not None
    dropped = {one["id"]: (step["step"], reason, one["detail"]) for step in report["steps"]
               for reason, examples in step["samples"]["dropped"].items() for one in examples}  # fmt: skip
    left = [plain_words(line["text"]) for line in documents(folder / "out")]
    found: dict[str, Counter[str]] = {}
    for i, plant in enumerate(made):
        step = dropped.get(f"{last}/{named[last]}.jsonl.gz:{first + i + 1}", ("", "", ""))[0]
        if plant.question and not step and not _still(plant.question, left):
            step = "decontaminate"  # the story is there, without the question
        found.setdefault(plant.kind, Counter())[step] += 1
    planted = {
        name: {"planted": sum(steps.values()), "found": sum(steps.values()) - steps[""], "by": dict(steps)}
        for name, steps in found.items()
    }
    own = {id: held for id, held in dropped.items() if not (id.startswith(f"{last}/") and int(id.rsplit(":", 1)[1]) > first)}
    steps = Counter(step for step, _, _ in own.values())
    total = sum(len(held) for held in texts.values()) - len(made)
    wrong = [id for id, (step, _, detail) in own.items() if step == "near-dedup" and _share(id, detail, texts, named) < 0.1]
    return {"documents": total, "plants": planted, "corpus_dropped": dict(steps), "near_dedup_wrong": wrong,
            "cut": report["contamination"]["matches"], "dropped": own}  # fmt: skip


def documents(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out.glob("*/*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def _still(prompt: str, left: list[list[str]]) -> bool:
    """Whether 13 words in a row of the prompt are in a document."""
    words = plain_words(prompt)
    wanted = {" ".join(words[i : i + 13]) for i in range(len(words) - 12)}
    return any(
        " ".join(held[i : i + 13]) in wanted for held in left if set(words[:3]) <= set(held) for i in range(len(held) - 12)
    )


def _share(id: str, detail: str, texts: dict[str, list[str]], named: dict[str, str]) -> float:
    """Of the 3-grams of two documents, those in both."""
    match = _WHERE.search(detail)
    assert match is not None
    a, b = (_grams(texts[named[one.split("/")[0]]][int(one.rsplit(":", 1)[1]) - 1]) for one in (id, match[1]))
    return len(a & b) / max(1, len(a | b))


def _grams(text: str) -> set[tuple[str, ...]]:
    words = plain_words(text)
    return set(zip(words, words[1:], words[2:], strict=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with corpus/ and eval/")
    parser.add_argument("--recipe", type=Path, default=_ROOT / "recipes/tiny/curate.yaml")
    parser.add_argument("--documents", type=int, default=600, help="of each corpus file")
    parser.add_argument("--each", type=int, default=100, help="plants of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--show", action="store_true", help="also what was dropped of the corpus, by id")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made, texts = prepare(args.data, Path(scratch), args.documents, args.each, args.seed)
        found = measured(args.recipe, Path(scratch), made, texts, args.workers)
    print(f"{'planted':36}{'':8}recall  found by")
    for kind, one in found["plants"].items():
        by = ", ".join(f"{step} {times}" for step, times in sorted(one["by"].items()) if step)
        print(f"{kind:36}{one['planted']:>6}{one['found'] / one['planted']:>8.1%}  {by}")
    print(f"\nof {found['documents']:,} documents of the corpus, dropped by")
    for step, times in sorted(found["corpus_dropped"].items()):
        print(f"  {step:20}{times:>6}{times / found['documents']:>8.2%}")
    print(f"near duplicates that share less than a tenth of their 3-grams: {len(found['near_dedup_wrong'])}")
    if args.show:
        for id, held in sorted(found["dropped"].items()):
            print(f"  {id}: {' / '.join(held)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        told = {key: held for key, held in found.items() if key != "dropped"}
        args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
