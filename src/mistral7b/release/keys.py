"""Ed25519 keys (RFC 8032): a private one in a file only its owner can read, a public one as a short text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mistral7b.errors import ReleaseError
from mistral7b.release.extra import needed_for

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
KEY_BYTES = 32
_OTHERS = 0o077  # the bits of a file's mode that let anyone but its owner in
_MOST = 1 << 14  # bytes of a key file; more is no key


def new_key() -> Ed25519PrivateKey:
    """A fresh private key from the system's random numbers."""
    with needed_for("a signature"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    return Ed25519PrivateKey.generate()


def new_key_file(path: Path) -> Ed25519PrivateKey:
    """A fresh private key, once it stands in the file `path`; raises ReleaseError as `write_key`."""
    key = new_key()
    write_key(key, path)
    return key


def write_key(key: Ed25519PrivateKey, path: Path) -> None:
    """Writes the private `key` as PKCS8 in PEM, for its owner alone. Raises ReleaseError if `path` exists or cannot be made."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    refuse_key_file(path)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # Never readable to others, not even for a moment, and never in the place of another key.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ReleaseError(f"the key {path} cannot be written: {error.strerror or error}") from None


def refuse_key_file(path: Path) -> None:
    """Raises ReleaseError where a new key cannot go."""
    if os.path.lexists(path):
        raise ReleaseError(f"{path} already exists, and a key is never replaced; sign with it (--key), or name another file")
    if not path.parent.is_dir():
        raise ReleaseError(f"{path.parent} is not a folder; make it first")


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises ReleaseError if it is no such key, is encrypted, or others can read the file."""
    with needed_for("a signature"):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    try:
        with path.open("rb") as file:
            mode, pem = os.fstat(file.fileno()).st_mode, file.read(_MOST)
    except OSError as error:
        raise ReleaseError(f"the key {path} cannot be read: {error.strerror or error}") from None
    if os.name == "posix" and mode & _OTHERS:
        raise ReleaseError(f"others can read the key {path} (mode {mode & 0o777:o}); chmod 600 it, or make a new one (--new-key)")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:  # how cryptography says that it wants a password
        raise ReleaseError(f"the key {path} is encrypted; give a file that holds it in plain, for its owner alone") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{path} holds no Ed25519 private key in PEM; make one with --new-key")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half of `key` as "ed25519:" and 44 characters of base64."""
    return _text(key.public_key().public_bytes_raw())


def public_bytes(text: str) -> bytes:
    """The 32 bytes of a public key's text; raises ReleaseError for anything else."""
    algorithm, _, encoded = text.strip().partition(":")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if algorithm != ALGORITHM or len(raw) != KEY_BYTES:
        raise ReleaseError(f"{text.strip()[:80]!r} is no public key; one looks like {ALGORITHM}:<44 characters of base64>")
    return raw


def read_public(given: str) -> str:
    """A public key's text, given as it is or as a file that holds it. Raises ReleaseError."""
    if given.startswith(f"{ALGORITHM}:"):
        return canonical(given)
    try:
        with Path(given).open("rb") as file:
            return canonical(file.read(_MOST).decode("ascii"))
    except (OSError, ValueError, ReleaseError):
        # What the file holds is not repeated: it may be the private key.
        raise ReleaseError(f"{given!r} is neither a public key ({ALGORITHM}:...) nor a file that holds one") from None


def canonical(text: str) -> str:
    """A public key's text in the one form that two of them can be compared in; ReleaseError for no key."""
    return _text(public_bytes(text))


def fingerprint(text: str) -> str:
    """The first 128 bits of a public key's sha256, in groups to read aloud: "0123 4567 ..."."""
    digits = hashlib.sha256(public_bytes(text)).hexdigest()[:32]
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _text(raw: bytes) -> str:
    return f"{ALGORITHM}:{base64.b64encode(raw).decode()}"
