"""The examples of a fine-tuning recipe, looked at before anything is trained: what is wrong, and what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral7b.cli.masks import show_masks
from mistral7b.cli.terminal import emit, note, table, tell
from mistral7b.data.instruct.check import Report, check, corrected
from mistral7b.errors import DataError, RequestError

if TYPE_CHECKING:
    from mistral7b.train.finetune_recipe import Finetune

_SHOWN = 50  # faults on a terminal; --json has all


def check_examples(recipe: Finetune, target: Path | None, as_json: bool) -> None:
    """Names every fault and counts what is sound; with `target` writes the training files into it, corrected.

    Raises DataError if anything is wrong that the corrected files do not mend.
    """
    _only_examples(recipe)
    from mistral7b.train.base import tokenizer_of
    from mistral7b.train.examples import encoders, services_of

    data, tokenizer = recipe.data, tokenizer_of(recipe)
    paths = [*(each.path for each in data.train), *data.held_out]
    targets = {} if target is None else _targets(paths, target)
    settings: dict[str, Any] = {
        "length": data.length,
        "on": data.loss_on,
        "too_long": data.too_long,
        "services": services_of(data),
        "processes": encoders(),
    }
    reports: dict[str, Report] = {}
    for path in paths:
        if target is None:
            reports[str(path)] = check([path], tokenizer, **settings)
        else:
            target.mkdir(parents=True, exist_ok=True)
            reports[str(path)] = corrected([path], targets[path], tokenizer, **settings)
    if as_json:
        emit({path: _plain(report) for path, report in reports.items()})
    else:
        _tell(reports)
    faults = sum(len(report.faults) for report in reports.values())
    if faults and target is None:
        mendable = sum(fault.mendable for report in reports.values() for fault in report.faults)
        raise DataError(f"{faults:,} faults, {mendable:,} of which --corrected DIR mends; it leaves the other records out")


def _targets(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """The corrected file of each, a .jsonl of its name. Raises RequestError for two of one name, and for one that is there."""
    found: dict[Path, Path] = {}
    for path in paths:
        stem = path.name
        while (suffix := Path(stem).suffix) in (".gz", ".bz2", ".zst", ".json", ".jsonl"):
            stem = stem.removesuffix(suffix)
        made = folder / f"{stem}.jsonl"
        if made in found.values():
            raise RequestError(f"two files would be corrected as {made}; correct them with a recipe each")
        if made.exists():
            raise RequestError(f"{made} is there already; name another folder with --corrected")
        found[path] = made
    return found


def show_examples(recipe: Finetune, n: int) -> None:
    """Prints `n` samples of the training files with what is learned marked."""
    _only_examples(recipe)
    from mistral7b.train.base import tokenizer_of
    from mistral7b.train.examples import read_samples

    tokenizer = tokenizer_of(recipe)
    show_masks(read_samples(recipe.data, tokenizer, [each.path for each in recipe.data.train]), tokenizer, n)


def _only_examples(recipe: Finetune) -> None:
    if recipe.objective == "dpo":
        raise RequestError("--check and --show-masks look at examples; of pairs the run itself names the first faulty line")


def _tell(reports: dict[str, Report]) -> None:
    faults = [fault for report in reports.values() for fault in report.faults]
    for fault in faults[:_SHOWN]:
        tell(f"{fault}{' (can be mended)' if fault.mendable else ''}")
    if len(faults) > _SHOWN:
        note(f"{len(faults) - _SHOWN:,} more faults; --json has all")
    for path, report in reports.items():
        if report.unread:
            keys = ", ".join(f"{key} ({count:,})" for key, count in report.unread.most_common(8))
            note(f"{path}: keys that are not read: {keys}")
    head = ("file", "records", "samples", "tokens", "learned", "longest", "too long", "faults")
    rows = [[(each, "bold") for each in head]]
    for path, report in reports.items():
        counts = (report.records, report.samples, report.tokens, report.trained, report.longest, report.over, len(report.faults))
        rows.append([(Path(path).name, ""), *((f"{count:,}", "") for count in counts)])
    table(rows)


def _plain(report: Report) -> dict[str, object]:
    found = asdict(report)
    for name in ("faults", "notes"):
        found[name] = [
            {"file": str(each.place.file), "line": each.place.number, "what": each.what, "mendable": each.mendable}
            for each in getattr(report, name)
        ]
    return found
