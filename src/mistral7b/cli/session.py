"""Session: the chat at a terminal. It reads turns and commands, streams replies, and lets no mistake end the program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mistral7b.cli.answers import tell_about
from mistral7b.cli.chat import Chat
from mistral7b.cli.conversation import Conversation, Message, read_tools
from mistral7b.cli.keyboard import read_turn, stoppable
from mistral7b.cli.terminal import BOLD, CYAN, RED, YELLOW, one_line, paint, table, tell, write
from mistral7b.errors import ChatError, Mistral7BError, RequestError

COMMANDS = {
    "/help": "this list",
    "/history": "the conversation so far",
    "/regen": "answer the last message again, differently",
    "/reset": "forget the conversation; system prompt and tools stay",
    "/system TEXT": "set the system prompt; without TEXT, remove it",
    "/tools FILE": "offer the tools of a JSON file; without FILE, none",
    "/save FILE": "write the conversation as JSON messages",
    "/load FILE": "go on with a saved conversation",
    "/quit": "leave; Ctrl-D does too",
}
HINTS = 'Several lines: end a line with \\ or put them between lines of """. A message that begins with /: write //.'
ROLES = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}


class Session:
    """Talks until the end of input; `read` shows its argument and returns a line, as `input` does."""

    def __init__(self, talk: Chat, conversation: Conversation, read: Callable[[str], str] = input) -> None:
        self.talk = talk
        self.conversation = conversation
        self.read = read

    def run(self) -> None:
        """Read and answer until /quit or Ctrl-D."""
        with suppress(ImportError):
            import readline  # noqa: F401  (gives input() a history and line editing)
        tell("/help lists the commands, Ctrl-C stops a reply, Ctrl-D quits")
        while True:
            try:
                line = read_turn(self.read, self._prompt())
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                continue
            if line.strip() in ("/quit", "/exit"):
                return
            try:
                self._take(line)
            except Mistral7BError as error:
                tell(one_line(str(error)), RED)

    def _take(self, line: str) -> None:
        if line.startswith("/") and not line.startswith("//"):
            name, _, rest = line.partition(" ")
            command = getattr(self, f"_on_{name[1:]}", None)
            if command is None:
                raise ChatError(f"there is no {name}; /help lists the commands")
            command(rest.strip())
        elif line.strip() or self.conversation.pending:
            self.conversation.add(line.removeprefix("/") if line.startswith("//") else line)
            self._answer()

    def _answer(self) -> None:
        """Reply, unless a tool call still waits for its result."""
        if not self.conversation.pending:
            try:
                with stoppable() as stopped:
                    output = self.talk.reply(self.conversation, write, stopped)
            except KeyboardInterrupt:
                tell("\nstopped", YELLOW)
                return
            except RequestError as error:
                self.conversation.take_back()
                raise RequestError(f"{error}; /reset starts afresh") from None
            except ChatError:
                self.conversation.take_back()
                raise
            print()
            tell_about(output, self.talk.params, quiet=self.talk.quiet)
        if pending := self.conversation.pending:
            call = pending[0]["function"]
            tell(f"{call['name']}({call['arguments']}) waits for its result; type it", YELLOW)

    def _prompt(self) -> str:
        mark = "result › " if self.conversation.pending else "› "
        start, _, end = (styled := paint(mark, BOLD, CYAN, stream=sys.stdout)).partition(mark)
        # readline takes what stands between \1 and \2 for something that needs no room on the line.
        return f"\1{start}\2{mark}\1{end}\2" if start and "readline" in sys.modules else styled

    def _on_help(self, _: str) -> None:
        table([[(name, "bold"), (meaning, "")] for name, meaning in COMMANDS.items()])
        tell(HINTS)

    def _on_history(self, _: str) -> None:
        rows = [
            [(message["role"], ROLES.get(message["role"], "")), (_said(message), "")] for message in self.conversation.messages
        ]
        if not rows:
            raise ChatError("nothing has been said yet")
        table(rows)

    def _on_regen(self, _: str) -> None:
        self.conversation.unanswer()
        self.talk = self.talk.reseeded()
        self._answer()

    def _on_reset(self, _: str) -> None:
        self.conversation.reset()
        if self.talk.file:
            self.talk.file.reset(self.conversation)
        tell("the conversation is empty")

    def _on_system(self, text: str) -> None:
        self.conversation.set_system(text)
        tell("the system prompt is set" if text else "there is no system prompt")

    def _on_tools(self, file: str) -> None:
        self.conversation.tools = read_tools(_path(file)) if file else None
        tell(f"{len(self.conversation.tools or ())} tools offered")

    def _on_save(self, file: str) -> None:
        self.conversation.save(_path(file))
        tell(f"{len(self.conversation.messages)} messages written to {file}")

    def _on_load(self, file: str) -> None:
        self.conversation.load(_path(file))
        tell(f"{len(self.conversation.messages)} messages read from {file}; /history shows them")


def _said(message: Message) -> str:
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls") or ()]
    return "\n".join([message.get("content") or "", *calls]).strip()


def _path(file: str) -> Path:
    if not file:
        raise ChatError("name a file")
    return Path(file).expanduser()
