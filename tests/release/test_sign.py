from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import ReleaseError
from mistral7b.release.keys import new_key, public_text
from mistral7b.release.sign import Signed, sign, verify_signature
from tests.release.test_keys import SECRET, TEXT

KEY = Ed25519PrivateKey.from_private_bytes(SECRET)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A signed manifest; what it says does not matter here."""
    path = tmp_path / "manifest.json"
    path.write_bytes(b'{"files": {}}\n')
    (tmp_path / "manifest.json.sig").write_bytes(sign(path.read_bytes(), KEY))
    return path


def test_the_known_signature() -> None:
    """RFC 8032, section 7.1, test 1: the empty message."""
    r = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    s = "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    value = json.loads(sign(b"", KEY))
    assert base64.b64decode(value["signature"]).hex() == r + s
    assert (value["algorithm"], value["public_key"]) == ("ed25519", TEXT)
    assert sign(b"x", KEY) == sign(b"x", KEY)


def test_trusted_only_by_the_key_that_was_asked_for(manifest: Path) -> None:
    assert verify_signature(manifest, TEXT) == Signed(TEXT, trusted=True)
    assert verify_signature(manifest.parent, TEXT).trusted, "the folder will do"
    assert verify_signature(manifest, None) == Signed(TEXT, trusted=False)
    other = public_text(new_key())
    with pytest.raises(ReleaseError, match=r"is signed by ed25519:.*, not by ed25519:"):
        verify_signature(manifest, other)


def test_a_key_file_is_as_good_as_its_text(manifest: Path) -> None:
    (manifest.parent / "their.pub").write_text(TEXT + "\n")
    assert verify_signature(manifest, str(manifest.parent / "their.pub")).trusted


@given(at=st.integers(0, 13), bit=st.integers(0, 7))
def test_any_changed_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    manifest = tmp_path_factory.mktemp("signed") / "manifest.json"
    data = b'{"files": {}}\n'
    manifest.with_name("manifest.json.sig").write_bytes(sign(data, KEY))
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    manifest.write_bytes(changed)
    for trusted in (None, TEXT):
        with pytest.raises(ReleaseError, match="one of the two was changed"):
            verify_signature(manifest, trusted)
    manifest.write_bytes(data)
    assert verify_signature(manifest, TEXT).trusted


def test_a_signature_of_another_file_or_under_another_name(manifest: Path) -> None:
    beside = manifest.with_name("manifest.json.sig")
    good = json.loads(beside.read_bytes())
    beside.write_bytes(sign(b"another", KEY))
    with pytest.raises(ReleaseError, match="one of the two was changed"):
        verify_signature(manifest, TEXT)
    stranger = json.loads(sign(manifest.read_bytes(), new_key()))
    beside.write_text(json.dumps(stranger | {"public_key": good["public_key"]}))  # signed by one, in the name of another
    with pytest.raises(ReleaseError, match="one of the two was changed"):
        verify_signature(manifest, TEXT)
    with pytest.raises(ReleaseError, match="one of the two was changed"):
        verify_signature(manifest, None)


@pytest.mark.parametrize(
    "change",
    [{"algorithm": "rsa"}, {"algorithm": None}, {"public_key": "ed25519:AAAA"}, {"public_key": 3}, {"signature": "!"},
     {"signature": None}, {"signature": ["a"]}],
)  # fmt: skip
def test_what_is_no_signature(manifest: Path, change: dict[str, Any]) -> None:
    beside = manifest.with_name("manifest.json.sig")
    beside.write_text(json.dumps(json.loads(beside.read_bytes()) | change))
    with pytest.raises(ReleaseError, match="is no ed25519 signature"):
        verify_signature(manifest, TEXT)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b" " * (16 << 20) + b"{}"])
def test_a_damaged_signature_file(manifest: Path, data: bytes) -> None:
    manifest.with_name("manifest.json.sig").write_bytes(data)
    with pytest.raises(ReleaseError, match="is no ed25519 signature"):
        verify_signature(manifest, TEXT)


def test_a_short_signature(manifest: Path) -> None:
    beside = manifest.with_name("manifest.json.sig")
    beside.write_text(json.dumps(json.loads(beside.read_bytes()) | {"signature": "AAAA"}))
    with pytest.raises(ReleaseError, match="one of the two was changed"):
        verify_signature(manifest, TEXT)


def test_no_signature_and_no_manifest(manifest: Path) -> None:
    manifest.unlink()
    with pytest.raises(ReleaseError, match="cannot be read: No such file"):
        verify_signature(manifest, TEXT)
    manifest.touch()
    manifest.with_name("manifest.json.sig").unlink()
    with pytest.raises(ReleaseError, match=r"is not signed: there is no manifest\.json\.sig beside it"):
        verify_signature(manifest, None)
