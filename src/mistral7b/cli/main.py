"""The command `mistral7b`: its verbs, and one line on stderr for whatever goes wrong."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from mistral7b import __version__
from mistral7b.cli import (
    bench,
    chat,
    curate,
    download,
    evals,
    finetune,
    generate,
    merge,
    models,
    pretrain,
    quantize,
    release,
    seed,
    serve,
    tokenizer,
    verify,
)
from mistral7b.cli.help import CONTEXT_SETTINGS, Verb, Verbs, examples
from mistral7b.cli.terminal import note, one_line
from mistral7b.errors import Mistral7BError

GONE, ERROR, INTERRUPTED = 1, 2, 130
_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory")  # how torch puts it

app = typer.Typer(
    cls=Verbs, add_completion=False, rich_markup_mode=None, invoke_without_command=True, context_settings=CONTEXT_SETTINGS,
    epilog=examples('mistral7b generate "Once upon a time"', "mistral7b generate --help"),
)  # fmt: skip
for verb, epilog in (
    (generate.generate, generate.EXAMPLES),
    (chat.chat, chat.EXAMPLES),
    (serve.serve, serve.EXAMPLES),
    (models.convert, models.EXAMPLES),
    (merge.merge, merge.EXAMPLES),
    (quantize.quantize, quantize.EXAMPLES),
    (verify.verify, verify.EXAMPLES),
    (curate.curate, curate.EXAMPLES),
    (pretrain.pretrain, pretrain.EXAMPLES),
    (finetune.finetune, finetune.EXAMPLES),
    (download.download, download.EXAMPLES),
    (release.release, release.EXAMPLES),
    (seed.seed, seed.EXAMPLES),
    (bench.bench, bench.EXAMPLES),
):
    app.command(cls=Verb, epilog=epilog, context_settings=CONTEXT_SETTINGS)(verb)
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(evals.app, name="eval")


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Mistral 7B as one system: the published models, from any checkpoint, computed exactly.

    Two small models of the same architecture travel with it and answer where no other is named: tiny continues stories,
    tiny-instruct chats.
    """
    if version:
        print(f"mistral7b {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line `args` (default: the program's own) and return its exit status: 0; 1 for a reader that went away;
    2 for an error, told in one line; 130 for Ctrl-C. Only a mistake of ours raises."""
    _open_streams()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = get_command(app).main(args, prog_name="mistral7b", standalone_mode=False)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whatever is still to be written, at the very end of the process too, must find a place to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return GONE
        except (Exception, KeyboardInterrupt) as error:
            if (line := _explain(error)) is None:
                raise
            status = _fail(line)
    if status == INTERRUPTED:
        print("\nmistral7b: stopped", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _open_streams() -> None:
    """A standard stream that the caller closed is None; nothing read from it or written to it then means nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 it lives as long as the process


def _explain(error: BaseException) -> str | None:
    """One line for what a user, or the machine, can be asked to mend; None for a mistake of ours."""
    if isinstance(error, Mistral7BError):
        return str(error)
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        page = context.command_path if context is not None else "mistral7b"
        said = error.format_message().replace("Value error, ", "").rstrip(".")
        return f"{said}{'' if said.endswith('?') else '.'} Try '{page} --help'"
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY)):
        return "memory ran out; a shorter --max-model-len or a narrower --dtype needs less"
    return None


def _fail(line: str) -> int:
    print(f"mistral7b: error: {one_line(line)}", file=sys.stderr)
    return ERROR


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    note(str(message))
