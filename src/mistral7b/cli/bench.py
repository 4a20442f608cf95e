"""`bench`: how fast is the model here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model
from mistral7b.cli.terminal import GIGABYTE, emit, progress, size, table, tell
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.bench.run import Result
    from mistral7b.kernels.native_room import NativeKernels
    from mistral7b.model.transformer import Transformer

EXAMPLES = examples(
    "mistral7b bench --shape 7b --layers 2 --format int4 --prefill 512 --decode 32 --json",
    "mistral7b bench -m ./v0.3-int4",
)


def bench(
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="A model to measure; without one, --shape is made up.")
    ] = None,
    shape: Annotated[Literal["7b"], typer.Option("--shape", metavar="SHAPE", help="The shape of made-up weights: 7b.")] = "7b",
    layers: Annotated[int, typer.Option("--layers", metavar="N", min=1, max=32, help="How many of its layers; 32 are all.")] = 2,
    format: Annotated[
        Literal["int4", "int8", "bf16"], typer.Option("--format", metavar="FORMAT", help="int4 (default), int8 or bf16.")
    ] = "int4",
    prefill: Annotated[int, typer.Option("--prefill", metavar="N", min=1, help="Tokens of the prompt.")] = 512,
    decode: Annotated[int, typer.Option("--decode", metavar="N", min=1, help="Tokens written behind it.")] = 32,
    kv_dtype: options.KVDtype = "auto",
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Rounds, of which medians are shown.")] = 3,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Threads; default: one for each processor.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure prefill and decode on this machine's processor.

    Beside them stands what the machine can do at all: decode can be no faster than memory is read, prefill hardly faster than
    the best int8 product. Measure while nothing else runs.
    """
    from mistral7b.bench.run import run
    from mistral7b.kernels.native_room import NativeKernels, best_instruction_set
    from mistral7b.loading import pick_kv_dtype

    if best_instruction_set() is None:
        raise RequestError("bench measures the native kernels, which are not built here: install a C++ compiler, then mistral7b")
    kernels = NativeKernels(threads)
    name = model or f"{shape}, {layers} layers, {format}"
    network = _loaded(model, kernels) if model else _made(shape, layers, format, kernels)
    with progress(f"measuring {name}", in_bytes=False) as told:
        result = run(
            network, kernels, prefill=prefill, decode=decode, rounds=rounds, progress=told,
            kv_dtype=pick_kv_dtype(kv_dtype, network.dtype),
        )  # fmt: skip
    if as_json:
        emit({"model": name, **result.to_json()})
    else:
        _show(name, result)


def _made(shape: str, layers: int, format: str, kernels: NativeKernels) -> Transformer:
    from mistral7b.bench.made import network

    tell(f"making up {layers} layers of {shape} in {format}")
    return network(shape, layers, format, kernels)


def _loaded(model: str, kernels: NativeKernels) -> Transformer:
    from mistral7b.loading import load

    path = find_model(model)
    with progress(f"loading {model}", at_least=GIGABYTE) as loaded:
        return load(path, device="cpu", kernels=kernels, progress=loaded).model


def _show(name: str, result: Result) -> None:
    share = (
        "" if result.prefill_of_int8 is None else f"{result.prefill_of_int8:.2f} of oneDNN's int8, {result.int8_gops:,.0f} GOP/s"
    )
    reading = f"{result.decode_of_bandwidth:.2f} of plain reading, {result.read_gb_s:.1f} GB/s"
    rows = [
        [(f"prefill {result.prefill_tokens}", ""), (f"{result.prefill_tok_s:,.1f} tok/s", "bold"), (share, "dim")],
        [(f"decode {result.decode_tokens}", ""), (f"{result.decode_tok_s:,.1f} tok/s", "bold"), (reading, "dim")],
    ]
    print(f"{name}: {size(result.weight_bytes)} of weights, {result.instruction_set} kernels on {result.threads} threads")
    table(rows)
