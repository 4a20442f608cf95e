"""`serve`: the model behind the API that every client speaks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import settle_threads
from mistral7b.cli.terminal import note, tell
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.api import LLM
    from mistral7b.server.settings import Settings

EXAMPLES = examples(
    "mistral7b serve",
    "mistral7b serve -m v0.3-instruct --host 0.0.0.0 --api-key-file keys.txt",
    "mistral7b serve -m v0.3 --lora stories=runs/stories/adapter --lora tools=runs/tools/adapter",
    "mistral7b serve --ssl-certfile cert.pem --ssl-keyfile key.pem --offline",
)
_ADDRESS, _ACCESS, _LOAD, _DRAFTS = "Address", "Access", "Load", "Drafts"
# What keeps a stream moving beside long prompts where a thousand tokens take seconds; longer forwards gain a CPU nothing.
_CPU_BATCH = 512


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.", show_default=True,
                          rich_help_panel=_ADDRESS)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", help="0 takes any that is free.", show_default=True, rich_help_panel=_ADDRESS)
    ] = 8000,
    served_model_name: Annotated[
        list[str] | None,
        typer.Option("--served-model-name", metavar="NAME", help="What clients call the model; may be given several times.",
                     rich_help_panel=_ADDRESS),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", metavar="NAME=FOLDER", help="An adapter, which clients ask for as the model NAME; may be given "
                     "several times.", rich_help_panel=_LOAD),
    ] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option("--ssl-certfile", metavar="FILE", help="Serve HTTPS with this certificate (PEM).",
                                  rich_help_panel=_ADDRESS)
    ] = None,
    ssl_keyfile: Annotated[
        Path | None, typer.Option("--ssl-keyfile", metavar="FILE", help="Its private key, unless it is in the same file.",
                                  rich_help_panel=_ADDRESS)
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Open no connection to any other machine; the model must be here.",
                           rich_help_panel=_ADDRESS)
    ] = False,
    api_key: Annotated[
        list[str] | None,
        typer.Option("--api-key", metavar="KEY", help="Ask for this key; may be given several times. Others can see the command "
                     "line: a file, or MISTRAL7B_API_KEY, is safer.", rich_help_panel=_ACCESS),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="Ask for one of these keys, one a line.",
                                  rich_help_panel=_ACCESS)
    ] = None,
    allowed_origins: Annotated[
        list[str] | None,
        typer.Option("--allowed-origins", metavar="ORIGIN", help="Let web pages from here ask; may be given several times.",
                     rich_help_panel=_ACCESS),
    ] = None,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write what clients send into the log.", rich_help_panel=_ACCESS)
    ] = False,
    max_num_seqs: Annotated[
        int, typer.Option("--max-num-seqs", metavar="N", help="Answers computed at once.", show_default=True,
                          rich_help_panel=_LOAD)
    ] = 16,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", metavar="N", help="Tokens in one forward of the model, at most: a "
                                 "stream waits so long for others' prompts; default: 512 on a CPU.", rich_help_panel=_LOAD)
    ] = None,
    enable_prefix_caching: Annotated[
        bool, typer.Option("--enable-prefix-caching/--no-enable-prefix-caching", help="Compute what prompts share only once.",
                           show_default=True, rich_help_panel=_LOAD)
    ] = True,
    max_queue: Annotated[
        int, typer.Option("--max-queue", metavar="N", help="Requests that may wait; the next is told to come back (429).",
                          show_default=True, rich_help_panel=_LOAD)
    ] = 256,
    request_timeout: Annotated[
        float, typer.Option("--request-timeout", metavar="SECONDS", help="For one answer, waiting included; 0 is no limit.",
                            show_default=True, rich_help_panel=_LOAD)
    ] = 600.0,
    drain_timeout: Annotated[
        float, typer.Option("--drain-timeout", metavar="SECONDS", help="For what has begun when the server is told to end.",
                            show_default=True, rich_help_panel=_LOAD)
    ] = 60.0,
    session_dir: Annotated[
        Path | None, typer.Option("--session-dir", metavar="FOLDER", help="Keep the conversations of session_id here.",
                                  rich_help_panel=_LOAD)
    ] = None,
    draft_model: Annotated[
        str | None, typer.Option("--draft-model", metavar="NAME", help="A small model of the same vocabulary, to guess ahead.",
                                 rich_help_panel=_DRAFTS)
    ] = None,
    num_speculative_tokens: Annotated[
        int, typer.Option("--num-speculative-tokens", metavar="N", help="Tokens guessed at a time, at most; 0: none.",
                          show_default=True, min=0, rich_help_panel=_DRAFTS)
    ] = 7,
    model: options.Model = "tiny-instruct",
    dtype: options.Dtype = "auto",
    kv_dtype: options.KVDtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    variant: options.VariantName = None,
    force: options.Force = False,
) -> None:  # fmt: skip
    """Answer OpenAI's, Mistral's and vLLM's clients over HTTP.

    Ctrl-C or SIGTERM: answers that have begun are finished, new requests get 503, then the server ends; a second one ends it at
    once. The log is one line of JSON a request on stderr, without keys and without text.
    """
    from mistral7b.server import run
    from mistral7b.server.settings import ModelOptions, Settings, read_api_keys

    settings = Settings(
        host=host, port=port, api_keys=read_api_keys(api_key or (), api_key_file), allowed_origins=tuple(allowed_origins or ()),
        served_model_name=tuple(served_model_name or ()), lora=_adapters(lora or ()),
        ssl_certfile=ssl_certfile, ssl_keyfile=ssl_keyfile, offline=offline,
        log_prompts=log_prompts, max_queue=max_queue, request_timeout_s=request_timeout or None, drain_timeout_s=drain_timeout,
        session_dir=session_dir,
        model=ModelOptions(
            name=model, dtype=dtype, kv_dtype=kv_dtype, device=device, max_model_len=max_model_len, max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens, enable_prefix_caching=enable_prefix_caching, draft_model=draft_model,
            num_speculative_tokens=num_speculative_tokens, variant=variant, force=force,
        ),
    )  # fmt: skip
    run.serve(settings, lambda: load(settings), listening=tell_address, loaded=lambda llm: tell_model(settings, llm))


def _adapters(given: Sequence[str]) -> dict[str, Path]:
    """Folders by name. Raises RequestError for what is no NAME=FOLDER, and for a name given twice."""
    found: dict[str, Path] = {}
    for each in given:
        name, equals, folder = each.partition("=")
        if not (name and equals and folder):
            raise RequestError(f"--lora {each} must be NAME=FOLDER")
        if name in found:
            raise RequestError(f"--lora {name} is given twice; choose two names")
        found[name] = Path(folder)
    return found


def load(settings: Settings) -> LLM:
    """The model that `settings` name, found without a network if they say so."""
    from mistral7b.api import LLM
    from mistral7b.cli.fetching import fetchers
    from mistral7b.loading import pick_device
    from mistral7b.store.names import resolve

    ways = {} if settings.offline else fetchers()

    asked = settings.model
    most = asked.max_num_batched_tokens or (_CPU_BATCH if pick_device(asked.device).type == "cpu" else None)
    draft = None if asked.draft_model is None else resolve(asked.draft_model, offline=settings.offline, fetchers=ways)
    llm = LLM(
        resolve(asked.name, offline=settings.offline, fetchers=ways), dtype=asked.dtype, kv_dtype=asked.kv_dtype,
        device=asked.device, max_model_len=asked.max_model_len, max_num_seqs=asked.max_num_seqs,
        max_num_batched_tokens=most, enable_prefix_caching=asked.enable_prefix_caching, draft_model=draft,
        speculative=asked.num_speculative_tokens > 0, num_speculative_tokens=max(1, asked.num_speculative_tokens),
        adapters=settings.lora, variant=asked.variant, force=asked.force,
    )  # fmt: skip
    settle_threads(llm.checkpoint.config.n_params)
    return llm


def tell_address(settings: Settings) -> None:
    """Where the server listens and who may ask; told before the model is loaded."""
    count = len(settings.api_keys)
    keys = {0: "no API key", 1: "1 API key"}.get(count, f"{count} API keys")
    tell(f"listening on {settings.url} ({keys}); loading {settings.model.name}")
    if not count and settings.host not in ("127.0.0.1", "::1", "localhost"):
        note(f"anybody who reaches {settings.host or '0.0.0.0'} may ask; --api-key-file lets in only whom you know")
    elif count and settings.ssl_certfile is None and settings.host not in ("127.0.0.1", "::1", "localhost"):
        note("keys travel as plain text without --ssl-certfile; put TLS before this server if there is none yet")


def tell_model(settings: Settings, llm: LLM) -> None:
    """What was loaded, its limits, and a first request to try."""
    from mistral7b.kernels.choice import described

    dtype = str(llm.model.dtype).removeprefix("torch.")
    tell(
        f"{settings.model.name}: {llm.checkpoint.format}, {dtype} on {llm.model.device}, context {llm.max_model_len:,} tokens, "
        f"{settings.model.max_num_seqs} answers at once, {settings.max_queue} waiting"
    )
    tell(f"  {described(llm.model.kernels)}")
    if llm.adapters:
        tell(f"  adapters: {', '.join(llm.adapters)}")
    for line in llm.checkpoint.notes:
        tell(f"  {line}")
    tell(f"ready; try: {_curl(settings)}")


def _curl(settings: Settings) -> str:
    words = ["curl", f"{settings.url}/v1/completions", "-H", "Content-Type: application/json"]
    if settings.ssl_certfile is not None:
        words += ["--cacert", str(settings.ssl_certfile)]
    shown = shlex.join([*words, "-d", '{"prompt": "Once upon a time", "max_tokens": 40}'])
    return shown + (' -H "Authorization: Bearer $MISTRAL7B_API_KEY"' if settings.api_keys else "")
