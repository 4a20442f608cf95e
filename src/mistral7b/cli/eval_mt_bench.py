"""`eval mt-bench`: two-turn questions, answered by a model and graded by another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistral7b.cli import chat_models, options
from mistral7b.cli.chat_models import open_chat, system_prompt
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, note, progress, table

EXAMPLES = examples(
    "mistral7b eval mt-bench --data-dir ./mt_bench --judge-url http://127.0.0.1:8001/v1 --judge-model judge --out ./run",
)
_JUDGE, _RUN = "Judge", "Run"


def mt_bench(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", metavar="FOLDER", help="FastChat's question.jsonl, judge_prompts.jsonl and "
                           "reference_answer/.", rich_help_panel=_RUN)
    ],
    judge_url: Annotated[
        str, typer.Option("--judge-url", metavar="URL", help="Base URL of an OpenAI-compatible API, often ending in /v1.",
                          rich_help_panel=_JUDGE)
    ],
    judge_model: Annotated[
        str, typer.Option("--judge-model", metavar="NAME", help="What that API calls the judge.", rich_help_panel=_JUDGE)
    ],
    judge_key_env: chat_models.JudgeKeyEnv = None,
    judge_parallel: Annotated[
        int, typer.Option("--judge-parallel", metavar="N", min=1, help="Judgments asked for at once.", show_default=True,
                          rich_help_panel=_JUDGE)
    ] = 4,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=1, help="Answer and grade everything so often; the paper: 10.",
                          show_default=True, rich_help_panel=_RUN)
    ] = 1,
    system: Annotated[
        list[str] | None,
        typer.Option("--system", metavar="PROMPT", help="none, mistral (the paper's guardrail) or a file; may be given several "
                     "times; default: none.", rich_help_panel=_RUN),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="So many questions, from all categories in turn.",
                                 rich_help_panel=_RUN)
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Longest answer.", show_default=True, rich_help_panel=_RUN)
    ] = 1024,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Where the seeds of the answers come from.", show_default=True,
                          rich_help_panel=_RUN)
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Keep answers, judgments and report here; go on with what is "
                                  "there.", rich_help_panel=_RUN)
    ] = None,
    model: chat_models.Model = "tiny-instruct",
    key_env: chat_models.KeyEnv = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    max_model_len: options.MaxModelLen = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Let a model answer MT-Bench, and a judge grade it.

    80 questions of two turns each, sampled as FastChat does, each turn graded from 1 to 10; math, reasoning and coding against
    reference answers. Nothing is asked twice: a run that ended early goes on from its --out.
    """
    from mistral7b.evals.endpoint import Endpoint
    from mistral7b.evals.mt_bench import report
    from mistral7b.evals.mt_bench.questions import read_bench
    from mistral7b.evals.mt_bench.run import Plan, run

    bench = read_bench(data_dir).limited(limit)
    plan = Plan({name: system_prompt(name) for name in system or ["none"]}, repeats, seed, max_tokens)
    judge = Endpoint(judge_url, judge_model, key_variable=judge_key_env, parallel=judge_parallel)
    judge.check()
    chat = open_chat(model, key_env=key_env, dtype=dtype, device=device, max_model_len=max_model_len, force=force)
    with progress("MT-Bench", in_bytes=False) as told:
        outcome = run(chat, judge, bench, plan, out, told)
    if out is not None:
        report.write(outcome, out)
    if as_json:
        emit(report.to_json(outcome))
        return
    heading, *rows = report.table(outcome)
    table([[(cell, "bold") for cell in heading], *([(cell, "") for cell in row] for row in rows)])
    for line in report.notes(outcome):
        note(line)
