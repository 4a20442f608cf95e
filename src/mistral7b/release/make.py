"""A good model folder -> a folder to publish, which appears whole or not at all.

OUT/NAME/          what is seeded: the model's files, manifest.json, manifest.json.sig, a model card if there was none
OUT/NAME.torrent   OUT/NAME.magnet   OUT/NAME.svg   OUT/NAME.pub   OUT/README.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral7b.checkpoint.aside import aside, is_here, sync
from mistral7b.checkpoint.manifest import MANIFEST, hash_files
from mistral7b.errors import ReleaseError
from mistral7b.release.candidate import Candidate, Progress, rows_of
from mistral7b.release.card import fetch_page, model_card
from mistral7b.release.extra import needed_for
from mistral7b.release.inspect import SIGNATURE
from mistral7b.release.keys import fingerprint, public_text
from mistral7b.release.manifest import to_bytes
from mistral7b.release.placing import LINKED_FROM, bytes_to_copy, place, refuse_changes
from mistral7b.release.qr import write_qr
from mistral7b.release.reach import Reach
from mistral7b.release.sign import sign
from mistral7b.release.torrent import Torrent, make_torrent

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CARD = "README.md"
_CARDS = ("README", "MODEL_CARD")
_BESIDE = 16 << 20  # bytes for manifest, torrent and pages


@dataclass(frozen=True, kw_only=True)
class Release:
    """What was made: `path` is the folder to seed, `manifest` what its manifest.json says, `key` the public key's text."""

    path: Path
    manifest: Mapping[str, Any]
    torrent: Torrent
    key: str
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """What to show of it, (label, text)."""
        torrent = self.torrent
        return [
            *rows_of(self.manifest),
            ("signed by", self.key),
            ("fingerprint", fingerprint(self.key)),
            ("info hash", f"v1 {torrent.v1}"),
            ("", f"v2 {torrent.v2}"),
            ("torrent", f"{torrent.pieces:,} pieces of {torrent.piece_size >> 10:,} KiB"),
            ("seed", str(self.path)),
        ]

    def to_json(self) -> dict[str, Any]:
        torrent = self.torrent
        return {
            "path": str(self.path),
            "torrent": str(self.path.with_name(f"{self.path.name}.torrent")),
            "magnet": torrent.magnet,
            "info_hash_v1": torrent.v1,
            "info_hash_v2": torrent.v2,
            "pieces": torrent.pieces,
            "piece_size": torrent.piece_size,
            "public_key": self.key,
            "fingerprint": fingerprint(self.key),
            "manifest": dict(self.manifest),
            "notes": list(self.notes),
        }


def refuse_target(out: Path) -> None:
    """Raises ReleaseError where no release can be made, or if a package is missing that makes one."""
    with needed_for("a release"):
        for package in ("cryptography", "libtorrent", "segno"):
            import_module(package)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ReleaseError(f"{out} already exists, and a release is never replaced; name another folder (--out)")
    if is_here(out):
        raise ReleaseError(f"{out} is the folder this runs in, which cannot be replaced; name another folder (--out)")
    if not out.parent.is_dir():
        raise ReleaseError(f"{out.parent} is not a folder; make it first")


def make_release(
    model: Candidate,
    out: Path,
    key: Ed25519PrivateKey,
    *,
    reach: Reach,
    piece_size: int | None = None,
    linked_from: int = LINKED_FROM,
    progress: Progress | None = None,
) -> Release:
    """Makes the folder `out`. The same model, facts, key and options give the same bytes, and so the same info hash.

    Files of `linked_from` bytes and more are links to those of the model where the disk allows it: neither is to be edited in
    place afterwards. Raises ReleaseError if `out` exists or the model changes meanwhile, CheckpointError for a disk that is full.
    """

    def stage(name: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(name, done, total)

    refuse_target(out)
    name, files = model.facts.name, model.report.files
    needs = bytes_to_copy(model.folder, out.parent, files, linked_from=linked_from) + _BESIDE
    with aside(out, needs=needs, folder=True, force=False) as made:
        folder = made / name
        folder.mkdir()
        linked = place(model.folder, folder, files, stage("copying"), linked_from=linked_from)
        manifest = _write_own(folder, model.manifest, key)
        torrent = make_torrent(
            folder, [*manifest["files"], MANIFEST, SIGNATURE], reach=reach, created=model.facts.created,
            piece_size=piece_size, progress=stage("pieces"),
        )  # fmt: skip
        refuse_changes(model.stamps, folder, linked)
        notes = _write_beside(made, manifest, torrent, public_text(key))
        for path in (*folder.iterdir(), folder):
            sync(path)
    return Release(path=out / name, manifest=manifest, torrent=torrent, key=public_text(key), notes=model.notes + notes)


def _write_own(folder: Path, manifest: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Writes the card if there is none, the manifest over all files, and the signature; returns the manifest."""
    files = dict(manifest["files"])
    if not any(name.startswith(_CARDS) for name in files):
        (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
        files[CARD] = hash_files([folder / CARD])[CARD].to_json()
    whole = {**manifest, "files": files}
    text = to_bytes(whole)
    (folder / MANIFEST).write_bytes(text)
    (folder / SIGNATURE).write_bytes(sign(text, key))
    return whole


def _write_beside(made: Path, manifest: Mapping[str, Any], torrent: Torrent, key: str) -> tuple[str, ...]:
    """What is published beside the seeded folder; returns notes about what could not be."""
    name = manifest["name"]
    (made / f"{name}.torrent").write_bytes(torrent.data)
    (made / f"{name}.magnet").write_text(torrent.magnet + "\n")
    (made / f"{name}.pub").write_text(key + "\n")
    (made / CARD).write_text(fetch_page(manifest, torrent, key), encoding="utf-8")
    try:
        write_qr(torrent.magnet, made / f"{name}.svg")
    except ReleaseError as error:
        return (str(error),)
    return ()
