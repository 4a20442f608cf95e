"""The door to the street: a listening socket, and TLS on it."""

from __future__ import annotations

import errno
import socket
import ssl

from mistral7b.errors import RequestError
from mistral7b.server.settings import Settings

_BACKLOG = 2048
_TAKEN = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0: any that is free). Raises RequestError where none can be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]  # fmt: skip
    except (socket.gaierror, UnicodeError):
        raise RequestError(
            f"--host {host!r} is no address of this machine; 127.0.0.1 is for this machine, 0.0.0.0 for all"
        ) from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno not in _TAKEN:
            raise
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise RequestError(f"port {port} on {host or 'all addresses'} {why}; choose another --port or --host") from None
    listening.set_inheritable(True)
    return listening


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or later with the settings' certificate; None without one. Raises RequestError for files that are not one."""
    if settings.ssl_certfile is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in filter(None, (settings.ssl_certfile, settings.ssl_keyfile)):
        path.open("rb").close()  # ssl's own OSError does not say which of the two it was
    try:
        # A key under a password would have OpenSSL ask at the terminal; nobody may be there.
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=lambda: "")
    except (ssl.SSLError, ValueError, OSError) as error:
        why = getattr(error, "reason", None) or str(error) or "a password is needed"
        files = " and ".join(str(path) for path in (settings.ssl_certfile, settings.ssl_keyfile) if path)
        raise RequestError(f"{files}: no certificate and private key in PEM that TLS can use ({why})") from None
    return context
