from __future__ import annotations

from typing import Any

import pytest

from mistral7b.errors import ReleaseError
from mistral7b.release.reach import Reach, host_and_port


def test_each_once_and_in_order() -> None:
    reach = Reach(
        trackers=("udp://b.example:1", "udp://a.example:1", "udp://b.example:1"), web_seeds=("https://h/x", "https://h/x/")
    )
    assert reach.trackers == ("udp://b.example:1", "udp://a.example:1")
    assert reach.web_seeds == ("https://h/x/",), "the URL of a folder ends so (BEP 19)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trackers": ("ftp://t.example",)}, "the tracker 'ftp://t.example' is no URL"),
        ({"trackers": ("t.example:1337",)}, "is no URL that clients can use; give udp or http or https"),
        ({"trackers": ("udp://",)}, "is no URL"),
        ({"trackers": ("udp://t:99999",)}, "is no URL"),
        ({"trackers": ("udp://[::1",)}, "is no URL"),
        ({"trackers": ("http://t/a b",)}, "is no URL"),
        ({"trackers": ("http://t/\n",)}, "is no URL"),
        ({"trackers": ("http://t/é",)}, "is no URL"),
        ({"trackers": ("https://me:secret@t.example/",)}, "the tracker t.example has a name and password"),
        ({"web_seeds": ("udp://t.example",)}, "the web seed"),
        ({"peers": ("localhost:7000",)}, "is no address; give it as IP:PORT"),
        ({"peers": ("127.0.0.2",)}, "the peer '127.0.0.2' is not of the form HOST:PORT"),
        ({"peers": ("127.0.0.2:0",)}, "is not of the form"),
        ({"peers": ("127.0.0.2:70000",)}, "is not of the form"),
        ({"peers": ("::1:7000",)}, "is not of the form"),
        ({"peers": ("[fe80::1%eth0]:7000",)}, "is no address"),
        ({"peers": ("127.0.0.2:7000&tr=x",)}, "is not of the form"),
        ({"nodes": ("router.example",)}, "the DHT node 'router.example' is not of the form"),
        ({"private": True}, "nobody could find a private torrent"),
        ({"private": True, "peers": ("127.0.0.2:7000",), "nodes": ("router.example:1",)}, "does not use the DHT"),
    ],
)
def test_addresses_no_client_could_use(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        Reach(**given)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hosts_and_ports() -> None:
    assert host_and_port("x", "a.example:1") == ("a.example", 1)
    assert host_and_port("x", "[::1]:65535") == ("::1", 65535)
