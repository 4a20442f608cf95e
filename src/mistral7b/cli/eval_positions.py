"""`eval positions`: how well each position of a long text is predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.opening import find_model, settle_threads
from mistral7b.cli.terminal import GIGABYTE, emit, progress, table
from mistral7b.errors import DataError

LINES = (
    "mistral7b eval positions book.txt --figure positions.png",
    "mistral7b eval positions stories.jsonl.gz --join --tokens 4096 --json",
)


def positions(
    file: Annotated[Path, typer.Argument(metavar="FILE", help='A text, or .jsonl with a "text" a line; .gz of either.')],
    model: options.Model = "tiny",
    tokens: Annotated[
        int | None, typer.Option("--tokens", metavar="N", min=2, help="Positions to look at; default: 8 windows, or the context.")
    ] = None,
    bucket: Annotated[
        int | None, typer.Option("--bucket", metavar="N", min=1, help="Positions of one figure; default: an eighth of a window.")
    ] = None,
    join: Annotated[bool, typer.Option("--join", help="Read all documents as one text: for documents that are short.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Read no more than N pieces of all that length.")
    ] = None,
    figure: Annotated[Path | None, typer.Option("--figure", metavar="PNG", help="Draw it.")] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Measure how well tokens are predicted by their position.

    Text is cut into pieces of --tokens, each beginning anew; shown is the mean negative log-probability of a token in each
    stretch of positions, out to where a sliding window has moved on several times. Less is better; a rise shows how far the
    model carries.
    """
    from mistral7b.api import LLM
    from mistral7b.checkpoint.digest import sha256_of
    from mistral7b.evals.bits import read_documents
    from mistral7b.evals.picture import check_drawing
    from mistral7b.evals.positions import bucket_of, by_position, draw, longest, pieces_of

    if figure is not None:
        check_drawing()
    texts = read_documents(file)
    if not any(texts):
        raise DataError(f"{file} holds no text")
    path = find_model(model)
    with progress(f"loading {model}", at_least=GIGABYTE) as loaded:
        length = tokens or longest(path, force=force)
        llm = LLM(path, dtype=dtype, device=device, max_model_len=length, force=force, progress=loaded)
    settle_threads(llm.checkpoint.config.n_params)
    window, trained = llm.checkpoint.config.sliding_window, llm.checkpoint.trained_context
    pieces = pieces_of(llm, ["\n\n".join(texts)] if join else texts, llm.max_model_len)[:limit]
    with progress(f"measuring {file.name}", in_bytes=False) as done:
        found = by_position(llm, pieces, bucket or bucket_of(window, llm.max_model_len), done)
    if figure is not None:
        draw(figure, found, window, trained)
    if as_json:
        emit(
            {
                "model": model, "file": str(file), "file_sha256": sha256_of(file), "joined": join, "pieces": len(pieces),
                "window": window, "trained_context": trained, "buckets": [each.to_json() for each in found],
            }
        )  # fmt: skip
        return
    head = [("positions", "bold"), ("tokens", "bold"), ("nats a token", "bold"), ("error", "bold"), ("perplexity", "bold")]
    rows = [
        [(f"{each.begin:,} to {each.end - 1:,}", ""), (f"{each.tokens:,}", ""), (f"{each.nll:.4f}", ""),
         ("" if each.error is None else f"±{each.error:.4f}", "dim"), (f"{each.perplexity:.2f}", "")]
        for each in found
    ]  # fmt: skip
    table([head, *rows])
