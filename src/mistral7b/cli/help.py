"""Help pages: typer's plain ones, with the options under headings. Plain, because drawing them with rich takes 0.2 s."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# What every page is laid out for; narrower terminals wrap sooner.
CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Verb(TyperCommand):
    """A command whose options stand under the heading that their `rich_help_panel` names, in the order given."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(param.metavar) if param.required else f"[{param.metavar}]" for param in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            name, help = param.get_help_record(ctx) or ("", "")
            if param.param_type_name == "argument":
                sections.setdefault("Arguments", []).append((str(param.metavar), help.removesuffix("[required]").rstrip()))
            else:
                sections.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append((name, help))
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Verbs(TyperGroup):
    """The command itself: its verbs first, then its two options."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False  # typer would load pydantic, 0.1 s, to learn that the None it has is no True
        return option

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        with formatter.section("Options"):
            formatter.write_dl([record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))])


def group(help: str, *lines: str, cls: type[Verbs] = Verbs) -> typer.Typer:
    """A verb that has verbs of its own; alone it shows its page, with `lines` as examples."""
    app = typer.Typer(cls=cls, rich_markup_mode=None, invoke_without_command=True, context_settings=CONTEXT_SETTINGS,
                      help=help, epilog=examples(*lines))  # fmt: skip

    @app.callback()
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            print(context.get_help())

    return app


def examples(*lines: str) -> str:
    """An epilog that is not rewrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
