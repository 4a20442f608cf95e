"""HumanEval and MBPP in the sandbox: the canonical solutions, the same with their bodies replaced by `raise`, and mutants beside
bare CPython.

    python benchmarks/code_sandbox.py --data-dir ../shared/data/eval --mutants 400 --json

A mutant is a canonical solution with one operator, comparison, constant or condition changed, drawn by `--seed`. Its verdict in
the sandbox is compared with that of an interpreter started on the same file with nothing around it; one that takes
more than `--cpu` seconds fails in both. The folder holds humaneval/HumanEval.jsonl.gz and mbpp/sanitized-mbpp.json.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mistral7b.evals.code import humaneval_program, mbpp_program
from mistral7b.evals.sandbox.sandbox import Sandbox
from mistral7b.evals.sandbox.verdict import Limits

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.FloorDiv,
    ast.Mod: ast.Add,
}
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip


def humaneval(path: Path) -> list[tuple[dict[str, Any], str]]:
    """Items and what completes their prompts."""
    with gzip.open(path / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [(doc, doc["canonical_solution"]) for doc in map(json.loads, lines)]


def mbpp(path: Path) -> list[tuple[dict[str, Any], str]]:
    docs = json.loads((path / "mbpp" / "sanitized-mbpp.json").read_text(encoding="utf-8"))
    return [(doc, doc["code"]) for doc in docs]


def gutted(code: str) -> str:
    """`code` with the body of each function replaced by `raise NotImplementedError`."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.parse("raise NotImplementedError").body[0]]
    return ast.unparse(tree)


def mutants(code: str, draw: random.Random) -> Iterator[str]:
    """`code` with one change, without end; nothing if there is nothing to change."""
    n = len(_places(ast.parse(code)))
    while n:
        tree = ast.parse(code)
        node = _places(tree)[draw.randrange(n)]
        if isinstance(node, ast.BinOp):
            node.op = OPERATORS[type(node.op)]()
        elif isinstance(node, ast.Compare):
            node.ops[0] = COMPARISONS[type(node.ops[0])]()
        elif isinstance(node, ast.If | ast.While):
            node.test = ast.UnaryOp(ast.Not(), node.test)
        elif isinstance(node, ast.Constant):
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield ast.unparse(ast.fix_missing_locations(tree))


def _places(tree: ast.AST) -> list[ast.AST]:
    return [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.BinOp) and type(node.op) in OPERATORS)
        or (isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS)
        or isinstance(node, ast.If | ast.While)
        or (isinstance(node, ast.Constant) and isinstance(node.value, int))
    ]


def bare(programs: Sequence[str], cpu: int, workers: int) -> list[bool]:
    """Whether an interpreter runs each to its end with status 0."""
    command = [getattr(sys, "_base_executable", sys.executable), "-P", "-s", "program.py"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))

    def one(program: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "program.py").write_text(program, encoding="utf-8")
            return not subprocess.run(
                command, cwd=folder, env={"PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                preexec_fn=limited,
            ).returncode  # fmt: skip

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, programs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data/eval"))
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--cpu", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sandbox, draw = Sandbox(replace(Limits(), cpu=args.cpu), workers=args.workers), random.Random(args.seed)
    found: dict[str, Any] = {"contained by": list(sandbox.ways)}
    sources = []
    for name, items, program in (
        ("humaneval", humaneval(args.data_dir), humaneval_program),
        ("mbpp", mbpp(args.data_dir), mbpp_program),
    ):
        started = time.perf_counter()
        whole = sandbox.run_many([program(doc, code) for doc, code in items])
        seconds = time.perf_counter() - started
        for (doc, _), verdict in zip(items, whole, strict=True):
            if not verdict.passed:
                print(f"{doc['task_id']}: {verdict.outcome}, {verdict.line}", file=sys.stderr)
        stubs = ["    raise NotImplementedError\n" if name == "humaneval" else gutted(code) for _, code in items]
        empty = sandbox.run_many([program(doc, stub) for (doc, _), stub in zip(items, stubs, strict=True)])
        found[name] = {
            "items": len(items), "canonical pass": sum(v.passed for v in whole),
            "bodies raise, pass": sum(v.passed for v in empty),
            "seconds for the canonical": round(seconds, 1),
        }  # fmt: skip
        sources += [
            (doc["prompt"] + code, f"{doc['test']}\ncheck({doc['entry_point']})\n") if name == "humaneval"
            else (code, mbpp_program(doc, "")) for doc, code in items
        ]  # fmt: skip
    programs: list[str] = []
    draw.shuffle(sources)
    while len(programs) < args.mutants:
        code, tests = sources[len(programs) % len(sources)]
        programs.append(f"{next(mutants(code, draw), code)}\n{tests}")
    ours, theirs = sandbox.run_many(programs), bare(programs, args.cpu, args.workers)
    for program, verdict, passed in zip(programs, ours, theirs, strict=True):
        if verdict.passed != passed:
            print(f"sandbox: {verdict.outcome}, {verdict.line}; bare: {passed}\n{program}", file=sys.stderr)
    same = sum(verdict.passed == passed for verdict, passed in zip(ours, theirs, strict=True))
    found["mutants"] = {
        "programs": len(programs),
        "same verdict": same,
        "pass": sum(theirs),
        **Counter(str(v.outcome) for v in ours),
    }
    print(json.dumps(found) if args.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
