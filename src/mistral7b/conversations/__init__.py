"""Conversations that outlast the process: what was said, the ids as they were run, and the cache they left."""

from __future__ import annotations

from mistral7b.conversations.file import check_place, save
from mistral7b.conversations.fingerprint import Fingerprint
from mistral7b.conversations.kept import Kept
from mistral7b.conversations.reading import load
from mistral7b.conversations.sessions import SessionStore, check_folder
from mistral7b.conversations.turns import Prompt, answered, answered_by, go_on, prompt

__all__ = [
    "Fingerprint",
    "Kept",
    "Prompt",
    "SessionStore",
    "answered",
    "answered_by",
    "check_folder",
    "check_place",
    "go_on",
    "load",
    "prompt",
    "save",
]
