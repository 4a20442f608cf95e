"""The options of `serve.py`: read, checked, and turned into what the other modules take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from serve_client import CHAT, Form, Target
from serve_load import Load
from serve_work import Scale, Work, read_prompts

ENDPOINTS = {"completions": "completions", "chat": CHAT}


@dataclass(frozen=True)
class Options:
    """A checked command line. `scale` is None where the first server is to be asked."""

    targets: tuple[Target, ...]
    form: Form
    load: Load
    work: Work
    scale: Scale | None
    requests: int
    repeats: int
    warmup: int
    json: str | None
    chart: Path | None


def parse(description: str | None, argv: Sequence[str] | None) -> Options:
    """Ends the process with one line, and status 2, for options that make no sense."""
    parser = _parser(description)
    args = parser.parse_args(argv)
    try:
        return _options(args)
    except (OSError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", required=True, help="the server, with or without /v1")
    add("--name", default="ours", help="what the report calls it")
    add("--model", default="", help="its model (default: the first it lists; peers always use the first they list)")
    add("--api-key", help="sent to this server alone")
    add("--against", metavar="NAME=URL", action="append", default=[], type=_named, help="a peer; may be given several times")
    add("--against-api-key", metavar="NAME=KEY", action="append", default=[], type=_named)
    add("--endpoint", choices=ENDPOINTS, default="completions")
    add("--rate", type=_number(float, 0), default=math.inf, help="requests a second on average, or inf (default)")
    add("--concurrency", type=_number(int, 1), help="callers at rate inf (default 1)")
    add("--requests", type=_number(int, 1), default=32, help="requests a block")
    add("--repeats", type=_number(int, 1), default=1, help="blocks a server")
    add("--warmup", type=_number(int, 0), default=2, help="requests to each server that are not counted")
    add("--prompt-tokens", type=_number(int, 1), nargs=2, metavar=("LOW", "HIGH"), default=(128, 512))
    add("--max-tokens", type=_number(int, 1), nargs=2, metavar=("LOW", "HIGH"), default=(32, 128))
    add("--shared-prefix", type=_number(int, 0), default=0, metavar="TOKENS", help="the same text before every prompt")
    add("--prompts", type=Path, metavar="FILE.jsonl", help='objects with "prompt" and perhaps "max_tokens", taken in turn')
    add("--tokens-per-word", type=_number(float, 0), help="of our generated words (default: the first server is asked)")
    add("--temperature", type=_number(float, 0), default=0.0)
    add("--ignore-eos", action="store_true", help="send ignore_eos, for servers that know it")
    add("--no-usage", action="store_true", help="do not send stream_options, for servers that refuse it")
    add("--timeout", type=_number(float, 0), default=600.0, metavar="SECONDS", help="for a request as a whole")
    add("--seed", type=_number(int, 0), default=0)
    add("--json", metavar="FILE", help="write the report there as JSON; - for standard output, instead of the table")
    add("--chart", type=Path, metavar="FILE.png", help="draw it (needs matplotlib)")
    return parser


def _options(args: argparse.Namespace) -> Options:
    if args.concurrency is not None and not math.isinf(args.rate):
        raise ValueError("--concurrency is for --rate inf: at a finite rate requests arrive whatever is in flight")
    for name, value in (("--rate", args.rate), ("--timeout", args.timeout), ("--tokens-per-word", args.tokens_per_word)):
        if value == 0:
            raise ValueError(f"{name} must be above 0")
    for name, (low, high) in (("--prompt-tokens", args.prompt_tokens), ("--max-tokens", args.max_tokens)):
        if low > high:
            raise ValueError(f"{name} {low} {high}: the lower end comes first")
    return Options(
        targets=_targets(args),
        form=Form(ENDPOINTS[args.endpoint], args.temperature, args.ignore_eos, not args.no_usage, args.timeout),
        load=Load(args.rate, args.concurrency or 1, args.seed),
        work=Work(
            seed=args.seed, prompt_tokens=tuple(args.prompt_tokens), max_tokens=tuple(args.max_tokens),
            shared_prefix=args.shared_prefix, prompts=read_prompts(args.prompts) if args.prompts else (),
        ),
        scale=Scale(args.tokens_per_word) if args.tokens_per_word else None,
        requests=args.requests, repeats=args.repeats, warmup=args.warmup, json=args.json, chart=args.chart,
    )  # fmt: skip


def _targets(args: argparse.Namespace) -> tuple[Target, ...]:
    keys = dict(args.against_api_key)
    targets = [Target(args.name, args.url, args.model, args.api_key)]
    targets += [Target(name, url, "", keys.pop(name, None)) for name, url in args.against]
    if keys:
        raise ValueError(f"--against-api-key names {next(iter(keys))!r}, which no --against does")
    if len({target.name for target in targets}) < len(targets):
        raise ValueError("two servers have the same name; give each its own with --name and --against NAME=URL")
    for target in targets:
        try:
            url = httpx.URL(target.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{target.url!r} is no URL: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{target.url!r} is no URL of a server; write it as http://HOST:PORT")
    return tuple(targets)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _number(kind: type[int] | type[float], least: int) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is not a number of at least {least}")
        return value

    read.__name__ = "number"  # argparse says "invalid number value"
    return read
