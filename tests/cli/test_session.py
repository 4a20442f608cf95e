"""The chat at a terminal, with a script at the keyboard and one for the model."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mistral7b.cli.conversation import Conversation
from mistral7b.cli.keyboard import read_turn, stoppable
from mistral7b.cli.session import COMMANDS, Session
from mistral7b.errors import RequestError
from mistral7b.tokens.calls import ToolCall
from tests.cli.scripted import Reply, Scripted, chat_of

WEATHER = [{"type": "function", "function": {"name": "weather", "description": "now", "parameters": {"type": "object"}}}]
CALLS = [ToolCall("abcdefghi", "weather", '{"at": "Paris"}'), ToolCall("jklmnopqr", "weather", '{"at": "Rome"}')]


def keyboard(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """An `input` that types `lines` and then presses Ctrl-D; an exception among them is raised."""
    left = list(lines)

    def read(_: str) -> str:
        if not left:
            raise EOFError
        line = left.pop(0)
        if isinstance(line, str):
            return line
        raise line

    return read


def talk(*lines: str | type[BaseException], script: tuple[Reply, ...] = (), quiet: bool = True) -> tuple[Scripted, Conversation]:
    llm, conversation = Scripted(*script), Conversation()
    Session(chat_of(llm, quiet=quiet), conversation, keyboard(*lines)).run()
    return llm, conversation


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message["role"], message.get("content") or "") for message in conversation.messages]


def test_replies_stream_and_are_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    llm, conversation = talk("hello", "  ", "and?", script=("Hi there", "Well"), quiet=False)
    assert said(conversation) == [("user", "hello"), ("assistant", "Hi there"), ("user", "and?"), ("assistant", "Well")]
    assert llm.asked[1] == conversation.messages[:3]
    streams = capsys.readouterr()
    assert streams.out == "Hi there \nWell \n\n"
    assert streams.err.count("finish reason: stop, seed 7") == 2


def test_every_command_of_the_list_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    talk("/help")
    listed = capsys.readouterr().out
    for command in COMMANDS:
        assert command in listed
        name = command.split()[0][1:]
        assert name == "quit" or hasattr(Session, f"_on_{name}")


def test_quit_leaves_and_so_does_the_end_of_input() -> None:
    llm, _ = talk("/quit", "hello")
    assert not llm.asked
    talk()


def test_system_reset_and_history(capsys: pytest.CaptureFixture[str]) -> None:
    _, conversation = talk("/system Be brief.", "hello", "/history", "/system Be [bold]loud[/bold].", script=("Hi",))
    assert said(conversation) == [("system", "Be [bold]loud[/bold]."), ("user", "hello"), ("assistant", "Hi")]
    shown = capsys.readouterr().out
    assert "system     Be brief." in shown
    assert "assistant  Hi" in shown
    _, conversation = talk("/system Be brief.", "hello", "/reset", script=("Hi",))
    assert said(conversation) == [("system", "Be brief.")]
    _, conversation = talk("/system Be brief.", "/system", "/system")
    assert conversation.messages == []


def test_regen_answers_again_with_another_seed() -> None:
    llm, conversation = talk("hello", "/regen", "more", script=("one", "two", "three"))
    assert said(conversation) == [("user", "hello"), ("assistant", "two"), ("user", "more"), ("assistant", "three")]
    assert llm.asked[0] == llm.asked[1]
    assert llm.params[0].seed != llm.params[1].seed


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/nonsense", "there is no /nonsense; /help lists the commands"),
        ("/", "there is no /; /help"),
        ("/regen", "there is no message to answer yet"),
        ("/history", "nothing has been said yet"),
        ("/save", "name a file"),
        ("/load nowhere.json", "nowhere.json cannot be read: No such file"),
        ("/tools nowhere.json", "nowhere.json cannot be read: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_not_the_end(capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    _, conversation = talk(line, "hello", script=("Hi",))
    assert said(conversation)[-1] == ("assistant", "Hi")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert told in lines[1]


def test_two_slashes_are_one() -> None:
    llm, _ = talk("//etc/hosts, what is it?", script=("A file",))
    assert llm.asked[0] == [{"role": "user", "content": "/etc/hosts, what is it?"}]


def test_several_lines() -> None:
    assert read_turn(keyboard("one \\", "two\\", "three"), "") == "one \ntwo\nthree"
    assert read_turn(keyboard('"""', "one", "", "/two \\", '"""'), "") == "one\n\n/two \\"
    assert read_turn(keyboard('"""one', 'two"""'), "") == "one\ntwo"
    assert read_turn(keyboard('"""one line"""'), "") == "one line"
    assert read_turn(keyboard('"""'[:2]), "") == '""'


