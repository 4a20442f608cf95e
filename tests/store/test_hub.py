from __future__ import annotations

import fcntl
from functools import partial
from pathlib import Path

import pytest

from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import StoreError
from mistral7b.store.cache import cached
from mistral7b.store.hub import fetch
from mistral7b.variants import VARIANTS
from tests.store.conftest import REPO
from tests.store.fake_hub import COMMIT, FakeHub, sha256

WEIGHTS = "consolidated.safetensors"
WANTED = {WEIGHTS, "params.json", "config.json", "tokenizer.model.v3", "README.md"}
SHARDS = {f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)} | {"model.safetensors.index.json"}


@pytest.fixture
def get(hub: FakeHub, tmp_path: Path) -> partial[Path]:
    """fetch, from the fake hub into a folder."""
    return partial(fetch, REPO, endpoint=hub.endpoint, target=tmp_path / "model", cache=tmp_path / "cache")


def test_one_format_and_what_belongs_to_it(hub: FakeHub, get: partial[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = get(progress=lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "model"
    assert {path.name for path in folder.iterdir()} == WANTED
    assert all((folder / name).read_bytes() == hub.files[name] for name in WANTED)
    total = sum(len(hub.files[name]) for name in WANTED)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert open_checkpoint(folder).format == "consolidated"


def test_shards_where_there_is_nothing_else(hub: FakeHub, get: partial[Path]) -> None:
    del hub.files[WEIGHTS]
    assert {path.name for path in get().iterdir()} == WANTED - {WEIGHTS} | SHARDS


def test_what_is_here_is_verified_and_not_fetched_again(hub: FakeHub, get: partial[Path]) -> None:
    folder = get()
    hub.requests.clear()
    assert get() == folder
    assert hub.requests == []
    (folder / "params.json").write_text("{}")
    with pytest.raises(StoreError, match=r"params.json is here already and differs from the hub's .*move it away"):
        get()
    assert (folder / "params.json").read_text() == "{}"


def test_a_part_left_by_an_earlier_run_is_continued(hub: FakeHub, get: partial[Path], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    half = len(hub.files[WEIGHTS]) // 2
    (tmp_path / "model" / f"{WEIGHTS}.part").write_bytes(hub.files[WEIGHTS][:half])
    folder = get()
    assert (WEIGHTS, f"bytes={half}-") in hub.requests
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("part", [b"", b"z" * 10**6])
def test_a_part_that_cannot_be_continued_is_begun_again(hub: FakeHub, get: partial[Path], tmp_path: Path, part: bytes) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / f"{WEIGHTS}.part").write_bytes(part)
    assert (get() / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_a_server_that_ignores_ranges_sends_it_whole(hub: FakeHub, get: partial[Path], tmp_path: Path) -> None:
    hub.ignores_ranges = True
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / f"{WEIGHTS}.part").write_bytes(hub.files[WEIGHTS][:100])
    assert (get() / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_a_line_that_breaks_leaves_a_part_for_the_next_run(
    hub: FakeHub, get: partial[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)  # of 10 MB, more than the whole file
    hub.cut_at, hub.rejects_after_cut = {WEIGHTS: 4096}, True
    with pytest.raises(StoreError, match="refuses"):
        get()
    assert (tmp_path / "model" / f"{WEIGHTS}.part").stat().st_size == 4096
    hub.file_status = 200
    hub.requests.clear()
    assert (get() / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert hub.requests == [(WEIGHTS, "bytes=4096-")]


def test_damaged_bytes_are_reported_and_kept(hub: FakeHub, get: partial[Path], tmp_path: Path) -> None:
    spoilt = bytearray(hub.files[WEIGHTS])
    spoilt[-3] ^= 0x10
    hub.served[WEIGHTS] = bytes(spoilt)
    with pytest.raises(StoreError, match=f"{WEIGHTS} arrived damaged .sha256 {sha256(spoilt)} where the hub states") as caught:
        get()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model" / WEIGHTS).exists()
    assert (tmp_path / "model" / f"{WEIGHTS}.corrupt").read_bytes() == spoilt
    hub.served.clear()
    assert (get() / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_a_damaged_small_file_is_found_by_its_git_hash(hub: FakeHub, get: partial[Path]) -> None:
    hub.served["config.json"] = hub.files["config.json"].replace(b"10000.0", b"10001.0")
    with pytest.raises(StoreError, match=r"config.json arrived damaged .Git hash"):
        get()


def test_a_hash_that_is_not_the_official_one_stops_before_the_first_byte(hub: FakeHub, tmp_path: Path) -> None:
    hub.repo = "mistralai/Mistral-7B-v0.3"
    hub.files["tokenizer.model.v3"] = b"another"
    with pytest.raises(StoreError, match=r"tokenizer.model.v3 of mistralai/Mistral-7B-v0.3, published with 37f00374") as caught:
        fetch(hub.repo, endpoint=hub.endpoint, target=tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert hub.requests == []
    hub.files["tokenizer.model.v3"] = b"stated as official, and not so"
    hub.stated["tokenizer.model.v3"] = VARIANTS["v0.3"].sha256["tokenizer.model.v3"]
    with pytest.raises(StoreError, match=r"tokenizer.model.v3 arrived damaged"):
        fetch(hub.repo, endpoint=hub.endpoint, target=tmp_path / "model")


def test_two_at_once_do_not_write_one_file(get: partial[Path], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / f"{WEIGHTS}.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process is writing"):
            get()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "is gated: accept its licence on its hub page, then set HF_TOKEN"),
        (401, "RepoNotFound", "has no model mistralai/Small-7B-v0.9, or it is private; check the spelling"),
        (404, "RepoNotFound", "check the spelling"),
        (403, "", "refuses mistralai/Small-7B-v0.9 with this token .403.; set HF_TOKEN"),
        (500, "", "the hub answered 500"),
    ],
)
def test_refusals_are_one_line(hub: FakeHub, get: partial[Path], tmp_path: Path, status: int, code: str, words: str) -> None:
    hub.status, hub.error_code = status, code
    with pytest.raises(StoreError, match=words) as caught:
        get()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_files_can_be_gated_where_the_listing_is_not(hub: FakeHub, get: partial[Path], tmp_path: Path) -> None:
    hub.file_status, hub.error_code = 403, "GatedRepo"
    with pytest.raises(StoreError, match="is gated"):
        get()
    assert list((tmp_path / "model").iterdir()) == []


def test_a_revision_that_is_not_there(get: partial[Path]) -> None:
    with pytest.raises(StoreError, match="has no revision 'v9'"):
        get(revision="v9")
    for bad in ("../../etc", "..", "a b", "/x"):
        with pytest.raises(StoreError, match="is no revision"):
            get(revision=bad)


def test_no_network_is_one_line(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the hub cannot be reached for a/b .*or pass a folder") as caught:
        fetch("a/b", endpoint="http://192.0.2.1", target=tmp_path / "model")
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="is no hub id"):
        fetch("a/b/c", endpoint=hub.endpoint, target=tmp_path / "model")


def test_offline_is_one_line(get: partial[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StoreError, match="cannot be downloaded: HF_HUB_OFFLINE is set; unset it, or pass a folder"):
        get()


def test_a_full_disk_is_noticed_first(get: partial[Path], hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(StoreError, match=r"its disk has 0.0 GB free; make room first"):
        get()
    assert hub.requests == []


# ── the hub's cache ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_cache_is_the_one_that_hub_clients_share(hub: FakeHub, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    folder = fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)
    assert folder == tmp_path / "models--mistralai--Small-7B-v0.9" / "snapshots" / COMMIT
    assert {path.name for path in folder.iterdir()} == WANTED
    assert (folder / WEIGHTS).resolve().name == sha256(hub.files[WEIGHTS])
    assert cached(REPO, cache=tmp_path) == folder
    theirs = snapshot_download(REPO, cache_dir=tmp_path, local_files_only=True, allow_patterns=sorted(WANTED))
    assert Path(theirs) == folder
    hub.requests.clear()
    assert fetch(REPO, endpoint=hub.endpoint, cache=tmp_path) == folder
    assert hub.requests == []


def test_shards_in_the_cache_are_not_joined_by_another_format(hub: FakeHub, tmp_path: Path) -> None:
    """What a client that reads HF shards left behind, without our tokenizer file, is completed and not doubled."""
    consolidated = hub.files.pop(WEIGHTS)
    tokenizer = hub.files.pop("tokenizer.model.v3")
    fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)
    hub.files |= {WEIGHTS: consolidated, "tokenizer.model.v3": tokenizer}
    hub.requests.clear()
    fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)
    assert [name for name, _ in hub.requests] == ["tokenizer.model.v3"]


def test_half_a_snapshot_is_not_taken_for_a_whole_one(hub: FakeHub, tmp_path: Path) -> None:
    assert cached(REPO, cache=tmp_path) is None
    hub.cut_at, hub.rejects_after_cut = {WEIGHTS: 10}, True
    with pytest.raises(StoreError):
        fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)
    assert cached(REPO, cache=tmp_path) is None
    hub.file_status = 200
    assert cached(REPO, cache=tmp_path) is None
    folder = fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)
    assert cached(REPO, cache=tmp_path) == cached(REPO, cache=tmp_path, revision=COMMIT) == folder
    (folder / WEIGHTS).resolve().unlink()
    assert cached(REPO, cache=tmp_path) is None


def test_a_blob_that_rotted_in_the_cache_is_reported(hub: FakeHub, tmp_path: Path) -> None:
    blob = (fetch(REPO, endpoint=hub.endpoint, cache=tmp_path) / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match="differs from the hub's"):
        fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)


def test_a_file_system_without_links(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = fetch(REPO, endpoint=hub.endpoint, cache=tmp_path)
    assert not (folder / WEIGHTS).is_symlink()
    hub.requests.clear()
    assert fetch(REPO, endpoint=hub.endpoint, cache=tmp_path) == cached(REPO, cache=tmp_path) == folder
    assert hub.requests == []
