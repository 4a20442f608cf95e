"""What the tests of a run read, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train import made


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.shards(tmp_path_factory.mktemp("shards"))
