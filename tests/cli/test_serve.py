"""`mistral7b serve` as a user runs it: a process, its port, its signals and its exit status."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.cli.conftest import Run
from tests.cli.subprocesses import ENVIRONMENT

PATIENCE_S = 60
LONG = {"prompt": "Once upon a time", "stream": True, "ignore_eos": True, "temperature": 0}


@dataclass
class Process:
    """A server that runs, and what it has said so far."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    _heard: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Take in what it says, until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard:
                self.said.append(line.rstrip("\n"))
                self._heard.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line that matches."""
        with self._heard:
            found = self._heard.wait_for(
                lambda: next((match for line in self.said if (match := re.search(pattern, line))), None), PATIENCE_S
            )
        assert found, self.said
        return found

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.wait_for(r"listening on (https?://\S+)")[1]

    def end(self, *signals: signal.Signals) -> int:
        """Send `signals` one after another; the exit status."""
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.1)
        return self.process.wait(PATIENCE_S)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The log's lines; each is a request, as nothing else went wrong."""
        lines = [json.loads(line) for line in self.said if line.startswith("{")]
        assert {line["event"] for line in lines} == {"request"}, lines
        return lines


# Tells of every socket the program opens to another machine, and of the one it listens on, before any code of the program runs.
WATCHED = """
import sys
def watch(event, args):
    if event == "socket.bind":
        print("BOUND", file=sys.stderr, flush=True)
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        print("OUTBOUND", args[1], file=sys.stderr, flush=True)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and args[0] not in ("127.0.0.1", "localhost"):
        print("OUTBOUND", args[0], file=sys.stderr, flush=True)
sys.addaudithook(watch)
from mistral7b.cli.main import main
sys.exit(main())
"""


@contextmanager
def serving(*args: object) -> Iterator[Process]:
    command = [sys.executable, "-c", WATCHED, "serve", "--port", "0", *map(str, args)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        running = Process(process)
        hearing = threading.Thread(target=running.listen)
        hearing.start()
        try:
            yield running
        finally:
            process.kill()
            hearing.join()


def stream(client: httpx.Client, max_tokens: int) -> list[str]:
    """The events of one stream."""
    with client.stream("POST", "/v1/completions", json={**LONG, "max_tokens": max_tokens}) as answer:
        assert answer.status_code == 200, answer.read()
        return [line.removeprefix("data: ") for line in answer.iter_lines() if line]


def text_of(events: list[str]) -> str:
    """The text of a stream that went to its end."""
    assert events[-1] == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


def test_tls_keys_offline_and_sigterm_under_load(model: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "keys").write_text("first-secret\nsecond-secret\n")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with (
        serving("-m", model, "--offline", "--ssl-certfile", tmp_path / "both.pem", "--api-key-file", tmp_path / "keys",
                "--served-model-name", "ours") as running,
        httpx.Client(base_url=running.url, verify=trusting, timeout=PATIENCE_S) as client,
        httpx.Client(base_url=running.url, verify=trusting, timeout=PATIENCE_S) as late,
    ):  # fmt: skip
        assert running.url.startswith("https://127.0.0.1:")
        assert client.get("/health").status_code in (200, 503)
        assert client.get("/v1/models").status_code == 401
        running.wait_for("ready; try: curl ")
        assert client.get("/health").json() == {"status": "ok"}
        client.headers["Authorization"] = late.headers["Authorization"] = "Bearer second-secret"
        assert client.get("/v1/models").json()["data"][0]["id"] == "ours"
        with ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(stream, client, 400) for _ in range(4)]
            until = time.monotonic() + PATIENCE_S
            while "mistral7b_requests_running 4.0" not in client.get("/metrics").text and time.monotonic() < until:
                time.sleep(0.01)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            refused = late.post("/v1/completions", json={"prompt": "x"})
            assert not any(one.done() for one in streams), "the load was over before the signal"
            answers = [one.result() for one in streams]
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert {text_of(events) for events in answers} == {text_of(answers[0])}
        assert {json.loads(events[-2])["choices"][0]["finish_reason"] for events in answers} == {"length"}
        assert running.process.wait(PATIENCE_S) == 0
    assert "secret" not in "\n".join(running.said)
    assert running.said.count("BOUND") == 1
    assert not [line for line in running.said if line.startswith("OUTBOUND")]
    assert {line.get("key") for line in running.requests if line["status"] == 200 and line["path"] != "/health"} == {2}


