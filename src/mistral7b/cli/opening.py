"""A model opened for a verb: found, loaded under a progress bar, and what was read told in a few lines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral7b.cli.terminal import GIGABYTE, progress, tell
from mistral7b.variants import VARIANTS

if TYPE_CHECKING:
    from mistral7b.api import LLM
    from mistral7b.checkpoint.folder import Checkpoint


@dataclass(frozen=True)
class Opened:
    """`name` is what the user called it; `load_s` the seconds until it could answer; `variant` the published model it is;
    `adapter` what it answers through."""

    llm: LLM
    name: str
    load_s: float
    variant: str | None
    adapter: str | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        return self.llm.checkpoint

    @property
    def chats(self) -> bool:
        """Whether it was trained to chat; an own model says so by its name or by carrying a chat template. What an adapter was
        trained for is not told."""
        if self.adapter is not None:
            return True
        if self.variant is not None:
            return VARIANTS[self.variant].instruct
        path = self.checkpoint.path
        named = any(word in path.name.lower() for word in ("instruct", "chat"))
        return named or (path / "chat_template.jinja").is_file()

    def to_json(self) -> dict[str, Any]:
        """What a script may want to record beside an answer."""
        return {
            "name": self.name,
            "adapter": self.adapter,
            "variant": self.variant,
            "format": self.checkpoint.format,
            "dtype": str(self.llm.model.dtype).removeprefix("torch."),
            "kv_dtype": str(self.llm.engine.pool.k.dtype).removeprefix("torch."),
            "device": str(self.llm.model.device),
            "max_model_len": self.llm.max_model_len,
            "config": self.checkpoint.config.to_params(),
        }


def find_model(model: str) -> Path:
    """The local folder or file of `model`, fetched with a progress bar if it is not here."""
    from mistral7b.cli.fetching import fetchers
    from mistral7b.store.names import resolve

    with progress(f"fetching {model[:60]}") as fetched:
        return resolve(model, progress=fetched, fetchers=fetchers())


# A second thread is no gain on products this small, and beside other work each one waits for it (docs/numbers.md).
_ONE_THREAD_BELOW = 100_000_000


def settle_threads(n_params: int) -> None:
    """Let torch compute a small model on one thread."""
    import torch

    if n_params < _ONE_THREAD_BELOW:
        torch.set_num_threads(1)


def open_model(
    model: str,
    *,
    dtype: str,
    kv_dtype: str = "auto",
    device: str,
    max_model_len: int | None,
    variant: str | None,
    max_num_seqs: int = 1,
    lora: Path | None = None,
    force: bool,
    quiet: bool,
) -> Opened:
    """The model, ready to answer `max_num_seqs` requests at a time; unless `quiet`, what was read goes to stderr."""
    from mistral7b.api import LLM

    path = find_model(model)
    started = time.perf_counter()
    adapter = None if lora is None else str(lora)
    with progress(f"loading {model}", at_least=GIGABYTE) as loaded:
        llm = LLM(
            path, dtype=dtype, kv_dtype=kv_dtype, device=device, max_model_len=max_model_len, max_num_seqs=max_num_seqs,
            variant=variant, adapters={} if adapter is None else {adapter: Path(adapter)}, force=force, progress=loaded,
        )  # fmt: skip
    settle_threads(llm.checkpoint.config.n_params)
    found = llm.checkpoint.variant
    opened = Opened(llm, model, time.perf_counter() - started, variant or (found.name if found else None), adapter)
    if not quiet:
        from mistral7b.kernels.choice import described

        about = opened.to_json()
        tell(f"{model}: {about['format']}, {about['dtype']} on {about['device']}, context {about['max_model_len']:,} tokens")
        tell(f"  {described(llm.model.kernels)}, cache {about['kv_dtype']}")
        if adapter is not None:
            tell(f"  adapter {adapter}")
        for line in llm.checkpoint.notes:
            tell(f"  {line}")
    return opened
