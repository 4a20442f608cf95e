"""The command as a user runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mistral7b

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(mistral7b.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def python(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run this Python on `args`."""
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False, **options)


def command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `mistral7b` on `args`."""
    return python("-m", "mistral7b", *args, **options)
