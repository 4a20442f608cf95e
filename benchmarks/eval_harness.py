"""The same benchmark items through lm-eval's `hf` backend and through EngineLM: the same choices and texts, and how much sooner.

    python benchmarks/eval_harness.py --data-dir DIR --limit 40 mmlu_anatomy hellaswag gsm8k

The model is a folder in the hub's layout. Both compute with the same weights in fp32 on the CPU; transformers reads them from a
folder written for it, with tokenizer.json beside them, in batches of --batch-size. The items of a task are asked in --rounds
parts, in turn by one and by the other, so that what else the machine does falls on both. For each task: the items whose choice,
or text at temperature 0, is the same, the largest difference of a log-probability, items/s of both, and the ratio as median
(least, most) over the rounds. A last line is JSON. The run fails if an item differs, unless the two best choices of the hf
backend are within --tie of each other.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral7b import LLM
from mistral7b.checkpoint.tokenizer_json import write_tokenizer_json
from mistral7b.evals.lm import EngineLM
from mistral7b.evals.tasks import build
from mistral7b.store.names import resolve

Item = list[Any]  # lm-eval's requests of one document


@dataclass
class Outcome:
    """What one task has shown so far."""

    task: str
    shots: int
    items: int = 0
    same: int = 0
    ties: int = 0
    tokens: int = 0
    apart: float = 0.0
    ours: list[float] = field(default_factory=list)  # items/s
    theirs: list[float] = field(default_factory=list)

    def add(self, items: Sequence[Item], ours: Sequence[Any], theirs: Sequence[Any], tie: float) -> None:
        """Compare the answers to `items`, one a request, in order."""
        mine, yours = iter(ours), iter(theirs)
        for item in items:
            a, b = [next(mine) for _ in item], [next(yours) for _ in item]
            self.items += 1
            if isinstance(a[0], str):
                self.same += a == b
                continue
            self.apart = max(self.apart, *(abs(x[0] - y[0]) for x, y in zip(a, b, strict=True)))
            if _choice(a) == _choice(b) and [x[1] for x in a] == [y[1] for y in b]:
                self.same += 1
            else:
                best = sorted((y[0] for y in b), reverse=True)
                self.ties += len(best) > 1 and best[0] - best[1] <= tie

    def to_json(self) -> dict[str, Any]:
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        return {
            "task": self.task, "shots": self.shots, "items": self.items, "same": self.same, "ties": self.ties,
            "tokens_per_item": round(self.tokens / self.items), "largest_logprob_difference": self.apart,
            "ours_items_per_s": statistics.median(self.ours), "hf_items_per_s": statistics.median(self.theirs),
            "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
        }  # fmt: skip


def _choice(answers: Sequence[Any]) -> int:
    return max(range(len(answers)), key=lambda place: answers[place][0])


def hf_backend(model: str, batch_size: int, out: Path) -> Any:
    """lm-eval's HFLM of the model, from a folder written to `out`."""
    folder = Path(resolve(model))
    for name in ("config.json", *(path.name for path in folder.glob("*.safetensors*"))):
        shutil.copy(folder / name, out / name)
    write_tokenizer_json(next(folder.glob("tokenizer.model*")), out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=str(out), dtype="float32", device="cpu", batch_size=batch_size)


def items_of(task: Any, limit: int) -> list[Item]:
    """The requests of the first `limit` documents."""
    task.build_all_requests(limit=limit, rank=0, world_size=1)
    items: dict[int, Item] = {}
    for request in task.instances:
        items.setdefault(request.doc_id, []).append(request)
    return list(items.values())


def measure(built: Any, lms: tuple[Any, Any], options: argparse.Namespace) -> Outcome:
    """One task, in rounds."""
    items = items_of(built.task, options.limit)
    outcome = Outcome(built.task.config.task, built.task.config.num_fewshot or 0)
    if options.max_gen_toks:
        for one in (one for item in items for one in item if one.request_type == "generate_until"):
            one.arguments[1]["max_gen_toks"] = options.max_gen_toks
    each = -(-len(items) // options.rounds)
    for number, start in enumerate(range(0, len(items), each)):
        part = items[start : start + each]
        requests = [one for item in part for one in item]
        outcome.tokens += sum(len(lms[0].tok_encode(item[0].args[0])) for item in part)
        found: dict[int, Any] = {}
        for which in ((0, 1), (1, 0))[number % 2]:
            began = time.perf_counter()
            found[which] = getattr(lms[which], requests[0].request_type)(requests, disable_tqdm=True)
            (outcome.ours, outcome.theirs)[which].append(len(part) / (time.perf_counter() - began))
        outcome.add(part, found[0], found[1], options.tie)
        print(f"{outcome.task}: {outcome.items} of {len(items)} items, {outcome.same} the same", file=sys.stderr)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--shots", type=int)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-gen-toks", type=int, help="end texts sooner than the task says")
    parser.add_argument("--tie", type=float, default=1e-4)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        lms = (
            EngineLM(LLM(options.model, dtype="float32", device="cpu")),
            hf_backend(options.model, options.batch_size, Path(scratch)),
        )
        outcomes = [
            measure(built, lms, options).to_json() for built in build(options.tasks, options.data_dir, shots=options.shots)
        ]
    print("task                      shots items  same  ties  tokens  logprob   ours/s     hf/s  ratio (least, most)")
    for made in outcomes:
        print(
            f"{made['task']:26}{made['shots']:5}{made['items']:6}{made['same']:6}{made['ties']:6}{made['tokens_per_item']:8}"
            f"{made['largest_logprob_difference']:9.1e}{made['ours_items_per_s']:9.2f}{made['hf_items_per_s']:9.2f}"
            f"{made['ratio']:7.1f} ({made['ratio_least']:.1f}, {made['ratio_most']:.1f})"
        )
    print(json.dumps(outcomes))
    if any(made["same"] + made["ties"] < made["items"] for made in outcomes):
        sys.exit("some items differ")


if __name__ == "__main__":
    main()
