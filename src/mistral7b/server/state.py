"""What the routes share: the settings, the model once it is loaded, the engine's thread and the metrics."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property

from fastapi import Request

from mistral7b import __version__
from mistral7b.api import LLM
from mistral7b.conversations import Fingerprint, SessionStore
from mistral7b.server.errors import ApiError, Loading
from mistral7b.server.guard import Drain
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from mistral7b.server.worker import Worker


@dataclass
class State:
    """`llm` and `worker` are None while the model loads. `created` is Unix time in seconds."""

    settings: Settings
    metrics: Metrics
    llm: LLM | None = None
    worker: Worker | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    drain: Drain = field(default_factory=Drain)

    @property
    def ready(self) -> bool:
        """True when requests can be answered."""
        return self.llm is not None and self.worker is not None

    @property
    def model(self) -> LLM:
        """The model; raises Loading while there is none."""
        if self.llm is None or self.worker is None:
            raise Loading
        return self.llm

    @property
    def engine(self) -> Worker:
        """The engine's thread; raises Loading while there is none."""
        if self.llm is None or self.worker is None:
            raise Loading
        return self.worker

    def served(self, name: str | None) -> str:
        """The name an answer carries for a request that asks for `name`; None asks for whatever is served.

        Raises ApiError 404 for a model that is not served.
        """
        names = self.settings.names
        if name is not None and name not in names:
            message = f"there is no model {name!r} here; this server has {', '.join(names)}"
            raise ApiError(404, message, type="invalid_request_error", param="model", code="model_not_found")
        return name or names[0]

    def adapter(self, name: str) -> str | None:
        """The adapter that a served name stands for; None for the model alone."""
        return name if name in self.settings.lora else None

    @property
    def deadline(self) -> float | None:
        """When a request that comes now must be done, on the clock of `time.monotonic`."""
        limit = self.settings.request_timeout_s
        return None if limit is None else time.monotonic() + limit

    @cached_property
    def sessions(self) -> dict[str | None, SessionStore]:
        """Where conversations are kept, by adapter, None being the model alone; empty without a folder for them. Raises
        StoreError if there is no such folder."""
        llm, folder = self.model, self.settings.session_dir
        if folder is None or llm.tokenizer is None:
            return {}
        kept, name = llm.engine.pool.k.dtype, self.settings.names[0]
        found: dict[str | None, SessionStore] = {}
        for adapter in (None, *llm.adapters):
            number = None if adapter is None else llm.adapters[adapter]
            found[adapter] = SessionStore(folder, Fingerprint.of(llm.model, llm.tokenizer, kept, adapter or name, number))
        return found

    @cached_property
    def fingerprint(self) -> str:
        """`system_fingerprint`: the same for the same program, architecture, model file and number format."""
        llm = self.model
        told = f"{__version__} {llm.checkpoint.config} {llm.checkpoint.path.name} {llm.model.dtype} {llm.model.device.type}"
        return "fp_" + hashlib.sha256(told.encode()).hexdigest()[:12]


def house(request: Request) -> State:
    """The state of the application that `request` came to, for `Depends`."""
    state = request.app.state.house
    assert isinstance(state, State)
    return state
