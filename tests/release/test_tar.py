"""Tars: what is unpacked of a good one, and what a hostile one cannot do."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from mistral7b.errors import ReleaseError
from mistral7b.release.tar import unpack


def member(name: str, data: bytes = b"{}", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if info.size else None)
    return path


def test_files_come_out_without_their_folder(tmp_path: Path) -> None:
    made = tar(
        tmp_path / "a.tar", member("v", kind=tarfile.DIRTYPE), member("v/params.json"), member("v/._params.json", b"mac"),
        member("./v/consolidated.00.pth", b"PK" * 50), member("v/RELEASE", b"words"),
    )  # fmt: skip
    wrote: list[int] = []
    unpack(made, tmp_path / "out", launch=True, wrote=wrote.append)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        "params.json": b"{}", "consolidated.00.pth": b"PK" * 50,
    }  # fmt: skip
    assert sum(wrote) == 102


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../params.json"), "leads elsewhere"),
        (member("v/../../params.json"), "leads elsewhere"),
        (member("/etc/params.json"), "leads elsewhere"),
        (member("a/b/params.json"), "leads elsewhere"),
        (member("v\\params.json"), "leads elsewhere"),
        (member("v/params.json\x1b[2J"), "leads elsewhere"),
        (member("v/params.json", kind=tarfile.SYMTYPE, link="/etc/passwd"), "a link, a folder or a device"),
        (member("v/params.json", kind=tarfile.LNKTYPE, link="../x"), "a link, a folder or a device"),
        (member("v/params.json", kind=tarfile.CHRTYPE), "a link, a folder or a device"),
        (member("v/params.json", kind=tarfile.FIFOTYPE), "a link, a folder or a device"),
        (member("v/consolidated.01.pth"), "a pickle"),
        (member("v/pytorch_model.bin"), "a pickle"),
        (member("v/TOKENIZER.MODEL"), None),
        (member("v/config.json"), "twice"),
        (member("w/Config.json"), "twice"),
    ],
)
def test_a_hostile_tar_writes_nothing(tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], said: str | None) -> None:
    made = tar(tmp_path / "a.tar", member("v/config.json"), bad)
    if said is None:  # merely unknown
        unpack(made, tmp_path / "out", launch=True)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]
        return
    with pytest.raises(ReleaseError, match=said) as caught:
        unpack(made, tmp_path / "out", launch=True)
    assert str(caught.value).isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


def test_the_pth_comes_out_of_a_launch_only(tmp_path: Path) -> None:
    made = tar(tmp_path / "a.tar", member("v/consolidated.00.pth"))
    with pytest.raises(ReleaseError, match=r"consolidated\.00\.pth, a pickle, which can run code"):
        unpack(made, tmp_path / "out", launch=False)


def test_claims_without_bytes(tmp_path: Path) -> None:
    info, _ = member("v/model.safetensors")
    info.size = 10**9
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(ReleaseError, match=r"damaged|claims 1,000,000,000 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "out", launch=False)
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ReleaseError, match=r"b\.tar is damaged .*; fetch it again"):
        unpack(tmp_path / "b.tar", tmp_path / "out", launch=False)
    with pytest.raises(ReleaseError, match="holds no file of a model"):
        unpack(tar(tmp_path / "c.tar", member("v/words.txt")), tmp_path / "out", launch=False)
    many = [member(f"v/{n}.txt") for n in range(1001)]
    with pytest.raises(ReleaseError, match="over 1,000 files"):
        unpack(tar(tmp_path / "d.tar", *many), tmp_path / "out", launch=False)
    assert not (tmp_path / "out").exists()


def _headed(path: Path, head: bytes) -> Path:
    info, data = member("v/params.json")
    path.write_bytes(head + info.tobuf() + data.ljust(512, b"\0") + bytes(1024))
    return path


def _pax(kind: bytes, n_bytes: int) -> bytes:
    info, _ = member("head", kind=kind)
    info.size = n_bytes
    return info.tobuf(tarfile.USTAR_FORMAT) + b"%d comment=".ljust(n_bytes, b"x")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_that_would_fill_the_memory(tmp_path: Path, kind: bytes) -> None:
    made = _headed(tmp_path / "a.tar", _pax(kind, 32 << 20))
    tracemalloc.start()
    with pytest.raises(ReleaseError, match="over 4 MiB of headers"):
        unpack(made, tmp_path / "out", launch=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    made = _headed(tmp_path / "b.tar", _pax(tarfile.GNUTYPE_LONGNAME, 512) * 2000)
    with pytest.raises(ReleaseError, match="damaged"):
        unpack(made, tmp_path / "out", launch=False)


def test_as_many_files_as_there_may_be(tmp_path: Path) -> None:
    many = [member(f"v/{'long-' * 30}{n}.txt") for n in range(999)]
    unpack(tar(tmp_path / "a.tar", *many, member("v/params.json")), tmp_path / "out", launch=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["params.json"]
