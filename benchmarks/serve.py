"""A load test of any OpenAI-compatible server: ours, vLLM, llama.cpp's and others; or of several in one run, as ratios.

    python benchmarks/serve.py --url http://127.0.0.1:8000 --rate 2 --requests 100 --json serve.json
    python benchmarks/serve.py --url http://127.0.0.1:8000 --rate inf --concurrency 16
    python benchmarks/serve.py --name ours --url http://127.0.0.1:8000 --against llama.cpp=http://127.0.0.1:8080 --repeats 5

Answers are streamed. At a finite --rate requests arrive as a Poisson process and are timed from their arrival, whatever became
of the ones before; at `inf` --concurrency callers send one after another. Prompts are generated from --seed, about as long as
asked: the first server's usage for two small prompts says how it counts our words (or --tokens-per-word). With --against the
servers take turns: in every repeat each gets one block of the same requests, and the order turns with the repeats. A ratio is
our figure over the peer's within one repeat.

Time to first token ends with the first chunk that carries text. Time per output token is from there to the last such chunk,
over the tokens after the first; "between chunks" are the gaps, and a chunk may hold several tokens. Tokens are the server's
own count (usage), or where it gives none the chunks; the report says which. Failed requests count in no figure but their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from serve_client import Target
from serve_load import Load, block, first_model, measure_scale
from serve_options import Options, parse
from serve_report import Block, failures, ratios, summary
from serve_table import chart, text
from serve_work import Item, Scale

WARMUP_CONCURRENCY = 4


def main(argv: Sequence[str] | None = None) -> int:
    """0 if a request of every server was answered, 1 if not, 2 for options that make no sense."""
    options = parse(__doc__, argv)
    try:
        report = asyncio.run(measure(options))
        if options.chart:
            chart(report, options.chart)
        if options.json:
            _write(json.dumps(report, indent=1), options.json)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json != "-":
        print(text(report))
    return 0 if all(server["ok"] for server in report["servers"].values()) else 1


async def measure(options: Options) -> dict[str, Any]:
    """The whole test and its report. Raises ValueError, in one line, for a server that does not answer."""
    form = options.form
    targets = [each if each.model else replace(each, model=await first_model(each, form.timeout_s)) for each in options.targets]
    scale = options.scale or await measure_scale(targets[0], form, options.work.seed)
    if scale is None:
        _say(f"{targets[0].name} does not count prompt tokens: a word is taken for one token (see --tokens-per-word)")
    work = replace(options.work, scale=scale or Scale())
    source = work.items()
    await _warm_up(targets, options, list(islice(source, options.warmup)))
    blocks: dict[str, list[Block]] = {target.name: [] for target in targets}
    for repeat in range(options.repeats):
        items, turn = list(islice(source, options.requests)), repeat % len(targets)
        load = replace(options.load, seed=options.load.seed + repeat)
        for target in (*targets[turn:], *targets[:turn]):
            found = Block(await block(target, form, load, items))
            blocks[target.name].append(found)
            _say(f"{target.name}: block {repeat + 1} of {options.repeats}, {len(found.done)} of {len(items)} answered")
    return {"settings": _settings(options, targets, work.scale)} | _report(blocks)


async def _warm_up(targets: Sequence[Target], options: Options, items: Sequence[Item]) -> None:
    """Not counted: the first requests pay for what every server does once."""
    for target in targets:
        results = await block(target, options.form, Load(concurrency=WARMUP_CONCURRENCY), items)
        if results and not any(result.ok for result in results):
            raise ValueError(f"{target.name} at {target.url} answers nothing: {failures(results)[0]}")


def _report(blocks: dict[str, list[Block]]) -> dict[str, Any]:
    first, *peers = blocks
    return {
        "first": first,
        "servers": {name: summary(found) for name, found in blocks.items()},
        "ratios": {peer: ratios(blocks[first], blocks[peer]) for peer in peers},
    }


def _settings(options: Options, targets: Sequence[Target], scale: Scale) -> dict[str, Any]:
    """What was asked for, without API keys and prompts."""
    work = {name: value for name, value in asdict(options.work).items() if name != "prompts"}
    return {
        "servers": [{"name": each.name, "url": each.url, "model": each.model} for each in targets],
        **asdict(options.form),
        "rate": str(options.load.rate),  # JSON has no infinity
        "concurrency": options.load.concurrency,
        **work,
        "scale": asdict(scale),
        "prompts_read": len(options.work.prompts),
        "requests": options.requests,
        "repeats": options.repeats,
    }


def _write(report: str, where: str) -> None:
    """To standard output, or to a file that is whole or not there."""
    if where == "-":
        print(report)
        return
    aside = Path(f"{where}.part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(f"{report}\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(where)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
