"""`quantize`: a model in fewer bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model, settle_threads
from mistral7b.cli.terminal import emit, progress, size, table, tell
from mistral7b.errors import RequestError, TokenizerError

if TYPE_CHECKING:
    from mistral7b.checkpoint.folder import Checkpoint
    from mistral7b.quantize.report import CostReport

EXAMPLES = examples(
    "mistral7b quantize ./Mistral-7B-v0.3 ./v0.3-int4 --calibrate texts.jsonl",
    "mistral7b quantize ./Mistral-7B-v0.3 ./v0.3-int8 --format int8 --head int8",
    "mistral7b quantize tiny ./tiny-int4 --calibrate texts.jsonl --evaluate other.jsonl --json",
)
_CALIBRATION, _REPORT = "Calibration", "Report"
_MEASURED = 32  # sequences the report looks at


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model: tiny, a folder, a .gguf file or a hub id.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    layers: Annotated[
        Literal["int4", "int8"], typer.Option("--format", metavar="FORMAT", help="The layers' matrices: int4 (default) or int8.")
    ] = "int4",
    head: Annotated[
        Literal["int4", "int5", "int8", "bf16"],
        typer.Option("--head", metavar="FORMAT", help="The output matrix: int5 (default), int4, int8 or bf16."),
    ] = "int5",
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", metavar="FILE", help='JSONL with a "text" a line: round by GPTQ with the inputs it gives.',
                     rich_help_panel=_CALIBRATION),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=1, help="Calibrate on N sequences.", show_default=True,
                          rich_help_panel=_CALIBRATION)
    ] = 128,
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", min=32, help="Of at most N tokens each.", show_default=True,
                          rich_help_panel=_CALIBRATION)
    ] = 512,
    evaluate: Annotated[
        Path | None,
        typer.Option("--evaluate", metavar="FILE", help="JSONL to measure on; default: every eighth line of --calibrate, which "
                     "then is not calibrated on.", rich_help_panel=_REPORT),
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Measure neither perplexity nor KL divergence.", rich_help_panel=_REPORT)
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT, and take parts that contradict each other.")] = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Write a model in fewer bits.

    Layer by layer, so that a 7B needs no memory for it. OUT appears when it is whole, or not at all; use it like any model
    folder. Calibrated, four bits cost a fraction of a per cent of perplexity; the report at the end says how much.
    """
    if no_report and evaluate:
        raise RequestError("--evaluate is for the report, which --no-report leaves out; leave out one of them")
    from mistral7b.checkpoint.folder import open_checkpoint
    from mistral7b.quantize.assess import assess
    from mistral7b.quantize.recipe import Recipe
    from mistral7b.quantize.run import quantize as run

    checkpoint = open_checkpoint(find_model(model), force=force)
    path = checkpoint.path
    settle_threads(checkpoint.config.n_params)
    given, measured = _sequences(checkpoint, calibrate, evaluate, samples, tokens)
    with progress(f"quantising {model}", in_bytes=False) as done:
        files = run(path, out, Recipe(layers, head), calibration=given, force=force, progress=done)
    with progress("measuring", in_bytes=False) as done:
        report = assess(path, out, [] if no_report else measured, force=force, progress=done)
    sizes = {file.name: file.stat().st_size for file in files}
    if as_json:
        listed = [{"name": name, "bytes": n} for name, n in sizes.items()]
        emit({"path": str(out), "files": listed, "bytes": sum(sizes.values()), "report": report.to_json()})
        return
    print(f"{out}: {', '.join(f'{name} {size(n)}' for name, n in sizes.items())}")
    _show(report, wanted=not no_report)


def _sequences(
    checkpoint: Checkpoint, calibrate: Path | None, evaluate: Path | None, samples: int, tokens: int
) -> tuple[list[list[int]], list[list[int]]]:
    """(What to calibrate on, what to measure on), as token ids."""
    if calibrate is None and evaluate is None:
        return [], []
    from mistral7b.quantize.texts import read_texts, sequences, split
    from mistral7b.tokens.tokenizer import Tokenizer

    given, measured = split(read_texts(calibrate)) if calibrate is not None else ([], [])
    if evaluate is not None:
        given, measured = [*given, *measured], read_texts(evaluate)
    if checkpoint.tokenizer is None:
        raise TokenizerError("text needs a tokenizer, and this model folder has none; add its tokenizer.model")
    tokenizer = Tokenizer.load(checkpoint.tokenizer)
    return (
        sequences(tokenizer, given, samples, tokens) if given else [],
        sequences(tokenizer, measured, _MEASURED, tokens) if measured else [],
    )


def _show(report: CostReport, *, wanted: bool) -> None:
    held, quality = report.size, report.quality
    rows = [
        ("bits a weight", f"{held.matrix_bits:.2f}, embeddings and norms aside"),
        ("size", f"{size(held.bytes)}, {held.bytes / held.original_bytes:.2f} of {size(held.original_bytes)}"),
    ]
    if quality is not None:
        change = f"{quality.perplexity_change:+.2%}"
        rows += [
            ("perplexity", f"{quality.perplexity:.4g}, original {quality.original_perplexity:.4g} ({change})"),
            ("KL divergence", f"{quality.kl:.5f} nats a token, over {quality.tokens:,} tokens"),
            ("same best token", f"{quality.same_best:.1%}"),
        ]
    table([[(name, "bold"), (value, "")] for name, value in rows])
    if wanted and report.why:
        tell(f"quality was not measured: {report.why}")
