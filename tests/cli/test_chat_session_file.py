"""`chat --session FILE`: a conversation goes on after a restart as if there had been none, and computes only what is new."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mistral7b.api import LLM, SamplingParams
from mistral7b.cli.chat import Chat, kept_in
from mistral7b.cli.conversation import Conversation
from mistral7b.cli.opening import open_model
from mistral7b.cli.session import Session
from mistral7b.conversations import Fingerprint, Kept, load
from mistral7b.model.batch import TokenBatch
from mistral7b.model.transformer import Transformer
from tests.checkpoint import made
from tests.cli.conftest import Run
from tests.cli.made import TALKATIVE, talkative
from tests.cli.subprocesses import command
from tests.cli.test_session import keyboard

TOOL = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": {"type": "object"}}}
STORY = "Once upon a time there was a little girl who had a big red ball. " * 40  # over tiny's window of 512 tokens
LINES = ("hello", "what then?", "and now? " * 12, "go on", "so it was.")


@dataclass
class Computed:
    """What the network was run on: rows and the lowest position of each forward."""

    rows: list[int] = field(default_factory=list)
    lowest: list[int] = field(default_factory=list)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    seen, run = Computed(), Transformer.hidden

    def counted(self: Transformer, batch: TokenBatch, *args: Any) -> Any:
        seen.rows.append(len(batch.ids))
        seen.lowest.append(int(batch.positions.min()))
        return run(self, batch, *args)

    monkeypatch.setattr(Transformer, "hidden", counted)
    return seen


Talk = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def talk(run: Run) -> Talk:
    """Answers to `lines` of one process, which must end well."""

    def talking(file: Path, *lines: str, options: tuple[object, ...]) -> list[dict[str, Any]]:
        ran = run("chat", "--session", file, "--json", *options, stdin="".join(f"{line}\n" for line in lines))
        assert ran.status == 0, ran.err
        return [json.loads(line) for line in ran.out.splitlines()]

    return talking


def held(file: Path, llm: LLM) -> Kept:
    assert llm.tokenizer is not None
    return load(file, Fingerprint.of(llm.model, llm.tokenizer, llm.engine.pool.k.dtype, "x"))


@pytest.mark.parametrize("how", [("--greedy",), ("--seed", 5, "--temperature", 2)], ids=["greedy", "hot"])
def test_a_restart_changes_no_token(talk: Talk, model: Path, tmp_path: Path, how: tuple[object, ...]) -> None:
    """One process for all, one for each, and a cold cache, far past the window of 32."""
    options = ("-m", model, "-n", 12, *how)
    whole = talk(tmp_path / "whole", *LINES, options=options)
    parts = [answer for line in LINES for answer in talk(tmp_path / "parts", line, options=options)]
    assert [answer["token_ids"] for answer in parts] == [answer["token_ids"] for answer in whole]
    assert [answer["usage"] for answer in parts] == [answer["usage"] for answer in whole]
    llm = LLM(model)
    kept = held(tmp_path / "parts", llm)
    assert kept.ids == held(tmp_path / "whole", llm).ids
    params = SamplingParams(max_tokens=12, seed=5, temperature=0.0 if how == ("--greedy",) else 2.0)
    cold = llm.generate(list(kept.ids[: kept.reply_at]), params)[0].outputs[0].token_ids
    assert cold == parts[-1]["token_ids"]


@pytest.mark.parametrize("how", [("--greedy",), ("--seed", 5)], ids=["greedy", "seed"])
def test_tiny_over_its_window(talk: Talk, tmp_path: Path, computed: Computed, how: tuple[object, ...]) -> None:
    options = ("-n", 8, *how)
    lines = (STORY, "What was it?")
    whole = talk(tmp_path / "whole", *lines, options=options)
    first = talk(tmp_path / "parts", lines[0], options=options)
    size = (tmp_path / "parts").stat().st_size
    computed.rows.clear()
    rest = talk(tmp_path / "parts", lines[1], options=options)
    assert [answer["token_ids"] for answer in first + rest] == [answer["token_ids"] for answer in whole]
    assert first[0]["usage"]["prompt_tokens"] > 512
    assert sum(computed.rows) < 50, "nothing of the story is computed again"
    assert (tmp_path / "parts").stat().st_size - size < 500, "the cache has stopped to grow"


def test_the_second_process_computes_only_the_new_turn(talk: Talk, model: Path, tmp_path: Path, computed: Computed) -> None:
    options = ("-m", model, "-n", 6, "--greedy")
    (first,) = talk(tmp_path / "talk", "hello, how are you today?", options=options)
    assert first["usage"]["cached_tokens"] == 0
    kept = held(tmp_path / "talk", LLM(model))
    computed.rows.clear()
    computed.lowest.clear()
    (second,) = talk(tmp_path / "talk", "what then?", options=options)
    before = first["usage"]["total_tokens"]
    assert kept.computed == second["usage"]["cached_tokens"] == before - 1, "the last token was chosen and never run"
    assert computed.rows[0] == second["usage"]["prompt_tokens"] - second["usage"]["cached_tokens"]
    assert min(computed.lowest) == before - 1
    assert second["notes"] == first["notes"]


def test_a_process_of_its_own_goes_on(talk: Talk, model: Path, tmp_path: Path) -> None:
    options = ("-m", model, "-n", 6, "--seed", 3)
    whole = talk(tmp_path / "whole", "hello", "and?", options=options)
    talk(tmp_path / "parts", "hello", options=options)
    ran = command("chat", "--session", tmp_path / "parts", "--json", *options, input="and?\n")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["token_ids"] == whole[1]["token_ids"]


def test_without_json_the_text_is_the_same(run: Run, model: Path, tmp_path: Path) -> None:
    options = ("chat", "-m", model, "-n", 6, "--greedy", "-q", "--session")
    whole = run(*options, tmp_path / "whole", stdin="hello\nand?\n").out
    assert run(*options, tmp_path / "parts", stdin="hello\n").out + run(*options, tmp_path / "parts", stdin="and?\n").out == whole
    told = run(*options[:-2], "--session", tmp_path / "parts", stdin="").err
    assert f"{tmp_path}/parts: 4 messages, " in told
    assert " tokens that need no computing" in told


def test_no_file_before_the_first_reply(run: Run, model: Path, tmp_path: Path) -> None:
    assert run("chat", "-m", model, "--session", tmp_path / "talk", stdin="").status == 0
    assert run("chat", "-m", model, "--session", tmp_path / "talk", stdin="word " * 600).status == 2
    assert list(tmp_path.iterdir()) == []


def test_system_tools_and_guardrail_are_the_files(run: Run, talk: Talk, model: Path, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    (tmp_path / "others.json").write_text(json.dumps([{**TOOL, "function": {**TOOL["function"], "name": "clock"}}]))  # type: ignore[dict-item]
    file, options = tmp_path / "talk", ("-m", model, "-n", 4, "--greedy")
    given = ("--system", "Be brief.", "--tools", tmp_path / "tools.json", "--safe-prompt")
    talk(file, "hello", options=(*options, *given))
    kept = held(file, LLM(model))
    assert (kept.system, kept.tools, kept.safe_prompt) == ("Be brief.", [TOOL], True)
    (second,) = talk(file, "and?", options=options)
    talk(tmp_path / "again", "hello", options=(*options, *given))
    (same,) = talk(tmp_path / "again", "and?", options=(*options, *given))
    assert same["token_ids"] == second["token_ids"]
    assert same["usage"] == second["usage"]
    assert second["usage"]["cached_tokens"] == 0
    assert "this model's template moves the system prompt and the tools to the last message" in second["notes"][-1]
    for option in (("--system", "Be long."), ("--tools", tmp_path / "others.json")):
        ran = run("chat", "--session", file, *options, "-q", *option, stdin="x\n")
        ran.fails_with(f"{option[0]} is not what the conversation in {file} was begun with; leave it out, or name another file")
    talk(tmp_path / "plain", "hello", options=options)
    for other in (("--system", "Be brief."), ("--tools", str(tmp_path / "tools.json")), ("--safe-prompt",)):
        run("chat", "--session", tmp_path / "plain", *options, "-q", *other, stdin="x\n").fails_with(f"{other[0]} is not what")


def test_a_file_of_another_model_and_files_that_are_none(run: Run, talk: Talk, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk"
    talk(file, "hello", options=("-m", model, "-n", 2))
    other = talkative(tmp_path / "other")
    made.hf_sharded(other, {name: tensor + 1 for name, tensor in made.weights(TALKATIVE).items()}, TALKATIVE)
    run("chat", "-m", other, "--session", file, "-q", stdin="x\n").fails_with(f"{file} was held with ", "and this is ", "with -m")
    run("chat", "-m", model, "--dtype", "float32", "--session", file, "-q", stdin="x\n").fails_with("cache bfloat16", "float32)")
    (tmp_path / "mine.txt").write_text("precious")
    run("chat", "-m", model, "--session", tmp_path / "mine.txt", "-q", stdin="x\n").fails_with("is no conversation, or a damaged")
    assert (tmp_path / "mine.txt").read_text() == "precious"
    run("chat", "-m", "nowhere", "--session", tmp_path, stdin="x\n").fails_with("is not a file; name a file")
    run("chat", "-m", "nowhere", "--session", tmp_path / "a/b", stdin="x\n").fails_with("is not a folder; make it first")


def test_a_stop_string_and_an_empty_reply(talk: Talk, model: Path, tmp_path: Path) -> None:
    """What the conversation says and what the model wrote part company; a restart changes nothing all the same."""
    options = ("-m", model, "-n", 12, "--seed", 5)
    text = talk(tmp_path / "probe", "hello", options=options)[0]["text"]
    for name, stop in (("middle", text[5]), ("start", text[0])):
        stopping = (*options, "--stop", stop)
        whole = talk(tmp_path / f"{name}-whole", "hello", "and?", "so?", options=stopping)
        parts = [answer for line in ("hello", "and?", "so?") for answer in talk(tmp_path / name, line, options=stopping)]
        assert [answer["token_ids"] for answer in parts] == [answer["token_ids"] for answer in whole]
        assert parts[0]["text"] == text[: text.index(stop)]


@pytest.fixture
def opened(model: Path) -> Callable[[Path], Session]:
    """A chat at a terminal that keeps itself in a file; its keyboard is still to be given."""

    def opening(file: Path, **options: Any) -> Session:
        there = open_model(
            str(model), dtype="auto", device="auto", max_model_len=None, variant=None, force=False, quiet=True
        )  # fmt: skip
        conversation = Conversation(**options)
        talk = Chat(there, SamplingParams(seed=5, max_tokens=8, temperature=0.7), safe_prompt=False, quiet=True)
        return Session(kept_in(file, talk, conversation), conversation)

    return opening


Opening = Callable[..., Session]


def said(session: Session) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in session.conversation.messages]


def test_reset_empties_the_file_and_keeps_system_and_tools(opened: Opening, tmp_path: Path) -> None:
    file = tmp_path / "talk"
    session = opened(file, system="Be brief.", tools=[TOOL])
    session.read = keyboard("/reset")
    session.run()
    assert not file.exists()
    session.read = keyboard("hello", "and?")
    session.run()
    full = file.stat().st_size
    session.read = keyboard("/reset")
    session.run()
    assert file.stat().st_size < full / 2
    again = opened(file)
    assert said(again) == [("system", "Be brief.")]
    assert again.conversation.tools == [TOOL]
    other = opened(file, system="Be long.", tools=[])
    assert said(other) == [("system", "Be long.")]
    assert other.conversation.tools == []


def test_regen_and_commands_are_kept(opened: Opening, tmp_path: Path) -> None:
    session = opened(tmp_path / "talk")
    session.read = keyboard("hello", "and?", "/regen", "/system Be brief.", "so?")
    session.run()
    again = opened(tmp_path / "talk")
    assert said(again) == said(session)
    assert [role for role, _ in said(again)] == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]


def test_a_stopped_reply_is_kept_and_goes_on(opened: Opening, tmp_path: Path) -> None:
    session = opened(tmp_path / "talk")
    shown: list[str] = []
    session.conversation.add("hello")
    session.talk.reply(session.conversation, shown.append, lambda: len(shown) == 3)
    assert said(session)[-1] == ("assistant", "".join(shown))
    again = opened(tmp_path / "talk")
    assert said(again) == said(session)
    outputs = []
    for one in (session, again):
        one.conversation.add("and?")
        outputs.append(one.talk.reply(one.conversation, lambda _: None))
    assert outputs[0].outputs[0].token_ids == outputs[1].outputs[0].token_ids
    assert outputs[0].cached_tokens == outputs[1].cached_tokens > 0
    assert again.talk.file is not None
    assert again.talk.file.kept.computed == session.talk.file.kept.computed  # type: ignore[union-attr]
