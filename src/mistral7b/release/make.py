"""A good model folder -> a folder to publish, which appears whole or not at all.

OUT/NAME/          what is seeded: the model's files, manifest.json, manifest.json.sig, a model card if there was none
OUT/NAME.torrent   OUT/NAME.magnet   OUT/NAME.svg   OUT/NAME.pub   OUT/README.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral7b.checkpoint.aside import aside, sync
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.manifest import MANIFEST, hash_files
from mistral7b.checkpoint.report import Report
from mistral7b.checkpoint.verify import verify
from mistral7b.config import from_params
from mistral7b.errors import ReleaseError
from mistral7b.release.card import fetch_page, model_card
from mistral7b.release.extra import needed_for
from mistral7b.release.keys import fingerprint, public_text
from mistral7b.release.manifest import Facts, release_manifest, to_bytes
from mistral7b.release.placing import Stamps, bytes_to_copy, place, refuse_changes, stamps
from mistral7b.release.qr import write_qr
from mistral7b.release.reach import Reach
from mistral7b.release.sign import SIGNATURE, sign
from mistral7b.release.torrent import Torrent, make_torrent

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Progress = Callable[[str, int, int], None]  # (stage, bytes done, bytes in all)
CARD = "README.md"
_CARDS = ("README", "MODEL_CARD")
_BESIDE = 16 << 20  # bytes for manifest, torrent and pages


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A model that passed, and `manifest`, the object it will be released under, without a card that is still to be made.

    `notes` are lines worth a look before everyone can read the files.
    """

    folder: Path
    report: Report
    facts: Facts
    manifest: Mapping[str, Any]
    stamps: Stamps
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """What to show of it, (label, text)."""
        return rows_of(self.manifest)

    def to_json(self) -> dict[str, Any]:
        return {"manifest": dict(self.manifest), "notes": list(self.notes)}


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


def rows_of(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The manifest in a few lines, (label, text)."""
    files, config = manifest["files"], from_params(manifest["config"])
    rows = [
        ("name", manifest["name"]),
        ("licence", manifest["licence"]),
        ("created", manifest["created"]),
        ("base model", manifest["base_model"]),
        ("network", config.describe()),
        ("files", f"{len(files)}, {sum(file['size'] for file in files.values()):,} bytes"),
    ]
    return [(label, text) for label, text in rows if text is not None]


def refuse_target(out: Path) -> None:
    """Raises ReleaseError where no release can be made, or if a package is missing that makes one."""
    with needed_for("a release"):
        for package in ("cryptography", "libtorrent", "segno"):
            import_module(package)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ReleaseError(f"{out} already exists, and a release is never replaced; name another folder (--out)")
    if not out.parent.is_dir():
        raise ReleaseError(f"{out.parent} is not a folder; make it first")


def check(folder: Path, facts: Facts, progress: Progress | None = None) -> Checked:
    """Holds `folder` against all of `verify`, and against what others can be asked to load; writes nothing.

    Raises ReleaseError for a model that fails, and for a pickle, which runs what its maker wrote into it.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder} is not a folder; put the file into one of its own and release that")
    before = stamps(folder)
    report = verify(folder, progress=progress)
    if failed := [check for check in report.checks if check.status == "fail"]:
        raise ReleaseError(f"{folder} is not released, because verify fails at {failed[0].name}: {failed[0].detail}")
    if pickles := [name for name in report.files if name.endswith(".pth")]:
        raise ReleaseError(f"{pickles[0]} is a pickle, which nobody should have to load; convert the model, and release that")
    manifest = release_manifest(facts, open_checkpoint(folder), report)
    to_bytes(manifest)
    notes = tuple(f"everyone will read this path of a machine in mistral7b.json: {path}" for path in _paths(report.training))
    return Checked(folder=folder, report=report, facts=facts, manifest=manifest, stamps=before, notes=notes)


def make_release(
    checked: Checked,
    out: Path,
    key: Ed25519PrivateKey,
    *,
    reach: Reach,
    piece_size: int | None = None,
    progress: Progress | None = None,
) -> Release:
    """Makes the folder `out`. The same model, facts, key and options give the same bytes, and so the same info hash.

    Large files are links to those of the model where the disk allows it: neither is to be edited in place afterwards. Raises
    ReleaseError if `out` exists or the model changes meanwhile, CheckpointError for a disk that is full.
    """

    def stage(name: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(name, done, total)

    refuse_target(out)
    name, files = checked.facts.name, checked.report.files
    needs = bytes_to_copy(checked.folder, out.parent, files) + _BESIDE
    with aside(out, needs=needs, folder=True, force=False) as made:
        folder = made / name
        folder.mkdir()
        linked = place(checked.folder, folder, files, stage("copying"))
        manifest = _write_own(folder, checked.manifest, key)
        torrent = make_torrent(
            folder, [*manifest["files"], MANIFEST, SIGNATURE], reach=reach, created=checked.facts.created,
            piece_size=piece_size, progress=stage("pieces"),
        )  # fmt: skip
        refuse_changes(checked.stamps, folder, linked)
        notes = _write_beside(made, manifest, torrent, public_text(key))
        for path in (*folder.iterdir(), folder):
            sync(path)
    return Release(path=out / name, manifest=manifest, torrent=torrent, key=public_text(key), notes=checked.notes + notes)


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


def _paths(value: object) -> Iterator[str]:
    """The absolute paths in an object of JSON: whoever trained the model may not want to publish them."""
    if isinstance(value, str) and value.startswith(("/", "~/", "C:\\")):
        yield value
    elif isinstance(value, Mapping | list):
        for held in value.values() if isinstance(value, Mapping) else value:
            yield from _paths(held)
