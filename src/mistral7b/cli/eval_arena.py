"""`eval arena`: two models, a page to vote on, and what the votes say."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.chat_models import MODEL_HELP, open_chat
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, note, table, tell
from mistral7b.errors import RequestError

EXAMPLES = examples(
    "mistral7b eval arena ./Mistral-7B-Instruct-v0.1 llama@http://127.0.0.1:8001/v1 --votes votes.jsonl",
    "mistral7b eval arena --scores votes.jsonl --json",
)
_ARENA = "Arena"


def arena(
    models: Annotated[list[str] | None, typer.Argument(metavar="A B", help=f"Two models: {MODEL_HELP}")] = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Where the page is; 0 takes any that is free.",
                          show_default=True, rich_help_panel=_ARENA)
    ] = 8080,
    votes: Annotated[
        Path, typer.Option("--votes", metavar="FILE", help="Votes are added to this .jsonl.", show_default=True,
                           rich_help_panel=_ARENA)
    ] = Path("votes.jsonl"),
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="No page: score the votes of this file.",
                                  rich_help_panel=_ARENA)
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", metavar="T", min=0.0, help="0 is greedy.", show_default=True,
                            rich_help_panel="Sampling")
    ] = options.TEMPERATURE,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", metavar="N", min=1, help="End after N tokens.", show_default=True,
                          rich_help_panel="Sampling")
    ] = 512,
    key_env_a: Annotated[
        str | None, typer.Option("--key-env-a", metavar="NAME", help="The variable with the API key of A, if it is behind a URL.",
                                 rich_help_panel="Model")
    ] = None,
    key_env_b: Annotated[
        str | None, typer.Option("--key-env-b", metavar="NAME", help="The same for B.", rich_help_panel="Model")
    ] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Compare two models blind, on a page in the browser.

    Both answer what you ask, on sides that are drawn anew each time; you vote, then you are told which was which. --scores
    gives Bradley-Terry scores with 95 % intervals; a tie is half a win for each side.
    """
    if scores is not None:
        if models:
            raise RequestError("--scores reads votes and needs no models; leave out one of them")
        _show_scores(scores, as_json=as_json)
        return
    if as_json:
        raise RequestError("--json goes with --scores FILE; a page has nothing to print")
    if len(models or ()) != 2:
        raise RequestError("an arena needs two models, A and B, or --scores FILE")
    from mistral7b.evals.arena.battles import Arena
    from mistral7b.evals.arena.serve import serve
    from mistral7b.evals.lines import Lines

    lock = threading.Lock()
    a, b = (
        open_chat(
            name, key_env=key_env, dtype=dtype, device=device, max_model_len=max_model_len, force=force, lock=lock
        )
        for name, key_env in zip(models or (), (key_env_a, key_env_b), strict=True)
    )  # fmt: skip
    with Lines(votes) as kept:
        before = len(kept.records)
        duel = Arena((a, b), kept, temperature=temperature, max_tokens=max_tokens)
        serve(duel, port, lambda url: tell(f"open {url} to compare {a.name} and {b.name}; Ctrl-C ends it"))
        tell(f"{len(kept.records) - before} votes were added to {votes}; --scores {votes} scores them")


def _show_scores(path: Path, *, as_json: bool) -> None:
    from mistral7b.evals.arena import scores

    votes = scores.read_votes(path)
    found = scores.standings(votes)
    if as_json:
        emit(
            {"votes": len(votes), "resamples": scores.RESAMPLES, "method": scores.METHOD, "models": [s.to_json() for s in found]}
        )
        return
    rows = [[(cell, "bold") for cell in ("model", "score", "95 %", "won", "wins", "losses", "ties", "both bad")]]
    for one in found:
        interval, won = f"{one.low:,.0f} to {one.high:,.0f}", f"{one.won:.1%}"
        counts = (str(n) for n in (one.wins, one.losses, one.ties, one.both_bad))
        rows.append([(cell, "") for cell in (one.model, f"{one.score:,.0f}", interval, won, *counts)])
    table(rows)
    note(scores.METHOD)
