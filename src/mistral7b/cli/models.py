"""`convert`: a model in another format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model
from mistral7b.cli.terminal import emit, progress, size
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.checkpoint.adapters import Layout
    from mistral7b.checkpoint.convert import Dtype, Target

EXAMPLES = examples(
    "mistral7b convert mistralai/Mistral-7B-v0.3 ./v0.3 --to consolidated",
    "mistral7b convert ./mistral-7B-v0.1 ./v0.1-hf --to hf",
    "mistral7b convert tiny tiny.gguf --to gguf --dtype f16",
    "mistral7b convert ./my-adapter ./for-peft --to peft",
    "mistral7b convert ./Mistral-7B-v0.1 ./v0.1-extended --extend-vocab",
)


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The model: tiny, a folder, a .gguf file or a hub id; or an adapter's folder.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to make; for gguf the file.")],
    to: Annotated[
        Literal["hf", "consolidated", "gguf", "peft", "mistral"] | None,
        typer.Option("--to", metavar="FORMAT", help="hf, consolidated or gguf; an adapter: peft or mistral."),
    ] = None,
    dtype: Annotated[
        Literal["keep", "bf16", "f16", "f32"],
        typer.Option("--dtype", metavar="TYPE", help="keep (bit for bit), bf16, f16 or f32."),
    ] = "keep",
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="The model an adapter is for, where it does not tell.")
    ] = None,
    extend_vocab: Annotated[
        bool, typer.Option("--extend-vocab", help="Extend the 32,000 ids of v0.1 or v0.2 to the 32,768 of the v3 tokenizer.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace TARGET, and convert parts that contradict each other.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a model, or an adapter, in another format.

    TARGET appears when it is whole, or not at all. Tokenizer, model card and licence files go along. With --extend-vocab every
    old id but the first three moves up by 768, the new ones begin as the mean of the old, and the v3 tokenizer goes along.
    """
    if to is None and not extend_vocab:
        raise RequestError("convert needs --to: hf, consolidated or gguf, or for an adapter peft or mistral")
    if to == "peft" or to == "mistral":
        if extend_vocab:
            raise RequestError("--extend-vocab is for a model, and --to peft or mistral for an adapter; leave out one of them")
        files = _convert_adapter(Path(source), target, to, dtype, base, force=force)
    elif base is not None:
        raise RequestError("--base is for an adapter, --to peft or mistral")
    else:
        files = _convert_model(source, target, to, dtype, extend=extend_vocab, force=force)
    report(target, files, as_json=as_json)


def _convert_model(source: str, target: Path, to: Target | None, dtype: Dtype, *, extend: bool, force: bool) -> list[Path]:
    from mistral7b.checkpoint.convert import convert as run
    from mistral7b.checkpoint.vocabulary import extend_vocabulary

    path = find_model(source)
    with progress(f"writing {target.name}") as wrote:
        if extend:
            return extend_vocabulary(path, target, to=to, dtype=dtype, force=force, progress=wrote)
        assert to is not None
        return run(path, target, to=to, dtype=dtype, force=force, progress=wrote)


def _convert_adapter(source: Path, target: Path, to: Layout, dtype: Dtype, base: str | None, *, force: bool) -> list[Path]:
    from mistral7b.checkpoint.adapters import convert_adapter
    from mistral7b.checkpoint.convert import DTYPES

    found = None if base is None else find_model(base)
    return convert_adapter(source, target, to, base=found, dtype=DTYPES.get(dtype), force=force)


def report(place: Path, files: Sequence[Path], *, as_json: bool) -> None:
    """The files with their sizes, and their sum."""
    sizes = {path.name: path.stat().st_size for path in files if path.is_file()}
    if as_json:
        emit(
            {"path": str(place), "files": [{"name": name, "bytes": n} for name, n in sizes.items()], "bytes": sum(sizes.values())}
        )
        return
    listed = ", ".join(f"{name} {size(n)}" for name, n in sizes.items())
    print(f"{place}: {listed}" + (f" (together {size(sum(sizes.values()))})" if len(sizes) > 1 else ""))
