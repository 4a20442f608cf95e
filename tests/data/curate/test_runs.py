"""Runs: one worker or two, killed and gone on, refused with one line; the same bytes, or nothing half-written."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.data.curate import executors
from mistral7b.data.curate.run import curate
from mistral7b.data.documents import Documents
from mistral7b.errors import DataError, Mistral7BError, RecipeError
from tests.data.curate.made import (
    documents,
    dropped,
    everything,
    histoire,
    lines,
    program,
    recipe,
    run,
    source,
    stories,
    texts,
)

Made = dict[str, Any]
STEPS: Made = {
    "normalise": {},
    "language": {"keep": ["en", "fr"]},
    "quality": {"en": {"languages": ["en"], "gopher": {}, "repetition": {}}},
    "code": {},
    "toxicity": {},
    "personal_data": {},
    "exact_dedup": {},
    "minhash": {"buckets": 4, "hashes": 4},
    "split_long": {"characters": 1500},
}


@pytest.fixture
def corpus(tmp_path: Path) -> Made:
    """Three sources of several kinds, several units each."""
    dice = random.Random(1)
    held = [*stories(60), *stories(10), *(histoire(dice) for _ in range(10)), "x" * 50]
    lines(tmp_path / "data/a.jsonl", held)
    lines(tmp_path / "data/b.jsonl.gz", [*stories(30, 5), *stories(5)])
    for i in range(6):
        (tmp_path / f"data/code/{i}").mkdir(parents=True)
        (tmp_path / f"data/code/{i}/m.py").write_text(program(dice))
    return {
        "a": source(tmp_path / "data/a.jsonl", epochs=2), "b": source(tmp_path / "data/b.jsonl.gz"),
        "c": source(tmp_path / "data/code", reader="code", kind="code"),
    }  # fmt: skip


def big() -> dict[str, Any]:
    return {"steps": STEPS, "held_out": 0.1, "shard_megabytes": 0.01}


def test_two_workers_give_the_bytes_of_one_and_the_folder_is_documents(tmp_path: Path, corpus: Made) -> None:
    run(tmp_path, corpus, out="one", **big())
    run(tmp_path, corpus, out="two", workers=2, **big())
    one = everything(tmp_path / "one")
    assert one == everything(tmp_path / "two")
    assert len([name for name in one if name.startswith("train/")]) >= 8
    held = Documents.open(tmp_path / "one")
    manifest = json.loads(one["manifest.json"])
    assert set(held.sources) == {"a", "b", "c"}
    for name, entry in manifest["files"].items():
        path = tmp_path / "one" / name
        assert (entry["sha256"], entry["size"]) == (sha256_of(path), path.stat().st_size)
    for name, told in manifest["sources"].items():
        for split in ("train", "held-out"):
            found = [document for document in documents(tmp_path / "one", split) if document["source"] == name]
            assert told[split]["documents"] == len(found)
            assert told[split]["bytes"] == sum(len(document["text"].encode()) for document in found)
    assert manifest["sources"]["a"] == {**manifest["sources"]["a"], "kind": "prose", "licence": "CC0-1.0", "epochs": 2.0}
    assert not [name for name in one if name.endswith(".partial")]
    assert str(tmp_path) not in json.dumps({**manifest, "recipe": {}}), "no folder of this machine"


def test_a_finished_run_is_not_done_again(tmp_path: Path, corpus: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(tmp_path, corpus, **big())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.gz")}
    monkeypatch.setattr(executors.Local, "run_task", None)
    assert run(tmp_path, corpus, **big()) == report
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.gz")} == before


def test_after_an_error_only_what_is_missing_is_done(tmp_path: Path, corpus: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path, corpus, out="whole", **big())
    done: list[tuple[str, int]] = []
    real = executors.Local.run_task

    def failing(self: executors.Local, rank: int) -> None:
        if len(done) in stops:
            stops.remove(len(done))
            raise KeyboardInterrupt
        real(self, rank)
        done.append((Path(self.logging_dir.path).name, rank))

    monkeypatch.setattr(executors.Local, "run_task", failing)
    stops = {0, 3, 9, 15, 22, 30}
    for _ in range(len(stops)):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, corpus, **big())
    assert run(tmp_path, corpus, **big()) == whole
    assert len(done) == len(set(done)), "nothing was done twice"
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


@pytest.mark.parametrize("after", [0.2, 2.0])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path, corpus: Made, after: float) -> None:
    run(tmp_path, corpus, out="whole", **big())
    path = recipe(tmp_path, corpus, **big())
    command = [sys.executable, "-m", "mistral7b", "curate", str(path), "--out", str(tmp_path / "out"), "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        limit = time.monotonic() + 60
        while not (tmp_path / "out/.work/run.json").exists() and time.monotonic() < limit:
            time.sleep(0.02)
        # As a kill in the middle of a write leaves one; there before the run may end, which also sweeps.
        left = tmp_path / "out/train/a/.00008.jsonl.gz.1.partial"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
        time.sleep(after)
        os.killpg(process.pid, signal.SIGKILL)
    run(tmp_path, corpus, **big())
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def test_a_disk_that_fills_keeps_what_is_finished(tmp_path: Path, corpus: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, corpus, out="whole", **big())
    real, written = os.fsync, [0]

    def full(handle: int) -> None:
        written[0] += 1
        if written[0] > 25:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"the disk of .* is full; what was finished is kept: make room, then give the same"):
        run(tmp_path, corpus, **big())
    left = everything(tmp_path / "out")
    assert "manifest.json" not in left
    assert not list((tmp_path / "out").rglob("*.partial"))
    monkeypatch.setattr(os, "fsync", real)
    run(tmp_path, corpus, **big())
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every socket but those between processes of this machine is refused, and noted: a library may swallow the refusal."""
    asked: list[Any] = []
    real = socket.socket.__init__

    def refused(self: socket.socket, family: int = -1, *args: Any, **kwargs: Any) -> None:
        if family != socket.AF_UNIX and kwargs.get("fileno") is None:
            asked.append(family)
            raise OSError("no sockets here")
        real(self, family, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "__init__", refused)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: asked.append(args))
    return asked


