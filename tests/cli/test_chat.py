"""`chat` through a pipe, with a real model."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from mistral7b.cli.chat import answer_lines
from mistral7b.cli.conversation import Conversation
from mistral7b.cli.main import main
from mistral7b.tokens.calls import ToolCall
from tests.cli.conftest import Run
from tests.cli.made import CONTEXT, talkative
from tests.cli.scripted import Scripted, chat_of

TOOL = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": {"type": "object"}}}


def test_each_line_is_answered_in_one_conversation(run: Run, model: Path) -> None:
    wanted = ("chat", "-m", model, "-n", 6, "--greedy")
    ran = run(*wanted, "--json", stdin="hello\n\n  \nmore")
    first, second = (json.loads(line) for line in ran.out.splitlines())
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"] + 6
    assert ran.status == 0
    plain = run(*wanted, "-q", stdin="hello\nmore\n")
    assert plain.out == f"{first['text']}\n{second['text']}\n"


def test_only_json_and_one_warning_about_a_base_model(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("chat", "-m", model, "-n", 2, "--json", stdin="hello\n")
    assert ran.err == f"note: {model} is a base model: it continues text and was not trained to chat; expect odd answers\n"
    tuned = talkative(tmp_path / "talkative-instruct")
    assert run("chat", "-m", tuned, "-n", 2, "--json", stdin="hello\n").err == ""


def test_system_safe_prompt_and_tools_reach_the_prompt(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))

    def tokens(*options: object) -> int:
        ran = run("chat", "-m", model, "-n", 1, "--json", *options, stdin="hello\n")
        count = json.loads(ran.out)["usage"]["prompt_tokens"]
        assert isinstance(count, int)
        return count

    plain, system = tokens(), tokens("--system", "Be brief.")
    safe, tools = tokens("--safe-prompt"), tokens("--tools", tmp_path / "tools.json")
    assert plain < system < safe
    assert tools > plain + 10


def test_a_full_context_is_one_line(run: Run, model: Path) -> None:
    ran = run("chat", "-m", model, "-n", 2, "-q", stdin="word " * CONTEXT + "\n")
    assert ran.status == 2
    assert "leaves no room for an answer" in ran.err.splitlines()[-1]
    assert ran.err.splitlines()[-1].startswith("mistral7b: error: ")


@pytest.mark.parametrize(
    ("held", "said"),
    [(None, "cannot be read"), ("{", "is not valid JSON"), ("{}", "must hold a JSON list"), ("[{}]", "tool 1 must be an object")],
)
def test_tools_that_are_none(run: Run, model: Path, tmp_path: Path, held: str | None, said: str) -> None:
    if held is not None:
        (tmp_path / "tools").write_text(held)
    run("chat", "-m", model, "--tools", tmp_path / "tools", stdin="hello\n").fails_with(said)


def test_a_line_after_a_tool_call_is_its_result(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    llm = Scripted([ToolCall("abcdefghi", "weather", "{}")], "Sunny")
    conversation = Conversation(tools=[TOOL])
    monkeypatch.setattr("sys.stdin", io.StringIO("weather?\n21 C\n"))
    answer_lines(chat_of(llm), conversation, as_json=False)
    assert llm.asked[1][-1] == {"role": "tool", "tool_call_id": "abcdefghi", "content": "21 C"}
    assert conversation.messages[-1] == {"role": "assistant", "content": "Sunny"}
    assert capsys.readouterr().out.endswith("Sunny \n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_is_for_pipes(capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["chat", "-m", str(model), "--json"]) == 2
    assert capsys.readouterr().err.startswith("mistral7b: error: --json is for a pipe")
