"""`quantize`: a model in fewer bits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model
from mistral7b.cli.terminal import emit, progress, size

EXAMPLES = examples(
    "mistral7b quantize ./Mistral-7B-v0.3 ./v0.3-int4 --format int4",
    "mistral7b quantize tiny ./tiny-int8 --format int8 --head int8",
)


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
    force: Annotated[bool, typer.Option("--force", help="Replace OUT, and take parts that contradict each other.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a model in fewer bits.

    One matrix is in memory at a time. OUT appears when it is whole, or not at all; use it like any model folder.
    """
    from mistral7b.quantize.recipe import Recipe
    from mistral7b.quantize.run import quantize as run

    path = find_model(model)
    with progress(f"quantising {model}", in_bytes=False) as done:
        files = run(path, out, Recipe(layers, head), force=force, progress=done)
    sizes = {file.name: file.stat().st_size for file in files}
    if as_json:
        emit({"path": str(out), "files": [{"name": name, "bytes": n} for name, n in sizes.items()], "bytes": sum(sizes.values())})
    else:
        print(f"{out}: {', '.join(f'{name} {size(n)}' for name, n in sizes.items())}")
