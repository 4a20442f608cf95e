"""export: a checked model as one directory to carry to a machine without a network, with all it takes to check it there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mistral7b.checkpoint.aside import aside, sync
from mistral7b.checkpoint.digest import BLOCK
from mistral7b.checkpoint.manifest import MANIFEST, model_files, read_manifest, write_manifest
from mistral7b.errors import ReleaseError
from mistral7b.release.inspect import SIGNATURE

_BESIDE = 32 << 20  # bytes for what is not the model


def export(
    folder: Path,
    target: Path,
    *,
    name: str,
    source: str,
    signer: str | None = None,
    torrent: Path | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[Path]:
    """Writes the new folder `target` and returns its files: NAME/ (the model, manifest and signature; a manifest is written if it
    has none), NAME.sha256, README.md, and, where they are known, NAME.pub (the key `signer`) and NAME.torrent.

    `source` is where the model came from, for people to read. Raises ReleaseError for a folder that holds no model,
    CheckpointError if `target` stands in the way or the disk is full; then nothing is left behind.
    """
    files = model_files(folder) + [path for path in (folder / MANIFEST, folder / SIGNATURE) if path.is_file()]
    if not model_files(folder):
        raise ReleaseError(f"{folder} holds no model file; give the folder of a model")
    total, done = sum(path.stat().st_size for path in files), 0
    with aside(target, needs=total + _BESIDE, folder=True, force=False) as made:
        inner = made / name
        inner.mkdir()
        for path in files:
            with path.open("rb") as read, (inner / path.name).open("wb") as out:
                while block := read.read(BLOCK):
                    out.write(block)
                    done += len(block)
                    progress(done, total)
            sync(inner / path.name)
        if not (inner / MANIFEST).is_file():
            sync(write_manifest(inner))
        listed = read_manifest(inner / MANIFEST)
        here = {held: file for held, file in listed.items() if (inner / held).is_file()}
        sums = "".join(f"{file.sha256}  {name}/{held}\n" for held, file in here.items())
        (made / f"{name}.sha256").write_text(sums, encoding="utf-8")
        if signer is not None:
            (made / f"{name}.pub").write_text(signer + "\n", encoding="utf-8")
        if torrent is not None:
            shutil.copyfile(torrent, made / f"{name}.torrent")
        signed = signer is not None and (inner / SIGNATURE).is_file()
        part = None if here == listed else f"{len(here)} of {len(listed)} files"
        page = _page(name, source, signed=signed, torrent=torrent is not None, part=part)
        (made / "README.md").write_text(page, encoding="utf-8")
        sync(inner)
    return sorted(path for path in target.rglob("*") if path.is_file())


def _page(name: str, source: str, *, signed: bool, torrent: bool, part: str | None) -> str:
    """`part`: how much of the model there is, where that is not all."""
    what = "A model" if part is None else f"A part, {part}, of a model"
    by = f" --signed-by {name}.pub" if signed else ""
    lines = [
        f"# {name}",
        "",
        f"{what} from {source}, to be used and checked without a network.",
        "",
        "Check every byte, in this directory:",
        "",
    ]
    if part is None:
        lines += [
            f"    mistral7b verify {name} --manifest {name}/{MANIFEST}{by}",
            "",
            f"or, without that program, `sha256sum -c {name}.sha256`. Then:",
            "",
            f'    mistral7b generate "Once upon a time" --model ./{name}',
            "",
        ]
    else:
        lines += [f"    sha256sum -c {name}.sha256", ""]
    if signed:
        lines += [
            f"`{name}.pub` is the key that signed the manifest. It came with the model, so it proves nothing by itself: compare "
            "it with what its owner says elsewhere.",
            "",
        ]
    if torrent and part is None:
        lines += [f"`{name}.torrent` names the same files to BitTorrent programs: `mistral7b seed` serves them from here.", ""]
    return "\n".join(lines)
