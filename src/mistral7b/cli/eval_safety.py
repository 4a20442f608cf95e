"""`eval safety`: what the guardrail declines, and how well a model moderates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import chat_models, options
from mistral7b.cli.chat_models import open_chat
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, note, progress, table
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.evals.safety.reflection import Reflection
    from mistral7b.evals.safety.refusals import Refusals

EXAMPLES = examples(
    "mistral7b eval safety -m ./Mistral-7B-Instruct-v0.1 --prompts unsafe.txt",
    "mistral7b eval safety -m ./Mistral-7B-Instruct-v0.1 --labelled moderation.jsonl --json",
)
_JUDGE, _DATA = "Judge", "Data"


def safety(
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help='Requests to decline: one a line, or .jsonl with "prompt".',
                                  rich_help_panel=_DATA)
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option("--labelled", metavar="FILE", help='Texts to moderate: .jsonl with "text" and "label" '
                                  "(acceptable, harmful or a category).", rich_help_panel=_DATA)
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Longest reply.", show_default=True, rich_help_panel=_DATA)
    ] = 256,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep every reply in this .jsonl; go on with what is there.",
                                  rich_help_panel=_DATA)
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option("--judge-url", metavar="URL", help="Have an OpenAI-compatible API say what was declined, too.",
                                 rich_help_panel=_JUDGE)
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", metavar="NAME", help="What that API calls the judge.", rich_help_panel=_JUDGE)
    ] = None,
    judge_key_env: chat_models.JudgeKeyEnv = None,
    model: chat_models.Model = "tiny-instruct",
    key_env: chat_models.KeyEnv = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Measure refusals with and without the paper's guardrail, and self-reflection.

    Of --prompts, how many are declined; a reply declines if it opens with one of a list of phrases. Of --labelled, precision and
    recall of the model as a moderator.
    """
    from mistral7b.evals.endpoint import Endpoint
    from mistral7b.evals.lines import Lines
    from mistral7b.evals.safety import reflection, refusals

    if prompts is None and labelled is None:
        raise RequestError("there is nothing to measure; give --prompts, --labelled or both")
    if (judge_url is None) != (judge_model is None):
        raise RequestError("--judge-url and --judge-model belong together; give both, or neither")
    asked = None if prompts is None else refusals.read_prompts(prompts)
    texts = None if labelled is None else reflection.read_labelled(labelled)
    judge = None if judge_url is None or judge_model is None else Endpoint(judge_url, judge_model, key_variable=judge_key_env)
    if judge is not None:
        judge.check()
    chat = open_chat(model, key_env=key_env, dtype=dtype, device=device, max_model_len=max_model_len, force=force)
    with progress("safety", in_bytes=False) as told, Lines(out) as lines:
        lines.agree({"model": chat.describe(), "judge": judge and judge.describe(), "max_tokens": max_tokens})
        declined = asked and refusals.measure(chat, asked, lines, judge=judge, max_tokens=max_tokens, progress=told)
        moderated = texts and reflection.measure(chat, texts, lines, told)
    if as_json:
        emit({
            "model": chat.name, "judge": judge and judge.name,
            "refusals": [one.to_json() for one in declined] if declined else None,
            "self_reflection": moderated.to_json() if moderated else None,
            "published": [refusals.PUBLISHED_AS, reflection.PUBLISHED_AS],
        })  # fmt: skip
        return
    rows = [*_refusal_rows(declined or ()), *(_reflection_rows(moderated) if moderated else ())]
    table([[(name, "bold"), (value, "")] for name, value in rows])
    for told_by, there in ((refusals.PUBLISHED_AS, declined), (reflection.PUBLISHED_AS, moderated)):
        if there:
            note(told_by)


def _refusal_rows(found: Sequence[Refusals]) -> list[tuple[str, str]]:
    rows = []
    for one in found:
        under = "with the guardrail" if one.system == "mistral" else "without a system prompt"
        rows.append((f"declined {under}", str(one.by_phrases)))
        rows += [(f"  {name}", str(share)) for name, share in one.categories.items()]
        if one.by_judge is not None:
            rows.append(("  by the judge", f"{one.by_judge}, {one.unjudged} unclear"))
    return rows


def _reflection_rows(found: Reflection) -> list[tuple[str, str]]:
    rows = []
    for name, accuracy in (("acceptable", found.acceptable), ("harmful", found.harmful)):
        rows.append((f"{name}: precision", str(accuracy.precision)))
        rows.append((f"{name}: recall", str(accuracy.recall)))
        rows.append((f"{name}: F1", "none" if accuracy.f1 is None else f"{accuracy.f1:.3f}"))
    return [*rows, ("right category", str(found.category)), ("unreadable answers", f"{found.unreadable} of {found.total}")]
