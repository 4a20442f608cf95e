"""`eval`: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mistral7b.cli import (
    eval_arena,
    eval_list,
    eval_mt_bench,
    eval_passkey,
    eval_positions,
    eval_run,
    eval_safety,
    options,
)
from mistral7b.cli.help import CONTEXT_SETTINGS, Verb, Verbs, examples, group
from mistral7b.cli.opening import find_model, settle_threads
from mistral7b.cli.terminal import GIGABYTE, emit, note, progress, table
from mistral7b.errors import DataError, TokenizerError

_BPB = (
    "mistral7b eval bpb story.txt",
    "mistral7b eval bpb held-out.jsonl.gz --model ./Mistral-7B-v0.3 --json",
)


class Evals(Verbs):
    """Its verbs, and before them whatever is none: the names of benchmarks, which `run` takes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        verb = not args or args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if verb else ["run", *args])


app = group(
    "Measure how good a model is.",
    "mistral7b eval piqa --data-dir ../shared/data/eval --limit 20 --json",
    "mistral7b eval table2 --data-dir ../shared/data/eval --model ./Mistral-7B-v0.1 --out table2",
    "mistral7b eval list",
    cls=Evals,
)
for name, verb, epilog in (
    ("run", eval_run.run, eval_run.EXAMPLES),
    ("list", eval_list.list_benchmarks, eval_list.EXAMPLES),
    ("positions", eval_positions.positions, examples(*eval_positions.LINES)),
    ("passkey", eval_passkey.passkey, examples(*eval_passkey.LINES)),
    ("mt-bench", eval_mt_bench.mt_bench, eval_mt_bench.EXAMPLES),
    ("arena", eval_arena.arena, eval_arena.EXAMPLES),
    ("safety", eval_safety.safety, eval_safety.EXAMPLES),
):
    app.command(name, cls=Verb, epilog=epilog, context_settings=CONTEXT_SETTINGS)(verb)


@app.command(cls=Verb, epilog=examples(*_BPB), context_settings=CONTEXT_SETTINGS)
def bpb(
    file: Annotated[Path, typer.Argument(metavar="FILE", help='A text, or .jsonl with a "text" a line; .gz of either.')],
    model: options.Model = "tiny",
    context: Annotated[
        int | None,
        typer.Option("--context", metavar="N", min=2, help="Read in pieces of N tokens; default: as trained, 4,096 at most."),
    ] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Leave out lines that are no documents, and count them.")
    ] = False,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Measure the bits per byte of a text.

    The bits that the model's probabilities make of every token and of the end of each document, over the bytes of the
    text: less is better, and models with different tokenizers can be compared.
    """
    from mistral7b.checkpoint.digest import sha256_of
    from mistral7b.evals.bits import LONGEST_CONTEXT, bits_per_byte, read_documents
    from mistral7b.loading import load

    bad: list[DataError] = []
    texts = read_documents(file, bad.append if skip_bad_lines else None)
    if not any(texts):
        raise DataError(f"{file} holds no text")
    for error in bad[:10]:
        note(f"{error}; left out")
    path = find_model(model)
    with progress(f"loading {model}", at_least=GIGABYTE) as loaded:
        opened = load(path, dtype=dtype, device=device, force=force, progress=loaded)
    if opened.tokenizer is None:
        raise TokenizerError("text needs a tokenizer, and this model folder has none; add its tokenizer.model")
    settle_threads(opened.checkpoint.config.n_params)
    trained = opened.checkpoint.trained_context or opened.checkpoint.max_positions or LONGEST_CONTEXT
    with progress(f"measuring {file.name}", in_bytes=False) as done:
        found = bits_per_byte(opened.model, opened.tokenizer, texts, context or min(trained, LONGEST_CONTEXT), done)
    if as_json:
        emit({**found.to_json(), "model": model, "file": str(file), "file_sha256": sha256_of(file), "bad_lines": len(bad)})
        return
    rows = [
        ("bits per byte", f"{found.per_byte:.4f}"),
        ("text", f"{found.documents:,} documents, {found.bytes:,} bytes, {found.tokens:,} tokens"),
        ("context", f"{found.context:,} tokens"),
    ]
    if bad:
        rows.append(("left out", f"{len(bad):,} lines that are no documents"))
    table([[(name, "bold"), (value, "")] for name, value in rows])
