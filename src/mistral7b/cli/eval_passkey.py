"""`eval passkey`: whether a number said long ago is still known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.opening import find_model, settle_threads
from mistral7b.cli.terminal import GIGABYTE, emit, progress, table
from mistral7b.errors import RequestError

LINES = (
    "mistral7b eval passkey --hide name --lengths 256,512,1024",
    "mistral7b eval passkey --model ./Mistral-7B-v0.1 --lengths 2048,8192 --depths 5 --figure passkey.png",
)


def passkey(
    model: options.Model = "tiny",
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,N,...", help="Lengths of prompts in tokens.", show_default=True)
    ] = "256,512,1024",
    depths: Annotated[
        int,
        typer.Option(
            "--depths", metavar="N", min=1, help="Places of the number, from the beginning to the end.", show_default=True
        ),
    ] = 5,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=2, help="Prompts for each length and place.", show_default=True)
    ] = 8,
    hide: Annotated[
        Literal["number", "name"],
        typer.Option("--hide", metavar="WHAT", help="number, or name for models that know none.", show_default=True),
    ] = "number",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Draws the numbers.", show_default=True)] = 0,
    figure: Annotated[Path | None, typer.Option("--figure", metavar="PNG", help="Draw it.")] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Hide a number in idle talk, and ask for it at the end.

    For each length of the prompt and place of the number: the share of greedy answers that are right, what the number gains in
    log-probability by having been said (0: it is forgotten), and its mean place among all trials' numbers by that (1: best).
    """
    from mistral7b.api import LLM
    from mistral7b.evals.passkey import ANSWER, draw
    from mistral7b.evals.passkey import passkey as measure
    from mistral7b.evals.picture import check_drawing

    if figure is not None:
        check_drawing()
    wanted = _numbers(lengths)
    places = [place / (depths - 1) for place in range(depths)] if depths > 1 else [0.5]
    path = find_model(model)
    with progress(f"loading {model}", at_least=GIGABYTE) as loaded:
        llm = LLM(path, dtype=dtype, device=device, max_model_len=max(wanted) + ANSWER, force=force, progress=loaded)
    settle_threads(llm.checkpoint.config.n_params)
    with progress("asking", in_bytes=False) as done:
        cells = measure(llm, wanted, places, trials, kind=hide, seed=seed, progress=done)
    if figure is not None:
        draw(figure, cells)
    if as_json:
        window = llm.checkpoint.config.sliding_window
        emit({"model": model, "hidden": hide, "seed": seed, "window": window, "cells": [cell.to_json() for cell in cells]})
        return
    head = [
        ("tokens", "bold"),
        ("depth", "bold"),
        ("tokens ago", "bold"),
        ("right", "bold"),
        ("nats gained", "bold"),
        (f"place of {trials}", "bold"),
    ]
    rows = [
        [(f"{cell.length:,}", ""), (f"{cell.depth:.2f}", ""), (f"{cell.distance:,}", ""), (f"{cell.exact:.0%}", ""),
         (f"{cell.gain:+.2f}", ""), (f"{cell.rank:.1f}", "")]
        for cell in cells
    ]  # fmt: skip
    table([head, *rows])


def _numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise RequestError(f"--lengths must be numbers of tokens such as 256,1024, not {text!r}")
    return found
