"""`generate`: a text goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.answers import answer_json, tell_about
from mistral7b.cli.help import examples
from mistral7b.cli.opening import Opened, open_model
from mistral7b.cli.terminal import DIM, emit, paint, printable, write
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.outputs import Delta

EXAMPLES = examples(
    'mistral7b generate "Once upon a time"',
    "mistral7b generate --prompt-file story.txt -m v0.3 --greedy --stop THE",
    'mistral7b generate "2 + 2 =" --json --logprobs 5 | jq .text',
)
Prompt = str | list[int]


def generate(
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="Text to continue; - reads it from stdin.")] = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", metavar="FILE", help="Continue this file's text.", rich_help_panel="Prompt")
    ] = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="1,2,3", help="Continue these token ids as they are.", rich_help_panel="Prompt")
    ] = None,
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = None,
    greedy: options.Greedy = False,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    logprobs: Annotated[
        int | None,
        typer.Option("--logprobs", metavar="N", help="With --json: each token's log probability and the N likeliest.",
                     rich_help_panel="Output"),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    model: options.Model = "tiny",
    lora: options.Lora = None,
    dtype: options.Dtype = "auto",
    kv_dtype: options.KVDtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    variant: options.VariantName = None,
    force: options.Force = False,
) -> None:  # fmt: skip
    """Continue a text.

    The text goes on where PROMPT ends; one line end at the end of a file or of stdin is no part of it. Nothing is added but
    the token that begins every text. It streams to stdout; what was read and how fast it went is told on stderr.
    """
    if logprobs is not None and not as_json:
        raise RequestError("--logprobs stand in the JSON object; add --json")
    params = options.sampling(
        temperature=temperature, greedy=greedy, top_p=top_p, top_k=top_k, seed=seed, max_tokens=max_tokens, stop=stop,
        logprobs=logprobs,
    )  # fmt: skip
    wanted = read_prompt(prompt, prompt_file, ids)
    opened = open_model(
        model,
        dtype=dtype,
        kv_dtype=kv_dtype,
        device=device,
        max_model_len=max_model_len,
        variant=variant,
        lora=lora,
        force=force,
        quiet=quiet or as_json,
    )
    if as_json:
        emit(answer_json(opened.llm.generate(wanted, params, adapter=opened.adapter)[0], opened, params))
        return
    last = _stream(opened, wanted, params)
    tell_about(last.output, params, quiet=quiet)


def read_prompt(prompt: str | None, file: Path | None, ids: str | None) -> Prompt:
    """The one prompt that was given, as text or as ids; RequestError for none, several, an empty one or none that is text."""
    given = [one for one in (prompt, file, ids) if one is not None]
    if not given:
        raise RequestError("there is no prompt; give one, - to read it from stdin, --prompt-file or --ids")
    if len(given) > 1:
        raise RequestError(f"there are {len(given)} prompts; give one of PROMPT, --prompt-file and --ids")
    if ids is not None:
        return _read_ids(ids)
    try:
        if file is not None:
            text = file.read_text(encoding="utf-8").removesuffix("\n")
        else:
            text = sys.stdin.read().removesuffix("\n") if prompt == "-" else prompt or ""
        text.encode()
    except UnicodeError:
        raise RequestError(f"{file or 'the prompt'} is not UTF-8 text; save it as UTF-8, or pass --ids") from None
    if not text:
        raise RequestError(f"the prompt{f' in {file}' if file else ''} is empty; give at least one character")
    return text


def _read_ids(ids: str) -> list[int]:
    try:
        return [int(id) for id in ids.split(",")]
    except ValueError:
        raise RequestError(f"--ids {ids!r} must be token ids with commas between them, as in 1,2,3") from None


def _stream(opened: Opened, prompt: Prompt, params: SamplingParams) -> Delta:
    """Text to stdout as it comes, or ids where there is no tokenizer; on a terminal the prompt stands before it, dim."""
    in_ids = opened.llm.tokenizer is None
    deltas = opened.llm.stream(prompt, params, adapter=opened.adapter)
    if isinstance(prompt, str) and sys.stdout.isatty():
        sys.stdout.write(paint(printable(prompt), DIM, stream=sys.stdout))
        sys.stdout.flush()
    for count, delta in enumerate(deltas):
        id = delta.output.outputs[0].token_ids[-1]
        write(f"{',' if count else ''}{id}" if in_ids else delta.text)
    write("\n")
    return delta