def test_a_second_signal_ends_it_at_once_and_the_drain_has_an_end(model: Path) -> None:
    with (
        serving("-m", model, "--max-model-len", 512) as running,
        httpx.Client(base_url=running.url, timeout=PATIENCE_S) as client,
    ):
        running.wait_for("ready; try: curl ")
        with client.stream("POST", "/v1/completions", json={**LONG, "max_tokens": 450}) as answer:
            next(answer.iter_lines())
            started = time.monotonic()
            assert running.end(signal.SIGTERM, signal.SIGINT) == 128 + signal.SIGINT
            assert time.monotonic() - started < 2
    with (
        serving("-m", model, "--drain-timeout", 0.1) as running,
        httpx.Client(base_url=running.url, timeout=PATIENCE_S) as client,
    ):
        running.wait_for("ready; try: curl ")
        with client.stream("POST", "/v1/completions", json={**LONG, "n": 8, "max_tokens": 450}) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGTERM)
            events = [line.removeprefix("data: ") for line in lines if line]
        assert json.loads(events[-1])["error"]["code"] == "draining", "cut short, and told so"
        assert running.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_ended_while_it_loads(model: Path, sent: signal.Signals) -> None:
    with serving("-m", model) as running:
        assert running.url
        assert running.end(sent) == 0
    assert not [line for line in running.said if "Traceback" in line]


def test_a_model_that_is_not_there_ends_it_in_one_line() -> None:
    with serving("-m", "mistralai/Mistral-7B-v0.3", "--offline") as running:
        assert running.process.wait(PATIENCE_S) == 2
    assert running.said[-1].startswith("mistral7b: error: mistralai/Mistral-7B-v0.3 is not in the hub's cache")
    assert [line.split()[0] for line in running.said] == ["BOUND", "listening", "mistral7b:"], running.said


def test_what_cannot_begin_is_one_line(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run("serve", "--port", taken.getsockname()[1]).fails_with("is in use; choose another --port")
    (tmp_path / "text.pem").write_text("hello")
    run("serve", "--ssl-certfile", tmp_path / "text.pem").fails_with("no certificate and private key in PEM")
    run("serve", "--ssl-certfile", tmp_path / "none.pem").fails_with("none.pem: No such file")
    run("serve", "--ssl-keyfile", tmp_path / "text.pem").fails_with("--ssl-keyfile needs its --ssl-certfile")
    run("serve", "--api-key-file", tmp_path / "text.txt").fails_with("text.txt: No such file")
    run("serve", "--api-key", "").fails_with("an API key must be visible ASCII characters")
    run("serve", "--host", "192.0.2.1", "--port", "0").fails_with("--host '192.0.2.1' is no address of this machine")
    run("serve", "--port", "99999").fails_with("--port must be from 0 to 65535")
    run("serve", "--request-timeout", "-1").fails_with("--request-timeout must be above 0")
    run("serve", "--port", "http").fails_with("Try 'mistral7b serve --help'")


@pytest.mark.parametrize(
    ("args", "said"),
    [((), None), (("--host", "0.0.0.0"), "anybody who reaches 0.0.0.0 may ask"),
     (("--host", "0.0.0.0", "--api-key", "k"), "keys travel as plain text"), (("--api-key", "k"), None)],
)  # fmt: skip
def test_what_is_told_of_who_may_ask(args: tuple[str, ...], said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    from mistral7b.cli.serve import tell_address
    from mistral7b.server.settings import Settings

    given = dict(zip(args[::2], args[1::2], strict=True))
    keys = (given["--api-key"],) if "--api-key" in given else ()
    tell_address(Settings(host=given.get("--host", "127.0.0.1"), api_keys=keys))
    told = capsys.readouterr().err
    assert told.startswith("listening on http://127.0.0.1:8000 (")
    assert told.count("\n") == (1 if said is None else 2)
    assert (said or "") in told
