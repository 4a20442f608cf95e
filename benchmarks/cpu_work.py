"""What cpu_inference.py measures: figures by name, the shape, and the systems that can be measured. No library is loaded here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BATCH_PROMPT = 64
STEPS = 16
MACHINE = "machine"


@dataclass(frozen=True)
class Figure:
    """One thing to measure; its name is "kind-size".

    prefill: a prompt of `size` tokens, nothing before it. decode: STEPS greedy tokens after `size` others. batch: STEPS tokens
    each of `size` sequences with prompts of BATCH_PROMPT. rows: forwards of `size` tokens of one sequence at depth 0, logits of
    all, as when drafts are checked. All in tokens a second. read: GB/s; int8, bf16, fp32: billions of operations a second.
    """

    kind: str
    size: int

    @property
    def name(self) -> str:
        return self.kind if self.kind in RATES else f"{self.kind}-{self.size}"

    @property
    def unit(self) -> str:
        return RATES.get(self.kind, "tok/s")

    @property
    def command(self) -> dict[str, Any]:
        """The fields of the worker's command."""
        match self.kind:
            case "prefill":
                return {"do": "prefill", "tokens": self.size}
            case "decode":
                return {"do": "decode", "depth": self.size, "tokens": STEPS}
            case "batch":
                return {"do": "batch", "size": self.size, "prompt": BATCH_PROMPT, "tokens": STEPS}
            case "rows":
                return {"do": "rows", "rows": self.size, "forwards": STEPS}
        return {"do": self.kind}

    @property
    def fill(self) -> int:
        """Tokens computed before the clock runs, the first time a worker is asked."""
        return self.size if self.kind == "decode" else 0

    @classmethod
    def parse(cls, text: str) -> Figure:
        """ "prefill-512". Raises argparse.ArgumentTypeError."""
        kind, _, size = text.partition("-")
        if kind not in LIMITS or not size.isdigit() or not (kind != "decode") <= int(size) <= LIMITS[kind]:
            known = ", ".join(f"{kind}-N up to {most:,}" for kind, most in LIMITS.items())
            raise argparse.ArgumentTypeError(f"{text} is no figure; figures are {known}")
        return cls(kind, int(size))


RATES = {"read": "GB/s", "int8": "GOP/s", "bf16": "GFLOP/s", "fp32": "GFLOP/s"}
LIMITS = {"prefill": 16_384, "decode": 16_384, "batch": 16, "rows": 15}  # what every worker has room for
MACHINE_FIGURES = tuple(Figure(kind, 0) for kind in RATES)
QUICK = tuple(map(Figure.parse, ("prefill-512", "decode-0", "batch-4", "batch-16", "rows-4")))
ALL = tuple(
    map(
        Figure.parse,
        (
            "prefill-512", "prefill-2048", "prefill-8192", "prefill-16384", "decode-0", "decode-4096", "decode-8192",
            "decode-16384", "batch-1", "batch-4", "batch-16", "rows-4",
        ),
    )
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """A system under measurement: its worker, the environment that runs it ("" is the one that runs the driver), its model."""

    name: str
    worker: str
    environment: str
    model: str

    def command(self, envs: Path, python: str, models: Path) -> list[str]:
        """Its process, up to the options that all workers share."""
        runner = str(envs / self.environment / "bin" / "python") if self.environment else python
        model = models / self.model if self.model else models
        return [runner, str(HERE / self.worker), "--model", str(model)]


# The first one named on the command line is set beside the others. `model` is a path in the folder of prepared models.
SYSTEMS = {
    system.name: system
    for system in (
        System("ours", "cpu_worker_ours.py", "", "int4"),
        System("ours-int8", "cpu_worker_ours.py", "", "int8"),
        System("ours-bf16", "cpu_worker_ours.py", "", "hf"),
        System("llama.cpp", "cpu_worker_llama.py", "llama.cpp", "q4_0.gguf"),
        System("llama.cpp-q4_k_m", "cpu_worker_llama.py", "llama.cpp", "q4_k_m.gguf"),
        System("llama.cpp-q8_0", "cpu_worker_llama.py", "llama.cpp", "q8_0.gguf"),
        System("openvino", "cpu_worker_openvino.py", "openvino", "openvino-int4"),
        System("transformers", "cpu_worker_transformers.py", "transformers", "hf"),
    )
}
DEFAULT_SYSTEMS = ("ours", "llama.cpp", "openvino", "transformers")
MACHINE_SYSTEM = System(MACHINE, "cpu_worker_machine.py", "", "")
