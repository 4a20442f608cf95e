"""The file of a conversation: what goes in comes out, and nothing but a whole conversation with this model does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mistral7b.conversations import Kept, load, save
from mistral7b.errors import CheckpointError, MismatchError, StoreError
from tests.cli.subprocesses import ENVIRONMENT
from tests.conversations.made import CONFIG, MODEL, kept
from tests.equivalence.networks import small

Words = dict[str, Any]
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk"


def same(a: Kept, b: Kept) -> bool:
    words = all(getattr(a, name) == getattr(b, name) for name in ("messages", "tools", "safe_prompt", "ids", "reply_at"))
    if a.state is None or b.state is None:
        return words and a.state is b.state
    states = (a.state.ids, a.state.first) == (b.state.ids, b.state.first)
    return words and states and all(torch.equal(x, y) for x, y in zip(a.state.held, b.state.held, strict=True))


@pytest.mark.parametrize("n_ids", [3, 9, 300])
def test_what_is_saved_is_loaded(path: Path, n_ids: int) -> None:
    save(path, kept(n_ids), MODEL)
    assert same(load(path, MODEL), kept(n_ids))
    assert [file.name for file in path.parent.iterdir()] == ["talk"], "nothing is left beside it"
    assert path.stat().st_mode & 0o777 == 0o600, "a conversation is its owner's"


def test_an_int8_cache_keeps_its_scales(path: Path) -> None:
    model = replace(MODEL, kv_dtype="int8")
    save(path, kept(30, kv_dtype="int8"), model)
    assert same(load(path, model), kept(30, kv_dtype="int8"))
    with pytest.raises(MismatchError, match="cache int8"):
        load(path, MODEL)
    with safe_open(path, framework="pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    assert tensors["k_scales"].dtype == torch.float32
    for spoiled in (tensors["k_scales"].half(), tensors["k_scales"][:, 1:].contiguous(), tensors["k_scales"] * torch.nan):
        save_file(tensors | {"k_scales": spoiled}, path, metadata=header)
        with pytest.raises(CheckpointError):
            load(path, model)
    save_file({name: held for name, held in tensors.items() if name != "v_scales"}, path, metadata=header)
    with pytest.raises(CheckpointError, match="v_scales"):
        load(path, model)


@pytest.mark.parametrize("window", [None, 1])
def test_any_window(path: Path, window: int | None) -> None:
    model = replace(MODEL, config=replace(CONFIG, sliding_window=window))
    save(path, kept(30, window), model)
    assert same(load(path, model), kept(30, window))


def test_an_empty_conversation(path: Path) -> None:
    save(path, Kept(), MODEL)
    found = load(path, MODEL)
    assert same(found, Kept(messages=[]))
    assert found.system is None
    save(path, kept(), MODEL)
    assert load(path, MODEL).system == "Be brief.\n"


def test_past_the_window_a_file_grows_by_its_ids_only(path: Path) -> None:
    sizes = []
    for n_ids in (20, 1020, 2020):
        save(path, kept(n_ids), MODEL)
        sizes.append(path.stat().st_size)
    assert sizes[2] - sizes[1] == 1000 * 4
    assert abs(sizes[1] - sizes[0] - 1000 * 4) <= 16, "a digit more here and there"


def test_what_was_loaded_survives_the_next_save(path: Path) -> None:
    save(path, kept(20), MODEL)
    found = load(path, MODEL)
    save(path, kept(300), MODEL)
    assert same(found, kept(20))


def test_every_truncation_is_one_line(path: Path) -> None:
    save(path, kept(), MODEL)
    whole = path.read_bytes()
    for size in {0, 1, 7, 8, 9, *range(50, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:size])
        for attempt in (lambda: load(path, MODEL), lambda: save(path, kept(), MODEL)):
            with pytest.raises(
                CheckpointError, match=r"no conversation, or a damaged one \(.*\); move it away, or name"
            ) as caught:
                attempt()
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == whole[:size], "what is no conversation is never replaced"


def test_no_flipped_byte_of_the_header_is_a_crash(path: Path) -> None:
    save(path, kept(), MODEL)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    dice = random.Random(0)
    refused = 0
    for _ in range(200):
        spoiled = bytearray(whole)
        spoiled[dice.randrange(header)] ^= 1 << dice.randrange(8)
        path.write_bytes(spoiled)
        with suppress(CheckpointError, StoreError, MismatchError):
            load(path, MODEL)
            refused -= 1
        refused += 1
    assert refused > 100, "most of a header matters"


def spoil(path: Path, *, words: Callable[[Words], None] | None = None, tensors: Callable[[Tensors], None] | None = None) -> None:
    """Write the file of `kept()` again, with its JSON or its tensors changed."""
    save(path, kept(), MODEL)
    with safe_open(path, framework="pt") as file:
        header, held = dict(file.metadata()), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    said: Words = json.loads(header["conversation"])
    if words:
        words(said)
    if tensors:
        tensors(held)
    save_file(held, path, {**header, "conversation": json.dumps(said)})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (lambda w: w.clear(), "malformed"),
        (lambda w: w.update(more=1), "malformed"),
        (lambda w: w.update(safe_prompt=1), "malformed"),
        (lambda w: w.update(messages={}), "no list"),
        (lambda w: w.update(messages=[]), "ids are of no reply"),
        (lambda w: w["messages"].pop(), "ids are of no reply"),
        (lambda w: w.update(messages=[{"role": "king", "content": "x"}]), "role 'king'"),
        (lambda w: w.update(tools="all"), "no list"),
        (lambda w: w.update(tools=[{}]), "tool 1 must be"),
        (lambda w: w.update(reply_at=21), "out of range"),
        (lambda w: w.update(reply_at=-1), "out of range"),
        (lambda w: w.update(reply_at=True), "out of range"),
        (lambda w: w.update(computed=21), "out of range"),
        (lambda w: w.update(computed=17), "k is not"),
        (lambda w: w.update(computed=0), "it should hold ids"),
        (lambda w: w.update(computed=1e999), "out of range"),
        (lambda w: w.update(model=None), "which model"),
        (lambda w: w["model"].update(name=7), "malformed"),
        (lambda w: w["model"].update(weights="\x1b[2J"), "malformed"),
        (lambda w: w["model"].update(kv_dtype="int4"), "malformed"),
        (lambda w: w["model"].update(config=[]), "malformed"),
        (lambda w: w["model"]["config"].update(dim=0), "dim must be"),
    ],
)
def test_words_that_make_no_conversation(path: Path, words: Callable[[Words], None], why: str) -> None:
    spoil(path, words=words)
    if why == "k is not":  # 17 computed ids keep as many keys as 18 do: only the ids tell them apart
        assert load(path, MODEL).computed == 17
        return
    with pytest.raises(CheckpointError) as caught:
        load(path, MODEL)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        (lambda t: t.pop("k"), "it should hold ids, k, v"),
        (lambda t: t.update(w=torch.zeros(1)), "it should hold ids, k, v"),
        (lambda t: t.pop("ids"), "ids"),
        (lambda t: t.update(ids=t["ids"].long()), "32-bit integers"),
        (lambda t: t.update(ids=t["ids"][None]), "32-bit integers"),
        (lambda t: t.update(ids=t["ids"][:10]), "out of range"),
        (lambda t: t["ids"].fill_(-1), "outside the vocabulary"),
        (lambda t: t["ids"].fill_(CONFIG.vocab_size), "outside the vocabulary"),
        (lambda t: t.update(k=t["k"].float()), "k is not"),
        (lambda t: t.update(v=t["v"].half()), "v is not"),
        (lambda t: t.update(v=t["v"][:, 1:].contiguous()), "v is not"),
        (lambda t: t.update(k=t["k"].flatten()), "k is not"),
        (lambda t: t["v"].view(-1)[-1:].fill_(float("inf")), "not finite"),
        (lambda t: t["k"].view(-1)[:1].fill_(float("nan")), "not finite"),
    ],
)
def test_tensors_that_are_no_cache(path: Path, tensors: Callable[[Tensors], None], why: str) -> None:
    spoil(path, tensors=tensors)
    with pytest.raises(CheckpointError) as caught:
        load(path, MODEL)
    assert why in str(caught.value)


def test_json_without_a_bottom_or_with_a_foreign_number(path: Path) -> None:
    for held in ("[" * 100_000, "9" * 5000, "", "{"):
        save_file({"ids": torch.zeros(0, dtype=torch.int32)}, path, {
            "format": "mistral7b conversation", "version": "1", "conversation": held
        })  # fmt: skip
        with pytest.raises(CheckpointError, match="no conversation, or a damaged one"):
            load(path, MODEL)


def test_files_that_are_something_else(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        load(path, MODEL)
    with pytest.raises(StoreError, match="is not a file"):
        load(path.parent, MODEL)
    with pytest.raises(StoreError, match="is not a folder; make it first"):
        save(path / "talk", kept(), MODEL)
    os.mkfifo(path)
    with pytest.raises(StoreError, match="is not a file"):
        save(path, kept(), MODEL)
    path.unlink()
    for precious in ("precious", '{"messages": []}', "\x80\x02pickle"):
        path.write_text(precious)
        with pytest.raises(CheckpointError):
            save(path, kept(), MODEL)
        with pytest.raises(CheckpointError):
            load(path, MODEL)
        assert path.read_text() == precious
    save_file({"ids": torch.zeros(1)}, path)
    with pytest.raises(StoreError, match="holds tensors, but no conversation"):
        save(path, kept(), MODEL)
    save_file({"ids": torch.zeros(1)}, path, {"format": "mistral7b conversation", "version": "2\n"})
    with pytest.raises(StoreError, match=r"format '2\\n', and this program reads '1'"):
        load(path, MODEL)


@pytest.mark.parametrize(
    "other",
    [
        replace(MODEL, weights="2" * 64, name="other"),
        replace(MODEL, tokenizer="v1 " + "1" * 64, name="other"),
        replace(MODEL, kv_dtype="float16", name="other"),
        replace(MODEL, config=small(vocab_size=32_768, sliding_window=9), name="other"),
    ],
)
def test_a_conversation_with_another_model_names_both(path: Path, other: Any) -> None:
    save(path, kept(), MODEL)
    with pytest.raises(MismatchError) as caught:
        load(path, other)
    said = str(caught.value)
    assert "tiny (2 layers, dim 32, weights 00000000" in said
    assert "other (2 layers" in said
    assert "\n" not in said


def test_a_model_of_another_name_is_the_same_model(path: Path) -> None:
    save(path, kept(), replace(MODEL, name="/models/a\nb"))
    assert same(load(path, MODEL), kept())
    with pytest.raises(MismatchError) as caught:
        load(path, replace(MODEL, weights="2" * 64))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")])
def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    save(path, kept(9), MODEL)

    def full(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("mistral7b.conversations.file.save_file", full)
        with pytest.raises(CheckpointError, match="was not written"):
            save(path, kept(300), MODEL)
    assert same(load(path, MODEL), kept(9))
    assert [file.name for file in path.parent.iterdir()] == ["talk"]


# Importing torch takes longer than being killed: one process imports, and forks the writers.
FORKS = """
import os, sys
from pathlib import Path
from mistral7b.conversations import save
from tests.conversations.made import MODEL, kept

