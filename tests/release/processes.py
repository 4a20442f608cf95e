"""`mistral7b` in processes of its own that speak BitTorrent on loopback addresses, and one who only looks on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import libtorrent as lt

from tests.cli.subprocesses import ENVIRONMENT
from tests.release.torrents import Made, until

NOBODY_ELSE = ("--no-dht", "--no-trackers", "--no-pex", "--no-lsd")
_HANDSHAKE = 68  # bytes
_HAS, _FIELD = b"\x04", b"\x05"  # kinds of message: one piece, all of them as bits


def free_address(ip: str) -> str:
    """IP:PORT that nothing listens on."""
    with socket.socket() as found:
        found.bind((ip, 0))
        return f"{ip}:{found.getsockname()[1]}"


@contextmanager
def running(home: Path, *args: object) -> Iterator[subprocess.Popen[str]]:
    """`mistral7b` on `args` with its store at `home`; killed when the block ends."""
    command = [sys.executable, "-m", "mistral7b", *map(str, args)]
    environment = ENVIRONMENT | {"MISTRAL7B_HOME": str(home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def seed_process(made: Made, address: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """`mistral7b seed`, once it serves."""
    asked = ("seed", made.torrent, "--listen", address, *NOBODY_ELSE, "--json", *args)
    with running(made.folder.parent, *asked) as process:
        assert process.stdout is not None
        assert any(json.loads(line)["event"] == "seeding" for line in process.stdout)
        yield process


class Onlooker:
    """Connected to a peer (BEP 3), asks for nothing, and hears which pieces it has; a session of libtorrent that wants
    nothing would say so, and be dropped."""

    def __init__(self, line: socket.socket, v1: str) -> None:
        self._line, self._heard, self._have = line, bytearray(), set[int]()
        line.sendall(b"\x13BitTorrent protocol" + bytes(8) + bytes.fromhex(v1) + b"-ONLOOK-" + os.urandom(12))
        while len(self._heard) < _HANDSHAKE:
            self._hear()
        del self._heard[:_HANDSHAKE]
        line.setblocking(False)

    def look(self) -> set[int]:
        """The pieces that it has told of so far."""
        with suppress(BlockingIOError):
            while True:
                self._hear()
        while len(self._heard) >= 4 and len(self._heard) >= (end := 4 + int.from_bytes(self._heard[:4])):
            kind, body = bytes(self._heard[4:5]), bytes(self._heard[5:end])
            del self._heard[:end]
            if kind == _HAS:
                self._have.add(int.from_bytes(body))
            elif kind == _FIELD:
                self._have |= {8 * at + bit for at, byte in enumerate(body) for bit in range(8) if byte & 128 >> bit}
        return set(self._have)

    def _hear(self) -> None:
        heard = self._line.recv(1 << 16)
        if not heard:
            raise ConnectionResetError("the peer hung up")
        self._heard += heard


@contextmanager
def onlookers(made: Made, peers: Sequence[str]) -> Iterator[list[Onlooker]]:
    """One connected to each of `peers`, as soon as they all listen and speak of `made`."""
    v1 = str(lt.load_torrent_file(str(made.torrent)).info_hashes.v1)
    with ExitStack() as stack:
        found: list[Onlooker] = []

        def connects(peer: str) -> bool:
            ip, port = peer.split(":")
            with suppress(ConnectionError), ExitStack() as trying:
                line = trying.enter_context(socket.create_connection((ip, int(port)), timeout=60))
                found.append(Onlooker(line, v1))
                stack.push(trying.pop_all())
                return True
            return False

        for peer in peers:
            until(partial(connects, peer))
        yield found
