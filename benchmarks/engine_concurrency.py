"""The engine without HTTP, at several concurrencies, on the first layers of the 7B shape; and where a step's time goes.

    python benchmarks/engine_concurrency.py --layers 2 --concurrency 1 16 --prompt-tokens 128 --new-tokens 64 --rounds 5

Weights are random bf16 numbers: time does not depend on their values. The concurrencies take turns, each round with prompts of
its own, and the first round warms up. Two speeds in output tokens a second, as median (least, most) over the rounds: `whole`,
prefill included; and `decode`, from the step in which the last request got its first token until the first request ends.
The ratios are those of each round to its first concurrency.

The time of a decode step is split into linear (all matrix products with weights), attention, the rest of the model (norms,
rotations, writing the cache, planning), and what is outside the model (scheduling, packing, sampling).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from mistral7b.config import ModelConfig
from mistral7b.engine.engine import DEFAULT_CHUNK, Engine
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.kernels.cache import Pages
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import TokenBatch
from mistral7b.model.pages import DEFAULT_PAGE_TOKENS, PagePool, ring_slots
from mistral7b.model.transformer import Transformer
from mistral7b.variants import VARIANTS

Spread = dict[str, float]
SPEEDS = ("whole", "decode")
PARTS = ("linear", "attention", "rest of the model", "outside the model")
_T = TypeVar("_T")


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result


class TimedKernels(TorchKernels):
    """The reference room with a clock on its two expensive parts; a call costs about a microsecond more."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        multiply = super().linear
        return self.clock.timed("linear", lambda: multiply(x, weight))

    def paged_attention(self, q: Tensor, k: Pages, v: Pages, plan: object) -> Tensor:
        attend = super().paged_attention
        return self.clock.timed("attention", lambda: attend(q, k, v, plan))


class TimedTransformer(Transformer):
    """The network with a clock on all of it."""

    def __init__(self, config: ModelConfig, clock: Clock) -> None:
        super().__init__(config, TimedKernels(clock))
        self.clock = clock

    def hidden(self, batch: TokenBatch, pool: PagePool | None = None) -> Tensor:
        run = super().hidden
        return self.clock.timed("model", lambda: run(batch, pool))

    def logits(self, states: Tensor) -> Tensor:
        run = super().logits
        return self.clock.timed("model", lambda: run(states))


def network(config: ModelConfig, clock: Clock) -> TimedTransformer:
    """Random bf16 weights of standard deviation 0.02, filled one tensor at a time so that no second copy is ever held."""
    with torch.device("meta"):
        model = TimedTransformer(config, clock)
    model = model.to(torch.bfloat16).to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            weight.fill_(1.0)
        else:
            weight.normal_(std=0.02, generator=generator)
    return model


class Bench:
    """One model and one engine; `wave` runs some requests together from arrival to end."""

    def __init__(self, config: ModelConfig, prompt_tokens: int, new_tokens: int, most: int, temperature: float) -> None:
        self.clock = Clock()
        self.model = network(config, self.clock)
        self.prompt_tokens, self.new_tokens, self.temperature = prompt_tokens, new_tokens, temperature
        self.max_len = prompt_tokens + new_tokens
        chunk = config.sliding_window or DEFAULT_CHUNK
        pages = most * ring_slots(config.sliding_window, chunk, DEFAULT_PAGE_TOKENS, self.max_len)
        pool = PagePool(config, pages, dtype=torch.bfloat16)
        self.engine = Engine(self.model, pool, max_model_len=self.max_len, max_num_seqs=most)
        self.chance = random.Random(0)

    def _request(self) -> Request:
        """A prompt never seen before: nothing of it is in a prefix cache."""
        prompt = [self.chance.randrange(3, self.model.config.vocab_size) for _ in range(self.prompt_tokens)]
        params = SamplingParams(temperature=self.temperature, max_tokens=self.new_tokens, ignore_eos=True, seed=1)
        return Request.make(prompt, params, self.max_len, ())

    def wave(self, concurrency: int) -> dict[str, float]:
        """Tokens a second, and milliseconds a decode step by part, of `concurrency` requests that arrive together."""
        engine, requests = self.engine, [self._request() for _ in range(concurrency)]
        for request in requests:
            engine.add(request)
        arrived = time.perf_counter()
        while not all(request.output for request in requests):
            engine.step()
        self.clock.seconds.clear()
        began, known, steps = time.perf_counter(), _tokens(requests), 0
        while all(request.finish_reason is None for request in requests):
            engine.step()
            steps += 1
        if not steps:
            raise SystemExit("error: the first request ended before the last one began; raise --new-tokens")
        seconds, decoded, spent = time.perf_counter() - began, _tokens(requests) - known, dict(self.clock.seconds)
        while not engine.idle:
            engine.step()
        whole = _tokens(requests) / (time.perf_counter() - arrived)
        linear, attention, model = spent["linear"], spent["attention"], spent["model"]
        parts = (linear, attention, model - linear - attention, seconds - model)
        step_ms = {part: 1000 * each / steps for part, each in zip(PARTS, parts, strict=True)}
        return {"whole": whole, "decode": decoded / seconds, **step_ms}


def _tokens(requests: Sequence[Request]) -> int:
    return sum(len(request.output) for request in requests)


def spread(values: Sequence[float]) -> Spread:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


@dataclass(frozen=True)
class Row:
    """One concurrency over all rounds: its speeds, their ratios to the first concurrency, milliseconds a step by part."""

    concurrency: int
    tokens_per_second: dict[str, Spread]
    ratio: dict[str, Spread]
    step_ms: dict[str, Spread]

    @classmethod
    def of(cls, concurrency: int, first: int, rounds: Sequence[dict[int, dict[str, float]]]) -> Row:
        ours = [each[concurrency] for each in rounds]
        return cls(
            concurrency,
            {speed: spread([one[speed] for one in ours]) for speed in SPEEDS},
            {
                speed: spread([one[speed] / each[first][speed] for one, each in zip(ours, rounds, strict=True)])
                for speed in SPEEDS
            },
            {part: spread([one[part] for one in ours]) for part in PARTS},
        )

    def __str__(self) -> str:
        lines = [f"{self.concurrency} at a time"]
        for speed in SPEEDS:
            speeds, ratios = _words(self.tokens_per_second[speed]), _words(self.ratio[speed])
            lines.append(f"  {speed:<18} {speeds} tokens/s, {ratios} times the first")
        lines += [f"  {part:<18} {_words(each)} ms a decode step" for part, each in self.step_ms.items()]
        return "\n".join(lines)


def _words(each: Spread) -> str:
    return "{median:8.2f} ({least:.2f}, {most:.2f})".format(**each)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="v0.1", choices=sorted(VARIANTS))
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if min(args.layers, *args.concurrency, args.prompt_tokens, args.new_tokens - 1, args.threads, args.rounds) < 1:
        parser.error("every number must be at least 1, and --new-tokens at least 2")
    torch.set_num_threads(args.threads)
    config = replace(VARIANTS[args.variant].config, n_layers=args.layers)
    bench = Bench(config, args.prompt_tokens, args.new_tokens, max(args.concurrency), args.temperature)
    rounds = [{concurrency: bench.wave(concurrency) for concurrency in args.concurrency} for _ in range(args.rounds + 1)][1:]
    rows = [Row.of(concurrency, args.concurrency[0], rounds) for concurrency in args.concurrency]
    if args.json:
        print(json.dumps(vars(args) | {"rows": [asdict(row) for row in rows]}))
    else:
        print(*rows, sep="\n")


if __name__ == "__main__":
    main()
