"""A fetched folder held against all that is known of it, before it leaves the quarantine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from mistral7b.checkpoint.identity import identify
from mistral7b.checkpoint.manifest import MANIFEST, FileHash, compare, hash_files, read_manifest
from mistral7b.checkpoint.report import Check
from mistral7b.errors import CheckpointError, Mistral7BError, ReleaseError
from mistral7b.release.contents import inspect_folder
from mistral7b.release.extra import needed_for
from mistral7b.release.inspect import SIGNATURE
from mistral7b.variants import VARIANTS


@dataclass(frozen=True, slots=True)
class Claim:
    """What a folder must be: signed by the key `signed_by`, the published model `variant`, and of the files that its manifest
    lists only those whose names match `only` (none: all)."""

    signed_by: str | None = None
    variant: str | None = None
    only: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        return not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)


ANY = Claim()


def claim_of(*, signed_by: str | None, variant: str | None, only: Iterable[str]) -> Claim:
    """A claim as people write it: a bare word in `only`, such as safetensors, means the files of that kind. Raises ReleaseError
    for a variant that there is not and for what is no key."""
    if variant is not None and variant.lower() not in VARIANTS:
        raise ReleaseError(f"there is no published model {variant!r}; they are {', '.join(VARIANTS)}")
    if signed_by is not None:
        from mistral7b.release.keys import read_public

        with needed_for("--signed-by"):  # to be known before anything is fetched
            import cryptography.exceptions  # noqa: F401
        signed_by = read_public(signed_by)
    patterns = tuple(word if any(sign in word for sign in ".*?[") else f"*.{word}*" for word in only)
    return Claim(signed_by, None if variant is None else variant.lower(), patterns)


@dataclass(frozen=True, slots=True)
class Checked:
    """`files` are all that stand there, `checks` what was found out, `signer` the key of a valid signature, trusted or not."""

    files: dict[str, FileHash]
    checks: tuple[Check, ...]
    signer: str | None = None


def check_folder(
    folder: Path, claim: Claim, *, hashed: Mapping[str, FileHash] | None = None, read: Callable[[int], None] | None = None
) -> Checked:
    """Contents, manifest, signature, official hashes, in this order.

    `hashed` are files whose hashes were taken while they came; the others are read, and `read` is told the bytes. Raises
    ReleaseError, one line, that names what differs.
    """
    paths = inspect_folder(folder)
    hashed = hashed or {}
    files = {**hash_files([path for path in paths if path.name not in hashed], read), **hashed}
    return check_claim(folder, {path.name: files[path.name] for path in paths}, claim)


def check_claim(folder: Path, files: dict[str, FileHash], claim: Claim) -> Checked:
    """`check_folder` for `files` whose hashes were taken before: reads manifest and signature only."""
    stated = _manifest(folder, files, claim)
    signature, signer = _signature(folder, claim)
    return Checked(files, (stated, signature, _official(folder, files, claim.variant)), signer)


def _manifest(folder: Path, files: Mapping[str, FileHash], claim: Claim) -> Check:
    if MANIFEST not in files:
        return Check("manifest", "skip", "it has none")
    try:
        listed = read_manifest(folder / MANIFEST)
    except CheckpointError as error:
        raise ReleaseError(str(error)) from None
    if strangers := sorted(files.keys() - listed.keys() - {MANIFEST, SIGNATURE}):
        raise ReleaseError(f"{strangers[0]} is not in {MANIFEST}: somebody added it")
    wanted = {name: file for name, file in listed.items() if claim.wants(name) or name in files}
    if faults := compare(wanted, files):
        others = f", and {len(faults) - 1} more: {', '.join(fault.split()[0] for fault in faults[1:])}" if faults[1:] else ""
        raise ReleaseError(f"{faults[0]}{others}")
    return Check("manifest", "pass", f"{len(wanted)} of {len(listed)} files are as it states")


def _signature(folder: Path, claim: Claim) -> tuple[Check, str | None]:
    """(The check, whose signature it is)."""
    if claim.signed_by is None and not (folder / SIGNATURE).is_file():
        return Check("signature", "skip", "it has none: nothing says who made it"), None
    if claim.signed_by is None and find_spec("cryptography") is None:
        return Check("signature", "skip", "not looked at; pip install 'mistral7b[release]'"), None
    from mistral7b.release.sign import verify_signature

    if not (folder / MANIFEST).is_file():
        raise ReleaseError(f"there is no {MANIFEST} that could be signed, and it was to be signed by {claim.signed_by}")
    signed = verify_signature(folder / MANIFEST, claim.signed_by)
    if signed.trusted:
        return Check("signature", "pass", f"signed by {signed.key}, as asked"), signed.key
    return Check(
        "signature", "skip", f"valid, by {signed.key}: unknown, so compare it, or name the key with --signed-by"
    ), signed.key


def _official(folder: Path, files: Mapping[str, FileHash], variant: str | None) -> Check:
    """The table of official hashes: of the published model it must be, or of the one that its weights are mostly those of."""
    if variant is not None:
        official = {name: sha for name, sha in VARIANTS[variant].sha256.items() if name in files}
        if wrong := [name for name, sha in official.items() if files[name].sha256 != sha]:
            raise ReleaseError(
                f"{wrong[0]} is not the published file of {variant}: sha256 {files[wrong[0]].sha256}, published with "
                f"{official[wrong[0]]}"
            )
        known = f"{', '.join(official)} as published" if official else "no official hash of these files is known"
        return Check("official", "pass" if official else "skip", f"{variant}: {known}")
    from mistral7b.checkpoint.folder import open_checkpoint  # and with it torch, which nothing before needs

    try:
        identity = identify(open_checkpoint(folder, force=True), files)
    except Mistral7BError:
        return Check("official", "skip", "not a whole model by itself")
    if identity.faults:
        raise ReleaseError(identity.detail)
    published = identity.variant.sha256 if identity.variant is not None else {}
    same = [
        name for name, sha in published.items() if name.endswith(".safetensors") and name in files and files[name].sha256 == sha
    ]
    return Check("official", "pass" if same else "skip", identity.detail)
