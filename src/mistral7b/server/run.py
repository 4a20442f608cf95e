"""A server's life: a socket first, the model in a thread, then requests, and at the end the last of them answered."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import uvicorn

from mistral7b.api import LLM
from mistral7b.conversations import check_folder
from mistral7b.server import logs
from mistral7b.server.app import create_app
from mistral7b.server.connection import GuardedConnection, guarded
from mistral7b.server.listen import listen, tls_context
from mistral7b.server.metrics import Metrics, Queues
from mistral7b.server.offline import forbid_outbound
from mistral7b.server.settings import Settings
from mistral7b.server.state import State
from mistral7b.server.worker import Worker

_log = logging.getLogger(__name__)
# What is left after the drain's time gets an error in its stream, and these seconds to take it.
_LAST_WORDS_S = 3
_FAREWELL_S = 0.5


def serve(
    settings: Settings,
    load: Callable[[], LLM],
    *,
    listening: Callable[[Settings], None] = lambda _: None,
    loaded: Callable[[LLM], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT; then refuse what comes (503), answer what has begun, and return.

    `load` runs in a thread once the socket listens; /health says 503 until it returns. `listening` is told the settings, with
    the port that was taken; `loaded` the model. Raises RequestError for a host, port or certificate that cannot be used,
    StoreError for a folder of sessions, and, after closing down, whatever `load` raised. A second signal ends the process at
    once, with 128 + its number.
    """
    context = tls_context(settings)
    if settings.session_dir is not None:
        check_folder(settings.session_dir)
    with listen(settings.host, settings.port) as door:
        settings = replace(settings, port=door.getsockname()[1])
        if settings.offline:
            forbid_outbound()
        logs.configure()
        state = State(settings, Metrics())
        server = Server(state, context)
        loader = Loader(state, load, loaded, failed=server.stop)
        with server.capture_signals():  # from here on: uvicorn's own would come only once the loop runs
            listening(settings)
            loader.start()
            server.run(sockets=[door])
    if loader.error is not None:
        raise loader.error
    if loader.is_alive() or server.cut_short:
        # A thread is deep inside torch and knows nothing of the end; Python would tear it down in the middle.
        sys.stderr.flush()
        os._exit(0)
    if state.worker is not None:
        state.worker.stop()


class Server(uvicorn.Server):
    """uvicorn's server, which goes on listening while it drains, so that who comes late is told and not turned away."""

    def __init__(self, state: State, context: ssl.SSLContext | None) -> None:
        settings = state.settings
        super().__init__(
            uvicorn.Config(
                create_app(state),
                loop="asyncio",
                http=guarded(settings),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type] # any number of seconds will do
                timeout_graceful_shutdown=_LAST_WORDS_S,
                h11_max_incomplete_event_size=settings.max_head_bytes,
                ssl_context_factory=(lambda *_: context) if context is not None else None,
            )
        )
        self.state = state
        self.cut_short = False
        self._drained_by: float | None = None  # on the clock of time.monotonic

    def stop(self) -> None:
        """End without draining; from any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 what a signal handler is given
        """SIGTERM or SIGINT. uvicorn would raise the signal again at the end, and the exit status would not be 0."""
        if self._drained_by is not None:
            os.write(2, b"mistral7b: stopped at once\n")
            os._exit(128 + sig)
        self._drained_by = time.monotonic() + self.state.settings.drain_timeout_s
        self.state.drain.closing = True
        if self.state.worker is not None:
            self.state.worker.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to leave the loop."""
        if self._drained_by is not None and not self.should_exit:
            self.should_exit = self.state.drain.active == 0 or self._cut()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open, without waiting half a minute for clients that never say goodbye in TLS."""
        farewell = asyncio.get_running_loop().call_later(_FAREWELL_S, self._hang_up)
        await super().shutdown(sockets)
        farewell.cancel()

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            assert isinstance(connection, GuardedConnection)
            if connection.transport.is_closing() and not connection.transport.get_write_buffer_size():
                connection.transport.abort()

    def _cut(self) -> bool:
        """True, and an error to every request that is still being answered, once the drain's time is over."""
        assert self._drained_by is not None
        if time.monotonic() < self._drained_by:
            return False
        _log.warning("the drain's time is over", extra={"fields": {"cut_short": self.state.drain.active}})
        self.cut_short = True
        if self.state.worker is not None:
            threading.Thread(target=self.state.worker.stop, daemon=True).start()  # it waits for the step that runs
        return True


class Loader(threading.Thread):
    """Loads the model and starts its engine; `error` is what went wrong, after which it calls `failed`."""

    def __init__(
        self, state: State, load: Callable[[], LLM], loaded: Callable[[LLM], None], *, failed: Callable[[], None]
    ) -> None:
        super().__init__(name="loader", daemon=True)
        self.error: BaseException | None = None
        self._state = state
        self._load = load
        self._loaded = loaded
        self._failed = failed

    def run(self) -> None:
        """On the thread."""
        try:
            llm = self._load()
            worker = Worker(llm, max_queue=self._state.settings.max_queue)
            self._state.metrics.watch(llm.engine, lambda: Queues(worker.n_running, worker.n_waiting))
            worker.start()
            self._state.worker, self._state.llm = worker, llm
            _ = self._state.sessions  # the fingerprint of a large model takes a moment: not the first client's
            self._loaded(llm)
        except BaseException as error:  # noqa: BLE001 it is raised again on the main thread
            self.error = error
            self._failed()
