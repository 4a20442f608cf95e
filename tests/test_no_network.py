"""The guard of conftest.py: other machines are out of reach, this one is not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from mistral7b.release.session import Settings, open_session


@pytest.mark.parametrize("host", ["example.org", "192.0.2.1"])
def test_other_machines_are_out_of_reach(host: str) -> None:
    with pytest.raises(OSError, match=f"tests reach no network, and one asked for {host}"):
        socket.create_connection((host, 443), timeout=1)
    with socket.socket() as plain, pytest.raises(OSError, match="tests reach no network"):
        plain.connect((host, 443))


@pytest.mark.parametrize("outside", [{}, {"dht": False}, {"listen": ("127.0.0.1:0",)}])
def test_a_swarm_stays_on_this_machine(outside: dict[str, Any]) -> None:
    pytest.importorskip("libtorrent")
    with pytest.raises(AssertionError, match="tests reach no network"), open_session(Settings(**outside)):
        pass
    with open_session(Settings(listen=("127.0.0.1:0",), dht=False, lsd=False)):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_this_machine_answers(address: str) -> None:
    with socket.create_server((address, 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
