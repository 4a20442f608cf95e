"""SessionStore: names stay inside the folder, and one turn at a time holds a conversation."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.conversations import SessionStore
from mistral7b.errors import RequestError, StoreError
from tests.conversations.made import MODEL, kept


@pytest.fixture
def store(tmp_path: Path) -> SessionStore:
    (tmp_path / "sessions").mkdir()
    return SessionStore(tmp_path / "sessions", MODEL)


def test_save_load_delete(store: SessionStore) -> None:
    assert store.load("a") is None
    assert store.delete("a") is False
    store.save("a", kept(9))
    store.save("b", kept(30))
    found = store.load("a")
    assert found is not None
    assert found.ids == kept(9).ids
    assert store.delete("a") is True
    assert store.load("a") is None
    assert store.load("b") is not None


@pytest.mark.parametrize(
    "name", ["", "a" * 65, ".", "..", "../a", "a/b", "a\\b", "a.b", "a b", "a\n", "\x00", "ä", "²", "C:", "~", "a%2fb"]
)  # fmt: skip
def test_what_is_no_name_touches_no_file(store: SessionStore, tmp_path: Path, name: str) -> None:
    for attempt in (store.load, store.delete, lambda name: store.save(name, kept())):
        with pytest.raises(RequestError, match="a session name has 1 to 64 characters"):
            attempt(name)
    with pytest.raises(RequestError, match="a session name"), store.hold(name):
        pass
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == ["sessions"]


NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(st.lists(NAMES, unique=True, min_size=2))
def test_every_name_has_a_file_of_its_own_in_the_folder(names: list[str]) -> None:
    """On disks that take "a" and "A" for one name too."""
    store = SessionStore(Path(__file__).parent, MODEL)
    paths = [store.path(name) for name in names]
    assert {path.parent for path in paths} == {Path(__file__).parent}
    assert len({path.name.lower() for path in paths}) == len(names)
    assert all(len(path.name) <= 100 for path in paths)


def test_a_second_turn_is_refused_or_waits(store: SessionStore) -> None:
    with store.hold("a"):
        with pytest.raises(RequestError, match="session 'a' is answering another request"), store.hold("a"):
            pass
        with store.hold("b"):
            pass
        started = time.monotonic()
        with pytest.raises(RequestError, match="answering another"), store.hold("a", wait_s=0.05):
            pass
        assert time.monotonic() - started >= 0.05
    with store.hold("a"):
        pass
    assert store._locks == {}, "a name nobody holds costs nothing"


def test_an_error_in_a_turn_lets_go(store: SessionStore) -> None:
    with pytest.raises(ZeroDivisionError), store.hold("a"):
        raise ZeroDivisionError
    with store.hold("a"):
        pass


def test_turns_in_threads_follow_one_another(store: SessionStore) -> None:
    inside, most = 0, 0
    barrier = threading.Barrier(4)

    def turn() -> None:
        nonlocal inside, most
        barrier.wait()
        for _ in range(20):
            with store.hold("a", wait_s=10):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside, store._locks) == (1, 0, {})


def test_a_coroutine_holds_it_over_awaits(store: SessionStore) -> None:
    async def turn(order: list[str]) -> None:
        try:
            with store.hold("a"):
                await asyncio.to_thread(time.sleep, 0.02)
                order.append("done")
        except RequestError:
            order.append("refused")

    async def both() -> list[str]:
        order: list[str] = []
        await asyncio.gather(turn(order), turn(order))
        return order

    assert asyncio.run(both()) == ["refused", "done"]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a folder; make it first"):
        SessionStore(tmp_path / "nowhere", MODEL)
