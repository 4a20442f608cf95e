"""How many processes a rank encodes its examples in."""

from __future__ import annotations

import pytest

from mistral7b.train import examples


@pytest.mark.parametrize(("processors", "ranks", "share"), [(2, None, 2), (64, None, 16), (64, "8", 8), (4, "8", 1), (7, "2", 3)])
def test_ranks_share_the_processors_of_their_host(
    monkeypatch: pytest.MonkeyPatch, processors: int, ranks: str | None, share: int
) -> None:
    monkeypatch.setattr(examples, "processors", lambda: processors)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if ranks:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert examples.encoders() == share
