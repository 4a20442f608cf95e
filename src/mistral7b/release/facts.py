"""What a release says of itself that its files cannot tell: a name, a licence, a base model and a date."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mistral7b.errors import ReleaseError

# A folder of this name can stand on any file system, and in a link without escapes.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", re.ASCII)
_DEVICES = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.ASCII)
_MOST = 200  # characters of a licence or of a base model's name
_FRONT_LICENCE = re.compile(r"^licen[cs]e:[ \t]*['\"]?([^'\"\n#]+?)['\"]?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a release says of itself that the files cannot tell. `created` in seconds since 1970. Raises ReleaseError."""

    name: str
    licence: str | None
    created: int
    base_model: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or _DEVICES.fullmatch(self.name):
            raise ReleaseError(f"{self.name!r} is no name for a release; take letters, digits, '.', '_' and '-' (--name)")
        for what, text in (("licence", self.licence), ("base model", self.base_model)):
            if text is not None and not _short(text):
                raise ReleaseError(f"the {what} {text[:_MOST]!r} is not one short line of text")
        if not 0 <= self.created < 1 << 32:
            raise ReleaseError(f"the date {self.created} is not one between 1970 and 2106")


def facts_of(
    folder: Path, environ: Mapping[str, str], *, name: str | None, licence: str | None, base_model: str | None, date: str | None
) -> Facts:
    """What the user said; else the folder's name, the licence its card states, and the time (see `created_at`).

    Raises ReleaseError for what makes no sense.
    """
    licence = licence or stated_licence(folder)
    return Facts(name=name or _name_of(folder), licence=licence, created=created_at(date, environ), base_model=base_model)


def created_at(date: str | None, environ: Mapping[str, str]) -> int:
    """Seconds since 1970 of `date`, "2023-09-27" or "2023-09-27T12:00:00Z", of UTC where it names no zone; else
    SOURCE_DATE_EPOCH, as reproducible builds set it; else now. Raises ReleaseError."""
    if date is not None:
        try:
            moment = datetime.fromisoformat(date)
        except ValueError:
            raise ReleaseError(f"{date!r} is no date; write it as 2023-09-27 or 2023-09-27T12:00:00Z") from None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    epoch = environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return int(time.time())
    if not (epoch.isascii() and epoch.isdecimal() and len(epoch) < 12):
        raise ReleaseError(f"SOURCE_DATE_EPOCH is {epoch!r}, which is no number of seconds; correct it, or pass --date")
    return int(epoch)


def stated_licence(folder: Path) -> str | None:
    """The licence that the model card in `folder` states at its head, between two lines of "---"; None if it states none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = text.removeprefix("---\n").split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = _FRONT_LICENCE.search(head)
    return found[1].strip() if found else None


def base_of(training: Mapping[str, Any] | None) -> str | None:
    """The model it was fine-tuned from; of a folder only its own name, since the rest is of the machine it was trained on."""
    base = (training or {}).get("base")
    if not isinstance(base, str) or not _short(base):
        return None
    is_path = base.startswith(("/", ".", "~")) or "\\" in base or base.count("/") > 1
    return Path(base.replace("\\", "/")).name or None if is_path else base


def _name_of(folder: Path) -> str:
    """The folder's own name; of one in the hub's cache, models--OWNER--NAME/snapshots/COMMIT, the model's."""
    folder = folder.resolve()
    cached = folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--")
    return folder.parents[1].name.split("--")[-1] if cached else folder.name


def _short(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and len(text) <= _MOST
