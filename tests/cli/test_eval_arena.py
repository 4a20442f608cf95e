"""`eval arena`: the page of two models, and the scores of votes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mistral7b.cli import eval_arena
from tests.cli.conftest import Run
from tests.cli.eval_verbs import wire
from tests.cli.subprocesses import ENVIRONMENT
from tests.evals.scripted import openai_server


@pytest.fixture(autouse=True)
def _wired(monkeypatch: pytest.MonkeyPatch) -> None:
    wire(monkeypatch, "arena", eval_arena.arena, eval_arena.EXAMPLES)


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    path = tmp_path / "votes.jsonl"
    held = ["left"] * 6 + ["tie"] * 2 + ["both bad"] + ["right"]
    path.write_text("".join(json.dumps({"left": "a", "right": "b", "vote": vote}) + "\n" for vote in held))
    return path


def test_scores(run: Run, votes: Path) -> None:
    ran = run("eval", "arena", "--scores", votes, "--json")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert (told["votes"], [one["model"] for one in told["models"]]) == (10, ["a", "b"])
    first, second = told["models"]
    assert (first["wins"], first["losses"], first["ties"], first["both_bad"], first["won"]) == (6, 1, 2, 1, 0.75)
    assert first["low"] < first["score"] < first["high"]
    assert first["score"] + second["score"] == pytest.approx(2000)
    shown = run("eval", "arena", "--scores", votes)
    assert [line.split()[0] for line in shown.out.splitlines()] == ["model", "a", "b"]
    assert "half a win for each" in shown.err


def test_what_cannot_be_compared(run: Run, tmp_path: Path) -> None:
    run("eval", "arena", "tiny").fails_with("an arena needs two models, A and B, or --scores FILE")
    run("eval", "arena", "a", "b", "--json").fails_with("--json goes with --scores FILE")
    run("eval", "arena", "tiny", "b", "--key-env-a", "K").fails_with("tiny is no model behind a URL", "the variable K")
    run("eval", "arena", "a", "b", "--scores", tmp_path / "v").fails_with("--scores reads votes and needs no models")
    run("eval", "arena", "--scores", tmp_path / "gone.jsonl").fails_with("gone.jsonl cannot be read")
    same = "m@http://127.0.0.1:1/v1"
    run("eval", "arena", same, same, "--votes", tmp_path / "v.jsonl").fails_with("both models are called m")


_PROGRAM = (
    "import sys, pytest; from mistral7b.cli import eval_arena, main; from tests.cli.eval_verbs import wire; "
    "wire(pytest.MonkeyPatch(), 'arena', eval_arena.arena, eval_arena.EXAMPLES); sys.exit(main.main(sys.argv[1:]))"
)


@pytest.mark.slow
def test_the_page_is_served_until_ctrl_c(model: Path, tmp_path: Path) -> None:
    """One model of this machine and one behind a URL, asked and voted on over HTTP."""
    path, root = tmp_path / "votes.jsonl", Path(__file__).parents[2]
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(root)])}
    with openai_server(lambda body: "their answer") as server:
        command = [sys.executable, "-c", _PROGRAM, "eval", "arena", str(model), f"theirs@{server.url}", "--port", "0",
                   "--votes", str(path), "--max-tokens", "5"]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            found = re.search(r"open (http://127\.0\.0\.1:\d+)/ to compare", said)
            assert found is not None, said + process.stderr.read()
            token = re.findall(r'name="token" content="([\w-]+)"', httpx.get(found[1] + "/", timeout=60).text)[0]
            with httpx.Client(base_url=found[1], headers={"x-arena-token": token}, timeout=120) as client:
                id = client.post("/battles", json={"prompt": "Hello"}).json()["battle"]
                answers = [client.post(f"/battles/{id}/answers/{side}", json={}).text for side in ("left", "right")]
                assert all(answer.endswith('{"done": true}\n') for answer in answers)
                told = client.post(f"/battles/{id}/vote", json={"vote": "right"}).json()
            assert {told["left"], told["right"]} == {str(model), "theirs"}
            process.send_signal(signal.SIGINT)
            assert "1 votes were added" in process.stderr.read()
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
    (vote,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (vote["vote"], vote["left"]) == ("right", told["left"])
    assert "their answer" in (vote["turns"][0]["left"], vote["turns"][0]["right"])
