"""`merge`: an adapter put into its model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model, settle_threads
from mistral7b.cli.terminal import emit, progress, size, table, tell
from mistral7b.errors import MemoryFitError, TokenizerError

if TYPE_CHECKING:
    from mistral7b.evals.drift import Drift

EXAMPLES = examples(
    "mistral7b merge ./Mistral-7B-v0.3 ./my-adapter ./my-model",
    "mistral7b merge ./v0.3-int4 ./my-adapter ./my-model --dtype bf16",
    'mistral7b merge tiny ./my-adapter ./my-tiny --text "Once upon a time" --json',
)
_REPORT = "Report"


def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model: tiny, a folder, a .gguf file or a hub id.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="The adapter's folder, PEFT's or mistral-finetune's.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to make; for a .gguf MODEL the file.")],
    dtype: Annotated[
        Literal["keep", "bf16", "f16", "f32"],
        typer.Option("--dtype", metavar="TYPE", help="keep (as MODEL, quantised too), bf16, f16 or f32."),
    ] = "keep",
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="TEXT", help="Measure on TEXT; default: a short one.", rich_help_panel=_REPORT),
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Do not measure what merging changed.", rich_help_panel=_REPORT)
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace TARGET, and take parts that contradict each other.")] = False,
    as_json: options.Json = False,
) -> None:
    """Merge an adapter into its model.

    Tensor by tensor, in fp32, in the format of MODEL; TARGET appears when it is whole, or not at all. At the end it is
    measured how far the merged model's logits lie from those of the adapter applied. A quantised model stays quantised, and
    the report says how much of the adapter's effect that left.
    """
    from mistral7b.checkpoint.folder import open_checkpoint
    from mistral7b.checkpoint.merge import merge as run

    path = find_model(model)
    settle_threads(open_checkpoint(path, force=force).config.n_params)
    with progress(f"merging into {target.name}") as wrote:
        files = run(path, adapter, target, dtype=dtype, force=force, progress=wrote)
    drift, why = (None, "not asked for") if no_report else _measured(path, adapter, target, text, force=force)
    sizes = {file.name: file.stat().st_size for file in files}
    if as_json:
        listed = [{"name": name, "bytes": n} for name, n in sizes.items()]
        told = None if drift is None else drift.to_json()
        emit({"path": str(target), "files": listed, "bytes": sum(sizes.values()), "drift": told, "why": why or None})
        return
    print(f"{target}: {', '.join(f'{name} {size(n)}' for name, n in sizes.items())}")
    if drift is not None:
        _show(drift)
    elif not no_report:
        tell(f"the drift was not measured: {why}")


def _measured(model: Path, adapter: Path, merged: Path, text: str | None, *, force: bool) -> tuple[Drift | None, str]:
    """(What merging changed, or why it is not known)."""
    from mistral7b.evals.drift import TEXT, measure_drift

    try:
        return measure_drift(model, adapter, merged, TEXT if text is None else text, force=force), ""
    except (MemoryFitError, TokenizerError) as error:
        return None, str(error)


def _show(drift: Drift) -> None:
    effect = "the adapter changes nothing here" if drift.kept is None else f"{drift.kept:.1%} of the adapter's effect kept"
    rows = [
        ("logit drift", f"largest {drift.largest:.4g}, mean {drift.mean:.4g}, over {drift.tokens:,} tokens"),
        ("KL divergence", f"{drift.kl:.3g} nats a token"),
        ("same best token", f"{drift.same_best:.1%}"),
        ("effect", effect),
    ]
    table([[(name, "bold"), (value, "")] for name, value in rows])
