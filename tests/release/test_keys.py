from __future__ import annotations

import base64
import os
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from mistral7b.errors import ReleaseError
from mistral7b.release.keys import (
    canonical,
    fingerprint,
    new_key,
    public_bytes,
    public_text,
    read_key,
    read_public,
    write_key,
)

# RFC 8032, section 7.1, test 1
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
TEXT = f"ed25519:{base64.b64encode(PUBLIC).decode()}"


def pem_file(path: Path, pem: bytes) -> Path:
    path.write_bytes(pem)
    path.chmod(0o600)
    return path


def test_a_key_goes_through_its_file(tmp_path: Path) -> None:
    path, key = tmp_path / "my.key", new_key()
    write_key(key, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert read_key(path).private_bytes_raw() == key.private_bytes_raw()
    assert new_key().private_bytes_raw() != key.private_bytes_raw()


def test_a_key_is_never_replaced_and_its_folder_must_stand(tmp_path: Path) -> None:
    path = tmp_path / "my.key"
    path.write_bytes(b"another")
    with pytest.raises(ReleaseError, match="a key is never replaced"):
        write_key(new_key(), path)
    assert path.read_bytes() == b"another"
    with pytest.raises(ReleaseError, match="nowhere is not a folder; make it first"):
        write_key(new_key(), tmp_path / "nowhere" / "my.key")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ReleaseError, match="already exists"):
        write_key(new_key(), tmp_path / "link")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o601])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "my.key"
    write_key(new_key(), path)
    path.chmod(mode)
    with pytest.raises(ReleaseError, match=f"others can read the key .*mode {mode:o}.; chmod 600 it"):
        read_key(path)


def test_what_is_no_private_key(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="cannot be read: No such file"):
        read_key(tmp_path / "nowhere")
    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem in (b"", b"hello", other):
        with pytest.raises(ReleaseError, match="holds no Ed25519 private key in PEM"):
            read_key(pem_file(tmp_path / "bad.key", pem))
    locked = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(ReleaseError, match="is encrypted"):
        read_key(pem_file(tmp_path / "locked.key", locked))


def test_public_keys_as_text(tmp_path: Path) -> None:
    assert public_text(Ed25519PrivateKey.from_private_bytes(SECRET)) == TEXT
    assert public_bytes(TEXT) == PUBLIC
    assert read_public(TEXT) == TEXT
    (tmp_path / "my.pub").write_text(f"{TEXT}\n")
    assert read_public(str(tmp_path / "my.pub")) == TEXT
    assert canonical(f" {TEXT}\n") == TEXT


@pytest.mark.parametrize(
    "text", ["ed25519:", "ed25519:AAAA", "ed25519:!", "rsa:" + TEXT[8:], TEXT + "AAAA", "nowhere.pub", "", "\0"]
)
def test_what_is_no_public_key(text: str) -> None:
    with pytest.raises(ReleaseError, match="public key") as caught:
        read_public(text)
    assert "\n" not in str(caught.value)


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    write_key(new_key(), tmp_path / "my.key")
    with pytest.raises(ReleaseError, match="is neither a public key") as caught:
        read_public(str(tmp_path / "my.key"))
    secret = (tmp_path / "my.key").read_text().splitlines()[1]
    assert secret[:16] not in str(caught.value)


def test_a_fingerprint_is_short_and_of_this_key() -> None:
    assert fingerprint(TEXT) == "21fe 31df a154 a261 626b f854 046f d227"  # of sha256(PUBLIC), by sha256sum
    other = public_text(new_key())
    assert fingerprint(other) != fingerprint(TEXT)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(ReleaseError, match=r"a signature needs the package cryptography.*; pip install 'mistral7b\[release\]'"):
        new_key()
