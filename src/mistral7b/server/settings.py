"""What a server is told before it starts: where it listens, who may ask, how much, and of which model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mistral7b.errors import RequestError

API_KEY_VARIABLE = "MISTRAL7B_API_KEY"
MEBIBYTE = 2**20
_VISIBLE = frozenset(map(chr, range(0x21, 0x7F)))  # what an Authorization header carries unchanged


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how much of the machine it may take; the meaning of each is that of `LLM`'s argument."""

    name: str = "tiny"
    dtype: str = "auto"
    kv_dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int = 16
    max_num_batched_tokens: int | None = None
    enable_prefix_caching: bool = True
    draft_model: str | None = None
    num_speculative_tokens: int = 7
    variant: str | None = None
    force: bool = False

    @property
    def public_name(self) -> str:
        """What clients are told of `name`: of a path only its last part. The rest is about this machine."""
        try:
            path = Path(self.name).expanduser()
            return path.resolve().name if path.exists() else self.name
        except (OSError, RuntimeError, ValueError):  # a name that no file system could hold
            return self.name


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a server is told. Times are seconds, sizes bytes. Raises RequestError for values that make no sense.

    No `api_keys` means that everybody who reaches the port may ask. `served_model_name`: the names clients may use, the first
    one is what answers carry; none given: `public_name`. `lora`: adapters by the name that clients ask for as a model.
    `request_timeout_s` None: no deadline.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    served_model_name: tuple[str, ...] = ()
    lora: dict[str, Path] = field(default_factory=dict)
    allowed_origins: tuple[str, ...] = ()
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    log_prompts: bool = False
    offline: bool = False
    session_dir: Path | None = None
    model: ModelOptions = ModelOptions()
    # What one client may take.
    max_queue: int = 256  # requests waiting; the next one is a 429
    request_timeout_s: float | None = 600.0
    drain_timeout_s: float = 60.0  # what running requests have after SIGTERM
    max_connections: int = 1024
    max_head_bytes: int = 16 * 1024
    head_timeout_s: float = 10.0  # from a connection's, or a request's, first byte to the end of its headers
    keep_alive_s: float = 15.0
    write_timeout_s: float = 60.0  # for a client that takes nothing of its answer
    max_body_bytes: int = 4 * MEBIBYTE
    body_timeout_s: float = 30.0
    max_body_depth: int = 64  # lists and objects inside one another
    max_n: int = 16
    max_stop_strings: int = 16
    max_stop_length: int = 1024  # characters
    max_messages: int = 4096
    max_tools: int = 128
    max_inputs: int = 256  # texts in one request for completions, embeddings or moderations

    def __post_init__(self) -> None:
        for name in ("max_queue", "drain_timeout_s"):
            if not getattr(self, name) >= 0:  # which NaN is not
                raise RequestError(f"{_flag(name)} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise RequestError(f"--port must be from 0 to 65535, not {self.port}")
        if self.request_timeout_s is not None and not self.request_timeout_s > 0:
            raise RequestError(f"--request-timeout must be above 0 seconds, not {self.request_timeout_s}; leave it out for none")
        if (self.ssl_certfile is None) and self.ssl_keyfile is not None:
            raise RequestError("--ssl-keyfile needs its --ssl-certfile; give both, or neither")
        if twice := next((name for name in self.names if self.names.count(name) > 1), None):
            raise RequestError(f"{twice!r} names two models here; give each a name of its own")
        if any(not key or not _VISIBLE.issuperset(key) for key in self.api_keys):
            raise RequestError("an API key must be visible ASCII characters without spaces, at least one; choose another")

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which clients ask for the model, at least one, and for its adapters."""
        return (*(self.served_model_name or (self.model.public_name,)), *self.lora)

    @property
    def url(self) -> str:
        """What a client on this machine calls the server."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{'https' if self.ssl_certfile else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def read_api_keys(given: Sequence[str], file: Path | None, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The keys that may ask: those `given`, those of `file` (one a line; # begins a comment line), or, where neither is named,
    the one in MISTRAL7B_API_KEY.

    Raises RequestError for a source of keys that holds none: a door that was meant to be shut does not stay open.
    """
    keys = list(given)
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise RequestError(f"{file} is not UTF-8 text; write one API key a line") from None
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise RequestError(f"{file} holds no API key; write one a line")
        keys += found
    elif not given and API_KEY_VARIABLE in environ:
        keys = [environ[API_KEY_VARIABLE]]
        if not keys[0]:
            raise RequestError(f"{API_KEY_VARIABLE} is set but empty; unset it, or put a key in it")
    return tuple(dict.fromkeys(keys))


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")
