"""Models to speak to, by name: one of this machine, or NAME@URL behind an OpenAI-compatible API."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli.opening import find_model, settle_threads
from mistral7b.cli.terminal import GIGABYTE, progress
from mistral7b.errors import DataError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

    from mistral7b.evals.chats import Chat

_REMOTE = re.compile(r"(?P<model>.+?)@(?P<url>https?://.+)")
MODEL_HELP = "tiny-instruct, a folder, a .gguf file, a hub id, or NAME@URL for one behind an OpenAI-compatible API."

Model = Annotated[str, typer.Option("--model", "-m", metavar="NAME", help=MODEL_HELP, rich_help_panel="Model")]
KeyEnv = Annotated[
    str | None,
    typer.Option("--key-env", metavar="NAME", help="The variable with the API key of a model behind a URL.",
                 rich_help_panel="Model"),
]  # fmt: skip
JudgeKeyEnv = Annotated[
    str | None,
    typer.Option("--judge-key-env", metavar="NAME", help="The environment variable that holds its API key.",
                 rich_help_panel="Judge"),
]  # fmt: skip


def open_chat(
    model: str,
    *,
    key_env: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    max_model_len: int | None = None,
    force: bool = False,
    lock: threading.Lock | None = None,
) -> Chat:
    """The model, ready to be asked. `key_env` names the variable with the key of the one behind a URL. Raises RequestError if
    there is none behind one."""
    if (remote := _REMOTE.fullmatch(model)) is not None:
        from mistral7b.evals.endpoint import Endpoint

        return Endpoint(remote["url"], remote["model"], key_variable=key_env)
    if key_env is not None:
        raise RequestError(f"{model} is no model behind a URL, which alone takes an API key; leave out the variable {key_env}")
    from mistral7b.api import LLM
    from mistral7b.evals.local_chat import LocalChat

    path = find_model(model)
    with progress(f"loading {model}", at_least=GIGABYTE) as loaded:
        llm = LLM(path, dtype=dtype, device=device, max_model_len=max_model_len, force=force, progress=loaded)
    settle_threads(llm.checkpoint.config.n_params)
    return LocalChat(llm, model, lock)


def system_prompt(given: str) -> str | None:
    """none, mistral (the paper's guardrail), or the text of a file. Raises DataError for one that cannot be read."""
    from pathlib import Path

    from mistral7b.tokens.guardrail import SAFE_PROMPT

    if given in ("none", "mistral"):
        return SAFE_PROMPT if given == "mistral" else None
    return read_text(Path(given), "--system is none, mistral, or a file")


def read_text(path: Path, wanted: str) -> str:
    """The text of a file, without white space around it. Raises DataError, with what was `wanted`."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{path} cannot be read: {why}; {wanted}") from None
    if not text:
        raise DataError(f"{path} is empty; {wanted}")
    return text
