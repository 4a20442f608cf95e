"""`eval TASK...`: benchmarks, as the paper ran them."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import open_model
from mistral7b.cli.terminal import emit, note, progress, table, tell
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.evals.results import Results

EXAMPLES = examples(
    "mistral7b eval run piqa --data-dir ../shared/data/eval --limit 20 --json",
    "mistral7b eval run table2 --data-dir ../shared/data/eval -m ./Mistral-7B-v0.1 --out table2 --allow-code",
)


def run(
    context: typer.Context,
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="Benchmarks or presets; `mistral7b eval list` has them.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Their data, a folder each; default: from the hub.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="The first N items of each task.")] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", metavar="N", min=0, help="Examples before each item; default: the paper's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Draws examples, samples and intervals.")] = 0,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run the programs the model writes, in a sandbox: HumanEval and MBPP.")
    ] = False,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Ask as in a chat, each example a turn.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Keep results, items and report here; go on if it has some.")
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Keep each item's prompt too, beside its sha256.")] = False,
    model: options.Model = "tiny",
    lora: options.Lora = None,
    dtype: options.Dtype = "auto",
    kv_dtype: options.KVDtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Requests computed at once.", rich_help_panel="Model")
    ] = 32,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Measure benchmarks; the word run may be left out.

    Prompts, examples and metrics are those of the paper's table, as far as they are known. Beside this model's figures stand
    the published ones, marked. With --out a run that was stopped goes on where it was when the same command is given again.
    """
    try:
        from mistral7b.evals.whole import Settings, prepare, run_all
    except ModuleNotFoundError as error:
        raise RequestError(f"eval needs the package {error.name}; pip install 'mistral7b[eval]'") from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # what it warns of, such as a task's own data, is meant here
    _check_verbs(context, tasks)
    settings = Settings(
        names=tuple(tasks), data=data_dir, limit=limit, shots=shots, seed=seed, allow_code=allow_code,
        chat=apply_chat_template, prompts=prompts,
    )  # fmt: skip
    plan = prepare(settings, out)
    opened = open_model(
        model, dtype=dtype, kv_dtype=kv_dtype, device=device, max_model_len=max_model_len, max_num_seqs=batch, variant=None,
        lora=lora, force=force, quiet=as_json,
    )  # fmt: skip
    with progress("measuring", in_bytes=False) as done:
        results = run_all(
            opened.llm, opened.to_json(), plan, settings, adapter=opened.adapter, out=out, progress=done
        )  # fmt: skip
    if as_json:
        emit(results.to_json())
        return
    _show(results)
    if out is not None:
        tell(f"{out}/report.md, {out}/figure.png, {out}/results.json, {out}/items")


def _check_verbs(context: typer.Context, tasks: list[str]) -> None:
    """Raises RequestError for a name that is nearer to a verb beside this one than to any benchmark."""
    from mistral7b.evals.tasks import known

    verbs = context.parent.command.commands if context.parent is not None else {}  # type: ignore[attr-defined]
    for task in tasks:
        near = get_close_matches(task, [*known(), *verbs], 1)
        if near and near[0] in verbs and task not in verbs:
            raise RequestError(f"there is no benchmark {task}; did you mean mistral7b eval {near[0]}?")


def _show(results: Results) -> None:
    from mistral7b.evals.report import OURS, cells, notes

    head, *rows = cells(results)
    styled = [[(cell, "bold" if column in (0, OURS) else "") for column, cell in enumerate(row)] for row in rows]
    table([[(cell, "dim") for cell in head], *styled])
    for line in notes(results):
        note(line)
