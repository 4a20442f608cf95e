"""The socket, TLS, the clocks of a connection, and the end of a server."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import trustme

from mistral7b.errors import RequestError, StoreError
from mistral7b.server import logs
from mistral7b.server.listen import listen, tls_context
from mistral7b.server.run import serve
from mistral7b.server.settings import ModelOptions, Settings, read_api_keys
from tests.cli.subprocesses import python
from tests.server.served import Served, error_of, read_all, served

QUICK = Settings(
    head_timeout_s=0.3, body_timeout_s=0.3, keep_alive_s=0.3, write_timeout_s=0.3, max_connections=5, max_body_bytes=1000
)  # fmt: skip
HEAD = b"POST /tokenize HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def quick() -> Iterator[Served]:
    with served(QUICK) as running:
        yield running


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"port": 65536}, "--port"), ({"port": -1}, "--port"), ({"max_queue": -1}, "--max-queue"),
     ({"drain_timeout_s": -1.0}, "--drain-timeout"), ({"drain_timeout_s": float("nan")}, "--drain-timeout"),
     ({"request_timeout_s": 0.0}, "--request-timeout"), ({"request_timeout_s": float("nan")}, "--request-timeout"),
     ({"ssl_keyfile": Path("key.pem")}, "--ssl-certfile"), ({"api_keys": ("",)}, "API key"), ({"api_keys": ("a b",)}, "API key"),
     ({"api_keys": ("\u00e9",)}, "API key")],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Settings(**wrong)  # type: ignore[arg-type]


def test_clients_are_not_told_where_the_model_lies(tmp_path: Path) -> None:
    for name, told in (
        (str(tmp_path), tmp_path.name), ("tiny", "tiny"), ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1"),
        (f"{tmp_path}/gone/..", f"{tmp_path}/gone/.."), ("\0", "\0"),
    ):  # fmt: skip
        assert Settings(model=ModelOptions(name=name)).names == (told,)


@pytest.mark.parametrize(
    ("host", "cert", "url"),
    [("127.0.0.1", None, "http://127.0.0.1:80"), ("0.0.0.0", None, "http://127.0.0.1:80"), ("::1", None, "http://[::1]:80"),
     ("a.example", Path("c"), "https://a.example:80")],
)  # fmt: skip
def test_the_address_to_call(host: str, cert: Path | None, url: str) -> None:
    assert Settings(host=host, port=80, ssl_certfile=cert).url == url


def test_where_keys_come_from(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n one \n\ntwo\n")
    environment = {"MISTRAL7B_API_KEY": "three"}
    assert read_api_keys((), None, {}) == ()
    assert read_api_keys((), None, environment) == ("three",)
    assert read_api_keys(("zero",), None, environment) == ("zero",)
    assert read_api_keys(("zero", "one"), file, environment) == ("zero", "one", "two")


def test_a_source_without_a_key_does_not_leave_the_door_open(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("# nobody\n\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for file, said in (("none", "holds no API key"), ("bytes", "not UTF-8")):
        with pytest.raises(RequestError, match=said):
            read_api_keys((), tmp_path / file, {})
    with pytest.raises(RequestError, match="set but empty"):
        read_api_keys((), None, {"MISTRAL7B_API_KEY": ""})
    with pytest.raises(RequestError, match="visible ASCII"):
        Settings(api_keys=read_api_keys(("",), None, {}))


# ── socket and certificate ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(RequestError, match="is in use; choose another --port"):
        listen("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a" * 70])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(RequestError, match="--host"):
        listen(host, 0)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem with key.pem, other.pem with a key of another, ca.pem, and text.pem that is none."""
    folder = tmp_path_factory.mktemp("pems")
    authority = trustme.CA()
    for name in ("cert", "other"):
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}-key.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}-both.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "text.pem").write_text("hello")
    return folder


