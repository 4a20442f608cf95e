"""`eval mt-bench`: a model of this machine, a judge on the loopback, and a table like the paper's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mistral7b.cli import eval_mt_bench
from mistral7b.tokens.guardrail import SAFE_PROMPT
from tests.cli.conftest import Run
from tests.cli.eval_verbs import wire
from tests.cli.subprocesses import ENVIRONMENT
from tests.evals.mt_bench.made import bench_folder
from tests.evals.scripted import openai_server


@pytest.fixture(autouse=True)
def _wired(monkeypatch: pytest.MonkeyPatch) -> None:
    wire(monkeypatch, "mt-bench", eval_mt_bench.mt_bench, eval_mt_bench.EXAMPLES)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return bench_folder(tmp_path / "bench")


def judge(body: dict[str, Any]) -> str:
    return f"Rating: [[{len(body['messages'][-1]['content']) % 10 + 1}]]"


def test_a_run_and_what_it_leaves(run: Run, model: Path, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    (tmp_path / "own.txt").write_text("Answer in verse.\n")
    with openai_server(judge) as server:
        command = ("eval", "mt-bench", "-m", model, "--data-dir", bench, "--judge-url", server.url, "--judge-model", "grader",
                   "--judge-key-env", "JUDGE_KEY", "--repeats", 2, "--system", "none", "--system", "mistral", "--system",
                   tmp_path / "own.txt", "--max-tokens", 4, "--out", tmp_path / "out")  # fmt: skip
        ran = run(*command, "--json")
        assert (ran.status, ran.err) == (0, "")
        assert len(server.bodies) == 1 + 6 * 2 * 2 * 3
        assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}
        told = json.loads(ran.out)
        shown = run(*command)
        assert len(server.bodies) == 1 + 72 + 1, "what was judged is not judged again"
    assert told == json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["system"] for one in told["results"]] == list(told["systems"]) == ["none", "mistral", str(tmp_path / "own.txt")]
    assert list(told["systems"].values()) == [None, SAFE_PROMPT, "Answer in verse."]
    assert all(1 <= one["scores"]["all"]["mean"] <= 10 and one["unrated"] == 0 for one in told["results"])
    assert (told["judge"]["name"], told["questions"], told["repeats"]) == ("grader", 6, 2)
    assert told["model"]["weights"]
    assert shown.status == 0
    first = shown.out.splitlines()[0]
    for heading in ("no system prompt", "Mistral prompt", "published: Llama 2 prompt"):
        assert heading in first
    assert "6.84 ± 0.07" in shown.out
    assert "graded by grader" in shown.err
    assert "secret" not in ran.out + shown.out + shown.err + (tmp_path / "out" / "settings.json").read_text()


@pytest.mark.slow
def test_a_run_killed_at_any_point_goes_on_to_the_same_report(bench: Path, tmp_path: Path) -> None:
    """SIGKILL at the n-th of 25 requests: a check, 12 answers, 12 judgments. Each run then goes on to the same report."""
    count, due, running = 0, 0, list[subprocess.Popen[bytes]]()

    def script(body: dict[str, Any]) -> str:
        nonlocal count
        count += 1
        if count == due:
            running[-1].kill()
        return judge(body) if body["model"] == "grader" else f"{len(body['messages'])} {body.get('seed')}"

    reports = []
    with openai_server(script) as server:
        command = program("mt-bench", "-m", f"theirs@{server.url}", "--data-dir", bench, "--judge-url", server.url,
                          "--judge-model", "grader")  # fmt: skip
        for number in (0, 5, 17):
            out = tmp_path / f"killed at {number}"
            for due in (number, 0) if number else (0,):
                count = 0
                with subprocess.Popen([*command, "--out", str(out)], env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
                    running.append(process)
                assert process.returncode == (-signal.SIGKILL if due else 0)
            reports.append((out / "report.json").read_bytes())
    assert len(set(reports)) == 1


def program(*args: object) -> list[str]:
    """`mistral7b eval ARGS`, in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import pytest; "
        "from mistral7b.cli import eval_mt_bench, main; from tests.cli.eval_verbs import wire; "
        "wire(pytest.MonkeyPatch(), 'mt-bench', eval_mt_bench.mt_bench, ''); sys.exit(main.main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, "eval", *map(str, args)]


def test_a_model_behind_a_url(run: Run, bench: Path) -> None:
    with openai_server(lambda body: "[[5]]" if body["model"] == "grader" else "an answer") as server:
        ran = run("eval", "mt-bench", "-m", f"theirs@{server.url}", "--data-dir", bench, "--judge-url", server.url,
                  "--judge-model", "grader", "--limit", 2, "--json")  # fmt: skip
        asked = {body["model"]: body for body in server.bodies}
    assert ran.status == 0, ran.err
    assert set(asked) == {"theirs", "grader"}
    told = json.loads(ran.out)
    assert told["results"][0]["scores"]["all"] == {"mean": 5.0, "deviation": None, "rated": 4}
    assert told["model"] == {"name": "theirs", "url": server.url}


def test_what_cannot_be_run(run: Run, bench: Path, model: Path, tmp_path: Path) -> None:
    command = ("eval", "mt-bench", "-m", model, "--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "j")
    run(*command, "--data-dir", tmp_path / "gone").fails_with("question.jsonl is missing; give --data-dir")
    run(*command, "--data-dir", bench, "--system", "llama").fails_with("llama cannot be read", "none, mistral, or a file")
    run(*command, "--data-dir", bench).fails_with("http://127.0.0.1:1/v1 cannot be reached", "tries: 1")
    run(*command, "--data-dir", bench, "--judge-key-env", "NO_SUCH_KEY").fails_with("NO_SUCH_KEY holds no API key")
    run(*command[:-4], "--data-dir", bench, "--judge-model", "j").fails_with("Missing option '--judge-url'")
    with openai_server(lambda body: (401, {"error": {"message": "who are you?"}}, {})) as server:
        ran = run(*command[:4], "--data-dir", bench, "--judge-url", server.url, "--judge-model", "j", "--max-tokens", 2)
    ran.fails_with("refused j with 401: who are you?")
    assert len(server.bodies) == 1, "before the model was loaded"
