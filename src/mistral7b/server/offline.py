"""--offline: a process that cannot call out."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

_CALLS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex", "socket.gethostbyaddr"})


def forbid_outbound() -> None:
    """From now on, and for as long as this process lives, Python code in it reaches no other machine: connecting or sending to
    an address that is not the loopback, or looking up a name, raises ConnectionRefusedError. Also sets HF_HUB_OFFLINE, so that
    the hub's client says so in its own words and does not try.

    An audit hook sees every socket of Python's, whichever library opened it; one that a C library opened by itself it does not.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _CALLS:
        address = args[1]
        if isinstance(address, tuple) and not _is_here(address[0]):
            raise ConnectionRefusedError(f"--offline: nothing may connect to {address[0]}")
    elif event in _LOOKUPS and args[0] is not None and not _is_here(args[0]):
        raise ConnectionRefusedError(f"--offline: nothing may look up {args[0]}")


def _is_here(host: str | bytes) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