def test_nothing_is_downloaded(tmp_path: Path, corpus: Made, no_sockets: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no cache of an earlier download
    lines(tmp_path / "p.jsonl", [stories(1)[0]])
    quality = {"en": {"languages": ["en"], "gopher": {}, "repetition": {}, "c4": {}, "fineweb": {"char_duplicates_ratio": 0.5}}}
    settings = {**big(), "steps": {**STEPS, "quality": quality, "decontaminate": {"prompts": [str(tmp_path / "p.jsonl")]}}}
    run(tmp_path, corpus, **settings)
    assert no_sockets == []
    assert texts(tmp_path / "out")


def test_broken_lines_are_refused_by_name_or_skipped_and_counted(tmp_path: Path) -> None:
    held = stories(6)
    path = lines(tmp_path / "a.jsonl", held)
    good = path.read_text().splitlines()
    path.write_text(
        "\n".join([good[0], "{broken", good[1], '{"txt": "x"}', "[1]", *good[2:], '"text"', '{"text": "a\\ud800b"}']) + "\n"
    )
    with pytest.raises(DataError, match=r"source s, a\.jsonl:2: not JSON: .*; mend it, or set on_bad_line: skip"):
        run(tmp_path, {"s": source(path)})
    report = run(tmp_path, {"s": source(path)}, on_bad_line="skip", out="skipped")
    assert texts(tmp_path / "skipped") == held
    assert dropped(report, "read") == {
        "bad line: no text under 'text'": 1,
        "bad line: not JSON": 2,
        "bad line: not a JSON object": 2,
    }
    bad = report["steps"][0]["samples"]["dropped"]["bad line: not JSON"]
    assert sorted(one["id"] for one in bad) == ["s/a.jsonl:11", "s/a.jsonl:2"], "half a surrogate pair is no text either"


def refused(tmp_path: Path, sources: dict[str, Any], **more: Any) -> str:
    with pytest.raises(Mistral7BError) as caught:
        run(tmp_path, sources, **more)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_input_that_will_not_do_is_refused_in_one_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", stories(3))
    empty = lines(tmp_path / "empty.jsonl", [])
    (tmp_path / "folder").mkdir()
    assert "source s: " in refused(tmp_path, {"s": source(tmp_path / "none.jsonl")})
    assert "is not there" in refused(tmp_path, {"s": source(tmp_path / "none*.jsonl")})
    assert "source s is empty: no .jsonl" in refused(tmp_path, {"s": source(tmp_path / "folder")})
    assert "source e is empty: its files hold no document" in refused(tmp_path, {"s": source(path), "e": source(empty)}, out="1")
    assert "no document is left for training" in refused(
        tmp_path, {"s": source(path)}, steps={"language": {"keep": ["fr"]}}, out="2"
    )
    assert "did you mean similarity?" in refused(tmp_path, {"s": source(path)}, steps={"minhash": {"similarty": 1}})
    assert "did you mean licence?" in refused(tmp_path, {"s": {**source(path), "license": "MIT"}})
    assert "Unknown language code" in refused(tmp_path, {"s": source(path)}, steps={"language": {"among": ["xx", "en"]}}, out="3")
    assert "prompts.jsonl is not there" in refused(
        tmp_path, {"s": source(path)}, steps={"decontaminate": {"prompts": [str(tmp_path / "prompts.jsonl")]}}
    )
    assert "letters, digits" in refused(tmp_path, {"../s": source(path)})
    assert "executor slurm needs a block slurm" in refused(tmp_path, {"s": source(path)}, executor="slurm")


def test_an_error_in_a_worker_is_the_same_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", stories(4))
    path.write_text(path.read_text() + "broken\n")
    with pytest.raises(DataError, match=r"source s, a\.jsonl:5: not JSON"):
        run(tmp_path, {"s": source(path)}, workers=2, shard_megabytes=0.001)


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", stories(3))
    run(tmp_path, {"s": source(path)})
    assert "documents of another recipe, input or version" in refused(tmp_path, {"s": source(path)}, steps={"normalise": {}})
    before = everything(tmp_path / "out")
    report = curate(recipe(tmp_path, {"s": source(path)}, steps={"normalise": {}}), tmp_path / "out", force=True, workers=1)
    assert report is not None
    assert [step["step"] for step in report["steps"]] == ["read", "normalise"]
    assert everything(tmp_path / "out") != before
    lines(path, stories(4))
    assert "documents of another recipe, input or version" in refused(tmp_path, {"s": source(path)}, steps={"normalise": {}})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.doc").write_text("years of work")
    with pytest.raises(DataError, match=r"mine holds 'thesis\.doc', which is no part of a folder of documents"):
        curate(recipe(tmp_path, {"s": source(path)}), tmp_path / "mine", force=True, workers=1)
    assert (tmp_path / "mine/thesis.doc").exists()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    import fcntl

    path = lines(tmp_path / "a.jsonl", stories(3))
    (tmp_path / "out/.work").mkdir(parents=True)
    with (tmp_path / "out/.work/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another curate is at work there" in refused(tmp_path, {"s": source(path)})


def test_tokens_are_counted_where_a_tokenizer_is_named(tmp_path: Path) -> None:
    from mistral7b.tokens.tokenizer import Tokenizer

    held = stories(5)
    path = lines(tmp_path / "a.jsonl", held)
    tokenizer = Path(__file__).parents[3] / "src/mistral7b/models/tiny/tokenizer.model.v3"
    report = run(tmp_path, {"s": source(path)}, tokenizer=str(tokenizer))
    assert report["tokens"] == "counted"
    wanted = sum(len(Tokenizer.load(tokenizer).encode(text)) for text in held)
    assert report["total"]["train"]["tokens"] == wanted
    assert run(tmp_path, {"s": source(path)}, out="estimated")["total"]["train"]["tokens"] != wanted


def test_the_same_pipelines_go_to_a_cluster(tmp_path: Path, corpus: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from mistral7b.data.curate.executors import ray, slurm
    from mistral7b.data.curate.plan import plan
    from mistral7b.data.curate.recipe import CurateRecipe
    from mistral7b.data.curate.stages import stages
    from mistral7b.data.curate.work import Work
    from mistral7b.recipe import read_raw, read_recipe

    on = {"executor": "slurm", "slurm": {"partition": "cpu", "time": "02:00:00", "sbatch_args": {"account": "me"}}}
    path = recipe(tmp_path, corpus, **big(), **on)
    settings = read_recipe(path, CurateRecipe)
    units = plan(settings)
    made = stages(settings, read_raw(path), units, tmp_path / "out")
    job = slurm(settings, made, Work(tmp_path / "out"))
    names, tasks = [], []
    while job is not None:
        names.append(job.job_name)
        tasks.append(job.tasks)
        assert (job.partition, job.time) == ("cpu", "02:00:00")
        job = job.depends
    assert names[::-1] == [
        "curate-clean",
        "curate-signatures",
        "curate-buckets",
        "curate-duplicates",
        "curate-write",
        "curate-finish",
    ]
    assert tasks[::-1] == [len(units), len(units), 4, 1, len(units), 1]
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="executor: ray needs the package ray"):
        ray(settings, made, Work(tmp_path / "out"))
    monkeypatch.setattr(executors, "find_spec", lambda name: name)
    job, tasks = ray(settings, made, Work(tmp_path / "out")), []
    while job is not None:
        tasks.append(job.tasks)
        job = job.depends
    assert tasks[::-1] == [len(units), len(units), 4, 1, len(units), 1]


def test_a_recipe_is_read_with_its_variables(tmp_path: Path) -> None:
    lines(tmp_path / "data/a.jsonl", stories(3))
    path = recipe(tmp_path, {"s": source("${DATA}/a.jsonl")})
    with pytest.raises(RecipeError, match=r"needs a value for \$\{DATA\}"):
        curate(path, tmp_path / "out", workers=1)
    curate(path, tmp_path / "out", workers=1, variables={"DATA": str(tmp_path / "data")})
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["recipe"]["sources"]["s"]["paths"] == ["${DATA}/a.jsonl"]
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    curate(path, tmp_path / "other", workers=1, variables={"DATA": str(tmp_path / "moved")})
    assert everything(tmp_path / "other") == everything(tmp_path / "out"), "where the input stands does not matter"


def test_gzip_members_name_neither_time_nor_file(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", stories(3))
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")})
    held = (tmp_path / "out/train/s/00000.jsonl.gz").read_bytes()
    assert held[3:8] == bytes(5), "no name, no time"
    assert gzip.decompress(held)
