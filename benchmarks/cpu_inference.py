"""This project beside llama.cpp, OpenVINO and transformers on the CPU: one shape, one run, taking turns, as ratios.

    python benchmarks/cpu_inference.py --prepare
    python benchmarks/cpu_inference.py --quick --json quick.json
    python benchmarks/cpu_inference.py --rounds 5 --json cpu.json --chart cpu.png --resume

--prepare makes a virtual environment a peer (llama.cpp is compiled for this machine: half an hour on two cores), random bf16
weights of the first --layers layers of the 7B shape with embeddings and head, and each system's own format of the same
weights (for the --systems named). It needs 11 GB of disk for 8 layers and 3 GB for environments, and makes nothing twice.

Every system is a process in its own environment that times its library's calls alone, and is stopped while others work. In a
round each figure is asked of every system in turn, and the order turns with the rounds; the machine's own read bandwidth and
matrix products come first in each round. A ratio is taken within a round, then its median. A figure is prefill-N, decode-N (at
that depth), batch-N or rows-N (a forward of N tokens of one sequence). What would take longer than --cap is said to be not run.
With --resume the rounds that stand in the --json file are not run again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpu_chart import draw
from cpu_driver import Driver, Record
from cpu_protocol import Worker, WorkerError
from cpu_report import report
from cpu_table import show
from cpu_work import ALL, DEFAULT_SYSTEMS, MACHINE, MACHINE_SYSTEM, QUICK, STEPS, SYSTEMS, Figure
from rich.console import Console

_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every system gave a figure, 1 if not, 2 for options that make no sense."""
    args = _options(argv)
    models = args.work / f"{args.variant}-{args.layers}"
    if args.prepare:
        from cpu_prepare import prepare  # loads torch

        try:
            prepare(args.envs, models, args.variant, args.layers, [SYSTEMS[name] for name in args.systems])
        except subprocess.CalledProcessError as error:
            print(f"error: {' '.join(error.cmd)} ended with {error.returncode}", file=sys.stderr)
            return 1
        return 0
    settings = _settings(args)
    try:
        resumed = args.resume and args.json and args.json.exists()
        record = Record.resume(args.json, settings) if resumed else Record(args.json, settings)
        for system in args.systems:
            if not (system == "ours" and args.ours):
                _check_prepared(system, args.envs, models)
        driver = Driver(record, lambda system: _start(system, args, models), args.cap, _say, restart=args.restart)
        driver.run(args.systems, args.figures, args.rounds)
        content = {"settings": record.settings, "systems": record.systems, "runs": record.runs}
        found = report(content, args.systems[0], [figure.name for figure in args.figures])
        record.save(report=found)
        if args.chart:
            draw(content, found, args.chart)
    except (ValueError, OSError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(content, found, Console())
    measured = {run["system"] for run in record.runs if "value" in run}
    return 0 if measured >= set(args.systems) else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true", help="make environments and models, measure nothing")
    parser.add_argument("--systems", nargs="+", default=list(DEFAULT_SYSTEMS), choices=sorted(SYSTEMS), metavar="SYSTEM",
                        help=f"the first is set beside the others; of {', '.join(SYSTEMS)}")  # fmt: skip
    parser.add_argument("--figures", nargs="+", type=Figure.parse, default=None, metavar="FIGURE")
    parser.add_argument("--quick", action="store_true", help="a few short figures")
    parser.add_argument("--variant", default="v0.1")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cap", type=float, default=600.0, help="seconds of one system at one figure, all rounds together")
    parser.add_argument("--envs", type=Path, default=Path("runs/envs"))
    parser.add_argument("--work", type=Path, default=Path("runs/cpu-inference"), help="models, kept caches, the workers' logs")
    parser.add_argument("--ours", type=Path, help="measure this model folder as `ours`")
    parser.add_argument("--option", action="append", default=[], metavar="SYSTEM=WORD",
                        help="one more word for a worker, as ours=--chunk=4096 or llama.cpp=--no-flash")  # fmt: skip
    parser.add_argument("--restart", action="store_true", help="end each worker after its turn: for machines with little memory")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args(argv)
    if min(args.layers, args.threads, args.rounds, args.cap) < 1:
        parser.error("every number must be at least 1")
    if args.resume and not args.json:
        parser.error("--resume goes on from a --json file")
    if any(option.partition("=")[0] not in SYSTEMS for option in args.option):
        parser.error("--option is SYSTEM=WORD")
    args.figures = args.figures or list(QUICK if args.quick else ALL)
    return args


def _start(system: str, args: argparse.Namespace, models: Path) -> Worker:
    states = models / "states"
    states.mkdir(parents=True, exist_ok=True)
    known = MACHINE_SYSTEM if system == MACHINE else SYSTEMS[system]
    command = known.command(args.envs, sys.executable, models)
    if system == "ours" and args.ours:
        command[command.index("--model") + 1] = str(args.ours)
    words = [word for name, _, word in (option.partition("=") for option in args.option) if name == system]
    threads = str(args.threads)
    shared = ["--threads", threads, "--states", str(states), *words]
    return Worker([*command, *shared], args.work / f"{system}.log", {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads})


def _check_prepared(system: str, envs: Path, models: Path) -> None:
    """Raises ValueError for an environment or a model that is not there."""
    known = SYSTEMS[system]
    needed = [models / known.model] if known.model else []
    needed += [envs / known.environment / "bin" / "python"] if known.environment else []
    for path in needed:
        if not path.exists():
            raise ValueError(f"{system} needs {path}: run --prepare, or name other --systems of {', '.join(SYSTEMS)}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What two runs must share to be one; and what a reader must know."""
    from mistral7b.variants import VARIANTS

    config = VARIANTS[args.variant].config
    width, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    per_layer = config.dim * (2 * width + 2 * kv + 3 * config.hidden_dim)
    return {
        "variant": args.variant, "layers": args.layers, "threads": args.threads, "steps": STEPS,
        "operations_per_token": 2 * args.layers * per_layer, "processor": _processor(), "options": sorted(args.option),
        "ours": str(args.ours or ""),
    }  # fmt: skip


def _processor() -> str:
    """ "AMD EPYC, 2 cores, avx2"."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    known = " ".join(flag for flag in _FLAGS if flag in flags)
    return f"{fields.get('model name', 'unknown processor')}, {os.cpu_count()} cores, {known or 'no vector flags known'}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
