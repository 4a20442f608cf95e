"""Where fetched releases live on this machine, and the key that signs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "MISTRAL7B_HOME"
KEY_FILE = "release.key"


@dataclass(frozen=True, slots=True)
class Home:
    """The folders under `root`, all on one disk so that a rename moves between them.

    `blobs` holds the content of every checked file once, by sha256; `models` folders of links to them; `quarantine` what is
    not yet checked, which nothing is ever loaded from; `apart` the pickles of the launch releases, which only the weights-only
    reader opens.
    """

    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def apart(self) -> Path:
        return self.root / "apart"


def find_home(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Home:
    """MISTRAL7B_HOME, else the platform's folder for caches."""
    if named := environment.get(HOME_VARIABLE):
        return Home(Path(named).expanduser())
    if platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    elif platform == "win32":
        caches = Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        caches = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Home(caches / "mistral7b")


def find_key_file(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where the key stands that signs if no other is named: in MISTRAL7B_HOME, else the platform's folder for settings."""
    if named := environment.get(HOME_VARIABLE):
        return Path(named).expanduser() / KEY_FILE
    if platform == "darwin":
        settings = Path.home() / "Library" / "Application Support"
    elif platform == "win32":
        settings = Path(environment.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        settings = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return settings / "mistral7b" / KEY_FILE
