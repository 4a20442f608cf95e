"""What every test gets: one thread, no network, property tests without a clock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings

from mistral7b.release.session import Settings, pack

# The tests' tensors are small: beside other work, a second thread is one to wait for.
torch.set_num_threads(1)

# In CI a red run must be red again when repeated; at a desk every run tries new examples.
settings.register_profile("mistral7b", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("mistral7b")


def _is_this_machine(host: str | None) -> bool:
    return host in {None, "", "0.0.0.0", "::", "::1", "localhost"} or str(host).startswith("127.")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Only this machine answers, as on a machine without a network; servers under test listen on the loopback."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def local_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not _is_this_machine(address[0]):
            raise ConnectionRefusedError(f"tests reach no network, and one asked for {address[0]}")
        connect(self, address)

    def local_resolve(host: str | None, *args: Any, **kwargs: Any) -> Any:
        if not _is_this_machine(host):
            raise socket.gaierror(socket.EAI_NONAME, f"tests reach no network, and one asked for {host}")
        return resolve(host, *args, **kwargs)

    def local_pack(asked: Settings) -> Any:
        """libtorrent opens sockets of its own."""
        if any(not where.startswith("127.") for where in asked.listen) or (asked.dht and asked.dht_nodes) or asked.upnp:
            raise AssertionError(f"tests reach no network, and one asked for {asked}")
        return pack(asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_connect)
        patch.setattr(socket, "getaddrinfo", local_resolve)
        patch.setattr("mistral7b.release.session.pack", local_pack)
        yield
