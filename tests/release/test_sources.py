"""What links lead to, and the launches by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import StoreError
from mistral7b.release.http import UNKNOWN, Stated
from mistral7b.release.launch import MAGNET, TARS, find, is_launch, launched
from mistral7b.release.sources import Source, parse
from mistral7b.variants import VARIANTS

V1, V2 = "a" * 40, "b" * 64


@pytest.mark.parametrize(
    ("link", "kind", "title"),
    [
        (f"magnet:?xt=urn:btih:{V1}&dn=tiny", "magnet", "tiny"),
        (f"magnet:?xt=urn:btmh:1220{V2}", "magnet", "release"),
        ("https://host/models/tiny/", "folder", "tiny"),
        ("https://host/models/tiny", "folder", "tiny"),
        ("https://host/models/tiny/manifest.json", "folder", "tiny"),
        ("https://host/tiny.torrent", "torrent", "tiny"),
        ("https://host/tiny.tar", "tar", "tiny"),
        ("http://host/tiny.gguf", "file", "tiny"),
        ("https://host/model.safetensors?download=true", "file", "model"),
    ],
)
def test_kinds(link: str, kind: str, title: str) -> None:
    source = parse(link)
    assert source is not None
    assert (source.kind, source.title) == (kind, title)
    if kind == "folder":
        assert source.link == "https://host/models/tiny/"


def test_a_magnet_of_either_kind_has_its_hashes_and_mirrors() -> None:
    seed = "http%3A%2F%2Fhost%2Fmodels%2F"
    source = parse(f"magnet:?xt=urn:btmh:1220{V2}&xt=urn:btih:{V1.upper()}&dn=a%20b&ws={seed}")
    assert source is not None
    assert source.hashes == (V1, V2)
    assert source.mirrors == ("http://host/models/a%20b/",)
    old = parse("magnet:?xt=urn:btih:" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB")
    assert old is not None
    assert old.hashes == ("0" * 39 + "1",)


def test_hashes_in_the_link() -> None:
    source = parse(f"https://host/tiny.gguf#sha256={V2}")
    assert source is not None
    assert (source.link, source.stated) == ("https://host/tiny.gguf", Stated("sha256", V2))
    with pytest.raises(StoreError, match="#sha1=aa is no hash; write #sha256="):
        parse("https://host/tiny.gguf#sha1=aa")


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("magnet:?dn=tiny", "names no torrent"),
        ("magnet:?xt=urn:btih:123", "names no torrent"),
        (f"magnet:?xt=urn:btih:{V1}&xt=urn:btih:{'c' * 40}", "in more than one way"),
        (f"magnet:?xt=urn:btmh:1220{V2}&xt=urn:btmh:1220{'c' * 64}", "in more than one way"),
        (f"magnet:?xt=urn:btih:{V1}&xt.1=urn:btih:{'c' * 40}", "in more than one way"),
        (f"magnet:?xt=urn:btih:{V1}&XT=urn:btih:{'c' * 40}", "in more than one way"),
        (f"magnet:?xt=urn:btih:{V1}#&xt=urn:btih:{'c' * 40}", "in more than one way"),
        ("https:///tiny.tar", "names no server"),
        ("https:/h/x", "names no server"),
        ("http:foo", "names no server"),
        ("https://[x/", "is malformed"),
        ("https://host:99999/", "is malformed"),
        ("magnet://[x", "is malformed"),
        ("https://host/consolidated.00.pth", "is a pickle"),
        ("https://host/pytorch_model.bin", "is a pickle"),
        ("https://host/tiny.zip", "is no release"),
        (f"https://host/tiny/#sha256={V2}", "is for a single file"),
    ],
)
def test_malformed_links(link: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        parse(link)
    assert "\n" not in str(caught.value)


def test_what_is_no_link(tmp_path: Path) -> None:
    assert parse("mistralai/Mistral-7B-v0.1") is parse("v0.1") is parse(str(tmp_path)) is parse("gone.torrent") is None


@given(st.text(max_size=80))
def test_the_key_is_a_plain_name(title: str) -> None:
    source = parse(f"https://host/{title.replace('#', '').replace('?', '')}/x.tar")
    assert source is not None
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*-[0-9a-f]{32}", source.key())


def test_keys_tell_apart_what_differs() -> None:
    one, other = (Source("tar", f"https://{host}/x.tar", "x") for host in ("a", "b"))
    assert len({one.key(), other.key(), one.key(("*.json",))}) == 3
    assert Source("magnet", "one way", "x", (V1, V2)).key() == Source("magnet", "another", "x", (V1,)).key()


def test_launches_by_name() -> None:
    assert find("v0.3-instruct") is find("tiny") is find("org/name") is None, "the hub's, or nobody's"
    source = find("V0.2")
    assert source is not None
    assert (source.kind, source.variant, source.stated) == ("tar", "v0.2", UNKNOWN)
    torrent = find("v0.1", "torrent")
    assert torrent is not None
    assert (torrent.kind, torrent.title, torrent.variant) == ("magnet", "mistral-7B-v0.1", "v0.1")
    assert torrent.hashes == ("208b101a0f51514ecf285885a8b0f6fb1a1e4d7d",)
    assert TARS.keys() == VARIANTS.keys()
    assert launched("v0.3", "tar").stated == Stated("md5", "0663b293810d7571dad25dae2f2a5806")
    with pytest.raises(StoreError, match=r"v0\.3 was not launched as a torrent"):
        find("v0.3", "torrent")
    with pytest.raises(StoreError, match="--source tar is for published models"):
        find("org/name", "tar")


def test_a_launch_keeps_the_hash_that_came_with_it() -> None:
    source = find(f"{TARS['v0.1'][0]}#sha256={V2}")
    assert source is not None
    assert (source.variant, source.stated) == ("v0.1", Stated("sha256", V2))


def test_a_launch_is_known_however_it_is_named() -> None:
    for link in (MAGNET, MAGNET.replace("mistral-7B-v0.1", "harmless"), TARS["v0.1"][0]):
        source = find(link)
        assert source is not None
        assert source.variant == "v0.1"
        assert is_launch(source)
    for link in (f"magnet:?xt=urn:btih:{V1}&dn=mistral-7B-v0.1", "https://elsewhere/mistral-7B-v0.1.tar"):
        source = find(link)
        assert source is not None
        assert not is_launch(source), "a name alone opens no pickle"
