"""`verify`: is this model what it says it is?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model
from mistral7b.cli.terminal import GIGABYTE, MARKS, emit, progress, table, tell
from mistral7b.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from mistral7b.checkpoint.report import Report

EXAMPLES = examples(
    "mistral7b verify ./Mistral-7B-v0.3",
    "mistral7b verify ./my-model --write-manifest",
    "mistral7b verify ./my-model --manifest signed.json --signed-by their.pub",
    "mistral7b verify --machine",
    "mistral7b verify ./Mistral-7B-v0.1 --oracles --ppl-file wiki.test.raw --report v0.1.json",
)
_ORACLES = "Oracles"


def verify(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="tiny, a folder, a .gguf file, a published model or a hub id.")
    ] = None,
    machine: Annotated[
        bool, typer.Option("--machine", help="Tell which kernels run on this machine, and why; no MODEL.")
    ] = False,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="FILE", help="Hashes to hold it against; default: its manifest.json.")
    ] = None,
    write_manifest: Annotated[
        bool, typer.Option("--write-manifest", help="Hash the files of a good model into its manifest.json, and end.")
    ] = False,
    signed_by: Annotated[
        str | None,
        typer.Option("--signed-by", metavar="KEY", help="The manifest must be signed by this public key, or key file."),
    ] = None,
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
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write the result as JSON, to share.", rich_help_panel=_ORACLES),
    ] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Check a model.

    Config, tokenizer, names and shapes of the tensors, NaN and Inf, hashes; and which published model it is. The
    exit status is 0 if nothing fails and 2 if something does.
    """
    if machine:
        if model is not None:
            raise RequestError("--machine is about the machine: leave out MODEL")
        _tell_machine(as_json=as_json)
        return
    if model is None:
        raise RequestError("Missing argument 'MODEL'. Try 'mistral7b verify --help'")
    if (oracle_file or ppl_file) and not oracles:
        raise RequestError("--oracle-file and --ppl-file belong to --oracles; add it")
    if write_manifest and (manifest or signed_by is not None or no_hashes or oracles):
        raise RequestError("--write-manifest checks nothing; leave out --manifest, --signed-by, --no-hashes and --oracles")
    if signed_by is not None and no_hashes:
        raise RequestError("--signed-by is about the files' hashes; leave out --no-hashes")
    if signed_by is not None:
        from mistral7b.release.keys import read_public

        signed_by = read_public(signed_by)  # a wrong one is told before minutes of hashing
    path = find_model(model)
    if write_manifest:
        _write_manifest(path, as_json=as_json)
        return
    found = _check_signed(path, manifest, signed_by, _check(path, manifest, hashes=not no_hashes, force=force))
    value = found.to_json()
    if oracles and found.ok:
        value["oracles"] = _ask_oracles(path, found, oracle_file, ppl_file, dtype=dtype, device=device, force=force)
    elif oracles:
        tell("the oracles were not asked, because a check failed")
    _tell(value, report, as_json=as_json)


def _tell_machine(*, as_json: bool) -> None:
    from mistral7b.kernels.native_room import best_instruction_set, instruction_sets, processors

    sets, chosen = instruction_sets(), best_instruction_set()
    if as_json:
        known = [{"name": name, "needs": needs, "usable": here} for name, needs, here in sets]
        emit({"kernels": "native" if sets else "torch", "instruction_set": chosen, "threads": processors(), "known": known})
        return
    if not sets:
        print("torch kernels run: this installation has no native ones, because no C++ compiler was found when it was made")
        return
    table([
        [MARKS["pass" if here else "skip"], (name, ""), (_why(here, name == chosen), ""), (f"needs {needs}", "dim")]
        for name, needs, here in sets
    ])  # fmt: skip
    print(f"native kernels run: {chosen}, {processors()} threads")


def _why(here: bool, chosen: bool) -> str:
    return "this processor lacks it" if not here else "runs" if chosen else "could run"


def _check(path: Path, manifest: Path | None, *, hashes: bool, force: bool) -> Report:
    from mistral7b.checkpoint.verify import verify as check

    with progress("reading", at_least=GIGABYTE) as read:
        return check(
            path, force=force, manifest=manifest, hashes=hashes, progress=lambda name, done, total: read(done, total, name)
        )


def _check_signed(path: Path, manifest: Path | None, signed_by: str | None, found: Report) -> Report:
    """With the check "signature", if there is one or there must be."""
    from mistral7b.checkpoint.manifest import MANIFEST
    from mistral7b.release.sign import check_signature, signature_of

    manifest = manifest or (path if path.is_dir() else path.parent) / MANIFEST
    if signed_by is None and not signature_of(manifest).is_file():
        return found
    return replace(found, checks=(*found.checks, check_signature(manifest, signed_by, found.files)))


def _ask_oracles(
    path: Path, found: Report, oracles: Path | None, text: Path | None, *, dtype: str, device: str, force: bool
) -> dict[str, Any]:
    """The answers, as an object to share."""
    from mistral7b.api import LLM
    from mistral7b.oracles import check_oracles, oracle_report

    with progress("loading", at_least=GIGABYTE) as loaded:
        llm = LLM(path, dtype=dtype, device=device, max_num_seqs=1, force=force, progress=loaded)
    with progress("oracles", in_bytes=False) as asked:
        results = check_oracles(llm, found.variant, oracles, text, progress=lambda name, done, total: asked(done, total, name))
    model = llm.model
    return oracle_report(
        results, config=model.config, variant=found.variant, dtype=model.dtype, device=str(model.device), files=found.files
    )


def _tell(value: dict[str, Any], report: Path | None, *, as_json: bool) -> None:
    """Write the report and show it; CheckpointError, for the exit status, if anything failed."""
    lines = [*value["checks"], *value.get("oracles", {"results": ()})["results"]]
    if report is not None:
        from mistral7b.oracles import write_report

        write_report(report, value)
    if as_json:
        emit(value)
    else:
        _show(value["model"], lines)
    if failed := [line["name"] for line in lines if line["status"] == "fail"]:
        raise CheckpointError(f"{value['model']} fails {len(failed)} of {len(lines)} checks: {', '.join(failed)}")


def _show(name: str, lines: list[dict[str, Any]]) -> None:
    rows = []
    for line in lines:
        mark, style = MARKS[line["status"]]
        rows.append([(mark, style), (line["name"], ""), (line["detail"], "dim" if line["status"] == "skip" else "")])
    table(rows)
    states = [line["status"] for line in lines]
    if "fail" not in states:
        print(f"{name}: {states.count('pass')} passed, {states.count('skip')} skipped")


def _write_manifest(path: Path, *, as_json: bool) -> None:
    from mistral7b.checkpoint.manifest import read_manifest
    from mistral7b.checkpoint.manifest import write_manifest as write

    with progress("hashing", at_least=GIGABYTE) as read:
        written = write(path, progress=read)
    files = read_manifest(written)
    if as_json:
        emit({"path": str(written), "files": {name: held.to_json() for name, held in files.items()}})
    else:
        print(f"{written}: sha256 and size of {len(files)} files")