def test_too_long_a_conversation_says_so_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    _, conversation = talk("hello", "long", "short", script=("Hi", RequestError("no room"), "ok"))
    assert said(conversation) == [("user", "hello"), ("assistant", "Hi"), ("user", "short"), ("assistant", "ok")]
    assert "no room; /reset starts afresh\n" in capsys.readouterr().err


def test_ctrl_c_stops_the_reply_and_keeps_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    # The first Ctrl-C lets the token in work finish: here the first word, of which there is one more to come.
    before = signal.getsignal(signal.SIGINT)
    llm = Scripted("a b c d", "fine")
    session = Session(chat_of(llm, quiet=False), Conversation(), keyboard("hello", "again"))
    words = 0

    def count(text: str) -> None:
        nonlocal words
        words += 1
        if words == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mistral7b.cli.session.write", count)
        session.run()
    assert said(session.conversation) == [("user", "hello"), ("assistant", "a b "), ("user", "again"), ("assistant", "fine")]
    assert llm.cancelled == 1
    assert "finish reason: stopped" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_insists(capsys: pytest.CaptureFixture[str]) -> None:
    def twice() -> str:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return "never"

    llm, conversation = talk("hello", "again", script=(twice, "fine"))
    assert said(conversation) == [("user", "hello"), ("user", "again"), ("assistant", "fine")]
    assert "stopped" in capsys.readouterr().err
    assert llm.cancelled == 1


def test_ctrl_c_at_the_prompt_clears_the_line() -> None:
    _, conversation = talk(KeyboardInterrupt, "hello", script=("Hi",))
    assert said(conversation) == [("user", "hello"), ("assistant", "Hi")]


def test_stoppable_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stoppable() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
    assert signal.getsignal(signal.SIGINT) is before


def test_tool_calls_wait_for_their_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tools.json").write_text(json.dumps(WEATHER))
    llm, conversation = talk(f"/tools {tmp_path}/tools.json", "weather?", "sunny", "wet", script=(list(CALLS), "Sun and rain"))
    assert llm.tools == WEATHER
    assert len(llm.asked) == 2
    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [message.get("tool_call_id") for message in conversation.messages[2:4]] == ["abcdefghi", "jklmnopqr"]
    told = capsys.readouterr().err
    assert 'weather({"at": "Paris"}) waits for its result' in told
    assert 'weather({"at": "Rome"}) waits for its result' in told
    assert not conversation.pending


def test_save_and_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "talk.json"
    _, first = talk("/system Be brief.", "héllo", f"/save {file}", f"/save {file}", script=("Hi",))
    assert json.loads(file.read_text(encoding="utf-8")) == first.messages
    llm, _ = talk(f"/load {file}", "more", script=("ok",))
    assert llm.asked[0] == [*first.messages, {"role": "user", "content": "more"}]
    capsys.readouterr()
    (tmp_path / "mine.txt").write_text("precious")
    talk("hello", f"/save {tmp_path}/mine.txt", script=("Hi",))
    assert "exists and is no saved conversation" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "talk.json"]


@pytest.mark.parametrize("held", ["{}", "[1]", '[{"role": "king", "content": "x"}]', "no json", '[{"role": "user"}]', "[]"])
def test_what_is_no_conversation_is_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str], held: str) -> None:
    (tmp_path / "file").write_text(held)
    _, conversation = talk("hello", f"/load {tmp_path}/file", script=("Hi",))
    assert said(conversation) == [("user", "hello"), ("assistant", "Hi")]
    assert capsys.readouterr().err.count("\n") == 2


def test_a_model_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    talk("hello", script=("\x1b]0;owned\x07\x9b2J ok",))
    shown = capsys.readouterr().out
    assert shown.startswith("\u241b]0;owned\u2407\ufffd2J ok")
    assert "\x1b" not in shown