for _ in range(int(sys.argv[2])):
    if (child := os.fork()) == 0:
        n = 3
        while True:
            save(Path(sys.argv[1]), kept(n), MODEL)
            if n == 3:
                print(os.getpid(), flush=True)
            n = n % 3000 + 7
    sys.stdin.readline()
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def test_killed_while_saving_the_file_before_still_loads(path: Path) -> None:
    """kill -9, twenty times, wherever it strikes; then what was left half-written is swept away in time."""
    dice = random.Random(1)
    root = str(Path(__file__).parents[2])
    environment = ENVIRONMENT | {"PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}{os.pathsep}{root}"}
    left: set[Path] = set()
    writer = subprocess.Popen([sys.executable, "-c", FORKS, str(path), "20"], env=environment, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdin is not None
    with writer:
        for _ in range(20):
            child = int(writer.stdout.readline())
            time.sleep(dice.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
            writer.stdin.write("next\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "killed\n"
            found = load(path, MODEL)
            assert same(found, kept(len(found.ids)))
            left = {file for file in path.parent.iterdir() if file != path}
    assert left, "some were struck in the middle of a save"
    for file in left:
        os.utime(file, (0, 0))
    (path.parent / ".other.x.partial").mkdir()
    os.utime(path.parent / ".other.x.partial", (0, 0))
    save(path, kept(), MODEL)
    assert sorted(file.name for file in path.parent.iterdir()) == [".other.x.partial", "talk"]
