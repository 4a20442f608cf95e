"""`chat`: a conversation, at a terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.answers import answer_json, tell_about
from mistral7b.cli.conversation import Conversation, read_tools
from mistral7b.cli.help import examples
from mistral7b.cli.opening import Opened, open_model
from mistral7b.cli.terminal import emit, note, tell, write
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.cli.session_file import SessionFile
    from mistral7b.outputs import RequestOutput

EXAMPLES = examples(
    "mistral7b chat -m v0.3-instruct",
    'echo "Name three rivers." | mistral7b chat -m v0.3-instruct --system "Be brief."',
    "mistral7b chat -m v0.3-instruct --tools weather.json --greedy",
    "mistral7b chat -m v0.3-instruct --session rivers.safetensors",
)


@dataclass(frozen=True)
class Chat:
    """A model and how it answers a conversation, which it keeps in `file` if there is one."""

    opened: Opened
    params: SamplingParams
    safe_prompt: bool
    quiet: bool
    file: SessionFile | None = None

    def reply(
        self, conversation: Conversation, write: Callable[[str], None], stopped: Callable[[], bool] = lambda: False
    ) -> RequestOutput:
        """Answer the conversation, hand the text to `write` as it comes, and add the answer; ends early once `stopped`."""
        deltas = (
            self.file.stream(conversation, self.params)
            if self.file
            else self.opened.llm.stream_chat(
                conversation.messages,
                self.params,
                tools=conversation.tools,
                safe_prompt=self.safe_prompt,
                adapter=self.opened.adapter,
            )
        )
        with closing(deltas):  # what is not run to its end is cancelled when closed
            for delta in deltas:
                write(delta.text)
                if stopped():
                    break
        conversation.answered(delta.output)
        if self.file:
            self.file.keep(conversation, delta.output)
        return delta.output

    def reseeded(self) -> Chat:
        """The same, drawing other random numbers."""
        assert self.params.seed is not None
        return replace(self, params=replace(self.params, seed=(self.params.seed + 1) % 2**64))


def chat(
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="System prompt.", rich_help_panel="Chat")] = None,
    safe_prompt: Annotated[
        bool, typer.Option("--safe-prompt", help="Put the paper's guardrail before the system prompt.", rich_help_panel="Chat")
    ] = False,
    tools: Annotated[
        Path | None,
        typer.Option(
            "--tools", metavar="FILE", help="Tools to offer: a JSON list, as in the OpenAI API.", rich_help_panel="Chat"
        ),
    ] = None,
    session: Annotated[
        Path | None,
        typer.Option(
            "--session", metavar="FILE", help="Keep the conversation in FILE, and go on with it.", rich_help_panel="Chat"
        ),
    ] = None,
    max_tokens: options.MaxTokens = 1024,
    temperature: options.Temperature = None,
    greedy: options.Greedy = False,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Through a pipe: one JSON object an answer.", rich_help_panel="Output")
    ] = False,
    quiet: options.Quiet = False,
    model: options.Model = "tiny-instruct",
    lora: options.Lora = None,
    dtype: options.Dtype = "auto",
    kv_dtype: options.KVDtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    variant: options.VariantName = None,
    force: options.Force = False,
) -> None:
    """Talk with a model.

    At a terminal /help lists the commands, Ctrl-C stops a reply and Ctrl-D quits. Through a pipe each line is a message of
    one conversation, as it stands, and is answered in turn; when the model calls a tool, the next line is the result.

    With --session the conversation is written to FILE after every reply, what was computed for it included. The next start
    goes on from there, with its messages, system prompt and tools, and computes only what is new.
    """
    params = options.sampling(
        temperature=temperature, greedy=greedy, top_p=top_p, top_k=top_k, seed=seed, max_tokens=max_tokens, stop=stop
    )
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive and as_json:
        raise RequestError("--json is for a pipe: echo hello | mistral7b chat --json")
    conversation = Conversation(system=system, tools=read_tools(tools) if tools else None)
    if session is not None:
        from mistral7b.conversations import check_place

        check_place(session)
    opened = open_model(
        model,
        dtype=dtype,
        kv_dtype=kv_dtype,
        device=device,
        max_model_len=max_model_len,
        variant=variant,
        lora=lora,
        force=force,
        quiet=quiet or as_json,
    )
    talk = Chat(opened, params, safe_prompt, quiet or as_json)
    if session is not None:
        talk = kept_in(session, talk, conversation)
    if not opened.chats:
        note(f"{model} is a base model: it continues text and was not trained to chat; expect odd answers")
    if interactive:
        from mistral7b.cli.session import Session

        Session(talk, conversation).run()
    else:
        answer_lines(talk, conversation, as_json=as_json)


def kept_in(path: Path, talk: Chat, conversation: Conversation) -> Chat:
    """`talk`, going on with what `path` holds and keeping it there; RequestError where `conversation` contradicts it."""
    from mistral7b.cli.session_file import SessionFile

    file = SessionFile(path, talk.opened, conversation, safe_prompt=talk.safe_prompt)
    if conversation.messages and not talk.quiet:
        tell(f"{path}: {len(conversation.messages)} messages, {file.kept.computed:,} tokens that need no computing")
    return replace(talk, file=file, safe_prompt=file.safe_prompt)


def answer_lines(talk: Chat, conversation: Conversation, *, as_json: bool) -> None:
    """Answer stdin line by line; empty lines say nothing."""
    for line in sys.stdin:
        if not (text := line.removesuffix("\n")).strip():
            continue
        conversation.add(text)
        if conversation.pending:
            continue
        if as_json:
            output = talk.reply(conversation, lambda _: None)
            answer = answer_json(output, talk.opened, talk.params)
            answer["usage"]["cached_tokens"] = output.cached_tokens
            emit(answer)
            continue
        output = talk.reply(conversation, write)
        write("\n")
        tell_about(output, talk.params, quiet=talk.quiet)
