"""The page's own API over HTTP: blind until the vote, and closed to everyone but the page."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from mistral7b.errors import EndpointError
from mistral7b.evals.arena.app import create_app
from mistral7b.evals.arena.battles import Arena
from mistral7b.evals.chats import Ask
from mistral7b.evals.lines import Lines, read_lines
from tests.evals.arena.served import Served, serving
from tests.evals.scripted import ScriptedChat

SECRET_A, SECRET_B = "model-alpha", "model-beta"


def say(ask: Ask) -> str:
    if "fail" in ask.messages[-1]["content"]:
        raise EndpointError(f"{SECRET_A} is down")
    return f"about {ask.messages[-1]['content']}"


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arena") / "votes.jsonl"


@pytest.fixture(scope="module")
def served(votes: Path) -> Iterator[Served]:
    models = ScriptedChat(say, SECRET_A), ScriptedChat(say, SECRET_B)
    with Lines(votes) as lines, serving(Arena(models, lines, temperature=0, max_tokens=9)) as running:
        yield running


def events(response: httpx.Response) -> list[dict[str, object]]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_battle_is_blind_until_the_vote(served: Served, votes: Path) -> None:
    seen = [httpx.get(served.url).text]
    begun = served.post("/battles", {"prompt": "the sea"})
    path = f"/battles/{begun.json()['battle']}"
    for _ in range(2):
        for side in ("left", "right"):
            answered = served.post(f"{path}/answers/{side}", {})
            assert events(answered) == [{"text": "about "}, {"text": "the "}, {"text": "sea "}, {"done": True}]
            seen += [answered.text, str(answered.headers)]
        early = served.post(f"{path}/turns", {"prompt": "the sea"})
        seen += [early.text, str(early.headers)]
    for side in ("left", "right"):
        served.post(f"{path}/answers/{side}", {})
    assert not [text for text in seen if SECRET_A in text or SECRET_B in text]
    told = served.post(f"{path}/vote", {"vote": "tie"}).json()
    assert {told["left"], told["right"]} == {SECRET_A, SECRET_B}
    kept = read_lines(votes)
    assert told["votes"] == len(kept)
    assert (kept[-1]["left"], kept[-1]["vote"], len(kept[-1]["turns"])) == (told["left"], "tie", 3)


def test_a_side_that_fails_does_not_say_its_name(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    path = f"/battles/{served.post('/battles', {'prompt': 'fail'}).json()['battle']}"
    answered = served.post(f"{path}/answers/left", {})
    assert events(answered) == [{"error": True}]
    assert f"the left side could not answer: {SECRET_A} is down" in capfd.readouterr().err
    refused = served.post(f"{path}/vote", {"vote": "left"})
    assert (refused.status_code, refused.json()) == (409, {"error": "vote when both sides have answered"})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/battles", {"prompt": ""}, 409),
        ("/battles", {"prompt": 5}, 422),
        ("/battles", {"prompt": "x", "model": "a"}, 422),
        ("/battles/0/vote", {"vote": "tie"}, 409),
        ("/battles/0/vote", {"vote": "model-alpha"}, 422),
        ("/battles/0/answers/middle", {}, 422),
        ("/elsewhere", {}, 404),
    ],
)
def test_bad_requests(served: Served, path: str, body: object, status: int) -> None:
    assert served.post(path, body).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"x_arena_token": ""},
        {"x_arena_token": "guess"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"host": "127.0.0.1"},
    ],
)
def test_other_sites_are_shut_out(served: Served, votes: Path, headers: dict[str, str]) -> None:
    before = len(read_lines(votes)) if votes.exists() else 0
    refused = served.post("/battles", {"prompt": "x"}, **headers)
    assert refused.status_code == 403
    assert refused.headers["x-frame-options"] == "DENY"
    assert before == (len(read_lines(votes)) if votes.exists() else 0)


def test_a_name_that_another_site_points_here_gets_no_page(served: Served) -> None:
    assert httpx.get(served.url, headers={"host": "evil.example"}).status_code == 403
    port = served.url.rsplit(":", 1)[1]
    for host, status in (("localhost", 200), ("LOCALHOST", 200), ("[::1]", 403)):  # where nothing listens
        assert httpx.get(served.url, headers={"host": f"{host}:{port}"}).status_code == status
    assert served.post("/battles", {"prompt": "x"}, origin=f"http://localhost:{port}").status_code == 200


@pytest.mark.parametrize(("port", "host", "passes"), [
    (80, "127.0.0.1", True), (80, "localhost", True), (80, "localhost:80", True), (80, "evil.example", False),
    (80, "localhost:8080", False), (8080, "localhost:8080", True), (8080, "localhost", False),
])  # fmt: skip
def test_port_80_goes_without_saying(port: int, host: str, passes: bool) -> None:
    said: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("there is no body to ask for")

    async def send(message: Message) -> None:
        said.append(message)

    models = ScriptedChat(say, SECRET_A), ScriptedChat(say, SECRET_B)
    app = create_app(Arena(models, Lines(None), temperature=0, max_tokens=9), port, token="known")
    headers = {"host": host, "origin": f"http://{host}", "x-arena-token": "known", "content-length": "0"}
    scope = {
        "type": "http", "method": "POST", "path": "/elsewhere", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert said[0]["status"] == (404 if passes else 403)


def test_the_page_may_load_nothing_from_elsewhere(served: Served) -> None:
    first, second = httpx.get(served.url), httpx.get(served.url)
    policy = first.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'nonce-")
    assert "{{" not in first.text
    assert policy != second.headers["content-security-policy"], "a nonce is used once"
    assert "http://" not in first.text
    assert "https://" not in first.text


def test_bodies_are_bounded(served: Served) -> None:
    assert served.post("/battles", {"prompt": "x" * 200_000}).status_code == 413
    chunked = httpx.post(served.url + "/battles", content=iter([b"{}"]), headers={"x-arena-token": served.token})
    assert chunked.status_code == 411


class Endless(ScriptedChat):
    """Talks until nobody listens, then sets `left`."""

    def __init__(self, name: str) -> None:
        super().__init__(lambda ask: "", name)
        self.left = threading.Event()

    def stream(self, ask: Ask) -> Generator[str]:  # noqa: ARG002 the signature of a Chat
        try:
            while True:
                yield "on and on "
        finally:
            self.left.set()


def test_a_reader_that_leaves_frees_its_side() -> None:
    models = Endless("one"), Endless("two")
    duel = Arena(models, Lines(None), temperature=0, max_tokens=9, swap=lambda: False)
    with serving(duel) as served:
        id = served.post("/battles", {"prompt": "x"}).json()["battle"]
        sent = {"x-arena-token": served.token}
        with httpx.stream("POST", f"{served.url}/battles/{id}/answers/left", headers=sent, content=b"") as response:
            pieces = response.iter_text()  # which hangs up once nobody holds it
            assert next(pieces)
            assert served.post(f"/battles/{id}/answers/left", {}).status_code == 409
        assert models[0].left.wait(30), "the model goes on for nobody"
        with httpx.stream("POST", f"{served.url}/battles/{id}/answers/left", headers=sent, content=b"") as response:
            assert response.status_code == 200
