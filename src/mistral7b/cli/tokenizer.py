"""`tokenizer`: train one, and encode documents with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.help import CONTEXT_SETTINGS, Verb, examples, group
from mistral7b.cli.terminal import emit, note, progress, table, tell
from mistral7b.errors import DataError, RequestError

_TRAIN = (
    "mistral7b tokenizer train recipe.yaml --out ./tokenizer",
    "mistral7b tokenizer train recipe.yaml --set DATA=../data --out ./tokenizer",
    "mistral7b tokenizer train --documents ./documents --vocab-size 32768 --out ./tokenizer",
)
_ENCODE = (
    "mistral7b tokenizer encode ./documents ./shards --tokenizer ./tokenizer/tokenizer.model.v3",
    "mistral7b tokenizer encode ./documents ./shards --tokenizer tokenizer.model.v3 --workers 8",
)
_ALONE = "Without a recipe"
_ALL = 10**15  # characters: more than any source has

app = group("Train a tokenizer; encode documents.", _TRAIN[0], _ENCODE[0])


@app.command(cls=Verb, epilog=examples(*_TRAIN), context_settings=CONTEXT_SETTINGS)
def train(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="A YAML recipe; or give --documents.")] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="The folder to make: tokenizer.model.v3, tokenizer.json.", show_default=False
        ),
    ],
    given: options.Variables = None,
    documents: Annotated[
        Path | None,
        typer.Option("--documents", metavar="FOLDER", help="Learn from all of these, without a recipe.", rich_help_panel=_ALONE),
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option("--vocab-size", metavar="N", help="Ids in all; 32,768 unless given.", rich_help_panel=_ALONE)
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="Threads to train on; 1 unless given.", rich_help_panel=_ALONE),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a tokenizer that is there already.")] = False,
    as_json: options.Json = False,
) -> None:
    """Train a tokenizer.

    SentencePiece BPE with byte fallback and v3's control tokens at v3's ids; any text comes back as it was. tokenizer.json
    gives transformers the same ids.
    """
    if (recipe is None) == (documents is None):
        raise RequestError("give a recipe or --documents, one of them. Try 'mistral7b tokenizer train --help'")
    if recipe is not None and (vocab_size or threads):
        raise RequestError("--vocab-size and --threads go with --documents; a recipe states its own")
    if documents is not None and given:
        raise RequestError("--set is for a recipe; leave it out with --documents")
    from mistral7b.data.documents import Documents
    from mistral7b.data.train_tokenizer import TokenizerRecipe, train_tokenizer
    from mistral7b.recipe import read_recipe, settings

    if recipe is not None:
        wanted = read_recipe(recipe, TokenizerRecipe, settings(given or ()))
    else:
        assert documents is not None
        sources = dict.fromkeys(Documents.open(documents).sources, _ALL)
        try:
            wanted = TokenizerRecipe(documents, sources, vocab_size or 32_768, threads=threads or 1)
        except ValueError as error:
            raise RequestError(f"--vocab-size: {error}") from None
    tell(f"training {wanted.vocab_size:,} pieces")
    made = train_tokenizer(wanted, out, force=force)
    if as_json:
        emit({"path": str(made.path), "vocab_size": made.vocab_size, "characters": made.characters,
              "bytes_per_token": made.bytes_per_token})  # fmt: skip
        return
    print(f"{made.path}: {made.vocab_size:,} pieces, learned from {made.characters:,} characters")
    rows = ((name, f"{n:.2f} bytes a token, held out") for name, n in made.bytes_per_token.items())
    table([[(name, "bold"), (value, "")] for name, value in rows])


@app.command(cls=Verb, epilog=examples(*_ENCODE), context_settings=CONTEXT_SETTINGS)
def encode(
    documents: Annotated[Path, typer.Argument(metavar="DOCUMENTS", help="A folder that mistral7b curate made.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make, or to go on with.")],
    tokenizer: Annotated[Path, typer.Option("--tokenizer", metavar="FILE", help="A tokenizer.model.", show_default=False)],
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Threads.", show_default=True)] = 1,
    shard_tokens: Annotated[
        int | None, typer.Option("--shard-tokens", metavar="N", min=1, help="Tokens of a file; 67,108,864 unless given.")
    ] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Count lines that are no documents, and go on without them.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Encode documents into token shards.

    Stopped and started again with the same arguments it goes on where it was; the bytes are the same, and for any number of
    workers. The manifest is written last.
    """
    from mistral7b.data.encode import DEFAULT_SHARD_TOKENS
    from mistral7b.data.encode import encode as run

    told = 0

    def bad(error: DataError) -> None:
        nonlocal told
        told += 1
        if told <= 10:
            note(f"{error}; left out")

    with progress(f"encoding {documents}") as show:
        made = run(
            documents, out, tokenizer, workers=workers, shard_tokens=shard_tokens or DEFAULT_SHARD_TOKENS,
            skip_bad_lines=skip_bad_lines, on_bad_line=bad, progress=show,
        )  # fmt: skip
    splits = {name: {split: {"documents": n.documents, "tokens": n.tokens, "bytes": n.bytes} for split, n in held.items()}
              for name, held in made.sources.items()}  # fmt: skip
    if as_json:
        emit({"path": str(out), "tokens": made.tokens, "sources": splits, "bad_lines": made.bad_lines,
              "kept_shards": made.kept_shards})  # fmt: skip
        return
    rows = [[("source", "dim"), ("split", "dim"), ("documents", "dim"), ("tokens", "dim"), ("bytes a token", "dim")]]
    for name, held in splits.items():
        for split, n in held.items():
            ratio = f"{n['bytes'] / n['tokens']:.2f}" if n["tokens"] else "-"
            rows.append([(name, "bold"), (split, ""), (f"{n['documents']:,}", ""), (f"{n['tokens']:,}", ""), (ratio, "")])
    table(rows)
    left = f", {made.bad_lines:,} lines left out" if made.bad_lines else ""
    kept = f", {made.kept_shards:,} shards were there" if made.kept_shards else ""
    print(f"{out}: {made.tokens:,} tokens{left}{kept}")