@pytest.mark.parametrize(
    ("cert", "key"), [("text", "cert-key"), ("cert", "text"), ("cert", "other-key"), ("cert", None), ("cert-key", None)]
)
def test_what_is_no_certificate_and_key(pems: Path, cert: str, key: str | None) -> None:
    settings = Settings(ssl_certfile=pems / f"{cert}.pem", ssl_keyfile=None if key is None else pems / f"{key}.pem")
    with pytest.raises(RequestError, match="no certificate and private key in PEM") as caught:
        tls_context(settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pem"):
        tls_context(Settings(ssl_certfile=pems / "cert.pem", ssl_keyfile=pems / "nowhere.pem"))


@pytest.mark.parametrize(("cert", "key"), [("cert", "cert-key"), ("cert-both", None)])
def test_https(pems: Path, cert: str, key: str | None) -> None:
    settings = Settings(ssl_certfile=pems / f"{cert}.pem", ssl_keyfile=None if key is None else pems / f"{key}.pem")
    trusting = ssl.create_default_context(cafile=str(pems / "ca.pem"))
    with served(settings, context=tls_context(settings)) as running:
        url = f"https://127.0.0.1:{running.port}/version"
        with httpx.Client(verify=trusting) as client:
            assert client.get(url).status_code == 200
        with httpx.Client() as stranger, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.get(url)
        assert running.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b"", "plain text gets nothing"
        with httpx.Client(verify=trusting) as client:
            assert client.get(url).status_code == 200


# ── clocks and limits of a connection ────────────────────────────────────────────────────────────────────────────────────


def trickle(client: socket.socket, data: bytes, pause_s: float = 0.05, most_s: float = 3) -> float:
    """Send a byte at a time until the server has enough; returns how long that took."""
    started = time.perf_counter()
    client.settimeout(pause_s)
    for at in range(len(data)):
        try:
            client.sendall(data[at : at + 1])
            if client.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            pass
        except ConnectionError:
            break
        assert time.perf_counter() - started < most_s, "the server waits for ever"
    client.settimeout(5)
    return time.perf_counter() - started


def version(client: socket.socket) -> int:
    """Put an ordinary request, take its whole answer and leave the connection open; the status."""
    client.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        answer += client.recv(4096)
    return int(answer.split()[1])


@pytest.mark.parametrize("sent", [b"GET /version HTTP/1.1\r\nX: " + b"a" * 200, b"G" * 200])
def test_headers_that_trickle(quick: Served, sent: bytes) -> None:
    with quick.connect() as client:
        assert 0.2 < trickle(client, sent) < 2
        status, error = error_of(read_all(client))
    assert (status, error["code"]) == (408, "head_timeout")
    assert quick.alive()


def test_a_connection_that_says_nothing(quick: Served) -> None:
    started = time.perf_counter()
    assert error_of(quick.exchange(b""))[0] == 408
    assert 0.2 < time.perf_counter() - started < 2


def test_the_second_request_must_not_trickle_either(quick: Served) -> None:
    with quick.connect() as client:
        assert version(client) == 200
        assert 0.2 < trickle(client, b"GET /version HTTP/1.1\r\nX: " + b"a" * 200) < 2
        assert error_of(read_all(client))[0] == 408


def test_a_connection_is_kept_for_a_while(quick: Served) -> None:
    with quick.connect() as client:
        for _ in range(3):
            assert version(client) == 200
            time.sleep(0.15)  # twice this is longer than any of the clocks
        assert read_all(client) == b""


def test_a_body_that_trickles(quick: Served) -> None:
    with quick.connect() as client:
        client.sendall(HEAD + b"Content-Length: 500\r\n\r\n")
        assert 0.2 < trickle(client, b"x" * 200) < 2
        answer = read_all(client)
    assert error_of(answer)[1]["code"] == "body_timeout"
    assert b"connection: close" in answer


def test_too_large_a_body_gets_its_answer_though_it_is_still_being_sent(quick: Served) -> None:
    url = f"http://127.0.0.1:{quick.port}/tokenize"
    whole = httpx.post(url, content=b"x" * 3_000_000)
    chunked = httpx.post(url, content=(b"x" * 1000 for _ in range(3000)))
    assert (whole.status_code, chunked.status_code) == (413, 413)


def test_a_client_that_asks_first_is_told_before_it_sends(quick: Served) -> None:
    with quick.connect() as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n")
        assert error_of(read_all(client))[0] == 413
    with quick.connect() as client:
        client.sendall(HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"{}")
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\r\n" * 100, b"GET / HTTP/1.1\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
     HEAD + b"Content-Length: -1\r\n\r\n", HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
     HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n", HEAD + b"X: y\r\n" * 20_000 + b"\r\n",
     HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
     HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http(quick: Served, sent: bytes) -> None:
    status, error = error_of(quick.exchange(sent))
    assert 400 <= status < 502
    assert error["code"] == "invalid_http"
    assert quick.alive()


def test_chunks_that_are_none(quick: Served, caplog: pytest.LogCaptureFixture) -> None:
    answer = quick.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello")
    assert error_of(answer)[0] == 400
    assert quick.alive()
    assert "Traceback" not in caplog.text


def test_a_client_that_reads_nothing_is_cut_off(quick: Served) -> None:
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with quick.connect(receive_buffer=4096) as client:
        client.settimeout(0.5)
        try:
            for _ in range(2000):
                client.sendall(ask)
        except (TimeoutError, ConnectionError):
            pass
        until = time.perf_counter() + 3
        while quick.server.server_state.connections and time.perf_counter() < until:
            time.sleep(0.05)
        assert not quick.server.server_state.connections
    assert quick.alive()


def test_more_connections_than_may_be(quick: Served) -> None:
    clients = [quick.connect() for _ in range(5)]
    try:
        time.sleep(0.05)
        assert quick.exchange(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    finally:
        for client in clients:
            client.close()
    time.sleep(0.1)
    assert quick.alive()


# ── beginning and end ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "configure", lambda: None)


@pytest.mark.usefixtures("_quiet")
def test_a_folder_of_sessions_that_is_none_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    def load() -> NoReturn:
        pytest.fail("a model may take minutes")

    with pytest.raises(StoreError, match="is not a folder"):
        serve(Settings(port=0, session_dir=tmp_path / "none"), load)


def test_a_model_that_cannot_be_loaded_ends_the_server() -> None:
    told: list[int] = []

    def load() -> NoReturn:
        assert error_of(httpx_bytes(told[0]))[0] == 503, "it listens while it loads"
        raise StoreError("there is no such model")

    with pytest.raises(StoreError, match="no such model"):
        serve(Settings(port=0), load, listening=lambda settings: told.append(settings.port))
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", told[0])):
        pass


def httpx_bytes(port: int) -> bytes:
    """POST an ordinary request; the answer as it came."""
    body = json.dumps({"prompt": "hello"}).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        )  # fmt: skip
        return read_all(client)


OFFLINE = """
import asyncio, os, socket, sys
from mistral7b.server.offline import forbid_outbound
forbid_outbound()
assert os.environ["HF_HUB_OFFLINE"] == "1"
refused = 0
def attempt(call):
    global refused
    try:
        call()
    except ConnectionRefusedError as error:
        assert str(error).startswith("--offline: "), error
        refused += 1
for address in [("192.0.2.1", 443), ("2001:db8::1", 443, 0, 0)]:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    attempt(lambda: socket.socket(family, socket.SOCK_STREAM).connect(address))
    attempt(lambda: socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", address))
    attempt(lambda: socket.socket(family, socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, address))
    attempt(lambda: socket.socket(family, socket.SOCK_STREAM).connect_ex(address))
for name in ("example.org", "localhost.example.org", b"example.org", "127.0.0.1.example.org"):
    attempt(lambda: socket.getaddrinfo(name, 443))
attempt(lambda: socket.gethostbyname("example.org"))
attempt(lambda: socket.create_connection(("example.org", 443)))
async def streams():
    await asyncio.open_connection("192.0.2.1", 443)
attempt(lambda: asyncio.run(streams()))
server = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(server.getsockname()), socket.create_connection(("localhost", server.getsockname()[1])):
    a, b = socket.socketpair()
print(refused)
"""


def test_offline_nothing_leaves_this_machine() -> None:
    done: subprocess.CompletedProcess[str] = python("-W", "ignore::ResourceWarning", "-c", OFFLINE)
    assert done.stdout == "15\n", done.stdout + done.stderr
