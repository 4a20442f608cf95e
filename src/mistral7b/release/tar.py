"""A tar of a model, unpacked as plain files of known names into one folder."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mistral7b.checkpoint.digest import BLOCK
from mistral7b.errors import ReleaseError
from mistral7b.release.inspect import PICKLES, check_member, is_known

_MOST_FILES = 1_000
_MOST_HEADERS = 4 << 20  # bytes of all headers together; a block of 512 a file, and two or three for a long name


def unpack(tar: Path, target: Path, *, launch: bool, wrote: Callable[[int], None] = lambda _: None) -> None:
    """Writes the files of `tar` into the empty folder `target`, without the folder they may stand in.

    All members are looked at before the first byte is written; plain files that are no part of a model stay in the tar. `launch`
    lets in consolidated.00.pth. Raises ReleaseError for paths that lead elsewhere, links, devices, names twice, any other pickle,
    and for a damaged tar.
    """
    try:
        with _Bounded(tar) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            members = {name: member for member in _members(archive) if (name := _plain_name(member, launch=launch)) is not None}
            file.left = None
            needs = sum(member.size for member in members.values())
            if not members:
                raise ReleaseError(f"{tar.name} holds no file of a model")
            if needs > tar.stat().st_size:
                raise ReleaseError(f"{tar.name} claims {needs:,} bytes, more than it has")
            if (free := shutil.disk_usage(tar.parent).free) < needs:
                raise ReleaseError(
                    f"{tar.name} needs {needs / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free; make room first"
                )
            target.mkdir(exist_ok=True)
            for name, member in members.items():
                _write(archive, member, target / name, wrote)
    except (tarfile.TarError, RecursionError) as error:  # one header within another, again and again
        raise ReleaseError(f"{tar.name} is damaged ({error}); fetch it again") from None


class _Bounded(io.FileIO):
    """A tar whose headers, which tarfile reads into memory whatever their length, may not be longer than those of a model."""

    left: int | None = _MOST_HEADERS  # bytes that may still be read; None: any number

    def read(self, size: int | None = -1, /) -> bytes:
        if self.left is not None:
            self.left -= size if size is not None and size >= 0 else _MOST_HEADERS + 1
            if self.left < 0:
                raise ReleaseError(f"it has over {_MOST_HEADERS >> 20} MiB of headers, which no model has")
        return super().read(-1 if size is None else size)


def _members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    seen: set[str] = set()
    for member in archive:
        if len(members) == _MOST_FILES:
            raise ReleaseError(f"it holds over {_MOST_FILES:,} files, which no model has")
        name = PurePosixPath(member.name).name.casefold()
        if not member.isdir() and name in seen:
            raise ReleaseError(f"it holds {member.name!r} twice")
        seen.add(name if not member.isdir() else "")
        members.append(member)
    return members


def _plain_name(member: tarfile.TarInfo, *, launch: bool) -> str | None:
    """The file name to unpack `member` under; None for one that is no part of a model, and for the folder around them."""
    parts = member.name.removeprefix("./").rstrip("/").split("/")
    if member.name.startswith("/") or ".." in parts or "\\" in member.name or not member.name.isprintable() or len(parts) > 2:
        raise ReleaseError(f"it holds {member.name!r}, whose path leads elsewhere")
    if member.isdir() and len(parts) == 1:
        return None
    if not member.isreg():
        raise ReleaseError(f"it holds {member.name!r}, a link, a folder or a device; only plain files are unpacked")
    name = parts[-1]
    if not is_known(name) and not name.lower().endswith(PICKLES):
        return None
    check_member(name, launch=launch)
    return name


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, wrote: Callable[[int], None]) -> None:
    source = archive.extractfile(member)
    assert source is not None  # a regular file
    with source, path.open("xb") as out:
        while block := source.read(BLOCK):
            out.write(block)
            wrote(len(block))
    if path.stat().st_size != member.size:
        raise ReleaseError(f"{member.name!r} is cut short; fetch the tar again")
