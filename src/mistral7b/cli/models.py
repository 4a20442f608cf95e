"""`convert` and `download`: models as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model
from mistral7b.cli.terminal import emit, progress, size

CONVERT_EXAMPLES = examples(
    "mistral7b convert mistralai/Mistral-7B-v0.3 ./v0.3 --to consolidated",
    "mistral7b convert ./mistral-7B-v0.1 ./v0.1-hf --to hf",
    "mistral7b convert tiny tiny.gguf --to gguf --dtype f16",
)
DOWNLOAD_EXAMPLES = examples(
    "mistral7b download v0.3-instruct", "mistral7b download mistralai/Mistral-7B-v0.1 --to ./v0.1 --revision main"
)


def convert(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The model: tiny, a folder, a .gguf file or a hub id.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to make; for gguf the file.")],
    to: Annotated[
        Literal["hf", "consolidated", "gguf"], typer.Option("--to", metavar="FORMAT", help="hf, consolidated or gguf.")
    ],
    dtype: Annotated[
        Literal["keep", "bf16", "f16", "f32"],
        typer.Option("--dtype", metavar="TYPE", help="keep (bit for bit), bf16, f16 or f32."),
    ] = "keep",
    force: Annotated[bool, typer.Option("--force", help="Replace TARGET, and convert parts that contradict each other.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a model in another format.

    TARGET appears when it is whole, or not at all. Tokenizer, model card and licence files go along.
    """
    from mistral7b.checkpoint.convert import convert as run

    path = find_model(source)
    with progress(f"writing {target.name}") as wrote:
        files = run(path, target, to=to, dtype=dtype, force=force, progress=wrote)
    _report(target, files, as_json=as_json)


def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A hub id, or a published model: v0.1 to v0.3-instruct.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder to download into; default: the hub's cache.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="Branch, tag or commit; default: main.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Download a model from the hub.

    One format of the weights, with its tokenizer. What broke off is resumed; every file is held against the hub's hash, and
    those of a published model against the official one.
    """
    from mistral7b.store.names import HUB, Progress, resolve

    def fetch(hub_id: str, at: Progress | None) -> Path:
        from mistral7b.store.hub import fetch as run

        return run(hub_id, revision=revision, target=to, progress=at)

    with progress(f"downloading {name}") as fetched:
        path = resolve(name, progress=fetched, fetchers={HUB: fetch})
    _report(path, sorted(path.iterdir()) if path.is_dir() else [path], as_json=as_json)


def _report(place: Path, files: Sequence[Path], *, as_json: bool) -> None:
    """The files with their sizes, and their sum."""
    sizes = {path.name: path.stat().st_size for path in files if path.is_file()}
    if as_json:
        emit(
            {"path": str(place), "files": [{"name": name, "bytes": n} for name, n in sizes.items()], "bytes": sum(sizes.values())}
        )
        return
    listed = ", ".join(f"{name} {size(n)}" for name, n in sizes.items())
    print(f"{place}: {listed}" + (f" (together {size(sum(sizes.values()))})" if len(sizes) > 1 else ""))
