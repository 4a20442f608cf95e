"""`verify`: is this model what it says it is?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import GIGABYTE, emit, progress, table, tell
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.checkpoint.report import Report

EXAMPLES = examples(
    "mistral7b verify ./Mistral-7B-v0.3",
    "mistral7b verify ./my-model --write-manifest",
    "mistral7b verify ./Mistral-7B-v0.1 --oracles --ppl-file wiki.test.raw --report v0.1.json",
)
_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "bold red"), "skip": ("–", "dim")}
_ORACLES = "Oracles"


def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="tiny, a folder, a .gguf file, v0.1 to v0.3-instruct or a hub id.")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="FILE", help="Hashes to hold it against; default: its manifest.json.")
    ] = None,
    write_manifest: Annotated[
        bool, typer.Option("--write-manifest", help="Hash the files of a good model into its manifest.json, and end.")
    ] = False,
    no_hashes: Annotated[bool, typer.Option("--no-hashes", help="Hash no files: seconds instead of minutes.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let parts that contradict each other pass, with a note.")] = False,
    oracles: Annotated[
        bool,
        typer.Option("--oracles", help="Run it too: published logits, continuations, perplexity.", rich_help_panel=_ORACLES),
    ] = False,
    oracle_file: Annotated[
        Path | None,
        typer.Option("--oracle-file", metavar="FILE", help="Oracles of your own, as JSON.", rich_help_panel=_ORACLES),
    ] = None,
    ppl_file: Annotated[
        Path | None,
        typer.Option("--ppl-file", metavar="FILE", help="Text to measure perplexity on.", rich_help_panel=_ORACLES),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the result as JSON, to share.", rich_help_panel=_ORACLES)
    ] = None,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Check a model.

    Config, tokenizer, names and shapes of the tensors, NaN and Inf, hashes; and which published model it is. The exit status is 0 if nothing fails and 2 if something does.
    """
    from mistral7b.checkpoint.verify import verify as run
    from mistral7b.store.names import resolve

    if (oracle_file or ppl_file) and not oracles:
        raise RequestError("--oracle-file and --ppl-file belong to --oracles; add it")
    if write_manifest and (manifest or no_hashes or oracles):
        raise RequestError("--write-manifest checks nothing; leave out --manifest, --no-hashes and --oracles")
    with progress(f"fetching {model}") as fetched:
        path = resolve(model, progress=fetched)
    if write_manifest:
        _write_manifest(path, as_json=as_json)
        return
    with progress("reading", from_bytes=GIGABYTE) as read:
        found = run(path, force=force, manifest=manifest, hashes=not no_hashes, progress=lambda _, done, total: read(done, total))
    ran = _run_oracles(path, found, oracle_file, ppl_file, force=force) if oracles else None
    value = found.to_json() | ({"oracles": ran} if ran is not None else {})
    if report is not None:
        _write_report(report, value)
    if as_json:
        emit(value)
    else:
        _show(found, ran or [])
    if not found.ok or any(result["status"] == "fail" for result in ran or ()):
        raise typer.Exit(2)


def _run_oracles(path: Path, found: Report, oracles: Path | None, text: Path | None, *, force: bool) -> list[dict[str, Any]]:
    """The results as plain objects; none for a model that has failed already, which may not even load."""
    if not found.ok:
        tell("the oracles were not run, because a check failed")
        return []
    from mistral7b.api import LLM
    from mistral7b.oracles import check_oracles

    with progress("loading", from_bytes=GIGABYTE) as loaded:
        llm = LLM(path, max_num_seqs=1, force=force, progress=loaded)
    return [asdict(result) for result in check_oracles(llm, found.variant, oracle_file=oracles, ppl_file=text)]


def _show(found: Report, oracles: list[dict[str, Any]]) -> None:
    lines = [(check.name, check.status, check.detail) for check in found.checks]
    lines += [(result["name"], result["status"], result["detail"]) for result in oracles]
    table([[_MARKS[status], (name, ""), (detail, "dim" if status == "skip" else "")] for name, status, detail in lines])
    failed = sum(status == "fail" for _, status, _ in lines)
    passed = sum(status == "pass" for _, status, _ in lines)
    print(f"{found.name}: {passed} passed, {failed} failed, {len(lines) - passed - failed} skipped")


def _write_manifest(path: Path, *, as_json: bool) -> None:
    from mistral7b.checkpoint.manifest import read_manifest
    from mistral7b.checkpoint.manifest import write_manifest as write

    with progress("hashing", from_bytes=GIGABYTE) as read:
        written = write(path, progress=read)
    files = read_manifest(written)
    if as_json:
        emit({"path": str(written), "files": {name: held.to_json() for name, held in files.items()}})
    else:
        print(f"{written}: sha256 and size of {len(files)} files")


def _write_report(path: Path, value: dict[str, Any]) -> None:
    from mistral7b.checkpoint.aside import aside

    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with aside(path, needs=len(text.encode()), folder=False, force=True) as made:
        made.write_text(text, encoding="utf-8")
