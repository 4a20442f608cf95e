"""manifest.json.sig: who vouches for a manifest, and so for every file that it lists."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mistral7b.checkpoint.manifest import MANIFEST, FileHash, read_manifest
from mistral7b.checkpoint.report import Check
from mistral7b.config import parse_object
from mistral7b.errors import CheckpointError, ConfigError, ReleaseError
from mistral7b.release.extra import needed_for
from mistral7b.release.keys import ALGORITHM, canonical, fingerprint, public_bytes, public_text, read_public

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MOST = 16 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """`key`, as "ed25519:<base64>", signed these very bytes; `trusted` only if it is the key that was asked for."""

    key: str
    trusted: bool


def signature_of(manifest: Path) -> Path:
    """Where the signature of a manifest stands: beside it."""
    return manifest.with_name(f"{manifest.name}.sig")


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The contents of the signature file over the exact bytes of a manifest; the same bytes and key give the same."""
    value = {
        "algorithm": ALGORITHM,
        "public_key": public_text(key),
        "signature": base64.b64encode(key.sign(manifest)).decode(),
    }
    return (json.dumps(value, indent=2) + "\n").encode()


def verify_signature(manifest: Path, trusted: str | None) -> Signed:
    """Who signed `manifest`, a file or the folder it stands in, by the signature beside it.

    `trusted` is the key it must be signed by: its text, or a file that holds it. With None any valid signature is told and none
    is trusted: whoever changes a manifest can sign it anew with a key of their own. Raises ReleaseError if there is no signature,
    if it does not fit these bytes, or if another key than `trusted` made it.
    """
    with needed_for("a signature"):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    wanted = None if trusted is None else read_public(trusted)
    manifest = manifest / MANIFEST if manifest.is_dir() else manifest
    beside = signature_of(manifest)
    if not beside.is_file():
        raise ReleaseError(f"{manifest} is not signed: there is no {beside.name} beside it")
    key, signature = _parse(beside)
    if wanted is not None and key != wanted:
        raise ReleaseError(f"{manifest} is signed by {key}, not by {wanted}; do not use it unless you know that key")
    try:
        Ed25519PublicKey.from_public_bytes(public_bytes(key)).verify(signature, _read(manifest))
    except (InvalidSignature, ValueError):
        raise ReleaseError(f"{manifest} is not what {key} signed: one of the two was changed; fetch both again") from None
    return Signed(key, trusted=wanted is not None)


def check_signature(manifest: Path, trusted: str | None, files: Mapping[str, FileHash]) -> Check:
    """The check "signature" of `verify`: passed only if `trusted` signed the manifest and it lists all `files` of the model.

    A file beside those that were signed could change what the model does. A valid signature is skipped where no key is asked
    for, since it then vouches for nothing. Raises ReleaseError for a `trusted` that is no key.
    """
    wanted = None if trusted is None else read_public(trusted)
    if wanted is None and find_spec("cryptography") is None:
        return Check("signature", "skip", "not looked at: that needs the package cryptography, as in mistral7b[release]")
    try:
        signed = verify_signature(manifest, wanted)
        if not signed.trusted:
            said = f"signed by {signed.key}, which nobody vouches for here; --signed-by says whom you trust"
            return Check("signature", "skip", said)
        strangers = sorted(files.keys() - read_manifest(manifest).keys())
    except (ReleaseError, CheckpointError) as error:
        return Check("signature", "fail", str(error).replace(f"{manifest.parent}/", ""))
    if strangers:
        return Check("signature", "fail", f"{strangers[0]} is not among the files that {signed.key} signed; remove it")
    return Check("signature", "pass", f"{manifest.name} is signed by {signed.key} ({fingerprint(signed.key)})")


def _parse(path: Path) -> tuple[str, bytes]:
    """(The public key's text, the signature's bytes)."""
    try:
        value = parse_object(_read(path).decode("utf-8"), path.name)
        if value["algorithm"] == ALGORITHM:
            return canonical(value["public_key"]), base64.b64decode(value["signature"], validate=True)
    except (ConfigError, ReleaseError, LookupError, AttributeError, TypeError, ValueError):
        pass  # every way of being no signature is told alike
    raise ReleaseError(f"{path} is no {ALGORITHM} signature; fetch it again")


def _read(path: Path) -> bytes:
    """The file's bytes; a stranger's file may be of any size, and an honest one is small."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > _MOST:
        raise ReleaseError(f"{path} is over {_MOST >> 20} MiB, which no manifest or signature is; fetch it again")
    return data
