"""Options that several verbs share, and the sampling parameters they make."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Literal

import typer

from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError

# What mistral-inference's own `mistral-chat` uses: alive, and on topic. 1.0, the library's default, is the distribution as
# trained, which rambles; greedy repeats itself.
TEMPERATURE = 0.7

_MODEL, _SAMPLING, _OUTPUT = "Model", "Sampling", "Output"
_SHOWN_SEED = 32  # bits of a seed drawn here: short enough to type again

Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME", rich_help_panel=_MODEL,
                 help="tiny, tiny-instruct, a folder, a .gguf file, v0.1 to v0.3-instruct, a hub id or a link."),
]  # fmt: skip
Dtype = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    typer.Option("--dtype", metavar="TYPE", help="auto (as stored), bfloat16, float16 or float32.", rich_help_panel=_MODEL),
]
Lora = Annotated[
    Path | None,
    typer.Option("--lora", metavar="FOLDER", help="Answer through this adapter, in PEFT's or mistral-finetune's layout.",
                 rich_help_panel=_MODEL),
]  # fmt: skip
KVDtype = Annotated[
    Literal["auto", "bfloat16", "int8"],
    typer.Option("--kv-dtype", metavar="TYPE", help="Cache of keys and values: auto (as --dtype), bfloat16 or int8.",
                 rich_help_panel=_MODEL),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, ...; auto takes a GPU if there is one.", rich_help_panel=_MODEL),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option("--max-model-len", metavar="N", help="Context in tokens, prompt and answer together; default: the model's.",
                 rich_help_panel=_MODEL),
]  # fmt: skip
VariantName = Annotated[
    str | None,
    typer.Option("--variant", metavar="NAME", help="The published model this should be, such as v0.3; checked.",
                 rich_help_panel=_MODEL),
]  # fmt: skip
Force = Annotated[
    bool, typer.Option("--force", help="Load parts that contradict each other, or that may not fit.", rich_help_panel=_MODEL)
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", "-t", metavar="T", help=f"0 is greedy; default: {TEMPERATURE}.", rich_help_panel=_SAMPLING),
]
Greedy = Annotated[bool, typer.Option("--greedy", help="Always the likeliest token: --temperature 0.", rich_help_panel=_SAMPLING)]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", metavar="P", help="Sample from the likeliest tokens that hold P of the probability.",
                 rich_help_panel=_SAMPLING),
]  # fmt: skip
TopK = Annotated[
    int | None, typer.Option("--top-k", metavar="K", help="Sample from the K likeliest tokens.", rich_help_panel=_SAMPLING)
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="The same seed gives the same text.", rich_help_panel=_SAMPLING)
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", "-n", metavar="N", help="End after N tokens.", show_default=True, rich_help_panel=_SAMPLING)
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End before TEXT; may be given several times.", rich_help_panel=_SAMPLING),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only the answer: nothing about what was read or how fast.", rich_help_panel=_OUTPUT)
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A ${NAME} or a key of the recipe (optimizer.rate=1e-4); may be given several times.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel=_OUTPUT)]


def sampling(
    *,
    temperature: float | None,
    greedy: bool,
    top_p: float | None,
    top_k: int | None,
    seed: int | None,
    max_tokens: int,
    stop: list[str] | None,
    logprobs: int | None = None,
) -> SamplingParams:
    """What these options ask for. A seed that was not given is drawn here, so that it can be shown and the text had again.

    Raises RequestError for a value that makes no sense, or if --greedy stands beside an option it leaves without effect.
    """
    if max_tokens < 1:
        raise RequestError(f"max_tokens must be an integer of at least 1, not {max_tokens}")
    if greedy:
        for name, given in (("--temperature", temperature or None), ("--top-p", top_p), ("--top-k", top_k)):
            if given is not None:
                raise RequestError(f"--greedy and {name} contradict each other; leave out one of them")
        temperature = 0.0
    return SamplingParams(
        temperature=TEMPERATURE if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        seed=secrets.randbits(_SHOWN_SEED) if seed is None else seed,
        max_tokens=max_tokens,
        stop=stop or (),
        logprobs=logprobs,
    )
