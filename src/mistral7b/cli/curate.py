"""`curate`: from raw text to a folder of documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, progress, size, table, tell
from mistral7b.errors import DataError

EXAMPLES = examples(
    "mistral7b curate recipes/tiny/curate.yaml --set DATA=../shared/data --out documents",
    "mistral7b curate recipe.yaml --out documents --workers 2 --json",
)
_REASONS = 3  # of a step, in the table


def curate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="What to read and what to do with it: a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DOCUMENTS", help="The folder to make, or to go on with.")],
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Processes; default: one for each core.")
    ] = None,
    variables: options.Variables = None,
    force: Annotated[bool, typer.Option("--force", help="Replace documents of another recipe or other input.")] = False,
    as_json: options.Json = False,
) -> None:
    """Clean, deduplicate, decontaminate and mix text for training.

    The same recipe and input give the same files, whatever the number of workers. A run that was stopped goes on where it was
    when the same command is given again. report.html in DOCUMENTS shows what every step kept and dropped, with examples.
    """
    try:
        from mistral7b.data.curate.run import curate as run
    except ModuleNotFoundError as error:
        raise DataError(f"curate needs the package {error.name}; pip install 'mistral7b[data]'") from None
    from mistral7b.recipe import settings

    with progress("curating", in_bytes=False) as done:
        report = run(recipe, out, workers=workers, variables=settings(variables or ()), force=force, progress=done)
    if report is None:
        tell("handed to the cluster; when its jobs are done, the same command shows the report")
    elif as_json:
        emit({"path": str(out), **report})
    else:
        _show(report)
        print(f"{out}/manifest.json, {out}/report.html")


def _show(report: dict[str, Any]) -> None:
    head = [(name, "dim") for name in ("step", "documents in", "out", "bytes in", "out", "tokens out", "dropped for")]
    rows = [head]
    for step in report["steps"]:
        came, went = step["in"], step["out"]
        reasons = sorted(step["dropped"].items(), key=lambda item: -item[1]["documents"])
        why = ", ".join(f"{reason} {tally['documents']:,}" for reason, tally in reasons[:_REASONS])
        more = f" and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
        numbers = (
            f"{came['documents']:,}",
            f"{went['documents']:,}",
            size(came["bytes"]),
            size(went["bytes"]),
            f"{went['tokens']:,}",
        )
        rows.append([(step["step"], "bold"), *((number, "") for number in numbers), (why + more, "")])
    table(rows)
    print()
    head = [(name, "dim") for name in ("source", "kind", "documents in", "train", "bytes", "held out", "epochs", "tokens seen")]
    rows, first = [head], report["steps"][0]["sources"]
    for name, held in report["sources"].items():
        train, seen = held["train"], round(held["epochs"] * held["train"]["tokens"])
        came = first[name]["in"]["documents"] if name in first else 0
        cells = (held["kind"], f"{came:,}", f"{train['documents']:,}", size(train["bytes"]), f"{held['held-out']['documents']:,}",
                 f"{held['epochs']:g}", f"{seen:,}")  # fmt: skip
        rows.append([(name, "bold"), *((cell, "") for cell in cells)])
    table(rows)
    if "classifier" in report["prepared"]:
        one = report["prepared"]["classifier"]
        print(f"\nclassifier: precision {one['precision']:.3f}, recall {one['recall']:.3f} on {one['texts']:,} labelled texts")
    print(f"\ntokens {report['tokens']}; {report['contamination']['matches']:,} passages of prompts found")
